//! Rows to groups, whatever they are read from: what may stay, what is left out, what is refused.

use crate::fingerprint::Fingerprint;
use crate::group::Group;
use crate::input::{Evaluation, InputError, Results};
use crate::options::OUTCOMES;
use std::collections::{BTreeMap, HashMap};

/// What a metric's column held besides numbers.
#[derive(Debug, Clone, Default)]
struct Column {
    numbers: usize,
    missing: usize,
    not_finite: usize,
    first_not_finite: usize,
    /// The first cell that is no number: its row, and what is there.
    text: Option<(usize, String)>,
}

/// Collects rows into groups.
///
/// Whether a column is a metric may be known only at the end: it is one if it holds a number, or is
/// an outcome. So text in a column is kept as a problem until then.
pub(crate) struct Intake {
    source_name: String,
    /// The columns that may be metrics, outcomes first.
    pub(crate) metrics: Vec<String>,
    pub(crate) warnings: Vec<String>,
    columns: Vec<Column>,
    /// The values of the row at hand: NaN where missing.
    row: Vec<f64>,
    groups: Vec<(String, Evaluation, Group)>,
    places: HashMap<String, [Option<usize>; Evaluation::NAMES.len()]>,
    rows: usize,
}

impl Intake {
    pub(crate) fn new(source_name: String, mut metrics: Vec<String>) -> Self {
        let order = |name: &String| OUTCOMES.iter().position(|known| known == name);
        metrics.sort_by_key(|name| (order(name).unwrap_or(usize::MAX), name.clone()));
        Self {
            source_name,
            columns: vec![Column::default(); metrics.len()],
            row: vec![f64::NAN; metrics.len()],
            metrics,
            warnings: Vec::new(),
            groups: Vec::new(),
            places: HashMap::new(),
            rows: 0,
        }
    }

    /// The number of the row at hand, from 1.
    fn at(&self) -> usize {
        self.rows + 1
    }

    /// Sets a metric of the row at hand.
    pub(crate) fn set(&mut self, metric: usize, value: f64) {
        let at = self.at();
        let column = &mut self.columns[metric];
        column.numbers += 1;
        if value.is_finite() {
            self.row[metric] = value;
            return;
        }
        column.not_finite += 1;
        if column.first_not_finite == 0 {
            column.first_not_finite = at;
        }
    }

    /// Notes that a metric of the row at hand is no number.
    pub(crate) fn set_text(&mut self, metric: usize, found: &str) {
        let at = self.at();
        self.columns[metric].text.get_or_insert_with(|| (at, found.to_owned()));
    }

    /// Says what is wrong with a cell of the row at hand.
    pub(crate) fn cell(&self, column: &str, found: &str, expected: &'static str) -> InputError {
        // A problem of an earlier row that is sure to be one comes first.
        let earlier = self.first_text(|metric| {
            self.columns[metric].numbers > 0 || OUTCOMES.contains(&self.metrics[metric].as_str())
        });
        earlier.unwrap_or_else(|| self.cell_of(self.at(), column, found, expected))
    }

    fn cell_of(&self, row: usize, column: &str, found: &str, expected: &'static str) -> InputError {
        InputError::Cell {
            source_name: self.source_name.clone(),
            row,
            column: column.to_owned(),
            found: shortened(found),
            expected,
        }
    }

    fn first_text(&self, counts: impl Fn(usize) -> bool) -> Option<InputError> {
        let texts = self.columns.iter().enumerate().filter(|(metric, _)| counts(*metric));
        let texts = texts.filter_map(|(metric, column)| Some((metric, column.text.as_ref()?)));
        let (metric, (row, found)) = texts.min_by_key(|(_, (row, _))| *row)?;
        Some(self.cell_of(*row, &self.metrics[metric], found, "a number, or nothing"))
    }

