//! Cleaning up real vaults: what is kept restores exactly, what is gone is gone, and the next backup builds on it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backup::{Progress, ReadData, Snapshot, SnapshotList, Vault, check};
use store::{MemoryStore, Operation, Recorded, Store};
use support::{contents, create, noise, on_disk, open, run};
use vault::check::Unwatched;
use vault::collect::{self, Options, Report};
use vault::trash::{self, Mark};

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn forget(vault: &Vault, snapshot: &Snapshot) {
    let mark = Mark {
        nonce: content::random::identity(),
        snapshot: snapshot.id,
        system: snapshot.envelope.system,
        sequence: snapshot.envelope.sequence,
        previous: snapshot.envelope.previous,
        written: 0,
        reason: String::new(),
    };
    vault.wait(trash::forget(vault.store().as_ref(), vault.id(), &mark)).unwrap();
}

/// Cleans up without waiting for anything.
fn clean(vault: &Vault) -> Report {
    let mut options = Options::new(Duration::ZERO, false);
    options.unfinished = Duration::ZERO;
    let random = &mut content::random::identity;
    vault.wait(collect::cleanup(vault.store(), vault.id(), &options, random, &Unwatched)).unwrap()
}

fn snapshots(vault: &Arc<Vault>) -> Vec<Arc<Snapshot>> {
    SnapshotList::load(vault).unwrap().snapshots
}

fn assert_whole(vault: &Arc<Vault>, source: &Path, expected: &[Files]) {
    let list = snapshots(vault);
    assert_eq!(list.len(), expected.len());
    for (snapshot, files) in list.iter().zip(expected) {
        assert_eq!(&contents(vault, snapshot, source), files);
    }
    let report = check(vault, ReadData::All, &Arc::new(Progress::new())).unwrap();
    assert!(report.findings.is_empty(), "{:#?}", report.findings);
}

fn stored(vault: &Vault, folder: &str) -> u64 {
    vault.wait(vault.store().list(folder)).unwrap().iter().map(|object| object.size).sum()
}

/// Small files of which each version changes some, and a large one of which it changes the middle.
fn version(top: &Path, number: u64) {
    for n in 0..200 {
        if number == 0 || n % 10 == number % 10 {
            std::fs::write(top.join(format!("small-{n}")), noise(n + 1000 * number, 9000)).unwrap();
        }
    }
    let mut large = noise(7, 12 << 20);
    let at = (number as usize % 10) << 20;
    large[at..at + 5000].copy_from_slice(&noise(number, 5000));
    std::fs::write(top.join("large"), large).unwrap();
}

#[test]
fn what_was_forgotten_goes_and_what_is_kept_restores_through_compaction() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let vault = create(store.clone(), cache.path());
    let mut expected = Vec::new();
    for number in 0..12 {
        version(source.path(), number);
        run(&vault, source.path());
        expected.push(on_disk(source.path()));
    }
    let full = stored(&vault, "packs/");
    let list = snapshots(&vault);
    for (number, snapshot) in list.iter().enumerate() {
        if ![3, 11].contains(&number) {
            forget(&vault, snapshot);
        }
    }
    let report = clean(&vault);
    assert_eq!((report.snapshots_deleted, report.waiting.len()), (10, 0), "{report:?}");
    assert!(report.packs_deleted > 0 && report.segments_moved > 0, "{report:?}");
    assert!(stored(&vault, "packs/") < full, "{report:?}");
    let kept = [expected[3].clone(), expected[11].clone()];
    assert_whole(&vault, source.path(), &kept);
    // From a machine that knows nothing.
    let other = tempfile::tempdir().unwrap();
    assert_whole(&open(store.clone(), other.path()), source.path(), &kept);
    let again = clean(&vault);
    assert_eq!((again.packs_deleted, again.packs_condemned, again.segments_moved), (0, 0, 0), "{again:?}");
    // The next backup builds on what was moved, with the cache it had and with none.
    for cache in [cache.path(), other.path()] {
        let vault = open(store.clone(), cache);
        let report = run(&vault, source.path());
        assert!(report.statistics.bytes_new < 64 << 10, "{:?}", report.statistics);
    }
    let last = expected[11].clone();
    assert_whole(&vault, source.path(), &[kept[0].clone(), last.clone(), last.clone(), last]);
}

