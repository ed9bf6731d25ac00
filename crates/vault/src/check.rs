//! Checking a vault without a key.
//!
//! What can be known from public bytes: every object's name, layout and signature, whether each snapshot has the
//! segments it needs, whether snapshots follow one another without a gap, and (when packs are read) whether each
//! stored byte is what its name says. What is inside the sealed parts is for whoever has the key.
//!
//! Listings are taken in the order snapshots, index, everything. Writers store packs, then index fragments, then the
//! snapshot; so whatever a listed snapshot needs is in the later listings even while backups run. What appears only in
//! the last listing is newer than this check and not judged.
//!
//! Memory grows with the number of packs and segments (a bit for each), not with chunks; objects are read one by one
//! or in pieces.

mod chain;
mod fetches;
mod finding;
mod holdings;
mod listing;
mod pack_reading;
mod packs;
mod records;
mod snapshots;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use store::{Kind, Store, StoreError};

pub use finding::{AFFECTS_MAX, FINDINGS_MAX, Finding, Findings, Severity};
pub use holdings::{Held, Holdings};
pub use pack_reading::{PackReading, Piece};
pub use packs::{ReadPacks, choose, cold, table_differs};
pub(crate) use packs::{Verdict, read_pack, read_table};

use crate::condemned::EVERY_PACK;
use crate::descriptor::{DESCRIPTOR_MAX, Descriptor};
use crate::error::{Damage, VaultError};
use crate::fragment::{self, FRAGMENT_MAX};
use crate::header::ObjectKind;
use crate::name::{self, ObjectHash, PackId, SnapshotId, VaultId};
use crate::relocation::Holders;
use crate::segments::SegmentSet;
use crate::trash::Mark;
use crate::verified::{StoredPack, Verified};
use crate::wire::Reader;
use fetches::Fetches;
use listing::Listing;

