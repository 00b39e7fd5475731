//! The Hodges-Lehmann shift between two samples, with its confidence interval.
//!
//! The shift is the median of all differences `x − y`, in the unit of the values; its interval
//! holds the shifts that the Mann-Whitney test would not reject (Hodges and Lehmann, 1963; Bauer,
//! 1972), and is found among the same differences.

use crate::counting::DistinctU;
use crate::mann_whitney::{AUTO_EXACT_SIZE, Choice, Ranked, standard_deviation_of_u};
use crate::sample::{SampleError, doubled_midranks, sorted, tie_term};
use crate::special::normal_quantile;
use serde::Serialize;

/// An estimate with its confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The point estimate.
    pub estimate: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The confidence level asked for, such as 0.95.
    pub level: f64,
    /// Whether the samples are large enough for that level; if not, the interval is the widest one
    /// there is, and covers less.
    pub attained: bool,
}

/// The Hodges-Lehmann shift of `x` against `y` with an interval of confidence `level`.
///
/// Positive where `x` tends to be larger. The interval is exact where `choice` allows it and no
/// two values tie, and otherwise inverts the asymptotic test with continuity correction and the
/// ties inside each sample, as R's `wilcox.test(conf.int = TRUE)` does.
///
/// # Errors
/// Empty samples and values that are not finite.
///
/// # Examples
/// ```
/// use reproduceml_stats::{mann_whitney::Choice, shift::hodges_lehmann};
/// let shift = hodges_lehmann(&[1.1, 2.2, 3.4, 4.7], &[0.1, 0.3, 0.6, 1.0], 0.95, Choice::Auto);
/// assert!((shift.unwrap().estimate - 2.25).abs() < 1e-12);
/// ```
pub fn hodges_lehmann(
    x: &[f64],
    y: &[f64],
    level: f64,
    choice: Choice,
) -> Result<Interval, SampleError> {
    let ranked = Ranked::new(x, y)?;
    let (n, m) = (x.len(), y.len());
    let pairs = n as u64 * m as u64;
    let exact = match choice {
        Choice::Auto => n.max(m) <= AUTO_EXACT_SIZE,
        Choice::Exact => true,
        Choice::Asymptotic => false,
    };
    let tail = 0.5 * (1.0 - level);
    let distribution = if exact && !ranked.tied() { DistinctU::shared(n, m) } else { None };
    let (place, attained) = match distribution {
        Some(u) => {
            let place = u.quantile(tail).max(1);
            (place as u64, u.at_most(place - 1) <= tail * (1.0 + 1e-9))
        }
        None => {
            // Ties across the samples come and go with the shift; those within stay.
            let ties = tie_term(&doubled_midranks(x).1) + tie_term(&doubled_midranks(y).1);
            let sigma = standard_deviation_of_u(n, m, ties);
            let place = (0.5 * pairs as f64 - 0.5 + normal_quantile(tail) * sigma).ceil();
            (place.max(1.0) as u64, place >= 1.0 && sigma > 0.0)
        }
    };
    let place = place.min(pairs.div_ceil(2));
    let differences = Differences { x: sorted(x), y: sorted(y) };
    Ok(Interval {
        estimate: differences.median(),
        low: differences.nth(place),
        high: differences.nth(pairs + 1 - place),
        level,
        attained,
    })
}

/// All differences of two sorted samples, without storing them.
struct Differences {
    x: Vec<f64>,
    y: Vec<f64>,
}

impl Differences {
    fn median(&self) -> f64 {
        let pairs = self.x.len() as u64 * self.y.len() as u64;
        if pairs % 2 == 1 {
            return self.nth(pairs / 2 + 1);
        }
        0.5 * (self.nth(pairs / 2) + self.nth(pairs / 2 + 1))
    }

    /// The `place`-th smallest difference, counted from 1.
    fn nth(&self, place: u64) -> f64 {
        nth_by_count(place, |bound| {
            // x ascending: the y with x − y > bound only grow in number.
            let mut above = 0;
            let mut count = 0_u64;
            for x in &self.x {
                while above < self.y.len() && x - self.y[above] > bound {
                    above += 1;
                }
                count += (self.y.len() - above) as u64;
            }
            count
        })
    }
}

/// The smallest number whose `count` (of things at most that number) reaches `place`.
///
/// Bisects over all floating-point numbers in their order, so the answer is one of the counted
/// numbers to the last bit, after at most 64 counts.
pub(crate) fn nth_by_count(place: u64, count: impl Fn(f64) -> u64) -> f64 {
    let (mut low, mut high) = (key(f64::MIN), key(f64::MAX));
    while low < high {
        let middle = low + (high - low) / 2;
        if count(from_key(middle)) >= place { high = middle } else { low = middle + 1 }
    }
    // Not −0.
    from_key(low) + 0.0
}

/// Maps numbers to integers that sort alike.
fn key(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn from_key(key: u64) -> f64 {
    f64::from_bits(if key >> 63 == 1 { key & !(1 << 63) } else { !key })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_difference_is_that_of_the_sorted_list() {
        let x = [0.3, -1.5, 2.25, 0.3, 7.0];
        let y = [1.0, 0.3, -4.0];
        let mut all: Vec<f64> = x.iter().flat_map(|a| y.iter().map(move |b| a - b)).collect();
        all.sort_by(f64::total_cmp);
        let differences = Differences { x: sorted(&x), y: sorted(&y) };
        for (index, expected) in all.iter().enumerate() {
            assert_eq!(differences.nth(index as u64 + 1), *expected);
        }
        assert_eq!(differences.median(), all[7]);
    }

    #[test]
    fn two_values_cannot_give_95_percent() {
        let shift = hodges_lehmann(&[1.0, 2.0], &[3.5, 5.0], 0.95, Choice::Auto).unwrap();
        assert!(!shift.attained);
        assert_eq!((shift.low, shift.high), (-4.0, -1.5));
    }

    #[test]
    fn equal_samples_have_no_shift() {
        let shift = hodges_lehmann(&[0.5; 10], &[0.5; 10], 0.95, Choice::Auto).unwrap();
        assert_eq!((shift.estimate, shift.low, shift.high), (0.0, 0.0, 0.0));
    }
}
