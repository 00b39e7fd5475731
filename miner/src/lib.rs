//! Release notes and git history to a corpus of bugs.

pub mod history;
pub mod notes;
pub mod resolve;
pub mod scope;
