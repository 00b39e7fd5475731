//! What a client reads: a message, and the array that it may announce, in frames with good
//! checksums. Nothing panics, and no more is taken than the limit or than was announced.
#![no_main]

use std::io::{Cursor, Read, Write};

use libfuzzer_sys::fuzz_target;
use reproduceml_protocol::{ArrayHeader, Digest, Dtype, Header, Kind, Reply, Wire};

const LIMIT: u64 = 1 << 16;

/// A stream that is only read.
struct Incoming(Cursor<Vec<u8>>);

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|input: (&[u8], Vec<u64>, Vec<(bool, &[u8])>)| {
    let (message, shape, pieces) = input;
    let whole: Vec<u8> = pieces.iter().flat_map(|(_, piece)| piece.iter().copied()).collect();
    let mut bytes = Vec::new();
    let mut push = |number: u64, kind, payload: &[u8]| {
        if let Ok(header) = Header::seal(kind, number, payload) {
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(payload);
        }
    };
    push(0, Kind::Control, message);
    for (number, (data, piece)) in (1..).zip(&pieces) {
        push(number, if *data { Kind::Data } else { Kind::Control }, piece);
    }
    let mut wire = Wire::new(Incoming(Cursor::new(bytes)));
    let array = match wire.receive::<Reply>() {
        Ok(Reply::Array { array, .. }) => array,
        Ok(_) => return,
        // No message: what follows is held against a shape of its own and the right digest.
        Err(_) => {
            let bytes = shape.iter().try_fold(1, |n: u64, d| n.checked_mul(*d)).unwrap_or(0);
            ArrayHeader { dtype: Dtype::U1, shape, bytes, sha256: Digest::of(&whole) }
        }
    };
    if let Ok(data) = wire.receive_data(&array, LIMIT) {
        assert!(data.len() as u64 == array.bytes && array.bytes <= LIMIT);
        assert_eq!(Digest::of(&data), array.sha256);
    }
});
