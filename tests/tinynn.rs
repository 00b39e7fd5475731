//! The whole line on tinynn, whose bugs are known: mine, build from source, run, compare.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{TestStudy, docker, lost, root, verdicts};

fn truth() -> serde_json::Map<String, serde_json::Value> {
    let file = root().join("tests/fixtures/tinynn/truth.json");
    let truth: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    truth.as_object().unwrap().clone()
}

#[test]
fn mining_finds_the_known_bugs_and_their_commits() {
    let study = TestStudy::tinynn(&[]);
    let summary = study.call(&["--format", "json", "mine", "--offline"]).expect(&[0]).json();
    assert_eq!(summary["bugs"], truth().len());
    let funnel = study.call(&["--format", "json", "status"]).expect(&[0]).json();
    assert_eq!(funnel["mined"], truth().len());
    assert_eq!(lost(&funnel, "resolved").into_keys().collect::<Vec<_>>(), ["pr35"]);
    assert_eq!(lost(&funnel, "selected").into_keys().collect::<Vec<_>>(), ["pr41"]);
}

#[test]
fn every_verdict_is_the_known_truth() {
    if !docker("every_verdict_is_the_known_truth") {
        return;
    }
    // Eight runs a side are the fewest for which a family of 36 corrected tests can decide.
    let study = TestStudy::tinynn(&[("runs = 10", "runs = 8")]);
    study.call(&["build"]).expect(&[1]);
    study.call(&["run"]).expect(&[0]);
    let analysis = study.call(&["--format", "json", "stats"]).expect(&[0]).json();
    let verdicts = verdicts(&analysis);
    let funnel = study.call(&["--format", "json", "status"]).expect(&[0]).json();

    for (bug, known) in truth() {
        let verdict = verdicts.get(&bug).map(String::as_str);
        match known["verdict"].as_str().unwrap() {
            "not-different" => assert!(
                matches!(verdict, Some("equivalent" | "inconclusive")),
                "{bug}: {verdict:?}"
            ),
            "not-found" => assert!(lost(&funnel, "resolved").contains_key(&bug), "{bug}"),
            "build-failure" => {
                let reason = &lost(&funnel, "built")[&bug];
                assert!(reason.contains("buggy: compile"), "{bug}: {reason}");
            }
            "crash" => {
                // The smoke test of every artifact trains a step, so the crash shows there.
                let reason = &lost(&funnel, "built")[&bug];
                assert!(reason.contains("buggy: train: Segmentation fault"), "{bug}: {reason}");
            }
            _ if bug == "pr41" => assert!(lost(&funnel, "selected").contains_key(&bug)),
            wanted => assert_eq!(verdict, Some(wanted), "{bug}"),
        }
    }
    assert_eq!(funnel["analysed"], 9);

    // The tests that the fixes brought tell the sides apart, for every bug that has a pair and tests.
    let probed = study.call(&["--format", "json", "build", "probe"]).expect(&[0]).json();
    for probe in probed["probes"].as_array().unwrap() {
        assert_eq!(probe["buggy_passes"], false, "{probe}");
        assert_eq!(probe["corrected_passes"], true, "{probe}");
    }
    let name = |one: &serde_json::Value| one["bug"].as_str().unwrap().to_owned();
    let has_test = |bug: &String| !truth()[bug]["test"].is_null();
    let expected: Vec<String> = verdicts.keys().filter(|bug| has_test(bug)).cloned().collect();
    let found: BTreeSet<_> = probed["probes"].as_array().unwrap().iter().map(name).collect();
    assert_eq!(found.into_iter().collect::<Vec<_>>(), expected);
    // The others are named with their reason.
    for left in probed["left_out"].as_array().unwrap() {
        let bug = name(left);
        let why = if has_test(&bug) { "no two artifacts" } else { "brought no test" };
        assert!(left["reason"].as_str().unwrap().contains(why), "{left}");
    }
    for test in analysis["tests"].as_array().unwrap() {
        for key in ["bug", "metric", "n_buggy", "n_corrected", "statistic", "p_value"] {
            assert!(test.get(key).is_some(), "a test without {key}");
        }
    }

    // Two runs are told apart: the same factors, the same start, parted in the first epoch.
    let experiments = study.call(&["--format", "json", "run", "--dry-run"]).expect(&[0]).json();
    let run = |bug: &str, side: &str| {
        let all = experiments["experiments"].as_array().unwrap();
        let found = all.iter().find(|e| e["bug"] == bug && e["evaluation"] == side).unwrap();
        format!("{}/0", found["experiment"].as_str().unwrap())
    };
    for (bug, first_epoch) in [("pr16", serde_json::json!(1)), ("pr21", serde_json::json!(null))] {
        let (left, right) = (run(bug, "buggy"), run(bug, "corrected"));
        let told = study.call(&["--format", "json", "diff", &left, &right]).expect(&[0]).json();
        assert_eq!(told["first_epoch"], first_epoch, "{bug}");
        assert_eq!(told["factors"], serde_json::json!([]), "{bug}");
        assert_eq!(told["same_predictions"]["test"], first_epoch.is_null(), "{bug}");
    }
    study.call(&["diff", "nonsense", "pr1-buggy-0/0"]).expect(&[2]);
    study.call(&["diff", "pr1-buggy-0/0", "pr1-buggy-0/1"]).expect(&[2]);

    // A plan that is only looked at changes nothing.
    study.call(&["run", "--epochs", "9", "--dry-run"]).expect(&[0]);
    study.call(&["run", "--model", "other"]).expect(&[2]);
    let looked = study.call(&["--format", "json", "status"]).expect(&[0]).json();
    assert_eq!(looked, funnel);

    // Called again, nothing is done twice and nothing changes.
    let before = std::fs::read(study.path().join("stats/results.csv")).unwrap();
    let again = study.call(&["--format", "json", "build"]).expect(&[1]).json();
    assert_eq!(again["built"], 0);
    // Every bug's toolchain is shown with its reason; what was used is locked and has not moved.
    let toolchain = &again["bugs"][0]["toolchain"];
    assert_eq!(toolchain["name"], "debian-bookworm-tinynn");
    assert_eq!(toolchain["reason"], "study.toml names it");
    study.call(&["build", "lock", "--check"]).expect(&[0]);
    study.call(&["build", "--locked", "--memory", "256", "--dry-run"]).expect(&[0]);
    let lock = study.path().join("toolchains.lock");
    let text = std::fs::read_to_string(&lock).unwrap();
    std::fs::write(&lock, text.replace("files = \"", "files = \"0")).unwrap();
    assert!(study.call(&["build"]).expect(&[2]).err.contains("has moved"));
    assert!(study.call(&["build", "lock", "--check"]).expect(&[1]).out.contains("files"));
    study.call(&["build", "lock"]).expect(&[0]);
    assert_eq!(std::fs::read_to_string(&lock).unwrap().lines().count(), text.lines().count());
    study.call(&["build", "mirror"]).expect(&[0]);
    let again = study.call(&["--format", "json", "run"]).expect(&[0]).json();
    assert_eq!(again["made"], 0);
    let second = study.call(&["--format", "json", "stats"]).expect(&[0]).json();
    assert_eq!(second, analysis);
    assert_eq!(std::fs::read(study.path().join("stats/results.csv")).unwrap(), before);
}

