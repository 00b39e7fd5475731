//! The messages: a client asks, the server answers each request with exactly one reply.
//!
//! Every message is one control frame holding one JSON object whose `type` names it. Fields that
//! a receiver does not know are ignored, so that a version can gain some.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::array::ArrayHeader;
use crate::frame::MAX_PAYLOAD;
use crate::value::{Bits, Digest};

/// The order in which a run sees its training samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// One permutation for all epochs.
    Fixed,
    /// A new permutation for each epoch.
    PerEpoch,
}

/// The challenge as a client needs to know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChallengeJob {
    /// Its name: `synthetic`, `cifar10`, `mnist`, `fashion-mnist`.
    pub name: String,
    /// Shape of one sample: channels, height, width.
    pub shape: Vec<u64>,
    /// Number of classes.
    pub classes: u64,
}

/// All that a client is to do: one run of one experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// The experiment's name in the store.
    pub experiment: String,
    /// The bug that the experiment belongs to.
    pub bug: String,
    /// `buggy`, `corrected` or `artificial`.
    pub evaluation: String,
    /// The run's index, from 0.
    pub run: u32,
    /// The framework's module in the client: `pytorch`, `tinynn`.
    pub framework: String,
    /// The model's name.
    pub model: String,
    /// Source of a user's own model.
    pub model_source: Option<String>,
    /// The class in `model_source`.
    pub model_class: Option<String>,
    /// The challenge.
    pub challenge: ChallengeJob,
    /// The splits that are not empty: `train`, `validation`, `test`.
    pub splits: Vec<String>,
    /// Epochs to train.
    pub epochs: u32,
    /// Samples in a batch.
    pub batch_size: u32,
    /// Whether a last batch that is not full is left out.
    pub drop_last: bool,
    /// Step size of SGD.
    pub learning_rate: f64,
    /// Momentum of SGD.
    pub momentum: f64,
    /// Order of the training samples.
    pub order: Order,
    /// `cpu` or `cuda`.
    pub device: String,
    /// Whether digests are wanted after each batch and around each module.
    pub trace: bool,
    /// The run's seed.
    pub seed: u32,
    /// Whether the evaluation plants a fault that the client loads.
    pub fault: bool,
}

/// The first message of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The versions of the protocol that the client speaks.
    pub versions: Vec<u32>,
    /// What authorises the client to hold one run.
    pub ticket: String,
    /// A random name that this process keeps over all its connections: 32 hexadecimal digits.
    pub holder: String,
    /// The server's token, where it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Name and version of the client, for people.
    #[serde(default)]
    pub client: String,
}

/// What a client asks. All but `hello`, `ping` and `bye` carry the run's seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Request {
    /// Opens a session.
    Hello(Hello),
    /// Says that the client is alive.
    Ping,
    /// Ends the connection; the run stays held until its lease ends.
    Bye,
    /// Asks whether the seed is the run's.
    Seed {
        /// The seed the client uses.
        seed: u32,
    },
    /// Asks for dtype, shape and digest of an array.
    Describe {
        /// The seed the client uses.
        seed: u32,
        /// The array's name.
        name: String,
    },
    /// Asks for the bytes of an array.
    Fetch {
        /// The seed the client uses.
        seed: u32,
        /// The array's name.
        name: String,
    },
    /// Says which bytes the client has for an array, whether fetched or from its cache.
    Acknowledge {
        /// The seed the client uses.
        seed: u32,
        /// The array's name.
        name: String,
        /// SHA-256 of the bytes that the client computed.
        sha256: Digest,
    },
    /// Hands over the run's manifest.
    Manifest {
        /// The seed the client uses.
        seed: u32,
        /// The manifest.
        manifest: Map<String, Value>,
    },
    /// Reports an epoch.
    Epoch {
        /// The seed the client uses.
        seed: u32,
        /// The epoch's number from 1; 0 is the state after initialisation.
        number: u32,
        /// Mean training loss; none for number 0.
        loss: Option<Bits>,
        /// Digest of all parameters.
        parameters: Digest,
        /// Time the epoch took, in seconds.
        seconds: f64,
        /// Anything else, such as a trace.
        #[serde(default)]
        extra: Option<Map<String, Value>>,
    },
    /// Announces predictions, whose bytes follow in data frames.
    Predictions {
        /// The seed the client uses.
        seed: u32,
        /// The split they belong to.
        split: String,
        /// The epoch after which they were made; none for the final ones.
        #[serde(default)]
        epoch: Option<u32>,
        /// The array: `f4`, samples × classes.
        array: ArrayHeader,
    },
    /// Says that the run is complete.
    Finish {
        /// The seed the client uses.
        seed: u32,
        /// Named times, in seconds.
        timings: Map<String, Value>,
    },
    /// Says that the run failed.
    Fail {
        /// The seed the client uses.
        seed: u32,
        /// The kind of failure, such as an exception's class.
        kind: String,
        /// One line for people.
        message: String,
        /// Where it happened.
        traceback: String,
    },
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Reply {
    /// The session is open and the run is held.
    Welcome {
        /// The version both sides speak from here on.
        version: u32,
        /// How often the run was begun, this time included.
        attempt: u32,
        /// The client must say something at least this often, in seconds.
        heartbeat_seconds: f64,
        /// After this many seconds of silence the run is given to another client.
        lease_seconds: f64,
        /// What to do.
        job: Box<Job>,
    },
    /// The request was carried out, and what it said is on disk.
    Ok,
    /// Answer to `ping`.
    Pong,
    /// An array; its bytes follow in data frames when it was asked for by `fetch`.
    Array {
        /// The array's name.
        name: String,
        /// Dtype, shape, length, digest.
        array: ArrayHeader,
    },
    /// The run's results are accepted.
    Finished {
        /// The metrics the server computed, by `<split>/<metric>`.
        metrics: Map<String, Value>,
    },
    /// The request was refused. The connection ends, unless `retry_after` says otherwise.
    Error {
        /// What kind of refusal.
        code: ErrorCode,
        /// What is wrong and what to do, for people.
        message: String,
        /// Seconds after which the same request may succeed over a new connection; none: never.
        retry_after: Option<f64>,
    },
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)*) => {
        /// The kinds of refusal.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
        }
        impl ErrorCode {
            /// Every code with the text that stands for it.
            pub const ALL: &[(Self, &str)] = &[$((Self::$variant, $text),)*];
            /// The text that stands for this code.
            pub fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}
