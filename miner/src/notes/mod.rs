//! Release notes: where they come from and what is in them.

mod block;
pub mod html;
pub mod parse;
pub mod references;
