//! Accepting connections, bounded in number and in the time they may take to ask, and ending.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use study::Study;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::app::App;
use crate::config::{Config, DashboardError};
use crate::routes;

/// Connections at once; browsers hold a handful each.
const CONNECTIONS: usize = 256;
/// Longest time from the start of a request to the end of its headers.
const HEADERS: Duration = Duration::from_secs(15);
/// Longest wait for answers under way when the dashboard ends.
const DRAIN: Duration = Duration::from_secs(3);

/// The first byte of every connection that speaks TLS: a record of the handshake.
const HANDSHAKE: u8 = 22;

/// Starts dashboards.
#[derive(Debug)]
pub struct Dashboard;

/// A running dashboard. Dropped without [`Handle::shutdown`], it goes on until the runtime ends.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    scheme: &'static str,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Dashboard {
    /// Starts a dashboard of `study` on the current Tokio runtime.
    ///
    /// # Errors
    /// [`DashboardError`] when the address is taken, or open to others without a token, or the
    /// store cannot be read.
    pub async fn start(study: Arc<Study>, config: Config) -> Result<Handle, DashboardError> {
        let address = config.listen;
        if !address.ip().is_loopback() && config.token.is_none() {
            return Err(DashboardError::TokenNeeded { address });
        }
        let failed = |source| DashboardError::Listen { address, source };
        let listener = match TcpListener::bind(address).await {
            Err(error) if config.any_port && error.kind() == std::io::ErrorKind::AddrInUse => {
                TcpListener::bind(SocketAddr::new(address.ip(), 0)).await
            }
            bound => bound,
        };
        let listener = listener.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop, stopped) = watch::channel(false);
        let tls = config.tls.clone().map(TlsAcceptor::from);
        let scheme = if tls.is_some() { "https" } else { "http" };
        let app = App::new(study, config, address, stopped.clone())?;
        let app = Arc::new(app);
        // The first visitor need not wait for the corpus; that it cannot be read is told to them.
        let first = Arc::clone(&app);
        tokio::spawn(async move { first.work(|app| app.snapshot().map(drop)).await });
        let router = routes::router(app);
        let task = tokio::spawn(accept(listener, tls, router, stopped));
        Ok(Handle { address, scheme, stop, task })
    }
}

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to open in a browser.
    pub fn url(&self) -> String {
        format!("{}://{}/", self.scheme, self.address)
    }

    /// Ends the dashboard: no new connections, open streams close, answers under way are finished.
    pub async fn shutdown(self) {
        // The task holds a receiver as long as it runs.
        let _ = self.stop.send(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(2 * DRAIN, self.task).await.is_err() {
            abort.abort();
        }
    }
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = next(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (tls, router, stop) = (tls.clone(), router.clone(), stop.clone());
                connections.spawn(serve(stream, tls, permit, router, stop));
            }
            Err(error) => {
                // Out of file descriptors and the like: wait for connections to end.
                tracing::warn!("the dashboard accepted no connection: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    let all = async { while connections.join_next().await.is_some() {} };
    // What is still open then is cut when the set is dropped.
    let _ = tokio::time::timeout(DRAIN, all).await;
}

/// The next connection once there is room for it; others wait in the system's queue.
async fn next(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, permit))
}

/// Waits for the end.
async fn asked(stop: &mut watch::Receiver<bool>) {
    // An error says that the dashboard is gone, which is an end too.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn serve(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    permit: OwnedSemaphorePermit,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    // Small answers and events go out at once; that it fails only costs time.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        converse(stream, router, &mut stop).await;
        drop(permit);
        return;
    };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(HEADERS, shake(stream, &tls)) => shaken,
        () = asked(&mut stop) => return,
    };
    match shaken {
        Ok(Ok(Some(stream))) => converse(stream, router, &mut stop).await,
        Ok(Ok(None)) => {}
        Ok(Err(error)) => tracing::debug!("a visitor's handshake failed: {error}"),
        Err(_) => tracing::debug!("a visitor's handshake took too long"),
    }
    drop(permit);
}

/// The handshake of TLS. Who speaks in the clear is told what is spoken here.
async fn shake(
    mut stream: TcpStream,
    tls: &TlsAcceptor,
) -> std::io::Result<Option<TlsStream<TcpStream>>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first == [HANDSHAKE] {
        return tls.accept(stream).await.map(Some);
    }
    // Read first: a connection that is closed over unread bytes takes the answer with it.
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 16 << 10 {
        match stream.read(&mut piece).await? {
            0 => break,
            length => request.extend_from_slice(piece.get(..length).unwrap_or_default()),
        }
    }
    let text = "this address speaks HTTPS; open it with https://\n";
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(None)
}

/// Answers requests on a connection until it ends.
async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    stop: &mut watch::Receiver<bool>,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(64 << 10);
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = asked(stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // Visitors leave in the middle of answers all the time.
        tracing::debug!("a visitor's connection ended: {error}");
    }
}
