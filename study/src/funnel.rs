//! The funnel: how many bugs came through each step, and why each of the others did not.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use serde::Serialize;

use crate::selection::{Choice, Step};
use crate::store::{ArtifactRecord, ArtifactStatus};
use crate::{Bug, BugId, Evaluation, Store, StoreError, Verdict};

/// A bug that left the funnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The bug.
    pub bug: BugId,
    /// Why.
    pub reason: String,
}

/// The bugs that each step lost.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// No fix was found.
    pub resolved: Vec<Loss>,
    /// Labels exclude it.
    pub filtered: Vec<Loss>,
    /// Not selected.
    pub selected: Vec<Loss>,
    /// One of its two artifacts could not be made, or is not made yet.
    pub built: Vec<Loss>,
    /// The study's workload cannot see its change, and it was not run all the same.
    pub reached: Vec<Loss>,
    /// Not all its runs finished.
    pub ran: Vec<Loss>,
    /// Not analysed yet, or its comparison is not sound.
    pub analysed: Vec<Loss>,
}

/// How many bugs came through each step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Funnel {
    /// Entries of the corpus.
    pub mined: usize,
    /// … whose fix was found.
    pub resolved: usize,
    /// … that the labels keep.
    pub filtered: usize,
    /// … that the study selects.
    pub selected: usize,
    /// … both of whose artifacts were made.
    pub built: usize,
    /// … that the study's workload is not known to be unable to see.
    pub reached: usize,
    /// … all of whose runs finished.
    pub ran: usize,
    /// … with a verdict.
    pub analysed: usize,
    /// The bugs that each step lost.
    pub lost: Losses,
}

