//! `run --workload`: the tests that tinynn's fixes brought, which show what its training cannot.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{TestStudy, docker, packed_and_checked, refused_pack};
use serde_json::Value;

/// The folder of one side's package.
fn site(study: &TestStudy, found: &Value, side: &str) -> PathBuf {
    study.path().join("artifacts").join(found[side].as_str().unwrap()).join("files/site")
}

fn copy(from: &Path, to: &Path) {
    std::fs::remove_dir_all(to).unwrap();
    assert!(Command::new("cp").arg("-r").args([from, to]).status().unwrap().success());
}

#[test]
fn what_training_never_executes_shows_in_the_fixes_own_tests() {
    if !docker("what_training_never_executes_shows_in_the_fixes_own_tests") {
        return;
    }
    let study = TestStudy::tinynn(&[]);
    let asked =
        ["--format", "json", "run", "--workload", "test:pr21", "--runs", "2", "--jobs", "2"];
    let told = study.call(&asked).expect(&[2]);
    assert!(told.err.contains("reproduceml build"), "{}", told.err);
    study.call(&["build", "pr21", "pr36"]).expect(&[0]);
    let ask = |code: i32| study.call(&asked).expect(&[code]).json()[0].clone();

    // A pooling that the network does not have: its values part, and only its fix passes.
    let found = ask(0);
    assert_eq!((&found["verdict"], &found["evidence"]), (&"different".into(), &true.into()));
    assert_eq!((&found["pairs"], &found["equal_pairs"]), (&2.into(), &0.into()));
    let first = &found["first"];
    assert!(first["test"].as_str().unwrap().contains("AveragePooling.test_overhanging"), "{first}");
    assert_eq!(first["at"], "tests/test_avg_pool.py:16");
    assert_eq!(
        (&first["buggy"], &first["corrected"]),
        (&"[…, 2.25, 3.75, 2.25]".into(), &"[…, 4.5, 7.5, 9.0]".into())
    );
    assert_eq!(first["difference"], "6.75");

    // What was run stays: both sides twice, and the first of each once more with its seed.
    let kept = study.path().join("own-tests/pr21.jsonl");
    let lines = std::fs::read_to_string(&kept).unwrap();
    let runs: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(runs.len(), 6);
    let seeds: std::collections::BTreeSet<u64> =
        runs.iter().map(|run| run["seed"].as_u64().unwrap()).collect();
    assert_eq!(seeds.len(), 2, "one a run, the same on both sides");
    let before = std::fs::metadata(&kept).unwrap().modified().unwrap();
    assert_eq!(ask(0), found);
    assert_eq!(std::fs::metadata(&kept).unwrap().modified().unwrap(), before, "nothing ran again");

    // Python that the training never calls; a text alone has no test.
    let other = study.call(&["--format", "json", "run", "--workload", "tests", "--runs", "1"]);
    let other = other.expect(&[0]);
    assert!(other.err.contains("pr41 is left out: its fix brought no test"), "{}", other.err);
    let all = other.json();
    let schedule = all.as_array().unwrap().iter().find(|one| one["bug"] == "pr36").unwrap();
    assert_eq!((&schedule["verdict"], &schedule["evidence"]), (&"different".into(), &true.into()));
    study.call(&["run", "--workload", "test:pr41"]).expect(&[2]);

    // Without a training, `stats` and `report` tell what the tests showed; `pack` hands it over with
    // the runs, from which `check` concludes it again.
    let analysis = study.call(&["--format", "json", "stats"]).expect(&[0]).json();
    assert_eq!(analysis["own_tests"].as_array().unwrap().len(), 2);
    assert_eq!(analysis["verdicts"], serde_json::json!([]));
    let table = study.call(&["stats"]).expect(&[0]).out;
    assert!(table.contains("pr21") && table.contains("AveragePooling"), "{table}");
    study.call(&["report"]).expect(&[0]);
    let page = std::fs::read_to_string(study.path().join("stats/report.html")).unwrap();
    assert!(page.contains("AveragePooling"));
    assert_eq!(packed_and_checked(&study), (0.into(), 2.into()));
    let findings = study.path().join("own-tests/findings.jsonl");
    let text = std::fs::read_to_string(&findings).unwrap();
    std::fs::write(&findings, text.replace("\"equal_pairs\":0", "\"equal_pairs\":1")).unwrap();
    let refused = refused_pack(&study);
    assert!(refused.contains("own-tests/findings.jsonl: pr21: equal_pairs"), "{refused}");
    std::fs::write(&findings, text).unwrap();
    let runs = std::fs::read_to_string(&kept).unwrap();
    std::fs::write(&kept, runs.replace("2.25", "2.5")).unwrap();
    assert!(refused_pack(&study).contains("own-tests/findings.jsonl: pr21: first"));
    std::fs::remove_file(&kept).unwrap();
    assert!(refused_pack(&study).contains("own-tests/pr21.jsonl"));
    std::fs::write(&kept, runs).unwrap();
    study.call(&["run", "--workload", "test:pr21", "--executor", "local"]).expect(&[2]);
    study.call(&["run", "--workload", "test:pr999"]).expect(&[2]);

    // One artifact on both sides is the same in every value,
    let corrected = site(&study, &found, "corrected");
    copy(&corrected, &site(&study, &found, "buggy"));
    std::fs::remove_file(&kept).unwrap();
    let same = ask(0);
    assert_eq!((&same["verdict"], &same["evidence"]), (&"identical".into(), &false.into()));
    assert_eq!((&same["pairs"], &same["equal_pairs"]), (&2.into(), &2.into()));
    // and an artifact that cannot be imported is no result.
    std::fs::remove_dir_all(&corrected).unwrap();
    std::fs::remove_file(&kept).unwrap();
    let none = ask(1);
    assert_eq!(none["verdict"], "invalid");
    assert!(none["reason"].as_str().unwrap().contains("tinynn"), "{none}");
}
