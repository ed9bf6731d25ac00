//! What a vault has: the target of a copy, or a vault that is repaired, or its replica.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use store::{Kind, Store};

use super::{hashes, sizes};
use crate::check::Held;
use crate::condemned::{Row, What};
use crate::error::{Damage, VaultError};
use crate::fragment::{self, FRAGMENT_MAX, PackRecord};
use crate::moving::damage_of;
use crate::name::{self, ObjectHash, PackId, SnapshotId, VaultId};
use crate::pack::Trailer;
use crate::relocation::Holders;
use crate::segments::SegmentSet;
use crate::trash::Trash;

/// How many fragments are asked for at once.
const AT_ONCE: usize = 4;

/// What a vault has, and what it has forgotten.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// Where packs are.
    pub holders: Holders,
    /// The packs, with their sizes in bytes.
    pub packs: HashMap<ObjectHash, u64>,
    /// The snapshots.
    pub snapshots: HashSet<SnapshotId>,
    /// Packs that some fragment names, as far as is known.
    pub indexed: HashSet<ObjectHash>,
    trash: Trash,
    condemned_snapshots: HashSet<SnapshotId>,
    /// Packs that were closed in this vault, and are regrouped here.
    pub closed_here: HashSet<PackId>,
    /// Fragments whose names are not to be written again.
    pub condemned_fragments: HashSet<ObjectHash>,
    /// Which fragment names a pack object, and its size there; once somebody asked.
    pub sources: HashMap<ObjectHash, (ObjectHash, u64)>,
    /// Fragments that are damaged; once somebody asked.
    pub bad_fragments: Vec<(ObjectHash, Damage)>,
    /// What the index says, once somebody asked: which objects hold a pack.
    index: Option<HashMap<PackId, Vec<(ObjectHash, SegmentSet)>>>,
}

impl Shelf {
    /// Looks. The holders come from a writer, which has its lease before it reads them.
    pub(crate) async fn read(
        store: &Arc<dyn Store>,
        vault: VaultId,
        holders: Holders,
    ) -> Result<Self, VaultError> {
        let row = Row::read(store.as_ref(), vault).await?;
        Ok(Self {
            holders,
            trash: Trash::read(store.as_ref(), vault).await?,
            condemned_snapshots: row.of(What::Snapshot),
            condemned_fragments: row.of(What::Fragment),
            closed_here: row.closed(What::ClosedPack).into_keys().collect(),
            snapshots: hashes(&store.list(name::SNAPSHOTS).await?, name::SNAPSHOTS),
            packs: sizes(&store.list(name::PACKS).await?),
            indexed: HashSet::new(),
            sources: HashMap::new(),
            bad_fragments: Vec::new(),
            index: None,
        })
    }

    /// Whether somebody forgot the snapshot there: then it is not brought back.
    pub(crate) fn has_forgotten(&self, id: SnapshotId) -> bool {
        self.trash.get(id).is_some() || self.condemned_snapshots.contains(&id)
    }

    /// The object that readers at the target find for these segments of a pack.
    pub(crate) fn find(&self, pack: PackId, named: ObjectHash, segments: &SegmentSet) -> Option<ObjectHash> {
        self.holders.find_among(pack, named, segments, |object| self.packs.contains_key(&object))
    }

    /// Another object at the target that holds them, by its index; and which segments of the pack it holds.
    pub(crate) async fn find_in_index(
        &mut self,
        store: &Arc<dyn Store>,
        vault: VaultId,
        pack: PackId,
        segments: &SegmentSet,
    ) -> Result<Option<(ObjectHash, SegmentSet)>, VaultError> {
        self.learn_index(store, vault).await?;
        let places = self.index.as_ref().and_then(|index| index.get(&pack));
        let lasts = |(object, there): &&(ObjectHash, SegmentSet)| {
            self.packs.contains_key(object)
                && !self.holders.is_condemned(*object)
                && there.contains_all(segments)
        };
        Ok(places.into_iter().flatten().find(lasts).cloned())
    }

    /// All objects there that hold something of the pack, as far as the index or a relocation says so.
    pub(crate) async fn all_holders(
        &mut self,
        store: &Arc<dyn Store>,
        vault: VaultId,
        pack: PackId,
    ) -> Result<BTreeSet<ObjectHash>, VaultError> {
        self.learn_index(store, vault).await?;
        let indexed = self.index.as_ref().and_then(|index| index.get(&pack)).into_iter().flatten();
        let moved = self.holders.moved_to(pack).map(|(object, _)| object);
        let all = indexed.map(|(object, _)| *object).chain(moved);
        Ok(all.filter(|object| self.packs.contains_key(object)).collect())
    }

    /// Reads the index, once.
    pub(crate) async fn learn_index(
        &mut self,
        store: &Arc<dyn Store>,
        vault: VaultId,
    ) -> Result<(), VaultError> {
        if self.index.is_some() {
            return Ok(());
        }
        let fragments = store.list(name::INDEX).await?;
        let fetches = fragments.into_iter().filter_map(|object| {
            let hash = object.name.strip_prefix(name::INDEX).and_then(ObjectHash::from_hex)?;
            // What is about to go names nothing that stays named.
            let stays = !self.condemned_fragments.contains(&hash);
            stays.then_some(async move { (hash, store.get(&object.name, FRAGMENT_MAX).await) })
        });
        let fetches: Vec<_> = fetches.collect();
        let mut fetches = stream::iter(fetches).buffered(AT_ONCE);
        let mut index: HashMap<PackId, Vec<(ObjectHash, SegmentSet)>> = HashMap::new();
        let mut indexed = HashSet::new();
        while let Some((hash, outcome)) = fetches.next().await {
            let bytes = match outcome {
                Ok(bytes) => bytes,
                Err(error) if error.kind == Kind::NotFound => continue,
                Err(error) => {
                    self.bad_fragments.push((hash, damage_of(error)?));
                    continue;
                }
            };
            // One that is damaged says nothing; what it named is named again.
            let packs = match fragment::decode(&bytes, hash, vault) {
                Ok(packs) => packs,
                Err(damage) => {
                    self.bad_fragments.push((hash, damage));
                    continue;
                }
            };
            for (pack, trailer) in packs {
                self.sources.entry(pack.hash).or_insert((hash, pack.size));
                if !indexed.insert(pack.hash) {
                    continue;
                }
                let held = Held::new(pack.size, &trailer, &pack.trailer);
                for (id, segments) in held.origins() {
                    index.entry(id).or_default().push((pack.hash, segments.clone()));
                }
            }
        }
        self.indexed.extend(indexed);
        self.index = Some(index);
        Ok(())
    }

    /// What the index says of an object, if it was learnt and names it.
    pub(crate) async fn indexed_table(
        &self,
        store: &Arc<dyn Store>,
        vault: VaultId,
        object: ObjectHash,
    ) -> Result<Option<(PackRecord, Trailer)>, VaultError> {
        let Some((fragment, _)) = self.sources.get(&object) else { return Ok(None) };
        match store.get(&fragment.index_name(), FRAGMENT_MAX).await {
            Ok(bytes) => {
                let packs = fragment::decode(&bytes, *fragment, vault).unwrap_or_default();
                Ok(packs.into_iter().find(|(record, _)| record.hash == object))
            }
            Err(error) => damage_of(error).map(|_| None),
        }
    }
}
