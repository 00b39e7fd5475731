//! What comes in: one row a run, from a store, a CSV or a Parquet file.
//!
//! A value that is not there is missing, never zero. What cannot be understood is an error that
//! names file, row and column; what is understood but cannot be used is left out, and counted.

use crate::group::Group;
use crate::intake::Intake;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// Which artifact a run was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Evaluation {
    /// The artifact with the bug.
    Buggy,
    /// The artifact with the fix: the side that every other one is compared with.
    Corrected,
    /// The corrected artifact with a planted fault, the positive control.
    Artificial,
    /// A second set of runs of the corrected artifact, the negative control.
    Aa,
}

impl Evaluation {
    /// All evaluations with the name that files use.
    pub const NAMES: [(Evaluation, &'static str); 4] = [
        (Evaluation::Buggy, "buggy"),
        (Evaluation::Corrected, "corrected"),
        (Evaluation::Artificial, "artificial"),
        (Evaluation::Aa, "aa"),
    ];

    /// The name that files use.
    pub fn name(self) -> &'static str {
        match self {
            Evaluation::Buggy => "buggy",
            Evaluation::Corrected => "corrected",
            Evaluation::Artificial => "artificial",
            Evaluation::Aa => "aa",
        }
    }
}

impl fmt::Display for Evaluation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Evaluation {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::NAMES.iter().find(|(_, name)| *name == text).map(|(value, _)| *value).ok_or(())
    }
}

/// One run's measured metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Name of the bug, such as `pr31433`.
    pub bug: String,
    /// Which artifact the run was made with.
    pub evaluation: Evaluation,
    /// Index of the run within its experiment; run i of both sides belong together.
    pub run: u32,
    /// Seed of the run, where known.
    pub seed: Option<u64>,
    /// Metrics by name, each in its own unit (accuracy, precision, recall and F1 as fractions).
    /// What was not measured is absent.
    pub metrics: BTreeMap<String, f64>,
    /// Digests of the parameters at initialisation and after each epoch, followed by the digest of
    /// the predictions; empty if unknown.
    pub fingerprints: Vec<String>,
}

/// Why results cannot be taken in.
#[derive(Debug, Error)]
pub enum InputError {
    /// The file could not be opened, read or written.
    #[error("{source_name}: {error}; check the path and the permissions")]
    Io {
        /// The file.
        source_name: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is not in the format it seems to have.
    #[error("{source_name}: not a readable {format} file: {message}; export it again")]
    Format {
        /// The file.
        source_name: String,
        /// `CSV` or `Parquet`.
        format: &'static str,
        /// What the parser said.
        message: String,
    },
    /// A required column is absent, or no metric is there.
    #[error(
        "{source_name}: column `{column}` is missing (found: {found}); results need the columns \
         bug, evaluation and run, and at least one numeric metric such as accuracy{hint}"
    )]
    MissingColumn {
        /// The file.
        source_name: String,
        /// The column that was looked for.
        column: String,
        /// The columns that are there.
        found: String,
        /// What may have gone wrong; empty, or the end of the sentence.
        hint: &'static str,
    },
    /// A row has more or fewer cells than there are columns.
    #[error(
        "{source_name}: row {row} (line {line}) has {found} cell(s), but the header names {expected} \
         columns; the file may have been cut off there, or a comma not quoted: export it again"
    )]
    Ragged {
        /// The file.
        source_name: String,
        /// Row, from 1, the header not counted.
        row: usize,
        /// Line of the file where the row begins, from 1.
        line: u64,
        /// Cells in the row.
        found: usize,
        /// Cells in the header.
        expected: usize,
    },
    /// Two columns have the same name.
    #[error("{source_name}: there are two columns `{column}`; rename or remove one of them")]
    TwoColumns {
        /// The file.
        source_name: String,
        /// Their name.
        column: String,
    },
    /// There are no rows.
    #[error("{source_name}: there are no runs in it; check that the runs were exported")]
    NoRows {
        /// The file.
        source_name: String,
    },
    /// A cell does not hold what its column must hold.
    #[error("{source_name}: row {row}, column `{column}`: found {found:?}, expected {expected}")]
    Cell {
        /// The file.
        source_name: String,
        /// Row, from 1; in a CSV file the header is not counted.
        row: usize,
        /// The column.
        column: String,
        /// What is there.
        found: String,
        /// What should be there.
        expected: &'static str,
    },
    /// The same run is there twice.
    #[error(
        "{source_name}: rows {first} and {second} are both run {run} of the {evaluation} side of \
         {bug}; remove one, or number the runs apart"
    )]
    Duplicate {
        /// The file.
        source_name: String,
        /// First of the two rows, from 1.
        first: usize,
        /// Second of the two rows, from 1.
        second: usize,
        /// The bug.
        bug: String,
        /// The side.
        evaluation: Evaluation,
        /// The run.
        run: u32,
    },
}

