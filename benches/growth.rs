//! How time and memory grow with a study: studies of 1,000, 10,000 and 100,000 bugs, each with ten
//! runs a side and a hundred metric rows a bug, so up to ten million rows.
//!
//! `cargo bench --workspace --profile dev --bench growth`; `REPRODUCEML_BENCH_BUGS` (1000,10000)
//! names the sizes, the smallest first; 100000 takes about half an hour and 10 GiB of disk.
//! `REPRODUCEML_BENCH_DIR`: where the studies are made. What is printed is processor time (user and
//! system) and the most memory of each process, and how often those of the size before. A tenfold
//! study that takes tenfold time is linear.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark")]
#![allow(clippy::print_stdout, reason = "its result")]
#![allow(clippy::zombie_processes, reason = "`reap` waits, and asks what the process used")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use common::{program, root};
use serde_json::json;
use study::{
    ArtifactId, ArtifactRecord, ArtifactStatus, BugId, Evaluation, Experiment, Resolution, Store,
    Strategy, Study,
};

const RUNS: u32 = 10;
const METRICS: [&str; 5] = ["accuracy", "f1", "precision", "recall", "top2"];
/// Bugs a release, as the notes of a large framework have them.
const PER_RELEASE: u64 = 500;

/// Numbers in [0, 1) that are the same every time.
fn noise(a: u64, b: u64) -> f64 {
    let mut z = a.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(b << 17 | b);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
}

fn digest(a: u64, b: u64) -> String {
    let word = noise(a, b).to_bits();
    format!("{word:016x}{a:016x}{b:016x}{:016x}", a ^ b)
}

const SIDES: [Evaluation; 2] = [Evaluation::Buggy, Evaluation::Corrected];

fn experiment(study: &Study, bug: u64, side: usize) -> Experiment {
    Experiment {
        bug: BugId::of_pull_request(bug),
        evaluation: SIDES[side],
        artifact: artifact(bug, side),
        framework: study.config.framework.name.clone(),
        toolchain: study.config.build.toolchain.clone(),
        model: study.config.model_spec(None),
        challenge: study.config.challenge.clone(),
        hyperparameters: study.config.hyperparameters(),
        seed_policy: study.config.run.seed_policy,
        meta_seed: study.config.study.meta_seed,
        device: "cpu".into(),
        conditions: None,
    }
}

fn artifact(bug: u64, side: usize) -> ArtifactId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&bug.to_be_bytes());
    bytes[31] = u8::try_from(side).unwrap();
    ArtifactId::from_digest(bytes)
}

/// The lines of one table of the store, as an import reads them.
fn lines(study: &Study, bugs: u64, table: &str, out: &mut dyn Write) -> std::io::Result<()> {
    let then = "2026-01-01T00:00:00Z";
    for bug in 1..=bugs {
        for (side, evaluation) in SIDES.into_iter().enumerate() {
            let experiment = experiment(study, bug, side);
            let (id, word) = (experiment.id(), evaluation.as_str());
            let mut put = |value: serde_json::Value| writeln!(out, "{value}");
            match table {
                "artifacts" => {
                    let record = ArtifactRecord {
                        id: experiment.artifact.clone(),
                        repository: study.config.framework.repository.clone(),
                        commit: None,
                        toolchain: study.config.build.toolchain.clone(),
                        toolchain_digest: "t".into(),
                        image: "sha256:i".into(),
                        strategy: Strategy::Source,
                        fault: None,
                        status: ArtifactStatus::Built {
                            content: digest(bug, side as u64),
                            bytes: 10,
                        },
                        seconds: 1.0,
                    };
                    put(json!({ "id": record.id, "record": record, "recorded_at": then }))?;
                }
                "builds" => put(json!({
                    "bug": experiment.bug, "evaluation": word, "artifact": experiment.artifact,
                }))?,
                "experiments" => put(json!({
                    "id": id, "bug": experiment.bug, "evaluation": word, "attributes": experiment,
                    "target": RUNS, "active": 1, "allowed": [], "planned_at": then,
                }))?,
                _ => of_runs(&experiment, bug, side, table, out)?,
            }
        }
    }
    Ok(())
}

