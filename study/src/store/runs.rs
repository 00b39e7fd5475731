//! Runs, and what they sent: epochs, metrics, predictions, manifest.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Transaction, params};

use super::run_record::{EpochRecord, RawRun, RunKey, RunRecord, RunStatus, SELECT_RUN};
use super::{Store, StoreError, now};
use crate::{Ending, ExperimentId};

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

    /// Notes how a run's process ended, and in a few words why, whatever its status is.
    ///
    /// # Errors
    /// If writing fails.
    pub fn note_ending(
        &self,
        key: &RunKey,
        ending: Ending,
        reason: &str,
    ) -> Result<(), StoreError> {
        self.with(|c| {
            c.execute(
                "UPDATE runs SET ending = ?3, reason = ?4 WHERE experiment = ?1 AND run = ?2",
                params![key.experiment.as_str(), key.run, ending.as_str(), reason],
            )
        })?;
        Ok(())
    }

    /// Lets a finished run start over, since its results cannot be compared. What it had is kept
    /// among the superseded. Any other run is left as it is.
    ///
    /// # Errors
    /// If it cannot be read or writing fails.
    pub fn supersede_run(&self, key: &RunKey, reason: &str) -> Result<(), StoreError> {
        let Some(run) = self.run(key)?.filter(|run| run.status == RunStatus::Finished) else {
            return Ok(());
        };
        let digests = self.prediction_digests(key)?;
        let mut metrics = BTreeMap::new();
        for split in digests.keys() {
            metrics.insert(split.clone(), self.metrics(key, split)?);
        }
        let record = serde_json::json!({
            "run": run, "epochs": self.epochs(key)?, "metrics": metrics, "predictions": digests,
        });
        self.transaction(|t| {
            t.execute(
                "INSERT INTO superseded VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    key.experiment.as_str(),
                    key.run,
                    run.attempt,
                    reason,
                    record.to_string(),
                    now()
                ],
            )?;
            // Under way and held by nobody: the next to ask for it begins it anew.
            t.execute(
                "UPDATE runs SET status = 'running', result = NULL, ending = NULL, reason = NULL
                 WHERE experiment = ?1 AND run = ?2",
                params![key.experiment.as_str(), key.run],
            )
        })?;
        Ok(())
    }

    /// What the superseded attempts of a run had, the oldest first: the reason, and the record as
    /// JSON.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn superseded(&self, key: &RunKey) -> Result<Vec<(String, String)>, StoreError> {
        self.with(|c| {
            c.prepare(
                "SELECT reason, record FROM superseded
                 WHERE experiment = ?1 AND run = ?2 ORDER BY attempt",
            )?
            .query_map(params![key.experiment.as_str(), key.run], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect()
        })
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
    fn what_is_superseded_is_kept_and_the_run_starts_over() {
        let (_folder, store, key) = started();
        store.put_epoch(&key, &epoch(1, 0.25)).unwrap();
        store.put_metrics(&key, "test", "p", &BTreeMap::from([("f1".into(), 0.5)])).unwrap();
        store.supersede_run(&key, "not finished").unwrap();
        assert_eq!(store.superseded(&key).unwrap(), [], "only finished runs are");
        store.finish_run(&key, &serde_json::json!({})).unwrap();
        store.note_ending(&key, Ending::Crash, "at exit").unwrap();
        assert_eq!(store.run(&key).unwrap().unwrap().ending, Some(Ending::Crash));
        store.supersede_run(&key, "other hardware").unwrap();
        let run = store.run(&key).unwrap().unwrap();
        assert_eq!((run.status, run.ending), (RunStatus::Running, None));
        assert_eq!(store.begin_run(&key, 5).unwrap(), 2);
        let (reason, record) = store.superseded(&key).unwrap().remove(0);
        assert_eq!(reason, "other hardware");
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["run"]["status"], "finished");
        assert_eq!(record["metrics"]["test"]["f1"], 0.5);
        assert_eq!(record["epochs"][0]["epoch"], 1);
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
