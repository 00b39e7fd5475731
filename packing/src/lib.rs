//! A study as one archive that can be handed over.
//!
//! A pack is a tar archive, compressed with zstd. Its first member, `manifest.json`, lists every
//! other one with its size and SHA-256; with a key, `manifest.sig` (the Ed25519 signature over the
//! bytes of `manifest.json`) and `manifest.pub` (the public key) follow it; then come the listed
//! members in the order of their paths. Members have no times, owners or modes of their own, so
//! the same study gives the same bytes.
//!
//! This crate writes packs and takes them apart safely. What goes into one, and whether its tables
//! follow from its runs, is decided by the program.

mod key;
mod manifest;
pub mod path;
mod read;
mod write;

pub use key::{KeyError, PublicKey, SigningKey};
pub use manifest::{About, FORMAT, Manifest, Member, VERSION};
pub use read::{Limits, Problem, ReadError, Signature, Unpacked, unpack};
pub use write::{Source, WriteError, write};
