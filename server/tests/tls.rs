//! TLS: clients in Rust and Python, servers that are not the right one, clients without it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use common::client::{Client, Refused, hello, holder, refused, story};
use common::{Place, experiment, key, output, pem, python_with};
use protocol::tls::{TlsError, TlsStream, Trust, connect};
use protocol::{Digest, ErrorCode, Hello, Reply, Request, Wire};
use reproduceml_server::{Event, Listen, Secret, Server, ServerError, ServerHandle, Tls};
use study::{Evaluation, Experiment, RunStatus};

const TOKEN: &str = "a token of some length";

/// A server behind `server.pem`, with a token, since it listens for other machines.
async fn place() -> (Place, Experiment, ServerHandle) {
    let side = experiment(Evaluation::Buggy);
    let place = Place::new(std::slice::from_ref(&side));
    let mut config = place.config();
    config.listen = vec![Listen::Tcp("0.0.0.0:0".parse().unwrap())];
    config.token = Some(Secret::new(TOKEN).unwrap());
    config.tls = Some(Tls::from_files(&pem("server.pem"), &pem("server.key")).unwrap());
    config.limits.hello = Duration::from_millis(500);
    let handle = place.serve(config).await;
    (place, side, handle)
}

fn address(handle: &ServerHandle) -> String {
    let port = handle.addresses()[0].strip_prefix("tls:0.0.0.0:").expect("it says that it is TLS");
    format!("127.0.0.1:{port}")
}

fn authority() -> Trust {
    Trust::Authorities(pem("authority.pem"))
}

fn dial(handle: &ServerHandle, trust: &Trust) -> Result<TlsStream, TlsError> {
    connect(&address(handle), trust, Duration::from_secs(10))
}

fn open(handle: &ServerHandle, trust: &Trust, hello: Hello) -> Result<Client<TlsStream>, Refused> {
    Client::over(Wire::new(dial(handle, trust).unwrap()), hello).unwrap()
}

