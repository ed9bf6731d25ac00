//! Repairing a vault from a replica of it: sealed objects and segments as they are, without a key.
//!
//! What is small comes back under its own name. What is lost of a pack is fetched from wherever the replica has it, and
//! goes with what is still good into a new pack; a relocation leads there, and the damaged object is condemned, which
//! is how everything goes from a vault. Nothing is deleted here but records of damage that was healed.
//!
//! An object whose bytes do not match its name may be replaced by the bytes that do; `docs/gc.md` says why.

mod gather;
mod packs;
mod records;
mod small;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use store::Store;

use crate::check::Watch;
use crate::condemned::Condemned;
use crate::copy::begin;
use crate::copy::shelf::Shelf;
use crate::copy::{Alarm, CopyError, Timer};
use crate::descriptor::Descriptor;
use crate::error::{Damage, VaultError};
use crate::fragment::PackRecord;
use crate::lease::{self, Lease, Renewal};
use crate::moving::Random;
use crate::name::{ObjectHash, PackId, SnapshotId, SystemId, VaultId};
use crate::relocation::{Holders, Moved};
use crate::segments::SegmentSet;
use crate::snapshot::PackNeed;
use crate::writer::Writer;

/// How to go about a repair.
#[derive(Debug, Clone)]
pub struct Options {
    /// Read every needed pack whole. Otherwise those that damage records name are read, and of all others it is seen
    /// that they are there, with the right size.
    pub read_all: bool,
    /// Take what nobody has out of the index, and record it as damaged: backups store it again while files last.
    pub salvage: bool,
    /// How long the leases last.
    pub lease: Duration,
    /// Only look.
    pub dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { read_all: false, salvage: false, lease: lease::DURATION, dry_run: false }
    }
}

/// How an object was healed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Its bytes are back under its own name.
    PutBack,
    /// All that is needed of it is in a new pack.
    Moved,
    /// It was made anew from others.
    MadeAnew,
}

/// Something that was damaged or missing and is not any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Healed {
    /// The object.
    pub object: String,
    /// What was wrong with it.
    pub damage: Damage,
    /// What became of it.
    pub how: How,
}

/// Something that is damaged or missing and stays so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub damage: Damage,
    /// Of a pack: what snapshots need of it and nobody has.
    pub segments: Vec<(PackId, SegmentSet)>,
}

/// What a repair did, or would do.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// What was healed.
    pub healed: Vec<Healed>,
    /// What was not.
    pub lost: Vec<Lost>,
    /// Snapshots that were missing and came back.
    pub snapshots_back: Vec<SnapshotId>,
    /// Segments that came from the replica.
    pub segments_fetched: u64,
    /// Bytes of packs that were read and verified.
    pub bytes_read: u64,
    /// Bytes of new packs.
    pub bytes_written: u64,
    /// Packs that damage records do not name any more.
    pub records_healed: u64,
    /// Packs that were recorded as damaged and taken out of the index.
    pub salvaged: u64,
    /// It was ended early.
    pub ended_early: bool,
}

/// Why a repair did not take place, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// A vault or its store failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
    /// Something about the two vaults.
    #[error(transparent)]
    Replica(CopyError),
    /// The descriptor is lost, and there is no replica to take it from.
    #[error("the vault's descriptor is damaged or missing, and no replica was named")]
    NoDescriptor,
    /// The machine slept for longer than its lease.
    #[error("the repair slept for longer than its lease")]
    Overslept,
}

impl From<store::StoreError> for RepairError {
    fn from(error: store::StoreError) -> Self {
        Self::Vault(error.into())
    }
}

impl From<CopyError> for RepairError {
    fn from(error: CopyError) -> Self {
        match error {
            CopyError::Vault(error) => Self::Vault(error),
            other => Self::Replica(other),
        }
    }
}

/// The vault that things are fetched from.
struct Replica<'a> {
    store: &'a Arc<dyn Store>,
    shelf: Shelf,
    lease: Option<Lease>,
}

/// A snapshot as far as a repair is concerned.
struct Wanted {
    id: SnapshotId,
    needs: Vec<PackNeed>,
    /// Its bytes, and what is wrong with it here, when it is to be put back.
    back: Option<(Bytes, Damage)>,
}

/// What is needed of a pack by those that name an object for it.
type Needs = BTreeMap<(PackId, ObjectHash), SegmentSet>;

