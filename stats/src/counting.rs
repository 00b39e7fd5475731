//! Counts behind the exact tests: how many orders, choices or signs give which rank sum.
//!
//! Counts are kept as floating-point numbers, which hold them to 15 digits up to 1e308. Sums of
//! positive terms keep that accuracy; where differences are taken, numbers of twice the width do.

use std::cell::RefCell;
use std::rc::Rc;

/// [`DistinctU`] takes at most this many values in all: (1000 choose 500) is about 2.7e299.
pub const LARGEST_DISTINCT: usize = 1000;

/// [`ScoreSums`] takes at most this product of sizes (200 a side): about half a second of work.
pub const LARGEST_TIED: usize = 40_000;

/// The distribution of U over all orders of n + m distinct values.
#[derive(Debug, Clone)]
pub struct DistinctU {
    /// `cumulative[u]`: orders with U at most u, for u up to nm/2.
    cumulative: Vec<f64>,
    total: f64,
    product: usize,
}

impl DistinctU {
    /// As [`DistinctU::new`], kept until this thread asks for other sizes: the tests of a study
    /// mostly share theirs.
    pub fn shared(n: usize, m: usize) -> Option<Rc<Self>> {
        thread_local! {
            static LAST: RefCell<Option<(usize, usize, Rc<DistinctU>)>> =
                const { RefCell::new(None) };
        }
        LAST.with_borrow_mut(|last| {
            if let Some((_, _, counts)) = last.as_ref().filter(|(a, b, _)| (*a, *b) == (n, m)) {
                return Some(Rc::clone(counts));
            }
            let counts = Rc::new(Self::new(n, m)?);
            *last = Some((n, m, Rc::clone(&counts)));
            Some(counts)
        })
    }

    /// Counts orders of `n` and `m` values; nothing if there are more than [`LARGEST_DISTINCT`].
    ///
    /// The counts are the coefficients of the Gaussian binomial, Π (1 − q^(m+i)) / (1 − q^i) for
    /// i = 1..n (MacMahon), and are built one factor at a time. Multiplication by the numerator
    /// and division by the denominator are done in one pass, the upper half follows from symmetry,
    /// and numbers of twice the usual width absorb what the differences cancel.
    pub fn new(n: usize, m: usize) -> Option<Self> {
        let (n, m) = (n.min(m), n.max(m));
        if n + m > LARGEST_DISTINCT {
            return None;
        }
        let product = n * m;
        let half = product / 2;
        let mut counts = vec![Wide::default(); half + 1];
        counts[0] = Wide(1.0, 0.0);
        for i in 1..=n {
            let top = i * m;
            let previous_top = (i - 1) * m;
            let old = counts.clone();
            for k in 0..=half.min(top) {
                if k > top / 2 {
                    counts[k] = counts[top - k];
                    continue;
                }
                let mut count = if k <= previous_top { old[k] } else { Wide::default() };
                if k >= i {
                    count = count.plus(counts[k - i]);
                }
                if k >= m + i && k - m - i <= previous_top {
                    count = count.plus(old[k - m - i].negated());
                }
                counts[k] = count;
            }
        }
        let mut sum = 0.0;
        let cumulative = counts
            .iter()
            .map(|count| {
                sum += count.0;
                sum
            })
            .collect();
        Some(Self { cumulative, total: binomial(n + m, n), product })
    }

    /// P(U ≤ u).
    pub fn at_most(&self, u: usize) -> f64 {
        if u >= self.product {
            return 1.0;
        }
        if u < self.cumulative.len() {
            return (self.cumulative[u] / self.total).min(1.0);
        }
        // P(U ≤ u) = 1 − P(U ≥ u + 1) = 1 − P(U ≤ nm − u − 1).
        1.0 - self.cumulative[self.product - u - 1] / self.total
    }

    /// The smallest u with P(U ≤ u) ≥ p, R's `qwilcox`, for p below a half.
    pub fn quantile(&self, p: f64) -> usize {
        // As R does, forgive the rounding of the caller's p.
        let target = (p - 10.0 * f64::EPSILON) * self.total;
        self.cumulative.partition_point(|&sum| sum < target)
    }
}

/// A number as the unevaluated sum of two, the second at most half a unit in the last place of the
/// first: about 31 decimal digits (Dekker, 1971).
#[derive(Debug, Clone, Copy, Default)]
struct Wide(f64, f64);

impl Wide {
    fn plus(self, other: Self) -> Self {
        let sum = self.0 + other.0;
        let part = sum - self.0;
        // What `sum` lost to rounding (Knuth), and the low parts.
        let lost = (self.0 - (sum - part)) + (other.0 - part);
        let low = lost + (self.1 + other.1);
        let high = sum + low;
        Self(high, low - (high - sum))
    }

    fn negated(self) -> Self {
        Self(-self.0, -self.1)
    }
}

/// (n choose k) as a product, exact up to 2⁵³ and to 15 digits beyond.
fn binomial(n: usize, k: usize) -> f64 {
    (1..=k).fold(1.0, |product, i| product * (n - k + i) as f64 / i as f64)
}

/// The distribution of the sum of scores over all choices of `n` of the pooled values.
#[derive(Debug, Clone)]
pub struct ScoreSums {
    /// Number of choices by `(sum − base) / step`.
    counts: Vec<f64>,
    base: u64,
    step: u64,
    total: f64,
}

