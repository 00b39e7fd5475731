//! The program where it was not compiled: as an image, with its pages and completions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{TestStudy, Told, call, docker, root};

/// What `cargo install --path .` puts into `folder`. It takes what was compiled for the tests, and
/// so compiles nothing.
fn install(folder: &Path) -> PathBuf {
    let profile = Path::new(env!("CARGO_BIN_EXE_reproduceml")).parent().unwrap();
    let name = match profile.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        other => other,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Build scripts that look at what a test runner sets would run again, and half of all crates
    // with them.
    let of_runner = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "NEXTEST", "OUT_DIR", "LD_LIB"];
    for (name, _) in std::env::vars_os() {
        if of_runner.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["install", "--locked", "--path", "."])
        .args(["--offline", "--no-track", "--profile", name])
        .arg("--target-dir")
        .arg(profile.parent().unwrap())
        .arg("--root")
        .arg(folder)
        .current_dir(root())
        .output()
        .unwrap();
    Told::of(output).expect(&[0]);
    folder.join("bin/reproduceml")
}

/// The installed program with a home of its own, away from the clone.
struct Installed {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Installed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = install(folder.path());
        Self { folder, program }
    }

    fn call(&self, arguments: &[&str]) -> Told {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path().join("home"))
            .env("NO_COLOR", "1");
        for name in ["REPRODUCEML_HOME", "REPRODUCEML_STUDY", "XDG_DATA_HOME"] {
            command.env_remove(name);
        }
        Told::of(command.output().unwrap())
    }
}

#[test]
fn cargo_install_gives_a_program_that_needs_no_clone() {
    let installed = Installed::new();
    let version = installed.call(&["--version"]).expect(&[0]).out;
    assert_eq!(version.trim(), concat!("reproduceml ", env!("CARGO_PKG_VERSION")));
    // As docs/guide/install.md says.
    assert!(installed.call(&["completions", "bash"]).expect(&[0]).out.contains("reproduceml"));
    installed.call(&["man", "man1"]).expect(&[0]);
    assert!(installed.folder.path().join("man1/reproduceml.1").is_file());

    let findings = installed.call(&["--format", "json", "doctor"]).json();
    let all = findings.as_array().unwrap();
    let data = all.iter().find(|finding| finding["what"] == "program data").unwrap();
    let own = installed.folder.path().join("home/.local/share/reproduceml");
    assert!(data["found"].as_str().unwrap().starts_with(own.to_str().unwrap()), "{data}");

    // The definitions that come along, by name; the paper's bugs need no network to be known.
    installed.call(&["init", "mine", "--framework", "pytorch"]).expect(&[0]);
    installed.call(&["init", "paper", "--from", "pytorch-1.1-1.6"]).expect(&[0]);
    let status = installed.call(&["--study", "paper", "--format", "json", "status"]).expect(&[0]);
    assert_eq!(status.json()["selected"], 18);
    let told = installed.call(&["init", "other", "--from", "pytorch-9"]).expect(&[2]);
    assert!(told.err.contains("quick-tinynn"), "{}", told.err);

    // Where nothing can be written it says what to do.
    let told = Command::new(&installed.program)
        .args(["init", "other", "--from", "quick-tinynn"])
        .current_dir(installed.folder.path())
        .env_clear()
        .output()
        .unwrap();
    let told = Told::of(told).expect(&[3]);
    assert!(told.err.contains("XDG_DATA_HOME") && told.err.contains("REPRODUCEML_HOME"));
}

#[test]
fn an_installed_program_builds_and_trains_with_what_it_carries() {
    if !docker("an_installed_program_builds_and_trains_with_what_it_carries") {
        return;
    }
    let study = TestStudy::tinynn(&[("runs = 10", "runs = 1")]);
    let path = study.path();
    let installed = Installed::new();
    let on = |arguments: &[&str]| {
        installed.call(&[&["--study", path.to_str().unwrap()], arguments].concat())
    };
    on(&["build", "pr16"]).expect(&[0]);
    on(&["run", "pr16"]).expect(&[0]);
    let funnel = on(&["--format", "json", "status"]).expect(&[0]).json();
    assert_eq!(funnel["ran"], 1, "{funnel}");
}

