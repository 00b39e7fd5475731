//! Blocking frames over any stream, for clients written in Rust and for tests.

use std::io::{self, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::array::{ArrayError, ArrayHeader};
use crate::frame::{FrameError, HEADER, Header, Kind, MAX_PAYLOAD};
use crate::message::{self, MessageError};
use crate::value::Digest;

/// Longest payload that is sent together with its header, in bytes.
const SMALL: usize = 1 << 16;

/// Shortest array whose digest is worth a thread of its own, in bytes.
const LONG: u64 = 8 << 20;

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
        if payload.len() <= SMALL {
            // One packet, one system call.
            self.stream.write_all(&[&header.encode(), payload].concat())?;
        } else {
            self.stream.write_all(&header.encode())?;
            self.stream.write_all(payload)?;
        }
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
        let header = self.receive_header()?;
        let mut payload = vec![0; header.length];
        self.receive_payload(&header, kind, &mut payload)?;
        Ok(payload)
    }

    fn receive_header(&mut self) -> Result<Header, WireError> {
        let mut head = [0; HEADER];
        self.stream.read_exact(&mut head)?;
        Ok(Header::decode(&head, self.received, MAX_PAYLOAD)?)
    }

    fn receive_payload(
        &mut self,
        header: &Header,
        expected: Kind,
        payload: &mut [u8],
    ) -> Result<(), WireError> {
        self.stream.read_exact(payload)?;
        header.verify(payload)?;
        self.received = self.received.saturating_add(1);
        if header.kind == expected {
            Ok(())
        } else {
            Err(WireError::Kind { found: header.kind, expected })
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
        let mut data = Vec::new();
        self.receive_data_into(array, limit, &mut data)?;
        Ok(data)
    }

    /// The same into memory that the caller has. Memory that is new to a process costs as much
    /// time as the digest, so a caller who needs the array only for a while gives it again.
    ///
    /// # Errors
    /// As [`Wire::receive_data`]; what `data` holds then means nothing.
    pub fn receive_data_into(
        &mut self,
        array: &ArrayHeader,
        limit: u64,
        data: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        array.check(limit)?;
        let too_long = |_| ArrayError::TooLong { length: array.bytes, limit };
        let length = usize::try_from(array.bytes).map_err(too_long)?;
        if data.capacity() < length {
            // Zeros that the system gives need not be written.
            *data = vec![0; length];
        } else {
            data.resize(length, 0);
        }
        if array.bytes < LONG {
            self.receive_pieces(data, |_| {})?;
            return Ok(array.verify(data)?);
        }
        // Hashing takes longer than receiving, so it begins with the first frame.
        let found = std::thread::scope(|scope| {
            let (pieces, arriving) = std::sync::mpsc::channel();
            let digest = scope.spawn(|| Digest::of_pieces(arriving));
            // A thread that is gone is found out about when it is joined.
            self.receive_pieces(data, |piece| {
                let _ = pieces.send(piece);
            })?;
            drop(pieces);
            let gone = |_| io::Error::other("the thread that hashes ended early");
            Ok::<_, WireError>(digest.join().map_err(gone)?)
        })?;
        Ok(array.compare(found)?)
    }

    /// Fills `data` from data frames and tells of each piece when its checksum was right.
    fn receive_pieces<'a>(
        &mut self,
        mut data: &'a mut [u8],
        mut tell: impl FnMut(&'a [u8]),
    ) -> Result<(), WireError> {
        while !data.is_empty() {
            let header = self.receive_header()?;
            let left = data.len();
            let Some((piece, rest)) = data.split_at_mut_checked(header.length) else {
                return Err(WireError::Chunk { length: header.length, left: left as u64 });
            };
            self.receive_payload(&header, Kind::Data, piece)?;
            if piece.is_empty() {
                return Err(WireError::Chunk { length: 0, left: left as u64 });
            }
            tell(piece);
            data = rest;
        }
        Ok(())
    }
}
