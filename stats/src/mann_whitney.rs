//! The Mann-Whitney U test: exact, exact with ties, and asymptotic.
//!
//! U counts, over all pairs of a value `x` of the first sample and a value `y` of the second, how
//! often `x > y`, ties as a half: `U = R − n(n+1)/2` with R the sum of the midranks of the first
//! sample (Mann and Whitney, 1947).

use crate::counting;
use crate::sample::{SampleError, check, sorted, tie_term};
use crate::special::{clamp_p, normal_sf};
use serde::{Deserialize, Serialize};

/// Which departure from "no difference" a test looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Alternative {
    /// The samples differ in either direction.
    #[default]
    TwoSided,
    /// The first sample tends to smaller values.
    Less,
    /// The first sample tends to larger values.
    Greater,
}

/// How a p-value was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// From the distribution of the statistic over all orders of distinct values.
    Exact,
    /// From the permutation distribution of the midrank sum, given the ties observed.
    ExactTies,
    /// From the normal approximation with tie correction and continuity correction.
    Asymptotic,
    /// From the normal approximation with tie correction, without continuity correction.
    AsymptoticUncorrected,
    /// All values are equal: every permutation gives this statistic, and p is 1.
    Constant,
}

impl Method {
    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Method::Exact => "exact",
            Method::ExactTies => "exact-ties",
            Method::Asymptotic => "asymptotic",
            Method::AsymptoticUncorrected => "asymptotic-uncorrected",
            Method::Constant => "constant",
        }
    }
}

/// How the method is to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Choice {
    /// Exact where both samples have at most [`AUTO_EXACT_SIZE`] values, asymptotic above.
    #[default]
    Auto,
    /// Exact wherever that can be enumerated, asymptotic where it cannot (and said so).
    Exact,
    /// Always the normal approximation, with tie correction.
    Asymptotic,
}

/// How a rank test is to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// Exact or asymptotic.
    pub choice: Choice,
    /// The departure that is looked for.
    pub alternative: Alternative,
    /// Whether asymptotic p-values take half a step for continuity.
    pub continuity: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Choice::Auto.into()
    }
}

impl From<Choice> for Settings {
    /// Two-sided, with the correction for continuity.
    fn from(choice: Choice) -> Self {
        Self { choice, alternative: Alternative::TwoSided, continuity: true }
    }
}

/// `Choice::Auto` is exact up to this many values a side, with ties or without.
pub const AUTO_EXACT_SIZE: usize = 50;

/// The outcome of a Mann-Whitney test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MannWhitney {
    /// U of the first sample, from 0 to n·m.
    pub u: f64,
    /// The p-value, in (0, 1].
    pub p_value: f64,
    /// How the p-value was computed.
    pub method: Method,
}

/// Rank sum and ties of two samples.
pub(crate) struct Ranked {
    pub(crate) n: usize,
    pub(crate) m: usize,
    /// Twice the midrank sum of the first sample.
    pub(crate) doubled_sum: u64,
    /// The distinct values in ascending order: how often each is in the first sample, and in the
    /// second.
    pub(crate) groups: Vec<(u32, u32)>,
}

/// One distinct value, as counts.
pub(crate) struct Standing {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) x_below: f64,
    pub(crate) y_below: f64,
}

impl Ranked {
    pub(crate) fn new(x: &[f64], y: &[f64]) -> Result<Self, SampleError> {
        check(x, "first", "the Mann-Whitney test", 1)?;
        check(y, "second", "the Mann-Whitney test", 1)?;
        Ok(Self::of_sorted(&sorted(x), &sorted(y)))
    }

    /// Ranks samples that were checked, and sorted.
    pub(crate) fn of_sorted(x: &[f64], y: &[f64]) -> Self {
        let mut groups = Vec::with_capacity(x.len() + y.len());
        let (mut i, mut j) = (0, 0);
        let mut doubled_sum = 0;
        while i < x.len() || j < y.len() {
            let value = match (x.get(i), y.get(j)) {
                (Some(a), Some(b)) => a.min(*b),
                (Some(one), None) | (None, Some(one)) => *one,
                (None, None) => break,
            };
            let start = (i, j);
            while i < x.len() && x[i] == value {
                i += 1;
            }
            while j < y.len() && y[j] == value {
                j += 1;
            }
            let (of_x, of_y) = (i - start.0, j - start.1);
            // Ranks start + 1 ..= end; twice their mean is start + 1 + end.
            doubled_sum += (of_x * (start.0 + start.1 + 1 + i + j)) as u64;
            groups.push((of_x as u32, of_y as u32));
        }
        Self { n: x.len(), m: y.len(), doubled_sum, groups }
    }

