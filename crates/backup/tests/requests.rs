//! Requests are money and time: what each operation on a remote vault may ask of its store.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use backup::{
    Credential, Error, Filter, NewSlot, Overwrite, Progress, ReadData, ReadingTenure, RestoreRequest,
    SnapshotList, Vault, check, restore_during,
};
use bytes::Bytes;
use store::{MemoryStore, ObjectInfo, Operation, Recorded, Store, StoreError};
use tempfile::TempDir;

/// A store that says it is far away, and that tells dates and lists neighbours in one request, as Swift does.
#[derive(Debug)]
struct Far(Arc<Recorded>);

#[async_trait]
impl Store for Far {
    fn location(&self) -> String {
        self.0.location()
    }

    fn is_remote(&self) -> bool {
        true
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.0.put(name, parts).await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.0.replace(name, parts).await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.0.get(name, size_max).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.0.get_range(name, range).await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        self.0.get_tail(name, length_max).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.0.stat(name).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.0.list(prefix).await
    }

    async fn put_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.0.put_dated(name, parts).await
    }

    async fn replace_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.0.replace_dated(name, parts).await
    }

    async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        self.0.list_each(folders).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.0.delete(name).await
    }
}

/// How many calls of which kind, by folder.
type Asked = BTreeMap<(Operation, String), usize>;

/// A vault in a remote store, a folder to back up, and two machines' caches.
struct World {
    store: Arc<Recorded>,
    source: TempDir,
    cache: TempDir,
    other_cache: TempDir,
}

impl World {
    fn new(plant: impl FnOnce(&Path)) -> Self {
        // Nobody wants to wait for a disk that is to hold a hundred thousand files.
        let source = tempfile::tempdir_in("/dev/shm").unwrap();
        plant(source.path());
        let store = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
        let world = Self {
            store,
            source,
            cache: tempfile::tempdir().unwrap(),
            other_cache: tempfile::tempdir().unwrap(),
        };
        support::create(Arc::new(Far(world.store.clone())), world.cache.path());
        world
    }

    fn far(&self) -> Arc<dyn Store> {
        Arc::new(Far(self.store.clone()))
    }

    /// Opens the vault and works with it; what was asked of the store, by kind of call and folder.
    fn asked(&self, cache: &TempDir, work: impl FnOnce(&Arc<Vault>)) -> Asked {
        self.asked_by(|| support::open(self.far(), cache.path()), work)
    }

    /// The same by what the machine remembers, as the program does where it can.
    fn asked_remembering(&self, cache: &TempDir, work: impl FnOnce(&Arc<Vault>)) -> Asked {
        let open = || Vault::open_remembered(self.far(), &support::credential(), cache.path()).unwrap();
        self.asked_by(open, work)
    }

    fn asked_by(&self, open: impl FnOnce() -> Arc<Vault>, work: impl FnOnce(&Arc<Vault>)) -> Asked {
        self.store.forget_calls();
        work(&open());
        let mut asked = BTreeMap::new();
        for call in self.store.calls() {
            let folder = call.name.split('/').next().unwrap().to_owned();
            *asked.entry((call.operation, folder)).or_default() += 1;
        }
        asked
    }

    fn back_up(&self) -> Asked {
        self.asked_remembering(&self.cache, |vault| {
            support::run(vault, self.source.path());
        })
    }

    fn restore(&self, cache: &TempDir, part: &str) -> Asked {
        let target = tempfile::tempdir_in("/dev/shm").unwrap();
        self.asked_remembering(cache, |vault| {
            let tenure = ReadingTenure::begin(vault).unwrap();
            let list = SnapshotList::load_during(&tenure).unwrap();
            let request = RestoreRequest {
                snapshot: list.find("latest", &Filter::default()).unwrap(),
                part: self.source.path().join(part).as_os_str().as_encoded_bytes().to_vec(),
                target: target.path().to_path_buf(),
                selection: files::Selection::default(),
                overwrite: Overwrite::default(),
                delete: false,
                verify: false,
                dry_run: false,
                parallelism: None,
            };
            let report = restore_during(Some(&tenure), vault, &request, &Arc::new(Progress::new())).unwrap();
            assert!(report.problems.is_empty(), "{:?}", report.problems);
        })
    }
}

