//! A session against a server that is scripted to fail in all the ways that must not matter.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::{UnixListener, UnixStream};

use protocol::{ChallengeJob, Kind, Order};

use super::*;

const TRAIN: &[u8] = b"0123456789ab";

/// What happens instead of an answer.
#[derive(Clone)]
enum Instead {
    HangUp,
    Damage,
    OtherBytes,
    OtherAttempt,
    Refuse(ErrorCode, Option<f64>),
}

/// Answers like the real server but for its troubles, each a request's kind.
struct Server {
    folder: tempfile::TempDir,
    said: Arc<Mutex<Vec<Request>>>,
}

fn job() -> Job {
    Job {
        experiment: "pr1-buggy-0123456789ab".into(),
        bug: "pr1".into(),
        evaluation: "buggy".into(),
        run: 0,
        framework: "pytorch".into(),
        model: "lenet".into(),
        model_source: None,
        model_class: None,
        challenge: ChallengeJob { name: "synthetic".into(), shape: vec![1, 28, 28], classes: 10 },
        splits: vec!["train".into(), "test".into()],
        epochs: 1,
        batch_size: 4,
        drop_last: false,
        learning_rate: 0.1,
        momentum: 0.5,
        order: Order::Fixed,
        device: "cpu".into(),
        trace: false,
        seed: 7,
        fault: false,
    }
}

fn kind(request: &Request) -> String {
    let value = serde_json::to_value(request).unwrap();
    value["type"].as_str().unwrap().to_owned()
}

impl Server {
    fn start(troubles: &[(&str, Instead)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("s")).unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let server = Self { folder, said: Arc::clone(&said) };
        let mut troubles: VecDeque<(String, Instead)> =
            troubles.iter().map(|(kind, instead)| ((*kind).to_owned(), instead.clone())).collect();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                // A client that hangs up ends its connection, not the server.
                let _ = serve(stream, &mut troubles, &said);
            }
        });
        server
    }

    fn connect(&self) -> Session {
        Session::connect(self.opening()).unwrap()
    }

    fn opening(&self) -> Opening {
        Opening {
            address: format!("unix:{}", self.folder.path().join("s").display()),
            ticket: "ticket".into(),
            token: None,
            timeout: Duration::from_secs(5),
            patience: Duration::from_secs(5),
            cache: None,
        }
    }

    fn count(&self, wanted: &str) -> usize {
        locked(&self.said).iter().filter(|request| kind(request) == wanted).count()
    }
}

fn serve(
    stream: UnixStream,
    troubles: &mut VecDeque<(String, Instead)>,
    said: &Mutex<Vec<Request>>,
) -> Result<(), WireError> {
    let mut wire = Wire::new(stream);
    let header = ArrayHeader::describe(Dtype::U1, &[3, 4], TRAIN).unwrap();
    let mut sent = 0;
    loop {
        let request: Request = wire.receive()?;
        if let Request::Predictions { array, .. } = &request {
            wire.receive_data(array, 1 << 20)?;
        }
        locked(said).push(request.clone());
        let trouble = match troubles.front() {
            Some((wanted, _)) if *wanted == kind(&request) => troubles.pop_front(),
            _ => None,
        };
        let trouble = trouble.map(|(_, instead)| instead);
        let attempt = if matches!(trouble, Some(Instead::OtherAttempt)) { 2 } else { 1 };
        let data =
            if matches!(trouble, Some(Instead::OtherBytes)) { b"X123456789ab" } else { TRAIN };
        match trouble {
            Some(Instead::HangUp) => return Ok(()),
            Some(Instead::Damage) => {
                let payload = br#"{"type":"ok"}"#;
                let mut frame =
                    protocol::Header::seal(Kind::Control, sent, payload)?.encode().to_vec();
                frame.extend(payload);
                frame[30] ^= 4;
                return Ok(wire.stream().write_all(&frame)?);
            }
            Some(Instead::Refuse(code, retry_after)) => {
                return wire.send(&Reply::Error { code, message: "no".into(), retry_after });
            }
            Some(Instead::OtherBytes | Instead::OtherAttempt) | None => {}
        }
        match request {
            Request::Hello(_) => wire.send(&Reply::Welcome {
                version: 1,
                attempt,
                heartbeat_seconds: 0.2,
                lease_seconds: 5.0,
                job: Box::new(job()),
            })?,
            Request::Ping => wire.send(&Reply::Pong)?,
            Request::Bye => return Ok(()),
            Request::Describe { name, .. } => {
                wire.send(&Reply::Array { name, array: header.clone() })?;
            }
            Request::Fetch { name, .. } => {
                wire.send(&Reply::Array { name, array: header.clone() })?;
                wire.send_data(data)?;
                sent += 1;
            }
            Request::Finish { .. } => {
                let metrics = Map::from_iter([("test/accuracy".to_owned(), 0.5.into())]);
                wire.send(&Reply::Finished { metrics })?;
            }
            _ => wire.send(&Reply::Ok)?,
        }
        sent += 1;
    }
}

