//! Runs to tests, tables, figures and verdicts.
//!
//! Two samples a bug and metric, one of runs with the bug and one of runs with the fix. This crate
//! tests whether they differ, says how large a difference is and how large it could have been, and
//! concludes with one verdict a bug.
//!
//! - [`Results`] takes in runs: rows of a store, CSV or Parquet;
//! - [`analyse()`] makes an [`Analysis`] of them, as [`Options`] ask;
//! - [`render`] writes it;
//! - the tests themselves stand alone: [`mann_whitney`], [`shift`], [`effect`], [`adjust`],
//!   [`equivalence`], [`spread`], [`brunner_munzel`], [`signed_rank`], [`power`].

pub mod adjust;
pub mod analyse;
pub mod analysis;
pub mod batch;
pub mod brunner_munzel;
pub mod counting;
pub mod effect;
pub mod equivalence;
pub mod figures;
mod fingerprint;
mod frame;
mod group;
pub mod input;
mod intake;
mod lanes;
pub mod mann_whitney;
mod measure;
pub mod options;
pub mod paper;
pub mod parquet;
pub mod power;
mod read_csv;
pub mod render;
pub mod report;
pub mod sample;
mod select;
pub mod sequential;
pub mod shift;
pub mod signed_rank;
pub mod special;
pub mod spread;
pub mod store;
pub mod variance;
mod verdict;

pub use analyse::analyse;
pub use analysis::{Analysis, BugVerdict, Kind, Reach, Test, Verdict};
pub use input::{Evaluation, InputError, Results, RunRow};
pub use mann_whitney::Choice;
pub use options::{Options, Profile, SeedPolicy};
