//! Boundaries of a sequential test by alpha spending, and the probabilities of its paths.
//!
//! At looks with information I₁ < I₂ < … a standardised statistic Zₖ has, for a test such as
//! Mann and Whitney's, the joint distribution of a Brownian motion: Zₖ√Iₖ has independent normal
//! increments of variance Iₖ − Iₖ₋₁ and mean θ(Iₖ − Iₖ₋₁). The density of Zₖ on the paths that have
//! not stopped follows from look to look by one integral (Armitage, McPherson and Rowe, *J. R.
//! Stat. Soc. A* 132, 1969), taken by Simpson's rule on the grid of Jennison and Turnbull, *Group
//! Sequential Methods* (2000), section 19.2.

use study::design::Spending;

use crate::special::{normal_quantile, normal_sf};

/// Fineness r of the grid, of 12r − 3 points a look. Jennison and Turnbull take 16; looks that lie
/// close together, as at 95 and 100 % of the runs, need more for the fifth digit.
const FINENESS: usize = 32;

/// Which departures a test looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sides {
    /// Large values only.
    One,
    /// Large and small ones; the error is of each side.
    Two,
}

/// The error, of one side, that may be spent when a share `t` of the runs is made; `alpha` is the
/// whole of it.
///
/// O'Brien-Fleming: 2(1 − Φ(z₁₋α⁄₂/√t)); Pocock: α ln(1 + (e − 1)t) (Lan and DeMets, *Biometrika*
/// 70, 1983).
pub fn spent(spending: Spending, alpha: f64, t: f64) -> f64 {
    if t >= 1.0 {
        return alpha;
    }
    if t.is_nan() || t <= 0.0 {
        return 0.0;
    }
    match spending {
        Spending::ObrienFleming => 2.0 * normal_sf(-normal_quantile(0.5 * alpha) / t.sqrt()),
        Spending::Pocock => alpha * ((std::f64::consts::E - 1.0) * t).ln_1p(),
    }
}

/// The critical values of a test at looks with this information, at each of which so much of the
/// error of one side may have been spent. Infinite where nothing can be spent, as where a look
/// brings no information.
///
/// # Examples
/// ```
/// use reproduceml_stats::sequential::boundary::{Sides, bounds, spent};
/// use study::design::Spending;
/// let information = [0.2, 0.4, 0.6, 0.8, 1.0];
/// let errors = information.map(|t| spent(Spending::ObrienFleming, 0.025, t));
/// let found = bounds(&information, &errors, Sides::Two);
/// // Lan and DeMets' bounds of five looks at 5 %, as they are tabulated everywhere.
/// for (found, known) in found.iter().zip([4.8769, 3.3569, 2.6803, 2.2898, 2.0310]) {
///     assert!((found - known).abs() < 5e-5);
/// }
/// ```
pub fn bounds(information: &[f64], errors: &[f64], sides: Sides) -> Vec<f64> {
    let mut paths = Paths::new(0.0);
    let (mut used, mut found) = (0.0, Vec::with_capacity(information.len()));
    for (place, (&here, &error)) in information.iter().zip(errors).enumerate() {
        let Some(next) = paths.next(here) else {
            found.push(f64::INFINITY);
            continue;
        };
        let bound = if error > used { next.bound(error - used) } else { f64::INFINITY };
        if bound.is_finite() {
            used = error;
        }
        found.push(bound);
        if place + 1 < information.len() {
            let low = if sides == Sides::Two { -bound } else { f64::NEG_INFINITY };
            paths = next.keep(&[(low, bound)]);
        }
    }
    found
}

/// The paths that have not stopped, after some look.
pub(crate) struct Paths {
    theta: f64,
    information: f64,
    /// Values of Z, each with the probability that it stands for; nothing before the first look.
    points: Vec<(f64, f64)>,
}

/// The paths at a look, before any of them stops.
pub(crate) struct Arriving<'a> {
    before: &'a Paths,
    information: f64,
}

impl Paths {
    /// Before the first look, of a statistic with drift `theta`.
    pub(crate) fn new(theta: f64) -> Self {
        Self { theta, information: 0.0, points: Vec::new() }
    }

    /// At the next look; nothing if it brings no information.
    pub(crate) fn next(&self, information: f64) -> Option<Arriving<'_>> {
        (information - self.information > 1e-9 * information)
            .then_some(Arriving { before: self, information })
    }
}

