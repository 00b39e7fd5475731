//! The program where it was not compiled: as an image, with its pages and completions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use std::process::Command;

use common::{TestStudy, Told, call, docker, root};

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
