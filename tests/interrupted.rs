//! Stopped at any moment and called again, a study ends as if nothing had happened.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{TestStudy, docker};

fn mined() -> TestStudy {
    TestStudy::tinynn(&[("runs = 10", "runs = 4")])
}

/// Whether a process has said what it does at a signal; one that is over will not say.
fn ready_for(process: u32, signal: &str) -> bool {
    let number = match signal {
        "-INT" => libc::SIGINT,
        "-TERM" => libc::SIGTERM,
        _ => return true,
    };
    let Ok(status) = std::fs::read_to_string(format!("/proc/{process}/status")) else {
        return true;
    };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    caught.is_some_and(|mask| mask & (1 << (number - 1)) != 0) || status.contains("State:\tZ")
}

/// Starts a stage and sends it `signal` after `delay`; gives its exit code, if it had one.
fn disturb(study: &TestStudy, stage: &[&str], delay: Duration, signal: &str) -> Option<i32> {
    let mut child =
        study.command(stage).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Before it is set up a signal ends it as it ends any program, and a busy machine takes long.
    let began = Instant::now();
    while !ready_for(child.id(), signal) && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(delay);
    let id = child.id().to_string();
    // The stage may be over already; then there is nobody to signal.
    let _ = Command::new("kill").args([signal, &id]).stderr(Stdio::null()).status().unwrap();
    child.wait().unwrap().code()
}

#[test]
fn killed_or_interrupted_a_study_goes_on() {
    if !docker("killed_or_interrupted_a_study_goes_on") {
        return;
    }
    let bugs = ["pr16", "pr30"];
    let stage = |name: &'static str| [&[name][..], &bugs].concat();

    let calm = mined();
    calm.call(&stage("build")).expect(&[0]);
    calm.call(&stage("run")).expect(&[0]);

    let study = mined();
    for (signal, milliseconds) in [("-KILL", 300), ("-INT", 700), ("-KILL", 1100)] {
        disturb(&study, &stage("build"), Duration::from_millis(milliseconds), signal);
    }
    study.call(&stage("build")).expect(&[0]);
    for (signal, milliseconds) in [("-KILL", 500), ("-KILL", 900), ("-INT", 1300), ("-TERM", 900)] {
        let code = disturb(&study, &stage("run"), Duration::from_millis(milliseconds), signal);
        if signal != "-KILL" {
            assert!(matches!(code, Some(130 | 0)), "{signal}: {code:?}");
        }
    }
    study.call(&stage("run")).expect(&[0]);

    assert_eq!(study.results(), calm.results());
    let again = study.call(&[&["--format", "json"][..], &stage("run")].concat()).expect(&[0]);
    assert_eq!(again.json()["made"], 0, "nothing is done twice");
}

#[test]
fn a_port_in_use_is_said() {
    if !docker("a_port_in_use_is_said") {
        return;
    }
    let study = mined();
    study.call(&["build", "pr16"]).expect(&[0]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = study.call(&["run", "--executor", "local", "--listen", &address]).expect(&[2]);
    assert!(told.err.contains(&address) && told.err.contains("in use"), "{}", told.err);
}
