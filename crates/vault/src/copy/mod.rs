//! Copying a vault to another place: sealed objects as they are, without a key.
//!
//! The copy is a vault of its own that can be used as it is. Packs come first, then what leads to them, and each
//! snapshot last, when all it needs is there; so an interrupted copy is a vault with the snapshots that arrived, and the
//! next run goes on. What was forgotten at either side is not brought back, and nothing is ever deleted; what the source has
//! forgotten for good goes to the target's trash if somebody asks for that.
//!
//! At the source a copy reads beside everybody else, at the target it is a writer like a backup; `docs/gc.md` says why
//! that is safe.

pub(crate) mod begin;
mod bring;
pub(crate) mod fetch;
mod follow;
pub(crate) mod shelf;
mod step;
mod torn;
mod vouch;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use store::{ObjectInfo, StorageClass, Store};

use crate::check::Watch;
use crate::condemned::{self, Condemned, What};
use crate::descriptor::Descriptor;
use crate::error::{Damage, VaultError};
use crate::fragment::PackRecord;
use crate::lease::{self, Lease};
use crate::moving::Random;
use crate::name::{self, ObjectHash, PackId, SnapshotId, SystemId};
use crate::relocation::{Holders, Moved};
use crate::sabotage::{Rule, keeps};
use crate::writer::Writer;
use shelf::Shelf;
use torn::Torn;
pub use vouch::ANOTHER_PACK;
use vouch::Vouchers;

/// What is said of an object at the target when a snapshot cannot follow because the source regrouped its pack.
pub const REGROUPED_SINCE: Damage = Damage::Nonsense(
    "the source has regrouped its pack since, without chunks that older snapshots here may need; the snapshot arrives \
     when those are forgotten here and cleaned up",
);
/// A fragment is written for at least so many packs of a snapshot …
const FRAGMENT_PACKS: usize = 8;

/// Goes off while something takes long.
pub type Alarm = Pin<Box<dyn Future<Output = Due> + Send>>;

/// Sets the next alarm.
pub type Timer<'a> = &'a (dyn Fn() -> Alarm + Send + Sync);

/// What is due when an alarm goes off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// To see whether to end early.
    Look,
    /// To renew leases too: a third of their duration has passed.
    Renewal,
}

/// An alarm that never goes off: for whoever has no clock, and for what takes no time.
pub fn no_timer() -> Alarm {
    Box::pin(futures_util::future::pending())
}

/// What to copy and how.
#[derive(Debug, Clone)]
pub struct Options {
    /// Only these snapshots; all when `None`.
    pub snapshots: Option<Vec<SnapshotId>>,
    /// Read back every object that was copied, and compare.
    pub verify: bool,
    /// How long the leases last.
    pub lease: Duration,
    /// The storage class at the target for packs of data.
    pub data_class: Option<StorageClass>,
    /// Forget at the target what nobody can bring back at the source at this moment, by the source's clock.
    pub forget: Option<SystemTime>,
    /// Only look.
    pub dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            snapshots: None,
            verify: false,
            lease: lease::DURATION,
            data_class: None,
            forget: None,
            dry_run: false,
        }
    }
}

/// An object that could not be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub object: String,
    /// Where: the source or the target.
    pub location: String,
    /// What is wrong with it.
    pub damage: Damage,
}

/// A snapshot that did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftBehind {
    /// Which one.
    pub snapshot: SnapshotId,
    /// Objects that it needs and that could not be copied; its own when it is damaged itself.
    pub objects: Vec<String>,
}

/// What a copy did, or would do.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Snapshots that arrived, in order.
    pub copied: Vec<SnapshotId>,
    /// Snapshots that were at the target already.
    pub present: u64,
    /// Snapshots that are in the trash of the source: they are not copied.
    pub forgotten_at_source: Vec<SnapshotId>,
    /// Snapshots that the target has forgotten: they are not brought back.
    pub forgotten_at_target: Vec<SnapshotId>,
    /// Snapshots that the source has forgotten for good, and that went to the target's trash.
    pub forgotten: Vec<SnapshotId>,
    /// Snapshots that did not arrive because something is damaged.
    pub left_behind: Vec<LeftBehind>,
    /// What is damaged.
    pub faults: Vec<Fault>,
    /// Packs that were copied.
    pub packs_copied: u64,
    /// Packs that the snapshots need and that were at the target already.
    pub packs_present: u64,
    /// Segments that were copied into new packs, because the target does not take their own pack's name again or not all
    /// of their pack is whole.
    pub segments_moved: u64,
    /// Bytes written to the target, in packs and snapshots.
    pub bytes_copied: u64,
    /// Key slots and settings that were copied.
    pub small_copied: u64,
    /// The target was made by this copy.
    pub is_new: bool,
    /// It was ended early.
    pub ended_early: bool,
}

