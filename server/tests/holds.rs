//! Who holds a run, what it may say, and what a wrong seed leads to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod common;

use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::client::{Client, epoch, hello, holder, predictions, story};
use common::{Place, experiment, key};
use protocol::{ErrorCode, Reply, Request};
use reproduceml_server::{Event, ServerHandle};
use study::{Evaluation, Experiment, RunStatus};

async fn place(lease: Duration) -> (Place, Experiment, ServerHandle) {
    let side = experiment(Evaluation::Buggy);
    let place = Place::new(std::slice::from_ref(&side));
    let mut config = place.config();
    config.limits.lease = lease;
    let handle = place.serve(config).await;
    (place, side, handle)
}

fn open(handle: &ServerHandle, ticket: &str, name: u64) -> Result<Client, common::client::Refused> {
    Client::open(&handle.addresses()[1], hello(ticket, &holder(name))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_held_by_one_process_until_its_lease_ends() {
    let lease = Duration::from_millis(400);
    let (place, side, handle) = place(lease).await;
    let ticket = handle.ticket(&side.id(), 0);
    let mut first = open(&handle, ticket.as_str(), 1).unwrap();
    let seed = first.job.seed;
    first.say(&epoch(seed, 0)).unwrap();
    let error = open(&handle, ticket.as_str(), 2).err().unwrap();
    assert_eq!(error.code, ErrorCode::RunHeld);
    assert!(error.retry_after.unwrap() <= 0.6, "it says when to come back");
    // The same process comes back to what it said.
    let mut first = open(&handle, ticket.as_str(), 1).unwrap();
    assert_eq!(first.attempt, 1);
    first.say(&epoch(seed, 1)).unwrap();
    drop(first);
    let vanished = Instant::now();
    let mut second = loop {
        match open(&handle, ticket.as_str(), 2) {
            Ok(client) => break client,
            Err(error) => assert_eq!(error.code, ErrorCode::RunHeld),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(vanished.elapsed() >= lease - Duration::from_millis(50), "the lease was kept");
    assert_eq!(second.attempt, 2);
    assert!(place.store.epochs(&key(&side, 0)).unwrap().is_empty(), "it starts over");
    second.say(&epoch(seed, 0)).unwrap();
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_ticket_takes_the_run_and_the_old_holder_can_change_nothing() {
    let (place, side, handle) = place(Duration::from_secs(60)).await;
    let (old, new) = (handle.ticket(&side.id(), 0), handle.ticket(&side.id(), 0));
    let mut first = open(&handle, old.as_str(), 1).unwrap();
    let seed = first.job.seed;
    first.say(&epoch(seed, 0)).unwrap();
    let mut second = open(&handle, new.as_str(), 2).unwrap();
    let error = first.say(&epoch(seed, 1)).unwrap_err();
    assert_eq!((error.code, error.retry_after), (ErrorCode::HoldLost, None));
    let error = open(&handle, old.as_str(), 1).err().unwrap();
    assert_eq!(error.code, ErrorCode::HoldLost);
    for (request, data) in story(&second.job) {
        second.ask(&request, &data).unwrap().unwrap();
    }
    let run = place.store.run(&key(&side, 0)).unwrap().unwrap();
    assert_eq!((run.status, run.attempt), (RunStatus::Finished, 2));
    // Done is done: even a newer ticket does not run it again.
    let newest = handle.ticket(&side.id(), 0);
    let error = open(&handle, newest.as_str(), 3).err().unwrap();
    assert_eq!((error.code, error.retry_after), (ErrorCode::RunFinished, None));
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_may_be_said_twice_and_nothing_differently() {
    let (place, side, handle) = place(Duration::from_secs(60)).await;
    let ticket = handle.ticket(&side.id(), 0);
    let mut client = open(&handle, ticket.as_str(), 1).unwrap();
    let seed = client.job.seed;
    let mut last = Vec::new();
    for (request, data) in story(&client.job) {
        let replies: Vec<Reply> =
            (0..2).map(|_| client.ask(&request, &data).unwrap().unwrap()).collect();
        assert_eq!(replies[0], replies[1]);
        last = replies;
    }
    let Reply::Finished { metrics } = &last[0] else { panic!("{last:?}") };
    assert_eq!(metrics.len(), 8);
    // The client that lost the last answer asks again over a new connection.
    let mut again = open(&handle, ticket.as_str(), 1).unwrap();
    let (finish, _) = story(&again.job).pop().unwrap();
    assert_eq!(again.say(&finish).unwrap(), last[0]);
    let finished = place.store.run(&key(&side, 0)).unwrap().unwrap();
    let refused = again.say(&Request::Manifest { seed, manifest: serde_json::Map::default() });
    assert_eq!(refused.unwrap_err().code, ErrorCode::OutOfTurn);
    assert_eq!(place.store.run(&key(&side, 0)).unwrap().unwrap(), finished);
    // Another run: the same things with other content.
    let ticket = handle.ticket(&side.id(), 1);
    let other = |client: &mut Client, request: &Request, data: &[u8]| {
        client.ask(request, data).unwrap().unwrap_err().code
    };
    let mut client = open(&handle, ticket.as_str(), 2).unwrap();
    let seed = client.job.seed;
    client.say(&epoch(seed, 0)).unwrap();
    let changed = Request::Epoch {
        seed,
        number: 0,
        loss: None,
        parameters: protocol::Digest::of(b"other"),
        seconds: 0.1,
        extra: None,
    };
    assert_eq!(other(&mut client, &changed, &[]), ErrorCode::Conflict);
    let mut client = open(&handle, ticket.as_str(), 2).unwrap();
    let (request, data) = predictions(seed, "test", 20);
    client.ask(&request, &data).unwrap().unwrap();
    let (request, data) = predictions(seed ^ 1, "test", 20);
    let Request::Predictions { array, .. } = request else { panic!() };
    let request = Request::Predictions { seed, split: "test".into(), epoch: None, array };
    assert_eq!(other(&mut client, &request, &data), ErrorCode::Conflict);
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_the_job_is_refused() {
    let (place, side, handle) = place(Duration::from_secs(60)).await;
    let ticket = handle.ticket(&side.id(), 0);
    let seed = side.seed(0);
    let finish = Request::Finish { seed, timings: serde_json::Map::default() };
    let wrong_shape = predictions(seed, "test", 19);
    let huge = {
        let (request, _) = predictions(seed, "test", 20);
        let Request::Predictions { mut array, .. } = request else { panic!() };
        array.shape = vec![1 << 40, 10];
        array.bytes = 40 << 40;
        Request::Predictions { seed, split: "test".into(), epoch: None, array }
    };
    let elsewhere = predictions(seed, "../../x", 20);
    let mut no_loss = epoch(seed, 0);
    if let Request::Epoch { number, .. } = &mut no_loss {
        *number = 1;
    }
    let describe = |name: &str| Request::Describe { seed, name: name.to_owned() };
    for (what, request, data, code) in [
        ("finish at once", finish, vec![], ErrorCode::OutOfTurn),
        ("epoch 2 first", epoch(seed, 2), vec![], ErrorCode::OutOfTurn),
        ("more epochs than asked for", epoch(seed, 4), vec![], ErrorCode::OutOfTurn),
        ("an epoch without a loss", no_loss, vec![], ErrorCode::OutOfTurn),
        ("too few predictions", wrong_shape.0, wrong_shape.1, ErrorCode::OutOfTurn),
        ("too many predictions", huge, vec![], ErrorCode::OutOfTurn),
        ("no such split", elsewhere.0, elsewhere.1, ErrorCode::OutOfTurn),
        ("the targets", describe("test/y"), vec![], ErrorCode::UnknownArray),
        ("more targets", describe("validation/y"), vec![], ErrorCode::UnknownArray),
        ("a file", describe("../study.db"), vec![], ErrorCode::UnknownArray),
        ("an epoch too many", describe("order/4"), vec![], ErrorCode::UnknownArray),
        ("epoch 0", describe("order/0"), vec![], ErrorCode::UnknownArray),
        ("hello again", Request::Hello(hello("", "")), vec![], ErrorCode::OutOfTurn),
        (
            "other bytes acknowledged",
            Request::Acknowledge {
                seed,
                name: "train/x".into(),
                sha256: protocol::Digest([0; 32]),
            },
            vec![],
            ErrorCode::Integrity,
        ),
    ] {
        let mut client = open(&handle, ticket.as_str(), 1).unwrap();
        let error = client.ask(&request, &data).unwrap().unwrap_err();
        assert_eq!(error.code, code, "{what}: {}", error.message);
        let gone = client.ask(&Request::Ping, &[]);
        assert!(gone.is_err(), "{what}: the session is closed");
    }
    assert!(place.store.epochs(&key(&side, 0)).unwrap().is_empty());
    assert!(place.store.prediction_digests(&key(&side, 0)).unwrap().is_empty());
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_seed_ends_the_session_and_marks_the_experiment() {
    let (place, side, handle) = place(Duration::from_secs(60)).await;
    let mut events = handle.events();
    let ticket = handle.ticket(&side.id(), 0);
    let mut client = open(&handle, ticket.as_str(), 1).unwrap();
    let wrong = client.job.seed ^ 1;
    let error = client.say(&epoch(wrong, 0)).unwrap_err();
    assert_eq!((error.code, error.retry_after), (ErrorCode::SeedMismatch, None));
    let reason = place.store.invalid_reason(&side.id()).unwrap().unwrap();
    assert!(reason.contains(&wrong.to_string()) && reason.contains("run 0"), "{reason}");
    assert_eq!(place.store.run(&key(&side, 0)).unwrap().unwrap().status, RunStatus::Failed);
    let mut seen = false;
    while let Ok(event) = events.try_recv() {
        seen |= matches!(event, Event::SeedMismatch { found, .. } if found == wrong);
    }
    assert!(seen);
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_clients_are_served_at_once_and_alike() {
    const CLIENTS: u32 = 64;
    /// Acknowledged messages of all clients together after which nobody begins another.
    const MESSAGES: u32 = 64 * 64;
    let mut side = experiment(Evaluation::Buggy);
    side.hyperparameters.epochs = MESSAGES;
    let place = Place::new(std::slice::from_ref(&side));
    let handle = place.serve(place.config()).await;
    let (all, open_at_once) = (AtomicU32::new(0), Barrier::new(CLIENTS as usize));
    let counts: Vec<u32> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|run| {
                let (handle, side) = (&handle, &side);
                let (all, open_at_once) = (&all, &open_at_once);
                scope.spawn(move || {
                    let ticket = handle.ticket(&side.id(), run);
                    let mut client = open(handle, ticket.as_str(), u64::from(run)).unwrap();
                    open_at_once.wait();
                    let mut count = 0;
                    while all.load(Ordering::SeqCst) < MESSAGES {
                        client.say(&epoch(client.job.seed, count)).unwrap();
                        all.fetch_add(1, Ordering::SeqCst);
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    eprintln!("each of {CLIENTS} clients was answered {least} to {most} times");
    // As many each would be 64; a client that is served last always would come to next to none.
    assert!(*least >= 16 && *most <= 256, "{counts:?}");
    for (run, count) in (0..).zip(counts) {
        assert_eq!(place.store.epochs(&key(&side, run)).unwrap().len(), count as usize);
    }
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_names_what_it_left_and_a_restart_goes_on() {
    let (place, side, handle) = place(Duration::from_secs(60)).await;
    let ticket = handle.ticket(&side.id(), 3);
    let mut client = open(&handle, ticket.as_str(), 1).unwrap();
    let seed = client.job.seed;
    client.say(&epoch(seed, 0)).unwrap();
    let waiting = std::thread::spawn(move || client.wire.receive::<Reply>());
    let report = handle.shutdown().await;
    assert!(report.drained);
    assert_eq!(report.unfinished, [key(&side, 3)]);
    let told = common::client::refused(waiting.join().unwrap().unwrap()).unwrap_err();
    assert_eq!(told.code, ErrorCode::ShuttingDown);
    assert!(told.retry_after.is_some());
    let handle = place.serve(place.config()).await;
    let mut client = open(&handle, ticket.as_str(), 1).unwrap();
    assert_eq!((client.attempt, client.job.seed), (1, seed));
    client.say(&epoch(seed, 1)).unwrap();
    let error = open(&handle, ticket.as_str(), 2).err().unwrap();
    assert_eq!(error.code, ErrorCode::RunHeld, "the restarted server knows the holder");
    handle.shutdown().await;
}
