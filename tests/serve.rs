//! `serve` and `ticket` as a user calls them, with the Python client.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use common::{TestStudy, Told, root};
use study::{
    ArtifactId, BugId, Challenge, DataOrder, Evaluation, Experiment, Hyperparameters, ModelSpec,
    RunKey, RunStatus, SeedPolicy, Study,
};

const SECRET: &str = "a-token-nobody-guesses-0123456789";

/// A study that plans one small experiment.
fn planned() -> (TestStudy, Experiment) {
    let folder = TestStudy::from_definition("quick-tinynn", &[]);
    let experiment = Experiment {
        bug: BugId::of_pull_request(12),
        evaluation: Evaluation::Buggy,
        artifact: ArtifactId::from_digest([1; 32]),
        framework: "tinynn".into(),
        toolchain: "debian-bookworm-tinynn".into(),
        model: ModelSpec { name: "mlp".into(), source: None, source_digest: None },
        challenge: Challenge {
            name: "synthetic".into(),
            train_samples: 40,
            validation_samples: 10,
            test_samples: 20,
            fraction: 1.0,
            order: DataOrder::PerEpoch,
        },
        hyperparameters: Hyperparameters {
            epochs: 3,
            batch_size: 16,
            learning_rate: 0.1,
            momentum: 0.5,
            drop_last: false,
        },
        seed_policy: SeedPolicy::PerRun,
        meta_seed: 7,
        device: "cpu".into(),
        conditions: None,
    };
    let store = Study::open(&folder.path()).unwrap().store().unwrap();
    store.plan(&[(experiment.clone(), 2)]).unwrap();
    (folder, experiment)
}

/// A `serve` that listens.
struct Serving {
    child: Child,
    errors: BufReader<ChildStderr>,
    addresses: Vec<String>,
}

impl Serving {
    fn start(study: &TestStudy, arguments: &[&str], token: Option<&str>) -> Self {
        let mut command = study.command(&["serve"]);
        command.args(arguments).env_remove("REPRODUCEML_TOKEN");
        command.envs(token.map(|token| ("REPRODUCEML_TOKEN", token)));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        // A heading, then a line for each place.
        let places = arguments.iter().filter(|a| **a == "--listen").count();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().take(places + 1);
        let addresses = lines.skip(1).map(|line| line.unwrap().trim().to_owned()).collect();
        Self { child, errors, addresses }
    }

    /// Waits until it has said a line with `words`.
    fn until(&mut self, words: &str) -> String {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(self.errors.read_line(&mut line).unwrap() > 0, "it never said `{words}`");
        }
        line
    }

    /// Sends a signal; returns the exit code and what was said from now on.
    fn end(mut self, signal: &str) -> (i32, String) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let mut said = String::new();
        self.errors.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code().unwrap(), said)
    }
}

/// A process that speaks through the Python client.
fn python(arguments: &[&str], token: Option<&str>) -> Command {
    let mut command = Command::new("python3");
    command
        .args(arguments)
        .env("PYTHONPATH", root().join("clients/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env_remove("REPRODUCEML_TOKEN")
        .envs(token.map(|token| ("REPRODUCEML_TOKEN", token)));
    command
}

fn train(address: &str, ticket: &str, token: Option<&str>) -> Output {
    let script = root().join("server/tests/clients/train.py");
    python(&[script.to_str().unwrap(), address, ticket], token).output().unwrap()
}

fn ticket(study: &TestStudy, experiment: &Experiment, run: &str) -> Told {
    study.call(&["ticket", experiment.id().as_str(), run])
}

#[test]
fn a_client_trains_at_a_server_that_ends_in_order() {
    let (study, experiment) = planned();
    let socket = format!("unix:{}", study.path().join("s").display());
    let arguments = ["--listen", "127.0.0.1:0", "--listen", &socket];
    let mut serving = Serving::start(&study, &arguments, None);
    assert!(serving.addresses[0].starts_with("tcp:127.0.0.1:"), "{:?}", serving.addresses);
    assert_eq!(serving.addresses[1], socket);
    for (run, address) in ["0", "1"].into_iter().zip(serving.addresses.clone()) {
        let ticket = ticket(&study, &experiment, run).expect(&[0]).out;
        let told = Told::of(train(&address, ticket.trim(), None)).expect(&[0]).json();
        assert_eq!(told["job"]["experiment"], experiment.id().as_str());
        serving.until("finished, accuracy");
    }
    let (code, said) = serving.end("-TERM");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("no run was left unfinished"), "{said}");
    let store = Study::open(&study.path()).unwrap().store().unwrap();
    let key = RunKey { experiment: experiment.id(), run: 1 };
    assert_eq!(store.run(&key).unwrap().unwrap().status, RunStatus::Finished);
}

#[test]
fn what_is_left_is_named_and_goes_on_at_the_next_server() {
    let (study, experiment) = planned();
    let socket = format!("unix:{}", study.path().join("s").display());
    let mut serving = Serving::start(&study, &["--listen", &socket], None);
    let ticket = ticket(&study, &experiment, "1").expect(&[0]).out;
    let script = root().join("server/tests/clients/train.py");
    let script = script.to_str().unwrap();
    let client = python(&[script, &socket, ticket.trim(), "1"], None)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    serving.until("began, attempt 1");
    let (code, said) = serving.end("-INT");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("1 runs are unfinished"), "{said}");
    assert!(said.contains(experiment.id().as_str()), "{said}");
    let mut serving = Serving::start(&study, &["--listen", &socket], None);
    serving.until("finished, accuracy");
    Told::of(client.wait_with_output().unwrap()).expect(&[0]);
    assert_eq!(serving.end("-TERM").0, 0);
}