/// Follows a check and can end it early.
pub trait Watch: Send + Sync {
    /// What is being done now, in a word or two.
    fn stage(&self, _stage: &'static str) {}
    /// This many bytes of packs will be read.
    fn total(&self, _bytes: u64) {}
    /// This many more bytes of packs were read.
    fn read(&self, _bytes: u64) {}
    /// Whether to end early.
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Watches nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Watch for Unwatched {}

/// Segments that cannot be had, or not safely.
#[derive(Clone, Debug)]
pub struct Loss {
    /// The pack that addresses name.
    pub pack: PackId,
    /// The object that holds it, or should.
    pub object: ObjectHash,
    /// Which of its segments; `None` is all.
    pub segments: Option<SegmentSet>,
    /// The number of the finding that tells why.
    pub finding: usize,
    /// The only snapshot that it matters to; `None` is all.
    pub snapshot: Option<SnapshotId>,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Snapshots that are whole themselves.
    pub snapshots: u64,
    /// Packs in the store.
    pub packs: u64,
    /// Segments that the index knows of.
    pub segments: u64,
    /// Bytes of packs that were read and verified.
    pub bytes_read: u64,
    /// Everything that is the matter.
    pub findings: Findings,
    /// What cannot be had because of it.
    pub losses: Vec<Loss>,
    /// What the index says of each pack.
    pub holdings: Holdings,
    /// Every pack in the store.
    pub stored: Vec<StoredPack>,
    /// What was verified when, and the newest snapshots, these included; packs that this check read are not in it yet.
    pub verified: Verified,
    /// Snapshots that are in the store, and those that somebody forgot.
    pub accounted: HashSet<SnapshotId>,
    /// Copies of another vault arrive here.
    pub copies_arrive: bool,
    /// Packs in cold storage, of which nothing could be read.
    pub cold: HashSet<ObjectHash>,
    /// Packs that snapshots need and that an earlier check wrote down as damaged; what is wrong with others is found here.
    pub recorded: BTreeSet<ObjectHash>,
    /// It was ended early: the rest was not looked at.
    pub ended_early: bool,
}

/// Checks the vault in `store`; `packs` says which packs are read whole, and `known` what an owner knows of the vault
/// should its descriptor be lost. Only a failing store is an error.
pub async fn check(
    store: &Arc<dyn Store>,
    packs: &ReadPacks,
    known: Option<&Descriptor>,
    watch: &Arc<dyn Watch>,
) -> Result<Report, VaultError> {
    watch.stage("checking objects");
    let mut report = Report::default();
    let stored = read_descriptor(store, &mut report.findings).await?;
    let Some(descriptor) = stored.or_else(|| known.cloned()) else { return Ok(report) };
    // Before the listings: what they show and this does not know of is not gone yet.
    let holders = Holders::read(store.as_ref(), descriptor.vault).await?;
    report.copies_arrive = holders.is_closed(EVERY_PACK);
    // And this too: another check may see a snapshot that is too new for these listings.
    report.verified = Verified::read(store.as_ref(), descriptor.vault).await?;
    let listing = Listing::take(store, &mut report.findings).await?;
    let mut check = Check::new(store, watch, descriptor, report, listing, holders);
    check.key_slots().await?;
    check.fragments().await?;
    check.damage_records().await?;
    check.small_records().await?;
    check.pack_sizes();
    check.snapshots().await?;
    check.keep_recorded();
    check.unused();
    check.leave_what_goes();
    if !check.report.ended_early {
        check.read_packs(packs).await?;
    }
    Ok(check.report)
}

/// A check under way.
struct Check<'a> {
    store: &'a Arc<dyn Store>,
    watch: &'a Arc<dyn Watch>,
    descriptor: Descriptor,
    report: Report,
    listing: Listing,
    /// Size of each listed pack.
    sizes: HashMap<ObjectHash, u64>,
    /// Packs that are of no use as a whole, and the finding that says why.
    faults: HashMap<ObjectHash, usize>,
    /// Packs that lack some segments, likewise.
    incomplete: HashMap<ObjectHash, usize>,
    /// Packs that snapshots need.
    needed: HashSet<ObjectHash>,
    /// Packs that snapshots need and no fragment names.
    not_indexed: HashMap<ObjectHash, Held>,
    /// What is known of snapshots that were forgotten.
    marks: Vec<Mark>,
    /// Where the loss of a pack by a finding is in the report.
    lost: HashMap<(usize, PackId), usize>,
    /// Where packs went, and what is about to be deleted or was.
    holders: Holders,
}

impl<'a> Check<'a> {
    fn new(
        store: &'a Arc<dyn Store>,
        watch: &'a Arc<dyn Watch>,
        descriptor: Descriptor,
        mut report: Report,
        listing: Listing,
        holders: Holders,
    ) -> Self {
        let hashes = listing.packs.iter();
        report.stored = hashes
            .filter_map(|object| {
                let hash = ObjectHash::from_object_name(&object.name)?;
                Some(StoredPack { hash, size: object.size, modified: object.modified })
            })
            .collect();
        report.packs = report.stored.len() as u64;
        let sizes = report.stored.iter().map(|pack| (pack.hash, pack.size)).collect();
        Self {
            store,
            watch,
            descriptor,
            report,
            listing,
            sizes,
            faults: HashMap::new(),
            incomplete: HashMap::new(),
            needed: HashSet::new(),
            not_indexed: HashMap::new(),
            marks: Vec::new(),
            lost: HashMap::new(),
            holders,
        }
    }

    fn vault(&self) -> VaultId {
        self.descriptor.vault
    }

    /// Whether to go on.
    fn goes_on(&mut self) -> bool {
        self.report.ended_early |= self.watch.is_cancelled();
        !self.report.ended_early
    }

    async fn key_slots(&mut self) -> Result<(), VaultError> {
        let mut whole = 0;
        for object in std::mem::take(&mut self.listing.keys) {
            let outcome = self.store.get(&object.name, name::SLOT_MAX).await;
            let advice = "remove this key slot and add a new one; other slots still open the vault";
            match outcome {
                Ok(bytes) => match check_slot(&object.name, &bytes, self.vault()) {
                    Ok(()) => whole += 1,
                    Err(damage) => {
                        self.report.findings.add(Finding::of(object.name, &damage, advice));
                    }
                },
                Err(error) => {
                    self.report.findings.add(unreadable(error, advice)?);
                }
            }
        }
        if whole == 0 {
            self.report.findings.add(Finding::new(
                Severity::Damage,
                name::KEYS,
                "there is no key slot that could open the vault",
                "put a key slot back from a copy of the vault, or add one from a machine that has the vault open",
            ));
        }
        Ok(())
    }

