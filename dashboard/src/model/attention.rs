//! What a person should look at: failures, comparisons that do not hold, people who disagree.

use study::{ArtifactStatus, BugId};

use super::Snapshot;
use super::analysis::CONTROL;
use super::labels::{Answers, criteria_of};

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attention {
    /// `build`, `run`, `invalid`, `control`, `labels` or `file`.
    pub kind: &'static str,
    pub bug: Option<BugId>,
    pub what: String,
    pub why: String,
    /// Where to look.
    pub link: String,
}

/// Everything that calls for a person, the most telling first.
pub(crate) fn attention(snapshot: &Snapshot) -> Vec<Attention> {
    let mut found = Vec::new();
    for problem in &snapshot.files.problems {
        found.push(Attention {
            kind: "file",
            bug: None,
            what: "cannot be read".into(),
            why: problem.clone(),
            link: "/study".into(),
        });
    }
    let mut add = |kind, bug: &BugId, what: String, why: &str, anchor: &str| {
        // What was planned beside a bug's own comparison is on a page of its own.
        let link = match kind {
            "control" => format!("/bugs/{bug}?pair={CONTROL}#{anchor}"),
            _ => format!("/bugs/{bug}#{anchor}"),
        };
        found.push(Attention { kind, bug: Some(bug.clone()), what, why: why.to_owned(), link });
    };
    for state in snapshot.experiments.iter().filter(|state| state.active) {
        let experiment = &state.experiment;
        if let Some(reason) = &state.invalid {
            add("invalid", &experiment.bug, experiment.evaluation.to_string(), reason, "runs");
        }
    }
    for entry in snapshot.files.analysis.iter().flat_map(|analysis| &analysis.verdicts) {
        let Ok(bug) = BugId::new(entry.bug.clone()) else { continue };
        if entry.verdict == "invalid" {
            add("invalid", &bug, "no sound verdict".into(), &entry.reason, "verdict");
        } else if entry.verdict == "different" && entry.kind == CONTROL {
            let what = "the corrected artifact differs from itself";
            add("control", &bug, what.into(), &entry.reason, "verdict");
        }
    }
    for (bug, evaluation, record) in snapshot.all_builds() {
        if let ArtifactStatus::Failed { class, line } = &record.status {
            add("build", bug, format!("{evaluation}: {class}"), line, "artifacts");
        }
    }
    for state in snapshot.experiments.iter().filter(|state| state.active && state.failed > 0) {
        let experiment = &state.experiment;
        let what = format!("{}: {} of {} runs", experiment.evaluation, state.failed, state.target);
        let why = state.failure.as_deref().unwrap_or("no reason is stored");
        add("run", &experiment.bug, what, why, "runs");
    }
    let labels = &snapshot.files.labels;
    for (bug, of) in labels.all() {
        let Ok(bug) = BugId::new(bug) else { continue };
        let answers = criteria_of(of, labels.criteria.len());
        let disputed: Vec<&str> = labels
            .criteria
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| **answer == Answers::Disputed)
            .map(|(criterion, _)| criterion.as_str())
            .collect();
        if !disputed.is_empty() {
            let raters: Vec<&str> = of.iter().map(|label| label.rater.as_str()).collect();
            add("labels", &bug, raters.join(", "), &disputed.join(", "), "labels");
        }
    }
    found
}
