//! What a call of `run` left: the final table.

use std::collections::BTreeMap;

use serde::Serialize;
use study::{BugId, Ending, Evaluation, ExperimentId, Factor, RunStatus, Store, StoreError};

use crate::plan::Plan;

/// One side of one bug, after the runs.
#[derive(Debug, Clone, Serialize)]
pub struct SideSummary {
    /// The bug.
    pub bug: BugId,
    /// The side.
    pub evaluation: Evaluation,
    /// The experiment.
    pub experiment: ExperimentId,
    /// Runs asked for.
    pub asked: u32,
    /// Runs finished.
    pub finished: usize,
    /// Runs failed.
    pub failed: usize,
    /// Why its runs may not be compared, else the first line of the first failure.
    pub reason: Option<String>,
    /// Whether its runs may not be compared.
    pub invalid: bool,
    /// Factors that may differ from the other side.
    pub allowed: Vec<Factor>,
    /// What differs of them.
    pub tolerated: Option<String>,
    /// Its runs that did not simply end well, by how they ended.
    pub endings: Vec<EndingSummary>,
}

/// Runs of one side that ended in one way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndingSummary {
    /// How they ended.
    pub ending: Ending,
    /// Whether their results had been accepted before.
    pub after_acceptance: bool,
    /// Whether they start over at the next call.
    pub starts_over: bool,
    /// Which runs.
    pub runs: Vec<u32>,
    /// The first line of the first one's reason.
    pub reason: String,
}

/// What a call of `run` left.
#[derive(Debug, Clone, Serialize)]
pub struct RunSummary {
    /// Each side of each bug.
    pub sides: Vec<SideSummary>,
    /// Runs that this call made.
    pub made: usize,
}

impl RunSummary {
    /// Whether every run that was asked for is finished and comparable.
    pub fn is_complete(&self) -> bool {
        self.sides.iter().all(|s| s.finished >= s.asked as usize && !s.invalid)
    }
}

pub(crate) fn summarise(store: &Store, plan: &Plan) -> Result<RunSummary, StoreError> {
    let mut sides = Vec::new();
    for (experiment, asked) in &plan.experiments {
        let id = experiment.id();
        let runs = store.runs(&id)?;
        let count = |status| runs.iter().filter(|run| run.status == status).count();
        let first_line = |reason: &Option<String>| {
            reason.as_deref().and_then(|text| text.lines().next()).unwrap_or_default().to_owned()
        };
        let mut endings: BTreeMap<(Ending, bool, bool), EndingSummary> = BTreeMap::new();
        for run in &runs {
            let Some(ending) = run.ending else { continue };
            let after_acceptance = run.status == RunStatus::Finished;
            let starts_over = run.status == RunStatus::Running;
            let group = (ending, after_acceptance, starts_over);
            let summary = endings.entry(group).or_insert_with(|| EndingSummary {
                ending,
                after_acceptance,
                starts_over,
                runs: Vec::new(),
                reason: first_line(&run.reason),
            });
            summary.runs.push(run.key.run);
        }
        let failure = runs.iter().find(|run| run.status == RunStatus::Failed);
        let lost = runs.iter().find(|run| run.status == RunStatus::Running && run.reason.is_some());
        let invalid = store.invalid_reason(&id)?;
        sides.push(SideSummary {
            bug: experiment.bug.clone(),
            evaluation: experiment.evaluation,
            asked: *asked,
            finished: count(RunStatus::Finished),
            failed: count(RunStatus::Failed),
            invalid: invalid.is_some(),
            reason: invalid.or_else(|| failure.or(lost).map(|run| first_line(&run.reason))),
            allowed: store.allowed(&id)?.into_iter().collect(),
            tolerated: store.tolerated(&id)?,
            endings: endings.into_values().collect(),
            experiment: id,
        });
    }
    Ok(RunSummary { sides, made: plan.missing.len() })
}
