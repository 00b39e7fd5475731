//! How an analysis is to be made, and the defaults with their reasons.

use crate::input::Evaluation;
use crate::mann_whitney::{Alternative, Choice, Settings};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The metrics that say what a model learnt, and so decide verdicts. Others, such as seconds or
/// loss, are tested and listed, and decide nothing.
pub const OUTCOMES: [&str; 4] = ["accuracy", "precision", "recall", "f1"];

/// Half a percentage point: the default margin of equivalence, for metrics that are fractions.
pub const DEFAULT_MARGIN: f64 = 0.005;

/// A set of choices that belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// All runs, the method of [`Options::method`], Holm's correction over the family.
    #[default]
    Default,
    /// As in the paper: asymptotic with both corrections, both samples cut to the first min(n)
    /// runs, verdicts by the uncorrected p-value.
    Paper,
}

/// How seeds were given to runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SeedPolicy {
    /// All runs of both sides have one seed.
    Single,
    /// Run i has seed i on both sides: runs are paired.
    PerRun,
    /// To be told from the seeds in the results, where they are there.
    #[default]
    Unknown,
}

/// How an analysis is to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// The profile.
    pub profile: Profile,
    /// Level of significance α; intervals have confidence 1 − α.
    pub alpha: f64,
    /// Margin of equivalence of metrics that `margins` does not name, in their unit.
    pub default_margin: f64,
    /// Margins of equivalence by metric, in its unit.
    pub margins: BTreeMap<String, f64>,
    /// How seeds were given to runs.
    pub seed_policy: SeedPolicy,
    /// How p-values are computed.
    pub method: Choice,
    /// The departure that p-values are for: `Less` is a buggy side of smaller values.
    pub alternative: Alternative,
    /// Whether asymptotic p-values take half a step for continuity.
    pub continuity: bool,
    /// The metrics that decide verdicts.
    pub outcomes: Vec<String>,
    /// By bug, the sides that may not be compared with the corrected one, with the reason: the verdict
    /// is `invalid`.
    pub invalid: BTreeMap<String, BTreeMap<Evaluation, String>>,
    /// Planted faults that runs are not expected to feel: the detection rate is without them.
    pub unfelt: BTreeSet<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            profile: Profile::Default,
            alpha: 0.05,
            default_margin: DEFAULT_MARGIN,
            margins: BTreeMap::new(),
            seed_policy: SeedPolicy::Unknown,
            method: Choice::Auto,
            alternative: Alternative::TwoSided,
            continuity: true,
            outcomes: OUTCOMES.map(str::to_owned).to_vec(),
            invalid: BTreeMap::new(),
            unfelt: BTreeSet::new(),
        }
    }
}

impl Options {
    /// The paper's profile.
    pub fn paper() -> Self {
        Self { profile: Profile::Paper, method: Choice::Asymptotic, ..Self::default() }
    }

    /// Checks that α lies in (0, 1) and that margins are positive numbers.
    ///
    /// # Errors
    /// A sentence that names the option, what was found, and what was expected.
    pub fn check(&self) -> Result<(), String> {
        if !(self.alpha > 0.0 && self.alpha < 1.0) {
            return Err(format!("alpha is {}, expected a number between 0 and 1", self.alpha));
        }
        let named = self.margins.iter().map(|(name, margin)| (name.as_str(), *margin));
        for (name, margin) in named.chain([("the default", self.default_margin)]) {
            if !(margin > 0.0 && margin.is_finite()) {
                return Err(format!(
                    "the margin of {name} is {margin}, expected a positive number in the metric's unit"
                ));
            }
        }
        Ok(())
    }

    /// How rank tests are made: the paper's profile leaves no choice.
    pub fn settings(&self) -> Settings {
        match self.profile {
            Profile::Default => Settings {
                choice: self.method,
                alternative: self.alternative,
                continuity: self.continuity,
            },
            Profile::Paper => Choice::Asymptotic.into(),
        }
    }
}
