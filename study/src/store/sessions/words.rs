//! What a session wants to write, and what comes of it.

use super::super::{EpochRecord, RunKey, StoreError};

/// Who wants to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The run it holds.
    pub key: RunKey,
    /// The random name of its process.
    pub name: String,
}

/// One write of a session.
#[derive(Debug, Clone)]
pub enum SessionWrite {
    /// Takes the run, or goes on holding it.
    Claim {
        /// When the ticket was issued, in nanoseconds since 1970: a newer ticket takes the run
        /// from an older one.
        issued: u64,
        /// The run's seed, already stored.
        seed: u32,
        /// Whether another process with the same ticket has been silent for too long.
        expired: bool,
    },
    /// Notes which bytes the client has for an array.
    Acknowledge {
        /// The array's name.
        array: String,
        /// SHA-256 of its bytes.
        digest: String,
    },
    /// Keeps the manifest.
    Manifest(serde_json::Value),
    /// Keeps an epoch, which must be the next one.
    Epoch(EpochRecord),
    /// Keeps the metrics of a split.
    Metrics {
        /// The split.
        split: String,
        /// SHA-256 of the predictions.
        digest: String,
        /// Metrics by name.
        metrics: Vec<(String, f64)>,
        /// Metrics by class and the confusion matrix.
        details: serde_json::Value,
    },
    /// Accepts the results.
    Finish {
        /// The last epoch, which must be there.
        epochs: u32,
        /// The splits whose metrics must be there.
        splits: Vec<String>,
        /// Times as the client measured them.
        timings: serde_json::Value,
    },
    /// Ends the run without results.
    Fail {
        /// Why.
        reason: String,
    },
}

/// What a write led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionOutcome {
    /// The run is held.
    Claimed {
        /// How often it was begun.
        attempt: u32,
        /// Whether this holder had it before.
        resumed: bool,
    },
    /// It is stored now.
    Stored,
    /// It was stored before.
    Known,
}

/// Why a session's write is refused.
#[derive(Debug, thiserror::Error)]
pub enum SessionRefusal {
    /// Another process has the run.
    #[error("{0} is held by another process that is still alive; try again when it is gone")]
    Held(RunKey),
    /// A newer ticket was issued.
    #[error("a newer ticket was issued for {0}: this process is no longer the one to run it")]
    Superseded(RunKey),
    /// The run's results were accepted from another process.
    #[error("the results of {0} were accepted before; there is nothing left to do")]
    Finished(RunKey),
    /// The run went to another process.
    #[error("{0} was given to another process in the meantime; start over with a new ticket")]
    Lost(RunKey),
    /// The same thing was said with other content.
    #[error("{0}: {1} was stored before with other content; a run tells one story")]
    Conflict(RunKey, String),
    /// It does not fit the run's state.
    #[error("{0}: {1}")]
    OutOfTurn(RunKey, String),
    /// The store failed; nothing of this write was kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}
