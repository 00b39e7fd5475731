//! What a reader beside the writing process asks for: many rows at once, without the texts that
//! only one row's page needs.

use rusqlite::{Row, params};

use super::{RunKey, RunStatus, Store, StoreError};
use crate::{Experiment, ExperimentId};

/// An experiment as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct ExperimentState {
    /// Its identifier: to compute it from the attributes for every row would cost more than to
    /// read it.
    pub id: ExperimentId,
    /// Its attributes.
    pub experiment: Experiment,
    /// Runs asked for.
    pub target: u32,
    /// Whether it belongs to the newest plan of its bug.
    pub active: bool,
    /// Why its runs cannot be compared, if they cannot.
    pub invalid: Option<String>,
    /// When it was first planned (RFC 3339).
    pub planned_at: String,
    /// Runs whose results were accepted.
    pub finished: u32,
    /// Runs that ended without results.
    pub failed: u32,
    /// Runs that were begun and have not ended.
    pub running: u32,
    /// Why its first failed run failed.
    pub failure: Option<String>,
}

/// A run as it stands, without its manifest and results.
#[derive(Debug, Clone, PartialEq)]
pub struct RunState {
    /// Which run.
    pub key: RunKey,
    /// How often it was begun.
    pub attempt: u32,
    /// Where it stands.
    pub status: RunStatus,
    /// Its seed.
    pub seed: Option<u32>,
    /// When the last attempt began (RFC 3339).
    pub started_at: String,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Why it failed, or what was odd though it finished.
    pub reason: Option<String>,
    /// The last epoch it reported; 0 is the state after initialisation.
    pub epoch: Option<u32>,
    /// Seconds that its epochs took together.
    pub seconds: f64,
}

/// One epoch of one run of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct EpochPoint {
    /// The run.
    pub run: u32,
    /// The epoch.
    pub epoch: u32,
    /// The mean training loss; none at epoch 0.
    pub loss: Option<f64>,
    /// SHA-256 of the parameters.
    pub digest: String,
    /// Seconds it took.
    pub seconds: f64,
}

/// One metric of one run of an experiment.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricPoint {
    /// The run.
    pub run: u32,
    /// The split.
    pub split: String,
    /// The metric's name.
    pub name: String,
    /// Its value.
    pub value: f64,
}

const RUN_STATE: &str = "SELECT r.experiment, r.run, r.attempt, r.status, r.seed, r.started_at,
    r.finished_at, r.reason, max(e.epoch), coalesce(sum(e.seconds), 0)
    FROM runs r LEFT JOIN epochs e ON e.experiment = r.experiment AND e.run = r.run";

