//! The index of a history against what people do instead: `git log --grep` once a bug, and
//! PyDriller, which takes no bare clone. Run with a clone of the framework:
//!
//! ```text
//! REPRODUCEML_PYTORCH_CLONE=… REPRODUCEML_PYTORCH_BRANCH=main cargo bench -p reproduceml-miner
//! ```
#![allow(clippy::unwrap_used, clippy::print_stdout)] // a program for developers

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use reproduceml_miner::history::clone;
use reproduceml_miner::history::index::Index;
use reproduceml_miner::history::marks::Marks;
use reproduceml_miner::resolve::resolve;

/// Pull requests asked for; the bug reports of the paper's analysis.
const BUGS: [u64; 18] = [
    31167, 31433, 31552, 31584, 32044, 32062, 32350, 32541, 32829, 32831, 32978, 33017, 35022,
    36820, 36832, 37214, 38945, 39903,
];

fn timed(act: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    act();
    begin.elapsed()
}

fn command(program: &str, arguments: &[&str]) -> Option<Duration> {
    let mut ok = false;
    let time = timed(|| {
        let status = Command::new(program)
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        ok = status.is_ok_and(|status| status.success());
    });
    ok.then_some(time)
}

fn say(what: &str, time: Option<Duration>) {
    match time {
        Some(time) => println!("{what:<48} {:>9.3} s", time.as_secs_f64()),
        None => println!("{what:<48} not measured: it does not run here"),
    }
}

fn main() {
    let Ok(clone_path) = std::env::var("REPRODUCEML_PYTORCH_CLONE") else {
        // Also where a test runner only lists tests.
        eprintln!("SKIPPED: set REPRODUCEML_PYTORCH_CLONE to a clone of PyTorch");
        return;
    };
    let branch = std::env::var("REPRODUCEML_PYTORCH_BRANCH").unwrap_or_else(|_| "main".into());
    let repository = clone::open(Path::new(&clone_path)).unwrap();
    let patterns =
        ["Pull Request resolved: https://github.com/{repository}/pull/{number}", "(#{number})"];
    let marks = Marks::new("pytorch/pytorch", &patterns.map(String::from));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.index");
    let update = || {
        let open = clone::open(Path::new(&clone_path)).unwrap();
        Index::update(&open, &branch, "v{version}", &marks, &file, &|_| ()).unwrap()
    };
    drop(repository);
    let git = ["-C", clone_path.as_str(), "log"];
    // Once unmeasured, so that all find the pack in memory.
    let log = || command("git", &[&git[..], &["--format=%B", &branch]].concat());
    log();
    say("git log --format=%B", log());
    say("first walk", Some(timed(|| drop(update()))));
    let again = timed(|| {
        let (index, _) = update();
        assert!(BUGS.iter().filter(|pr| resolve(&index, **pr).pair.is_some()).count() == 18);
    });
    say("later walk and 18 bugs", Some(again));
    let grep = |pr: u64| {
        let pattern = format!("--grep=pull/{pr}$");
        command("git", &[&git[..], &["--format=%H", &pattern, &branch]].concat())
    };
    let grepped: Option<Duration> = BUGS.iter().map(|pr| grep(*pr)).sum();
    say("git log --grep, once for each of 18 bugs", grepped);
    let script = "import sys, pydriller\n\
        for c in pydriller.Repository(sys.argv[1], only_in_branch=sys.argv[2]).traverse_commits(): c.msg";
    say(
        "PyDriller, every commit's message",
        command("python3", &["-c", script, &clone_path, &branch]),
    );
}
