//! What a run may do in its container, and how each bad end is told from the others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{TestStudy, Told, docker, root};
use serde_json::{Value, json};

const BUG: &str = "pr21";

/// A study of one bug whose models are those of the probe, trained for a moment.
fn probing() -> TestStudy {
    let study = TestStudy::tinynn(&[
        ("runs = 10", "runs = 1"),
        ("epochs = 3", "epochs = 1"),
        ("name = \"mlp\"", "name = \"Plain\"\nsource = \"probe.py\""),
        ("memory_mib = 512", "memory_mib = 256"),
        ("timeout_minutes = 5", "timeout_minutes = 1"),
    ]);
    let probe = root().join("tests/fixtures/probe.py");
    std::fs::copy(probe, study.path().join("probe.py")).unwrap();
    study.call(&["build", BUG]).expect(&[0]);
    study
}

/// Runs one model on one side; the side's summary.
fn side(study: &TestStudy, model: &str, codes: &[i32]) -> Value {
    let arguments = ["--format", "json", "run", BUG, "--only", "corrected", "--model", model];
    let summary = study.call(&arguments).expect(codes).json();
    let sides = summary["sides"].as_array().unwrap();
    sides.iter().find(|side| side["evaluation"] == "corrected").unwrap().clone()
}

fn log(study: &TestStudy, side: &Value) -> String {
    let folder = study.path().join("runs").join(side["experiment"].as_str().unwrap());
    std::fs::read_to_string(folder.join("0000/log.txt")).unwrap()
}

#[test]
fn from_inside_a_run_nothing_is_in_reach_but_the_server() {
    if !docker("from_inside_a_run_nothing_is_in_reach_but_the_server") {
        return;
    }
    let study = probing();
    let looks = side(&study, "Looks", &[1]); // The other side is not run.
    assert_eq!(looks["finished"], 1, "{looks}");
    let text = log(&study, &looks);
    let found = text.lines().find_map(|line| line.strip_prefix("PROBE ")).unwrap();
    let found: Value = serde_json::from_str(found).unwrap();
    assert_ne!(found["uid"], 0, "{found}");
    let none = "0000000000000000";
    assert_eq!(found["capabilities"], json!([none, none, none, none, none]));
    assert_eq!(found["no_new_privileges"], "1");
    assert_eq!(found["interfaces"], json!(["lo"]));
    assert_eq!((&found["outside"], &found["docker"]), (&json!(false), &json!(false)));
    assert_eq!(found["writable"], json!(["/tmp"]), "the scratch folder alone");
    assert_eq!(found["memory"], (256_u32 << 20).to_string());
    assert_eq!(found["processes"], "256");
}

#[test]
fn every_bad_end_is_told_from_the_others() {
    if !docker("every_bad_end_is_told_from_the_others") {
        return;
    }
    let study = probing();
    for (model, ending, words) in [
        ("TakesMemory", "out-of-memory", "memory_mib"),
        ("IsKilled", "killed", "signal 9"),
        ("Crashes", "crash", "segmentation fault"),
        ("Raises", "exception", "ZeroDivisionError: by intention"),
    ] {
        let side = side(&study, model, &[1]);
        assert_eq!(side["failed"], 1, "{side}");
        let end = &side["endings"][0];
        assert_eq!((&end["ending"], &end["runs"]), (&json!(ending), &json!([0])), "{side}");
        assert!(end["reason"].as_str().unwrap().contains(words), "{model}: {end}");
    }
    // An exception comes with its traceback, and the table names kind and run.
    let store = study::Study::open(&study.path()).unwrap().store().unwrap();
    let (raised, _) = store
        .active_experiments()
        .unwrap()
        .into_iter()
        .find(|(experiment, _)| experiment.evaluation == study::Evaluation::Corrected)
        .unwrap();
    let reason = store.runs(&raised.id()).unwrap()[0].reason.clone().unwrap();
    assert!(reason.contains("Traceback") && reason.contains("in build"), "{reason}");
    let told = study.call(&["run", BUG, "--only", "corrected", "--model", "Raises"]).expect(&[1]);
    assert!(told.out.contains("run 0: exception: ZeroDivisionError"), "{}", told.out);
    assert!(told.err.contains("--retry-failed"), "{}", told.err);

    // A run that lost its server starts over by itself; it did not fail.
    for _ in 0..2 {
        let lost = side(&study, "LosesItsServer", &[1]);
        assert_eq!((&lost["failed"], &lost["finished"]), (&json!(0), &json!(0)), "{lost}");
        let end = &lost["endings"][0];
        assert_eq!((&end["ending"], &end["starts_over"]), (&json!("server-lost"), &json!(true)));
    }

    // What was accepted before the process died is kept, and the death is on record.
    let aborts = side(&study, "AbortsAtExit", &[1]);
    assert_eq!((&aborts["failed"], &aborts["finished"]), (&json!(0), &json!(1)), "{aborts}");
    let end = &aborts["endings"][0];
    assert_eq!((&end["ending"], &end["after_acceptance"]), (&json!("crash"), &json!(true)));

    // A name that is no model is refused before anything is planned.
    let told = study.call(&["run", BUG, "--model", "Nothing"]).expect(&[2]);
    assert!(told.err.contains("a class in probe.py"), "{}", told.err);
}