    /// Twice U of the first sample.
    fn doubled_u(&self) -> u64 {
        self.doubled_sum - (self.n * (self.n + 1)) as u64
    }

    pub(crate) fn u(&self) -> f64 {
        0.5 * self.doubled_u() as f64
    }

    pub(crate) fn tied(&self) -> bool {
        self.groups.len() < self.n + self.m
    }

    fn constant(&self) -> bool {
        self.groups.len() == 1
    }

    /// Σ(t³ − t) over the groups of equal values of both samples.
    pub(crate) fn tie_term(&self) -> f64 {
        tie_term(self.groups.iter().map(|(x, y)| (x + y) as usize))
    }

    /// Σ(t³ − t) over the groups of equal values within the first sample, and within the second.
    pub(crate) fn tie_terms_within(&self) -> (f64, f64) {
        let of_x = tie_term(self.groups.iter().map(|(x, _)| *x as usize));
        (of_x, tie_term(self.groups.iter().map(|(_, y)| *y as usize)))
    }

    /// The distinct values in ascending order: how many of `x` and of `y` have this value, and how
    /// many of each are smaller.
    pub(crate) fn standing(&self) -> impl Iterator<Item = Standing> + '_ {
        let (mut x_below, mut y_below) = (0.0, 0.0);
        self.groups.iter().map(move |(x, y)| {
            let one = Standing { x: f64::from(*x), y: f64::from(*y), x_below, y_below };
            x_below += one.x;
            y_below += one.y;
            one
        })
    }

    /// The doubled midrank of each value of both samples, in ascending order.
    pub(crate) fn doubled_ranks(&self) -> Vec<u64> {
        let mut ranks = Vec::with_capacity(self.n + self.m);
        for (x, y) in &self.groups {
            let (start, size) = (ranks.len(), (x + y) as usize);
            ranks.extend(std::iter::repeat_n((2 * start + size + 1) as u64, size));
        }
        ranks
    }

    fn result(&self, p: f64, method: Method) -> MannWhitney {
        MannWhitney { u: self.u(), p_value: clamp_p(p), method }
    }
}

/// Standard deviation of U under the null hypothesis, given the sizes and the tie term Σ(t³ − t):
/// `√(nm/12 · (N + 1 − Σ(t³ − t) / (N(N − 1))))` with N = n + m.
pub fn standard_deviation_of_u(n: usize, m: usize, tie_term: f64) -> f64 {
    let (n, m) = (n as f64, m as f64);
    let total = n + m;
    (n * m / 12.0 * ((total + 1.0) - tie_term / (total * (total - 1.0)))).max(0.0).sqrt()
}

/// The exact test for samples in which no two values are equal.
///
/// Counts the orders of n + m distinct values by their U. Two-sided p is twice the smaller tail,
/// at most 1; the distribution is symmetric, so this is also P(|U − nm/2| ≥ |u − nm/2|).
///
/// # Errors
/// Empty samples, values that are not finite, ties, and sizes above
/// [`counting::LARGEST_DISTINCT`] values in all.
///
/// # Examples
/// ```
/// use reproduceml_stats::mann_whitney::{Alternative, exact};
/// let test = exact(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0], Alternative::TwoSided).unwrap();
/// assert_eq!(test.u, 0.0);
/// assert!((test.p_value - 0.1).abs() < 1e-15); // 2 of the 20 orders are as extreme
/// ```
pub fn exact(x: &[f64], y: &[f64], alternative: Alternative) -> Result<MannWhitney, SampleError> {
    let ranked = Ranked::new(x, y)?;
    if ranked.tied() {
        return Err(SampleError::Ties);
    }
    exact_ranked(&ranked, alternative)
}

