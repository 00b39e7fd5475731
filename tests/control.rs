//! The negative control: an artifact against itself, with the design of the comparison.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{TestStudy, docker};

#[test]
fn an_artifact_against_itself_shows_nothing_and_the_study_says_how_often() {
    if !docker("an_artifact_against_itself_shows_nothing_and_the_study_says_how_often") {
        return;
    }
    let study = TestStudy::tinynn(&[("runs = 10", "runs = 3")]);
    study.call(&["build", "pr16", "pr30"]).expect(&[0]);
    let told = study.call(&["run", "pr16", "--only", "aa"]).expect(&[2]);
    assert!(told.err.contains("--control aa"), "{}", told.err);
    let json = |arguments: &[&str]| {
        study.call(&[&["--format", "json"], arguments].concat()).expect(&[0]).json()
    };
    // The pair first, the control later: only its runs are made.
    json(&["run", "pr16"]);
    let summary = json(&["run", "pr16", "pr30", "--control", "aa"]);
    assert_eq!(summary["made"], 3 + 3 * 3);
    let sides = summary["sides"].as_array().unwrap();
    assert_eq!(sides.iter().filter(|side| side["evaluation"] == "aa").count(), 2);
    assert!(sides.iter().all(|side| side["finished"] == 3), "{summary}");

    let analysis = json(&["stats"]);
    let verdict = |bug: &str, kind: &str| {
        let all = analysis["verdicts"].as_array().unwrap();
        let found = all.iter().find(|v| v["bug"] == bug && v["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind} of {bug}"))["verdict"].clone()
    };
    for bug in ["pr16", "pr30"] {
        assert_eq!(verdict(bug, "aa"), "identical", "{bug}");
    }
    let rate = &analysis["controls"]["false_positives"];
    assert_eq!((&rate["different"], &rate["of"]), (&0.into(), &2.into()), "{rate}");

    // The funnel counts bugs by their own verdicts, and a later run without control keeps it.
    let funnel = json(&["status"]);
    assert_eq!((&funnel["ran"], &funnel["analysed"]), (&2.into(), &2.into()));
    assert_eq!(json(&["run"])["made"], 0);
    assert_eq!(json(&["stats"])["controls"], analysis["controls"]);

    // With another design it is another study's control.
    json(&["run", "pr16", "--runs", "1", "--epochs", "1"]);
    let shorter = json(&["stats"]);
    assert_eq!(shorter["controls"]["false_positives"]["of"], 1);
}
