//! What the fixes' own tests showed on both artifacts, as every stage may read it:
//! `own-tests/findings.jsonl`, one bug a line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{ArtifactId, BugId, Study, Verdict, files};

/// What a fix's own tests showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnTests {
    /// The bug.
    pub bug: BugId,
    /// `identical`, `different`, `inconclusive` or `invalid`.
    pub verdict: Verdict,
    /// Why, in a sentence or two.
    pub reason: String,
    /// Runs of each side that were asked for.
    #[serde(default)]
    pub runs: u32,
    /// Pairs of runs, one a seed.
    pub pairs: u32,
    /// Pairs in which every outcome and every value is the same.
    pub equal_pairs: u32,
    /// Tests that ran on both sides.
    pub tests: u32,
    /// Whether some test does not pass with the bug in any run, and every test passes with the fix
    /// in all.
    pub evidence: bool,
    /// Tests that differ from themselves with one seed on one artifact, so that no value of theirs
    /// was compared.
    pub unsteady: Vec<String>,
    /// The first test and value in which the sides differ.
    pub first: Option<Parting>,
    /// The artifact with the bug.
    pub buggy: ArtifactId,
    /// The artifact with the fix.
    pub corrected: ArtifactId,
}

/// Where two sides differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parting {
    /// The run, by whose seed.
    pub run: u32,
    /// The test, as `file::Class.function`.
    pub test: String,
    /// The assertion or function that was given the values; empty where the outcomes differ alone.
    pub how: String,
    /// Its file and line.
    pub at: String,
    /// What it was with the bug.
    pub buggy: String,
    /// What it was with the fix.
    pub corrected: String,
    /// The largest absolute difference of the values' numbers, as far as they were kept.
    pub difference: Option<String>,
}

/// Where a study keeps them.
pub fn file(study: &Study) -> PathBuf {
    folder(study).join("findings.jsonl")
}

/// The folder in which they lie, with every run of one bug in a file of its name.
pub fn folder(study: &Study) -> PathBuf {
    study.root().join("own-tests")
}

/// Why they cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}{place}: {what}; remove the file, and `run --workload` writes it anew")]
pub struct OwnTestsError {
    path: PathBuf,
    place: String,
    what: String,
}

/// All that were found, by bug; none where none was run.
///
/// # Errors
/// If the file cannot be read or a line of it is no finding.
pub fn read(study: &Study) -> Result<Vec<OwnTests>, OwnTestsError> {
    let path = file(study);
    let wrong = |place: String, what: String| OwnTestsError { path: path.clone(), place, what };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(String::new(), error.to_string())),
    };
    let lines = text.lines().enumerate().map(|(index, line)| {
        serde_json::from_str(line)
            .map_err(|error| wrong(format!(", line {}", index + 1), error.to_string()))
    });
    lines.collect()
}

/// Keeps findings, in place of earlier ones about the same bugs.
///
/// # Errors
/// If the file cannot be read or written.
pub fn keep(study: &Study, new: &[OwnTests]) -> Result<(), OwnTestsError> {
    let path = file(study);
    let wrong = |what: String| OwnTestsError { path: path.clone(), place: String::new(), what };
    let mut all = read(study)?;
    all.retain(|old| !new.iter().any(|new| new.bug == old.bug));
    all.extend(new.iter().cloned());
    all.sort_by(|a, b| a.bug.cmp(&b.bug));
    let mut text = String::new();
    for one in &all {
        text += &serde_json::to_string(one).map_err(|error| wrong(error.to_string()))?;
        text.push('\n');
    }
    files::write_whole(&path, text.as_bytes()).map_err(|error| wrong(error.to_string()))
}
