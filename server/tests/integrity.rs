//! A flipped bit anywhere on the way is noticed, and what arrives in the end is right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::{Place, experiment, key, output, python};
use reproduceml_server::challenge::permutation::Generator;
use reproduceml_server::{Event, Server};
use study::{Evaluation, RunStatus};

/// Copies bytes; every other time, one bit is flipped at a random place.
fn copy(mut from: TcpStream, mut to: TcpStream, mut chance: Generator, flips: &AtomicU32) {
    // Near the beginning as often as far from it.
    let digits = 5 + chance.below(13);
    let mut left = usize::try_from(chance.below(1 << digits)).unwrap();
    let mut armed = chance.below(2) == 0;
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..count];
        if armed && left < count {
            bytes[left] ^= 1 << chance.below(8);
            flips.fetch_add(1, Ordering::SeqCst);
            armed = false;
        }
        left = left.saturating_sub(count);
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A way to `server` on which bits flip, in both directions.
fn unreliable(server: &str, flips: Arc<AtomicU32>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tcp:{}", listener.local_addr().unwrap());
    let server = server.strip_prefix("tcp:").unwrap().to_owned();
    std::thread::spawn(move || {
        for (number, stream) in (0..).zip(listener.incoming()) {
            let client = stream.unwrap();
            let server = TcpStream::connect(&server).unwrap();
            let ends =
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)];
            for (direction, (from, to)) in (0..).zip(ends) {
                let chance = Generator::new("flips", &[number, direction]);
                let flips = Arc::clone(&flips);
                std::thread::spawn(move || copy(from, to, chance, &flips));
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn flipped_bits_are_never_trained_on() {
    let sides = [experiment(Evaluation::Buggy), experiment(Evaluation::Corrected)];
    let place = Place::new(&sides);
    let mut config = place.config();
    config.limits.frame_time = Duration::from_millis(300);
    config.limits.hello = Duration::from_millis(500);
    let handle = place.serve(config).await;
    let flips = Arc::new(AtomicU32::new(0));
    let straight = handle.addresses()[0].clone();
    let crooked = unreliable(&straight, Arc::clone(&flips));
    let mut results = Vec::new();
    for (side, address) in sides.iter().zip([&straight, &crooked]) {
        let ticket = handle.ticket(&side.id(), 0);
        let text = output(python("train.py", &[address, ticket.as_str(), "0", "1"])).await;
        results.push(serde_json::from_str::<serde_json::Value>(&text).unwrap());
    }
    assert_eq!(results[0]["metrics"], results[1]["metrics"]);
    assert_eq!(results[0]["digests"], results[1]["digests"]);
    let [a, b] = [&sides[0], &sides[1]].map(|side| key(side, 0));
    assert_eq!(place.store.run(&b).unwrap().unwrap().status, RunStatus::Finished);
    let store = &place.store;
    assert_eq!(store.prediction_digests(&a).unwrap(), store.prediction_digests(&b).unwrap());
    assert_eq!(store.acknowledged_arrays(&a).unwrap(), store.acknowledged_arrays(&b).unwrap());
    assert_eq!(store.invalid_reason(&sides[1].id()).unwrap(), None, "no seed was changed unseen");
    let flips = flips.load(Ordering::SeqCst);
    assert!(flips >= 3, "only {flips} bits were flipped");
    handle.shutdown().await;
}

/// A small file system of its own.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(folder.path())
            .status();
        assert!(
            mounted.is_ok_and(|status| status.success()),
            "this test mounts a small tmpfs and needs root for it; leave it out with \
             `-E 'not test(a_full_disk)'`"
        );
        Self(folder)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told_and_work_goes_on_once_there_is_room() {
    let disk = Disk::new();
    let side = experiment(Evaluation::Buggy);
    let folder = tempfile::tempdir_in(disk.0.path()).unwrap();
    let place = Place::within(folder, std::slice::from_ref(&side));
    let handle = place.serve(place.config()).await;
    let mut events = handle.events();
    let ticket = handle.ticket(&side.id(), 0);
    let client = python("train.py", &[&handle.addresses()[0], ticket.as_str(), "0.3"]);
    // Once the first epoch is there, the disk fills up.
    loop {
        if matches!(events.recv().await.unwrap(), Event::Epoch { number: 1, .. }) {
            break;
        }
    }
    let filler = disk.0.path().join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    while file.write_all(&[0; 1]).is_ok() {}
    let told = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Event::StorageTrouble { message } = events.recv().await.unwrap() {
                break message;
            }
        }
    });
    let told = told.await.expect("the operator is told");
    assert!(told.contains("full") || told.contains("No space"), "{told}");
    let run = key(&side, 0);
    assert_eq!(place.store.run(&run).unwrap().unwrap().status, RunStatus::Running);
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    let child = tokio::task::spawn_blocking(move || client.wait_with_output()).await.unwrap();
    let child = child.unwrap();
    let errors = String::from_utf8_lossy(&child.stderr).into_owned();
    assert!(child.status.success(), "{errors}");
    assert!(errors.contains("storage"), "the client is told: {errors}");
    let finished = place.store.run(&run).unwrap().unwrap();
    assert_eq!((finished.status, finished.attempt), (RunStatus::Finished, 1));
    assert_eq!(place.store.epochs(&run).unwrap().len(), 4);
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_store_is_told_and_the_client_goes_on_at_a_writable_one() {
    let side = experiment(Evaluation::Buggy);
    let place = Place::new(std::slice::from_ref(&side));
    let store = Arc::new(study::Store::open_read_only(place.store.path()).unwrap());
    let handle = Server::start(store, Arc::clone(&place.study), place.config()).await.unwrap();
    let mut events = handle.events();
    let ticket = handle.ticket(&side.id(), 0);
    let client = python("train.py", &[&handle.addresses()[1], ticket.as_str()]);
    let ended = tokio::spawn(output(client));
    loop {
        if let Event::Refused { code, message, .. } = events.recv().await.unwrap() {
            assert_eq!(code, protocol::ErrorCode::Storage, "{message}");
            assert!(message.contains("readonly") || message.contains("read-only"), "{message}");
            break;
        }
    }
    handle.shutdown().await;
    assert_eq!(place.store.issued_seed(&side, 0).unwrap(), None, "no seed left");
    let handle = place.serve(place.config()).await;
    ended.await.unwrap();
    let run = place.store.run(&key(&side, 0)).unwrap().unwrap();
    assert_eq!((run.status, run.attempt), (RunStatus::Finished, 1));
    handle.shutdown().await;
}
