//! Blocking frames over any stream, for clients written in Rust and for tests.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::array::{ArrayError, ArrayHeader};
use crate::frame::{FrameError, HEADER, Header, Kind, MAX_PAYLOAD};
use crate::message::{self, MessageError};

/// Why a message could not be sent or received.
#[derive(Debug, Error)]
pub enum WireError {
    /// The stream failed or ended.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
    /// The bytes are no good frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The frame holds no message.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The array is not what was announced.
    #[error(transparent)]
    Array(#[from] ArrayError),
    /// A frame of the other kind was expected.
    #[error("a frame of kind {found:?} arrived where {expected:?} was expected")]
    Kind {
        /// The kind found.
        found: Kind,
        /// The kind expected.
        expected: Kind,
    },
    /// A data frame that is empty or has more than the array still needs.
    #[error("a data frame of {length} bytes arrived where {left} bytes of an array are left")]
    Chunk {
        /// The frame's length in bytes.
        length: usize,
        /// What the array still needs, in bytes.
        left: u64,
    },
}

/// A stream with its two sequence numbers.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    sent: u64,
    received: u64,
}

impl<S: Read + Write> Wire<S> {
    /// Frames over `stream`, both directions at number 0.
    pub fn new(stream: S) -> Self {
        Self { stream, sent: 0, received: 0 }
    }

    /// The stream itself.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// Sends one frame.
    ///
    /// # Errors
    /// [`WireError`] when the payload is too long or the stream fails.
    pub fn send_frame(&mut self, kind: Kind, payload: &[u8]) -> Result<(), WireError> {
        let header = Header::seal(kind, self.sent, payload)?;
        self.stream.write_all(&header.encode())?;
        self.stream.write_all(payload)?;
        self.sent = self.sent.saturating_add(1);
        Ok(())
    }

    /// Sends one message.
    ///
    /// # Errors
    /// [`WireError`] when it is too long or the stream fails.
    pub fn send<M: Serialize>(&mut self, message: &M) -> Result<(), WireError> {
        let payload = message::encode(message)?;
        self.send_frame(Kind::Control, &payload)?;
        Ok(self.stream.flush()?)
    }

    /// Sends an array's bytes in data frames.
    ///
    /// # Errors
    /// [`WireError`] when the stream fails.
    pub fn send_data(&mut self, data: &[u8]) -> Result<(), WireError> {
        for chunk in data.chunks(MAX_PAYLOAD) {
            self.send_frame(Kind::Data, chunk)?;
        }
        Ok(self.stream.flush()?)
    }

    /// Receives one frame that must be of `kind`.
    ///
    /// # Errors
    /// [`WireError`] when the stream fails or the frame is not good.
    pub fn receive_frame(&mut self, kind: Kind) -> Result<Vec<u8>, WireError> {
        let mut head = [0; HEADER];
        self.stream.read_exact(&mut head)?;
        let header = Header::decode(&head, self.received, MAX_PAYLOAD)?;
        let mut payload = vec![0; header.length];
        self.stream.read_exact(&mut payload)?;
        header.verify(&payload)?;
        self.received = self.received.saturating_add(1);
        if header.kind == kind {
            Ok(payload)
        } else {
            Err(WireError::Kind { found: header.kind, expected: kind })
        }
    }

    /// Receives one message.
    ///
    /// # Errors
    /// [`WireError`] when the stream fails or the frame holds no such message.
    pub fn receive<M: DeserializeOwned>(&mut self) -> Result<M, WireError> {
        let payload = self.receive_frame(Kind::Control)?;
        Ok(message::decode(&payload)?)
    }

    /// Receives the bytes of an announced array of at most `limit` bytes and checks its digest.
    ///
    /// # Errors
    /// [`WireError`] when the header is wrong, the stream fails or the digest differs.
    pub fn receive_data(&mut self, array: &ArrayHeader, limit: u64) -> Result<Vec<u8>, WireError> {
        array.check(limit)?;
        let mut data = Vec::new();
        while (data.len() as u64) < array.bytes {
            let chunk = self.receive_frame(Kind::Data)?;
            let left = array.bytes - data.len() as u64;
            if chunk.is_empty() || chunk.len() as u64 > left {
                return Err(WireError::Chunk { length: chunk.len(), left });
            }
            data.extend_from_slice(&chunk);
        }
        array.verify(&data)?;
        Ok(data)
    }
}
