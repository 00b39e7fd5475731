//! Frames and messages between the server and its training clients.
//!
//! This crate knows the bytes, and nothing about sockets' policies, stores or challenges:
//! * [`frame`]: the 24-byte header, its checksum and sequence number, and an incremental decoder;
//! * [`message`]: what a client asks and what the server answers, as JSON;
//! * [`mod@array`]: dtype, shape and digest of raw little-endian arrays;
//! * [`wire`]: blocking frames over any `Read + Write`, for clients written in Rust;
//! * `tls` (a feature of that name): such a stream over TLS.
//!
//! `docs/protocol.md` describes the same byte by byte, and `vectors/` holds frames that both the
//! Rust and the Python tests read.

pub mod array;
pub mod frame;
pub mod message;
#[cfg(feature = "tls")]
pub mod tls;
pub mod value;
pub mod wire;

pub use array::{ArrayError, ArrayHeader, Dtype};
pub use frame::{Decoder, Frame, FrameError, Header, Kind, MAX_PAYLOAD};
pub use message::{ChallengeJob, ErrorCode, Hello, Job, MessageError, Order, Reply, Request};
pub use value::{Bits, Digest};
pub use wire::{Wire, WireError};

/// The versions of the protocol that this crate speaks, the preferred one first.
pub const VERSIONS: &[u32] = &[1];