codes! {
    /// No frame of this protocol, or one that was damaged, repeated, moved or too long.
    BadFrame = "bad-frame",
    /// A frame that is good, with a message that is not.
    BadMessage = "bad-message",
    /// No version in common.
    Version = "version",
    /// The token is missing or wrong.
    Token = "token",
    /// The ticket is not one of this server's.
    Ticket = "ticket",
    /// The server has as many sessions as it accepts.
    Busy = "busy",
    /// Another process holds the run.
    RunHeld = "run-held",
    /// The run's results were accepted before, from another process.
    RunFinished = "run-finished",
    /// The run was given to another process in the meantime.
    HoldLost = "hold-lost",
    /// The seed is not the run's.
    SeedMismatch = "seed-mismatch",
    /// No such array.
    UnknownArray = "unknown-array",
    /// The bytes do not have the digest they should have.
    Integrity = "integrity",
    /// The same thing was said before with other content.
    Conflict = "conflict",
    /// The message does not fit the run's state or its job.
    OutOfTurn = "out-of-turn",
    /// More than a limit allows.
    Limit = "limit",
    /// The client took too long.
    Timeout = "timeout",
    /// The server cannot write: no room, or a store that is read-only.
    Storage = "storage",
    /// The challenge's files are missing or wrong.
    Challenge = "challenge",
    /// The server is ending.
    ShuttingDown = "shutting-down",
    /// The address speaks TLS and the client does not, or not so that they understand each other.
    Tls = "tls",
    /// A fault of the server's own.
    Internal = "internal",
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

/// A control frame whose payload is no message.
#[derive(Debug, Error)]
pub enum MessageError {
    /// Not JSON, or not a message of this protocol.
    #[error("the message is not understood: {source}")]
    Malformed {
        /// What the JSON reader says.
        source: serde_json::Error,
    },
    /// The message is longer than a frame may be.
    #[error("the message has {length} bytes, more than the {MAX_PAYLOAD} of a frame: shorten it")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
}

/// The bytes of a message.
///
/// # Errors
/// [`MessageError::TooLong`] when they do not fit a frame.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, MessageError> {
    let bytes = serde_json::to_vec(message).map_err(|source| MessageError::Malformed { source })?;
    if bytes.len() > MAX_PAYLOAD {
        return Err(MessageError::TooLong { length: bytes.len() });
    }
    Ok(bytes)
}

/// Reads a message.
///
/// # Errors
/// [`MessageError::Malformed`] when the bytes are no message of type `M`.
pub fn decode<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Result<M, MessageError> {
    if bytes.len() > MAX_PAYLOAD {
        return Err(MessageError::TooLong { length: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|source| MessageError::Malformed { source })
}
