//! Release notes and git history to a corpus of bugs.

pub mod notes;