impl Report {
    /// Whether all that was asked for is at the target.
    pub fn is_complete(&self) -> bool {
        self.left_behind.is_empty() && self.faults.is_empty() && !self.ended_early
    }
}

/// Why a copy did not take place, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A vault or its store failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// An object without which nothing can be copied.
    #[error("{object} at {location} is damaged: {damage}")]
    Unreadable {
        /// The object.
        object: String,
        /// Of which vault.
        location: String,
        /// What is wrong with it.
        damage: Damage,
    },
    /// At the target is another vault.
    #[error("there is another vault at {location}")]
    ForeignVault {
        /// The target.
        location: String,
    },
    /// At the target is something that is no vault.
    #[error("{location} is no vault and not empty: {object} is there")]
    NotEmpty {
        /// The target.
        location: String,
        /// One of the objects that are there.
        object: String,
    },
    /// A snapshot that was asked for is not in the source.
    #[error("there is no snapshot {0}")]
    NoSnapshot(SnapshotId),
    /// The machine slept again and again for longer than its lease.
    #[error("the copy slept for longer than its lease, again and again")]
    Restless,
}

impl From<store::StoreError> for CopyError {
    fn from(error: store::StoreError) -> Self {
        Self::Vault(error.into())
    }
}

/// A snapshot that is to be copied.
#[derive(Debug, Clone)]
struct Chosen {
    id: SnapshotId,
    /// When it was written and its number, for the order; and the snapshot before it.
    time: (i64, u32),
    previous: SnapshotId,
    /// Its bytes, as long as not too many are held.
    bytes: Option<Bytes>,
}

/// A copy under way.
struct Copying<'a> {
    source: &'a Arc<dyn Store>,
    target: &'a Arc<dyn Store>,
    descriptor: Descriptor,
    options: &'a Options,
    random: Random<'a>,
    watch: &'a dyn Watch,
    timer: Timer<'a>,
    tick: Alarm,
    reader: Option<Lease>,
    /// None when nothing is written.
    writer: Option<Writer>,
    /// Where packs are at the source, and the sizes of its objects.
    here: Holders,
    sizes: HashMap<ObjectHash, u64>,
    /// What the target has.
    there: Shelf,
    /// How many leases the writer had when that was read.
    leases: u32,
    /// Objects of the source that are of no use.
    bad: HashMap<ObjectHash, Damage>,
    /// Those of them that may be of some use.
    torn: Torn,
    /// Packs that no fragment at the target names yet, and the bytes of their trailers.
    records: Vec<PackRecord>,
    record_bytes: usize,
    /// Whether an object at the target has all that may be needed of a pack that one of the source holds.
    chunks_known: HashMap<(PackId, ObjectHash, ObjectHash), bool>,
    /// Where packs are at the target, as no relocation there says yet.
    moved: Vec<Moved>,
    /// Who says that relocations of the target lead to what they should.
    vouchers: Vouchers,
    /// A fragment is written for so many.
    fragment_of: usize,
    report: Report,
}

/// Copies what is in `source` to `target`. `random` gives 16 fresh random bytes each time.
pub async fn copy(
    source: &Arc<dyn Store>,
    target: &Arc<dyn Store>,
    options: &Options,
    timer: Timer<'_>,
    random: &mut (dyn FnMut() -> [u8; 16] + Send),
    watch: &dyn Watch,
) -> Result<Report, CopyError> {
    watch.stage("comparing the vaults");
    let descriptor = begin::source(source).await?;
    let is_new = begin::target(target, &descriptor.0).await?;
    let mut reader = None;
    let mut writer = None;
    let vault = descriptor.0.vault;
    if !options.dry_run {
        reader = begin::reader(source, vault, random(), options.lease).await?;
        let holder = SystemId::default();
        let begun = Writer::begin(target, vault, random(), holder, options.lease).await;
        match begun {
            Ok(begun) => writer = Some(begun),
            Err(error) => {
                end(reader, None).await;
                return Err(error.into());
            }
        }
    }
    let mut copying = Copying {
        source,
        target,
        descriptor: descriptor.0,
        options,
        random,
        watch,
        timer,
        tick: timer(),
        reader,
        writer,
        here: Holders::default(),
        sizes: HashMap::new(),
        there: Shelf::default(),
        leases: 1,
        bad: HashMap::new(),
        torn: Torn::default(),
        records: Vec::new(),
        record_bytes: 0,
        chunks_known: HashMap::new(),
        moved: Vec::new(),
        vouchers: Vouchers::default(),
        fragment_of: FRAGMENT_PACKS,
        report: Report { is_new, ..Report::default() },
    };
    let outcome = copying.run(&descriptor.1).await;
    end(copying.reader, copying.writer).await;
    outcome?;
    let mut report = copying.report;
    report.ended_early |= watch.is_cancelled();
    Ok(report)
}

