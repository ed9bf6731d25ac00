//! The trash: snapshots that were forgotten and can still be brought back.
//!
//! Forgetting a snapshot writes a mark; the snapshot itself stays where it is. Until the vault's delay has passed since
//! the mark was written, by the store's clock, taking the mark away brings the snapshot back. After that the collector
//! may see it as gone. The mark stays behind when the snapshot is deleted: it explains the gap in its machine's chain,
//! and keeps a copy of the vault from bringing the snapshot back.
//!
//! ```text
//! header (8)  vault id (16)  count, each mark:
//!    nonce (16)  snapshot's hash (32)  system id (16)  sequence (varint)  previous snapshot's hash (32)
//!    written: seconds (signed varint)  who and why (sized, text, at most 1024 bytes)
//! ```
//! Nonces are random, so that no name is ever written twice: a delete that arrives late can only hit its own mark.
//! Marks of snapshots that were deleted are gathered in one object by the collector.
//! A mark that cannot be read counts for nothing: its snapshot lives.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use store::Store;

use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::name::{self, ObjectHash, SnapshotId, SystemId, VaultId};
use crate::records;
use crate::wire::{Reader, Write};

/// An object of marks larger than this is refused.
pub const RECORD_MAX: u64 = 64 << 20;
const REASON_MAX: usize = 1024;

/// What a mark says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Random.
    pub nonce: [u8; 16],
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its machine.
    pub system: SystemId,
    /// Its number among its machine's snapshots.
    pub sequence: u64,
    /// The snapshot before it.
    pub previous: SnapshotId,
    /// When it was written by the writer's clock: for people, and for nothing else. Seconds since 1970 (UTC).
    pub written: i64,
    /// Who forgot it and why.
    pub reason: String,
}

impl Mark {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.nonce);
        out.extend_from_slice(self.snapshot.bytes());
        out.extend_from_slice(self.system.bytes());
        out.varint(self.sequence);
        out.extend_from_slice(self.previous.bytes());
        out.signed(self.written);
        let mut end = self.reason.len().min(REASON_MAX);
        while !self.reason.is_char_boundary(end) {
            end -= 1;
        }
        out.sized(self.reason.get(..end).unwrap_or_default().as_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Damage> {
        Ok(Self {
            nonce: reader.array("nonce")?,
            snapshot: ObjectHash::read(reader, "snapshot")?,
            system: SystemId::read(reader, "system id")?,
            sequence: reader.varint("sequence")?,
            previous: ObjectHash::read(reader, "previous snapshot")?,
            written: reader.signed("time")?,
            reason: String::from_utf8_lossy(reader.sized("reason", REASON_MAX)?).into_owned(),
        })
    }
}

/// The stored form of marks; its name is the hash of the result.
pub fn encode(vault: VaultId, marks: &[Mark]) -> Vec<u8> {
    let mut out = ObjectKind::TrashMark.header().to_vec();
    out.extend_from_slice(vault.bytes());
    out.varint(marks.len() as u64);
    marks.iter().for_each(|mark| mark.encode(&mut out));
    out
}

/// Reads the stored form.
pub fn decode(bytes: &Bytes, vault: VaultId) -> Result<Vec<Mark>, Damage> {
    let mut reader = Reader::new(bytes);
    ObjectKind::TrashMark.expect(&mut reader)?;
    if VaultId::read(&mut reader, "vault id")? != vault {
        return Err(Damage::ForeignVault);
    }
    let count = reader.count("trash marks", 99)?;
    let mut marks = Vec::with_capacity(count);
    for _ in 0..count {
        marks.push(Mark::decode(&mut reader)?);
    }
    reader.finish("trash marks")?;
    Ok(marks)
}

/// A snapshot in the trash.
#[derive(Debug, Clone)]
pub struct Forgotten {
    /// When it was forgotten, by the store's clock: the newest mark counts.
    pub since: SystemTime,
    /// What its newest mark says.
    pub mark: Mark,
    /// The names of all its marks, the oldest first.
    pub marks: Vec<String>,
}

/// Everything in the trash, and what was deleted from it and is still remembered.
#[derive(Debug, Clone, Default)]
pub struct Trash {
    by_snapshot: HashMap<SnapshotId, Forgotten>,
}

impl Trash {
    /// Reads all marks.
    pub async fn read(store: &dyn Store, vault: VaultId) -> Result<Self, VaultError> {
        let mut trash = Self::default();
        let mut records =
            records::read_all(store, name::TRASH, RECORD_MAX, |bytes| decode(bytes, vault)).await?;
        records.sort_by_key(|record| record.object.modified);
        for record in records {
            for mark in record.content.unwrap_or_default() {
                trash.add(record.object.name.clone(), record.object.modified, mark);
            }
        }
        Ok(trash)
    }

    fn add(&mut self, name: String, since: SystemTime, mark: Mark) {
        let forgotten = self.by_snapshot.entry(mark.snapshot).or_insert_with(|| Forgotten {
            since,
            mark: mark.clone(),
            marks: Vec::new(),
        });
        if since > forgotten.since {
            (forgotten.since, forgotten.mark) = (since, mark);
        }
        forgotten.marks.push(name);
    }

