//! Docker daemons that are reached over TCP with TLS, or through ssh, on this machine's loopback.
//! Each test says aloud what it lacks and passes, unless REPRODUCEML_REQUIRE_DOCKER is set: then
//! only ssh may be missing.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
mod daemons;

use std::path::Path;

use common::{TestStudy, Told, docker};
use daemons::{Daemon, Ssh, free_port, possible};

/// A dry run of the build, which needs to know the daemon and nothing of it.
fn plan(study: &TestStudy, environment: &[(&str, &str)]) -> Told {
    let mut command = study.command(&["build", "pr16", "--dry-run"]);
    command.envs(environment.iter().copied());
    Told::of(command.output().unwrap())
}

#[test]
fn a_daemon_on_tcp_with_tls_knows_its_users_and_they_know_it() {
    let name = "a_daemon_on_tcp_with_tls_knows_its_users_and_they_know_it";
    if !docker(name) || !possible(name) {
        return;
    }
    let others = Path::new("/sys/class/net/docker0").exists();
    let daemon = Daemon::start(0);
    let study = TestStudy::tinynn(&[]);
    let host = daemon.tcp();
    let tls = |certificates: &str| {
        let folder = daemon.at(certificates).display().to_string();
        let all =
            [("DOCKER_HOST", &*host), ("DOCKER_TLS_VERIFY", "1"), ("DOCKER_CERT_PATH", &*folder)];
        plan(&study, &all)
    };
    tls("mine").expect(&[0]);
    // A daemon of another authority, no certificates, and plain TCP are all refused with advice.
    let told = tls("other").expect(&[3]);
    assert!(told.err.contains("certificate"), "{}", told.err);
    let told = tls("nowhere").expect(&[3]);
    assert!(told.err.contains("DOCKER_CERT_PATH"), "{}", told.err);
    let told = plan(&study, &[("DOCKER_HOST", &host)]).expect(&[3]);
    assert!(told.err.contains("no Docker daemon answers"), "{}", told.err);
    drop(daemon);
    assert_eq!(Path::new("/sys/class/net/docker0").exists(), others, "the other daemon's bridge");
}

#[test]
fn a_daemon_behind_ssh_is_used_like_a_local_one() {
    let name = "a_daemon_behind_ssh_is_used_like_a_local_one";
    if !docker(name) {
        return;
    }
    let Some(server) = Ssh::start(name, None) else { return };
    let (host, ssh) = (server.address(), server.program());
    let study = TestStudy::tinynn(&[]);
    let mut build = study.command(&["--format", "json", "build", "pr16"]);
    build.env("DOCKER_HOST", &host).env("REPRODUCEML_SSH", &ssh);
    let summary = Told::of(build.output().unwrap()).expect(&[0]).json();
    assert_eq!(summary["pairs"], 1, "two commits built through ssh");
    let mut probe = study.command(&["--format", "json", "build", "probe", "pr16"]);
    probe.env("DOCKER_HOST", &host).env("REPRODUCEML_SSH", &ssh);
    let probes = Told::of(probe.output().unwrap()).expect(&[0]).json();
    assert_eq!(probes["probes"][0]["buggy_passes"], false);
    assert_eq!(probes["probes"][0]["corrected_passes"], true);

    // What ssh says is handed on.
    let nowhere = format!("ssh://nobody@127.0.0.1:{}", free_port());
    let ssh = ssh.display().to_string();
    let told = plan(&study, &[("DOCKER_HOST", &nowhere), ("REPRODUCEML_SSH", &ssh)]).expect(&[3]);
    assert!(told.err.contains("Connection refused"), "{}", told.err);
    let told = plan(&study, &[("DOCKER_HOST", "ssh://-oProxyCommand=x")]).expect(&[3]);
    assert!(told.err.contains("ssh://USER@HOST:PORT"), "{}", told.err);
}
