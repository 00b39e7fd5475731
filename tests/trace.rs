//! Two runs told apart batch by batch and module by module, on bugs whose place is known.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{TestStudy, docker};
use serde_json::{Value, json};

/// The name of run 0 of one side of a bug.
fn run(study: &TestStudy, bug: &str, side: &str) -> String {
    let plan = study.call(&["--format", "json", "run", "--dry-run"]).expect(&[0]).json();
    let all = plan["experiments"].as_array().unwrap();
    let found = all.iter().find(|e| e["bug"] == bug && e["evaluation"] == side).unwrap();
    format!("{}/0", found["experiment"].as_str().unwrap())
}

fn trace(study: &TestStudy, left: &str, right: &str) -> Value {
    study.call(&["--format", "json", "diff", "--trace", left, right]).expect(&[0]).json()["trace"]
        .clone()
}

#[test]
fn a_trace_names_the_batch_and_the_module_where_tinynns_bugs_are() {
    if !docker("a_trace_names_the_batch_and_the_module_where_tinynns_bugs_are") {
        return;
    }
    let study = TestStudy::tinynn(&[("runs = 10", "runs = 1")]);
    let bugs = ["pr16", "pr20", "pr30", "pr21"];
    study.call(&[&["build"][..], &bugs].concat()).expect(&[0]);
    study.call(&[&["run"][..], &bugs].concat()).expect(&[0]);
    let store = std::fs::read(study.path().join("study.db")).unwrap();
    let of = |bug: &str| trace(&study, &run(&study, bug, "buggy"), &run(&study, bug, "corrected"));
    // pr16 counts one sample in weight gradients, pr20 divides the loss's gradient once too often,
    // pr30 adds bias gradients in another order.
    // Another order of summation costs the last bits, another gradient all of them.
    for (bug, stage, name, ulps) in [
        ("pr16", "parameter gradient", "3.weight", 1_000_000..=u64::MAX),
        ("pr20", "output gradient", "", 1_000_000..=u64::MAX),
        ("pr30", "parameter gradient", "3.bias", 1..=1000),
    ] {
        let found = of(bug);
        assert_eq!(found["moment"], json!({"at": "batch", "epoch": 1, "batch": 0}), "{bug}");
        let first = &found["tensors"][0];
        assert_eq!((&first["stage"], &first["name"]), (&json!(stage), &json!(name)), "{bug}");
        assert!(first["largest"].as_f64().unwrap() > 0.0, "{first}");
        assert!(ulps.contains(&first["ulps"].as_u64().unwrap()), "{first}");
        assert_eq!((&found["left_departs"], &found["right_departs"]), (&Value::Null, &Value::Null));
    }
    assert_eq!(of("pr21")["moment"], Value::Null, "what is never used parts nothing");

    // Two bugs have two seeds: they part at initialisation.
    let (left, right) = (run(&study, "pr16", "corrected"), run(&study, "pr20", "corrected"));
    let found = trace(&study, &left, &right);
    assert_eq!(found["moment"], json!({"at": "initialisation"}));
    assert_eq!(found["tensors"][0]["stage"], "parameter");

    assert_eq!(std::fs::read(study.path().join("study.db")).unwrap(), store, "nothing changed");
    let left_over = std::fs::read_dir(study.path()).unwrap().flatten();
    let left_over = left_over.filter(|e| e.file_name().to_string_lossy().starts_with(".trace"));
    assert_eq!(left_over.count(), 0);
}

#[test]
fn a_trace_names_the_module_where_a_fault_is_planted_in_pytorch() {
    if !docker("a_trace_names_the_module_where_a_fault_is_planted_in_pytorch") {
        return;
    }
    let study = TestStudy::from_definition(
        "quick-pytorch",
        &[
            ("runs = 10", "runs = 1"),
            ("epochs = 2", "epochs = 1"),
            ("train_samples = 1000", "train_samples = 192"),
            ("pytorch-avgpool3d-wrong.py", "pytorch-relu-leaks.py"),
        ],
    );
    study.call(&["mine", "--offline"]).expect(&[0]);
    let bug = "fault-avgpool3d"; // With another fault in its file.
    study.call(&["build", bug]).expect(&[0]);
    study.call(&["run", bug]).expect(&[0]);
    let (left, right) = (run(&study, bug, "artificial"), run(&study, bug, "corrected"));
    let relu = trace(&study, &left, &right);
    // The first module that sees what relu let through is the one behind it.
    assert_eq!(relu["moment"], json!({"at": "batch", "epoch": 1, "batch": 0}));
    let first = &relu["tensors"][0];
    assert_eq!((&first["stage"], &first["name"]), (&json!("output"), &json!("conv2")));
    assert!(first["largest"].as_f64().unwrap() < 0.1, "{first}");
}
