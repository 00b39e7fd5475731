//! The smallest effect that a design could have shown.

use crate::special::normal_quantile;

/// Efficiency of the Mann-Whitney test relative to the t test for normal data, 3/π.
const EFFICIENCY: f64 = 3.0 / std::f64::consts::PI;

/// The power all statements about detectable effects are made for.
pub const POWER: f64 = 0.8;

/// Whether a two-sided test of `n` against `m` values can reach p < `alpha` at all: its smallest
/// p-value is 2 / (n + m choose n).
pub fn can_reject(n: usize, m: usize, alpha: f64) -> bool {
    let mut orders = 1.0_f64;
    for i in 1..=n.min(m) {
        orders *= (n.max(m) + i) as f64 / i as f64;
        if 2.0 / orders < alpha {
            return true;
        }
    }
    false
}

/// The smallest shift, in the unit of the standard deviation `sd`, that a two-sided Mann-Whitney
/// test at level `alpha` finds with probability `power`.
///
/// `(z_{1−α/2} + z_{power}) · sd · √((1/n + 1/m) · π/3)`: the t test's formula over the
/// asymptotic relative efficiency (Lehmann, 1975), for roughly normal values. Nothing where no
/// outcome of these sizes could reach `alpha`, or where `sd` is unknown.
///
/// # Examples
/// ```
/// let shift = reproduceml_stats::power::detectable_shift(50, 50, 1.0, 0.05, 0.8).unwrap();
/// assert!((shift - 0.573).abs() < 1e-3);
/// ```
pub fn detectable_shift(n: usize, m: usize, sd: f64, alpha: f64, power: f64) -> Option<f64> {
    if !can_reject(n, m, alpha) || !sd.is_finite() {
        return None;
    }
    let z = normal_quantile(1.0 - 0.5 * alpha) + normal_quantile(power);
    Some(z * sd * ((1.0 / n as f64 + 1.0 / m as f64) / EFFICIENCY).sqrt())
}

/// The smallest |A12 − ½| that a two-sided Mann-Whitney test finds with probability `power`:
/// `(z_{1−α/2} + z_{power}) / √(12 · nm/(n+m))` (Noether, 1987). Nothing where no outcome of these
/// sizes could reach `alpha`.
///
/// # Examples
/// ```
/// let effect = reproduceml_stats::power::detectable_a12(50, 50, 0.05, 0.8).unwrap();
/// assert!((0.5 + effect - 0.662).abs() < 1e-3);
/// ```
pub fn detectable_a12(n: usize, m: usize, alpha: f64, power: f64) -> Option<f64> {
    if !can_reject(n, m, alpha) {
        return None;
    }
    let z = normal_quantile(1.0 - 0.5 * alpha) + normal_quantile(power);
    let (n, m) = (n as f64, m as f64);
    Some((z / (12.0 * n * m / (n + m)).sqrt()).min(0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_a_side_can_never_reach_five_percent() {
        assert!(!can_reject(3, 3, 0.05));
        assert!(can_reject(4, 4, 0.05));
        assert!(detectable_shift(3, 3, 1.0, 0.05, POWER).is_none());
    }

    #[test]
    fn fifty_a_side() {
        let a = detectable_a12(50, 50, 0.05, POWER).unwrap();
        assert!((a - 0.1617).abs() < 1e-4, "{a}");
    }
}
