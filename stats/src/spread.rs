//! The Fligner-Killeen test: do two samples differ in spread?

use crate::sample::{
    SampleError, check, doubled_midranks, magnitude, mean, median, snap, standard_deviation,
};
use crate::special::{chi_squared_1_sf, clamp_p, normal_quantile};
use serde::Serialize;

/// The outcome of the Fligner-Killeen test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FlignerKilleen {
    /// The statistic, chi-squared with one degree of freedom under the null hypothesis.
    pub statistic: f64,
    /// The p-value, in (0, 1].
    pub p_value: f64,
}

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
    const NAME: &str = "the Fligner-Killeen test";
    check(x, "first", NAME, 2)?;
    check(y, "second", NAME, 2)?;
    let deviations = |values: &[f64]| {
        let centre = median(values);
        values.iter().map(|value| (value - centre).abs()).collect::<Vec<f64>>()
    };
    let mut pooled = deviations(x);
    pooled.extend(deviations(y));
    snap(&mut pooled, magnitude(x, y));
    let (ranks, groups) = doubled_midranks(&pooled);
    if groups.len() == 1 {
        return Err(SampleError::Degenerate {
            method: NAME,
            why: "all values are equally far from the median of their sample",
        });
    }
    let total = pooled.len() as f64;
    let scores: Vec<f64> = ranks
        .iter()
        .map(|&rank| normal_quantile(0.5 + rank as f64 / (4.0 * (total + 1.0))))
        .collect();
    let centre = mean(&scores);
    let (first, second) = scores.split_at(x.len());
    let between = |part: &[f64]| part.len() as f64 * (mean(part) - centre).powi(2);
    let statistic = (between(first) + between(second)) / standard_deviation(&scores).powi(2);
    Ok(FlignerKilleen { statistic, p_value: clamp_p(chi_squared_1_sf(statistic)) })
}
