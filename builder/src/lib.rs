//! A commit and a toolchain to an artifact.
//!
//! [`build`] takes a study whose bugs are mined and selected, and makes the artifacts of each
//! bug's two sides in containers: the same toolchain, the same paths, no network. A build that
//! fails is a result, classified and kept with its log. docs/builds.md tells the whole story.

mod bench;
mod catalogue;
mod checkout;
mod classify;
mod content;
mod error;
mod event;
pub mod gc;
mod identity;
mod image;
mod inspect;
mod layout;
mod log;
mod make;
mod options;
mod plan;
mod probe;
mod provenance;
mod queue;
mod record;
mod summary;
mod toolchain;

pub use catalogue::{Entry, Shown, entries, export, find, show};
pub use checkout::{Checkout, CheckoutError, export as export_tree};
pub use classify::{Failure, FailureClass};
pub use content::{Content, FileEntry, FileKind};
pub use error::BuildError;
pub use event::Event;
pub use identity::Identity;
pub use image::{ReadyToolchain, TOOLCHAIN_LABEL, prepare};
pub use inspect::{
    Difference, FailureCount, PairComparison, Verification, collect_garbage, compare, difference,
    report, verify,
};
pub use layout::study_mark;
pub use log::read_log;
pub use options::{
    BugBuild, BuildLimits, BuildOptions, BuildSummary, Estimate, Outcome, SideBuild,
};
pub use probe::{Probe, probe};
pub use queue::build;
pub use record::{BuildRecord, CacheUse, ImageRef, StepRecord};
pub use toolchain::{ProbeRecipe, Recipe, ReleasedPackage, Smoke, Step, Suits, Toolchain, list};
