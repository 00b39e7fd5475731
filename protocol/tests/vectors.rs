//! The vectors that every client's tests read too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use reproduceml_protocol::frame::HEADER;
use reproduceml_protocol::{
    Bits, Decoder, FrameError, Header, Kind, MAX_PAYLOAD, Reply, Request, message,
};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Vector {
    name: String,
    number: u64,
    bytes: String,
    kind: Option<u8>,
    payload: Option<String>,
    error: Option<String>,
}

fn word(error: &FrameError) -> &'static str {
    match error {
        FrameError::Magic { .. } => "magic",
        FrameError::Kind { .. } => "kind",
        FrameError::Reserved { .. } => "reserved",
        FrameError::TooLong { .. } => "too-long",
        FrameError::Sequence { .. } => "sequence",
        FrameError::Checksum { .. } => "checksum",
    }
}

/// The payload of one frame, or the word for what is wrong with it.
fn open(bytes: &[u8], number: u64) -> Result<(Kind, Vec<u8>), &'static str> {
    let (head, rest) = bytes.split_first_chunk::<HEADER>().ok_or("truncated")?;
    let header = Header::decode(head, number, MAX_PAYLOAD).map_err(|e| word(&e))?;
    let payload = rest.get(..header.length).ok_or("truncated")?;
    header.verify(payload).map_err(|e| word(&e))?;
    Ok((header.kind, payload.to_vec()))
}

#[test]
fn frames() {
    let vectors: Vec<Vector> =
        serde_json::from_str(include_str!("../vectors/frames.json")).unwrap();
    for vector in vectors {
        let bytes = hex::decode(&vector.bytes).unwrap();
        match (open(&bytes, vector.number), vector.error) {
            (Err(found), Some(expected)) => assert_eq!(found, expected, "{}", vector.name),
            (Ok((kind, payload)), None) => {
                assert_eq!(Some(kind.byte()), vector.kind, "{}", vector.name);
                assert_eq!(hex::encode(&payload), vector.payload.unwrap(), "{}", vector.name);
                let sealed = Header::seal(kind, vector.number, &payload).unwrap();
                let again = [&sealed.encode()[..], &payload].concat();
                assert_eq!(again, bytes, "{}: written as it was read", vector.name);
            }
            (found, expected) => panic!("{}: {found:?}, expected {expected:?}", vector.name),
        }
        // The incremental decoder agrees, however the bytes come.
        if vector.number == 0 {
            let mut decoder = Decoder::new(MAX_PAYLOAD);
            let mut last = Ok(None);
            for byte in &bytes {
                decoder.push(&[*byte]);
                last = decoder.next_frame();
                if last.is_err() {
                    break;
                }
            }
            let whole = open(&bytes, 0);
            match last {
                Ok(Some(frame)) => assert_eq!(whole, Ok((frame.kind, frame.payload))),
                Ok(None) => assert_eq!(whole, Err("truncated")),
                Err(error) => assert_eq!(whole, Err(word(&error))),
            }
        }
    }
}

#[derive(Deserialize)]
struct Messages {
    requests: Vec<Value>,
    replies: Vec<Value>,
    bad: Vec<String>,
    bits: Vec<Number>,
}

#[derive(Deserialize)]
struct Number {
    bits: Bits,
    number: String,
}

fn messages() -> Messages {
    serde_json::from_str(include_str!("../vectors/messages.json")).unwrap()
}

#[test]
fn messages_are_read_and_written_alike() {
    for value in messages().requests {
        let bytes = serde_json::to_vec(&value).unwrap();
        let read: Request = message::decode(&bytes).unwrap_or_else(|e| panic!("{value}: {e}"));
        let written: Value = serde_json::from_slice(&message::encode(&read).unwrap()).unwrap();
        assert_eq!(written, value);
    }
    for value in messages().replies {
        let bytes = serde_json::to_vec(&value).unwrap();
        let read: Reply = message::decode(&bytes).unwrap_or_else(|e| panic!("{value}: {e}"));
        let written: Value = serde_json::from_slice(&message::encode(&read).unwrap()).unwrap();
        assert_eq!(written, value);
    }
}

#[test]
fn bad_messages_are_refused() {
    for text in messages().bad {
        assert!(message::decode::<Request>(text.as_bytes()).is_err(), "{text}");
    }
    let deep = "[".repeat(100_000);
    assert!(message::decode::<Request>(deep.as_bytes()).is_err(), "depth is bounded");
    let long = format!("{{\"type\":\"ping\",\"x\":\"{}\"}}", "x".repeat(MAX_PAYLOAD));
    assert!(message::decode::<Request>(long.as_bytes()).is_err(), "length is bounded");
}

#[test]
fn numbers_keep_their_bits() {
    for Number { bits, number } in messages().bits {
        let parsed: f64 = number.parse().unwrap();
        assert_eq!(bits, Bits::of(parsed), "{number}");
        assert_eq!(bits.number().to_bits(), parsed.to_bits());
    }
}

#[test]
fn every_error_code_has_its_text() {
    for (code, text) in reproduceml_protocol::ErrorCode::ALL {
        assert_eq!(code.text(), *text);
        assert_eq!(serde_json::to_value(code).unwrap(), *text);
        assert_eq!(
            serde_json::from_value::<reproduceml_protocol::ErrorCode>((*text).into()).unwrap(),
            *code
        );
    }
}
