//! Release notes and git history to a corpus of bugs.
//!
//! [`mine`] is the stage: it keeps the notes, takes their bug fixes apart ([`notes`]), traces each
//! through one index of the history ([`history`], [`resolve`], [`scope`]) and writes the corpus.
//! [`labels`] is people's part: what each rater says of each bug, and how far they agree.

pub mod corpus;
mod gather;
pub mod history;
pub mod labels;
mod mine;
pub mod notes;
pub mod patch;
mod planted;
pub mod resolve;
pub mod scope;
mod trace;
pub mod version;

pub use mine::{Expected, MineError, MineOptions, MineSummary, Progress, Way, mine};
