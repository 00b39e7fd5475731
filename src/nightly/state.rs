//! What a study has come to, bug by bug, and what changed from one night to the next.

use std::collections::{BTreeMap, BTreeSet};

use miner::labels::{Labels, hints};
use serde::{Deserialize, Serialize};
use study::selection::Choice;
use study::{ArtifactStatus, Bug, BugId, Evaluation, Store, Study, Verdict};

use crate::failure::Failure;
use crate::status;

/// A study as a night left it: `nightly/state.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// When it was read (RFC 3339).
    pub at: String,
    /// The releases whose notes were read, with the number of their bugs.
    pub releases: BTreeMap<String, usize>,
    /// Every bug of the corpus.
    pub bugs: BTreeMap<BugId, BugState>,
}

/// What one bug has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BugState {
    /// SHA-256 of its entry in the notes.
    pub entry: String,
    /// How it was traced, with its commit.
    pub resolution: String,
    /// What became of each side's build.
    pub builds: BTreeMap<Evaluation, String>,
    /// Runs that finished, over both sides.
    pub finished: u64,
    /// Runs that failed, over both sides.
    pub failed: u64,
    /// What was concluded.
    pub verdict: Option<Verdict>,
}

/// A bug nobody has labelled, with what its text and files suggest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The bug.
    pub bug: BugId,
    /// Criterion, answer and reason, one each.
    pub hints: Vec<String>,
}

/// What is there now that was not there before. Nothing at all if every list is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Releases read for the first time.
    pub releases: Vec<String>,
    /// Bugs that are new in the notes.
    pub new_bugs: Vec<BugId>,
    /// Bugs that the notes no longer name.
    pub gone_bugs: Vec<BugId>,
    /// Bugs whose entry reads otherwise now.
    pub changed_entries: Vec<BugId>,
    /// Bugs that were traced otherwise: before, now.
    pub resolutions: Vec<Step>,
    /// Sides that were built, or failed: before, now.
    pub builds: Vec<Step>,
    /// Bugs with runs that finished or failed since: before, now.
    pub runs: Vec<Step>,
    /// Verdicts: before, now.
    pub verdicts: Vec<Step>,
}

/// One thing before and now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The bug, with its side where one is meant.
    pub what: String,
    /// Before; empty if there was nothing.
    pub before: String,
    /// Now; empty if there is nothing any more.
    pub now: String,
}

impl State {
    /// Reads a study's state. A study that was never mined has none of anything.
    pub fn read(study: &Study, store: &Store) -> Result<Self, Failure> {
        let corpus = corpus(study)?;
        let verdicts = status::last_verdicts(study)?;
        let mut state = Self { at: study::store::now(), ..Self::default() };
        for bug in &corpus {
            if !bug.release.is_empty() {
                *state.releases.entry(bug.release.clone()).or_default() += 1;
            }
            let entry = BugState {
                entry: study::files::sha256_hex(
                    format!("{}\0{}\0{}", bug.section.join("\0"), bug.text, bug.url).as_bytes(),
                ),
                resolution: match &bug.fix {
                    Some(fix) => format!("{} {fix}", bug.resolution),
                    None => bug.resolution.to_string(),
                },
                verdict: verdicts.get(&bug.id).map(|(verdict, _)| *verdict),
                ..BugState::default()
            };
            state.bugs.insert(bug.id.clone(), entry);
        }
        for (bug, evaluation, record) in store.builds()? {
            let outcome = match &record.status {
                ArtifactStatus::Failed { class, .. } => format!("failed: {class}"),
                _ if record.is_built() => format!("built {}", record.id.short()),
                _ => continue,
            };
            if let Some(state) = state.bugs.get_mut(&bug) {
                state.builds.insert(evaluation, outcome);
            }
        }
        for counts in store.run_counts()? {
            if let Some(state) = state.bugs.get_mut(&counts.bug) {
                state.finished += u64::from(counts.finished);
                state.failed += u64::from(counts.failed);
            }
        }
        Ok(state)
    }

    /// What is here that was not in `before`.
    pub fn since(&self, before: &Self) -> Changes {
        let new = |names: BTreeSet<&BugId>, old: BTreeSet<&BugId>| -> Vec<BugId> {
            names.difference(&old).map(|bug| (*bug).clone()).collect()
        };
        let (now_names, before_names) =
            (self.bugs.keys().collect::<BTreeSet<_>>(), before.bugs.keys().collect());
        let mut changes = Changes {
            releases: self
                .releases
                .keys()
                .filter(|release| !before.releases.contains_key(*release))
                .cloned()
                .collect(),
            new_bugs: new(now_names.clone(), before_names),
            gone_bugs: new(before.bugs.keys().collect(), now_names),
            ..Changes::default()
        };
        let nothing = BugState::default();
        for (bug, now) in &self.bugs {
            let known = before.bugs.get(bug);
            let was = known.unwrap_or(&nothing);
            if known.is_some() {
                if was.entry != now.entry {
                    changes.changed_entries.push(bug.clone());
                }
                step(&mut changes.resolutions, bug.to_string(), &was.resolution, &now.resolution);
            }
            let sides: BTreeSet<Evaluation> =
                was.builds.keys().chain(now.builds.keys()).copied().collect();
            for side in sides {
                let text = |state: &BugState| state.builds.get(&side).cloned().unwrap_or_default();
                step(&mut changes.builds, format!("{bug} {side}"), &text(was), &text(now));
            }
            step(&mut changes.runs, bug.to_string(), &was.runs(), &now.runs());
            let word = |state: &BugState| state.verdict.map(|v| v.to_string()).unwrap_or_default();
            step(&mut changes.verdicts, bug.to_string(), &word(was), &word(now));
        }
        changes
    }
}

