//! Arguments of `store`.

use clap::{Args, Subcommand, ValueEnum};

/// Arguments of `store`.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// What to do.
    #[command(subcommand)]
    pub what: StoreCommand,
}

/// What `store` does.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Put what the study has and the store has not into the store.
    Push(Parts),
    /// Fetch what the study refers to and this machine has not.
    Pull(Parts),
    /// Say what is here, what is there, and what is missing on either side.
    Status(Parts),
    /// Read everything of this study in the store and hold it against its digests.
    Verify(Parts),
}

/// The parts of a study that a store keeps.
#[derive(Debug, Args)]
pub struct Parts {
    /// Only these; else all of them.
    #[arg(value_name = "PART")]
    pub parts: Vec<Part>,
}

/// A part of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// What was built; shared by all studies of a store, by identity.
    Artifacts,
    /// What finished runs predicted.
    Predictions,
    /// Release notes as received.
    Notes,
}
