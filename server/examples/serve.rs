//! A server in a process of its own, for tests that kill it.
//!
//! `serve STUDY SOCKET [LEASE_SECONDS]` prints one line when it listens, and on SIGTERM drains and
//! prints what it left.
#![allow(clippy::print_stdout, reason = "its output is its purpose")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reproduceml_server::{Listen, Server, ServerConfig};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(study), Some(socket)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve STUDY SOCKET [LEASE_SECONDS]".into());
    };
    let study = Arc::new(study::Study::open(&study)?);
    let store = Arc::new(study.store()?);
    let mut config = ServerConfig::loopback(study.root().join("data"));
    config.listen = vec![Listen::Unix(socket)];
    if let Some(seconds) = arguments.next() {
        config.limits.lease = Duration::from_secs_f64(seconds.to_string_lossy().parse()?);
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let handle = Server::start(store, study, config).await?;
    println!("{}", handle.addresses().join(" "));
    terminate.recv().await;
    let report = handle.shutdown().await;
    println!("drained {} unfinished {}", report.drained, report.unfinished.len());
    Ok(())
}
