//! What was verified when, so that every byte has its turn.
//!
//! A check that reads packs writes down which of them it found whole, by the store's clock, and which snapshot of each
//! machine was the newest. The next one reads the part first that was verified longest ago, and notices when the newest
//! snapshot that somebody saw is gone: the chain of snapshots alone cannot show that its end was cut off.
//!
//! ```text
//! header (8)  vault id (16)  nonce (16)
//! count of packs, each:     object hash (32)  verified: seconds since 1970 (signed varint)
//! count of machines, each:  system id (16)  sequence (varint)  snapshot's hash (32)
//! ```
//! A record is a convenience: without it everything is verified again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use store::Store;

use crate::clock;
use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::name::{self, ObjectHash, SnapshotId, SystemId, VaultId};
use crate::records;
use crate::wire::{Reader, Write};

/// A record larger than this is refused.
pub const RECORD_MAX: u64 = 256 << 20;

/// A pack in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredPack {
    /// Its hash.
    pub hash: ObjectHash,
    /// Its size in bytes.
    pub size: u64,
    /// When the store received it.
    pub modified: SystemTime,
}

/// What all records say together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// When each pack was verified last: seconds since 1970 (UTC), by the store's clock.
    pub packs: BTreeMap<ObjectHash, i64>,
    /// The newest snapshot of each machine that somebody saw: its sequence and name.
    pub newest: BTreeMap<SystemId, (u64, SnapshotId)>,
    /// When the last record was written, by the store's clock.
    pub last: Option<SystemTime>,
    names: Vec<String>,
}

impl Verified {
    /// Reads all records. One that cannot be read counts for nothing.
    pub async fn read(store: &dyn Store, vault: VaultId) -> Result<Self, VaultError> {
        let mut verified = Self::default();
        let records =
            records::read_all(store, name::VERIFIED, RECORD_MAX, |bytes| decode(bytes, vault)).await?;
        for record in records {
            verified.last = verified.last.max(Some(record.object.modified));
            if !record.is_newer() {
                verified.names.push(record.object.name);
            }
            let (packs, newest) = record.content.unwrap_or_default();
            packs.into_iter().for_each(|(pack, at)| verified.note(pack, at));
            newest.into_iter().for_each(|(system, (sequence, id))| verified.saw(system, sequence, id));
        }
        Ok(verified)
    }

    /// Notes that a pack was found whole.
    pub fn note(&mut self, pack: ObjectHash, at: i64) {
        let known = self.packs.entry(pack).or_insert(at);
        *known = at.max(*known);
    }

    /// Notes a snapshot that is there.
    pub fn saw(&mut self, system: SystemId, sequence: u64, snapshot: SnapshotId) {
        let known = self.newest.entry(system).or_insert((sequence, snapshot));
        if sequence > known.0 {
            *known = (sequence, snapshot);
        }
    }

    /// Writes everything as one record, without packs that are gone, and removes those it replaces.
    pub async fn write(
        &self,
        store: &dyn Store,
        vault: VaultId,
        nonce: [u8; 16],
        there: &[StoredPack],
    ) -> Result<(), VaultError> {
        let there: HashMap<ObjectHash, ()> = there.iter().map(|pack| (pack.hash, ())).collect();
        let packs = self.packs.iter().filter(|(pack, _)| there.contains_key(*pack));
        let bytes = encode(vault, nonce, &packs.map(|(pack, at)| (*pack, *at)).collect(), &self.newest);
        records::write(store, name::VERIFIED, bytes).await?;
        for name in &self.names {
            store.discard(name).await?;
        }
        Ok(())
    }

    /// The packs whose turn it is at `now`: all that were not verified for `max_age`, and as large a share of all as
    /// the time since the last record is of `max_age`. In that share those that nobody ever verified come first, in
    /// the order in which the store received them, then the ones verified longest ago.
    ///
    /// When the store received a pack is only believed where it makes the pack older: a store may tell a later time
    /// for an object whose lock was extended. As the share passes through a whole vault in `max_age`, a pack that
    /// always seems new has its turn within that time too.
    pub fn due(&self, packs: &[StoredPack], now: SystemTime, max_age: Duration) -> Vec<StoredPack> {
        let turn = |pack: &StoredPack| {
            let verified = self.packs.get(&pack.hash).copied();
            let since = verified.unwrap_or_else(|| clock::seconds(pack.modified));
            let age = clock::seconds(now).saturating_sub(since);
            let overdue = age as f64 >= max_age.as_secs_f64();
            (!overdue, verified.is_some(), Reverse(age), pack.hash)
        };
        let mut packs = packs.to_vec();
        packs.sort_by_cached_key(turn);
        let whole = max_age.as_secs_f64().max(1.0);
        let passed = self.last.and_then(|last| now.duration_since(last).ok());
        // At first a day's share.
        let passed = passed.unwrap_or(Duration::from_secs(24 * 3600)).as_secs_f64();
        let total: u64 = packs.iter().map(|pack| pack.size).sum();
        let share = (total as f64 * (passed / whole).min(1.0)) as u64;
        let mut taken = 0;
        packs.retain(|pack| {
            let (in_time, ..) = turn(pack);
            let due = !in_time || taken < share;
            taken += pack.size;
            due
        });
        packs
    }
}

type Content = (BTreeMap<ObjectHash, i64>, BTreeMap<SystemId, (u64, SnapshotId)>);

