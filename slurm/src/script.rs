//! The script of a job, its options, and the file of its secrets.
//!
//! The script is kept with the work and holds nothing that must not be known. What must not (a
//! ticket, a token) is in a file beside it that only its owner can read and that is removed when
//! the job is over: a job that begins after that finds nothing to do.

use std::collections::BTreeMap;
use std::path::Path;

use study::{SameHardware, SlurmPolicy};

use crate::job::script_status::{NO_PROGRAM, NOT_SHARED, WITHDRAWN};
use crate::work::{Setup, Work};

/// How jobs of one bug are kept together, for people who read a plan.
pub fn kept_together(policy: &SlurmPolicy) -> &'static str {
    match policy.same {
        SameHardware::Class => ", kept on nodes of one class for each bug",
        SameHardware::Node => ", kept on one node for each bug",
        SameHardware::Any => "",
    }
}

/// What the jobs of a batch have in common.
pub(crate) struct Batch<'a> {
    pub(crate) setup: &'a Setup,
    /// Makes the names of this batch's files its own.
    pub(crate) nonce: &'a str,
    /// What keeps the jobs on one kind of node.
    pub(crate) placement: &'a [String],
}

/// Names of files in the work's folder that belong to one job.
pub(crate) struct Names {
    /// The secrets.
    pub(crate) launch: String,
    /// What the work said.
    pub(crate) out: String,
    /// Its exit status.
    pub(crate) status: String,
}

impl Names {
    /// What stands before and after the mark in the name of the secrets.
    const LAUNCH: (&str, &str) = ("job-", ".env");

    pub(crate) fn of(nonce: &str) -> Self {
        let (before, after) = Self::LAUNCH;
        Self {
            launch: format!("{before}{nonce}{after}"),
            out: format!("job-{nonce}.out"),
            status: format!("job-{nonce}.status"),
        }
    }
}

/// Whether a job of a folder may still be asked for: the file with its secrets goes when the job is
/// over or taken back.
pub fn is_handed_over(folder: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    let (before, after) = Names::LAUNCH;
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        name.starts_with(before) && name.ends_with(after)
    })
}

impl Batch<'_> {
    /// The options of `sbatch`, but for the job's name. They are handed over on the command line,
    /// where they are stronger than the environment's.
    pub(crate) fn options(&self, work: &Work, tasks: usize) -> Vec<String> {
        let policy = &self.setup.policy;
        let minutes = policy.time_minutes.map_or(work.minutes, u64::from);
        let mut options = asked(policy, work.gpus, work.memory_mib);
        options.push(format!("--time={minutes}"));
        options.extend_from_slice(self.placement);
        options.extend_from_slice(&policy.options);
        options.extend(
            [
                // Who starts work again is this program.
                "--no-requeue",
                // Nothing of the submitting shell but these: it would be part of a run's manifest.
                "--export=HOME,PATH,USER",
                // The script writes to the work's folder, once it has seen it.
                "--output=/dev/null",
                "--error=/dev/null",
                "--chdir=/",
            ]
            .map(str::to_owned),
        );
        if tasks > 1 {
            options.push(format!("--array=0-{}", tasks - 1));
        }
        options
    }

    /// The script of an array whose tasks are told by the names of their folders.
    pub(crate) fn script(&self, tasks: &[String], work: &Work) -> String {
        let Setup { stage, study, root, policy, .. } = self.setup;
        let names = Names::of(self.nonce);
        let list: Vec<String> = tasks.iter().map(|task| quote(task)).collect();
        let mut setup = policy.setup.join("\n");
        if !setup.is_empty() {
            setup.push('\n');
        }
        let sees: Vec<String> = work.sees.iter().map(|name| format!("\"${name}\"")).collect();
        format!(
            r#"#!/bin/bash
# One task a {stage}; submitted by `reproduceml {stage} --executor slurm`. Exit statuses of this script's own:
# {NO_PROGRAM} a program is missing on the node, {NOT_SHARED} the node does not see a folder of the study,
# {WITHDRAWN} the {stage} was taken back before the job began.
tasks=({list})
here={root}/${{tasks[${{SLURM_ARRAY_TASK_ID:-0}}]}}
[ -d {study} ] || exit {NOT_SHARED}
# A file system that nodes share may show a new file late.
for _ in {{1..20}}; do [ -r "$here/{launch}" ] && break; sleep 1; done
[ -r "$here/{launch}" ] || exit {WITHDRAWN}
exec >>"$here/{out}" 2>&1 </dev/null
set -a
. "$here/{launch}" || exit {WITHDRAWN}
set +a
lacks() {{ echo "$SLURMD_NODENAME $2"; echo "$1" >"$here/{status}"; exit "$1"; }}
for folder in {sees}; do
    [ -e "$folder" ] || lacks {NOT_SHARED} "does not see $folder"
done
{setup}{lines}status=$?
echo "$status" >"$here/.{status}" && mv "$here/.{status}" "$here/{status}"
exit "$status"
"#,
            list = list.join(" "),
            root = quote(&root.to_string_lossy()),
            study = quote(&study.to_string_lossy()),
            launch = names.launch,
            out = names.out,
            status = names.status,
            sees = sees.join(" "),
            lines = work.lines,
        )
    }
}

