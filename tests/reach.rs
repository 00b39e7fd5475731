//! `reach` on tinynn, of whose bugs it is known what the training executes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{TestStudy, docker, lost, root};
use serde_json::Value;

/// What each kind of evidence alone comes to, by bug.
fn truth(evidence: &str) -> BTreeMap<String, String> {
    let file = root().join("tests/fixtures/tinynn/truth.json");
    let truth: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    let bugs = truth.as_object().unwrap();
    bugs.iter()
        .filter_map(|(bug, known)| {
            Some((bug.clone(), known["reach"].get(evidence)?.as_str()?.to_owned()))
        })
        .collect()
}

fn answers(told: &Value) -> BTreeMap<String, String> {
    let findings = told["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| {
            let text = |key: &str| finding[key].as_str().unwrap().to_owned();
            assert!(!text("reason").is_empty() && !text("strength").is_empty(), "{finding}");
            assert_eq!(text("answer") == "unknown", !text("decides").is_empty(), "{finding}");
            (text("bug"), text("answer"))
        })
        .collect()
}

/// Whether tinynn can be compiled here; if not, says so aloud.
fn compiler(test: &str) -> bool {
    let there = |tool: &str| {
        Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success())
    };
    let all = ["cc", "make", "python3"].iter().all(|tool| there(tool));
    if !all {
        assert!(
            std::env::var_os("REPRODUCEML_REQUIRE_DOCKER").is_none(),
            "{test}: a machine that runs all tests needs cc, make and python3"
        );
        eprintln!("SKIPPED {test}: there is no cc, make or python3 here");
    }
    all
}

/// A trace of the study's workload on tinynn as it is now.
fn trace(folder: &Path) -> Value {
    let at = |name: &str| format!("{name}={}", folder.join(name).display());
    let made = Command::new("make")
        .args(["-s", "install", &at("OUT"), &at("DESTDIR")])
        .current_dir(root().join("tests/fixtures/tinynn/source"))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let traced = Command::new("python3")
        .args(["-B", "-m", "reproduceml_client.operators", "--framework", "tinynn"])
        .args(["--model", "mlp", "--challenge", "synthetic", "--shape", "1,8,8"])
        .env("PYTHONPATH", root().join("clients/python"))
        .env("REPRODUCEML_ARTIFACT", folder.join("DESTDIR"))
        .output()
        .unwrap();
    assert!(traced.status.success(), "{}", String::from_utf8_lossy(&traced.stderr));
    serde_json::from_slice(&traced.stdout).unwrap()
}

/// A model whose process aborts where it should end, as PyTorch of 2020 does under Python 3.9.
const ABORTING: &str = "import atexit, os
from reproduceml_client.models.tinynn.mlp import Mlp


class Aborting(Mlp):
    def build(self, shape, classes):
        atexit.register(os.abort)
        return Mlp.build(self, shape, classes)
";

fn write(folder: &Path, trace: &Value) -> PathBuf {
    let path = folder.join("trace.json");
    std::fs::write(&path, trace.to_string()).unwrap();
    path
}