impl ScoreSums {
    /// Counts the choices of `n` of `scores` by their sum; nothing above [`LARGEST_TIED`].
    ///
    /// The shift algorithm of Streitberg and Röhmel (1986): scores are taken in ascending order,
    /// and for each number of chosen values only the sums that can occur, and that can still be
    /// completed, are visited.
    pub fn new(scores: &[u64], n: usize) -> Option<Self> {
        let size = scores.len();
        let m = size.checked_sub(n)?;
        if n * m > LARGEST_TIED || size > LARGEST_DISTINCT {
            return None;
        }
        let smallest = scores.iter().copied().min().unwrap_or(0);
        let step = scores.iter().fold(0, |d, &score| gcd(d, score - smallest)).max(1);
        let mut reduced: Vec<usize> =
            scores.iter().map(|&score| ((score - smallest) / step) as usize).collect();
        reduced.sort_unstable();
        // prefix[k]: sum of the k smallest.
        let mut prefix = vec![0; size + 1];
        for (k, &score) in reduced.iter().enumerate() {
            prefix[k + 1] = prefix[k] + score;
        }
        let highest = prefix[size] - prefix[m];
        let mut rows = vec![vec![0.0_f64; highest + 1]; n + 1];
        rows[0][0] = 1.0;
        for (taken, &score) in reduced.iter().enumerate() {
            let seen = taken + 1;
            let most = n.min(seen);
            // Fewer than this cannot be completed with the scores still to come.
            let least = n.saturating_sub(size - seen).max(1);
            for chosen in (least..=most).rev() {
                // Sums of `chosen − 1` values among the first `taken`.
                let low = prefix[chosen - 1];
                let high = prefix[taken] - prefix[taken + 1 - chosen];
                let (before, after) = rows.split_at_mut(chosen);
                let source = &before[chosen - 1][low..=high];
                let target = &mut after[0][low + score..=high + score];
                for (to, from) in target.iter_mut().zip(source) {
                    *to += from;
                }
            }
        }
        let counts = rows.pop().unwrap_or_default();
        let base = smallest * n as u64;
        Some(Self { counts, base, step, total: binomial(size, n) })
    }

    /// The probability that the sum satisfies `wanted`.
    pub fn probability(&self, wanted: impl Fn(u64) -> bool) -> f64 {
        let hits: f64 = self
            .counts
            .iter()
            .enumerate()
            .filter(|(index, _)| wanted(self.base + self.step * *index as u64))
            .map(|(_, count)| count)
            .sum();
        (hits / self.total).min(1.0)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The distribution of the sum of those scores whose sign is positive, all signs equally likely.
#[derive(Debug, Clone)]
pub struct SignedSums {
    probabilities: Vec<f64>,
}

impl SignedSums {
    /// Convolves one fair choice a score; nothing if the scores are too many or too large.
    pub fn new(scores: &[u64]) -> Option<Self> {
        let sum: u64 = scores.iter().sum();
        // 50 million additions, and 2⁻¹⁰⁰⁰ still is a normal number.
        if scores.len() > 1000 || sum.saturating_mul(scores.len() as u64) > 50_000_000 {
            return None;
        }
        let mut probabilities = vec![0.0_f64; sum as usize + 1];
        probabilities[0] = 1.0;
        let mut top = 0;
        for &score in scores {
            let score = score as usize;
            for k in (0..=top).rev() {
                let half = 0.5 * probabilities[k];
                probabilities[k] = half;
                probabilities[k + score] += half;
            }
            top += score;
        }
        Some(Self { probabilities })
    }

    /// The probability that the sum satisfies `wanted`.
    pub fn probability(&self, wanted: impl Fn(u64) -> bool) -> f64 {
        let hits = self.probabilities.iter().enumerate().filter(|(sum, _)| wanted(*sum as u64));
        hits.map(|(_, p)| p).sum::<f64>().min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_distributions_are_the_known_ones() {
        // Orders of 2 and 3 values by U: 1 1 2 2 2 1 1.
        let u = DistinctU::new(2, 3).unwrap();
        let tails: Vec<f64> = (0..=6).map(|k| (u.at_most(k) * 10.0).round()).collect();
        assert_eq!(tails, [1.0, 2.0, 4.0, 6.0, 8.0, 9.0, 10.0]);
        assert_eq!(u.quantile(0.15), 1);
    }

    #[test]
    fn both_ways_of_counting_agree() {
        for (n, m) in [(1, 1), (1, 7), (5, 3), (12, 20), (30, 30), (50, 43)] {
            let u = DistinctU::new(n, m).unwrap();
            let ranks: Vec<u64> = (1..=(n + m) as u64).map(|rank| 2 * rank).collect();
            let sums = ScoreSums::new(&ranks, n).unwrap();
            let shift = (n * (n + 1)) as u64;
            for k in (0..=n * m).step_by(1 + n * m / 37) {
                let a = u.at_most(k);
                let b = sums.probability(|sum| sum <= shift + 2 * k as u64);
                assert!((a / b - 1.0).abs() < 1e-12, "{n} {m} {k}: {a:e} {b:e}");
            }
        }
    }

    #[test]
    fn all_orders_are_counted() {
        let u = DistinctU::new(200, 200).unwrap();
        let both = u.at_most(19_999) + u.at_most(20_000);
        assert!((both - 1.0).abs() < 1e-12, "{both}");
        assert!(DistinctU::new(600, 600).is_none());
    }

    #[test]
    fn signs_of_three_ranks() {
        let sums = SignedSums::new(&[1, 2, 3]).unwrap();
        assert_eq!(sums.probability(|sum| sum == 3), 0.25);
        assert_eq!(sums.probability(|sum| sum == 6), 0.125);
    }
}