#[test]
fn artifacts_that_are_the_same_need_no_run_for_their_verdict() {
    if !docker("artifacts_that_are_the_same_need_no_run_for_their_verdict") {
        return;
    }
    // Words of documentation alone: who names the bug wants to see that nothing differs.
    let study = TestStudy::tinynn(&[]);
    let file = study.path().join("study.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text + "\n[select]\nbugs = [\"pr41\"]\n").unwrap();
    study.call(&["mine", "--offline"]).expect(&[0]);
    let nothing = study.call(&["stats"]).expect(&[2]);
    assert!(nothing.err.contains("no run of this study is finished"), "{}", nothing.err);

    let built = study.call(&["--format", "json", "build"]).expect(&[0]).json();
    assert_eq!(built["bugs"][0]["identical"], true);
    let run = study.call(&["--format", "json", "run"]).expect(&[0]).json();
    assert_eq!(run["made"], 0);
    let analysis = study.call(&["--format", "json", "stats"]).expect(&[0]).json();
    assert_eq!(verdicts(&analysis)["pr41"], "identical");
    let reason = analysis["verdicts"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("the same byte for byte"), "{reason}");
    let funnel = study.call(&["--format", "json", "status"]).expect(&[0]).json();
    assert_eq!(funnel["analysed"], 1, "{funnel:#}");
    for form in ["table", "markdown", "csv"] {
        study.call(&["--format", form, "stats"]).expect(&[0]);
    }
    let report = study.call(&["report"]).expect(&[0]);
    assert!(!report.err.contains("panic"), "{}", report.err);
}

/// The digests of each run of a study, by side and run, from the results that `stats` wrote.
fn fingerprints(study: &TestStudy) -> BTreeMap<(String, String), String> {
    let text = std::fs::read_to_string(study.path().join("stats/results.csv")).unwrap();
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let names = lines.next().unwrap();
    let column = |name| names.iter().position(|n| *n == name).unwrap();
    let (side, run, digests) = (column("evaluation"), column("run"), column("fingerprints"));
    lines
        .map(|row| ((row[side].to_owned(), row[run].to_owned()), row[digests].to_owned()))
        .collect()
}

#[test]
fn the_same_run_in_two_processes_gives_the_same_parameters() {
    if !docker("the_same_run_in_two_processes_gives_the_same_parameters") {
        return;
    }
    let [one, two] = [(), ()].map(|()| {
        let study = TestStudy::tinynn(&[("runs = 10", "runs = 2")]);
        study.call(&["build", "pr16"]).expect(&[0]);
        study.call(&["run", "pr16"]).expect(&[0]);
        study.call(&["stats"]).expect(&[0]);
        fingerprints(&study)
    });
    assert_eq!(one.len(), 4);
    // Initialisation, three epochs, predictions.
    assert!(one.values().all(|digests| digests.split(';').count() == 5), "{one:?}");
    assert_eq!(one, two, "two studies, the same seeds, the same bits");
    assert_ne!(
        one[&("corrected".into(), "0".into())],
        one[&("corrected".into(), "1".into())],
        "another seed, other parameters"
    );
}
