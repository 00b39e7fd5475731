//! Any bytes into the frame decoder: it must neither panic nor give more than the limit.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reproduceml_protocol::Decoder;

const LIMIT: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
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
});
