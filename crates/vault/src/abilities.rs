//! What the vault's store can do, as the last test of it found: what protects the vault from who holds the credential.
//!
//! ```text
//! header (8)  vault id (16)  nonce (16)  tested: seconds since 1970 by the store's clock (signed varint)
//! count of facts, each:  number (varint), each larger than the one before  value (signed varint)
//! ```
//! A fact that is not there is not known. One whose number is not known is ignored.
//!
//! A record is what somebody saw once, for people: nothing is ever decided by it.

use bytes::Bytes;
use store::{Kind, Store};

use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::name::{self, VaultId};
use crate::records;
use crate::wire::{Malformed, Reader, Write};

/// A record larger than this is refused.
pub const RECORD_MAX: u64 = 4096;

/// What a test of the store found out; `None` is what it could not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// When it was tested: seconds since 1970 (UTC), by the store's clock.
    pub tested: i64,
    /// Whether the store itself refuses to write what is there already, so that no look before a write is needed.
    pub creates_only: Option<bool>,
    /// After how long a listing had what was just written, in milliseconds; 0 is at once.
    pub listing_lag_ms: Option<u64>,
    /// Whether it keeps what is replaced or deleted as an older version.
    pub keeps_versions: Option<bool>,
    /// Whether objects can be locked against being deleted.
    pub locks: Option<bool>,
    /// For how many days every new object is locked; 0 when only those that somebody locks.
    pub lock_days: Option<u64>,
    /// Whether it lets others in by grants: URLs that allow one thing with one object for some time.
    pub gives_grants: Option<bool>,
    /// Whether the credential that it was tested with may delete.
    pub deletes: Option<bool>,
    /// The store's clock minus that of the machine, in seconds.
    pub clock_offset_seconds: Option<i64>,
}

/// The facts' numbers in the stored form.
mod number {
    pub const CREATES_ONLY: u64 = 1;
    pub const LISTING_LAG: u64 = 2;
    pub const VERSIONS: u64 = 3;
    pub const LOCKS: u64 = 4;
    pub const LOCK_DAYS: u64 = 5;
    pub const GRANTS: u64 = 6;
    pub const DELETES: u64 = 7;
    pub const CLOCK_OFFSET: u64 = 8;
}

impl Abilities {
    /// The stored form; its name is the hash of the result.
    pub fn encode(&self, vault: VaultId, nonce: [u8; 16]) -> Vec<u8> {
        let yes_or_no = |fact: Option<bool>| fact.map(i64::from);
        let amount = |fact: Option<u64>| fact.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
        let facts = [
            (number::CREATES_ONLY, yes_or_no(self.creates_only)),
            (number::LISTING_LAG, amount(self.listing_lag_ms)),
            (number::VERSIONS, yes_or_no(self.keeps_versions)),
            (number::LOCKS, yes_or_no(self.locks)),
            (number::LOCK_DAYS, amount(self.lock_days)),
            (number::GRANTS, yes_or_no(self.gives_grants)),
            (number::DELETES, yes_or_no(self.deletes)),
            (number::CLOCK_OFFSET, self.clock_offset_seconds),
        ];
        let known: Vec<_> = facts.iter().filter_map(|(number, value)| Some((*number, (*value)?))).collect();
        let mut out = ObjectKind::Abilities.header().to_vec();
        out.extend_from_slice(vault.bytes());
        out.extend_from_slice(&nonce);
        out.signed(self.tested);
        out.varint(known.len() as u64);
        for (number, value) in known {
            out.varint(number);
            out.signed(value);
        }
        out
    }

