//! A study, a repository and a toolchain made for a test, and a Docker daemon or a loud word.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use builder::{BuildOptions, BuildSummary, Event, Outcome};
use containers::Docker;
use git2::{Oid, Repository, Signature, Time};
use reproduceml_builder as builder;
use study::selection::Choice;
use study::{Bug, BugId, CommitId, Evaluation, Resolution, Study};

/// Whether a Docker daemon answers. If not, says so, or fails where it must not be missing.
pub async fn docker(test: &str) -> Option<Docker> {
    match Docker::connect().await {
        Ok(docker) => Some(docker),
        Err(error) => {
            assert!(
                std::env::var("REPRODUCEML_REQUIRE_DOCKER").as_deref() != Ok("1"),
                "{test}: REPRODUCEML_REQUIRE_DOCKER=1, but {error}"
            );
            eprintln!("SKIPPED {test}: {error}");
            None
        }
    }
}

pub fn program_toolchains() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dockerfiles")
}

/// A study over a toy library `toy` with a git history of its own.
pub struct Lab {
    pub folder: tempfile::TempDir,
    pub study: Study,
    pub toolchains: PathBuf,
    repository: Repository,
    parent: Option<Oid>,
    commits: i64,
    bugs: Vec<Bug>,
}

pub const MAKEFILE: &str = "\
all: a.o b.o
\t$(CC) -shared -Wl,--build-id=none -o libtoy.so a.o b.o
%.o: %.c
\t$(CC) -O1 -fPIC -c $< -o $@
install:
\tmkdir -p $(DESTDIR)/site/toy
\tcp libtoy.so __init__.py $(DESTDIR)/site/toy/
";
const PYTHON: &str = "\
import ctypes, os
_library = ctypes.CDLL(os.path.join(os.path.dirname(__file__), 'libtoy.so'))
def a(): return _library.a()
def b(): return _library.b()
";
const SMOKE: &str = "\
import json, os, sys
try:
    import toy
except BaseException as error:
    print(repr(error)); sys.exit(10)
if os.path.exists('/artifact/fault.py'):
    try:
        scope = {}
        exec(open('/artifact/fault.py').read(), scope)
        scope['apply'](toy)
    except BaseException as error:
        print(repr(error)); sys.exit(12)
if toy.a() < 0:
    print('it cannot train'); sys.exit(11)
print(json.dumps({'version': '1', 'a': toy.a(), 'b': toy.b()}))
";
const RECIPE: &str = r#"
name = "toy"
description = "builds the toy library of the tests"
base = "debian:bookworm-slim"
debootstrap = "bookworm"
[suits]
frameworks = ["toy"]
[environment]
CC = "ccache gcc"
[[steps]]
name = "compile"
run = "make -C /src all"
[[steps]]
name = "install"
kind = "package"
run = "make -C /src install DESTDIR=/out"
[smoke]
run = "python3 -B /toolchain/smoke.py"
"#;
const STUDY: &str = r#"
[study]
name = "toy"
meta_seed = 1
[framework]
name = "toy"
repository = "toy/toy"
clone = "clone"
[build]
toolchain = "toy"
strategy = "source"
timeout_minutes = 2
memory_mib = 512
[challenge]
name = "synthetic"
[model]
name = "mlp"
[run]
runs = 1
epochs = 1
batch_size = 1
learning_rate = 0.1
seed_policy = "per-run"
"#;

impl Drop for Lab {
    /// Takes the study's names from the images that it held.
    fn drop(&mut self) {
        if !builder::lock_file(&self.study).is_file() {
            return;
        }
        let reference =
            format!("reference=reproduceml/held:{}-*", builder::study_mark(&self.study));
        let list = std::process::Command::new("docker")
            .args(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", &reference])
            .output();
        let names = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for name in names.unwrap_or_default().lines() {
            let _ = std::process::Command::new("docker").args(["rmi", name]).output();
        }
    }
}

impl Lab {
    pub fn new() -> Self {
        Self::with("", "")
    }

    /// With text added to `toolchain.toml` and to `study.toml`.
    pub fn with(recipe: &str, study: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let toolchains = folder.path().join("dockerfiles");
        let toy = toolchains.join("toy");
        std::fs::create_dir_all(&toy).unwrap();
        // The program's own Dockerfile for tinynn has all that is needed.
        let dockerfile = program_toolchains().join("debian-bookworm-tinynn/Dockerfile");
        std::fs::copy(dockerfile, toy.join("Dockerfile")).unwrap();
        std::fs::write(toy.join("toolchain.toml"), format!("{RECIPE}{recipe}")).unwrap();
        std::fs::write(toy.join("smoke.py"), SMOKE).unwrap();
        let root = folder.path().join("study");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("study.toml"), format!("{STUDY}{study}")).unwrap();
        let repository = Repository::init(root.join("clone")).unwrap();
        let study = Study::open(&root).unwrap();
        Self { folder, study, toolchains, repository, parent: None, commits: 0, bugs: Vec::new() }
    }

    /// Over a framework of the program's own toolchains, with a `study.toml` of the test.
    pub fn over(study: &str) -> Self {
        let mut lab = Self::new();
        std::fs::write(lab.study.root().join("study.toml"), study).unwrap();
        lab.study = Study::open(lab.study.root()).unwrap();
        lab.toolchains = program_toolchains();
        lab
    }