impl Arriving<'_> {
    /// The sum over the paths that arrive of `of`, given mean and standard deviation of Z here.
    fn sum(&self, of: impl Fn(f64, f64) -> f64) -> f64 {
        let (i, before) = (self.information, self.before);
        let mean = before.theta * (i - before.information) / i.sqrt();
        if before.points.is_empty() && before.information == 0.0 {
            return of(mean, 1.0);
        }
        let sd = ((i - before.information) / i).sqrt();
        let shrink = (before.information / i).sqrt();
        before.points.iter().map(|(z, p)| p * of(mean + z * shrink, sd)).sum()
    }

    /// P(Z > c).
    pub(crate) fn above(&self, c: f64) -> f64 {
        self.sum(|mean, sd| normal_sf((c - mean) / sd))
    }

    /// P(Z < c).
    pub(crate) fn below(&self, c: f64) -> f64 {
        self.sum(|mean, sd| normal_sf((mean - c) / sd))
    }

    /// The bound that Z is above with this probability.
    fn bound(&self, error: f64) -> f64 {
        if error < 1e-280 {
            return f64::INFINITY;
        }
        // Above 38 no double is that small.
        let (mut low, mut high) = (-10.0, 38.0);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if middle <= low || middle >= high {
                break;
            }
            if self.above(middle) > error { low = middle } else { high = middle }
        }
        0.5 * (low + high)
    }

    /// The paths whose Z lies in one of these ranges go on.
    pub(crate) fn keep(&self, ranges: &[(f64, f64)]) -> Paths {
        let theta = self.before.theta;
        let grid = grid(theta * self.information.sqrt(), ranges);
        let density = |at: f64| {
            self.sum(|mean, sd| {
                let z = (at - mean) / sd;
                (-0.5 * z * z).exp() / (sd * std::f64::consts::TAU.sqrt())
            })
        };
        let points = grid.into_iter().map(|(z, weight)| (z, weight * density(z))).collect();
        Paths { theta, information: self.information, points }
    }
}

/// Points around `centre` within ranges, with Simpson's weights.
fn grid(centre: f64, ranges: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let r = FINENESS as f64;
    let all: Vec<f64> = (1..6 * FINENESS)
        .map(|i| {
            let (place, i) = (i, i as f64);
            let z = if place < FINENESS {
                -3.0 - 4.0 * (r / i).ln()
            } else if place <= 5 * FINENESS {
                -3.0 + 1.5 * (i - r) / r
            } else {
                3.0 + 4.0 * (r / (6.0 * r - i)).ln()
            };
            centre + z
        })
        .collect();
    let (first, last) = (all[0], all[all.len() - 1]);
    let mut points = Vec::new();
    for &(low, high) in ranges {
        let (low, high) = (low.max(first), high.min(last));
        if low >= high {
            continue;
        }
        let mut ends = vec![low];
        ends.extend(all.iter().copied().filter(|z| *z > low && *z < high));
        ends.push(high);
        for pair in ends.windows(2) {
            let step = (pair[1] - pair[0]) / 6.0;
            points.push((pair[0], step));
            points.push((0.5 * (pair[0] + pair[1]), 4.0 * step));
            points.push((pair[1], step));
        }
    }
    // Neighbouring intervals share an end: one point instead of two.
    points.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_is_the_fixed_test() {
        for (error, sides) in [(0.025, Sides::Two), (0.05, Sides::One), (1e-9, Sides::Two)] {
            let found = bounds(&[1.0], &[error], sides);
            assert!((normal_sf(found[0]) / error - 1.0).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn what_is_spent_adds_up_to_the_whole() {
        // Paths of no drift leave the bounds in all with just the probability that was to be
        // spent.
        let information: Vec<f64> = (1..=12).map(|k| f64::from(k * k)).collect();
        for spending in [Spending::ObrienFleming, Spending::Pocock] {
            let errors: Vec<f64> =
                information.iter().map(|i| spent(spending, 0.01, i / 144.0)).collect();
            let found = bounds(&information, &errors, Sides::Two);
            let (mut paths, mut out) = (Paths::new(0.0), 0.0);
            for (i, c) in information.iter().zip(&found) {
                let next = paths.next(*i).unwrap();
                out += next.above(*c) + next.below(-c);
                paths = next.keep(&[(-c, *c)]);
            }
            assert!((out - 0.02).abs() < 1e-9, "{out}");
            let left: f64 = paths.points.iter().map(|(_, p)| p).sum();
            assert!((left + out - 1.0).abs() < 1e-5, "{left}");
        }
    }

    #[test]
    fn a_look_without_new_runs_spends_nothing() {
        let errors = [0.001, 0.004, 0.01];
        let found = bounds(&[1.0, 1.0, 2.0], &errors, Sides::Two);
        let without = bounds(&[1.0, 2.0], &[0.001, 0.01], Sides::Two);
        assert_eq!(found[1], f64::INFINITY);
        assert_eq!((found[0], found[2]), (without[0], without[1]));
    }
}
