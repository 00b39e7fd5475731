//! Any bytes into the message decoders: what they accept reads back the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use reproduceml_protocol::{Reply, Request, message};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(request) = message::decode::<Request>(bytes) {
        if let Request::Predictions { array, .. } = &request {
            let _ = array.check(1 << 20);
        }
        if let Ok(again) = message::encode(&request) {
            assert_eq!(message::decode::<Request>(&again).ok(), Some(request));
        }
    }
    let _ = message::decode::<Reply>(bytes);
});
