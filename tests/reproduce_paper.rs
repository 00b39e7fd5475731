//! scripts/reproduce-paper on the paper's study: what it shows, asks and calls. The program, Docker,
//! the GPU's driver and git are stand-ins here, since none of them can be had for that study in a
//! test; the stages themselves have tests of their own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Told, root};

struct Machine {
    folder: tempfile::TempDir,
}

impl Machine {
    /// A machine on which `there` answer and `missing` fail.
    fn new(there: &[&str], missing: &[&str]) -> Self {
        let machine = Self { folder: tempfile::tempdir().unwrap() };
        for (names, code) in [(there, 0), (missing, 1)] {
            for name in names {
                machine.put(&format!("bin/{name}"), &format!("#!/bin/sh\nexit {code}\n"));
            }
        }
        machine
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        Command::new("chmod").arg("+x").arg(&path).status().unwrap();
        path
    }

    /// The program notes what it is called with, and ends with `code` for the stage named.
    fn program(&self, stage: &str, code: i32) {
        let log = self.folder.path().join("calls");
        self.put(
            "target/release/reproduceml",
            &format!(
                "#!/bin/sh\necho \"$*\" >> {log}\n\
                 if [ \"$1\" = init ]; then cp -r \"$4\" \"$2\"; fi\n\
                 case \" $* \" in *\" {stage} \"*) exit {code} ;; esac\n",
                log = log.display()
            ),
        );
    }

    fn calls(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default();
        let study = self.study();
        text.lines().map(|line| line.replace(&study, "STUDY")).collect()
    }

    fn study(&self) -> String {
        self.folder.path().join("study").to_str().unwrap().to_owned()
    }

