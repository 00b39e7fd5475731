//! What the raters decide together, and which bugs the study keeps.

use study::{Bug, BugId};

use super::{Answer, CONSENSUS, Criterion, Label, Labels};

/// Why a bug is lost to the study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The raters agree on a criterion that excludes it.
    Criterion(Criterion),
    /// The raters disagree on a criterion, and nobody settled it.
    Disputed(Criterion),
    /// Nobody has labelled it in full.
    Unlabelled,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Criterion(criterion) => f.pad(criterion.as_str()),
            Self::Disputed(criterion) => f.pad(&format!("disputed: {}", criterion.as_str())),
            Self::Unlabelled => f.pad("not labelled"),
        }
    }
}

/// A bug that the filter takes out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The bug.
    pub bug: BugId,
    /// Why.
    pub reason: Reason,
}

/// Raters who say different things of one bug and criterion, unsettled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disagreement {
    /// The bug.
    pub bug: BugId,
    /// The criterion.
    pub criterion: Criterion,
    /// Who says what, by rater.
    pub answers: Vec<(String, Answer)>,
}

/// What the raters decide on `criterion` for a bug: what was settled, else what a majority of
/// yes and no says. `None` when nobody answered; `Unsure` when it is open.
pub fn decide<'a>(labels: impl Iterator<Item = &'a Label>, criterion: Criterion) -> Option<Answer> {
    let (mut yes, mut no, mut answered) = (0, 0, false);
    for label in labels {
        let Some(answer) = label.answer(criterion) else { continue };
        if label.rater == CONSENSUS {
            return Some(answer);
        }
        answered = true;
        match answer {
            Answer::Yes => yes += 1,
            Answer::No => no += 1,
            Answer::Unsure => {}
        }
    }
    match (answered, yes > no, no > yes) {
        (false, _, _) => None,
        (true, true, _) => Some(Answer::Yes),
        (true, _, true) => Some(Answer::No),
        (true, false, false) => Some(Answer::Unsure),
    }
}

/// Parts the bugs into those the study keeps and those it loses, each with its reason. A bug
/// stays when every excluding criterion is decided to be no.
pub fn filter(bugs: &[Bug], labels: &Labels) -> (Vec<Bug>, Vec<Lost>) {
    let mut kept = Vec::new();
    let mut lost = Vec::new();
    for bug in bugs {
        match reason(labels, &bug.id) {
            None => kept.push(bug.clone()),
            Some(reason) => lost.push(Lost { bug: bug.id.clone(), reason }),
        }
    }
    (kept, lost)
}

fn reason(labels: &Labels, bug: &BugId) -> Option<Reason> {
    let decided: Vec<_> = Criterion::ALL
        .iter()
        .filter(|criterion| criterion.excludes())
        .map(|criterion| (*criterion, decide(labels.of(bug), *criterion)))
        .collect();
    let first = |wanted| decided.iter().find(|(_, answer)| *answer == wanted).map(|(c, _)| *c);
    first(Some(Answer::Yes))
        .map(Reason::Criterion)
        .or_else(|| first(None).map(|_| Reason::Unlabelled))
        .or_else(|| first(Some(Answer::Unsure)).map(Reason::Disputed))
}

/// Every unsettled disagreement, by bug and criterion.
pub fn disagreements(labels: &Labels) -> Vec<Disagreement> {
    let mut bugs: Vec<&BugId> = labels.iter().map(|label| &label.bug).collect();
    bugs.dedup();
    let mut found = Vec::new();
    for bug in bugs {
        for criterion in Criterion::ALL.iter().copied() {
            let answers: Vec<(String, Answer)> = labels
                .of(bug)
                .filter_map(|label| Some((label.rater.clone(), label.answer(criterion)?)))
                .collect();
            let settled = answers.iter().any(|(rater, _)| rater == CONSENSUS);
            let first = answers.first().map(|(_, answer)| *answer);
            if !settled && answers.iter().any(|(_, answer)| Some(*answer) != first) {
                found.push(Disagreement { bug: bug.clone(), criterion, answers });
            }
        }
    }
    found
}
