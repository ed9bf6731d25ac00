//! What only a folder store has: modes, foreign things in the folder, and a folder that goes away.

#![allow(clippy::unwrap_used, reason = "a test's helper may fail the test")]

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use bytes::Bytes;
use store::{FolderStore, Kind, Store, StoreError};

fn bytes(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn objects_are_private_files_at_their_names() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("a/b");
    let store = FolderStore::create(&root).unwrap();
    store.put("packs/0f/0f1e", bytes("sealed")).await.unwrap();
    assert_eq!(std::fs::read(root.join("packs/0f/0f1e")).unwrap(), b"sealed");
    assert_eq!(mode(&root.join("packs/0f/0f1e")), 0o600);
    for folder in ["", "packs", "packs/0f", "tmp"] {
        assert_eq!(mode(&root.join(folder)), 0o700, "{folder}");
    }
    assert_eq!(mode(&scratch.path().join("a")), 0o700);
    assert_eq!(store.location(), root.display().to_string());
}

#[tokio::test]
async fn an_object_that_exists_is_not_touched() {
    let scratch = tempfile::tempdir().unwrap();
    let store = FolderStore::create(scratch.path()).unwrap();
    store.put("a", bytes("first")).await.unwrap();
    let before = std::fs::metadata(scratch.path().join("a")).unwrap();
    store.put("a", bytes("second")).await.unwrap();
    let after = std::fs::metadata(scratch.path().join("a")).unwrap();
    assert_eq!((before.ino(), before.ctime_nsec()), (after.ino(), after.ctime_nsec()));
}

#[tokio::test]
async fn what_is_not_an_object_is_not_listed_and_not_read() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path();
    let store = FolderStore::create(root).unwrap();
    store.put("packs/real", bytes("real")).await.unwrap();
    std::fs::create_dir(root.join("lost+found")).unwrap();
    std::fs::write(root.join("lost+found/#12"), "x").unwrap();
    std::fs::write(root.join(".hidden"), "x").unwrap();
    std::fs::write(root.join("tmp/unfinished"), "x").unwrap();
    std::fs::create_dir(root.join("packs/.trash")).unwrap();
    std::fs::write(root.join("packs/.trash/old"), "x").unwrap();
    symlink("/etc/passwd", root.join("packs/link")).unwrap();
    symlink("/etc", root.join("packs/etc")).unwrap();
    let made = Command::new("mkfifo").arg(root.join("packs/pipe")).status().unwrap();
    assert!(made.success());

    let names: Vec<_> = store.list("").await.unwrap().into_iter().map(|object| object.name).collect();
    assert_eq!(names, ["packs/real"]);
    // The pipe would block a reader that simply opens it.
    for name in ["packs/link", "packs/pipe", "packs/etc"] {
        assert!(store.get(name, 1000).await.is_err(), "{name} was read");
        assert!(store.put(name, bytes("x")).await.is_err(), "{name} was taken for an object");
        assert!(store.stat(name).await.is_err(), "{name} was found");
    }
}

#[tokio::test]
async fn a_folder_must_be_there_to_be_opened() {
    let scratch = tempfile::tempdir().unwrap();
    let absent = scratch.path().join("absent");
    let error = FolderStore::open(&absent).unwrap_err();
    assert_eq!((error.kind, error.operation, error.object.as_str()), (Kind::NotFound, "open", ""));
    assert!(!absent.exists());
    let file = scratch.path().join("file");
    std::fs::write(&file, "x").unwrap();
    assert!(FolderStore::open(&file).is_err());
    assert!(FolderStore::create(&file).is_err());
    assert!(FolderStore::create(file.join("below")).is_err());
}

/// Every call on a store that is gone says so.
async fn assert_gone(store: &FolderStore) {
    fn kind<T>(outcome: Result<T, StoreError>) -> Option<Kind> {
        outcome.err().map(|error| error.kind)
    }
    let gone = Some(Kind::Gone);
    assert_eq!(kind(store.put("packs/new", bytes("x")).await), gone);
    assert_eq!(kind(store.put("new/folder/new", bytes("x")).await), gone);
    assert_eq!(kind(store.replace("packs/a", bytes("x")).await), gone);
    assert_eq!(kind(store.get("packs/a", 10).await), gone);
    assert_eq!(kind(store.get_range("packs/a", 0..1).await), gone);
    assert_eq!(kind(store.get_tail("packs/a", 1).await), gone);
    assert_eq!(kind(store.stat("packs/a").await), gone);
    assert_eq!(kind(store.list("").await), gone);
    assert_eq!(kind(store.list("packs/").await), gone);
    assert_eq!(kind(store.delete("packs/a").await), gone);
}

#[tokio::test]
async fn a_folder_removed_moved_or_swapped_is_gone() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("store");
    let filled = async || {
        let store = FolderStore::create(&root).unwrap();
        store.put("packs/a", bytes("a")).await.unwrap();
        store
    };

    let store = filled().await;
    std::fs::remove_dir_all(&root).unwrap();
    assert_gone(&store).await;
    assert!(!root.exists(), "the folder was made again");

    // A new folder in its place, which may well get the number of the old one.
    std::fs::create_dir(&root).unwrap();
    assert_gone(&store).await;
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "the new folder was written to");

    let store = filled().await;
    std::fs::rename(&root, scratch.path().join("moved")).unwrap();
    // Its objects can be reached by nobody else under this path, but it was moved, not damaged.
    assert_gone(&store).await;
    std::fs::rename(scratch.path().join("moved"), &root).unwrap();
    assert_eq!(&store.get("packs/a", 10).await.unwrap()[..], b"a", "it is back");
}

#[tokio::test]
async fn a_folder_half_removed_is_gone_for_writers() {
    let scratch = tempfile::tempdir().unwrap();
    let store = FolderStore::create(scratch.path()).unwrap();
    store.put("packs/a", bytes("a")).await.unwrap();
    for part in ["packs", "tmp"] {
        std::fs::remove_dir_all(scratch.path().join(part)).unwrap();
        let name = format!("packs/without-{part}");
        let error = store.put(&name, bytes("b")).await.unwrap_err();
        assert_eq!(error.kind, Kind::Gone, "{part}");
        assert!(!scratch.path().join(part).exists(), "{part} was made again");
        std::fs::create_dir(scratch.path().join(part)).unwrap();
        store.put(&name, bytes("b")).await.unwrap();
    }
}

#[tokio::test]
async fn a_test_of_the_store_leaves_no_folder_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let store = FolderStore::create(scratch.path()).unwrap();
    for round in 0..2 {
        let tried = store::probe::probe(&store, &store).await.tried;
        assert!(tried.iter().all(|tried| tried.problem.is_none()), "{round}: {tried:?}");
        let left: Vec<_> =
            std::fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["tmp"], "{round}");
    }
    // What somebody else keeps there stays.
    store.put("strongroom-test/other", bytes("x")).await.unwrap();
    store::probe::probe(&store, &store).await;
    assert_eq!(store.get("strongroom-test/other", 9).await.unwrap(), "x");
}
