//! Forgetting, bringing back, pinning.

use std::collections::BTreeMap;
use std::sync::Arc;

use backup::{Error, SnapshotList, Until, pin, undelete, unpin};
use store::{MemoryStore, ObjectInfo, Store};
use vault::name;

use crate::cut::{Cut, at_every_call};
use crate::tidy::assert_tidy_after_cleanups;
use crate::world::{Fresh, World, let_leases_run_out, live, wait};

fn bring_back(world: &World, store: &Arc<dyn Store>, places: &[usize]) -> Result<(), Error> {
    let vault = Fresh::try_open(store)?;
    let list = SnapshotList::load(&vault)?;
    let in_trash = world.ids(places).into_iter().filter(|id| list.in_trash(*id).is_some());
    undelete(&vault, &list, &in_trash.collect::<Vec<_>>())
}

#[test]
fn what_was_not_to_be_forgotten_is_not_and_the_rest_can_be_brought_back() {
    let world = World::new(4);
    let run = |store: &Arc<dyn Store>| world.forget(store, &[0, 2]).is_ok();
    let cuts = at_every_call(&world.store, run, |_, store| {
        let vault = world.assert_restores(store, &[0, 1, 2, 3]);
        let live = live(&vault);
        assert!(world.ids(&[1, 3]).iter().all(|id| live.contains(id)), "{live:?}");
        world.forget(store, &[0, 2]).unwrap();
        bring_back(&world, store, &[0, 2]).unwrap();
        world.assert_exactly(store, &[0, 1, 2, 3]);
        world.forget(store, &[0, 2]).unwrap();
        let_leases_run_out(store);
        assert_tidy_after_cleanups(store, world.id, &[]);
        world.assert_exactly(store, &[1, 3]);
    });
    assert!(cuts > 15, "{cuts}");
}

#[test]
fn what_is_brought_back_is_back_or_stays_in_the_trash_as_long_as_before() {
    let mut world = World::new(3);
    // Four machines forgot the same, and the last one's marks count.
    let marks: Vec<_> = (0..4).flat_map(|_| marks_of(&world, &[0, 1])).collect();
    world.prepare(|_, store| {
        for (name, bytes) in marks {
            wait(store.put(&name, vec![bytes])).unwrap();
        }
    });
    let since = |store: &Arc<dyn Store>| -> BTreeMap<_, _> {
        let list = SnapshotList::load(&Fresh::open(store)).unwrap();
        list.trash.iter().map(|one| (one.id, one.forgotten.since)).collect()
    };
    let before = since(&world.copy());
    assert_eq!(before.len(), 2);
    let run = |store: &Arc<dyn Store>| bring_back(&world, store, &[0, 1]).is_ok();
    let cuts = at_every_call(&world.store, run, |_, store| {
        world.assert_restores(store, &[0, 1, 2]);
        for (id, since) in since(store) {
            assert_eq!(since, before[&id], "its time would be over earlier");
        }
        bring_back(&world, store, &[0, 1]).unwrap();
        let_leases_run_out(store);
        assert_tidy_after_cleanups(store, world.id, &[]);
        world.assert_exactly(store, &[0, 1, 2]);
    });
    assert!(cuts > 25, "{cuts}");
}

/// The marks that a machine writes that forgets these.
fn marks_of(world: &World, places: &[usize]) -> Vec<(String, bytes::Bytes)> {
    let store = world.copy();
    world.forget(&store, places).unwrap();
    let read = async |object: ObjectInfo| {
        let bytes = store.get(&object.name, 1 << 20).await.unwrap();
        (object.name, bytes)
    };
    wait(async {
        let mut marks = Vec::new();
        for object in store.list(name::TRASH).await.unwrap() {
            marks.push(read(object).await);
        }
        marks
    })
}

#[test]
fn a_pin_is_there_or_not_and_is_taken_away_whole() {
    let mut world = World::new(2);
    let first = world.snapshots[0].0;
    let set = |store: &Arc<dyn Store>| -> Result<(), Error> {
        let vault = Fresh::try_open(store)?;
        pin(&vault, &SnapshotList::load(&vault)?, first, Until::Unpinned)
    };
    let take_away = |store: &Arc<dyn Store>| -> Result<(), Error> {
        let vault = Fresh::try_open(store)?;
        unpin(&vault, &vault.pins()?, first).map(drop)
    };
    let is_pinned = |world: &World, store: &Arc<dyn Store>| {
        let refused = world.forget(&duplicate(store), &[0]);
        assert!(matches!(refused, Ok(()) | Err(Error::Pinned { .. })), "{refused:?}");
        refused.is_err()
    };
    let cuts = at_every_call(
        &world.store,
        |store| set(store).is_ok(),
        |cut, store| {
            world.assert_exactly(store, &[0, 1]);
            assert!(!is_pinned(&world, store) || matches!(cut, Cut::Unheard(_)), "it was not written");
            set(store).unwrap();
            assert!(is_pinned(&world, store));
            take_away(store).unwrap();
            assert!(!is_pinned(&world, store), "a pin that nobody heard of goes with the other");
            let_leases_run_out(store);
            assert_tidy_after_cleanups(store, world.id, &[]);
        },
    );
    world.prepare(|_, store| (0..2).for_each(|_| set(store).unwrap()));
    let more = at_every_call(
        &world.store,
        |store| take_away(store).is_ok(),
        |_, store| {
            world.assert_exactly(store, &[0, 1]);
            take_away(store).unwrap();
            assert!(!is_pinned(&world, store));
        },
    );
    assert!(cuts > 8 && more > 8, "{cuts} {more}");
}

/// A copy of a store, in which all was written just now.
fn duplicate(store: &Arc<dyn Store>) -> Arc<dyn Store> {
    let other = MemoryStore::new();
    wait(async {
        for object in store.list("").await.unwrap() {
            let bytes = store.get(&object.name, u64::MAX).await.unwrap();
            other.put(&object.name, vec![bytes]).await.unwrap();
        }
    });
    Arc::new(other)
}