    /// Ends the row at hand.
    pub(crate) fn push(
        &mut self,
        bug: &str,
        evaluation: Evaluation,
        run: u32,
        seed: Option<u64>,
        fingerprints: Vec<Fingerprint>,
    ) -> Result<(), InputError> {
        if bug.trim().is_empty() {
            return Err(self.cell("bug", bug, "the name of a bug"));
        }
        self.rows += 1;
        let place = self.place(bug, evaluation);
        let group = &mut self.groups[place].2;
        group.push(self.rows, run, seed, fingerprints);
        for ((value, values), column) in
            self.row.iter_mut().zip(&mut group.values).zip(&mut self.columns)
        {
            column.missing += usize::from(value.is_nan());
            values.push(*value);
            *value = f64::NAN;
        }
        Ok(())
    }

    fn place(&mut self, bug: &str, evaluation: Evaluation) -> usize {
        let side = evaluation as usize;
        if let Some(place) = self.places.get(bug).and_then(|sides| sides[side]) {
            return place;
        }
        let place = self.groups.len();
        self.groups.push((bug.to_owned(), evaluation, Group::new(self.metrics.len())));
        self.places.entry(bug.to_owned()).or_default()[side] = Some(place);
        place
    }

    /// The results, once there are no more rows.
    pub(crate) fn finish(mut self) -> Result<Results, InputError> {
        if self.rows == 0 {
            return Err(InputError::NoRows { source_name: self.source_name });
        }
        let is_metric = |metric: usize| {
            self.columns[metric].numbers > 0 || OUTCOMES.contains(&self.metrics[metric].as_str())
        };
        if let Some(problem) = self.first_text(is_metric) {
            return Err(problem);
        }
        let kept: Vec<usize> =
            (0..self.metrics.len()).filter(|metric| is_metric(*metric)).collect();
        self.leave_out(&kept);
        if self.metrics.is_empty() {
            return Err(InputError::MissingColumn {
                source_name: self.source_name,
                column: "accuracy".to_owned(),
                found: "no metric at all".to_owned(),
                hint: "",
            });
        }
        let mut bugs: BTreeMap<String, BTreeMap<Evaluation, Group>> = BTreeMap::new();
        for (bug, evaluation, group) in std::mem::take(&mut self.groups) {
            bugs.entry(bug).or_default().insert(evaluation, group);
        }
        for (bug, sides) in &mut bugs {
            for (evaluation, group) in sides {
                if let Some((first, second, run)) = group.sort_by_run() {
                    return Err(InputError::Duplicate {
                        source_name: self.source_name,
                        first,
                        second,
                        bug: bug.clone(),
                        evaluation: *evaluation,
                        run,
                    });
                }
            }
        }
        self.warn_of_gaps();
        Ok(Results { metrics: self.metrics, bugs, warnings: self.warnings })
    }

    /// Leaves out the columns that hold no number.
    fn leave_out(&mut self, kept: &[usize]) {
        let without: Vec<&str> = (0..self.metrics.len())
            .filter(|metric| !kept.contains(metric))
            .map(|metric| self.metrics[metric].as_str())
            .collect();
        if without.is_empty() {
            return;
        }
        self.warnings.push(format!(
            "columns without a single number are no metrics and were left out: {}",
            without.join(", ")
        ));
        for (_, _, group) in &mut self.groups {
            let values = std::mem::take(&mut group.values);
            group.values = only(values, kept);
        }
        self.columns = only(std::mem::take(&mut self.columns), kept);
        self.metrics = only(std::mem::take(&mut self.metrics), kept);
    }

    fn warn_of_gaps(&mut self) {
        for (name, column) in self.metrics.iter().zip(&self.columns) {
            let missing = column.missing - column.not_finite;
            if missing > 0 {
                self.warnings.push(format!(
                    "{name}: missing in {missing} of {} runs, which are left out of its tests",
                    self.rows
                ));
            }
            if column.not_finite > 0 {
                self.warnings.push(format!(
                    "{name}: NaN or infinite in {} of {} runs (first in row {}), which are left \
                     out of its tests; a side that diverges more often than the other differs in \
                     a way these tests do not see",
                    column.not_finite, self.rows, column.first_not_finite
                ));
            }
        }
    }
}

fn only<T>(list: Vec<T>, kept: &[usize]) -> Vec<T> {
    let places = list.into_iter().enumerate();
    places.filter(|(place, _)| kept.contains(place)).map(|(_, item)| item).collect()
}

/// What a message shows of a cell, which may be a whole file between two quotes.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
