//! Why a cluster could not do its part.

use std::io;
use std::path::PathBuf;

use study::placed::PlacedError;

use crate::work::Stage;

/// Why a cluster could not do its part.
#[derive(Debug, thiserror::Error)]
pub enum SlurmError {
    /// A command is not there.
    #[error(
        "{program} could not be started: {source}; call this on a machine that submits to the \
         cluster, where Slurm's commands are on the PATH, or use --executor docker or local"
    )]
    NoCommand {
        /// The command.
        program: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A command did not do its work.
    #[error("{program} said: {said}; `[slurm]` of study.toml says what is asked of the cluster")]
    Refused {
        /// The command.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// A command said something that is not understood.
    #[error("{program} answered {said:?}, expected the number of a job")]
    Strange {
        /// The command.
        program: &'static str,
        /// What it said.
        said: String,
    },
    /// No node can take the work.
    #[error(
        "no node of the cluster can take a {stage} as {} of study.toml asks for it{said}; \
         `sinfo` lists what there is", stage.keys()
    )]
    NoClass {
        /// What kind of work.
        stage: Stage,
        /// What `sbatch` says of it.
        said: String,
    },
    /// The class of nodes that a bug's work was done on is gone.
    #[error(
        "the {stage}s of {bug} were made on nodes that the cluster has no more, or does not let \
         take them: {class}. What others make could not be compared with them. Wait for these \
         nodes, or take {bug} out of {path} and {}", stage.again()
    )]
    ClassGone {
        /// What kind of work.
        stage: Stage,
        /// The bug.
        bug: String,
        /// What its nodes have in common.
        class: String,
        /// Where it is recorded.
        path: PathBuf,
    },
    /// A node does not see what it should.
    #[error(
        "{said}; the study's folder must lie on a file system that the nodes share, at the same \
         path (docs/guide/cluster.md)"
    )]
    NotShared {
        /// Which node, and what it does not see.
        said: String,
    },
    /// A node lacks a program.
    #[error("{said}; install it on the nodes{}", stage.or_name())]
    NoProgram {
        /// What kind of work.
        stage: Stage,
        /// Which node, and what it lacks.
        said: String,
    },
    /// A file of the study is damaged.
    #[error("{path}: {source}; remove the file if no job of this study is in the queue")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A file of the study cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// The record of where bugs go cannot be used.
    #[error(transparent)]
    Placed(#[from] PlacedError),
    /// Nobody follows the jobs any more.
    #[error("what follows the cluster's jobs has ended; call the same command again to go on")]
    Ended,
}

impl SlurmError {
    /// Whether a cluster that refuses now may take the same jobs later.
    pub(crate) fn passes(&self) -> bool {
        let Self::Refused { said, .. } = self else { return false };
        let said = said.to_lowercase();
        [
            "unable to contact",
            "timed out",
            "temporarily",
            "maxsubmit",
            "job submit limit",
            "try again",
        ]
        .iter()
        .any(|words| said.contains(words))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_asked_again_and_what_may_not_is_said() {
        let refused = |said: &str| SlurmError::Refused { program: "sbatch", said: said.to_owned() };
        for said in [
            "Unable to contact slurm controller (connect failure)",
            "Batch job submission failed: Socket timed out on send/recv operation",
            "Batch job submission failed: QOSMaxSubmitJobPerUserLimit",
        ] {
            assert!(refused(said).passes(), "{said}");
        }
        assert!(!refused("invalid partition specified: gpux").passes());
        assert!(!SlurmError::Ended.passes());
    }
}
