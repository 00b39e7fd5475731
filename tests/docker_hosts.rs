//! Runs on several Docker hosts: daemons of the test's own on this machine, reached by a socket, by
//! TCP with TLS, and through ssh. Nothing is shared with them but the network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;
mod daemons;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use common::{TestStudy, Told, docker};
use daemons::{Daemon, Ssh, possible, sh, wait_for};
use serde_json::{Value, json};
use study::Study;

/// Nothing but a Python and what it loads: a tenth of the toolchain's image, in two layers.
const SMALL: &str = r"
RUN mkdir -p /small/usr/lib/x86_64-linux-gnu && mkdir -m 1777 /small/tmp && cd /small && cp -a /bin /lib /lib64 . \
 && cp -a --parents /usr/bin/python3* /usr/lib/python3.* . \
 && cp -a --parents /usr/lib64 . 2>/dev/null; \
    cd /usr/lib/x86_64-linux-gnu && cp -a ld-linux* libgcc_s* lib[bcdeflmnprstuz]*.so.* /small$PWD/ \
 && cd /small/usr/lib && rm -rf python3*/test python3*/config-* x86_64-linux-gnu/lib*san.so* \
 && find /small -name __pycache__ -prune -exec rm -rf {} + && chmod -R a+rX /small
FROM scratch
COPY Dockerfile /layer-of-its-own
COPY --from=whole /small /
";

/// A study whose bugs are built, and whose runs happen in a small image. No run is made.
fn built(model: &str, bugs: &[&str], runs: u32) -> TestStudy {
    let study = TestStudy::tinynn(&[
        ("runs = 10", &format!("runs = {runs}")),
        ("epochs = 3", "epochs = 1"),
        ("name = \"mlp\"", &format!("name = \"{model}\"\nsource = \"probe.py\"")),
    ]);
    let probe = common::root().join("tests/fixtures/probe.py");
    std::fs::copy(probe, study.path().join("probe.py")).unwrap();
    study.call(&[&["build"][..], bugs].concat()).expect(&[0]);
    let store = Study::open(&study.path()).unwrap().store().unwrap();
    for (_, _, mut record) in store.builds().unwrap() {
        record.image = small(&record.image);
        store.put_artifact(&record).unwrap();
    }
    study
}

fn small(image: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let from = image.trim_start_matches("sha256:");
    let file = format!("FROM {from} AS whole\n{SMALL}");
    std::fs::write(folder.path().join("Dockerfile"), file).unwrap();
    let built = Command::new("docker")
        .args(["build", "-q", "-t", "reproduceml-test/small:hosts", "."])
        .env("DOCKER_BUILDKIT", "0")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    String::from_utf8(built.stdout).unwrap().trim().to_owned()
}

