//! The history of a framework: one walk over its main line, kept and extended.

use std::path::PathBuf;

pub mod clone;
pub mod index;
pub mod marks;
pub mod message;
mod store;

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Nothing there.
    #[error("{path}: there is nothing here; --repo expects a clone of the framework")]
    NoPath {
        /// What was given.
        path: PathBuf,
    },
    /// A file.
    #[error("{path} is a file; --repo expects the folder of a clone, bare or not")]
    NotAFolder {
        /// What was given.
        path: PathBuf,
    },
    /// A folder without a repository.
    #[error("{path} is no git repository ({source}); --repo expects a clone, bare or not")]
    NotARepository {
        /// What was given.
        path: PathBuf,
        /// What git says.
        source: git2::Error,
    },
    /// The main line is called something else.
    #[error(
        "{path} has no branch `{branch}`; it has: {found}. Name the main line with --branch, or set framework.branch in study.toml"
    )]
    NoBranch {
        /// The clone.
        path: PathBuf,
        /// What was looked for.
        branch: String,
        /// The branches there are.
        found: String,
    },
    /// The remote could not be had.
    #[error(
        "{address}: {source}; check the address and the network, then run the command again: what was received is kept"
    )]
    Remote {
        /// The address.
        address: String,
        /// What git says.
        source: git2::Error,
    },
    /// The cache could not be written.
    #[error("{path}: {source}")]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// What the file system says.
        source: std::io::Error,
    },
    /// An object is missing or damaged.
    #[error("the clone cannot be read: {0}; `git fsck` in it says more")]
    Git(#[from] git2::Error),
}
