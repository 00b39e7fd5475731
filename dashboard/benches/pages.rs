//! How long pages take, beside `python3 -m http.server` sending the same bytes from a file.
//!
//! `cargo bench --workspace --profile dev --bench pages`. A corpus of 5,000 bugs; the page of
//! 1,000 bugs is the largest that a list gives. Each figure is the median of 30 requests, each on
//! a connection of its own, after one that warms up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Filled, get};
use study::Evaluation;

const BUGS: u64 = 5000;
const REQUESTS: usize = 30;

/// Time to the first byte and to the last, and how many came.
fn timed(at: SocketAddr, path: &str) -> (Duration, Duration, usize) {
    let began = Instant::now();
    let mut stream = TcpStream::connect(at).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").unwrap();
    let mut first = [0];
    stream.read_exact(&mut first).unwrap();
    let to_first = began.elapsed();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    (to_first, began.elapsed(), bytes.len())
}

fn median(mut values: Vec<Duration>) -> f64 {
    values.sort();
    values[values.len() / 2].as_secs_f64() * 1e3
}

fn measure(name: &str, at: SocketAddr, path: &str) -> f64 {
    timed(at, path);
    let all: Vec<_> = (0..REQUESTS).map(|_| timed(at, path)).collect();
    let first = median(all.iter().map(|one| one.0).collect());
    let last = median(all.iter().map(|one| one.1).collect());
    println!(
        "{name:<44} first byte {first:>7.1} ms   whole {last:>7.1} ms   {:>9} bytes",
        all[0].2
    );
    last
}

#[tokio::main]
async fn main() {
    let filled = Filled::new(BUGS);
    let served = filled.serve().await;
    let at = served.address();
    let left = filled.side(1, Evaluation::Buggy).id();
    let right = filled.side(1, Evaluation::Corrected).id();
    let cold = timed(at, "/");
    println!("the first page after the start, {BUGS} bugs: {:.1} ms", cold.1.as_secs_f64() * 1e3);
    let list = "/bugs?per=1000";
    let mut ours = 0.0;
    for (name, path) in [
        ("overview", "/".to_owned()),
        ("bugs, 100", "/bugs".to_owned()),
        ("bugs, 1,000", list.to_owned()),
        ("bugs, 1,000, searched and sorted", format!("{list}&q=samples&sort=-lines")),
        ("one bug", "/bugs/pr1".to_owned()),
        ("two experiments", format!("/compare?left={left}&right={right}")),
        ("API, 1,000 bugs as JSON", format!("/api/v1{list}")),
        ("API, all bugs as CSV", "/api/v1/bugs?format=csv".to_owned()),
    ] {
        let took = measure(name, at, &path);
        if path == list {
            ours = took;
        }
    }
    // The same bytes from a file, by a server that does nothing else.
    let page = get(at, list).bytes;
    std::fs::write(filled.root().join("page.html"), page).unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new("python3")
        .args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string(), "--directory"])
        .arg(filled.root())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    match server {
        Ok(mut child) => {
            let there = SocketAddr::from(([127, 0, 0, 1], port));
            let until = Instant::now() + Duration::from_secs(10);
            while TcpStream::connect(there).is_err() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(50));
            }
            let theirs = measure("python3 -m http.server, the same page", there, "/page.html");
            println!("bugs, 1,000: {:.1} times python3 -m http.server's time", ours / theirs);
            child.kill().unwrap();
            child.wait().unwrap();
        }
        Err(error) => println!("python3 -m http.server is left out: {error}"),
    }
    served.shutdown().await;
}