#[test]
fn names_tell_the_truth_or_that_they_do_not_know() {
    if !compiler("names_tell_the_truth_or_that_they_do_not_know") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let whole = trace(folder.path());
    let study = TestStudy::tinynn(&[]);
    let ask = |trace: &Value| {
        let path = write(folder.path(), trace);
        let told = study.call(&["--format", "json", "reach", "--trace", path.to_str().unwrap()]);
        answers(&told.expect(&[0]).json())
    };
    let known = truth("names");
    assert_eq!(ask(&whole), known);

    // Each piece of what the layer rests on, taken away: it says so, and is never wrong.
    type Breaking = fn(&mut Value);
    let breaks: [(&str, Breaking); 4] = [
        ("the profiler does not hear everything", |trace| trace["complete"] = false.into()),
        ("the version's operators are not known", |trace| {
            trace["known"]["operators"] = serde_json::json!([]);
        }),
        ("the version's functions are not known", |trace| {
            trace["known"]["functions"] = serde_json::json!({});
        }),
        ("nothing is known of the version", |trace| {
            trace["known"] = serde_json::json!({"operators": [], "functions": {}, "builtins": []});
        }),
    ];
    for (what, spoil) in breaks {
        let mut broken = whole.clone();
        spoil(&mut broken);
        let mut doubts = 0;
        for (bug, answer) in ask(&broken) {
            doubts += usize::from(answer == "unknown" && known[&bug] != "unknown");
            assert!(answer == "unknown" || answer == known[&bug], "{what}: {bug} is {answer}");
        }
        assert!(doubts > 0, "{what}: and nothing came of it");
    }

    // Without a trace only the kinds of files are left.
    let alone = study.call(&["--format", "json", "reach"]).expect(&[0]).json();
    for (bug, answer) in answers(&alone) {
        assert_eq!(answer, if bug == "pr41" { "not-in-artifact" } else { "unknown" }, "{bug}");
    }
    // A trace of another workload is no evidence for this one.
    let path = write(folder.path(), &whole);
    let other = study.call(&["reach", "--model", "other", "--trace", path.to_str().unwrap()]);
    assert!(other.expect(&[2]).err.contains("a trace of mlp"));
    study.call(&["reach", "pr999"]).expect(&[2]);
    std::fs::write(&path, "{}").unwrap();
    let damaged = study.call(&["reach", "--trace", path.to_str().unwrap()]).expect(&[2]);
    assert!(damaged.err.contains("reproduceml_client.operators"), "{}", damaged.err);
}

/// The first workload of a kind that is suggested for each bug.
fn suggested(told: &Value, kind: &str) -> BTreeMap<String, String> {
    let all = told["suggestions"].as_array().unwrap();
    let first = |one: &Value| {
        let found = one["suggestions"].as_array().unwrap();
        let found = found.iter().find(|found| found["kind"] == kind)?;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Some((text(&one["bug"]), text(&found["workload"])))
    };
    all.iter().filter_map(first).collect()
}

#[test]
fn what_would_reach_a_change_is_named() {
    if !compiler("what_would_reach_a_change_is_named") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &trace(folder.path()));
    // The list that comes with the program is what the client writes.
    let list = root().join("data/operators/tinynn-modules.json");
    let made = Command::new("python3")
        .args(["-B", "-m", "reproduceml_client.modules", "--framework", "tinynn"])
        .arg(root().join("data/operators/tinynn-modules.txt"))
        .env("PYTHONPATH", root().join("clients/python"))
        .env("REPRODUCEML_ARTIFACT", folder.path().join("DESTDIR"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&made.stdout), std::fs::read_to_string(list).unwrap());

    let study = TestStudy::tinynn(&[]);
    let ask = ["--format", "json", "reach", "--suggest", "--trace", path.to_str().unwrap()];
    let told = study.call(&ask).expect(&[0]).json();
    let modules = suggested(&told, "module");
    let convolution = "nn.Conv1d(2, 1, 2, tinynn.Generator(1))";
    for (bug, module) in [
        ("pr21", "nn.AvgPool2d(2)"),
        ("pr25", convolution),
        ("pr26", convolution),
        ("pr36", "lambda: schedule.StepLR(optim.SGD(nn.Linear(2, 2).parameters(), 0.1), 1).step()"),
        ("pr37", "nn.Sigmoid()"),
    ] {
        assert_eq!(modules.get(bug).map(String::as_str), Some(module), "{bug}");
    }
    let tests = suggested(&told, "test");
    assert_eq!(tests["pr21"], "test:pr21");
    // Nothing is suggested for what the study's model reaches, and nothing can be for texts alone.
    let all = told["suggestions"].as_array().unwrap();
    assert!(all.iter().all(|one| one["bug"] != "pr16" && one["bug"] != "pr40"));
    let text = all.iter().find(|one| one["bug"] == "pr41").unwrap();
    assert!(text["none"].as_str().unwrap().contains("nothing of the artifact"), "{text}");
    assert_eq!(text["suggestions"], serde_json::json!([]));
    let table = study.call(&["reach", "--suggest", "pr21", "--trace", path.to_str().unwrap()]);
    assert!(table.expect(&[0]).out.contains("nn.AvgPool2d(2)"));
}

