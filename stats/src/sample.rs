//! What every test starts from: samples that were checked, and the midranks of their union.

use thiserror::Error;

/// Why a test cannot be made of these samples.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SampleError {
    /// A sample has fewer values than the method needs.
    #[error(
        "the {side} sample has {found} value(s), but {method} needs at least {needed}; add runs"
    )]
    TooFew {
        /// Which sample: `first`, `second`, or `paired`.
        side: &'static str,
        /// The method that was asked for.
        method: &'static str,
        /// How many values there are.
        found: usize,
        /// How many are needed.
        needed: usize,
    },
    /// A value is NaN or infinite.
    #[error("value {index} of the {side} sample is not finite; leave it out or repair it")]
    NotFinite {
        /// Which sample: `first`, `second`, or `paired`.
        side: &'static str,
        /// Position from 0.
        index: usize,
    },
    /// The method assumes that no two values are equal.
    #[error("the samples have ties, which this method cannot take; use `exact_with_ties`")]
    Ties,
    /// Enumerating the distribution would take too long or overflow.
    #[error("sizes {n} and {m} are too large for an exact distribution; use `asymptotic`")]
    TooLarge {
        /// Size of the first sample.
        n: usize,
        /// Size of the second sample.
        m: usize,
    },
    /// The samples do not vary in the way that the method needs.
    #[error("{method} is not defined here: {why}")]
    Degenerate {
        /// The method that was asked for.
        method: &'static str,
        /// What is missing.
        why: &'static str,
    },
}

/// Checks that `values` has at least `needed` values and that all of them are finite.
pub(crate) fn check(
    values: &[f64],
    side: &'static str,
    method: &'static str,
    needed: usize,
) -> Result<(), SampleError> {
    if values.len() < needed {
        return Err(SampleError::TooFew { side, method, found: values.len(), needed });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(SampleError::NotFinite { side, index }),
        None => Ok(()),
    }
}

/// A sorted copy.
pub(crate) fn sorted(values: &[f64]) -> Vec<f64> {
    let mut copy = values.to_vec();
    copy.sort_unstable_by(f64::total_cmp);
    copy
}

/// Σ (t³ − t) over groups of `t` equal values: the tie term of rank variances.
pub(crate) fn tie_term(sizes: impl Iterator<Item = usize>) -> f64 {
    sizes.map(|size| size as f64).map(|t| t * (t * t - 1.0)).sum()
}

/// Rounds `values` to a grid that is 2⁻⁴⁰ of `magnitude`, so that numbers which are equal but for
/// the rounding of one addition count as tied.
pub(crate) fn snap(values: &mut [f64], magnitude: f64) {
    if magnitude > 0.0 && magnitude.is_finite() {
        // A power of two, so that scaling is exact.
        let scale = 2.0_f64.powi((40.0 - magnitude.log2().ceil()).clamp(-1000.0, 1000.0) as i32);
        for value in values {
            *value = (*value * scale).round() / scale;
        }
    }
}

/// The largest absolute value of both slices.
pub(crate) fn magnitude(x: &[f64], y: &[f64]) -> f64 {
    x.iter().chain(y).fold(0.0, |largest, value| value.abs().max(largest))
}

/// Arithmetic mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Median: the middle value, or the mean of the two middle ones; NaN of nothing.
pub fn median(values: &[f64]) -> f64 {
    median_sorted(&sorted(values))
}

/// As [`median`], of values sorted ascending.
pub(crate) fn median_sorted(values: &[f64]) -> f64 {
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => 0.5 * (values[n / 2 - 1] + values[n / 2]),
    }
}

/// Standard deviation of a sample (divisor n − 1); NaN of fewer than two values, and exactly 0
/// where all values are equal.
pub fn standard_deviation(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return f64::NAN;
    }
    if values.iter().all(|value| *value == values[0]) {
        return 0.0;
    }
    let centre = mean(values);
    let squares: f64 = values.iter().map(|value| (value - centre).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

/// Quantile `p` in `[0, 1]` of values sorted ascending, interpolated linearly between order
/// statistics (type 7 of Hyndman and Fan, the default of R and NumPy); NaN of nothing.
pub fn quantile_sorted(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = p.clamp(0.0, 1.0) * last as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(last);
    sorted[below] + (place - below as f64) * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile_sorted(&[1.0, 2.0, 3.0, 4.0], 0.25), 1.75);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert!(quantile_sorted(&[], 0.5).is_nan());
    }

    #[test]
    fn snapping_joins_what_one_rounding_parted() {
        let mut values = [0.1 + 0.2, 0.3];
        snap(&mut values, 0.3);
        assert_eq!(values[0], values[1]);
    }
}
