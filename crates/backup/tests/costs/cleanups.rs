//! Cleanups: what says what is needed is read once for each look; packs are read only where segments are moved.

use std::time::Duration;

use backup::{CleanupRequest, clean_up_regrouping};
use store::Operation;

use crate::ledger::Spent;
use crate::world::{LITTLE, TAIL, World, progress};

/// Calls of a cleanup that do not grow with the vault: the descriptor, settings, the time, eight listings, and its lease,
/// which begins, is read, renewed for the look and before what it does, and ends.
const FIXED: usize = 1 + 1 + 3 + 8 + 5;

/// Fails unless a look at the vault is all that was asked.
fn assert_one_look(world: &World, spent: &Spent) {
    let watched = &world.watched;
    let read: usize = ["snapshots/", "index/", "leases/", "trash/", "condemned/", "relocations/"]
        .map(|folder| watched.count(folder))
        .iter()
        .sum();
    assert!(spent.calls() <= read + FIXED, "{read}: {spent:?}");
    assert_eq!(spent.reads("packs/"), 0, "{spent:?}");
    let large = watched.holds("snapshots/") + watched.holds("index/");
    assert!(spent.read("") <= large + LITTLE, "{spent:?}");
    assert!(spent.written("") < LITTLE && spent.came("") < LITTLE, "{spent:?}");
    assert!(spent.read_again().is_empty(), "{:?}", spent.read_again());
}

#[test]
fn with_nothing_to_do_it_is_one_look_and_no_pack_is_read() {
    let world = World::new(6);
    let (report, spent) = world.watched.spend(|| world.clean(0.0));
    assert_eq!((report.packs_condemned, report.packs_deleted), (0, 0), "{report:?}");
    assert_one_look(&world, &spent);
    // Nor later, with what a cleanup left behind.
    world.forget(&[0, 1, 2]);
    assert!(world.clean(0.0).packs_deleted > 0);
    let (report, spent) = world.watched.spend(|| world.clean(0.0));
    assert_eq!(
        (report.packs_condemned, report.packs_deleted, report.segments_moved),
        (0, 0, 0),
        "{report:?}"
    );
    assert_one_look(&world, &spent);
}

/// What fragments cost when `before` bytes of them are there: each look reads all, those that are replaced are read for
/// that, and each new one is written once.
fn assert_index(before: u64, spent: &Spent) {
    let came = spent.came("index/");
    assert_eq!(spent.written("index/"), came, "{spent:?}");
    assert!(spent.read("index/") <= 3 * before + came, "{before}: {spent:?}");
}

#[test]
fn what_is_dead_goes_without_being_read() {
    let world = World::new(6);
    world.forget(&[0, 1, 2]);
    let (index, snapshots) = (world.watched.holds("index/"), world.watched.holds("snapshots/"));
    // It puts up with whatever is not needed of a pack that is.
    let (report, spent) = world.watched.spend(|| world.clean(100.0));
    assert!(report.packs_deleted > 0 && report.segments_moved == 0, "{report:?}");
    assert_eq!((spent.reads("packs/"), spent.written("packs/")), (0, 0), "{spent:?}");
    assert_eq!(spent.went_count("packs/") as u64, report.packs_deleted, "{spent:?}");
    // Two looks: before it condemns and before it deletes.
    assert!(spent.read("snapshots/") <= 2 * snapshots, "{spent:?}");
    assert_index(index, &spent);
    let deleted = spent.went_count("packs/") + spent.went_count("index/") + spent.went_count("snapshots/");
    // Besides them the lease is ended, the time was asked for, and the record goes.
    assert!(spent.count(Operation::Delete, "") <= deleted + 3, "{spent:?}");
    assert!(spent.written("") <= spent.came("") + LITTLE, "{spent:?}");
}

#[test]
fn what_is_moved_is_read_once_written_once_and_proved_once() {
    let world = World::new(6);
    world.forget(&[0, 1, 2]);
    let (index, snapshots) = (world.watched.holds("index/"), world.watched.holds("snapshots/"));
    let (report, spent) = world.watched.spend(|| world.clean(0.0));
    assert!(report.segments_moved > 0 && report.packs_deleted > 0, "{report:?}");
    let moved = report.bytes_moved;
    assert_eq!(spent.bytes_of(Operation::GetRange, "packs/"), 2 * moved, "{spent:?}");
    assert_eq!(spent.written("packs/"), spent.came("packs/"), "{spent:?}");
    assert!((moved..moved + TAIL).contains(&spent.written("packs/")), "{moved}: {spent:?}");
    // Of each pack that is emptied its table is read to move it, and with that of its copy to compare them.
    let (copies, objects) = (spent.came_count("packs/"), spent.objects(Operation::GetRange, "packs/"));
    assert!(spent.count(Operation::GetTail, "packs/") <= 3 * (objects - copies), "{spent:?}");
    assert_eq!(spent.count(Operation::Get, "packs/"), 0, "{spent:?}");
    assert!(spent.read("snapshots/") <= 2 * snapshots, "{spent:?}");
    assert_index(index, &spent);
    assert!(spent.written("") <= spent.came("") + LITTLE, "{spent:?}");
}

#[test]
fn what_is_regrouped_is_read_once_and_its_copy_proved_once() {
    let world = World::new(6);
    world.forget(&[0, 1, 2]);
    world.clean(0.0);
    let vault = world.open();
    let request = CleanupRequest { unfinished: Some(Duration::ZERO), ..CleanupRequest::default() };
    let trees = world.tree_packs();
    let regroup = || clean_up_regrouping(&vault, &request, 0.01, &progress()).unwrap();
    let (report, spent) = world.watched.spend(regroup);
    assert!(report.packs_regrouped > 0, "{report:?}");
    // The pack as it was, its copy, and every page of every tree.
    let read = spent.bytes_of(Operation::GetRange, "packs/");
    assert!(read <= report.bytes_freed + report.bytes_moved + trees, "{read}: {report:?} {spent:?}");
    assert_eq!(spent.written("packs/"), spent.came("packs/"), "{spent:?}");
    assert!(spent.written("packs/") <= report.bytes_moved + TAIL, "{spent:?}");
    let (report, spent) = world.watched.spend(regroup);
    assert_eq!((report.packs_closed, report.packs_regrouped), (0, 0), "{report:?}");
    assert!(spent.read("packs/") <= 2 * trees + TAIL && spent.written("packs/") == 0, "{spent:?}");
}