/// The lines of a table that has some for every run of an experiment.
fn of_runs(
    experiment: &Experiment,
    bug: u64,
    side: usize,
    table: &str,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let (id, then) = (experiment.id(), "2026-01-01T00:00:00Z");
    for run in 0..RUNS {
        let seed = experiment.seed(run);
        let place = bug * 100 + u64::from(run) * 2 + side as u64;
        let of = format!("\"experiment\":\"{id}\",\"run\":{run}");
        match table {
            "seeds" if side == 0 => writeln!(
                out,
                "{{\"pair_key\":\"{}\",\"seed_index\":{run},\"seed\":{seed},\
                 \"issued_at\":\"{then}\"}}",
                experiment.pair_key()
            )?,
            "runs" => writeln!(
                out,
                "{{{of},\"attempt\":1,\"status\":\"finished\",\"seed\":{seed},\
                 \"started_at\":\"{then}\",\"finished_at\":\"{then}\",\
                 \"manifest\":{{\"format\":1,\"seeds\":{{\"seed\":{seed}}},\"hardware\":{{\"cpu\":\"A\"}},\
                 \"software\":{{\"python\":\"3.11\"}},\"controls\":[{{\"name\":\"threads\",\
                 \"value\":1,\"status\":\"set\"}}]}},\"result\":{{}}}}"
            )?,
            "epochs" => {
                for epoch in 0..2_u64 {
                    let loss = match epoch {
                        0 => String::new(),
                        _ => format!("\"loss_bits\":\"{:016x}\",", noise(place, 9).to_bits()),
                    };
                    let digest = digest(place, epoch);
                    writeln!(
                        out,
                        "{{{of},\"epoch\":{epoch},{loss}\"digest\":\"{digest}\",\"seconds\":0.5}}"
                    )?;
                }
            }
            "metrics" => {
                for (number, name) in METRICS.iter().enumerate() {
                    let shift = if bug.is_multiple_of(5) && side == 0 { 0.05 } else { 0.0 };
                    let value = 0.9 - shift + 0.02 * noise(place, number as u64 + 20);
                    writeln!(
                        out,
                        "{{{of},\"split\":\"test\",\"name\":\"{name}\",\"value\":{value}}}"
                    )?;
                }
            }
            "predictions" => {
                writeln!(out, "{{{of},\"split\":\"test\",\"digest\":\"{}\"}}", digest(place, 30))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Fills a store through pipes: ten million rows as text would need more room than the store.
fn fill(study: &Study, bugs: u64) {
    let study_db = study.root().join("study.db");
    std::thread::scope(|scope| {
        let open = |table: &'static str| {
            let (reader, writer) = std::io::pipe()?;
            scope.spawn(move || {
                let mut out = BufWriter::with_capacity(1 << 16, writer);
                lines(study, bugs, table, &mut out).and_then(|()| out.flush()).unwrap();
            });
            Ok(reader)
        };
        Store::import_rows(&study_db, open).unwrap();
    });
}

/// A history with a commit a bug, and notes that name them.
fn upstream(study: &Study, bugs: u64) {
    let folder = study.root().join("upstream");
    let (clone, notes) = (folder.join("tinynn"), folder.join("notes"));
    std::fs::create_dir_all(&notes).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let place = clone.to_str().unwrap();
    assert!(git(&["init", "-q", "--bare", "-b", "main", place]).status().unwrap().success());
    let mut import = git(&["-C", place, "fast-import", "--quiet"]).spawn().unwrap();
    let mut out = BufWriter::new(import.stdin.take().unwrap());
    for bug in 1..=bugs {
        let message = format!("Fix number {bug} (#{bug})");
        let text = format!("value = {bug}\n");
        write!(
            out,
            "commit refs/heads/main\ncommitter A <a@example.org> {} +0000\ndata {}\n{message}\n\
             M 100644 inline python/f{}.py\ndata {}\n{text}\n",
            1_500_000_000 + bug * 60,
            message.len(),
            bug % 200,
            text.len(),
        )
        .unwrap();
    }
    out.flush().unwrap();
    drop(out);
    assert!(import.wait().unwrap().success());
    for release in 0..bugs.div_ceil(PER_RELEASE) {
        let mut text = "# Bug Fixes\n\n".to_owned();
        for bug in release * PER_RELEASE + 1..=bugs.min((release + 1) * PER_RELEASE) {
            writeln!(text, "- Fix number {bug} (#{bug})").unwrap();
        }
        std::fs::write(notes.join(format!("v1.{release}.0.md")), text).unwrap();
    }
}

fn corpus(study: &Study, bugs: u64) {
    let all: Vec<study::Bug> = (1..=bugs)
        .map(|pr| study::Bug {
            id: BugId::of_pull_request(pr),
            framework: "tinynn".into(),
            release: "v1.0.0".into(),
            section: vec!["Bug Fixes".into()],
            text: format!("Fix number {pr}"),
            url: format!("https://github.com/tinynn/tinynn/pull/{pr}"),
            pr,
            prs: vec![pr],
            entry: u32::try_from(pr).unwrap(),
            resolution: Resolution::Unique,
            fix: None,
            buggy: None,
            fixed_at: None,
            authored_at: None,
            files: vec![],
            lines_added: 1,
            lines_removed: 1,
            scope: vec!["python".into()],
            python_only: true,
            needs_compile: false,
            needs_cuda: false,
            not_in_artifact: false,
            tests: vec![],
        })
        .collect();
    study::corpus::write_jsonl(&study.corpus_file(), &all).unwrap();
    let choices = study::selection::select(&study.config, &all, &BTreeMap::new());
    study::selection::write(&study.selection_file(), &choices).unwrap();
}

/// Waits for a process: how it ended, its seconds of processor time, its most memory in MiB.
fn reap(child: &Child) -> (ExitStatus, f64, f64) {
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both places are written by the call and belong to this function.
    let done = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    assert_eq!(done, pid);
    // SAFETY: zeroed is a value of this plain structure, and the call has filled it.
    let usage = unsafe { usage.assume_init() };
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    let processor = seconds(usage.ru_utime) + seconds(usage.ru_stime);
    (ExitStatus::from_raw(status), processor, usage.ru_maxrss as f64 / 1024.0)
}

fn measure(study: &Path, arguments: &[&str]) -> (f64, f64) {
    let mut command = program(&["--study", study.to_str().unwrap()]);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let (status, seconds, memory) = reap(&child);
    assert!(status.success(), "{arguments:?}: {status}");
    (seconds, memory)
}

/// The dashboard from its start to its first page.
fn first_page(study: &Path) -> (f64, f64) {
    let mut command = program(&["--study", study.to_str().unwrap(), "serve"]);
    command.args(["--listen", "127.0.0.1:0", "--dashboard", "127.0.0.1:0"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let at = lines
        .find_map(|line| line.unwrap().split_once("http://").map(|(_, at)| at.to_owned()))
        .expect("the dashboard's address");
    let at = at.split(['/', ' ']).next().unwrap().to_owned();
    let mut page = Vec::new();
    let mut stream = std::net::TcpStream::connect(&at).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_end(&mut page).unwrap();
    assert!(page.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&page[..100]));
    child.kill().unwrap();
    let (_, seconds, memory) = reap(&child);
    (seconds, memory)
}

fn make(folder: &Path, bugs: u64) -> PathBuf {
    let dir = folder.join(format!("study-{bugs}"));
    let definition = root().join("data/studies/quick-tinynn");
    let made = program(&["init", dir.to_str().unwrap(), "--from", definition.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::remove_file(dir.join("study.db")).unwrap();
    let study = Study::open(&dir).unwrap();
    corpus(&study, bugs);
    fill(&study, bugs);
    upstream(&study, bugs);
    dir
}

fn main() {
    let sizes = std::env::var("REPRODUCEML_BENCH_BUGS").unwrap_or("1000,10000".into());
    let own = tempfile::tempdir().unwrap();
    let folder = std::env::var_os("REPRODUCEML_BENCH_DIR").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| own.path().to_owned());
    let mut before: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
    println!(
        "{:<22} {:>8} {:>12} {:>8} {:>10} {:>8}",
        "", "bugs", "processor s", "times", "MiB", "times"
    );
    for bugs in sizes.split(',').map(|size| size.trim().parse::<u64>().unwrap()) {
        let dir = make(&folder, bugs);
        for name in
            ["status", "stats", "status, analysed", "dashboard, first page", "report", "mine"]
        {
            let (seconds, memory) = match name {
                "status, analysed" => measure(&dir, &["status"]),
                "dashboard, first page" => first_page(&dir),
                // Last: it makes the corpus anew.
                "mine" => measure(&dir, &["mine", "--offline"]),
                name => measure(&dir, &[name]),
            };
            let times = |now: f64, then: Option<f64>| {
                then.map_or(String::new(), |then| format!("{:.1}", now / then))
            };
            let then = before.insert(name, (seconds, memory));
            println!(
                "{name:<22} {bugs:>8} {seconds:>12.2} {:>8} {memory:>10.0} {:>8}",
                times(seconds, then.map(|then| then.0)),
                times(memory, then.map(|then| then.1)),
            );
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