impl Store {
    /// A number that changes when another connection commits to the store.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn data_version(&self) -> Result<i64, StoreError> {
        self.with(|c| c.pragma_query_value(None, "data_version", |r| r.get(0)))
    }

    /// Every experiment, those of earlier plans too: by bug, the active ones first, then by
    /// evaluation and the time they were planned.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn experiment_states(&self) -> Result<Vec<ExperimentState>, StoreError> {
        let rows: Vec<(String, String, ExperimentStateRow)> = self.with(|c| {
            c.prepare_cached(
                "SELECT x.attributes, x.target, x.active, coalesce(x.invalid, x.unpaired), x.planned_at,
                   count(CASE r.status WHEN 'finished' THEN 1 END),
                   count(CASE r.status WHEN 'failed' THEN 1 END),
                   count(CASE r.status WHEN 'running' THEN 1 END),
                   (SELECT reason FROM runs f WHERE f.experiment = x.id AND f.status = 'failed'
                    ORDER BY f.run LIMIT 1), x.id
                 FROM experiments x LEFT JOIN runs r ON r.experiment = x.id
                 GROUP BY x.id ORDER BY x.bug, x.active DESC, x.evaluation, x.planned_at, x.id",
            )?
            .query_map([], |r| {
                let row = ExperimentStateRow {
                    target: r.get(1)?,
                    active: r.get(2)?,
                    invalid: r.get(3)?,
                    planned_at: r.get(4)?,
                    finished: r.get(5)?,
                    failed: r.get(6)?,
                    running: r.get(7)?,
                    failure: r.get(8)?,
                };
                Ok((r.get(9)?, r.get(0)?, row))
            })?
            .collect()
        })?;
        rows.into_iter()
            .map(|(id, json, row)| {
                let id = ExperimentId::new(id).map_err(|e| self.damaged("an experiment", e))?;
                let experiment =
                    serde_json::from_str(&json).map_err(|e| self.damaged("an experiment", e))?;
                Ok(row.of(id, experiment))
            })
            .collect()
    }

    /// The runs of an experiment, by number.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn run_states(&self, experiment: &ExperimentId) -> Result<Vec<RunState>, StoreError> {
        let rows = self.with(|c| {
            c.prepare_cached(&format!(
                "{RUN_STATE} WHERE r.experiment = ?1 GROUP BY r.experiment, r.run ORDER BY r.run"
            ))?
            .query_map([experiment.as_str()], RunStateRow::read)?
            .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter().map(|row| row.state(self)).collect()
    }

    /// All runs that were begun and have not ended, the latest first.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn runs_under_way(&self) -> Result<Vec<RunState>, StoreError> {
        let rows = self.with(|c| {
            c.prepare_cached(&format!(
                "{RUN_STATE} WHERE r.status = 'running' GROUP BY r.experiment, r.run
                 ORDER BY r.started_at DESC, r.experiment, r.run"
            ))?
            .query_map([], RunStateRow::read)?
            .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        rows.into_iter().map(|row| row.state(self)).collect()
    }

    /// Every epoch of every run of an experiment, by run and epoch.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn epoch_points(&self, experiment: &ExperimentId) -> Result<Vec<EpochPoint>, StoreError> {
        self.with(|c| {
            c.prepare_cached(
                "SELECT run, epoch, loss_bits, digest, seconds FROM epochs WHERE experiment = ?1
                 ORDER BY run, epoch",
            )?
            .query_map([experiment.as_str()], |r| {
                let bits: Option<String> = r.get(2)?;
                let bits = bits.and_then(|b| u64::from_str_radix(&b, 16).ok());
                Ok(EpochPoint {
                    run: r.get(0)?,
                    epoch: r.get(1)?,
                    loss: bits.map(f64::from_bits),
                    digest: r.get(3)?,
                    seconds: r.get(4)?,
                })
            })?
            .collect()
        })
    }

    /// The finished runs of an experiment with their seeds, by number.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn finished_runs(
        &self,
        experiment: &ExperimentId,
    ) -> Result<Vec<(u32, Option<u32>)>, StoreError> {
        self.with(|c| {
            c.prepare_cached(
                "SELECT run, seed FROM runs WHERE experiment = ?1 AND status = 'finished'
                 ORDER BY run",
            )?
            .query_map([experiment.as_str()], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect()
        })
    }

    /// Every metric of every finished run of an experiment, by run, split and name.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn metric_points(&self, experiment: &ExperimentId) -> Result<Vec<MetricPoint>, StoreError> {
        self.with(|c| {
            c.prepare_cached(
                "SELECT m.run, m.split, m.name, m.value FROM metrics m
                 JOIN runs r ON r.experiment = m.experiment AND r.run = m.run
                 WHERE m.experiment = ?1 AND m.value IS NOT NULL AND r.status = 'finished'
                 ORDER BY m.run, m.split, m.name",
            )?
            .query_map([experiment.as_str()], |r| {
                Ok(MetricPoint {
                    run: r.get(0)?,
                    split: r.get(1)?,
                    name: r.get(2)?,
                    value: r.get(3)?,
                })
            })?
            .collect()
        })
    }

    /// Digests of the predictions of an experiment's runs: run, split, digest.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn prediction_points(
        &self,
        experiment: &ExperimentId,
    ) -> Result<Vec<(u32, String, String)>, StoreError> {
        self.with(|c| {
            c.prepare_cached(
                "SELECT run, split, digest FROM predictions WHERE experiment = ?1
                 ORDER BY run, split",
            )?
            .query_map(params![experiment.as_str()], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?
            .collect()
        })
    }
}

struct ExperimentStateRow {
    target: u32,
    active: bool,
    invalid: Option<String>,
    planned_at: String,
    finished: u32,
    failed: u32,
    running: u32,
    failure: Option<String>,
}

impl ExperimentStateRow {
    fn of(self, id: ExperimentId, experiment: Experiment) -> ExperimentState {
        ExperimentState {
            id,
            experiment,
            target: self.target,
            active: self.active,
            invalid: self.invalid,
            planned_at: self.planned_at,
            finished: self.finished,
            failed: self.failed,
            running: self.running,
            failure: self.failure,
        }
    }
}

/// A row before its texts are understood.
struct RunStateRow {
    experiment: String,
    run: u32,
    attempt: u32,
    status: String,
    seed: Option<u32>,
    started_at: String,
    finished_at: Option<String>,
    reason: Option<String>,
    epoch: Option<u32>,
    seconds: f64,
}

