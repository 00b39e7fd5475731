//! Arguments of `build` and of what else it does.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use study::BugId;

/// Arguments of `build`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct BuildArgs {
    /// What to do instead of building.
    #[command(subcommand)]
    pub what: Option<BuildCommand>,
    /// What to build.
    #[command(flatten)]
    pub make: MakeArgs,
}

/// What to build, and how.
#[derive(Debug, Args)]
pub struct MakeArgs {
    /// Only these bugs; else all that are selected.
    pub bugs: Vec<BugId>,
    /// Builds at the same time.
    #[arg(long, default_value_t = 1)]
    pub jobs: u32,
    /// A clone of the framework's repository; else the one of study.toml.
    #[arg(long, value_name = "CLONE")]
    pub repo: Option<PathBuf>,
    /// Try builds again that failed in this class, like `compile`.
    #[arg(long, value_name = "CLASS")]
    pub retry: Option<String>,
    /// Print the plan and build nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// What else `build` does.
#[derive(Debug, Subcommand)]
pub enum BuildCommand {
    /// List the artifacts and the builds that failed.
    List,
    /// Show one of them: identity, steps, times, cache, files, the end of its log.
    Show {
        /// Its identifier, or how it begins.
        id: String,
    },
    /// Copy an artifact's files, provenance and record into a folder.
    Export {
        /// Its identifier, or how it begins.
        id: String,
        /// A new or empty folder.
        dir: PathBuf,
    },
    /// Run each fix's own tests on both artifacts of its pair.
    Probe {
        /// Only these bugs; else all that are selected.
        bugs: Vec<BugId>,
        /// A clone of the framework's repository; else the one of study.toml.
        #[arg(long, value_name = "CLONE")]
        repo: Option<PathBuf>,
    },
    /// Count the builds that failed, by toolchain and class.
    Report,
    /// Compute every digest of every artifact again.
    Verify,
    /// Remove what interrupted builds left behind.
    Gc {
        /// Only list it.
        #[arg(long)]
        dry_run: bool,
    },
}
