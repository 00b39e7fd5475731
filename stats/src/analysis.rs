//! What comes out: the types that every table, figure and file is made from.

use crate::brunner_munzel::BrunnerMunzel;
use crate::equivalence::Equivalence;
use crate::mann_whitney::Method;
use crate::options::{Options, SeedPolicy};
use crate::sequential::Sequential;
use crate::shift::Interval;
use crate::signed_rank::SignedRank;
use crate::spread::FlignerKilleen;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use study::own_tests::OwnTests;
use study::reach::Reached;
use study::{BugId, ReachAnswer, ReachStrength};

/// What is compared with the corrected side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A bug of the framework.
    Bug,
    /// A planted fault: a positive control.
    Artificial,
    /// The corrected artifact again: a negative control.
    Aa,
}

impl Kind {
    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bug => "bug",
            Kind::Artificial => "artificial",
            Kind::Aa => "aa",
        }
    }
}

/// What is concluded for a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// All paired runs are bit for bit the same.
    Identical,
    /// All outcomes are equal within the margin.
    Equivalent,
    /// An outcome differs, after correction for the number of tests.
    Different,
    /// Neither a difference nor equivalence was shown.
    Inconclusive,
    /// The runs allow no conclusion.
    Invalid,
}

impl Verdict {
    /// All verdicts, in the order of summaries.
    pub const ALL: [Verdict; 5] = [
        Verdict::Identical,
        Verdict::Equivalent,
        Verdict::Different,
        Verdict::Inconclusive,
        Verdict::Invalid,
    ];

    /// The name used in every output.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Identical => "identical",
            Verdict::Equivalent => "equivalent",
            Verdict::Different => "different",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Invalid => "invalid",
        }
    }
}

/// How many digests of paired runs are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Identity {
    /// Runs with the same index on both sides, and digests on both.
    pub pairs: usize,
    /// Pairs whose digests are all equal.
    pub equal_pairs: usize,
    /// Digests compared.
    pub digests: usize,
    /// Runs without a partner, or without digests.
    pub unpaired: usize,
}

/// Whether the study's workload can see the change of a bug, as `reach` found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reach {
    /// The answer.
    pub answer: ReachAnswer,
    /// What kind of evidence it rests on.
    pub strength: ReachStrength,
    /// Why, in a sentence or two.
    pub reason: String,
}

/// The conclusion about one bug, or one control.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BugVerdict {
    /// Name of the bug.
    pub bug: String,
    /// What was compared.
    pub kind: Kind,
    /// The conclusion.
    pub verdict: Verdict,
    /// Its reason, in one sentence.
    pub reason: String,
    /// Runs on the buggy side (or that of the control), before any cut.
    pub runs_buggy: usize,
    /// Runs on the corrected side, before any cut.
    pub runs_corrected: usize,
    /// How seeds were given, as stated or as seen in the results.
    pub seed_policy: SeedPolicy,
    /// Comparison of digests; absent where no run has any.
    pub identity: Option<Identity>,
    /// What `reach` found; absent for controls, and where nobody asked.
    pub reach: Option<Reach>,
}

impl Analysis {
    /// Adds the verdict `identical` for bugs that have no run because their two artifacts are the
    /// same byte for byte.
    pub fn add_identical(&mut self, bugs: &BTreeSet<String>, seed_policy: SeedPolicy) {
        let there: BTreeSet<String> = self.verdicts.iter().map(|one| one.bug.clone()).collect();
        for bug in bugs.difference(&there) {
            self.verdicts.push(BugVerdict {
                bug: bug.clone(),
                kind: Kind::Bug,
                verdict: Verdict::Identical,
                reason: "its two artifacts are the same byte for byte, so no run can tell them \
                         apart"
                    .to_owned(),
                runs_buggy: 0,
                runs_corrected: 0,
                seed_policy,
                identity: None,
                reach: None,
            });
        }
    }

    /// Puts beside each bug what `reach` found about the study's workload. No verdict rests on it.
    pub fn add_reach(&mut self, found: &BTreeMap<BugId, Reached>) {
        for verdict in self.verdicts.iter_mut().filter(|verdict| verdict.kind == Kind::Bug) {
            let own = found.iter().find(|(bug, _)| bug.as_str() == verdict.bug);
            verdict.reach = own.map(|(_, found)| Reach {
                answer: found.answer,
                strength: found.strength,
                reason: found.reason.clone(),
            });
        }
    }

    /// Whether tables have a column for what `reach` found: in every study, elsewhere where
    /// something is known.
    pub(crate) fn shows_reach(&self) -> bool {
        self.inputs.is_some() || self.verdicts.iter().any(|verdict| verdict.reach.is_some())
    }
}

