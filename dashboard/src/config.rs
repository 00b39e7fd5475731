//! Where a dashboard listens and whom it lets in.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::records::Encoder;

/// Why a dashboard does not start.
#[derive(Debug, thiserror::Error)]
pub enum DashboardError {
    /// Others could read the study.
    #[error(
        "the dashboard at {address} would be open to everyone who reaches it and needs a token; 127.0.0.1 needs none"
    )]
    TokenNeeded {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// The address is taken, or is not this machine's.
    #[error("the dashboard cannot listen at {address}: {source}; choose another with --dashboard")]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no store to read.
    #[error(transparent)]
    Store(#[from] study::StoreError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// The token that visitors must know, as the function that recognises it: whoever holds the token
/// compares it, in constant time, and this crate never sees it.
#[derive(Clone)]
pub struct Token(Arc<dyn Fn(&str) -> bool + Send + Sync>);

impl Token {
    /// A token that `is` recognises.
    pub fn new(is: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(is))
    }

    pub(crate) fn is(&self, given: &str) -> bool {
        (self.0)(given)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// A dashboard's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Take a free port of the same address when the wanted one is taken.
    pub any_port: bool,
    /// The token that visitors must show. Any address but loopback needs one.
    pub token: Option<Token>,
    /// The certificate with its key; with one only HTTPS is spoken.
    pub tls: Option<Arc<tokio_rustls::rustls::ServerConfig>>,
    /// What writes Parquet; without it only JSON and CSV are offered.
    pub parquet: Option<Encoder>,
}

impl Config {
    /// A dashboard on a free port of the loopback interface.
    pub fn loopback() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { listen, any_port: false, token: None, tls: None, parquet: None }
    }
}