    /// Reads the stored form.
    pub fn decode(bytes: &Bytes, vault: VaultId) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        ObjectKind::Abilities.expect(&mut reader)?;
        if VaultId::read(&mut reader, "vault id")? != vault {
            return Err(Damage::ForeignVault);
        }
        reader.array::<16>("nonce")?;
        let mut found = Self { tested: reader.signed("time")?, ..Self::default() };
        let mut last = None;
        for _ in 0..reader.count("facts", 2)? {
            let number = reader.varint("fact")?;
            if last.is_some_and(|last| number <= last) {
                return Err(reader.malformed("fact", "the numbers do not ascend").into());
            }
            last = Some(number);
            match number {
                number::CREATES_ONLY => found.creates_only = Some(yes_or_no(&mut reader)?),
                number::LISTING_LAG => found.listing_lag_ms = Some(amount(&mut reader)?),
                number::VERSIONS => found.keeps_versions = Some(yes_or_no(&mut reader)?),
                number::LOCKS => found.locks = Some(yes_or_no(&mut reader)?),
                number::LOCK_DAYS => found.lock_days = Some(amount(&mut reader)?),
                number::GRANTS => found.gives_grants = Some(yes_or_no(&mut reader)?),
                number::DELETES => found.deletes = Some(yes_or_no(&mut reader)?),
                number::CLOCK_OFFSET => found.clock_offset_seconds = Some(reader.signed("value")?),
                _ => drop(reader.signed("value")?),
            }
        }
        reader.finish("record of abilities")?;
        Ok(found)
    }

    /// What the last test found; `None` when there was none. A record that cannot be read counts for nothing.
    pub async fn read(store: &dyn Store, vault: VaultId) -> Result<Option<Self>, VaultError> {
        let decode = |bytes: &Bytes| Self::decode(bytes, vault);
        let records = records::read_all(store, name::ABILITIES, RECORD_MAX, decode).await?;
        let readable = records.into_iter().filter_map(|record| record.content.ok());
        Ok(readable.max_by_key(|found| found.tested))
    }

    /// Writes them down, and removes what is there of earlier tests, where that is allowed; the object's name.
    pub async fn write(
        &self,
        store: &dyn Store,
        vault: VaultId,
        nonce: [u8; 16],
    ) -> Result<String, VaultError> {
        let decode = |bytes: &Bytes| Self::decode(bytes, vault);
        let earlier = records::read_all(store, name::ABILITIES, RECORD_MAX, decode).await?;
        let name = records::write(store, name::ABILITIES, self.encode(vault, nonce)).await?;
        for record in earlier.iter().filter(|record| record.object.name != name && !record.is_newer()) {
            match store.discard(&record.object.name).await {
                // A credential that can only add. The newest counts.
                Err(error) if error.kind == Kind::PermissionDenied => break,
                outcome => outcome?,
            }
        }
        Ok(name)
    }
}

fn yes_or_no(reader: &mut Reader<'_>) -> Result<bool, Malformed> {
    match reader.signed("value")? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.malformed("value", "it is neither yes nor no")),
    }
}

