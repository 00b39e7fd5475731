//! What holds for any bytes: nothing panics, nothing is invented, nothing grows beyond its limit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use proptest::prelude::*;
use reproduceml_protocol::frame::HEADER;
use reproduceml_protocol::{ArrayHeader, Decoder, Dtype, Header, Kind, Reply, Request, message};

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Control), Just(Kind::Data)]
}

fn frames() -> impl Strategy<Value = Vec<(Kind, Vec<u8>)>> {
    prop::collection::vec((kind(), prop::collection::vec(any::<u8>(), 0..200)), 1..8)
}

fn encode(frames: &[(Kind, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (number, (kind, payload)) in frames.iter().enumerate() {
        bytes.extend(Header::seal(*kind, number as u64, payload).unwrap().encode());
        bytes.extend(payload);
    }
    bytes
}

fn decode(bytes: &[u8], limit: usize) -> Vec<(Kind, Vec<u8>)> {
    let mut decoder = Decoder::new(limit);
    decoder.push(bytes);
    let mut frames = Vec::new();
    while let Ok(Some(frame)) = decoder.next_frame() {
        frames.push((frame.kind, frame.payload));
    }
    frames
}

proptest! {
    #[test]
    fn what_is_sent_arrives(frames in frames(), cuts in prop::collection::vec(1_usize..50, 1..50)) {
        let bytes = encode(&frames);
        let mut decoder = Decoder::new(4096);
        let mut arrived = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(rest.len().min(*cut));
            decoder.push(now);
            while let Some(frame) = decoder.next_frame().unwrap() {
                arrived.push((frame.kind, frame.payload));
            }
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(arrived, frames);
    }

    #[test]
    fn a_flipped_bit_never_passes(frames in frames(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = encode(&frames);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        let arrived = decode(&bytes, 4096);
        // Frames before the damage are whole, and none comes after it.
        let mut end = 0;
        let mut whole = 0;
        for (_, payload) in &frames {
            end += HEADER + payload.len();
            if end > at {
                break;
            }
            whole += 1;
        }
        prop_assert_eq!(&arrived[..], &frames[..whole]);
    }

    #[test]
    fn frames_cannot_be_repeated_or_swapped(frames in frames(), a in any::<prop::sample::Index>()) {
        let a = a.index(frames.len());
        let mut bytes = encode(&frames);
        let start: usize = frames[..a].iter().map(|(_, p)| HEADER + p.len()).sum();
        let again = bytes[start..start + HEADER + frames[a].1.len()].to_vec();
        bytes.extend(again);
        prop_assert_eq!(decode(&bytes, 4096), frames);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        for frame in decode(&bytes, 64) {
            prop_assert!(frame.1.len() <= 64);
        }
        let _ = message::decode::<Request>(&bytes);
        let _ = message::decode::<Reply>(&bytes);
    }

    #[test]
    fn any_text_is_survived(text in r#"\{"type":"(seed|epoch|hello|predictions)",.{0,80}\}"#) {
        let _ = message::decode::<Request>(text.as_bytes());
    }

    #[test]
    fn array_headers_agree_with_themselves(
        shape in prop::collection::vec(any::<u64>(), 0..10),
        bytes in any::<u64>(),
        limit in any::<u64>(),
    ) {
        for dtype in Dtype::ALL {
            let sha256 = reproduceml_protocol::Digest([0; 32]);
            let header = ArrayHeader { dtype, shape: shape.clone(), bytes, sha256 };
            if header.check(limit).is_ok() {
                prop_assert!(bytes <= limit);
                let product: u128 = shape.iter().map(|d| u128::from(*d)).product();
                prop_assert_eq!(product * u128::from(dtype.size()), u128::from(bytes));
            }
        }
    }
}
