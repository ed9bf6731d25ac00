//! Machines whose key can only add: what they note of a backup spares the next one reading everything, and nothing worse
//! comes of notes that are wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backup::{
    BackupReport, Credential, Dropped, NewSlot, Progress, ReadData, Reader, SnapshotList, Vault, back_up,
    back_up_stream, check, forget,
};
use bytes::Bytes;
use content::tree::{FileContent, Node};
use store::{MemoryStore, Operation, Recorded, Store};
use support::{contents, noise, on_disk, plant, request, run, slot};
use tempfile::TempDir;
use vault::check::Unwatched;
use vault::collect::{self, Options, Report};
use vault::descriptor::{ChunkSizes, SIGNING_CONTEXT};
use vault::name;

struct World {
    store: Arc<Recorded>,
    source: TempDir,
    cache: TempDir,
    owner: Arc<Vault>,
    machine: Arc<Vault>,
    machine_cache: TempDir,
}

impl World {
    fn new() -> Self {
        // Not in the folder for temporary files: others change it meanwhile, and it is in the snapshot too.
        let source = tempfile::tempdir_in("/var").unwrap();
        let world = Self::without_files(source);
        plant(world.path());
        world.settle();
        world
    }

    fn without_files(source: TempDir) -> Self {
        Self::in_vault(source, |_| ())
    }

    fn in_vault(source: TempDir, prepare: impl Fn(&Arc<Vault>)) -> Self {
        let store = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
        let (cache, machine_cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = Credential::new_key_file();
        let owner = support::create(store.clone(), cache.path());
        owner.add_slot(&NewSlot { credential: key.clone(), write_only: true, ..slot() }).unwrap();
        prepare(&owner);
        let owner = support::open(store.clone(), cache.path());
        let machine = Vault::open(store.clone(), &key, machine_cache.path()).unwrap();
        assert!(!machine.keyring().can_read() && owner.keyring().can_read());
        Self { store, source, cache, owner, machine, machine_cache }
    }

    fn path(&self) -> &Path {
        self.source.path()
    }

    /// Lets everything in the source become older than any moment in which the file system's clock may still stand.
    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(2100));
    }

    fn back_up(&self) -> BackupReport {
        let report = run(&self.machine, self.path());
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        report
    }

    /// The files of notes that the machine has.
    fn notes(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.machine.cache_folder().join("notes")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn the_notes(&self) -> PathBuf {
        let [notes] = &self.notes()[..] else { panic!("{:?}", self.notes()) };
        notes.clone()
    }

    /// That each snapshot is whole, and the newest has what is on the disk now.
    fn assert_whole(&self, count: usize) {
        let list = SnapshotList::load(&self.owner).unwrap();
        assert_eq!((list.snapshots.len(), list.damaged.len(), list.sealed.len()), (count, 0, 0));
        assert_eq!(contents(&self.owner, list.snapshots.last().unwrap(), self.path()), on_disk(self.path()));
        let report = check(&self.owner, ReadData::All, &Arc::new(Progress::new())).unwrap();
        assert_eq!(report.findings, []);
    }

    /// Forgets the snapshots at these places, the oldest being 0.
    fn forget(&self, places: &[usize]) {
        let list = SnapshotList::load(&self.owner).unwrap();
        let ids: Vec<_> = places.iter().map(|place| list.snapshots[*place].id).collect();
        forget(&self.owner, &list, &ids, Dropped::Named, false).unwrap();
    }

    /// Cleans up without waiting for anything.
    fn clean(&self) -> Report {
        let mut options = Options::new(Duration::ZERO, false);
        options.unfinished = Duration::ZERO;
        let random = &mut content::random::identity;
        let cleanup = collect::cleanup(self.owner.store(), self.owner.id(), &options, random, &Unwatched);
        self.owner.wait(cleanup).unwrap()
    }

    fn size(&self) -> u64 {
        on_disk(self.path()).values().map(|bytes| bytes.len() as u64).sum()
    }

    fn assert_read_all(&self, report: &BackupReport) {
        let numbers = &report.statistics;
        assert_eq!((numbers.bytes_read, numbers.files_unchanged), (self.size(), 0), "{numbers:?}");
    }
}

fn assert_read_nothing(report: &BackupReport, files: u64) {
    let numbers = &report.statistics;
    let counts = (numbers.bytes_read, numbers.files_unchanged, numbers.files_new, numbers.files_changed);
    assert_eq!(counts, (0, files, 0, 0), "{numbers:?}");
}

/// Nothing but pages of directories above the source, in which others may be at work.
fn assert_stored_nothing(report: &BackupReport) {
    let numbers = &report.statistics;
    assert!(numbers.chunks_new == 0 && numbers.bytes_new < 4096, "{numbers:?}");
}

