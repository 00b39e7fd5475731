//! `mine` as a user calls it: notes, histories, GitHub, and what goes wrong with them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;
mod history;

use history::{GitHub, NOTES, World, answer, git, path};

/// Releases as GitHub lists them.
fn releases() -> String {
    let list: Vec<_> = NOTES
        .iter()
        .map(|(tag, body)| {
            serde_json::json!({"tag_name": tag, "body": body, "draft": false,
                "published_at": "2020-01-01T00:00:00Z", "html_url": format!("https://x/{tag}")})
        })
        .collect();
    serde_json::to_string(&list).unwrap()
}

#[test]
fn notes_and_clone_are_enough() {
    let world = World::new();
    let summary = world.mined();
    for (key, count) in [("releases", 3), ("entries", 5), ("pull_requests", 4), ("bugs", 4)] {
        assert_eq!(summary[key], count, "{key} in {summary}");
    }
    assert_eq!(summary["by_resolution"], serde_json::json!({"unique": 3, "not-found": 1}));
    assert_eq!(summary["by_scope"]["python"], 1);
    assert!(summary.get("expected").is_none());
    for file in ["bugs.jsonl", "bugs.csv", "bugs.parquet", "selection.jsonl"] {
        assert!(world.study().join("corpus").join(file).is_file(), "{file}");
    }
    // Either can be left out afterwards; what was read stays.
    let told = world.call(&["--format", "json", "mine", "--offline"]).expect(&[0]);
    assert!(told.err.contains("there is no clone"), "{}", told.err);
    assert_eq!(told.json()["by_resolution"], summary["by_resolution"]);
}

#[test]
fn without_a_clone_that_is_said() {
    let world = World::new();
    let notes = world.notes();
    let told = world
        .call(&["--format", "json", "mine", "--notes", path(&notes), "--offline"])
        .expect(&[0]);
    assert!(told.err.contains("there is no clone") && told.err.contains("--repo"), "{}", told.err);
    assert_eq!(told.json()["by_resolution"], serde_json::json!({"unresolved": 4}));
}

#[test]
fn the_count_of_an_earlier_study_stands_beside() {
    let world = World::new();
    world.edit("[framework]", "expected_bugs = 7\n\n[framework]");
    let summary = world.mined();
    let expected = &summary["expected"];
    assert_eq!((&expected["bugs"], &expected["difference"]), (&7.into(), &(-3).into()));
    let ways: Vec<i64> = expected["ways"]
        .as_array()
        .unwrap()
        .iter()
        .map(|way| way["count"].as_i64().unwrap())
        .collect();
    // Four entries with a number, one of them with two, one repeated; one of a patch release
    // alone; one entry without a number; nothing from before.
    assert_eq!(ways, [4, 1, 1, 1, 1, 0]);
    let notes = world.notes();
    let table = world.call(&["mine", "--notes", path(&notes), "--offline"]).expect(&[0]).out;
    for part in ["pull requests expected", "difference", "-3", "patch releases"] {
        assert!(table.contains(part), "{part} in\n{table}");
    }
}

#[test]
fn wrong_notes_and_histories_are_named() {
    let world = World::new();
    let (notes, clone) = (world.notes(), world.clone());
    let file = notes.join("v0.1.0.md");
    let plain = world.folder().join("plain");
    std::fs::create_dir(&plain).unwrap();
    let (notes, clone, file, plain) = (path(&notes), path(&clone), path(&file), path(&plain));
    let all: [(&[&str], &str); 7] = [
        (&["--notes", file], "this is a file"),
        (&["--notes", "/nonexistent"], "there is nothing here"),
        (&["--notes", plain], "no Markdown file"),
        (&["--notes", notes, "--repo", "/nonexistent"], "there is nothing here; --repo"),
        (&["--notes", notes, "--repo", file], "is a file; --repo"),
        (&["--notes", notes, "--repo", plain], "is no git repository"),
        (&["--notes", notes, "--repo", clone, "--branch", "trunk"], "it has: main"),
    ];
    for (arguments, message) in all {
        let told = world.call(&[&["mine", "--offline"], arguments].concat()).expect(&[2]);
        assert!(told.err.contains(message), "{message}\n--- in\n{}", told.err);
        assert_eq!(told.out, "", "{arguments:?}");
        assert!(!world.study().join("corpus").exists(), "no partial output: {arguments:?}");
    }
}

