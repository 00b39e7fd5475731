//! `variance` on tinynn, which computes the same bits whenever it is asked to.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{TestStudy, docker};
use serde_json::Value;

const ARGUMENTS: [&str; 8] =
    ["variance", "pr40", "--levels", "3", "--repetitions", "2", "--epochs", "1"];

fn component<'a>(told: &'a Value, metric: &str, source: &str) -> &'a Value {
    let all = told["metrics"][metric]["components"].as_array().unwrap();
    all.iter().find(|one| one["source"] == source).unwrap()
}

#[test]
fn seeds_and_order_are_what_tinynn_varies_by_and_repetition_is_not() {
    if !docker("seeds_and_order_are_what_tinynn_varies_by_and_repetition_is_not") {
        return;
    }
    let study = TestStudy::tinynn(&[("train_samples = 2000", "train_samples = 300")]);
    let nothing = study.call(&ARGUMENTS).expect(&[2]);
    assert!(nothing.err.contains("reproduceml build"), "{}", nothing.err);
    study.call(&["build", "pr40"]).expect(&[0]);
    for (arguments, word) in [
        (&["variance"][..], "BUG"),
        (&["variance", "pr40", "--factor", "threads"], "tinynn"),
        (&["variance", "pr40", "--factor", "model"], "model="),
        (&["variance", "pr40", "--factor", "model=mlp,mpl"], "no model `mpl`"),
        (&["variance", "pr40", "--factor", "order", "--factor", "order"], "once"),
        (&["variance", "pr40", "--levels", "1"], "--levels"),
        (&["variance", "pr40", "--repetitions", "0"], "--repetitions"),
        (&["variance", "pr40", "--half"], "--half"),
        (&["variance", "pr40", "--executor", "local", "--client", "x"], "--client"),
    ] {
        let told = study.call(arguments).expect(&[2]);
        assert!(told.err.contains(word), "{arguments:?}: {}", told.err);
    }
    let json: Vec<&str> = ["--format", "json"].into_iter().chain(ARGUMENTS).collect();
    let dry: Vec<&str> = json.iter().copied().chain(["--dry-run"]).collect();
    let plan = study.call(&dry).expect(&[0]).json();
    assert_eq!((&plan["combinations"], &plan["missing"]), (&6.into(), &12.into()));
    assert!(!study.path().join("variance").exists(), "a plan on paper writes nothing");

    // Killed on its way, it goes on where it was.
    let mut child =
        study.command(&ARGUMENTS).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    let finished = || study.call(&dry).expect(&[0]).json()["finished"].as_u64().unwrap();
    while finished() < 3 && begin.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_millis(100));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((3..12).contains(&finished()));
    let told = study.call(&json).expect(&[0]).json();

    // The same seed, order and artifact give the same bits, so repetition contributes nothing.
    for metric in ["accuracy", "loss"] {
        let share = |source: &str| component(&told, metric, source)["share"].as_f64().unwrap();
        assert_eq!(share("repetition"), 0.0, "{metric}");
        let shares = ["seed", "order", "seed × order"].map(share);
        assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{metric}: {shares:?}");
        assert!(shares[0] > 0.5, "{metric}: {shares:?}");
        assert!(component(&told, metric, "seed")["interval"][1].as_f64().unwrap() > 0.5);
    }
    // Time is another matter: nothing holds it.
    assert!(component(&told, "seconds", "repetition")["share"].as_f64().unwrap() > 0.0);

    // What is in the study says the same, and nothing of the study itself has changed.
    let folder = study.path().join(told["folder"].as_str().unwrap());
    let written = std::fs::read_to_string(folder.join("variance.json")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&written).unwrap(), told);
    let csv = std::fs::read_to_string(folder.join("results.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 12);
    assert!(csv.starts_with("seed,order,repetition,experiment,seed_value,accuracy"), "{csv}");
    let again = study.call(&json).expect(&[0]).json();
    assert_eq!(again, told, "the same runs give the same table");
    let table = study.call(&ARGUMENTS).expect(&[0]).out;
    assert!(table.contains("seed × order") && table.contains("95 % interval"), "{table}");
    let nothing_ran = study.call(&["stats"]).expect(&[2]);
    assert!(nothing_ran.err.contains("no run of this study"), "{}", nothing_ran.err);
}

/// PyTorch's threads, determinism and dropout: needs its image, and so the time of a test of
/// PyTorch.
#[test]
fn every_factor_of_pytorch_takes_effect() {
    if !docker("every_factor_of_pytorch_takes_effect") {
        return;
    }
    let study = TestStudy::from_definition(
        "quick-pytorch",
        &[
            ("name = \"lenet\"", "name = \"Dropping\"\nsource = \"mine.py\""),
            ("train_samples = 1000", "train_samples = 128"),
            ("test_samples = 500", "test_samples = 100"),
        ],
    );
    let model = "from torch import nn\nfrom reproduceml_client import Model\n\n\n\
                 class Dropping(Model):\n    def build(self, shape, classes):\n        \
                 return nn.Sequential(nn.Flatten(), nn.Linear(784, 32), nn.ReLU(),\n            \
                 nn.Dropout(0.5), nn.Linear(32, classes), nn.LogSoftmax(dim=1))\n";
    std::fs::write(study.path().join("mine.py"), model).unwrap();
    study.call(&["mine", "--offline"]).expect(&[0]);
    study.call(&["build", "fault-avgpool3d"]).expect(&[0]);
    let told = study
        .call(&[
            "--format",
            "json",
            "variance",
            "fault-avgpool3d",
            "--epochs",
            "1",
            "--repetitions",
            "1",
            "--half",
            "--factor",
            "dropout",
            "--factor",
            "threads",
            "--factor",
            "deterministic",
        ])
        .expect(&[0])
        .json();
    let share = component(&told, "loss", "dropout")["share"].as_f64().unwrap();
    assert!(share > 0.5, "{told}");
    // The manifests tell what took effect.
    let folder = study.path().join(told["folder"].as_str().unwrap());
    let store = study::Study::open(&folder).unwrap().store().unwrap();
    for (experiment, _) in store.active_experiments().unwrap() {
        let asked = experiment.conditions.clone().unwrap();
        let run = store.runs(&experiment.id()).unwrap().pop().unwrap();
        let manifest = run.manifest.unwrap();
        let controls = manifest["controls"].as_array().unwrap();
        let value =
            |name: &str| controls.iter().find(|c| c["name"] == name).map(|c| c["value"].clone());
        assert_eq!(value("threads intra-op"), Some(asked.threads.into()));
        assert_eq!(value("OMP_NUM_THREADS"), Some(asked.threads.to_string().into()));
        assert_eq!(value("deterministic algorithms"), Some(asked.deterministic.into()));
        assert_eq!(value("dropout").is_none(), asked.dropout);
    }
}
