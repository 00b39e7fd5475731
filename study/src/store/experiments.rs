//! Planned experiments.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::{OptionalExtension, params};

use super::{Store, StoreError, now};
use crate::{BugId, Evaluation, Experiment, ExperimentId, Factor};

impl Store {
    /// Plans experiments with their number of runs. They become the active ones of their bugs;
    /// earlier experiments of the same bugs stay, with their runs, but are compared no more. Only a
    /// negative control stays active beside a new plan that has its design and its artifact.
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
        let mut by_bug: BTreeMap<&BugId, Vec<&Experiment>> = BTreeMap::new();
        for (experiment, _) in experiments {
            by_bug.entry(&experiment.bug).or_default().push(experiment);
        }
        let retired: Vec<ExperimentId> = self
            .active_experiments()?
            .into_iter()
            .filter(|(old, _)| {
                by_bug.get(&old.bug).is_some_and(|new| !new.iter().any(|new| controls(old, new)))
            })
            .map(|(old, _)| old.id())
            .collect();
        self.transaction(|t| {
            for id in &retired {
                t.execute("UPDATE experiments SET active = 0 WHERE id = ?1", [id.as_str()])?;
            }
            for (experiment, target, json) in &rows {
                t.execute(
                    "INSERT INTO experiments
                         (id, bug, evaluation, attributes, target, active, planned_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6)
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

    /// Marks an experiment whose runs cannot be trusted, with the reason. The first reason stays.
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

    /// Says how an experiment's runs differ from those of the other side in more than the
    /// artifact; `None` once they agree.
    ///
    /// # Errors
    /// If writing fails.
    pub fn set_unpaired(
        &self,
        id: &ExperimentId,
        difference: Option<&str>,
    ) -> Result<(), StoreError> {
        self.with(|c| {
            c.execute(
                "UPDATE experiments SET unpaired = ?2 WHERE id = ?1",
                params![id.as_str(), difference],
            )
        })?;
        Ok(())
    }

    /// The factors that may differ between an experiment and the other side.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn allowed(&self, id: &ExperimentId) -> Result<BTreeSet<Factor>, StoreError> {
        let json: Option<String> = self.with(|c| {
            c.query_row("SELECT allowed FROM experiments WHERE id = ?1", [id.as_str()], |r| {
                r.get(0)
            })
            .optional()
        })?;
        json.map_or(Ok(BTreeSet::new()), |json| {
            serde_json::from_str(&json).map_err(|e| self.damaged(format!("experiment {id}"), e))
        })
    }

    /// Says which factors may differ between an experiment and the other side.
    ///
    /// # Errors
    /// If writing fails.
    pub fn allow(&self, id: &ExperimentId, factors: &BTreeSet<Factor>) -> Result<(), StoreError> {
        let json = serde_json::to_string(factors).map_err(|e| self.damaged("allowances", e))?;
        self.with(|c| {
            c.execute(
                "UPDATE experiments SET allowed = ?2 WHERE id = ?1",
                params![id.as_str(), json],
            )
        })?;
        Ok(())
    }

    /// Says what differs between an experiment and the other side and is allowed to.
    ///
    /// # Errors
    /// If writing fails.
    pub fn set_tolerated(
        &self,
        id: &ExperimentId,
        difference: Option<&str>,
    ) -> Result<(), StoreError> {
        self.with(|c| {
            c.execute(
                "UPDATE experiments SET tolerated = ?2 WHERE id = ?1",
                params![id.as_str(), difference],
            )
        })?;
        Ok(())
    }

    /// What differs between an experiment and the other side and is allowed to.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn tolerated(&self, id: &ExperimentId) -> Result<Option<String>, StoreError> {
        self.with(|c| {
            c.query_row("SELECT tolerated FROM experiments WHERE id = ?1", [id.as_str()], |r| {
                r.get(0)
            })
            .optional()
            .map(Option::flatten)
        })
    }

    /// Why an experiment's runs cannot be compared, if they cannot.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn invalid_reason(&self, id: &ExperimentId) -> Result<Option<String>, StoreError> {
        self.with(|c| {
            c.query_row(
                "SELECT coalesce(invalid, unpaired) FROM experiments WHERE id = ?1",
                [id.as_str()],
                |r| r.get(0),
            )
            .optional()
            .map(Option::flatten)
        })
    }
}

/// Whether `control` is the negative control of what `planned` is: the same artifact and design.
fn controls(control: &Experiment, planned: &Experiment) -> bool {
    control.evaluation == Evaluation::Aa
        && planned.evaluation == Evaluation::Corrected
        && control.artifact == planned.artifact
        && control.pair_key() == planned.pair_key()
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
    fn a_negative_control_stays_beside_a_plan_of_its_design_alone() {
        let (_folder, store) = temporary();
        let pair = [Evaluation::Buggy, Evaluation::Corrected].map(|side| (example(side), 4));
        let control = example(Evaluation::Aa);
        assert_eq!(control.seed(3), pair[1].0.seed(3), "the same design has the same seeds");
        store.plan(&[&pair[..], &[(control.clone(), 4)]].concat()).unwrap();
        let active = || -> Vec<Evaluation> {
            let active = store.active_experiments().unwrap();
            active.into_iter().map(|(experiment, _)| experiment.evaluation).collect()
        };
        assert_eq!(active(), [Evaluation::Aa, Evaluation::Buggy, Evaluation::Corrected]);
        store.plan(&pair).unwrap();
        assert_eq!(active(), [Evaluation::Aa, Evaluation::Buggy, Evaluation::Corrected]);
        let longer = pair.map(|(mut experiment, runs)| {
            experiment.hyperparameters.epochs += 1;
            (experiment, runs)
        });
        store.plan(&longer).unwrap();
        assert_eq!(active(), [Evaluation::Buggy, Evaluation::Corrected]);
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
