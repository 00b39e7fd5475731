//! A cluster whose commands are scripts: what a real one shows only on bad days.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containers::Cancel;

use super::*;
use crate::commands::Commands;
use crate::work::example;

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

    fn work(&self, run: u32) -> Work {
        let folder = self.study().join(format!("runs/pr1-buggy/{run:04}"));
        std::fs::create_dir_all(&folder).unwrap();
        Work { folder, ..example() }
    }

    async fn start(&self) -> Result<(Cluster, usize), SlurmError> {
        let (cluster, found) = self.start_keeping(|_| false).await?;
        Ok((cluster, found.cancelled))
    }

    async fn start_keeping(
        &self,
        keep: impl Fn(&Path) -> bool,
    ) -> Result<(Cluster, Found), SlurmError> {
        let policy = serde_json::json!({"container": "none", "poll_seconds": 1});
        let setup = Setup {
            stage: Stage::Run,
            policy: serde_json::from_value(policy).unwrap(),
            study: self.study(),
            folder: self.study().join("slurm"),
            root: self.study().join("runs"),
            name: "reproduceml-test".into(),
            begun: BTreeSet::new(),
        };
        let commands = Commands::within(self.folder.path().to_owned());
        Cluster::start_with(setup, commands, &self.work(0), keep).await
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
    }

    /// Hands these runs over together; how each ended.
    async fn make(&self, cluster: &Cluster, runs: u32) -> Vec<Result<Over, SlurmError>> {
        let one = |run| async move { cluster.carry_out(&self.work(run), &Cancel::new()).await };
        futures_util::future::join_all((0..runs).map(one)).await
    }

    /// Hands these runs over and goes away once the cluster has their jobs.
    async fn begin(&self, cluster: &Cluster, runs: u32) {
        let handed = async {
            while !self.read("study/slurm/jobs.json").contains("\"job\": 1")
                && !self.read("study/slurm/jobs.json").contains("\"job\": 2")
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            overs = self.make(cluster, runs) => panic!("they run: {overs:?}"),
            done = tokio::time::timeout(Duration::from_secs(60), handed) => done.unwrap(),
        }
    }

    /// Waits until a file has so many lines.
    async fn lines(&self, name: &str, lines: usize) {
        let there = async {
            while self.read(name).lines().count() < lines {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), there).await.unwrap();
    }
}

fn ends(overs: Vec<Result<Over, SlurmError>>) -> Vec<End> {
    overs.into_iter().map(|over| over.unwrap().end).collect()
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
    assert_eq!(ends(fake.make(&launcher, 3).await), [End::Completed; 3]);
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
    assert_eq!(ends(fake.make(&launcher, 1).await), [End::Completed]);
    assert_eq!(fake.read("submitted").lines().count(), 1);
}

#[tokio::test]
async fn a_refusal_for_good_is_told_of_every_run() {
    let never = "case \"$*\" in *--test-only*) exit 0;; esac
echo 'sbatch: error: Batch job submission failed: Invalid account' >&2; exit 1";
    let fake = Fake::new(&[("sbatch", never)]);
    let (launcher, _) = fake.start().await.unwrap();
    let error = launcher.carry_out(&fake.work(0), &Cancel::new()).await.unwrap_err();
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
        let error = launcher.carry_out(&fake.work(0), &Cancel::new()).await.unwrap_err();
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
    assert_eq!(ends(exits), [End::Forgotten]);

    let knows = "echo '1|OUT_OF_MEMORY|0:125|n1'; echo '1.batch|OUT_OF_MEMORY|0:125|n1'";
    let fake = Fake::new(&[("sbatch", &forgets), ("sacct", knows)]);
    let (launcher, _) = fake.start().await.unwrap();
    let exits = fake.make(&launcher, 1).await;
    assert_eq!(ends(exits), [End::OutOfMemory]);
}

#[tokio::test]
async fn tasks_that_were_cancelled_before_they_began_are_told_from_lost_ones() {
    // Slurm keeps one record for all of them, without their numbers.
    let cancelled = SBATCH.replace("line ${n}_0; line ${n}_1", "STATE=CANCELLED; line $n");
    let fake = Fake::new(&[("sbatch", &cancelled)]);
    let (launcher, _) = fake.start().await.unwrap();
    let exits = fake.make(&launcher, 2).await;
    assert_eq!(ends(exits), [End::Cancelled; 2]);
}

#[tokio::test]
async fn what_is_left_in_the_queue_is_cancelled_before_and_after() {
    let runs = SBATCH.replace("line() {", "STATE=RUNNING\nline() {");
    let gone = "echo \"$*\" >>$HERE/cancelled; rm -f $HERE/queue";
    let fake = Fake::new(&[("sbatch", &runs), ("scancel", gone)]);
    let (launcher, _) = fake.start().await.unwrap();
    fake.begin(&launcher, 2).await;
    assert_eq!(secrets(&fake.study()), 2);
    launcher.forget();
    assert!(fake.read("study/slurm/jobs.json").contains("\"job\": 1"));

    let (launcher, left) = fake.start().await.unwrap();
    assert_eq!((left, secrets(&fake.study())), (2, 0));
    assert_eq!(fake.read("cancelled"), "--quiet 1_0 1_1\n");
    fake.begin(&launcher, 1).await;
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

#[tokio::test]
async fn jobs_of_a_killed_call_that_are_kept_are_followed_to_their_end() {
    // One runs until a file says that it is over.
    let runs = SBATCH.replace("line() {", "STATE=RUNNING\nline() {");
    let until = "echo look >>$HERE/looks\n\
                 [ ! -e $HERE/over ] || sed -i 's/RUNNING  /COMPLETED/' $HERE/queue\n\
                 cat $HERE/queue 2>/dev/null; true";
    let fake = Fake::new(&[("sbatch", &runs), ("squeue", until)]);
    let (cluster, _) = fake.start().await.unwrap();
    fake.begin(&cluster, 2).await;
    cluster.forget();

    let (cluster, found) = fake.start_keeping(|_| true).await.unwrap();
    assert_eq!(found, Found { cancelled: 0, kept: 2 });
    let cancel = Cancel::new();
    let looks = fake.read("looks").lines().count();
    let second = fake.work(1);
    let later = async {
        // The queue is looked at while nobody has asked for the first one.
        fake.lines("looks", looks + 2).await;
        std::fs::write(fake.folder.path().join("over"), "").unwrap();
    };
    let (second, ()) = futures_util::future::join(cluster.carry_out(&second, &cancel), later).await;
    let first = cluster.carry_out(&fake.work(0), &cancel).await;
    assert_eq!(ends(vec![first, second]), [End::Completed; 2]);
    assert_eq!(fake.read("submitted").lines().count(), 1, "nothing is handed over again");
    assert_eq!((fake.read("cancelled").as_str(), secrets(&fake.study())), ("", 0));
    let record = fake.read("study/runs/pr1-buggy/0001/job.json");
    assert!(record.contains("Completed") && record.contains("--ntasks=1"), "{record}");
}