impl RunStateRow {
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
            epoch: r.get(8)?,
            seconds: r.get(9)?,
        })
    }

    fn state(self, store: &Store) -> Result<RunState, StoreError> {
        let what = format!("run {} of {}", self.run, self.experiment);
        let status = RunStatus::parse(&self.status)
            .ok_or_else(|| store.damaged(&what, format!("its status is `{}`", self.status)))?;
        let experiment =
            ExperimentId::new(self.experiment).map_err(|error| store.damaged(&what, error))?;
        Ok(RunState {
            key: RunKey { experiment, run: self.run },
            attempt: self.attempt,
            status,
            seed: self.seed,
            started_at: self.started_at,
            finished_at: self.finished_at,
            reason: self.reason,
            epoch: self.epoch,
            seconds: self.seconds,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EpochRecord, temporary};
    use super::*;
    use crate::Evaluation;
    use crate::experiment::tests::example;

    fn epoch(epoch: u32, loss: f64) -> EpochRecord {
        let loss_bits = (epoch > 0).then(|| loss.to_bits());
        EpochRecord { epoch, loss_bits, digest: format!("d{epoch}"), seconds: 0.5, extra: None }
    }

    #[test]
    fn many_rows_are_read_at_once() {
        let (folder, store) = temporary();
        let (buggy, corrected) = (example(Evaluation::Buggy), example(Evaluation::Corrected));
        store.plan(&[(buggy.clone(), 3), (corrected.clone(), 3)]).unwrap();
        let reader = Store::open_read_only(&folder.path().join("study.db")).unwrap();
        let before = reader.data_version().unwrap();
        for run in 0..3 {
            let key = RunKey { experiment: buggy.id(), run };
            store.begin_run(&key, 7 + run).unwrap();
            store.put_epoch(&key, &epoch(0, 0.0)).unwrap();
            store.put_epoch(&key, &epoch(1, f64::INFINITY)).unwrap();
            let metrics = [("accuracy".to_owned(), 0.5)].into();
            store.put_metrics(&key, "test", "p", &metrics).unwrap();
        }
        store.finish_run(&RunKey { experiment: buggy.id(), run: 0 }, &1.into()).unwrap();
        store.fail_run(&RunKey { experiment: buggy.id(), run: 1 }, "signal 11").unwrap();
        assert_ne!(reader.data_version().unwrap(), before, "what others write is seen");

        let states = reader.experiment_states().unwrap();
        assert_eq!(states.len(), 2);
        assert_eq!(states[0].experiment, buggy);
        assert_eq!((states[0].finished, states[0].failed, states[0].running), (1, 1, 1));
        assert_eq!(states[0].failure.as_deref(), Some("signal 11"));
        assert_eq!((states[1].finished, states[1].target), (0, 3));

        let runs = reader.run_states(&buggy.id()).unwrap();
        assert_eq!(
            runs.iter().map(|r| r.status).collect::<Vec<_>>(),
            [RunStatus::Finished, RunStatus::Failed, RunStatus::Running]
        );
        assert_eq!((runs[2].epoch, runs[2].seconds, runs[2].seed), (Some(1), 1.0, Some(9)));
        let under_way = reader.runs_under_way().unwrap();
        assert_eq!(under_way.len(), 1);
        assert_eq!(under_way[0].key, RunKey { experiment: buggy.id(), run: 2 });

        let points = reader.epoch_points(&buggy.id()).unwrap();
        assert_eq!(points.len(), 6);
        assert_eq!((points[0].loss, points[1].loss), (None, Some(f64::INFINITY)));
        assert_eq!(reader.metric_points(&buggy.id()).unwrap().len(), 1, "of finished runs alone");
        assert_eq!(reader.prediction_points(&buggy.id()).unwrap().len(), 3);
        assert!(reader.run_states(&corrected.id()).unwrap().is_empty());
    }

    #[test]
    fn an_earlier_plan_stays_visible() {
        let (_folder, store) = temporary();
        let buggy = example(Evaluation::Buggy);
        store.plan(&[(buggy.clone(), 3)]).unwrap();
        let mut longer = buggy.clone();
        longer.hyperparameters.epochs += 1;
        store.plan(&[(longer.clone(), 4)]).unwrap();
        let states = store.experiment_states().unwrap();
        assert_eq!((states[0].active, &states[0].experiment), (true, &longer));
        assert_eq!((states[1].active, &states[1].experiment), (false, &buggy));
    }
}