/// The options of `sbatch` that say what a job needs of its node, but for its time: as the policy
/// has it, and `memory_mib` where that says nothing of memory.
pub fn asked(policy: &SlurmPolicy, gpus: u32, memory_mib: u32) -> Vec<String> {
    let mut options = vec![
        "--nodes=1".to_owned(),
        "--ntasks=1".to_owned(),
        format!("--cpus-per-task={}", policy.cpus),
        format!("--mem={}M", policy.memory_mib.unwrap_or(memory_mib)),
    ];
    let named = [
        ("partition", &policy.partition),
        ("account", &policy.account),
        ("qos", &policy.qos),
        ("constraint", &policy.constraint),
    ];
    for (name, value) in named {
        options.extend(value.iter().map(|value| format!("--{name}={value}")));
    }
    if gpus > 0 {
        let kind = policy.gpu_type.as_ref().map_or(String::new(), |kind| format!(":{kind}"));
        options.push(format!("--gres=gpu{kind}:{gpus}"));
    }
    options
}

/// A job as it would be submitted, for people to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// What `sbatch` would be told; the nodes that a bug's work is kept on are known only to the
    /// cluster.
    pub options: Vec<String>,
    /// The script.
    pub script: String,
}

/// The options and the script of a first job.
pub fn preview(setup: &Setup, work: &Work) -> Preview {
    let batch = Batch { setup, nonce: "MARK", placement: &[] };
    let task = below(&setup.root, &work.folder);
    Preview { options: batch.options(work, 1), script: batch.script(&[task], work) }
}

/// A folder as the script names it, below the folder of all.
pub(crate) fn below(root: &Path, folder: &Path) -> String {
    folder.strip_prefix(root).unwrap_or(folder).to_string_lossy().into_owned()
}

/// Variables as lines that a shell reads.
pub(crate) fn as_lines(environment: &BTreeMap<String, String>) -> String {
    environment.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect()
}

