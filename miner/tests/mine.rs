//! The whole stage without network, on notes and a repository made for it.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::path::Path;

use common::{Made, files, notes, study};
use reproduceml_miner::{MineError, MineOptions, MineSummary, mine};
use study::{Bug, Resolution, Study};

fn run(study: &Study, options: &MineOptions) -> Result<MineSummary, MineError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(mine(study, options, &|_| ()))
}

fn offline(notes: Option<&Path>, repo: Option<&Path>) -> MineOptions {
    let owned = |path: Option<&Path>| path.map(Path::to_owned);
    MineOptions { notes: owned(notes), repo: owned(repo), offline: true, ..Default::default() }
}

const FIRST: &str =
    "# tinynn 0.1\n## Bug fixes\n### Ops\n- Fix a (#1)\n- Fix b and c (#2, #3)\n## New\n- d (#4)\n";
const SECOND: &str = "## Bug fixes\n- Fix e (#5)\n- Again a (#1)\n";

fn world() -> Made {
    let mut made = Made::new();
    made.commit("main", "Fix a (#1)", &[("tinynn/a.py", "1\n")]);
    made.commit("main", "Fix b (#2)", &[("csrc/b.c", "1\n"), ("tests/test_b.py", "1\n")]);
    made.commit("main", "Fix c (#3)", &[("docs/c.md", "1\n")]);
    made
}

#[test]
fn notes_and_clone_make_the_corpus() {
    let (_folder, study) = study("");
    let notes = notes(&[("v0.1.0", FIRST), ("v0.2.0", SECOND), ("nightly", "x")]);
    let made = world();
    let summary = run(&study, &offline(Some(notes.path()), Some(&made.path()))).unwrap();
    assert_eq!(
        (summary.releases, summary.entries, summary.pull_requests, summary.bugs),
        (2, 4, 4, 4)
    );
    let json = serde_json::to_string_pretty(&summary).unwrap();
    insta::assert_snapshot!(json.replace(&notes.path().display().to_string(), "NOTES"));
    let bugs = study.corpus().unwrap();
    let ids: Vec<_> = bugs.iter().map(|bug| bug.id.as_str()).collect();
    assert_eq!(ids, ["pr1", "pr2", "pr3", "pr5"]);
    let b = &bugs[1];
    assert_eq!((b.release.as_str(), b.entry, b.prs.as_slice()), ("v0.1.0", 1, [2, 3].as_slice()));
    assert_eq!(b.section, ["Bug fixes", "Ops"]);
    assert_eq!(b.url, "https://github.com/tinynn/tinynn/pull/2");
    assert!(b.needs_compile && b.tests == ["tests/test_b.py"] && b.lines_added == 2);
    assert!(bugs[0].python_only && bugs[2].not_in_artifact);
    assert_eq!(bugs[3].resolution, Resolution::NotFound);
    let csv = std::fs::read_to_string(study.corpus_dir().join("bugs.csv")).unwrap();
    insta::assert_snapshot!(csv.lines().next().unwrap());
    assert_eq!(csv::Reader::from_reader(csv.as_bytes()).records().count(), 4);
    let parquet = std::fs::File::open(study.corpus_dir().join("bugs.parquet")).unwrap();
    use polars::prelude::SerReader;
    let frame = polars::prelude::ParquetReader::new(parquet).finish().unwrap();
    assert_eq!((frame.height(), frame.width()), (4, 23));
    let names: Vec<String> = frame.get_column_names().iter().map(|n| n.to_string()).collect();
    assert_eq!(names, reproduceml_miner::corpus::COLUMNS);
}

