//! Bad bytes, wrong versions, tokens and tickets: a typed error, and the server is well.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::client::{Client, dial, hello, holder, refused};
use common::{Place, experiment};
use protocol::frame::HEADER;
use protocol::{ErrorCode, Header, Kind, MAX_PAYLOAD, Reply, Request, Wire};
use reproduceml_server::{Listen, Secret, Server, ServerError, ServerHandle};
use study::{Evaluation, Experiment};

async fn place() -> (Place, Experiment, ServerHandle) {
    let side = experiment(Evaluation::Buggy);
    let place = Place::new(std::slice::from_ref(&side));
    let mut config = place.config();
    config.limits.hello = Duration::from_millis(300);
    config.limits.frame_time = Duration::from_millis(300);
    let handle = place.serve(config).await;
    (place, side, handle)
}

fn tcp(handle: &ServerHandle) -> TcpStream {
    let address = handle.addresses()[0].strip_prefix("tcp:").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

fn unix(handle: &ServerHandle) -> &str {
    &handle.addresses()[1]
}

/// Sends bytes and gives the code of the error that comes back, after which nothing comes.
fn code_for(handle: &ServerHandle, bytes: &[u8]) -> ErrorCode {
    let mut wire = Wire::new(tcp(handle));
    wire.stream().write_all(bytes).unwrap();
    let Reply::Error { code, .. } = wire.receive().unwrap() else { panic!("no error") };
    let mut rest = Vec::new();
    wire.stream().read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty(), "the connection ends after an error");
    code
}

fn frame(kind: Kind, number: u64, payload: &[u8]) -> Vec<u8> {
    let header = Header::seal(kind, number, payload).unwrap().encode();
    [&header[..], payload].concat()
}

