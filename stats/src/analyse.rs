//! From runs to an analysis: one test a comparison and metric, corrected over families.

use crate::analysis::{Analysis, BugVerdict, Controls, Family, Kind, Rate, Test, Verdict};
use crate::group::Group;
use crate::input::{Evaluation, Results};
use crate::mann_whitney::{AUTO_EXACT_SIZE, Alternative, Choice, Settings};
use crate::options::{OUTCOMES, Options, Profile, SeedPolicy};
use crate::special::clopper_pearson;
use crate::{adjust, measure, verdict};
use std::collections::BTreeMap;

/// The families of tests that are corrected together.
pub(crate) const BUG_OUTCOMES: &str = "bugs";
pub(crate) const CONTROL_OUTCOMES: &str = "controls";
pub(crate) const OTHERS: &str = "other metrics";

/// Two sides of one bug.
pub(crate) struct Comparison<'a> {
    pub(crate) bug: &'a str,
    pub(crate) kind: Kind,
    pub(crate) buggy: &'a Group,
    pub(crate) corrected: &'a Group,
    /// Runs of each side that are used.
    pub(crate) limit: usize,
    pub(crate) seeds: SeedPolicy,
}

/// Analyses all comparisons of `results`.
///
/// The same results and options give the same analysis, to the bit.
///
/// # Examples
/// ```
/// use reproduceml_stats::{Evaluation, Options, Results, RunRow, analyse};
/// let row = |evaluation, run: u32, accuracy| RunRow {
///     bug: "pr1".into(),
///     evaluation,
///     run,
///     seed: None,
///     metrics: [("accuracy".to_owned(), accuracy)].into(),
///     fingerprints: Vec::new(),
/// };
/// let mut rows = Vec::new();
/// for run in 0..10 {
///     let noise = f64::from(run * run % 7) * 1e-3;
///     rows.push(row(Evaluation::Buggy, run, 0.60 + noise));
///     rows.push(row(Evaluation::Corrected, run, 0.70 + noise));
/// }
/// let analysis = analyse(&Results::from_rows(rows).unwrap(), &Options::default());
/// assert_eq!(analysis.verdicts[0].verdict.name(), "different");
/// ```
pub fn analyse(results: &Results, options: &Options) -> Analysis {
    // The output states what was done: the paper's profile leaves no choice of method.
    let Settings { choice, alternative, continuity } = options.settings();
    let options = &Options { method: choice, alternative, continuity, ..options.clone() };
    let empty = Group::default();
    let comparisons = comparisons(results, options, &empty);
    let outcomes = outcomes(results, options);
    let mut tests = all_tests(results, &comparisons, &outcomes, options);
    let families = correct(&mut tests, &outcomes, options);
    // As many tests a comparison as there are metrics, in the order of the comparisons.
    let verdicts: Vec<BugVerdict> = comparisons
        .iter()
        .zip(tests.chunks(results.metrics.len().max(1)))
        .map(|(comparison, own)| verdict::judge(comparison, own, options))
        .collect();
    let controls = controls(&verdicts, &tests, options);
    let mut warnings = results.warnings.clone();
    warnings.extend(cuts(&comparisons, options));
    if options.outcomes.iter().all(|name| !results.metrics.contains(name)) {
        warnings.push(format!(
            "none of the outcomes ({}) is among the metrics, so all metrics decide verdicts",
            options.outcomes.join(", ")
        ));
    }
    warnings.extend(percentages(results, options));
    if let Err(problem) = options.check() {
        warnings.push(problem);
    }
    Analysis {
        schema: "reproduceml-stats/1",
        inputs: None,
        options: options.clone(),
        design: design(&comparisons),
        verdicts,
        tests,
        families,
        controls,
        sequential: None,
        own_tests: Vec::new(),
        notes: notes(options, &outcomes),
        warnings,
    }
}

/// All tests of all comparisons in their order, computed on as many threads as there are cores.
fn all_tests(
    results: &Results,
    comparisons: &[Comparison<'_>],
    outcomes: &[String],
    options: &Options,
) -> Vec<Test> {
    let some = |part: &[Comparison<'_>]| -> Vec<Test> {
        let mut tests = Vec::with_capacity(part.len() * results.metrics.len());
        for comparison in part {
            for (place, metric) in results.metrics.iter().enumerate() {
                let outcome = outcomes.contains(metric);
                tests.push(measure::test(comparison, place, metric, outcome, options));
            }
        }
        tests
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = comparisons.len().div_ceil(threads).max(1);
    if threads == 1 || comparisons.len() < 2 {
        return some(comparisons);
    }
    std::thread::scope(|scope| {
        let some = &some;
        let workers: Vec<_> =
            comparisons.chunks(share).map(|part| scope.spawn(move || some(part))).collect();
        let finished = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        finished.flatten().collect()
    })
}

fn comparisons<'a>(
    results: &'a Results,
    options: &Options,
    empty: &'a Group,
) -> Vec<Comparison<'a>> {
    let mut found = Vec::new();
    for (bug, sides) in &results.bugs {
        let corrected = sides.get(&Evaluation::Corrected).unwrap_or(empty);
        let mut add = |kind, buggy: &'a Group| {
            let limit = match options.profile {
                Profile::Default => usize::MAX,
                Profile::Paper => buggy.runs.len().min(corrected.runs.len()),
            };
            let seeds = seeds(options.seed_policy, buggy, corrected);
            found.push(Comparison { bug, kind, buggy, corrected, limit, seeds });
        };
        let before = [
            (Evaluation::Buggy, Kind::Bug),
            (Evaluation::Artificial, Kind::Artificial),
            (Evaluation::Aa, Kind::Aa),
        ];
        let mut any = false;
        for (evaluation, kind) in before {
            if let Some(group) = sides.get(&evaluation) {
                add(kind, group);
                any = true;
            }
        }
        if !any {
            add(Kind::Bug, empty);
        }
    }
    found
}

