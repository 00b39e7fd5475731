//! One connection's frames, with the time and size each may take.

use std::time::Duration;

use protocol::frame::HEADER;
use protocol::{ArrayHeader, FrameError, Header, Kind, MessageError, Reply, Request, message};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::config::Limits;

/// Either kind of socket.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// Why nothing more can be received or sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectionError {
    /// The client closed the connection between two messages.
    #[error("the client closed the connection")]
    Closed,
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    /// Something took too long.
    #[error("{what} took longer than {} s", .limit.as_secs_f64())]
    Slow {
        /// What took too long.
        what: &'static str,
        /// How long it may take.
        limit: Duration,
    },
    /// A bad frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame of the wrong kind, or an empty or overlong data frame.
    #[error("{0}")]
    Unexpected(String),
    /// A bad message.
    #[error(transparent)]
    Message(#[from] MessageError),
}

/// Longest payload of a client that has not been let in yet, in bytes: `hello` is short, and the
/// JSON of a long message takes many times its length in memory.
const HELLO: usize = 1 << 16;

pub(crate) struct Connection<'a> {
    stream: &'a mut dyn Stream,
    limits: &'a Limits,
    longest: usize,
    sent: u64,
    received: u64,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(stream: &'a mut dyn Stream, limits: &'a Limits) -> Self {
        Self { stream, limits, longest: limits.frame.min(HELLO), sent: 0, received: 0 }
    }

    /// From now on payloads may be as long as the limits say.
    pub(crate) fn let_in(&mut self) {
        self.longest = self.limits.frame;
    }

    /// The next request, whose first byte must come within `wait`.
    pub(crate) async fn request(&mut self, wait: Duration) -> Result<Request, ConnectionError> {
        let (kind, payload) = self.frame(wait).await?;
        if kind != Kind::Control {
            let what = "a data frame arrived where a request was expected".to_owned();
            return Err(ConnectionError::Unexpected(what));
        }
        Ok(message::decode(&payload)?)
    }

    /// The bytes of an announced array, whose header was checked before.
    pub(crate) async fn data(&mut self, array: &ArrayHeader) -> Result<Vec<u8>, ConnectionError> {
        let mut data = Vec::new();
        while (data.len() as u64) < array.bytes {
            let (kind, payload) = self.frame(self.limits.frame_time).await?;
            let left = array.bytes - data.len() as u64;
            if kind != Kind::Data || payload.is_empty() || payload.len() as u64 > left {
                return Err(ConnectionError::Unexpected(format!(
                    "a {kind:?} frame of {} bytes arrived where {left} bytes of an array are left",
                    payload.len()
                )));
            }
            data.extend_from_slice(&payload);
        }
        Ok(data)
    }

    pub(crate) async fn reply(&mut self, reply: &Reply) -> Result<(), ConnectionError> {
        let payload = message::encode(reply)?;
        self.send(Kind::Control, &payload).await
    }

    pub(crate) async fn send_data(&mut self, data: &[u8]) -> Result<(), ConnectionError> {
        for chunk in data.chunks(self.limits.frame.max(1)) {
            self.send(Kind::Data, chunk).await?;
        }
        Ok(())
    }

    /// Ends the connection so that the last reply still arrives: what the client is sending is
    /// read and thrown away for a moment, since unread bytes would make the system drop the reply.
    pub(crate) async fn close(self) {
        let drain = async {
            let mut waste = vec![0; 1 << 16];
            self.stream.shutdown().await?;
            while self.stream.read(&mut waste).await? > 0 {}
            Ok::<(), std::io::Error>(())
        };
        // The client is gone or keeps sending: either way there is nothing more to do.
        let _ = timeout(Duration::from_secs(2), drain).await;
    }

    async fn frame(&mut self, wait: Duration) -> Result<(Kind, Vec<u8>), ConnectionError> {
        let mut first = [0; 1];
        match timeout(wait, self.stream.read(&mut first)).await {
            Err(_) => {
                return Err(ConnectionError::Slow { what: "the next message", limit: wait });
            }
            Ok(Ok(0)) => return Err(ConnectionError::Closed),
            Ok(result) => result?,
        };
        let limit = self.limits.frame_time;
        let whole = async {
            let mut rest = [0; HEADER - 1];
            self.stream.read_exact(&mut rest).await?;
            let mut head = [0; HEADER];
            head.iter_mut().zip(first.iter().chain(&rest)).for_each(|(to, from)| *to = *from);
            let header = Header::decode(&head, self.received, self.longest)?;
            let mut payload = vec![0; header.length];
            self.stream.read_exact(&mut payload).await?;
            header.verify(&payload)?;
            Ok::<_, ConnectionError>((header.kind, payload))
        };
        let frame = timeout(limit, whole)
            .await
            .map_err(|_| ConnectionError::Slow { what: "a frame", limit })??;
        self.received = self.received.saturating_add(1);
        Ok(frame)
    }

    async fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), ConnectionError> {
        let header = Header::seal(kind, self.sent, payload)?.encode();
        let limit = self.limits.frame_time;
        let whole = async {
            if payload.len() <= 1 << 16 {
                // One packet, one system call.
                self.stream.write_all(&[&header, payload].concat()).await?;
            } else {
                self.stream.write_all(&header).await?;
                self.stream.write_all(payload).await?;
            }
            self.stream.flush().await
        };
        timeout(limit, whole)
            .await
            .map_err(|_| ConnectionError::Slow { what: "sending a frame", limit })??;
        self.sent = self.sent.saturating_add(1);
        Ok(())
    }
}