    /// The toy library with the given contents of `a.c` and `b.c`.
    pub fn tree(a: &str, b: &str) -> BTreeMap<String, String> {
        [("Makefile", MAKEFILE), ("__init__.py", PYTHON), ("a.c", a), ("b.c", b)]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into()
    }

    pub fn commit(&mut self, files: &BTreeMap<String, String>) -> CommitId {
        let mut index = git2::Index::new().unwrap();
        for (name, text) in files {
            if let Some(pinned) = text.strip_prefix("gitlink ") {
                let id = Oid::from_str(pinned).unwrap();
                index.add(&git2::IndexEntry { mode: 0o160_000, ..entry(name, id) }).unwrap();
                continue;
            }
            let id = self.repository.blob(text.as_bytes()).unwrap();
            index.add(&entry(name, id)).unwrap();
        }
        let tree = index.write_tree_to(&self.repository).unwrap();
        let tree = self.repository.find_tree(tree).unwrap();
        self.commits += 1;
        let who =
            Signature::new("a", "a@b.c", &Time::new(1_600_000_000 + self.commits, 0)).unwrap();
        let parents: Vec<_> =
            self.parent.iter().map(|id| self.repository.find_commit(*id).unwrap()).collect();
        let parents: Vec<_> = parents.iter().collect();
        let message = format!("commit {}", self.commits);
        let id = self
            .repository
            .commit(Some("refs/heads/main"), &who, &who, &message, &tree, &parents)
            .unwrap();
        self.parent = Some(id);
        CommitId::new(id.to_string()).unwrap()
    }

    /// Adds a mined bug.
    pub fn bug(&mut self, pr: u64, buggy: &CommitId, fix: &CommitId) -> BugId {
        self.tested_bug(pr, buggy, fix, &[])
    }

    /// Adds a mined bug whose fix brought tests.
    pub fn tested_bug(
        &mut self,
        pr: u64,
        buggy: &CommitId,
        fix: &CommitId,
        tests: &[&str],
    ) -> BugId {
        let id = BugId::of_pull_request(pr);
        let bug = Bug {
            buggy: Some(buggy.clone()),
            fix: Some(fix.clone()),
            tests: tests.iter().map(|test| (*test).to_owned()).collect(),
            fixed_at: Some(format!("2020-01-01T00:00:{pr:02}Z")),
            ..blank(id.clone(), Resolution::Unique)
        };
        self.keep(bug);
        id
    }

    /// Adds a planted fault's bug; `study.toml` must have it too.
    pub fn fault(&mut self, name: &str) -> BugId {
        let id = BugId::new(name).unwrap();
        self.keep(blank(id.clone(), Resolution::Planted));
        id
    }

    /// Adds any bug.
    pub fn keep(&mut self, bug: Bug) {
        self.bugs.push(bug);
        study::corpus::write_jsonl(&self.study.corpus_file(), &self.bugs).unwrap();
        let choices: Vec<Choice> = self
            .bugs
            .iter()
            .map(|bug| Choice { bug: bug.id.clone(), lost_at: None, reason: String::new() })
            .collect();
        study::selection::write(&self.study.selection_file(), &choices).unwrap();
    }

    pub fn options(&self) -> BuildOptions {
        BuildOptions::new(self.toolchains.clone())
    }

    pub async fn build(&self, options: &BuildOptions) -> BuildSummary {
        let quiet = |event: Event| {
            if let Event::Image { tag, line } = event {
                eprintln!("{tag}: {line}");
            }
        };
        builder::build(&self.study, options, &quiet).await.unwrap()
    }
}

fn entry(path: &str, id: Oid) -> git2::IndexEntry {
    let never = git2::IndexTime::new(0, 0);
    git2::IndexEntry {
        ctime: never,
        mtime: never,
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.into(),
    }
}

/// A bug of which nothing is known.
pub fn blank(id: BugId, resolution: Resolution) -> Bug {
    Bug {
        id,
        framework: "toy".into(),
        release: "v1".into(),
        section: vec![],
        text: String::new(),
        url: String::new(),
        pr: 0,
        prs: vec![],
        entry: 0,
        resolution,
        fix: None,
        buggy: None,
        fixed_at: None,
        authored_at: None,
        files: vec![],
        lines_added: 0,
        lines_removed: 0,
        scope: vec![],
        python_only: false,
        needs_compile: true,
        needs_cuda: false,
        not_in_artifact: false,
        tests: vec![],
    }
}

/// What became of one side of a bug.
pub fn outcome<'a>(summary: &'a BuildSummary, bug: &BugId, side: Evaluation) -> &'a Outcome {
    let bug = summary.bugs.iter().find(|b| b.bug == *bug).unwrap();
    &bug.sides.iter().find(|s| s.evaluation == side).unwrap().outcome
}

/// Class and line of a failed side.
pub fn failure(summary: &BuildSummary, bug: &BugId, side: Evaluation) -> (String, String) {
    match outcome(summary, bug, side) {
        Outcome::Failed { class, line, .. } => (class.clone(), line.clone()),
        other => panic!("{bug} {side} did not fail: {other:?}"),
    }
}
