//! What is inside a segment once it is opened: a method, a length, and bytes for zstd. Somebody with the key may have
//! written anything there.
#![no_main]

use std::sync::OnceLock;

use content::Keyring;
use content::envelope::{DataKey, Place, Purpose};
use content::segment::{Opener, RAW_SEGMENT_MAX};
use libfuzzer_sys::fuzz_target;
use vault::VaultId;

fn key() -> &'static DataKey {
    static KEY: OnceLock<DataKey> = OnceLock::new();
    KEY.get_or_init(|| {
        let keyring = Keyring::generate(VaultId::new([0; 16]));
        let place = Place { vault: VaultId::new([0; 16]), id: [0; 16], purpose: Purpose::Data };
        DataKey::generate(keyring.current(), place).expect("a key is made").0
    })
}

fuzz_target!(|input: &[u8]| {
    let mut opener = Opener::new();
    let _ = opener.open(input, key(), 0);
    let mut sealed = input.to_vec();
    key().seal(0, &mut sealed).expect("it seals");
    if let Ok(raw) = opener.open(&sealed, key(), 0) {
        assert!(raw.len() <= RAW_SEGMENT_MAX);
    }
});
