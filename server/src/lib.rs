//! Seeds, data and metrics for training clients.
//!
//! A [`Server`] speaks the protocol of `reproduceml-protocol` over TCP and Unix sockets. It hands
//! out seeds that are on disk already, serves the challenge's arrays with their digests, computes
//! metrics from predictions against targets that never leave it, and answers a message only when
//! what the message said is on disk.

mod bytes;
pub mod challenge;
mod config;
mod connection;
mod error;
mod event;
mod hold;
mod job;
mod ledger;
pub mod metrics;
mod predictions;
mod refusal;
mod server;
mod session;
mod ticket;
mod tls;

pub use config::{Limits, Listen, Secret, ServerConfig};
pub use error::ServerError;
pub use event::Event;
pub use predictions::{file as predictions_file, read_predictions, read_predictions_within};
pub use server::{Server, ServerHandle, ShutdownReport};
pub use ticket::Ticket;
pub use tls::Tls;
