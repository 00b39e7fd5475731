//! A study filled by code, with markup in every text, and a small HTTP client.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reproduceml_dashboard::{Config, Dashboard, Encoder, Handle};
use serde_json::{Value, json};
use study::corpus::write_jsonl;
use study::selection;
use study::store::EpochRecord;
use study::{
    ArtifactId, ArtifactRecord, ArtifactStatus, Bug, BugId, ChangedFile, CommitId, DataOrder,
    Evaluation, Experiment, Resolution, RunKey, Store, Strategy, Study,
};

/// What must never come out as markup: a script, an attribute's end, an entity.
pub const MARKUP: &str = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;";

/// A study in a folder of its own.
pub struct Filled {
    pub folder: tempfile::TempDir,
    pub study: Arc<Study>,
    pub store: Store,
}

pub fn toml(name: &str) -> String {
    format!(
        r#"
[study]
name = "{name}"
description = "Does {name} hold? {}"
meta_seed = 7
[framework]
name = "tinynn"
repository = "tinynn/tinynn"
[build]
toolchain = "debian-bookworm-tinynn"
strategy = "source"
[challenge]
name = "synthetic"
train_samples = 100
test_samples = 50
[model]
name = "mlp"
[run]
runs = 4
epochs = 3
batch_size = 16
learning_rate = 0.1
seed_policy = "per-run"
"#,
        MARKUP.replace('\\', "\\\\").replace('"', "\\\"")
    )
}

pub fn commit(number: u64) -> CommitId {
    CommitId::new(format!("{number:040x}")).unwrap()
}

pub fn bug(number: u64) -> Bug {
    let file = |path: &str, kind: &str| ChangedFile {
        path: path.to_owned(),
        kind: kind.to_owned(),
        added: u32::try_from(number % 50).unwrap(),
        removed: 2,
    };
    let release = ["v1.9.0", "v1.10.0", "v1.10.1", "v2.0.0"][usize::try_from(number % 4).unwrap()];
    let python = number.is_multiple_of(3);
    Bug {
        framework: "tinynn".into(),
        release: release.into(),
        section: vec!["Bug Fixes".into(), format!("Section {}", number % 5)],
        text: format!("`nn.Thing{number}`: fixed what happened with {number} samples {MARKUP}"),
        url: format!("https://github.com/tinynn/tinynn/pull/{number}"),
        pr: number,
        prs: vec![number, number + 1],
        resolution: if number.is_multiple_of(7) {
            Resolution::NotFound
        } else {
            Resolution::Unique
        },
        fix: (!number.is_multiple_of(7)).then(|| commit(2 * number + 1)),
        buggy: (!number.is_multiple_of(7)).then(|| commit(2 * number)),
        fixed_at: Some(format!("2021-04-{:02}T00:09:00+00:00", 1 + number % 28)),
        files: vec![file(&format!("src/{number}{MARKUP}.c"), "cpp-cpu"), file("test.py", "test")],
        lines_added: u32::try_from(number).unwrap(),
        lines_removed: 4,
        scope: vec![if python { "python" } else { "cpp-cpu" }.to_owned()],
        python_only: python,
        needs_compile: !python,
        ..Bug::untraced(BugId::of_pull_request(number), "tinynn")
    }
}

pub fn artifact(byte: u8) -> ArtifactId {
    ArtifactId::from_digest([byte; 32])
}

/// An experiment of `bug`, whose artifact is named by `byte`.
pub fn experiment(study: &Study, bug: &BugId, evaluation: Evaluation, byte: u8) -> Experiment {
    Experiment {
        bug: bug.clone(),
        evaluation,
        artifact: artifact(byte),
        framework: "tinynn".into(),
        toolchain: "debian-bookworm-tinynn".into(),
        model: study.config.model_spec(None),
        challenge: study::Challenge {
            order: DataOrder::PerEpoch,
            ..study.config.challenge.clone()
        },
        hyperparameters: study.config.hyperparameters(),
        seed_policy: study.config.run.seed_policy,
        meta_seed: 7,
        device: "cpu".into(),
        conditions: None,
    }
}

fn manifest(seed: u32, side: &str) -> Value {
    json!({
        "seeds": {"seed": seed},
        "hardware": {"cpu": format!("A Processor {MARKUP}"), "flags": ["x", "y"]},
        "artifact": {"digest": side},
        "threads": {"seen": if side == "left" { format!("1 {MARKUP}") } else { "2".into() }},
        "data": {"arrays": {"train/x": {"sha256": "ab".repeat(32)}}},
        "controls": [{"name": format!("tf32 {MARKUP}"), "status": "set"}],
    })
}

