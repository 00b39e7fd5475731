//! A fix's own tests as an experiment: what each test came to on both artifacts, seed by seed, and
//! every value that its assertions were given, side by side.
//!
//! Tests may differ from themselves: with one seed on one artifact each side is run once more, and
//! a test whose values are not the same then is compared by its outcome alone.

mod compare;

use serde::{Deserialize, Serialize};
use study::{ArtifactId, CommitId, Evaluation};

pub use self::compare::compare;

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

#[cfg(test)]
mod tests {
    use study::own_tests::OwnTests;
    use study::{BugId, Verdict};

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