/// Gives the study other hosts, each a table of study.toml.
fn say(study: &TestStudy, hosts: &[String], more: &str) {
    let file = study.path().join("study.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.split("\n[docker]\n").next().unwrap();
    let hosts = hosts.join(",\n  ");
    std::fs::write(&file, format!("{text}\n[docker]\nhosts = [\n  {hosts}\n]\n{more}\n")).unwrap();
}

fn by_socket(daemon: &Daemon, name: &str, more: &str) -> String {
    format!("{{address = \"{}\", name = \"{name}\", jobs = 2{more}}}", daemon.unix())
}

fn by_tls(daemon: &Daemon, name: &str, certs: &str) -> String {
    format!(
        "{{address = \"{}\", name = \"{name}\", jobs = 2, certs = \"{}\", server = \"{}\"}}",
        daemon.tcp(),
        daemon.at(certs).display(),
        daemon.gateway()
    )
}

const TOKEN: &str = "a-token-that-nobody-else-has-81f3";

fn command(study: &TestStudy, arguments: &[&str]) -> Command {
    let all = [&["--format", "json", "run", "--executor", "hosts"], arguments].concat();
    let mut command = study.command(&all);
    command.env("REPRODUCEML_TOKEN", TOKEN);
    command
}

fn run(study: &TestStudy, arguments: &[&str]) -> Told {
    Told::of(command(study, arguments).output().unwrap())
}

/// Starts a call whose output is kept for later.
fn begin(study: &TestStudy, arguments: &[&str]) -> Child {
    let mut command = command(study, arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Told {
    Told::of(child.wait_with_output().unwrap())
}

/// The hosts of each bug's runs, as the manifests have them.
fn hosts(study: &TestStudy) -> BTreeMap<String, BTreeSet<String>> {
    let store = Study::open(&study.path()).unwrap().store().unwrap();
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (experiment, _) in store.active_experiments().unwrap() {
        for run in store.runs(&experiment.id()).unwrap() {
            let manifest = run.manifest.unwrap_or_default();
            let host = manifest["process"]["host"].as_str().unwrap_or("nowhere").to_owned();
            all.entry(experiment.bug.to_string()).or_default().insert(host);
        }
    }
    all
}

fn side(summary: &Value, bug: &str, evaluation: &str) -> Value {
    let sides = summary["sides"].as_array().unwrap();
    let its = |side: &&Value| side["evaluation"] == evaluation && side["bug"] == bug;
    sides.iter().find(its).unwrap().clone()
}

/// Whether any process of this machine has a word in its command line.
fn in_process_list(word: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(word)
    })
}

/// Containers, and volumes of one call, that a daemon still has.
fn left(daemon: &Daemon) -> Vec<String> {
    let mut all = daemon.ask(&["ps", "-aq"]);
    let arrays = |name: &String| name.contains("reproduceml-arrays-");
    all.extend(daemon.ask(&["volume", "ls", "-q"]).into_iter().filter(arrays));
    all
}

#[test]
fn each_bug_stays_on_one_host_and_what_travels_travels_once() {
    let test = "each_bug_stays_on_one_host_and_what_travels_travels_once";
    if !docker(test) || !possible(test) {
        return;
    }
    let (one, two) = (Daemon::start(1), Daemon::start(2));
    let bugs = ["pr16", "pr21"];
    let study = built("Looks", &bugs, 1);
    let here = study.copied();

    let (first, second) = (by_socket(&one, "one", ""), by_tls(&two, "two", "mine"));
    say(&study, std::slice::from_ref(&first), "");
    let planned = run(&study, &["pr16", "--dry-run"]).expect(&[0]);
    assert!(planned.err.contains("2 runs of 1 bugs would be shared by 1 hosts"), "{}", planned.err);
    assert!(one.ask(&["images", "-q"]).is_empty(), "nothing was done");

    // Each bug where its study says; the image goes to each host once.
    let mut child = begin(&study, &["pr16"]);
    wait_for("a run on the first host", || {
        assert!(!in_process_list(TOKEN), "the token is on a command line");
        one.running() > 0 || child.try_wait().unwrap().is_some()
    });
    let told = end(child).expect(&[0]);
    assert!(
        told.err.contains("2 layers sent") && told.err.contains("0 were there"),
        "{}",
        told.err
    );
    say(&study, std::slice::from_ref(&second), "");
    let told = run(&study, &["pr21"]).expect(&[0]);
    assert!(told.err.contains("host two has the image"), "{}", told.err);
    assert_eq!(told.json()["made"], 2);

    // Both hosts: each bug stays where it is, and nothing travels a second time.
    say(&study, &[second, first], "");
    let told = run(&study, &["pr16", "pr21", "--runs", "3"]).expect(&[0]);
    assert_eq!(told.json()["made"], 8);
    assert!(told.err.contains("0.0 MiB sent to Docker hosts"), "{}", told.err);
    let one_of = |name: &str| BTreeSet::from([name.to_owned()]);
    let expected = [("pr16".to_owned(), one_of("one")), ("pr21".to_owned(), one_of("two"))];
    assert_eq!(hosts(&study), expected.into());
    assert_eq!(run(&study, &["pr16", "pr21", "--runs", "3"]).expect(&[0]).json()["made"], 0);
    assert_eq!((left(&one), left(&two)), (vec![], vec![]));

    // What was computed is what this machine computes.
    here.call(&["run", "pr16", "pr21", "--runs", "3"]).expect(&[0]);
    assert_eq!(study.results(), here.results(), "the same bits");

    // Runs were kept apart, their logs came back, and no secret is in them.
    for found in study.probes() {
        assert_ne!(found["uid"], 0, "{found}");
        let none = "0000000000000000";
        assert_eq!(found["capabilities"], json!([none, none, none, none, none]));
        assert_eq!((&found["docker"], &found["writable"]), (&json!(false), &json!(["/tmp"])));
        assert_eq!(found["memory"], (512_u32 << 20).to_string());
    }
    let found = Command::new("grep").args(["-rlF", TOKEN]).arg(study.path()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&found.stdout), "", "the token is in a file of the study");

    // Every host is shown.
    let doctor = Told::of(study.command(&["doctor"]).output().unwrap());
    assert!(doctor.out.contains("one (unix://") && doctor.out.contains("two (tcp://"));
    let status = study.call(&["status"]).expect(&[0]);
    assert!(status.err.contains("host one (unix://"), "{}", status.err);
    assert!(status.err.contains("1 bugs go there"), "{}", status.err);
}

