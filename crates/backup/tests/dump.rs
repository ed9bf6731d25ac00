//! Files and folders of a snapshot as streams.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use backup::{DumpReport, Error, Progress, Reader, Snapshot, Vault, dump_file, dump_tar};
use content::tree::Entry;
use store::{MemoryStore, Store};
use support::{create, latest, noise, on_disk, open, plant, run};

fn find(vault: &Arc<Vault>, snapshot: &Snapshot, path: &Path) -> (Arc<Reader>, Entry) {
    let reader = Reader::new(vault, 16 << 20);
    let root = reader.open(snapshot).unwrap();
    let entry = reader.lookup(&root, path.as_os_str().as_bytes()).unwrap().unwrap();
    (reader, entry)
}

fn tar(vault: &Arc<Vault>, path: &Path) -> (Vec<u8>, DumpReport) {
    let (reader, entry) = find(vault, &latest(vault), path);
    let mut out = Vec::new();
    let report = dump_tar(&reader, &entry, path.as_os_str().as_bytes(), &mut out, &Progress::new()).unwrap();
    (out, report)
}

/// Unpacks with the system's tar, as whoever runs the tests.
fn unpack(archive: &[u8], into: &Path) {
    let file = into.join("archive.tar");
    std::fs::write(&file, archive).unwrap();
    let output = Command::new("tar")
        .args(["--extract", "--preserve-permissions", "--xattrs", "--xattrs-include=*", "--file"])
        .arg(&file)
        .arg("--directory")
        .arg(into)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn a_file_comes_out_as_it_is_with_its_holes_as_zeros() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let top = source.path();
    plant(top);
    let sparse = std::fs::File::create(top.join("sparse")).unwrap();
    sparse.write_all_at(&noise(1, 100_000), 5 << 20).unwrap();
    sparse.write_all_at(&noise(2, 100_000), 30 << 20).unwrap();
    sparse.set_len(40 << 20).unwrap();
    std::fs::write(top.join("none"), "").unwrap();
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, top);
    for name in ["a/large", "a/b/file-001", "z/text", "sparse", "none"] {
        let (reader, entry) = find(&vault, &latest(&vault), &top.join(name));
        let mut out = Vec::new();
        let report = dump_file(&reader, &entry, &mut out, &Progress::new()).unwrap();
        assert_eq!(report.bytes, out.len() as u64);
        assert!(out == std::fs::read(top.join(name)).unwrap(), "{name}");
    }
}

#[test]
fn a_folder_unpacks_to_what_it_was() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let top = source.path();
    plant(top);
    let long = "n".repeat(200);
    std::fs::create_dir_all(top.join(&long).join(&long)).unwrap();
    std::fs::write(top.join(&long).join(&long).join(&long), "deep").unwrap();
    let odd = [&b"not \xff text"[..], b"new\nline", "Grüße".as_bytes(), b"=%"];
    for name in odd {
        std::fs::write(top.join(std::ffi::OsStr::from_bytes(name)), name).unwrap();
    }
    std::fs::hard_link(top.join("a/large"), top.join("z/again")).unwrap();
    std::fs::hard_link(top.join("a/large"), top.join("z/and-again")).unwrap();
    symlink("a/large", top.join("link")).unwrap();
    symlink("t".repeat(300), top.join("long-link")).unwrap();
    std::fs::set_permissions(top.join("a/b"), PermissionsExt::from_mode(0o1751)).unwrap();
    std::fs::set_permissions(top.join("a/b/medium"), PermissionsExt::from_mode(0o4755)).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, top.join("fifo"), rustix::fs::Mode::from_raw_mode(0o640)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    let has_xattrs =
        rustix::fs::setxattr(top.join("a/b/medium"), "user.note", b"with \0 and \xff", flags).is_ok();
    let _socket = std::os::unix::net::UnixListener::bind(top.join("socket")).unwrap();
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, top);

    let (archive, report) = tar(&vault, top);
    assert_eq!(archive.len() % (20 * 512), 0);
    assert_eq!(report.left_out, [top.join("socket").as_os_str().as_bytes().to_vec()]);
    assert_eq!(report.problems, []);
    let target = tempfile::tempdir().unwrap();
    unpack(&archive, target.path());
    let unpacked = target.path().join(top.strip_prefix("/").unwrap());
    assert!(on_disk(&unpacked) == on_disk(top));
    assert!(!unpacked.join("socket").exists());
    for name in ["a/b", "a/b/medium", "z/text", "link", "fifo", "not", "a/large", "empty"] {
        let Ok(before) = top.join(name).symlink_metadata() else { continue };
        let after = unpacked.join(name).symlink_metadata().unwrap();
        assert_eq!(before.mode(), after.mode(), "{name}");
        assert_eq!((before.mtime(), before.mtime_nsec()), (after.mtime(), after.mtime_nsec()), "{name}");
        assert_eq!((before.uid(), before.gid()), (after.uid(), after.gid()), "{name}");
    }
    assert_eq!(std::fs::read_link(unpacked.join("long-link")).unwrap().as_os_str().len(), 300);
    let inode = |name: &str| unpacked.join(name).metadata().unwrap().ino();
    assert_eq!(inode("a/large"), inode("z/again"));
    assert_eq!(inode("a/large"), inode("z/and-again"));
    assert_ne!(inode("a/large"), inode("z/same"));
    if has_xattrs {
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(unpacked.join("a/b/medium"), "user.note", &mut value).unwrap();
        assert_eq!(&value[..length], b"with \0 and \xff");
    }
}