impl Funnel {
    /// The steps with their counts and losses, in their order.
    pub fn steps(&self) -> [(&'static str, usize, &[Loss]); 8] {
        [
            ("mined", self.mined, &[]),
            ("resolved", self.resolved, &self.lost.resolved),
            ("filtered", self.filtered, &self.lost.filtered),
            ("selected", self.selected, &self.lost.selected),
            ("built", self.built, &self.lost.built),
            ("reached", self.reached, &self.lost.reached),
            ("ran", self.ran, &self.lost.ran),
            ("analysed", self.analysed, &self.lost.analysed),
        ]
    }
}

/// Counts the funnel from what the stages left. `blind` holds the bugs that the study's workload
/// cannot see, and `verdicts` what `stats` concluded last, each with its reason.
///
/// # Errors
/// If the store cannot be read.
pub fn count(
    corpus: &[impl Borrow<Bug>],
    choices: &[Choice],
    store: &Store,
    blind: &BTreeMap<BugId, String>,
    verdicts: &BTreeMap<BugId, (Verdict, String)>,
) -> Result<Funnel, StoreError> {
    let choices: BTreeMap<&BugId, &Choice> = choices.iter().map(|c| (&c.bug, c)).collect();
    let mut sides: BTreeMap<BugId, Vec<(Evaluation, ArtifactRecord)>> = BTreeMap::new();
    for (bug, evaluation, record) in store.builds()? {
        sides.entry(bug).or_default().push((evaluation, record));
    }
    let runs = run_losses(store)?;
    let identical = store.identical_pairs()?;

    let mut funnel = Funnel { mined: corpus.len(), ..Funnel::default() };
    for bug in corpus.iter().map(Borrow::borrow) {
        let lose = |losses: &mut Vec<Loss>, reason: String| {
            losses.push(Loss { bug: bug.id.clone(), reason });
        };
        let choice = choices.get(&bug.id);
        let reason = choice.map(|c| c.reason.clone()).unwrap_or_default();
        match choice.map(|c| c.lost_at) {
            None => {
                lose(&mut funnel.lost.resolved, "it is new; run `reproduceml mine`".into());
                continue;
            }
            Some(Some(Step::Resolved)) => {
                lose(&mut funnel.lost.resolved, reason);
                continue;
            }
            Some(Some(Step::Filtered)) => {
                funnel.resolved += 1;
                lose(&mut funnel.lost.filtered, reason);
                continue;
            }
            Some(Some(Step::Selected)) => {
                funnel.resolved += 1;
                funnel.filtered += 1;
                lose(&mut funnel.lost.selected, reason);
                continue;
            }
            Some(None) => {}
        }
        funnel.resolved += 1;
        funnel.filtered += 1;
        funnel.selected += 1;
        if let Some(reason) = build_loss(sides.get(&bug.id).map_or(&[], Vec::as_slice)) {
            lose(&mut funnel.lost.built, reason);
            continue;
        }
        funnel.built += 1;
        if identical.contains(&bug.id) && !runs.contains_key(&bug.id) {
            // Its artifacts alone say what any run would.
            funnel.reached += 1;
            funnel.ran += 1;
            funnel.analysed += 1;
            continue;
        }
        if let (Some(reason), None) = (blind.get(&bug.id), runs.get(&bug.id)) {
            lose(&mut funnel.lost.reached, reason.clone());
            continue;
        }
        funnel.reached += 1;
        match runs.get(&bug.id) {
            Some(None) => funnel.ran += 1,
            Some(Some(reason)) => {
                lose(&mut funnel.lost.ran, reason.clone());
                continue;
            }
            None => {
                lose(&mut funnel.lost.ran, "it has not been run; `reproduceml run`".into());
                continue;
            }
        }
        match verdicts.get(&bug.id) {
            Some((Verdict::Invalid, reason)) => lose(&mut funnel.lost.analysed, reason.clone()),
            Some(_) => funnel.analysed += 1,
            None => lose(
                &mut funnel.lost.analysed,
                "it has not been analysed; `reproduceml stats`".into(),
            ),
        }
    }
    Ok(funnel)
}

/// Why a bug's pair of artifacts is not there.
fn build_loss(sides: &[(Evaluation, ArtifactRecord)]) -> Option<String> {
    let failures: Vec<String> = sides
        .iter()
        .filter_map(|(evaluation, record)| match &record.status {
            ArtifactStatus::Built { .. } => None,
            ArtifactStatus::Failed { class, line } => {
                Some(format!("{evaluation}: {class}: {line}"))
            }
        })
        .collect();
    if !failures.is_empty() {
        return Some(failures.join("; "));
    }
    let has = |side| sides.iter().any(|(evaluation, _)| *evaluation == side);
    let pair =
        has(Evaluation::Corrected) && (has(Evaluation::Buggy) || has(Evaluation::Artificial));
    (!pair).then(|| "it has not been built; `reproduceml build`".to_owned())
}

/// For each bug with experiments: nothing if all its runs finished, else why not.
fn run_losses(store: &Store) -> Result<BTreeMap<BugId, Option<String>>, StoreError> {
    let mut losses: BTreeMap<BugId, Option<String>> = BTreeMap::new();
    for state in store.experiment_states()?.into_iter().filter(|state| state.active) {
        let (experiment, target, finished) = (&state.experiment, state.target, state.finished);
        if experiment.evaluation == Evaluation::Aa {
            continue; // A control of the study, no side of the bug.
        }
        let loss = if let Some(reason) = state.invalid {
            Some(format!("{}: {reason}", experiment.evaluation))
        } else if finished >= target {
            None
        } else {
            let why = state.failure.map(|why| format!(": {why}")).unwrap_or_default();
            Some(format!(
                "{}: {finished} of {target} runs finished, {} failed{why}",
                experiment.evaluation, state.failed
            ))
        };
        let entry = losses.entry(experiment.bug.clone()).or_default();
        *entry = match (entry.take(), loss) {
            (Some(a), Some(b)) => Some(format!("{a}; {b}")),
            (a, b) => a.or(b),
        };
    }
    Ok(losses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Resolution;
    use crate::experiment::tests::example;
    use crate::selection::tests::bug;
    use crate::store::temporary;

    #[test]
    fn a_bug_goes_as_far_as_its_stages_took_it() {
        let (_folder, store) = temporary();
        let corpus = [bug(12, Resolution::Unique), bug(13, Resolution::NotFound)];
        let choices = [
            Choice { bug: corpus[0].id.clone(), lost_at: None, reason: String::new() },
            Choice {
                bug: corpus[1].id.clone(),
                lost_at: Some(Step::Resolved),
                reason: "gone".into(),
            },
        ];
        let no_verdicts = BTreeMap::new();
        let seen = BTreeMap::new();
        let count = |verdicts| count(&corpus, &choices, &store, &seen, verdicts).unwrap();

        let funnel = count(&no_verdicts);
        assert_eq!((funnel.mined, funnel.resolved, funnel.selected, funnel.built), (2, 1, 1, 0));
        assert_eq!(funnel.lost.resolved[0].reason, "gone");

        for (byte, side) in [(1, Evaluation::Buggy), (2, Evaluation::Corrected)] {
            let record = ArtifactRecord {
                id: crate::ArtifactId::from_digest([byte; 32]),
                repository: String::new(),
                commit: None,
                toolchain: String::new(),
                toolchain_digest: String::new(),
                image: String::new(),
                strategy: crate::Strategy::Source,
                fault: None,
                status: ArtifactStatus::Built { content: byte.to_string(), bytes: 0 },
                seconds: 0.0,
            };
            store.put_artifact(&record).unwrap();
            store.assign_artifact(&corpus[0].id, side, &record.id).unwrap();
        }
        assert_eq!((count(&no_verdicts).built, count(&no_verdicts).reached), (1, 1));
        let blind = BTreeMap::from([(corpus[0].id.clone(), "not-executed".to_owned())]);
        let unseen = super::count(&corpus, &choices, &store, &blind, &no_verdicts).unwrap();
        assert_eq!((unseen.built, unseen.reached), (1, 0));
        assert_eq!(unseen.lost.reached[0].reason, "not-executed");

        let (buggy, corrected) = (example(Evaluation::Buggy), example(Evaluation::Corrected));
        // A control whose runs are missing loses no bug.
        let control = example(Evaluation::Aa);
        store.plan(&[(buggy.clone(), 1), (corrected.clone(), 1), (control, 1)]).unwrap();
        for (experiment, fails) in [(&buggy, true), (&corrected, false)] {
            let key = crate::RunKey { experiment: experiment.id(), run: 0 };
            store.begin_run(&key, 1).unwrap();
            if fails {
                store.fail_run(&key, "signal 11").unwrap();
            } else {
                store.finish_run(&key, &serde_json::json!({})).unwrap();
            }
        }
        let run = super::count(&corpus, &choices, &store, &blind, &no_verdicts).unwrap();
        assert_eq!(run.reached, 1, "a bug that was run all the same is not lost");
        let lost = count(&no_verdicts).lost.ran;
        assert!(lost[0].reason.contains("buggy: 0 of 1 runs finished"), "{lost:?}");
        assert!(lost[0].reason.contains("signal 11"), "{lost:?}");

        let key = crate::RunKey { experiment: buggy.id(), run: 0 };
        store.begin_run(&key, 1).unwrap();
        store.finish_run(&key, &serde_json::json!({})).unwrap();
        assert_eq!(count(&no_verdicts).ran, 1);
        let verdicts =
            BTreeMap::from([(corpus[0].id.clone(), (Verdict::Different, String::new()))]);
        assert_eq!(count(&verdicts).analysed, 1);
    }
}
