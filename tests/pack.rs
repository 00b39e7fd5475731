//! A study handed over: what a pack holds, what it never holds, and what `check` sees.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{TestStudy, Told, docker, program};
use serde_json::{Value, json};
use server::challenge::{Datasets, Fetch};
use study::store::EpochRecord;
use study::{
    ArtifactId, ArtifactRecord, ArtifactStatus, BugId, Evaluation, Experiment, RunKey, Store,
    Strategy, Study,
};

const SECRET: &str = "a-token-that-nobody-may-see-0123456789";
const RUNS: u32 = 8;

/// Numbers in [0, 1) that are the same every time.
fn noise(salt: u32, place: u32) -> f32 {
    let mixed = (salt.wrapping_mul(7919) + place.wrapping_mul(104_729)).wrapping_mul(2_654_435_761);
    (mixed >> 8) as f32 / (1_u32 << 24) as f32
}

fn artifact(study: &Study, store: &Store, bug: &BugId, side: Evaluation, byte: u8) -> ArtifactId {
    let id = ArtifactId::from_digest([byte; 32]);
    let record = ArtifactRecord {
        id: id.clone(),
        repository: study.config.framework.repository.clone(),
        commit: None,
        toolchain: study.config.build.toolchain.clone(),
        toolchain_digest: "t".into(),
        image: "sha256:i".into(),
        strategy: Strategy::Source,
        fault: None,
        status: ArtifactStatus::Built { content: format!("content-{byte}"), bytes: 10 },
        seconds: 1.0,
    };
    store.put_artifact(&record).unwrap();
    store.assign_artifact(bug, side, &id).unwrap();
    id
}

/// Runs of both sides whose predictions are made up and whose metrics follow from them: `skill` is
/// how often the score of the first class is the highest.
fn fill(study: &Study, store: &Store, bug: &BugId, skill: [f32; 2], salt: u32) {
    let datasets = Datasets::new(study.root().join("data"), Fetch::Never, 1 << 20, 1 << 30);
    let mut planned = Vec::new();
    for (place, evaluation) in [Evaluation::Buggy, Evaluation::Corrected].into_iter().enumerate() {
        let byte = u8::try_from(salt * 2).unwrap() + u8::try_from(place).unwrap();
        planned.push(Experiment {
            artifact: artifact(study, store, bug, evaluation, byte),
            bug: bug.clone(),
            evaluation,
            framework: study.config.framework.name.clone(),
            toolchain: study.config.build.toolchain.clone(),
            model: study.config.model_spec(None),
            challenge: study.config.challenge.clone(),
            hyperparameters: study.config.hyperparameters(),
            seed_policy: study.config.run.seed_policy,
            meta_seed: study.config.study.meta_seed,
            device: "cpu".into(),
            conditions: None,
        });
    }
    store.plan(&planned.iter().map(|e| (e.clone(), RUNS)).collect::<Vec<_>>()).unwrap();
    for (experiment, skill) in planned.iter().zip(skill) {
        let dataset = datasets.get(experiment).unwrap();
        let (_, [samples, classes]) = dataset.predictions("test").unwrap();
        for run in 0..RUNS {
            let key = RunKey { experiment: experiment.id(), run };
            store.issue_seed(experiment, run).unwrap();
            store.begin_run(&key, experiment.seed(run)).unwrap();
            for epoch in 0..3 {
                let record = EpochRecord {
                    epoch,
                    loss_bits: (epoch > 0).then(|| f64::from(noise(salt + run, epoch)).to_bits()),
                    digest: study::files::sha256_hex(format!("{key} {epoch}").as_bytes()),
                    seconds: 0.1 + f64::from(run),
                    extra: None,
                };
                store.put_epoch(&key, &record).unwrap();
            }
            let scores: Vec<f32> = (0..u32::try_from(samples * classes).unwrap())
                .map(|place| {
                    let first = place % u32::try_from(classes).unwrap() == 0;
                    noise(salt * 100 + run, place) + if first { skill } else { 0.0 }
                })
                .collect();
            let bytes: Vec<u8> = scores.iter().flat_map(|score| score.to_le_bytes()).collect();
            let digest = study::files::sha256_hex(&bytes);
            let file = server::predictions_file(&study.run_dir(&key), "test", &digest);
            let packed = zstd::encode_all(&*bytes, 3).unwrap();
            study::files::write_whole(&file, &packed).unwrap();
            let metrics = dataset.grade("test", &scores).unwrap();
            let headline = metrics.headline().map(|(name, value)| (name.to_owned(), value));
            store.put_metrics(&key, "test", &digest, &headline.into()).unwrap();
            let manifest = json!({
                "format": 1, "seeds": {"seed": experiment.seed(run)}, "hardware": {"cpu": "A"},
            });
            store.put_manifest(&key, &manifest).unwrap();
            store.finish_run(&key, &json!({"timings": {}})).unwrap();
        }
    }
}

