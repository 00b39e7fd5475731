//! Planned experiments.

use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, now};
use crate::{Experiment, ExperimentId};

impl Store {
    /// Plans experiments with their number of runs. They become the active ones of their bugs;
    /// earlier experiments of the same bugs stay, with their runs, but are compared no more.
    ///
    /// # Errors
    /// If writing fails.
    pub fn plan(&self, experiments: &[(Experiment, u32)]) -> Result<(), StoreError> {
        let mut rows = Vec::with_capacity(experiments.len());
        for (experiment, target) in experiments {
            let json =
                serde_json::to_string(experiment).map_err(|e| self.damaged("experiment", e))?;
            rows.push((experiment, target, json));
        }
        self.transaction(|t| {
            for (experiment, _, _) in &rows {
                t.execute(
                    "UPDATE experiments SET active = 0 WHERE bug = ?1",
                    [experiment.bug.as_str()],
                )?;
            }
            for (experiment, target, json) in &rows {
                t.execute(
                    "INSERT INTO experiments VALUES (?1, ?2, ?3, ?4, ?5, 1, NULL, ?6)
                     ON CONFLICT (id) DO UPDATE SET target = ?5, active = 1",
                    params![
                        experiment.id().as_str(),
                        experiment.bug.as_str(),
                        experiment.evaluation.as_str(),
                        json,
                        target,
                        now()
                    ],
                )?;
            }
            Ok(())
        })
    }

    /// One experiment.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn experiment(&self, id: &ExperimentId) -> Result<Option<Experiment>, StoreError> {
        let json: Option<String> = self.with(|c| {
            c.query_row("SELECT attributes FROM experiments WHERE id = ?1", [id.as_str()], |r| {
                r.get(0)
            })
            .optional()
        })?;
        json.map(|json| {
            serde_json::from_str(&json).map_err(|e| self.damaged(format!("experiment {id}"), e))
        })
        .transpose()
    }

    /// The active experiments with the runs asked of each, by bug and evaluation.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn active_experiments(&self) -> Result<Vec<(Experiment, u32)>, StoreError> {
        let rows: Vec<(String, u32)> = self.with(|c| {
            c.prepare(
                "SELECT attributes, target FROM experiments WHERE active = 1
                 ORDER BY bug, evaluation, id",
            )?
            .query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?
            .collect()
        })?;
        rows.into_iter()
            .map(|(json, target)| {
                let experiment =
                    serde_json::from_str(&json).map_err(|e| self.damaged("an experiment", e))?;
                Ok((experiment, target))
            })
            .collect()
    }

    /// Marks an experiment whose runs cannot be compared, with the reason. The first reason stays.
    ///
    /// # Errors
    /// If writing fails.
    pub fn mark_invalid(&self, id: &ExperimentId, reason: &str) -> Result<(), StoreError> {
        self.with(|c| {
            c.execute(
                "UPDATE experiments SET invalid = ?2 WHERE id = ?1 AND invalid IS NULL",
                params![id.as_str(), reason],
            )
        })?;
        Ok(())
    }

    /// Why an experiment's runs cannot be compared, if they cannot.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn invalid_reason(&self, id: &ExperimentId) -> Result<Option<String>, StoreError> {
        self.with(|c| {
            c.query_row("SELECT invalid FROM experiments WHERE id = ?1", [id.as_str()], |r| {
                r.get(0)
            })
            .optional()
            .map(Option::flatten)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::temporary;
    use crate::Evaluation;
    use crate::experiment::tests::example;

    #[test]
    fn a_new_plan_retires_the_old_one_of_the_same_bug() {
        let (_folder, store) = temporary();
        let (buggy, corrected) = (example(Evaluation::Buggy), example(Evaluation::Corrected));
        store.plan(&[(buggy.clone(), 5), (corrected.clone(), 5)]).unwrap();
        store.plan(&[(buggy.clone(), 9), (corrected, 9)]).unwrap();
        let active = store.active_experiments().unwrap();
        assert_eq!(active.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [9, 9]);
        let mut longer = buggy.clone();
        longer.hyperparameters.epochs += 1;
        store.plan(&[(longer.clone(), 3)]).unwrap();
        assert_eq!(store.active_experiments().unwrap(), [(longer, 3)]);
        assert_eq!(store.experiment(&buggy.id()).unwrap(), Some(buggy));
    }

    #[test]
    fn the_first_reason_stays() {
        let (_folder, store) = temporary();
        let experiment = example(Evaluation::Buggy);
        store.plan(&[(experiment.clone(), 1)]).unwrap();
        let id = experiment.id();
        assert_eq!(store.invalid_reason(&id).unwrap(), None);
        store.mark_invalid(&id, "a wrong seed").unwrap();
        store.mark_invalid(&id, "another").unwrap();
        assert_eq!(store.invalid_reason(&id).unwrap().as_deref(), Some("a wrong seed"));
    }
}
