//! Effect sizes that need no unit: Vargha-Delaney A12 and Cliff's delta.

use crate::mann_whitney::{Ranked, Standing};
use crate::sample::{SampleError, check};
use crate::shift::Interval;
use crate::special::normal_quantile;
use serde::Serialize;

/// A12 and Cliff's delta of the same two samples; δ = 2·A12 − 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Effect {
    /// P(X > Y) + P(X = Y)/2 (Vargha and Delaney, 2000): U / nm. 0.5 means no tendency.
    pub a12: Interval,
    /// P(X > Y) − P(X < Y) (Cliff, 1993), from −1 to 1.
    pub cliffs_delta: Interval,
}

/// A12 and Cliff's delta of `x` against `y`, with intervals of confidence `level`.
///
/// The interval is the asymmetric one of Cliff (1996) as given by Feng and Cliff (2004), from the
/// consistent variance of the dominance matrix `d_ij = sign(x_i − y_j)`:
///
/// `s² = (m² Σ(d_i· − δ)² + n² Σ(d_·j − δ)² − ΣΣ(d_ij − δ)²) / (nm(n−1)(m−1))`, at least
/// `(1 − δ²) / (nm − 1)`, and with z the normal quantile
/// `(δ − δ³ ± z s √((1 − δ²)² + z² s²)) / (1 − δ² + z² s²)`.
///
/// Where δ is ±1 that is 0/0 and the inner end is `±(b − z²)/(b + z²)` with b the smaller size.
///
/// # Errors
/// Fewer than two values in a sample, and values that are not finite.
///
/// # Examples
/// ```
/// let effect = reproduceml_stats::effect::effect(&[1.0, 2.0, 3.0], &[2.0, 3.0, 4.0], 0.95).unwrap();
/// assert!((effect.a12.estimate - 2.0 / 9.0).abs() < 1e-12);
/// ```
pub fn effect(x: &[f64], y: &[f64], level: f64) -> Result<Effect, SampleError> {
    check(x, "first", "Cliff's delta", 2)?;
    check(y, "second", "Cliff's delta", 2)?;
    Ok(effect_ranked(&Ranked::new(x, y)?, level))
}

/// As [`effect`], of samples of at least two values each that are ranked already.
pub(crate) fn effect_ranked(ranked: &Ranked, level: f64) -> Effect {
    let (n, m) = (ranked.n as f64, ranked.m as f64);
    // For each x, how many y it exceeds less how many exceed it; and the same for each y.
    let row = |at: &Standing| at.y_below - (m - at.y_below - at.y);
    let column = |at: &Standing| at.x_below - (n - at.x_below - at.x);
    // Sums of integers: exact, so that swapping the samples only turns the sign.
    let (mut wins, mut untied) = (0.0, 0.0);
    for at in ranked.standing() {
        wins += at.x * row(&at);
        untied += at.x * (m - at.y);
    }
    let delta = wins / (n * m);
    let (mut of_rows, mut of_columns) = (0.0, 0.0);
    for at in ranked.standing() {
        of_rows += at.x * (row(&at) / m - delta).powi(2);
        of_columns += at.y * (column(&at) / n + delta).powi(2);
    }
    let of_cells = untied - n * m * delta * delta;
    let variance =
        (m * m * of_rows + n * n * of_columns - of_cells) / (n * m * (n - 1.0) * (m - 1.0));
    let rest = 1.0 - delta * delta;
    let variance = variance.max(rest / (n * m - 1.0));
    let z = normal_quantile(0.5 + 0.5 * level);
    let (low, high) = if rest <= 0.0 {
        let size = n.min(m);
        let inner = (size - z * z) / (size + z * z);
        if delta > 0.0 { (inner, 1.0) } else { (-1.0, -inner) }
    } else {
        let spread = z * z * variance;
        let centre = delta * rest;
        let half = (spread * (rest * rest + spread)).sqrt();
        let below = rest + spread;
        (((centre - half) / below).max(-1.0), ((centre + half) / below).min(1.0))
    };
    let to_a12 = |value: f64| 0.5 * (value + 1.0);
    let interval = |f: &dyn Fn(f64) -> f64| Interval {
        estimate: f(delta),
        low: f(low),
        high: f(high),
        level,
        attained: true,
    };
    Effect { a12: interval(&to_a12), cliffs_delta: interval(&|value| value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separation_is_bounded_away_from_certainty() {
        let x: Vec<f64> = (0..20).map(f64::from).collect();
        let y: Vec<f64> = (100..120).map(f64::from).collect();
        let effect = effect(&x, &y, 0.95).unwrap();
        assert_eq!(effect.a12.estimate, 0.0);
        assert_eq!(effect.cliffs_delta.low, -1.0);
        assert!(effect.cliffs_delta.high > -1.0 && effect.cliffs_delta.high < -0.5);
    }

    #[test]
    fn swapping_the_samples_turns_the_sign() {
        let x = [0.1, 0.5, 0.5, 0.9, 1.3];
        let y = [0.2, 0.5, 0.7];
        let a = effect(&x, &y, 0.95).unwrap().cliffs_delta;
        let b = effect(&y, &x, 0.95).unwrap().cliffs_delta;
        assert!((a.estimate + b.estimate).abs() < 1e-15);
        assert!((a.low + b.high).abs() < 1e-12 && (a.high + b.low).abs() < 1e-12);
    }
}
