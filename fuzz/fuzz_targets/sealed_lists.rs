//! What stands inside sealed parts: pack directories, snapshot bodies, keyrings.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(segments) = content::directory::decode(input) {
        assert_eq!(content::directory::encode(&segments), input, "one meaning, one encoding");
    }
    let mut bytes = vec![1];
    bytes.extend_from_slice(input);
    if let Ok(body) = content::body::Body::decode(&bytes) {
        assert_eq!(content::body::Body::decode(&body.encode()).expect("what was written reads"), body);
    }
    let _ = content::Keyring::decode(input);
});