/// A hundred thousand small files in a thousand folders.
fn many(top: &Path) {
    for folder in 0..1000 {
        let folder = top.join(format!("folder-{folder}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..100 {
            fs::write(folder.join(format!("file-{file}")), format!("{} {file}", folder.display())).unwrap();
        }
    }
}

/// Asserts that no more was asked than `most` calls.
fn expect(what: &str, asked: &Asked, most: usize) {
    let total: usize = asked.values().sum();
    assert!(total <= most, "{what}: {total} calls where {most} are allowed: {asked:?}");
}

#[test]
fn an_unchanged_backup_of_a_hundred_thousand_files_is_a_handful_of_requests() {
    let world = World::new(many);
    // Files that were made within two seconds of a run are looked into again by the next one: they must be older.
    std::thread::sleep(Duration::from_millis(2500));
    for _ in 0..2 {
        world.back_up();
    }
    // The lease begins, two listings tell all there is to know, the snapshot is written and the lease ends.
    expect("unchanged", &world.back_up(), 5);
    expect("one file, on this machine", &world.restore(&world.cache, "folder-7/file-7"), 5);
    expect("one file, on a new machine", &world.restore(&world.other_cache, "folder-7/file-7"), 18);
    let list = |vault: &Arc<Vault>| drop(SnapshotList::load(vault).unwrap());
    expect("snapshots", &world.asked_remembering(&world.cache, list), 2);
    let look = |vault: &Arc<Vault>| drop(check(vault, ReadData::No, &Arc::new(Progress::new())).unwrap());
    expect("check", &world.asked(&world.cache, look), 32);
    let all = world.restore(&world.cache, "");
    expect("restore", &all, 11);
}

/// Marks stay for ever: each machine reads each of them once.
#[test]
fn what_was_forgotten_costs_one_listing() {
    let world = World::new(|top| fs::write(top.join("file"), "x").unwrap());
    for _ in 0..20 {
        world.back_up();
    }
    let list = |vault: &Arc<Vault>| drop(SnapshotList::load(vault).unwrap());
    let gone = |vault: &Arc<Vault>| {
        let list = SnapshotList::load(vault).unwrap();
        let ids: Vec<_> = list.snapshots.iter().take(19).map(|snapshot| snapshot.id).collect();
        let report = backup::forget(vault, &list, &ids, backup::Dropped::Named, false).unwrap();
        assert_eq!(report.forgotten.len(), 19);
    };
    // Opening, snapshots and the trash, pins, settings, the clock, and the marks themselves.
    expect("forget", &world.asked(&world.cache, gone), 2 + 2 + 2 + 3 + 19);
    expect("snapshots, the first time after that", &world.asked_remembering(&world.cache, list), 2 + 19);
    expect("snapshots", &world.asked_remembering(&world.cache, list), 2);
    // A file that was made within the last seconds is looked into again, which may give a pack and its index.
    expect("unchanged", &world.back_up(), 5 + 2);
}

#[test]
fn a_first_backup_writes_few_large_objects_and_they_are_read_in_few_parts() {
    let world = World::new(|top| {
        for n in 0..16 {
            fs::write(top.join(n.to_string()), support::noise(n, 16 << 20)).unwrap();
        }
    });
    expect("first", &world.back_up(), 14);
    expect("restore", &world.restore(&world.cache, ""), 9);
    let look = |vault: &Arc<Vault>| drop(check(vault, ReadData::All, &Arc::new(Progress::new())).unwrap());
    expect("check of all data", &world.asked(&world.cache, look), 96);
}

/// Who is to be kept out loses the key slot, and what a machine remembers does not help.
#[test]
fn a_slot_that_is_gone_opens_nothing_on_a_machine_that_remembers_it() {
    let world = World::new(|top| fs::write(top.join("file"), "x").unwrap());
    world.back_up();
    let other = NewSlot { label: "other".into(), ..support::slot() };
    let vault = support::open(world.far(), world.cache.path());
    let old = vault.opened_with().to_owned();
    vault.add_slot(&other).unwrap();
    vault.wait(vault.store().delete(&old)).unwrap();
    // The same passphrase opens another slot.
    expect("unchanged", &world.back_up(), 5 + 2 + 3);
    let open = || Vault::open_remembered(world.far(), &support::credential(), world.cache.path());
    for slot in vault.slots().unwrap() {
        vault.wait(vault.store().delete(&format!("keys/{}", slot.id))).unwrap();
    }
    vault.add_slot(&NewSlot { credential: Credential::new_recovery_code(), ..other }).unwrap();
    for attempt in ["remembered", "forgotten"] {
        let outcome = open().and_then(|vault| SnapshotList::load(&vault));
        assert!(matches!(outcome, Err(Error::WrongKey { .. })), "{attempt}: {outcome:?}");
    }
}

/// What is remembered is only ever a saving.
#[test]
fn what_is_remembered_and_damaged_is_read_again() {
    let world = World::new(|top| fs::write(top.join("file"), "x").unwrap());
    world.back_up();
    let folder = world.cache.path().join("openings");
    let file = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&file).unwrap();
    for length in [0, 31, 40, bytes.len() - 1] {
        fs::write(&file, &bytes[..length]).unwrap();
        world.back_up();
        assert_eq!(fs::read(&file).unwrap(), bytes, "{length}");
    }
    let mut other = bytes.clone();
    *other.last_mut().unwrap() ^= 1;
    fs::write(&file, other).unwrap();
    world.back_up();
    assert_eq!(fs::read(&file).unwrap(), bytes);
}