/// A mined study with runs of two bugs, analysed, and with secrets lying about in its folder.
fn filled() -> TestStudy {
    let study = TestStudy::tinynn(&[("runs = 10", "runs = 8"), ("1000", "200")]);
    let opened = Study::open(&study.path()).unwrap();
    let store = opened.store().unwrap();
    let choices = study::selection::read(&opened.selection_file()).unwrap();
    let bugs: Vec<BugId> =
        choices.into_iter().filter(|c| c.lost_at.is_none()).map(|c| c.bug).take(2).collect();
    fill(&opened, &store, &bugs[0], [0.9, 0.0], 1);
    fill(&opened, &store, &bugs[1], [0.0, 0.0], 3);
    for place in ["token", ".env", "key.pem", "corpus/token.txt", "stats/secret", "runs/.aws"] {
        study::files::write_whole(&study.path().join(place), SECRET.as_bytes()).unwrap();
    }
    study.call(&["stats"]).expect(&[0]);
    study
}

fn keys() -> PathBuf {
    common::root().join("packing/tests/keys")
}

/// Packs a study into a folder of its own.
fn packed(study: &TestStudy, arguments: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.pack");
    let out = ["pack", "-o", file.to_str().unwrap()];
    study.call(&[&out[..], arguments].concat()).expect(&[0]);
    (folder, file)
}

/// Checks a pack from a folder where there is no study and, as far as can be told, no network.
fn check(file: &Path, arguments: &[&str]) -> Told {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program(&["--format", "json", "check", file.to_str().unwrap()]);
    command.args(arguments).current_dir(folder.path());
    command.env("http_proxy", "http://127.0.0.1:9").env("https_proxy", "http://127.0.0.1:9");
    let told = Told::of(command.output().unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it writes nothing here");
    told
}

/// The places that a check names, on a pack that must not pass.
#[track_caller]
fn differing(file: &Path, arguments: &[&str]) -> Vec<String> {
    let found = check(file, arguments).expect(&[1]).json();
    assert_eq!(found["agrees"], false);
    let problems = found["problems"].as_array().unwrap();
    problems.iter().map(|p| format!("{}: {}", p["place"].as_str().unwrap(), p["what"])).collect()
}

type Members = Vec<(String, Vec<u8>)>;

fn members(file: &Path) -> Members {
    let text = zstd::decode_all(std::fs::File::open(file).unwrap()).unwrap();
    let mut archive = tar::Archive::new(&*text);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().display().to_string();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (name, bytes)
    });
    entries.collect()
}

fn put(file: &Path, members: &Members) {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, name, &**bytes).unwrap();
    }
    std::fs::write(file, zstd::encode_all(&*archive.into_inner().unwrap(), 1).unwrap()).unwrap();
}

/// The pack with changed members and, as one would who wants to be believed, with a manifest that
/// agrees with them.
fn forge(file: &Path, change: impl FnOnce(&mut Members)) -> PathBuf {
    let mut members = members(file);
    change(&mut members);
    let mut manifest: Value = serde_json::from_slice(&members[0].1).unwrap();
    let listed = manifest["files"].as_array_mut().unwrap();
    for entry in listed.iter_mut() {
        let path = entry["path"].as_str().unwrap().to_owned();
        if let Some((_, bytes)) = members.iter().find(|(name, _)| *name == path) {
            entry["bytes"] = bytes.len().into();
            entry["sha256"] = study::files::sha256_hex(bytes).into();
        }
    }
    listed.retain(|e| e["link"].is_string() || members.iter().any(|(name, _)| e["path"] == **name));
    members[0].1 = serde_json::to_vec_pretty(&manifest).unwrap();
    let forged = file.with_file_name("forged.pack");
    put(&forged, &members);
    forged
}

/// Replaces a text in a member, once.
fn edit(members: &mut Members, name: &str, from: &str, to: &str) {
    let (_, bytes) = members.iter_mut().find(|(there, _)| there == name).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(from), "{name} has no `{from}`");
    *bytes = text.replacen(from, to, 1).into_bytes();
}

/// Replaces the number that follows `key`, where it is met first.
fn number(members: &mut Members, name: &str, key: &str, to: &str) {
    let (_, bytes) = members.iter_mut().find(|(there, _)| there == name).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let (before, after) = text.split_once(key).unwrap();
    let rest = after.trim_start_matches(|c: char| !matches!(c, ',' | '}'));
    *bytes = format!("{before}{key}{to}{rest}").into_bytes();
}

