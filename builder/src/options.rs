//! What a caller of the build stage asks for, and what it gets back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;

use containers::Cancel;
use serde::{Deserialize, Serialize};
use study::{
    ArtifactId, BugId, CommitId, Evaluation, SlurmPolicy, Strategy, Study, StudyConfig, UnknownWord,
};

use crate::failure::FailureClass;
use crate::rebuild::Rebuilt;
use crate::record::CacheUse;
use crate::suits::{LeftOut, ToolchainChoice};

/// What to build and how.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Only these bugs; empty: all that are selected.
    pub bugs: Vec<BugId>,
    /// Builds at the same time; 0 counts as 1.
    pub jobs: usize,
    /// Try builds again that failed this way.
    pub retry: Option<Retry>,
    /// Build again what is there, and compare bit for bit.
    pub rebuild: bool,
    /// Limits of each build; what is `None` comes from `study.toml` or has a default.
    pub limits: BuildLimits,
    /// Only say what would be done.
    pub dry_run: bool,
    /// The folder of toolchains, usually the program's `dockerfiles/`.
    pub toolchains_dir: PathBuf,
    /// This toolchain for every bug, instead of what `study.toml` says.
    pub toolchain: Option<String>,
    /// Use only toolchains that are locked already; lock none for its first use.
    pub frozen: bool,
    /// A local clone of the framework; without it, the one that `study.toml` names.
    pub repo: Option<PathBuf>,
    /// Where planted faults are that the study does not hold itself, usually `data/faults/`.
    pub faults_dir: Option<PathBuf>,
    /// Where artifacts may lie that the study's folder has not: looked into before anything is made.
    pub elsewhere: Option<Arc<dyn Elsewhere>>,
    /// A cluster whose nodes build; none: this machine does.
    pub cluster: Option<ClusterOptions>,
    /// Ends the stage early when set.
    pub cancel: Cancel,
}

/// A place beside the study's folder where artifacts may lie under their identities.
pub trait Elsewhere: std::fmt::Debug + Send + Sync {
    /// Puts the artifact whole into the study's folder, proven to be the one that it says it is.
    /// `false` if it is not there; the reason that it cannot be had is for people.
    fn obtain<'a>(
        &'a self,
        study: &'a Study,
        id: &'a ArtifactId,
    ) -> Pin<Box<dyn Future<Output = Result<bool, String>> + Send + 'a>>;
}

/// How builds are handed to a cluster.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// What is asked of it, with what holds for builds ([`study::SlurmPolicy::for_builds`]).
    pub policy: SlurmPolicy,
    /// A folder of the nodes' own for trees and objects; none: the study's.
    pub scratch: Option<PathBuf>,
    /// This program, where nodes find it.
    pub program: PathBuf,
    /// Its data, where nodes find them: what `REPRODUCEML_HOME` says there.
    pub home: PathBuf,
}

impl BuildOptions {
    /// All selected bugs, one build at a time, limits of the study.
    #[must_use]
    pub fn new(toolchains_dir: PathBuf) -> Self {
        Self {
            bugs: Vec::new(),
            jobs: 1,
            retry: None,
            rebuild: false,
            limits: BuildLimits::default(),
            dry_run: false,
            toolchains_dir,
            toolchain: None,
            frozen: false,
            repo: None,
            faults_dir: None,
            elsewhere: None,
            cluster: None,
            cancel: Cancel::new(),
        }
    }
}

/// Which failed builds are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Every one.
    All,
    /// Those of a class.
    Class(FailureClass),
}

impl FromStr for Retry {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        if text == "all" {
            return Ok(Self::All);
        }
        text.parse().map(Self::Class).map_err(|error: UnknownWord| UnknownWord {
            expected: format!("all, {}", error.expected),
            ..error
        })
    }
}

/// Limits of one build.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct BuildLimits {
    /// Memory in MiB.
    pub memory_mib: Option<u32>,
    /// Seconds for each step.
    pub seconds: Option<u64>,
    /// Seconds that a step may be silent.
    pub silence_seconds: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u32>,
    /// Processors; by default what the machine has, divided by the number of jobs.
    pub cpus: Option<f64>,
    /// MiB that tree, objects and artifact may take together.
    pub disk_mib: Option<u64>,
    /// MiB that must stay free on the study's disk.
    pub free_mib: Option<u64>,
    /// Weight for processors when others want them too, as Docker counts it: 1024 is ordinary, 2
    /// the least.
    pub cpu_weight: Option<u32>,
}

