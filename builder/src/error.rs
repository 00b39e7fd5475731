//! What stops the whole build stage. A commit that does not build is no error but a result.

use std::path::PathBuf;

use containers::ContainerError;
use slurm::SlurmError;
use study::{StoreError, StudyError};

/// Why the build stage cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// No Docker daemon that this user may use (exit code 3).
    #[error(transparent)]
    Docker(ContainerError),
    /// The daemon failed in the middle, or an image could not be made.
    #[error(transparent)]
    Container(ContainerError),
    /// A toolchain's folder is missing or its `toolchain.toml` is wrong.
    #[error("{}: {what}", path.display())]
    Toolchain {
        /// The folder or file.
        path: PathBuf,
        /// What is wrong, what was expected, what to do.
        what: String,
    },
    /// The base image is not there and cannot be made here (exit code 3).
    #[error("the base image {image} is not on the Docker daemon and cannot be made here: {what}")]
    BaseImage {
        /// The image's name.
        image: String,
        /// Why it cannot be made, and what to do.
        what: String,
    },
    /// A toolchain is not locked, and locking it now was ruled out (exit code 3).
    #[error(
        "the toolchain {name} is not in the study's toolchains.lock; `reproduceml build lock` \
         writes it there"
    )]
    NotLocked {
        /// The toolchain.
        name: String,
    },
    /// A toolchain is not what was locked (exit code 2).
    #[error(
        "the toolchain {name} has moved: {what}. `reproduceml build lock --check` says all, and \
         `reproduceml build lock {name}` takes it as it is now (artifacts are then built anew)"
    )]
    Moved {
        /// The toolchain.
        name: String,
        /// What is different.
        what: String,
    },
    /// The study's lock cannot be used (exit code 2).
    #[error("{}: {what}", path.display())]
    Lock {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// Submodules are needed that no local mirror holds (exit code 3).
    #[error(
        "{count} submodules have no mirror in the study, the first: {first}; `reproduceml build \
         mirror` fetches them"
    )]
    NoMirror {
        /// How many.
        count: usize,
        /// The first one.
        first: String,
    },
    /// The framework's history is needed and not at hand (exit code 3).
    #[error("no clone of {repository}: {what}")]
    NoClone {
        /// The repository's name.
        repository: String,
        /// What to do.
        what: String,
    },
    /// A released wheel is not in the study's cache and cannot be had (exit code 3).
    #[error(
        "the wheel {file} cannot be had: {what}. Fetch it where you can and put it at {}",
        place.display()
    )]
    Wheel {
        /// The wheel's file name.
        file: String,
        /// Where it belongs.
        place: PathBuf,
        /// Why it cannot be had.
        what: String,
    },
    /// A cluster could not do its part (exit code 3).
    #[error(transparent)]
    Slurm(#[from] SlurmError),
    /// A node of a cluster cannot build (exit code 3).
    #[error("the builds cannot go on{node}: {said}")]
    Node {
        /// ` on n1`, if it is known which.
        node: String,
        /// What the program said there.
        said: String,
    },
    /// The request itself makes no sense (exit code 2).
    #[error("{0}")]
    Request(String),
    /// Too little disk to begin or go on (exit code 3).
    #[error(
        "only {free_mib} MiB are free where {} lies, and {needed_mib} MiB must stay free; free \
         some space (`reproduceml gc` removes what builds left behind) and call again",
        path.display()
    )]
    Disk {
        /// The study's folder.
        path: PathBuf,
        /// What is free, in MiB.
        free_mib: u64,
        /// What must stay free, in MiB.
        needed_mib: u64,
    },
    /// The caller cancelled; what is finished stays finished (exit code 130).
    #[error("interrupted; what was finished is kept, and the same command goes on from here")]
    Interrupted,
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The study could not be read or is in use.
    #[error(transparent)]
    Study(#[from] StudyError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The corpus or the selection could not be read.
    #[error(transparent)]
    Corpus(#[from] study::corpus::CorpusError),
}

impl BuildError {
    /// Whether the user must provide something before this can work (exit code 3).
    #[must_use]
    pub fn is_missing_provision(&self) -> bool {
        matches!(
            self,
            Self::Docker(_)
                | Self::BaseImage { .. }
                | Self::NotLocked { .. }
                | Self::NoMirror { .. }
                | Self::NoClone { .. }
                | Self::Wheel { .. }
                | Self::Disk { .. }
                | Self::Slurm(_)
                | Self::Node { .. }
        )
    }

    /// For `map_err` after a file operation.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }
}

impl From<ContainerError> for BuildError {
    fn from(error: ContainerError) -> Self {
        if error.is_missing_docker() { Self::Docker(error) } else { Self::Container(error) }
    }
}