/// When the directories above the source changed last: they are in the snapshot too.
fn times_above(path: &Path) -> Vec<SystemTime> {
    path.ancestors().map(|above| above.metadata().unwrap().modified().unwrap()).collect()
}

#[test]
fn an_unchanged_run_reads_no_file_and_asks_the_store_for_no_more_than_one_that_can_read() {
    let world = World::new();
    world.assert_read_all(&world.back_up());
    // The notes of each serve the next. Until nobody made or removed a folder above meanwhile.
    let mut count = 1;
    let report = loop {
        let before = times_above(world.path());
        assert_read_nothing(&world.back_up(), 304);
        world.store.forget_calls();
        let report = world.back_up();
        assert_read_nothing(&report, 304);
        count += 2;
        if times_above(world.path()) == before {
            break report;
        }
    };
    assert_eq!((report.statistics.packs_new, report.statistics.bytes_new), (0, 0));
    let store = &world.store;
    assert_eq!(store.count(Operation::Put, ""), 1, "the snapshot alone is written");
    for operation in
        [Operation::Get, Operation::GetRange, Operation::GetTail, Operation::List, Operation::Stat]
    {
        assert_eq!(store.count(operation, name::PACKS), 0, "{:#?}", store.calls());
    }
    let calls = store.calls().iter().filter(|call| !call.name.starts_with(name::SNAPSHOTS)).count();
    assert!(calls <= 14, "{:#?}", store.calls());
    let list = SnapshotList::load(&world.owner).unwrap();
    let [.., one, two] = &list.snapshots[..] else { panic!("two snapshots") };
    assert_eq!(one.body.root, two.body.root, "the same tree is the same page");
    assert_eq!(one.envelope.needs, two.envelope.needs);
    world.assert_whole(count);
    assert_eq!(world.notes().len(), 1);
}

#[test]
fn what_changed_is_found_and_nothing_else_is_read() {
    let world = World::new();
    let at = |name: &str| world.path().join(name);
    fs::hard_link(at("a/large"), at("z/linked")).unwrap();
    std::os::unix::fs::symlink("a/large", at("symlink")).unwrap();
    world.settle();
    world.back_up();
    // A name that goes with all below it, one that comes, a folder in place of a file and a file in place of a folder.
    fs::rename(at("a/b"), at("moved")).unwrap();
    fs::remove_file(at("z/file-002")).unwrap();
    fs::create_dir(at("z/file-002")).unwrap();
    fs::write(at("z/file-002/within"), noise(70, 900)).unwrap();
    fs::remove_dir(at("empty")).unwrap();
    fs::write(at("empty"), noise(71, 800)).unwrap();
    fs::write(at("z/file-005"), noise(72, 700)).unwrap();
    // The same size and time of modification, but not the same content.
    let status = at("a/large").metadata().unwrap();
    let mut large = fs::read(at("a/large")).unwrap();
    large[4_000_000] ^= 1;
    fs::write(at("a/large"), &large).unwrap();
    File::options()
        .write(true)
        .open(at("a/large"))
        .unwrap()
        .set_modified(status.modified().unwrap())
        .unwrap();
    world.settle();

    let report = world.back_up();
    let moved: u64 = on_disk(&at("moved")).values().map(|bytes| bytes.len() as u64).sum();
    let numbers = &report.statistics;
    assert_eq!(numbers.bytes_read, moved + 900 + 800 + 700 + large.len() as u64, "{numbers:?}");
    // Both names of the large file, a small one, and the one that was a folder.
    assert_eq!(numbers.files_changed, 4, "{numbers:?}");
    world.assert_whole(2);
    assert_read_nothing(&world.back_up(), 307);
    world.assert_whole(3);
}

#[test]
fn wrong_notes_cost_reading_and_nothing_else() {
    let world = World::new();
    world.back_up();
    let notes = world.the_notes();
    let good = fs::read(&notes).unwrap();
    // Of another job in this vault, and of this job in another vault.
    let other_job = {
        back_up(&world.machine, &request(&[&world.path().join("z")]), &Arc::new(Progress::new())).unwrap();
        let other = world.notes().into_iter().find(|path| *path != notes).unwrap();
        fs::read(other).unwrap()
    };
    let elsewhere = World::new();
    elsewhere.back_up();
    let other_vault = fs::read(elsewhere.the_notes()).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x20;
        bytes
    };
    let cases = [
        ("flipped salt", flipped(20)),
        ("flipped block", flipped(good.len() / 2)),
        ("flipped ending", flipped(good.len() - 30)),
        ("cut short", good[..good.len() / 2].to_vec()),
        ("empty", Vec::new()),
        ("another job's", other_job),
        ("another vault's", other_vault),
    ];
    let mut count = 2;
    for (what, bytes) in cases {
        fs::write(&notes, bytes).unwrap();
        let report = world.back_up();
        assert_eq!(report.statistics.files_unchanged, 0, "{what}");
        world.assert_read_all(&report);
        assert_stored_nothing(&report);
        assert_read_nothing(&world.back_up(), 304);
        count += 2;
    }
    // Gone, in place of the folder a file, and a folder that cannot be written to.
    fs::remove_file(&notes).unwrap();
    world.assert_read_all(&world.back_up());
    let folder = notes.parent().unwrap();
    fs::remove_dir_all(folder).unwrap();
    fs::write(folder, "in the way").unwrap();
    for _ in 0..2 {
        world.assert_read_all(&world.back_up());
    }
    fs::remove_file(folder).unwrap();
    world.assert_read_all(&world.back_up());
    assert_read_nothing(&world.back_up(), 304);
    world.assert_whole(count + 5);
}

