//! Metrics from predictions and the server's own targets, with scikit-learn's conventions.
//!
//! * The predicted class is the one with the largest log-probability; the lowest index wins a tie
//!   and a NaN counts as larger than any number (`numpy.argmax`).
//! * Precision of a class never predicted, recall of a class that does not occur and F1 of a class
//!   with neither are 0 (`zero_division=0`).
//! * Macro averages are plain means over the classes that occur in the targets *or* in the
//!   predictions, as `precision_recall_fscore_support(labels=None)` takes them.

use serde::{Deserialize, Serialize};

/// Metrics of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// The class.
    pub class: u32,
    /// Right among those predicted to be of the class.
    pub precision: f64,
    /// Right among those that are of the class.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
    /// Samples that are of the class.
    pub support: u64,
}

/// All that is computed from the predictions for a split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Share of samples whose class was predicted.
    pub accuracy: f64,
    /// Macro-averaged precision.
    pub precision: f64,
    /// Macro-averaged recall.
    pub recall: f64,
    /// Macro-averaged F1.
    pub f1: f64,
    /// Each class of the challenge, also those that do not occur.
    pub classes: Vec<ClassMetrics>,
    /// Samples by true class (row) and predicted class (column).
    pub confusion: Vec<Vec<u64>>,
}

impl Metrics {
    /// The four figures that the statistics work on, by name.
    pub fn headline(&self) -> [(&'static str, f64); 4] {
        [
            ("accuracy", self.accuracy),
            ("precision", self.precision),
            ("recall", self.recall),
            ("f1", self.f1),
        ]
    }

    /// Metrics of class scores (samples × `classes`, row after row) against `targets`.
    ///
    /// `None` when the scores are not `targets.len() × classes` or a target is no class.
    pub fn of_scores(scores: &[f32], targets: &[u8], classes: usize) -> Option<Self> {
        if classes == 0 || Some(scores.len()) != targets.len().checked_mul(classes) {
            return None;
        }
        let mut confusion = vec![vec![0_u64; classes]; classes];
        for (row, target) in scores.chunks_exact(classes).zip(targets) {
            *confusion.get_mut(usize::from(*target))?.get_mut(argmax(row))? += 1;
        }
        Some(Self::of_confusion(confusion))
    }

    /// Metrics of a square confusion matrix (row: true class, column: predicted class).
    pub fn of_confusion(confusion: Vec<Vec<u64>>) -> Self {
        let mut classes = Vec::with_capacity(confusion.len());
        let (mut right, mut samples, mut present) = (0, 0, 0_u64);
        let mut sums = [0.0; 3];
        for (index, row) in confusion.iter().enumerate() {
            let hit = row.get(index).copied().unwrap_or(0);
            let support: u64 = row.iter().sum();
            let predicted: u64 = confusion.iter().filter_map(|r| r.get(index)).sum();
            right += hit;
            samples += support;
            let one = ClassMetrics {
                class: u32::try_from(index).unwrap_or(u32::MAX),
                precision: ratio(hit, predicted),
                recall: ratio(hit, support),
                f1: ratio(2 * hit, support + predicted),
                support,
            };
            if support + predicted > 0 {
                present += 1;
                for (sum, value) in sums.iter_mut().zip([one.precision, one.recall, one.f1]) {
                    *sum += value;
                }
            }
            classes.push(one);
        }
        let [precision, recall, f1] =
            sums.map(|s| if present == 0 { 0.0 } else { s / float(present) });
        Self { accuracy: ratio(right, samples), precision, recall, f1, classes, confusion }
    }
}

fn argmax(row: &[f32]) -> usize {
    let mut best = (0, f32::NEG_INFINITY);
    for (index, value) in row.iter().enumerate() {
        if value.is_nan() {
            return index;
        }
        if *value > best.1 {
            best = (index, *value);
        }
    }
    best.0
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { float(part) / float(whole) }
}

/// Counts stay far below 2^53, where every integer is a double.
fn float(count: u64) -> f64 {
    count as f64
}
