//! A vault mounted as a file system and read through the kernel.
//!
//! These need `/dev/fuse`; as an ordinary user also `fusermount3`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use backup::{Error, Progress, SnapshotList, Vault, mount};
use store::MemoryStore;
use support::{create, noise, on_disk, plant, run};
use tempfile::TempDir;

/// A mounted vault; unmounted when dropped.
struct Mounted {
    folder: TempDir,
    progress: Arc<Progress>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Mounted {
    fn new(vault: &Arc<Vault>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let progress = Arc::new(Progress::new());
        let list = SnapshotList::load(vault).unwrap().snapshots;
        let (vault, place, shared) = (vault.clone(), folder.path().to_path_buf(), progress.clone());
        let thread = std::thread::spawn(move || mount(&vault, &place, &list, &shared));
        for _ in 0..200 {
            if progress.stage() == "mounted" || thread.is_finished() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut mounted = Self { folder, progress, thread: Some(thread) };
        if mounted.progress.stage() != "mounted" {
            let outcome = mounted.thread.take().unwrap().join().unwrap();
            panic!("it is not mounted: {outcome:?}");
        }
        mounted
    }

    /// The newest snapshot's copy of a path.
    fn latest(&self, path: &Path) -> PathBuf {
        self.folder.path().join("latest").join(path.strip_prefix("/").unwrap())
    }

    fn end(mut self) -> Result<(), Error> {
        self.progress.cancel();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.progress.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn source() -> (TempDir, TempDir) {
    // Folders above it are in the snapshot too; this one changes less often than the one for temporary files.
    (tempfile::tempdir_in("/var/tmp").unwrap(), tempfile::tempdir().unwrap())
}

#[test]
fn everything_can_be_read_and_looks_as_it_was() {
    let (source, cache) = source();
    let top = source.path();
    plant(top);
    std::fs::write(top.join(std::ffi::OsStr::from_bytes(b"not \xff text\n")), "odd").unwrap();
    symlink("a/large", top.join("link")).unwrap();
    std::fs::hard_link(top.join("a/large"), top.join("z/again")).unwrap();
    std::fs::set_permissions(top.join("a/b"), PermissionsExt::from_mode(0o1751)).unwrap();
    std::fs::set_permissions(top.join("a/b/medium"), PermissionsExt::from_mode(0o6755)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, top.join("fifo"), rustix::fs::Mode::from_raw_mode(0o640)).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let has_xattrs = rustix::fs::setxattr(top.join("a/b/medium"), "user.note", b"a \0 b", flags).is_ok();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        let (kind, mode) = (rustix::fs::FileType::CharacterDevice, rustix::fs::Mode::from_raw_mode(0o600));
        let device = rustix::fs::makedev(300, 70000);
        rustix::fs::mknodat(rustix::fs::CWD, top.join("device"), kind, mode, device).unwrap();
        std::os::unix::fs::chown(top.join("z/text"), Some(12345), Some(54321)).unwrap();
    }
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, top);
    let mounted = Mounted::new(&vault);
    let copy = mounted.latest(top);
    assert!(on_disk(&copy) == on_disk(top));
    let mut compared = 0;
    for name in
        ["", "a", "a/b", "a/b/medium", "a/large", "z/text", "link", "fifo", "socket", "device", "empty"]
    {
        let Ok(before) = top.join(name).symlink_metadata() else { continue };
        let after = copy.join(name).symlink_metadata().unwrap();
        assert_eq!(before.mode(), after.mode(), "{name}");
        assert_eq!((before.uid(), before.gid()), (after.uid(), after.gid()), "{name}");
        assert_eq!((before.mtime(), before.mtime_nsec()), (after.mtime(), after.mtime_nsec()), "{name}");
        assert_eq!((before.ctime(), before.ctime_nsec()), (after.ctime(), after.ctime_nsec()), "{name}");
        assert_eq!(before.rdev(), after.rdev(), "{name}");
        if !before.is_dir() {
            assert_eq!((before.len(), before.nlink()), (after.len(), after.nlink()), "{name}");
        }
        compared += 1;
    }
    assert_eq!(compared, 10 + usize::from(is_root));
    assert_eq!(std::fs::read_link(copy.join("link")).unwrap(), Path::new("a/large"));
    let inode = |name: &str| copy.join(name).metadata().unwrap().ino();
    assert_eq!(inode("a/large"), inode("z/again"));
    assert_ne!(inode("a/large"), inode("z/same"));
    if has_xattrs {
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(copy.join("a/b/medium"), "user.note", &mut value).unwrap();
        assert_eq!(&value[..length], b"a \0 b");
        let mut names = [0u8; 256];
        let length = rustix::fs::listxattr(copy.join("a/b/medium"), &mut names).unwrap();
        assert_eq!(&names[..length], b"user.note\0");
        assert!(rustix::fs::getxattr(copy.join("a/b/medium"), "user.other", &mut value).is_err());
    }
    let refused = std::fs::write(copy.join("new"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    assert!(std::fs::read(copy.join("nothing")).unwrap_err().kind() == std::io::ErrorKind::NotFound);
    mounted.end().unwrap();
}

#[test]
fn snapshots_are_folders_named_by_time_and_grouped_by_machine() {
    let (source, cache) = source();
    let top = source.path();
    std::fs::write(top.join("file"), "one").unwrap();
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, top);
    std::fs::write(top.join("file"), "three").unwrap();
    run(&vault, top);
    let mounted = Mounted::new(&vault);
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let at = mounted.folder.path();
    let list = SnapshotList::load(&vault).unwrap().snapshots;
    let found = names(at);
    assert_eq!(found.len(), 4, "{found:?}");
    let (folders, others) = found.split_at(2);
    assert_eq!(others, ["hosts", "latest"]);
    let below = top.strip_prefix("/").unwrap().join("file");
    for (folder, expected) in list.iter().zip(["one", "three"]) {
        let name = folders.iter().find(|name| name.ends_with(&folder.id.short())).unwrap();
        assert_eq!(std::fs::read_to_string(at.join(name).join(&below)).unwrap(), expected);
        let of_host = at.join("hosts/host").join(name).join(&below);
        assert_eq!(std::fs::read_to_string(of_host).unwrap(), expected);
    }
    assert_eq!(std::fs::read_to_string(at.join("latest").join(&below)).unwrap(), "three");
    assert_eq!(std::fs::read_to_string(at.join("hosts/host/latest").join(&below)).unwrap(), "three");
    assert_eq!(names(&at.join("hosts")), ["host"]);
}

#[test]
fn reads_at_any_place_give_the_right_bytes_and_holes_are_known() {
    let (source, cache) = source();
    let top = source.path();
    let file = std::fs::File::create(top.join("sparse")).unwrap();
    file.write_all_at(&noise(1, 3_000_000), 1 << 20).unwrap();
    file.write_all_at(&noise(2, 5_000_000), 64 << 20).unwrap();
    file.set_len(100 << 20).unwrap();
    drop(file);
    let whole = std::fs::read(top.join("sparse")).unwrap();
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, top);
    let mounted = Mounted::new(&vault);
    let copy = std::fs::File::open(mounted.latest(&top.join("sparse"))).unwrap();
    for n in 0..300u64 {
        let at = u64::from_le_bytes(noise(n, 8).try_into().unwrap()) % (whole.len() as u64 + 1000);
        let mut buffer = vec![0xee; 100_000];
        let got = copy.read_at(&mut buffer, at).unwrap();
        let expected = whole.get(at as usize..).unwrap_or_default();
        let expected = &expected[..expected.len().min(got.max(1))];
        assert!(buffer[..got] == *expected, "{got} bytes at {at}");
    }
    assert!(copy.metadata().unwrap().blocks() < 20_000);
    let seek = |from, hole| {
        let to = if hole { rustix::fs::SeekFrom::Hole(from) } else { rustix::fs::SeekFrom::Data(from) };
        rustix::fs::seek(&copy, to).unwrap()
    };
    let data = seek(0, false);
    assert!(data > 0 && data <= 1 << 20, "{data}");
    assert!(seek(data, true) < 64 << 20);
    assert_eq!(seek(0, true), 0);
}

#[test]
fn many_readers_at_once_and_a_directory_of_many_names() {
    let (source, cache) = source();
    let top = source.path();
    plant(top);
    std::fs::create_dir(top.join("many")).unwrap();
    for n in 0..20_000 {
        std::fs::write(top.join(format!("many/name-{n:05}")), "").unwrap();
    }
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, top);
    let mounted = Mounted::new(&vault);
    let copy = mounted.latest(top);
    let expected: BTreeMap<_, _> = on_disk(top);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert!(on_disk(&copy) == expected));
        }
    });
    let numbers = || -> BTreeMap<_, _> {
        let entries = std::fs::read_dir(copy.join("many")).unwrap().map(Result::unwrap);
        entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().ino())).collect()
    };
    let first = numbers();
    assert_eq!(first.len(), 20_000);
    assert_eq!(first, numbers());
    for (name, number) in first.iter().step_by(777) {
        assert_eq!(copy.join("many").join(name).metadata().unwrap().ino(), *number);
    }
}