    async fn fragments(&mut self) -> Result<(), VaultError> {
        let objects = std::mem::take(&mut self.listing.fragments);
        let advice = "remove it: restores do not need it, and backups then store again what they do not find";
        let mut fetches = Fetches::new(self.store, &objects, FRAGMENT_MAX);
        while self.goes_on()
            && let Some((object, outcome)) = fetches.next().await
        {
            let hash = ObjectHash::from_object_name(&object.name).unwrap_or_default();
            if self.holders.is_going(hash) {
                // It was replaced and is about to be deleted, whatever it says; or it went since it was listed.
                continue;
            }
            let bytes = match outcome {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.report.findings.add(unreadable(error, advice)?);
                    continue;
                }
            };
            match fragment::decode(&bytes, hash, self.vault()) {
                Ok(packs) => {
                    for (pack, trailer) in packs {
                        let holdings = &mut self.report.holdings;
                        if !holdings.add(pack.hash, pack.size, &trailer, &pack.trailer) {
                            let message =
                                format!("it contradicts another fragment about {}", pack.hash.pack_name());
                            self.report.findings.add(Finding::new(
                                Severity::Damage,
                                &object.name,
                                message,
                                advice,
                            ));
                        }
                    }
                }
                Err(damage) => {
                    self.report.findings.add(Finding::of(&object.name, &damage, advice));
                }
            }
        }
        self.report.segments = self.report.holdings.iter().map(|(_, held)| held.segments).sum();
        Ok(())
    }

    /// Compares the listing of packs with the index.
    fn pack_sizes(&mut self) {
        let mut wrong: Vec<(ObjectHash, Damage)> = Vec::new();
        for (object, held) in self.report.holdings.iter() {
            match self.sizes.get(&object) {
                // What was collected may stand in the index for a while.
                None if self.holders.is_condemned(object) => {}
                None => wrong.push((object, Damage::Missing)),
                Some(size) if *size != held.size && !self.holders.is_condemned(object) => {
                    wrong.push((object, Damage::Length { recorded: held.size, found: *size }));
                }
                Some(_) => {}
            }
        }
        wrong.sort_by_key(|(object, _)| *object);
        for (object, damage) in wrong {
            self.pack_fault(object, &damage);
        }
    }

    /// Says that a whole pack is of no use.
    fn pack_fault(&mut self, object: ObjectHash, damage: &Damage) -> Option<usize> {
        let advice = "take it from a copy of the vault with `strongroom repair --from`; everything that does not need it can still be \
             restored";
        let number = self.report.findings.add(Finding::of(object.pack_name(), damage, advice))?;
        self.fault(object, number);
        Some(number)
    }

    /// Notes that all that the index knows to be in a pack is lost.
    fn fault(&mut self, object: ObjectHash, finding: usize) {
        self.faults.insert(object, finding);
        let held = self.report.holdings.get(object);
        let packs: Vec<PackId> = held.iter().flat_map(|held| held.packs()).collect();
        for pack in packs {
            self.lose(Loss { pack, object, segments: None, finding, snapshot: None });
        }
    }

    /// Adds a loss to what the same finding has lost of the same pack.
    fn lose(&mut self, loss: Loss) {
        let losses = &mut self.report.losses;
        let place = *self.lost.entry((loss.finding, loss.pack)).or_insert(losses.len());
        match (losses.get_mut(place), loss.segments) {
            (None, segments) => losses.push(Loss { segments, ..loss }),
            (Some(known), None) => known.segments = None,
            (Some(known), Some(more)) => {
                if let Some(segments) = &mut known.segments {
                    segments.union(&more);
                }
            }
        }
    }

    /// Of what was written down as damaged only what matters: something needs it, it was not replaced, and nothing worse is
    /// known of it.
    fn keep_recorded(&mut self) {
        let Self { report, holders, needed, faults, .. } = self;
        report.recorded.retain(|object| {
            needed.contains(object) && !holders.is_condemned(*object) && !faults.contains_key(object)
        });
    }

    /// What is about to be deleted and nothing needs is not read: it may be damaged, and was replaced.
    fn leave_what_goes(&mut self) {
        let (holders, needed) = (&self.holders, &self.needed);
        self.report.stored.retain(|pack| !holders.is_condemned(pack.hash) || needed.contains(&pack.hash));
    }

