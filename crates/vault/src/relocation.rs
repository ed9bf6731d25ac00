//! Relocations: where the segments of a pack went when it was compacted.
//!
//! An address names the pack that a segment was first sealed for, and a snapshot names the object that held it then.
//! When that object is gone, a relocation says which one holds the pack's living segments now. So a restore needs no
//! index, compacted or not.
//!
//! ```text
//! header (8)  vault id (16)  nonce (16)
//! count, each:  pack id (16)  object that holds it now (32)  segments of it that are there (see `segments`)
//! ```
//! Relocations can be made anew from the trailers of packs: they are a shortcut, and losing one loses nothing.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use store::{ObjectInfo, Store};

use crate::condemned::{Row, What};
use crate::error::{Damage, VaultError};
use crate::header::ObjectKind;
use crate::name::{self, ObjectHash, PackId, VaultId};
use crate::records;
use crate::sabotage::{Rule, keeps};
use crate::segments::SegmentSet;
use crate::wire::{Reader, Write};

/// A relocation larger than this is refused.
pub const RECORD_MAX: u64 = 256 << 20;

/// A pack that was moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// The pack that addresses name.
    pub pack: PackId,
    /// The object that holds it now.
    pub object: ObjectHash,
    /// Which of its segments are there.
    pub segments: SegmentSet,
}

/// The stored form; its name is the hash of the result. `nonce` is random, so that no name is written twice.
pub fn encode(vault: VaultId, nonce: [u8; 16], moved: &[Moved]) -> Vec<u8> {
    let mut out = ObjectKind::Relocation.header().to_vec();
    out.extend_from_slice(vault.bytes());
    out.extend_from_slice(&nonce);
    out.varint(moved.len() as u64);
    for moved in moved {
        out.extend_from_slice(moved.pack.bytes());
        out.extend_from_slice(moved.object.bytes());
        moved.segments.encode(&mut out);
    }
    out
}

/// Reads the stored form.
pub fn decode(bytes: &Bytes, vault: VaultId) -> Result<Vec<Moved>, Damage> {
    let mut reader = Reader::new(bytes);
    ObjectKind::Relocation.expect(&mut reader)?;
    if VaultId::read(&mut reader, "vault id")? != vault {
        return Err(Damage::ForeignVault);
    }
    reader.array::<16>("nonce")?;
    let count = reader.count("moved packs", 49)?;
    let mut moved = Vec::with_capacity(count);
    for _ in 0..count {
        moved.push(Moved {
            pack: PackId::read(&mut reader, "pack id")?,
            object: ObjectHash::read(&mut reader, "object hash")?,
            segments: SegmentSet::decode(&mut reader)?,
        });
    }
    reader.finish("relocation")?;
    Ok(moved)
}

/// Where packs are that compaction or condemnation has touched.
///
/// Most packs are untouched: they are in the object that the snapshot or the index names.
#[derive(Debug, Clone, Default)]
pub struct Holders {
    moved: HashMap<PackId, Vec<(ObjectHash, SegmentSet)>>,
    /// Where packs went by relocations that are condemned.
    moved_before: Vec<Moved>,
    condemned: HashSet<ObjectHash>,
    /// What is condemned and no pack.
    others_condemned: HashSet<ObjectHash>,
    /// Packs in which the index finds nothing any more.
    closed: HashSet<PackId>,
    /// The relocations that this program may replace.
    pub records: Vec<ObjectInfo>,
}

impl Holders {
    /// What whoever begins to work now must know: where packs went, and what not to rely on.
    pub async fn read(store: &dyn Store, vault: VaultId) -> Result<Self, VaultError> {
        // In this order: what the collector condemns, it has relocated before.
        let row = Row::read(store, vault).await?;
        Self::beside(store, vault, &row).await
    }

