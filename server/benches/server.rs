//! The server's speed beside named others, on loopback, in one run.
//!
//! `cargo bench --workspace --profile dev --bench server` (the dev profile optimises what counts
//! here). iperf3 is taken from the path; ZeroMQ, NumPy and MLflow from the Python in
//! `REPRODUCEML_BENCH_PYTHON`, else `python3`. What is not there is named and left out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::client::{epoch, hello, holder};
use common::{Place, experiment};
use protocol::{Job, Reply, Request, Wire};
use reproduceml_server::ServerHandle;
use study::{Evaluation, Experiment};

const SECONDS: u64 = 3;
/// Samples of the array: 123 MB.
const SAMPLES: u32 = 10_000;
/// Clients at once, where there are many.
const CLIENTS: u32 = 64;

struct Client {
    wire: Wire<TcpStream>,
    job: Box<Job>,
    /// Where arrays are put that are received into memory used before.
    data: Vec<u8>,
}

/// How an array is received.
#[derive(Clone, Copy, PartialEq)]
enum Check {
    /// Each frame's checksum.
    Frames,
    /// And the digest of the whole, in memory that was used before.
    Digest,
    /// And the digest, in memory that is new to the process.
    DigestInNewMemory,
}

impl Client {
    /// Fetches the training samples.
    fn fetch(&mut self, check: Check) -> u64 {
        let seed = self.job.seed;
        self.wire.send(&Request::Fetch { seed, name: "train/x".into() }).unwrap();
        let Reply::Array { array, .. } = self.wire.receive().unwrap() else { panic!("no array") };
        match check {
            Check::Frames => {
                let mut left = array.bytes;
                while left > 0 {
                    left -= self.wire.receive_frame(protocol::Kind::Data).unwrap().len() as u64;
                }
            }
            Check::Digest => {
                self.wire.receive_data_into(&array, array.bytes, &mut self.data).unwrap();
            }
            Check::DigestInNewMemory => drop(self.wire.receive_data(&array, array.bytes).unwrap()),
        }
        array.bytes
    }
}

#[tokio::main]
async fn main() {
    // Cargo hands benchmarks and their filters the same arguments as tests.
    let only = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
    if wanted("arrays") {
        arrays().await;
    }
    if wanted("messages") {
        messages().await;
    }
}

fn report(what: &str, unit: &str, value: Option<f64>) {
    match value {
        Some(value) => println!("{what:<62} {value:>10.2} {unit}"),
        None => println!("{what:<62} not there, left out"),
    }
}

async fn arrays() {
    let mut side = experiment(Evaluation::Buggy);
    side.challenge.name = "synthetic-cifar10".into();
    side.challenge.train_samples = SAMPLES;
    let place = Place::new(std::slice::from_ref(&side));
    let handle = place.serve(place.config()).await;
    let open = opener(&handle, &side);
    let memory = vec![1_u8; 64 << 20];
    let alone = throughput(|| {
        assert_ne!(protocol::Digest::of(&memory).0, [0; 32]);
        memory.len() as u64
    });
    report("SHA-256 alone, in memory, one thread", "GB/s", Some(alone));
    let iperf = iperf3();
    report("iperf3, one stream, loopback", "GB/s", iperf);
    let [frames, digests, fresh] = tokio::task::spawn_blocking(move || {
        let mut client = open(0);
        client.fetch(Check::Digest);
        let checks = [Check::Frames, Check::Digest, Check::DigestInNewMemory];
        checks.map(|check| throughput(|| client.fetch(check)))
    })
    .await
    .unwrap();
    report("array, checksum of every frame", "GB/s", Some(frames));
    report("array, checksum of every frame and SHA-256 of the whole", "GB/s", Some(digests));
    report("the same into memory that is new to the process", "GB/s", Some(fresh));
    let client = python_client(&handle, &side);
    report("the same by the Python client", "GB/s", client.as_ref().map(|told| told.rate));
    let whole = python("zeromq.py", &[&SAMPLES.to_string(), "12"]);
    report("ZeroMQ, pickled NumPy array, the same array", "GB/s", whole);
    report("ZeroMQ, pickled NumPy array, 64 samples", "GB/s", python("zeromq.py", &["64", "3000"]));
    for (other, value) in [("iperf3", iperf), ("ZeroMQ with pickle, the same array", whole)] {
        let Some(value) = value else { continue };
        report(&format!("frames' checksums, against {other}"), "x", Some(frames / value));
        report(&format!("with SHA-256, against {other}"), "x", Some(digests / value));
        report(&format!("with SHA-256 in new memory, against {other}"), "x", Some(fresh / value));
        if let Some(client) = &client {
            report(&format!("Python client, against {other}"), "x", Some(client.rate / value));
        }
    }
    if let Some([first, second]) = client.as_ref().map(|told| &told.runs) {
        report("all arrays of the first run, Python client", "s", Some(first.seconds));
        report("all arrays of the second run, from the cache", "s", Some(second.seconds));
        report("received in the first run", "kB", Some(first.bytes as f64 / 1e3));
        report("received in the second run", "kB", Some(second.bytes as f64 / 1e3));
    }
    handle.shutdown().await;
}