    fn call(&self, arguments: &[&str]) -> Told {
        let path = format!("{}:/usr/bin:/bin", self.folder.path().join("bin").display());
        let output = Command::new(root().join("scripts/reproduce-paper"))
            .args(["--study", &self.study()])
            .args(arguments)
            .env("PATH", path)
            .env("CARGO_TARGET_DIR", self.folder.path().join("target"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Told::of(output)
    }
}

const STAGES: [&str; 9] =
    ["setup", "compile", "mine", "mirror", "lock", "build", "run", "stats", "report"];

#[test]
fn the_plan_shows_needs_costs_and_what_is_missing() {
    let bare = Machine::new(&[], &["docker", "git", "nvidia-smi"]);
    let told = bare.call(&["--dry-run"]).expect(&[0]);
    assert_eq!(told.out.lines().count(), STAGES.len(), "{}", told.out);
    for stage in STAGES {
        assert!(told.err.lines().any(|line| line.starts_with(stage)), "{stage}: {}", told.err);
    }
    assert!(told.err.contains("18 bugs, 50 runs a side, 30 epochs, on cuda"), "{}", told.err);
    assert!(told.err.contains("1800 trainings"), "{}", told.err);
    for what in ["Docker: ", "GPU: ", "GitHub: ", "CIFAR-10: ", "base images: "] {
        assert!(told.err.contains(&format!("\n  {what}")), "{what}: {}", told.err);
    }

    let tools = ["docker", "git", "nvidia-smi", "nvidia-container-cli"];
    let equipped = Machine::new(&tools, &[]);
    equipped.put("study/data/cifar10/train", "");
    let told = equipped.call(&["--dry-run"]).expect(&[0]);
    let missing: Vec<&str> = told.err.lines().filter(|line| line.starts_with("  ")).collect();
    // How much disk is free here is not the test's to say.
    assert!(missing.iter().all(|line| line.starts_with("  disk: ")), "{}", told.err);
}

#[test]
fn options_reach_the_stages() {
    let machine = Machine::new(&["docker", "git"], &["nvidia-smi"]);
    let notes = machine.folder.path().join("notes");
    std::fs::create_dir(&notes).unwrap();
    let notes = notes.to_str().unwrap();
    let told = machine.call(&[
        "--dry-run",
        "--bugs",
        "pr32350,pr37214",
        "--runs",
        "3",
        "--epochs",
        "2",
        "--device",
        "cpu",
        "--repo",
        notes,
        "--notes",
        notes,
        "--branch",
        "trunk",
        "--mirrors",
        notes,
    ]);
    let told = told.expect(&[0]);
    assert!(told.err.contains("2 bugs, 3 runs a side, 2 epochs, on cpu"), "{}", told.err);
    assert!(told.err.contains("12 trainings"), "{}", told.err);
    assert!(!told.err.contains("GPU:"), "{}", told.err);
    let line = |stage: &str| told.out.lines().find(|line| line.contains(stage)).unwrap();
    assert!(line(" mine ").contains("--branch trunk") && line(" mine ").ends_with("--offline"));
    assert!(line(" build mirror").contains(&format!("--from {notes}")));
    assert!(line(" run ").ends_with("run pr32350 pr37214 --runs 3 --epochs 2"), "{}", told.out);
}

#[test]
fn wrong_use_is_named_and_nobody_is_asked_in_vain() {
    let machine = Machine::new(&[], &["docker", "git", "nvidia-smi"]);
    for (arguments, word) in [
        (vec!["--stage", "nope"], "nope"),
        (vec!["--runs", "many"], "many"),
        (vec!["--repo", "/nonexistent"], "/nonexistent"),
        (vec!["--device", "abacus"], "abacus"),
        (vec!["--bugs"], "--bugs"),
        (vec!["--frobnicate", "x"], "--frobnicate"),
        (vec!["--stage", "mine"], "--yes"),
    ] {
        let told = machine.call(&arguments).expect(&[2]);
        assert!(told.err.contains(word), "{arguments:?}: {}", told.err);
    }
    assert_eq!(machine.calls(), Vec::<String>::new());
}

#[test]
fn stages_are_called_in_order_and_go_on_where_they_were() {
    let machine = Machine::new(&["docker", "git"], &["nvidia-smi"]);
    let stages = ["mine", "mirror", "lock", "build", "run", "stats", "report"];
    let mut arguments = vec!["--yes", "--device", "cpu"];
    arguments.extend(stages.iter().flat_map(|stage| ["--stage", *stage]));

    // A build that fails is a result; a missing provision ends the script.
    machine.program("build", 1);
    machine.call(&arguments).expect(&[0]);
    let calls: Vec<String> =
        machine.calls().iter().map(|line| line.replace("--study STUDY ", "")).collect();
    assert_eq!(
        calls,
        [
            "init STUDY.part --from data/studies/pytorch-1.1-1.6",
            "mine",
            "build mirror",
            "build lock",
            "build",
            "run",
            "stats",
            "stats --verdicts",
            "status",
            "report",
        ]
    );
    let toml = std::fs::read_to_string(machine.folder.path().join("study/study.toml")).unwrap();
    assert!(toml.contains("device = \"cpu\""), "the device that was asked for");

    machine.program("run", 3);
    machine.call(&arguments).expect(&[3]);
    let again = machine.calls();
    assert!(again.last().unwrap().ends_with(" run"), "{again:?}");
    assert_eq!(again.iter().filter(|line| line.starts_with("init")).count(), 1, "one study");
}

#[test]
fn without_a_gpu_nothing_is_trained_on_one() {
    let machine = Machine::new(&["docker", "git"], &["nvidia-smi"]);
    machine.program("none", 0);
    let told = machine.call(&["--yes", "--stage", "mine", "--stage", "run"]).expect(&[3]);
    assert!(told.err.contains("--device cpu"), "{}", told.err);
    assert!(machine.calls().iter().all(|line| !line.ends_with(" run")));
}

#[test]
fn a_docker_that_broke_is_told_from_builds_that_failed() {
    for stage in ["build", "run"] {
        let machine = Machine::new(&["git"], &["nvidia-smi"]);
        let broken = machine.folder.path().join("broken");
        machine.put("bin/docker", &format!("#!/bin/sh\n[ ! -e {} ]\n", broken.display()));
        machine.program(stage, 1);
        let arguments = ["--yes", "--device", "cpu", "--stage", "mine", "--stage", stage];
        let arguments = [&arguments[..], &["--stage", "stats"]].concat();
        let told = machine.call(&arguments).expect(&[0]);
        assert!(told.err.contains(&format!("some of `{stage}` failed")), "{}", told.err);
        assert!(machine.calls().last().unwrap().ends_with("status"));

        // The same exit code, and no daemon any more: nothing is concluded from it.
        let log = machine.folder.path().join("calls");
        machine.put(
            "target/release/reproduceml",
            &format!(
                "#!/bin/sh\necho \"$*\" >> {}\n\
                 case \" $* \" in *\" {stage} \"*) touch {}; exit 1 ;; esac\n",
                log.display(),
                broken.display()
            ),
        );
        let told = machine.call(&arguments).expect(&[3]);
        assert!(told.err.contains("no Docker daemon answers any more"), "{}", told.err);
        assert!(machine.calls().last().unwrap().ends_with(&format!(" {stage}")));
    }
}

/// Calls the script as from a terminal, with an answer to what it asks.
fn answered(machine: &Machine, arguments: &str, answer: &str) -> Told {
    let script = root().join("scripts/reproduce-paper");
    let command = format!("{} --study {} {arguments}", script.display(), machine.study());
    let path = format!("{}:/usr/bin:/bin", machine.folder.path().join("bin").display());
    let typed = machine.put("typed", answer);
    let output = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .env("PATH", path)
        .env("CARGO_TARGET_DIR", machine.folder.path().join("target"))
        .stdin(std::fs::File::open(typed).unwrap())
        .output()
        .unwrap();
    Told::of(output)
}

#[test]
fn it_asks_before_anything_is_done() {
    let machine = Machine::new(&["docker", "git"], &["nvidia-smi"]);
    machine.program("none", 0);
    let told = answered(&machine, "--stage mine", "n\n").expect(&[0]);
    assert!(told.out.contains("Go on? [y/N]") && told.out.contains("Missing here"), "{}", told.out);
    assert_eq!(machine.calls(), Vec::<String>::new());
    assert!(!machine.folder.path().join("study").exists());
    answered(&machine, "--stage mine", "y\n").expect(&[0]);
    assert!(machine.calls().last().unwrap().ends_with(" mine"), "{:?}", machine.calls());
}

#[test]
fn each_stage_is_called_alone_for_some_bugs_and_with_fewer_runs() {
    let some = ["--bugs", "pr32350,pr37214", "--runs", "3", "--epochs", "2"];
    for (stage, calls) in [
        ("mine", vec!["mine"]),
        ("mirror", vec!["build mirror"]),
        ("lock", vec!["build lock"]),
        ("build", vec!["build pr32350 pr37214"]),
        ("run", vec!["run pr32350 pr37214 --runs 3 --epochs 2"]),
        ("stats", vec!["stats", "stats --verdicts", "status"]),
        ("report", vec!["report"]),
    ] {
        let machine = Machine::new(&["docker", "git"], &["nvidia-smi"]);
        machine.program("none", 0);
        let begun = ["--yes", "--device", "cpu", "--stage", "mine"];
        machine.call(&begun).expect(&[0]);
        let before = machine.calls().len();
        let alone = ["--yes", "--device", "cpu", "--stage", stage];
        machine.call(&[&alone[..], &some].concat()).expect(&[0]);
        let made: Vec<String> = machine.calls().split_off(before);
        let expected: Vec<String> =
            calls.iter().map(|call| format!("--study STUDY {call}")).collect();
        assert_eq!(made, expected, "{stage}");
    }
}

#[test]
fn what_lies_in_the_folder_is_never_lost() {
    let machine = Machine::new(&["docker", "git"], &["nvidia-smi"]);
    machine.program("none", 0);
    let go = ["--yes", "--device", "cpu", "--stage", "mine"];
    let study = machine.folder.path().join("study");
    // A folder of somebody's is not taken for the start of a study.
    machine.put("study/thesis.tex", "");
    let told = machine.call(&go).expect(&[2]);
    assert!(told.err.contains("thesis.tex") && study.join("thesis.tex").is_file(), "{}", told.err);
    std::fs::remove_file(study.join("thesis.tex")).unwrap();
    // CIFAR-10 is where the script says that it belongs; a reboot left half of a definition.
    machine.put("study/data/cifar10/train", "images");
    machine.put("study.part/labels.csv", "half");
    std::fs::create_dir_all(study.join("corpus")).unwrap();
    machine.call(&go).expect(&[0]);
    assert_eq!(std::fs::read_to_string(study.join("data/cifar10/train")).unwrap(), "images");
    assert!(study.join("study.toml").is_file());
    assert!(!machine.folder.path().join("study.part").exists());
}

#[test]
fn a_dry_run_asks_the_real_program_what_it_would_do() {
    let machine = Machine::new(&["docker", "git"], &["nvidia-smi"]);
    machine.put(
        "target/release/reproduceml",
        &format!("#!/bin/sh\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_reproduceml")),
    );
    let study = machine.study();
    common::call(&["init", &study, "--from", "pytorch-1.1-1.6"]).expect(&[0]);
    let before = std::fs::read(machine.folder.path().join("study/study.toml")).unwrap();
    let told = machine.call(&["--dry-run", "--device", "cpu"]).expect(&[0]);
    assert_eq!(told.out.lines().count(), STAGES.len(), "{}", told.out);
    // Nothing is built yet, which is as far as a plan of runs goes.
    assert!(told.err.contains("run `reproduceml build` first"), "{}", told.err);
    assert_eq!(std::fs::read(machine.folder.path().join("study/study.toml")).unwrap(), before);
    assert!(!machine.folder.path().join("study/artifacts").exists());
}
