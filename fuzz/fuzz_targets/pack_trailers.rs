//! Pack trailers and where they are found.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use vault::pack::{Trailer, trailer_in_tail, verify_whole};
use vault::{ObjectHash, VaultId};

fuzz_target!(|input: &[u8]| {
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(trailer) = Trailer::decode(&bytes) {
        assert_eq!(trailer.encode(), input, "one meaning, one encoding");
    }
    let _ = trailer_in_tail(&bytes, input.len() as u64);
    let _ = trailer_in_tail(&bytes, u64::MAX);
    let _ = verify_whole(&bytes, ObjectHash::of(&bytes), VaultId::new([0; 16]));
});