#[test]
fn chunks_of_forgotten_snapshots_are_stored_again_and_not_relied_on() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    std::fs::write(source.path().join("comes-back"), noise(1, 3 << 20)).unwrap();
    std::fs::write(source.path().join("stays"), noise(2, 3 << 20)).unwrap();
    run(&vault, source.path());
    std::fs::remove_file(source.path().join("comes-back")).unwrap();
    run(&vault, source.path());
    forget(&vault, &snapshots(&vault)[0]);
    // A restore is at work, so that it is condemned and not deleted.
    let reading = backup::ReadingTenure::begin(&vault).unwrap();
    let report = clean(&vault);
    assert!(
        report.packs_condemned > 0 && report.packs_deleted == 0 && report.waiting.len() == 1,
        "{report:?}"
    );
    let only = on_disk(source.path());
    std::fs::write(source.path().join("comes-back"), noise(1, 3 << 20)).unwrap();
    let report = run(&vault, source.path());
    assert!(report.statistics.bytes_new > 1 << 20, "it is about to be deleted: {:?}", report.statistics);
    drop(reading);
    assert!(clean(&vault).packs_deleted > 0);
    assert_whole(&vault, source.path(), &[only, on_disk(source.path())]);
}

#[test]
fn every_crash_point_of_a_cleanup_leaves_what_is_kept_whole() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recorded = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let vault = create(recorded.clone(), cache.path());
    let mut last = Files::new();
    for number in 0..4 {
        version(source.path(), number);
        run(&vault, source.path());
        last = on_disk(source.path());
    }
    for snapshot in &snapshots(&vault)[..3] {
        forget(&vault, snapshot);
    }
    let before = recorded.change_count();
    let report = clean(&vault);
    assert!(report.segments_moved > 0 && report.packs_deleted > 0 && report.snapshots_deleted == 3);
    let total = recorded.change_count();
    assert!(total > before + 12, "{before} of {total}");
    for cut in before..=total {
        let store = tokio::runtime::Runtime::new().unwrap().block_on(recorded.replay(cut)).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let vault = open(Arc::new(store), cache.path());
        let newest = snapshots(&vault).pop().unwrap();
        assert_eq!(contents(&vault, &newest, source.path()), last, "call {cut}");
        // What the killed collector held runs out; nobody needs to wait for it here.
        for lease in vault.wait(vault.store().list("leases/")).unwrap() {
            vault.wait(vault.store().delete(&lease.name)).unwrap();
        }
        let report = clean(&vault);
        assert!(report.waiting.is_empty(), "call {cut}: {report:?}");
        assert_whole(&vault, source.path(), &[last.clone()]);
        let again = clean(&vault);
        assert_eq!((again.packs_deleted, again.packs_condemned), (0, 0), "call {cut}: {again:?}");
    }
}

#[test]
fn a_cleanup_costs_what_it_must() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recorded = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let vault = create(recorded.clone(), cache.path());
    for number in 0..6 {
        version(source.path(), number);
        run(&vault, source.path());
    }
    recorded.forget_calls();
    let report = clean(&vault);
    assert_eq!((report.packs_condemned, report.packs_deleted), (0, 0));
    let reads = recorded.count(Operation::Get, "");
    // Six snapshots, their fragments, the leases of six backups; and the listings.
    assert!(reads <= 6 + 6 + 8, "{reads}: {:#?}", recorded.calls());
    assert_eq!(recorded.count(Operation::GetRange, ""), 0, "no pack is read");
    assert_eq!(recorded.count(Operation::GetTail, ""), 0);
    assert!(recorded.calls().len() <= 40, "{}", recorded.calls().len());
}
