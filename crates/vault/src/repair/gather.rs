//! One damaged or missing pack: what is still good of it and what the replica has, in a new one.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use super::packs::Uses;
use super::{How, Lost, RepairError, Repairing};
use crate::condemned::{Condemned, What};
use crate::copy::fetch::examine;
use crate::error::Damage;
use crate::fragment::PackRecord;
use crate::moving::{Mover, Sealed, damage_of, read_each};
use crate::name::{ObjectHash, PackId};
use crate::pack::{Origin, PackKind, SegmentRow, Trailer, hash_of, read_trailer};
use crate::segments::SegmentSet;

/// What goes into the new pack of one origin.
struct Gathered {
    kind: PackKind,
    origin: Origin,
    sealed: Vec<Sealed>,
}

impl Repairing<'_> {
    /// Heals a pack object of which `uses` is needed, or says what is lost.
    pub(super) async fn heal_pack(
        &mut self,
        object: ObjectHash,
        damage: Damage,
        uses: &Uses,
    ) -> Result<(), RepairError> {
        let name = object.pack_name();
        let is_there = self.here.packs.contains_key(&object);
        if !is_there
            && !self.here.holders.is_condemned(object)
            && let Some((bytes, record)) = self.whole(object).await?
        {
            // Its name is free, and nobody means to delete it: it goes back as it was.
            if !self.options.dry_run {
                self.store.put(&name, vec![bytes]).await?;
            }
            self.report.bytes_written += record.size;
            self.here.packs.insert(object, record.size);
            self.proved.insert(object);
            if !self.here.sources.contains_key(&object) {
                self.records.push(record);
            }
            self.heal(name, damage, How::PutBack);
            return Ok(());
        }
        let (gathered, has_table) = self.gather(object, is_there, uses).await?;
        let mut lost = Vec::new();
        for (pack, needed) in uses {
            let found = gathered.iter().filter(|gathered| gathered.origin.pack == *pack);
            let numbers: SegmentSet =
                found.flat_map(|gathered| gathered.sealed.iter().map(|sealed| sealed.number)).collect();
            let lacking: SegmentSet = needed.iter().filter(|number| !numbers.contains(*number)).collect();
            if !lacking.is_empty() {
                lost.push((*pack, lacking));
            }
        }
        if !lost.is_empty() {
            let mut segments = lost.clone();
            if is_there && !has_table {
                self.leave_readable(object, &mut segments).await?;
            }
            self.report.lost.push(Lost { object: name, damage, segments });
            self.broken.insert(object, lost);
            return Ok(());
        }
        if !self.options.dry_run {
            let mut mover = Mover::new(self.store, self.vault(), None);
            for Gathered { kind, origin, sealed } in gathered {
                mover.place(kind, &origin, sealed, self.random).await?;
            }
            mover.end_pack().await?;
            self.report.bytes_written += mover.bytes;
            for record in mover.packs {
                self.here.packs.insert(record.hash, record.size);
                self.records.push(record);
            }
            for moved in mover.moved {
                self.relocated(moved);
            }
            self.condemn.insert(Condemned { what: What::Pack, hash: object });
        }
        self.heal(name, damage, How::Moved);
        Ok(())
    }

    /// A whole pack of the replica that is what its name says, and its record.
    async fn whole(&self, object: ObjectHash) -> Result<Option<(Bytes, PackRecord)>, RepairError> {
        let Some(replica) = &self.replica else { return Ok(None) };
        let Some(size) = replica.shelf.packs.get(&object) else { return Ok(None) };
        match replica.store.get(&object.pack_name(), *size).await {
            Ok(bytes) => {
                self.watch.read(bytes.len() as u64);
                Ok(examine(&bytes, object, self.vault()).ok().map(|record| (bytes, record)))
            }
            Err(error) => {
                damage_of(error)?;
                Ok(None)
            }
        }
    }

    /// All that can be had of what a damaged object holds, and whether a table told what that is. Its own table could be what
    /// is damaged, so another tells.
    async fn gather(
        &mut self,
        object: ObjectHash,
        is_there: bool,
        uses: &Uses,
    ) -> Result<(Vec<Gathered>, bool), RepairError> {
        let (fetched, mut incomplete) = (self.report.segments_fetched, None);
        // First by a fragment, since then only what is missing is fetched. It may lie: when all segments are there, the name
        // of the object tells.
        let indexed = self.here.indexed_table(self.store, self.vault(), object).await?;
        if let Some((_, table)) = indexed {
            let found = self.by_table(object, is_there, &table, uses).await?;
            match is_original(&table, &found, object) {
                Some(true) => return Ok((found, true)),
                None if !self.replica_has(object) => return Ok((found, true)),
                // Not all is there, and whoever has the whole object tells for certain what was in it.
                None => incomplete = Some(table),
                Some(false) => {}
            }
        }
        self.report.segments_fetched = fetched;
        if let Some((_, record)) = self.whole(object).await?
            && let Ok(table) = Trailer::decode(&record.trailer)
        {
            return Ok((self.by_table(object, is_there, &table, uses).await?, true));
        }
        match incomplete {
            Some(table) => Ok((self.by_table(object, is_there, &table, uses).await?, true)),
            None => Ok((self.without_table(object, uses).await?, false)),
        }
    }

    fn replica_has(&self, object: ObjectHash) -> bool {
        self.replica.as_ref().is_some_and(|replica| replica.shelf.packs.contains_key(&object))
    }

    /// All that can be had of an object whose table is known: everything good in it, and the rest from the replica.
    async fn by_table(
        &mut self,
        object: ObjectHash,
        is_there: bool,
        table: &Trailer,
        uses: &Uses,
    ) -> Result<Vec<Gathered>, RepairError> {
        let mut all = Vec::new();
        for origin in &table.origins {
            let rows = table.rows_of(origin.pack);
            let read = match is_there {
                true => read_each(self.store.as_ref(), object, &rows, self.watch).await?,
                false => rows.iter().map(|_| Err(Damage::Missing)).collect(),
            };
            let mut found: BTreeMap<u32, Sealed> =
                read.into_iter().flatten().map(|sealed| (sealed.number, sealed)).collect();
            let is_missing = |row: &&SegmentRow| !found.contains_key(&row.number);
            let missing: Vec<SegmentRow> = rows.iter().filter(is_missing).copied().collect();
            if !missing.is_empty() {
                // What nobody needs any more is taken along if it is easily had.
                let needed = uses.get(&origin.pack);
                let fetched = self.fetch(origin.pack, object, &missing, needed).await?;
                self.report.segments_fetched += fetched.len() as u64;
                found.extend(fetched);
            }
            // In the order of the table, and nothing twice.
            let sealed: Vec<Sealed> = rows.iter().filter_map(|row| found.remove(&row.number)).collect();
            if !sealed.is_empty() {
                all.push(Gathered { kind: table.kind, origin: origin.clone(), sealed });
            }
        }
        Ok(all)
    }

    /// Where the replica may hold segments of a pack.
    async fn places(
        &mut self,
        pack: PackId,
        named: ObjectHash,
        segments: &SegmentSet,
    ) -> Result<Vec<ObjectHash>, RepairError> {
        let vault = self.vault();
        let Some(replica) = &mut self.replica else { return Ok(Vec::new()) };
        let mut places: Vec<ObjectHash> = Vec::new();
        places.extend(replica.shelf.find(pack, named, segments));
        let found = replica.shelf.find_in_index(replica.store, vault, pack, segments).await?;
        places.extend(found.map(|(object, _)| object));
        places.push(named);
        places.extend(replica.shelf.holders.moved_to(pack).map(|(object, _)| object));
        places.retain(|object| replica.shelf.packs.contains_key(object));
        let mut seen = HashSet::new();
        places.retain(|object| seen.insert(*object));
        Ok(places)
    }

    /// Segments with these hashes, from wherever the replica has them.
    async fn fetch(
        &mut self,
        pack: PackId,
        named: ObjectHash,
        rows: &[SegmentRow],
        needed: Option<&SegmentSet>,
    ) -> Result<HashMap<u32, Sealed>, RepairError> {
        let hashes: HashMap<u32, [u8; 32]> = rows.iter().map(|row| (row.number, row.hash)).collect();
        let is_needed = |number: &u32| needed.is_some_and(|needed| needed.contains(*number));
        let wanted: SegmentSet = hashes.keys().copied().filter(is_needed).collect();
        let mut found = HashMap::new();
        for object in self.places(pack, named, &wanted).await? {
            let vault = self.vault();
            let Some(replica) = &self.replica else { break };
            let trailer = match read_trailer(replica.store.as_ref(), object, vault).await {
                Ok(Ok((trailer, ..))) => trailer,
                Ok(Err(_)) => continue,
                Err(error) => {
                    damage_of(error)?;
                    continue;
                }
            };
            let mut there = trailer.rows_of(pack);
            there
                .retain(|row| hashes.get(&row.number) == Some(&row.hash) && !found.contains_key(&row.number));
            let read = read_each(replica.store.as_ref(), object, &there, self.watch).await?;
            found.extend(read.into_iter().flatten().map(|sealed| (sealed.number, sealed)));
            if found.len() == hashes.len() {
                break;
            }
        }
        Ok(found)
    }

    /// Takes out of what is lost the segments that readers still find in the damaged object, by its own table. That is no
    /// reason to move them: it could be the table that is damaged.
    async fn leave_readable(
        &self,
        object: ObjectHash,
        lost: &mut Vec<(PackId, SegmentSet)>,
    ) -> Result<(), RepairError> {
        let trailer = match read_trailer(self.store.as_ref(), object, self.vault()).await {
            Ok(Ok((trailer, ..))) => trailer,
            Ok(Err(_)) => return Ok(()),
            Err(error) => {
                damage_of(error)?;
                return Ok(());
            }
        };
        for (pack, segments) in lost.iter_mut() {
            let mut rows = trailer.rows_of(*pack);
            rows.retain(|row| segments.contains(row.number));
            let read = read_each(self.store.as_ref(), object, &rows, self.watch).await?;
            let readable: SegmentSet = read.into_iter().flatten().map(|sealed| sealed.number).collect();
            *segments = segments.iter().filter(|number| !readable.contains(*number)).collect();
        }
        lost.retain(|(_, segments)| !segments.is_empty());
        Ok(())
    }

    /// What the replica has of the packs that are needed, when nothing here tells what was in the object.
    async fn without_table(&mut self, named: ObjectHash, uses: &Uses) -> Result<Vec<Gathered>, RepairError> {
        let mut all = Vec::new();
        for (pack, needed) in uses {
            for object in self.places(*pack, named, needed).await? {
                let Some((bytes, record)) = self.whole(object).await? else { continue };
                let Ok(trailer) = Trailer::decode(&record.trailer) else { continue };
                let Some(origin) = trailer.origin(*pack) else { continue };
                let cut = |row: &SegmentRow| {
                    let start = row.offset as usize;
                    let sealed = bytes.get(start..start + row.length as usize)?;
                    let is_good = *blake3::hash(sealed).as_bytes() == row.hash;
                    // A copy of its own: the pack's bytes are let go.
                    let bytes = Bytes::copy_from_slice(sealed);
                    is_good.then_some(Sealed { number: row.number, hash: row.hash, bytes })
                };
                let sealed: Vec<Sealed> = trailer.rows_of(*pack).iter().filter_map(cut).collect();
                let numbers: SegmentSet = sealed.iter().map(|sealed| sealed.number).collect();
                if numbers.contains_all(needed) {
                    self.report.segments_fetched += sealed.len() as u64;
                    all.push(Gathered { kind: trailer.kind, origin: origin.clone(), sealed });
                    break;
                }
            }
        }
        Ok(all)
    }
}

/// Whether the table and these segments are the object of this name; `None` when segments are missing.
fn is_original(table: &Trailer, gathered: &[Gathered], object: ObjectHash) -> Option<bool> {
    let of = |gathered: &Gathered, sealed: &Sealed| (gathered.origin.pack, sealed.number);
    let all =
        gathered.iter().flat_map(|from| from.sealed.iter().map(move |sealed| (of(from, sealed), sealed)));
    let by_place: HashMap<(PackId, u32), &Sealed> = all.collect();
    let sealed = table.rows.iter().map(|row| {
        let origin = table.origins.get(row.origin as usize)?;
        by_place.get(&(origin.pack, row.number)).map(|sealed| &sealed.bytes)
    });
    let sealed: Option<Vec<&Bytes>> = sealed.collect();
    sealed.map(|sealed| hash_of(table, sealed.into_iter()) == object)
}
