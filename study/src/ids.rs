//! Identifiers. Each is checked when made, so that one never becomes a path or a command by
//! surprise: only letters, digits, `-`, `_` and `.` occur in them, and none begins with a dot.

use std::fmt;
use std::str::FromStr;

/// A text that cannot be the identifier it should be.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("`{found}` is no {what}: expected {expected}")]
pub struct IdError {
    what: &'static str,
    found: String,
    expected: &'static str,
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $what:literal, $expected:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes `text` if it has the form of this identifier.
            ///
            /// # Errors
            /// [`IdError`] with what was expected.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) {
                    Ok(Self(text))
                } else {
                    Err(IdError { what: $what, found: text, expected: $expected })
                }
            }

            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Its first twelve characters, enough for people to tell it from others.
            pub fn short(&self) -> &str {
                self.0.get(..12).unwrap_or(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

fn is_name(text: &str, longest: usize) -> bool {
    !text.is_empty()
        && text.len() <= longest
        && !text.starts_with(['.', '-'])
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

identifier! {
    /// One corpus entry, named after its pull request (`pr31433`) or its planted fault.
    BugId, "bug", "a name like pr31433 (letters, digits, `-`, `_`, `.`; at most 80)",
    |text| is_name(text, 80)
}

identifier! {
    /// A git commit: the full SHA-1, in lower case.
    CommitId, "commit", "40 hexadecimal digits",
    |text| is_hex(text, 40)
}

identifier! {
    /// An artifact: the SHA-256 of its identity (repository, commit, toolchain, strategy, flags).
    ArtifactId, "artifact", "64 hexadecimal digits",
    |text| is_hex(text, 64)
}

identifier! {
    /// An experiment: its bug, its evaluation and the start of its attributes' digest.
    ExperimentId, "experiment", "a name like pr31433-buggy-0123456789ab",
    |text| is_name(text, 120)
}

impl BugId {
    /// The name of the bug that pull request `number` fixed.
    pub fn of_pull_request(number: u64) -> Self {
        Self(format!("pr{number}"))
    }
}

impl ArtifactId {
    /// The identifier for a SHA-256 digest.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(hex::encode(digest))
    }
}

impl ExperimentId {
    /// Joins what is unique of an experiment; `digest` is cut to twelve characters.
    pub(crate) fn compose(bug: &BugId, evaluation: crate::Evaluation, digest: &str) -> Self {
        Self(format!("{bug}-{evaluation}-{}", digest.get(..12).unwrap_or(digest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_never_become_paths() {
        for bad in ["", "..", "../x", "a/b", "a b", "-rf", "a\0", "é"] {
            assert!(BugId::new(bad).is_err(), "{bad:?} must not be a bug");
        }
        assert_eq!(BugId::of_pull_request(31433).as_str(), "pr31433");
        assert!(CommitId::new("A".repeat(40)).is_err(), "commits are in lower case");
        assert!(CommitId::new("a".repeat(40)).is_ok());
        assert!(serde_json::from_str::<ArtifactId>("\"xyz\"").is_err());
    }
}
