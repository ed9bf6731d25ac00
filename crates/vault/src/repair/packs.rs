//! Which packs are damaged or missing, of those that snapshots need.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream;

use super::{How, Needs, RepairError, Repairing};
use crate::condemned::{Condemned, What};
use crate::damage;
use crate::error::Damage;
use crate::fragment::PackRecord;
use crate::moving::{damage_of, prove};
use crate::name::{self, ObjectHash, PackId};
use crate::pack::read_trailer;
use crate::relocation::Moved;
use crate::segments::SegmentSet;

/// How many packs are read at once. Each has one piece in memory.
const AT_ONCE: usize = 4;

/// What is needed of one object.
pub(super) type Uses = BTreeMap<PackId, SegmentSet>;

impl Repairing<'_> {
    /// Finds what is damaged and heals what can be healed.
    pub(super) async fn packs(&mut self, needs: &Needs) -> Result<(), RepairError> {
        let mut used: BTreeMap<ObjectHash, Uses> = BTreeMap::new();
        for ((pack, named), segments) in needs {
            let object = self.place_of(*pack, *named, segments).await?;
            used.entry(object).or_default().entry(*pack).or_default().union(segments);
        }
        let mut broken = self.look(&used).await?;
        for (object, damage) in self.read(&used, &broken).await? {
            broken.insert(object, damage);
        }
        // What is damaged is not put into the index, where a salvage may have taken it out.
        self.records.retain(|record| !broken.contains_key(&record.hash));
        if !self.records.is_empty() {
            self.heal(name::INDEX.to_owned(), Damage::Missing, How::MadeAnew);
        }
        self.watch.stage("repairing");
        let nothing = Uses::new();
        for (object, damage) in broken {
            if !self.goes_on().await? {
                return Ok(());
            }
            self.heal_pack(object, damage, used.get(&object).unwrap_or(&nothing)).await?;
        }
        if self.options.salvage { self.salvage().await } else { Ok(()) }
    }

    /// The object that readers find, or would if no relocation were lost; when nothing holds the pack, the one that
    /// should.
    async fn place_of(
        &mut self,
        pack: PackId,
        named: ObjectHash,
        segments: &SegmentSet,
    ) -> Result<ObjectHash, RepairError> {
        if let Some(object) = self.here.find(pack, named, segments) {
            return Ok(object);
        }
        let vault = self.vault();
        match self.here.find_in_index(self.store, vault, pack, segments).await? {
            Some((object, segments)) => {
                self.relocated(Moved { pack, object, segments });
                Ok(object)
            }
            // One that is not there: a relocation may have led away from the named one.
            None => Ok(self.here.holders.find(pack, named, segments).unwrap_or(named)),
        }
    }

    pub(super) fn relocated(&mut self, moved: Moved) {
        if !self.here.holders.knows(&moved) {
            self.here.holders.add(moved.clone());
            self.moved.push(moved);
        }
    }

    /// What listings, sizes and tables tell. Packs that no fragment names are taken down for one.
    async fn look(
        &mut self,
        used: &BTreeMap<ObjectHash, Uses>,
    ) -> Result<BTreeMap<ObjectHash, Damage>, RepairError> {
        let vault = self.vault();
        let mut broken = BTreeMap::new();
        for object in used.keys() {
            let found = self.here.packs.get(object).copied();
            let recorded = self.here.sources.get(object).map(|(_, size)| *size);
            match (found, recorded) {
                (None, _) => {
                    broken.insert(*object, Damage::Missing);
                }
                (Some(found), Some(recorded)) if found != recorded => {
                    // A fragment may lie: whoever adds to a vault can write one.
                    match prove(self.store, *object, found, vault, self.watch).await? {
                        Ok(()) => self.unmask(*object).await?,
                        Err(_) => {
                            broken.insert(*object, Damage::Length { recorded, found });
                        }
                    }
                }
                (Some(_), Some(_)) => {}
                (Some(_), None) => {
                    let read = match read_trailer(self.store.as_ref(), *object, vault).await {
                        Ok(read) => read,
                        Err(error) => Err(damage_of(error)?),
                    };
                    match read {
                        Ok((_, trailer, size)) => {
                            let trailer = Bytes::copy_from_slice(&trailer);
                            self.records.push(PackRecord { hash: *object, size, trailer });
                        }
                        Err(damage) if damage.is_newer() => {}
                        Err(damage) => {
                            broken.insert(*object, damage);
                        }
                    }
                }
            }
        }
        Ok(broken)
    }

    /// A fragment says something else of a pack than the pack, which is what its name says: the fragment goes.
    async fn unmask(&mut self, object: ObjectHash) -> Result<(), RepairError> {
        self.proved.insert(object);
        let Some((fragment, _)) = self.here.sources.remove(&object) else { return Ok(()) };
        let what = Condemned { what: What::Fragment, hash: fragment };
        if self.condemn.insert(what) {
            let lie = Damage::Nonsense("it says something else of a pack than the pack itself");
            self.heal(fragment.index_name(), lie, How::MadeAnew);
            // All that it names is named anew.
            self.here.sources.retain(|_, (by, _)| *by != fragment);
        }
        Ok(())
    }

    /// Reads the packs that are suspected, every byte of them.
    async fn read(
        &mut self,
        used: &BTreeMap<ObjectHash, Uses>,
        broken: &BTreeMap<ObjectHash, Damage>,
    ) -> Result<Vec<(ObjectHash, Damage)>, RepairError> {
        let recorded = damage::read_all(self.store.as_ref(), self.vault()).await?;
        let recorded: BTreeSet<_> = recorded.into_iter().map(|damaged| damaged.object).collect();
        let is_suspect = |object: &ObjectHash| self.options.read_all || recorded.contains(object);
        let suspects: Vec<_> = used
            .keys()
            .filter(|object| is_suspect(object) && !broken.contains_key(object))
            .filter_map(|object| Some((*object, *self.here.packs.get(object)?)))
            .collect();
        self.watch.stage("reading packs");
        self.watch.total(suspects.iter().map(|(_, size)| size).sum());
        let (store, vault, watch) = (self.store.clone(), self.vault(), self.watch);
        let readings = suspects.into_iter().map(|(object, size)| {
            let store = &store;
            async move { (object, size, prove(store, object, size, vault, watch).await) }
        });
        let mut readings = stream::iter(readings).buffer_unordered(AT_ONCE);
        let mut found = Vec::new();
        while let Some((object, size, outcome)) = readings.next().await {
            self.report.bytes_read += size;
            match outcome? {
                Ok(()) => {
                    self.proved.insert(object);
                }
                Err(damage) if damage.is_newer() => {}
                Err(damage) => found.push((object, damage)),
            }
            if !self.goes_on().await? {
                break;
            }
        }
        drop(readings);
        found.sort_by_key(|(object, _)| *object);
        Ok(found)
    }
}
