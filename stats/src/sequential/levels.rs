//! The levels of a declared design at its looks.

use study::design::Declaration;

use super::boundary::{Sides, bounds, spent};
use crate::special::normal_sf;

/// One number a look for each of the two questions.
#[derive(Debug, Clone, PartialEq)]
pub struct Levels {
    /// Of the two-sided test for a difference.
    pub different: Vec<f64>,
    /// Of each of the two one-sided tests for equivalence.
    pub equivalent: Vec<f64>,
}

/// The critical values after these runs a side, given the information that was really there.
///
/// What may be spent by a look follows from the runs that the design asked for up to there, so it
/// was fixed beforehand; how looks hang together follows from the runs that finished.
pub(crate) fn critical(design: &Declaration, runs: &[u32], information: &[f64]) -> Levels {
    let all = f64::from(design.runs().max(1));
    let errors = |alpha: f64| -> Vec<f64> {
        runs.iter().map(|n| spent(design.spending, alpha, f64::from(*n) / all)).collect()
    };
    Levels {
        different: bounds(information, &errors(0.5 * design.alpha_each()), Sides::Two),
        equivalent: bounds(information, &errors(design.equivalence_alpha), Sides::One),
    }
}

/// The nominal levels that p-values are held against: that of the two-sided test, and that of each
/// one-sided test of equivalence. Zero where nothing can be concluded.
pub fn nominal(design: &Declaration, runs: &[u32], information: &[f64]) -> Levels {
    let Levels { different, equivalent } = critical(design, runs, information);
    Levels {
        different: different.into_iter().map(|c| 2.0 * normal_sf(c)).collect(),
        equivalent: equivalent.into_iter().map(normal_sf).collect(),
    }
}

/// The levels of all looks, if every run finishes.
pub fn planned(design: &Declaration) -> Levels {
    let information: Vec<f64> = design.looks.iter().map(|runs| f64::from(*runs)).collect();
    nominal(design, &design.looks, &information)
}
