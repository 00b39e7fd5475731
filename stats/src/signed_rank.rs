//! The Wilcoxon signed-rank test, for runs that are paired by their seed.

use crate::counting::SignedSums;
use crate::mann_whitney::{Alternative, Choice, Method, Ranked, Settings};
use crate::sample::{SampleError, check, magnitude, snap, tie_term};
use crate::select::means;
use crate::special::{clamp_p, normal_sf};
use serde::Serialize;

/// The outcome of a Wilcoxon signed-rank test.
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
/// `σ² = n(n+1)(2n+1)/24 − Σ(t³ − t)/48`, with or without continuity correction. `Choice::Auto` is
/// exact up to 50 differences. `Alternative::Less` means that `x` tends to be smaller. Differences are rounded to 2⁻⁴⁰ of the largest value before they are ranked, so
/// that ties do not hang on rounding. Without any difference p is 1.
///
/// # Errors
/// No pairs, slices of different length, and values that are not finite.
///
/// # Examples
/// ```
/// use reproduceml_stats::{mann_whitney::Choice, signed_rank::signed_rank};
/// let (x, y) = ([1.0, 2.0, 3.0, 0.0, 5.0, 6.0], [0.0, 0.0, 0.0, 4.0, 0.0, 0.0]);
/// let test = signed_rank(&x, &y, Choice::Auto).unwrap();
/// assert_eq!((test.v, test.p_value), (17.0, 14.0 / 64.0));
/// ```
pub fn signed_rank(
    x: &[f64],
    y: &[f64],
    settings: impl Into<Settings>,
) -> Result<SignedRank, SampleError> {
    const NAME: &str = "the Wilcoxon signed-rank test";
    check(x, "first", NAME, 1)?;
    check(y, "second", NAME, x.len())?;
    check(x, "first", NAME, y.len())?;
    let mut all: Vec<f64> = x.iter().zip(y).map(|(a, b)| a - b).collect();
    snap(&mut all, magnitude(x, y));
    all.sort_unstable_by(f64::total_cmp);
    let (doubled_v, ranks, groups) = rank(&all);
    let (p, method) = p_of(doubled_v, &ranks, &groups, settings.into());
    Ok(SignedRank {
        pairs: all.len(),
        zeros: all.len() - ranks.len(),
        v: 0.5 * doubled_v as f64,
        p_value: clamp_p(p),
        method,
        pseudomedian: means(&all).median(),
    })
}

fn p_of(doubled_v: u64, ranks: &[u64], groups: &[usize], settings: Settings) -> (f64, Method) {
    if ranks.is_empty() {
        return (1.0, Method::Constant);
    }
    let exact = match settings.choice {
        Choice::Auto => ranks.len() <= crate::mann_whitney::AUTO_EXACT_SIZE,
        Choice::Exact => true,
        Choice::Asymptotic => false,
    };
    if exact && let Some(sums) = SignedSums::new(ranks) {
        // The expected sum of doubled ranks is n(n + 1)/2; doubled once more it is an integer.
        let centre = (ranks.len() * (ranks.len() + 1)) as u64;
        let distance = (2 * doubled_v).abs_diff(centre);
        let p = match settings.alternative {
            Alternative::TwoSided => sums.probability(|sum| (2 * sum).abs_diff(centre) >= distance),
            Alternative::Less => sums.probability(|sum| sum <= doubled_v),
            Alternative::Greater => sums.probability(|sum| sum >= doubled_v),
        };
        let tied = groups.iter().any(|&size| size > 1);
        return (p, if tied { Method::ExactTies } else { Method::Exact });
    }
    let n = ranks.len() as f64;
    let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - tie_term(groups.iter().copied()) / 48.0;
    let sigma = variance.sqrt();
    let distance = 0.5 * doubled_v as f64 - 0.25 * n * (n + 1.0);
    let half = if settings.continuity { 0.5 } else { 0.0 };
    let p = match settings.alternative {
        Alternative::TwoSided if distance == 0.0 => 1.0,
        Alternative::TwoSided => 2.0 * normal_sf((distance.abs() - half) / sigma),
        Alternative::Less => normal_sf(-(distance + half) / sigma),
        Alternative::Greater => normal_sf((distance - half) / sigma),
    };
    let uncorrected = !settings.continuity;
    (p, if uncorrected { Method::AsymptoticUncorrected } else { Method::Asymptotic })
}

/// Twice the midrank sum of the positive differences by absolute size, the doubled midranks of all
/// but zeros in ascending order, and the sizes of the groups of equal ones; of sorted differences.
fn rank(sorted: &[f64]) -> (u64, Vec<u64>, Vec<usize>) {
    let negative = &sorted[..sorted.partition_point(|value| *value < 0.0)];
    let positive = &sorted[sorted.partition_point(|value| *value <= 0.0)..];
    let sizes: Vec<f64> = negative.iter().rev().map(|value| -value).collect();
    let ranked = Ranked::of_sorted(positive, &sizes);
    let groups = ranked.groups.iter().map(|(x, y)| (x + y) as usize).collect();
    (ranked.doubled_sum, ranked.doubled_ranks(), groups)
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
        let mut list = Vec::new();
        for i in 0..d.len() {
            for j in i..d.len() {
                list.push(0.5 * (d[i] + d[j]));
            }
        }
        let d = crate::sample::sorted(&d);
        assert_eq!(means(&d).median(), crate::sample::median(&list));
    }

    #[test]
    fn unequal_lengths_are_refused() {
        assert!(signed_rank(&[1.0], &[1.0, 2.0], Choice::Auto).is_err());
        assert!(signed_rank(&[1.0, 2.0], &[1.0], Choice::Auto).is_err());
    }
}
