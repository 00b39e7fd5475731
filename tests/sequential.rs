//! A sequential design on tinynn, of whose bugs the truth is known: stopped, killed, and tampered
//! with.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{TestStudy, docker, packed_and_checked, refused_pack, verdicts};
use serde_json::Value;

/// pr16 differs in every run, pr40 in none, pr30 in the last bits.
const BUGS: [&str; 3] = ["pr16", "pr30", "pr40"];

const DESIGN: &str = "\n[run.design]\nlooks = [5, 7]\nidentical_after = 2\nspending = \"pocock\"\n\
                      outcomes = [\"accuracy\"]\nfamily = 3\n";

fn study_toml(study: &TestStudy, change: impl Fn(String) -> String) {
    let file = study.path().join("study.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, change(text)).unwrap();
}

fn json(study: &TestStudy, arguments: &[&str]) -> Value {
    study.call(&[&["--format", "json"], arguments].concat()).expect(&[0]).json()
}

/// The lines of the record of looks; none if there is no record.
fn looks(study: &TestStudy) -> Vec<Value> {
    let text = std::fs::read_to_string(study.path().join("design/looks.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Begins `run` and kills it, without a chance to tidy up, once there are so many looks.
fn kill_after(study: &TestStudy, wanted: usize) {
    let mut child =
        study.command(&["run"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    let there = || study.path().join("design/design.json").exists() && looks(study).len() >= wanted;
    while !there() && begin.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Into the runs that lead to the next look.
    std::thread::sleep(Duration::from_millis(700));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_study_stops_where_its_looks_say_and_nowhere_else() {
    if !docker("a_study_stops_where_its_looks_say_and_nowhere_else") {
        return;
    }
    let study = TestStudy::tinynn(&[("runs = 10", "runs = 7")]);
    study_toml(&study, |text| text + DESIGN);
    study.call(&[&["build"][..], &BUGS].concat()).expect(&[0]);
    study_toml(&study, |text| text.replace("family = 3", "family = 2"));
    let refused = study.call(&["run", "--dry-run"]).expect(&[2]);
    assert!(refused.err.contains("run.design.family"), "{}", refused.err);
    study_toml(&study, |text| text.replace("family = 2", "family = 3"));
    let foretold = json(&study, &["run", "--dry-run"]);
    assert_eq!(foretold["missing"], 3 * 2 * 7);
    assert_eq!(foretold["design"]["scenarios"][0]["hours"], Value::Null);
    assert!(!study.path().join("design").exists(), "a plan on paper declares nothing");

    kill_after(&study, 0);
    assert!(study.path().join("design/design.json").exists(), "declared before the first run");
    kill_after(&study, 3);
    assert_eq!(looks(&study).len(), 3);
    let summary = json(&study, &["run"]);
    let asked = |bug: &str, what: &str| -> Vec<u64> {
        let sides = summary["sides"].as_array().unwrap();
        sides.iter().filter(|s| s["bug"] == bug).map(|s| s[what].as_u64().unwrap()).collect()
    };
    for what in ["asked", "finished"] {
        assert_eq!(asked("pr40", what), [2, 2], "bit for bit the same after 2");
        assert_eq!(asked("pr16", what), [5, 5], "different at the first look");
        assert_eq!(asked("pr30", what), [7, 7], "neither, to the end");
    }
    let taken = looks(&study);
    let of = |look: &Value| {
        (
            look["bug"].as_str().unwrap().to_owned(),
            look["runs"].as_u64().unwrap(),
            look["stop"].clone(),
        )
    };
    let expected: Vec<(String, u64, Value)> = [
        ("pr16", 2, Value::Null),
        ("pr30", 2, Value::Null),
        ("pr40", 2, "identical".into()),
        ("pr16", 5, "different".into()),
        ("pr30", 5, Value::Null),
        ("pr30", 7, "inconclusive".into()),
    ]
    .map(|(bug, runs, stop)| (bug.to_owned(), runs, stop))
    .to_vec();
    let found: Vec<_> = taken.iter().map(of).collect();
    assert_eq!(found[..5], expected[..5]);
    // At the end pr30 may be shown to be equivalent; that depends on the last bits.
    assert_eq!((&found[5].0, found[5].1, found.len()), (&expected[5].0, 7, 6));

    // Called again, nothing is run or looked at twice, and looks that were lost are taken again
    // from the same runs, to the bit.
    assert_eq!(json(&study, &["run"])["made"], 0);
    let file = study.path().join("design/looks.jsonl");
    let before = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(json(&study, &["run"])["made"], 0);
    assert!(std::fs::read(&file).unwrap() == before, "the same runs give the same looks");

    // Everything that tells verdicts tells those of the looks.
    let analysis = json(&study, &["stats"]);
    let told = verdicts(&analysis);
    assert_eq!((told["pr16"].as_str(), told["pr40"].as_str()), ("different", "identical"));
    assert_eq!(analysis["sequential"]["looks"].as_array().unwrap().len(), 6);
    assert_eq!(analysis["tests"][0]["p_holm"], Value::Null);
    let refused = study.call(&["stats", "--alpha", "0.5"]).expect(&[2]);
    assert!(refused.err.contains("--alpha"), "{}", refused.err);
    let status = json(&study, &["status"]);
    assert_eq!((&status["ran"], &status["analysed"]), (&3.into(), &3.into()));
    assert_eq!(status["looks"].as_array().unwrap().len(), 6);
    let table = study.call(&["status"]).expect(&[0]).out;
    assert!(table.contains("pr16 buggy") && table.contains("2 runs a side saved"), "{table}");
    study.call(&["report"]).expect(&[0]);
    let page = std::fs::read_to_string(study.path().join("stats/report.html")).unwrap();
    assert!(page.contains("Looks of the sequential design") && !page.contains("--runs 5"));

    // Handed over, every look is taken again from the runs.
    assert_eq!(packed_and_checked(&study), (6.into(), 0.into()));
    let text = std::fs::read_to_string(&file).unwrap();
    let other = text.replace("\"stop\":\"different\"", "\"stop\":\"equivalent\"");
    std::fs::write(&file, &other).unwrap();
    assert_ne!(text, other);
    let refused = refused_pack(&study);
    assert!(refused.contains("design/looks.jsonl: pr16 buggy after 5 runs: stop"), "{refused}");
    std::fs::write(&file, text).unwrap();
    json(&study, &["stats"]);
    let costs = json(&study, &["run", "--dry-run", "--retry-failed"]);
    assert_eq!(costs["missing"], 2 * 5 + 2 * 2, "what the looks saved");
    let hours = |scenario: usize| costs["design"]["scenarios"][scenario]["hours"].as_f64().unwrap();
    assert!(hours(1) < hours(0), "{costs}");

    // A control has looks of its own, and its sides go on as long as it does.
    let summary = json(&study, &["run", "pr40", "--control", "aa"]);
    assert_eq!(summary["made"], 2);
    assert_eq!(looks(&study).last().unwrap()["evaluation"], "aa");

    // What was declared stands.
    let toml = std::fs::read_to_string(study.path().join("study.toml")).unwrap();
    let refuse = |from: &str, to: &str, key: &str| {
        study_toml(&study, |_| toml.replace(from, to));
        let told = study.call(&["run"]).expect(&[2]);
        assert!(told.err.contains(key) && told.err.contains("design.json"), "{}", told.err);
    };
    refuse("looks = [5, 7]", "looks = [4, 7]", "run.design.looks");
    refuse("identical_after = 2\n", "", "run.design.identical_after");
    refuse("\"pocock\"", "\"obrien-fleming\"", "run.design.spending");
    refuse("margin = 0.005", "margin = 0.05", "stats.margin");
    refuse("epochs = 3", "epochs = 4", "run.epochs");
    refuse(DESIGN, "", "run.design");
    study_toml(&study, |_| toml.clone());
    let refused = study.call(&["run", "--epochs", "1"]).expect(&[2]);
    assert!(refused.err.contains("run.epochs"), "{}", refused.err);
    let refused = study.call(&["run", "--runs", "9"]).expect(&[2]);
    assert!(refused.err.contains("--runs"), "{}", refused.err);
    assert_eq!(looks(&study).len(), 7, "and nothing was looked at meanwhile");
}

#[test]
fn a_design_comes_before_the_first_run() {
    if !docker("a_design_comes_before_the_first_run") {
        return;
    }
    let study = TestStudy::tinynn(&[("runs = 10", "runs = 7")]);
    study.call(&["build", "pr40"]).expect(&[0]);
    study.call(&["run", "--runs", "1"]).expect(&[0]);
    study_toml(&study, |text| text + DESIGN);
    let told = study.call(&["run"]).expect(&[2]);
    assert!(told.err.contains("before the first run"), "{}", told.err);
}
