//! What the program says and how it ends, without Docker.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{TestStudy, call, program, root};

#[test]
fn help_names_every_command_and_exit_code() {
    let help = call(&["--help"]).expect(&[0]).out;
    for word in ["init", "doctor", "mine", "build", "run", "stats", "status", "130"] {
        assert!(help.contains(word), "--help does not name {word}:\n{help}");
    }
    for command in ["init", "mine", "label", "build", "run", "stats", "status", "doctor"] {
        assert!(!call(&[command, "--help"]).expect(&[0]).out.is_empty());
    }
}

#[test]
fn init_makes_a_study_that_status_reads() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new");
    let path = dir.to_str().unwrap();
    call(&["init", path, "--framework", "pytorch"]).expect(&[0]);
    let told = call(&["--study", path, "status", "--format", "json"]).expect(&[0]);
    let funnel = told.json();
    for step in ["mined", "resolved", "filtered", "selected", "built", "ran", "analysed"] {
        assert_eq!(funnel[step], 0, "{step}");
    }
    let again = call(&["init", path, "--framework", "pytorch"]).expect(&[2]);
    assert!(again.err.contains("not empty"), "{}", again.err);
    assert!(again.out.is_empty(), "nothing but results on standard output");
}

#[test]
fn an_unknown_framework_needs_its_repository() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new");
    let path = dir.to_str().unwrap();
    let told = call(&["init", path, "--framework", "other"]).expect(&[2]);
    assert!(told.err.contains("--repository"), "{}", told.err);
    assert!(!dir.exists(), "nothing is left of it");
    call(&["init", path, "--framework", "other", "--repository", "me/other"]).expect(&[0]);
    assert!(std::fs::read_to_string(dir.join("study.toml")).unwrap().contains("me/other"));
}

#[test]
fn a_misspelt_key_is_named_with_file_and_line() {
    let study = TestStudy::from_definition("quick-tinynn", &[("epochs = 3", "epoch = 3")]);
    for command in ["status", "mine", "build", "run", "stats"] {
        let told = study.call(&[command]).expect(&[2]);
        assert!(told.err.contains("study.toml"), "{}", told.err);
        assert!(told.err.contains("unknown field `epoch`"), "{}", told.err);
        assert!(told.err.contains("line"), "{}", told.err);
    }
}

#[test]
fn a_missing_folder_says_what_to_do() {
    let told = call(&["--study", "/nonexistent", "status"]).expect(&[2]);
    assert!(told.err.contains("reproduceml init"), "{}", told.err);
    let folder = tempfile::tempdir().unwrap();
    let output = program(&["status"]).current_dir(folder.path()).output().unwrap();
    let told = common::Told::of(output).expect(&[2]);
    assert!(told.err.contains("--study DIR"), "{}", told.err);
}

#[test]
fn a_stage_before_its_time_names_the_one_before() {
    let study = TestStudy::from_definition("quick-tinynn", &[]);
    assert!(study.call(&["run"]).expect(&[2]).err.contains("reproduceml build"));
    assert!(study.call(&["stats"]).expect(&[2]).err.contains("reproduceml run"));
}

#[test]
fn no_docker_daemon_is_exit_code_3() {
    let study = TestStudy::from_definition("quick-pytorch", &[]);
    study.call(&["mine", "--offline"]).expect(&[0]);
    let mut command = study.command(&["build"]);
    let output = command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").output().unwrap();
    let told = common::Told::of(output).expect(&[3]);
    assert!(told.err.contains("Docker"), "{}", told.err);
    assert!(told.err.contains("systemctl start docker"), "what to do: {}", told.err);
}

#[test]
fn a_study_in_use_is_refused() {
    let study = TestStudy::from_definition("quick-pytorch", &[]);
    let lock = std::fs::File::create(study.path().join(".lock")).unwrap();
    std::fs::write(study.path().join(".lock"), "4711\n").unwrap();
    lock.lock().unwrap();
    for command in [&["mine", "--offline"][..], &["build"], &["run"]] {
        let told = study.call(command).expect(&[2]);
        assert!(told.err.contains("4711"), "the holder is named: {}", told.err);
    }
    drop(lock);
    study.call(&["mine", "--offline"]).expect(&[0]);
}

