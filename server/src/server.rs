//! Listening, accepting, and coming to an end.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use study::{ExperimentId, RunKey, Store, Study};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::challenge::Datasets;
use crate::config::{Listen, ServerConfig};
use crate::connection::{Connection, Stream};
use crate::error::ServerError;
use crate::event::Event;
use crate::hold::Holds;
use crate::ledger::Ledger;
use crate::refusal::Refusal;
use crate::session::{self, Shared};
use crate::ticket::{Ticket, Tickets};
use crate::tls::{self, Tls, Unopened};

/// Longest path of a Unix socket in bytes, its closing zero not counted.
const LONGEST_PATH: usize = 107;
/// Events that a slow listener may be behind before it misses some.
const EVENTS: usize = 4096;
/// Seconds after which a client that found no room tries again.
const BUSY_PAUSE: f64 = 2.0;

/// Starts servers.
#[derive(Debug)]
pub struct Server;

/// A running server. Dropped without [`ServerHandle::shutdown`], it goes on until the runtime ends.
pub struct ServerHandle {
    shared: Arc<Shared>,
    addresses: Vec<String>,
    sockets: Vec<PathBuf>,
    stop: watch::Sender<bool>,
    acceptors: Vec<JoinHandle<()>>,
    ledger: std::thread::JoinHandle<()>,
}

/// What a server left when it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Runs whose processes had not finished; they may come back to the next server.
    pub unfinished: Vec<RunKey>,
    /// Whether every session came to a stop by itself in time.
    pub drained: bool,
}

enum Listener {
    Tcp(TcpListener, Option<Tls>),
    Unix(UnixListener),
}

/// A connection on which nothing was said yet.
enum Incoming {
    Clear(Box<dyn Stream>),
    Tls(TcpStream, Tls),
}

impl Server {
    /// Starts a server on the current Tokio runtime.
    ///
    /// # Errors
    /// [`ServerError`] when an address is taken or open to others without a token, or the study's
    /// key cannot be read or made.
    pub async fn start(
        store: Arc<Store>,
        study: Arc<Study>,
        config: ServerConfig,
    ) -> Result<ServerHandle, ServerError> {
        let tickets = Tickets::of(&study)?;
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        let mut sockets = Vec::new();
        for place in &config.listen {
            let (listener, address) = listen(place, &config).await?;
            listeners.push(listener);
            addresses.push(address);
            if let Listen::Unix(path) = place {
                sockets.push(path.clone());
            }
        }
        if listeners.is_empty() {
            return Err(ServerError::NoAddress);
        }
        let (events, _) = broadcast::channel(EVENTS);
        let (ledger, thread) = Ledger::start(Arc::clone(&store), events.clone())
            .map_err(|source| ServerError::Io { path: store.path().to_owned(), source })?;
        let limits = &config.limits;
        let shared = Arc::new(Shared {
            store,
            study,
            tickets,
            holds: Holds::new(limits.lease),
            datasets: Datasets::new(
                config.data_dir.clone(),
                config.fetch.clone(),
                limits.cache,
                limits.synthetic,
            ),
            events,
            config,
        });
        let (stop, stopped) = watch::channel(false);
        let room = Arc::new(Semaphore::new(shared.config.limits.sessions));
        let acceptors = listeners
            .into_iter()
            .map(|listener| {
                let (shared, room) = (Arc::clone(&shared), Arc::clone(&room));
                tokio::spawn(accept(shared, ledger.clone(), listener, room, stopped.clone()))
            })
            .collect();
        Ok(ServerHandle { shared, addresses, sockets, stop, acceptors, ledger: thread })
    }
}

impl ServerHandle {
    /// Where clients reach the server: `unix:/path`, and `tcp:host:port` or, with a certificate,
    /// `tls:host:port`, in the order of the configuration.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// SHA-256 of the certificate, where there is one, by which clients may know the server.
    pub fn fingerprint(&self) -> Option<protocol::Digest> {
        self.shared.config.tls.as_ref().map(Tls::fingerprint)
    }