    /// Where packs went, for whoever has read what is condemned. Relocations that are condemned were replaced, and
    /// count for nothing.
    pub async fn beside(store: &dyn Store, vault: VaultId, row: &Row) -> Result<Self, VaultError> {
        let replaced = row.of(What::Relocation);
        let is_replaced = |object: &ObjectInfo| {
            ObjectHash::from_object_name(&object.name).is_some_and(|hash| replaced.contains(&hash))
        };
        let mut holders = Self::load(store, vault, is_replaced).await?;
        if keeps(Rule::WritersReadCondemnations) {
            holders.condemn(row);
        }
        Ok(holders)
    }

    /// Every place that any relocation names, for those who try what they can get.
    pub async fn moved(store: &dyn Store, vault: VaultId) -> Result<Self, VaultError> {
        Self::load(store, vault, |_| false).await
    }

    async fn load(
        store: &dyn Store,
        vault: VaultId,
        is_replaced: impl Fn(&ObjectInfo) -> bool,
    ) -> Result<Self, VaultError> {
        let records =
            records::read_all(store, name::RELOCATIONS, RECORD_MAX, |bytes| decode(bytes, vault)).await?;
        let mut holders = Self::default();
        for record in records {
            // A newer program's is not understood, and not replaced.
            if record.is_newer() {
                continue;
            }
            let moved = record.content.unwrap_or_default();
            match is_replaced(&record.object) {
                false => moved.into_iter().for_each(|moved| holders.add(moved)),
                true => holders.moved_before.extend(moved),
            }
            holders.records.push(record.object);
        }
        Ok(holders)
    }

    /// Adds where a pack went.
    pub fn add(&mut self, moved: Moved) {
        self.moved.entry(moved.pack).or_default().push((moved.object, moved.segments));
    }

    /// Takes in what is condemned.
    pub fn condemn(&mut self, row: &Row) {
        self.condemned.extend(row.of(What::Pack));
        self.closed.extend(row.closed(What::ClosedPack).into_keys());
        self.closed.extend(row.closed(What::ClosedElsewhere).into_keys());
        for what in [What::Fragment, What::Relocation, What::Snapshot] {
            self.others_condemned.extend(row.of(what));
        }
    }

    /// Whether an object of any kind is about to be deleted, or was.
    pub fn is_going(&self, object: ObjectHash) -> bool {
        self.is_condemned(object) || self.others_condemned.contains(&object)
    }

    /// Whether the object is about to be deleted, or was.
    pub fn is_condemned(&self, object: ObjectHash) -> bool {
        self.condemned.contains(&object)
    }

    /// Whether it is known that `object` holds these segments of `pack`.
    pub fn knows(&self, moved: &Moved) -> bool {
        let places = self.places(moved.pack).iter();
        places.filter(|(at, _)| *at == moved.object).any(|(_, there)| there.contains_all(&moved.segments))
    }

    /// The objects that some relocation names for `pack`.
    pub fn named_for(&self, pack: PackId) -> impl Iterator<Item = ObjectHash> {
        self.places(pack).iter().map(|(object, _)| *object)
    }

    /// Whether some of a pack's segments went to this object.
    pub fn has_moved(&self, pack: PackId, object: ObjectHash) -> bool {
        self.places(pack).iter().any(|(at, _)| *at == object)
    }

    /// Whether a relocation that is condemned leads from the pack to this object.
    pub fn had_moved(&self, pack: PackId, object: ObjectHash) -> bool {
        self.moved_before.iter().any(|moved| moved.pack == pack && moved.object == object)
    }

    /// What relocations say that are condemned.
    pub fn all_moved_before(&self) -> impl Iterator<Item = &Moved> {
        self.moved_before.iter()
    }

    /// Where packs went, each with what is there.
    pub fn all_moved(&self) -> impl Iterator<Item = (PackId, ObjectHash, &SegmentSet)> {
        self.moved
            .iter()
            .flat_map(|(pack, places)| places.iter().map(|(object, segments)| (*pack, *object, segments)))
    }

    fn places(&self, pack: PackId) -> &[(ObjectHash, SegmentSet)] {
        self.moved.get(&pack).map_or(&[], Vec::as_slice)
    }

