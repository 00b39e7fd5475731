//! The Wilcoxon signed-rank test, for runs that are paired by their seed.

use crate::counting::SignedSums;
use crate::mann_whitney::{Choice, Method};
use crate::sample::{SampleError, check, doubled_midranks, magnitude, snap, sorted, tie_term};
use crate::shift::nth_by_count;
use crate::special::{clamp_p, normal_sf};
use serde::Serialize;

/// The outcome of a two-sided Wilcoxon signed-rank test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SignedRank {
    /// Number of pairs.
    pub pairs: usize,
    /// Pairs without a difference, which are left out (Wilcoxon's own treatment).
    pub zeros: usize,
    /// V: sum of the midranks of the positive differences, by absolute size.
    pub v: f64,
    /// The p-value, in (0, 1].
    pub p_value: f64,
    /// How it was computed.
    pub method: Method,
    /// Median of the means of all pairs of differences (zeros kept), in the unit of the values.
    pub pseudomedian: f64,
}

/// Tests whether the differences `x_i − y_i` are symmetric about 0.
///
/// Exact by the distribution of V over all signs, also with ties; asymptotic with
/// `σ² = n(n+1)(2n+1)/24 − Σ(t³ − t)/48` and continuity correction. `Choice::Auto` is exact up to
/// 50 differences. Differences are rounded to 2⁻⁴⁰ of the largest value before they are ranked, so
/// that ties do not hang on rounding. Without any difference p is 1.
///
/// # Errors
/// No pairs, slices of different length, and values that are not finite.
pub fn signed_rank(x: &[f64], y: &[f64], choice: Choice) -> Result<SignedRank, SampleError> {
    const NAME: &str = "the Wilcoxon signed-rank test";
    check(x, "first", NAME, 1)?;
    check(y, "second", NAME, x.len())?;
    check(x, "first", NAME, y.len())?;
    let mut all: Vec<f64> = x.iter().zip(y).map(|(a, b)| a - b).collect();
    snap(&mut all, magnitude(x, y));
    let differences: Vec<f64> = all.iter().copied().filter(|value| *value != 0.0).collect();
    let sizes: Vec<f64> = differences.iter().map(|value| value.abs()).collect();
    let (ranks, groups) = doubled_midranks(&sizes);
    let doubled_v: u64 =
        ranks.iter().zip(&differences).filter(|(_, d)| **d > 0.0).map(|(rank, _)| rank).sum();
    let (p, method) = p_of(doubled_v, &ranks, &groups, choice);
    Ok(SignedRank {
        pairs: all.len(),
        zeros: all.len() - differences.len(),
        v: 0.5 * doubled_v as f64,
        p_value: clamp_p(p),
        method,
        pseudomedian: pseudomedian(&all),
    })
}

fn p_of(doubled_v: u64, ranks: &[u64], groups: &[usize], choice: Choice) -> (f64, Method) {
    if ranks.is_empty() {
        return (1.0, Method::Constant);
    }
    let tied = groups.iter().any(|&size| size > 1);
    let exact = match choice {
        Choice::Auto => ranks.len() <= crate::mann_whitney::AUTO_EXACT_SIZE,
        Choice::Exact => true,
        Choice::Asymptotic => false,
    };
    if exact && let Some(sums) = SignedSums::new(ranks) {
        // The expected sum of doubled ranks is n(n + 1)/2; doubled once more it is an integer.
        let centre = (ranks.len() * (ranks.len() + 1)) as u64;
        let distance = (2 * doubled_v).abs_diff(centre);
        let p = sums.probability(|sum| (2 * sum).abs_diff(centre) >= distance);
        return (p, if tied { Method::ExactTies } else { Method::Exact });
    }
    let n = ranks.len() as f64;
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - tie_term(groups) / 48.0;
    let distance = (0.5 * doubled_v as f64 - 0.25 * n * (n + 1.0)).abs();
    let p = if distance == 0.0 { 1.0 } else { 2.0 * normal_sf((distance - 0.5) / variance.sqrt()) };
    (p, Method::Asymptotic)
}

/// Median of the means of all n(n+1)/2 pairs of values, each with itself too.
fn pseudomedian(values: &[f64]) -> f64 {
    let values = sorted(values);
    let n = values.len();
    let pairs = n as u64 * (n as u64 + 1) / 2;
    let nth = |place: u64| {
        nth_by_count(place, |bound| {
            // As the first of a pair grows, ever fewer second ones keep the mean small.
            let mut end = n;
            let mut count = 0_u64;
            for (index, first) in values.iter().enumerate() {
                while end > index && 0.5 * (first + values[end - 1]) > bound {
                    end -= 1;
                }
                if end <= index {
                    break;
                }
                count += (end - index) as u64;
            }
            count
        })
    };
    if pairs % 2 == 1 {
        return nth(pairs / 2 + 1);
    }
    0.5 * (nth(pairs / 2) + nth(pairs / 2 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_positive_is_the_most_extreme_sign_pattern() {
        let x = [1.0, 2.5, 3.75, 5.0, 9.0];
        let outcome = signed_rank(&x, &[0.0; 5], Choice::Auto).unwrap();
        assert_eq!((outcome.v, outcome.p_value), (15.0, 0.0625));
        assert_eq!(outcome.method, Method::Exact);
    }

    #[test]
    fn no_difference_at_all() {
        let outcome = signed_rank(&[0.5; 4], &[0.5; 4], Choice::Auto).unwrap();
        assert_eq!((outcome.p_value, outcome.zeros), (1.0, 4));
        assert_eq!(outcome.pseudomedian, 0.0);
    }

    #[test]
    fn the_pseudomedian_is_that_of_the_list() {
        let d = [0.5, -2.0, 3.25, 1.0, 7.0, -0.125];
        let mut means = Vec::new();
        for i in 0..d.len() {
            for j in i..d.len() {
                means.push(0.5 * (d[i] + d[j]));
            }
        }
        assert_eq!(pseudomedian(&d), crate::sample::median(&means));
    }

    #[test]
    fn unequal_lengths_are_refused() {
        assert!(signed_rank(&[1.0], &[1.0, 2.0], Choice::Auto).is_err());
        assert!(signed_rank(&[1.0, 2.0], &[1.0], Choice::Auto).is_err());
    }
}
