//! Running the built program as a user does.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

pub mod clients;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program with some arguments.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reproduceml"));
    command.args(arguments).env("NO_COLOR", "1").env_remove("REPRODUCEML_STUDY");
    command
}

/// What a call printed and how it ended.
pub struct Told {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Told {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test, with all that was said, unless the exit code is one of `codes`.
    #[track_caller]
    pub fn expect(self, codes: &[i32]) -> Self {
        assert!(
            codes.contains(&self.code),
            "exit code {}, expected one of {codes:?}\n--- stdout\n{}\n--- stderr\n{}",
            self.code,
            self.out,
            self.err
        );
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error}\n--- stdout\n{}", self.out))
    }
}

/// Calls the program.
pub fn call(arguments: &[&str]) -> Told {
    Told::of(program(arguments).output().unwrap())
}

/// Packs a study twice and checks the pack; looks and own tests that `check` concluded again.
pub fn packed_and_checked(study: &TestStudy) -> (Value, Value) {
    let folder = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| folder.path().join(name));
    for file in [&one, &other] {
        study.call(&["pack", "-o", file.to_str().unwrap()]).expect(&[0]);
    }
    let bytes = |file: &Path| std::fs::read(file).unwrap();
    assert!(bytes(&one) == bytes(&other), "packed twice, the bytes are not the same");
    let told = call(&["--format", "json", "check", one.to_str().unwrap()]).expect(&[0]).json();
    (told["looks"].clone(), told["own_tests"].clone())
}

/// Packing is refused, since something that was concluded does not follow from the runs; why.
pub fn refused_pack(study: &TestStudy) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.pack");
    study.call(&["stats"]).expect(&[0]);
    let told = study.call(&["pack", "-o", file.to_str().unwrap()]).expect(&[1, 2]);
    assert!(!file.exists(), "what does not agree gets no name");
    told.err
}

/// A study in a folder of its own.
pub struct TestStudy {
    folder: tempfile::TempDir,
}

impl TestStudy {
    /// A study made from a definition of `data/studies/`, with lines of it replaced.
    pub fn from_definition(name: &str, replace: &[(&str, &str)]) -> Self {
        let study = Self { folder: tempfile::tempdir().unwrap() };
        let definition = root().join("data/studies").join(name);
        let dir = study.path();
        call(&["init", dir.to_str().unwrap(), "--from", definition.to_str().unwrap()]).expect(&[0]);
        let file = dir.join("study.toml");
        let mut text = std::fs::read_to_string(&file).unwrap();
        for (from, to) in replace {
            assert!(text.contains(from), "study.toml of {name} has no `{from}`");
            text = text.replace(from, to);
        }
        std::fs::write(&file, text).unwrap();
        study
    }

    /// The quick-tinynn study with its upstream history, mined.
    pub fn tinynn(replace: &[(&str, &str)]) -> Self {
        let study = Self::from_definition("quick-tinynn", replace);
        let made = Command::new("python3")
            .arg(root().join("tests/fixtures/tinynn/make_history.py"))
            .arg(study.path().join("upstream"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        study.call(&["mine", "--offline"]).expect(&[0]);
        study
    }

    /// The same study in another place.
    pub fn copied(&self) -> Self {
        let copy = Self { folder: tempfile::tempdir().unwrap() };
        let mut command = Command::new("cp");
        let copied = command.args(["-r", "-T"]).args([self.path(), copy.path()]).status().unwrap();
        assert!(copied.success());
        copy
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("study")
    }

    /// Calls the program on this study.
    pub fn call(&self, arguments: &[&str]) -> Told {
        Told::of(self.command(arguments).output().unwrap())
    }

    /// The results of the study, without the times that differ from run to run.
    pub fn results(&self) -> Vec<String> {
        self.call(&["stats"]).expect(&[0]);
        let text = std::fs::read_to_string(self.path().join("stats/results.csv")).unwrap();
        let seconds = text.lines().next().unwrap().split(',').position(|n| n == "seconds").unwrap();
        let kept = |line: &str| {
            let cells = line.split(',').enumerate().filter(|(i, _)| *i != seconds);
            cells.map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
        };
        text.lines().map(kept).collect()
    }

    /// The folders of all runs.
    pub fn run_folders(&self) -> Vec<PathBuf> {
        let below = |folder: &Path| -> Vec<PathBuf> {
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
        };
        below(&self.path().join("runs")).iter().flat_map(|folder| below(folder)).collect()
    }

    /// What `tests/fixtures/probe.py` saw in each run.
    pub fn probes(&self) -> Vec<Value> {
        let found = self.run_folders().into_iter().map(|folder| {
            let text = std::fs::read_to_string(folder.join("log.txt")).unwrap();
            let line = text.lines().find_map(|line| line.strip_prefix("PROBE "));
            serde_json::from_str(line.unwrap_or_else(|| panic!("{text}"))).unwrap()
        });
        found.collect()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&["--study", self.path().to_str().unwrap()]);
        command.args(arguments);
        command
    }
}

impl Drop for TestStudy {
    /// Takes the study's names from the images that it held.
    fn drop(&mut self) {
        if !self.path().join("toolchains.lock").is_file() {
            return;
        }
        let Ok(study) = study::Study::open(&self.path()) else { return };
        let reference = format!("reference=reproduceml/held:{}-*", builder::study_mark(&study));
        let list = Command::new("docker")
            .args(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", &reference])
            .output();
        let names = list.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        for name in names.unwrap_or_default().lines() {
            let _ = Command::new("docker").args(["rmi", name]).output();
        }
    }
}

/// Whether Docker can be used; if not, says so aloud, and fails where it is required.
pub fn docker(test: &str) -> bool {
    let info = Command::new("docker").arg("info").output();
    let answers = info.is_ok_and(|output| output.status.success());
    if !answers {
        assert!(
            std::env::var_os("REPRODUCEML_REQUIRE_DOCKER").is_none(),
            "{test}: REPRODUCEML_REQUIRE_DOCKER is set and no Docker daemon answers"
        );
        eprintln!("SKIPPED {test}: no Docker daemon answers; scripts/test starts one");
    }
    answers
}

/// The verdicts of an analysis, by bug.
pub fn verdicts(analysis: &Value) -> std::collections::BTreeMap<String, String> {
    analysis["verdicts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap().to_owned();
            assert!(!text("reason").is_empty(), "every verdict has its reason");
            (text("bug"), text("verdict"))
        })
        .collect()
}

/// The bugs that a step of the funnel lost, with the reasons.
pub fn lost(funnel: &Value, step: &str) -> std::collections::BTreeMap<String, String> {
    funnel["lost"][step]
        .as_array()
        .unwrap()
        .iter()
        .map(|loss| {
            let text = |key: &str| loss[key].as_str().unwrap().to_owned();
            (text("bug"), text("reason"))
        })
        .collect()
}
