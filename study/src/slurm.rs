//! How a study's runs are handed to a cluster: `[slurm]` of `study.toml`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::words::{NodeContainer, SameHardware};

/// How runs become jobs of a Slurm cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlurmPolicy {
    /// What runs a client on a node. It has no default: without a container nothing is kept apart.
    pub container: NodeContainer,
    /// The partition; none: the cluster's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// The account that is charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The quality of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<String>,
    /// Features that nodes must have, as `sbatch --constraint` takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// Nodes that are never used, as `sbatch --exclude` takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<String>,
    /// The type of GPU, as the cluster's `gres` calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_type: Option<String>,
    /// GPUs of a run; none: one where the run trains on `cuda`, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpus: Option<u32>,
    /// Processors of a run.
    #[serde(default = "one")]
    pub cpus: u32,
    /// Minutes a run may take on its node, instead of `run.timeout_minutes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_minutes: Option<u32>,
    /// Memory of a run in MiB, instead of `run.memory_mib`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Further options of `sbatch`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// Lines of shell that a job runs before the client, such as `module load`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub setup: Vec<String>,
    /// What all runs of a bug have in common.
    #[serde(default = "class")]
    pub same: SameHardware,
    /// The name or address, with or without a port, by which nodes reach the server; none: this
    /// machine's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Runs or builds that are queued or under way at a time.
    #[serde(default = "jobs")]
    pub jobs: u32,
    /// Seconds between two looks at the queue.
    #[serde(default = "seconds")]
    pub poll_seconds: u32,
    /// What is otherwise for builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<SlurmBuild>,
}

/// What is otherwise for builds: `[slurm.build]`. What is not said holds as in `[slurm]`, but for
/// processors, memory and time, which a build needs more of than a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlurmBuild {
    /// The partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<String>,
    /// The account that is charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The quality of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos: Option<String>,
    /// Features that nodes must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// Nodes that are never used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exclude: Option<String>,
    /// Processors of a build; none: [`BUILD_CPUS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Minutes that the job of a pair may take; none: `build.timeout_minutes` for each artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_minutes: Option<u32>,
    /// Memory of the job in MiB; none: a little more than `build.memory_mib`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u32>,
    /// Further options of `sbatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Vec<String>>,
    /// Lines of shell that a job runs first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<Vec<String>>,
    /// Builds that are queued or under way at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u32>,
    /// A folder of the node's own in which trees and objects lie while a build is under way; none:
    /// the study's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<PathBuf>,
}

/// Processors of a build on a node, unless the study says otherwise.
pub const BUILD_CPUS: u32 = 4;

fn one() -> u32 {
    1
}
fn class() -> SameHardware {
    SameHardware::Class
}
fn jobs() -> u32 {
    100
}
fn seconds() -> u32 {
    5
}

/// Options of `sbatch` that this program gives itself, long and short.
const OWN_OPTIONS: &[&str] = &[
    "--array",
    "-a",
    "--chdir",
    "-D",
    "--error",
    "-e",
    "--exclude",
    "-x",
    "--export",
    "--hold",
    "-H",
    "--input",
    "-i",
    "--job-name",
    "-J",
    "--no-requeue",
    "--nodelist",
    "-w",
    "--open-mode",
    "--output",
    "-o",
    "--parsable",
    "--requeue",
    "--test-only",
    "--wait",
    "-W",
    "--wrap",
];

/// A value out of its range: key, what stands there, what may.
type Wrong = (&'static str, String, &'static str);

impl SlurmPolicy {
    /// The first value out of its range: key, what stands there, what may.
    ///
    /// # Errors
    /// If there is one.
    pub fn check(&self) -> Result<(), Wrong> {
        if let Some(own) = &self.build {
            own.check()?;
        }
        at_least_one(&[
            ("slurm.cpus", Some(self.cpus)),
            ("slurm.jobs", Some(self.jobs)),
            ("slurm.poll_seconds", Some(self.poll_seconds)),
            ("slurm.time_minutes", self.time_minutes),
            ("slurm.memory_mib", self.memory_mib),
        ])?;
        if self.gpu_type.is_some() && self.gpus == Some(0) {
            return Err(("slurm.gpus", "0".to_owned(), "at least 1 beside slurm.gpu_type"));
        }
        check_options("slurm.options", &self.options)?;
        let texts = [&self.partition, &self.account, &self.qos, &self.constraint, &self.exclude];
        let texts = texts.into_iter().chain([&self.gpu_type, &self.server]).flatten();
        lines_alone("slurm", texts.chain(&self.options))
    }

    /// What holds for builds: the keys of `[slurm.build]` in the place of those of `[slurm]`, and
    /// no GPU.
    #[must_use]
    pub fn for_builds(&self) -> Self {
        let own = self.build.clone().unwrap_or_default();
        let all = self.clone();
        Self {
            partition: own.partition.or(all.partition),
            account: own.account.or(all.account),
            qos: own.qos.or(all.qos),
            constraint: own.constraint.or(all.constraint),
            exclude: own.exclude.or(all.exclude),
            gpu_type: None,
            gpus: Some(0),
            cpus: own.cpus.unwrap_or(BUILD_CPUS),
            time_minutes: own.time_minutes,
            memory_mib: own.memory_mib,
            options: own.options.unwrap_or(all.options),
            setup: own.setup.unwrap_or(all.setup),
            jobs: own.jobs.unwrap_or(all.jobs),
            ..all
        }
    }

