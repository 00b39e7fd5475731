//! Whole sessions of the Python client against a server in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod common;

use common::{Place, experiment, key, output, python};
use reproduceml_server::Event;
use study::{Evaluation, RunStatus};

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_runs_from_hello_to_metrics() {
    let sides = [experiment(Evaluation::Buggy), experiment(Evaluation::Corrected)];
    let place = Place::new(&sides);
    let handle = place.serve(place.config()).await;
    let mut events = handle.events();
    let [tcp, unix] = handle.addresses() else { panic!("two addresses") };
    let mut results = Vec::new();
    for (side, address) in sides.iter().zip([tcp, unix]) {
        let ticket = handle.ticket(&side.id(), 1);
        let text = output(python("train.py", &[address, ticket.as_str()])).await;
        results.push(serde_json::from_str::<serde_json::Value>(&text).unwrap());
    }
    assert_eq!(results[0]["job"]["seed"], results[1]["job"]["seed"], "both sides share the seed");
    assert_eq!(results[0]["job"]["seed"], sides[0].seed(1));
    assert_eq!(results[0]["metrics"], results[1]["metrics"]);
    assert_eq!(results[0]["job"]["splits"], serde_json::json!(["train", "validation", "test"]));
    for (side, result) in sides.iter().zip(&results) {
        let key = key(side, 1);
        let run = place.store.run(&key).unwrap().unwrap();
        assert_eq!(run.status, RunStatus::Finished);
        assert_eq!(run.manifest.unwrap()["nan"], "nan");
        let epochs = place.store.epochs(&key).unwrap();
        assert_eq!(epochs.len(), 4);
        assert!(f64::from_bits(epochs[2].loss_bits.unwrap()).is_nan(), "a NaN loss is kept");
        assert_eq!(epochs[1].loss_bits, Some(1.0_f64.to_bits()));
        for (epoch, digest) in epochs.iter().zip(result["digests"].as_array().unwrap()) {
            assert_eq!(epoch.digest, digest.as_str().unwrap());
        }
        let metrics = place.store.metrics(&key, "test").unwrap();
        assert_eq!(metrics["accuracy"], result["metrics"]["test/accuracy"].as_f64().unwrap());
        let details = run.result.unwrap();
        assert_eq!(details["splits"]["test"]["confusion"].as_array().unwrap().len(), 10);
        assert_eq!(details["timings"]["total"], 1.5);
        let kept = std::fs::read_dir(place.study.run_dir(&key).join("predictions")).unwrap();
        assert_eq!(kept.count(), 2);
    }
    let mut finished = 0;
    while let Ok(event) = events.try_recv() {
        finished += usize::from(matches!(event, Event::Finished { .. }));
    }
    assert_eq!(finished, 2);
    let report = handle.shutdown().await;
    assert!(report.drained && report.unfinished.is_empty(), "{report:?}");
}
