//! The Hodges-Lehmann shift between two samples, with its confidence interval.
//!
//! The shift is the median of all differences `x − y`, in the unit of the values; its interval
//! holds the shifts that the Mann-Whitney test would not reject (Hodges and Lehmann, 1963; Bauer,
//! 1972), and is found among the same differences.

use crate::counting::DistinctU;
use crate::mann_whitney::{AUTO_EXACT_SIZE, Choice, Ranked, standard_deviation_of_u};
use crate::sample::{SampleError, sorted};
use crate::select::differences;
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
    Ok(hodges_lehmann_ranked(&ranked, (&sorted(x), &sorted(y)), level, choice))
}

/// As [`hodges_lehmann`], of samples that are sorted and ranked already.
pub(crate) fn hodges_lehmann_ranked(
    ranked: &Ranked,
    (x, y): (&[f64], &[f64]),
    level: f64,
    choice: Choice,
) -> Interval {
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
            let (ties_x, ties_y) = ranked.tie_terms_within();
            let sigma = standard_deviation_of_u(n, m, ties_x + ties_y);
            let place = (0.5 * pairs as f64 - 0.5 + normal_quantile(tail) * sigma).ceil();
            (place.max(1.0) as u64, place >= 1.0 && sigma > 0.0)
        }
    };
    let place = place.min(pairs.div_ceil(2));
    let differences = differences(x, y);
    let [low, high] = differences.nth([place, pairs + 1 - place]);
    Interval { estimate: differences.median(), low, high, level, attained }
}

#[cfg(test)]
mod tests {
    use super::*;

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
