//! Can a workload see a change? From a fix and a trace of the workload to an answer with its
//! evidence, from cheap to costly:
//!
//! * [`scope`]: what kinds of files changed, and whether the two artifacts differ at all;
//! * [`operators`]: the changed functions and entries by name, against what one traced epoch of
//!   the workload executes. It needs no build of the two commits;
//! * [`lines`]: the changed lines, against the lines that one epoch executes;
//! * [`values`]: digests of the parameters of both sides, batch by batch.
//!
//! [`suggest`] names what would reach a change that the workload does not.
//!
//! A layer that cannot decide says [`Answer::Unknown`] and what would. None of them guesses.

pub mod answer;
pub mod change;
mod cpp;
pub mod dictionary;
mod error;
pub mod findings;
pub mod index;
mod kernels;
mod leads;
pub mod lines;
mod methods;
pub mod operators;
mod python;
mod schema;
pub mod scope;
pub mod suggest;
pub mod trace;
mod units;
pub mod values;

pub use answer::{Answer, Evidence, Finding, Layer, Strength, combine};
pub use change::{Change, Clone, FileChange};
pub use dictionary::Dictionary;
pub use error::ReachError;
pub use operators::Namer;
pub use trace::Trace;
