//! Both sides of a fix's tests side by side: outcomes first, then every value.

use std::collections::{BTreeMap, BTreeSet};

use study::own_tests::{OwnTests, Parting};
use study::{ArtifactId, BugId, Evaluation, Verdict};

use super::{Check, Shown, TestResult, TestRun};

type ByTest<'a> = BTreeMap<&'a str, &'a TestResult>;

fn by_test(run: &TestRun) -> ByTest<'_> {
    run.tests.iter().map(|result| (result.test.as_str(), result)).collect()
}

/// Compares the two sides of a bug over all runs that both have.
///
/// `invalid` if nothing of the tests ran on the corrected artifact, `different` if an outcome or a
/// value differs in a test that does not differ from itself, `identical` if none does, and
/// `inconclusive` if every test differs from itself.
pub fn compare(
    bug: &BugId,
    buggy: &ArtifactId,
    corrected: &ArtifactId,
    runs: &[TestRun],
) -> OwnTests {
    let unsteady = unsteady(runs);
    let of = |side: Evaluation| -> BTreeMap<u32, &TestRun> {
        let own = runs.iter().filter(|run| run.evaluation == side && !run.repeated);
        own.map(|run| (run.run, run)).collect()
    };
    let (left, right) = (of(Evaluation::Buggy), of(Evaluation::Corrected));
    let mut found = OwnTests {
        bug: bug.clone(),
        verdict: Verdict::Invalid,
        reason: String::new(),
        runs: 0,
        pairs: 0,
        equal_pairs: 0,
        tests: 0,
        evidence: false,
        unsteady: unsteady.values.iter().map(|test| (*test).to_owned()).collect(),
        first: None,
        buggy: buggy.clone(),
        corrected: corrected.clone(),
    };
    let ran = |result: &TestResult| !matches!(result.outcome.as_str(), "skipped" | "import");
    if let Some(why) = not_run(right.values().copied()) {
        found.reason = why;
        return found;
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut checks = 0;
    let (mut fails, mut passes) = (true, true);
    for (run, one) in &left {
        let Some(other) = right.get(run) else { continue };
        found.pairs += 1;
        let (a, b) = (by_test(one), by_test(other));
        for result in b.values().filter(|result| ran(result)) {
            names.insert(&result.test);
            checks += result.count;
        }
        fails &= a.values().any(|result| !well(result));
        passes &= b.values().all(|result| well(result));
        match first_difference(*run, &a, &b, &unsteady) {
            None => found.equal_pairs += 1,
            Some(parting) if found.first.is_none() => found.first = Some(parting),
            Some(_) => {}
        }
    }
    found.tests = u32::try_from(names.len()).unwrap_or(u32::MAX);
    found.evidence = found.pairs > 0 && fails && passes;
    if found.pairs == 0 {
        found.reason = "there is no run that both sides have".to_owned();
        return found;
    }
    (found.verdict, found.reason) = conclude(&found, &unsteady, &names, checks, (fails, passes));
    found
}

/// Whether a test came to a good end.
fn well(result: &TestResult) -> bool {
    matches!(result.outcome.as_str(), "passed" | "skipped" | "expected-failure")
}

/// Why nothing ran, if nothing did.
fn not_run<'a>(runs: impl Iterator<Item = &'a TestRun>) -> Option<String> {
    let mut why = "no test was run on the corrected artifact".to_owned();
    for result in runs.flat_map(|run| &run.tests) {
        match result.outcome.as_str() {
            "import" => {
                why = format!(
                    "{} cannot be imported with the corrected artifact ({})",
                    result.test, result.message
                );
            }
            "skipped" => why = format!("{} is skipped here ({})", result.test, result.message),
            "crash" if result.count == 0 && result.test == "between tests" => {
                why = format!("the tests did not begin: {}", result.message);
            }
            _ => return None,
        }
    }
    Some(why)
}