#[test]
fn another_reader_sees_the_same_names_sizes_and_contents() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let top = source.path();
    let long = "ü".repeat(100);
    let files = [
        (&b"not \xff text"[..], &b"12345"[..]),
        (long.as_bytes(), b"123"),
        (b"plain", b""),
        (b"x", &[7; 600]),
    ];
    for (name, content) in files {
        std::fs::write(top.join(std::ffi::OsStr::from_bytes(name)), content).unwrap();
    }
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, top);
    let (archive, report) = tar(&vault, top);
    let mut told = BTreeMap::new();
    let mut entries = 0;
    for entry in tar::Archive::new(&archive[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        entries += 1;
        if entry.header().entry_type().is_file() {
            let name = entry.path_bytes().rsplit(|byte| *byte == b'/').next().unwrap().to_vec();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            told.insert(name, content);
        }
    }
    assert_eq!(entries, report.entries);
    assert_eq!(told, files.map(|(name, content)| (name.to_vec(), content.to_vec())).into());
}

#[test]
fn a_part_that_cannot_be_read_becomes_zeros_and_a_problem_and_the_rest_is_there() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let top = source.path();
    plant(top);
    let mut content = noise(5, 12 << 20);
    std::fs::write(top.join("a/b/whole"), &content).unwrap();
    let store = Arc::new(MemoryStore::new());
    let vault = create(store.clone(), cache.path());
    run(&vault, top);
    let path = top.join("a/b/whole");
    let (reader, entry) = find(&vault, &latest(&vault), &path);
    let chunks = reader.chunks(&entry).unwrap();
    // One that has a segment of its own: smaller ones share theirs with other files.
    let place = chunks.iter().position(|chunk| chunk.length >= 512 << 10).unwrap();
    let chunk = chunks[place];
    assert!(chunks.len() > 2);
    let need = latest(&vault).envelope.needs.iter().find(|need| need.pack == chunk.pack).unwrap().clone();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let name = need.object.pack_name();
    let bytes = runtime.block_on(store.get(&name, u64::MAX)).unwrap();
    let trailer = vault::pack::verify_whole(&bytes, need.object, vault.id()).unwrap();
    let row = *trailer.row(chunk.pack, chunk.segment).unwrap();
    let mut broken = bytes.to_vec();
    broken[row.offset as usize + 10] ^= 1;
    runtime.block_on(store.replace(&name, vec![broken.into()])).unwrap();

    let vault = open(store, cache.path());
    let (archive, report) = tar(&vault, top);
    let [problem] = &report.problems[..] else { panic!("{} problems", report.problems.len()) };
    assert_eq!(problem.path, path.as_os_str().as_bytes());
    assert!(problem.message.contains(&name), "{}", problem.message);
    let target = tempfile::tempdir().unwrap();
    unpack(&archive, target.path());
    let mut unpacked = on_disk(&target.path().join(top.strip_prefix("/").unwrap()));
    let mut expected = on_disk(top);
    let start: usize = chunks[..place].iter().map(|chunk| chunk.length as usize).sum();
    content[start..start + chunk.length as usize].fill(0);
    assert!(unpacked.remove(Path::new("a/b/whole")).unwrap() == content);
    expected.remove(Path::new("a/b/whole"));
    assert!(unpacked == expected);

    let (reader, entry) = find(&vault, &latest(&vault), &path);
    let error = dump_file(&reader, &entry, &mut Vec::new(), &Progress::new()).unwrap_err();
    assert!(error.to_string().contains(&name), "{error}");
}

/// Takes so many bytes and then fails.
struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_fails_ends_it_with_its_error() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    plant(source.path());
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    run(&vault, source.path());
    let (reader, entry) = find(&vault, &latest(&vault), source.path());
    let outcome = dump_tar(&reader, &entry, b"/", &mut Full(1 << 20), &Progress::new());
    let Err(Error::File { source, .. }) = outcome else { panic!("{outcome:?}") };
    assert_eq!(source.kind(), io::ErrorKind::BrokenPipe);
    let progress = Progress::new();
    progress.cancel();
    let outcome = dump_tar(&reader, &entry, b"/", &mut Vec::new(), &progress);
    assert!(matches!(outcome, Err(Error::Interrupted)), "{outcome:?}");
}