#[test]
fn an_installed_program_works_with_nothing_beside_it() {
    if !docker("an_installed_program_works_with_nothing_beside_it") {
        return;
    }
    // An image of the program and the libraries it is linked with: no clone, no shell, no git.
    let folder = tempfile::tempdir().unwrap();
    let tree = folder.path().join("tree");
    let program = install(&tree.join("usr"));
    std::fs::create_dir(tree.join("tmp")).unwrap();
    let libraries = Command::new("ldd").arg(&program).output().unwrap();
    for word in String::from_utf8(libraries.stdout).unwrap().split_whitespace() {
        if let Some(name) = word.strip_prefix('/') {
            let target = tree.join(name);
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(word, target).unwrap();
        }
    }
    let tag = "reproduceml-test/bare:installed";
    let archive = folder.path().join("tree.tar");
    let tar = Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".").status();
    assert!(tar.unwrap().success());
    let made = Command::new("docker").arg("import").arg(&archive).arg(tag).output().unwrap();
    Told::of(made).expect(&[0]);

    let started = Command::new("docker")
        .args(["create", "--network", "none", "--env", "HOME=/tmp", "--workdir", "/tmp"])
        .args([tag, "/usr/bin/reproduceml", "init", "study", "--from", "pytorch-1.1-1.6"])
        .output()
        .unwrap();
    let id = Told::of(started).expect(&[0]).out.trim().to_owned();
    let ran = Command::new("docker").args(["start", "--attach", &id]).output().unwrap();
    let copied = folder.path().join("out");
    let out = Command::new("docker")
        .args(["cp", &format!("{id}:/tmp"), copied.to_str().unwrap()])
        .output()
        .unwrap();
    let removed = Command::new("docker").args(["rm", &id]).output().unwrap();
    let untagged = Command::new("docker").args(["rmi", tag]).output().unwrap();
    for output in [ran, out, removed, untagged] {
        Told::of(output).expect(&[0]);
    }
    assert!(copied.join("study/study.toml").is_file());
    let data = std::fs::read_dir(copied.join(".local/share/reproduceml")).unwrap().next();
    let data = data.unwrap().unwrap().path();
    for name in ["dockerfiles/debian-bookworm-cpu/Dockerfile", "clients/python", "data/faults"] {
        assert!(data.join(name).exists(), "{name}");
    }
}

#[test]
fn the_image_works_on_a_study_of_the_machine() {
    if !docker("the_image_works_on_a_study_of_the_machine") {
        return;
    }
    let tag = "reproduceml-test/program";
    let made = Command::new(root().join("scripts/image"))
        .args(["--tag", tag, "--program", env!("CARGO_BIN_EXE_reproduceml")])
        .output()
        .unwrap();
    Told::of(made).expect(&[0]);

    let study = TestStudy::tinynn(&[]);
    let folder = study.path().canonicalize().unwrap();
    let folder = folder.to_str().unwrap();
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("docker");
        command
            .args(["run", "--rm", "-v", "/var/run/docker.sock:/var/run/docker.sock"])
            .args(["-v", &format!("{folder}:{folder}"), "-w", folder, tag])
            .args(arguments);
        Told::of(command.output().unwrap())
    };
    let funnel = inside(&["--format", "json", "status"]).expect(&[0]).json();
    assert_eq!(funnel["mined"], 13);
    let findings = inside(&["--format", "json", "doctor"]).json();
    for what in ["program data", "Docker", "study"] {
        let all = findings.as_array().unwrap();
        let finding = all.iter().find(|finding| finding["what"] == what).unwrap();
        assert_ne!(finding["state"], "missing", "{finding}");
    }
    // Containers started from within the image find the study at the machine's path.
    inside(&["build", "pr16"]).expect(&[0]);
    let built = study.call(&["--format", "json", "status"]).expect(&[0]).json();
    assert_eq!(built["built"], 1);
}

#[test]
fn every_command_has_a_page_and_is_completed() {
    let folder = tempfile::tempdir().unwrap();
    let pages = call(&["--format", "json", "man", folder.path().to_str().unwrap()]).expect(&[0]);
    let pages = pages.json().as_array().unwrap().len();
    let help = call(&["--help"]).expect(&[0]).out;
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next())
        .filter(|name| help.contains(&format!("\n  {name} ")) && *name != "help")
        .collect();
    assert!(commands.len() > 12 && pages > commands.len(), "{commands:?} and {pages} pages");
    for name in &commands {
        let page = folder.path().join(format!("reproduceml-{name}.1"));
        assert!(std::fs::read_to_string(page).unwrap().contains(".SH SYNOPSIS"), "{name}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = call(&["completions", shell]).expect(&[0]).out;
        assert!(commands.iter().all(|name| script.contains(name)), "{shell}");
    }
    call(&["completions", "abacus"]).expect(&[2]);
}

#[test]
fn the_units_of_systemd_and_the_workflow_are_well_formed() {
    let nightly = root().join("scripts/nightly");
    let workflow = std::fs::read_to_string(nightly.join("github-actions.yml")).unwrap();
    assert!(workflow.contains("[ \"$status\" -eq 0 ] || [ \"$status\" -eq 10 ]"));
    let service = std::fs::read_to_string(nightly.join("reproduceml-nightly@.service")).unwrap();
    assert!(service.contains("SuccessExitStatus=10"));
    // Through a shell as cron does it: a night that changed something is no failure.
    let crontab = std::fs::read_to_string(nightly.join("crontab")).unwrap();
    let line = crontab.lines().last().unwrap();
    let command = line.splitn(6, ' ').last().unwrap().trim();
    let folder = tempfile::tempdir().unwrap();
    for (code, wanted) in [(0, 0), (10, 0), (1, 1), (2, 1)] {
        let fake = folder.path().join("reproduceml");
        std::fs::write(&fake, format!("#!/bin/sh\nexit {code}\n")).unwrap();
        Command::new("chmod").arg("+x").arg(&fake).status().unwrap();
        let path = format!("{}:/usr/bin:/bin", folder.path().display());
        let status =
            Command::new("/bin/sh").args(["-c", command]).env("PATH", path).status().unwrap();
        assert_eq!(status.code(), Some(wanted), "exit code {code}");
    }
}