fn exact_ranked(ranked: &Ranked, alternative: Alternative) -> Result<MannWhitney, SampleError> {
    let (n, m) = (ranked.n, ranked.m);
    let tails = counting::DistinctU::shared(n, m).ok_or(SampleError::TooLarge { n, m })?;
    let u = (ranked.doubled_u() / 2) as usize;
    let p = match alternative {
        Alternative::Less => tails.at_most(u),
        Alternative::Greater => tails.at_most(n * m - u),
        Alternative::TwoSided => 2.0 * tails.at_most(u.min(n * m - u)),
    };
    Ok(ranked.result(p, Method::Exact))
}

/// The exact test with ties: the permutation distribution of the midrank sum, given the values.
///
/// All (n + m choose n) ways to call n of the pooled values the first sample are equally likely
/// under the null hypothesis. With ties that distribution need not be symmetric; two-sided p is
/// P(|U − nm/2| ≥ |u − nm/2|), the definition of R's `coin`. Without ties it equals [`exact`].
///
/// # Errors
/// Empty samples, values that are not finite, and sizes above [`counting::LARGEST_TIED`].
///
/// # Examples
/// ```
/// use reproduceml_stats::mann_whitney::{Alternative, exact_with_ties};
/// let test = exact_with_ties(&[1.0, 1.0], &[1.0, 2.0], Alternative::TwoSided).unwrap();
/// assert_eq!(test.u, 1.0);
/// assert_eq!(test.p_value, 1.0); // each of the 6 choices is 1 away from the centre
/// ```
pub fn exact_with_ties(
    x: &[f64],
    y: &[f64],
    alternative: Alternative,
) -> Result<MannWhitney, SampleError> {
    exact_ties_ranked(&Ranked::new(x, y)?, alternative)
}

fn exact_ties_ranked(
    ranked: &Ranked,
    alternative: Alternative,
) -> Result<MannWhitney, SampleError> {
    let (n, m) = (ranked.n, ranked.m);
    let sums = counting::ScoreSums::new(&ranked.doubled_ranks(), n)
        .ok_or(SampleError::TooLarge { n, m })?;
    let observed = ranked.doubled_sum;
    // Twice the expected midrank sum is n(N + 1), an integer: distances are exact.
    let centre = (n * (n + m + 1)) as u64;
    let distance = observed.abs_diff(centre);
    let p = match alternative {
        Alternative::Less => sums.probability(|sum| sum <= observed),
        Alternative::Greater => sums.probability(|sum| sum >= observed),
        Alternative::TwoSided => sums.probability(|sum| sum.abs_diff(centre) >= distance),
    };
    let method = if ranked.constant() { Method::Constant } else { Method::ExactTies };
    Ok(ranked.result(p, method))
}

/// The normal approximation with tie correction, with or without continuity correction.
///
/// `z = (|U − nm/2| − c) / σ` with c = ½ or 0 and σ from [`standard_deviation_of_u`]; the
/// conventions of SciPy's `mannwhitneyu` and R's `wilcox.test`. Where all values are equal σ is 0,
/// and p is 1 by definition.
///
/// # Errors
/// Empty samples and values that are not finite.
///
/// # Examples
/// ```
/// use reproduceml_stats::mann_whitney::{Alternative, asymptotic};
/// let x: Vec<f64> = (0..50).map(f64::from).collect();
/// let y: Vec<f64> = (0..50).map(|i| f64::from(i) + 0.5).collect();
/// let test = asymptotic(&x, &y, Alternative::TwoSided, true).unwrap();
/// assert_eq!(test.u, 1225.0);
/// assert!((test.p_value - 0.865_876).abs() < 1e-6);
/// ```
pub fn asymptotic(
    x: &[f64],
    y: &[f64],
    alternative: Alternative,
    continuity: bool,
) -> Result<MannWhitney, SampleError> {
    Ok(asymptotic_ranked(&Ranked::new(x, y)?, alternative, continuity))
}

fn asymptotic_ranked(ranked: &Ranked, alternative: Alternative, continuity: bool) -> MannWhitney {
    let ties = (ranked.tie_term(), ranked.constant());
    asymptotic_of((ranked.n, ranked.m), ranked.u(), ties, alternative, continuity)
}

