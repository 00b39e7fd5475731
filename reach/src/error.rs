//! Why nothing can be said.

use std::path::{Path, PathBuf};

/// Why the question could not be answered. That evidence is missing is no error but an answer.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The clone cannot be read.
    #[error("{}: {what}", clone.display())]
    Clone {
        /// The clone.
        clone: PathBuf,
        /// What git says.
        what: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: std::io::Error,
    },
    /// A file is not of its form.
    #[error("{}: {what}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, what was expected, and what to do.
        what: String,
    },
}

impl ReachError {
    pub(crate) fn git(clone: &Path) -> impl Fn(git2::Error) -> Self {
        let clone = clone.to_owned();
        move |error| Self::Clone { clone: clone.clone(), what: error.message().to_owned() }
    }

    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path: path.clone(), source }
    }

    pub(crate) fn form(path: &Path, what: impl Into<String>) -> Self {
        Self::Form { path: path.to_owned(), what: what.into() }
    }
}
