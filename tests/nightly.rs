//! Nights: what changes is found, one at a time, within a budget, and after a crash as before.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{TestStudy, Told, docker};
use serde_json::Value;

const CHANGED: i32 = 10;

fn night(study: &TestStudy, arguments: &[&str]) -> Told {
    study.call(&[&["--format", "json", "nightly"], arguments].concat())
}

fn offline(study: &TestStudy) {
    let file = study.path().join("study.toml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text +=
        "\n[nightly]\nhours = 1\ndisk_gib = 20\n\n[nightly.arguments]\nmine = [\"--offline\"]\n";
    std::fs::write(file, text).unwrap();
}

fn stage<'a>(summary: &'a Value, name: &str) -> &'a Value {
    let stages = summary["stages"].as_array().unwrap();
    stages.iter().find(|stage| stage["stage"] == name).unwrap()
}

#[test]
fn a_night_finds_new_releases_and_changed_notes_and_nothing_else() {
    let study = TestStudy::tinynn(&[]);
    offline(&study);
    let first = night(&study, &["--stage", "mine"]).expect(&[CHANGED]).json();
    assert_eq!(first["since"], Value::Null);
    assert!(first["changes"]["new_bugs"].as_array().unwrap().len() > 10);

    let quiet = night(&study, &["--stage", "mine"]).expect(&[0]).json();
    assert_eq!(quiet["changed"], false);
    assert!(quiet["since"].is_string());

    let notes = study.path().join("upstream/notes");
    let newest = std::fs::read_dir(&notes).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    let text = std::fs::read_to_string(&newest).unwrap();
    let entry = text.lines().find(|line| line.contains("#21")).unwrap();
    let longer = entry.replacen(' ', " Everywhere: ", 1);
    std::fs::write(&newest, text.replace(entry, &longer)).unwrap();
    std::fs::write(notes.join("v9.0.0.md"), "# Bug fixes\n\n* A <b>mark</b> is kept (#990)\n")
        .unwrap();
    let told = study.call(&["nightly", "--stage", "mine"]).expect(&[CHANGED]);
    assert!(told.out.contains("1 new release, 1 new bug, 1 changed entry"), "{}", told.out);
    assert!(told.out.contains("- pr990\n"), "{}", told.out);
    let kept = std::fs::read_to_string(study.path().join("nightly/summary.md")).unwrap();
    assert_eq!(kept, told.out);
}

#[test]
fn one_at_a_time_and_beside_a_server() {
    let study = TestStudy::tinynn(&[]);
    offline(&study);
    let open = study::Study::open(&study.path()).unwrap();
    let held = open.lock_nightly().unwrap();
    let told = night(&study, &["--stage", "mine"]).expect(&[2]);
    assert!(told.err.contains(&std::process::id().to_string()), "{}", told.err);
    drop(held);

    let mut serve = study
        .command(&["serve", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let out = serve.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut said).unwrap();
    night(&study, &["--stage", "mine"]).expect(&[CHANGED]);
    assert!(serve.try_wait().unwrap().is_none(), "the server goes on");
    serve.kill().unwrap();
    serve.wait().unwrap();
}

#[test]
fn what_could_not_be_done_is_named() {
    let study = TestStudy::tinynn(&[]);
    offline(&study);
    let told = Told::of(
        study
            .command(&["--format", "json", "nightly", "--stage", "build", "--stage", "report"])
            .env("DOCKER_HOST", "unix:///nonexistent/docker.sock")
            .output()
            .unwrap(),
    )
    .expect(&[1]);
    let summary = told.json();
    assert_eq!(stage(&summary, "build")["outcome"], "trouble");
    assert!(stage(&summary, "build")["why"].as_str().unwrap().contains("docker.sock"));
    assert_eq!(stage(&summary, "report")["outcome"], "skipped");
    assert!(told.err.contains("not done: build"), "{}", told.err);
}

#[test]
fn a_dry_night_calls_nothing() {
    let study = TestStudy::tinynn(&[]);
    offline(&study);
    let plan = night(&study, &["--dry-run", "--hours", "2"]).expect(&[0]).json();
    assert_eq!(plan["hours"], 2.0);
    assert_eq!(plan["stages"].as_array().unwrap().len(), 5);
    assert!(plan["stages"][0]["command"].as_str().unwrap().ends_with("mine --offline"));
    assert!(!study.path().join("nightly").exists());
    night(&study, &["--hours", "-1"]).expect(&[2]);
}

#[test]
fn a_night_ends_with_its_budget_or_its_death_and_the_next_goes_on() {
    if !docker("a_night_ends_with_its_budget_or_its_death_and_the_next_goes_on") {
        return;
    }
    let select = "[build]\ntoolchain";
    let study = TestStudy::tinynn(&[
        ("runs = 10", "runs = 8"),
        (select, "[select]\nbugs = [\"pr16\"]\n\n[build]\ntoolchain"),
    ]);
    offline(&study);
    let short = night(&study, &["--stage", "build", "--hours", "0.0001"]).json();
    assert_eq!(stage(&short, "build")["outcome"], "budget", "{short}");

    // Killed while a stage works: the stage ends with it and lets the study go.
    let mut killed =
        study.command(&["nightly"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let open = study::Study::open(&study.path()).unwrap();
    let patience = Instant::now();
    while open.lock().is_err() {
        assert!(patience.elapsed() < Duration::from_secs(20), "a stage outlived its night");
        std::thread::sleep(Duration::from_millis(100));
    }

    let summary = night(&study, &[]).expect(&[CHANGED]).json();
    for name in ["mine", "build", "run", "report", "gc"] {
        let outcome = &stage(&summary, name)["outcome"];
        assert!(outcome == "done" || outcome == "failures", "{name}: {summary}");
    }
    let verdicts = summary["changes"]["verdicts"].as_array().unwrap();
    assert!(verdicts.iter().any(|v| v["what"] == "pr16" && v["now"] == "different"), "{summary}");
    assert!(study.path().join("stats/report.html").exists());
    night(&study, &[]).expect(&[0]);
}
