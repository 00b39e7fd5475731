//! What a run's job is told, and what its end is taken for.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use slurm::JobId;
use study::Ending;

use super::client::environment;
use super::*;
use crate::launch::example;

fn setup(policy: serde_json::Value, study: &Path) -> SlurmSetup {
    SlurmSetup {
        policy: serde_json::from_value(policy).unwrap(),
        study: study.to_owned(),
        name: "reproduceml-test".into(),
        python: "python3".into(),
        device: "cpu".into(),
        begun: BTreeSet::new(),
        server: None,
    }
}

#[test]
fn each_end_is_what_it_would_be_on_one_machine() {
    use Ending as E;
    let over = |end, code, status| Over {
        job: JobId { job: 5, task: Some(0) },
        end,
        node: "n1".into(),
        reason: String::new(),
        code,
        status,
        seconds: 1.0,
        out: PathBuf::new(),
    };
    for (end, code, status, ending) in [
        (End::Completed, None, Some(0), None),
        (End::Completed, None, None, None),
        (End::Failed, Some((1, 0)), Some(1), Some(E::Exit)),
        (End::Failed, Some((3, 0)), None, Some(E::ServerLost)),
        (End::Failed, Some((139, 0)), None, Some(E::Crash)),
        (End::Failed, None, Some(137), Some(E::Killed)),
        (End::Failed, Some((0, 9)), None, Some(E::Killed)),
        (End::Failed, Some((98, 0)), None, Some(E::Cancelled)),
        (End::Cancelled, Some((0, 15)), None, Some(E::Cancelled)),
        (End::TimedOut, Some((0, 15)), None, Some(E::Timeout)),
        (End::Preempted, Some((0, 15)), None, Some(E::Preempted)),
        (End::NodeFailed, Some((0, 1)), None, Some(E::NodeLost)),
        (End::OutOfMemory, Some((0, 125)), Some(137), Some(E::OutOfMemory)),
        (End::Forgotten, None, None, Some(E::NodeLost)),
    ] {
        let exit = exit(&over(end, code, status), String::new());
        assert_eq!(exit.ending(), ending, "{end:?} {code:?} {status:?}");
    }
}

#[test]
fn nodes_are_told_the_name_by_which_they_reach_the_server() {
    assert_eq!(reached_as("tls:0.0.0.0:4747", Some("login1")), "tls:login1:4747");
    assert_eq!(reached_as("tcp:[::]:1", Some("[fe80::1]")), "tcp:[fe80::1]:1");
    assert_eq!(reached_as("tcp:127.0.0.1:1", None), "tcp:127.0.0.1:1");
    assert_eq!(reached_as("unix:/a:b", Some("x")), "unix:/a:b");
}

#[test]
fn scripts_hold_no_secret_and_are_read_by_a_shell() {
    for container in ["none", "docker", "apptainer"] {
        for gpus in [0, 1] {
            let study = Path::new("/study's");
            let policy = serde_json::json!({"container": container, "gpus": gpus});
            let mut launch = example(60);
            launch.ticket = "rml1.secret".into();
            launch.env.insert("REPRODUCEML_TOKEN".into(), "another secret".into());
            launch.cache = Some("/study's/cache".into());
            let script = setup(policy, study).preview(&launch).script;
            assert!(!script.contains("secret"), "{script}");
            let read = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
            assert!(read.status.success(), "{}\n{script}", String::from_utf8_lossy(&read.stderr));
            if container != "none" {
                assert!(script.contains("REPRODUCEML_TOKEN"), "by its name: {script}");
                assert_eq!(gpus == 1, script.contains("--nv") || script.contains("--gpus"));
            }
        }
    }
}

/// A study whose nodes have the program `name`, which does what `does` says; carries a run's job
/// out there `times` times, in which Slurm says where its GPUs are, and gives the job's script's
/// last status and what the run said.
fn carry_out(
    policy: serde_json::Value,
    (name, does): (&str, &str),
    times: u32,
) -> (tempfile::TempDir, Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let study = folder.path();
    let run = study.join("runs/x/0000");
    std::fs::create_dir_all(&run).unwrap();
    std::fs::create_dir_all(study.join("cache/images")).unwrap();
    let program = study.join(name);
    std::fs::write(&program, format!("#!/bin/sh\n{does}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let launch = Launch {
        artifact: study.to_owned(),
        client: study.to_owned(),
        cache: Some(study.to_owned()),
        folder: run.clone(),
        ..example(60)
    };
    let setup = SlurmSetup { python: name.to_owned(), ..setup(policy, study) };
    let script = setup.preview(&launch).script;
    let path = format!("{}:{}", study.display(), std::env::var("PATH").unwrap());
    let mut code = None;
    for _ in 0..times {
        let own = environment(&launch, "tcp:h:1", setup.archive(&launch.image).as_deref());
        let lines: Vec<String> =
            own.iter().map(|(name, value)| format!("{name}={}\n", slurm::quote(value))).collect();
        std::fs::write(run.join("job-MARK.env"), lines.concat()).unwrap();
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).env("PATH", &path).current_dir(study);
        bash.env("SLURM_JOB_GPUS", "2,3").env("CUDA_VISIBLE_DEVICES", "0,1");
        let ended = bash.status();
        code = ended.unwrap().code();
    }
    let said = std::fs::read_to_string(run.join("job-MARK.out")).unwrap();
    (folder, code, said)
}

