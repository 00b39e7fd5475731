//! What a node is told to build, and the folder in which it is told so and leaves what it made.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use study::{ArtifactId, Study};

use crate::error::BuildError;
use crate::identity::Job;
use crate::image::ReadyToolchain;
use crate::layout::Places;
use crate::options::DecidedLimits;

/// A chain of artifacts for one job: everything that decides what a node does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Order {
    /// The artifacts, to be made one after the other.
    pub chain: Vec<Job>,
    /// The toolchains they need.
    pub toolchains: Vec<OrderedToolchain>,
    /// The limits of each build.
    pub limits: DecidedLimits,
    /// Processors of each build.
    pub cpus: f64,
    /// The framework's clone.
    pub clone: Option<PathBuf>,
    /// A folder of the node's own for trees and objects.
    pub scratch: Option<PathBuf>,
    /// What marks the study's containers.
    pub mark: String,
}

/// A toolchain, with where its image lies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderedToolchain {
    pub folder: PathBuf,
    pub files_digest: String,
    pub identity: String,
    pub base_id: String,
    pub tag: String,
    pub image_id: String,
    /// An archive that a daemon without the image loads.
    pub archive: PathBuf,
}

impl OrderedToolchain {
    pub(crate) fn of(study: &Study, ready: &ReadyToolchain) -> Self {
        Self {
            folder: ready.toolchain.folder.clone(),
            files_digest: ready.toolchain.files_digest.clone(),
            identity: ready.identity.clone(),
            base_id: ready.base_id.clone(),
            tag: ready.tag.clone(),
            image_id: ready.image_id.clone(),
            archive: study::image_archive(study.root(), &ready.image_id),
        }
    }
}

/// Where a study's builds on nodes have their folders.
pub(crate) fn root(study: &Study) -> PathBuf {
    study.root().join("slurm/builds")
}

/// The folder of one job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct JobFolder(pub PathBuf);

impl JobFolder {
    fn order_file(&self) -> PathBuf {
        self.0.join("order.json")
    }

    /// A new folder with an order in it.
    pub(crate) fn create(study: &Study, order: &Order) -> Result<Self, BuildError> {
        let root = root(study);
        fs::create_dir_all(&root).map_err(BuildError::io(&root))?;
        let name = order.chain.first().map_or("none", |job| job.id.short());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let folder = Self(root.join(format!("{name}-{now:x}")));
        fs::create_dir(&folder.0).map_err(BuildError::io(&folder.0))?;
        let path = folder.order_file();
        let text = serde_json::to_vec_pretty(order).map_err(|e| BuildError::io(&path)(e.into()))?;
        study::files::write_whole(&path, &text).map_err(BuildError::io(&path))?;
        Ok(folder)
    }

    /// What the folder's job is told.
    pub(crate) fn order(&self) -> Result<Order, BuildError> {
        let path = self.order_file();
        let bytes = fs::read(&path).map_err(BuildError::io(&path))?;
        serde_json::from_slice(&bytes).map_err(|e| BuildError::io(&path)(e.into()))
    }

    /// Whether somebody still waits for its job.
    pub(crate) fn is_wanted(&self) -> bool {
        slurm::is_handed_over(&self.0)
    }

    /// Where its node leaves what it makes.
    pub(crate) fn builds(&self) -> PathBuf {
        self.0.join("builds")
    }

    /// The artifacts among it.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.0.join("artifacts")
    }

    /// A node's places: all in this folder, but what the order wants on the node's own disk.
    pub(crate) fn places(&self, order: &Order) -> Places {
        let name = self.0.file_name().unwrap_or_default().to_string_lossy();
        let own = order.scratch.as_ref();
        let own = own.map(|scratch| scratch.join(format!("{}{name}", scratch_prefix(&order.mark))));
        Places {
            scratch: own.unwrap_or_else(|| self.0.join("scratch")),
            builds: self.builds(),
            artifacts: self.artifacts(),
            labels: vec![
                (containers::STUDY_LABEL, node_mark(&order.mark)),
                (JOB_LABEL, self.0.to_string_lossy().into_owned()),
            ],
            host: ["SLURMD_NODENAME", "SLURM_JOB_ID"]
                .into_iter()
                .zip(["node", "job"])
                .filter_map(|(variable, name)| {
                    Some((name.to_owned(), std::env::var(variable).ok()?))
                })
                .collect(),
        }
    }
}

/// Label of the containers of a job: its folder.
pub(crate) const JOB_LABEL: &str = "reproduceml.job";

/// What marks the containers of a study's jobs. It is another mark than that of the containers of
/// the machine that hands them over, which may be the same: there they are no leftovers.
pub(crate) fn node_mark(mark: &str) -> String {
    format!("{mark}.jobs")
}

impl Order {
    fn ids(&self) -> BTreeSet<&ArtifactId> {
        self.chain.iter().map(|job| &job.id).collect()
    }

    /// Whether a job that was told `self` does all that this order says, and in the same way.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let alike = Self { chain: Vec::new(), ..self.clone() };
        alike == Self { chain: Vec::new(), ..other.clone() } && self.ids().is_superset(&other.ids())
    }
}

/// The folders of all jobs that there are, wanted or not.
pub(crate) fn folders(study: &Study) -> Result<Vec<JobFolder>, BuildError> {
    let root = root(study);
    let entries = match fs::read_dir(&root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(BuildError::io(&root)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(BuildError::io(&root))?.path();
        if path.is_dir() {
            found.push(JobFolder(path));
        }
    }
    found.sort();
    Ok(found)
}

/// Folders of jobs that nobody waits for.
pub(crate) fn dead(study: &Study) -> Result<Vec<PathBuf>, BuildError> {
    let all = folders(study)?.into_iter();
    Ok(all.filter(|folder| !folder.is_wanted()).map(|folder| folder.0).collect())
}

/// How the names of a study's folders on a node's own disk begin; they end as the job's folder.
fn scratch_prefix(mark: &str) -> String {
    format!("reproduceml-{mark}-")
}

/// Folders on this node's own disk of jobs that nobody waits for any more: a job that was killed
/// cannot remove its own.
pub(crate) fn dead_scratch(
    study: &Study,
    scratch: &Path,
    mark: &str,
) -> Result<Vec<PathBuf>, BuildError> {
    let prefix = scratch_prefix(mark);
    let mut dead = Vec::new();
    let entries = match fs::read_dir(scratch) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(dead),
        Err(error) => return Err(BuildError::io(scratch)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(BuildError::io(scratch))?;
        let name = entry.file_name();
        let Some(job) = name.to_str().and_then(|name| name.strip_prefix(&prefix)) else { continue };
        if !JobFolder(root(study).join(job)).is_wanted() {
            dead.push(entry.path());
        }
    }
    Ok(dead)
}

/// Moves what a finished build left in `from` into the study's folder of that build, its record
/// last: with it the build is there.
pub(crate) fn move_files(from: &Path, to: &Path) -> Result<(), BuildError> {
    fs::create_dir_all(to).map_err(BuildError::io(to))?;
    let mut names = Vec::new();
    for entry in fs::read_dir(from).map_err(BuildError::io(from))? {
        names.push(entry.map_err(BuildError::io(from))?.file_name());
    }
    names.sort_by_key(|name| name == "record.json");
    for name in names {
        let target = to.join(&name);
        if target.is_dir() {
            crate::layout::remove_folder(&target)?;
        }
        fs::rename(from.join(&name), &target).map_err(BuildError::io(&target))?;
    }
    Ok(())
}
