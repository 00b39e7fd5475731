//! Equivalence: two one-sided tests (TOST) that the shift lies within a margin.
//!
//! A large p-value of a test for difference shows nothing. This test turns the hypotheses round:
//! the null is a shift of at least the margin, and a small p-value is evidence that the shift is
//! smaller (Schuirmann, 1987; with ranks, Wellek, 2010).

use crate::mann_whitney::{Alternative, Choice, Method, Ranked, Settings, test_ranked};
use crate::sample::{SampleError, check, magnitude, snap, sorted};
use serde::Serialize;

/// The outcome of the two one-sided tests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Equivalence {
    /// Half-width of the range of shifts that count as none, in the unit of the values.
    pub margin: f64,
    /// p-value against "the shift is −margin or less".
    pub p_lower: f64,
    /// p-value against "the shift is +margin or more".
    pub p_upper: f64,
    /// The larger of the two: below α, the samples are equivalent within the margin.
    pub p_value: f64,
    /// How both were computed.
    pub method: Method,
}

/// Tests whether the shift of `x` against `y` lies within `±margin`.
///
/// Both one-sided tests are Mann-Whitney tests of `x ± margin` against `y`, so they assume that the
/// distributions differ in place and not in shape. Shifted values are rounded to 2⁻⁴⁰ of the
/// largest one, so that adding the margin makes and breaks no ties by rounding.
///
/// # Errors
/// Empty samples and values that are not finite, the margin included.
///
/// # Examples
/// ```
/// use reproduceml_stats::{equivalence::tost, mann_whitney::Choice};
/// let x: Vec<f64> = (0..40).map(|i| 0.70 + 0.0001 * f64::from(i)).collect();
/// assert!(tost(&x, &x, 0.005, Choice::Auto).unwrap().p_value < 1e-6);
/// assert!(tost(&x, &x, 0.0001, Choice::Auto).unwrap().p_value > 0.05);
/// ```
pub fn tost(x: &[f64], y: &[f64], margin: f64, choice: Choice) -> Result<Equivalence, SampleError> {
    check(x, "first", "the test of equivalence", 1)?;
    check(y, "second", "the test of equivalence", 1)?;
    if !margin.is_finite() {
        return Err(SampleError::Degenerate {
            method: "the test of equivalence",
            why: "its margin is not a finite number",
        });
    }
    Ok(tost_sorted(&sorted(x), &sorted(y), margin, choice))
}

/// As [`tost`], of samples that were checked and sorted.
pub(crate) fn tost_sorted(x: &[f64], y: &[f64], margin: f64, choice: Choice) -> Equivalence {
    let largest = magnitude(x, y) + margin.abs();
    let mut reference = y.to_vec();
    snap(&mut reference, largest);
    // Neither adding nor rounding changes the order.
    let shifted = |by: f64, alternative| {
        let mut values: Vec<f64> = x.iter().map(|value| value + by).collect();
        snap(&mut values, largest);
        let settings = Settings { choice, alternative, continuity: true };
        test_ranked(&Ranked::of_sorted(&values, &reference), settings)
    };
    let lower = shifted(margin.abs(), Alternative::Greater);
    let upper = shifted(-margin.abs(), Alternative::Less);
    Equivalence {
        margin: margin.abs(),
        p_lower: lower.p_value,
        p_upper: upper.p_value,
        p_value: lower.p_value.max(upper.p_value),
        method: lower.method.max(upper.method),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constant_samples_within_the_margin_are_equivalent() {
        // All shifted values lie above, or below: the most extreme order of 10 and 10.
        let outcome = tost(&[0.5; 10], &[0.5; 10], 0.005, Choice::Auto).unwrap();
        assert!(outcome.p_value < 1e-4, "{outcome:?}");
    }

    #[test]
    fn a_shift_beyond_the_margin_is_not_equivalent() {
        let x: Vec<f64> = (0..30).map(|i| 0.70 + 0.0001 * f64::from(i)).collect();
        let y: Vec<f64> = x.iter().map(|value| value + 0.02).collect();
        assert!(tost(&x, &y, 0.005, Choice::Auto).unwrap().p_value > 0.99);
    }
}
