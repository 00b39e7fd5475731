//! What the build stage tells while it works.

use std::path::PathBuf;

use study::ArtifactId;

/// A step forward, for whoever shows progress.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// An artifact was fetched from where it lay already.
    Obtained {
        /// The artifact.
        id: ArtifactId,
    },
    /// What is going to be done.
    Planned {
        /// Distinct artifacts wanted.
        artifacts: usize,
        /// Of these, the ones that are there already, or failed before and are not tried again.
        known: usize,
    },
    /// A line about an image that is being made.
    Image {
        /// The image's name.
        tag: String,
        /// The line.
        line: String,
    },
    /// A toolchain was locked because the study had no entry for it.
    Locked {
        /// Its name.
        name: String,
        /// The lock.
        file: PathBuf,
    },
    /// A released package is being fetched and laid out in the study's cache.
    Release {
        /// Package and number.
        name: String,
    },
    /// Something was cleaned up that an interrupted build had left.
    Cleaned {
        /// What it was.
        what: String,
    },
    /// What a cluster does, or would be told.
    Cluster(String),
    /// An artifact's build begins.
    Started {
        /// The artifact.
        id: ArtifactId,
        /// What it is, for people: strategy, commit or fault, and the bugs that want it.
        what: String,
    },
    /// A step of an artifact's recipe begins.
    Step {
        /// The artifact.
        id: ArtifactId,
        /// The step's name.
        step: String,
    },
    /// Output of a step, as it comes; not cut at line ends.
    Output {
        /// The artifact.
        id: ArtifactId,
        /// The text.
        text: String,
    },
    /// An artifact is whole and stored.
    Built {
        /// The artifact.
        id: ArtifactId,
        /// Seconds it took.
        seconds: f64,
        /// Its size in bytes.
        bytes: u64,
    },
    /// A build failed; this is stored as its result.
    Failed {
        /// The artifact that is not.
        id: ArtifactId,
        /// The class of the failure.
        class: String,
        /// The first line that tells why.
        line: String,
    },
    /// Something odd that does not stop the build.
    Warning(String),
}
