//! Runs as jobs of a real Slurm cluster, which each test starts on this machine and takes down.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod cluster;
mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::{Child, Command, Stdio};

use cluster::{Cluster, until};
use common::{TestStudy, Told, docker};
use serde_json::{Value, json};

/// Both sides of these bugs are built, and nothing is run.
fn built(runs: u32, bugs: &[&str], slurm: &str) -> TestStudy {
    let study = TestStudy::tinynn(&[("runs = 10", &format!("runs = {runs}"))]);
    study.call(&[&["build"][..], bugs].concat()).expect(&[0]);
    say(&study, slurm);
    study
}

/// Gives the study another `[slurm]`.
fn say(study: &TestStudy, slurm: &str) {
    let file = study.path().join("study.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.split("\n[slurm]\n").next().unwrap();
    let common = "container = \"none\"\nserver = \"127.0.0.1\"\npoll_seconds = 1\n";
    std::fs::write(&file, format!("{text}\n[slurm]\n{common}{slurm}\n")).unwrap();
}

fn on(cluster: &Cluster, study: &TestStudy, arguments: &[&str]) -> Command {
    let all = [&["--format", "json", "run", "--executor", "slurm"], arguments].concat();
    let mut command = study.command(&all);
    command.env("SLURM_CONF", cluster.config()).env_remove("REPRODUCEML_TOKEN");
    command
}

fn run(cluster: &Cluster, study: &TestStudy, arguments: &[&str]) -> Told {
    Told::of(on(cluster, study, arguments).output().unwrap())
}

/// Starts a call and waits until so many of its jobs run.
fn begin(cluster: &Cluster, study: &TestStudy, arguments: &[&str], running: usize) -> Child {
    let mut command = on(cluster, study, arguments);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until(30, || cluster.in_state("RUNNING").len() >= running)
        .unwrap_or_else(|| panic!("{:?}\n{}", cluster.jobs(), cluster.logs()));
    child
}

fn end(child: Child) -> Told {
    Told::of(child.wait_with_output().unwrap())
}

/// What each run's `job.json` says, by the bug.
fn jobs(study: &TestStudy) -> BTreeMap<String, Vec<Value>> {
    let mut all: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for folder in study.run_folders() {
        let experiment = folder.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let bug = experiment.split('-').next().unwrap().to_owned();
        let text = std::fs::read_to_string(folder.join("job.json")).unwrap();
        all.entry(bug).or_default().push(serde_json::from_str(&text).unwrap());
    }
    all
}

/// How often each run was begun.
fn attempts(study: &TestStudy) -> Vec<u32> {
    let store = study::Study::open(&study.path()).unwrap().store().unwrap();
    let mut all = Vec::new();
    for (experiment, _) in store.active_experiments().unwrap() {
        all.extend(store.runs(&experiment.id()).unwrap().iter().map(|run| run.attempt));
    }
    all
}

/// Jobs that are not over.
fn active(cluster: &Cluster) -> usize {
    let jobs = cluster.jobs().into_iter();
    jobs.filter(|job| matches!(job[2].as_str(), "PENDING" | "RUNNING" | "COMPLETING")).count()
}

fn side(summary: &Value, evaluation: &str) -> Value {
    let sides = summary["sides"].as_array().unwrap();
    sides.iter().find(|side| side["evaluation"] == evaluation).unwrap().clone()
}

/// Makes the processors of node n3 look like others to a client.
const OTHER_HARDWARE: &str = "import os\nos.cpu_count = lambda: 4096\n";

#[test]
fn a_cluster_makes_the_runs_that_this_machine_makes_each_bug_on_one_class_of_nodes() {
    let test = "a_cluster_makes_the_runs_that_this_machine_makes_each_bug_on_one_class_of_nodes";
    if !docker(test) {
        return;
    }
    let nodes = [("n1", "old"), ("n2", "old"), ("n3", "new")];
    let Some(cluster) = Cluster::start(test, &nodes) else { return };
    let bugs = ["pr16", "pr21"];
    let study = built(2, &bugs, "");
    let local = study.copied();
    local.call(&["run", "pr16", "pr21", "--executor", "local"]).expect(&[0]);

    let mut doctor = study.command(&["doctor"]);
    let said = Told::of(doctor.env("SLURM_CONF", cluster.config()).output().unwrap());
    // Builds ask for four processors, unless told otherwise, and these nodes have two.
    for wanted in ["3 nodes in main*", "cluster, runs", "[slurm.build] of study.toml asks"] {
        assert!(said.out.contains(wanted), "{wanted} in {}", said.out);
    }
    // What would be done is said, and nothing is.
    let planned = run(&cluster, &study, &["--dry-run"]).expect(&[0]);
    assert_eq!(planned.json()["missing"], 8);
    for said in ["sbatch --nodes=1", "#!/bin/bash", "8 runs of 2 bugs"] {
        assert!(planned.err.contains(said), "{}", planned.err);
    }
    assert!(cluster.jobs().is_empty());

    let summary = run(&cluster, &study, &bugs).expect(&[0]).json();
    assert_eq!(summary["made"], 8);
    assert_eq!(study.results(), local.results(), "the same bits");
    assert!(attempts(&study).iter().all(|attempt| *attempt == 1));
    let of_bugs = jobs(&study);
    let mut classes = BTreeSet::new();
    for (bug, jobs) in &of_bugs {
        let its: BTreeSet<String> = jobs.iter().map(|job| job["class"].to_string()).collect();
        assert_eq!(its.len(), 1, "{bug}: {its:?}");
        classes.extend(its);
    }
    assert_eq!(classes.len(), 2, "and bugs are spread over the classes");
    let nodes_of = |bug: &str| -> BTreeSet<String> {
        of_bugs[bug].iter().map(|job| job["node"].as_str().unwrap().to_owned()).collect()
    };
    let of_class = |nodes: BTreeSet<String>| nodes.iter().all(|node| node == "n3");
    assert_ne!(of_class(nodes_of("pr16")), of_class(nodes_of("pr21")));
    // Arrays, one a bug; their script is kept, and no secret is.
    let numbers: BTreeSet<String> =
        cluster.jobs().iter().map(|job| job[0].split('_').next().unwrap().to_owned()).collect();
    assert_eq!(numbers.len(), 2, "{numbers:?}");
    for folder in study.run_folders() {
        let script = std::fs::read_to_string(folder.join("job.sh")).unwrap();
        assert!(script.contains("reproduceml_client") && !script.contains("rml1."), "{script}");
        for entry in std::fs::read_dir(&folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with("job-") && !name.starts_with(".job-"), "{name} is left");
        }
    }
    assert_eq!(run(&cluster, &study, &bugs).expect(&[0]).json()["made"], 0);

    // Sides that are sent to different hardware by force are told apart and refused.
    let other = study.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("sitecustomize.py"), OTHER_HARDWARE).unwrap();
    let setup = format!(
        "setup = ['[ \"$SLURMD_NODENAME\" != n3 ] || export PYTHONPATH={}:$PYTHONPATH']\n",
        other.display()
    );
    let apart = ["pr16", "--epochs", "1", "--runs", "1"];
    let only = |evaluation: &'static str| [&apart[..], &["--only", evaluation]].concat();
    say(&study, &format!("{setup}same = \"any\"\nexclude = \"n3\""));
    run(&cluster, &study, &only("corrected")).expect(&[1]);
    say(&study, &format!("{setup}same = \"any\"\nexclude = \"n[1-2]\""));
    let summary = run(&cluster, &study, &only("buggy")).expect(&[1]).json();
    let reason = side(&summary, "buggy")["reason"].to_string();
    assert!(reason.contains("hardware.cpus: 4096"), "{summary}");
    // Kept on one class, they agree.
    say(&study, &setup);
    let again = [&apart[..], &["--retry-failed"]].concat();
    run(&cluster, &study, &again).expect(&[0]);
}

