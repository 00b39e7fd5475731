//! What became of each bug of the corpus before anything was built: kept, or lost at a step with
//! a reason. Written by `mine` and `label`, read by all later stages.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::corpus::{CorpusError, read_lines, write_lines};
use crate::{Bug, BugId, Resolution, StudyConfig};

/// The step before building at which a bug left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Its fix was not found in the history.
    Resolved,
    /// People's labels exclude it.
    Filtered,
    /// The study does not ask for it, or nothing of it is in an artifact.
    Selected,
}

/// One line of `corpus/selection.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The bug.
    pub bug: BugId,
    /// The step that lost it; none if it goes on.
    pub lost_at: Option<Step>,
    /// Why; empty if it goes on.
    pub reason: String,
}

/// Decides for each bug of `corpus`, in its order. `excluded` holds the bugs that the labels
/// exclude, with the reason.
pub fn select(
    config: &StudyConfig,
    corpus: &[Bug],
    excluded: &BTreeMap<BugId, String>,
) -> Vec<Choice> {
    corpus
        .iter()
        .map(|bug| match loss(config, bug, excluded) {
            Some((step, reason)) => Choice { bug: bug.id.clone(), lost_at: Some(step), reason },
            None => Choice { bug: bug.id.clone(), lost_at: None, reason: String::new() },
        })
        .collect()
}

fn loss(
    config: &StudyConfig,
    bug: &Bug,
    excluded: &BTreeMap<BugId, String>,
) -> Option<(Step, String)> {
    match bug.resolution {
        Resolution::Unique | Resolution::Relanded | Resolution::Planted => {}
        Resolution::CherryPicked => {
            let reason = "its fix is only on a release branch".to_owned();
            return Some((Step::Resolved, reason));
        }
        Resolution::Ambiguous => {
            let reason = "several commits carry its pull request and none stands out".to_owned();
            return Some((Step::Resolved, reason));
        }
        Resolution::NotFound => {
            let reason = "no standing commit of the history carries its pull request".to_owned();
            return Some((Step::Resolved, reason));
        }
        Resolution::Unresolved => {
            let reason = "no history was at hand; give `mine` a clone with --repo".to_owned();
            return Some((Step::Resolved, reason));
        }
    }
    if let Some(reason) = excluded.get(&bug.id) {
        return Some((Step::Filtered, reason.clone()));
    }
    let wanted = &config.select.bugs;
    if !wanted.is_empty() && !wanted.contains(&bug.id) {
        return Some((Step::Selected, "study.toml does not select it".to_owned()));
    }
    // Who names such a bug wants to see that its two artifacts are the same.
    if bug.not_in_artifact && !wanted.contains(&bug.id) {
        let reason = "its fix changes nothing that goes into an artifact".to_owned();
        return Some((Step::Selected, reason));
    }
    None
}

/// Writes the choices whole.
///
/// # Errors
/// If the file system refuses.
pub fn write(path: &Path, choices: &[Choice]) -> Result<(), CorpusError> {
    write_lines(path, choices)
}

/// Reads the choices.
///
/// # Errors
/// If there are none yet or the file is damaged.
pub fn read(path: &Path) -> Result<Vec<Choice>, CorpusError> {
    read_lines(path)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn bug(pr: u64, resolution: Resolution) -> Bug {
        Bug {
            id: BugId::of_pull_request(pr),
            framework: "tinynn".into(),
            release: "v0.2.0".into(),
            section: vec!["Bug Fixes".into()],
            text: "Fix it".into(),
            url: format!("https://github.com/tinynn/tinynn/pull/{pr}"),
            pr,
            prs: vec![pr],
            entry: 0,
            resolution,
            fix: None,
            buggy: None,
            fixed_at: None,
            authored_at: None,
            files: vec![],
            lines_added: 0,
            lines_removed: 0,
            scope: vec![],
            python_only: false,
            needs_compile: true,
            needs_cuda: false,
            not_in_artifact: false,
            tests: vec![],
        }
    }

    #[test]
    fn every_loss_has_its_step_and_reason() {
        let path = Path::new("study.toml");
        let mut config = StudyConfig::parse(crate::config::EXAMPLE, path).unwrap();
        config.select.bugs = (1..7).map(BugId::of_pull_request).collect();
        let mut corpus: Vec<Bug> = vec![
            bug(1, Resolution::Unique),
            bug(2, Resolution::NotFound),
            bug(3, Resolution::Unique),
            bug(4, Resolution::Relanded),
            bug(7, Resolution::Unique),
        ];
        corpus[3].not_in_artifact = true;
        let excluded = BTreeMap::from([(BugId::of_pull_request(3), "a crash".to_owned())]);
        let choices = select(&config, &corpus, &excluded);
        let steps: Vec<_> = choices.iter().map(|c| c.lost_at).collect();
        use Step::{Filtered, Resolved, Selected};
        // Named, the fourth is kept although its fix changes nothing that goes into an artifact.
        assert_eq!(steps, [None, Some(Resolved), Some(Filtered), None, Some(Selected)]);
        config.select.bugs.clear();
        let all = select(&config, &corpus, &excluded);
        let steps: Vec<_> = all.iter().map(|c| c.lost_at).collect();
        assert_eq!(steps, [None, Some(Resolved), Some(Filtered), Some(Selected), None]);
        assert!(choices.iter().all(|c| c.lost_at.is_none() == c.reason.is_empty()));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("selection.jsonl");
        write(&file, &choices).unwrap();
        assert_eq!(read(&file).unwrap(), choices);
    }

    #[test]
    fn a_damaged_file_names_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("selection.jsonl");
        std::fs::write(&file, "{\"bug\":\"pr1\",\"lost_at\":null,\"reason\":\"\"}\n{\"bug\":")
            .unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