impl BuildLimits {
    /// The limits with everything decided.
    #[must_use]
    pub(crate) fn decide(&self, config: &StudyConfig) -> DecidedLimits {
        DecidedLimits {
            memory: u64::from(self.memory_mib.unwrap_or(config.build.memory_mib)) << 20,
            seconds: self.seconds.unwrap_or(u64::from(config.build.timeout_minutes) * 60),
            silence: self.silence_seconds,
            processes: self.processes.unwrap_or(4096),
            cpus: self.cpus,
            disk: self.disk_mib.unwrap_or(40 << 10) << 20,
            free: self.free_mib.unwrap_or(1 << 10) << 20,
            cpu_weight: self.cpu_weight,
        }
    }
}

/// The limits of a build, all decided; sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct DecidedLimits {
    pub memory: u64,
    pub seconds: u64,
    pub silence: Option<u64>,
    pub processes: u32,
    pub cpus: Option<f64>,
    pub disk: u64,
    pub free: u64,
    pub cpu_weight: Option<u32>,
}

impl DecidedLimits {
    pub(crate) fn describe(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::from([
            ("memory_mib".to_owned(), (self.memory >> 20).to_string()),
            ("step_seconds".to_owned(), self.seconds.to_string()),
            ("processes".to_owned(), self.processes.to_string()),
            ("disk_mib".to_owned(), (self.disk >> 20).to_string()),
            ("network".to_owned(), "none".to_owned()),
        ]);
        if let Some(seconds) = self.silence {
            all.insert("silence_seconds".into(), seconds.to_string());
        }
        all
    }
}

/// What the stage did and what there is now.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BuildSummary {
    /// One entry for every bug that was asked for, in the order of building.
    pub bugs: Vec<BugBuild>,
    /// Bugs that no toolchain suits, or whose toolchain cannot be had on this machine.
    pub left_out: Vec<LeftOut>,
    /// Bugs with both artifacts.
    pub pairs: usize,
    /// Artifacts made in this call.
    pub built: usize,
    /// Artifacts that were there already.
    pub reused: usize,
    /// Builds that failed, in this call or before.
    pub failed: usize,
    /// What was built again to be compared with what was there.
    pub rebuilt: Vec<Rebuilt>,
    /// Builds that a cluster did not come to the end of: the next call makes them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmade: Vec<Unmade>,
    /// Whether nothing was done because only the plan was asked for.
    pub dry_run: bool,
    /// What the plan is expected to take, from what has been built before; none without
    /// experience.
    pub estimate: Option<Estimate>,
    /// Seconds the whole call took.
    pub seconds: f64,
}

/// A build that came to no end, which is no result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unmade {
    /// The artifact that is not.
    pub artifact: ArtifactId,
    /// What happened to its job.
    pub reason: String,
}

/// What a plan is expected to take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// Seconds, one build after the other.
    pub seconds: f64,
    /// Bytes that the artifacts will occupy.
    pub bytes: u64,
    /// Bytes that the trees and objects of the builds at work need at the same time; given back
    /// when a build ends.
    pub scratch_bytes: u64,
}

/// A bug with its artifacts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BugBuild {
    /// The bug.
    pub bug: BugId,
    /// The toolchain of both sides, and why this one.
    pub toolchain: ToolchainChoice,
    /// Its sides: `buggy` or `artificial`, and `corrected`.
    pub sides: Vec<SideBuild>,
    /// Whether both sides have their artifact and nothing refuses the pair.
    pub complete: bool,
    /// What besides the commit or the fault is not the same on both sides: such a pair is refused.
    pub mismatches: Vec<String>,
    /// Whether both artifacts are the same byte for byte; none unless complete.
    pub identical: Option<bool>,
}

/// One side of a bug.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SideBuild {
    /// Which side.
    pub evaluation: Evaluation,
    /// The artifact, made or failed; none in a plan whose images are not made yet.
    pub artifact: Option<ArtifactId>,
    /// How it is made.
    pub strategy: Strategy,
    /// The commit it is made of.
    pub commit: Option<CommitId>,
    /// Why it is made like this.
    pub reason: String,
    /// Why it cannot be made, as far as that is known without trying.
    pub refused: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Seconds its build took, whenever that was.
    pub seconds: Option<f64>,
    /// What the compiler cache did in its build.
    pub cache: Option<CacheUse>,
    /// Objects that are expected to be compiled, from the dependency records of earlier builds;
    /// none without such records.
    pub objects: Option<u64>,
}

/// What became of an artifact.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "kebab-case")]
pub enum Outcome {
    /// Made in this call.
    Built {
        /// Its size in bytes.
        bytes: u64,
    },
    /// It was there already.
    Reused {
        /// Its size in bytes.
        bytes: u64,
    },
    /// It cannot be made.
    Failed {
        /// The class of the failure.
        class: String,
        /// The first line that tells why.
        line: String,
        /// The log, below the study's folder.
        log: String,
        /// The line's place in the log.
        line_number: Option<u64>,
    },
    /// It would be made (dry run), or another failure came first.
    Pending,
}
