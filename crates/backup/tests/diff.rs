//! What differs between snapshots, and finding files in them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use backup::{
    ChangeKind, DiffSummary, Error, FindRequest, Part, Progress, Snapshot, SnapshotList, Vault, diff, find,
    stats,
};
use content::tree::Time;
use store::{MemoryStore, Operation, Recorded};
use support::{create, latest, noise, plant, run};
use tempfile::TempDir;

fn source() -> (TempDir, TempDir) {
    // Folders above it are in the snapshot too; this one changes less often than the one for temporary files.
    (tempfile::tempdir_in("/var/tmp").unwrap(), tempfile::tempdir().unwrap())
}

fn part(snapshot: &Arc<Snapshot>, path: &Path) -> Part {
    Part { snapshot: snapshot.clone(), path: path.as_os_str().as_bytes().to_vec() }
}

/// All changes below `top`, as kind and path relative to it.
fn changes(
    vault: &Arc<Vault>,
    before: &Part,
    after: &Part,
    top: &Path,
) -> (Vec<(ChangeKind, String)>, DiffSummary) {
    let mut told = Vec::new();
    let summary = diff(vault, before, after, &Progress::new(), &mut |change| {
        let path = Path::new(std::ffi::OsStr::from_bytes(&change.path));
        let path = path.strip_prefix(top).unwrap_or(path);
        told.push((change.kind, path.to_string_lossy().into_owned()));
        Ok(())
    })
    .unwrap();
    (told, summary)
}

#[test]
fn every_kind_of_change_is_told_once_in_path_order() {
    let ((source, cache), top) = (source(), |top: &TempDir| top.path().to_path_buf());
    let top = top(&source);
    plant(&top);
    symlink("target", top.join("link")).unwrap();
    std::fs::create_dir_all(top.join("goes/deep")).unwrap();
    std::fs::write(top.join("goes/deep/file"), "x").unwrap();
    std::fs::write(top.join("turns"), "a file").unwrap();
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, &top);
    let first = latest(&vault);

    std::fs::write(top.join("a/b/file-001"), "changed").unwrap();
    std::fs::set_permissions(top.join("a/b/file-004"), PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::remove_file(top.join("link")).unwrap();
    symlink("other", top.join("link")).unwrap();
    std::fs::remove_dir_all(top.join("goes")).unwrap();
    std::fs::create_dir_all(top.join("comes/deep")).unwrap();
    std::fs::write(top.join("comes/deep/file"), "yy").unwrap();
    std::fs::remove_file(top.join("turns")).unwrap();
    std::fs::create_dir(top.join("turns")).unwrap();
    std::fs::write(top.join("turns/inside"), "zzz").unwrap();
    let later = std::time::SystemTime::now();
    std::fs::File::options().write(true).open(top.join("z/text")).unwrap().set_modified(later).unwrap();
    run(&vault, &top);
    let second = latest(&vault);

    use ChangeKind::{Added, Content, Metadata, Removed, Type};
    let expected = [
        (Content, "a/b/file-001"),
        (Metadata, "a/b/file-004"),
        (Added, "comes"),
        (Added, "comes/deep"),
        (Added, "comes/deep/file"),
        (Removed, "goes"),
        (Removed, "goes/deep"),
        (Removed, "goes/deep/file"),
        (Content, "link"),
        (Type, "turns"),
        (Added, "turns/inside"),
        (Metadata, "z/text"),
    ];
    let (told, summary) = changes(&vault, &part(&first, &top), &part(&second, &top), &top);
    let told: Vec<_> = told.iter().map(|(kind, path)| (*kind, path.as_str())).collect();
    assert_eq!(told, expected);
    assert_eq!((summary.added, summary.removed, summary.types), (4, 3, 1));
    assert_eq!((summary.content, summary.metadata), (2, 2));
    assert_eq!(summary.bytes_after, "changed".len() as u64 + 2 + 3);
    assert_eq!(summary.bytes_before, 37 + 1 + "a file".len() as u64);

    let (back, _) = changes(&vault, &part(&second, &top), &part(&first, &top), &top);
    let turned = |kind| match kind {
        Added => Removed,
        Removed => Added,
        same => same,
    };
    let back: Vec<_> = back.iter().map(|(kind, path)| (turned(*kind), path.as_str())).collect();
    assert_eq!(back, expected);
    let (none, summary) = changes(&vault, &part(&first, &top), &part(&first, &top), &top);
    assert_eq!((none, summary), (Vec::new(), DiffSummary::default()));
}

