//! What the tests of the pipelines share: cheap vaults, small trees, and reading a snapshot back by the reader alone.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use backup::{
    BackupReport, BackupRequest, Compression, Credential, Filter, NewSlot, PassphraseCost, Progress, Reader,
    SecretText, Snapshot, SnapshotList, TreeStep, Vault, back_up,
};
use content::tree::Node;
use store::Store;

pub fn credential() -> Credential {
    Credential::recognise(SecretText::new("a passphrase".into()))
}

pub fn slot() -> NewSlot {
    let cost = PassphraseCost { memory_kib: 8 << 10, passes: 1, lanes: 1 };
    NewSlot { credential: credential(), label: "test".into(), cost, write_only: false }
}

pub fn create(store: Arc<dyn Store>, cache: &Path) -> Arc<Vault> {
    Vault::create(store, &[slot()], cache).unwrap()
}

pub fn open(store: Arc<dyn Store>, cache: &Path) -> Arc<Vault> {
    Vault::open(store, &credential(), cache).unwrap()
}

pub fn request(paths: &[&Path]) -> BackupRequest {
    BackupRequest {
        paths: paths.iter().map(|path| path.to_path_buf()).collect(),
        rules: files::Rules::default(),
        one_file_system: false,
        tags: Vec::new(),
        options: Vec::new(),
        dry_run: false,
        compression: Compression::Default,
        force_read: false,
        parallelism: None,
        host: "host".into(),
        skip: Vec::new(),
        parent: None,
    }
}

pub fn run(vault: &Arc<Vault>, path: &Path) -> BackupReport {
    back_up(vault, &request(&[path]), &Arc::new(Progress::new())).unwrap()
}

pub fn latest(vault: &Arc<Vault>) -> Arc<Snapshot> {
    SnapshotList::load(vault).unwrap().find("latest", &Filter::default()).unwrap()
}

/// Bytes that do not compress and depend on `seed` alone.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

/// The contents of all regular files of a snapshot below `top`, by path relative to it.
pub fn contents(vault: &Arc<Vault>, snapshot: &Snapshot, top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let reader = Reader::new(vault, 32 << 20);
    let root = reader.open(snapshot).unwrap();
    let mut out = BTreeMap::new();
    for step in reader.walk(root, b"/") {
        let TreeStep::Item { path, entry } = step.unwrap() else { continue };
        let path = PathBuf::from(std::ffi::OsStr::from_bytes(&path));
        let (Node::File { size, .. }, Ok(below)) = (&entry.node, path.strip_prefix(top)) else { continue };
        let mut bytes = vec![0xee; *size as usize];
        assert_eq!(reader.read_at(&entry, 0, &mut bytes).unwrap(), bytes.len());
        out.insert(below.to_path_buf(), bytes);
    }
    out
}

/// The contents of all regular files of a folder, by path relative to it.
pub fn on_disk(top: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    fn collect(top: &Path, at: &Path, out: &mut BTreeMap<PathBuf, Vec<u8>>) {
        for entry in std::fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.symlink_metadata().unwrap().file_type();
            if kind.is_dir() {
                collect(top, &path, out);
            } else if kind.is_file() {
                let below = path.strip_prefix(top).unwrap().to_path_buf();
                out.insert(below, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut out = BTreeMap::new();
    collect(top, top, &mut out);
    out
}

/// A tree with some of everything that matters for packing: tiny, small, large and equal files, and folders.
pub fn plant(top: &Path) {
    for folder in ["a/b/c", "empty", "z"] {
        std::fs::create_dir_all(top.join(folder)).unwrap();
    }
    for n in 0..300u64 {
        let folder = top.join(["a", "a/b", "z"][n as usize % 3]);
        std::fs::write(folder.join(format!("file-{n:03}")), noise(n, (n * 37 % 3000) as usize)).unwrap();
    }
    std::fs::write(top.join("a/large"), noise(1000, 9 << 20)).unwrap();
    std::fs::write(top.join("z/same"), noise(1000, 9 << 20)).unwrap();
    std::fs::write(top.join("z/text"), "all work and no play ".repeat(200_000)).unwrap();
    std::fs::write(top.join("a/b/medium"), noise(1001, 200_000)).unwrap();
    // Files made during a run are read once more by the next one; these are old.
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    for path in on_disk(top).keys() {
        let file = std::fs::File::options().write(true).open(top.join(path)).unwrap();
        file.set_modified(old).unwrap();
    }
}
