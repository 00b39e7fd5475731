//! The Brunner-Munzel test: a Mann-Whitney test that does not assume equal spread.

use crate::mann_whitney::{Ranked, Standing};
use crate::sample::{SampleError, check};
use crate::special::{clamp_p, student_t_two_sided};
use serde::Serialize;

/// The outcome of the Brunner-Munzel test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BrunnerMunzel {
    /// The statistic; negative where the first sample tends to larger values, as in SciPy.
    pub statistic: f64,
    /// Degrees of freedom of the t distribution it is compared with.
    pub df: f64,
    /// Two-sided p-value, in (0, 1].
    pub p_value: f64,
}

const NAME: &str = "the Brunner-Munzel test";

/// Tests P(X > Y) + P(X = Y)/2 = ½ without assuming that spreads are equal.
///
/// Brunner and Munzel (2000): the difference of mean pooled ranks over its standard error from the
/// placements (pooled less own rank), with Satterthwaite's degrees of freedom.
///
/// # Errors
/// Fewer than two values a sample, values that are not finite, and samples without any overlap or
/// any variation, for which the standard error is 0.
pub fn brunner_munzel(x: &[f64], y: &[f64]) -> Result<BrunnerMunzel, SampleError> {
    check(x, "first", NAME, 2)?;
    check(y, "second", NAME, 2)?;
    brunner_munzel_ranked(&Ranked::new(x, y)?)
}

/// As [`brunner_munzel`], of samples of at least two values each that are ranked already.
pub(crate) fn brunner_munzel_ranked(ranked: &Ranked) -> Result<BrunnerMunzel, SampleError> {
    let (n, m) = (ranked.n as f64, ranked.m as f64);
    // A placement is the pooled midrank less the own one: how many of the other sample are below,
    // ties as a half.
    let (mean_x, variance_x) = placements(n, ranked, |at| (at.x, at.y_below + 0.5 * at.y));
    let (mean_y, variance_y) = placements(m, ranked, |at| (at.y, at.x_below + 0.5 * at.x));
    if variance_x == 0.0 && variance_y == 0.0 {
        return Err(SampleError::Degenerate {
            method: NAME,
            why: "the samples do not overlap, or do not vary, so its standard error is 0",
        });
    }
    let (part_x, part_y) = (n * variance_x, m * variance_y);
    let statistic = n * m * (mean_y - mean_x) / ((n + m) * (part_x + part_y).sqrt());
    let df =
        (part_x + part_y).powi(2) / (part_x * part_x / (n - 1.0) + part_y * part_y / (m - 1.0));
    Ok(BrunnerMunzel { statistic, df, p_value: clamp_p(student_t_two_sided(statistic, df)) })
}

/// Mean pooled rank of a sample, and the variance of its placements; `own` gives for each distinct
/// value how many of the sample have it, and their placement.
fn placements(size: f64, ranked: &Ranked, own: impl Fn(&Standing) -> (f64, f64)) -> (f64, f64) {
    let sum: f64 = ranked.standing().map(|at| own(&at)).map(|(count, place)| count * place).sum();
    let centre = sum / size;
    let squares = ranked.standing().map(|at| own(&at));
    let squares: f64 = squares.map(|(count, place)| count * (place - centre).powi(2)).sum();
    // The mean of the own ranks is (size + 1)/2.
    (centre + 0.5 * (size + 1.0), squares / (size - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example() {
        // Pain scores of 14 and 11 patients, in the R package lawstat and SciPy's documentation.
        let x = [1., 2., 1., 1., 1., 1., 1., 1., 1., 1., 2., 4., 1., 1.];
        let y = [3., 3., 4., 3., 1., 2., 3., 1., 1., 5., 4.];
        let outcome = brunner_munzel(&x, &y).unwrap();
        assert!((outcome.statistic - 3.137_467_482_302_950_5).abs() < 1e-10);
        assert!((outcome.p_value - 0.005_786_208_666_151_469).abs() < 1e-12);
    }

    #[test]
    fn separated_samples_are_refused() {
        assert!(brunner_munzel(&[1.0, 2.0], &[3.0, 4.0]).is_err());
    }
}