/// The asymptotic test of a known U; `ties` is Σ(t³ − t), and whether all values are equal.
pub(crate) fn asymptotic_of(
    (n, m): (usize, usize),
    u: f64,
    ties: (f64, bool),
    alternative: Alternative,
    continuity: bool,
) -> MannWhitney {
    let sigma = standard_deviation_of_u(n, m, ties.0);
    if ties.1 || sigma == 0.0 {
        return MannWhitney { u, p_value: 1.0, method: Method::Constant };
    }
    let method = if continuity { Method::Asymptotic } else { Method::AsymptoticUncorrected };
    let half = if continuity { 0.5 } else { 0.0 };
    let distance = u - 0.5 * n as f64 * m as f64;
    let p = match alternative {
        Alternative::TwoSided => 2.0 * normal_sf((distance.abs() - half) / sigma),
        Alternative::Less => normal_sf(-(distance + half) / sigma),
        Alternative::Greater => normal_sf((distance - half) / sigma),
    };
    MannWhitney { u, p_value: clamp_p(p), method }
}

/// The p-value of the normal approximation with continuity correction for a distance |U − nm/2|
/// between samples of `n` and `m` values without ties, two-sided.
pub fn p_of_distance(distance: f64, n: usize, m: usize) -> f64 {
    let sigma = standard_deviation_of_u(n, m, 0.0);
    clamp_p(2.0 * normal_sf((distance.abs() - 0.5) / sigma))
}

/// Tests with the method that `choice` asks for, asymptotic p-values with continuity correction;
/// the result says which one it was.
///
/// # Errors
/// Empty samples and values that are not finite.
///
/// # Examples
/// ```
/// use reproduceml_stats::mann_whitney::{Alternative, Choice, Method, test};
/// let test = test(&[1.0, 2.0, 2.0], &[2.0, 4.0], Alternative::Less, Choice::Auto).unwrap();
/// assert_eq!(test.method, Method::ExactTies);
/// ```
pub fn test(
    x: &[f64],
    y: &[f64],
    alternative: Alternative,
    choice: Choice,
) -> Result<MannWhitney, SampleError> {
    test_with(x, y, Settings { choice, alternative, continuity: true })
}

/// As [`test`], with all there is to set.
///
/// # Errors
/// Empty samples and values that are not finite.
pub fn test_with(x: &[f64], y: &[f64], settings: Settings) -> Result<MannWhitney, SampleError> {
    Ok(test_ranked(&Ranked::new(x, y)?, settings))
}

/// As [`test_with`], of samples that are ranked already.
pub(crate) fn test_ranked(ranked: &Ranked, settings: Settings) -> MannWhitney {
    let Settings { choice, alternative, continuity } = settings;
    if ranked.constant() {
        return ranked.result(1.0, Method::Constant);
    }
    let exact = match choice {
        Choice::Auto => ranked.n.max(ranked.m) <= AUTO_EXACT_SIZE,
        Choice::Exact => true,
        Choice::Asymptotic => false,
    };
    let fallback = || asymptotic_ranked(ranked, alternative, continuity);
    if !exact {
        return fallback();
    }
    let outcome = if ranked.tied() {
        exact_ties_ranked(ranked, alternative)
    } else {
        exact_ranked(ranked, alternative)
    };
    outcome.unwrap_or_else(|_| fallback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midranks_are_doubled_and_shared() {
        let ranked = Ranked::new(&[3.0, 1.0, 3.0], &[2.0, 3.0]).unwrap();
        assert_eq!(ranked.doubled_ranks(), [2, 4, 8, 8, 8]);
        assert_eq!(ranked.groups, [(1, 0), (0, 1), (2, 1)]);
        assert_eq!((ranked.doubled_sum, ranked.tie_term()), (18, 24.0));
        assert_eq!(ranked.tie_terms_within(), (6.0, 0.0));
    }

    #[test]
    fn zeros_of_both_signs_tie() {
        assert_eq!(Ranked::new(&[0.0], &[-0.0]).unwrap().groups, [(1, 1)]);
        assert_eq!(Ranked::new(&[0.0, -0.0], &[-0.0]).unwrap().groups, [(2, 1)]);
    }
}
