//! Copies: each pack is read once and written once, and what is there already is not looked at.

use backup::{CopyReport, CopyRequest, copy};
use store::Operation;

use crate::ledger::{Spent, Watched};
use crate::support::run;
use crate::world::{LITTLE, World, progress, version};

/// Calls at the source that do not grow with the vault: the descriptor, seven listings, and a lease.
const HERE: usize = 1 + 7 + 2;
/// The same at the target, with what says that copies arrive there.
const THERE: usize = 1 + 9 + 2 + 2;

/// Copies; what it cost at the source, and at the target.
fn copied(world: &World, target: &Watched, verify: bool) -> (CopyReport, Spent, Spent) {
    let request = CopyRequest { verify, ..CopyRequest::default() };
    let copying = || copy(&world.watched.store(), &target.store(), &request, &progress()).unwrap();
    let ((report, there), here) = world.watched.spend(|| target.spend(copying));
    assert!(report.is_complete(), "{report:?}");
    (report, here, there)
}

fn back_up(world: &World, number: u64) {
    version(world.source.path(), number);
    run(&world.open(), world.source.path());
}

#[test]
fn the_first_reads_each_object_once_and_writes_it_once() {
    let (world, target) = (World::new(4), Watched::new());
    let (packs, stored) = (world.packs().len(), world.watched.holds("packs/"));
    let (report, here, there) = copied(&world, &target, false);
    assert_eq!((report.copied.len(), report.packs_copied as usize), (4, packs), "{report:?}");
    assert_eq!((here.reads("packs/"), here.read("packs/")), (packs, stored), "{here:?}");
    assert_eq!(here.read("snapshots/"), world.watched.holds("snapshots/"), "{here:?}");
    assert!(here.read("index/") == 0 && here.read_again().is_empty(), "{here:?}");
    assert_eq!((there.written("packs/"), there.read("")), (stored, 0), "{there:?}");
    assert!(there.written("") <= there.came("") + LITTLE, "{there:?}");
    let small = here.count(Operation::Get, "keys/") + here.count(Operation::Get, "settings/");
    assert!(here.calls() <= packs + 4 + small + HERE, "{here:?}");
    assert!(there.calls() <= there.came_count("") + THERE, "{there:?}");
}

#[test]
fn with_nothing_new_it_costs_listings() {
    let (world, target) = (World::new(4), Watched::new());
    copied(&world, &target, false);
    let (report, here, there) = copied(&world, &target, false);
    assert_eq!((report.copied.len(), report.packs_copied), (0, 0), "{report:?}");
    assert!(here.calls() <= HERE && there.calls() <= THERE, "{here:?} {there:?}");
    for spent in [here, there] {
        assert!(spent.read("") < LITTLE && spent.written("") < LITTLE, "{spent:?}");
        assert_eq!(spent.read("packs/") + spent.read("snapshots/") + spent.read("index/"), 0, "{spent:?}");
    }
}

#[test]
fn with_a_little_new_it_costs_that_little() {
    let (world, target) = (World::new(4), Watched::new());
    copied(&world, &target, false);
    back_up(&world, 4);
    for (number, verify) in [(5, false), (6, true)] {
        let (report, here, there) = copied(&world, &target, verify);
        assert_eq!(report.copied.len(), 1, "{report:?}");
        let (packs, snapshot) = (there.came("packs/"), there.came("snapshots/"));
        assert!(here.read("packs/") == packs && packs < world.watched.holds("packs/") / 4, "{here:?}");
        assert!(here.read("") <= packs + snapshot + LITTLE && here.read_again().is_empty(), "{here:?}");
        assert_eq!(
            (there.written("packs/"), there.written("index/")),
            (packs, there.came("index/")),
            "{there:?}"
        );
        // Of what was there the snapshot before is read; and what came, if it is to be verified.
        let again = if verify { packs + snapshot } else { 0 };
        assert!(there.read("packs/") == if verify { packs } else { 0 }, "{there:?}");
        assert!(there.read("") <= again + 2 * snapshot + LITTLE, "{there:?}");
        assert!(here.calls() <= HERE + there.came_count("packs/") + 1, "{here:?}");
        let reads = 1 + if verify { there.came_count("packs/") + 1 } else { 0 };
        assert!(there.calls() <= THERE + there.came_count("") + reads, "{there:?}");
        back_up(&world, number);
    }
}
