//! A fix's own tests as an experiment: what each test came to on both artifacts, seed by seed, and
//! every value that its assertions were given, side by side.
//!
//! Tests may differ from themselves: with one seed on one artifact each side is run once more, and
//! a test whose values are not the same then is compared by its outcome alone.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use study::own_tests::{OwnTests, Parting};
use study::{ArtifactId, BugId, CommitId, Evaluation, Verdict};

/// One run of a fix's tests on one artifact: a line of `own-tests/<bug>.jsonl`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestRun {
    /// Which side.
    pub evaluation: Evaluation,
    /// Its artifact.
    pub artifact: ArtifactId,
    /// The fix, whose tests these are.
    pub fix: CommitId,
    /// The test files.
    pub files: Vec<String>,
    /// The test functions that count; none: all of the files.
    pub names: Vec<String>,
    /// The run.
    pub run: u32,
    /// Its seed.
    pub seed: u32,
    /// Whether it is the second one with this seed, by which unsteady tests are known.
    pub repeated: bool,
    /// How the process ended, where it did not end well.
    pub ended: Option<String>,
    /// What each test came to.
    pub tests: Vec<TestResult>,
}

/// What became of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestResult {
    /// The test, as `file::Class.function`; for what happened outside of one, the file.
    pub test: String,
    /// `passed`, `failed`, `error`, `skipped`, `import`, `crash`, ….
    pub outcome: String,
    /// The first line of the exception.
    #[serde(default)]
    pub message: String,
    /// What its assertions were given, in their order.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// How many assertions there were; more than are kept, maybe.
    #[serde(default)]
    pub count: u64,
    /// The digest of those that are not kept.
    #[serde(default)]
    pub rest: Option<String>,
}

/// What one assertion was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The assertion's name.
    pub how: String,
    /// File and line.
    #[serde(rename = "where")]
    pub at: String,
    /// The largest absolute difference between the numbers it compares.
    pub difference: Option<String>,
    /// The values.
    pub values: Vec<Shown>,
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its Python type.
    pub kind: String,
    /// By which equal values are known.
    pub digest: String,
    /// Its first numbers.
    pub numbers: Vec<String>,
    /// How many it has.
    pub count: u64,
    /// Whether it has no value that could be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub opaque: bool,
}

/// A line of what the client writes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Result(TestResult),
    Began { began: String },
    Ended { ended: bool },
}

