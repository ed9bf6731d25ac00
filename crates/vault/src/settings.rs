//! What the owner may change about a vault after it was made: how long a forgotten snapshot can be brought back, in
//! which storage class packs of data are kept, and for how long objects are locked.
//!
//! Each change is a new object, signed by the owner, that names the one before; none is ever changed or deleted.
//!
//! ```text
//! header (8)  features (u64)  vault id (16)  sequence (varint)  previous settings' hash (32; zero for the first)
//! delete delay in seconds (varint)
//! extensions: count, each: tag (varint), value (sized)      unknown tags are kept and ignored
//! owner's public signing key (32)  signature (64) over everything before it
//! ```
//! An object that cannot be read, or that somebody else signed, counts for nothing.

mod class;
mod delays;
mod lock;

use std::collections::HashSet;

use bytes::Bytes;
use store::Store;

use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::name::{self, ObjectHash, VaultId};
use crate::records::{self, Record};
use crate::signing::{SIGNATURE_LENGTH, VerifyingKey};
use crate::wire::{Malformed, Reader, Write};

pub use class::{DATA_CLASS_TAG, data_class, data_may_be_cold, encode_class};
pub use delays::{DELAY_DEFAULT, DELAY_TAG, Delays, effective_delay, initial_delay};
pub use lock::{LOCK_MAX, LOCK_TAG, LockSetting, encode_lock, lock_setting, longest_lock, read_lock_setting};

/// The context string under which settings are signed.
pub const SIGNING_CONTEXT: &str = "strongroom 1 settings";
/// A settings object larger than this is refused.
pub const SETTINGS_MAX: u64 = 1 << 20;
/// No delay is longer, in seconds: a hundred years of 365 days.
pub const DELAY_MAX: u64 = 100 * 365 * 86_400;

/// One version of a vault's settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// One more than that of the version before; 1 for the first, because what the descriptor says comes before it.
    pub sequence: u64,
    /// The version before; zero for the first.
    pub previous: ObjectHash,
    /// How long a forgotten snapshot can be brought back, in seconds; at most [`DELAY_MAX`].
    pub delete_delay: u64,
    /// Further settings by tag.
    pub extensions: Vec<(u64, Bytes)>,
}

impl Settings {
    /// Everything up to the signature: what is signed.
    pub fn encode_unsigned(&self, vault: VaultId, owner: &VerifyingKey) -> Vec<u8> {
        let mut out = ObjectKind::Settings.header().to_vec();
        out.extend_from_slice(&0u64.to_le_bytes());
        out.extend_from_slice(vault.bytes());
        out.varint(self.sequence);
        out.extend_from_slice(self.previous.bytes());
        out.varint(self.delete_delay);
        out.varint(self.extensions.len() as u64);
        for (tag, value) in &self.extensions {
            out.varint(*tag);
            out.sized(value);
        }
        out.extend_from_slice(owner.bytes());
        out
    }

    /// Reads the stored form; the vault, the owner and the signature must be right.
    pub fn decode(bytes: &Bytes, vault: VaultId, owner: &VerifyingKey) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        ObjectKind::Settings.expect(&mut reader)?;
        match reader.u64("features")? {
            0 => {}
            bits => return Err(Damage::UnknownFeatures { bits }),
        }
        if VaultId::read(&mut reader, "vault id")? != vault {
            return Err(Damage::ForeignVault);
        }
        let sequence = reader.varint("sequence")?;
        let previous = ObjectHash::read(&mut reader, "previous settings")?;
        let delete_delay = reader.varint_max("delete delay", DELAY_MAX)?;
        let extensions = read_extensions(&mut reader, bytes)?;
        let signer = VerifyingKey::new(reader.array("owner")?);
        let signed = bytes.get(..reader.position()).unwrap_or_default();
        let signature: [u8; SIGNATURE_LENGTH] = reader.array("signature")?;
        reader.finish("settings")?;
        if signer != *owner {
            return Err(Damage::Signature);
        }
        signer.verify(SIGNING_CONTEXT, signed, &signature)?;
        Ok(Self { sequence, previous, delete_delay, extensions })
    }
}

fn read_extensions(reader: &mut Reader<'_>, bytes: &Bytes) -> Result<Vec<(u64, Bytes)>, Malformed> {
    let count = reader.count("extensions", 2)?;
    let mut extensions = Vec::with_capacity(count);
    for _ in 0..count {
        let tag = reader.varint("extension")?;
        let value = reader.sized("extension's value", SETTINGS_MAX as usize)?;
        extensions.push((tag, bytes.slice_ref(value)));
    }
    Ok(extensions)
}

/// Every version, the oldest first, and then what cannot be read.
pub async fn read_all(
    store: &dyn Store,
    vault: VaultId,
    owner: &VerifyingKey,
) -> Result<Vec<Record<Settings>>, VaultError> {
    let decode = |bytes: &Bytes| Settings::decode(bytes, vault, owner);
    let mut records = records::read_all(store, name::SETTINGS, SETTINGS_MAX, decode).await?;
    records.sort_by(|one, other| order(one).cmp(&order(other)));
    Ok(records)
}