/// All runs of a study, checked, by bug and side.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    pub(crate) metrics: Vec<String>,
    pub(crate) bugs: BTreeMap<String, BTreeMap<Evaluation, Group>>,
    pub(crate) warnings: Vec<String>,
}

impl Results {
    /// Of a study that needs no run.
    #[must_use]
    pub fn none() -> Self {
        let metrics = crate::options::OUTCOMES.map(str::to_owned).to_vec();
        Self { metrics, bugs: BTreeMap::new(), warnings: Vec::new() }
    }

    /// Takes in rows; those of a store, say.
    ///
    /// # Errors
    /// No rows, no metrics, an empty bug name, and two rows of the same run.
    pub fn from_rows(rows: Vec<RunRow>) -> Result<Self, InputError> {
        let names: BTreeSet<&String> = rows.iter().flat_map(|row| row.metrics.keys()).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let mut intake = Intake::new("the runs".to_owned(), names);
        let names = intake.metrics.clone();
        for row in rows {
            for (place, name) in names.iter().enumerate() {
                if let Some(value) = row.metrics.get(name) {
                    intake.set(place, *value);
                }
            }
            let RunRow { bug, evaluation, run, seed, fingerprints, .. } = row;
            let fingerprints = fingerprints.iter().map(|digest| digest.as_str().into());
            intake.push(&bug, evaluation, run, seed, fingerprints.collect())?;
        }
        intake.finish()
    }

    /// The rows again, ordered by bug, side and run.
    pub fn rows(&self) -> impl Iterator<Item = RunRow> + '_ {
        self.bugs.iter().flat_map(move |(bug, sides)| {
            sides.iter().flat_map(move |(evaluation, group)| {
                (0..group.runs.len()).map(move |index| RunRow {
                    bug: bug.clone(),
                    evaluation: *evaluation,
                    run: group.runs[index],
                    seed: group.seed(index),
                    metrics: self
                        .metrics
                        .iter()
                        .zip(&group.values)
                        .filter(|(_, values)| !values[index].is_nan())
                        .map(|(name, values)| (name.clone(), values[index]))
                        .collect(),
                    fingerprints: group
                        .fingerprints(index)
                        .iter()
                        .map(ToString::to_string)
                        .collect(),
                })
            })
        })
    }

    /// Names of the metrics, outcomes first, then by name.
    pub fn metrics(&self) -> &[String] {
        &self.metrics
    }

    /// Names of the bugs, in order.
    pub fn bugs(&self) -> impl Iterator<Item = &str> {
        self.bugs.keys().map(String::as_str)
    }

    /// The values of a metric on one side of a bug that are there, in the order of the runs.
    pub fn values(&self, bug: &str, evaluation: Evaluation, metric: &str) -> Vec<f64> {
        let place = self.metrics.iter().position(|name| name == metric);
        let group = self.bugs.get(bug).and_then(|sides| sides.get(&evaluation));
        match (place, group) {
            (Some(place), Some(group)) => group.present(place, usize::MAX),
            _ => Vec::new(),
        }
    }

    /// What was left out while reading, counted and named.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}