fn conclude(
    found: &OwnTests,
    unsteady: &Unsteady<'_>,
    names: &BTreeSet<&str>,
    checks: u64,
    (fails, passes): (bool, bool),
) -> (Verdict, String) {
    let sides = match (fails, passes) {
        (true, true) => "a test does not pass with the bug, and all pass with the fix",
        (true, false) => "not every test passes, with the bug or with the fix",
        (false, true) => "all tests pass with the fix, and with the bug in some runs at least",
        (false, false) => "with the fix some test does not pass, with the bug all do in some runs",
    };
    if let Some(first) = &found.first {
        let what = match first.how.as_str() {
            "" => format!(
                "{} is {} with the bug and {} with the fix",
                first.test, first.buggy, first.corrected
            ),
            how => format!(
                "{}: {how} at {} was given {} with the bug and {} with the fix",
                first.test, first.at, first.buggy, first.corrected
            ),
        };
        let parted = found.pairs - found.equal_pairs;
        let reason = format!(
            "{what}; the sides differ in {parted} of {} pairs of runs; {sides}",
            found.pairs
        );
        return (Verdict::Different, reason);
    }
    let steady = names.iter().filter(|name| !unsteady.values.contains(*name)).count();
    if steady == 0 {
        let reason = format!(
            "the outcomes are the same in all {} pairs of runs, and every test's values differ from \
             themselves with one seed on one artifact, so that they tell nothing; {sides}",
            found.pairs
        );
        return (Verdict::Inconclusive, reason);
    }
    let left = match names.len() - steady {
        0 => String::new(),
        left => format!(" ({left} more by their outcome alone)"),
    };
    let reason = format!(
        "all {} pairs of runs gave the same outcomes and values in {steady} tests{left}, with {} \
         assertions a run",
        found.pairs,
        checks / u64::from(found.pairs)
    );
    (Verdict::Identical, reason)
}

/// Tests that differ from themselves.
#[derive(Default)]
struct Unsteady<'a> {
    /// In their values, or in their outcomes.
    values: BTreeSet<&'a str>,
    /// In their outcomes.
    outcomes: BTreeSet<&'a str>,
}

fn unsteady(runs: &[TestRun]) -> Unsteady<'_> {
    let mut found = Unsteady::default();
    for again in runs.iter().filter(|run| run.repeated) {
        let same = |run: &&TestRun| {
            !run.repeated && (run.run, run.evaluation) == (again.run, again.evaluation)
        };
        let Some(first) = runs.iter().find(same) else { continue };
        let (a, b) = (by_test(first), by_test(again));
        for (test, result) in a.iter().chain(&b) {
            let (one, other) = (a.get(test), b.get(test));
            let outcome = |of: Option<&&TestResult>| of.map(|result| result.outcome.clone());
            if outcome(one) != outcome(other) {
                found.outcomes.insert(&result.test);
                found.values.insert(&result.test);
            } else if let (Some(one), Some(other)) = (one, other)
                && (values_part(one, other).is_some() || one.rest != other.rest)
            {
                found.values.insert(&result.test);
            }
        }
    }
    found
}

/// The first check whose values differ.
fn values_part<'a>(
    one: &'a TestResult,
    other: &'a TestResult,
) -> Option<(&'a Check, &'a Check, usize)> {
    one.checks.iter().zip(&other.checks).find_map(|(a, b)| {
        let place = a.values.iter().zip(&b.values).position(|(x, y)| x.digest != y.digest);
        // The same line with other arguments is another call.
        let moved = (&a.how, &a.at, a.values.len()) != (&b.how, &b.at, b.values.len());
        place.or(moved.then_some(0)).map(|place| (a, b, place))
    })
}

/// The check to show: where the outcomes differ, that of the failure if it was given other values
/// there; else the first whose values differ.
fn telling_part<'a>(
    one: &'a TestResult,
    other: &'a TestResult,
) -> Option<(&'a Check, &'a Check, usize)> {
    let failed = match (one.outcome.as_str(), other.outcome.as_str()) {
        ("failed", "passed") => one.checks.len(),
        ("passed", "failed") => other.checks.len(),
        _ => 0,
    };
    let last =
        failed.checked_sub(1).and_then(|at| Some((one.checks.get(at)?, other.checks.get(at)?)));
    let parted = last.and_then(|(a, b)| {
        let place = a.values.iter().zip(&b.values).position(|(x, y)| x.digest != y.digest)?;
        (a.at == b.at).then_some((a, b, place))
    });
    match one.outcome == other.outcome {
        true => values_part(one, other),
        false => parted,
    }
}

