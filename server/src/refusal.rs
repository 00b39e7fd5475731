//! Why a request is refused, whether it may succeed later, and how a connection ends.

use std::time::Duration;

use protocol::{ErrorCode, Reply};
use study::StoreError;
use study::store::SessionRefusal;

use crate::connection::ConnectionError;
use crate::ledger::LedgerError;

/// Seconds after which a client tries again what failed for want of room.
pub(crate) const STORAGE_PAUSE: f64 = 2.0;

/// A refusal on its way to the client.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
    retry_after: Option<f64>,
}

impl Refusal {
    pub(crate) fn never(code: ErrorCode, message: impl ToString) -> Self {
        Self { code, message: message.to_string(), retry_after: None }
    }

    pub(crate) fn later(code: ErrorCode, message: impl ToString, seconds: f64) -> Self {
        Self { code, message: message.to_string(), retry_after: Some(seconds) }
    }

    pub(crate) fn reply(&self) -> Reply {
        // A message may quote what a client sent; cut, it always fits a frame.
        Reply::Error {
            code: self.code,
            message: self.message.chars().take(2000).collect(),
            retry_after: self.retry_after,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        store_refusal(&error)
    }
}

fn store_refusal(error: &StoreError) -> Refusal {
    match error {
        StoreError::Full { .. } | StoreError::Sqlite { .. } => {
            Refusal::later(ErrorCode::Storage, error, STORAGE_PAUSE)
        }
        StoreError::RunOver { .. } => Refusal::never(ErrorCode::OutOfTurn, error),
        StoreError::TooNew { .. }
        | StoreError::Damaged { .. }
        | StoreError::TooOld { .. }
        | StoreError::SeedConflict { .. } => Refusal::never(ErrorCode::Internal, error),
    }
}

/// How a connection ends.
pub(crate) enum End {
    Refused(Refusal),
    Gone(ConnectionError),
    Bye,
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<ConnectionError> for End {
    fn from(error: ConnectionError) -> Self {
        match &error {
            ConnectionError::Closed | ConnectionError::Io(_) => Self::Gone(error),
            ConnectionError::Slow { .. } => {
                Self::Refused(Refusal::later(ErrorCode::Timeout, error, 0.0))
            }
            // Most often damage on the way, which a new connection mends.
            ConnectionError::Frame(_) => {
                Self::Refused(Refusal::later(ErrorCode::BadFrame, error, 0.0))
            }
            ConnectionError::Unexpected(_) => {
                Self::Refused(Refusal::never(ErrorCode::OutOfTurn, error))
            }
            ConnectionError::Message(_) => {
                Self::Refused(Refusal::never(ErrorCode::BadMessage, error))
            }
        }
    }
}

/// The refusal that tells of the server's end.
pub(crate) fn shutting_down() -> Refusal {
    Refusal::later(ErrorCode::ShuttingDown, "the server is ending; it may be back soon", 1.0)
}

/// The refusal for a write that was not kept; `left` is the rest of the present holder's lease.
pub(crate) fn ledger_refusal(error: LedgerError, left: Duration) -> Refusal {
    match error {
        LedgerError::Closed => shutting_down(),
        LedgerError::Store(error) => store_refusal(&error),
        LedgerError::Refused(refusal) => match refusal {
            SessionRefusal::Held(_) => {
                Refusal::later(ErrorCode::RunHeld, refusal, left.as_secs_f64() + 0.1)
            }
            SessionRefusal::Superseded(_) | SessionRefusal::Lost(_) => {
                Refusal::never(ErrorCode::HoldLost, refusal)
            }
            SessionRefusal::Finished(_) => Refusal::never(ErrorCode::RunFinished, refusal),
            SessionRefusal::Conflict(..) => Refusal::never(ErrorCode::Conflict, refusal),
            SessionRefusal::OutOfTurn(..) => Refusal::never(ErrorCode::OutOfTurn, refusal),
            SessionRefusal::Store(error) => store_refusal(&error),
        },
    }
}
