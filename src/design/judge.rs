//! Taking and recording looks.

use std::collections::{BTreeMap, BTreeSet};

use runner::Ended;
use stats::sequential::{Judge, Subject};
use stats::store::StudyResultsError;
use study::design::{Look, Record};
use study::{ExperimentId, RunStatus, Store, Study};

use super::explain;
use crate::failure::Failure;

/// The looks of a study's design.
pub struct Looks<'a> {
    study: &'a Study,
    store: &'a Store,
    record: Record,
    subjects: Vec<Subject>,
    /// Comparisons that wait in this call, with the reason.
    held: BTreeMap<usize, String>,
}

impl<'a> Looks<'a> {
    pub(super) fn new(
        study: &'a Study,
        store: &'a Store,
        record: Record,
        subjects: Vec<Subject>,
    ) -> Self {
        Self { study, store, record, subjects, held: BTreeMap::new() }
    }

    /// What was declared and looked at.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Comparisons that wait for runs, with the reason.
    pub fn held(&self) -> impl Iterator<Item = (&Subject, &str)> {
        self.held.iter().filter_map(|(place, why)| Some((self.subjects.get(*place)?, why.as_str())))
    }

    /// The next number of runs a side at which there is something to look at.
    pub fn next_stop(&self) -> u32 {
        let open = |runs: &u32| {
            self.subjects.iter().any(|subject| {
                self.last(subject).is_none_or(|look| look.stop.is_none() && look.runs < *runs)
            })
        };
        let declaration = &self.record.declaration;
        declaration.stops().into_iter().find(open).unwrap_or_else(|| declaration.runs())
    }

    fn last(&self, subject: &Subject) -> Option<&Look> {
        self.record.last(&subject.bug, subject.evaluation)
    }

    /// Why there can be no look at a comparison after `runs` runs a side, if there is a reason.
    fn waits(&self, subject: &Subject, runs: u32) -> Result<Option<String>, Failure> {
        for id in &subject.experiments {
            if let Some(reason) = self.store.invalid_reason(id)? {
                return Ok(Some(reason));
            }
            // A run that failed has ended: the look does without it. One that starts over has not.
            let over: BTreeSet<u32> = self
                .store
                .runs(id)?
                .iter()
                .filter(|run| matches!(run.status, RunStatus::Finished | RunStatus::Failed))
                .map(|run| run.key.run)
                .collect();
            if let Some(run) = (0..runs).find(|run| !over.contains(run)) {
                return Ok(Some(format!("run {run} of {id} has not ended")));
            }
        }
        Ok(None)
    }
}

impl runner::Judge for Looks<'_> {
    type Error = Failure;

    fn stops(&self) -> Vec<u32> {
        self.record.declaration.stops()
    }

    fn ended(&self) -> Ended {
        let all = self.record.declaration.runs();
        let mut ended: BTreeMap<ExperimentId, Option<u32>> = BTreeMap::new();
        for (place, subject) in self.subjects.iter().enumerate() {
            let asked = match self.last(subject) {
                Some(Look { stop: Some(_), runs, .. }) => Some(*runs),
                _ if self.held.contains_key(&place) => Some(all),
                _ => None,
            };
            for id in &subject.experiments {
                // A side goes on as long as one of its comparisons does.
                let joined = match (ended.get(id), asked) {
                    (None, asked) => asked,
                    (Some(Some(known)), Some(asked)) => Some(asked.max(*known)),
                    _ => None,
                };
                ended.insert(id.clone(), joined);
            }
        }
        ended.into_iter().filter_map(|(id, asked)| Some((id, asked?))).collect()
    }

    fn look(&mut self, runs: u32) -> Result<(), Failure> {
        let input = match stats::store::read(self.store) {
            Ok(input) => Some(input),
            Err(StudyResultsError::NoRuns) => None,
            Err(error) => return Err(Failure::input(error)),
        };
        let rows: Vec<_> = input.iter().flat_map(|input| input.results.rows()).collect();
        let mut taken = Vec::new();
        let mut judge = Judge::new(&self.record.declaration);
        for (place, subject) in self.subjects.iter().enumerate() {
            let over = self.last(subject).is_some_and(|l| l.stop.is_some() || l.runs >= runs);
            if over || self.held.contains_key(&place) {
                continue;
            }
            if let Some(reason) = self.waits(subject, runs)? {
                self.held.insert(place, reason);
                continue;
            }
            let before: Vec<&Look> = self
                .record
                .looks
                .iter()
                .filter(|look| look.bug == subject.bug && look.evaluation == subject.evaluation)
                .collect();
            let look = judge.look(subject, &before, runs, &rows).map_err(Failure::input)?;
            tracing::info!("{} {}: {}", look.bug, look.evaluation, look.reason);
            taken.push(look);
        }
        self.record.add(self.study, taken).map_err(explain)
    }
}
