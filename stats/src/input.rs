//! What comes in: one row a run, from a store, a CSV or a Parquet file.
//!
//! A value that is not there is missing, never zero. What cannot be understood is an error that
//! names file, row and column; what is understood but cannot be used is left out, and counted.

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
         bug, evaluation and run, and at least one numeric metric such as accuracy"
    )]
    MissingColumn {
        /// The file.
        source_name: String,
        /// The column that was looked for.
        column: String,
        /// The columns that are there.
        found: String,
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

/// The runs of one side of one bug, in the order of their index.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Group {
    pub(crate) runs: Vec<u32>,
    pub(crate) seeds: Vec<Option<u64>>,
    /// One list a metric, NaN where missing.
    pub(crate) values: Vec<Vec<f64>>,
    pub(crate) fingerprints: Vec<Vec<String>>,
    rows: Vec<usize>,
}

impl Group {
    /// The values of a metric that are there, of the first `limit` runs.
    pub(crate) fn present(&self, metric: usize, limit: usize) -> Vec<f64> {
        let values = self.values.get(metric).map_or(&[][..], Vec::as_slice);
        values.iter().take(limit).copied().filter(|value| !value.is_nan()).collect()
    }

    fn sort_by_run(&mut self) {
        if self.runs.is_sorted() {
            return;
        }
        let mut order: Vec<usize> = (0..self.runs.len()).collect();
        // Stable: of two equal runs the earlier row stays first.
        order.sort_by_key(|&index| self.runs[index]);
        self.runs = order.iter().map(|&index| self.runs[index]).collect();
        self.rows = order.iter().map(|&index| self.rows[index]).collect();
        self.seeds = order.iter().map(|&index| self.seeds[index]).collect();
        for values in &mut self.values {
            *values = order.iter().map(|&index| values[index]).collect();
        }
        self.fingerprints =
            order.iter().map(|&index| std::mem::take(&mut self.fingerprints[index])).collect();
    }
}

/// All runs of a study, checked, by bug and side.
#[derive(Debug, Clone, PartialEq)]
pub struct Results {
    pub(crate) metrics: Vec<String>,
    pub(crate) bugs: BTreeMap<String, BTreeMap<Evaluation, Group>>,
    pub(crate) warnings: Vec<String>,
}

impl Results {
    /// Takes in rows; those of a store, say.
    ///
    /// # Errors
    /// No rows, no metrics, an empty bug name, and two rows of the same run.
    pub fn from_rows(rows: Vec<RunRow>) -> Result<Self, InputError> {
        let names: BTreeSet<&String> = rows.iter().flat_map(|row| row.metrics.keys()).collect();
        let names: Vec<String> = names.into_iter().cloned().collect();
        let mut builder = Builder::new("the runs".to_owned(), names);
        for (index, row) in rows.into_iter().enumerate() {
            let values: Vec<Option<f64>> =
                builder.metrics.iter().map(|name| row.metrics.get(name).copied()).collect();
            let RunRow { bug, evaluation, run, seed, fingerprints, .. } = row;
            builder.push(index + 1, &bug, (evaluation, run, seed), &values, fingerprints)?;
        }
        builder.finish()
    }

