//! What a job does, and what the jobs of a study need to know.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use study::SlurmPolicy;

/// What kind of work a study's jobs do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Trainings.
    Run,
    /// Builds of artifacts.
    Build,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Run => "run",
            Self::Build => "build",
        })
    }
}

impl Stage {
    /// The keys of `study.toml` that say what is asked of the cluster.
    pub(crate) fn keys(self) -> &'static str {
        match self {
            Self::Run => "`[slurm]`",
            Self::Build => "`[slurm]` and `[slurm.build]`",
        }
    }

    /// How what was made on nodes that are gone is made again.
    pub(crate) fn again(self) -> &'static str {
        match self {
            Self::Run => "make its runs again: `run --retry-failed`",
            Self::Build => "remove its folders below artifacts/, then build it again",
        }
    }

    /// What else helps where a node lacks a program.
    pub(crate) fn or_name(self) -> &'static str {
        match self {
            Self::Run => ", name another with --python, or load it with slurm.setup in study.toml",
            Self::Build => ", load it with slurm.setup in study.toml, or exclude such nodes",
        }
    }
}

/// What a study's jobs have in common.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What they do.
    pub stage: Stage,
    /// What is asked of the cluster.
    pub policy: SlurmPolicy,
    /// The study's folder, which the nodes must see.
    pub study: PathBuf,
    /// Where jobs and classes are recorded.
    pub folder: PathBuf,
    /// The folder below which the folders of all work lie.
    pub root: PathBuf,
    /// The name of all these jobs.
    pub name: String,
    /// Bugs of which something is made, whose class of nodes is fixed.
    pub begun: BTreeSet<String>,
}

/// What one job does.
#[derive(Debug, Clone)]
pub struct Work {
    /// The bug: what is done for one bug is done on one class of nodes.
    pub bug: String,
    /// Other bugs that share something with it, which are kept on the same class.
    pub kin: Vec<String>,
    /// The work's own folder, below [`Setup::root`]: the job's files lie there.
    pub folder: PathBuf,
    /// Variables of its environment; they may be secret, and are gone when the job is over.
    pub environment: BTreeMap<String, String>,
    /// Variables among them that name folders which the node must see.
    pub sees: &'static [&'static str],
    /// Lines of shell that do it; the last one's status is the work's. They are the same for all
    /// that is handed over together for a bug, and hold nothing secret.
    pub lines: String,
    /// GPUs it needs.
    pub gpus: u32,
    /// Memory in MiB, where the policy does not say it.
    pub memory_mib: u32,
    /// Minutes it may take, where the policy does not say it.
    pub minutes: u64,
}

#[cfg(test)]
pub(crate) fn example() -> Work {
    Work {
        bug: "pr1".into(),
        kin: Vec::new(),
        folder: "/".into(),
        environment: BTreeMap::from([("REPRODUCEML_TICKET".into(), "secret".into())]),
        sees: &[],
        lines: "true\n".into(),
        gpus: 0,
        memory_mib: 100,
        minutes: 1,
    }
}
