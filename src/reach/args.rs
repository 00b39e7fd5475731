//! Arguments of `reach`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use study::BugId;

/// Arguments of `reach`.
#[derive(Debug, Args)]
pub struct ReachArgs {
    /// Only these bugs; else all whose fix was found.
    pub bugs: Vec<BugId>,
    /// The model, instead of the study's.
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// The data, instead of the study's.
    #[arg(long, value_name = "NAME")]
    pub challenge: Option<String>,
    /// Where the workload runs, instead of where the study's does.
    #[arg(long, value_parser = ["cpu", "cuda"])]
    pub device: Option<String>,
    /// A clone of the framework's repository; else the one of study.toml.
    #[arg(long, value_name = "CLONE")]
    pub repo: Option<PathBuf>,
    /// A trace of the workload, as `python3 -m reproduceml_client.operators` writes it; else one of
    /// the study's (reach/traces), one that comes with the program, or a new one of an artifact.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// The costliest evidence to take where cheaper evidence does not put a bug out of reach.
    #[arg(long, value_name = "EVIDENCE", default_value = "operators")]
    pub up_to: Depth,
    /// For each bug that the workload is not known to reach, name other models, small modules and
    /// tests that would.
    #[arg(long)]
    pub suggest: bool,
}

/// Kinds of evidence, the cheapest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Depth {
    /// The change, the artifacts' bytes, and names against a trace of the workload.
    Operators,
    /// And which changed lines one epoch executes; needs both artifacts and Docker.
    Lines,
    /// And the parameters of both sides after each batch of one epoch; needs the same.
    Values,
}
