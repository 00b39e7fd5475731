//! How many runs each side has, and which artifacts results rest on, without reading the runs.

use crate::{ArtifactId, BugId, Evaluation, Experiment, ExperimentId};

use super::{Store, StoreError};

/// The runs of one side in the newest plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunCounts {
    /// The bug.
    pub bug: BugId,
    /// The side.
    pub evaluation: Evaluation,
    /// Runs asked for.
    pub target: u32,
    /// Runs that finished.
    pub finished: u32,
    /// Runs that failed.
    pub failed: u32,
    /// Runs that began and are not over.
    pub running: u32,
}

/// An artifact that an experiment was planned with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactUse {
    /// The artifact.
    pub artifact: ArtifactId,
    /// Whether the experiment belongs to the newest plan.
    pub active: bool,
    /// Runs of the experiment that the store knows.
    pub runs: u32,
}

impl Store {
    /// The runs of every side of the newest plan, by bug and side.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn run_counts(&self) -> Result<Vec<RunCounts>, StoreError> {
        let rows: Vec<(String, String, [u32; 4])> = self.with(|c| {
            c.prepare_cached(
                "SELECT e.bug, e.evaluation, e.target,
                        count(*) FILTER (WHERE r.status = 'finished'),
                        count(*) FILTER (WHERE r.status = 'failed'),
                        count(*) FILTER (WHERE r.status = 'running')
                 FROM experiments e LEFT JOIN runs r ON r.experiment = e.id
                 WHERE e.active = 1 GROUP BY e.id ORDER BY e.bug, e.evaluation, e.id",
            )?
            .query_map([], |r| {
                Ok((r.get(0)?, r.get(1)?, [r.get(2)?, r.get(3)?, r.get(4)?, r.get(5)?]))
            })?
            .collect()
        })?;
        rows.into_iter()
            .map(|(bug, evaluation, [target, finished, failed, running])| {
                Ok(RunCounts {
                    bug: BugId::new(bug).map_err(|e| self.damaged("an experiment's bug", e))?,
                    evaluation: evaluation
                        .parse()
                        .map_err(|e| self.damaged("an experiment's evaluation", e))?,
                    target,
                    finished,
                    failed,
                    running,
                })
            })
            .collect()
    }

    /// Every experiment that was ever planned.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn experiment_ids(&self) -> Result<Vec<ExperimentId>, StoreError> {
        let ids: Vec<String> = self.with(|c| {
            c.prepare_cached("SELECT id FROM experiments ORDER BY id")?
                .query_map([], |r| r.get(0))?
                .collect()
        })?;
        ids.into_iter()
            .map(|id| id.parse().map_err(|e| self.damaged("an experiment's name", e)))
            .collect()
    }

    /// Every experiment's artifact, with how many runs rest on it.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn artifact_uses(&self) -> Result<Vec<ArtifactUse>, StoreError> {
        let rows: Vec<(String, String, bool, u32)> = self.with(|c| {
            c.prepare_cached(
                "SELECT e.id, e.attributes, e.active, count(r.run)
                 FROM experiments e LEFT JOIN runs r ON r.experiment = e.id
                 GROUP BY e.id ORDER BY e.id",
            )?
            .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)))?
            .collect()
        })?;
        rows.into_iter()
            .map(|(id, attributes, active, runs)| {
                let experiment: Experiment = serde_json::from_str(&attributes)
                    .map_err(|error| self.damaged(format!("experiment {id}"), error))?;
                Ok(ArtifactUse { artifact: experiment.artifact, active, runs })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::store::{RunKey, temporary};

    #[test]
    fn runs_are_counted_by_side() {
        let (_folder, store) = temporary();
        let experiment = crate::experiment::tests::example(crate::Evaluation::Buggy);
        store.plan(&[(experiment.clone(), 3)]).unwrap();
        let counts = store.run_counts().unwrap();
        assert_eq!((counts[0].target, counts[0].finished, counts[0].running), (3, 0, 0));
        assert_eq!(store.artifact_uses().unwrap()[0].runs, 0);

        let key = |run| RunKey { experiment: experiment.id(), run };
        for run in 0..2 {
            let seed = store.issue_seed(&experiment, run).unwrap();
            store.begin_run(&key(run), seed).unwrap();
        }
        store.fail_run(&key(1), "it was ended").unwrap();
        let counts = store.run_counts().unwrap();
        assert_eq!((counts[0].running, counts[0].failed), (1, 1));
        let used = store.artifact_uses().unwrap();
        assert_eq!((used[0].artifact.clone(), used[0].runs), (experiment.artifact, 2));
    }
}
