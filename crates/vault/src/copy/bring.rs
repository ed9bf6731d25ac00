//! One snapshot: what it needs is brought to the target, then what leads there, and then the snapshot itself.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use store::Kind;

use super::fetch::NOT_HELD;
use super::shelf::Shelf;
use super::{ANOTHER_PACK, Chosen, CopyError, Copying, FRAGMENT_PACKS, LeftBehind, REGROUPED_SINCE};
use crate::collect::proof::{Depth, Likeness, is_copy};
use crate::error::{Damage, VaultError};
use crate::fragment::{self, PackRecord};
use crate::moving::damage_of;
use crate::name::{self, ObjectHash, SnapshotId};
use crate::pack::read_trailer;
use crate::records;
use crate::relocation::{self, Moved};
use crate::sabotage::{Rule, keeps};
use crate::segments::SegmentSet;
use crate::snapshot::{Envelope, PackNeed, SNAPSHOT_MAX};
use crate::trash::{self, Mark};
use crate::writer::{Outcome, Writer};

/// How often a snapshot is brought again because the machine slept and the target was cleaned up meanwhile.
const TRIES: usize = 3;
/// A fragment has about this many bytes at most: it is held in memory.
const FRAGMENT_BYTES: usize = 32 << 20;

/// What is to be done for one of the things that a snapshot needs.
enum Step {
    /// The target has it, where its readers look.
    There,
    /// The target has it in this object, and its readers do not know.
    Point(ObjectHash, SegmentSet),
    /// This object is to be copied.
    Copy(ObjectHash),
    /// The segments in this object are to be copied into another: its own name is not to be written again, or not all of it
    /// is whole.
    Move(ObjectHash),
    /// It cannot be had, because of this object.
    Lost(ObjectHash),
}

