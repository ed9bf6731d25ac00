//! Snapshot objects, with a header so that the fuzzer gets further, and without.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use vault::snapshot::{decode_unverified, encode_unsigned};

fuzz_target!(|input: &[u8]| {
    let _ = decode_unverified(&Bytes::copy_from_slice(input));
    let mut bytes = vault::header::ObjectKind::Snapshot.header().to_vec();
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(input);
    let bytes = Bytes::from(bytes);
    if let Ok(object) = decode_unverified(&bytes) {
        let again = encode_unsigned(
            &object.envelope,
            object.epoch,
            &object.key_envelope,
            &object.body,
            &object.signer,
        );
        assert_eq!(again, &bytes[..bytes.len() - 64], "one meaning, one encoding");
    }
});
