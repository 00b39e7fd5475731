//! The argument `--workload` of `run`.

use study::BugId;

/// Arguments of `run` that mean nothing to a fix's own tests.
pub const OTHERS: [&str; 10] = [
    "model",
    "challenge",
    "epochs",
    "only",
    "control",
    "anyway",
    "retry_failed",
    "allow",
    "plan_only",
    "dashboard",
];

/// The tests that fixes brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tests {
    /// One bug's.
    Of(BugId),
    /// Those of the bugs named, else of all.
    All,
}

impl std::str::FromStr for Tests {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected `test:BUG`, like test:pr16, or `tests`";
        match text.strip_prefix("test:") {
            None if text == "tests" => Ok(Self::All),
            None => Err(expected.to_owned()),
            Some(bug) => {
                BugId::new(bug).map(Self::Of).map_err(|error| format!("{expected}: {error}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_a_bugs_tests_or_all() {
        let of = |text: &str| text.parse::<Tests>();
        assert_eq!(of("tests"), Ok(Tests::All));
        assert_eq!(of("test:pr16"), Ok(Tests::Of(BugId::of_pull_request(16))));
        for wrong in ["pr16", "test", "test:", "test:../x", "vgg-x"] {
            assert!(of(wrong).unwrap_err().contains("test:pr16"), "{wrong}");
        }
    }
}
