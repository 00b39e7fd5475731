//! Experiments and artifacts to runs: plan, launch, watch, resume.
//!
//! The plan names every run of every experiment in an interleaved order. Each run is a fresh
//! process, in a container of the artifact's image or on this machine, that speaks with the
//! server of this study. What the server accepted decides whether a run is finished; how the
//! process ended only explains a run that is not.

mod cache;
mod difference;
mod execute;
mod launch;
mod pairing;
mod plan;

pub use difference::{DifferenceError, RunDifference, difference};
pub use execute::{Progress, RunError, RunOptions, RunSummary, SideSummary, execute};
pub use launch::{DockerLauncher, Exit, Launch, LaunchError, Launcher, LocalLauncher};
pub use pairing::{FactorDifference, compare_manifests};
pub use plan::{Control, Overrides, Plan, PlanError, PlannedRun, plan};