    /// What is in the store and nothing refers to.
    fn unused(&mut self) {
        if self.report.ended_early {
            return;
        }
        // What was condemned and is needed after all is in none on purpose, until it is moved.
        let unnamed = self.not_indexed.keys().filter(|object| !self.holders.is_condemned(**object));
        let (recorded, unnamed): (Vec<ObjectHash>, Vec<ObjectHash>) =
            unnamed.copied().partition(|object| self.report.recorded.contains(object));
        if let Some(first) = unnamed.iter().min() {
            self.report.findings.add(Finding::new(
                Severity::Damage,
                name::INDEX,
                format!(
                    "no index fragment names {} packs that snapshots need ({} and others): one is missing",
                    unnamed.len(),
                    first.short()
                ),
                "nothing is lost: restores do not need the index; the next backup may store some data again",
            ));
        }
        if let Some(first) = recorded.iter().min() {
            self.report.findings.add(Finding::new(
                Severity::Note,
                name::INDEX,
                format!(
                    "no index fragment names {} packs that an earlier check found damaged ({} and others)",
                    recorded.len(),
                    first.short()
                ),
                "a salvage took them out, or a fragment is missing; restores do not need it",
            ));
        }
        let is_known = |object: &ObjectHash| {
            self.report.holdings.get(*object).is_some()
                || self.needed.contains(object)
                || self.holders.is_condemned(*object)
        };
        let unknown: Vec<_> = self.report.stored.iter().filter(|pack| !is_known(&pack.hash)).collect();
        if !unknown.is_empty() {
            let bytes: u64 = unknown.iter().map(|pack| pack.size).sum();
            self.report.findings.add(Finding::new(
                Severity::Note,
                name::PACKS,
                format!("{} packs ({bytes} bytes) are in no index fragment yet", unknown.len()),
                "nothing to do: a backup that is running or was interrupted stored them, and the next one from the \
                 same machine uses them",
            ));
        }
    }
}

async fn read_descriptor(
    store: &Arc<dyn Store>,
    findings: &mut Findings,
) -> Result<Option<Descriptor>, VaultError> {
    let advice = "take it from a copy of the vault with `strongroom repair --from`: it is small and never changes; until then \
                  the vault can be read with a key, but not added to";
    match store.get(name::DESCRIPTOR, DESCRIPTOR_MAX).await {
        Ok(bytes) => match Descriptor::decode(&bytes) {
            Ok(descriptor) => return Ok(Some(descriptor)),
            Err(damage) => findings.add(Finding::of(name::DESCRIPTOR, &damage, advice)),
        },
        Err(error) if matches!(error.kind, Kind::NotFound | Kind::Gone) => {
            if error.kind == Kind::Gone || store.list(name::SNAPSHOTS).await?.is_empty() {
                return Err(VaultError::NoVault { location: store.location() });
            }
            findings.add(Finding::of(name::DESCRIPTOR, &Damage::Missing, advice))
        }
        Err(error) => findings.add(unreadable(error, advice)?),
    };
    Ok(None)
}

/// What of a key slot can be checked without a key: its name, and its public beginning.
fn check_slot(name: &str, bytes: &[u8], vault: VaultId) -> Result<(), Damage> {
    let mut reader = Reader::new(bytes);
    ObjectKind::KeySlot.expect(&mut reader)?;
    match reader.u64("features")? {
        0 => {}
        bits => return Err(Damage::UnknownFeatures { bits }),
    }
    if ObjectHash::from_object_name(name) != Some(ObjectHash::of(bytes)) {
        return Err(Damage::HashMismatch);
    }
    if VaultId::read(&mut reader, "vault id")? == vault { Ok(()) } else { Err(Damage::ForeignVault) }
}

/// A store's error as a finding about one object; an error of the whole store stays one.
pub fn unreadable(error: StoreError, advice: &str) -> Result<Finding, VaultError> {
    let of_the_object = match error.kind {
        Kind::NotFound | Kind::Truncated | Kind::TooLarge | Kind::PermissionDenied | Kind::Other => true,
        Kind::NoSpace
        | Kind::ReadOnly
        | Kind::InvalidName
        | Kind::UnknownLocation
        | Kind::Unavailable
        | Kind::Clock
        | Kind::Cold
        | Kind::Locked
        | Kind::Unsupported
        | Kind::Gone => false,
    };
    if !of_the_object || error.object.is_empty() {
        return Err(error.into());
    }
    if error.kind == Kind::NotFound {
        return Ok(Finding::of(error.object, &Damage::Missing, advice));
    }
    let mut message = format!("it cannot be read: {}", error.kind);
    let mut cause = std::error::Error::source(&error);
    while let Some(source) = cause {
        message.push_str(&format!(": {source}"));
        cause = source.source();
    }
    Ok(Finding::new(Severity::Damage, error.object, message, advice))
}

#[cfg(test)]
pub(crate) mod tests;
