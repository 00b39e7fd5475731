//! The conclusion about one comparison, and its reason in one sentence.

use crate::analyse::Comparison;
use crate::analysis::{BugVerdict, Identity, Kind, Test, Verdict};
use crate::group::Group;
use crate::input::Evaluation;
use crate::options::{Options, Profile};
use crate::render::number::{p_text, percent, signed};

/// Concludes from the tests of one comparison.
///
/// In this order: `invalid` if the runs allow no test; `identical` if all paired runs are bit for
/// bit the same; `different` if an outcome's p-value is below α (after Holm's correction, except in
/// the paper's profile); `equivalent` if the shift of every outcome lies within its margin;
/// otherwise `inconclusive`.
pub(crate) fn judge(comparison: &Comparison<'_>, tests: &[Test], options: &Options) -> BugVerdict {
    let identity = identity(comparison.buggy, comparison.corrected);
    let (verdict, reason) = conclude(comparison, identity, tests, options);
    BugVerdict {
        bug: comparison.bug.to_owned(),
        kind: comparison.kind,
        verdict,
        reason,
        runs_buggy: comparison.buggy.runs.len(),
        runs_corrected: comparison.corrected.runs.len(),
        seed_policy: comparison.seeds,
        identity,
        reach: None,
    }
}

/// What stands in the buggy side's place.
fn side(kind: Kind) -> &'static str {
    match kind {
        Kind::Bug => "buggy",
        Kind::Artificial => "artificial",
        Kind::Aa => "aa",
    }
}

fn conclude(
    comparison: &Comparison<'_>,
    identity: Option<Identity>,
    tests: &[Test],
    options: &Options,
) -> (Verdict, String) {
    let compared = match comparison.kind {
        Kind::Bug => Evaluation::Buggy,
        Kind::Artificial => Evaluation::Artificial,
        Kind::Aa => Evaluation::Aa,
    };
    let marked = options.invalid.get(comparison.bug);
    if let Some(reason) = marked.and_then(|sides| sides.get(&compared)) {
        return (Verdict::Invalid, reason.clone());
    }
    let name = side(comparison.kind);
    let (n, m) = (comparison.buggy.runs.len(), comparison.corrected.runs.len());
    if n == 0 || m == 0 {
        let empty = if n == 0 { name } else { "corrected" };
        return (Verdict::Invalid, format!("the {empty} side has no run"));
    }
    if n == 1 || m == 1 {
        let single = if n == 1 { name } else { "corrected" };
        return (
            Verdict::Invalid,
            format!(
                "the {single} side has one run, which shows nothing of the variation between runs"
            ),
        );
    }
    if let Some(same) = identity
        && same.unpaired == 0
        && same.equal_pairs == same.pairs
    {
        return (
            Verdict::Identical,
            format!(
                "all {} pairs of runs are bit for bit the same in all {} digests compared",
                same.pairs, same.digests
            ),
        );
    }
    let outcomes: Vec<&Test> = tests.iter().filter(|test| test.outcome).collect();
    let tested: Vec<&Test> = outcomes
        .iter()
        .copied()
        .filter(|test| test.p_value.is_some() && test.n_buggy > 1 && test.n_corrected > 1)
        .collect();
    if tested.is_empty() {
        return (
            Verdict::Invalid,
            "no outcome has two values on both sides after missing ones are left out".to_owned(),
        );
    }
    let (p_of, how): (fn(&Test) -> f64, String) = match options.profile {
        Profile::Paper => (|test| test.p_value.unwrap_or(1.0), "uncorrected".to_owned()),
        Profile::Default => (
            |test| test.p_holm.unwrap_or(1.0),
            format!("after Holm's correction over the family `{}`", tested[0].family),
        ),
    };
    let smallest = tested.iter().copied().min_by(|a, b| p_of(a).total_cmp(&p_of(b)));
    let Some(smallest) = smallest else {
        return (Verdict::Invalid, "no outcome could be tested".to_owned());
    };
    if p_of(smallest) < options.alpha {
        return (Verdict::Different, difference(smallest, p_of(smallest), &how, name));
    }
    let equivalent = |test: &&Test| {
        test.equivalence.is_some_and(|equivalence| equivalence.p_value < options.alpha)
    };
    if tested.len() == outcomes.len() && tested.iter().all(equivalent) {
        let largest = tested
            .iter()
            .filter_map(|test| test.equivalence.map(|equivalence| equivalence.p_value))
            .fold(0.0, f64::max);
        return (
            Verdict::Equivalent,
            format!(
                "the shifts of all outcomes ({}) lie within their margins (largest p of equivalence \
                 {})",
                names(&tested),
                p_text(largest)
            ),
        );
    }
    (Verdict::Inconclusive, inconclusive(&outcomes, &tested, (p_of(smallest), &how), options))
}

fn difference(test: &Test, p: f64, how: &str, side: &str) -> String {
    let shift = test.hodges_lehmann.map_or_else(String::new, |shift| {
        format!(
            "; {side} less corrected is {} ({} interval {} to {})",
            signed(shift.estimate),
            percent(shift.level),
            signed(shift.low),
            signed(shift.high)
        )
    });
    format!("{} differs with p = {} {how}{shift}", test.metric, p_text(p))
}

fn inconclusive(
    outcomes: &[&Test],
    tested: &[&Test],
    (p, how): (f64, &str),
    options: &Options,
) -> String {
    let open: Vec<&Test> = tested
        .iter()
        .copied()
        .filter(|test| test.equivalence.is_none_or(|outcome| outcome.p_value >= options.alpha))
        .collect();
    let mut reason = format!("no outcome differs (smallest p = {} {how})", p_text(p));
    if !open.is_empty() {
        reason += &format!(", and equivalence is not shown for {}", names(&open));
    }
    if tested.len() < outcomes.len() {
        let left: Vec<&Test> = outcomes
            .iter()
            .copied()
            .filter(|test| !tested.iter().any(|other| other.metric == test.metric))
            .collect();
        reason += &format!(", and {} could not be tested", names(&left));
    }
    reason
}

fn names(tests: &[&Test]) -> String {
    tests.iter().map(|test| test.metric.as_str()).collect::<Vec<_>>().join(", ")
}

/// Compares the digests of runs with the same index; nothing where no run has digests.
fn identity(buggy: &Group, corrected: &Group) -> Option<Identity> {
    if !buggy.has_fingerprints() && !corrected.has_fingerprints() {
        return None;
    }
    let mut identity = Identity::default();
    let mut met = 0;
    for (index, other) in buggy.shared(corrected) {
        met += 1;
        let (a, b) = (buggy.fingerprints(index), corrected.fingerprints(other));
        // Runs of different seeds are no pair, even with the same index.
        let seeds = (buggy.seed(index), corrected.seed(other));
        let parted = matches!(seeds, (Some(a), Some(b)) if a != b);
        if a.is_empty() || b.is_empty() || parted {
            identity.unpaired += 2;
            continue;
        }
        identity.pairs += 1;
        identity.digests += a.len().max(b.len());
        if a == b {
            identity.equal_pairs += 1;
        }
    }
    identity.unpaired += buggy.runs.len() + corrected.runs.len() - 2 * met;
    Some(identity)
}
