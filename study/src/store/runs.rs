//! Runs, and what they sent: epochs, metrics, predictions, manifest.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction, params};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, now};
use crate::ExperimentId;

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

impl Store {
    /// Begins a run: what an earlier attempt left is removed. Returns the attempt, from 1.
    ///
    /// # Errors
    /// [`StoreError::RunOver`] if it is finished already.
    pub fn begin_run(&self, key: &RunKey, seed: u32) -> Result<u32, StoreError> {
        let begun = self.transaction(|t| {
            let earlier = t
                .query_row(
                    "SELECT status, attempt FROM runs WHERE experiment = ?1 AND run = ?2",
                    params![key.experiment.as_str(), key.run],
                    |r| Ok((r.get::<_, String>(0)?, r.get::<_, u32>(1)?)),
                )
                .optional()?;
            let attempt = match earlier {
                Some((status, _)) if status == RunStatus::Finished.as_str() => return Ok(None),
                Some((_, attempt)) => attempt + 1,
                None => 1,
            };
            t.execute(
                "DELETE FROM runs WHERE experiment = ?1 AND run = ?2",
                params![key.experiment.as_str(), key.run],
            )?;
            t.execute(
                "INSERT INTO runs (experiment, run, attempt, status, seed, started_at)
                 VALUES (?1, ?2, ?3, 'running', ?4, ?5)",
                params![key.experiment.as_str(), key.run, attempt, seed, now()],
            )?;
            Ok(Some(attempt))
        })?;
        begun.ok_or_else(|| over(key, RunStatus::Finished))
    }

    /// Stores the run's manifest.
    ///
    /// # Errors
    /// If the run is not under way or writing fails.
    pub fn put_manifest(
        &self,
        key: &RunKey,
        manifest: &serde_json::Value,
    ) -> Result<(), StoreError> {
        self.while_running(key, |t| {
            t.execute(
                "UPDATE runs SET manifest = ?3 WHERE experiment = ?1 AND run = ?2",
                params![key.experiment.as_str(), key.run, manifest.to_string()],
            )?;
            Ok(())
        })
    }