#[test]
fn a_shallow_and_a_wrong_clone_are_said() {
    let world = World::new();
    let (notes, clone) = (world.notes(), world.clone());
    let shallow = world.folder().join("shallow");
    let address = format!("file://{}", path(&clone));
    git(&["clone", "-q", "--bare", "--depth", "3", &address, path(&shallow)]);
    let mine = |repo: &std::path::Path| {
        let arguments = ["mine", "--offline", "--notes", path(&notes), "--repo", path(repo)];
        world.call(&arguments).expect(&[0])
    };
    let told = mine(&shallow);
    assert!(told.err.contains("this clone is shallow"), "{}", told.err);
    assert!(told.err.contains("--unshallow"), "{}", told.err);
    assert!(told.out.contains("not-found"), "{}", told.out);
    git(&["-C", path(&clone), "remote", "add", "origin", "https://github.com/me/other.git"]);
    let told = mine(&clone);
    assert!(told.err.contains("its remote is https://github.com/me/other"), "{}", told.err);
    assert!(told.err.contains("tinynn/tinynn"), "{}", told.err);
}

#[test]
fn the_main_line_may_have_another_name() {
    let world = World::new();
    let (notes, clone) = (world.notes(), world.clone());
    git(&["-C", path(&clone), "branch", "-m", "main", "trunk"]);
    let arguments = ["--notes", path(&notes), "--repo", path(&clone), "--branch", "trunk"];
    let told = world
        .call(&[&["--format", "json", "mine", "--offline"], &arguments[..]].concat())
        .expect(&[0]);
    assert_eq!(told.json()["by_resolution"]["unique"], 3);
}

fn ask(world: &World, github: &GitHub) -> common::Told {
    let clone = world.clone();
    let arguments = ["--format", "json", "mine", "--repo", path(&clone)];
    let mut command = world.command(&arguments);
    let output = command.env("REPRODUCEML_GITHUB_API", &github.base).output().unwrap();
    common::Told::of(output)
}

#[test]
fn github_is_asked_once_and_then_whether_anything_changed() {
    let world = World::new();
    let github = GitHub::new(|head| match head.contains("if-none-match: \"one\"") {
        true => answer("304 Not Modified", &[], ""),
        false => answer("200 OK", &[("etag", "\"one\"")], &releases()),
    });
    let first = ask(&world, &github).expect(&[0]).json();
    assert_eq!((&first["releases"], &first["bugs"]), (&3.into(), &4.into()));
    let corpus = std::fs::read(world.study().join("corpus/bugs.jsonl")).unwrap();
    for (tag, body) in NOTES {
        let kept = std::fs::read_to_string(world.study().join(format!("notes/{tag}.md"))).unwrap();
        assert_eq!(kept, body, "as it was received");
    }
    assert_eq!(ask(&world, &github).expect(&[0]).json(), first);
    let heads = github.heads();
    assert_eq!(heads.len(), 2);
    assert!(!heads[0].contains("if-none-match") && heads[1].contains("if-none-match: \"one\""));
    assert!(heads.iter().all(|head| !head.contains("authorization")), "no token, none sent");
    // From the notes kept, without network, the same bytes.
    let clone = world.clone();
    world.call(&["mine", "--offline", "--repo", path(&clone)]).expect(&[0]);
    assert_eq!(std::fs::read(world.study().join("corpus/bugs.jsonl")).unwrap(), corpus);
    assert_eq!(github.heads().len(), 2);
}

#[test]
fn a_used_up_limit_is_exit_code_3() {
    let world = World::new();
    let github = GitHub::new(|_| {
        let headers = [("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "4102444800")];
        answer("403 Forbidden", &headers, "{}")
    });
    let told = ask(&world, &github).expect(&[3]);
    assert!(told.err.contains("rate limit is used up until 2"), "{}", told.err);
    assert!(told.err.contains("GITHUB_TOKEN") && told.err.contains("--offline"), "{}", told.err);
    assert_eq!(told.out, "");
    assert_eq!(github.heads().len(), 1);
    assert!(!world.study().join("corpus").exists(), "no partial output");
}

#[test]
fn no_such_repository_is_named() {
    let world = World::new();
    let github = GitHub::new(|_| answer("404 Not Found", &[], "{}"));
    let told = ask(&world, &github).expect(&[3]);
    assert!(told.err.contains("404") && told.out.is_empty(), "{}", told.err);
}

#[test]
fn offline_without_notes_says_what_to_give() {
    let world = World::new();
    let told = world.call(&["mine", "--offline"]).expect(&[2]);
    assert!(told.err.contains("--notes") && told.out.is_empty(), "{}", told.err);
}
