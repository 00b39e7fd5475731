//! Experiments and artifacts to runs: plan, launch, watch, resume.
//!
//! The plan names every run of every experiment in an interleaved order. Each run is a fresh
//! process, in a container of the artifact's image or on this machine, that speaks with the
//! server of this study. What the server accepted decides whether a run is finished; how the
//! process ended only explains a run that is not.

mod cache;
mod difference;
mod execute;
mod factorial;
mod launch;
mod launching;
mod names;
pub mod own_tests;
mod pairing;
mod plan;
mod sequential;
mod settle;
mod summary;
pub mod trace;

pub use difference::{DifferenceError, RunDifference, difference};
pub use execute::{Progress, RunError, RunOptions, execute};
pub use factorial::{FactorialError, factorial, place};
pub use launch::{
    AnyLauncher, DockerLauncher, Exit, HostSetup, HostsError, HostsLauncher, HostsSetup, Launch,
    LaunchError, Launcher, LocalLauncher, Seat, Seated, SlurmLauncher, SlurmSetup, hosts_of_bugs,
};
pub use names::Models;
pub use pairing::{FactorDifference, compare_manifests};
pub use plan::{Control, Overrides, Plan, PlanError, PlannedRun, plan};
pub use sequential::{Ended, Judge, LookError, execute_by_looks, part};
pub use settle::Failed;
pub use summary::{EndingSummary, RunSummary, SideSummary};