#[test]
fn a_whole_run_is_told_with_the_seed_in_every_request() {
    let server = Server::start(&[]);
    let session = server.connect();
    assert_eq!(session.seed().unwrap(), 7);
    assert_eq!(session.array("train/x").unwrap().bytes, TRAIN);
    let digest = Digest::of(b"");
    session.epoch(0, None, digest, 0.0, None).unwrap();
    session.epoch(1, Some(f64::NAN), digest, 1.25, None).unwrap();
    session.predictions("test", &[2, 10], &[0; 80]).unwrap();
    session.manifest(Map::new()).unwrap();
    assert_eq!(session.finish(Map::new()).unwrap()["test/accuracy"], 0.5);
    for request in locked(&server.said).iter() {
        let value = serde_json::to_value(request).unwrap();
        if !matches!(request, Request::Hello(_) | Request::Ping) {
            assert_eq!(value["seed"], 7, "{value}");
        }
    }
}

#[test]
fn a_lost_answer_is_asked_for_again_under_the_same_name() {
    for trouble in [Instead::HangUp, Instead::Damage] {
        let server = Server::start(&[("epoch", trouble.clone()), ("epoch", trouble)]);
        let session = server.connect();
        session.epoch(0, None, Digest::of(b""), 0.0, None).unwrap();
        assert_eq!(server.count("epoch"), 3);
        let said = locked(&server.said);
        let holders: std::collections::BTreeSet<_> = said
            .iter()
            .filter_map(|request| match request {
                Request::Hello(hello) => Some(hello.holder.clone()),
                _ => None,
            })
            .collect();
        assert_eq!(holders.len(), 1);
    }
}

#[test]
fn changed_bytes_are_fetched_again_and_never_used() {
    let server = Server::start(&[("fetch", Instead::OtherBytes)]);
    let session = server.connect();
    assert_eq!(session.array("train/x").unwrap().bytes, TRAIN);
    assert_eq!(server.count("fetch"), 2);
    let said = locked(&server.said);
    let told: Vec<_> = said
        .iter()
        .filter_map(|request| match request {
            Request::Acknowledge { sha256, .. } => Some(*sha256),
            _ => None,
        })
        .collect();
    assert_eq!(told, [Digest::of(TRAIN)]);
}

#[test]
fn what_may_succeed_later_is_tried_again() {
    let full = Instead::Refuse(ErrorCode::Storage, Some(0.05));
    let server = Server::start(&[("predictions", full.clone()), ("predictions", full)]);
    server.connect().predictions("test", &[2, 10], &[0; 80]).unwrap();
    assert_eq!(server.count("predictions"), 3);
}

#[test]
fn a_final_refusal_is_told_at_once() {
    let server = Server::start(&[("seed", Instead::Refuse(ErrorCode::SeedMismatch, None))]);
    let session = server.connect();
    let error = session.seed().unwrap_err();
    assert!(
        matches!(error, ServerError::Refused { code: ErrorCode::SeedMismatch, .. }),
        "{error:?}"
    );
    assert_eq!(server.count("seed"), 1);
}

#[test]
fn a_run_that_went_on_without_this_process_is_given_up() {
    let server = Server::start(&[("epoch", Instead::HangUp), ("hello", Instead::OtherAttempt)]);
    let session = server.connect();
    let error = session.epoch(0, None, Digest::of(b""), 0.0, None).unwrap_err();
    assert!(matches!(error, ServerError::Refused { code: ErrorCode::HoldLost, .. }), "{error:?}");
}

#[test]
fn patience_ends() {
    let folder = tempfile::tempdir().unwrap();
    let opening = Opening {
        address: format!("unix:{}/none", folder.path().display()),
        patience: Duration::from_millis(300),
        ..Server::start(&[]).opening()
    };
    let error = Session::connect(opening).err().unwrap();
    assert!(matches!(error, ServerError::Lost { .. }), "{error:?}");
}

#[test]
fn the_client_says_that_it_is_alive() {
    let server = Server::start(&[]);
    let session = server.connect();
    let begin = Instant::now();
    while server.count("ping") < 2 {
        assert!(begin.elapsed() < Duration::from_secs(10), "no sign of life");
        std::thread::sleep(Duration::from_millis(20));
    }
    session.close();
}

#[test]
fn the_cache_saves_the_second_fetch_but_not_the_check() {
    let server = Server::start(&[]);
    let cache = server.folder.path().join("cache");
    let opening = Opening { cache: Some(cache.clone()), ..server.opening() };
    let session = Session::connect(opening).unwrap();
    for _ in 0..2 {
        assert_eq!(session.array("train/x").unwrap().bytes, TRAIN);
    }
    assert_eq!((server.count("fetch"), server.count("acknowledge")), (1, 2));
    std::fs::write(cache.join(Digest::of(TRAIN).to_string()), [b'x'; 12]).unwrap();
    assert_eq!(session.array("train/x").unwrap().bytes, TRAIN);
    assert_eq!(server.count("fetch"), 2, "a changed file is not used");
}
