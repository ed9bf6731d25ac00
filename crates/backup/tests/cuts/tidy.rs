//! That a vault holds what its snapshots need, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use store::Store;
use vault::pack::{Trailer, read_trailer};
use vault::snapshot::{self, SNAPSHOT_MAX};
use vault::{ObjectHash, PackId, VaultId, fragment, name};

use crate::world::{clean, wait};

async fn hashes(store: &Arc<dyn Store>, folder: &str) -> Vec<ObjectHash> {
    let objects = store.list(folder).await.unwrap();
    objects.iter().map(|object| ObjectHash::from_object_name(&object.name).unwrap()).collect()
}

/// All that the snapshots need.
async fn needed(store: &Arc<dyn Store>, vault: VaultId) -> BTreeSet<(PackId, u32)> {
    let mut needed = BTreeSet::new();
    for id in hashes(store, name::SNAPSHOTS).await {
        let bytes = store.get(&id.snapshot_name(), SNAPSHOT_MAX).await.unwrap();
        for need in snapshot::decode(&bytes, id, vault).unwrap().envelope.needs {
            needed.extend(need.segments.iter().map(|number| (need.pack, number)));
        }
    }
    needed
}

async fn packs(store: &Arc<dyn Store>, vault: VaultId) -> BTreeMap<ObjectHash, (Trailer, u64)> {
    let mut packs = BTreeMap::new();
    for object in hashes(store, name::PACKS).await {
        let (trailer, _, size) = read_trailer(store.as_ref(), object, vault).await.unwrap().unwrap();
        packs.insert(object, (trailer, size));
    }
    packs
}

/// Cleans up twice, and fails unless nothing is left after that but what the snapshots need. Of that, `lost` objects may
/// be missing.
pub fn assert_tidy_after_cleanups(store: &Arc<dyn Store>, vault: VaultId, lost: &[ObjectHash]) {
    clean(store, vault);
    clean(store, vault);
    wait(async {
        let needed = needed(store, vault).await;
        let packs = packs(store, vault).await;
        let mut found = BTreeSet::new();
        for (object, (trailer, size)) in &packs {
            let mut unneeded = 0;
            for row in &trailer.rows {
                let segment = (trailer.origins[row.origin as usize].pack, row.number);
                // What a second object holds is as little needed as what nothing needs.
                if !needed.contains(&segment) || !found.insert(segment) {
                    unneeded += u64::from(row.length);
                }
            }
            assert!(unneeded <= size / 20, "{object}: {unneeded} of {size} bytes are not needed");
        }
        assert!(found == needed || !lost.is_empty(), "something is missing");
        let mut indexed = BTreeSet::new();
        for fragment in hashes(store, name::INDEX).await {
            let bytes = store.get(&fragment.index_name(), fragment::FRAGMENT_MAX).await.unwrap();
            let records = fragment::decode(&bytes, fragment, vault).unwrap();
            indexed.extend(records.iter().map(|(record, _)| record.hash));
        }
        assert_eq!(indexed, packs.keys().copied().collect(), "what the index names and what is there");
        assert!(store.list(name::RELOCATIONS).await.unwrap().len() <= 1);
    });
    let third = clean(store, vault);
    let changed = (third.packs_condemned, third.packs_deleted, third.snapshots_deleted, third.segments_moved);
    assert_eq!(changed, (0, 0, 0, 0), "{third:?}");
    assert!(third.waiting.is_empty() && third.kept == 0 && third.unfinished.0 == 0, "{third:?}");
    assert!(third.not_understood.is_empty(), "{third:?}");
}
