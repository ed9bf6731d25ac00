//! Repairs from a replica, and salvage without one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use backup::{
    CopyRequest, Progress, Reader, RepairReport, RepairRequest, SnapshotList, TreeStep, copy, repair,
};
use content::tree::Node;
use store::{MemoryStore, Store};
use vault::name;

use crate::cut::at_every_call;
use crate::support::{contents, latest, on_disk, run};
use crate::tidy::assert_tidy_after_cleanups;
use crate::world::{Fresh, World, let_leases_run_out, wait};

/// What each snapshot that is listed gives back: a digest for each file that can be read.
fn readable(store: &Arc<dyn Store>) -> BTreeMap<(vault::SnapshotId, PathBuf), blake3::Hash> {
    use std::os::unix::ffi::OsStringExt;
    let vault = Fresh::open(store);
    let mut found = BTreeMap::new();
    for snapshot in SnapshotList::load(&vault).unwrap().snapshots {
        let reader = Reader::new(&vault, 32 << 20);
        let Ok(root) = reader.open(&snapshot) else { continue };
        for step in reader.walk(root, b"/") {
            let Ok(TreeStep::Item { path, entry }) = step else { continue };
            let Node::File { size, .. } = &entry.node else { continue };
            let mut bytes = vec![0; *size as usize];
            if reader.read_at(&entry, 0, &mut bytes).is_ok() {
                let path = PathBuf::from(std::ffi::OsString::from_vec(path));
                found.insert((snapshot.id, path), blake3::hash(&bytes));
            }
        }
    }
    found
}

fn flip(store: &Arc<dyn Store>, object: &str) {
    wait(async {
        let mut bytes = store.get(object, u64::MAX).await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        store.replace(object, vec![bytes.into()]).await.unwrap();
    });
}

fn first_in(store: &Arc<dyn Store>, folder: &str) -> String {
    wait(store.list(folder)).unwrap().remove(0).name
}

/// The largest pack that a snapshot needs: one of data.
fn data_pack(world: &World, store: &Arc<dyn Store>, place: usize) -> vault::ObjectHash {
    let vault = Fresh::open(store);
    let list = SnapshotList::load(&vault).unwrap();
    let snapshot = list.snapshots.iter().find(|snapshot| snapshot.id == world.snapshots[place].0).unwrap();
    let size = |object: vault::ObjectHash| wait(store.stat(&object.pack_name())).unwrap().size;
    snapshot.envelope.needs.iter().map(|need| need.object).max_by_key(|object| size(*object)).unwrap()
}

fn repaired(
    store: &Arc<dyn Store>,
    replica: Option<&Arc<dyn Store>>,
    salvage: bool,
) -> Result<RepairReport, backup::Error> {
    let request = RepairRequest { read_data: true, salvage, dry_run: false };
    repair(store, replica, request, &Arc::new(Progress::new()))
}

/// A vault with damage of every kind, and a replica that is whole.
fn hurt() -> (World, Arc<MemoryStore>) {
    let mut world = World::new(3);
    let replica = Arc::new(MemoryStore::new());
    copy(
        &world.copy(),
        &(replica.clone() as Arc<dyn Store>),
        &CopyRequest::default(),
        &Arc::new(Progress::new()),
    )
    .unwrap();
    world.prepare(|world, store| {
        flip(store, &data_pack(world, store, 0).pack_name());
        wait(store.delete(&data_pack(world, store, 1).pack_name())).unwrap();
        wait(store.delete(&world.snapshots[1].0.snapshot_name())).unwrap();
        flip(store, &first_in(store, name::INDEX));
        flip(store, name::DESCRIPTOR);
    });
    (world, replica)
}

#[test]
fn nothing_is_worse_wherever_a_repair_from_a_replica_is_cut() {
    let (world, replica) = hurt();
    let replica: Arc<dyn Store> = replica;
    let before = readable(&world.copy());
    let is_healed = |store: &Arc<dyn Store>| {
        repaired(store, Some(&replica), false).is_ok_and(|report| report.lost.is_empty())
    };
    let cuts = at_every_call(&world.store, is_healed, |_, store| {
        let now = readable(store);
        assert!(before.iter().all(|(file, digest)| now.get(file) == Some(digest)), "worse than before");
        let_leases_run_out(store);
        assert!(is_healed(store));
        world.assert_exactly(store, &[0, 1, 2]);
        assert_tidy_after_cleanups(store, world.id, &[]);
        world.assert_exactly(store, &[0, 1, 2]);
    });
    assert!(cuts > 50, "{cuts}");
}

#[test]
fn a_repair_is_cut_at_the_calls_of_its_replica() {
    let (world, replica) = hurt();
    let before = readable(&world.copy());
    let store = std::sync::Mutex::new(world.copy());
    let run = |replica: &Arc<dyn Store>| {
        *store.lock().unwrap() = world.copy();
        let store = store.lock().unwrap().clone();
        repaired(&store, Some(replica), false).is_ok_and(|report| report.lost.is_empty())
    };
    let cuts = at_every_call(&replica, run, |_, replica| {
        let store = store.lock().unwrap().clone();
        let now = readable(&store);
        assert!(before.iter().all(|(file, digest)| now.get(file) == Some(digest)), "worse than before");
        let_leases_run_out(&store);
        assert!(repaired(&store, Some(replica), false).unwrap().lost.is_empty());
        world.assert_exactly(&store, &[0, 1, 2]);
    });
    assert!(cuts > 15, "{cuts}");
}

#[test]
fn what_is_left_stays_wherever_a_salvage_is_cut_and_the_next_backup_is_whole() {
    let mut world = World::new(3);
    let mut lost = None;
    world.prepare(|world, store| {
        let object = data_pack(world, store, 1);
        lost = Some(object);
        wait(store.delete(&object.pack_name())).unwrap();
    });
    let lost = lost.unwrap();
    let before = readable(&world.copy());
    assert!(!before.is_empty());
    let is_salvaged = |store: &Arc<dyn Store>| {
        repaired(store, None, true).is_ok_and(|report| report.lost.len() == 1 && !report.ended_early)
    };
    let cuts = at_every_call(&world.store, is_salvaged, |_, store| {
        assert_eq!(readable(store), before);
        let_leases_run_out(store);
        assert!(is_salvaged(store));
        assert_eq!(readable(store), before);
        let vault = Fresh::open(store);
        let report = run(&vault, world.source.path());
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        let is_whole = |store: &Arc<dyn Store>| {
            let vault = Fresh::open(store);
            assert_eq!(contents(&vault, &latest(&vault), world.source.path()), on_disk(world.source.path()));
        };
        is_whole(store);
        assert_tidy_after_cleanups(store, world.id, &[lost]);
        is_whole(store);
        let now = readable(store);
        assert!(before.iter().all(|(file, digest)| now.get(file) == Some(digest)));
    });
    assert!(cuts > 30, "{cuts}");
}