/// Leases that cannot be ended run out.
async fn end(reader: Option<Lease>, writer: Option<Writer>) {
    if let Some(reader) = reader {
        let _ = reader.end().await;
    }
    if let Some(writer) = writer {
        let _ = writer.end().await;
    }
}

impl Copying<'_> {
    async fn run(&mut self, descriptor: &Bytes) -> Result<(), CopyError> {
        let vault = self.descriptor.vault;
        let holders = match &self.writer {
            Some(writer) => writer.holders().clone(),
            None => Holders::read(self.target.as_ref(), vault).await?,
        };
        if !self.options.dry_run {
            self.small(name::KEYS).await?;
            if self.report.is_new {
                self.target.put(name::DESCRIPTOR, vec![descriptor.clone()]).await?;
            }
            self.small(name::SETTINGS).await?;
        }
        self.there = Shelf::read(self.target, vault, holders).await?;
        let chosen = self.choose().await?;
        self.here = Holders::read(self.source.as_ref(), vault).await?;
        self.close().await?;
        self.sizes = sizes(&self.source.list(name::PACKS).await?);
        self.watch.stage("copying");
        for snapshot in chosen {
            if self.watch.is_cancelled() {
                self.report.ended_early = true;
                break;
            }
            self.snapshot(snapshot).await?;
        }
        // Packs of a snapshot that is not whole arrived too: the next copy finds them.
        self.index().await?;
        match self.options.forget.filter(|_| !self.report.ended_early) {
            Some(now) => self.follow(now).await,
            None => Ok(()),
        }
    }

    /// What is closed at the source is closed at the target, before anything of it comes; and that copies arrive is said
    /// there, since what they need nobody can survey there.
    async fn close(&mut self) -> Result<(), CopyError> {
        let every = keeps(Rule::ArrivalsAreAnnounced).then_some(condemned::EVERY_PACK);
        let closed: BTreeSet<PackId> = self.here.closed().chain(every).collect();
        let missing = closed.into_iter().filter(|pack| !self.there.holders.is_closed(*pack));
        let missing: Vec<_> = missing.map(|pack| Condemned::closing(What::ClosedElsewhere, pack)).collect();
        if missing.is_empty() || self.options.dry_run {
            return Ok(());
        }
        let closed: Vec<PackId> = missing.iter().filter_map(Condemned::pack).collect();
        condemned::write(self.target.as_ref(), self.descriptor.vault, (self.random)(), &missing).await?;
        self.there.holders.close(&closed);
        Ok(())
    }

    /// The alarm went off: renews the leases if that is due. That one ran out shows at the commit.
    async fn wake(&mut self, due: Due) -> Result<(), CopyError> {
        self.tick = (self.timer)();
        if due == Due::Look {
            return Ok(());
        }
        if let Some(reader) = &mut self.reader {
            // The source may refuse it from now on: then nobody there waits for us.
            let _ = reader.renew().await;
        }
        if let Some(writer) = &mut self.writer {
            writer.renew().await?;
        }
        Ok(())
    }

    fn fault(&mut self, location: String, object: String, damage: Damage) {
        let fault = Fault { object, location, damage };
        if !self.report.faults.contains(&fault) {
            self.report.faults.push(fault);
        }
    }
}

/// The packs of a listing with their sizes in bytes.
pub(crate) fn sizes(objects: &[ObjectInfo]) -> HashMap<ObjectHash, u64> {
    let packs = objects.iter().filter_map(|object| {
        let hash = ObjectHash::from_object_name(&object.name)?;
        (hash.pack_name() == object.name).then_some((hash, object.size))
    });
    packs.collect()
}

/// The objects of a listing that are named by a hash, directly in `folder`.
pub(crate) fn hashes(objects: &[ObjectInfo], folder: &str) -> HashSet<ObjectHash> {
    let named = objects.iter().filter_map(|object| object.name.strip_prefix(folder));
    named.filter_map(ObjectHash::from_hex).collect()
}

#[cfg(test)]
mod tests;
