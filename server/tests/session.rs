//! Whole sessions of the Python client against a server in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod common;

use common::client::{self, Client};
use common::{Place, experiment, key, output, python};
use protocol::{Reply, Request};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_trains_for_long_keeps_its_run() {
    let side = experiment(Evaluation::Buggy);
    let place = Place::new(std::slice::from_ref(&side));
    let mut config = place.config();
    config.limits.lease = std::time::Duration::from_millis(800);
    config.limits.heartbeat = std::time::Duration::from_millis(100);
    let handle = place.serve(config).await;
    let mut events = handle.events();
    let ticket = handle.ticket(&side.id(), 0);
    // Three epochs, each longer than the lease.
    output(python("train.py", &[&handle.addresses()[1], ticket.as_str(), "1.2"])).await;
    let run = place.store.run(&key(&side, 0)).unwrap().unwrap();
    assert_eq!((run.status, run.attempt), (RunStatus::Finished, 1));
    let mut claims = 0;
    while let Ok(event) = events.try_recv() {
        claims += usize::from(matches!(event, Event::RunClaimed { .. }));
    }
    assert_eq!(claims, 1, "the connection was never given up");
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn predictions_of_an_epoch_are_graded_beside_the_final_ones() {
    let side = experiment(Evaluation::Buggy);
    let place = Place::new(std::slice::from_ref(&side));
    let handle = place.serve(place.config()).await;
    let key = key(&side, 0);
    let ticket = handle.ticket(&side.id(), 0);
    let address = handle.addresses()[1].clone();
    let metrics = tokio::task::spawn_blocking(move || {
        let hello = client::hello(ticket.as_str(), &client::holder(1));
        let mut client = Client::open(&address, hello).unwrap().unwrap();
        let seed = client.job.seed;
        let after = |number: u32| {
            let (request, data) = client::predictions(number, "test", 20);
            let Request::Predictions { split, array, .. } = request else { panic!() };
            (Request::Predictions { seed, split, epoch: Some(number), array }, data)
        };
        let finish = Request::Finish { seed, timings: serde_json::Map::default() };
        for number in 0..=client.job.epochs {
            assert_eq!(client.say(&client::epoch(seed, number)), Ok(Reply::Ok));
            let (request, data) = after(number);
            assert_eq!(client.ask(&request, &data).unwrap(), Ok(Reply::Ok));
            // Again, as after a lost answer.
            assert_eq!(client.ask(&request, &data).unwrap(), Ok(Reply::Ok));
        }
        let (request, data) = client::predictions(seed, "test", 20);
        assert_eq!(client.ask(&request, &data).unwrap(), Ok(Reply::Ok));
        let Ok(Reply::Finished { metrics }) = client.say(&finish) else { panic!("not finished") };
        metrics
    })
    .await
    .unwrap();
    let digests = place.store.prediction_digests(&key).unwrap();
    let names = ["test", "test@0", "test@1", "test@2", "test@3"];
    assert_eq!(digests.keys().collect::<Vec<_>>(), names);
    for name in names {
        let accuracy = place.store.metrics(&key, name).unwrap()["accuracy"];
        assert_eq!(metrics[&format!("{name}/accuracy")], accuracy);
        let file = format!("predictions/{name}.{}.f4.zst", &digests[name][..16]);
        assert!(place.study.run_dir(&key).join(&file).is_file(), "{file}");
    }
    handle.shutdown().await;
}
