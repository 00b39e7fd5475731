//! The few special functions the tests need, accurate in the far tail.
//!
//! A p-value of 1e-300 must be right in its tenth digit, so tails are never computed as one minus
//! something: each function here returns the small side directly.

use statrs::function::beta::beta_reg;

/// The smallest p-value this crate returns: a probability is positive, however small.
pub const SMALLEST_P: f64 = f64::MIN_POSITIVE;

/// Keeps a probability inside `[SMALLEST_P, 1]`, so that rounding or underflow never yields 0.
pub fn clamp_p(p: f64) -> f64 {
    p.clamp(SMALLEST_P, 1.0)
}

/// Upper tail of the standard normal distribution, P(Z > z) = erfc(z / √2) / 2.
pub fn normal_sf(z: f64) -> f64 {
    0.5 * libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2)
}

/// Two-sided tail of the standard normal distribution, P(|Z| > |z|).
pub fn normal_two_sided(z: f64) -> f64 {
    libm::erfc(z.abs() * std::f64::consts::FRAC_1_SQRT_2)
}

/// The `p` quantile of the standard normal distribution, for 0 < p < 1.
///
/// Starts from the inverse of erfc and takes one Newton step on the tail that is small, which
/// brings the relative error to a few units in the last place.
pub fn normal_quantile(p: f64) -> f64 {
    if p.is_nan() || p <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if p >= 1.0 {
        return f64::INFINITY;
    }
    if p == 0.5 {
        return 0.0;
    }
    if p > 0.5 {
        return -lower_quantile(1.0 - p);
    }
    lower_quantile(p)
}

fn lower_quantile(p: f64) -> f64 {
    let mut z = -std::f64::consts::SQRT_2 * statrs::function::erf::erfc_inv(2.0 * p);
    for _ in 0..2 {
        let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
        if density > 0.0 {
            z -= (normal_sf(-z) - p) / density;
        }
    }
    z
}

/// Upper tail of the chi-squared distribution with one degree of freedom: P(Z² > x).
pub fn chi_squared_1_sf(x: f64) -> f64 {
    if x <= 0.0 { 1.0 } else { libm::erfc((0.5 * x).sqrt()) }
}

/// Two-sided tail of Student's t distribution, P(|T| > |t|), for `df` > 0 degrees of freedom:
/// the regularised incomplete beta function I_{df/(df+t²)}(df/2, 1/2).
pub fn student_t_two_sided(t: f64, df: f64) -> f64 {
    if t == 0.0 {
        return 1.0;
    }
    let x = df / (df + t * t);
    if x > 0.0 { beta_reg(0.5 * df, 0.5, x) } else { 0.0 }
}

/// Upper tail of Fisher's F distribution, P(F > f), for `d1` and `d2` degrees of freedom: the
/// regularised incomplete beta function I_{d2/(d2 + d1 f)}(d2/2, d1/2).
pub fn fisher_sf(f: f64, d1: f64, d2: f64) -> f64 {
    if f <= 0.0 {
        return 1.0;
    }
    let x = d2 / (d2 + d1 * f);
    if x > 0.0 { beta_reg(0.5 * d2, 0.5 * d1, x) } else { 0.0 }
}

/// Clopper-Pearson interval of a binomial proportion: `hits` of `trials` at confidence `level`.
///
/// The exact interval: its ends are quantiles of beta distributions, found by bisection.
///
/// # Examples
/// ```
/// let (low, high) = reproduceml_stats::special::clopper_pearson(1, 10, 0.95);
/// assert!((low - 0.0025).abs() < 1e-4 && (high - 0.445).abs() < 1e-3);
/// ```
pub fn clopper_pearson(hits: u64, trials: u64, level: f64) -> (f64, f64) {
    let (k, n, tail) = (hits as f64, trials as f64, 0.5 * (1.0 - level));
    let low = if hits == 0 { 0.0 } else { beta_quantile(k, n - k + 1.0, tail) };
    let high = if hits >= trials { 1.0 } else { beta_quantile(k + 1.0, n - k, 1.0 - tail) };
    (low, high)
}

pub(crate) fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if beta_reg(a, b, middle) < p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_tail_is_right_far_out() {
        // mpmath at 50 digits: erfc(z/sqrt(2))/2.
        for (z, expected) in [
            (1.959963984540054, 0.025),
            (10.0, 7.619853024160526e-24),
            (20.0, 2.7536241186062337e-89),
            (37.0, 5.725571222524985e-300),
        ] {
            let got = normal_sf(z);
            assert!((got / expected - 1.0_f64).abs() < 1e-12, "{z}: {got:e} not {expected:e}");
        }
    }

    #[test]
    fn the_quantile_undoes_the_tail() {
        for p in [1e-300, 1e-20, 0.001, 0.025, 0.3, 0.5, 0.75, 0.975, 0.999_999] {
            let z = normal_quantile(p);
            assert!((normal_sf(-z) / p - 1.0).abs() < 1e-11, "{p}: {z}");
        }
    }

    #[test]
    fn the_exact_binomial_interval_is_the_known_one() {
        let (low, high) = clopper_pearson(0, 10, 0.95);
        assert_eq!(low, 0.0);
        assert!((high - (1.0 - 0.025_f64.powf(0.1))).abs() < 1e-10);
        let (low, high) = clopper_pearson(5, 10, 0.95);
        assert!((low + high - 1.0).abs() < 1e-12);
        assert!((low - 0.187_086_03).abs() < 1e-7);
    }
}