#[test]
fn on_a_node_with_docker_a_run_is_kept_apart() {
    let test = "on_a_node_with_docker_a_run_is_kept_apart";
    if !docker(test) {
        return;
    }
    let Some(cluster) = Cluster::start(test, &[("n1", "x")]) else { return };
    let study = TestStudy::tinynn(&[
        ("runs = 10", "runs = 1"),
        ("epochs = 3", "epochs = 1"),
        ("name = \"mlp\"", "name = \"Looks\"\nsource = \"probe.py\""),
    ]);
    let probe = common::root().join("tests/fixtures/probe.py");
    std::fs::copy(probe, study.path().join("probe.py")).unwrap();
    study.call(&["build", "pr21"]).expect(&[0]);
    say(&study, "");
    let file = study.path().join("study.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("container = \"none\"", "container = \"docker\"")).unwrap();
    run(&cluster, &study, &["pr21"]).expect(&[0]);
    for found in study.probes() {
        assert_ne!(found["uid"], 0, "{found}");
        let none = "0000000000000000";
        assert_eq!(found["capabilities"], json!([none, none, none, none, none]));
        assert_eq!((&found["docker"], &found["writable"]), (&json!(false), &json!(["/tmp"])));
        assert_eq!(found["memory"], (512_u32 << 20).to_string());
    }
    // Nodes without the image load it from the study.
    let images = std::fs::read_dir(study.path().join("cache/images")).unwrap();
    assert_eq!(images.count(), 1);
}