impl BugState {
    fn runs(&self) -> String {
        match (self.finished, self.failed) {
            (0, 0) => String::new(),
            (finished, 0) => format!("{finished} finished"),
            (finished, failed) => format!("{finished} finished, {failed} failed"),
        }
    }
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn step(steps: &mut Vec<Step>, what: String, before: &str, now: &str) {
    if before != now {
        steps.push(Step { what, before: before.to_owned(), now: now.to_owned() });
    }
}

fn corpus(study: &Study) -> Result<Vec<Bug>, Failure> {
    match study.corpus() {
        Ok(corpus) => Ok(corpus),
        Err(study::StudyError::Corpus(study::corpus::CorpusError::Missing { .. })) => {
            Ok(Vec::new())
        }
        Err(error) => Err(error.into()),
    }
}

/// Hints for every traced bug that nobody has labelled.
pub fn proposals(study: &Study) -> Result<Vec<Proposal>, Failure> {
    let corpus = corpus(study)?;
    let choices: Vec<Choice> = if corpus.is_empty() {
        Vec::new()
    } else {
        study::selection::read(&study.selection_file())?
    };
    let resolved: BTreeSet<&BugId> = choices
        .iter()
        .filter(|choice| choice.lost_at != Some(study::selection::Step::Resolved))
        .map(|choice| &choice.bug)
        .collect();
    let labels = Labels::read(&study.labels_file()).map_err(Failure::input)?;
    let labelled: BTreeSet<&BugId> = labels.iter().map(|label| &label.bug).collect();
    Ok(corpus
        .iter()
        .filter(|bug| bug.pr != 0 && resolved.contains(&bug.id) && !labelled.contains(&bug.id))
        .map(|bug| Proposal {
            bug: bug.id.clone(),
            hints: hints::hints(bug)
                .into_iter()
                .map(|hint| {
                    format!("{} {}: {}", hint.criterion.as_str(), hint.answer.as_str(), hint.why)
                })
                .collect(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(bugs: &[(u64, BugState)]) -> State {
        State {
            releases: [("v1.0.0".to_owned(), bugs.len())].into(),
            bugs: bugs.iter().map(|(n, s)| (BugId::of_pull_request(*n), s.clone())).collect(),
            ..State::default()
        }
    }

    #[test]
    fn the_same_state_has_no_changes_whenever_it_was_read() {
        let mut one = state(&[(1, BugState::default())]);
        let two = one.clone();
        one.at = "2030-01-01T00:00:00Z".into();
        assert!(two.since(&one).is_empty());
    }

    #[test]
    fn each_change_is_named_with_what_was_before() {
        let before = state(&[
            (1, BugState { resolution: "not-found".into(), ..Default::default() }),
            (2, BugState { entry: "a".into(), finished: 1, ..Default::default() }),
            (3, BugState::default()),
        ]);
        let now = state(&[
            (
                1,
                BugState {
                    resolution: "unique abc".into(),
                    builds: [(Evaluation::Buggy, "failed: compile".into())].into(),
                    ..Default::default()
                },
            ),
            (
                2,
                BugState {
                    entry: "b".into(),
                    finished: 5,
                    failed: 1,
                    verdict: Some(Verdict::Identical),
                    ..Default::default()
                },
            ),
            (4, BugState { resolution: "unique def".into(), ..Default::default() }),
        ]);
        let changes = now.since(&before);
        assert_eq!(changes.new_bugs, [BugId::of_pull_request(4)]);
        assert_eq!(changes.gone_bugs, [BugId::of_pull_request(3)]);
        assert_eq!(changes.changed_entries, [BugId::of_pull_request(2)]);
        let lines = |steps: &[Step]| -> Vec<String> {
            steps.iter().map(|s| format!("{}: {} > {}", s.what, s.before, s.now)).collect()
        };
        assert_eq!(lines(&changes.resolutions), ["pr1: not-found > unique abc"]);
        assert_eq!(lines(&changes.builds), ["pr1 buggy:  > failed: compile"]);
        assert_eq!(lines(&changes.runs), ["pr2: 1 finished > 5 finished, 1 failed"]);
        assert_eq!(lines(&changes.verdicts), ["pr2:  > identical"]);
        assert!(!changes.is_empty());
    }
}
