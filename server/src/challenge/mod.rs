//! Challenges: where samples come from, how they are split, normalised and ordered.

pub mod dataset;
pub mod fetch;
pub mod files;
pub mod permutation;
pub mod pool;
pub mod synthetic;

use std::path::PathBuf;

use thiserror::Error;

pub use dataset::{Dataset, Datasets};
pub use fetch::Fetch;
pub use pool::Pool;

/// Why a challenge cannot be had.
#[derive(Debug, Error)]
pub enum ChallengeError {
    /// No challenge has this name.
    #[error("there is no challenge `{name}`; expected one of: {expected}")]
    Unknown {
        /// The name found.
        name: String,
        /// The names there are.
        expected: String,
    },
    /// More samples are asked for than there are.
    #[error("{name}: {asked} samples are asked for {what}, but there are {there}; ask for fewer")]
    TooFew {
        /// The challenge.
        name: String,
        /// What they are for.
        what: &'static str,
        /// How many are asked for.
        asked: u64,
        /// How many there are.
        there: u64,
    },
    /// A synthetic challenge that would not fit.
    #[error("{name}: {bytes} bytes are more than the {limit} allowed; ask for fewer samples")]
    TooLarge {
        /// The challenge.
        name: String,
        /// Bytes it would have.
        bytes: u64,
        /// The most it may have, in bytes.
        limit: u64,
    },
    /// A file is missing.
    #[error("{path} is missing: {advice}")]
    Missing {
        /// The file.
        path: PathBuf,
        /// Where it comes from, its digest, and where to put it.
        advice: String,
    },
    /// A file is not the published one.
    #[error("{path} has SHA-256 {found}, the published file has {expected}: get it again")]
    Digest {
        /// The file.
        path: PathBuf,
        /// Its digest.
        found: String,
        /// The published one.
        expected: String,
    },
    /// A file is not in its format.
    #[error("{path}: {problem}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

/// The challenges there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Known {
    /// Stripes in MNIST's shape.
    Synthetic,
    /// Stripes in CIFAR-10's shape.
    SyntheticCifar10,
    /// CIFAR-10, from its binary version.
    Cifar10,
    /// MNIST.
    Mnist,
    /// Fashion-MNIST.
    FashionMnist,
}

impl Known {
    /// Every challenge with its name.
    pub const ALL: [(Self, &str); 5] = [
        (Self::Synthetic, "synthetic"),
        (Self::SyntheticCifar10, "synthetic-cifar10"),
        (Self::Cifar10, "cifar10"),
        (Self::Mnist, "mnist"),
        (Self::FashionMnist, "fashion-mnist"),
    ];

    /// The challenge with this name.
    ///
    /// # Errors
    /// [`ChallengeError::Unknown`] with the names there are.
    pub fn parse(name: &str) -> Result<Self, ChallengeError> {
        let found = Self::ALL.iter().find(|(_, n)| *n == name).map(|(known, _)| *known);
        found.ok_or_else(|| ChallengeError::Unknown {
            name: name.to_owned(),
            expected: Self::ALL.map(|(_, n)| n).join(", "),
        })
    }

    /// Mean and standard deviation of each channel, of pixels from 0 to 1: those commonly used
    /// with the published training sets; for `synthetic`, round numbers near its own.
    pub fn constants(self) -> &'static [(f32, f32)] {
        match self {
            Self::Synthetic => &[(0.5, 0.25)],
            Self::SyntheticCifar10 => &[(0.5, 0.25), (0.5, 0.25), (0.5, 0.25)],
            Self::Cifar10 => &[(0.4914, 0.2470), (0.4822, 0.2435), (0.4465, 0.2616)],
            Self::Mnist => &[(0.1307, 0.3081)],
            Self::FashionMnist => &[(0.2860, 0.3530)],
        }
    }

    /// Whether the server makes it itself.
    pub fn is_synthetic(self) -> bool {
        matches!(self, Self::Synthetic | Self::SyntheticCifar10)
    }

    /// Shape of one sample: channels, height, width.
    pub fn shape(self) -> [u32; 3] {
        match self {
            Self::Synthetic | Self::Mnist | Self::FashionMnist => [1, 28, 28],
            Self::SyntheticCifar10 | Self::Cifar10 => [3, 32, 32],
        }
    }
}