    /// Stores an epoch; the same epoch again replaces it.
    ///
    /// # Errors
    /// If the run is not under way or writing fails.
    pub fn put_epoch(&self, key: &RunKey, epoch: &EpochRecord) -> Result<(), StoreError> {
        self.while_running(key, |t| {
            t.execute(
                "INSERT OR REPLACE INTO epochs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    key.experiment.as_str(),
                    key.run,
                    epoch.epoch,
                    epoch.loss_bits.map(|bits| format!("{bits:016x}")),
                    epoch.digest,
                    epoch.seconds,
                    epoch.extra.as_ref().map(ToString::to_string),
                ],
            )?;
            Ok(())
        })
    }

    /// Stores what the predictions of a split gave: their digest and the metrics computed of them.
    ///
    /// # Errors
    /// If the run is not under way or writing fails.
    pub fn put_metrics(
        &self,
        key: &RunKey,
        split: &str,
        predictions_digest: &str,
        metrics: &BTreeMap<String, f64>,
    ) -> Result<(), StoreError> {
        self.while_running(key, |t| {
            t.execute(
                "INSERT OR REPLACE INTO predictions VALUES (?1, ?2, ?3, ?4)",
                params![key.experiment.as_str(), key.run, split, predictions_digest],
            )?;
            for (name, value) in metrics {
                t.execute(
                    "INSERT OR REPLACE INTO metrics VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![key.experiment.as_str(), key.run, split, name, value],
                )?;
            }
            Ok(())
        })
    }

    /// Accepts a run's results. Again is harmless: the first acceptance stands, and `false` says
    /// that there was one.
    ///
    /// # Errors
    /// If the run failed before or writing fails.
    pub fn finish_run(&self, key: &RunKey, result: &serde_json::Value) -> Result<bool, StoreError> {
        match self.run(key)?.map(|run| run.status) {
            Some(RunStatus::Finished) => return Ok(false),
            Some(RunStatus::Running) => {}
            Some(RunStatus::Failed) | None => return Err(over(key, RunStatus::Failed)),
        }
        self.while_running(key, |t| {
            t.execute(
                "UPDATE runs SET status = 'finished', finished_at = ?3, result = ?4
                 WHERE experiment = ?1 AND run = ?2",
                params![key.experiment.as_str(), key.run, now(), result.to_string()],
            )?;
            Ok(())
        })?;
        Ok(true)
    }

    /// Ends a run without results. A finished run stays finished.
    ///
    /// # Errors
    /// If writing fails.
    pub fn fail_run(&self, key: &RunKey, reason: &str) -> Result<(), StoreError> {
        self.with(|c| {
            c.execute(
                "UPDATE runs SET status = 'failed', finished_at = ?3, reason = ?4
                 WHERE experiment = ?1 AND run = ?2 AND status <> 'finished'",
                params![key.experiment.as_str(), key.run, now(), reason],
            )
        })?;
        Ok(())
    }

    /// Notes what was odd about a run though its results were accepted.
    ///
    /// # Errors
    /// If writing fails.
    pub fn note_run(&self, key: &RunKey, note: &str) -> Result<(), StoreError> {
        self.with(|c| {
            c.execute(
                "UPDATE runs SET reason = ?3 WHERE experiment = ?1 AND run = ?2",
                params![key.experiment.as_str(), key.run, note],
            )
        })?;
        Ok(())
    }

    /// One run.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn run(&self, key: &RunKey) -> Result<Option<RunRecord>, StoreError> {
        let row = self.with(|c| {
            c.query_row(
                &format!("{SELECT_RUN} WHERE experiment = ?1 AND run = ?2"),
                params![key.experiment.as_str(), key.run],
                RawRun::read,
            )
            .optional()
        })?;
        row.map(|raw| raw.into_record(self)).transpose()
    }

    /// All runs of an experiment, by index.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn runs(&self, experiment: &ExperimentId) -> Result<Vec<RunRecord>, StoreError> {
        let rows: Vec<RawRun> = self.with(|c| {
            c.prepare(&format!("{SELECT_RUN} WHERE experiment = ?1 ORDER BY run"))?
                .query_map([experiment.as_str()], RawRun::read)?
                .collect()
        })?;
        rows.into_iter().map(|raw| raw.into_record(self)).collect()
    }

    /// The epochs of a run, in order.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn epochs(&self, key: &RunKey) -> Result<Vec<EpochRecord>, StoreError> {
        self.with(|c| {
            c.prepare(
                "SELECT epoch, loss_bits, digest, seconds, extra FROM epochs
                 WHERE experiment = ?1 AND run = ?2 ORDER BY epoch",
            )?
            .query_map(params![key.experiment.as_str(), key.run], |r| {
                let bits: Option<String> = r.get(1)?;
                let extra: Option<String> = r.get(4)?;
                Ok(EpochRecord {
                    epoch: r.get(0)?,
                    loss_bits: bits.and_then(|b| u64::from_str_radix(&b, 16).ok()),
                    digest: r.get(2)?,
                    seconds: r.get(3)?,
                    extra: extra.and_then(|e| serde_json::from_str(&e).ok()),
                })
            })?
            .collect()
        })
    }

    /// The metrics of a run's split, by name.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn metrics(&self, key: &RunKey, split: &str) -> Result<BTreeMap<String, f64>, StoreError> {
        self.with(|c| {
            c.prepare(
                "SELECT name, value FROM metrics
                 WHERE experiment = ?1 AND run = ?2 AND split = ?3 AND value IS NOT NULL",
            )?
            .query_map(params![key.experiment.as_str(), key.run, split], |r| {
                Ok((r.get(0)?, r.get(1)?))
            })?
            .collect()
        })
    }

    /// Digests of a run's predictions, by split.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn prediction_digests(&self, key: &RunKey) -> Result<BTreeMap<String, String>, StoreError> {
        self.with(|c| {
            c.prepare("SELECT split, digest FROM predictions WHERE experiment = ?1 AND run = ?2")?
                .query_map(params![key.experiment.as_str(), key.run], |r| {
                    Ok((r.get(0)?, r.get(1)?))
                })?
                .collect()
        })
    }

    fn while_running(
        &self,
        key: &RunKey,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        let status = self.transaction(|t| {
            let status = t
                .query_row(
                    "SELECT status FROM runs WHERE experiment = ?1 AND run = ?2",
                    params![key.experiment.as_str(), key.run],
                    |r| r.get::<_, String>(0),
                )
                .optional()?
                .and_then(|text| RunStatus::parse(&text));
            if status == Some(RunStatus::Running) {
                work(t)?;
            }
            Ok(status)
        })?;
        match status {
            Some(RunStatus::Running) => Ok(()),
            Some(status) => Err(over(key, status)),
            None => Err(over(key, RunStatus::Failed)),
        }
    }
}