/// Summary of one sample, in the unit of its metric.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub median: f64,
    /// Standard deviation with divisor n − 1.
    pub sd: f64,
    /// Smallest value.
    pub min: f64,
    /// Largest value.
    pub max: f64,
}

/// All statistics of one metric of one comparison. What cannot be computed is null, and a note
/// says why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Test {
    /// Name of the bug.
    pub bug: String,
    /// What was compared.
    pub kind: Kind,
    /// Name of the metric.
    pub metric: String,
    /// Whether the metric takes part in the verdict.
    pub outcome: bool,
    /// The family over which `p_holm` and `p_bh` are corrected.
    pub family: String,
    /// Values on the buggy side (or that of the control) that were used.
    pub n_buggy: usize,
    /// Values on the corrected side that were used.
    pub n_corrected: usize,
    /// U of the buggy side.
    pub statistic: Option<f64>,
    /// Two-sided p-value of the Mann-Whitney test.
    pub p_value: Option<f64>,
    /// How it was computed.
    pub method: Option<Method>,
    /// p-value after Holm's correction.
    pub p_holm: Option<f64>,
    /// p-value after Benjamini and Hochberg's correction.
    pub p_bh: Option<f64>,
    /// Shift of the buggy side against the corrected one, in the unit of the metric.
    pub hodges_lehmann: Option<Interval>,
    /// P(buggy > corrected) + P(equal)/2.
    pub a12: Option<Interval>,
    /// 2·A12 − 1.
    pub cliffs_delta: Option<Interval>,
    /// Summary of the buggy side.
    pub buggy: Option<Summary>,
    /// Summary of the corrected side.
    pub corrected: Option<Summary>,
    /// The test that does not assume equal spread.
    pub brunner_munzel: Option<BrunnerMunzel>,
    /// The test for a difference in spread.
    pub fligner_killeen: Option<FlignerKilleen>,
    /// The test for equivalence; outcomes, and metrics with a stated margin, only.
    pub equivalence: Option<Equivalence>,
    /// The smallest shift that this design finds with 80 % power, given the observed spread, in the
    /// unit of the metric and without correction for several tests.
    pub detectable_shift: Option<f64>,
    /// The paired test, where run i has the same seed on both sides.
    pub paired: Option<SignedRank>,
    /// What there is to say about this test.
    pub notes: Vec<String>,
}

/// Tests that are corrected together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Family {
    /// Its name, as in [`Test::family`].
    pub name: String,
    /// What is in it.
    pub description: String,
    /// How many tests.
    pub tests: usize,
    /// How many of them one expects below α if nothing differs: α times their number.
    pub expected_by_chance: f64,
    /// Uncorrected p-values below α.
    pub below_alpha: usize,
    /// Holm-corrected p-values below α.
    pub below_alpha_holm: usize,
    /// p-values corrected by Benjamini and Hochberg below α.
    pub below_alpha_bh: usize,
}

/// A rate among controls, with its exact binomial interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// Controls found different.
    pub different: usize,
    /// Controls with a valid verdict.
    pub of: usize,
    /// `different / of`; null where there is none.
    pub rate: Option<f64>,
    /// Lower end of the Clopper-Pearson interval.
    pub low: f64,
    /// Upper end of the Clopper-Pearson interval.
    pub high: f64,
}

/// What the controls say about the study itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Controls {
    /// A/A comparisons found different: false positives.
    pub false_positives: Rate,
    /// Outcome tests of A/A comparisons with uncorrected p below α.
    pub false_positive_tests: Rate,
    /// Planted faults that runs are expected to feel, found different.
    pub detections: Rate,
    /// Planted faults in what the experiment does not use, found different: as with A/A, these are
    /// false positives, or the expectation was wrong.
    pub unfelt: Rate,
}

/// The analysis of a study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Analysis {
    /// Version of this structure.
    pub schema: &'static str,
    /// Digest of what was analysed, where that was a study: see [`crate::store::digest`].
    pub inputs: Option<String>,
    /// The options it was made with.
    pub options: Options,
    /// The design that was assumed, and why.
    pub design: String,
    /// One a comparison, by bug.
    pub verdicts: Vec<BugVerdict>,
    /// One a comparison and metric, by bug.
    pub tests: Vec<Test>,
    /// The families of tests.
    pub families: Vec<Family>,
    /// The study's controls.
    pub controls: Controls,
    /// The sequential design and its looks, where one was declared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequential: Option<Sequential>,
    /// What the fixes' own tests showed, by bug; no verdict rests on it.
    pub own_tests: Vec<OwnTests>,
    /// How to read the numbers.
    pub notes: Vec<String>,
    /// What was left out, and what calls for care.
    pub warnings: Vec<String>,
}
