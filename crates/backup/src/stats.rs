//! A vault in numbers, from listings and the index: no pack is read.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use content::ChunkId;
use content::index::open_directories;
use content::segment::Opener;
use content::tree::Time;
use vault::abilities::Abilities;
use vault::fragment::{self, FRAGMENT_MAX};
use vault::locks::Locks;
use vault::pack::PackKind;
use vault::settings::LockSetting;
use vault::{ObjectHash, name};

use crate::{Error, Progress, Protection, SnapshotList, Vault};

/// What a vault has of one kind of pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Packs.
    pub packs: u64,
    /// Segments in them.
    pub segments: u64,
    /// Chunks in those; 0 with a key that can only add.
    pub chunks: u64,
    /// Bytes of the chunks, before compression; 0 with a key that can only add.
    pub bytes_raw: u64,
    /// Bytes of the packs as stored.
    pub bytes_stored: u64,
}

/// Bytes in the store by kind of object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredBytes {
    /// Packs, also those that the index does not name.
    pub packs: u64,
    /// Index fragments.
    pub index: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Key slots.
    pub keys: u64,
    /// Everything else.
    pub other: u64,
}

impl StoredBytes {
    /// All together.
    pub fn total(&self) -> u64 {
        self.packs + self.index + self.snapshots + self.keys + self.other
    }
}

/// A vault in numbers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VaultStats {
    /// The key can read: with another one, what snapshots and chunks say is not counted.
    pub can_read: bool,
    /// Snapshots that can be read; with a key that cannot read, all that are in the store.
    pub snapshots: u64,
    /// Snapshots that cannot.
    pub snapshots_damaged: u64,
    /// Snapshots in the trash, which are not counted above.
    pub snapshots_in_trash: u64,
    /// When the oldest one was made.
    pub oldest: Option<Time>,
    /// When the newest one was made.
    pub newest: Option<Time>,
    /// Files in all snapshots, each counted in every snapshot that has it.
    pub files: u64,
    /// Sizes of those files, as if nothing were stored only once.
    pub bytes: u64,
    /// The same of the snapshots in the trash, whose data is stored too.
    pub bytes_in_trash: u64,
    /// Objects that are packs.
    pub packs: u64,
    /// Index fragments.
    pub fragments: u64,
    /// Fragments that cannot be read; what they list is not counted below.
    pub fragments_damaged: u64,
    /// Key slots.
    pub key_slots: u64,
    /// Packs of file data, as the index has them.
    pub data: Amount,
    /// Packs of directories, likewise.
    pub trees: Amount,
    /// Bytes in the store.
    pub stored: StoredBytes,
    /// What the last test of the store found, if it was ever tested.
    pub abilities: Option<Abilities>,
    /// How objects are locked, if the settings ask for that.
    pub lock: Option<LockSetting>,
    /// Whether objects may be locked in this kind of store.
    pub has_locks: bool,
    /// Until when every object that is needed was locked at the last cleanup, by the store's clock, if that is known.
    pub locked_until: Option<SystemTime>,
}

impl VaultStats {
    /// What keeps its objects from whoever holds the store's credential; `None` when nobody knows.
    pub fn protection(&self) -> Option<Protection> {
        Protection::new(self.lock.as_ref(), self.has_locks, self.abilities.as_ref())
    }

    /// How many times as large the data is before it is compressed; `None` when nothing is known.
    pub fn compression_ratio(&self) -> Option<f64> {
        ratio(self.data.bytes_raw + self.trees.bytes_raw, self.data.bytes_stored + self.trees.bytes_stored)
    }

    /// How many times as large all snapshots are together as what is kept of them before it is compressed; `None`
    /// when nothing is known.
    pub fn dedup_ratio(&self) -> Option<f64> {
        ratio(self.bytes + self.bytes_in_trash, self.data.bytes_raw)
    }
}

fn ratio(large: u64, small: u64) -> Option<f64> {
    (small > 0).then(|| large as f64 / small as f64)
}