fn json(request: &Request) -> Vec<u8> {
    serde_json::to_vec(request).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_frames_get_a_typed_error_and_the_server_stays_well() {
    let (_place, side, handle) = place().await;
    let ticket = handle.ticket(&side.id(), 0);
    let good = json(&Request::Hello(hello(ticket.as_str(), &holder(1))));
    let first = frame(Kind::Control, 0, &good);
    let mut damaged = first.clone();
    damaged[HEADER + 3] ^= 1;
    let mut oversized = first.clone();
    oversized[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut longer = first.clone();
    let length = u32::try_from(MAX_PAYLOAD).unwrap() + 1;
    longer[16..20].copy_from_slice(&length.to_le_bytes());
    let cases: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("another protocol", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), ErrorCode::BadFrame),
        ("a damaged payload", damaged, ErrorCode::BadFrame),
        ("four gigabytes announced", oversized, ErrorCode::BadFrame),
        ("a byte too many announced", longer, ErrorCode::BadFrame),
        ("a hello too long", frame(Kind::Control, 0, &[b' '; (1 << 16) + 1]), ErrorCode::BadFrame),
        ("a later number", frame(Kind::Control, 1, &good), ErrorCode::BadFrame),
        ("cut in the header", first[..10].to_vec(), ErrorCode::Timeout),
        ("cut in the payload", first[..HEADER + 5].to_vec(), ErrorCode::Timeout),
        ("nothing at all", vec![], ErrorCode::Timeout),
        ("data before hello", frame(Kind::Data, 0, b"x"), ErrorCode::OutOfTurn),
        ("not JSON", frame(Kind::Control, 0, b"\x80\x03}q\x00."), ErrorCode::BadMessage),
        ("an unknown message", frame(Kind::Control, 0, b"{\"type\":\"x\"}"), ErrorCode::BadMessage),
        ("no hello", frame(Kind::Control, 0, b"{\"type\":\"ping\"}"), ErrorCode::OutOfTurn),
        (
            "deep JSON",
            frame(Kind::Control, 0, "[".repeat(60_000).as_bytes()),
            ErrorCode::BadMessage,
        ),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(code_for(&handle, &bytes), expected, "{what}");
    }
    // A frame that is repeated, or skips a number, within a session.
    for number in [0, 2] {
        let mut client =
            Client::open(unix(&handle), hello(ticket.as_str(), &holder(1))).unwrap().unwrap();
        let seed = json(&Request::Seed { seed: client.job.seed });
        client.wire.stream().write_all(&frame(Kind::Control, number, &seed)).unwrap();
        let error = refused(client.wire.receive().unwrap()).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadFrame);
        assert!(error.message.contains("repeated"), "{}", error.message);
        assert!(error.retry_after.is_some(), "a new connection mends it");
    }
    let mut client =
        Client::open(unix(&handle), hello(ticket.as_str(), &holder(1))).unwrap().unwrap();
    assert_eq!(client.say(&Request::Ping), Ok(Reply::Pong), "the server is well");
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_tokens_and_tickets_are_checked() {
    let side = experiment(Evaluation::Buggy);
    let place = Place::new(std::slice::from_ref(&side));
    let mut config = place.config();
    config.token = Some(Secret::new("a token of some length").unwrap());
    assert!(!format!("{config:?}").contains("some length"), "tokens are not printed");
    let handle = place.serve(config).await;
    let ticket = handle.ticket(&side.id(), 0);
    let mut good = hello(ticket.as_str(), &holder(1));
    good.token = Some("a token of some length".to_owned());
    let mut later = good.clone();
    later.versions = vec![2, 99];
    let mut tokenless = good.clone();
    tokenless.token = None;
    let mut wrong = good.clone();
    wrong.token = Some("a token of some lengtH".to_owned());
    let mut forged = good.clone();
    forged.ticket = format!("{}0", ticket.as_str());
    let mut other_run = good.clone();
    other_run.ticket = ticket.as_str().replacen(".0.", ".1.", 1);
    let mut nameless = good.clone();
    nameless.holder = "../../etc".to_owned();
    for (hello, code) in [
        (later, ErrorCode::Version),
        (tokenless, ErrorCode::Token),
        (wrong, ErrorCode::Token),
        (forged, ErrorCode::Ticket),
        (other_run, ErrorCode::Ticket),
        (nameless, ErrorCode::BadMessage),
    ] {
        let error = Client::open(unix(&handle), hello).unwrap().err().unwrap();
        assert_eq!(error.code, code);
        assert_eq!(error.retry_after, None, "trying again is of no use");
        assert!(!error.message.contains("some length"), "{}", error.message);
    }
    let mut newer = good.clone();
    newer.versions = vec![7, 1];
    Client::open(unix(&handle), newer).unwrap().unwrap();
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_others_could_reach_needs_a_token() {
    let place = Place::new(&[]);
    let try_start = async |listen| {
        let mut config = place.config();
        config.listen = listen;
        Server::start(place.store.clone(), place.study.clone(), config).await.err().unwrap()
    };
    let open: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let error = try_start(vec![Listen::Tcp(open)]).await;
    assert!(matches!(error, ServerError::TokenNeeded { .. }), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let error = try_start(vec![Listen::Tcp(taken.local_addr().unwrap())]).await;
    assert!(matches!(error, ServerError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("another address"), "{error}");
    let file = place.path().join("a file");
    std::fs::write(&file, "kept").unwrap();
    let error = try_start(vec![Listen::Unix(file.clone())]).await;
    assert!(matches!(error, ServerError::InUse { .. }), "{error}");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "kept");
    let error = try_start(vec![Listen::Unix(place.path().join("x".repeat(200)))]).await;
    assert!(matches!(error, ServerError::LongPath { .. }), "{error}");
    let error = try_start(vec![]).await;
    assert!(matches!(error, ServerError::NoAddress), "{error}");
    assert!(matches!(Secret::new(" short "), Err(ServerError::WeakToken { length: 5 })));
    // A socket that a killed server left is taken over, one that answers is not.
    let path = place.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut config = place.config();
    config.listen = vec![Listen::Unix(path.clone())];
    let handle = place.serve(config).await;
    let error = try_start(vec![Listen::Unix(path.clone())]).await;
    assert!(matches!(error, ServerError::InUse { .. }), "{error}");
    handle.shutdown().await;
    assert!(!path.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_beyond_the_limit_are_asked_to_come_back() {
    let side = experiment(Evaluation::Buggy);
    let place = Place::new(std::slice::from_ref(&side));
    let mut config = place.config();
    config.limits.sessions = 1;
    let handle = place.serve(config).await;
    let ticket = handle.ticket(&side.id(), 0);
    let first = Client::open(unix(&handle), hello(ticket.as_str(), &holder(1))).unwrap().unwrap();
    let mut second = dial(unix(&handle)).unwrap();
    let error = refused(second.receive().unwrap()).unwrap_err();
    assert_eq!(error.code, ErrorCode::Busy);
    assert!(error.retry_after.is_some());
    drop(first);
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    loop {
        let again = Client::open(unix(&handle), hello(ticket.as_str(), &holder(1)));
        if matches!(again, Ok(Ok(_))) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the place is never freed");
        std::thread::sleep(Duration::from_millis(20));
    }
    handle.shutdown().await;
}