struct Repairing<'a> {
    store: &'a Arc<dyn Store>,
    replica: Option<Replica<'a>>,
    descriptor: Descriptor,
    options: &'a Options,
    random: Random<'a>,
    watch: &'a dyn Watch,
    timer: Timer<'a>,
    tick: Alarm,
    /// None when nothing is written.
    writer: Option<Writer>,
    here: Shelf,
    /// Packs that no fragment names yet.
    records: Vec<PackRecord>,
    /// Where packs are, as no relocation says yet.
    moved: Vec<Moved>,
    /// What nothing needs any more.
    condemn: BTreeSet<Condemned>,
    /// Packs that were read and are whole.
    proved: BTreeSet<ObjectHash>,
    /// Pack objects that stay damaged, with what is lost.
    broken: HashMap<ObjectHash, Vec<(PackId, SegmentSet)>>,
    report: Report,
}

/// Repairs the vault in `store` with what `replica` has. `random` gives 16 fresh random bytes each time.
pub async fn repair(
    store: &Arc<dyn Store>,
    replica: Option<&Arc<dyn Store>>,
    options: &Options,
    timer: Timer<'_>,
    random: &mut (dyn FnMut() -> [u8; 16] + Send),
    watch: &dyn Watch,
) -> Result<Report, RepairError> {
    watch.stage("looking for damage");
    let mut report = Report::default();
    let descriptor = small::descriptor(store, replica, options, &mut report).await?;
    let vault = descriptor.vault;
    let mut writer = None;
    if !options.dry_run {
        writer = Some(Writer::begin(store, vault, random(), SystemId::default(), options.lease).await?);
    }
    let holders = match &writer {
        Some(writer) => writer.holders().clone(),
        None => Holders::read(store.as_ref(), vault).await?,
    };
    let mut repairing = Repairing {
        store,
        replica: None,
        descriptor,
        options,
        random,
        watch,
        timer,
        tick: timer(),
        writer,
        here: Shelf::default(),
        records: Vec::new(),
        moved: Vec::new(),
        condemn: BTreeSet::new(),
        proved: BTreeSet::new(),
        broken: HashMap::new(),
        report,
    };
    let outcome = repairing.run(replica, holders).await;
    if let Some(lease) = repairing.replica.and_then(|replica| replica.lease) {
        let _ = lease.end().await;
    }
    if let Some(writer) = repairing.writer {
        let _ = writer.end().await;
    }
    outcome?;
    let mut report = repairing.report;
    report.ended_early |= watch.is_cancelled();
    Ok(report)
}

impl<'a> Repairing<'a> {
    async fn run(
        &mut self,
        replica: Option<&'a Arc<dyn Store>>,
        holders: Holders,
    ) -> Result<(), RepairError> {
        let vault = self.vault();
        if let Some(store) = replica {
            let mut lease = None;
            if !self.options.dry_run {
                lease = begin::reader(store, vault, (self.random)(), self.options.lease).await?;
            }
            let shelf = Shelf::read(store, vault, Holders::read(store.as_ref(), vault).await?).await?;
            self.replica = Some(Replica { store, shelf, lease });
        }
        self.here = Shelf::read(self.store, vault, holders).await?;
        self.small_objects().await?;
        let snapshots = self.snapshots().await?;
        self.here.learn_index(self.store, vault).await?;
        let mut needs = Needs::new();
        for need in snapshots.iter().flat_map(|snapshot| &snapshot.needs) {
            needs.entry((need.pack, need.object)).or_default().union(&need.segments);
        }
        self.packs(&needs).await?;
        self.index().await?;
        self.relocate().await?;
        self.sentence().await?;
        self.bring_back(snapshots).await?;
        self.damage_records().await
    }

    fn vault(&self) -> VaultId {
        self.descriptor.vault
    }

    fn heal(&mut self, object: String, damage: Damage, how: How) {
        self.report.healed.push(Healed { object, damage, how });
    }

    fn lose(&mut self, object: String, damage: Damage) {
        self.report.lost.push(Lost { object, damage, segments: Vec::new() });
    }

    /// Renews the leases if that is due; whether to go on.
    async fn goes_on(&mut self) -> Result<bool, RepairError> {
        if (&mut self.tick).now_or_never().is_some() {
            self.tick = (self.timer)();
            if let Some(lease) = self.replica.as_mut().and_then(|replica| replica.lease.as_mut()) {
                // The replica may refuse it from now on: then nobody there waits for us.
                let _ = lease.renew().await;
            }
            self.still_there().await?;
        }
        self.report.ended_early |= self.watch.is_cancelled();
        Ok(!self.report.ended_early)
    }

    /// An error unless the lease was held all the time: what was seen of the vault would be too old.
    async fn still_there(&mut self) -> Result<(), RepairError> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        if writer.renew().await? == Renewal::InTime { Ok(()) } else { Err(RepairError::Overslept) }
    }
}

#[cfg(test)]
mod tests;