#[test]
fn lines_and_values_tell_the_truth_and_run_heeds_it() {
    if !docker("lines_and_values_tell_the_truth_and_run_heeds_it") {
        return;
    }
    let study = TestStudy::tinynn(&[("train_samples = 2000", "train_samples = 200")]);
    // One of each kind: executed in C and in Python, never executed in both, without effect.
    let bugs = ["pr16", "pr20", "pr21", "pr36", "pr40"];
    study.call(&[["build"].as_slice(), &bugs].concat()).expect(&[0]);
    let ask = |depth: &str| {
        let arguments =
            [["--format", "json", "reach", "--up-to", depth].as_slice(), &bugs].concat();
        answers(&study.call(&arguments).expect(&[0]).json())
    };
    let of = |evidence: &str| -> BTreeMap<String, String> {
        truth(evidence).into_iter().filter(|(bug, _)| bugs.contains(&bug.as_str())).collect()
    };
    // Without --trace the workload is traced in the newest artifact, and the trace is kept.
    assert_eq!(ask("operators"), of("names"));
    let traces = study.path().join("reach/traces");
    let kept = std::fs::read_dir(&traces).unwrap().next().unwrap().unwrap().path();

    // `run` leaves out what cannot be shown, by name, and refuses it where it was asked for.
    let told = study.call(&["--format", "json", "run", "--dry-run"]).expect(&[0]);
    assert!(told.err.contains("pr21, pr36"), "{}", told.err);
    assert_eq!(told.json()["experiments"].as_array().unwrap().len(), 6);
    let refused = study.call(&["run", "pr21", "--dry-run"]).expect(&[2]);
    assert!(refused.err.contains("--anyway"), "{}", refused.err);
    study.call(&["run", "pr21", "--anyway", "--dry-run"]).expect(&[0]);
    let funnel = study.call(&["--format", "json", "status"]).expect(&[0]).json();
    let held: Vec<String> = lost(&funnel, "reached").into_keys().collect();
    assert_eq!((&funnel["built"], &funnel["reached"]), (&5.into(), &3.into()));
    assert_eq!(held, ["pr21", "pr36"]);

    // With names that know nothing, lines alone tell the same.
    let mut blind: Value = serde_json::from_slice(&std::fs::read(&kept).unwrap()).unwrap();
    for what in ["operators", "nodes", "builtins", "modules"] {
        blind[what] = serde_json::json!([]);
    }
    blind["functions"] = serde_json::json!({});
    blind["known"] = serde_json::json!({"operators": [], "functions": {}, "builtins": []});
    std::fs::write(&kept, blind.to_string()).unwrap();
    assert!(ask("operators").values().all(|answer| answer == "unknown"));
    assert_eq!(ask("lines"), of("lines"));
    // What tests of the layers rest on is what is seen here too.
    let watched: Value = serde_json::from_str(
        &std::fs::read_to_string(root().join("tests/fixtures/tinynn/watched.json")).unwrap(),
    )
    .unwrap();
    for bug in bugs {
        let seen = study.path().join(format!("reach/watched/{bug}.json"));
        let seen: Value = serde_json::from_slice(&std::fs::read(seen).unwrap()).unwrap();
        for side in ["buggy", "corrected"] {
            assert_eq!(seen[side]["lines"], watched[bug][side]["lines"], "{bug}, {side}");
        }
    }
    let measured = ask("values");
    assert_eq!(measured["pr16"], "may-differ");
    assert_eq!(measured["pr20"], "may-differ");
    assert_eq!(measured["pr40"], "executed-same");
    assert_eq!(measured["pr21"], "not-executed");

    // An interpreter that aborts at its end loses no counts: they are written before.
    let toml = study.path().join("study.toml");
    let text = std::fs::read_to_string(&toml).unwrap();
    let own = "name = \"Aborting\"\nsource = \"aborting.py\"";
    std::fs::write(&toml, text.replace("name = \"mlp\"", own)).unwrap();
    std::fs::write(study.path().join("aborting.py"), ABORTING).unwrap();
    let told = study.call(&["--format", "json", "reach", "--up-to", "lines", "pr16"]);
    let told = told.expect(&[0]).json();
    let counted = |part: &&Value| part["layer"] == "lines-cpp" && part["answer"] == "may-differ";
    let evidence = told["findings"][0]["evidence"].as_array().unwrap();
    assert_eq!(evidence.iter().filter(counted).count(), 1, "{told}");
    std::fs::write(&toml, text).unwrap();

    // And without the artifacts' clients nothing can be watched: unknown, not a guess.
    let artifacts = study.path().join("artifacts");
    for entry in std::fs::read_dir(&artifacts).unwrap() {
        let site = entry.unwrap().path().join("files/site");
        // Beside the artifacts lies the pool of files that they share.
        if site.exists() {
            std::fs::remove_dir_all(site).unwrap();
        }
    }
    let told = study.call(&["--format", "json", "reach", "--up-to", "values", "pr20", "pr36"]);
    let told = told.expect(&[0]);
    assert!(told.err.contains("did not end"), "{}", told.err);
    assert!(answers(&told.json()).values().all(|answer| answer == "unknown"));
}