/// A word that a shell takes as it is.
pub fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::work::{Stage, example};

    fn policy(text: &str) -> SlurmPolicy {
        serde_json::from_value(serde_json::from_str(text).unwrap()).unwrap()
    }

    fn setup(study: &Path, text: &str) -> Setup {
        Setup {
            stage: Stage::Run,
            policy: policy(text),
            study: study.to_owned(),
            folder: study.join("slurm"),
            root: study.join("runs"),
            name: "test".into(),
            begun: Default::default(),
        }
    }

    #[test]
    fn what_a_study_says_becomes_options() {
        let setup = setup(
            "/s".as_ref(),
            r#"{"container": "none", "partition": "gpu", "account": "a", "gpu_type": "a100",
                "constraint": "x&y", "memory_mib": 7, "options": ["--exclusive"]}"#,
        );
        let placement = ["--exclude=n9".to_owned()];
        let work = Work { minutes: 2, gpus: 1, ..example() };
        let of =
            |placement, tasks| Batch { setup: &setup, nonce: "7", placement }.options(&work, tasks);
        let options = of(&placement, 3);
        for wanted in [
            "--partition=gpu",
            "--account=a",
            "--gres=gpu:a100:1",
            "--constraint=x&y",
            "--mem=7M",
            "--time=2",
            "--exclusive",
            "--exclude=n9",
            "--no-requeue",
            "--array=0-2",
        ] {
            assert!(options.iter().any(|option| option == wanted), "{wanted} in {options:?}");
        }
        let one = of(&[], 1);
        assert!(!one.iter().any(|option| option.starts_with("--array")), "{one:?}");
    }

    #[test]
    fn scripts_hold_no_secret_and_are_read_by_a_shell() {
        let setup = setup("/study's".as_ref(), r#"{"container": "none"}"#);
        let batch = Batch { setup: &setup, nonce: "7", placement: &[] };
        for work in [example(), Work { sees: &["A", "B"], ..example() }] {
            let script = batch.script(&["x/0000".into(), "y's/0000".into()], &work);
            assert!(!script.contains("secret"), "{script}");
            let read = Command::new("bash").args(["-n", "-c", &script]).output().unwrap();
            assert!(read.status.success(), "{}\n{script}", String::from_utf8_lossy(&read.stderr));
        }
    }

    #[test]
    fn a_shell_reads_the_environment_as_it_was() {
        let odd = "a b'c\"$HOME`id`\\";
        let all = BTreeMap::from([("REPRODUCEML_X".to_owned(), odd.to_owned())]);
        let script = format!("{}printf %s \"$REPRODUCEML_X\"", as_lines(&all));
        let said = Command::new("bash").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), odd);
    }

    /// A study with one piece of work; how its job's script ends there.
    fn carry_out(lines: &str, change: impl Fn(&Path)) -> (tempfile::TempDir, i32) {
        let folder = tempfile::tempdir().unwrap();
        let study = folder.path();
        let run = study.join("runs/x/0000");
        std::fs::create_dir_all(&run).unwrap();
        std::fs::create_dir_all(study.join("seen")).unwrap();
        let mut work = Work { sees: &["SEEN"], lines: lines.to_owned(), ..example() };
        let seen = study.join("seen").to_string_lossy().into_owned();
        work.environment.insert("SEEN".to_owned(), seen);
        std::fs::write(run.join(Names::of("7").launch), as_lines(&work.environment)).unwrap();
        let setup = setup(study, r#"{"container": "none", "setup": ["SET=up", "export SET"]}"#);
        let batch = Batch { setup: &setup, nonce: "7", placement: &[] };
        // The wait for a late file is not what these tests are about.
        let script = batch.script(&["x/0000".into()], &work).replace("{1..20}", "1");
        change(study);
        let ended = Command::new("bash").args(["-c", &script]).status().unwrap();
        (folder, ended.code().unwrap())
    }

    #[test]
    fn the_work_is_told_what_to_do_and_its_status_is_kept() {
        let lines = "sh -c 'echo $SET $REPRODUCEML_TICKET; exit 3'\n";
        let (folder, code) = carry_out(lines, |_| ());
        assert_eq!(code, 3);
        let read = |name: &str| {
            std::fs::read_to_string(folder.path().join("runs/x/0000").join(name)).unwrap()
        };
        let names = Names::of("7");
        assert_eq!(
            (read(&names.out).as_str(), read(&names.status).as_str()),
            ("up secret\n", "3\n")
        );
    }

    #[test]
    fn what_a_node_lacks_is_told_apart() {
        let lacks = format!("command -v /nowhere/program || lacks {NO_PROGRAM} \"has none\"\n");
        assert_eq!(i64::from(carry_out(&lacks, |_| ()).1), NO_PROGRAM);
        let gone = |name: &'static str| {
            move |study: &Path| {
                let path = study.join(name);
                let done = if path.is_dir() {
                    std::fs::remove_dir_all(path)
                } else {
                    std::fs::remove_file(path)
                };
                done.unwrap();
            }
        };
        for (name, status) in
            [("seen", NOT_SHARED), ("runs/x/0000/job-7.env", WITHDRAWN), ("", NOT_SHARED)]
        {
            assert_eq!(i64::from(carry_out("true\n", gone(name)).1), status, "{name}");
        }
    }
}