fn amount(reader: &mut Reader<'_>) -> Result<u64, Malformed> {
    let value = reader.signed("value")?;
    u64::try_from(value).map_err(|_| reader.malformed("value", "it is less than nothing"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use store::{Fault, Faulty, MemoryStore, Operation, Rule, When};

    use super::*;

    const VAULT: VaultId = VaultId::new([0x11; 16]);

    fn some(tested: i64) -> Abilities {
        Abilities {
            tested,
            creates_only: Some(true),
            listing_lag_ms: Some(0),
            keeps_versions: Some(false),
            locks: Some(false),
            lock_days: None,
            gives_grants: Some(true),
            deletes: Some(true),
            clock_offset_seconds: Some(-2),
        }
    }

    fn stored(bytes: &[u8]) -> Result<Abilities, Damage> {
        Abilities::decode(&Bytes::copy_from_slice(bytes), VAULT)
    }

    /// A record with these facts.
    fn with_facts(facts: &[(u64, i64)]) -> Vec<u8> {
        let mut bytes = Abilities { tested: 7, ..Abilities::default() }.encode(VAULT, [0; 16]);
        assert_eq!(bytes.pop(), Some(0), "no facts");
        bytes.varint(facts.len() as u64);
        for (number, value) in facts {
            bytes.varint(*number);
            bytes.signed(*value);
        }
        bytes
    }

    #[tokio::test]
    async fn the_last_test_counts_and_the_others_go() {
        let store = MemoryStore::new();
        assert_eq!(Abilities::read(&store, VAULT).await.unwrap(), None);
        let first = some(5).write(&store, VAULT, [1; 16]).await.unwrap();
        assert_eq!(Abilities::read(&store, VAULT).await.unwrap(), Some(some(5)));
        let second = some(9).write(&store, VAULT, [2; 16]).await.unwrap();
        assert_eq!(Abilities::read(&store, VAULT).await.unwrap(), Some(some(9)));
        let names: Vec<_> = store.list("").await.unwrap().into_iter().map(|object| object.name).collect();
        assert_eq!(names, std::slice::from_ref(&second));
        assert_ne!(first, second);
        // But for what a newer program wrote.
        let mut newer = some(7).encode(VAULT, [3; 16]);
        newer[6] = 2;
        let newer = records::write(&store, name::ABILITIES, newer).await.unwrap();
        let third = some(9).write(&store, VAULT, [4; 16]).await.unwrap();
        let names: Vec<_> = store.list("").await.unwrap().into_iter().map(|object| object.name).collect();
        assert_eq!(BTreeSet::from_iter(names), BTreeSet::from([newer, third.clone()]));
        let second = third;
        // What cannot be read counts for nothing.
        store.replace(&second, vec![Bytes::from_static(b"x")]).await.unwrap();
        assert_eq!(Abilities::read(&store, VAULT).await.unwrap(), None);
    }

    #[tokio::test]
    async fn who_may_not_delete_can_still_write_down_what_was_found() {
        let inner = std::sync::Arc::new(MemoryStore::new());
        let rule = Rule::new(When::Always, Fault::Error(Kind::PermissionDenied)).on(Operation::Delete);
        let store = Faulty::new(inner.clone(), 1, vec![rule]);
        for tested in [5, 9, 7] {
            some(tested).write(&store, VAULT, [tested as u8; 16]).await.unwrap();
        }
        assert_eq!(inner.list(name::ABILITIES).await.unwrap().len(), 3);
        assert_eq!(Abilities::read(&store, VAULT).await.unwrap(), Some(some(9)));
    }

    #[test]
    fn what_a_newer_program_found_out_besides_is_ignored() {
        let found = stored(&with_facts(&[(1, 0), (8, 3), (9, -5), (1 << 40, i64::MIN)])).unwrap();
        let expected = Abilities { tested: 7, creates_only: Some(false), ..Abilities::default() };
        assert_eq!(found, Abilities { clock_offset_seconds: Some(3), ..expected });
    }

    #[test]
    fn nonsense_is_refused() {
        for facts in
            [&[(3, 1), (1, 1)][..], &[(1, 1), (1, 1)], &[(1, 2)], &[(4, -1)], &[(2, -1)], &[(5, i64::MIN)]]
        {
            assert!(matches!(stored(&with_facts(facts)), Err(Damage::Malformed(_))), "{facts:?}");
        }
        let good = some(1).encode(VAULT, [0; 16]);
        for length in 0..good.len() {
            assert!(stored(&good[..length]).is_err(), "{length}");
        }
        assert!(stored(&[&good[..], &[0]].concat()).is_err());
        let elsewhere = Abilities::decode(&good.into(), VaultId::default());
        assert_eq!(elsewhere, Err(Damage::ForeignVault));
    }

    #[test]
    fn the_document_has_this_encoding() {
        let bytes = some(1_700_000_000).encode(VAULT, [0x66; 16]);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut document = include_str!("../../../docs/format.md").to_owned();
        document.retain(|letter| !letter.is_whitespace());
        assert!(document.contains(&hex), "{hex}");
    }

    fn amounts() -> impl Strategy<Value = Option<u64>> {
        proptest::option::of(0..=i64::MAX.unsigned_abs())
    }

    proptest! {
        #[test]
        fn what_was_found_comes_back(
            tested: i64,
            answers: [Option<bool>; 5],
            listing_lag_ms in amounts(),
            lock_days in amounts(),
            clock_offset_seconds: Option<i64>,
        ) {
            let [creates_only, keeps_versions, locks, gives_grants, deletes] = answers;
            let found = Abilities {
                tested,
                creates_only,
                listing_lag_ms,
                keeps_versions,
                locks,
                lock_days,
                gives_grants,
                deletes,
                clock_offset_seconds,
            };
            let bytes = found.encode(VAULT, [3; 16]);
            prop_assert!(bytes.len() as u64 <= RECORD_MAX);
            prop_assert_eq!(stored(&bytes), Ok(found));
        }

        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut near = ObjectKind::Abilities.header().to_vec();
            near.extend_from_slice(&[0; 32]);
            near.extend_from_slice(&bytes);
            let _ = Abilities::decode(&near.into(), VaultId::default());
        }
    }
}
