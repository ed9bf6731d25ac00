//! Disks that are full, read only or taken away: real file systems, mounted for the test, which therefore runs as
//! root (or in a user namespace that may mount).

#![allow(clippy::unwrap_used, reason = "a test's helper may fail the test")]

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use store::{FolderStore, Kind, Store, conformance};

/// A small file system in memory.
struct Disk {
    path: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Disk {
    fn mount(options: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("disk");
        std::fs::create_dir(&path).unwrap();
        run("mount", &["-t", "tmpfs", "-o", options, "strongroom-test"], &path);
        Self { path, _scratch: scratch }
    }

    fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}")], &self.path);
    }
}

/// Lets go of the disk even when a test fails.
impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["--lazy"], &self.path);
    }
}

fn run(program: &str, arguments: &[&str], path: &Path) {
    let output = Command::new(program).args(arguments).arg(path).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{program} failed; this test needs root and may not be skipped: {complaint}"
    );
}

fn object(length: usize) -> Vec<Bytes> {
    vec![Bytes::from(vec![7; length / 2]), Bytes::from(vec![8; length - length / 2])]
}

#[tokio::test]
async fn a_full_disk_is_no_space_and_keeps_what_was_there() {
    let disk = Disk::mount("size=1m,nr_inodes=100");
    let store = FolderStore::create(disk.path.join("store")).unwrap();
    store.put("packs/kept", object(300_000)).await.unwrap();
    store.put("lease", object(1000)).await.unwrap();
    let before = store.list("").await.unwrap();

    for length in [4_000_000, 800_000] {
        let error = store.put("packs/too-large", object(length)).await.unwrap_err();
        assert_eq!(error.kind, Kind::NoSpace);
        assert_eq!(error.object, "packs/too-large");
        let error = store.replace("lease", object(length)).await.unwrap_err();
        assert_eq!(error.kind, Kind::NoSpace);
    }
    assert_eq!(store.list("").await.unwrap(), before);
    assert_eq!(std::fs::read_dir(disk.path.join("store/tmp")).unwrap().count(), 0, "the half was kept");

    // No room for one more file is no space too.
    let error = async {
        for number in 0..200 {
            store.put(&format!("small/{number}"), object(10)).await?;
        }
        Ok(())
    };
    assert_eq!(error.await.map_err(|error: store::StoreError| error.kind), Err(Kind::NoSpace));
    assert_eq!(store.get("packs/kept", 300_000).await.unwrap().len(), 300_000);

    // With room again, it works again.
    for small in store.list("small/").await.unwrap() {
        store.delete(&small.name).await.unwrap();
    }
    store.put("packs/later", object(300_000)).await.unwrap();
}

#[tokio::test]
async fn a_disk_mounted_read_only_reads_and_refuses_writes() {
    let disk = Disk::mount("size=8m");
    let filled = FolderStore::create(disk.path.join("store")).unwrap();
    conformance::fill(&filled).await.unwrap();
    disk.remount("ro");

    // Opened before and after it became read only.
    for store in [filled, FolderStore::open(disk.path.join("store")).unwrap()] {
        conformance::reads(&store).await.unwrap();
        conformance::refuses_writes(&store).await.unwrap();
        let error = store.put("new/folder/object", object(10)).await.unwrap_err();
        assert_eq!(error.kind, Kind::ReadOnly);
        store.put("conformance/a", object(10)).await.unwrap();
    }
    assert_eq!(FolderStore::create(disk.path.join("another")).unwrap_err().kind, Kind::ReadOnly);
}

#[tokio::test]
async fn a_disk_taken_away_is_gone() {
    let disk = Disk::mount("size=8m");
    let store = FolderStore::create(&disk.path).unwrap();
    store.put("a", object(1000)).await.unwrap();
    run("umount", &["--lazy"], &disk.path);
    assert_eq!(store.put("b", object(1000)).await.unwrap_err().kind, Kind::Gone);
    assert_eq!(store.list("").await.unwrap_err().kind, Kind::Gone);
    assert_eq!(std::fs::read_dir(&disk.path).unwrap().count(), 0, "it wrote below the mount point");
    // For the disk's own drop to undo.
    run("mount", &["-t", "tmpfs", "strongroom-test"], &disk.path);
}