impl Copying<'_> {
    /// Copies a snapshot and what it needs, unless something of that is damaged.
    pub(super) async fn snapshot(&mut self, chosen: Chosen) -> Result<(), CopyError> {
        let Chosen { id, previous, .. } = chosen;
        let bytes = match chosen.bytes {
            Some(bytes) => bytes,
            None => match self.source.get(&id.snapshot_name(), SNAPSHOT_MAX).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    let damage = damage_of(error)?;
                    self.leave_snapshot(id, damage);
                    return Ok(());
                }
            },
        };
        let envelope = match self.decode(id, &bytes) {
            Ok(object) => object.envelope,
            Err(damage) => {
                self.leave_snapshot(id, damage);
                return Ok(());
            }
        };
        self.bad.retain(|_, damage| *damage != NOT_HELD);
        let mut was_written = false;
        for _ in 0..TRIES {
            self.look_again().await?;
            let mut lost = self.bring(&envelope.needs, previous).await?;
            if lost.is_empty() && !self.options.dry_run && !self.report.ended_early {
                lost = self.see_indexed(&envelope.needs, previous).await?;
            }
            if self.report.ended_early || !lost.is_empty() {
                if !lost.is_empty() {
                    self.report.left_behind.push(LeftBehind { snapshot: id, objects: lost });
                }
                return self.disown(id, &envelope, was_written).await;
            }
            match self.commit(id, &envelope, &bytes).await? {
                Outcome::Committed => {
                    self.report.copied.push(id);
                    self.report.bytes_copied += bytes.len() as u64;
                    self.there.snapshots.insert(id);
                    self.vouchers.arrived(id, &envelope);
                    return Ok(());
                }
                Outcome::Lost { written, .. } | Outcome::Restless { written } => was_written |= written,
            }
        }
        self.disown(id, &envelope, was_written).await?;
        Err(CopyError::Restless)
    }

    /// With another lease, what it knew of the target is over: that may come of a commit that succeeded, too.
    async fn look_again(&mut self) -> Result<(), CopyError> {
        let has_new_lease =
            |writer: &&Writer| writer.leases() != self.leases && keeps(Rule::ArrivalsLookAgain);
        if let Some(writer) = self.writer.as_ref().filter(has_new_lease) {
            let (holders, leases) = (writer.holders().clone(), writer.leases());
            self.there = Shelf::read(self.target, self.descriptor.vault, holders).await?;
            self.leases = leases;
        }
        Ok(())
    }

    async fn commit(
        &mut self,
        id: SnapshotId,
        envelope: &Envelope,
        bytes: &Bytes,
    ) -> Result<Outcome, CopyError> {
        let Some(writer) = &mut self.writer else { return Ok(Outcome::Committed) };
        let outcome = writer.commit(id, &envelope.needs, bytes, self.random).await?;
        if self.options.verify && outcome == Outcome::Committed {
            let name = id.snapshot_name();
            if self.target.get(&name, bytes.len() as u64).await? != *bytes {
                self.fault(self.target.location(), name, Damage::HashMismatch);
            }
        }
        Ok(outcome)
    }

    /// A snapshot that was written, and not all it needs, goes to the trash.
    async fn disown(
        &mut self,
        snapshot: SnapshotId,
        envelope: &Envelope,
        was_written: bool,
    ) -> Result<(), CopyError> {
        if was_written {
            let mark = Mark {
                nonce: (self.random)(),
                snapshot,
                system: envelope.system,
                sequence: envelope.sequence,
                previous: envelope.previous,
                written: envelope.time.0,
                reason: "a copy that slept: what the snapshot needs was deleted meanwhile".to_owned(),
            };
            trash::forget(self.target.as_ref(), self.descriptor.vault, &mark).await?;
        }
        Ok(())
    }

    /// Brings all that is needed; the objects without which that cannot be done.
    async fn bring(&mut self, needs: &[PackNeed], previous: SnapshotId) -> Result<Vec<String>, CopyError> {
        let mut is_first = true;
        loop {
            let mut copies = BTreeSet::new();
            let mut moves: BTreeMap<ObjectHash, Vec<PackNeed>> = BTreeMap::new();
            let mut lost = BTreeSet::new();
            let mut present = BTreeSet::new();
            for need in needs {
                match self.step(need, previous).await? {
                    Step::There => {
                        present.insert(self.there.find(need.pack, need.object, &need.segments));
                    }
                    Step::Point(object, segments) => {
                        present.insert(Some(object));
                        self.point(Moved { pack: need.pack, object, segments });
                    }
                    Step::Copy(object) => {
                        copies.insert(object);
                    }
                    Step::Move(object) => moves.entry(object).or_default().push(need.clone()),
                    Step::Lost(object) => {
                        lost.insert(object.pack_name());
                    }
                }
            }
            if is_first {
                self.report.packs_present += present.len() as u64;
            }
            is_first = false;
            if copies.is_empty() && moves.is_empty() {
                self.relocate().await?;
                return Ok(lost.into_iter().collect());
            }
            let size = |object: &ObjectHash| self.sizes.get(object).copied().unwrap_or_default();
            self.watch.total(copies.iter().map(size).sum());
            if self.options.dry_run {
                self.promise(&copies, &moves);
                return Ok(lost.into_iter().collect());
            }
            self.fragment_of = FRAGMENT_PACKS.max(copies.len() / 8);
            self.fetch(copies.into_iter().collect()).await?;
            for (object, needs) in moves {
                self.move_segments(object, &needs).await?;
            }
            if self.report.ended_early {
                return Ok(Vec::new());
            }
        }
    }

    async fn step(&mut self, need: &PackNeed, previous: SnapshotId) -> Result<Step, CopyError> {
        let vault = self.descriptor.vault;
        if let Some(object) = self.there.find(need.pack, need.object, &need.segments) {
            let whole = self.find_here(need);
            let here = whole.or_else(|| self.find_torn_and_known(need));
            let needs_voucher = object != need.object && keeps(Rule::ArrivalsAreCompared);
            if needs_voucher && !self.is_vouched_for(need, here, object, previous).await? {
                // Under the name that the snapshot says, readers there find it and no relocation counts.
                if whole == Some(need.object) && !self.there.holders.is_condemned(need.object) {
                    return Ok(Step::Copy(need.object));
                }
                self.fault(self.target.location(), object.pack_name(), ANOTHER_PACK);
                return Ok(Step::Lost(object));
            }
            return match self.has_all_chunks(need, object).await? {
                true => Ok(self.if_whole(object, Step::There)),
                false => Ok(self.regrouped(object)),
            };
        }
        let Some(object) = self.find_here(need) else {
            if let Some(torn) = self.find_torn(need) {
                return Ok(Step::Move(torn));
            }
            let named = self.here.find(need.pack, need.object, &need.segments).unwrap_or(need.object);
            if !self.bad.contains_key(&named) {
                self.fault(self.source.location(), named.pack_name(), Damage::Missing);
            }
            return Ok(Step::Lost(named));
        };
        let was_moved = object != need.object || self.here.moved_to(need.pack).any(|(to, _)| to == object);
        if was_moved && !self.there.packs.is_empty() {
            // The target may have all of it in the object where it was before.
            let found = self.there.find_in_index(self.target, vault, need.pack, &need.segments).await?;
            if let Some((there, segments)) = found {
                let may_point = self.other_generation(need, object).await?.is_none();
                if may_point && self.is_same(need, object, there).await? {
                    return Ok(self.if_whole(there, Step::Point(there, segments)));
                }
                if !self.has_all_chunks(need, there).await? {
                    return Ok(self.regrouped(there));
                }
            }
        }
        let needs_pointing = object != need.object || self.there.holders.is_condemned(object);
        if needs_pointing && let Some(other) = self.other_generation(need, object).await? {
            return Ok(self.regrouped_at_the_source(other));
        }
        if self.there.holders.is_condemned(object) {
            return Ok(Step::Move(object));
        }
        if !self.there.packs.contains_key(&object) {
            return Ok(Step::Copy(object));
        }
        match read_trailer(self.target.as_ref(), object, vault).await {
            Ok(Ok((trailer, ..))) => {
                let segments = trailer.segments_of(need.pack);
                if segments.contains_all(&need.segments) {
                    return Ok(self.if_whole(object, Step::Point(object, segments)));
                }
                self.fault(self.source.location(), object.pack_name(), Damage::Missing);
            }
            Ok(Err(damage)) => self.fault(self.target.location(), object.pack_name(), damage),
            Err(error) => {
                let damage = damage_of(error)?;
                self.fault(self.target.location(), object.pack_name(), damage);
            }
        }
        Ok(Step::Lost(object))
    }

    fn regrouped(&mut self, object: ObjectHash) -> Step {
        let damage =
            Damage::Nonsense("its pack is regrouped there, without chunks that the snapshot may need");
        self.fault(self.target.location(), object.pack_name(), damage);
        Step::Lost(object)
    }

    fn regrouped_at_the_source(&mut self, object: ObjectHash) -> Step {
        self.fault(self.target.location(), object.pack_name(), REGROUPED_SINCE);
        Step::Lost(object)
    }

    /// An object at the target that holds the pack in another generation than `object` at the source. No relocation may
    /// lead to `object` then: cleanup and readers at the target would take the one for the other, and a regrouped pack
    /// lacks what only snapshots needed that the source has forgotten.
    async fn other_generation(
        &mut self,
        need: &PackNeed,
        object: ObjectHash,
    ) -> Result<Option<ObjectHash>, CopyError> {
        let may_differ = self.there.holders.is_closed(need.pack) && keeps(Rule::GenerationsAreKeptApart);
        if !may_differ || self.there.packs.is_empty() {
            return Ok(None);
        }
        let vault = self.descriptor.vault;
        let here = match read_trailer(self.source.as_ref(), object, vault).await {
            Ok(read) => read.ok().and_then(|(trailer, ..)| trailer.origin(need.pack).cloned()),
            Err(error) => damage_of(error).map(|_| None)?,
        };
        let Some(here) = here else { return Ok(None) };
        for other in self.there.all_holders(self.target, vault, need.pack).await? {
            let found = match read_trailer(self.target.as_ref(), other, vault).await {
                Ok(read) => read.ok().and_then(|(trailer, ..)| trailer.origin(need.pack).cloned()),
                Err(error) if error.kind == Kind::NotFound => continue,
                Err(error) => damage_of(error).map(|_| None)?,
            };
            // One that is damaged could be any.
            if found.is_none_or(|found| found.envelope != here.envelope) {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Whether the object at the target has every chunk that snapshots of the source may need of a pack, and will have.
    /// Where the pack was never closed it is as it was first sealed, or as it came from there. One that the target itself
    /// closed is thinned any time, by what was needed before this copy.
    async fn has_all_chunks(&mut self, need: &PackNeed, object: ObjectHash) -> Result<bool, CopyError> {
        if self.there.closed_here.contains(&need.pack) {
            return Ok(false);
        }
        if !self.there.holders.is_closed(need.pack) {
            return Ok(true);
        }
        let Some(here) = self.find_here(need) else { return Ok(false) };
        let key = (need.pack, here, object);
        if let Some(known) = self.chunks_known.get(&key) {
            return Ok(*known);
        }
        let vault = self.descriptor.vault;
        let there = match read_trailer(self.target.as_ref(), object, vault).await {
            Ok(read) => read.ok().and_then(|(trailer, ..)| trailer.origin(need.pack).cloned()),
            Err(error) => damage_of(error).map(|_| None)?,
        };
        let has_all = match there {
            Some(there) if there.generation == 0 => true,
            Some(there) => {
                let here = match read_trailer(self.source.as_ref(), here, vault).await {
                    Ok(read) => read.ok().and_then(|(trailer, ..)| trailer.origin(need.pack).cloned()),
                    Err(error) => damage_of(error).map(|_| None)?,
                };
                // What a vault may not regroup itself came from the source, perhaps at an earlier time.
                here.is_some_and(|here| here.envelope == there.envelope || there.generation < here.generation)
            }
            None => false,
        };
        self.chunks_known.insert(key, has_all);
        Ok(has_all)
    }

    /// Whether `there` at the target holds all that `here` at the source does of the pack, byte for byte. Whoever may add
    /// to a vault can store an object that only says so, and a relocation to it would be believed.
    async fn is_same(
        &mut self,
        need: &PackNeed,
        here: ObjectHash,
        there: ObjectHash,
    ) -> Result<bool, CopyError> {
        let trailer = match read_trailer(self.source.as_ref(), here, self.descriptor.vault).await {
            Ok(Ok((trailer, ..))) if trailer.segments_of(need.pack).contains_all(&need.segments) => trailer,
            Ok(_) => return Ok(false),
            Err(error) => return damage_of(error).map(|_| false).map_err(CopyError::from),
        };
        let segments = trailer.segments_of(need.pack);
        let target = match read_trailer(self.target.as_ref(), there, self.descriptor.vault).await {
            Ok(Ok((target, ..))) => target,
            Ok(Err(_)) => return Ok(false),
            Err(error) if error.kind == Kind::Cold => return Ok(false),
            Err(error) => return damage_of(error).map(|_| false).map_err(CopyError::from),
        };
        let (there, like) = ((there, &target), Likeness::Same);
        match is_copy(self.target, &trailer, there, need.pack, &segments, like, Depth::Bytes).await {
            // What is in cold storage is brought once more.
            Err(VaultError::Store(error)) if error.kind == Kind::Cold => Ok(false),
            is_same => Ok(is_same?),
        }
    }

    /// The step, unless the object at the target has another size than at the source: the target is damaged.
    fn if_whole(&mut self, object: ObjectHash, step: Step) -> Step {
        let (here, there) = (self.sizes.get(&object), self.there.packs.get(&object));
        match (here, there) {
            (Some(recorded), Some(found)) if recorded != found => {
                let damage = Damage::Length { recorded: *recorded, found: *found };
                self.fault(self.target.location(), object.pack_name(), damage);
                Step::Lost(object)
            }
            _ => step,
        }
    }

    /// The object of the source that holds what is needed.
    fn find_here(&mut self, need: &PackNeed) -> Option<ObjectHash> {
        let is_good =
            |object: ObjectHash| self.sizes.contains_key(&object) && !self.bad.contains_key(&object);
        let found = self.here.find_among(need.pack, need.object, &need.segments, is_good);
        // Even one that is about to go is good enough to be read.
        let condemned = || {
            let moved = self.here.moved_to(need.pack).filter(|(_, there)| there.contains_all(&need.segments));
            let mut all = std::iter::once(need.object).chain(moved.map(|(object, _)| object));
            all.find(|object| is_good(*object))
        };
        found.or_else(condemned)
    }

    fn point(&mut self, moved: Moved) {
        if !self.there.holders.knows(&moved) {
            self.there.holders.add(moved.clone());
            self.moved.push(moved);
        }
    }

    /// What a dry run takes for done.
    fn promise(&mut self, copies: &BTreeSet<ObjectHash>, moves: &BTreeMap<ObjectHash, Vec<PackNeed>>) {
        for object in copies {
            let size = self.sizes.get(object).copied().unwrap_or_default();
            self.report.packs_copied += 1;
            self.report.bytes_copied += size;
            self.there.packs.insert(*object, size);
        }
        let needs = moves.values().flatten();
        self.report.segments_moved += needs.map(|need| need.segments.len() as u64).sum::<u64>();
    }

    /// Says at the target where packs are.
    async fn relocate(&mut self) -> Result<(), CopyError> {
        let moved = std::mem::take(&mut self.moved);
        if !moved.is_empty() && !self.options.dry_run {
            // A fragment first: what is relocated to is never without one for long.
            self.index().await?;
            let bytes = relocation::encode(self.descriptor.vault, (self.random)(), &moved);
            records::write(self.target.as_ref(), name::RELOCATIONS, bytes).await?;
        }
        Ok(())
    }

    /// Takes down a pack for the index, and writes a fragment when there are many.
    pub(super) async fn record(&mut self, record: PackRecord) -> Result<(), CopyError> {
        self.there.indexed.insert(record.hash);
        self.record_bytes += record.trailer.len();
        self.records.push(record);
        let is_full = self.records.len() >= self.fragment_of || self.record_bytes >= FRAGMENT_BYTES;
        if is_full { self.index().await } else { Ok(()) }
    }

    /// Writes a fragment for the packs that have none.
    pub(super) async fn index(&mut self) -> Result<(), CopyError> {
        self.record_bytes = 0;
        let records = std::mem::take(&mut self.records);
        if !records.is_empty() && !self.options.dry_run {
            let condemned = &self.there.condemned_fragments;
            fragment::write(self.target.as_ref(), self.descriptor.vault, records, condemned).await?;
        }
        Ok(())
    }

    /// Sees that fragments name all packs that are needed: an interrupted copy may have left some without one. The
    /// objects that cannot be named.
    async fn see_indexed(
        &mut self,
        needs: &[PackNeed],
        previous: SnapshotId,
    ) -> Result<Vec<String>, CopyError> {
        let vault = self.descriptor.vault;
        let used = |there: &Shelf, needs: &[PackNeed]| {
            let find = |need: &PackNeed| there.find(need.pack, need.object, &need.segments);
            needs.iter().filter_map(find).collect::<BTreeSet<_>>()
        };
        let unsure = |there: &Shelf| {
            let mut objects = used(there, needs);
            objects.retain(|object| !there.indexed.contains(object));
            objects
        };
        if !unsure(&self.there).is_empty() && self.there.snapshots.contains(&previous) {
            // What a snapshot at the target needs was named before it came.
            match self.target.get(&previous.snapshot_name(), SNAPSHOT_MAX).await {
                Ok(bytes) => {
                    if let Ok(object) = self.decode(previous, &bytes) {
                        let known = used(&self.there, &object.envelope.needs);
                        self.there.indexed.extend(known);
                    }
                }
                Err(error) => {
                    damage_of(error)?;
                }
            }
        }
        if !unsure(&self.there).is_empty() {
            self.there.learn_index(self.target, vault).await?;
        }
        let mut lost = Vec::new();
        for object in unsure(&self.there) {
            match read_trailer(self.target.as_ref(), object, vault).await {
                Ok(Ok((_, trailer, size))) => {
                    let trailer = Bytes::copy_from_slice(&trailer);
                    self.record(PackRecord { hash: object, size, trailer }).await?;
                }
                Ok(Err(damage)) => {
                    self.fault(self.target.location(), object.pack_name(), damage);
                    lost.push(object.pack_name());
                }
                Err(error) if error.kind == Kind::NotFound => lost.push(object.pack_name()),
                Err(error) => return Err(error.into()),
            }
        }
        self.index().await?;
        Ok(lost)
    }
}
