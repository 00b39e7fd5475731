//! The Fligner-Killeen test: do two samples differ in spread?

use crate::mann_whitney::{Ranked, Standing};
use crate::sample::{SampleError, check, magnitude, median_sorted, snap, sorted};
use crate::special::{chi_squared_1_sf, clamp_p, normal_quantile};
use serde::Serialize;
use std::cell::RefCell;

/// The outcome of the Fligner-Killeen test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FlignerKilleen {
    /// The statistic, chi-squared with one degree of freedom under the null hypothesis.
    pub statistic: f64,
    /// The p-value, in (0, 1].
    pub p_value: f64,
}

const NAME: &str = "the Fligner-Killeen test";

/// Tests for a difference in spread, whatever the difference in place.
///
/// Absolute deviations from each sample's median are ranked together, and ranks turned into normal
/// scores `Φ⁻¹(½ + r / (2(N + 1)))`; the statistic is `Σ n_i (ā_i − ā)² / s²` with s² the variance
/// of all scores (Conover, Johnson and Johnson, 1981; SciPy's `fligner` with `center='median'`).
///
/// # Errors
/// Fewer than two values a sample, values that are not finite, and samples whose deviations are all
/// equal (as where neither sample varies), for which the statistic is 0/0.
pub fn fligner_killeen(x: &[f64], y: &[f64]) -> Result<FlignerKilleen, SampleError> {
    check(x, "first", NAME, 2)?;
    check(y, "second", NAME, 2)?;
    fligner_killeen_sorted(&sorted(x), &sorted(y))
}

/// As [`fligner_killeen`], of samples of at least two values each that are sorted already.
pub(crate) fn fligner_killeen_sorted(x: &[f64], y: &[f64]) -> Result<FlignerKilleen, SampleError> {
    let largest = magnitude(x, y);
    let ranked = Ranked::of_sorted(&deviations(x, largest), &deviations(y, largest));
    if ranked.groups.len() == 1 {
        return Err(SampleError::Degenerate {
            method: NAME,
            why: "all values are equally far from the median of their sample",
        });
    }
    let scores = scores(&ranked);
    let (n, m) = (x.len() as f64, y.len() as f64);
    let (mut of_x, mut of_y) = (0.0, 0.0);
    for (at, score) in ranked.standing().zip(&scores) {
        of_x += at.x * score;
        of_y += at.y * score;
    }
    let centre = (of_x + of_y) / (n + m);
    let squares = ranked.standing().zip(&scores);
    let squares: f64 = squares.map(|(at, score)| (at.x + at.y) * (score - centre).powi(2)).sum();
    let between = n * (of_x / n - centre).powi(2) + m * (of_y / m - centre).powi(2);
    let statistic = between / (squares / (n + m - 1.0));
    Ok(FlignerKilleen { statistic, p_value: clamp_p(chi_squared_1_sf(statistic)) })
}

/// Absolute deviations from the median, ascending, rounded to a grid that `largest` sets.
fn deviations(sorted: &[f64], largest: f64) -> Vec<f64> {
    let centre = median_sorted(sorted);
    let (below, above) = sorted.split_at(sorted.partition_point(|value| *value < centre));
    let below = below.iter().rev().map(|value| centre - value);
    let mut all: Vec<f64> = below.chain(above.iter().map(|value| value - centre)).collect();
    snap(&mut all, largest);
    // Two ascending runs, which a stable sort only has to merge.
    all.sort_by(f64::total_cmp);
    all
}

/// The normal score of each distinct value.
///
/// Scores depend on ranks alone, and the tests of a study mostly share their sizes: they are kept
/// until this thread asks for another size.
fn scores(ranked: &Ranked) -> Vec<f64> {
    thread_local! {
        static KNOWN: RefCell<(usize, Vec<f64>)> = const { RefCell::new((0, Vec::new())) };
    }
    let total = ranked.n + ranked.m;
    KNOWN.with_borrow_mut(|(size, known)| {
        if *size != total {
            *size = total;
            known.clear();
            known.resize(2 * total + 1, f64::NAN);
        }
        let score = |at: Standing| {
            // Twice the midrank; whole.
            let doubled = 2.0 * (at.x_below + at.y_below) + at.x + at.y + 1.0;
            let place = (doubled as usize).min(2 * total);
            if known[place].is_nan() {
                known[place] = normal_quantile(0.5 + doubled / (4.0 * (total as f64 + 1.0)));
            }
            known[place]
        };
        ranked.standing().map(score).collect()
    })
}
