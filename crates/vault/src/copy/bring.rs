//! One snapshot: what it needs is brought to the target, then what leads there, and then the snapshot itself.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use store::Kind;

use super::fetch::NOT_HELD;
use super::shelf::Shelf;
use super::step::Step;
use super::{Chosen, CopyError, Copying, FRAGMENT_PACKS, LeftBehind};
use crate::error::Damage;
use crate::fragment::{self, PackRecord};
use crate::moving::damage_of;
use crate::name::{self, ObjectHash, SnapshotId};
use crate::pack::read_trailer;
use crate::records;
use crate::relocation::{self, Moved};
use crate::sabotage::{Rule, keeps};
use crate::snapshot::{Envelope, PackNeed, SNAPSHOT_MAX};
use crate::trash::{self, Mark};
use crate::writer::{Outcome, Writer};

/// How often a snapshot is brought again because the machine slept and the target was cleaned up meanwhile.
const TRIES: usize = 3;
/// A fragment has about this many bytes at most: it is held in memory.
const FRAGMENT_BYTES: usize = 32 << 20;

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
