//! Descriptors, index fragments and small records: whatever a custodian or a store may hand out.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use vault::VaultId;
use vault::header::ObjectKind;

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, rest) = input;
    let kinds = [
        ObjectKind::Descriptor,
        ObjectKind::Fragment,
        ObjectKind::DamageRecord,
        ObjectKind::TrashMark,
        ObjectKind::Pin,
        ObjectKind::Settings,
        ObjectKind::Abilities,
        ObjectKind::Locks,
    ];
    let mut bytes = kinds[kind as usize % kinds.len()].header().to_vec();
    bytes.extend_from_slice(rest);
    let bytes = Bytes::from(bytes);
    let vault = VaultId::new([0; 16]);
    let _ = vault::descriptor::Descriptor::decode(&bytes);
    if let Ok(packs) = vault::fragment::decode_unnamed(&bytes, vault) {
        let records: Vec<_> = packs.into_iter().map(|(record, _)| record).collect();
        assert_eq!(vault::fragment::encode(vault, &records), bytes, "one meaning, one encoding");
    }
    if let Ok(packs) = vault::damage::decode(&bytes, vault) {
        assert_eq!(vault::damage::encode(vault, &packs), bytes);
    }
    // Its reason is text, so that other bytes may come back changed.
    let _ = vault::trash::decode(&bytes, vault);
    let _ = vault::condemned::decode(&bytes, vault);
    let _ = vault::relocation::decode(&bytes, vault);
    if let Ok(pin) = vault::pins::Pin::decode(&bytes, vault) {
        assert_eq!(pin.encode(vault), bytes);
    }
    // Facts that are not known are left out.
    if let Ok(found) = vault::abilities::Abilities::decode(&bytes, vault) {
        let again = Bytes::from(found.encode(vault, [0; 16]));
        assert_eq!(vault::abilities::Abilities::decode(&again, vault), Ok(found));
    }
    // Its nonce is lost.
    if let Ok(until) = vault::locks::decode(&bytes, vault) {
        let again = Bytes::from(vault::locks::encode(vault, [0; 16], &until));
        assert_eq!(vault::locks::decode(&again, vault), Ok(until));
    }
    let _ = vault::settings::Settings::decode(&bytes, vault, &vault::signing::VerifyingKey::new([0; 32]));
});
