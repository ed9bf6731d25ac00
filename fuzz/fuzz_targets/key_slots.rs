//! Key slots: their public part, and what a person may type as a credential. Opening is not tried: it costs what a
//! passphrase should cost.
#![no_main]

use bytes::Bytes;
use content::secret::SecretText;
use content::slot::{Credential, Slot};
use libfuzzer_sys::fuzz_target;
use vault::header::ObjectKind;

fuzz_target!(|input: &[u8]| {
    let mut bytes = ObjectKind::KeySlot.header().to_vec();
    bytes.extend_from_slice(&[0; 24]);
    bytes.extend_from_slice(input);
    let _ = Slot::decode(&Bytes::from(bytes));
    if let Ok(text) = std::str::from_utf8(input) {
        let _ = Credential::recognise(SecretText::new(text.to_owned()));
    }
});
