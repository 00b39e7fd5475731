//! What a study's `design` folder holds: the declaration, and the looks that were taken.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Declaration;
use crate::{BugId, Evaluation, ExperimentId, Study, Verdict, files};

/// One look at one comparison.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Look {
    /// SHA-256 of the declaration.
    pub design: String,
    /// The bug.
    pub bug: BugId,
    /// What is compared with the corrected side.
    pub evaluation: Evaluation,
    /// The two experiments, the corrected one last.
    pub experiments: [ExperimentId; 2],
    /// Which look, from 1; 0 is the one of `identical_after`, at which nothing is tested.
    pub look: u32,
    /// Runs a side that the design asks for up to here.
    pub runs: u32,
    /// Runs that finished of them, of the side and of the corrected one.
    pub finished: [usize; 2],
    /// Pairs of runs with digests, and how many of them are bit for bit the same.
    pub pairs: [usize; 2],
    /// The share of the information of all runs: 1 at the end.
    pub information: f64,
    /// The nominal two-sided level of this look: an outcome whose p is no larger differs.
    pub level: Option<f64>,
    /// The nominal level of this look for the test of equivalence.
    pub equivalence_level: Option<f64>,
    /// What was tested, by outcome.
    pub tests: BTreeMap<String, LookTest>,
    /// What ended the comparison here; nothing if it goes on.
    pub stop: Option<Verdict>,
    /// Why, in a sentence.
    pub reason: String,
    /// SHA-256 of the results that were looked at.
    pub results: String,
}

/// One outcome at one look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LookTest {
    /// Two-sided p-value of the Mann-Whitney test, as if there were no other look.
    pub p_value: Option<f64>,
    /// p-value of the test of equivalence, likewise.
    pub equivalence_p: Option<f64>,
    /// Hodges-Lehmann shift of the side against the corrected one.
    pub shift: Option<f64>,
}

/// What a study's `design` folder holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The design that was declared.
    pub declaration: Declaration,
    /// The looks that were taken, in their order.
    pub looks: Vec<Look>,
}

/// Why the record of a design cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error("{path}: {problem}; a design and its looks are never changed: restore the file")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl Record {
    /// Reads what a study declared and looked at; nothing if it declared nothing.
    ///
    /// # Errors
    /// If a file cannot be read or is not what was written.
    pub fn read(study: &Study) -> Result<Option<Self>, RecordError> {
        let path = study.design_file();
        let Some(bytes) = read(&path)? else { return Ok(None) };
        let damaged =
            |path: &PathBuf, problem: String| RecordError::Damaged { path: path.clone(), problem };
        let declaration: Declaration =
            serde_json::from_slice(&bytes).map_err(|error| damaged(&path, error.to_string()))?;
        if declaration.bytes() != bytes {
            return Err(damaged(&path, "its bytes are not those that were written".into()));
        }
        let digest = declaration.digest();
        let path = study.looks_file();
        let bytes = read(&path)?.unwrap_or_default();
        let mut looks = Vec::new();
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let place = |problem: String| damaged(&path, format!("line {}: {problem}", number + 1));
            let look: Look =
                serde_json::from_slice(line).map_err(|error| place(error.to_string()))?;
            if look.design != digest {
                return Err(place("it is of another design".into()));
            }
            looks.push(look);
        }
        Ok(Some(Self { declaration, looks }))
    }

    /// Declares a design: from here on it stands.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn declare(study: &Study, declaration: Declaration) -> Result<Self, RecordError> {
        write(study.design_file(), &declaration.bytes())?;
        Ok(Self { declaration, looks: Vec::new() })
    }

    /// Adds looks; the file is written whole, so that a crash leaves all of them or none.
    ///
    /// # Errors
    /// If the file cannot be written; what is held here is then as it was.
    pub fn add(&mut self, study: &Study, looks: Vec<Look>) -> Result<(), RecordError> {
        if looks.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for look in self.looks.iter().chain(&looks) {
            text += &serde_json::to_string(look).unwrap_or_default();
            text.push('\n');
        }
        write(study.looks_file(), text.as_bytes())?;
        self.looks.extend(looks);
        Ok(())
    }

    /// The last look at a comparison.
    pub fn last(&self, bug: &BugId, evaluation: Evaluation) -> Option<&Look> {
        self.looks.iter().rfind(|look| look.bug == *bug && look.evaluation == evaluation)
    }
}

fn read(path: &PathBuf) -> Result<Option<Vec<u8>>, RecordError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(RecordError::Io { path: path.clone(), source }),
    }
}

fn write(path: PathBuf, bytes: &[u8]) -> Result<(), RecordError> {
    files::write_whole(&path, bytes).map_err(|source| RecordError::Io { path, source })
}