#[test]
fn two_folders_of_one_snapshot_can_be_compared() {
    let (source, cache) = source();
    let top = source.path();
    for folder in ["one", "two"] {
        std::fs::create_dir_all(top.join(folder).join("sub")).unwrap();
        std::fs::write(top.join(folder).join("sub/same"), "same").unwrap();
        std::fs::write(top.join(folder).join("sub/other"), folder).unwrap();
    }
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, top);
    let snapshot = latest(&vault);
    let (told, _) =
        changes(&vault, &part(&snapshot, &top.join("one")), &part(&snapshot, &top.join("two")), top);
    let told: Vec<_> = told.into_iter().filter(|(kind, _)| *kind != ChangeKind::Metadata).collect();
    assert_eq!(told, [(ChangeKind::Content, "two/sub/other".to_owned())]);
    let nowhere = part(&snapshot, &top.join("three"));
    let error = diff(&vault, &nowhere, &nowhere, &Progress::new(), &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, Error::NoSuchPath { .. }), "{error}");
}

#[test]
fn what_did_not_change_is_not_read() {
    let (source, cache) = source();
    let top = source.path();
    // Long targets of links make large directories quickly.
    for folder in 0..100u64 {
        let folder_path = top.join(format!("folder-{folder:03}"));
        std::fs::create_dir(&folder_path).unwrap();
        for link in 0..40 {
            let target: String =
                noise(folder * 40 + link, 3900).iter().map(|byte| char::from(b'a' + byte % 26)).collect();
            symlink(target, folder_path.join(format!("link-{link}"))).unwrap();
        }
    }
    let store = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let vault = create(store.clone(), cache.path());
    run(&vault, top);
    std::fs::write(top.join("folder-050/new"), "new").unwrap();
    run(&vault, top);
    let list = SnapshotList::load(&vault).unwrap();
    store.forget_calls();
    let parts = [0, 1].map(|which: usize| part(&list.snapshots[which], Path::new("/")));
    let (told, _) = changes(&vault, &parts[0], &parts[1], top);
    assert!(told.contains(&(ChangeKind::Added, "folder-050/new".to_owned())), "{told:?}");
    let segments = store.count(Operation::GetRange, "packs/");
    let all = stats(&vault, &Progress::new()).unwrap().trees.segments;
    assert!(all > 10 && segments <= 4, "{segments} of {all} segments of directories were read");
}

#[test]
fn the_same_bytes_stored_twice_are_no_change() {
    let (source, cache) = source();
    let top = source.path();
    std::fs::write(top.join("file"), noise(1, 3 << 20)).unwrap();
    let store = Arc::new(MemoryStore::new());
    let vault = create(store.clone(), cache.path());
    run(&vault, top);
    let first = latest(&vault);
    // The index is lost, so the touched file is stored again in another place.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for object in runtime.block_on(store::Store::list(store.as_ref(), "index/")).unwrap() {
        runtime.block_on(store::Store::delete(store.as_ref(), &object.name)).unwrap();
    }
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(10);
    std::fs::File::options().write(true).open(top.join("file")).unwrap().set_modified(later).unwrap();
    let report = run(&vault, top);
    assert!(report.statistics.bytes_new >= 3 << 20, "{:?}", report.statistics);
    let (told, _) = changes(&vault, &part(&first, top), &part(&latest(&vault), top), top);
    assert_eq!(told, [(ChangeKind::Metadata, "file".to_owned())]);
}

#[test]
fn files_are_found_in_every_snapshot_that_has_them() {
    let (source, cache) = source();
    let top = source.path();
    plant(top);
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, top);
    std::fs::remove_file(top.join("a/b/medium")).unwrap();
    std::fs::write(top.join("z/medium"), "new").unwrap();
    run(&vault, top);
    let list = SnapshotList::load(&vault).unwrap();
    let seek = |request: &FindRequest| {
        let mut found = Vec::new();
        let report = find(&vault, &list.snapshots, request, &Progress::new(), &mut |snapshot, path, _| {
            let path = Path::new(std::ffi::OsStr::from_bytes(path)).strip_prefix(top).unwrap();
            found.push((snapshot.envelope.sequence, path.display().to_string()));
            Ok(())
        })
        .unwrap();
        assert!(report.problems.is_empty());
        assert_eq!(report.found as usize, found.len());
        found
    };
    let named = |pattern: &str| FindRequest { patterns: vec![pattern.to_owned()], ..FindRequest::default() };
    let at = |sequence, path: &str| (sequence, path.to_owned());
    assert_eq!(seek(&named("medium")), [at(0, "a/b/medium"), at(1, "z/medium")]);
    assert_eq!(seek(&named("b/file-001")), [at(0, "a/b/file-001"), at(1, "a/b/file-001")]);
    assert_eq!(seek(&named("b/")), [at(0, "a/b"), at(1, "a/b")]);
    assert_eq!(seek(&named("nothing")), []);
    let large = FindRequest { size_min: Some(9 << 20), ..named("*") };
    assert_eq!(seek(&large), [at(0, "a/large"), at(0, "z/same"), at(1, "a/large"), at(1, "z/same")]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() as i64;
    let recent = Some(Time { seconds: now - 600, nanoseconds: 0 });
    let recent = FindRequest { modified_from: recent, ..named("*e*") };
    assert!(seek(&recent).contains(&at(1, "z/medium")));
    assert!(!seek(&recent).contains(&at(0, "a/b/medium")));
}

