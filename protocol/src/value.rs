//! Small values that travel as hexadecimal text: digests, and numbers to the last bit.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Text that is not the hexadecimal value it should be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} must be {digits} lower-case hexadecimal digits, found {found:?}")]
pub struct HexError {
    what: &'static str,
    digits: usize,
    found: String,
}

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of pieces, one after the other.
    pub fn of_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for piece in pieces {
            hasher.update(piece);
        }
        Self(hasher.finalize().into())
    }
}

/// A number of 64 bits by its exact bits: 16 lower-case hexadecimal digits, the sign bit first.
///
/// Losses travel so, because decimal text loses bits and JSON has no NaN.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Bits(pub u64);

impl Bits {
    /// The bits of `number`.
    pub fn of(number: f64) -> Self {
        Self(number.to_bits())
    }

    /// The number with these bits, which may be infinite or not a number.
    pub fn number(self) -> f64 {
        f64::from_bits(self.0)
    }
}

fn parse<const N: usize>(what: &'static str, text: &str) -> Result<[u8; N], HexError> {
    let wrong = || HexError { what, digits: 2 * N, found: text.chars().take(80).collect() };
    let mut bytes = [0; N];
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(wrong());
    }
    hex::decode_to_slice(text, &mut bytes).map_err(|_| wrong())?;
    Ok(bytes)
}

impl FromStr for Digest {
    type Err = HexError;
    fn from_str(text: &str) -> Result<Self, HexError> {
        parse("a digest", text).map(Self)
    }
}

impl FromStr for Bits {
    type Err = HexError;
    fn from_str(text: &str) -> Result<Self, HexError> {
        parse("a number's bits", text).map(|bytes| Self(u64::from_be_bytes(bytes)))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

macro_rules! text {
    ($type:ident) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($type), "({})"), self)
            }
        }
        impl TryFrom<String> for $type {
            type Error = HexError;
            fn try_from(text: String) -> Result<Self, HexError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}
text!(Digest);
text!(Bits);
