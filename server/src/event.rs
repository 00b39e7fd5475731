//! What happens in a server, as it happens.

use std::collections::BTreeMap;

use study::RunKey;

/// Something that happened, and is on disk where it speaks of results.
#[derive(Debug, Clone)]
pub enum Event {
    /// A process took a run.
    RunClaimed {
        /// The run.
        key: RunKey,
        /// How often it was begun.
        attempt: u32,
        /// Whether the same process had it before and came back.
        resumed: bool,
    },
    /// An epoch was reported.
    Epoch {
        /// The run.
        key: RunKey,
        /// The epoch; 0 is the state after initialisation.
        number: u32,
        /// Mean training loss, which may be infinite or not a number.
        loss: Option<f64>,
        /// Time it took, in seconds.
        seconds: f64,
    },
    /// A run's results were accepted.
    Finished {
        /// The run.
        key: RunKey,
        /// Metrics by `<split>/<metric>`.
        metrics: BTreeMap<String, f64>,
    },
    /// A client said that its run failed.
    Failed {
        /// The run.
        key: RunKey,
        /// Kind of failure and its message.
        reason: String,
    },
    /// A client used another seed than its run's; the experiment is marked.
    SeedMismatch {
        /// The run.
        key: RunKey,
        /// The run's seed.
        expected: u32,
        /// The client's.
        found: u32,
    },
    /// The server cannot write; clients were told to try again.
    StorageTrouble {
        /// What is wrong and what to do.
        message: String,
    },
    /// A connection ended because of what came over it.
    Refused {
        /// The run, where one was held.
        key: Option<RunKey>,
        /// The code that the client was given.
        code: protocol::ErrorCode,
        /// The text that the client was given.
        message: String,
    },
}