/// The metrics that decide verdicts: those of the options, or all if none of them is there.
fn outcomes(results: &Results, options: &Options) -> Vec<String> {
    let chosen: Vec<String> =
        results.metrics.iter().filter(|name| options.outcomes.contains(name)).cloned().collect();
    if chosen.is_empty() { results.metrics.clone() } else { chosen }
}

/// The stated seed policy, or the one that the seeds of a comparison show.
fn seeds(stated: SeedPolicy, buggy: &Group, corrected: &Group) -> SeedPolicy {
    if stated != SeedPolicy::Unknown {
        return stated;
    }
    let all = buggy.runs.len() + corrected.runs.len();
    let known = |group: &'_ Group| -> Option<Vec<u64>> {
        (0..group.runs.len()).map(|index| group.seed(index)).collect()
    };
    let (Some(mut distinct), Some(others)) = (known(buggy), known(corrected)) else {
        return SeedPolicy::Unknown;
    };
    distinct.extend(others);
    distinct.sort_unstable();
    distinct.dedup();
    let same = |(a, b): &(usize, usize)| buggy.seed(*a) == corrected.seed(*b);
    let shared = buggy.shared(corrected).filter(same).count();
    match distinct.len() {
        1 if all > 2 => SeedPolicy::Single,
        // Every run has its own seed, and the runs that both sides have share it.
        kinds if shared > 1 && kinds == all - shared => SeedPolicy::PerRun,
        _ => SeedPolicy::Unknown,
    }
}

/// Fills in the corrected p-values, and describes each family.
fn correct(tests: &mut [Test], outcomes: &[String], options: &Options) -> Vec<Family> {
    let mut families = Vec::new();
    for name in [BUG_OUTCOMES, CONTROL_OUTCOMES, OTHERS] {
        // No verdict rests on a side with one value, so such tests are in no family.
        let counted = |test: &Test| {
            test.family == name && test.p_value.is_some() && test.n_buggy.min(test.n_corrected) > 1
        };
        let members: Vec<usize> =
            (0..tests.len()).filter(|&index| counted(&tests[index])).collect();
        if members.is_empty() {
            continue;
        }
        let p: Vec<f64> = members.iter().filter_map(|&index| tests[index].p_value).collect();
        let (holm, bh) = (adjust::holm(&p), adjust::benjamini_hochberg(&p));
        for ((&index, holm), bh) in members.iter().zip(&holm).zip(&bh) {
            tests[index].p_holm = Some(*holm);
            tests[index].p_bh = Some(*bh);
        }
        let below = |values: &[f64]| values.iter().filter(|p| **p < options.alpha).count();
        let what = match name {
            BUG_OUTCOMES => {
                format!("all tests of {} for all bugs of the study", outcomes.join(", "))
            }
            CONTROL_OUTCOMES => {
                format!("all tests of {} for all controls of the study", outcomes.join(", "))
            }
            _ => "all tests of metrics that are no outcomes".to_owned(),
        };
        families.push(Family {
            name: name.to_owned(),
            description: what,
            tests: p.len(),
            expected_by_chance: options.alpha * p.len() as f64,
            below_alpha: below(&p),
            below_alpha_holm: below(&holm),
            below_alpha_bh: below(&bh),
        });
    }
    families
}

pub(crate) fn controls(verdicts: &[BugVerdict], tests: &[Test], options: &Options) -> Controls {
    let of = |kind: Kind, unfelt: bool| {
        let valid = verdicts.iter().filter(move |one| {
            one.kind == kind
                && one.verdict != Verdict::Invalid
                && (kind == Kind::Aa || options.unfelt.contains(&one.bug) == unfelt)
        });
        let hits = valid.clone().filter(|verdict| verdict.verdict == Verdict::Different).count();
        rate(hits, valid.count(), options.alpha)
    };
    let p: Vec<f64> = tests
        .iter()
        .filter(|test| test.kind == Kind::Aa && test.outcome)
        .filter_map(|test| test.p_value)
        .collect();
    let hits = p.iter().filter(|p| **p < options.alpha).count();
    Controls {
        false_positives: of(Kind::Aa, false),
        false_positive_tests: rate(hits, p.len(), options.alpha),
        detections: of(Kind::Artificial, false),
        unfelt: of(Kind::Artificial, true),
    }
}

