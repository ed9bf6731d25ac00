//! Every crash point: a real run is recorded, and for each of its store calls the store is built as a crash right
//! after that call would leave it. There the vault opens, every snapshot that is there reads back whole, and the
//! next backup succeeds and stores nothing twice that the store had.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use backup::{SnapshotList, Vault};
use store::{MemoryStore, Recorded, Store};
use support::{contents, create, credential, latest, noise, on_disk, plant, run, slot};

#[test]
fn after_a_crash_at_any_call_what_was_committed_is_whole_and_the_next_run_succeeds() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(source.path());
    for n in 0..4 {
        std::fs::write(source.path().join(format!("bulk-{n}")), noise(5000 + n, 10 << 20)).unwrap();
    }
    let recorded = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let vault = create(recorded.clone(), cache.path());
    run(&vault, source.path());
    let first = on_disk(source.path());
    let after_first = recorded.change_count();
    std::fs::write(source.path().join("a/large"), noise(77, 20 << 20)).unwrap();
    std::fs::write(source.path().join("new"), noise(78, 1000)).unwrap();
    run(&vault, source.path());
    let second = on_disk(source.path());
    let total = recorded.change_count();
    assert!(total > after_first + 3 && after_first > 6, "{after_first} of {total}");

    for cut in 0..=total {
        let store = tokio::runtime::Runtime::new().unwrap().block_on(recorded.replay(cut)).unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        // The machine's cache is lost with it.
        let cache = tempfile::tempdir().unwrap();
        let vault = match Vault::open(store.clone(), &credential(), cache.path()) {
            Ok(vault) => vault,
            Err(error) => {
                assert!(cut < 2, "the vault was there after call {cut}: {error}");
                Vault::create(store, &[slot()], cache.path()).unwrap()
            }
        };
        let list = SnapshotList::load(&vault).unwrap();
        assert!(list.damaged.is_empty(), "call {cut}: {:?}", list.damaged);
        // The last call of a run ends its lease; the one before is the commit.
        let committed = usize::from(cut >= after_first - 1) + usize::from(cut >= total - 1);
        assert_eq!(list.snapshots.len(), committed, "call {cut}");
        for (snapshot, expected) in list.snapshots.iter().zip([&first, &second]) {
            assert_eq!(&contents(&vault, snapshot, source.path()), expected, "call {cut}");
        }
        let report = run(&vault, source.path());
        assert!(report.problems.is_empty(), "call {cut}: {:?}", report.problems);
        assert_eq!(contents(&vault, &latest(&vault), source.path()), second, "call {cut}");
        if committed == 2 {
            // The folders above the source belong to everybody; their own entries may have changed.
            assert!(report.statistics.bytes_new < 8192, "call {cut}: {:?}", report.statistics);
        }
    }
}

#[test]
fn a_killed_run_s_packs_are_reused_even_before_their_fragment_was_written() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..5 {
        std::fs::write(source.path().join(format!("bulk-{n}")), noise(n, 10 << 20)).unwrap();
    }
    let recorded = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let vault = create(recorded.clone(), cache.path());
    let begun = recorded.change_count();
    run(&vault, source.path());
    let first_fragment = recorded
        .calls()
        .iter()
        .filter(|call| matches!(call.operation, store::Operation::Put | store::Operation::Replace))
        .position(|call| call.name.starts_with("index/"))
        .unwrap();
    assert!(first_fragment > begun, "packs come before their fragment");
    // The store as a kill right before the fragment leaves it, and the journal as it then was.
    let store = tokio::runtime::Runtime::new().unwrap().block_on(recorded.replay(first_fragment)).unwrap();
    let packs: Vec<String> = tokio::runtime::Runtime::new()
        .unwrap()
        .block_on(store.list("packs/"))
        .unwrap()
        .into_iter()
        .map(|object| object.name.rsplit('/').next().unwrap().to_owned())
        .collect();
    let cache = tempfile::tempdir().unwrap();
    let vault = support::open(Arc::new(store), cache.path());
    std::fs::write(vault.cache_folder().join("uploads-dead"), packs.join("\n") + "\n").unwrap();
    let report = run(&vault, source.path());
    assert!(report.statistics.bytes_new < 2 << 20, "{:?}", report.statistics);
    assert_eq!(contents(&vault, &latest(&vault), source.path()), on_disk(source.path()));
    assert!(!vault.cache_folder().join("uploads-dead").exists());
}