fn first_difference(
    run: u32,
    buggy: &ByTest<'_>,
    corrected: &ByTest<'_>,
    unsteady: &Unsteady<'_>,
) -> Option<Parting> {
    let mut all: Vec<&str> = buggy.keys().chain(corrected.keys()).copied().collect();
    // A test that fails on one side tells more than one whose values differ in the last bit.
    let ended = |side: &ByTest<'_>, test: &str| side.get(test).map(|result| result.outcome.clone());
    all.sort_by_key(|test| (ended(buggy, test) == ended(corrected, test), *test));
    all.dedup();
    for test in all {
        let parting = |how: &str, at: &str, buggy: String, corrected: String| Parting {
            run,
            test: test.to_owned(),
            how: how.to_owned(),
            at: at.to_owned(),
            buggy,
            corrected,
            difference: None,
        };
        let (Some(a), Some(b)) = (buggy.get(test), corrected.get(test)) else {
            if unsteady.outcomes.contains(test) {
                continue;
            }
            let told = |of: Option<&&TestResult>| of.map_or("not run".to_owned(), |r| outcome(r));
            let (a, b) = (told(buggy.get(test)), told(corrected.get(test)));
            return Some(parting("", "", a, b));
        };
        if !unsteady.values.contains(test)
            && let Some((x, y, place)) = telling_part(a, b)
        {
            let (mut shown, difference) = match (x.values.get(place), y.values.get(place)) {
                (Some(one), Some(other)) => show(one, other),
                _ => (("another call".to_owned(), "this call".to_owned()), None),
            };
            // They part behind the numbers that are kept: the assertion's own difference tells.
            if shown.0 == shown.1 {
                let apart = |check: &Check| match &check.difference {
                    Some(apart) => format!(" ({apart} from what it is compared with)"),
                    None => " (other values behind those)".to_owned(),
                };
                shown = (shown.0 + &apart(x), shown.1 + &apart(y));
            }
            return Some(Parting { difference, ..parting(&x.how, &x.at, shown.0, shown.1) });
        }
        if !unsteady.outcomes.contains(test) && a.outcome != b.outcome {
            return Some(parting("", "", outcome(a), outcome(b)));
        }
        if !unsteady.values.contains(test) && (a.rest != b.rest || a.count != b.count) {
            let told = |r: &TestResult| format!("{} assertions", r.count);
            return Some(parting("assertions beyond those kept", "", told(a), told(b)));
        }
    }
    None
}

fn outcome(result: &TestResult) -> String {
    match result.message.as_str() {
        "" => result.outcome.clone(),
        message => format!("{} ({message})", result.outcome),
    }
}

/// Two values from the first number in which they differ, and how far apart they are at most.
fn show(one: &Shown, other: &Shown) -> ((String, String), Option<String>) {
    /// Numbers that are shown.
    const SHOWN: usize = 3;
    if one.numbers.is_empty() || other.numbers.is_empty() || one.kind != other.kind {
        let told = |value: &Shown| format!("{} {}", value.kind, value.digest);
        return ((told(one), told(other)), None);
    }
    let parted = one.numbers.iter().zip(&other.numbers).position(|(a, b)| a != b);
    let first = parted.unwrap_or(0);
    let told = |value: &Shown| {
        let numbers: Vec<&str> =
            value.numbers.iter().skip(first).take(SHOWN).map(String::as_str).collect();
        let more = if value.count > (first + numbers.len()) as u64 { ", …" } else { "" };
        match value.count {
            1 => numbers.join(""),
            _ => format!("[{}{}{more}]", if first > 0 { "…, " } else { "" }, numbers.join(", ")),
        }
    };
    let apart = |(a, b): (&String, &String)| -> Option<f64> {
        Some((a.parse::<f64>().ok()? - b.parse::<f64>().ok()?).abs())
    };
    let largest = one.numbers.iter().zip(&other.numbers).filter_map(apart);
    let largest = largest.filter(|apart| *apart > 0.0).max_by(f64::total_cmp);
    ((told(one), told(other)), largest.map(|apart| format!("{apart:?}")))
}
