//! Sides that differ in more than the artifact: refused, allowed on record, or made again.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::process::Command;

use common::{TestStudy, docker};
use serde_json::Value;

/// Makes the corrected side's manifest that of another processor.
const TAMPER: &str = "
import json, sqlite3, sys
store = sqlite3.connect(sys.argv[1])
where = \"WHERE experiment LIKE '%-corrected-%'\"
manifest = json.loads(store.execute('SELECT manifest FROM runs ' + where).fetchone()[0])
manifest['hardware']['cpu'] = 'another'
store.execute('UPDATE runs SET manifest = ? ' + where, [json.dumps(manifest)])
store.commit()
";

#[test]
fn a_pair_on_two_machines_is_invalid_until_it_is_allowed_or_made_again() {
    if !docker("a_pair_on_two_machines_is_invalid_until_it_is_allowed_or_made_again") {
        return;
    }
    let study = TestStudy::tinynn(&[("runs = 10", "runs = 1"), ("epochs = 3", "epochs = 1")]);
    let bug = "pr21";
    study.call(&["build", bug]).expect(&[0]);
    study.call(&["run", bug]).expect(&[0]);
    let tampered = Command::new("python3")
        .args(["-c", TAMPER])
        .arg(study.path().join("study.db"))
        .status()
        .unwrap();
    assert!(tampered.success());
    let run = |options: &[&str], code: i32| -> Value {
        let arguments = [&["--format", "json", "run", bug], options].concat();
        study.call(&arguments).expect(&[code]).json()
    };
    let buggy = |summary: &Value| -> Value {
        let sides = summary["sides"].as_array().unwrap();
        sides.iter().find(|side| side["evaluation"] == "buggy").unwrap().clone()
    };
    let warned = || {
        let analysis = study.call(&["--format", "json", "stats"]).expect(&[0]).json();
        analysis["warnings"].to_string().contains("`run --allow` permits: hardware.cpu")
    };
    let found = buggy(&run(&[], 1));
    assert!(found["reason"].as_str().unwrap().contains("hardware.cpu"), "{found}");
    assert!(!warned());

    let found = buggy(&run(&["--allow", "hardware,software"], 0));
    assert!(found["tolerated"].as_str().unwrap().contains("hardware.cpu"), "{found}");
    assert_eq!(found["allowed"], serde_json::json!(["software", "hardware"]));
    assert!(warned(), "what was allowed is stated with the results");
    assert_eq!(buggy(&run(&[], 0))["invalid"], false, "and holds for later calls");

    assert_eq!(buggy(&run(&["--allow", "none"], 1))["invalid"], true);
    study.call(&["run", bug, "--allow", "none,hardware"]).expect(&[2]);
    study.call(&["run", bug, "--allow", "weather"]).expect(&[2]);

    let again = run(&["--retry-failed"], 0);
    assert_eq!(again["made"], 2, "both runs of the pair");
    assert_eq!(buggy(&again)["invalid"], false);
    assert_eq!(run(&["--retry-failed"], 0)["made"], 0);
    let store = study::Study::open(&study.path()).unwrap().store().unwrap();
    for (experiment, _) in store.active_experiments().unwrap() {
        let key = study::RunKey { experiment: experiment.id(), run: 0 };
        let kept = store.superseded(&key).unwrap();
        assert_eq!(kept.len(), 1, "what it had is kept");
        assert!(kept[0].0.contains("hardware.cpu") && kept[0].1.contains("\"epochs\""));
        assert_eq!(store.run(&key).unwrap().unwrap().attempt, 2);
    }
}