#[test]
fn runs_that_lose_their_node_start_over_and_cancelled_ones_at_the_next_call() {
    let test = "runs_that_lose_their_node_start_over_and_cancelled_ones_at_the_next_call";
    if !docker(test) {
        return;
    }
    // Two processors each.
    let Some(mut cluster) = Cluster::start(test, &[("n1", "x"), ("n2", "x")]) else { return };
    let study = built(2, &["pr21"], "setup = [\"sleep 4\"]");

    // Two runs on each node. One node dies; on the other, somebody more urgent comes.
    let child = begin(&cluster, &study, &["pr21"], 4);
    cluster.kill_node("n2");
    let urgent =
        ["-p", "urgent", "-w", "n1", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1"];
    cluster.ask("sbatch", &urgent);
    let told = end(child).expect(&[0]);
    for said in ["starts over: preempted: job", "starts over: node-lost: job"] {
        assert!(told.err.contains(said), "{said} in {}", told.err);
    }
    let summary = told.json();
    for evaluation in ["buggy", "corrected"] {
        let side = side(&summary, evaluation);
        assert_eq!((&side["finished"], &side["failed"]), (&json!(2), &json!(0)), "{summary}");
        assert_eq!(side["endings"], json!([]), "how it ended first is no matter any more");
    }
    cluster.start_node("n2");

    // An array that somebody cancels, of which one run waits: its runs did not fail, and the next
    // call makes them.
    cluster.ask("scontrol", &["update", "NodeName=n1", "State=DRAIN", "Reason=test"]);
    let child = begin(&cluster, &study, &["pr21", "--runs", "4"], 2);
    let running = cluster.in_state("RUNNING");
    cluster.ask("scancel", &[running[0].split('_').next().unwrap()]);
    let summary = end(child).expect(&[1]).json();
    for evaluation in ["buggy", "corrected"] {
        let side = side(&summary, evaluation);
        assert_eq!((&side["finished"], &side["failed"]), (&json!(2), &json!(0)), "{summary}");
        let ending = &side["endings"][0];
        assert_eq!((&ending["ending"], &ending["runs"]), (&json!("cancelled"), &json!([2, 3])));
        assert_eq!(ending["starts_over"], true, "{summary}");
    }
    cluster.ask("scontrol", &["update", "NodeName=n1", "State=RESUME"]);
    say(&study, "");
    let summary = run(&cluster, &study, &["pr21", "--runs", "4"]).expect(&[0]).json();
    assert_eq!((&summary["made"], &side(&summary, "buggy")["finished"]), (&json!(4), &json!(4)));
}

#[test]
fn what_takes_too_long_is_ended_and_what_a_cluster_refuses_is_said() {
    let test = "what_takes_too_long_is_ended_and_what_a_cluster_refuses_is_said";
    if !docker(test) {
        return;
    }
    let nodes = [("n1", "x"), ("n2", "x"), ("n3", "gpu")];
    let Some(cluster) = Cluster::start(test, &nodes) else { return };
    let study = built(1, &["pr21"], "setup = [\"sleep 100\"]\noptions = [\"--comment=slow\"]");
    let child = begin(&cluster, &study, &["pr21", "--only", "buggy"], 1);
    let job = cluster.in_state("RUNNING").remove(0);
    // Limits are minutes, which a test need not wait for: the end is brought nearer.
    cluster.ask("scontrol", &["update", &format!("JobId={job}"), "EndTime=now+1seconds"]);
    let told = end(child).expect(&[1]);
    let buggy = side(&told.json(), "buggy");
    assert_eq!((&buggy["failed"], &buggy["endings"][0]["ending"]), (&json!(1), &json!("timeout")));
    assert!(buggy["reason"].as_str().unwrap().contains("timeout_minutes"), "{buggy}");

    let refused = |slurm: &str, code: i32, said: &[&str]| {
        say(&study, slurm);
        let told = run(&cluster, &study, &["pr21", "--only", "corrected"]).expect(&[code]);
        for said in said {
            assert!(told.err.contains(said), "{said} in {}", told.err);
        }
        assert!(cluster.in_state("PENDING").is_empty(), "nothing stays in the queue");
    };
    refused("partition = \"nowhere\"", 3, &["no node", "[slurm]"]);
    refused("memory_mib = 9999999", 3, &["no node", "not available"]);
    refused("options = [\"--array=1-9\"]", 2, &["slurm.options", "--array=1-9"]);
    refused("gpu_type = \"h100\"", 3, &["no node"]);
    // A node that lacks a program.
    say(&study, "exclude = \"n[2-3]\"");
    let python = run(&cluster, &study, &["pr21", "--python", "/nowhere/python3"]).expect(&[3]);
    assert!(python.err.contains("n1 has no /nowhere/python3"), "{}", python.err);

    // A run with a GPU goes where there is one; the other side failed and is not made again.
    say(&study, "gpu_type = \"a100\"");
    run(&cluster, &study, &["pr21", "--only", "corrected"]).expect(&[1]);
    let of_bug = &jobs(&study)["pr21"];
    let on_gpu = of_bug.iter().find(|job| job["state"] == "Completed").unwrap();
    assert_eq!(on_gpu["node"], "n3");
    assert!(on_gpu["sbatch"].as_array().unwrap().contains(&json!("--gres=gpu:a100:1")));

    // Where there is no Slurm, and where the study says nothing of it.
    let mut nowhere = on(&cluster, &study, &["pr21", "--retry-failed"]);
    let empty = tempfile::tempdir().unwrap();
    let told = Told::of(nowhere.env("PATH", empty.path()).output().unwrap()).expect(&[3]);
    assert!(told.err.contains("scontrol") || told.err.contains("squeue"), "{}", told.err);
    assert!(told.err.contains("--executor docker"), "{}", told.err);
    let plain = TestStudy::tinynn(&[]);
    let told = run(&cluster, &plain, &[]);
    assert_eq!(told.code, 2, "{}", told.err);
}

#[test]
fn killed_or_interrupted_on_a_cluster_nothing_is_doubled_and_nothing_stays() {
    let test = "killed_or_interrupted_on_a_cluster_nothing_is_doubled_and_nothing_stays";
    if !docker(test) {
        return;
    }
    let Some(mut cluster) = Cluster::start(test, &[("n1", "x")]) else { return };
    let study = built(2, &["pr21"], "setup = [\"sleep 4\"]");
    let signal = |child: &Child, signal: &str| {
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    };

    // Killed, it leaves its jobs; two run and two wait.
    let mut killed = begin(&cluster, &study, &["pr21"], 2);
    signal(&killed, "-KILL");
    killed.wait().unwrap();
    assert_eq!(active(&cluster), 4, "{:?}", cluster.jobs());
    let journal = std::fs::read_to_string(study.path().join("slurm/jobs.json")).unwrap();
    let number = cluster.jobs()[0][0].split('_').next().unwrap().to_owned();
    assert!(journal.contains(&format!("\"job\": {number}")), "{journal}");

    // The next call cancels them, is interrupted, and leaves none.
    let mut child = begin(&cluster, &study, &["pr21"], 2);
    let first = |job: &Vec<String>| job[0].split('_').next() == Some(number.as_str());
    until(15, || {
        let gone = cluster.jobs().iter().filter(|job| first(job)).all(|job| job[2] == "CANCELLED");
        gone && active(&cluster) == 4
    })
    .unwrap_or_else(|| panic!("{:?}\n{}", cluster.jobs(), cluster.logs()));
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("4 jobs of a call that was killed were cancelled"), "{said}");
    until(10, || active(&cluster) == 0).unwrap_or_else(|| panic!("{:?}", cluster.jobs()));

    // Meanwhile the cluster's controller is away.
    let child = begin(&cluster, &study, &["pr21"], 2);
    cluster.restart_controller();
    let summary = end(child).expect(&[0]).json();
    assert_eq!(summary["made"], 4);
    for evaluation in ["buggy", "corrected"] {
        assert_eq!(side(&summary, evaluation)["finished"], 2, "{summary}");
    }
    assert_eq!(cluster.in_state("COMPLETED").len(), 4, "each run was made once");
    assert_eq!(run(&cluster, &study, &["pr21"]).expect(&[0]).json()["made"], 0);
}

