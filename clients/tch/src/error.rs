//! What can end a run early.

use protocol::{ArrayError, ErrorCode, MessageError};
use tch::TchError;

/// What the server refused, or that it could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It could not be reached, or could not store anything, for too long.
    #[error("no answer from {address} for {seconds:.0} s; last: {last}")]
    Lost {
        /// Where it should be.
        address: String,
        /// How long it was tried, in seconds.
        seconds: f64,
        /// What went wrong last.
        last: String,
    },
    /// It refused a request and always will.
    #[error("{code}: {message}")]
    Refused {
        /// What kind of refusal.
        code: ErrorCode,
        /// What it says.
        message: String,
    },
    /// It answered something else than was asked.
    #[error("the server answered {asked} with something else")]
    Answer {
        /// What was asked.
        asked: &'static str,
    },
    /// What should be said does not fit the protocol.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// An array of our own does not fit the protocol.
    #[error(transparent)]
    Array(#[from] ArrayError),
}

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The job, the artifact or the surroundings do not fit; the message says what to change.
    #[error("{0}")]
    Job(String),
    /// libtorch refused an operation.
    #[error("libtorch: {0}")]
    Libtorch(#[from] TchError),
    /// The server was lost or refused.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl RunError {
    /// What the server is told the failure was.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Job(_) => "job",
            Self::Libtorch(_) => "libtorch",
            Self::Server(_) => "server",
        }
    }
}