    /// What is known of a forgotten snapshot; `None` when it is not in the trash.
    pub fn get(&self, snapshot: SnapshotId) -> Option<&Forgotten> {
        self.by_snapshot.get(&snapshot)
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Forgotten> {
        self.by_snapshot.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_snapshot.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_snapshot.is_empty()
    }
}

/// Puts a snapshot into the trash; the mark's name.
pub async fn forget(store: &dyn Store, vault: VaultId, mark: &Mark) -> Result<String, VaultError> {
    records::write(store, name::TRASH, encode(vault, std::slice::from_ref(mark))).await
}

/// Takes a snapshot's marks away. Whether it is not too late is for the caller to see first. The newest, which counts, goes
/// last: with an older one alone its time could be over already.
pub async fn take_back(store: &dyn Store, forgotten: &Forgotten) -> Result<(), VaultError> {
    for mark in &forgotten.marks {
        store.discard(mark).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn a_mark(nonce: u8, reason: &str) -> Mark {
        Mark {
            nonce: [nonce; 16],
            snapshot: ObjectHash::of(b"snapshot"),
            system: SystemId::new([2; 16]),
            sequence: 7,
            previous: ObjectHash::of(b"before"),
            written: 1_700_000_000,
            reason: reason.to_owned(),
        }
    }

    #[tokio::test]
    async fn a_snapshot_goes_into_the_trash_and_comes_back() {
        let store = store::MemoryStore::new();
        let vault = VaultId::new([1; 16]);
        for nonce in [1, 2] {
            forget(&store, vault, &a_mark(nonce, "by hand")).await.unwrap();
        }
        let trash = Trash::read(&store, vault).await.unwrap();
        let forgotten = trash.get(ObjectHash::of(b"snapshot")).unwrap();
        assert_eq!((trash.len(), forgotten.marks.len(), forgotten.mark.sequence), (1, 2, 7));
        assert!(Trash::read(&store, VaultId::default()).await.unwrap().is_empty(), "another vault's");
        take_back(&store, forgotten).await.unwrap();
        assert!(Trash::read(&store, vault).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn while_marks_are_taken_away_the_newest_counts() {
        use store::{Fault, Faulty, Kind, Operation, Rule, When};
        let vault = VaultId::new([1; 16]);
        let inner = std::sync::Arc::new(store::MemoryStore::new());
        for nonce in 0..8 {
            forget(inner.as_ref(), vault, &a_mark(nonce, "by hand")).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        let read = async || Trash::read(inner.as_ref(), vault).await.unwrap();
        let since = read().await.get(ObjectHash::of(b"snapshot")).unwrap().since;
        for left in (1..=8).rev() {
            let trash = read().await;
            let forgotten = trash.get(ObjectHash::of(b"snapshot")).unwrap();
            assert_eq!((forgotten.marks.len(), forgotten.since), (left, since));
            let rule = Rule::new(When::From(1), Fault::Error(Kind::Unavailable)).on(Operation::Delete);
            let outcome = take_back(&Faulty::new(inner.clone(), 0, vec![rule]), forgotten).await;
            assert_eq!(outcome.is_ok(), left == 1);
        }
        assert!(read().await.is_empty());
    }

    #[test]
    fn the_document_has_this_encoding() {
        let mark = Mark {
            nonce: [0x66; 16],
            snapshot: ObjectHash::new([0x44; 32]),
            system: SystemId::new([0x33; 16]),
            sequence: 2,
            previous: ObjectHash::new([0x55; 32]),
            written: 1_700_000_000,
            reason: "named".to_owned(),
        };
        let bytes = encode(VaultId::new([0x11; 16]), &[mark]);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut document = include_str!("../../../docs/format.md").to_owned();
        document.retain(|letter| !letter.is_whitespace());
        assert!(document.contains(&hex), "{hex}");
    }

    proptest! {
        #[test]
        fn a_mark_comes_back(nonce: u8, reason in "\\PC{0,40}") {
            let mark = a_mark(nonce, &reason);
            let vault = VaultId::new([1; 16]);
            let marks = vec![mark.clone(), a_mark(9, ""), mark];
            prop_assert_eq!(decode(&encode(vault, &marks).into(), vault).unwrap(), marks);
        }

        #[test]
        fn long_reasons_are_cut_between_letters(reason in "[ä€x]{500,800}") {
            let vault = VaultId::new([1; 16]);
            let marks = decode(&encode(vault, &[a_mark(0, &reason)]).into(), vault).unwrap();
            let back = &marks[0];
            prop_assert!(reason.starts_with(&back.reason) && back.reason.len() <= REASON_MAX);
        }

        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut near = ObjectKind::TrashMark.header().to_vec();
            near.extend_from_slice(&[0; 16]);
            near.extend_from_slice(&bytes);
            let _ = decode(&near.into(), VaultId::default());
        }
    }
}
