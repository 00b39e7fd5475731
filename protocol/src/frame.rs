//! One frame: a header of 24 bytes, then at most [`MAX_PAYLOAD`] bytes.
//!
//! A frame says how long it is, which number it has in its direction, and carries a CRC-32 over
//! everything else in it. A frame that was cut, changed, repeated or moved is told apart from a
//! good one before anybody looks into its payload.

use thiserror::Error;

/// Length of a frame's header in bytes.
pub const HEADER: usize = 24;

/// Most bytes a frame's payload may have: 1 MiB. Longer arrays travel in several frames.
pub const MAX_PAYLOAD: usize = 1 << 20;

/// The first four bytes of every frame; the last one is the version of the frame's layout.
pub const MAGIC: [u8; 4] = *b"RML\x01";

/// What a frame's payload is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A message as JSON.
    Control,
    /// Part of an array's bytes.
    Data,
}

impl Kind {
    /// Every kind with its byte in the header.
    pub const ALL: [(Self, u8); 2] = [(Self::Control, 1), (Self::Data, 2)];

    /// The byte that stands for this kind.
    pub fn byte(self) -> u8 {
        match self {
            Self::Control => 1,
            Self::Data => 2,
        }
    }

    /// The kind that `byte` stands for.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.iter().find(|(_, b)| *b == byte).map(|(kind, _)| *kind)
    }
}

/// Why bytes are no acceptable frame. None of these can be repaired: the connection ends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The first bytes are not [`MAGIC`].
    #[error(
        "the frame starts with {found:02x?}, expected {MAGIC:02x?}: the other side does not speak \
         this protocol, or bytes were lost on the way"
    )]
    Magic {
        /// The four bytes found.
        found: [u8; 4],
    },
    /// The kind's byte is unknown.
    #[error("the frame's kind is {found}, expected 1 (control) or 2 (data)")]
    Kind {
        /// The byte found.
        found: u8,
    },
    /// The reserved bytes are not zero.
    #[error("bytes 5 to 7 of the frame are {found:02x?}, expected zeros")]
    Reserved {
        /// The bytes found.
        found: [u8; 3],
    },
    /// The frame says that it is longer than allowed.
    #[error(
        "the frame announces {length} bytes, more than the {limit} allowed: send arrays in chunks"
    )]
    TooLong {
        /// Announced length of the payload in bytes.
        length: u64,
        /// The most that is accepted, in bytes.
        limit: usize,
    },
    /// The frame does not have the next number: it was repeated, lost or moved.
    #[error("the frame has number {found}, expected {expected}: it was repeated, lost or moved")]
    Sequence {
        /// The number found.
        found: u64,
        /// The number that must come next.
        expected: u64,
    },
    /// Header and payload do not have the checksum that the header states.
    #[error(
        "the frame's checksum is {found:08x}, expected {stated:08x}: it was damaged on the way"
    )]
    Checksum {
        /// What the bytes give.
        found: u32,
        /// What the header states.
        stated: u32,
    },
}

/// A frame's header, its fields checked but not its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the payload is.
    pub kind: Kind,
    /// The frame's number in its direction, from 0.
    pub sequence: u64,
    /// Length of the payload in bytes, at most the limit it was decoded with.
    pub length: usize,
    /// CRC-32 (the one of zlib and gzip) of the header's first 20 bytes and the payload.
    pub crc: u32,
}

impl Header {
    /// The header for a payload, with its checksum.
    ///
    /// # Errors
    /// [`FrameError::TooLong`] for a payload of more than [`MAX_PAYLOAD`] bytes.
    pub fn seal(kind: Kind, sequence: u64, payload: &[u8]) -> Result<Self, FrameError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(FrameError::TooLong { length: payload.len() as u64, limit: MAX_PAYLOAD });
        }
        let mut header = Self { kind, sequence, length: payload.len(), crc: 0 };
        header.crc = header.checksum(payload);
        Ok(header)
    }

    /// The header's 24 bytes.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let (front, crc) = bytes.split_at_mut(20);
        front.copy_from_slice(&self.front());
        crc.copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// Reads a header. `expected` is the number the frame must have, `limit` the longest payload
    /// accepted, in bytes.
    ///
    /// # Errors
    /// Everything in [`FrameError`] but `Checksum`, which needs the payload.
    pub fn decode(bytes: &[u8; HEADER], expected: u64, limit: usize) -> Result<Self, FrameError> {
        let [m0, m1, m2, m3, kind, r0, r1, r2, rest @ ..] = *bytes;
        let [s0, s1, s2, s3, s4, s5, s6, s7, l0, l1, l2, l3, c0, c1, c2, c3] = rest;
        if [m0, m1, m2, m3] != MAGIC {
            return Err(FrameError::Magic { found: [m0, m1, m2, m3] });
        }
        let kind = Kind::from_byte(kind).ok_or(FrameError::Kind { found: kind })?;
        if [r0, r1, r2] != [0; 3] {
            return Err(FrameError::Reserved { found: [r0, r1, r2] });
        }
        let length = u32::from_le_bytes([l0, l1, l2, l3]);
        let fits = usize::try_from(length).ok().filter(|l| *l <= limit);
        let Some(length) = fits else {
            return Err(FrameError::TooLong { length: u64::from(length), limit });
        };
        let sequence = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        if sequence != expected {
            return Err(FrameError::Sequence { found: sequence, expected });
        }
        Ok(Self { kind, sequence, length, crc: u32::from_le_bytes([c0, c1, c2, c3]) })
    }

    /// Compares the stated checksum with that of the header and `payload`.
    ///
    /// # Errors
    /// [`FrameError::Checksum`] when they differ.
    pub fn verify(&self, payload: &[u8]) -> Result<(), FrameError> {
        let found = self.checksum(payload);
        if found == self.crc {
            Ok(())
        } else {
            Err(FrameError::Checksum { found, stated: self.crc })
        }
    }

    fn front(&self) -> [u8; 20] {
        let mut front = [0; 20];
        // The payload was held against MAX_PAYLOAD, so its length fits.
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let fields = MAGIC
            .into_iter()
            .chain([self.kind.byte(), 0, 0, 0])
            .chain(self.sequence.to_le_bytes())
            .chain(length.to_le_bytes());
        front.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        front
    }

    fn checksum(&self, payload: &[u8]) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&self.front());
        crc.update(payload);
        crc.finalize()
    }
}

/// A whole frame whose checksum and number were right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the payload is.
    pub kind: Kind,
    /// The payload's bytes.
    pub payload: Vec<u8>,
}

/// Takes bytes as they come and gives whole frames.
///
/// It never holds more than one frame of `limit` bytes beyond what it was given in one call.
#[derive(Debug)]
pub struct Decoder {
    buffer: Vec<u8>,
    next: u64,
    limit: usize,
}

impl Decoder {
    /// A decoder that expects frame 0 and accepts payloads of at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: Vec::new(), next: 0, limit: limit.min(MAX_PAYLOAD) }
    }

    /// Adds bytes that were received.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// Any [`FrameError`]; the decoder is of no use after one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some((head, rest)) = self.buffer.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let header = Header::decode(head, self.next, self.limit)?;
        let Some(payload) = rest.get(..header.length) else { return Ok(None) };
        header.verify(payload)?;
        let payload = payload.to_vec();
        self.buffer.drain(..HEADER + header.length);
        self.next = self.next.saturating_add(1);
        Ok(Some(Frame { kind: header.kind, payload }))
    }
}