/// Two looks at most; pr16 differs in every run, pr40 in none.
const DESIGN: &str = "\n[run.design]\nlooks = [5, 7]\nidentical_after = 2\nspending = \"pocock\"\n\
                      outcomes = [\"accuracy\"]\nfamily = 2\n";

#[test]
fn a_sequential_design_stops_on_a_cluster_where_it_stops_on_this_machine() {
    let test = "a_sequential_design_stops_on_a_cluster_where_it_stops_on_this_machine";
    if !docker(test) {
        return;
    }
    let Some(cluster) = Cluster::start(test, &[("n1", "old"), ("n2", "new")]) else { return };
    let bugs = ["pr16", "pr40"];
    let study = built(7, &bugs, "");
    let file = study.path().join("study.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let (text, slurm) = text.split_once("\n[slurm]\n").unwrap();
    std::fs::write(&file, format!("{text}{DESIGN}\n[slurm]\n{slurm}")).unwrap();
    let local = study.copied();
    local.call(&["run", "--executor", "local"]).expect(&[0]);
    let looks = |study: &TestStudy| {
        std::fs::read_to_string(study.path().join("design/looks.jsonl")).unwrap_or_default()
    };

    // Killed after its first look, and called again.
    let mut killed = on(&cluster, &study, &[]).stdout(Stdio::null()).spawn().unwrap();
    until(120, || !looks(&study).is_empty())
        .unwrap_or_else(|| panic!("{:?}\n{}", cluster.jobs(), cluster.logs()));
    killed.kill().unwrap();
    killed.wait().unwrap();
    let summary = run(&cluster, &study, &[]).expect(&[0]).json();
    for (bug, runs) in [("pr16", 5), ("pr40", 2)] {
        let sides = summary["sides"].as_array().unwrap();
        let its = sides.iter().filter(|side| side["bug"] == bug);
        let finished: Vec<&Value> = its.map(|side| &side["finished"]).collect();
        assert_eq!(finished, [runs, runs], "{summary}");
    }
    assert_eq!(looks(&study), looks(&local), "the same looks, bit for bit");
    assert_eq!(study.results(), local.results());
    for (bug, jobs) in jobs(&study) {
        let classes: BTreeSet<String> = jobs.iter().map(|job| job["class"].to_string()).collect();
        assert_eq!(classes.len(), 1, "{bug}, over all looks");
    }
    assert_eq!(active(&cluster), 0);
    assert_eq!(run(&cluster, &study, &[]).expect(&[0]).json()["made"], 0);
}
