//! Runs in Apptainer on the nodes of a real Slurm cluster, from the image that Docker has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod cluster;
mod common;

use std::process::Command;

use cluster::Cluster;
use common::{TestStudy, Told, docker, root};
use serde_json::json;

/// Whether there is an Apptainer that works; if not, says so aloud, and fails where it is required.
fn apptainer(test: &str) -> bool {
    let version = Command::new("apptainer").arg("--version").output();
    let works = version.as_ref().is_ok_and(|output| output.status.success());
    if !works {
        assert!(
            std::env::var_os("REPRODUCEML_REQUIRE_APPTAINER").is_none(),
            "{test}: REPRODUCEML_REQUIRE_APPTAINER is set and no apptainer works: {version:?}"
        );
        eprintln!("SKIPPED {test}: no apptainer; `scripts/apptainer DIR` makes one");
    }
    works
}

#[test]
fn in_apptainer_a_run_is_kept_apart_and_gives_the_bits_that_docker_gives() {
    let test = "in_apptainer_a_run_is_kept_apart_and_gives_the_bits_that_docker_gives";
    if !docker(test) || !apptainer(test) {
        return;
    }
    let Some(cluster) = Cluster::start(test, &[("n1", "x")]) else { return };
    let study = TestStudy::tinynn(&[
        ("runs = 10", "runs = 1"),
        ("epochs = 3", "epochs = 1"),
        ("name = \"mlp\"", "name = \"Looks\"\nsource = \"probe.py\""),
    ]);
    let probe = root().join("tests/fixtures/probe.py");
    std::fs::copy(probe, study.path().join("probe.py")).unwrap();
    study.call(&["build", "pr21"]).expect(&[0]);
    let docker = study.copied();
    docker.call(&["run", "pr21"]).expect(&[0]);

    let file = study.path().join("study.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    // As root, Apptainer would want more capabilities than a container of a CI has; users of a
    // cluster are in a user namespace anyway.
    let slurm = "\n[slurm]\ncontainer = \"apptainer\"\nserver = \"127.0.0.1\"\npoll_seconds = 1\n\
                 setup = [\"export APPTAINER_USERNS=1\"]\n";
    std::fs::write(&file, format!("{text}{slurm}")).unwrap();
    let arguments = ["--format", "json", "run", "--executor", "slurm", "pr21"];
    let mut command = study.command(&arguments);
    command.env("SLURM_CONF", cluster.config()).env_remove("REPRODUCEML_TOKEN");
    let told = Told::of(command.output().unwrap());
    let logs: Vec<String> = study
        .run_folders()
        .iter()
        .map(|at| std::fs::read_to_string(at.join("log.txt")).unwrap_or_default())
        .collect();
    assert_eq!(told.code, 0, "{}\n{}", told.err, logs.join("\n"));
    assert_eq!(told.json()["made"], 2);

    for found in study.probes() {
        // Both are Apptainer's own, in memory: nothing of the node's.
        assert_eq!(found["writable"], json!(["/var/tmp", "/tmp"]));
        assert_eq!(found["docker"], false);
    }
    // One image, made once of what Docker has.
    let images = std::fs::read_dir(study.path().join("cache/images")).unwrap().flatten();
    let mut names: Vec<String> =
        images.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort_by_key(|name| name.rsplit('.').next().map(str::to_owned));
    let kinds: Vec<&str> = names.iter().filter_map(|name| name.rsplit('.').next()).collect();
    assert_eq!(kinds, ["lock", "sif", "tar"], "{names:?}");

    // Another runtime, the same numbers.
    let losses = |study: &TestStudy| {
        study.call(&["stats"]).expect(&[0]);
        let text = std::fs::read_to_string(study.path().join("stats/results.csv")).unwrap();
        let seconds = text.lines().next().unwrap().split(',').position(|n| n == "seconds").unwrap();
        let kept = |line: &str| {
            let cells = line.split(',').enumerate().filter(|(i, _)| *i != seconds);
            cells.map(|(_, cell)| cell.to_owned()).collect::<Vec<_>>()
        };
        text.lines().map(kept).collect::<Vec<_>>()
    };
    assert_eq!(losses(&study), losses(&docker));
}