fn over(key: &RunKey, status: RunStatus) -> StoreError {
    StoreError::RunOver {
        experiment: key.experiment.to_string(),
        run: key.run,
        status: status.as_str(),
    }
}

const SELECT_RUN: &str = "SELECT experiment, run, attempt, status, seed, started_at, finished_at,
    reason, manifest, result FROM runs";

/// A row before its texts are understood.
struct RawRun {
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
}

impl RawRun {
    fn read(r: &Row<'_>) -> rusqlite::Result<Self> {
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
        })
    }

    fn into_record(self, store: &Store) -> Result<RunRecord, StoreError> {
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
            reason: self.reason,
            manifest: json(self.manifest)?,
            result: json(self.result)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use super::*;
    use crate::Evaluation;
    use crate::experiment::tests::example;

    fn started() -> (tempfile::TempDir, Store, RunKey) {
        let (folder, store) = temporary();
        let experiment = example(Evaluation::Buggy);
        store.plan(&[(experiment.clone(), 2)]).unwrap();
        let key = RunKey { experiment: experiment.id(), run: 0 };
        store.begin_run(&key, 5).unwrap();
        (folder, store, key)
    }

    fn epoch(number: u32, loss: f64) -> EpochRecord {
        EpochRecord {
            epoch: number,
            loss_bits: Some(loss.to_bits()),
            digest: "d".into(),
            seconds: 0.5,
            extra: None,
        }
    }

    #[test]
    fn a_run_begun_again_starts_clean() {
        let (_folder, store, key) = started();
        store.put_epoch(&key, &epoch(1, f64::NAN)).unwrap();
        let bits = store.epochs(&key).unwrap()[0].loss_bits.unwrap();
        assert_eq!(bits, f64::NAN.to_bits(), "a NaN loss is data");
        store.put_metrics(&key, "test", "p", &BTreeMap::from([("f1".into(), 0.5)])).unwrap();
        assert_eq!(store.begin_run(&key, 5).unwrap(), 2);
        assert!(store.epochs(&key).unwrap().is_empty());
        assert!(store.metrics(&key, "test").unwrap().is_empty());
        assert!(store.prediction_digests(&key).unwrap().is_empty());
    }

    #[test]
    fn results_are_accepted_once() {
        let (_folder, store, key) = started();
        let result = serde_json::json!({"seconds": 1});
        assert!(store.finish_run(&key, &result).unwrap());
        assert!(!store.finish_run(&key, &serde_json::json!({"seconds": 2})).unwrap());
        assert_eq!(store.run(&key).unwrap().unwrap().result, Some(result));
        assert!(matches!(store.begin_run(&key, 5), Err(StoreError::RunOver { .. })));
        assert!(store.put_epoch(&key, &epoch(9, 1.0)).is_err());
        store.fail_run(&key, "died at exit").unwrap();
        assert_eq!(store.run(&key).unwrap().unwrap().status, RunStatus::Finished);
    }

    #[test]
    fn a_failed_run_keeps_its_reason_and_may_begin_again() {
        let (_folder, store, key) = started();
        store.fail_run(&key, "signal 11").unwrap();
        let run = store.run(&key).unwrap().unwrap();
        assert_eq!((run.status, run.reason.as_deref()), (RunStatus::Failed, Some("signal 11")));
        assert!(store.finish_run(&key, &serde_json::json!({})).is_err());
        assert_eq!(store.begin_run(&key, 5).unwrap(), 2);
        assert_eq!(store.runs(&key.experiment).unwrap().len(), 1);
    }

    #[test]
    fn a_run_that_was_never_begun_takes_nothing() {
        let (_folder, store, key) = started();
        let other = RunKey { run: 1, ..key };
        assert!(store.put_epoch(&other, &epoch(0, 0.0)).is_err());
        assert!(store.finish_run(&other, &serde_json::json!({})).is_err());
        assert_eq!(store.run(&other).unwrap(), None);
    }
}
