//! Cleaning up with the key: packs lose the chunks that nobody needs, and every snapshot restores as before.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backup::{
    CleanupReport, CleanupRequest, Dropped, Error, FirstSettings, Progress, ReadData, Severity, SnapshotList,
    Vault, check, clean_up, clean_up_regrouping, forget,
};
use store::{MemoryStore, Recorded, Store};
use support::{contents, noise, on_disk, open, run, slot};
use vault::condemned::What;
use vault::pack::{PackKind, read_trailer};
use vault::writer::Writer;
use vault::{ObjectHash, SystemId};

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn create(store: Arc<dyn Store>, cache: &Path) -> Arc<Vault> {
    let settings = FirstSettings { delete_delay: Some(Duration::ZERO), ..FirstSettings::default() };
    Vault::create_with(store, &[slot()], cache, &settings).unwrap()
}

/// Everything that is not needed at once, and packs of which more than a tenth is not.
fn clean(vault: &Arc<Vault>) -> Result<CleanupReport, Error> {
    let request = CleanupRequest { unfinished: Some(Duration::ZERO), ..CleanupRequest::default() };
    clean_up_regrouping(vault, &request, 0.1, &Arc::new(Progress::new()))
}

fn forget_first(vault: &Arc<Vault>, count: usize) {
    let list = SnapshotList::load(vault).unwrap();
    let ids: Vec<_> = list.snapshots.iter().take(count).map(|snapshot| snapshot.id).collect();
    forget(vault, &list, &ids, Dropped::Named, false).unwrap();
}

