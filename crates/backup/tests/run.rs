//! Backup runs against a store in memory, read back by the reader.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use backup::{Error, ProblemKind, Progress, SnapshotList, back_up, back_up_stream};
use store::{MemoryStore, Operation, Recorded};
use support::{contents, create, latest, noise, on_disk, open, plant, request, run};

/// A moment later than any in which the file system's clock may still stand.
fn let_the_clock_tick() {
    std::thread::sleep(std::time::Duration::from_millis(2100));
}

#[test]
fn everything_comes_back_and_equal_data_is_stored_once() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(source.path());
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    let report = run(&vault, source.path());
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    assert_eq!(report.statistics.files_new, 304);
    let snapshot = latest(&vault);
    assert_eq!(contents(&vault, &snapshot, source.path()), on_disk(source.path()));
    assert!(report.statistics.bytes_stored < 11 << 20, "{:?}", report.statistics);
    assert_eq!(snapshot.envelope.files, 304);
}

#[test]
fn an_unchanged_run_reads_no_file_and_costs_a_handful_of_requests() {
    // Not in the folder for temporary files: others change it meanwhile, and it is in the snapshot too.
    let (source, cache) = (tempfile::tempdir_in("/var").unwrap(), tempfile::tempdir().unwrap());
    plant(source.path());
    let_the_clock_tick();
    let store = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let vault = create(store.clone(), cache.path());
    let first = run(&vault, source.path());
    store.forget_calls();
    let second = run(&vault, source.path());
    assert_eq!((second.statistics.bytes_read, second.statistics.packs_new), (0, 0));
    assert_eq!(second.statistics.files_unchanged, first.statistics.files_new);
    assert_eq!(store.count(Operation::List, "packs/"), 0, "packs are never listed");
    assert_eq!(store.count(Operation::Put, ""), 1, "the snapshot alone is written");
    assert!(store.calls().len() <= 16, "{:#?}", store.calls());
    let list = SnapshotList::load(&vault).unwrap();
    let [a, b] = &list.snapshots[..] else { panic!("two snapshots") };
    assert_eq!((b.envelope.sequence, b.envelope.previous), (1, a.id));
    assert_eq!(a.body.root, b.body.root, "the same tree is the same page");
}

#[test]
fn a_change_stores_what_changed_and_keeps_the_rest() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(source.path());
    let_the_clock_tick();
    let store = Arc::new(MemoryStore::new());
    let vault = create(store.clone(), cache.path());
    run(&vault, source.path());
    let before = on_disk(source.path());
    let mut large = std::fs::read(source.path().join("a/large")).unwrap();
    large.splice(5_000_000..5_000_000, noise(7, 100));
    std::fs::write(source.path().join("a/large"), large).unwrap();
    std::fs::remove_file(source.path().join("a/b/medium")).unwrap();
    std::fs::rename(source.path().join("a/b"), source.path().join("moved")).unwrap();
    let second = run(&vault, source.path());
    assert!(second.statistics.bytes_new < 5 << 20, "{:?}", second.statistics);
    assert_eq!(second.statistics.files_changed, 1);
    assert_eq!(contents(&vault, &latest(&vault), source.path()), on_disk(source.path()));
    let list = SnapshotList::load(&vault).unwrap();
    assert_eq!(contents(&vault, &list.snapshots[0], source.path()), before);
    // A machine that lost its cache learns the same from the fragments.
    let fresh = tempfile::tempdir().unwrap();
    let vault = open(store, fresh.path());
    let mut forced = request(&[source.path()]);
    forced.force_read = true;
    let third = back_up(&vault, &forced, &Arc::new(Progress::new())).unwrap();
    assert!(third.statistics.bytes_new < 8192, "{:?}", third.statistics);
    assert!(third.statistics.bytes_read > 18 << 20);
}

