//! One bug with what became of it, as lists show it and filters see it.

use std::collections::HashMap;
use std::sync::Arc;

use study::own_tests::OwnTests;
use study::reach::Reached;
use study::selection::Choice;
use study::store::ExperimentState;
use study::{ArtifactRecord, Bug, BugId, Evaluation};

use super::files::Files;
use super::labels::{Answers, criteria_of};

/// How far a bug's artifacts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BuildState {
    /// Nothing was tried.
    None,
    /// Some sides are there and nothing failed.
    Partial,
    /// Both sides are there.
    Built,
    /// A side failed.
    Failed,
}

impl BuildState {
    pub const ALL: [Self; 4] = [Self::None, Self::Partial, Self::Built, Self::Failed];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "not built",
            Self::Partial => "partial",
            Self::Built => "built",
            Self::Failed => "failed",
        }
    }
}

/// What the raters of a bug say, in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LabelState {
    /// Nobody labelled it.
    None,
    /// They agree, or it was settled.
    Agreed,
    /// They do not.
    Disputed,
}

impl LabelState {
    pub const ALL: [Self; 3] = [Self::None, Self::Agreed, Self::Disputed];

    pub fn name(self) -> &'static str {
        match self {
            Self::None => "unlabelled",
            Self::Agreed => "agreed",
            Self::Disputed => "disputed",
        }
    }
}

/// A bug with what became of it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub place: usize,
    pub bug: Arc<Bug>,
    pub labels: LabelState,
    /// Criteria that the raters together answer with yes.
    pub holds: Vec<String>,
    pub build: BuildState,
    /// Runs finished and asked for, over all sides.
    pub runs: (u32, u32),
    pub failed_runs: u32,
    pub running: u32,
    pub invalid: Option<String>,
    /// What `reach` found about the study's workload.
    pub reach: Option<Reached>,
    /// What the fix's own tests showed.
    pub own_tests: Option<OwnTests>,
    pub verdict: Option<String>,
    pub verdict_reason: String,
    /// The step that lost it, and why.
    pub lost: Option<(&'static str, String)>,
    /// What text search looks at, in lower case.
    pub searched: String,
    pub release_key: Vec<u64>,
}

impl Row {
    pub fn new(
        place: usize,
        bug: &Arc<Bug>,
        files: &Files,
        builds: &[(Evaluation, ArtifactRecord)],
        experiments: &[&ExperimentState],
        lost: Option<&(&'static str, &str)>,
        choices: &HashMap<&BugId, &Choice>,
    ) -> Self {
        let answers = criteria_of(files.labels.of(bug.id.as_str()), files.labels.criteria.len());
        let labels = if answers.contains(&Answers::Disputed) {
            LabelState::Disputed
        } else if files.labels.of(bug.id.as_str()).is_empty() {
            LabelState::None
        } else {
            LabelState::Agreed
        };
        let holds = files.labels.criteria.iter().zip(&answers);
        let holds = holds.filter(|(_, a)| **a == Answers::Yes).map(|(c, _)| c.clone()).collect();
        let has = |wanted: Evaluation| builds.iter().any(|(side, _)| *side == wanted);
        let build = if builds.is_empty() {
            BuildState::None
        } else if builds.iter().any(|(_, record)| !record.is_built()) {
            BuildState::Failed
        } else if has(Evaluation::Corrected)
            && (has(Evaluation::Buggy) || has(Evaluation::Artificial))
        {
            BuildState::Built
        } else {
            BuildState::Partial
        };
        let analysis = files.analysis.as_ref();
        let verdict = analysis.and_then(|analysis| analysis.verdict_of(bug.id.as_str()));
        let sum = |of: fn(&ExperimentState) -> u32| experiments.iter().map(|e| of(e)).sum();
        let mut searched = format!("{} {} {}", bug.id, bug.section.join(" "), bug.text);
        for file in &bug.files {
            searched.push(' ');
            searched.push_str(&file.path);
        }
        let _ = choices;
        Self {
            place,
            bug: Arc::clone(bug),
            labels,
            holds,
            build,
            runs: (sum(|e| e.finished), sum(|e| e.target)),
            failed_runs: sum(|e| e.failed),
            running: sum(|e| e.running),
            invalid: experiments.iter().find_map(|e| e.invalid.clone()),
            reach: files.reached.get(&bug.id).cloned(),
            own_tests: files.own_tests.get(&bug.id).cloned(),
            verdict: verdict.map(|entry| entry.verdict.clone()),
            verdict_reason: verdict.map(|entry| entry.reason.clone()).unwrap_or_default(),
            lost: lost.map(|(step, reason)| (*step, (*reason).to_owned())),
            searched: searched.to_lowercase(),
            release_key: release_key(&bug.release),
        }
    }

    /// The innermost heading above the entry.
    pub fn heading(&self) -> &str {
        self.bug.section.last().map_or("", String::as_str)
    }

    /// The answer of `reach`, if there is any.
    pub fn reach_name(&self) -> &'static str {
        self.reach.as_ref().map_or("none", |found| found.answer.as_str())
    }

    /// The verdict, if there is any.
    pub fn verdict_name(&self) -> &str {
        self.verdict.as_deref().unwrap_or("none")
    }
}

/// A release's numbers, by which 1.10 comes after 1.9.
fn release_key(release: &str) -> Vec<u64> {
    release
        .split(|c: char| !c.is_ascii_digit())
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().unwrap_or(u64::MAX))
        .collect()
}
