//! Repairs: what is whole costs nothing at the replica, and of what is damaged only that is fetched.

use backup::{CopyRequest, RepairReport, RepairRequest, copy, repair};
use store::{Operation, Store};

use crate::ledger::{Spent, Watched};
use crate::world::{LARGE_SIZE, LITTLE, TAIL, World, progress, wait};

/// A vault with a replica.
fn a_world() -> (World, Watched) {
    let (world, replica) = (World::new(4), Watched::new());
    copy(&world.watched.store(), &replica.store(), &CopyRequest::default(), &progress()).unwrap();
    (world, replica)
}

/// Repairs; what it cost here and at the replica.
fn repaired(world: &World, replica: &Watched, read_data: bool) -> (RepairReport, Spent, Spent) {
    let request = RepairRequest { read_data, salvage: false, dry_run: false };
    let repairing = || repair(&world.watched.store(), Some(&replica.store()), request, &progress()).unwrap();
    let ((report, there), here) = world.watched.spend(|| replica.spend(repairing));
    (report, here, there)
}

/// The name and size of the largest pack: one of data.
fn largest(world: &World) -> (String, u64) {
    let sizes = world.watched.sizes().into_iter().filter(|(name, _)| name.starts_with("packs/"));
    sizes.max_by_key(|(_, size)| *size).unwrap()
}

#[test]
fn with_nothing_wrong_packs_are_read_only_if_asked_and_nothing_at_the_replica() {
    let (world, replica) = a_world();
    let stored = world.watched.holds("packs/");
    for read_data in [false, true] {
        let (count, bytes) = world.small_objects();
        let (report, here, there) = repaired(&world, &replica, read_data);
        assert!(report.healed.is_empty() && report.lost.is_empty(), "{report:?}");
        assert!(there.read("") < LITTLE && there.written("") < LITTLE && there.calls() <= 14, "{there:?}");
        assert!(here.written("") < LITTLE && here.came("") < LITTLE, "{here:?}");
        // Each small object is compared with its name, and fragments are then read for what they say.
        let small = here.read("") - here.read("packs/");
        assert!(small <= bytes + world.watched.holds("index/") + LITTLE, "{here:?}");
        let packs = if read_data { world.packs().len() } else { 0 };
        assert!(here.read("packs/") <= if read_data { stored + packs as u64 * TAIL } else { 0 }, "{here:?}");
        let small_calls = count + world.watched.count("index/");
        let listings = here.count(Operation::List, "");
        assert!(
            listings <= 20 && here.calls() - here.reads("packs/") <= small_calls + listings + 4,
            "{here:?}"
        );
    }
}

#[test]
fn of_a_pack_with_one_bad_segment_that_segment_is_fetched() {
    let (world, replica) = a_world();
    let (stored, packs) = (world.watched.holds("packs/"), world.packs().len() as u64);
    let (object, size) = largest(&world);
    wait(async {
        let store = world.watched.unwatched();
        let mut bytes = store.get(&object, u64::MAX).await.unwrap().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        store.replace(&object, vec![bytes.into()]).await.unwrap();
    });
    let (report, here, there) = repaired(&world, &replica, true);
    assert_eq!((report.healed.len(), report.lost.len(), report.segments_fetched), (1, 0, 1), "{report:?}");
    // No chunk is larger than a file; with it come the tables of the packs where it may be.
    let fetched = there.read("packs/");
    assert!(fetched <= LARGE_SIZE + 2 * TAIL && fetched < size / 3, "{size}: {there:?}");
    assert!(there.read("index/") <= replica.holds("index/") && there.written("") < LITTLE, "{there:?}");
    // Here all packs are read to find it, and what is good of the one once more; that goes into a new pack.
    assert!(here.read("packs/") <= stored + size + (packs + 1) * TAIL, "{here:?}");
    assert_eq!(here.written("packs/"), here.came("packs/"), "{here:?}");
    assert!(here.came("packs/") <= size + TAIL && here.written("") <= here.came("") + LITTLE, "{here:?}");
}

#[test]
fn what_nobody_has_costs_a_record() {
    let world = World::new(4);
    let (object, _) = largest(&world);
    wait(world.watched.unwatched().delete(&object)).unwrap();
    let request = RepairRequest { read_data: false, salvage: true, dry_run: false };
    let before = world.watched.holds("index/");
    let (report, spent) =
        world.watched.spend(|| repair(&world.watched.store(), None, request, &progress()).unwrap());
    assert_eq!((report.lost.len(), report.salvaged), (1, 1), "{report:?}");
    assert_eq!((spent.reads("packs/"), spent.written("packs/")), (0, 0), "{spent:?}");
    // Fragments are compared with their names, read for what they say, and those that name the pack are replaced.
    assert!(spent.read("index/") <= 4 * before, "{spent:?}");
    assert!(spent.written("") <= spent.came("") + LITTLE && spent.came("index/") <= before, "{spent:?}");
}