#[test]
fn a_lost_host_gives_its_runs_to_one_of_the_same_class_and_none_is_doubled() {
    let test = "a_lost_host_gives_its_runs_to_one_of_the_same_class_and_none_is_doubled";
    if !docker(test) || !possible(test) {
        return;
    }
    let (mut one, two) = (Daemon::start(3), Daemon::start(4));
    let study = built("Slow", &["pr16", "pr21"], 1);
    // The bug begins on the first host.
    say(&study, &[by_socket(&one, "one", "")], "");
    run(&study, &["pr21"]).expect(&[0]);
    assert_eq!(hosts(&study)["pr21"], BTreeSet::from(["one".to_owned()]));

    // It dies with two runs on it, and the rest of the bug is made on the second.
    let both =
        |class: [&str; 2]| [by_socket(&one, "one", class[0]), by_socket(&two, "two", class[1])];
    let hosts_alike = both(["", ""]);
    let classes = both([", class = \"old\"", ", class = \"new\""]);
    say(&study, &hosts_alike, "wait_seconds = 2");
    let child = begin(&study, &["pr21", "--runs", "3"]);
    wait_for("runs on the first host", || one.running() > 0);
    one.kill();
    let told = end(child).expect(&[0]);
    let summary = told.json();
    for said in ["starts over: node-lost: its host one was lost", "host one is lost"] {
        assert!(told.err.contains(said), "{said} in {}", told.err);
    }
    for evaluation in ["buggy", "corrected"] {
        let side = side(&summary, "pr21", evaluation);
        assert_eq!((&side["finished"], &side["failed"]), (&json!(3), &json!(0)), "{summary}");
        // How a run ended first is no matter any more; that one died after its results had come is
        // noted.
        let mut endings = side["endings"].as_array().unwrap().iter();
        assert!(endings.all(|ending| ending["after_acceptance"] == true), "{summary}");
    }
    let places = hosts(&study);
    assert_eq!(places["pr21"], BTreeSet::from(["one".to_owned(), "two".to_owned()]));
    let store = Study::open(&study.path()).unwrap().store().unwrap();
    for (experiment, runs) in store.active_experiments().unwrap() {
        let made = store.runs(&experiment.id()).unwrap();
        assert_eq!(made.len() as u32, runs, "no run is there twice");
    }
    assert_eq!(left(&two), Vec::<String>::new());

    // A host that is away at the start is named; the other one takes what there is.
    let told = run(&study, &["pr21", "--runs", "4"]).expect(&[0]);
    assert!(
        told.err.contains("host one (unix://") && told.err.contains("is left out"),
        "{}",
        told.err
    );
    assert_eq!(told.json()["made"], 2);

    // It comes back, and the other one hangs: its connections are open and nothing moves.
    one.begin();
    say(&study, &hosts_alike, "wait_seconds = 20");
    let child = begin(&study, &["pr21", "--runs", "5"]);
    wait_for("runs on the second host", || two.running() > 0);
    two.stop();
    let told = end(child).expect(&[0]);
    assert!(told.err.contains("host two is lost"), "{}", told.err);
    assert_eq!(side(&told.json(), "pr21", "buggy")["finished"], 5);
    drop(two);

    // Only a host of another class is left, as the study says: the bug that has runs waits, one
    // that has none goes there.
    let study = built("Looks", &["pr16", "pr21"], 1);
    let three = Daemon::start(5);
    say(&study, &classes[..1], "");
    run(&study, &["pr21"]).expect(&[0]);
    one.kill();
    let new = by_socket(&three, "three", ", class = \"new\"");
    say(&study, &[classes[0].clone(), new], "wait_seconds = 1");
    let told = run(&study, &["pr16", "pr21", "--runs", "2"]).expect(&[1]);
    assert!(told.err.contains("no other is of its class"), "{}", told.err);
    let summary = told.json();
    assert_eq!(side(&summary, "pr21", "buggy")["finished"], 1, "{summary}");
    assert_eq!(side(&summary, "pr21", "buggy")["failed"], 0, "{summary}");
    assert_eq!(side(&summary, "pr16", "buggy")["finished"], 2, "{summary}");
    assert_eq!(hosts(&study)["pr16"], BTreeSet::from(["three".to_owned()]));

    // And with none at all nothing can be done.
    say(&study, &classes[..1], "wait_seconds = 1");
    let told = run(&study, &["pr21", "--runs", "2"]).expect(&[3]);
    assert!(told.err.contains("no Docker host of study.toml"), "{}", told.err);
    assert!(told.err.contains("one (unix://"), "{}", told.err);
}