fn rate(different: usize, of: usize, alpha: f64) -> Rate {
    let (low, high) = match of {
        0 => (0.0, 1.0),
        _ => clopper_pearson(different as u64, of as u64, 1.0 - alpha),
    };
    let rate = (of > 0).then(|| different as f64 / of as f64);
    Rate { different, of, rate, low, high }
}

/// Outcomes that look like percentages, for which the default margin is too narrow by a hundred.
fn percentages(results: &Results, options: &Options) -> Vec<String> {
    let above_one = |place: usize| {
        let mut groups = results.bugs.values().flat_map(BTreeMap::values);
        groups.any(|group| group.values.get(place).is_some_and(|all| all.iter().any(|v| *v > 1.0)))
    };
    let named = results.metrics.iter().enumerate();
    named
        .filter(|(place, name)| {
            OUTCOMES.contains(&name.as_str())
                && options.outcomes.contains(name)
                && !options.margins.contains_key(*name)
                && above_one(*place)
        })
        .map(|(_, name)| {
            format!(
                "{name}: some values are above 1; the default margin of {} is meant for fractions, so \
                 give a margin for percentages",
                options.default_margin
            )
        })
        .collect()
}

/// What the paper's profile left out.
fn cuts(comparisons: &[Comparison<'_>], options: &Options) -> Vec<String> {
    if options.profile != Profile::Paper {
        return Vec::new();
    }
    let cut = |comparison: &Comparison<'_>| {
        let (n, m) = (comparison.buggy.runs.len(), comparison.corrected.runs.len());
        (n != m && n.min(m) > 0).then(|| {
            format!(
                "{}: {} and {} runs, both sides cut to the first {} as the paper does; {} left out",
                comparison.bug,
                n,
                m,
                n.min(m),
                n.abs_diff(m)
            )
        })
    };
    comparisons.iter().filter_map(cut).collect()
}

fn design(comparisons: &[Comparison<'_>]) -> String {
    let count = |policy| comparisons.iter().filter(|c| c.seeds == policy).count();
    let (single, per_run) = (count(SeedPolicy::Single), count(SeedPolicy::PerRun));
    let unknown = count(SeedPolicy::Unknown);
    let mut parts = Vec::new();
    if single > 0 {
        parts.push(format!(
            "{single} comparison(s) repeat one seed: the samples are independent repetitions, \
             compared unpaired, and what they show holds for that one seed"
        ));
    }
    if per_run > 0 {
        parts.push(format!(
            "{per_run} comparison(s) have one seed a run, shared by both sides: beside the unpaired \
             test stands the paired one, which takes the variation between seeds out"
        ));
    }
    if unknown > 0 {
        parts.push(format!(
            "{unknown} comparison(s) have no known seed policy: compared unpaired, the choice that \
             assumes less"
        ));
    }
    parts.join("; ")
}

fn notes(options: &Options, outcomes: &[String]) -> Vec<String> {
    let mut notes = vec![
        format!(
            "verdicts rest on {}; other metrics are tested, listed, and decide nothing",
            outcomes.join(", ")
        ),
        "the statistic is U of the buggy side; shifts are buggy less corrected".to_owned(),
    ];
    notes.push(method(options));
    if outcomes.iter().all(|name| OUTCOMES.contains(&name.as_str())) || !options.margins.is_empty()
    {
        let margins = outcomes.iter().map(|name| {
            format!(
                "{name} ±{}",
                options.margins.get(name).copied().unwrap_or(options.default_margin)
            )
        });
        notes.push(format!(
            "equivalence means a shift within the margin: {}",
            margins.collect::<Vec<_>>().join(", ")
        ));
    }
    notes.push(match options.profile {
        Profile::Default => format!(
            "`different` needs a p-value below {} after Holm's correction over the family",
            options.alpha
        ),
        Profile::Paper => format!(
            "paper profile: asymptotic, continuity and tie correction, samples cut to the shorter \
             one, and `different` by an uncorrected p-value below {}",
            options.alpha
        ),
    });
    notes.push("a large p-value is no evidence that two artifacts are the same".to_owned());
    notes
}

/// How p-values are computed, in a sentence.
fn method(options: &Options) -> String {
    let correction = if options.continuity { "with" } else { "without" };
    let asymptotic = format!("asymptotic with tie correction, {correction} continuity correction");
    let how = match options.method {
        Choice::Auto => {
            format!(
                "exact up to {AUTO_EXACT_SIZE} values a side (ties included), above {asymptotic}"
            )
        }
        Choice::Exact => format!("exact, and where that is too much to enumerate {asymptotic}"),
        Choice::Asymptotic => asymptotic,
    };
    let side = match options.alternative {
        Alternative::TwoSided => "two-sided",
        Alternative::Less => "one-sided, for smaller values of the buggy side",
        Alternative::Greater => "one-sided, for larger values of the buggy side",
    };
    format!("p-values are {side}; {how}; intervals and all other tests are as documented")
}