/// Reads what the client wrote. `ended` is how its process ended, where that was not well: the test
/// that was under way then ended so.
///
/// # Errors
/// If a line is none that the client writes.
pub fn parse(text: &str, ended: Option<&str>) -> Result<Vec<TestResult>, String> {
    let mut tests: Vec<TestResult> = Vec::new();
    let mut under_way: Option<String> = None;
    let mut whole = false;
    let count = text.lines().count();
    for (index, line) in text.lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(Line::Result(result)) => {
                under_way = None;
                tests.push(result);
            }
            Ok(Line::Began { began }) => under_way = Some(began),
            Ok(Line::Ended { ended }) => whole = ended,
            // A process that was killed while it wrote leaves half a line.
            Err(_) if ended.is_some() && index + 1 == count => {}
            Err(error) => return Err(format!("line {} of its results: {error}", index + 1)),
        }
    }
    if !whole {
        let message = ended.unwrap_or("the process ended before its tests did").to_owned();
        let test = under_way.unwrap_or_else(|| "between tests".to_owned());
        let outcome = "crash".to_owned();
        tests.push(TestResult { test, outcome, message, checks: vec![], count: 0, rest: None });
    }
    Ok(tests)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn value(numbers: &[&str]) -> Shown {
        Shown {
            kind: "list".into(),
            digest: numbers.concat(),
            numbers: numbers.iter().map(|number| (*number).to_owned()).collect(),
            count: numbers.len() as u64,
            opaque: false,
        }
    }

    fn result(test: &str, outcome: &str, numbers: &[&str]) -> TestResult {
        let check = Check {
            how: "assertEqual".into(),
            at: "t.py:7".into(),
            difference: None,
            values: vec![value(numbers), value(&["1.0", "2.0"])],
        };
        TestResult {
            test: test.into(),
            outcome: outcome.into(),
            message: String::new(),
            checks: vec![check],
            count: 1,
            rest: None,
        }
    }

    fn run(side: Evaluation, number: u32, repeated: bool, tests: Vec<TestResult>) -> TestRun {
        TestRun {
            evaluation: side,
            artifact: ArtifactId::from_digest([1; 32]),
            fix: CommitId::new("0".repeat(40)).unwrap(),
            files: vec!["t.py".into()],
            names: vec![],
            run: number,
            seed: number,
            repeated,
            ended: None,
            tests,
        }
    }

    fn judged(runs: &[TestRun]) -> OwnTests {
        let id = ArtifactId::from_digest([1; 32]);
        compare(&BugId::of_pull_request(1), &id, &id, runs)
    }

    use Evaluation::{Buggy, Corrected};

    #[test]
    fn values_and_outcomes_are_held_against_each_other() {
        let good = || vec![result("a", "passed", &["1.0", "2.0"])];
        let bad = || vec![result("a", "failed", &["1.0", "2.5"])];
        let pair = |left: Vec<TestResult>, right: Vec<TestResult>| {
            [run(Buggy, 0, false, left), run(Corrected, 0, false, right)]
        };
        let same = judged(&pair(good(), good()));
        assert_eq!((same.verdict, same.equal_pairs, same.tests), (Verdict::Identical, 1, 1));
        assert!(!same.evidence);
        let different = judged(&pair(bad(), good()));
        assert_eq!((different.verdict, different.evidence), (Verdict::Different, true));
        let first = different.first.unwrap();
        assert_eq!((first.buggy.as_str(), first.corrected.as_str()), ("[…, 2.5]", "[…, 2.0]"));
        assert_eq!(first.difference.as_deref(), Some("0.5"));
        assert_eq!((first.how.as_str(), first.at.as_str()), ("assertEqual", "t.py:7"));
        // Both may fail alike, or pass with other values.
        assert_eq!(judged(&pair(bad(), bad())).verdict, Verdict::Identical);
        let other = vec![result("a", "passed", &["1.0", "2.000001"])];
        let judged_other = judged(&pair(other, good()));
        assert_eq!((judged_other.verdict, judged_other.evidence), (Verdict::Different, false));
        // A test that one side lacks, or that crashes there.
        let crash = parse("{\"began\": \"a\"}\n{\"te", Some("signal 11")).unwrap();
        assert_eq!((crash[0].test.as_str(), crash[0].outcome.as_str()), ("a", "crash"));
        let crashed = judged(&pair(crash, good()));
        assert_eq!(crashed.verdict, Verdict::Different);
        assert!(crashed.reason.contains("crash (signal 11)"), "{}", crashed.reason);
    }

    #[test]
    fn a_test_that_differs_from_itself_tells_nothing_by_its_values() {
        let noisy = |number: &str| vec![result("a", "passed", &[number])];
        let mut runs = vec![
            run(Buggy, 0, false, noisy("1.0")),
            run(Corrected, 0, false, noisy("2.0")),
            run(Corrected, 0, true, noisy("3.0")),
        ];
        let found = judged(&runs);
        assert_eq!((found.verdict, found.unsteady.len()), (Verdict::Inconclusive, 1));
        // Its outcome still counts while that is steady,
        runs[0].tests[0].outcome = "failed".into();
        assert_eq!(judged(&runs).verdict, Verdict::Different);
        // and no longer where it is not.
        runs[2].tests[0].outcome = "failed".into();
        assert_eq!(judged(&runs).verdict, Verdict::Inconclusive);
        // A steady test beside it still tells.
        for run in &mut runs {
            run.tests.push(result("b", "passed", &["1.0"]));
        }
        assert_eq!(judged(&runs).verdict, Verdict::Identical);
        runs[0].tests[1].checks[0].values[0] = value(&["7.0"]);
        assert_eq!(judged(&runs).first.unwrap().test, "b");
    }

    #[test]
    fn what_did_not_run_is_no_result() {
        let import = TestResult { message: "no scipy".into(), ..result("t.py", "import", &[]) };
        let found = judged(&[
            run(Buggy, 0, false, vec![import.clone()]),
            run(Corrected, 0, false, vec![import]),
        ]);
        assert_eq!(found.verdict, Verdict::Invalid);
        assert!(found.reason.contains("no scipy"), "{}", found.reason);
        let skipped = TestResult { message: "no GPU".into(), ..result("a", "skipped", &[]) };
        let found = judged(&[run(Corrected, 0, false, vec![skipped])]);
        assert!(found.reason.contains("no GPU"), "{}", found.reason);
        let none = judged(&[]);
        assert_eq!((none.verdict, none.pairs), (Verdict::Invalid, 0));
        assert!(parse("rubbish\n{\"ended\": true}\n", None).unwrap_err().contains("line 1"));
        assert_eq!(parse("{\"ended\": true}\n", None).unwrap(), []);
        let silent = parse("", Some("status 3")).unwrap();
        assert_eq!((silent[0].outcome.as_str(), silent[0].message.as_str()), ("crash", "status 3"));
    }
}
