//! Any bytes into the frame decoder: it must neither panic nor give more than the limit.
//!
//! The bytes are taken twice: as they are, and as a recipe of frames with good checksums, since no
//! fuzzer guesses a CRC-32 and everything behind the first one would stay unseen.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reproduceml_protocol::{Decoder, Header, Kind};

const LIMIT: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    decode(bytes);
    decode(&frames(bytes));
});

fn decode(bytes: &[u8]) {
    let mut decoder = Decoder::new(LIMIT);
    for chunk in bytes.chunks(97) {
        decoder.push(chunk);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => assert!(frame.payload.len() <= LIMIT),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// Frames of the pieces of `bytes`: each piece begins with a byte that says what is wrong with
/// its frame and one with its length.
fn frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut made = Vec::new();
    let mut number = 0;
    while let [what, length, rest @ ..] = bytes {
        let (payload, rest) = rest.split_at((*length as usize * 20).min(rest.len()));
        bytes = rest;
        let kind = if what & 1 == 0 { Kind::Control } else { Kind::Data };
        let shift = u64::from(what & 15 == 15);
        let Ok(header) = Header::seal(kind, number + shift, payload) else { return made };
        made.extend_from_slice(&header.encode());
        made.extend_from_slice(payload);
        number += 1;
    }
    made
}
