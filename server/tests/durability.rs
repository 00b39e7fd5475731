//! A server that is killed again and again under load loses nothing that it acknowledged.
//!
//! `REPRODUCEML_KILLS` sets how often it is killed (300 unless set).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod common;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::client::{Client, hello, holder, story};
use common::{Place, experiment, key, output, python};
use protocol::{Reply, Request};
use reproduceml_server::challenge::permutation::Generator;
use study::{Evaluation, Experiment, RunStatus};

const RUST_CLIENTS: u32 = 6;
const PYTHON_CLIENTS: u32 = 2;

fn server_binary() -> PathBuf {
    // Tests lie in target/<profile>/deps, examples in target/<profile>/examples.
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/serve")
}

fn start(study: &Path, socket: &Path) -> Child {
    let mut child = Command::new(server_binary())
        .args([study, socket])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server's example is built with the tests");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("unix:"), "the server did not start: {line}");
    child
}

/// Something the server acknowledged for a run.
#[derive(Debug, Clone)]
struct Acknowledged {
    run: u32,
    request: Request,
    metrics: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Carries a run through to its end, however often the connection is lost.
fn carry(address: &str, ticket: &str, name: &str, run: u32, log: &Mutex<Vec<Acknowledged>>) -> u32 {
    let mut reconnects = 0;
    let mut attempt = None;
    let mut told = 0;
    'connect: loop {
        let opened = match Client::open(address, hello(ticket, name)) {
            Ok(Ok(client)) => client,
            Ok(Err(refusal)) => {
                assert!(refusal.retry_after.is_some(), "{refusal:?}");
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
            Err(_) => {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            }
        };
        let mut client = opened;
        reconnects += 1;
        assert_eq!(*attempt.get_or_insert(client.attempt), client.attempt, "run {run} went on");
        let story = story(&client.job);
        for (at, (request, data)) in story.iter().enumerate().skip(told) {
            match client.ask(request, data) {
                Ok(Ok(reply)) => {
                    let metrics = match reply {
                        Reply::Finished { metrics } => Some(metrics),
                        _ => None,
                    };
                    told = at + 1;
                    let request = request.clone();
                    log.lock().unwrap().push(Acknowledged { run, request, metrics });
                }
                Ok(Err(refusal)) => {
                    assert!(refusal.retry_after.is_some(), "{refusal:?}");
                    continue 'connect;
                }
                Err(_) => continue 'connect,
            }
        }
        return reconnects - 1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kills() {
    let kills: u32 = std::env::var("REPRODUCEML_KILLS").map_or(300, |n| n.parse().unwrap());
    let experiment = experiment(Evaluation::Buggy);
    let place = Place::new(std::slice::from_ref(&experiment));
    // Tickets come from a server that is not killed; all servers of a study share their key.
    let issuer = place.serve(place.config()).await;
    let socket = place.path().join("killed.sock");
    let address = format!("unix:{}", socket.display());
    let log = Arc::new(Mutex::new(Vec::new()));
    let next = AtomicU32::new(0);
    let done = AtomicBool::new(false);
    let reconnects = AtomicU32::new(0);
    let pythons = Mutex::new(Vec::new());
    let started = Instant::now();
    let (finished, restart) = std::thread::scope(|scope| {
        let mut server = start(place.path(), &socket);
        for client in 0..RUST_CLIENTS {
            let (log, address) = (Arc::clone(&log), &address);
            let (next, done, reconnects) = (&next, &done, &reconnects);
            let (issuer, experiment) = (&issuer, &experiment);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let run = next.fetch_add(1, Ordering::SeqCst);
                    let ticket = issuer.ticket(&experiment.id(), run);
                    let name = holder(u64::from(run) << 8 | u64::from(client));
                    let lost = carry(address, ticket.as_str(), &name, run, &log);
                    reconnects.fetch_add(lost, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..PYTHON_CLIENTS {
            let (next, done, pythons) = (&next, &done, &pythons);
            let (issuer, experiment, address) = (&issuer, &experiment, &address);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let run = next.fetch_add(1, Ordering::SeqCst);
                    let ticket = issuer.ticket(&experiment.id(), run);
                    let child = python("train.py", &[address, ticket.as_str(), "0.05"]);
                    let text = futures(output(child));
                    pythons.lock().unwrap().push((run, text));
                }
            });
        }
        let mut chance = Generator::new("durability", &[u64::from(std::process::id())]);
        let mut restart = Duration::ZERO;
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(5 + chance.below(120)));
            server.kill().unwrap();
            server.wait().unwrap();
            let before = Instant::now();
            server = start(place.path(), &socket);
            restart += before.elapsed();
        }
        done.store(true, Ordering::SeqCst);
        (server, restart)
    });
    let elapsed = started.elapsed();
    let mut server = finished;
    server.kill().unwrap();
    server.wait().unwrap();
    let log = std::mem::take(&mut *log.lock().unwrap());
    for entry in log.iter() {
        check(&place, &experiment, entry);
    }
    let pythons = pythons.into_inner().unwrap();
    for (run, text) in pythons.iter() {
        let result: serde_json::Value = serde_json::from_str(text).unwrap();
        let key = key(&experiment, *run);
        let epochs = place.store.epochs(&key).unwrap();
        let digests: Vec<serde_json::Value> =
            epochs.iter().map(|e| e.digest.clone().into()).collect();
        assert_eq!(&digests, result["digests"].as_array().unwrap());
        let accuracy = place.store.metrics(&key, "test").unwrap()["accuracy"];
        assert_eq!(result["metrics"]["test/accuracy"], accuracy);
    }
    let runs = place.store.runs(&experiment.id()).unwrap();
    for run in &runs {
        assert_eq!(run.attempt, 1, "every process came back to its own run");
        assert_eq!(run.status, RunStatus::Finished, "every client ended its run");
        assert_eq!(run.seed, Some(experiment.seed(run.key.run)));
        whole(&place, &run.key);
    }
    eprintln!(
        "{kills} kills in {:.1} s: {} acknowledged messages, {} runs, {} reconnects, {} Python \
         runs; restart {:.0} ms on average",
        elapsed.as_secs_f64(),
        log.len(),
        runs.len(),
        reconnects.load(Ordering::SeqCst),
        pythons.len(),
        1000.0 * restart.as_secs_f64() / f64::from(kills.max(1)),
    );
    issuer.shutdown().await;
}