    /// The rows again, ordered by bug, side and run.
    pub fn rows(&self) -> impl Iterator<Item = RunRow> + '_ {
        self.bugs.iter().flat_map(move |(bug, sides)| {
            sides.iter().flat_map(move |(evaluation, group)| {
                (0..group.runs.len()).map(move |index| RunRow {
                    bug: bug.clone(),
                    evaluation: *evaluation,
                    run: group.runs[index],
                    seed: group.seeds[index],
                    metrics: self
                        .metrics
                        .iter()
                        .zip(&group.values)
                        .filter(|(_, values)| !values[index].is_nan())
                        .map(|(name, values)| (name.clone(), values[index]))
                        .collect(),
                    fingerprints: group.fingerprints[index].clone(),
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

/// Collects rows into groups.
pub(crate) struct Builder {
    source_name: String,
    pub(crate) metrics: Vec<String>,
    bugs: BTreeMap<String, BTreeMap<Evaluation, Group>>,
    /// By metric: missing cells, cells that are not finite, and the first row of the latter.
    gaps: Vec<(usize, usize, usize)>,
    rows: usize,
    pub(crate) warnings: Vec<String>,
}

impl Builder {
    pub(crate) fn new(source_name: String, mut metrics: Vec<String>) -> Self {
        let order = |name: &String| crate::options::OUTCOMES.iter().position(|known| known == name);
        metrics.sort_by_key(|name| (order(name).unwrap_or(usize::MAX), name.clone()));
        let gaps = vec![(0, 0, 0); metrics.len()];
        Self { source_name, metrics, bugs: BTreeMap::new(), gaps, rows: 0, warnings: Vec::new() }
    }

    /// Adds a run; `values` in the order of `metrics`.
    pub(crate) fn push(
        &mut self,
        row: usize,
        bug: &str,
        (evaluation, run, seed): (Evaluation, u32, Option<u64>),
        values: &[Option<f64>],
        fingerprints: Vec<String>,
    ) -> Result<(), InputError> {
        if bug.trim().is_empty() {
            return Err(InputError::Cell {
                source_name: self.source_name.clone(),
                row,
                column: "bug".to_owned(),
                found: bug.to_owned(),
                expected: "the name of a bug",
            });
        }
        if !self.bugs.contains_key(bug) {
            self.bugs.insert(bug.to_owned(), BTreeMap::new());
        }
        let Some(sides) = self.bugs.get_mut(bug) else { return Ok(()) };
        let group = sides.entry(evaluation).or_insert_with(|| Group {
            values: vec![Vec::new(); self.metrics.len()],
            ..Group::default()
        });
        group.runs.push(run);
        group.seeds.push(seed);
        group.rows.push(row);
        group.fingerprints.push(fingerprints);
        for ((column, value), gap) in group.values.iter_mut().zip(values).zip(&mut self.gaps) {
            let kept = match value {
                Some(value) if value.is_finite() => *value,
                Some(_) => {
                    gap.1 += 1;
                    gap.2 = if gap.2 == 0 { row } else { gap.2 };
                    f64::NAN
                }
                None => {
                    gap.0 += 1;
                    f64::NAN
                }
            };
            column.push(kept);
        }
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<Results, InputError> {
        if self.rows == 0 {
            return Err(InputError::NoRows { source_name: self.source_name });
        }
        if self.metrics.is_empty() {
            return Err(InputError::MissingColumn {
                source_name: self.source_name,
                column: "accuracy".to_owned(),
                found: "no metric at all".to_owned(),
            });
        }
        for (bug, sides) in &mut self.bugs {
            for (evaluation, group) in sides {
                group.sort_by_run();
                let twice = group.runs.windows(2).position(|pair| pair[0] == pair[1]);
                if let Some(index) = twice {
                    return Err(InputError::Duplicate {
                        source_name: self.source_name,
                        first: group.rows[index],
                        second: group.rows[index + 1],
                        bug: bug.clone(),
                        evaluation: *evaluation,
                        run: group.runs[index],
                    });
                }
            }
        }
        for (name, (missing, not_finite, first)) in self.metrics.iter().zip(&self.gaps) {
            if *missing > 0 {
                self.warnings.push(format!(
                    "{name}: missing in {missing} of {} runs, which are left out of its tests",
                    self.rows
                ));
            }
            if *not_finite > 0 {
                self.warnings.push(format!(
                    "{name}: NaN or infinite in {not_finite} of {} runs (first in row {first}), \
                     which are left out of its tests; a side that diverges more often than the \
                     other differs in a way these tests do not see",
                    self.rows
                ));
            }
        }
        Ok(Results { metrics: self.metrics, bugs: self.bugs, warnings: self.warnings })
    }
}