fn encode(
    vault: VaultId,
    nonce: [u8; 16],
    packs: &BTreeMap<ObjectHash, i64>,
    newest: &BTreeMap<SystemId, (u64, SnapshotId)>,
) -> Vec<u8> {
    let mut out = ObjectKind::Verification.header().to_vec();
    out.extend_from_slice(vault.bytes());
    out.extend_from_slice(&nonce);
    out.varint(packs.len() as u64);
    for (pack, at) in packs {
        out.extend_from_slice(pack.bytes());
        out.signed(*at);
    }
    out.varint(newest.len() as u64);
    for (system, (sequence, snapshot)) in newest {
        out.extend_from_slice(system.bytes());
        out.varint(*sequence);
        out.extend_from_slice(snapshot.bytes());
    }
    out
}

/// Reads the stored form.
pub fn decode(bytes: &Bytes, vault: VaultId) -> Result<Content, Damage> {
    let mut reader = Reader::new(bytes);
    ObjectKind::Verification.expect(&mut reader)?;
    if VaultId::read(&mut reader, "vault id")? != vault {
        return Err(Damage::ForeignVault);
    }
    reader.array::<16>("nonce")?;
    let (mut packs, mut newest) = Content::default();
    for _ in 0..reader.count("verified packs", 33)? {
        let pack = ObjectHash::read(&mut reader, "pack")?;
        packs.insert(pack, reader.signed("time")?);
    }
    for _ in 0..reader.count("machines", 49)? {
        let system = SystemId::read(&mut reader, "system id")?;
        let sequence = reader.varint("sequence")?;
        newest.insert(system, (sequence, ObjectHash::read(&mut reader, "snapshot")?));
    }
    reader.finish("verification record")?;
    Ok((packs, newest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VAULT: VaultId = VaultId::new([1; 16]);
    const DAY: u64 = 86_400;

    fn day(day: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(day * DAY)
    }

    fn pack(n: u8, modified: u64) -> StoredPack {
        StoredPack { hash: ObjectHash::of(&[n]), size: 100, modified: day(modified) }
    }

    #[tokio::test]
    async fn records_are_joined_and_replaced() {
        let store = store::MemoryStore::new();
        let (a, b) = (pack(1, 0), pack(2, 0));
        for (pack, at) in [(a, 5), (b, 6), (a, 3)] {
            let mut verified = Verified::default();
            verified.note(pack.hash, at);
            verified.saw(SystemId::new([2; 16]), at as u64, ObjectHash::of(&[at as u8]));
            verified.write(&store, VAULT, [at as u8; 16], &[a, b]).await.unwrap();
        }
        let verified = Verified::read(&store, VAULT).await.unwrap();
        assert_eq!(verified.packs, BTreeMap::from([(a.hash, 5), (b.hash, 6)]));
        assert_eq!(verified.newest[&SystemId::new([2; 16])], (6, ObjectHash::of(&[6])));
        verified.write(&store, VAULT, [9; 16], &[a]).await.unwrap();
        assert_eq!(store.list(name::VERIFIED).await.unwrap().len(), 1);
        assert_eq!(Verified::read(&store, VAULT).await.unwrap().packs, BTreeMap::from([(a.hash, 5)]));
        // A newer program's stays.
        let mut newer = encode(VAULT, [0; 16], &BTreeMap::new(), &BTreeMap::new());
        newer[6] = 2;
        let newer = records::write(&store, name::VERIFIED, newer).await.unwrap();
        Verified::read(&store, VAULT).await.unwrap().write(&store, VAULT, [8; 16], &[a]).await.unwrap();
        assert!(store.get(&newer, RECORD_MAX).await.is_ok());
        assert_eq!(store.list(name::VERIFIED).await.unwrap().len(), 2);
    }

    #[test]
    fn every_pack_has_its_turn_within_the_age() {
        let packs: Vec<_> = (0..60).map(|n| pack(n, u64::from(n) / 3)).collect();
        let mut verified = Verified::default();
        let mut most = 0;
        for today in 20..120 {
            let due = verified.due(&packs, day(today), Duration::from_secs(30 * DAY));
            most = most.max(due.len());
            for pack in due {
                verified.note(pack.hash, (today * DAY) as i64);
            }
            verified.last = Some(day(today));
            let oldest = packs.iter().map(|pack| {
                today
                    - verified
                        .packs
                        .get(&pack.hash)
                        .map_or(pack.modified.duration_since(day(0)).unwrap().as_secs() / DAY, |at| {
                            *at as u64 / DAY
                        })
            });
            assert!(oldest.max().unwrap() <= 30, "day {today}");
        }
        assert!(most <= 4, "a day's share, not a month's: {most}");
    }

    #[test]
    fn a_store_that_tells_ever_later_times_hides_no_pack() {
        // As of a bucket whose locks are extended each day.
        let age = Duration::from_secs(30 * DAY);
        let mut verified = Verified::default();
        for today in 0..100 {
            let packs: Vec<_> = (0..60).map(|n| pack(n, today)).collect();
            for pack in verified.due(&packs, day(today), age) {
                verified.note(pack.hash, (today * DAY) as i64);
            }
            verified.last = Some(day(today));
            if today >= 30 {
                let oldest =
                    packs.iter().map(|pack| verified.packs.get(&pack.hash).map_or(0, |at| *at as u64 / DAY));
                assert!(today - oldest.min().unwrap() <= 30, "day {today}");
            }
        }
    }

    #[test]
    fn after_a_long_pause_all_is_due() {
        let packs: Vec<_> = (0..10).map(|n| pack(n, 0)).collect();
        let verified = Verified { last: Some(day(1)), ..Verified::default() };
        assert_eq!(verified.due(&packs, day(40), Duration::from_secs(30 * DAY)).len(), 10);
        assert!(verified.due(&[], day(40), Duration::from_secs(30 * DAY)).is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut near = ObjectKind::Verification.header().to_vec();
            near.extend_from_slice(&[0; 32]);
            near.extend_from_slice(&bytes);
            let _ = decode(&near.into(), VaultId::default());
        }
    }
}
