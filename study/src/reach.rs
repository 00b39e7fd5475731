//! What `reach` found, as every stage may read it: `reach/findings.jsonl`, one bug and workload a
//! line. The stage itself keeps more in each line: the evidence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{BugId, ReachAnswer, ReachStrength, Study};

/// Why the answers cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReachFileError {
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// A line is no answer.
    #[error(
        "{path}, line {line}: expected an answer: {source}; remove the file and call \
         `reproduceml reach` to write it anew"
    )]
    Form {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// An answer for one bug and one workload, without its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// The bug.
    pub bug: BugId,
    /// The model.
    pub model: String,
    /// The challenge.
    pub challenge: String,
    /// `cpu` or `cuda`.
    pub device: String,
    /// The answer.
    pub answer: ReachAnswer,
    /// What it rests on.
    pub strength: ReachStrength,
    /// Why, in a sentence or two.
    pub reason: String,
}

impl Reached {
    /// Answer and strength in a word each, as tables show them.
    pub fn words(&self) -> String {
        format!("{} ({})", self.answer, self.strength)
    }
}

/// Where a study keeps the answers.
pub fn file(study: &Study) -> PathBuf {
    study.root().join("reach").join("findings.jsonl")
}

/// All answers of a file; none where nothing was asked.
///
/// # Errors
/// If the file cannot be read or a line of it is no answer.
pub fn read(path: &Path) -> Result<Vec<Reached>, ReachFileError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ReachFileError::Io { path: path.to_owned(), source }),
    };
    let lines = text.lines().enumerate().map(|(index, line)| {
        serde_json::from_str(line).map_err(|source| ReachFileError::Form {
            path: path.to_owned(),
            line: index + 1,
            source,
        })
    });
    lines.collect()
}

/// The answers about the model, the challenge and the device that `study.toml` names, by bug.
///
/// # Errors
/// If the file cannot be read or a line of it is no answer.
pub fn of_own_workload(study: &Study) -> Result<BTreeMap<BugId, Reached>, ReachFileError> {
    let config = &study.config;
    let own = |found: &Reached| {
        found.model == config.model.name
            && found.challenge == config.challenge.name
            && found.device == config.run.device
    };
    let all = read(&file(study))?;
    Ok(all.into_iter().filter(own).map(|found| (found.bug.clone(), found)).collect())
}

/// The bugs that no run of the workload can show, with the reason, as the funnel counts them.
pub fn blind(reached: &BTreeMap<BugId, Reached>) -> BTreeMap<BugId, String> {
    let blind = reached.iter().filter(|(_, found)| found.answer.out_of_reach());
    blind.map(|(bug, found)| (bug.clone(), format!("{}: {}", found.answer, found.reason))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_answer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("findings.jsonl");
        assert_eq!(read(&path).unwrap(), []);
        let line = r#"{"bug":"pr1","model":"m","challenge":"c","device":"cpu","answer":"unknown","strength":"static","reason":"so","evidence":[]}"#;
        std::fs::write(&path, format!("{line}\n")).unwrap();
        assert_eq!(read(&path).unwrap()[0].words(), "unknown (static)");
        std::fs::write(&path, format!("{line}\n{}\n", line.replace("unknown", "perhaps"))).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("perhaps"), "{error}");
    }
}