/// The versions that count at the target of a copy (`there`) when one of the vault with `brought` is done, in the order of
/// [`read_all`]. A target that was given settings of its own keeps them, and otherwise those of the vault come
/// along: as `copy/begin.rs` does with the objects.
pub fn at_target(mut there: Vec<Record<Settings>>, brought: Vec<Record<Settings>>) -> Vec<Record<Settings>> {
    let names = |records: &[Record<Settings>]| -> HashSet<String> {
        records.iter().map(|record| record.object.name.clone()).collect()
    };
    let (known, coming) = (names(&there), names(&brought));
    if there.iter().any(|record| record.content.is_ok() && !coming.contains(&record.object.name)) {
        return there;
    }
    there.extend(brought.into_iter().filter(|record| !known.contains(&record.object.name)));
    there.sort_by_key(|record| record.content.as_ref().map_or(u64::MAX, |settings| settings.sequence));
    there
}

/// Two that were written at once have the same sequence; then the store's clock decides, and then the name.
fn order(record: &Record<Settings>) -> (u64, std::time::SystemTime, &str) {
    let sequence = record.content.as_ref().map_or(u64::MAX, |settings| settings.sequence);
    (sequence, record.object.modified, &record.object.name)
}

/// Stores signed settings; the object's name.
pub async fn write(store: &dyn Store, signed: Vec<u8>) -> Result<String, VaultError> {
    records::write(store, name::SETTINGS, signed).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signing;
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;

    const VAULT: VaultId = VaultId::new([1; 16]);

    fn key(seed: u8) -> (SigningKey, VerifyingKey) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let public = VerifyingKey::new(key.verifying_key().to_bytes());
        (key, public)
    }

    fn some_settings(sequence: u64) -> Settings {
        Settings {
            sequence,
            previous: ObjectHash::of(b"before"),
            delete_delay: 86_400,
            extensions: vec![(9, Bytes::from_static(b"later"))],
        }
    }

    fn signed(settings: &Settings, by: u8) -> Vec<u8> {
        let (key, public) = key(by);
        let mut bytes = settings.encode_unsigned(VAULT, &public);
        bytes.extend_from_slice(&key.sign(&signing::message(SIGNING_CONTEXT, &bytes)).to_bytes());
        bytes
    }

    #[tokio::test]
    async fn versions_come_back_in_order_and_those_of_others_are_told_apart() {
        let store = store::MemoryStore::new();
        for (sequence, by) in [(2, 5), (1, 5), (3, 6)] {
            write(&store, signed(&some_settings(sequence), by)).await.unwrap();
        }
        let records = read_all(&store, VAULT, &key(5).1).await.unwrap();
        let found: Vec<_> = records.into_iter().map(|record| record.content).collect();
        assert_eq!(found, [Ok(some_settings(1)), Ok(some_settings(2)), Err(Damage::Signature)]);
    }

    #[tokio::test]
    async fn what_comes_counts_unless_the_copy_has_settings_of_its_own() {
        async fn place(all: &[Settings]) -> store::MemoryStore {
            let store = store::MemoryStore::new();
            for settings in all {
                write(&store, signed(settings, 5)).await.unwrap();
            }
            store
        }
        let named = |sequence, text: &'static str| Settings {
            extensions: vec![(9, Bytes::from_static(text.as_bytes()))],
            ..some_settings(sequence)
        };
        let (both, comes, last) = (named(1, "both"), named(2, "comes"), named(4, "last"));
        let owner = key(5).1;
        let brought = place(&[both.clone(), comes.clone(), last.clone()]).await;
        let own = named(2, "own");
        for (there, expected) in [
            (vec![], vec![&both, &comes, &last]),
            (vec![both.clone()], vec![&both, &comes, &last]),
            (vec![both.clone(), own.clone()], vec![&both, &own]),
        ] {
            let there = place(&there).await;
            // What a stranger put there is nobody's setting.
            write(&there, signed(&named(9, "foreign"), 6)).await.unwrap();
            let read = [read_all(&there, VAULT, &owner).await, read_all(&brought, VAULT, &owner).await];
            let [there, brought] = read.map(Result::unwrap);
            let counting = at_target(there, brought).into_iter().filter_map(|record| record.content.ok());
            assert_eq!(counting.collect::<Vec<_>>().iter().collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn a_delay_beyond_all_measure_is_refused() {
        let settings = Settings { delete_delay: DELAY_MAX + 1, ..some_settings(1) };
        let outcome = Settings::decode(&signed(&settings, 5).into(), VAULT, &key(5).1);
        assert!(matches!(outcome, Err(Damage::Malformed(_))), "{outcome:?}");
    }

    proptest! {
        #[test]
        fn every_flip_is_found(at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = signed(&some_settings(1), 5);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(Settings::decode(&bytes.into(), VAULT, &key(5).1).is_err());
        }

        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut near = ObjectKind::Settings.header().to_vec();
            near.extend_from_slice(&[0; 24]);
            near.extend_from_slice(&bytes);
            let _ = Settings::decode(&near.into(), VaultId::default(), &key(5).1);
        }
    }
}