#[test]
fn the_papers_bugs() {
    // PyTorch's history is too large to come along.
    let Some(clone) = std::env::var_os("REPRODUCEML_PYTORCH_CLONE") else {
        eprintln!("SKIPPED the_papers_bugs: REPRODUCEML_PYTORCH_CLONE names no clone of PyTorch");
        return;
    };
    let study = TestStudy::from_definition("pytorch-1.1-1.6", &[]);
    let corpus = root().join("data/studies/pytorch-1.1-1.6/corpus/bugs.jsonl");
    std::fs::create_dir_all(study.path().join("corpus")).unwrap();
    std::fs::copy(corpus, study.path().join("corpus/bugs.jsonl")).unwrap();
    let clone = clone.to_str().unwrap();
    // The table is about CPUs; the paper's own study trains on a GPU, of which there is no trace.
    let asked = ["--format", "json", "reach", "--device", "cpu", "--suggest", "--repo", clone];
    let told = study.call(&asked).expect(&[0]).json();
    let found = answers(&told);
    assert_eq!(found.len(), 18);
    for (bug, answer) in found {
        let expected = match bug.as_str() {
            "pr31584" => "not-in-artifact",
            "pr32044" | "pr36832" => "unknown",
            "pr37214" => "may-differ",
            _ => "not-executed",
        };
        assert_eq!(answer, expected, "{bug}");
    }
    // What would reach them, each checked by reading the fix.
    let modules = suggested(&told, "module");
    for (bug, word) in [
        ("pr31167", "cdist"),
        ("pr31433", "quantize_dynamic"),
        ("pr32044", "LSTMCell"),
        ("pr32062", "pow"),
        ("pr32350", "ConstantPad"),
        ("pr32541", "torch.max"),
        ("pr32829", "grid_sample"),
        ("pr32831", "prod"),
        ("pr32978", "isclose"),
        ("pr36820", "MaxPool3d"),
        ("pr38945", "LogSoftmax"),
        ("pr39903", "FractionalMaxPool2d"),
    ] {
        assert!(modules[bug].contains(word), "{bug}: {}", modules[bug]);
    }
    assert_eq!(suggested(&told, "model")["pr38945"], "vgg-x", "on a GPU");
    for bug in ["pr31552", "pr31584", "pr33017", "pr35022", "pr37214"] {
        assert!(!modules.contains_key(bug), "{bug}");
    }
}
