//! Whole sessions of the Python client against a server in this process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::client::{self, Client};
use common::{Place, experiment, key, output, python, python_with};
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
async fn the_second_run_of_an_experiment_moves_no_samples() {
    let mut side = experiment(Evaluation::Buggy);
    side.hyperparameters.epochs = 1;
    let place = Place::new(std::slice::from_ref(&side));
    let handle = place.serve(place.config()).await;
    let samples = (40 + 10 + 20) * 28 * 28 * 4;
    let cache = place.path().join("cache").display().to_string();
    let mut moved = Vec::new();
    for run in 0..2 {
        let (address, count) = counted(&handle.addresses()[0]);
        let ticket = handle.ticket(&side.id(), run);
        let environment = [("REPRODUCEML_CACHE", cache.clone())];
        output(python_with("train.py", &[&address, ticket.as_str()], &environment)).await;
        moved.push(count.load(Ordering::SeqCst));
        let key = key(&side, run);
        assert_eq!(place.store.run(&key).unwrap().unwrap().status, RunStatus::Finished);
        assert_eq!(place.store.acknowledged_arrays(&key).unwrap().len(), 5, "all are acknowledged");
    }
    assert!(moved[0] > samples, "{moved:?}");
    // Messages, and the order of the samples, which each run has for itself.
    assert!(moved[1] < 16_000, "{moved:?}");
    handle.shutdown().await;
}

/// A way to `server`, and the number of bytes that it sent on it.
fn counted(server: &str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", listener.local_addr().unwrap());
    let server = server.strip_prefix("tcp:").unwrap().to_owned();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.unwrap();
            let mut server = TcpStream::connect(&server).unwrap();
            let mut back = (server.try_clone().unwrap(), client.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut client, &mut server);
                let _ = server.shutdown(Shutdown::Write);
            });
            let mut buffer = [0; 1 << 14];
            while let Ok(length @ 1..) = back.0.read(&mut buffer) {
                counter.fetch_add(length, Ordering::SeqCst);
                if back.1.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            let _ = back.1.shutdown(Shutdown::Both);
        }
    });
    (address, count)
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