impl Filled {
    /// A study on which only `init` ran.
    pub fn empty() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("study.toml"), toml("empty")).unwrap();
        let study = Arc::new(Study::open(folder.path()).unwrap());
        let store = study.store().unwrap();
        Self { folder, study, store }
    }

    /// A study with `bugs` bugs; pr1 has everything, pr2 failed to build, pr3 is invalid.
    pub fn new(bugs: u64) -> Self {
        let filled = Self::empty();
        let study = &filled.study;
        std::fs::write(study.root().join("study.toml"), toml("filled")).unwrap();
        let study = Arc::new(Study::open(filled.folder.path()).unwrap());
        let filled = Self { study, ..filled };
        let corpus: Vec<Bug> = (1..=bugs).map(bug).collect();
        write_jsonl(&filled.study.corpus_file(), &corpus).unwrap();
        let choices = selection::select(&filled.study.config, &corpus, &BTreeMap::new());
        selection::write(&filled.study.selection_file(), &choices).unwrap();
        filled.labels();
        filled.build(&BugId::of_pull_request(1), Evaluation::Buggy, 1, None);
        filled.build(&BugId::of_pull_request(1), Evaluation::Corrected, 2, None);
        filled.build(&BugId::of_pull_request(2), Evaluation::Buggy, 3, Some(MARKUP));
        for (number, bytes) in [(1, [1, 2]), (3, [4, 5])] {
            let id = BugId::of_pull_request(number);
            if number == 3 {
                filled.build(&id, Evaluation::Buggy, 4, None);
                filled.build(&id, Evaluation::Corrected, 5, None);
            }
            filled.run(&id, bytes);
        }
        filled
            .store
            .mark_invalid(&filled.side(3, Evaluation::Buggy).id(), &format!("seed {MARKUP}"))
            .unwrap();
        filled.analysis();
        filled.reach();
        filled
    }

    pub fn root(&self) -> &Path {
        self.study.root()
    }

    /// A side of a bug that `new` ran.
    pub fn side(&self, number: u64, evaluation: Evaluation) -> Experiment {
        let byte = match (number, evaluation) {
            (1, Evaluation::Buggy) => 1,
            (1, _) => 2,
            (_, Evaluation::Buggy) => 4,
            _ => 5,
        };
        experiment(&self.study, &BugId::of_pull_request(number), evaluation, byte)
    }

    fn labels(&self) {
        let quoted = MARKUP.replace('"', "\"\"");
        let text = format!(
            "bug,rater,crash,favourable,note,at\n\
             pr1,ann,no,yes,\"note {quoted}\",2026-11-01T10:00:00Z\n\
             pr1,bob,yes,yes,,2026-11-01T10:00:00Z\n\
             pr2,\"ann {quoted}\",no,no,,\n"
        );
        std::fs::write(self.study.labels_file(), text).unwrap();
    }

    fn build(&self, bug: &BugId, side: Evaluation, byte: u8, failure: Option<&str>) {
        let id = artifact(byte);
        let status = match failure {
            Some(line) => ArtifactStatus::Failed { class: "compile".into(), line: line.into() },
            None => ArtifactStatus::Built { content: format!("c{byte}"), bytes: 12345 },
        };
        let record = ArtifactRecord {
            id: id.clone(),
            repository: "tinynn/tinynn".into(),
            commit: Some(commit(u64::from(byte))),
            toolchain: format!("tool {MARKUP}"),
            toolchain_digest: "toolchain-digest".into(),
            image: "sha256:image".into(),
            strategy: Strategy::Source,
            fault: Some(format!("fault{MARKUP}.py")),
            status,
            seconds: 2.5,
        };
        self.store.put_artifact(&record).unwrap();
        self.store.assign_artifact(bug, side, &id).unwrap();
        let folder = self.study.build_dir(&id);
        std::fs::create_dir_all(&folder).unwrap();
        let mut log = String::from("\x1b[1;31merror:\x1b[0m a coloured line\n");
        for line in 0..5000 {
            log += &format!("line {line} {MARKUP}\n");
        }
        std::fs::write(folder.join("log.zst"), zstd::encode_all(log.as_bytes(), 3).unwrap())
            .unwrap();
        let record = json!({
            "identity": {"commit": "abc", "strategy": MARKUP}, "started": MARKUP,
            "steps": [{"name": MARKUP, "exit": {"status": 1, "duration": {"secs": 1, "nanos": 0}}}],
            "cache": {"hits": 1, "misses": 2}, "content": MARKUP,
        });
        std::fs::write(folder.join("record.json"), record.to_string()).unwrap();
        let statement = json!({
            "subject": [{"name": MARKUP}],
            "predicate": {"buildDefinition": {"resolvedDependencies": [
                {"name": MARKUP, "digest": {"sha256": MARKUP}},
            ]}},
        });
        let folder = self.study.artifact_dir(&id);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("provenance.json"), statement.to_string()).unwrap();
    }

    fn run(&self, bug: &BugId, bytes: [u8; 2]) {
        let sides = [Evaluation::Buggy, Evaluation::Corrected]
            .into_iter()
            .zip(bytes)
            .map(|(side, byte)| experiment(&self.study, bug, side, byte));
        let sides: Vec<Experiment> = sides.collect();
        let planned: Vec<_> = sides.iter().map(|side| (side.clone(), 4)).collect();
        self.store.plan(&planned).unwrap();
        for (place, side) in sides.iter().enumerate() {
            let name = if place == 0 { "left" } else { "right" };
            for run in 0..4 {
                let key = RunKey { experiment: side.id(), run };
                self.store.begin_run(&key, side.seed(run)).unwrap();
                self.store.put_manifest(&key, &manifest(side.seed(run), name)).unwrap();
                // Run 0 agrees throughout, run 1 parts in epoch 2.
                for epoch in 0..=(if run == 3 { 1 } else { 3 }) {
                    let parted = place == 0 && run >= 1 && epoch >= 2;
                    self.store.put_epoch(&key, &record(epoch, parted)).unwrap();
                }
                if run == 3 {
                    continue; // under way
                }
                let value =
                    0.8 + 0.01 * f64::from(run) - if place == 0 && run > 0 { 0.1 } else { 0.0 };
                let metrics: BTreeMap<String, f64> =
                    ["accuracy", "f1"].map(|name| (name.to_owned(), value)).into();
                self.store.put_metrics(&key, "test", &format!("p{value}"), &metrics).unwrap();
                if run == 2 && place == 0 {
                    self.store.fail_run(&key, &format!("signal 11 {MARKUP}")).unwrap();
                } else {
                    self.store.finish_run(&key, &json!({"splits": {}})).unwrap();
                }
                let folder = self.study.run_dir(&key);
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join("log.txt"), format!("run {run} {MARKUP}\n")).unwrap();
            }
        }
    }

    /// The corrected artifact of pr1 and of pr5 against itself, planned after everything else;
    /// that of pr1 is a false alarm. pr5 has no other comparison.
    pub fn control(&self) {
        let plan = |number: u64, byte: u8, sides: &[Evaluation]| {
            let id = BugId::of_pull_request(number);
            let side = |side: &Evaluation| {
                let byte = if *side == Evaluation::Buggy { byte - 1 } else { byte };
                (experiment(&self.study, &id, *side, byte), 4)
            };
            self.store.plan(&sides.iter().map(side).collect::<Vec<_>>()).unwrap();
            experiment(&self.study, &id, Evaluation::Aa, byte)
        };
        let control = plan(1, 2, &[Evaluation::Aa, Evaluation::Buggy, Evaluation::Corrected]);
        plan(5, 7, &[Evaluation::Aa, Evaluation::Corrected]);
        for run in 0..2 {
            let key = RunKey { experiment: control.id(), run };
            self.store.begin_run(&key, control.seed(run)).unwrap();
            self.store.put_epoch(&key, &record(0, false)).unwrap();
            let metrics = BTreeMap::from([("accuracy".to_owned(), 0.7)]);
            self.store.put_metrics(&key, "test", "p", &metrics).unwrap();
            self.store.finish_run(&key, &json!({"splits": {}})).unwrap();
        }
        let file = self.study.analysis_file();
        let text = std::fs::read_to_string(&file).unwrap();
        let mut analysis: Value = serde_json::from_str(&text).unwrap();
        let mut entry = |bug: &str, verdict: &str| {
            let entry = json!({"bug": bug, "kind": "aa", "verdict": verdict,
                "reason": format!("control {MARKUP}")});
            analysis["verdicts"].as_array_mut().unwrap().insert(0, entry);
        };
        entry("pr1", "different");
        entry("pr5", "identical");
        std::fs::write(&file, analysis.to_string()).unwrap();
    }

    fn analysis(&self) {
        let interval = json!({"estimate": -0.1, "low": -0.2, "high": null});
        let verdict = |bug: &str, verdict: &str| {
            json!({"bug": bug, "kind": "bug", "verdict": verdict,
                "reason": format!("reason {MARKUP}"),
                "identity": {"pairs": 4, "equal_pairs": 1}})
        };
        let analysis = json!({
            "schema": "1", "design": MARKUP, "notes": [MARKUP], "warnings": [MARKUP],
            "verdicts": [verdict("pr1", "different"), verdict("pr3", "invalid")],
            "tests": [{"bug": "pr1", "kind": "bug", "metric": "accuracy", "outcome": true,
                "n_buggy": 4, "n_corrected": 4, "statistic": 2.0, "p_value": 0.02, "p_holm": 0.04,
                "p_bh": 0.03, "hodges_lehmann": interval, "a12": interval, "equivalence": null,
                "detectable_shift": 0.05, "notes": [MARKUP]}],
            "controls": {"false_positives": {"different": 0, "of": 3, "low": 0.0, "high": 0.7},
                "detections": {"different": 1, "of": 1, "low": 0.02, "high": 1.0}},
        });
        let file = self.study.analysis_file();
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, analysis.to_string()).unwrap();
        std::fs::write(file.with_file_name("report.html"), "<!DOCTYPE html><p>report").unwrap();
    }

    /// Answers about pr1 and pr4, and one about another model.
    fn reach(&self) {
        let config = &self.study.config;
        let own = &config.model.name;
        let answers = [
            ("pr1", own.as_str(), "may-differ", "measured"),
            ("pr4", own, "not-executed", "traced"),
            ("pr5", "another", "not-executed", "traced"),
        ];
        let lines: String = answers
            .iter()
            .map(|(bug, model, answer, strength)| {
                let finding = json!({"bug": bug, "model": model, "challenge": config.challenge.name,
                    "device": config.run.device, "answer": answer, "strength": strength,
                    "reason": format!("found {MARKUP}"), "decides": "", "evidence": []});
                format!("{finding}\n")
            })
            .collect();
        let file = study::reach::file(&self.study);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, lines).unwrap();
        let own = study::own_tests::OwnTests {
            bug: BugId::of_pull_request(1),
            verdict: study::Verdict::Different,
            reason: format!("tests {MARKUP}"),
            runs: 0,
            pairs: 3,
            equal_pairs: 1,
            tests: 2,
            evidence: true,
            unsteady: vec![],
            first: None,
            buggy: artifact(1),
            corrected: artifact(2),
        };
        study::own_tests::keep(&self.study, &[own]).unwrap();
    }

    pub async fn serve(&self) -> Handle {
        self.serve_with(|_| {}).await
    }

    pub async fn serve_with(&self, change: impl FnOnce(&mut Config)) -> Handle {
        let mut config = Config::loopback();
        config.parquet = Some(Encoder::new(|records| {
            Ok([&b"PAR1"[..], &records.rows.len().to_le_bytes()].concat())
        }));
        change(&mut config);
        Dashboard::start(Arc::clone(&self.study), config).await.unwrap()
    }
}

pub fn record(epoch: u32, parted: bool) -> EpochRecord {
    let loss = 2.0 / f64::from(epoch + 1) + if parted { 0.1 } else { 0.0 };
    EpochRecord {
        epoch,
        loss_bits: (epoch > 0).then_some(loss.to_bits()),
        digest: format!("{epoch}{parted}"),
        seconds: 0.5,
        extra: None,
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// Asks for `path`, with more headers.
pub fn ask(
    at: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        text += &format!("Host: {at}\r\n");
    }
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    text += &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&bytes)
}

pub fn get(at: SocketAddr, path: &str) -> Answer {
    ask(at, "GET", path, &[], "")
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("no head") + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let mut rest = &bytes[end..];
    let mut body = Vec::new();
    if headers.get("transfer-encoding").is_some_and(|t| t == "chunked") {
        while let Some(line) = rest.windows(2).position(|w| w == b"\r\n") {
            let size =
                usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
            body.extend_from_slice(&rest[line + 2..line + 2 + size]);
            rest = &rest[line + 4 + size..];
            if size == 0 {
                break;
            }
        }
    } else {
        body.extend_from_slice(rest);
    }
    Answer { status, headers, bytes: body }
}