#[test]
fn a_run_that_hangs_is_ended_and_counted() {
    if !docker("a_run_that_hangs_is_ended_and_counted") {
        return;
    }
    let study = probing();
    let hangs = side(&study, "Hangs", &[1]);
    assert_eq!(hangs["failed"], 1, "{hangs}");
    assert_eq!(hangs["endings"][0]["ending"], "timeout");
    assert!(hangs["reason"].as_str().unwrap().contains("timeout_minutes"), "{hangs}");
}

#[test]
fn without_a_gpu_a_run_on_one_says_so_and_plans_nothing() {
    if !docker("without_a_gpu_a_run_on_one_says_so_and_plans_nothing") {
        return;
    }
    if std::path::Path::new("/dev/nvidiactl").exists() {
        eprintln!("SKIPPED: this machine has a GPU");
        return;
    }
    let study = probing();
    study.call(&["run", BUG]).expect(&[0]);
    let status = || study.call(&["--format", "json", "status"]).expect(&[0]).json();
    let before = status();
    assert_eq!(before["ran"], 1);
    for executor in ["docker", "local"] {
        let told = study.call(&["run", BUG, "--gpus", "0", "--executor", executor]).expect(&[3]);
        assert!(told.err.contains("no GPU") && told.err.contains("run.device"), "{}", told.err);
    }
    assert_eq!(status(), before, "the runs on the processor still count");
    for wrong in ["0,0", ""] {
        study.call(&["run", BUG, "--gpus", wrong]).expect(&[2]);
    }
}

#[test]
fn clients_of_this_machine_are_handed_the_token_and_the_certificate() {
    if !docker("clients_of_this_machine_are_handed_the_token_and_the_certificate") {
        return;
    }
    let study = TestStudy::tinynn(&[("runs = 10", "runs = 1"), ("epochs = 3", "epochs = 1")]);
    study.call(&["build", BUG]).expect(&[0]);
    let secret = "a-token-nobody-guesses-0123456789";
    let pem = |name: &str| root().join("server/tests/tls").join(name).display().to_string();
    let (chain, key) = (pem("server.pem"), pem("server.key"));
    // Open to others, so that the server lets nobody in who does not show the token.
    let run = |token: Option<&str>, tls: &[&str]| {
        let mut command = study.command(&["--format", "json", "-vv", "run", BUG]);
        command
            .args(["--executor", "local", "--listen", "0.0.0.0:0"])
            .args(tls)
            .env_remove("REPRODUCEML_TOKEN")
            .envs(token.map(|token| ("REPRODUCEML_TOKEN", token)));
        Told::of(command.output().unwrap())
    };
    assert!(run(None, &[]).expect(&[2]).err.contains("needs a token"));
    let told = run(Some(secret), &["--tls-cert", &chain, "--tls-key", &key]).expect(&[0]);
    assert!(!told.err.contains(secret), "{}", told.err);
    let summary = told.json();
    assert_eq!(summary["made"], 2, "{summary:#}");
    for side in summary["sides"].as_array().unwrap() {
        assert_eq!(side["finished"], 1, "{side}");
        let log = log(&study, side);
        assert!(!log.contains(secret), "{log}");
    }
}