#[test]
fn unmounting_from_outside_ends_it_and_cancelling_ends_it_even_in_use() {
    let (source, cache) = source();
    plant(source.path());
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, source.path());
    let mut mounted = Mounted::new(&vault);
    let place = mounted.folder.path().to_path_buf();
    let unmounted = if rustix::process::geteuid().is_root() {
        std::process::Command::new("umount").arg(&place).status().unwrap()
    } else {
        std::process::Command::new("fusermount3").arg("-u").arg(&place).status().unwrap()
    };
    assert!(unmounted.success());
    mounted.thread.take().unwrap().join().unwrap().unwrap();
    assert!(std::fs::read_dir(&place).unwrap().next().is_none());

    let mounted = Mounted::new(&vault);
    let in_use = std::fs::File::open(mounted.latest(&source.path().join("z/text"))).unwrap();
    let place = mounted.folder.path().to_path_buf();
    mounted.end().unwrap();
    drop(in_use);
    assert!(!place.exists() || std::fs::read_dir(&place).unwrap().next().is_none());
}

#[test]
fn damage_is_an_error_of_the_one_file() {
    let (source, cache) = source();
    let top = source.path();
    plant(top);
    let store = Arc::new(MemoryStore::new());
    let vault = create(store.clone(), cache.path());
    run(&vault, top);
    let snapshot = support::latest(&vault);
    let reader = backup::Reader::new(&vault, 1 << 20);
    let root = reader.open(&snapshot).unwrap();
    let entry = reader.lookup(&root, top.join("a/large").as_os_str().as_bytes()).unwrap().unwrap();
    let chunk = reader.chunks(&entry).unwrap()[0];
    let need = snapshot.envelope.needs.iter().find(|need| need.pack == chunk.pack).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(store::Store::delete(store.as_ref(), &need.object.pack_name())).unwrap();
    let vault = support::open(store, cache.path());
    let mounted = Mounted::new(&vault);
    let error = std::fs::read(mounted.latest(&top.join("a/large"))).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::IO.raw_os_error()));
    assert!(mounted.progress.problems() > 0);
    assert!(mounted.latest(&top.join("z/text")).symlink_metadata().is_ok());
}

#[test]
fn a_place_that_is_no_folder_is_refused_in_words() {
    let (source, cache) = source();
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    let error = mount(&vault, &source.path().join("nowhere"), &[], &Arc::new(Progress::new())).unwrap_err();
    assert!(error.to_string().contains("nowhere cannot be mounted on"), "{error}");
}
