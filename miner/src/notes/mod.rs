//! Release notes: where they come from and what is in them.

mod block;
pub mod folder;
pub mod github;
pub mod html;
pub mod kept;
pub mod parse;
pub mod references;