/// Carries connections to a daemon, and holds back what this side says once that is more than it
/// may say: as a line that was cut off.
struct Line {
    address: String,
    left: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
}

impl Line {
    fn to(daemon: &Daemon, bytes: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("line.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let left = Arc::new(AtomicI64::new(bytes));
        let (held, target) = (left.clone(), daemon.at("docker.sock"));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(near), Ok(far)) = (stream, UnixStream::connect(&target)) else { return };
                let (back, to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
                std::thread::spawn(move || pump(far, back, &AtomicI64::new(i64::MAX)));
                let held = held.clone();
                std::thread::spawn(move || pump(near, to, &held));
            }
        });
        Self { address: format!("unix://{}", socket.display()), left, _folder: folder }
    }

    fn is_cut(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }
}

fn pump(mut from: UnixStream, mut to: UnixStream, left: &AtomicI64) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        if left.load(Ordering::SeqCst) <= 0 {
            // Nothing goes through, nothing is closed, until the other end has gone.
            while from.read(&mut buffer).is_ok_and(|count| count > 0) {}
            break;
        }
        left.fetch_sub(count as i64, Ordering::SeqCst);
        if to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}

#[test]
fn a_transfer_that_is_cut_off_goes_on_where_it_was() {
    let test = "a_transfer_that_is_cut_off_goes_on_where_it_was";
    if !docker(test) || !possible(test) {
        return;
    }
    let daemon = Daemon::start(6);
    let study = built("Looks", &["pr21"], 1);
    // Each side's artifact makes three pieces.
    for (_, _, record) in Study::open(&study.path()).unwrap().store().unwrap().builds().unwrap() {
        let files = study.path().join("artifacts").join(record.id.to_string()).join("files");
        sh("head -c 50000000 /dev/urandom > weights", &files);
    }
    let direct = by_socket(&daemon, "one", "");
    let through = |line: &Line| direct.replace(&daemon.unix(), &line.address);

    // Killed in the second layer of the image: the first one is there.
    let line = Line::to(&daemon, 5 << 20);
    say(&study, &[through(&line)], "");
    let mut child = begin(&study, &["pr21"]);
    wait_for("the line to be cut", || line.is_cut());
    child.kill().unwrap();
    child.wait().unwrap();
    // Killed in the pieces of an artifact: the image is there, and what came of the artifact.
    let line = Line::to(&daemon, 46_000_000 + 40_000_000);
    say(&study, &[through(&line)], "");
    let mut child = begin(&study, &["pr21"]);
    wait_for("the line to be cut", || line.is_cut());
    child.kill().unwrap();
    let said = end(child).err;
    assert!(said.contains("1 layers sent") && said.contains("1 were there"), "{said}");

    say(&study, &[direct], "");
    let told = run(&study, &["pr21"]).expect(&[0]);
    assert!(!told.err.contains("is brought the image"), "{}", told.err);
    let went_on =
        |line: &str| line.contains(": 1 of 3 pieces sent") || line.contains(": 2 of 3 pieces sent");
    assert!(told.err.lines().any(went_on), "{}", told.err);
    // Only the image with its name is left, none of its beginnings.
    assert_eq!(daemon.ask(&["images", "-aq"]).len(), 1);
    assert!(run(&study, &["pr21", "--runs", "2"]).expect(&[0]).err.contains("0.0 MiB sent"));

    // The same daemon through ssh is the same host by another way.
    let Some(ssh) = Ssh::start(test, Some(&daemon)) else { return };
    let address = ssh.address();
    let host = format!(
        "{{address = \"{address}\", name = \"one\", jobs = 1, server = \"{}\"}}",
        daemon.gateway()
    );
    say(&study, std::slice::from_ref(&host), "");
    let mut through = command(&study, &["pr21", "--runs", "3"]);
    let told = Told::of(through.env("REPRODUCEML_SSH", ssh.program()).output().unwrap());
    let told = told.expect(&[0]);
    assert!(told.err.contains("0.0 MiB sent"), "{}", told.err);
    assert_eq!(told.json()["made"], 2);
    // Named twice, it is refused: one call's runs would be the other's leftovers.
    say(&study, &[host, by_socket(&daemon, "two", "")], "");
    let mut twice = command(&study, &["pr21", "--runs", "4"]);
    let told = Told::of(twice.env("REPRODUCEML_SSH", ssh.program()).output().unwrap());
    let told = told.expect(&[3]);
    assert!(told.err.contains("are one Docker daemon"), "{}", told.err);
}