#[test]
fn stats_needs_no_study_for_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("results.csv");
    let mut text = String::from("bug,evaluation,run,seed,accuracy,precision,recall,f1\n");
    for run in 0..10 {
        for (side, base) in [("buggy", 0.1), ("corrected", 0.8)] {
            let value = base + f64::from(run) / 100.0;
            text += &format!("pr1,{side},{run},{run},{value},{value},{value},{value}\n");
        }
    }
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let told = call(&["stats", "--results", path, "--profile", "paper", "--format", "json"]);
    let analysis = told.expect(&[0]).json();
    assert_eq!(common::verdicts(&analysis)["pr1"], "different");
    assert_eq!(analysis["tests"].as_array().unwrap().len(), 4);

    // The choice of method is stated, and what cannot go together is refused.
    let with =
        |more: &[&str]| call(&[&["stats", "--results", path, "--format", "json"], more].concat());
    let told = with(&["--method", "asymptotic", "--no-continuity", "--alternative", "less"]);
    let one_sided = told.expect(&[0]).json();
    assert_eq!(one_sided["tests"][0]["method"], "asymptotic-uncorrected");
    assert_eq!(one_sided["options"]["alternative"], "less");
    let notes = one_sided["notes"].to_string();
    assert!(notes.contains("one-sided, for smaller values of the buggy side"), "{notes}");
    let told = with(&["--profile", "paper", "--method", "exact"]).expect(&[2]);
    assert!(told.err.contains("--profile paper is asymptotic"), "{}", told.err);
    let told = with(&["--unfelt", "fault-x"]).expect(&[2]);
    assert!(told.err.contains("--unfelt fault-x"), "{}", told.err);

    std::fs::write(&file, "bug,evaluation,run\npr1,fixed,0\n").unwrap();
    let told = call(&["stats", "--results", path]).expect(&[2]);
    assert!(told.err.contains("results.csv"), "{}", told.err);
    assert!(told.out.is_empty());
    call(&["stats", "--results", folder.path().to_str().unwrap()]).expect(&[2]);
    call(&["stats", "--results", "/nonexistent.csv"]).expect(&[2]);
}

#[test]
fn the_papers_table_is_reanalysed() {
    let text = call(&["stats", "paper", "--format", "json"]).expect(&[0]).out;
    assert!(text.contains("31433"), "{text}");
}

#[test]
fn every_definition_and_template_is_valid() {
    for entry in std::fs::read_dir(root().join("data/studies")).unwrap() {
        let dir = entry.unwrap().path();
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let study = TestStudy::from_definition(&name, &[]);
        study.call(&["status"]).expect(&[0]);
    }
}

#[test]
fn a_client_of_this_machine_is_not_started_in_a_container() {
    let study = TestStudy::from_definition("quick-pytorch", &[]);
    let told = study.call(&["run", "--client", "reproduceml-tch"]).expect(&[2]);
    assert!(told.err.contains("--executor local"), "{}", told.err);
    let told = study.call(&["run", "--client", "a", "--python", "b"]).expect(&[2]);
    assert!(told.err.contains("cannot be used with"), "{}", told.err);
}

#[test]
fn status_tells_people_what_the_next_stages_lack() {
    let study = TestStudy::from_definition("quick-tinynn", &[]);
    let told = study.call(&["status"]).expect(&[0]);
    let clone = told.err.lines().find(|line| line.starts_with("clone: ")).unwrap();
    assert!(clone.contains("upstream/tinynn is no folder; framework.clone"), "{clone}");
    // Who never called `nightly` is not asked why.
    assert!(!told.err.contains("nightly"), "{}", told.err);
    let told = study.call(&["--format", "json", "status"]).expect(&[0]);
    assert!(!told.err.contains("clone: "), "{}", told.err);
}
