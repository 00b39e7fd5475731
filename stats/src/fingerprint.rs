//! A digest as it is kept: of two million runs with four each, their texts would be most of the
//! memory.

use std::fmt;

/// A digest that a run reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fingerprint {
    /// 64 digits of lower-case hexadecimal, as SHA-256 is written.
    Sha256([u8; 32]),
    /// Whatever else a file has.
    Text(Box<str>),
}

impl From<&str> for Fingerprint {
    fn from(text: &str) -> Self {
        let mut bytes = [0; 32];
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut bytes) {
            Ok(()) if lower => Self::Sha256(bytes),
            _ => Self::Text(text.into()),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(bytes) => f.write_str(&hex::encode(bytes)),
            Self::Text(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_digest_is_kept_as_its_bytes_and_nothing_else_is() {
        let digest = "0a".repeat(32);
        assert_eq!(Fingerprint::from(digest.as_str()), Fingerprint::Sha256([10; 32]));
        for other in ["0A".repeat(32), "0a".repeat(31), "0a".repeat(33), "0g".repeat(32)] {
            assert_eq!(Fingerprint::from(other.as_str()), Fingerprint::Text(other.into()));
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in ".{0,70}|[0-9a-fA-F]{62,66}") {
            prop_assert_eq!(Fingerprint::from(text.as_str()).to_string(), text);
        }
    }
}