    /// GPUs of a run that trains on `device`.
    pub fn gpus_for(&self, device: &str) -> u32 {
        self.gpus.unwrap_or(u32::from(device == "cuda" || self.gpu_type.is_some()))
    }
}

impl SlurmBuild {
    fn check(&self) -> Result<(), Wrong> {
        at_least_one(&[
            ("slurm.build.cpus", self.cpus),
            ("slurm.build.jobs", self.jobs),
            ("slurm.build.time_minutes", self.time_minutes),
            ("slurm.build.memory_mib", self.memory_mib),
        ])?;
        let options = self.options.as_deref().unwrap_or_default();
        check_options("slurm.build.options", options)?;
        if let Some(folder) = self.scratch.as_ref().filter(|folder| !folder.is_absolute()) {
            let found = format!("`{}`", folder.display());
            return Err(("slurm.build.scratch", found, "an absolute path on the nodes"));
        }
        let texts = [&self.partition, &self.account, &self.qos, &self.constraint, &self.exclude];
        lines_alone("slurm.build", texts.into_iter().flatten().chain(options))
    }
}

/// Refuses options of `sbatch` that this program gives itself.
fn check_options(key: &'static str, options: &[String]) -> Result<(), Wrong> {
    let own = |option: &&String| {
        let name = option.split('=').next().unwrap_or_default();
        OWN_OPTIONS.contains(&name) || !option.starts_with('-')
    };
    match options.iter().find(own) {
        None => Ok(()),
        Some(option) => Err((
            key,
            format!("`{option}`"),
            "options as `--name=value`, none of those that the program gives itself \
             (docs/guide/cluster.md)",
        )),
    }
}

/// Refuses zeros.
fn at_least_one(values: &[(&'static str, Option<u32>)]) -> Result<(), Wrong> {
    match values.iter().find(|(_, value)| *value == Some(0)) {
        None => Ok(()),
        Some((key, _)) => Err((*key, "0".to_owned(), "at least 1")),
    }
}

/// Refuses texts that are empty or more than a line.
fn lines_alone<'a>(
    key: &'static str,
    mut texts: impl Iterator<Item = &'a String>,
) -> Result<(), Wrong> {
    let odd = |text: &&String| text.trim().is_empty() || text.chars().any(char::is_control);
    match texts.find(odd) {
        None => Ok(()),
        Some(text) => Err((key, format!("{text:?}"), "values of one line that are not empty")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SlurmPolicy, String> {
        let policy: SlurmPolicy = toml::from_str(text).map_err(|error| error.to_string())?;
        match policy.check() {
            Ok(()) => Ok(policy),
            Err((key, found, expected)) => Err(format!("{key} is {found}; expected {expected}")),
        }
    }

    #[test]
    fn the_container_alone_must_be_stated() {
        let policy = read("container = \"none\"").unwrap();
        assert_eq!((policy.cpus, policy.jobs, policy.poll_seconds), (1, 100, 5));
        assert_eq!(policy.same, SameHardware::Class);
        assert_eq!((policy.gpus_for("cpu"), policy.gpus_for("cuda")), (0, 1));
        assert!(read("").unwrap_err().contains("container"));
        assert!(read("container = \"podman\"").unwrap_err().contains("apptainer"));
        assert!(read("container = \"none\"\nnodes = 1").unwrap_err().contains("nodes"));
        let written = toml::to_string(&policy).unwrap();
        assert_eq!(read(&written).unwrap(), policy);
    }

    #[test]
    fn what_would_break_a_job_is_refused() {
        for (line, key) in [
            ("cpus = 0", "slurm.cpus"),
            ("poll_seconds = 0", "slurm.poll_seconds"),
            ("gpu_type = \"a100\"\ngpus = 0", "slurm.gpus"),
            ("options = [\"--array=1-9\"]", "slurm.options"),
            ("options = [\"-o\", \"x\"]", "slurm.options"),
            ("options = [\"script.sh\"]", "slurm.options"),
            ("partition = \"a\\nb\"", "slurm"),
            ("account = \"\"", "slurm"),
            ("build.cpus = 0", "slurm.build.cpus"),
            ("build.options = [\"--wrap=x\"]", "slurm.build.options"),
            ("build.scratch = \"tmp\"", "slurm.build.scratch"),
            ("build.qos = \" \"", "slurm.build"),
        ] {
            let error = read(&format!("container = \"none\"\n{line}")).unwrap_err();
            assert!(error.starts_with(key) && error.contains("expected"), "{error}");
        }
        read("container = \"none\"\noptions = [\"--exclusive\", \"--mail-type=END\"]").unwrap();
    }

    #[test]
    fn builds_have_what_is_said_of_them_and_the_rest_of_all() {
        let text = "container = \"apptainer\"\npartition = \"gpu\"\naccount = \"a\"\n\
                    gpu_type = \"a100\"\nmemory_mib = 9\ntime_minutes = 3\n";
        let plain = read(text).unwrap().for_builds();
        assert_eq!((plain.partition.as_deref(), plain.cpus), (Some("gpu"), BUILD_CPUS));
        assert_eq!((plain.gpus_for("cuda"), plain.memory_mib, plain.time_minutes), (0, None, None));
        let own = format!("{text}[build]\npartition = \"cpu\"\ncpus = 32\ntime_minutes = 600\n");
        let own = read(&own).unwrap().for_builds();
        assert_eq!((own.partition.as_deref(), own.account.as_deref()), (Some("cpu"), Some("a")));
        assert_eq!((own.cpus, own.time_minutes, own.jobs), (32, Some(600), 100));
    }
}
