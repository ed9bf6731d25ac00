//! Copies to an empty place and to an older copy, cut at the target's calls and at the source's.

use std::sync::Arc;

use backup::{CopyRequest, Progress, Vault, copy};
use store::{MemoryStore, Store};

use crate::cut::at_every_call;
use crate::tidy::assert_tidy_after_cleanups;
use crate::world::{World, clean, let_leases_run_out};

fn copies(source: &Arc<dyn Store>, target: &Arc<dyn Store>) -> bool {
    let report = copy(source, target, &CopyRequest::default(), &Arc::new(Progress::new()));
    report.is_ok_and(|report| report.is_complete())
}

/// A vault of which two snapshots are gone and what is left was moved, and a copy from before that.
fn moved() -> (World, MemoryStore) {
    // Not in every world something is moved: see `cleanup::that_moves`.
    for _ in 0..30 {
        let (mut world, early) = (World::new(4), Arc::new(MemoryStore::new()));
        let mut has_moved = false;
        world.prepare(|world, store| {
            let request = CopyRequest { snapshots: Some(world.ids(&[2])), ..CopyRequest::default() };
            let target: Arc<dyn Store> = early.clone();
            copy(store, &target, &request, &Arc::new(Progress::new())).unwrap();
            world.forget(store, &[0, 1]).unwrap();
            has_moved = clean(store, world.id).segments_moved > 0;
        });
        if has_moved {
            return (world, early.as_ref().clone());
        }
    }
    panic!("no cleanup ever moves anything")
}

/// Fails unless the target is whole as far as it is a vault, and the next copy brings the rest.
fn assert_goes_on(world: &World, before: &[usize], source: &Arc<dyn Store>, target: &Arc<dyn Store>) {
    if Vault::exists(target).unwrap() {
        world.assert_restores(target, before);
    } else {
        assert!(before.is_empty());
    }
    world.assert_exactly(source, &[2, 3]);
    let_leases_run_out(target);
    assert!(copies(source, target));
    world.assert_exactly(target, &[2, 3]);
    assert_tidy_after_cleanups(target, world.id, &[]);
    world.assert_exactly(target, &[2, 3]);
}

#[test]
fn a_new_copy_is_no_vault_or_whole_and_the_next_one_completes_it() {
    let (world, _) = moved();
    let source = world.copy();
    let run = |target: &Arc<dyn Store>| copies(&source, target);
    let at_target = at_every_call(&MemoryStore::new(), run, |_, target| {
        assert_goes_on(&world, &[], &source, target);
    });
    assert!(at_target > 50, "{at_target}");
}

#[test]
fn an_older_copy_stays_whole_and_the_next_one_completes_it() {
    let (world, early) = moved();
    let source = world.copy();
    let run = |target: &Arc<dyn Store>| copies(&source, target);
    let at_target = at_every_call(&early, run, |_, target| {
        assert_goes_on(&world, &[2], &source, target);
    });
    assert!(at_target > 25, "{at_target}");
}

#[test]
fn a_copy_is_cut_at_the_calls_of_its_source() {
    let (world, early) = moved();
    let target = std::sync::Mutex::new(Arc::new(MemoryStore::new()));
    let run = |source: &Arc<dyn Store>| {
        let fresh = Arc::new(early.clone());
        *target.lock().unwrap() = fresh.clone();
        copies(source, &(fresh as Arc<dyn Store>))
    };
    let at_source = at_every_call(&world.store, run, |_, source| {
        let target: Arc<dyn Store> = target.lock().unwrap().clone();
        assert_goes_on(&world, &[2], source, &target);
    });
    assert!(at_source > 15, "{at_source}");
}