fn with_token(ticket: &str, number: u64) -> Hello {
    Hello { token: Some(TOKEN.to_owned()), ..hello(ticket, &holder(number)) }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_in_rust_and_python_run_over_tls() {
    let (place, side, handle) = place().await;
    let fingerprint = handle.fingerprint().unwrap();
    for (run, trust) in [authority(), Trust::Fingerprint(fingerprint)].iter().enumerate() {
        let run = run as u32;
        let ticket = handle.ticket(&side.id(), run);
        let mut client = open(&handle, trust, with_token(ticket.as_str(), 1)).unwrap();
        let seed = client.job.seed;
        let fetch = Request::Fetch { seed, name: "train/x".into() };
        let Ok(Reply::Array { array, .. }) = client.say(&fetch) else { panic!("no array") };
        let data = client.wire.receive_data(&array, 1 << 20).unwrap();
        assert_eq!(Digest::of(&data), array.sha256);
        for (request, data) in story(&client.job) {
            client.ask(&request, &data).unwrap().unwrap();
        }
        let run = place.store.run(&key(&side, run)).unwrap().unwrap();
        assert_eq!(run.status, RunStatus::Finished);
    }
    for (run, variable, value) in [
        (2, "REPRODUCEML_TLS_CA", pem("authority.pem").display().to_string()),
        (3, "REPRODUCEML_TLS_FINGERPRINT", fingerprint.to_string()),
    ] {
        let ticket = handle.ticket(&side.id(), run);
        let environment = [(variable, value), ("REPRODUCEML_TOKEN", TOKEN.to_owned())];
        let address = format!("tls:{}", address(&handle));
        output(python_with("train.py", &[&address, ticket.as_str()], &environment)).await;
        let run = place.store.run(&key(&side, run)).unwrap().unwrap();
        assert_eq!(run.status, RunStatus::Finished);
    }
    // Encrypted or not, the token is asked for.
    let ticket = handle.ticket(&side.id(), 4);
    let error = open(&handle, &authority(), hello(ticket.as_str(), &holder(1))).err().unwrap();
    assert_eq!(error.code, ErrorCode::Token);
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_the_right_one_hears_nothing() {
    let (place, side, handle) = place().await;
    let mut events = handle.events();
    let other = Trust::Fingerprint(Digest::of(b"another certificate"));
    let error = dial(&handle, &other).err().unwrap();
    assert!(matches!(error, TlsError::Tls(_)), "{error}");
    assert!(error.to_string().contains(&handle.fingerprint().unwrap().to_string()), "{error}");
    let error = dial(&handle, &Trust::Authorities(pem("self.pem"))).err().unwrap();
    assert!(matches!(error, TlsError::Tls(_)), "{error}");
    let error = dial(&handle, &Trust::Authorities(pem("server.key"))).err().unwrap();
    assert!(matches!(error, TlsError::Authorities { .. }), "{error}");
    let ticket = handle.ticket(&side.id(), 0);
    let environment = [
        ("REPRODUCEML_TLS_CA", pem("self.pem").display().to_string()),
        ("REPRODUCEML_TOKEN", TOKEN.to_owned()),
    ];
    let server = format!("tls:{}", address(&handle));
    let begun = Instant::now();
    let child = python_with("train.py", &[&server, ticket.as_str()], &environment);
    let ended = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await;
    let ended = ended.unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success() && errors.contains("not trusted"), "{errors}");
    assert!(begun.elapsed() < Duration::from_secs(50), "it does not try again");
    assert_eq!(place.store.run(&key(&side, 0)).unwrap(), None, "no run was taken");
    let mut refused = 0;
    while let Ok(event) = events.try_recv() {
        refused += usize::from(matches!(event, Event::Refused { code: ErrorCode::Tls, .. }));
    }
    assert!(refused >= 3, "the operator hears of {refused}");
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_the_clear_is_told_so_and_the_server_stays_well() {
    let (_place, side, handle) = place().await;
    let ticket = handle.ticket(&side.id(), 0);
    let clear = || {
        let stream = TcpStream::connect(address(&handle)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    };
    let mut wire = Wire::new(clear());
    wire.send(&Request::Hello(with_token(ticket.as_str(), 1))).unwrap();
    let error = refused(wire.receive().unwrap()).unwrap_err();
    assert_eq!((error.code, error.retry_after), (ErrorCode::Tls, None));
    assert!(error.message.contains("tls:") && !error.message.contains(TOKEN), "{}", error.message);
    assert!(wire.receive::<Reply>().is_err(), "the connection is closed");
    // Rubbish that begins as TLS does, half a handshake, and nothing at all: each ends.
    for bytes in [&[22; 4096][..], &[22, 3, 1, 2, 0, 1], &[]] {
        let mut stream = clear();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        // A reset is an end as well.
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"RML"), "{answer:?}");
    }
    // A client of TLS at an address without it.
    let config = reproduceml_server::ServerConfig::loopback("data".into());
    let other = Place::new(&[]);
    let plain = other.serve(config).await;
    let there = plain.addresses()[0].strip_prefix("tcp:").unwrap().to_owned();
    assert!(connect(&there, &authority(), Duration::from_secs(10)).is_err());
    plain.shutdown().await;
    open(&handle, &authority(), with_token(ticket.as_str(), 1)).unwrap();
    // A silent connection does not hold up the end.
    let silent = clear();
    let begun = Instant::now();
    let report = handle.shutdown().await;
    assert!(report.drained && begun.elapsed() < Duration::from_secs(5));
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_signs_itself_is_its_own_authority() {
    let side = experiment(Evaluation::Buggy);
    let place = Place::new(std::slice::from_ref(&side));
    let mut config = reproduceml_server::ServerConfig::loopback("data".into());
    config.tls = Some(Tls::from_files(&pem("self.pem"), &pem("self.key")).unwrap());
    let handle = place.serve(config).await;
    let address = handle.addresses()[0].strip_prefix("tls:").unwrap().to_owned();
    let trust = Trust::Authorities(pem("self.pem"));
    let stream = connect(&address, &trust, Duration::from_secs(10)).unwrap();
    let ticket = handle.ticket(&side.id(), 0);
    Client::over(Wire::new(stream), hello(ticket.as_str(), &holder(1))).unwrap().unwrap();
    let named = address.replace("127.0.0.1", "localhost");
    connect(&named, &trust, Duration::from_secs(10)).unwrap();
    for wrong in ["127.0.0.1", "127.0.0.1:port", "two words:1"] {
        let error = connect(wrong, &trust, Duration::from_secs(1)).err().unwrap();
        let wrong = matches!(error, TlsError::Address { .. } | TlsError::Host { .. });
        assert!(wrong, "{error}");
    }
    handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_does_not_replace_the_token_and_wrong_files_are_named() {
    let place = Place::new(&[]);
    let mut config = place.config();
    let open: SocketAddr = "0.0.0.0:0".parse().unwrap();
    config.listen = vec![Listen::Tcp(open)];
    config.tls = Some(Tls::from_files(&pem("self.pem"), &pem("self.key")).unwrap());
    let started = Server::start(place.store.clone(), place.study.clone(), config).await;
    assert!(matches!(started.err().unwrap(), ServerError::TokenNeeded { .. }));
    for (chain, key, words) in [
        ("nothing.pem", "server.key", "nothing.pem"),
        ("server.key", "server.key", "no certificate"),
        ("server.pem", "server.pem", "no private key"),
        ("server.pem", "self.key", "does not fit"),
    ] {
        let error = Tls::from_files(&pem(chain), &pem(key)).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}
