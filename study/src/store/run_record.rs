//! What is stored of a run, as types.

use rusqlite::Row;
use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::{Ending, ExperimentId};

/// One run of one experiment; the index counts from 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunKey {
    /// The experiment.
    pub experiment: ExperimentId,
    /// The run's index.
    pub run: u32,
}

impl std::fmt::Display for RunKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.experiment, self.run)
    }
}

/// A text that names no run.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` names no run; expected EXPERIMENT/RUN, like pr16-buggy-0123456789ab/0")]
pub struct NoRunKey(String);

impl std::str::FromStr for RunKey {
    type Err = NoRunKey;

    fn from_str(text: &str) -> Result<Self, NoRunKey> {
        let wrong = || NoRunKey(text.to_owned());
        let (experiment, run) = text.rsplit_once('/').ok_or_else(wrong)?;
        let experiment = ExperimentId::new(experiment).map_err(|_| wrong())?;
        Ok(Self { experiment, run: run.parse().map_err(|_| wrong())? })
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// It was begun; if nothing runs it now, it will start over.
    Running,
    /// Its results were accepted, once.
    Finished,
    /// It ended without results.
    Failed,
}

impl RunStatus {
    /// The word in the store and in output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Failed => "failed",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Finished, Self::Failed].into_iter().find(|s| s.as_str() == text)
    }
}

/// What is stored of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Which run.
    pub key: RunKey,
    /// How often it was begun.
    pub attempt: u32,
    /// Where it stands.
    pub status: RunStatus,
    /// Its seed.
    pub seed: Option<u32>,
    /// When the last attempt began.
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// How its process ended, if not well. A finished run may have one too: its results were
    /// accepted before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
    /// Why it failed, or what was odd though it finished.
    pub reason: Option<String>,
    /// The seven NDIFs as the client reported them.
    pub manifest: Option<serde_json::Value>,
    /// Timings, per-class metrics and the like.
    pub result: Option<serde_json::Value>,
}

/// What is stored of an epoch; epoch 0 is the state after initialisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// The epoch.
    pub epoch: u32,
    /// The mean training loss, as the bits of an IEEE 754 double; none at epoch 0.
    pub loss_bits: Option<u64>,
    /// SHA-256 of the parameters after it.
    pub digest: String,
    /// Seconds it took.
    pub seconds: f64,
    /// Whatever else the client measured.
    pub extra: Option<serde_json::Value>,
}

pub(super) const SELECT_RUN: &str =
    "SELECT experiment, run, attempt, status, seed, started_at, finished_at,
    reason, manifest, result, ending FROM runs";

/// A row before its texts are understood.
pub(super) struct RawRun {
    experiment: String,
    run: u32,
    attempt: u32,
    status: String,
    seed: Option<u32>,
    started_at: String,
    finished_at: Option<String>,
    reason: Option<String>,
    manifest: Option<String>,
    result: Option<String>,
    ending: Option<String>,
}

impl RawRun {
    pub(super) fn read(r: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            experiment: r.get(0)?,
            run: r.get(1)?,
            attempt: r.get(2)?,
            status: r.get(3)?,
            seed: r.get(4)?,
            started_at: r.get(5)?,
            finished_at: r.get(6)?,
            reason: r.get(7)?,
            manifest: r.get(8)?,
            result: r.get(9)?,
            ending: r.get(10)?,
        })
    }

    pub(super) fn into_record(self, store: &Store) -> Result<RunRecord, StoreError> {
        let what = format!("run {}/{}", self.experiment, self.run);
        let json = |text: Option<String>| {
            text.map(|t| serde_json::from_str(&t)).transpose().map_err(|e| store.damaged(&what, e))
        };
        Ok(RunRecord {
            key: RunKey {
                experiment: ExperimentId::new(self.experiment)
                    .map_err(|e| store.damaged(&what, e))?,
                run: self.run,
            },
            attempt: self.attempt,
            status: RunStatus::parse(&self.status)
                .ok_or_else(|| store.damaged(&what, format!("status `{}`", self.status)))?,
            seed: self.seed,
            started_at: self.started_at,
            finished_at: self.finished_at,
            ending: self
                .ending
                .map(|word| word.parse())
                .transpose()
                .map_err(|e| store.damaged(&what, e))?,
            reason: self.reason,
            manifest: json(self.manifest)?,
            result: json(self.result)?,
        })
    }
}
