//! Why a server cannot start.

use std::net::SocketAddr;
use std::path::PathBuf;

use study::StoreError;
use thiserror::Error;

/// Why a server cannot start.
#[derive(Debug, Error)]
pub enum ServerError {
    /// No place to listen was given.
    #[error("the server has no address to listen on; give it a Unix socket or a TCP address")]
    NoAddress,
    /// Another process has the address.
    #[error("{address} is in use by another process; stop it or choose another address")]
    InUse {
        /// The address.
        address: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is it an address of this machine?")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Everybody on the network could reach the server.
    #[error(
        "{address} can be reached from other machines, which needs a token: give one, or listen on \
         127.0.0.1"
    )]
    TokenNeeded {
        /// The address.
        address: SocketAddr,
    },
    /// The token is easy to guess.
    #[error(
        "the token has {length} characters, expected at least 16; make one with `openssl rand -hex 32`"
    )]
    WeakToken {
        /// How many it has.
        length: usize,
    },
    /// The path does not fit a socket's address.
    #[error(
        "{path} has {length} bytes, a Unix socket's path has at most {limit}; use a shorter one"
    )]
    LongPath {
        /// The path.
        path: PathBuf,
        /// Its length in bytes.
        length: usize,
        /// The most that fits, in bytes.
        limit: usize,
    },
    /// The file system failed.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("{path}: {problem}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The server's key is not one.
    #[error("{path} is no key of 128 hexadecimal digits; delete it to have a new one made")]
    Key {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}
