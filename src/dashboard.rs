//! The dashboard beside `serve` and `run`: where it listens, whom it lets in, what writes Parquet.

use std::net::SocketAddr;
use std::sync::Arc;

pub use ::dashboard::Handle;
use ::dashboard::{Cell, Config, Dashboard, DashboardError, Encoder, Kind, Records, Token};
use anyhow::anyhow;
use server::{ServerConfig, Tls};
use stats::parquet::{self, Values};
use study::Study;

use crate::failure::Failure;

/// Where it listens unless told otherwise.
pub const USUAL: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4748);

/// Starts it at `address`; without one at the usual place, or a free port if that is taken. It lets
/// in whom the server lets in. Away from this machine it shows the server's certificate.
pub async fn start(
    study: Arc<Study>,
    address: Option<SocketAddr>,
    server: &ServerConfig,
) -> Result<Handle, Failure> {
    let listen = address.unwrap_or(USUAL);
    let away = !listen.ip().is_loopback();
    let tls = server.tls.as_ref().filter(|_| away).map(Tls::config);
    if away && tls.is_none() && server.token.is_some() {
        eprintln!(
            "warning: the dashboard at {listen} is not encrypted, so that the network sees the \
             token; --tls-cert and --tls-key make it speak HTTPS"
        );
    }
    let token = server.token.clone();
    let config = Config {
        listen,
        any_port: address.is_none(),
        token: token.map(|secret| Token::new(move |given| secret.is(given))),
        tls,
        parquet: Some(Encoder::new(encode)),
    };
    Dashboard::start(study, config).await.map_err(|error| match error {
        DashboardError::Store(error) => error.into(),
        DashboardError::TokenNeeded { .. } => Failure::input(anyhow!(
            "{error}; the token goes into REPRODUCEML_TOKEN, for `serve` also into a file (--token-file)"
        )),
        DashboardError::Listen { .. } => Failure::input(error),
        DashboardError::Random(_) => Failure::missing(error),
    })
}

fn encode(records: &Records) -> Result<Vec<u8>, String> {
    let column = |(place, (name, kind)): (usize, &(String, Kind))| {
        let cells = || records.rows.iter().map(move |row| row.get(place).unwrap_or(&Cell::Null));
        let values = match kind {
            Kind::Text | Kind::List => Values::Text(
                cells().map(|cell| (*cell != Cell::Null).then(|| cell.plain())).collect(),
            ),
            Kind::Integer => Values::Integer(
                cells()
                    .map(|cell| if let Cell::Integer(n) = cell { Some(*n) } else { None })
                    .collect(),
            ),
            Kind::Number => Values::Number(
                cells()
                    .map(|cell| if let Cell::Number(n) = cell { Some(*n) } else { None })
                    .collect(),
            ),
            Kind::Flag => Values::Flag(
                cells()
                    .map(|cell| if let Cell::Flag(f) = cell { Some(*f) } else { None })
                    .collect(),
            ),
        };
        (name.clone(), values)
    };
    parquet::write(records.columns.iter().enumerate().map(column).collect())
}