#[test]
fn only_clients_with_the_token_come_in_and_nobody_prints_it() {
    let (study, experiment) = planned();
    let file = study.path().join("token");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let arguments = ["-vv", "--listen", "0.0.0.0:0", "--token-file", file.to_str().unwrap()];
    let serving = Serving::start(&study, &arguments, None);
    let port = serving.addresses[0].rsplit(':').next().unwrap();
    let address = format!("tcp:127.0.0.1:{port}");
    let ticket = ticket(&study, &experiment, "0").expect(&[0]).out;
    let wrong = SECRET.replace('a', "b");
    for token in [None, Some(wrong.as_str())] {
        let refused = Told::of(train(&address, ticket.trim(), token)).expect(&[1]);
        assert!(refused.err.contains("the token is missing or wrong"), "{}", refused.err);
    }
    let mut changed = ticket.trim().to_owned();
    let last = if changed.pop() == Some('0') { '1' } else { '0' };
    changed.push(last);
    let forged = Told::of(train(&address, &changed, Some(SECRET)));
    assert!(forged.expect(&[1]).err.contains("ticket"));
    Told::of(train(&address, ticket.trim(), Some(SECRET))).expect(&[0]);
    let (code, said) = serving.end("-TERM");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("token is missing or wrong"), "{said}");
    for secret in [SECRET, wrong.as_str(), ticket.trim()] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[test]
fn clients_reach_a_server_with_a_certificate_over_tls() {
    let (study, experiment) = planned();
    let pem = |name: &str| root().join("server/tests/tls").join(name).display().to_string();
    let (chain, key) = (pem("server.pem"), pem("server.key"));
    let arguments = ["--listen", "127.0.0.1:0", "--tls-cert", &chain, "--tls-key", &key];
    let mut serving = Serving::start(&study, &arguments, None);
    let address = serving.addresses[0].clone();
    assert!(address.starts_with("tls:127.0.0.1:"), "{address}");
    let said = serving.until("fingerprint");
    let fingerprint = said.trim().rsplit(' ').next().unwrap();
    let script = root().join("server/tests/clients/train.py");
    let client = |run: &str, name: &str, value: &str| {
        let ticket = ticket(&study, &experiment, run).expect(&[0]).out;
        let arguments = [script.to_str().unwrap(), &address, ticket.trim()];
        Told::of(python(&arguments, None).env(name, value).output().unwrap())
    };
    client("0", "REPRODUCEML_TLS_FINGERPRINT", fingerprint).expect(&[0]);
    client("1", "REPRODUCEML_TLS_CA", &pem("authority.pem")).expect(&[0]);
    let refused = client("1", "REPRODUCEML_TLS_CA", &pem("self.pem")).expect(&[1]);
    assert!(refused.err.contains("not trusted"), "{}", refused.err);
    assert_eq!(serving.end("-TERM").0, 0);
    let told = study.call(&["serve", "--tls-cert", &chain]).expect(&[2]);
    assert!(told.err.contains("--tls-key"), "{}", told.err);
    let told = study.call(&["serve", "--tls-cert", &key, "--tls-key", &key]).expect(&[2]);
    assert!(told.err.contains("no certificate"), "{}", told.err);
}

#[test]
fn a_server_that_cannot_start_says_what_to_do() {
    let (study, _) = planned();
    let refused = |arguments: &[&str], token: Option<&str>, words: &[&str]| {
        let mut command = study.command(&["serve"]);
        command.args(arguments).env_remove("REPRODUCEML_TOKEN");
        command.envs(token.map(|token| ("REPRODUCEML_TOKEN", token)));
        let told = Told::of(command.output().unwrap()).expect(&[2]);
        assert_eq!(told.out, "", "nothing is served");
        for word in words {
            assert!(told.err.contains(word), "no `{word}` in: {}", told.err);
        }
    };
    refused(&["--listen", "0.0.0.0:0"], None, &["needs a token", "--token-file", "127.0.0.1"]);
    refused(&["--listen", "[::]:0"], None, &["needs a token"]);
    refused(&["--listen", "127.0.0.1:0"], Some("short"), &["5 characters", "at least 16"]);
    refused(&["--token-file", "/nowhere/token"], None, &["/nowhere/token"]);
    refused(&["--listen", "localhost"], None, &["127.0.0.1:4747", "unix:PATH"]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&["--listen", &address], None, &["in use", "--listen"]);
    let serving = Serving::start(&study, &["--listen", "127.0.0.1:0"], None);
    refused(&["--listen", "127.0.0.1:0"], None, &["lock"]);
    assert_eq!(serving.end("-TERM").0, 0);
}

#[test]
fn tickets_are_for_planned_runs() {
    let (study, experiment) = planned();
    let told = ticket(&study, &experiment, "2").expect(&[2]);
    assert!(told.err.contains("has 2 runs"), "{}", told.err);
    let told = study.call(&["ticket", "pr1-buggy-0123456789ab", "0"]).expect(&[2]);
    assert!(told.err.contains("run --plan-only"), "{}", told.err);
    let json = study.call(&["--format", "json", "ticket", experiment.id().as_str(), "1"]);
    assert_eq!(json.expect(&[0]).json()["run"], 1);
}