#[test]
fn a_search_in_many_equal_snapshots_reads_directories_once() {
    let (source, cache) = source();
    plant(source.path());
    let store = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let vault = create(store.clone(), cache.path());
    for _ in 0..3 {
        run(&vault, source.path());
    }
    let list = SnapshotList::load(&vault).unwrap();
    let progress = Progress::new();
    let request = FindRequest { patterns: vec!["nothing".into()], ..FindRequest::default() };
    find(&vault, &list.snapshots[..1], &request, &progress, &mut |_, _, _| Ok(())).unwrap();
    let once = progress.files();
    let progress = Progress::new();
    find(&vault, &list.snapshots, &request, &progress, &mut |_, _, _| Ok(())).unwrap();
    assert!(once >= 304 && progress.files() < 2 * once, "{} against {once}", progress.files());
}

#[test]
fn a_search_goes_on_after_what_cannot_be_read() {
    let (source, cache) = source();
    let top = source.path();
    std::fs::create_dir(top.join("d")).unwrap();
    std::fs::write(top.join("d/sought"), "x").unwrap();
    let store = Arc::new(MemoryStore::new());
    let vault = create(store.clone(), cache.path());
    run(&vault, top);
    let first = latest(&vault);
    // All of the second snapshot's directories are new.
    std::fs::write(top.join("d/other"), "y").unwrap();
    run(&vault, top);
    let second = latest(&vault);
    let object = first.envelope.needs.iter().find(|need| need.pack == first.body.root.pack).unwrap().object;
    assert_ne!(first.body.root.pack, second.body.root.pack);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(store::Store::delete(store.as_ref(), &object.pack_name())).unwrap();
    let vault = support::open(store, cache.path());
    let request = FindRequest { patterns: vec!["sought".into()], ..FindRequest::default() };
    let mut found = Vec::new();
    let report = find(&vault, &[first, second.clone()], &request, &Progress::new(), &mut |snapshot, _, _| {
        found.push(snapshot.id);
        Ok(())
    })
    .unwrap();
    assert_eq!(found, [second.id]);
    let [problem] = &report.problems[..] else { panic!("{:?}", report.problems) };
    assert!(problem.message.contains(&object.pack_name()), "{}", problem.message);
}

#[test]
fn numbers_of_a_vault() {
    let (source, cache) = source();
    plant(source.path());
    let store = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let vault = create(store.clone(), cache.path());
    let empty = stats(&vault, &Progress::new()).unwrap();
    assert_eq!((empty.snapshots, empty.packs, empty.key_slots), (0, 0, 1));
    assert_eq!((empty.compression_ratio(), empty.dedup_ratio()), (None, None));
    let first = run(&vault, source.path());
    run(&vault, source.path());
    store.forget_calls();
    let counted = stats(&vault, &Progress::new()).unwrap();
    assert_eq!(store.count(Operation::GetRange, "packs/") + store.count(Operation::GetTail, "packs/"), 0);
    assert_eq!((counted.snapshots, counted.files), (2, 2 * 304));
    assert_eq!(counted.bytes, 2 * first.statistics.bytes_total);
    assert_eq!(counted.packs, counted.data.packs + counted.trees.packs);
    assert_eq!(counted.stored.packs, counted.data.bytes_stored + counted.trees.bytes_stored);
    let objects =
        tokio::runtime::Runtime::new().unwrap().block_on(store::Store::list(store.as_ref(), "")).unwrap();
    assert_eq!(counted.stored.total(), objects.iter().map(|object| object.size).sum::<u64>());
    assert!(counted.dedup_ratio().unwrap() > 3.0, "two snapshots, two equal files");
    assert!(counted.compression_ratio().unwrap() > 1.2);
    assert!(counted.oldest.unwrap() < counted.newest.unwrap());
}