/// Opens the client of a run, on any thread.
fn opener(handle: &ServerHandle, side: &Experiment) -> impl Fn(u32) -> Client + use<> {
    let address = handle.addresses()[0].clone();
    let tickets: Vec<_> = (0..CLIENTS).map(|run| handle.ticket(&side.id(), run)).collect();
    move |run| {
        let stream = TcpStream::connect(address.strip_prefix("tcp:").unwrap()).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut wire = Wire::new(stream);
        let ticket = &tickets[run as usize];
        wire.send(&Request::Hello(hello(ticket.as_str(), &holder(u64::from(run))))).unwrap();
        match wire.receive().unwrap() {
            Reply::Welcome { job, .. } => Client { wire, job, data: Vec::new() },
            other => panic!("{other:?}"),
        }
    }
}

/// GB/s of a transfer that is repeated.
fn throughput(mut transfer: impl FnMut() -> u64) -> f64 {
    let (start, processor) = (Instant::now(), processor_seconds());
    let mut bytes = 0;
    while start.elapsed() < Duration::from_secs(SECONDS) {
        bytes += transfer();
    }
    let gigabytes = bytes as f64 / 1e9;
    eprintln!("  {:.2} s of processors a GB", (processor_seconds() - processor) / gigabytes);
    gigabytes / start.elapsed().as_secs_f64()
}

/// Time that all threads of this process have spent on processors, from `/proc`.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

async fn messages() {
    let mut side = experiment(Evaluation::Buggy);
    side.hyperparameters.epochs = u32::MAX;
    let mut rates = Vec::new();
    for clients in [1, 8, CLIENTS] {
        let place = Place::new(&[]);
        place.store.plan(&[(side.clone(), CLIENTS)]).unwrap();
        let handle = place.serve(place.config()).await;
        let open = opener(&handle, &side);
        let rate = tokio::task::spawn_blocking(move || {
            let opened: Vec<_> = (0..clients).map(open).collect();
            epochs(opened)
        })
        .await
        .unwrap();
        report(&format!("durable messages, {clients} clients"), "1/s", Some(rate));
        rates.push((clients, rate));
        handle.shutdown().await;
    }
    let mut theirs = Vec::new();
    for clients in ["1", "8"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let port = free_port().to_string();
        let rate = python("mlflow_client.py", &[&port, path, &SECONDS.to_string(), clients]);
        report(&format!("MLflow, log_metric over HTTP, SQLite, {clients} clients"), "1/s", rate);
        theirs.extend(rate);
    }
    let Some(single) = theirs.first() else { return };
    for (clients, rate) in rates {
        report(&format!("{clients} clients, against MLflow's one"), "x", Some(rate / single));
    }
    if let Some(eight) = theirs.get(1) {
        report("MLflow's 8 clients, against its one", "x", Some(eight / single));
    }
}

/// Acknowledged epochs a second, each client waiting for each answer.
fn epochs(clients: Vec<Client>) -> f64 {
    let (stop, count) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for mut client in clients {
            let (stop, count) = (&stop, &count);
            scope.spawn(move || {
                for number in 0.. {
                    client.wire.send(&epoch(client.job.seed, number)).unwrap();
                    assert_eq!(client.wire.receive::<Reply>().unwrap(), Reply::Ok);
                    count.fetch_add(1, Ordering::Relaxed);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_secs(SECONDS));
        stop.store(true, Ordering::Relaxed);
    });
    count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// GB/s that iperf3's receiver saw.
fn iperf3() -> Option<f64> {
    let port = free_port().to_string();
    let mut server = Command::new("iperf3")
        .args(["-s", "-1", "-B", "127.0.0.1", "-p", &port])
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
    std::thread::sleep(Duration::from_millis(500));
    let seconds = SECONDS.to_string();
    let output = Command::new("iperf3")
        .args(["-c", "127.0.0.1", "-p", &port, "-t", &seconds, "-J"])
        .output();
    let _ = server.kill();
    let _ = server.wait();
    let told: serde_json::Value = serde_json::from_slice(&output.ok()?.stdout).ok()?;
    let end = &told["end"];
    let rate = end["sum_received"]["bits_per_second"].as_f64()? / 8e9;
    let percent = |side: &str| end["cpu_utilization_percent"][side].as_f64();
    let processors = (percent("host_total")? + percent("remote_total")?) / 100.0;
    eprintln!("  {:.2} s of processors a GB", processors / rate);
    Some(rate)
}

/// What `python_client.py` prints.
#[derive(serde::Deserialize)]
struct PythonClient {
    rate: f64,
    runs: [Taken; 2],
}

/// What it took to have all arrays of a run.
#[derive(serde::Deserialize)]
struct Taken {
    seconds: f64,
    bytes: u64,
}

/// The Python client's own speed. It runs beside the server of this process.
fn python_client(handle: &ServerHandle, side: &Experiment) -> Option<PythonClient> {
    let seconds = SECONDS.to_string();
    let tickets = [1, 2, 3].map(|run| handle.ticket(&side.id(), run));
    let mut arguments = vec![handle.addresses()[0].as_str(), seconds.as_str()];
    arguments.extend(tickets.iter().map(reproduceml_server::Ticket::as_str));
    let told = script("python_client.py", &arguments)?;
    Some(serde_json::from_str(&told).expect("the client's script prints JSON"))
}

/// The number that a script beside this file prints.
fn python(name: &str, arguments: &[&str]) -> Option<f64> {
    script(name, arguments)?.trim().parse().ok()
}

/// What a script beside this file prints, if it ends well.
fn script(name: &str, arguments: &[&str]) -> Option<String> {
    let python = std::env::var("REPRODUCEML_BENCH_PYTHON").unwrap_or_else(|_| "python3".into());
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    let output = Command::new(python)
        .arg(folder.join(name))
        .args(arguments)
        .env("PYTHONPATH", folder.join("../../clients/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
