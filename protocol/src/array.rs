//! What is said about an array before its bytes: dtype, shape, length and digest.
//!
//! The bytes themselves are little-endian, in C order, without any header of their own.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::value::Digest;

/// Most dimensions an array may have.
pub const MAX_DIMENSIONS: usize = 8;

/// The type of an array's elements, named as NumPy does, always little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dtype {
    /// Numbers of 32 bits (IEEE 754 binary32).
    #[serde(rename = "f4")]
    F4,
    /// Bytes.
    #[serde(rename = "u1")]
    U1,
    /// Unsigned integers of 32 bits.
    #[serde(rename = "u4")]
    U4,
    /// Signed integers of 64 bits.
    #[serde(rename = "i8")]
    I8,
}

impl Dtype {
    /// Every dtype.
    pub const ALL: [Self; 4] = [Self::F4, Self::U1, Self::U4, Self::I8];

    /// Size of one element in bytes.
    pub fn size(self) -> u64 {
        match self {
            Self::U1 => 1,
            Self::F4 | Self::U4 => 4,
            Self::I8 => 8,
        }
    }
}

/// An array that is not what its header says, or longer than accepted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ArrayError {
    /// More dimensions than [`MAX_DIMENSIONS`].
    #[error("the array has {found} dimensions, at most {MAX_DIMENSIONS} are accepted")]
    Dimensions {
        /// The number found.
        found: usize,
    },
    /// The stated length is not what dtype and shape give.
    #[error("the array is said to have {stated} bytes, but its dtype and shape make {expected}")]
    Length {
        /// The length that the header states, in bytes.
        stated: u64,
        /// The length that dtype and shape make, in bytes ("too many" where it overflows).
        expected: String,
    },
    /// Longer than the receiver accepts.
    #[error("the array has {length} bytes, at most {limit} are accepted here")]
    TooLong {
        /// The length found, in bytes.
        length: u64,
        /// The most that is accepted, in bytes.
        limit: u64,
    },
    /// The bytes do not have the stated digest.
    #[error("the array's SHA-256 is {found}, expected {stated}: it was damaged on the way")]
    Digest {
        /// The digest of the bytes.
        found: Digest,
        /// The digest the header states.
        stated: Digest,
    },
}

/// All that is said about an array before its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArrayHeader {
    /// Type of the elements.
    pub dtype: Dtype,
    /// Length of each dimension, outermost first.
    pub shape: Vec<u64>,
    /// Length of all bytes.
    pub bytes: u64,
    /// SHA-256 of all bytes.
    pub sha256: Digest,
}

impl ArrayHeader {
    /// The header of an array whose bytes are at hand.
    ///
    /// # Errors
    /// [`ArrayError`] when the bytes do not fit the dtype and shape.
    pub fn describe(dtype: Dtype, shape: &[u64], data: &[u8]) -> Result<Self, ArrayError> {
        let bytes = data.len() as u64;
        let header = Self { dtype, shape: shape.to_vec(), bytes, sha256: Digest::of(data) };
        header.check(u64::MAX)?;
        Ok(header)
    }

    /// Checks that the header agrees with itself and asks for at most `limit` bytes. Nothing may
    /// be allocated for an array before this.
    ///
    /// # Errors
    /// [`ArrayError`], all but `Digest`.
    pub fn check(&self, limit: u64) -> Result<(), ArrayError> {
        if self.shape.len() > MAX_DIMENSIONS {
            return Err(ArrayError::Dimensions { found: self.shape.len() });
        }
        let made = self.shape.iter().try_fold(self.dtype.size(), |n, d| n.checked_mul(*d));
        if made != Some(self.bytes) {
            let expected = made.map_or_else(|| "too many".to_owned(), |n| n.to_string());
            return Err(ArrayError::Length { stated: self.bytes, expected });
        }
        if self.bytes > limit {
            return Err(ArrayError::TooLong { length: self.bytes, limit });
        }
        Ok(())
    }

    /// Compares the digest with that of the bytes that arrived.
    ///
    /// # Errors
    /// [`ArrayError::Digest`] when they differ.
    pub fn verify(&self, data: &[u8]) -> Result<(), ArrayError> {
        self.compare(Digest::of(data))
    }

    /// Compares the digest with the one that the bytes that arrived were found to have.
    ///
    /// # Errors
    /// [`ArrayError::Digest`] when they differ.
    pub fn compare(&self, found: Digest) -> Result<(), ArrayError> {
        if found == self.sha256 {
            Ok(())
        } else {
            Err(ArrayError::Digest { found, stated: self.sha256 })
        }
    }
}
