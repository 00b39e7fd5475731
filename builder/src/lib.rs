//! A commit and a toolchain to an artifact.
//!
//! [`build`] takes a study whose bugs are mined and selected, and makes the artifacts of each
//! bug's two sides in containers: the same toolchain, the same paths, no network. A build that
//! fails is a result, classified and kept with its log. docs/builds.md tells the whole story.

mod ansi;
mod bench;
mod catalogue;
mod changed_tests;
mod checkout;
mod choose;
mod classify;
mod cluster;
mod compare;
mod content;
mod cost;
mod error;
mod event;
mod failure;
pub mod gc;
mod identity;
mod image;
mod images;
mod inspect;
mod layout;
mod lock;
mod log;
mod make;
mod mirror;
mod options;
mod overlay;
mod pair;
mod patches;
mod plan;
mod probe;
mod provenance;
mod python;
mod queue;
mod rebuild;
mod record;
mod release;
mod sections;
mod share;
mod source;
mod submodules;
mod suits;
mod summary;
mod toolchain;
mod wheel;

pub use catalogue::{Entry, Shown, entries, export, find, show};
pub use changed_tests::{Chosen, choose as choose_tests, names as changed_test_names};
pub use checkout::{Checkout, CheckoutError, export as export_tree};
pub use cluster::work;
pub use compare::{PairComparison, compare};
pub use content::{Content, FileEntry, FileKind, give_to as give_tree};
pub use cost::Dependents;
pub use error::BuildError;
pub use event::Event;
pub use failure::{Failure, FailureClass};
pub use gc::Garbage;
pub use identity::{Identity, ReleaseIdentity};
pub use image::{ReadyToolchain, TOOLCHAIN_LABEL, ToolchainImage, prepare};
pub use images::{
    HELD_LABEL, UnusedImage, hold as hold_image, remove as remove_image, unused as unused_images,
};
pub use inspect::{
    Difference, FailureCount, Verification, collect_garbage, difference, report, verify,
};
pub use layout::study_mark;
pub use lock::{Lock, Locked, Moved, check as check_lock, lock as lock_toolchains, lock_file};
pub use log::read_log;
pub use mirror::{MirrorOutcome, Mirrored, mirror};
pub use options::{
    BugBuild, BuildLimits, BuildOptions, BuildSummary, ClusterOptions, Elsewhere, Estimate,
    Outcome, Retry, SideBuild, Unmade,
};
pub use overlay::OverlaidFile;
pub use pair::mismatches;
pub use patches::Patch;
pub use probe::{Probe, Probes, probe};
pub use queue::build;
pub use rebuild::Rebuilt;
pub use record::{BuildRecord, CacheUse, ImageRef, StepRecord};
pub use sections::SectionDifference;
pub use source::{artifact_steps, lay_out_tree};
pub use submodules::{Submodule, mirrors_dir};
pub use suits::{
    AUTO, Assignment, LeftOut, Suited, ToolchainChoice, for_bugs as choose_toolchains,
    in_use as toolchains_in_use,
};
pub use toolchain::{
    LockRecipe, OverlayRecipe, ProbeRecipe, Recipe, ReleasedPackage, Smoke, Sources, Step, Suits,
    Toolchain, list,
};
pub use wheel::Wheel;