/// Small files, each version with a fifth of them anew and a medium one that changes wholly.
fn version(top: &Path, number: u64) {
    for n in 0..150 {
        if number == 0 || n % 5 == number % 5 {
            write(&top.join(format!("small-{n}")), &noise(n + 1000 * number, 6000));
        }
    }
    write(&top.join("medium"), &noise(5000 + number, 100_000));
    if number == 0 {
        write(&top.join("large"), &noise(7, 3 << 20));
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

fn assert_whole(vault: &Arc<Vault>, source: &Path, expected: &[Files], what: &str) {
    let list = SnapshotList::load(vault).unwrap().snapshots;
    assert_eq!(list.len(), expected.len(), "{what}");
    for (snapshot, files) in list.iter().zip(expected) {
        assert!(&contents(vault, snapshot, source) == files, "{what}: {} differs", snapshot.id);
    }
    let mut report = check(vault, ReadData::All, &Arc::new(Progress::new())).unwrap();
    // Of a copy it tells which snapshots before never came.
    report.findings.retain(|finding| finding.severity != Severity::Note);
    assert!(report.findings.is_empty(), "{what}: {:#?}", report.findings);
}

fn stored(vault: &Vault) -> u64 {
    vault.wait(vault.store().list("packs/")).unwrap().iter().map(|object| object.size).sum()
}

/// A vault with six versions of which the last three stay.
fn grown(store: Arc<dyn Store>, source: &Path, cache: &Path) -> (Arc<Vault>, Vec<Files>) {
    let vault = create(store, cache);
    let mut expected = Vec::new();
    for number in 0..6 {
        version(source, number);
        run(&vault, source);
        expected.push(on_disk(source));
    }
    forget_first(&vault, 3);
    (vault, expected.split_off(3))
}

#[test]
fn what_nobody_needs_leaves_its_segment_and_every_snapshot_restores_as_before() {
    let (source, cache, other) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(MemoryStore::new());
    let (vault, mut expected) = grown(store.clone(), source.path(), cache.path());
    // A file that changed within two seconds of a backup is read once more by the next one.
    std::thread::sleep(Duration::from_millis(2100));
    run(&vault, source.path());
    expected.push(on_disk(source.path()));
    let request = CleanupRequest { unfinished: Some(Duration::ZERO), ..CleanupRequest::default() };
    clean_up(vault.store(), &request, &Arc::new(Progress::new())).unwrap();
    let without_a_key = stored(&vault);
    assert_whole(&vault, source.path(), &expected, "before");
    let report = clean(&vault).unwrap();
    assert!(report.packs_closed > 0 && report.packs_regrouped > 0, "{report:?}");
    assert_eq!(report.not_understood, []);
    // Of the first version three fifths of the small files are gone, and its medium file.
    assert!(stored(&vault) + 500_000 < without_a_key, "{} of {without_a_key}", stored(&vault));
    assert_whole(&vault, source.path(), &expected, "after");
    assert_whole(&open(store.clone(), other.path()), source.path(), &expected, "from another machine");
    let again = clean(&vault).unwrap();
    assert_eq!((again.packs_closed, again.packs_regrouped, again.segments_moved), (0, 0, 0), "{again:?}");

    // The next backup builds on it, and stores nothing again that it need not even read.
    let next = run(&vault, source.path());
    assert!(next.statistics.bytes_new < 64 << 10, "{:?}", next.statistics);
    expected.push(on_disk(source.path()));
    // What was taken out comes back as it was: it is not in the vault any more, whatever a cache says.
    write(&source.path().join("medium"), &noise(5000, 100_000));
    write(&source.path().join("small-1"), &noise(1, 6000));
    let next = run(&vault, source.path());
    assert!(next.statistics.bytes_new > 106_000, "{:?}", next.statistics);
    expected.push(on_disk(source.path()));
    assert_whole(&vault, source.path(), &expected, "with what came back");
    // Once more, of a pack that was thinned before.
    forget_first(&vault, 4);
    let report = clean(&vault).unwrap();
    assert!(report.packs_regrouped > 0 && report.not_understood.is_empty(), "{report:?}");
    assert_whole(&vault, source.path(), &expected[4..], "thinned twice");
}

/// In which epochs the data packs are sealed, the newest seal of each.
fn epochs(vault: &Vault) -> BTreeSet<u32> {
    let packs = vault.wait(vault.store().list("packs/")).unwrap();
    let trailers = packs.iter().map(|object| {
        let hash = ObjectHash::from_object_name(&object.name).unwrap();
        let read = vault.wait(read_trailer(vault.store().as_ref(), hash, vault.id()));
        read.unwrap().unwrap().0
    });
    let data = trailers.filter(|trailer| trailer.kind == PackKind::Data);
    data.flat_map(|trailer| trailer.origins.into_iter().map(|origin| origin.epoch)).collect()
}

#[test]
fn what_is_regrouped_after_new_keys_is_sealed_with_them() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = Arc::new(MemoryStore::new());
    let (vault, expected) = grown(store.clone(), source.path(), cache.path());
    let request = CleanupRequest { unfinished: Some(Duration::ZERO), ..CleanupRequest::default() };
    clean_up(vault.store(), &request, &Arc::new(Progress::new())).unwrap();
    assert_eq!(epochs(&vault), BTreeSet::from([0]));
    vault.renew_keys(&[slot()]).unwrap();
    let vault = open(store, cache.path());
    let report = clean(&vault).unwrap();
    assert!(report.packs_regrouped > 0, "{report:?}");
    assert!(epochs(&vault).contains(&1), "{:?}", epochs(&vault));
    assert_whole(&vault, source.path(), &expected, "with new keys");
}

#[test]
fn whoever_is_at_work_is_waited_for_between_closing_and_regrouping() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (vault, expected) = grown(Arc::new(MemoryStore::new()), source.path(), cache.path());
    // What was forgotten goes before somebody is at work for whom it would have to stay.
    clean_up(vault.store(), &CleanupRequest::default(), &Arc::new(Progress::new())).unwrap();
    let (id, holder) = (content::random::identity(), SystemId::new([3; 16]));
    let begun = Writer::begin(vault.store(), vault.id(), id, holder, Duration::from_secs(900));
    let writer = vault.wait(begun).unwrap();
    let report = clean(&vault).unwrap();
    assert!(report.packs_closed > 0 && report.packs_regrouped == 0, "{report:?}");
    // It may have relied on what was in the index when it began, and nothing of that has gone.
    assert_whole(&vault, source.path(), &expected, "while somebody is at work");
    vault.wait(writer.end()).unwrap();
    let report = clean(&vault).unwrap();
    assert!(report.packs_regrouped > 0, "{report:?}");
    assert_whole(&vault, source.path(), &expected, "after");
}

#[test]
fn a_snapshot_in_the_trash_keeps_its_chunks() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // With the default delay.
    let vault = support::create(Arc::new(MemoryStore::new()), cache.path());
    let mut expected = Vec::new();
    for number in 0..3 {
        version(source.path(), number);
        run(&vault, source.path());
        expected.push(on_disk(source.path()));
    }
    forget_first(&vault, 2);
    clean(&vault).unwrap();
    let list = SnapshotList::load(&vault).unwrap();
    let ids: Vec<_> = list.trash.iter().map(|one| one.id).collect();
    backup::undelete(&vault, &list, &ids).unwrap();
    assert_whole(&vault, source.path(), &expected, "brought back");
}