#[test]
fn the_client_is_told_what_to_do() {
    let does = "echo $REPRODUCEML_SERVER $REPRODUCEML_TICKET $*; exit 3";
    let policy = serde_json::json!({"container": "none"});
    let (_folder, code, said) = carry_out(policy, ("python-of-a-test", does), 1);
    assert_eq!((code, said.as_str()), (Some(3), "tcp:h:1 t -m reproduceml_client\n"));
}

#[test]
fn apptainer_makes_its_image_once_and_is_told_what_docker_is() {
    let does = "case $1 in build) echo \"$@\" >>made; touch \"$2\";; \
                exec) echo \"$@\"; echo $APPTAINERENV_REPRODUCEML_TICKET; exit 4;; esac";
    let policy = serde_json::json!({"container": "apptainer"});
    let (folder, code, said) = carry_out(policy, ("apptainer", does), 2);
    assert_eq!(code, Some(4), "the client's status");
    let made = std::fs::read_to_string(folder.path().join("made")).unwrap();
    let archive = study::image_archive(folder.path(), "image");
    assert_eq!(made.lines().count(), 1, "{made}");
    assert!(made.contains(&format!("docker-archive:{}", archive.display())), "{made}");
    for wanted in
        [":/client:ro", ":/artifact:ro", ":/cache", ".sif python3 -m reproduceml_client\nt\n"]
    {
        assert!(said.contains(wanted), "{wanted} in {said}");
    }
}

#[test]
fn a_container_is_given_the_gpus_of_its_job_and_no_others() {
    let with = |container: &str| {
        serde_json::json!({"container": container, "gpu_type": "a100",
                                                    "gpus": 2})
    };
    // Docker counts all GPUs of the node, Slurm's variable for programs those that the job sees.
    let does = "case $1 in run) echo \"$@\";; esac";
    let (_folder, _, said) = carry_out(with("docker"), ("docker", does), 1);
    assert!(said.contains("--gpus \"device=2,3\" "), "{said}");
    assert!(!said.contains("CUDA_VISIBLE_DEVICES"), "in the container they begin with 0: {said}");
    let does = "case $1 in build) touch \"$2\";; \
                exec) echo \"$@\"; echo GPUS $APPTAINERENV_CUDA_VISIBLE_DEVICES;; esac";
    let (_folder, _, said) = carry_out(with("apptainer"), ("apptainer", does), 1);
    assert!(said.contains(" --nv ") && said.contains("GPUS 0,1\n"), "{said}");
    // A run without GPUs is told of none.
    let none = serde_json::json!({"container": "apptainer"});
    let (_folder, _, said) = carry_out(none, ("apptainer", does), 1);
    assert!(!said.contains(" --nv ") && said.contains("GPUS\n"), "{said}");
}

#[test]
fn the_submitted_job_asks_for_gpus_of_its_type() {
    let policy = serde_json::json!({"container": "docker", "gpu_type": "a100", "partition": "gpu"});
    let gpus = |policy: serde_json::Value, device: &str| {
        let setup = SlurmSetup { device: device.into(), ..setup(policy, Path::new("/study")) };
        let options = setup.preview(&example(90)).options;
        options.into_iter().filter(|option| option.contains("gpu")).collect::<Vec<_>>()
    };
    assert_eq!(gpus(policy, "cuda"), ["--partition=gpu", "--gres=gpu:a100:1"]);
    let plain = || serde_json::json!({"container": "docker"});
    assert_eq!(gpus(plain(), "cuda"), ["--gres=gpu:1"]);
    assert!(gpus(plain(), "cpu").is_empty());
    let four = serde_json::json!({"container": "docker", "gpus": 4, "gpu_type": "h100"});
    assert_eq!(gpus(four, "cpu"), ["--gres=gpu:h100:4"], "what is asked for is had");
}
