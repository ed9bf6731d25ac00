//! Cleanups that delete and compact.

use std::sync::Arc;

use store::Store;

use crate::cut::at_every_call;
use crate::tidy::assert_tidy_after_cleanups;
use crate::world::{World, clean, let_leases_run_out, try_clean};

/// Cuts a cleanup at every call, after which these stay of the snapshots.
fn cut_cleanups(world: &World, kept: &[usize]) {
    let report = clean(&world.copy(), world.id);
    assert!(report.segments_moved > 0 && report.packs_deleted > 1, "{report:?}");
    assert_eq!(report.snapshots_deleted, 2);
    let cuts = at_every_call(
        &world.store,
        |store| try_clean(store, world.id).is_ok(),
        |_, store| {
            world.assert_restores(store, kept);
            let_leases_run_out(store);
            clean(store, world.id);
            world.assert_exactly(store, kept);
            let_leases_run_out(store);
            assert_tidy_after_cleanups(store, world.id, &[]);
            world.assert_exactly(store, kept);
        },
    );
    assert!(cuts > 100, "{cuts}");
}

/// A world of which a cleanup moves something and deletes the rest, when it was prepared so that `prepare` is content.
/// Which chunks share a pack is up to threads, and where they are cut to a random key: so not every world is such a one.
fn that_moves(prepare: impl Fn(&World, &Arc<dyn Store>) -> bool) -> World {
    for _ in 0..30 {
        let (mut world, mut is_content) = (World::new(4), false);
        world.prepare(|world, store| is_content = prepare(world, store));
        let report = clean(&world.copy(), world.id);
        if is_content && report.segments_moved > 0 && report.packs_deleted > 1 {
            return world;
        }
    }
    panic!("no cleanup ever moves anything")
}

#[test]
fn what_is_kept_is_whole_wherever_a_cleanup_that_moves_is_cut() {
    let world = that_moves(|world, store| world.forget(store, &[0, 1]).is_ok());
    cut_cleanups(&world, &[2, 3]);
}

#[test]
fn so_it_is_when_what_was_moved_before_is_moved_again() {
    let world = that_moves(|world, store| {
        world.forget(store, &[0]).unwrap();
        let has_moved = clean(store, world.id).segments_moved > 0;
        world.forget(store, &[1, 2]).unwrap();
        has_moved
    });
    cut_cleanups(&world, &[3]);
}
