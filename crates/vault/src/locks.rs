//! Until when which object is locked, so that a cleanup need not ask for each.
//!
//! ```text
//! header (8)  vault id (16)  nonce (16)
//! count of objects, each:  name (sized)  end of its lock: seconds since 1970 by the store's clock (signed varint)
//! ```
//! A record is a convenience: what no record names is asked of the store. An object that is not locked stands in none.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use store::Store;

use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::name::{self, VaultId};
use crate::records;
use crate::wire::{Reader, Write};

/// A record larger than this is refused.
pub const RECORD_MAX: u64 = 256 << 20;

/// What all records say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Locks {
    /// The end of each object's lock, by its name: seconds since 1970 (UTC).
    pub until: BTreeMap<String, i64>,
    names: Vec<String>,
}

impl Locks {
    /// Reads all records. One that cannot be read counts for nothing.
    pub async fn read(store: &dyn Store, vault: VaultId) -> Result<Self, VaultError> {
        let mut locks = Self::default();
        let records = records::read_all(store, name::LOCKS, RECORD_MAX, |bytes| decode(bytes, vault)).await?;
        for record in records {
            if !record.is_newer() {
                locks.names.push(record.object.name);
            }
            for (name, until) in record.content.unwrap_or_default() {
                let known = locks.until.entry(name).or_insert(until);
                // A lock only ever becomes longer.
                *known = until.max(*known);
            }
        }
        Ok(locks)
    }

    /// The end of an object's lock, if it is known.
    pub fn of(&self, name: &str) -> Option<SystemTime> {
        let seconds = *self.until.get(name)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    }

    /// Writes everything as one record, and removes those it replaces.
    pub async fn write(&self, store: &dyn Store, vault: VaultId, nonce: [u8; 16]) -> Result<(), VaultError> {
        let written = records::write(store, name::LOCKS, encode(vault, nonce, &self.until)).await?;
        for name in self.names.iter().filter(|name| **name != written) {
            store.discard(name).await?;
        }
        Ok(())
    }
}

/// The stored form; its name is the hash of the result. `nonce` is random, so that no name is written twice.
pub fn encode(vault: VaultId, nonce: [u8; 16], until: &BTreeMap<String, i64>) -> Vec<u8> {
    let mut out = ObjectKind::Locks.header().to_vec();
    out.extend_from_slice(vault.bytes());
    out.extend_from_slice(&nonce);
    out.varint(until.len() as u64);
    for (name, until) in until {
        out.sized(name.as_bytes());
        out.signed(*until);
    }
    out
}

/// Reads the stored form.
pub fn decode(bytes: &Bytes, vault: VaultId) -> Result<BTreeMap<String, i64>, Damage> {
    let mut reader = Reader::new(bytes);
    ObjectKind::Locks.expect(&mut reader)?;
    if VaultId::read(&mut reader, "vault id")? != vault {
        return Err(Damage::ForeignVault);
    }
    reader.array::<16>("nonce")?;
    let mut until = BTreeMap::new();
    for _ in 0..reader.count("locked objects", 3)? {
        let name = reader.sized("name", store::name::NAME_BYTES_MAX)?;
        let name = std::str::from_utf8(name).ok().filter(|name| store::name::check(name).is_ok());
        let name = name.ok_or_else(|| reader.malformed("name", "it is no name of an object"))?;
        let end = reader.signed("end")?;
        if until.last_key_value().is_some_and(|(last, _): (&String, _)| last.as_str() >= name) {
            return Err(reader.malformed("name", "the names do not ascend").into());
        }
        until.insert(name.to_owned(), end);
    }
    reader.finish("record of locks")?;
    Ok(until)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VAULT: VaultId = VaultId::new([0x11; 16]);

    #[tokio::test]
    async fn records_are_joined_and_replaced() {
        let store = store::MemoryStore::new();
        for (round, ends) in [[("a", 5), ("b", 6)], [("a", 3), ("c", 9)]].into_iter().enumerate() {
            let until = ends.into_iter().map(|(name, end)| (name.to_owned(), end)).collect();
            let bytes = encode(VAULT, [round as u8; 16], &until);
            records::write(&store, name::LOCKS, bytes).await.unwrap();
        }
        records::write(&store, name::LOCKS, b"?".to_vec()).await.unwrap();
        let locks = Locks::read(&store, VAULT).await.unwrap();
        let ends: Vec<_> = locks.until.iter().map(|(name, end)| (name.as_str(), *end)).collect();
        assert_eq!(ends, [("a", 5), ("b", 6), ("c", 9)]);
        assert_eq!(locks.of("a"), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(5)));
        locks.write(&store, VAULT, [7; 16]).await.unwrap();
        assert_eq!(store.list("").await.unwrap().len(), 1);
        let mut newer = encode(VAULT, [0; 16], &BTreeMap::new());
        newer[6] = 2;
        let newer = records::write(&store, name::LOCKS, newer).await.unwrap();
        Locks::read(&store, VAULT).await.unwrap().write(&store, VAULT, [8; 16]).await.unwrap();
        assert!(store.get(&newer, RECORD_MAX).await.is_ok(), "a newer program's stays");
        assert_eq!(Locks::read(&store, VAULT).await.unwrap().until, locks.until);
    }

    #[test]
    fn nonsense_is_refused() {
        let record = |names: &[&str]| {
            let mut bytes = encode(VAULT, [0; 16], &BTreeMap::new());
            assert_eq!(bytes.pop(), Some(0), "no objects");
            bytes.varint(names.len() as u64);
            for name in names {
                bytes.sized(name.as_bytes());
                bytes.signed(1);
            }
            decode(&bytes.into(), VAULT)
        };
        assert_eq!(record(&["keys/a", "packs/ab"]).unwrap().len(), 2);
        for names in [&["b", "a"][..], &["a", "a"], &["../a"], &[""], &["\n"]] {
            assert!(matches!(record(names), Err(Damage::Malformed(_))), "{names:?}");
        }
        let elsewhere = decode(&encode(VAULT, [0; 16], &BTreeMap::new()).into(), VaultId::default());
        assert_eq!(elsewhere, Err(Damage::ForeignVault));
    }

    #[test]
    fn the_document_has_this_encoding() {
        let until = BTreeMap::from([("strongroom.vault".to_owned(), 1_700_000_000)]);
        let hex: String =
            encode(VAULT, [0x66; 16], &until).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut document = include_str!("../../../docs/format.md").to_owned();
        document.retain(|letter| !letter.is_whitespace());
        assert!(document.contains(&hex), "{hex}");
    }

    proptest! {
        #[test]
        fn a_record_comes_back(ends in proptest::collection::btree_map("[a-z]{1,9}/[0-9a-f]{1,20}", any::<i64>(), 0..9)) {
            let bytes = Bytes::from(encode(VAULT, [3; 16], &ends));
            let is_reserved = ends.keys().any(|name| name.starts_with("tmp/"));
            prop_assert_eq!(decode(&bytes, VAULT).ok(), (!is_reserved).then_some(ends));
        }

        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut near = ObjectKind::Locks.header().to_vec();
            near.extend_from_slice(&[0; 32]);
            near.extend_from_slice(&bytes);
            let _ = decode(&near.into(), VaultId::default());
        }
    }
}