#[test]
fn holes_and_hard_links_are_kept() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sparse = std::fs::File::create(source.path().join("sparse")).unwrap();
    use std::os::unix::fs::FileExt;
    sparse.set_len(50 << 20).unwrap();
    sparse.write_all_at(&noise(1, 8192), 20 << 20).unwrap();
    std::fs::write(source.path().join("one"), noise(2, 300_000)).unwrap();
    std::fs::hard_link(source.path().join("one"), source.path().join("two")).unwrap();
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    let report = run(&vault, source.path());
    assert!(
        report.statistics.bytes_read < 1 << 20,
        "holes are not read, links once: {:?}",
        report.statistics
    );
    assert_eq!(contents(&vault, &latest(&vault), source.path()), on_disk(source.path()));
}

#[test]
fn a_dry_run_counts_and_stores_nothing() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(source.path());
    let store = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let vault = create(store.clone(), cache.path());
    let changes = store.change_count();
    let mut dry = request(&[source.path()]);
    dry.dry_run = true;
    let report = back_up(&vault, &dry, &Arc::new(Progress::new())).unwrap();
    assert_eq!((report.snapshot, report.statistics.files_new), (None, 304));
    assert_eq!(store.change_count(), changes);
}

#[test]
fn a_stream_is_kept_only_when_its_command_ended_well() {
    let cache = tempfile::tempdir().unwrap();
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    let data = noise(5, 3 << 20);
    let progress = Arc::new(Progress::new());
    let failed = back_up_stream(
        &vault,
        &request(&[]),
        "dump.sql",
        &mut &data[..],
        &mut || Err("exit 1".into()),
        &progress,
    );
    assert!(matches!(failed, Err(Error::Source(_))), "{failed:?}");
    assert!(SnapshotList::load(&vault).unwrap().snapshots.is_empty());
    let progress = Arc::new(Progress::new());
    back_up_stream(&vault, &request(&[]), "db/dump.sql", &mut &data[..], &mut || Ok(()), &progress).unwrap();
    let files = contents(&vault, &latest(&vault), std::path::Path::new("/db"));
    assert_eq!(files[std::path::Path::new("dump.sql")], data);
    let bad = back_up_stream(&vault, &request(&[]), "../x", &mut &data[..], &mut || Ok(()), &progress);
    assert!(matches!(bad, Err(Error::Source(_))));
}

#[test]
fn a_file_that_never_holds_still_is_stored_and_marked() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = source.path().join("busy");
    // Large enough that the writer has its turn while it is read, on a busy machine too.
    std::fs::write(&path, noise(1, 48 << 20)).unwrap();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let writer = std::thread::spawn({
        let (stop, path) = (stop.clone(), path.clone());
        move || {
            use std::io::Write;
            let mut file = std::fs::File::options().append(true).open(path).unwrap();
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all(b"more").unwrap();
            }
        }
    });
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    let report = run(&vault, source.path());
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    writer.join().unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert_eq!(report.problems[0].kind, ProblemKind::Changing);
    let snapshot = latest(&vault);
    assert_eq!(snapshot.body.problems, report.problems, "and the snapshot says so");
    let files = contents(&vault, &snapshot, source.path());
    assert!(files[std::path::Path::new("busy")].starts_with(&noise(1, 48 << 20)));
}

#[test]
fn cancelling_ends_the_run_without_a_snapshot_and_the_next_reuses_what_was_stored() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for n in 0..12 {
        std::fs::write(source.path().join(format!("{n}")), noise(n, 8 << 20)).unwrap();
    }
    let store = Arc::new(MemoryStore::new());
    let vault = create(store.clone(), cache.path());
    let progress = Arc::new(Progress::new());
    let watcher = std::thread::spawn({
        let progress = progress.clone();
        move || {
            while progress.bytes_stored() == 0 {
                std::thread::yield_now();
            }
            progress.cancel();
        }
    });
    let outcome = back_up(&vault, &request(&[source.path()]), &progress);
    watcher.join().unwrap();
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
    assert!(SnapshotList::load(&vault).unwrap().snapshots.is_empty());
    let again = run(&vault, source.path());
    assert!(again.statistics.chunks_known > 0, "{:?}", again.statistics);
    assert_eq!(contents(&vault, &latest(&vault), source.path()), on_disk(source.path()));
}
