//! New keys, other passphrases, settings.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backup::{Credential, Error, NewSlot, SecretText, SlotKind, SnapshotList, Vault};
use store::Store;

use crate::cut::at_every_call;
use crate::support::{contents, on_disk, run, slot};
use crate::tidy::assert_tidy_after_cleanups;
use crate::world::{Files, Fresh, World, let_leases_run_out};

/// What all snapshots give back that a credential opens, the oldest first. None may be closed to it.
fn all_contents(world: &World, store: &Arc<dyn Store>, credential: &Credential) -> Vec<Files> {
    let cache = tempfile::tempdir().unwrap();
    let vault = Vault::open(store.clone(), credential, cache.path()).unwrap();
    let list = SnapshotList::load(&vault).unwrap();
    assert!(
        list.sealed.is_empty() && list.damaged.is_empty(),
        "{} sealed, {:?}",
        list.sealed.len(),
        list.damaged
    );
    list.snapshots.iter().map(|snapshot| contents(&vault, snapshot, world.source.path())).collect()
}

fn passphrase_slots(store: &Arc<dyn Store>) -> usize {
    let slots = Fresh::open(store).slots().unwrap();
    slots.iter().filter(|slot| slot.kind == Some(SlotKind::Passphrase)).count()
}

#[test]
fn the_passphrase_reads_all_that_was_stored_before_and_after_a_renewal_that_was_cut() {
    let world = World::new(2);
    let renew = |store: &Arc<dyn Store>, code: &Credential| -> Result<(), Error> {
        let recovery = NewSlot { credential: code.clone(), label: "recovery".into(), ..slot() };
        Fresh::try_open(store)?.renew_keys(&[slot(), recovery]).map(drop)
    };
    let attempt = |store: &Arc<dyn Store>| renew(store, &Credential::new_recovery_code()).is_ok();
    let mut expected: Vec<Files> = world.snapshots.iter().map(|(_, files)| files.clone()).collect();
    expected.push(on_disk(world.source.path()));
    let cuts = at_every_call(&world.store, attempt, |_, store| {
        world.assert_restores(store, &[0, 1]);
        run(&Fresh::open(store), world.source.path());
        assert_eq!(all_contents(&world, store, &slot().credential), expected);
        let code = Credential::new_recovery_code();
        renew(store, &code).unwrap();
        for credential in [slot().credential, code] {
            assert_eq!(all_contents(&world, store, &credential), expected);
        }
        let vault = Fresh::open(store);
        run(&vault, world.source.path());
        let newest = SnapshotList::load(&vault).unwrap().snapshots.pop().unwrap();
        assert_eq!(contents(&vault, &newest, world.source.path()), expected[2]);
        assert!(vault.keyring().current().number() > 0, "what is stored from now on is sealed anew");
        assert_eq!(passphrase_slots(store), 1, "what the first attempt left is gone");
        let_leases_run_out(store);
        assert_tidy_after_cleanups(store, world.id, &[]);
    });
    assert!(cuts > 12, "{cuts}");
}

#[test]
fn one_of_two_passphrases_opens_wherever_a_change_is_cut_and_then_only_the_new_one() {
    let world = World::new(1);
    let new = || Credential::recognise(SecretText::new("another passphrase".into()));
    let opens = |store: &Arc<dyn Store>, credential: &Credential| {
        let cache = tempfile::tempdir().unwrap();
        Vault::open(store.clone(), credential, cache.path()).is_ok()
    };
    let change = |store: &Arc<dyn Store>| -> Result<(), Error> {
        let new = NewSlot { credential: new(), ..slot() };
        Fresh::try_open(store)?.change_passphrase(&new).map(drop)
    };
    let expected = [world.snapshots[0].1.clone()];
    let cuts = at_every_call(
        &world.store,
        |store| change(store).is_ok(),
        |_, store| {
            let opening: Vec<_> =
                [slot().credential, new()].into_iter().filter(|one| opens(store, one)).collect();
            assert!(!opening.is_empty(), "nobody could open it any more");
            for credential in &opening {
                assert_eq!(all_contents(&world, store, credential), expected);
            }
            if opens(store, &slot().credential) {
                change(store).unwrap();
            }
            assert!(!opens(store, &slot().credential));
            assert_eq!(all_contents(&world, store, &new()), expected);
            let cache = tempfile::tempdir().unwrap();
            let slots = Vault::open(store.clone(), &new(), cache.path()).unwrap().slots().unwrap();
            assert_eq!(slots.len(), 1, "a slot too many would open when this passphrase is changed");
        },
    );
    assert!(cuts > 10, "{cuts}");
}

#[test]
fn settings_are_as_before_or_as_asked_for() {
    let world = World::new(1);
    const DAY: Duration = Duration::from_secs(86_400);
    let set = |store: &Arc<dyn Store>| -> Result<bool, Error> {
        Fresh::try_open(store)?.set_delete_delay(30 * DAY)
    };
    let cuts = at_every_call(
        &world.store,
        |store| set(store).is_ok(),
        |_, store| {
            let delay = |store: &Arc<dyn Store>| {
                let settings = Fresh::open(store).settings(SystemTime::now()).unwrap();
                assert!(settings.unreadable.is_empty());
                (settings.delete_delay, settings.in_force)
            };
            assert!([(7 * DAY, 7 * DAY), (30 * DAY, 30 * DAY)].contains(&delay(store)));
            set(store).unwrap();
            assert_eq!(delay(store), (30 * DAY, 30 * DAY));
            assert!(!set(store).unwrap(), "that is how it is");
            world.assert_exactly(store, &[0]);
            let_leases_run_out(store);
            assert_tidy_after_cleanups(store, world.id, &[]);
        },
    );
    assert!(cuts > 5, "{cuts}");
}
