//! Arguments of `build` and of what else it does.

use std::path::PathBuf;

use builder::BuildLimits;
use clap::{Args, Subcommand, ValueEnum};
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

impl BuildArgs {
    /// Whether this is what a job of a cluster calls, which ends by itself when it is told to.
    pub fn is_on_node(&self) -> bool {
        matches!(self.what, Some(BuildCommand::Work { .. }))
    }
}

/// What to build, and how.
#[derive(Debug, Args)]
pub struct MakeArgs {
    /// Only these bugs; else all that are selected.
    pub bugs: Vec<BugId>,
    /// Where builds are made: `docker` on this machine, or `slurm` as `[slurm]` of study.toml says.
    #[arg(long, value_enum, default_value = "docker")]
    pub executor: BuildExecutor,
    /// Builds at the same time [default: 1]; they share the machine's processors, and one uses all
    /// of them. 0 counts as 1. With `slurm`, jobs in the queue or under way [default: slurm.jobs].
    #[arg(long)]
    pub jobs: Option<u32>,
    /// A clone of the framework's repository; else the one of study.toml.
    #[arg(long, value_name = "CLONE")]
    pub repo: Option<PathBuf>,
    /// Try builds again that failed in this class, like `compile`; `all` for every one.
    #[arg(long, value_name = "CLASS")]
    pub retry: Option<String>,
    /// Build again what is there, without the compiler cache, and compare bit for bit.
    #[arg(long, conflicts_with_all = ["dry_run", "retry"])]
    pub rebuild: bool,
    /// Print the plan and build nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// This toolchain for every bug, instead of what study.toml says.
    #[arg(long, value_name = "NAME")]
    pub toolchain: Option<String>,
    /// Use only toolchains that are in toolchains.lock; lock none for its first use.
    #[arg(long)]
    pub locked: bool,
    /// The limits of each build.
    #[command(flatten)]
    pub limits: LimitArgs,
}

/// Where builds are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BuildExecutor {
    /// In containers of this machine's Docker.
    Docker,
    /// As jobs of a Slurm cluster, in containers of its nodes' Docker.
    Slurm,
}

/// Limits of each build.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Memory, in MiB; else the study's.
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(16..))]
    pub memory: Option<u32>,
    /// Processors, in fractions of one; else what the machine has, shared by the jobs.
    #[arg(long, value_name = "N", value_parser = cpus)]
    pub cpus: Option<f64>,
    /// Weight for processors when others want them too: 1024 is ordinary, 2 the least.
    #[arg(long, value_name = "WEIGHT", value_parser = clap::value_parser!(u32).range(2..=262_144))]
    pub cpu_weight: Option<u32>,
    /// Processes and threads [default: 4096].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..))]
    pub processes: Option<u32>,
    /// Disk for tree, objects and artifact, in MiB [default: 40960].
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    pub disk: Option<u64>,
    /// Disk that must stay free, in MiB [default: 1024].
    #[arg(long, value_name = "MIB")]
    pub free: Option<u64>,
    /// Minutes until a step is given up; else the study's.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub timeout: Option<u64>,
    /// Minutes that a step may print nothing.
    #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub silence: Option<u64>,
}

impl LimitArgs {
    /// The limits for the stage.
    pub fn limits(&self) -> BuildLimits {
        BuildLimits {
            memory_mib: self.memory,
            seconds: self.timeout.map(|minutes| minutes * 60),
            silence_seconds: self.silence.map(|minutes| minutes * 60),
            processes: self.processes,
            cpus: self.cpus,
            disk_mib: self.disk,
            free_mib: self.free,
            cpu_weight: self.cpu_weight,
        }
    }
}

fn cpus(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(cpus) if (0.01..=4096.0).contains(&cpus) => Ok(cpus),
        _ => Err("expected a number of processors from 0.01 to 4096, like 1.5".into()),
    }
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
    /// Write down the base image and the package versions that the study's builds use.
    Lock {
        /// These toolchains; else the ones that the study's bugs are built with.
        toolchains: Vec<String>,
        /// Change nothing; say what is no longer as it was locked.
        #[arg(long)]
        check: bool,
        /// A clone of the framework's repository; else the one of study.toml.
        #[arg(long, value_name = "CLONE")]
        repo: Option<PathBuf>,
    },
    /// Fetch the submodules that builds need, once, so that no build needs the network.
    Mirror {
        /// Only for these bugs; else for all that are selected.
        bugs: Vec<BugId>,
        /// A folder with repositories on this machine, asked before the network.
        #[arg(long, value_name = "DIR")]
        from: Vec<PathBuf>,
        /// A clone of the framework's repository; else the one of study.toml.
        #[arg(long, value_name = "CLONE")]
        repo: Option<PathBuf>,
        /// This toolchain for every bug, instead of what study.toml says.
        #[arg(long, value_name = "NAME")]
        toolchain: Option<String>,
        /// Only say what would be fetched.
        #[arg(long)]
        dry_run: bool,
    },
    /// Compare the two artifacts of each bug, file by file and section by section.
    Compare,
    /// Count the builds that failed, by toolchain and class.
    Report,
    /// Compute every digest of every artifact again.
    Verify,
    /// The part of a job of `--executor slurm` that its node does.
    #[command(hide = true)]
    Work {
        /// The job's folder.
        folder: PathBuf,
    },
    /// Remove what interrupted builds left behind.
    Gc {
        /// Only list it.
        #[arg(long)]
        dry_run: bool,
    },
}
