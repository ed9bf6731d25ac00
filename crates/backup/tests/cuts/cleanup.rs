//! Cleanups that delete and compact.

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

#[test]
fn what_is_kept_is_whole_wherever_a_cleanup_that_moves_is_cut() {
    let mut world = World::new(4);
    world.prepare(|world, store| world.forget(store, &[0, 1]).unwrap());
    cut_cleanups(&world, &[2, 3]);
}

#[test]
fn so_it_is_when_what_was_moved_before_is_moved_again() {
    let mut world = World::new(4);
    world.prepare(|world, store| {
        world.forget(store, &[0]).unwrap();
        assert!(clean(store, world.id).segments_moved > 0);
        world.forget(store, &[1, 2]).unwrap();
    });
    cut_cleanups(&world, &[3]);
}
