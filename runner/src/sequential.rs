//! Carrying out a plan look by look: what was declared may end a comparison before all its runs
//! are made.
//!
//! What a look concludes is not known here: it is asked of a [`Judge`] that the caller hands in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use server::ServerConfig;
use study::{ExperimentId, Store, Study};

use crate::execute::{Progress, RunError, RunOptions, execute};
use crate::launch::Launcher;
use crate::plan::Plan;
use crate::summary::{RunSummary, summarise};

/// The experiments that go no further, with the runs that the design asks of each.
pub type Ended = BTreeMap<ExperimentId, u32>;

/// Takes looks.
pub trait Judge {
    /// Why a look cannot be taken.
    type Error;

    /// Runs a side after which there is something to look at, in order; the last is all of them.
    fn stops(&self) -> Vec<u32>;

    /// What goes no further, by the looks that were taken so far.
    fn ended(&self) -> Ended;

    /// Looks at the runs that are there after `runs` runs a side. What is concluded is on disk when
    /// it returns; looks that were taken before are not taken again.
    ///
    /// # Errors
    /// If a look cannot be taken or recorded.
    fn look(&mut self, runs: u32) -> Result<(), Self::Error>;
}

/// Why a plan could not be carried out look by look.
#[derive(Debug)]
pub enum LookError<E> {
    /// The runs.
    Run(RunError),
    /// A look.
    Look(E),
}

/// The part of `plan` that leads to `runs` runs a side: a beginning of each experiment that has not
/// ended, in the plan's order.
pub fn part(plan: &Plan, runs: u32, ended: &Ended) -> Plan {
    let missing = plan
        .missing
        .iter()
        .filter(|run| run.key.run < runs && !ended.contains_key(&run.key.experiment));
    let asked = plan.experiments.iter().map(|(experiment, _)| {
        let asked = ended.get(&experiment.id()).copied().unwrap_or(runs);
        (experiment.clone(), asked)
    });
    Plan { missing: missing.cloned().collect(), experiments: asked.collect(), ..plan.clone() }
}

/// Carries out `plan` from look to look. What a look ends makes no more runs; the others keep the
/// order they have in the plan. The runs that the store asks of an experiment follow.
///
/// # Errors
/// See [`RunError`], and whatever the judge says. What was finished before stays finished.
#[expect(clippy::too_many_arguments, reason = "those of `execute`, and the judge")]
pub async fn execute_by_looks<L: Launcher, J: Judge>(
    study: Arc<Study>,
    store: Arc<Store>,
    plan: &Plan,
    judge: &mut J,
    launcher: &L,
    config: ServerConfig,
    options: &RunOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<RunSummary, LookError<J::Error>> {
    let stops = judge.stops();
    let all = stops.last().copied().unwrap_or(0);
    let mut tried = BTreeSet::new();
    for runs in stops {
        let mut next = part(plan, runs, &judge.ended());
        // The plan is of before the first look: what failed since then failed for this call.
        next.missing.retain(|run| tried.insert(run.key.clone()));
        let (study, again) = (study.clone(), store.clone());
        let summary = execute(study, again, &next, launcher, config.clone(), options, progress);
        summary.await.map_err(LookError::Run)?;
        judge.look(runs).map_err(LookError::Look)?;
        let asked = part(plan, all, &judge.ended()).experiments;
        store.plan(&asked).map_err(|error| LookError::Run(error.into()))?;
    }
    let summary = summarise(&store, &part(plan, all, &judge.ended()));
    let summary = summary.map_err(|error| LookError::Run(error.into()))?;
    Ok(RunSummary { made: tried.len(), ..summary })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Overrides;
    use crate::plan::tests::{planned, study_with};

    #[test]
    fn what_leads_to_a_look_is_a_beginning_of_the_plan() {
        let (_folder, study, store) = study_with(&[(1, true), (2, true)]);
        let plan = planned(&study, &store, &Overrides::default()).unwrap();
        let names = |plan: &Plan| -> Vec<String> {
            plan.missing.iter().map(|run| run.key.to_string()).collect()
        };
        let all = names(&plan);
        let first = part(&plan, 2, &Ended::new());
        assert_eq!(names(&first), all[..2 * 2 * 2]);
        assert!(first.experiments.iter().all(|(_, asked)| *asked == 2));

        // What has ended makes no more runs, and the others keep their order.
        let over: Vec<_> = plan
            .experiments
            .iter()
            .map(|(experiment, _)| experiment)
            .filter(|experiment| experiment.bug.as_str() == "pr1")
            .map(|experiment| (experiment.id(), 2))
            .collect();
        let rest = part(&plan, 4, &over.into_iter().collect());
        let left: Vec<&String> = all.iter().filter(|name| name.starts_with("pr2-")).collect();
        assert_eq!(names(&rest).iter().collect::<Vec<_>>(), left);
        let asked: Vec<u32> = rest.experiments.iter().map(|(_, asked)| *asked).collect();
        assert_eq!(asked, [2, 2, 4, 4]);
    }
}
