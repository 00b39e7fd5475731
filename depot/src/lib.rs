//! Artifacts, predictions and notes in an S3-compatible store or a shared folder.
//!
//! What lies there is addressed by its content: `objects/<SHA-256>` holds the bytes of a file, and
//! `trees/<name>` lists the files of a folder of a study, each with its digest. The list is written
//! last, so that what an interrupted upload left is not seen; objects that are there already are
//! not sent again, which is how it goes on. What is read is held against its digest before it gets
//! a name: an object that was changed is refused and named.
//!
//! Several processes may write at the same time: those that write the same object write the same
//! bytes.

mod cache;
mod error;
mod fetch;
mod open;
mod send;
mod tree;

pub use error::DepotError;
pub use fetch::{Pulled, Refused};
pub use open::Depot;
pub use send::Pushed;
pub use tree::{Entry, Kind, Tree};