    /// Where segments of a pack went, and which of them.
    pub fn moved_to(&self, pack: PackId) -> impl Iterator<Item = (ObjectHash, &SegmentSet)> {
        self.places(pack).iter().map(|(object, segments)| (*object, segments))
    }

    /// The object in which to look for segments of `pack`, as far as `holds` says that a set of segments is enough:
    /// `named` (what the snapshot or the index says) as long as it is not condemned, else one they were moved to.
    fn choose(
        &self,
        pack: PackId,
        named: ObjectHash,
        holds: impl Fn(&SegmentSet) -> bool,
    ) -> Option<ObjectHash> {
        if self.is_empty() {
            return Some(named);
        }
        let places = self.places(pack);
        // Of an object that segments were moved to, it is known which are in it.
        let is_enough = || places.iter().find(|(at, _)| *at == named).is_none_or(|(_, there)| holds(there));
        if !self.is_condemned(named) && is_enough() {
            return Some(named);
        }
        let lasts = |(object, there): &&(ObjectHash, SegmentSet)| !self.is_condemned(*object) && holds(there);
        let best = places.iter().filter(lasts).max_by_key(|(object, there)| (there.len(), *object));
        best.map(|(object, _)| *object)
    }

    /// The object that holds all these segments of `pack` and is not condemned; `named` is what the snapshot or the
    /// index says. `None` when there is none.
    pub fn find(&self, pack: PackId, named: ObjectHash, segments: &SegmentSet) -> Option<ObjectHash> {
        self.choose(pack, named, |there| there.contains_all(segments))
    }

    /// As [`Self::find`], among the objects that are there: a copy of a vault, or one whose old condemnations were
    /// forgotten, lacks objects that its snapshots name.
    pub fn find_among(
        &self,
        pack: PackId,
        named: ObjectHash,
        segments: &SegmentSet,
        is_there: impl Fn(ObjectHash) -> bool,
    ) -> Option<ObjectHash> {
        let first = self.find(pack, named, segments);
        if first.is_some_and(&is_there) {
            return first;
        }
        let lasts = |(object, there): &&(ObjectHash, SegmentSet)| {
            !self.is_condemned(*object) && is_there(*object) && there.contains_all(segments)
        };
        let best =
            self.places(pack).iter().filter(lasts).max_by_key(|(object, there)| (there.len(), *object));
        best.map(|(object, _)| *object)
    }

    /// Whether a pack is closed: a new snapshot relies on no chunk in it that no snapshot before relied on.
    pub fn is_closed(&self, pack: PackId) -> bool {
        self.closed.contains(&pack)
    }

    /// The packs that are closed.
    pub fn closed(&self) -> impl Iterator<Item = PackId> {
        self.closed.iter().copied()
    }

    /// Takes in packs that were closed.
    pub fn close(&mut self, packs: &[PackId]) {
        self.closed.extend(packs);
    }

    /// Whether a new snapshot may rely on this segment of `pack`, found by the index; `named` is the object that this says.
    pub fn allows(&self, pack: PackId, named: ObjectHash, segment: u32) -> bool {
        let may_be_found = !self.is_closed(pack) || !keeps(Rule::ClosedPacksAreLeft);
        may_be_found && self.choose(pack, named, |there| there.contains(segment)).is_some()
    }

    /// Other objects that may hold `pack`, the fullest first, for when the one that was named is gone.
    pub fn elsewhere(&self, pack: PackId) -> Vec<ObjectHash> {
        let mut places: Vec<_> = self.places(pack).iter().collect();
        places.sort_by_key(|(object, there)| (self.is_condemned(*object), std::cmp::Reverse(there.len())));
        places.into_iter().map(|(object, _)| *object).collect()
    }

    /// Whether nothing was moved or condemned.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty() && self.condemned.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::condemned::{Condemnation, Condemned};
    use proptest::prelude::*;
    use std::time::SystemTime;

