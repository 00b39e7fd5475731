//! A store that machines share: a folder, and a real server of the S3 protocol.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{TestStudy, Told, docker};
use serde_json::{Value, json};
use study::{
    ArtifactId, ArtifactRecord, ArtifactStatus, BugId, Evaluation, Experiment, RunKey, Strategy,
    Study,
};

const SECRET: &str = "a-secret-key-that-nobody-may-see";

/// A study of one machine, with what its environment has.
struct Machine {
    study: TestStudy,
    environment: Vec<(&'static str, String)>,
}

impl Machine {
    /// A new study with this store.
    fn new(store: &str) -> Self {
        let study = TestStudy::from_definition("quick-tinynn", &[]);
        let file = study.path().join("study.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("{text}\n[store]\n{store}\n")).unwrap();
        Self { study, environment: Vec::new() }
    }

    /// Another machine's copy of the study: what git and a database's copy bring, and no more.
    fn other(&self) -> Self {
        let study = TestStudy::from_definition("quick-tinynn", &[]);
        for name in ["study.toml", "study.db"] {
            std::fs::copy(self.root().join(name), study.path().join(name)).unwrap();
        }
        Self { study, environment: self.environment.clone() }
    }

    fn root(&self) -> PathBuf {
        self.study.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.study.command(&[&["--format", "json"], arguments].concat());
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SKIP_SIGNATURE"] {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn call(&self, arguments: &[&str]) -> Told {
        let told = Told::of(self.command(arguments).output().unwrap());
        assert!(!told.err.contains(SECRET) && !told.out.contains(SECRET), "{}", told.err);
        told
    }

    #[track_caller]
    fn store(&self, arguments: &[&str], code: i32) -> Value {
        self.call(&[&["store"], arguments].concat()).expect(&[code]).json()
    }

    /// Makes an artifact up, with so many files of so many bytes.
    fn artifact(&self, byte: u8, files: u32, bytes: usize) -> ArtifactId {
        let study = Study::open(&self.root()).unwrap();
        let id = ArtifactId::from_digest([byte; 32]);
        let folder = study.artifact_dir(&id);
        for number in 0..files {
            let path = folder.join(format!("files/package/{number}.py"));
            let text = format!("{byte} {number} ").repeat(bytes / 4 + 1);
            study::files::write_whole(&path, &text.as_bytes()[..bytes]).unwrap();
        }
        std::os::unix::fs::symlink("package/0.py", folder.join("files/link")).unwrap();
        let tool = folder.join("files/tool");
        std::fs::write(&tool, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let content = builder::Content::of(&folder.join("files")).unwrap();
        let record = json!({
            "id": id, "toolchain": "t", "image": {"tag": "t", "id": "sha256:i", "base": "b"},
            "identity": {"commit": null, "fault": null, "flags": {}, "repository": "tinynn/tinynn",
                         "strategy": "source", "toolchain": "t"},
            "started": "", "finished": "", "seconds": 1.0, "attempts": 1, "steps": [],
            "cache": {"hits": 0, "misses": 0}, "limits": {}, "host": {},
            "content": content.digest, "bytes": content.bytes,
        });
        let text = record.to_string();
        study::files::write_whole(&folder.join("record.json"), text.as_bytes()).unwrap();
        let stored = ArtifactRecord {
            id: id.clone(),
            repository: "tinynn/tinynn".into(),
            commit: None,
            toolchain: "t".into(),
            toolchain_digest: "t".into(),
            image: "sha256:i".into(),
            strategy: Strategy::Source,
            fault: None,
            status: ArtifactStatus::Built { content: content.digest, bytes: content.bytes },
            seconds: 1.0,
        };
        let store = study.store().unwrap();
        store.put_artifact(&stored).unwrap();
        store.assign_artifact(&bug(), Evaluation::Buggy, &id).unwrap();
        id
    }

    /// Makes a finished run of an artifact up, with predictions.
    fn run(&self, artifact: &ArtifactId) -> RunKey {
        let study = Study::open(&self.root()).unwrap();
        let store = study.store().unwrap();
        let experiment = Experiment {
            artifact: artifact.clone(),
            bug: bug(),
            evaluation: Evaluation::Buggy,
            framework: "tinynn".into(),
            toolchain: "t".into(),
            model: study.config.model_spec(None),
            challenge: study.config.challenge.clone(),
            hyperparameters: study.config.hyperparameters(),
            seed_policy: study.config.run.seed_policy,
            meta_seed: 1,
            device: "cpu".into(),
            conditions: None,
        };
        store.plan(&[(experiment.clone(), 1)]).unwrap();
        let key = RunKey { experiment: experiment.id(), run: 0 };
        store.begin_run(&key, experiment.seed(0)).unwrap();
        let metrics = [("accuracy".to_owned(), 0.5)].into();
        store.put_metrics(&key, "test", "0123456789abcdef0", &metrics).unwrap();
        store.finish_run(&key, &json!({})).unwrap();
        let file = study.run_dir(&key).join("predictions/test.0123456789abcdef.f4.zst");
        study::files::write_whole(&file, b"scores").unwrap();
        study::files::write_whole(&study.notes_dir().join("v1.0.0.md"), b"# Notes\n").unwrap();
        key
    }
}

fn bug() -> BugId {
    BugId::of_pull_request(21)
}

/// Every file below a folder with its content and whether it can be executed.
fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_dir() {
                todo.push(path);
            } else if metadata.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                all.push((name, target.into_os_string().into_encoded_bytes()));
            } else {
                let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
                let name = format!("{name} {}", mode & 0o111 != 0);
                all.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    all.sort();
    all
}

/// Sends from one machine and fetches on another; what each said.
fn there_and_back(one: &Machine) -> Machine {
    let id = one.artifact(7, 3, 5000);
    let key = one.run(&id);
    let status = one.store(&["status"], 0);
    assert_eq!((&status["folders"], &status["there"]), (&json!(3), &json!(0)), "{status}");
    let pushed = one.store(&["push"], 0);
    assert_eq!((&pushed["moved"], &pushed["files"]), (&json!(3), &json!(7)), "{pushed}");
    let again = one.store(&["push"], 0);
    assert_eq!((&again["there"], &again["files"]), (&json!(3), &json!(0)), "{again}");
    assert_eq!(one.store(&["verify"], 0)["refused"], json!([]));

    let other = one.other();
    let status = other.store(&["status"], 0);
    assert_eq!((&status["here"], &status["there"]), (&json!(0), &json!(3)), "{status}");
    let pulled = other.store(&["pull", "artifacts"], 0);
    assert_eq!((&pulled["moved"], &pulled["refused"]), (&json!(1), &json!([])), "{pulled}");
    let pulled = other.store(&["pull"], 0);
    assert_eq!(pulled["moved"], 2, "{pulled}");
    for folder in ["artifacts", "notes", "runs"] {
        assert_eq!(contents(&one.root().join(folder)), contents(&other.root().join(folder)));
    }
    assert!(other.root().join("runs").join(key.experiment.as_str()).is_dir());
    // Again from what was kept, without the store.
    std::fs::remove_dir_all(other.root().join("artifacts")).unwrap();
    let cached = other.store(&["pull", "artifacts"], 0);
    assert_eq!((&cached["moved"], &cached["files"]), (&json!(1), &json!(0)), "{cached}");
    other
}

#[test]
fn a_shared_folder_brings_everything_to_another_machine() {
    let shared = tempfile::tempdir().unwrap();
    let one = Machine::new(&format!("url = \"file://{}\"", shared.path().display()));
    let other = there_and_back(&one);
    // A changed object is refused by name, and nothing of its folder is used.
    let object = contents(&shared.path().join("objects"))
        .into_iter()
        .find(|(_, bytes)| bytes.starts_with(b"7 1 "))
        .map(|(name, _)| name.split(' ').next().unwrap().to_owned())
        .unwrap();
    let path = shared.path().join("objects").join(&object);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    std::fs::remove_dir_all(other.root().join("artifacts")).unwrap();
    std::fs::remove_dir_all(other.root().join("cache")).unwrap();
    let pulled = other.store(&["pull"], 1);
    assert!(pulled["refused"][0]["object"].as_str().unwrap().contains(&object), "{pulled}");
    assert_eq!(contents(&other.root().join("artifacts")), [], "nothing half is left");
    let verified = other.store(&["verify"], 1);
    assert_eq!(verified["refused"].as_array().unwrap().len(), 1, "{verified}");
    // A list that is changed, or that is another artifact's.
    let trees = shared.path().join("trees/artifacts");
    let name = ArtifactId::from_digest([7; 32]).to_string();
    let text = std::fs::read_to_string(trees.join(&name)).unwrap();
    std::fs::write(trees.join(&name), text.replace("package/1.py", "package/../1.py")).unwrap();
    let pulled = other.store(&["pull"], 1);
    assert!(pulled["refused"][0]["object"].as_str().unwrap().contains("trees/"), "{pulled}");
    one.artifact(9, 1, 10);
    one.store(&["push", "artifacts"], 0);
    let ninth = ArtifactId::from_digest([9; 32]).to_string();
    std::fs::copy(trees.join(ninth), trees.join(&name)).unwrap();
    let pulled = other.store(&["pull"], 1);
    assert!(pulled.to_string().contains("another artifact than its name says"), "{pulled}");
    assert_eq!(contents(&other.root().join("artifacts")), []);
}

#[test]
fn an_upload_that_was_killed_is_not_seen_and_goes_on() {
    let shared = tempfile::tempdir().unwrap();
    let one = Machine::new(&format!("url = \"file://{}\"", shared.path().display()));
    one.artifact(7, 400, 200_000);
    let mut child = one
        .command(&["store", "push"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    // When some of it is there.
    let shelves = || std::fs::read_dir(shared.path().join("objects")).map_or(0, Iterator::count);
    while shelves() < 20 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!shared.path().join("trees").exists(), "it was killed too late for this test");
    let other = one.other();
    let pulled = other.store(&["pull", "artifacts"], 0);
    assert_eq!(pulled["moved"], 0, "what is not whole is not there: {pulled}");
    let pushed = one.store(&["push", "artifacts"], 0);
    let sent = pushed["files"].as_u64().unwrap();
    assert!(sent < 402, "what was there was not sent again: {pushed}");
    assert_eq!(other.store(&["pull", "artifacts"], 0)["moved"], 1);
    assert_eq!(contents(&one.root().join("artifacts")), contents(&other.root().join("artifacts")));
}

#[test]
fn two_machines_at_once_do_not_disturb_each_other() {
    let shared = tempfile::tempdir().unwrap();
    let one = Machine::new(&format!("url = \"file://{}\"", shared.path().display()));
    one.artifact(7, 60, 20_000);
    let twin = one.other();
    twin.artifact(7, 60, 20_000);
    let both = |machines: [&Machine; 2], what: &str| {
        let children = machines.map(|machine| {
            let mut command = machine.command(&["store", what, "artifacts"]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        });
        for child in children {
            Told::of(child.wait_with_output().unwrap()).expect(&[0]);
        }
    };
    both([&one, &twin], "push");
    assert_eq!(one.store(&["verify"], 0)["refused"], json!([]));
    let other = one.other();
    both([&other, &other], "pull");
    assert_eq!(contents(&one.root().join("artifacts")), contents(&other.root().join("artifacts")));
}

#[test]
fn what_is_missing_says_what_to_do() {
    let one = TestStudy::from_definition("quick-tinynn", &[]);
    assert!(one.call(&["store", "status"]).expect(&[2]).err.contains("[store]"));
    let told = Machine::new("url = \"file:///nonexistent/folder\"").call(&["store", "push"]);
    assert!(told.expect(&[3]).err.contains("mount it"));
    let one = Machine::new("url = \"s3://bucket/a\"\nendpoint = \"http://127.0.0.1:9\"");
    let told = one.call(&["store", "status"]).expect(&[3]);
    assert!(told.err.contains("AWS_ACCESS_KEY_ID"), "{}", told.err);
    let told = Machine::new("url = \"s3://me:word@bucket\"").call(&["store", "status"]);
    assert!(told.expect(&[2]).err.contains("store.url"));
}

/// A real server of the protocol, started for one test.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// If there is none, says so aloud, and fails where it is required.
    fn start(test: &str) -> Option<Self> {
        let program = std::env::var_os("REPRODUCEML_S3_SERVER").unwrap_or("moto_server".into());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut server = child.ok().map(|child| Self { child, port });
        let until = Instant::now() + Duration::from_secs(60);
        while let Some(started) = &mut server {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                started.put("bucket", b"");
                return server;
            }
            if started.child.try_wait().unwrap().is_some() || Instant::now() > until {
                server = None;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(
            std::env::var_os("REPRODUCEML_REQUIRE_S3").is_none(),
            "{test}: REPRODUCEML_REQUIRE_S3 is set and no server of the S3 protocol starts"
        );
        eprintln!("SKIPPED {test}: no moto_server here; `scripts/setup --tests` brings one");
        None
    }

    /// Puts bytes under a name, as anybody with the keys could.
    fn put(&self, name: &str, bytes: &[u8]) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let put = Command::new("curl")
            .args(["-sf", "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", "me:anything"])
            .args(["-X", "PUT", "--data-binary"])
            .arg(format!("@{}", file.path().display()))
            .arg(format!("http://127.0.0.1:{}/{name}", self.port))
            .output()
            .unwrap();
        assert!(put.status.success(), "{name}: {put:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_of_the_s3_protocol_brings_everything_to_another_machine() {
    let name = "a_server_of_the_s3_protocol_brings_everything_to_another_machine";
    let Some(server) = Server::start(name) else { return };
    let store = format!(
        "url = \"s3://bucket/some/prefix\"\nendpoint = \"http://127.0.0.1:{}\"\n\
         region = \"us-east-1\"",
        server.port
    );
    let mut one = Machine::new(&store);
    one.environment =
        vec![("AWS_ACCESS_KEY_ID", "me".into()), ("AWS_SECRET_ACCESS_KEY", SECRET.into())];
    let other = there_and_back(&one);
    // More than one request's worth: in parts.
    one.artifact(8, 1, 20 << 20);
    one.store(&["push", "artifacts"], 0);
    let third = one.other();
    third.store(&["pull", "artifacts"], 0);
    assert_eq!(contents(&one.root().join("artifacts")).len(), {
        contents(&third.root().join("artifacts")).len()
    });
    // A changed object.
    let study = Study::open(&one.root()).unwrap();
    let file = study.artifact_dir(&ArtifactId::from_digest([7; 32])).join("files/package/1.py");
    let digest = study::files::sha256_file(&file).unwrap();
    let object = format!("some/prefix/objects/{}/{digest}", &digest[..2]);
    server.put(&format!("bucket/{object}"), &[b'x'; 5000]);
    std::fs::remove_dir_all(other.root().join("artifacts")).unwrap();
    std::fs::remove_dir_all(other.root().join("cache")).unwrap();
    let pulled = other.store(&["pull", "artifacts"], 1);
    assert_eq!(pulled["refused"][0]["object"], object, "{pulled}");
    assert!(!other.root().join("artifacts").join(study_name(7)).exists());
    // A bucket that is not there, and a server that is down.
    let missing = store.replace("s3://bucket", "s3://another");
    let mut nowhere = Machine::new(&missing);
    nowhere.environment.clone_from(&one.environment);
    nowhere.artifact(7, 1, 10);
    nowhere.call(&["store", "push"]).expect(&[3]);
    drop(server);
    let told = one.call(&["store", "push"]).expect(&[3]);
    assert!(told.err.contains("see that it is up"), "{}", told.err);
}

fn study_name(byte: u8) -> String {
    ArtifactId::from_digest([byte; 32]).to_string()
}

#[test]
fn build_and_run_take_from_the_store_what_is_there() {
    if !docker("build_and_run_take_from_the_store_what_is_there") {
        return;
    }
    let shared = tempfile::tempdir().unwrap();
    let store = format!("\n[store]\nurl = \"file://{}\"\n", shared.path().display());
    let machine = || {
        let study = TestStudy::tinynn(&[("runs = 10", "runs = 1"), ("epochs = 3", "epochs = 1")]);
        let file = study.path().join("study.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text + &store).unwrap();
        study
    };
    let one = machine();
    one.call(&["build", "pr21"]).expect(&[0]);
    one.call(&["store", "push"]).expect(&[0]);
    // Another machine builds nothing, and runs.
    let other = machine();
    let told = other.call(&["build", "pr21"]).expect(&[0]);
    assert!(told.out.contains("there already"), "{}", told.out);
    assert!(told.err.contains("fetched from the store"), "{}", told.err);
    assert!(!told.err.contains("built in"), "nothing was built: {}", told.err);
    let artifacts = |study: &TestStudy| contents(&study.path().join("artifacts"));
    let files = |study: &TestStudy| -> Vec<_> {
        artifacts(study).into_iter().filter(|(name, _)| !name.starts_with(".files")).collect()
    };
    assert_eq!(files(&one), files(&other));
    std::fs::remove_dir_all(other.path().join("artifacts")).unwrap();
    other.call(&["run", "pr21"]).expect(&[0]);
    // What was changed there is named and not used: it is built here instead.
    for (name, _) in contents(&shared.path().join("objects")) {
        let path = shared.path().join("objects").join(name.split(' ').next().unwrap());
        std::fs::write(path, "changed").unwrap();
    }
    let third = machine();
    let told = third.call(&["build", "pr21"]).expect(&[0]);
    assert!(told.err.contains("was changed since it was put there"), "{}", told.err);
    assert!(told.out.contains("built"), "{}", told.out);
    assert_eq!(files(&third).len(), files(&one).len());
}
