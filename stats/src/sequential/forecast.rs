//! What a sequential design may be expected to cost and to find.

use std::f64::consts::PI;

use study::design::Declaration;

use super::boundary::Paths;
use super::levels::{Levels, critical};

/// Expectation of one comparison with one outcome, before any run.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Forecast {
    /// Expected runs a side.
    pub runs: f64,
    /// Probability that it ends as `different`.
    pub different: f64,
    /// Probability that it ends as `equivalent`.
    pub equivalent: f64,
}

/// What is to be expected where the sides differ by `shift` standard deviations in an outcome, and
/// the margin of equivalence is `margin` standard deviations (none: equivalence ends nothing).
///
/// For roughly normal values the Mann-Whitney statistic after n runs a side has the information
/// n/2 · 3/π about a shift in standard deviations. Several outcomes differ together and not before
/// one of them does, so this is close to what they cost; for equivalence all must agree, which
/// costs more.
///
/// # Examples
/// ```
/// use reproduceml_stats::sequential::forecast;
/// use study::design::{Declaration, Spending};
/// let design = Declaration {
///     schema: 1,
///     looks: vec![10, 20, 30, 40, 50],
///     identical_after: None,
///     spending: Spending::ObrienFleming,
///     alpha: 0.05,
///     equivalence_alpha: 0.05,
///     margin: 0.005,
///     outcomes: vec!["accuracy".into()],
///     family: 1,
///     workload: Default::default(),
/// };
/// let large = forecast(&design, 1.0, None);
/// assert!(large.different > 0.99 && large.runs < 30.0);
/// assert!((forecast(&design, 0.0, None).different - 0.05).abs() < 1e-6);
/// ```
pub fn forecast(design: &Declaration, shift: f64, margin: Option<f64>) -> Forecast {
    let information: Vec<f64> =
        design.looks.iter().map(|runs| 0.5 * f64::from(*runs) * 3.0 / PI).collect();
    let Levels { different, equivalent } = critical(design, &design.looks, &information);
    let mut paths = Paths::new(shift);
    let mut told = Forecast { runs: 0.0, different: 0.0, equivalent: 0.0 };
    let mut left = 1.0;
    for (place, &i) in information.iter().enumerate() {
        let Some(next) = paths.next(i) else { break };
        let bound = different[place];
        let apart = next.above(bound) + next.below(-bound);
        // Both one-sided tests reject where |Z| is below this; a difference goes first.
        let within = margin.map_or(-1.0, |margin| margin * i.sqrt() - equivalent[place]).min(bound);
        let together = if within > 0.0 {
            (left - next.above(within) - next.below(-within)).max(0.0)
        } else {
            0.0
        };
        told.different += apart;
        told.equivalent += together;
        let stopped = if place + 1 == information.len() { left } else { apart + together };
        told.runs += stopped * f64::from(design.looks[place]);
        left = (left - stopped).max(0.0);
        let inner = within.max(0.0);
        paths = next.keep(&[(-bound, -inner), (inner, bound)]);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use study::design::Spending;

    #[test]
    fn an_equal_pair_ends_early_as_equivalent_where_the_margin_is_wide() {
        let design = Declaration {
            schema: 1,
            looks: vec![10, 20, 30, 40, 50],
            identical_after: None,
            spending: Spending::ObrienFleming,
            alpha: 0.05,
            equivalence_alpha: 0.05,
            margin: 0.005,
            outcomes: vec!["accuracy".into()],
            family: 1,
            workload: Default::default(),
        };
        let wide = forecast(&design, 0.0, Some(2.0));
        assert!(wide.equivalent > 0.95 && wide.runs < 20.0, "{wide:?}");
        let at_the_margin = forecast(&design, 1.0, Some(1.0));
        assert!(at_the_margin.equivalent < 0.05, "{at_the_margin:?}");
        let narrow = forecast(&design, 0.0, Some(0.1));
        assert!(narrow.equivalent < 0.01 && narrow.runs > 49.0, "{narrow:?}");
    }
}