#[test]
fn notes_of_an_older_snapshot_serve_as_long_as_it_is_there() {
    let world = World::new();
    world.back_up();
    let notes = world.the_notes();
    let older = fs::read(&notes).unwrap();
    fs::write(world.path().join("a/new"), noise(5, 100_000)).unwrap();
    fs::remove_file(world.path().join("a/file-000")).unwrap();
    world.settle();
    world.back_up();
    fs::write(&notes, &older).unwrap();
    let report = world.back_up();
    assert_eq!((report.statistics.bytes_read, report.statistics.files_new), (100_000, 1));
    fs::write(&notes, &older).unwrap();
    world.forget(&[0]);
    world.assert_read_all(&world.back_up());
    world.assert_whole(3);
}

#[test]
fn a_snapshot_that_was_forgotten_is_compared_with_no_more_and_not_after_it_was_collected() {
    let world = World::new();
    world.back_up();
    let notes = world.the_notes();
    let before = fs::read(&notes).unwrap();
    world.forget(&[0]);
    // In the trash what it needs is still there, but nobody begins to rely on that.
    let report = world.back_up();
    world.assert_read_all(&report);
    assert_stored_nothing(&report);
    world.forget(&[0]);
    let cleaned = world.clean();
    assert!(cleaned.snapshots_deleted == 2 && cleaned.packs_deleted > 0, "{cleaned:?}");
    assert!(world.owner.wait(world.store.list(name::PACKS)).unwrap().is_empty());
    // The machine has its notes, and its index as it was.
    for is_stored in [true, false] {
        fs::write(&notes, &before).unwrap();
        let report = world.back_up();
        world.assert_read_all(&report);
        assert_eq!(report.statistics.bytes_new > 9 << 20, is_stored, "{:?}", report.statistics);
    }
    world.assert_whole(2);
    assert_read_nothing(&world.back_up(), 304);
    world.assert_whole(3);
}

#[test]
fn what_a_cleanup_moved_is_relied_on_where_it_is_now() {
    let world = World::new();
    for number in 0..6u64 {
        for n in 0..12 {
            if number == 0 || n % 6 == number {
                let path = world.path().join(format!("a/version-{n}"));
                fs::write(path, noise(10_000 + n + 100 * number, 600_000)).unwrap();
            }
        }
        world.back_up();
    }
    world.settle();
    world.back_up();
    world.forget(&[0, 1, 2, 3, 4, 5]);
    let cleaned = world.clean();
    assert!(cleaned.segments_moved > 0 && cleaned.packs_deleted > 0, "{cleaned:?}");
    let report = world.back_up();
    assert_read_nothing(&report, 316);
    world.assert_whole(2);
    // The other snapshot was the only one that told where things were before.
    world.forget(&[0]);
    world.clean();
    assert_read_nothing(&world.back_up(), 316);
    world.assert_whole(2);
}

#[test]
fn what_is_known_to_be_damaged_is_read_and_stored_again() {
    let world = World::new();
    world.back_up();
    let packs = world.owner.wait(world.store.list(name::PACKS)).unwrap();
    let largest = packs.into_iter().max_by_key(|pack| pack.size).unwrap().name;
    let mut bytes = world.owner.wait(world.store.get(&largest, u64::MAX)).unwrap().to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    world.owner.wait(world.store.replace(&largest, vec![Bytes::from(bytes)])).unwrap();
    let report = check(&world.owner, ReadData::All, &Arc::new(Progress::new())).unwrap();
    assert!(report.is_damaged());
    let report = world.back_up();
    assert!(report.statistics.bytes_read > 9 << 20 && report.statistics.bytes_new > 9 << 20, "{report:?}");
    let newest = SnapshotList::load(&world.owner).unwrap().snapshots.pop().unwrap();
    assert_eq!(contents(&world.owner, &newest, world.path()), on_disk(world.path()));
    assert_read_nothing(&world.back_up(), 304);
}

