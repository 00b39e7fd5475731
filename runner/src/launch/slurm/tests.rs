//! The launcher against commands that are scripts: what a real cluster shows only on bad days.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::launch::example;

/// A folder with a study and commands that do what a test says.
struct Fake {
    folder: tempfile::TempDir,
}

/// One node; arrays of at most two tasks.
const SCONTROL: &str = "case \"$2\" in config) echo 'MaxArraySize            = 3';; \
                        *) echo 'NodeName=n1 Arch=x86_64 Partitions=main';; esac";
/// Every job is in the queue as the file says that `sbatch` adds to.
const SQUEUE: &str = "cat $HERE/queue 2>/dev/null; true";
/// Counts, notes what it was told, and enters as many tasks as there are, with a state.
const SBATCH: &str = "case \"$*\" in *--test-only*) exit 0;; esac
echo \"$*\" >>$HERE/submitted
n=$(wc -l <$HERE/submitted); echo $n
line() { printf '%-48s%-24s%-16s%-256s%-256s\\n' \"$1\" \"$STATE\" 0 n1 None >>$HERE/queue; }
case \"$*\" in *--array=0-*) line ${n}_0; line ${n}_1;; *) line $n;; esac";

impl Fake {
    fn new(commands: &[(&str, &str)]) -> Self {
        let fake = Self { folder: tempfile::tempdir().unwrap() };
        let usual = [
            ("scontrol", SCONTROL),
            ("squeue", SQUEUE),
            ("sbatch", SBATCH),
            ("scancel", "echo \"$*\" >>$HERE/cancelled"),
            ("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1"),
        ];
        let all: BTreeMap<&str, &str> = usual.into_iter().chain(commands.iter().copied()).collect();
        for (name, text) in all {
            let path = fake.folder.path().join(name);
            let here = fake.folder.path().display();
            let script = format!("#!/bin/bash\nHERE={here}\nSTATE=${{STATE:-COMPLETED}}\n{text}\n");
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        fake
    }

    fn study(&self) -> PathBuf {
        self.folder.path().join("study")
    }

    fn launch(&self, run: u32) -> Launch {
        let folder = self.study().join(format!("runs/pr1-buggy/{run:04}"));
        std::fs::create_dir_all(&folder).unwrap();
        Launch { folder, ticket: "secret".into(), ..example(60) }
    }

    async fn start(&self) -> Result<(SlurmLauncher, usize), SlurmError> {
        let policy = serde_json::json!({"container": "none", "poll_seconds": 1});
        let setup = SlurmSetup {
            policy: serde_json::from_value(policy).unwrap(),
            study: self.study(),
            name: "reproduceml-test".into(),
            python: "python3".into(),
            device: "cpu".into(),
            begun: BTreeSet::new(),
            server: None,
        };
        let commands = Commands::within(self.folder.path().to_owned());
        SlurmLauncher::start_with(setup, commands, &self.launch(0)).await
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Hands these runs over together; how each ended.
    async fn make(&self, launcher: &SlurmLauncher, runs: u32) -> Vec<Result<Exit, LaunchError>> {
        let one = |run| async move {
            let mut log = Vec::new();
            launcher.launch(&self.launch(run), &mut log, &Cancel::new()).await
        };
        futures_util::future::join_all((0..runs).map(one)).await
    }
}

fn endings(exits: Vec<Result<Exit, LaunchError>>) -> Vec<Option<study::Ending>> {
    exits.into_iter().map(|exit| exit.unwrap().ending()).collect()
}

fn secrets(study: &Path) -> usize {
    let runs = std::fs::read_dir(study.join("runs/pr1-buggy")).unwrap();
    let files = runs.flat_map(|run| std::fs::read_dir(run.unwrap().path()).unwrap());
    files.filter(|file| file.as_ref().unwrap().path().extension() == Some("env".as_ref())).count()
}

#[tokio::test]
async fn arrays_are_no_longer_than_the_cluster_allows_and_secrets_go() {
    let fake = Fake::new(&[]);
    let (launcher, left) = fake.start().await.unwrap();
    assert_eq!(left, 0);
    assert_eq!(endings(fake.make(&launcher, 3).await), [None, None, None]);
    let submitted = fake.read("submitted");
    assert_eq!(submitted.lines().count(), 2, "{submitted}");
    assert!(submitted.lines().next().unwrap().contains("--array=0-1"), "{submitted}");
    assert!(!submitted.contains("secret"), "{submitted}");
    assert_eq!(secrets(&fake.study()), 0);
    assert_eq!(fake.read("study/slurm/jobs.json"), "{}");
    drop(launcher);
    assert_eq!(fake.read("cancelled"), "", "there is nothing to cancel");
}

#[tokio::test]
async fn a_full_queue_is_waited_for() {
    let full = format!(
        "case \"$*\" in *--test-only*) exit 0;; esac
if ! [ -e $HERE/once ]; then touch $HERE/once
    echo 'sbatch: error: Batch job submission failed: QOSMaxSubmitJobPerUserLimit' >&2; exit 1; fi
{SBATCH}"
    );
    let fake = Fake::new(&[("sbatch", &full)]);
    let (launcher, _) = fake.start().await.unwrap();
    assert_eq!(endings(fake.make(&launcher, 1).await), [None]);
    assert_eq!(fake.read("submitted").lines().count(), 1);
}

#[tokio::test]
async fn a_refusal_for_good_is_told_of_every_run() {
    let never = "case \"$*\" in *--test-only*) exit 0;; esac
echo 'sbatch: error: Batch job submission failed: Invalid account' >&2; exit 1";
    let fake = Fake::new(&[("sbatch", never)]);
    let (launcher, _) = fake.start().await.unwrap();
    let run = fake.launch(0);
    let error = launcher.launch(&run, &mut Vec::new(), &Cancel::new()).await.unwrap_err();
    assert!(error.to_string().contains("Invalid account"), "{error}");
    assert_eq!(secrets(&fake.study()), 0);

    let nowhere = Fake::new(&[("sbatch", "echo 'sbatch: error: no such partition' >&2; exit 1")]);
    let error = nowhere.start().await.err().unwrap().to_string();
    assert!(error.contains("no such partition") && error.contains("[slurm]"), "{error}");
}

#[tokio::test]
async fn what_a_node_lacks_ends_the_call() {
    for (status, said) in
        [(97, "file system that the nodes share"), (96, "install it on the nodes")]
    {
        // As `wait` gives it, of a script that could write nothing.
        let code = (status << 8).to_string();
        let fails = SBATCH.replace("\"$STATE\" 0 n1", &format!("FAILED {code} n1"));
        let fake = Fake::new(&[("sbatch", &fails)]);
        let (launcher, _) = fake.start().await.unwrap();
        let run = fake.launch(0);
        let error = launcher.launch(&run, &mut Vec::new(), &Cancel::new()).await.unwrap_err();
        let error = error.to_string();
        assert!(error.contains(said) && error.contains("n1"), "{error}");
    }
}

#[tokio::test]
async fn jobs_that_the_queue_has_forgotten_are_looked_up_or_start_over() {
    let forgets = SBATCH.replace(">>$HERE/queue", ">/dev/null");
    let fake = Fake::new(&[("sbatch", &forgets)]);
    let (launcher, _) = fake.start().await.unwrap();
    let exits = fake.make(&launcher, 1).await;
    assert_eq!(endings(exits), [Some(study::Ending::NodeLost)]);

    let knows = "echo '1|OUT_OF_MEMORY|0:125|n1'; echo '1.batch|OUT_OF_MEMORY|0:125|n1'";
    let fake = Fake::new(&[("sbatch", &forgets), ("sacct", knows)]);
    let (launcher, _) = fake.start().await.unwrap();
    let exits = fake.make(&launcher, 1).await;
    assert_eq!(endings(exits), [Some(study::Ending::OutOfMemory)]);
}

#[tokio::test]
async fn tasks_that_were_cancelled_before_they_began_are_told_from_lost_ones() {
    // Slurm keeps one record for all of them, without their numbers.
    let cancelled = SBATCH.replace("line ${n}_0; line ${n}_1", "STATE=CANCELLED; line $n");
    let fake = Fake::new(&[("sbatch", &cancelled)]);
    let (launcher, _) = fake.start().await.unwrap();
    let exits = fake.make(&launcher, 2).await;
    assert_eq!(endings(exits), [Some(study::Ending::Cancelled); 2]);
}

#[tokio::test]
async fn what_is_left_in_the_queue_is_cancelled_before_and_after() {
    let runs = SBATCH.replace("line() {", "STATE=RUNNING\nline() {");
    let gone = "echo \"$*\" >>$HERE/cancelled; rm -f $HERE/queue";
    let fake = Fake::new(&[("sbatch", &runs), ("scancel", gone)]);
    let (launcher, _) = fake.start().await.unwrap();
    let cut = tokio::time::timeout(Duration::from_secs(2), fake.make(&launcher, 2)).await;
    assert!(cut.is_err(), "they run");
    assert_eq!(secrets(&fake.study()), 2);
    // As if this process were killed here: nothing of it is dropped.
    launcher.dispatcher.abort();
    std::mem::forget(launcher);
    assert!(fake.read("study/slurm/jobs.json").contains("\"job\": 1"));

    let (launcher, left) = fake.start().await.unwrap();
    assert_eq!((left, secrets(&fake.study())), (2, 0));
    assert_eq!(fake.read("cancelled"), "--quiet 1_0 1_1\n");
    let cut = tokio::time::timeout(Duration::from_secs(2), fake.make(&launcher, 1)).await;
    assert!(cut.is_err(), "it runs");
    drop(launcher);
    assert_eq!(secrets(&fake.study()), 0);
    let last = fake.read("cancelled").lines().last().unwrap().to_owned();
    assert!(last.contains("--name=reproduceml-test"), "{last}");
}

#[tokio::test]
async fn a_job_that_nobody_asked_for_is_cancelled() {
    let twice =
        SBATCH.replace("*) line $n;;", "*) line $n; STATE=PENDING; line 99; STATE=RUNNING;;");
    let fake = Fake::new(&[("sbatch", &twice)]);
    let (launcher, _) = fake.start().await.unwrap();
    fake.make(&launcher, 1).await;
    assert_eq!(fake.read("cancelled"), "--quiet 99\n");
}
