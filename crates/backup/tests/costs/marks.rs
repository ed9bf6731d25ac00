//! What is small: marks, pins, settings, key slots. Each change is one object, and what it costs to decide on it does not
//! grow with the vault's data.

use std::time::Duration;

use backup::{Credential, Dropped, NewSlot, SecretText, SnapshotList, Until, forget, pin, undelete, unpin};
use store::Operation;

use crate::support::slot;
use crate::world::{LITTLE, World};

/// Asking for the store's time: an object is put down, looked at and taken away.
const CLOCK: usize = 3;

#[test]
fn to_open_and_to_list_costs_what_is_listed() {
    let world = World::new(3);
    let (vault, spent) = world.watched.spend(|| world.open());
    assert!(
        spent.calls() <= 3 && spent.read("") < LITTLE,
        "the descriptor, and the slot by its listing: {spent:?}"
    );
    let (list, spent) = world.watched.spend(|| SnapshotList::load(&vault).unwrap());
    assert_eq!(list.snapshots.len(), 3);
    assert!(spent.calls() <= 3 + 2, "{spent:?}");
    assert_eq!((spent.read(""), spent.written("")), (world.watched.holds("snapshots/"), 0), "{spent:?}");
}

#[test]
fn to_forget_is_a_mark_for_each_and_to_bring_back_takes_it_away() {
    let world = World::new(4);
    let vault = world.open();
    vault.set_delete_delay(Duration::from_secs(3600)).unwrap();
    let list = SnapshotList::load(&vault).unwrap();
    let forgotten = &world.snapshots[..3];
    let (_, spent) = world.watched.spend(|| forget(&vault, &list, forgotten, Dropped::Named, false).unwrap());
    assert_eq!((spent.came_count("trash/"), spent.written("trash/")), (3, spent.came("trash/")), "{spent:?}");
    // Pins and settings are listed, and the settings read; no snapshot is read again.
    assert!(spent.calls() <= 3 + 2 + 1 + CLOCK, "{spent:?}");
    assert!(
        spent.read("") <= world.watched.holds("settings/") && spent.written("") <= 3 * 200 + 8,
        "{spent:?}"
    );

    let list = SnapshotList::load(&vault).unwrap();
    let (_, spent) = world.watched.spend(|| undelete(&vault, &list, forgotten).unwrap());
    assert_eq!((spent.went_count("trash/"), spent.count(Operation::Delete, "trash/")), (3, 3), "{spent:?}");
    assert!(spent.calls() <= 3 + 2 + CLOCK && spent.written("") <= 8, "{spent:?}");
    assert!(spent.read("") <= world.watched.holds("settings/"), "{spent:?}");
}

#[test]
fn a_pin_is_one_object() {
    let world = World::new(2);
    let vault = world.open();
    let list = SnapshotList::load(&vault).unwrap();
    let (_, spent) = world.watched.spend(|| pin(&vault, &list, world.snapshots[0], Until::Unpinned).unwrap());
    assert_eq!((spent.calls(), spent.written("pins/")), (1, spent.came("pins/")), "{spent:?}");
    let (pins, spent) = world.watched.spend(|| vault.pins().unwrap());
    assert_eq!((spent.calls(), spent.read("")), (2, world.watched.holds("pins/")), "{spent:?}");
    let (taken, spent) = world.watched.spend(|| unpin(&vault, &pins, world.snapshots[0]).unwrap());
    assert_eq!((taken, spent.calls(), spent.went_count("pins/")), (1, 1, 1), "{spent:?}");
}

#[test]
fn settings_are_one_object_for_each_change() {
    let world = World::new(1);
    let vault = world.open();
    for hours in 1..4 {
        let there = (world.watched.count("settings/"), world.watched.holds("settings/"));
        let delay = Duration::from_secs(hours * 3600);
        let (_, spent) = world.watched.spend(|| vault.set_delete_delay(delay).unwrap());
        // Read before, written, and read once more: somebody else may have changed them meanwhile.
        let (calls, bytes) = (2 * (1 + there.0) + 1 + 1, 2 * there.1 + spent.came("settings/"));
        assert!(spent.calls() <= calls && spent.read("") <= bytes, "{spent:?}");
        assert_eq!((spent.came_count(""), spent.written("")), (1, spent.came("settings/")), "{spent:?}");
        let (changed, spent) = world.watched.spend(|| vault.set_delete_delay(delay).unwrap());
        assert!(!changed && spent.written("") == 0 && spent.calls() == 1 + there.0 + 1, "{spent:?}");
    }
}

#[test]
fn a_key_slot_is_one_object_however_large_the_vault() {
    let world = World::new(2);
    let vault = world.open();
    let other = || NewSlot { credential: Credential::recognise(SecretText::new("another".into())), ..slot() };
    let (_, spent) = world.watched.spend(|| vault.add_slot(&other()).unwrap());
    assert_eq!((spent.calls(), spent.came_count("keys/")), (1, 1), "{spent:?}");
    assert_eq!(spent.written(""), spent.came("keys/"), "{spent:?}");
    // The new slot, the old one away, and a look at all that are left for what the same passphrase opens; and one at each
    // snapshot, since whoever cannot open all of it may remove nothing.
    for renews in [false, true] {
        let vault = world.open();
        let (_, spent) = world.watched.spend(|| match renews {
            false => drop(vault.change_passphrase(&slot()).unwrap()),
            true => drop(vault.renew_keys(&[slot()]).unwrap()),
        });
        let slots = world.watched.count("keys/");
        let snapshots = world.watched.count("snapshots/");
        assert_eq!((slots, spent.came_count(""), spent.went_count("keys/")), (2, 1, 1), "{spent:?}");
        assert!(spent.calls() <= 2 + 1 + slots + 1 + snapshots, "{spent:?}");
        let small = world.watched.holds("keys/") + world.watched.holds("snapshots/");
        assert!(spent.written("") == spent.came("keys/") && spent.read("") <= small, "{spent:?}");
    }
}