    /// A ticket that lets one process hold one run. Issuing another one for the same run takes it
    /// from the holder of the first. Tickets stay good when the server is restarted.
    pub fn ticket(&self, experiment: &ExperimentId, run: u32) -> Ticket {
        self.shared.tickets.issue(&RunKey { experiment: experiment.clone(), run })
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// Ends the server: no new connections, every session after the message it is at, and returns
    /// when the last acknowledged message is on disk.
    pub async fn shutdown(self) -> ShutdownReport {
        // Acceptors hold receivers until they see this.
        let _ = self.stop.send(true);
        let drain = self.shared.config.limits.drain;
        let mut drained = true;
        for acceptor in self.acceptors {
            let abort = acceptor.abort_handle();
            if timeout(drain, acceptor).await.is_err() {
                drained = false;
                abort.abort();
            }
        }
        let ledger = self.ledger;
        // The thread ends with its last sender, which the sessions held.
        let ended = tokio::task::spawn_blocking(move || ledger.join());
        drained &= timeout(drain, ended).await.is_ok();
        for socket in &self.sockets {
            if let Err(error) = std::fs::remove_file(socket) {
                tracing::warn!("{}: {error}", socket.display());
            }
        }
        ShutdownReport { unfinished: self.shared.holds.held(), drained }
    }
}

async fn listen(place: &Listen, config: &ServerConfig) -> Result<(Listener, String), ServerError> {
    match place {
        Listen::Tcp(address) => {
            if !address.ip().is_loopback() && config.token.is_none() {
                return Err(ServerError::TokenNeeded { address: *address });
            }
            let scheme = if config.tls.is_some() { "tls" } else { "tcp" };
            let failed = |source| bind_error(format!("{scheme}:{address}"), source);
            let listener = TcpListener::bind(address).await.map_err(failed)?;
            let bound = listener.local_addr().map_err(failed)?;
            Ok((Listener::Tcp(listener, config.tls.clone()), format!("{scheme}:{bound}")))
        }
        Listen::Unix(path) => {
            let length = path.as_os_str().len();
            if length > LONGEST_PATH {
                let (path, limit) = (path.clone(), LONGEST_PATH);
                return Err(ServerError::LongPath { path, length, limit });
            }
            remove_stale(path).await?;
            let name = format!("unix:{}", path.display());
            let failed = |source| bind_error(name.clone(), source);
            let listener = UnixListener::bind(path).map_err(failed)?;
            // Clients in containers are other users; folder and ticket decide who gets in.
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
                .map_err(|source| ServerError::Io { path: path.clone(), source })?;
            Ok((Listener::Unix(listener), name))
        }
    }
}

fn bind_error(address: String, source: std::io::Error) -> ServerError {
    match source.kind() {
        std::io::ErrorKind::AddrInUse => ServerError::InUse { address },
        _ => ServerError::Listen { address, source },
    }
}

/// Removes a socket that a killed server left. One that answers is in use.
async fn remove_stale(path: &Path) -> Result<(), ServerError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    let in_use = || ServerError::InUse { address: format!("unix:{}", path.display()) };
    if !metadata.file_type().is_socket() || tokio::net::UnixStream::connect(path).await.is_ok() {
        return Err(in_use());
    }
    std::fs::remove_file(path).map_err(|source| ServerError::Io { path: path.to_owned(), source })
}

async fn accept(
    shared: Arc<Shared>,
    ledger: Ledger,
    listener: Listener,
    room: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let mut sessions = JoinSet::new();
    loop {
        let stream = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = sessions.join_next() => continue,
            stream = next(&listener) => stream,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // Out of file descriptors and the like: wait for sessions to end.
                tracing::warn!("no connection accepted: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let permit = Arc::clone(&room).try_acquire_owned();
        let (shared, ledger) = (Arc::clone(&shared), ledger.clone());
        let mut stop = stop.clone();
        sessions.spawn(async move {
            let opened = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => None,
                opened = open(&shared, stream) => opened,
            };
            match (opened, &permit) {
                (Some(stream), Ok(_)) => session::serve(shared, ledger, stream, stop).await,
                (Some(stream), Err(_)) => turn_away(&shared, stream).await,
                (None, _) => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    while sessions.join_next().await.is_some() {}
}

async fn next(listener: &Listener) -> std::io::Result<Incoming> {
    match listener {
        Listener::Tcp(listener, tls) => {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok(match tls {
                Some(tls) => Incoming::Tls(stream, tls.clone()),
                None => Incoming::Clear(Box::new(stream)),
            })
        }
        Listener::Unix(listener) => Ok(Incoming::Clear(Box::new(listener.accept().await?.0))),
    }
}

/// The stream on which the protocol is spoken; a client that does not speak TLS where it must is
/// told so in the clear.
async fn open(shared: &Shared, incoming: Incoming) -> Option<Box<dyn Stream>> {
    let (stream, tls) = match incoming {
        Incoming::Clear(stream) => return Some(stream),
        Incoming::Tls(stream, tls) => (stream, tls),
    };
    let refusal = match tls.accept(stream, shared.config.limits.hello).await {
        Ok(stream) => return Some(stream),
        Err(Unopened::Gone) => return None,
        Err(Unopened::Failed(refusal)) => refusal,
        Err(Unopened::Plain(mut stream)) => {
            let refusal = tls::expected();
            let mut connection = Connection::new(&mut stream, &shared.config.limits);
            // Whoever does not listen misses nothing.
            let _ = connection.reply(&refusal.reply()).await;
            connection.close().await;
            refusal
        }
    };
    tracing::warn!("{}: {}", refusal.code, refusal.message);
    shared.tell(Event::Refused { key: None, code: refusal.code, message: refusal.message });
    None
}

async fn turn_away(shared: &Shared, mut stream: Box<dyn Stream>) {
    let limits = &shared.config.limits;
    let what = format!("{} sessions are open, no more are accepted", limits.sessions);
    let refusal = Refusal::later(protocol::ErrorCode::Busy, what, BUSY_PAUSE);
    let mut connection = Connection::new(&mut *stream, limits);
    // Whoever is turned away and does not listen misses nothing.
    let _ = connection.reply(&refusal.reply()).await;
    connection.close().await;
}