#[test]
fn the_same_input_gives_the_same_bytes_and_the_clone_is_not_touched() {
    let made = world();
    let before = files(&made.path());
    let notes = notes(&[("v0.1.0", FIRST), ("v0.2.0", SECOND)]);
    let corpora: Vec<_> = (0..2)
        .map(|_| {
            let (folder, study) = study("");
            let options = offline(Some(notes.path()), Some(&made.path()));
            run(&study, &options).unwrap();
            let once = files(&study.corpus_dir());
            run(&study, &options).unwrap();
            assert_eq!(once, files(&study.corpus_dir()), "again");
            let root = study.root().to_owned();
            drop(folder);
            once.into_iter()
                .map(|(p, b)| (p.strip_prefix(&root).unwrap().to_owned(), b))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(corpora[0], corpora[1]);
    assert_eq!(before, files(&made.path()), "a user's clone is never written to");
}

#[test]
fn a_later_run_adds_and_keeps() {
    let (_folder, study) = study("");
    let mut made = world();
    let early = notes(&[("v0.1.0", FIRST)]);
    run(&study, &offline(Some(early.path()), Some(&made.path()))).unwrap();
    let mut bugs = study.corpus().unwrap();
    let mut planted: Bug = bugs[0].clone();
    planted.id = study::BugId::new("fault-x").unwrap();
    (planted.pr, planted.resolution) = (0, Resolution::Planted);
    bugs.push(planted);
    let mut written: Bug = bugs[0].clone();
    (written.id, written.release) = (study::BugId::new("by-hand").unwrap(), "v0.9.0".into());
    bugs.push(written);
    study::corpus::write_jsonl(&study.corpus_file(), &bugs).unwrap();
    made.commit("main", "Fix e (#5)", &[("tinynn/e.py", "1\n")]);
    let late = notes(&[("v0.2.0", SECOND)]);
    run(&study, &offline(Some(late.path()), Some(&made.path()))).unwrap();
    let ids: Vec<_> = study.corpus().unwrap().iter().map(|b| b.id.to_string()).collect();
    // A row that people wrote stays; a fault that study.toml plants no more is gone.
    assert_eq!(ids, ["pr1", "pr2", "pr3", "pr5", "by-hand"]);
    // Without notes and clone: what was fetched and traced before still holds.
    let summary = run(&study, &offline(None, None)).unwrap();
    assert!(summary.warnings.iter().any(|w| w.contains("there is no clone")), "{summary:?}");
    assert_eq!(summary.by_resolution["unique"], 5);
    // A note that changed is noticed, and the old one kept.
    let changed = notes(&[("v0.2.0", "## Bug fixes\n- Fix f (#6)\n")]);
    let summary = run(&study, &offline(Some(changed.path()), None)).unwrap();
    assert!(summary.warnings.iter().any(|w| w.starts_with("v0.2.0: the notes changed")));
    assert_eq!(std::fs::read_dir(study.notes_dir().join("changed")).unwrap().count(), 1);
    assert!(study.corpus().unwrap().iter().any(|bug| bug.id.as_str() == "pr5"), "nothing is lost");
}

#[test]
fn a_study_may_name_its_range_notes_and_clone() {
    let made = world();
    let extra = format!(
        "from = \"0.2\"\nto = \"0.2\"\nnotes = \"in\"\nclone = \"{}\"",
        made.path().display()
    );
    let (_folder, study) = study(&extra);
    std::fs::create_dir(study.root().join("in")).unwrap();
    for (tag, body) in [("v0.1.0", FIRST), ("v0.2.0", SECOND), ("v0.3.0", FIRST)] {
        std::fs::write(study.root().join(format!("in/{tag}.md")), body).unwrap();
    }
    let summary = run(&study, &offline(None, None)).unwrap();
    assert_eq!((summary.releases, summary.bugs), (1, 2));
}

#[test]
fn odd_notes_are_counted_and_named() {
    let (_folder, study) = study("");
    let notes =
        notes(&[("v0.1.0", ""), ("v0.1.1", "- Fix a (#1)\n- b\n"), ("v0.2.0", "# New\n- x #9")]);
    std::fs::write(notes.path().join("v0.3.0.md"), b"# Bug fixes\r\n- \xff\xfe Fix (#7)\r\n")
        .unwrap();
    let summary = run(&study, &offline(Some(notes.path()), None)).unwrap();
    assert_eq!((summary.releases, summary.bugs), (4, 2));
    let said = summary.warnings.join("\n");
    for part in [
        "v0.1.0: its notes have no section",
        "v0.2.0: its notes have no section",
        "v0.3.0: its notes are not all UTF-8",
        "there is no clone",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert_eq!(summary.by_resolution["unresolved"], 2);
}

#[test]
fn bad_input_is_refused_plainly() {
    let (folder, study) = study("");
    let fails = |options: &MineOptions| run(&study, options).unwrap_err().to_string();
    assert!(fails(&offline(None, None)).contains("give a folder with --notes"));
    let missing = folder.path().join("missing");
    assert!(
        fails(&offline(Some(&missing), None)).contains("there is nothing here; --notes expects")
    );
    let file = folder.path().join("study.toml");
    assert!(fails(&offline(Some(&file), None)).contains("this is a file"));
    let empty = tempfile::tempdir().unwrap();
    assert!(fails(&offline(Some(empty.path()), None)).contains("no Markdown file"));
    let notes = notes(&[("v0.1.0", FIRST)]);
    assert!(fails(&offline(Some(notes.path()), Some(&file))).contains("is a file; --repo"));
    assert!(!study.corpus_file().exists(), "no partial output");
}

#[test]
fn an_address_is_cloned_and_brought_up_to_date() {
    let (_folder, study) = study("");
    let mut made = world();
    let tip = made.tip("main").unwrap();
    made.repository.reference("refs/tags/v0.1.0", tip, false, "").unwrap();
    made.commit("feature", "Not for us", &[("x.py", "1")]);
    let address = std::path::PathBuf::from(format!("file://{}", made.path().display()));
    let notes = notes(&[("v0.1.0", FIRST), ("v0.2.0", SECOND)]);
    let mut options = offline(Some(notes.path()), Some(&address));
    let summary = run(&study, &options).unwrap();
    assert!(summary.warnings.iter().any(|w| w.contains("--offline clones nothing")));
    options.offline = false;
    assert_eq!(run(&study, &options).unwrap().by_resolution["unique"], 3);
    made.commit("main", "Fix e (#5)", &[("tinynn/e.py", "1\n")]);
    assert_eq!(run(&study, &options).unwrap().by_resolution["unique"], 4);
    options.offline = true;
    assert_eq!(run(&study, &options).unwrap().by_resolution["unique"], 4);
    options.offline = false;
    options.repo = Some("file:///nonexistent/x.git".into());
    let error = run(&study, &options).unwrap_err().to_string();
    assert!(error.contains("check the address"), "{error}");
}

#[test]
fn a_shallow_clone_is_said() {
    let (_folder, study) = study("");
    let made = world();
    let shallow = tempfile::tempdir().unwrap();
    let status = std::process::Command::new("git")
        .args([
            "clone",
            "-q",
            "--bare",
            "--depth",
            "1",
            &format!("file://{}", made.path().display()),
        ])
        .arg(shallow.path().join("s"))
        .status()
        .unwrap();
    assert!(status.success());
    let notes = notes(&[("v0.1.0", FIRST)]);
    let options = offline(Some(notes.path()), Some(&shallow.path().join("s")));
    let summary = run(&study, &options).unwrap();
    let said = summary.warnings.join("\n");
    assert!(said.contains("this clone is shallow") && said.contains("--unshallow"), "{said}");
    assert!(said.contains("the clone lacks the commit before the fix: pr3"), "{said}");
    // A whole clone afterwards serves all the same.
    let summary = run(&study, &offline(Some(notes.path()), Some(&made.path()))).unwrap();
    assert_eq!(summary.by_resolution["unique"], 3);
}