/// Counts.
pub fn stats(vault: &Arc<Vault>, progress: &Progress) -> Result<VaultStats, Error> {
    progress.set_stage("counting");
    let mut stats = VaultStats { can_read: vault.keyring().can_read(), ..VaultStats::default() };
    if stats.can_read {
        let list = SnapshotList::load(vault)?;
        let time = |(seconds, nanoseconds)| Time { seconds, nanoseconds };
        stats.snapshots = list.snapshots.len() as u64;
        stats.snapshots_damaged = list.damaged.len() as u64;
        stats.snapshots_in_trash = list.trash.len() as u64;
        let in_trash = list.trash.iter().filter_map(|one| one.snapshot.as_ref().ok());
        stats.bytes_in_trash = in_trash.map(|snapshot| snapshot.envelope.bytes).sum();
        stats.oldest = list.snapshots.first().map(|snapshot| time(snapshot.envelope.time));
        stats.newest = list.snapshots.last().map(|snapshot| time(snapshot.envelope.time));
        stats.files = list.snapshots.iter().map(|snapshot| snapshot.envelope.files).sum();
        stats.bytes = list.snapshots.iter().map(|snapshot| snapshot.envelope.bytes).sum();
    }
    let mut fragments = Vec::new();
    let mut was_tested = false;
    for object in vault.wait(vault.store().list(""))? {
        let stored = &mut stats.stored;
        match object.name.split_inclusive('/').next() {
            Some(name::PACKS) => {
                stats.packs += 1;
                stored.packs += object.size;
            }
            Some(name::INDEX) => {
                stored.index += object.size;
                fragments.push(object);
            }
            Some(name::SNAPSHOTS) => {
                stored.snapshots += object.size;
                stats.snapshots += u64::from(!stats.can_read);
            }
            Some(name::KEYS) => {
                stats.key_slots += 1;
                stored.keys += object.size;
            }
            folder => {
                was_tested |= folder == Some(name::ABILITIES);
                stored.other += object.size;
            }
        }
    }
    if was_tested {
        stats.abilities = vault.wait(Abilities::read(vault.store().as_ref(), vault.id()))?;
    }
    stats.lock = vault.lock_setting()?;
    stats.has_locks = vault.store().has_locks();
    if stats.lock.is_some() {
        let locks = vault.wait(Locks::read(vault.store().as_ref(), vault.id()))?;
        stats.locked_until = locks.until.keys().filter_map(|name| locks.of(name)).min();
    }
    let mut counter = Counter { vault, stats, seen: HashSet::new(), opener: Opener::new() };
    for object in fragments {
        progress.checkpoint()?;
        counter.fragment(&object.name)?;
    }
    Ok(counter.stats)
}

struct Counter<'a> {
    vault: &'a Arc<Vault>,
    stats: VaultStats,
    /// Packs counted already: two fragments may name the same one.
    seen: HashSet<ObjectHash>,
    opener: Opener,
}

impl Counter<'_> {
    fn fragment(&mut self, name: &str) -> Result<(), Error> {
        self.stats.fragments += 1;
        let bytes = match self.vault.wait(self.vault.store().get(name, FRAGMENT_MAX)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind == store::Kind::Gone => return Err(error.into()),
            Err(_) => {
                self.stats.fragments_damaged += 1;
                return Ok(());
            }
        };
        let hash = ObjectHash::from_object_name(name).unwrap_or_default();
        let Ok(records) = fragment::decode(&bytes, hash, self.vault.id()) else {
            self.stats.fragments_damaged += 1;
            return Ok(());
        };
        for (record, trailer) in records {
            if !self.seen.insert(record.hash) {
                continue;
            }
            let amount = match trailer.kind {
                PackKind::Data => &mut self.stats.data,
                PackKind::Tree => &mut self.stats.trees,
            };
            amount.packs += 1;
            amount.segments += trailer.rows.len() as u64;
            amount.bytes_stored += record.size;
            // One that cannot be opened is for a check to tell.
            let opened = open_directories(self.vault.keyring(), &record, &trailer, &mut self.opener);
            let listed = opened.iter().flatten().flat_map(|pack| &pack.segments).flatten();
            // What was taken out has no name any more.
            for (_, length) in listed.filter(|(id, _)| *id != ChunkId::default()) {
                amount.chunks += 1;
                amount.bytes_raw += u64::from(*length);
            }
        }
        Ok(())
    }
}
