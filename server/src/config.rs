//! Where a server listens, what it asks for, and how much it accepts.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::challenge::Fetch;
use crate::error::ServerError;
use crate::tls::Tls;

/// One place to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// A Unix domain socket at this path. Its folder decides who can reach it.
    Unix(PathBuf),
    /// TCP; port 0 lets the system choose.
    Tcp(SocketAddr),
}

/// A token that clients must know. It is never printed and compared in constant time.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Fewest characters a token may have.
    pub const SHORTEST: usize = 16;

    /// Takes a token.
    ///
    /// # Errors
    /// [`ServerError::WeakToken`] if it is shorter than [`Self::SHORTEST`] characters.
    pub fn new(text: &str) -> Result<Self, ServerError> {
        let text = text.trim();
        if text.len() < Self::SHORTEST {
            return Err(ServerError::WeakToken { length: text.len() });
        }
        Ok(Self(text.to_owned()))
    }

    /// Draws a token that nobody has had.
    ///
    /// # Errors
    /// [`ServerError::Random`] if the system gives no random bytes.
    pub fn drawn() -> Result<Self, ServerError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| ServerError::Random(error.to_string()))?;
        Ok(Self(hex::encode(bytes)))
    }

    /// Reads a token from a file; spaces and line ends around it do not count.
    ///
    /// # Errors
    /// If the file cannot be read or its token is too short.
    pub fn from_file(path: &Path) -> Result<Self, ServerError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ServerError::Io { path: path.to_owned(), source })?;
        Self::new(&text)
    }

    /// The token itself, for a client that this program starts.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the token, in a time that does not tell how much of it is right.
    pub fn is(&self, given: &str) -> bool {
        self.0.as_bytes().ct_eq(given.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How much a server accepts.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at once.
    pub sessions: usize,
    /// Longest payload of a frame in bytes, at most [`protocol::MAX_PAYLOAD`].
    pub frame: usize,
    /// The most bytes that arrays kept in memory may have together, beside those in use.
    pub cache: u64,
    /// The most bytes a synthetic challenge may have.
    pub synthetic: u64,
    /// Longest wait for a new connection's first message.
    pub hello: Duration,
    /// Longest time that one frame may take from its first byte to its last.
    pub frame_time: Duration,
    /// A client is to say something this often.
    pub heartbeat: Duration,
    /// After this long a silence the connection ends and another process may take the run.
    pub lease: Duration,
    /// Longest wait for sessions to come to a stop at shutdown.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 256,
            frame: protocol::MAX_PAYLOAD,
            cache: 1 << 30,
            synthetic: 2 << 30,
            hello: Duration::from_secs(10),
            frame_time: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            lease: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

/// A server's configuration.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen; at least one place.
    pub listen: Vec<Listen>,
    /// The token that clients must show. Any TCP address but loopback needs one.
    pub token: Option<Secret>,
    /// The certificate with which every TCP address speaks TLS; none: they speak in the clear.
    pub tls: Option<Tls>,
    /// How much is accepted.
    pub limits: Limits,
    /// The folder of the challenges' files, one folder a challenge.
    pub data_dir: PathBuf,
    /// Where files that are missing there come from.
    pub fetch: Fetch,
    /// Whether jobs ask for digests after each batch and around each module.
    pub trace: bool,
}

impl ServerConfig {
    /// A server on one free TCP port of the loopback interface, with the usual limits.
    pub fn loopback(data_dir: PathBuf) -> Self {
        let listen = vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))];
        let fetch = Fetch::from_environment();
        let limits = Limits::default();
        Self { listen, token: None, tls: None, limits, data_dir, fetch, trace: false }
    }
}
