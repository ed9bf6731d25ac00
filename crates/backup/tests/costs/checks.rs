//! Checks: without data no pack is read but for what the key needs of its trees; with data each byte once.

use std::sync::Arc;
use std::time::Duration;

use backup::{ReadData, check};
use store::Operation;
use vault::check::{ReadPacks, Report, Watch};

use crate::ledger::Spent;
use crate::support::open;
use crate::world::{LITTLE, TAIL, World, progress, wait};

fn keyless(world: &World, packs: &ReadPacks) -> (Report, Spent) {
    let watch: Arc<dyn Watch> = progress();
    world.watched.spend(|| wait(vault::check::check(&world.watched.store(), packs, None, &watch)).unwrap())
}

#[test]
fn without_a_key_each_small_object_is_read_once_and_no_pack() {
    let world = World::new(4);
    let (report, spent) = keyless(&world, &ReadPacks::None);
    assert_eq!(report.findings.iter().count(), 0);
    let (count, bytes) = world.small_objects();
    assert_eq!((spent.read(""), spent.written(""), spent.reads("packs/")), (bytes, 0, 0), "{spent:?}");
    assert!(spent.calls() <= count + 6, "six listings: {spent:?}");
}

#[test]
fn without_a_key_each_byte_of_packs_is_read_once() {
    let world = World::new(4);
    let (report, spent) = keyless(&world, &ReadPacks::All);
    let (packs, stored) = (world.packs(), world.watched.holds("packs/"));
    assert_eq!((report.findings.iter().count(), report.bytes_read), (0, stored));
    // The ends, where the tables are, come with the tables.
    assert!(spent.bytes_of(Operation::GetRange, "packs/") <= stored, "{spent:?}");
    assert!(spent.read("packs/") <= stored + packs.len() as u64 * TAIL, "{spent:?}");
    assert_eq!(spent.count(Operation::GetTail, "packs/"), packs.len(), "{spent:?}");
    let (_, bytes) = world.small_objects();
    assert!(spent.read("") - spent.read("packs/") <= bytes, "{spent:?}");
}

/// What is small is read with the key and without, and trees page by page.
fn assert_small(world: &World, spent: &Spent) {
    let (_, bytes) = world.small_objects();
    assert!(spent.read("") - spent.read("packs/") <= 2 * bytes + LITTLE, "{spent:?}");
    assert!(spent.written("") <= LITTLE, "a lease, and what was verified: {spent:?}");
}

#[test]
fn with_the_key_trees_are_read_once_and_data_as_asked_for() {
    let world = World::new(4);
    let (trees, stored) = (world.tree_packs(), world.watched.holds("packs/"));
    let cache = tempfile::tempdir().unwrap();
    let vault = open(world.watched.store(), cache.path());
    let look = |read| world.watched.spend(|| check(&vault, read, &progress()).unwrap());
    let (report, spent) = look(ReadData::No);
    assert!(report.findings.is_empty(), "{:?}", report.findings);
    assert!(spent.read("packs/") <= 2 * trees, "{trees}: {spent:?}");
    assert_small(&world, &spent);

    // The first day of a month: a thirtieth, in whole packs.
    let month = ReadData::Due(Duration::from_secs(30 * 86_400));
    let (report, spent) = look(month);
    let largest = world.packs().pop().unwrap();
    assert!(report.bytes_read > 0 && report.bytes_read <= stored / 30 + largest, "{report:?}");
    let tails = world.packs().len() as u64 * TAIL;
    assert!(spent.read("packs/") <= report.bytes_read + 2 * trees + tails, "{spent:?}");
    assert_small(&world, &spent);

    let (report, spent) = look(ReadData::All);
    assert_eq!(report.bytes_read, stored);
    assert!(spent.bytes_of(Operation::GetRange, "packs/") <= stored + trees, "{spent:?}");
    assert!(spent.read("packs/") <= stored + 2 * trees + tails, "{spent:?}");
    assert_small(&world, &spent);

    // Everything was read just now: nothing is due.
    let (report, spent) = look(month);
    assert!(report.bytes_read <= world.packs()[0], "{report:?}");
    assert!(spent.read("packs/") <= 4 * trees, "{spent:?}");
    assert_small(&world, &spent);
}
