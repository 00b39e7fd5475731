//! The Brunner-Munzel test: a Mann-Whitney test that does not assume equal spread.

use crate::sample::{SampleError, check, doubled_midranks};
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

/// Tests P(X > Y) + P(X = Y)/2 = ½ without assuming that spreads are equal.
///
/// Brunner and Munzel (2000): the difference of mean pooled ranks over its standard error from the
/// placements (pooled less own rank), with Satterthwaite's degrees of freedom.
///
/// # Errors
/// Fewer than two values a sample, values that are not finite, and samples without any overlap or
/// any variation, for which the standard error is 0.
pub fn brunner_munzel(x: &[f64], y: &[f64]) -> Result<BrunnerMunzel, SampleError> {
    const NAME: &str = "the Brunner-Munzel test";
    check(x, "first", NAME, 2)?;
    check(y, "second", NAME, 2)?;
    let pooled: Vec<f64> = x.iter().chain(y).copied().collect();
    let (ranks, _) = doubled_midranks(&pooled);
    let (n, m) = (x.len() as f64, y.len() as f64);
    let (of_x, of_y) = ranks.split_at(x.len());
    let (mean_x, variance_x) = placements(of_x, x);
    let (mean_y, variance_y) = placements(of_y, y);
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

/// Mean pooled rank of a sample, and the variance of its placements.
fn placements(pooled: &[u64], values: &[f64]) -> (f64, f64) {
    let size = values.len() as f64;
    let (own, _) = doubled_midranks(values);
    let mean_pooled = 0.5 * pooled.iter().sum::<u64>() as f64 / size;
    let placement = |(pooled, own): (&u64, &u64)| 0.5 * (*pooled as f64 - *own as f64);
    let centre = mean_pooled - 0.5 * (size + 1.0);
    let squares: f64 = pooled.iter().zip(&own).map(|pair| (placement(pair) - centre).powi(2)).sum();
    (mean_pooled, squares / (size - 1.0))
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