#[test]
fn a_file_of_very_many_chunks_is_not_read_again() {
    // Small chunks, so that not much of them is enough.
    let prepare = |vault: &Arc<Vault>| {
        let mut descriptor = vault.descriptor().clone();
        descriptor.chunk_sizes = ChunkSizes { min: 4096, average: 4500, max: 8192 };
        let mut bytes = descriptor.encode_unsigned();
        let signature = vault.keyring().sign(SIGNING_CONTEXT, &bytes);
        bytes.extend_from_slice(&signature);
        vault.wait(vault.store().replace(name::DESCRIPTOR, vec![bytes.into()])).unwrap();
    };
    let world = World::in_vault(tempfile::tempdir_in("/var").unwrap(), prepare);
    fs::write(world.path().join("large"), noise(1, 80 << 20)).unwrap();
    fs::hard_link(world.path().join("large"), world.path().join("linked")).unwrap();
    world.settle();
    let first = world.back_up();
    assert!(first.statistics.chunks_new > 9000, "{:?}", first.statistics);
    let second = world.back_up();
    assert_read_nothing(&second, 2);
    assert_stored_nothing(&second);
    world.assert_whole(2);
    let list = SnapshotList::load(&world.owner).unwrap();
    let reader = Reader::new(&world.owner, 1 << 20);
    for name in ["large", "linked"] {
        let path = world.path().join(name);
        let [first, second] = [0, 1].map(|place: usize| {
            let root = reader.open(&list.snapshots[place]).unwrap();
            reader.lookup(&root, path.as_os_str().as_encoded_bytes()).unwrap().unwrap()
        });
        assert!(matches!(&first.node, Node::File { content: FileContent::Extents(_), .. }), "{first:?}");
        assert_eq!(first, second, "its pages are made anew and found");
    }
}

#[test]
fn only_who_cannot_read_makes_notes_and_only_of_a_snapshot_of_files() {
    let world = World::new();
    run(&world.owner, world.path());
    assert!(!world.owner.cache_folder().join("notes").exists());
    let progress = Arc::new(Progress::new());
    let mut dry = request(&[world.path()]);
    dry.dry_run = true;
    back_up(&world.machine, &dry, &progress).unwrap();
    back_up_stream(&world.machine, &request(&[]), "dump", &mut &b"text"[..], &mut || Ok(()), &progress)
        .unwrap();
    assert!(!world.machine.cache_folder().join("notes").exists());
    world.back_up();
    let before = fs::read(world.the_notes()).unwrap();
    let report = back_up(&world.machine, &dry, &progress).unwrap();
    assert_read_nothing(&report, 304);
    assert_eq!(fs::read(world.the_notes()).unwrap(), before, "a dry run leaves them");
    // With the key that can read, the same cache does as before.
    let owner = support::open(world.store.clone(), world.machine_cache.path());
    assert_read_nothing(&run(&owner, world.path()), 304);
    assert_eq!(fs::read(world.the_notes()).unwrap(), before);
    // Asked for by name, the one that was noted will do, and no other.
    let list = SnapshotList::load(&world.machine).unwrap();
    assert_eq!(list.sealed.len(), 4);
    for sealed in &list.sealed {
        dry.parent = Some(sealed.id);
        let outcome = back_up(&world.machine, &dry, &progress);
        assert_eq!(outcome.is_ok(), sealed.envelope.sequence == 2, "{outcome:?}");
    }
}

#[test]
fn a_file_that_changed_while_the_notes_were_made_is_read_once_more() {
    let world = World::without_files(tempfile::tempdir_in("/var").unwrap());
    fs::write(world.path().join("old"), noise(1, 1000)).unwrap();
    world.settle();
    fs::write(world.path().join("fresh"), noise(2, 2000)).unwrap();
    world.back_up();
    let report = world.back_up();
    assert_eq!((report.statistics.bytes_read, report.statistics.files_unchanged), (2000, 1));
    world.assert_whole(2);
}

#[test]
fn after_new_keys_everything_is_read_once_and_noted_anew() {
    let world = World::new();
    world.back_up();
    world.owner.renew_keys(&[slot()]).unwrap();
    let owner = support::open(world.store.clone(), world.cache.path());
    let key = Credential::new_key_file();
    owner.add_slot(&NewSlot { credential: key.clone(), write_only: true, ..slot() }).unwrap();
    let machine = Vault::open(world.store.clone(), &key, world.machine_cache.path()).unwrap();
    let report = run(&machine, world.path());
    world.assert_read_all(&report);
    assert_stored_nothing(&report);
    assert_read_nothing(&run(&machine, world.path()), 304);
}
