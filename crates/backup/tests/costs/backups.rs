//! Backups: bytes that are new are written once, and nothing is read but what says what is there.

use std::time::Duration;

use store::Operation;

use crate::support::{open, run};
use crate::world::{ALL, LARGE_SIZE, LITTLE, SMALL, SMALL_SIZE, World, version};

#[test]
fn what_is_new_is_written_once_and_nothing_is_read_for_it() {
    let world = World::new(0);
    version(world.source.path(), 0);
    let vault = world.open();
    let (_, spent) = world.watched.spend(|| run(&vault, world.source.path()));
    let packs = spent.came("packs/");
    assert!((ALL..ALL + ALL / 200).contains(&packs), "{packs} of {ALL}: {spent:?}");
    // Every object once: packs, their index, the snapshot. The lease begins and ends.
    assert!(spent.written("") <= spent.came("") + LITTLE, "{spent:?}");
    assert!(spent.came("index/") < packs / 1000, "{spent:?}");
    assert_eq!(spent.read(""), 0, "{spent:?}");
    let objects = spent.came_count("packs/") + spent.came_count("index/") + 1;
    assert!(spent.calls() <= objects + 2 + 2, "two listings, and the lease: {spent:?}");
}

#[test]
fn what_is_unchanged_costs_a_snapshot() {
    let world = World::new(1);
    // Files that changed within two seconds of a run are looked into again by the next one.
    std::thread::sleep(Duration::from_millis(2500));
    let vault = world.open();
    for _ in 0..2 {
        let there = world.watched.holds("snapshots/");
        let (report, spent) = world.watched.spend(|| run(&vault, world.source.path()));
        // Other tests come and go in the folder above: a page for that.
        let pages = spent.came_count("packs/");
        assert!(pages <= 1 && report.statistics.bytes_new < 4 << 10, "{:?}: {spent:?}", report.statistics);
        assert!(spent.came("packs/") + spent.came("index/") <= 4 << 10, "{spent:?}");
        assert!(spent.written("") <= spent.came("") + LITTLE, "{spent:?}");
        // The snapshots, and the listings of the folders in the last of them.
        assert!(
            spent.read("snapshots/") <= there && spent.read("packs/") <= world.tree_packs() * 2,
            "{spent:?}"
        );
        assert!(spent.read_again().is_empty(), "{:?}", spent.read_again());
        let snapshots = spent.count(Operation::Get, "snapshots/");
        let reads = snapshots + spent.reads("packs/") + spent.reads("index/");
        assert!(spent.reads("packs/") <= 4 && spent.reads("index/") <= 2, "{spent:?}");
        // Two listings, the lease, and the new snapshot.
        assert!(spent.calls() <= reads + 2 + 2 + 1 + 2 * pages, "{spent:?}");
    }
}

/// A machine that knows nothing of the vault, with files that another one has backed up.
#[test]
fn what_another_machine_stored_is_not_stored_again() {
    let world = World::new(2);
    let (elsewhere, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    version(elsewhere.path(), 0);
    version(elsewhere.path(), 1);
    let vault = open(world.watched.store(), cache.path());
    let (index, snapshots) = (world.watched.holds("index/"), world.watched.holds("snapshots/"));
    let (report, spent) = world.watched.spend(|| run(&vault, elsewhere.path()));
    // A page for the folder, for its times are its own, and small files in runs of their own.
    assert!(report.statistics.bytes_new < 16 << 10, "{:?}", report.statistics);
    assert!(
        spent.written("packs/") < 16 << 10 && spent.written("packs/") == spent.came("packs/"),
        "{spent:?}"
    );
    assert_eq!((spent.read("index/"), spent.read("packs/")), (index, 0), "{spent:?}");
    assert_eq!(spent.read("snapshots/"), snapshots, "{spent:?}");
    assert!(spent.read_again().is_empty(), "{:?}", spent.read_again());
}

#[test]
fn what_changed_costs_what_changed() {
    let world = World::new(1);
    std::thread::sleep(Duration::from_millis(2500));
    let vault = world.open();
    run(&vault, world.source.path());
    version(world.source.path(), 1);
    let (_, spent) = world.watched.spend(|| run(&vault, world.source.path()));
    let changed = LARGE_SIZE + SMALL / 10 * SMALL_SIZE;
    let packs = spent.written("packs/");
    assert!((changed..changed + (16 << 10)).contains(&packs), "{packs} of {changed}: {spent:?}");
    assert!(packs == spent.came("packs/") && spent.written("index/") == spent.came("index/"), "{spent:?}");
    assert!(spent.read("packs/") <= world.tree_packs() * 2, "{spent:?}");
    assert!(spent.read_again().is_empty(), "{:?}", spent.read_again());
}
