//! Why a store could not be used.

use std::path::PathBuf;

/// Why something could not be sent, fetched or looked at.
#[derive(Debug, thiserror::Error)]
pub enum DepotError {
    /// study.toml names no store, or one that cannot be.
    #[error("study.toml: {0}")]
    Config(String),
    /// There is nothing to ask the store with.
    #[error(
        "{url} needs credentials, and there are none: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or what your provider uses in their place), or AWS_SKIP_SIGNATURE=true for a public bucket"
    )]
    Credentials {
        /// The store.
        url: String,
    },
    /// The store does not answer, or refuses.
    #[error(
        "{url} cannot be used: {reason}; see that it is up and can be reached from here, that bucket or folder exist, and that the credentials are right; what was sent stays, and the same call goes on"
    )]
    Store {
        /// The store.
        url: String,
        /// What it said.
        reason: String,
    },
    /// Something in the store is not what its name says.
    #[error(
        "{url}/{object} was changed since it was put there: {reason}; it is not used. Remove it there, and push it again from a machine that has it"
    )]
    Corrupt {
        /// The store.
        url: String,
        /// The object.
        object: String,
        /// What is wrong.
        reason: String,
    },
    /// A folder holds what cannot be sent.
    #[error("{path}: {reason}")]
    Content {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// This machine's file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
}

impl DepotError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// Whether the user must provide something: a store that answers, credentials, disk.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Credentials { .. } | Self::Store { .. } | Self::Io { .. })
    }
}