#[test]
fn a_study_is_packed_the_same_every_time_without_its_secrets_and_agrees() {
    let study = filled();
    let (one, file) = packed(&study, &["--predictions"]);
    let bytes = std::fs::read(&file).unwrap();
    let (_other, again) = packed(&study, &["--predictions"]);
    assert_eq!(bytes, std::fs::read(again).unwrap(), "the same study, the same bytes");

    let all = members(&file);
    let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
    for name in [
        "study.toml",
        "corpus/bugs.jsonl",
        "corpus/bugs.csv",
        "corpus/selection.jsonl",
        "rows/runs.jsonl",
        "rows/metrics.jsonl",
        "stats/analysis.json",
        "stats/results.csv",
        "stats/tests.csv",
        "report/report.html",
        "report/tables.md",
        "report/tables.tex",
        "status.json",
    ] {
        assert!(names.contains(&name), "{name} is missing: {names:?}");
    }
    assert_eq!(names.iter().filter(|name| name.starts_with("runs/")).count(), 4 * RUNS as usize);
    for (name, bytes) in &all {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains(SECRET), "{name} holds a secret");
        let own = study.path().display().to_string();
        assert!(!text.contains(&own), "{name} names a folder of this machine");
    }

    // Only the file goes to the other machine.
    drop(study);
    let found = check(&file, &[]).expect(&[0]).json();
    assert_eq!((&found["agrees"], &found["problems"]), (&json!(true), &json!([])), "{found}");
    assert_eq!((&found["runs"], &found["regraded"]), (&json!(4 * RUNS), &json!(4 * RUNS)));
    assert_eq!(found["verdicts"], 2);
    assert!(found["tables"].to_string().contains("report/report.html"));
    assert!(found["notes"].to_string().contains("not signed"), "{found}");
    let table = Told::of(program(&["check", file.to_str().unwrap()]).output().unwrap());
    assert!(table.expect(&[0]).out.contains("all agrees"), "as people see it");
    assert_eq!(std::fs::read_dir(one.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn one_changed_byte_of_any_member_is_named() {
    let (_folder, file) = packed(&filled(), &["--predictions"]);
    let whole = members(&file);
    let kind = |name: &str| match name.split_once('/') {
        Some(("runs", _)) => "runs".to_owned(),
        _ => name.to_owned(),
    };
    let mut kinds: Vec<String> = whole.iter().map(|(name, _)| kind(name)).collect();
    kinds.dedup();
    let flipped = file.with_file_name("flipped.pack");
    for name in kinds.iter().filter(|name| *name != "manifest.json") {
        let mut members = whole.clone();
        let place = members.iter().position(|(there, _)| kind(there) == *name).unwrap();
        let Some(byte) = members[place].1.last_mut() else { continue };
        *byte ^= 4;
        let expected = members[place].0.clone();
        put(&flipped, &members);
        let differing = differing(&flipped, &[]);
        let digest = differing.iter().any(|p| p.starts_with(&expected) && p.contains("SHA-256"));
        assert!(digest, "{expected}: {differing:?}");
    }
    assert!(kinds.len() > 15, "{kinds:?}");
}

#[test]
fn what_does_not_follow_from_the_runs_is_named_by_its_cell() {
    let (_folder, file) = packed(&filled(), &["--predictions"]);
    let has = |found: &[String], words: &str| {
        assert!(found.iter().any(|p| p.contains(words)), "{words}: {found:#?}");
    };
    // A verdict swapped.
    let analysis = "stats/analysis.json";
    let forged = forge(&file, |m| {
        edit(m, analysis, "\"verdict\": \"different\"", "\"verdict\": \"equivalent\"")
    });
    let found = differing(&forged, &[]);
    has(&found, "stats/analysis.json: verdicts[");
    has(&found, "packed \\\"equivalent\\\", the runs give \\\"different\\\"");
    // In the table that people read.
    let forged = forge(&file, |m| edit(m, "report/tables.md", "different", "identical"));
    has(&differing(&forged, &[]), "report/tables.md: line ");
    let forged = forge(&file, |m| edit(m, "stats/tests.csv", ",different,", ",identical,"));
    has(&differing(&forged, &[]), "verdict: \"packed `identical`, the runs give `different`\"");
    let forged = forge(&file, |m| edit(m, "status.json", "\"analysed\": 2", "\"analysed\": 3"));
    has(&differing(&forged, &[]), "status.json: analysed: \"packed 3, the runs give 2\"");
    // A run dropped, with all that it had.
    let forged = forge(&file, |m| {
        for table in ["runs", "epochs", "metrics", "predictions"] {
            let name = format!("rows/{table}.jsonl");
            let (_, bytes) = m.iter_mut().find(|(there, _)| *there == name).unwrap();
            let text = String::from_utf8(bytes.clone()).unwrap();
            let kept = text
                .lines()
                .filter(|line| !(line.contains("-buggy-") && line.contains("\"run\":3,")));
            *bytes = kept.fold(String::new(), |all, line| all + line + "\n").into_bytes();
        }
    });
    let found = differing(&forged, &[]);
    has(&found, "stats/results.csv: \"packed 32 rows, the runs give 30 rows\"");
    has(&found, "buggy 3): \"packed a row, the runs give none\"");
    has(&found, "runs_buggy: \"packed 8, the runs give 7\"");
    // A metric changed: its own predictions speak against it, and so do the tables.
    let found =
        differing(&forge(&file, |m| number(m, "rows/metrics.jsonl", "\"value\":", "0.987")), &[]);
    has(&found, "rows/metrics.jsonl: accuracy of pr");
    has(&found, "packed 0.987, the predictions give ");
    has(&found, "stats/results.csv: row 1 (");
    // Another seed than the study's, attributes of another experiment, another selection.
    let forged = forge(&file, |m| number(m, "rows/runs.jsonl", "\"seed\":", "7"));
    has(&differing(&forged, &[]), "the study's meta seed gives");
    let forged =
        forge(&file, |m| edit(m, "rows/experiments.jsonl", "\"epochs\":3", "\"epochs\":4"));
    has(&differing(&forged, &[]), "its attributes make it");
    let forged = forge(&file, |m| edit(m, "corpus/bugs.csv", "tinynn", "torchx"));
    has(&differing(&forged, &[]), "corpus/bugs.csv: row 1");
    // Rows that are none, and files that are not there.
    let forged = forge(&file, |m| edit(m, "rows/runs.jsonl", "{\"experiment\"", "{\"experimint\""));
    has(&differing(&forged, &[]), "runs.jsonl line 1");
    let forged = forge(&file, |m| m.retain(|(name, _)| name != "rows/epochs.jsonl"));
    has(&differing(&forged, &[]), "rows: \"epochs");
    let forged = forge(&file, |m| m.retain(|(name, _)| name != analysis));
    has(&differing(&forged, &[]), "there is no analysis of them");
    let forged = forge(&file, |m| m.retain(|(name, _)| name != "study.toml"));
    has(&differing(&forged, &[]), "study.toml: ");
}

#[test]
fn with_a_key_nobody_else_can_make_a_pack_that_agrees() {
    let study = filled();
    let key = keys().join("one.pem");
    let (_folder, file) = packed(&study, &["--key", key.to_str().unwrap()]);
    let key = |name: &str| keys().join(name).display().to_string();
    let (one, other) = (key("one.pub.pem"), key("other.pub.pem"));
    let found = check(&file, &["--key", &one]).expect(&[0]).json();
    assert!(found["signed_by"].as_str().unwrap().len() == 64, "{found}");
    assert!(found["notes"].to_string().contains("holds no predictions"), "{found}");
    check(&file, &[]).expect(&[0]);
    assert!(differing(&file, &["--key", &other])[0].contains("by another key"));
    // Everything consistent but for the key: only the signature tells.
    let forged = forge(&file, |m| edit(m, "study.toml", "epochs = 3", "epochs = 3 # 4"));
    let found = differing(&forged, &["--key", &one]);
    assert!(found[0].contains("no signature over this manifest"), "{found:?}");
    let stripped = forge(&file, |m| drop(m.drain(1..3)));
    check(&stripped, &[]).expect(&[0]);
    assert!(differing(&stripped, &["--key", &one])[0].contains("is not signed"));
    // A private key is not asked for, and no key is no key.
    let told = check(&file, &["--key", &key("one.pem")]).expect(&[2]);
    assert!(told.err.contains("-pubout"), "{}", told.err);
    let told = study.call(&["pack", "--key", &one]).expect(&[2]);
    assert!(told.err.contains("openssl genpkey"), "{}", told.err);
}

#[test]
fn what_is_no_pack_is_exit_code_2() {
    let (folder, file) = packed(&filled(), &[]);
    let whole = std::fs::read(&file).unwrap();
    let at = folder.path().join("odd");
    for (bytes, expected) in [
        (&whole[..whole.len() / 2], "no whole pack"),
        (&whole[..whole.len() - 1], "no whole pack"),
        (&b"not a pack at all"[..], "no whole pack"),
        (&b""[..], "no whole pack"),
    ] {
        std::fs::write(&at, bytes).unwrap();
        let told = check(&at, &[]).expect(&[2]);
        assert!(told.err.contains(expected), "{}", told.err);
        assert!(told.out.is_empty(), "no partial result");
    }
    check(&folder.path().join("none"), &[]).expect(&[2]);
    let told = check(&file, &["--limit-gib", "0"]).expect(&[2]);
    assert!(told.err.contains("more than the 0"), "{}", told.err);
}

#[test]
fn what_is_out_of_date_or_secret_is_not_packed() {
    let study = filled();
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("a.pack").display().to_string();
    let refused = |words: &str, code: i32| {
        let told = study.call(&["pack", "-o", &out]).expect(&[code]);
        assert!(told.err.contains(words), "{words}: {}", told.err);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    };
    let file = study.path().join("study.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("alpha = 0.05", "alpha = 0.01")).unwrap();
    refused("reproduceml stats", 2);
    std::fs::write(&file, text.replace("= \"upstream/tinynn\"", "= \"https://me:word@host/a\""))
        .unwrap();
    refused("framework.clone", 2);
    std::fs::write(&file, format!("# {SECRET}\n{text}")).unwrap();
    let mut command = study.command(&["pack", "-o", &out]);
    let told = Told::of(command.env("REPRODUCEML_TOKEN", SECRET).output().unwrap()).expect(&[2]);
    assert!(told.err.contains("study.toml holds the value of REPRODUCEML_TOKEN"), "{}", told.err);
    assert!(!told.err.contains(SECRET));
    std::fs::write(&file, &text).unwrap();
    let analysis = study.path().join("stats/analysis.json");
    std::fs::remove_file(&analysis).unwrap();
    refused("not analysed yet", 2);
    // Other rules than study.toml's are the analysis's own, and are stated.
    study.call(&["stats", "--profile", "paper", "--margin", "0.02"]).expect(&[0]);
    study.call(&["pack", "-o", &out]).expect(&[0]);
    let found = check(Path::new(&out), &[]).expect(&[0]).json();
    assert!(found["notes"].to_string().contains("--profile paper --margin 0.02"), "{found}");
    // A study that is in use is not read half.
    let lock = std::fs::File::create(study.path().join(".lock")).unwrap();
    lock.lock().unwrap();
    study.call(&["pack", "-o", &out]).expect(&[2]);
}

#[test]
fn a_study_without_runs_can_be_handed_over_too() {
    let study = TestStudy::tinynn(&[]);
    let (_folder, file) = packed(&study, &["--artifacts", "--predictions"]);
    let found = check(&file, &[]).expect(&[0]).json();
    assert_eq!((&found["runs"], &found["verdicts"]), (&json!(0), &json!(0)));
    assert!(found["tables"].to_string().contains("corpus/selection.jsonl"), "{found}");
}

#[test]
fn a_study_that_was_built_and_run_is_packed_whole() {
    if !docker("a_study_that_was_built_and_run_is_packed_whole") {
        return;
    }
    let study = TestStudy::tinynn(&[("runs = 10", "runs = 4"), ("epochs = 3", "epochs = 1")]);
    study.call(&["build", "pr16", "pr21"]).expect(&[0]);
    study.call(&["run", "pr16", "pr21"]).expect(&[0]);
    study.call(&["stats"]).expect(&[0]);
    let (_folder, file) = packed(&study, &["--artifacts", "--predictions"]);
    let found = check(&file, &[]).expect(&[0]).json();
    assert_eq!((&found["runs"], &found["artifacts"]), (&json!(16), &json!(4)), "{found}");
    assert_eq!(found["regraded"], 16);
    assert_eq!(found["verdicts"], 2);
    let names: Vec<String> = members(&file).into_iter().map(|(name, _)| name).collect();
    let library = names.iter().find(|n| n.contains("/files/") && n.ends_with(".py")).unwrap();
    assert!(names.iter().any(|name| name.ends_with("provenance.json")));

    // An artifact that was changed, with a manifest that agrees.
    let forged = forge(&file, |m| {
        m.iter_mut().find(|(name, _)| name == library).unwrap().1.push(b'\n');
    });
    let found = differing(&forged, &[]);
    assert!(found.iter().any(|p| p.contains("the record says")), "{found:?}");
    assert!(found.iter().any(|p| p.contains("it is not about these files")), "{found:?}");
    // As any tool sees it.
    let listed = Command::new("tar").arg("--zstd").arg("-tf").arg(&file).output().unwrap();
    assert!(listed.status.success());
    assert!(String::from_utf8_lossy(&listed.stdout).starts_with("manifest.json\n"));
}