fn futures<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Holds one acknowledged message against the store.
fn check(place: &Place, experiment: &Experiment, entry: &Acknowledged) {
    let key = key(experiment, entry.run);
    match &entry.request {
        Request::Seed { seed } => {
            assert_eq!(place.store.issued_seed(experiment, entry.run).unwrap(), Some(*seed));
        }
        Request::Manifest { manifest, .. } => {
            let run = place.store.run(&key).unwrap().unwrap();
            assert_eq!(run.manifest, Some(serde_json::Value::Object(manifest.clone())));
        }
        Request::Epoch { number, loss, parameters, .. } => {
            let epochs = place.store.epochs(&key).unwrap();
            let found: Vec<_> = epochs.iter().filter(|e| e.epoch == *number).collect();
            assert_eq!(found.len(), 1, "epoch {number} of run {}", entry.run);
            assert_eq!(found[0].digest, parameters.to_string());
            assert_eq!(found[0].loss_bits, loss.map(|bits| bits.0));
        }
        Request::Predictions { split, array, .. } => {
            let digests = place.store.prediction_digests(&key).unwrap();
            assert_eq!(digests[split], array.sha256.to_string());
        }
        Request::Finish { .. } => {
            for (name, value) in entry.metrics.as_ref().unwrap() {
                let (split, metric) = name.split_once('/').unwrap();
                let stored = place.store.metrics(&key, split).unwrap()[metric];
                assert_eq!(value.as_f64(), Some(stored));
            }
        }
        other => panic!("{other:?} is not part of the story"),
    }
}

/// Checks that a finished run has all its parts, each once, and its files have their digests.
fn whole(place: &Place, key: &study::RunKey) {
    let epochs = place.store.epochs(key).unwrap();
    assert_eq!(epochs.iter().map(|e| e.epoch).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let digests = place.store.prediction_digests(key).unwrap();
    assert_eq!(digests.keys().collect::<Vec<_>>(), ["test", "validation"]);
    let folder = place.study.run_dir(key).join("predictions");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2, "nothing else was left");
    for (split, digest) in digests {
        let path = folder.join(format!("{split}.{}.f4.zst", &digest[..16]));
        let data = zstd::stream::decode_all(std::fs::File::open(path).unwrap()).unwrap();
        assert_eq!(protocol::Digest::of(&data).to_string(), digest);
    }
}