    fn hash(n: u8) -> ObjectHash {
        ObjectHash::of(&[n])
    }

    fn pack(n: u8) -> PackId {
        PackId::new([n; 16])
    }

    fn set(numbers: &[u32]) -> SegmentSet {
        numbers.iter().copied().collect()
    }

    fn condemned(objects: &[u8]) -> Row {
        let objects =
            objects.iter().map(|object| Condemned { what: What::Pack, hash: hash(*object) }).collect();
        Row {
            condemnations: vec![Condemnation { name: String::new(), since: SystemTime::UNIX_EPOCH, objects }],
        }
    }

    #[test]
    fn an_untouched_pack_is_where_it_is_said_to_be() {
        let mut holders = Holders::default();
        assert_eq!(holders.find(pack(1), hash(1), &set(&[0, 5])), Some(hash(1)));
        holders.condemn(&condemned(&[9]));
        assert_eq!(holders.find(pack(1), hash(1), &set(&[0, 5])), Some(hash(1)));
        assert!(holders.allows(pack(1), hash(1), 7) && !holders.allows(pack(2), hash(9), 7));
    }

    #[test]
    fn a_moved_pack_is_found_as_far_as_it_was_moved() {
        let mut holders = Holders::default();
        holders.add(Moved { pack: pack(1), object: hash(2), segments: set(&[3, 4]) });
        assert_eq!(
            holders.find(pack(1), hash(1), &set(&[0])),
            Some(hash(1)),
            "the old object is there still"
        );
        assert_eq!(
            holders.find(pack(1), hash(2), &set(&[0])),
            None,
            "the index named the new one, which lacks it"
        );
        holders.condemn(&condemned(&[1]));
        assert_eq!(holders.find(pack(1), hash(1), &set(&[3])), Some(hash(2)));
        assert_eq!(holders.find(pack(1), hash(1), &set(&[0, 3])), None);
        assert!(holders.allows(pack(1), hash(1), 3) && !holders.allows(pack(1), hash(1), 0));
        holders.condemn(&condemned(&[2]));
        assert_eq!(holders.find(pack(1), hash(1), &set(&[3])), None);
        assert_eq!(holders.elsewhere(pack(1)), [hash(2)], "a reader tries what it can get");
    }

    #[test]
    fn what_is_named_and_not_there_is_found_where_it_went() {
        let mut holders = Holders::default();
        holders.add(Moved { pack: pack(1), object: hash(2), segments: set(&[3, 4]) });
        let find = |there: &[u8], segments: &[u32]| {
            let is_there = |object| there.iter().any(|n| hash(*n) == object);
            holders.find_among(pack(1), hash(1), &set(segments), is_there)
        };
        assert_eq!(find(&[1, 2], &[3]), Some(hash(1)));
        assert_eq!(find(&[2], &[3]), Some(hash(2)));
        assert_eq!(find(&[2], &[0]), None);
        assert_eq!(find(&[], &[3]), None);
    }

    proptest! {
        #[test]
        fn a_relocation_comes_back(moved in proptest::collection::vec((any::<u8>(), any::<u8>(), proptest::collection::vec(0u32..200, 1..20)), 0..10)) {
            let vault = VaultId::new([1; 16]);
            let moved: Vec<_> = moved.iter().map(|(p, o, s)| Moved { pack: pack(*p), object: hash(*o), segments: set(s) }).collect();
            let back = decode(&encode(vault, [3; 16], &moved).into(), vault).unwrap();
            prop_assert_eq!(back.len(), moved.len());
            for (one, other) in back.iter().zip(&moved) {
                prop_assert_eq!((one.pack, one.object), (other.pack, other.object));
                prop_assert!(one.segments.iter().eq(other.segments.iter()));
            }
        }

        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let mut near = ObjectKind::Relocation.header().to_vec();
            near.extend_from_slice(&[0; 32]);
            near.extend_from_slice(&bytes);
            let _ = decode(&near.into(), VaultId::default());
        }
    }
}