#[test]
fn every_crash_point_of_a_regrouping_leaves_every_snapshot_whole() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let recorded = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let (vault, expected) = grown(recorded.clone(), source.path(), cache.path());
    let before = recorded.change_count();
    let report = clean(&vault).unwrap();
    assert!(report.packs_regrouped > 0 && report.packs_deleted > 0, "{report:?}");
    let total = recorded.change_count();
    assert!(total > before + 12, "{before} of {total}");
    for cut in before..=total {
        let what = format!("call {cut} of {before} to {total}");
        let store = tokio::runtime::Runtime::new().unwrap().block_on(recorded.replay(cut)).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let vault = open(Arc::new(store), cache.path());
        // Those that are in the trash may be damaged by now; nobody can bring them back.
        for (snapshot, files) in SnapshotList::load(&vault).unwrap().snapshots.iter().zip(&expected) {
            assert!(&contents(&vault, snapshot, source.path()) == files, "{what}");
        }
        // What the killed collector held runs out; nobody needs to wait for it here.
        for lease in vault.wait(vault.store().list("leases/")).unwrap() {
            vault.wait(vault.store().delete(&lease.name)).unwrap();
        }
        // A machine that begins now, and what it would find by the index.
        let mut now = expected.clone();
        run(&vault, source.path());
        now.push(on_disk(source.path()));
        let report = clean(&vault).unwrap();
        assert!(report.not_understood.is_empty() && report.waiting.is_empty(), "{what}: {report:?}");
        assert_whole(&vault, source.path(), &now, &what);
    }
}

#[test]
fn a_copy_takes_what_was_regrouped_and_is_not_regrouped_itself() {
    let (source, cache, other) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (vault, expected) = grown(Arc::new(MemoryStore::new()), source.path(), cache.path());
    clean(&vault).unwrap();
    let target: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let copy = || {
        let request = backup::CopyRequest::default();
        backup::copy(vault.store(), &target, &request, &Arc::new(Progress::new())).unwrap()
    };
    let report = copy();
    assert!(report.faults.is_empty() && report.left_behind.is_empty(), "{report:?}");
    let replica = open(target.clone(), other.path());
    assert_whole(&replica, source.path(), &expected, "the copy");
    // The source goes on and is regrouped again; the copy is brought up to date.
    version(source.path(), 6);
    run(&vault, source.path());
    forget_first(&vault, 1);
    assert!(clean(&vault).unwrap().packs_regrouped > 0);
    let report = copy();
    assert!(report.faults.is_empty() && report.left_behind.is_empty(), "{report:?}");
    forget_first(&replica, 2);
    let closed = |vault: &Vault| {
        let row = vault.wait(vault::condemned::Row::read(vault.store().as_ref(), vault.id())).unwrap();
        (row.closed(What::ClosedPack), row.closed(What::ClosedElsewhere))
    };
    let cleaned = clean(&replica).unwrap();
    let ((at_source, _), (own, elsewhere)) = (closed(&vault), closed(&replica));
    assert!(!at_source.is_empty() && at_source.keys().all(|pack| elsewhere.contains_key(pack)));
    assert!(cleaned.copies_arrive && own.is_empty(), "nothing is regrouped where copies arrive: {cleaned:?}");
    let mut last = vec![expected[2].clone(), on_disk(source.path())];
    assert_whole(&replica, source.path(), &last, "the copy later");
    version(source.path(), 7);
    run(&vault, source.path());
    let report = copy();
    assert!(report.faults.is_empty() && report.left_behind.is_empty(), "{report:?}");
    last.push(on_disk(source.path()));
    assert_whole(&replica, source.path(), &last, "the copy after that");

    // The source is lost, and what arrived is regrouped at last. A copy that comes all the same brings nothing that relies
    // on what may be missing, and says so.
    let request = CleanupRequest {
        unfinished: Some(Duration::ZERO),
        no_more_copies: true,
        ..CleanupRequest::default()
    };
    let progress = Arc::new(Progress::new());
    let cleaned = clean_up_regrouping(&replica, &request, 0.1, &progress).unwrap();
    assert!(cleaned.packs_regrouped > 0 && !cleaned.copies_arrive, "{cleaned:?}");
    assert_whole(&replica, source.path(), &last, "regrouped at last");
    version(source.path(), 8);
    run(&vault, source.path());
    let report = copy();
    assert!(!report.faults.is_empty() && report.left_behind.len() == 1, "{report:?}");
    assert_whole(&replica, source.path(), &last, "after a late copy");
}