#[test]
fn hosts_that_cannot_be_used_are_named_with_what_to_do() {
    let test = "hosts_that_cannot_be_used_are_named_with_what_to_do";
    if !docker(test) || !possible(test) {
        return;
    }
    let daemon = Daemon::start(7);
    let study = built("Looks", &["pr21"], 1);
    let plain = run(&study, &["pr21"]).expect(&[2]);
    assert!(plain.err.contains("study.toml has no [docker]"), "{}", plain.err);
    let refused = |hosts: &[String], code: i32, said: &[&str]| {
        say(&study, hosts, "wait_seconds = 1");
        let told = run(&study, &["pr21"]).expect(&[code]);
        for said in said {
            assert!(told.err.contains(said), "{said} in {}", told.err);
        }
    };
    // Another authority, no certificates, a port where nobody listens.
    refused(&[by_tls(&daemon, "two", "other")], 3, &["two (tcp://", "certificate", "docker -H"]);
    refused(&[by_tls(&daemon, "two", "nowhere")], 3, &["nowhere", "ca.pem"]);
    let closed = format!("\"ssh://nobody@127.0.0.1:{}\"", daemons::free_port());
    refused(&[closed], 3, &["127.0.0.1 (ssh://nobody@"]);
    refused(&["\"tcp://127.0.0.1:2375\"".to_owned()], 2, &["docker.hosts", "certs"]);
    // Containers there do not reach this machine by the name that is said.
    let elsewhere = by_socket(&daemon, "one", ", server = \"198.18.255.254\"");
    refused(&[elsewhere], 3, &["do not reach this machine at 198.18.255.254", "docker.server"]);
    let doctor = Told::of(study.command(&["doctor"]).output().unwrap());
    assert!(doctor.out.contains("one (unix://"), "{}", doctor.out);
    let other = study.command(&["build", "pr21", "--dry-run"]).output().unwrap();
    assert!(other.status.success(), "what builds does not look at the hosts");
}
