//! Copies and repairs of real vaults: what comes back is compared by content.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backup::{
    CopyReport, CopyRequest, LostFile, Progress, ReadData, Reader, RepairReport, RepairRequest, Snapshot,
    SnapshotList, TreeStep, Vault, check, copy, files_lost, repair,
};
use content::tree::Node;
use store::{FolderStore, MemoryStore, Store};
use support::{contents, create, noise, on_disk, open, run};
use vault::check::Unwatched;
use vault::collect::{self, Options};
use vault::name;
use vault::trash::{self, Mark};

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn empty() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn snapshots(vault: &Arc<Vault>) -> Vec<Arc<Snapshot>> {
    SnapshotList::load(vault).unwrap().snapshots
}

fn forget(vault: &Vault, snapshot: &Snapshot) {
    let mark = Mark {
        nonce: content::random::identity(),
        snapshot: snapshot.id,
        system: snapshot.envelope.system,
        sequence: snapshot.envelope.sequence,
        previous: snapshot.envelope.previous,
        written: 0,
        reason: String::new(),
    };
    vault.wait(trash::forget(vault.store().as_ref(), vault.id(), &mark)).unwrap();
}

fn clean(vault: &Vault) -> collect::Report {
    let mut options = Options::new(Duration::ZERO, false);
    options.unfinished = Duration::ZERO;
    let random = &mut content::random::identity;
    vault.wait(collect::cleanup(vault.store(), vault.id(), &options, random, &Unwatched)).unwrap()
}

fn copied(source: &Arc<dyn Store>, target: &Arc<dyn Store>) -> CopyReport {
    copy(source, target, &CopyRequest::default(), &Arc::new(Progress::new())).unwrap()
}

fn repaired(store: &Arc<dyn Store>, replica: Option<&Arc<dyn Store>>, salvage: bool) -> RepairReport {
    let request = RepairRequest { read_data: true, salvage, dry_run: false };
    repair(store, replica, request, &Arc::new(Progress::new())).unwrap()
}

fn assert_whole(vault: &Arc<Vault>, source: &Path, expected: &[Files]) {
    let list = snapshots(vault);
    assert_eq!(list.len(), expected.len());
    for (snapshot, files) in list.iter().zip(expected) {
        assert_eq!(&contents(vault, snapshot, source), files);
    }
    let report = check(vault, ReadData::All, &Arc::new(Progress::new())).unwrap();
    assert!(!report.is_damaged(), "{:#?}", report.findings);
}

/// Small files of which each version changes some, and a few larger ones of which it changes one.
fn version(top: &Path, number: u64) {
    std::fs::create_dir_all(top.join("folder")).unwrap();
    for n in 0..60 {
        if number == 0 || n % 10 == number % 10 {
            std::fs::write(top.join(format!("folder/small-{n}")), noise(n + 1000 * number, 9000)).unwrap();
        }
    }
    for n in 0..4 {
        if number == 0 || n == number % 4 {
            let bytes = noise(500 + n + 1000 * number, 3 << 20);
            std::fs::write(top.join(format!("large-{n}")), bytes).unwrap();
        }
    }
}

#[test]
fn a_compacted_vault_is_copied_and_the_copy_is_used_alone() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = empty();
    let vault = create(store.clone(), cache.path());
    let mut expected = Vec::new();
    for number in 0..6 {
        version(source.path(), number);
        run(&vault, source.path());
        expected.push(on_disk(source.path()));
    }
    for snapshot in &snapshots(&vault)[..4] {
        forget(&vault, snapshot);
    }
    assert!(clean(&vault).packs_deleted > 0);
    let target = empty();
    let report = copied(&store, &target);
    assert_eq!((report.copied.len(), report.is_complete()), (2, true), "{report:?}");
    drop(vault);
    drop(store);
    // From a machine that knows nothing, and with the next backups going there.
    let other = tempfile::tempdir().unwrap();
    let vault = open(target, other.path());
    let kept = [expected[4].clone(), expected[5].clone()];
    assert_whole(&vault, source.path(), &kept);
    version(source.path(), 7);
    let report = run(&vault, source.path());
    assert!(report.statistics.bytes_new < 4 << 20, "{:?}", report.statistics);
    let [one, two] = kept;
    assert_whole(&vault, source.path(), &[one, two, on_disk(source.path())]);
}

#[test]
fn a_machine_that_uses_vault_and_copy_in_turn_keeps_them_apart() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // At places of their own, as they are told apart by them.
    let folder = tempfile::tempdir().unwrap();
    let (store, target): (_, Arc<dyn Store>) = (empty(), Arc::new(FolderStore::open(folder.path()).unwrap()));
    let vault = create(store.clone(), cache.path());
    version(source.path(), 0);
    run(&vault, source.path());
    let first = on_disk(source.path());
    copied(&store, &target);
    version(source.path(), 1);
    run(&vault, source.path());
    // The same cache folder, which has just learned of packs that the copy lacks.
    let far = open(target.clone(), cache.path());
    run(&far, source.path());
    let second = on_disk(source.path());
    assert_whole(&far, source.path(), &[first.clone(), second.clone()]);
    assert_whole(&vault, source.path(), &[first.clone(), second.clone()]);
    copied(&store, &target);
    assert_whole(&far, source.path(), &[first, second.clone(), second]);
}

fn damage(store: &Arc<dyn Store>, vault: &Vault, object: &str, how: &str) {
    let mut bytes = vault.wait(store.get(object, u64::MAX)).unwrap().to_vec();
    match how {
        "delete" => return vault.wait(store.delete(object)).unwrap(),
        "truncate" => bytes.truncate(bytes.len() / 2),
        _ => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
    }
    vault.wait(store.replace(object, vec![bytes.into()])).unwrap();
}

#[test]
fn every_object_of_a_real_vault_comes_back_from_a_copy() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = empty();
    let vault = create(store.clone(), cache.path());
    let mut expected = Vec::new();
    for number in 0..2 {
        version(source.path(), number);
        run(&vault, source.path());
        expected.push(on_disk(source.path()));
    }
    let replica = empty();
    copied(&store, &replica);
    let objects = vault.wait(store.list("")).unwrap();
    for object in objects.iter().filter(|object| !object.name.starts_with(name::LEASES)) {
        for how in ["delete", "truncate", "flip"] {
            let hurt = empty();
            for object in &objects {
                let bytes = vault.wait(store.get(&object.name, u64::MAX)).unwrap();
                vault.wait(hurt.put(&object.name, vec![bytes])).unwrap();
            }
            damage(&hurt, &vault, &object.name, how);
            let report = repaired(&hurt, Some(&replica), false);
            let what = format!("{how} {}: {report:#?}", object.name);
            assert!(report.lost.is_empty(), "{what}");
            let cache = tempfile::tempdir().unwrap();
            assert_whole(&open(hurt, cache.path()), source.path(), &expected);
        }
    }
}

/// Files whose content cannot be read, found by reading all of them.
fn unreadable(vault: &Arc<Vault>) -> BTreeSet<LostFile> {
    let mut lost = BTreeSet::new();
    for snapshot in snapshots(vault) {
        let reader = Reader::new(vault, 32 << 20);
        let root = reader.open(&snapshot).unwrap();
        for step in reader.walk(root, b"/") {
            let TreeStep::Item { path, entry } = step.unwrap() else { continue };
            let Node::File { size, .. } = &entry.node else { continue };
            let mut bytes = vec![0; *size as usize];
            if reader.read_at(&entry, 0, &mut bytes).is_err() {
                lost.insert(LostFile { snapshot: snapshot.id, path });
            }
        }
    }
    lost
}

#[test]
fn salvage_names_exactly_the_touched_files_and_the_next_backup_stores_them_again() {
    let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = empty();
    let vault = create(store.clone(), cache.path());
    for number in 0..3 {
        version(source.path(), number);
        run(&vault, source.path());
    }
    let needs = &snapshots(&vault)[0].envelope.needs;
    // A data pack: trees can be read still.
    let pack = needs.iter().max_by_key(|need| {
        let object = vault.wait(store.stat(&need.object.pack_name())).unwrap();
        object.size
    });
    damage(&store, &vault, &pack.unwrap().object.pack_name(), "delete");
    let fresh = tempfile::tempdir().unwrap();
    let vault = open(store.clone(), fresh.path());
    let expected = unreadable(&vault);
    assert!(expected.len() > 3, "{expected:?}");
    let report = repaired(&store, None, true);
    assert_eq!((report.lost.len(), report.salvaged), (1, 1), "{report:?}");
    let named = files_lost(&vault, &report, &Arc::new(Progress::new())).unwrap();
    assert_eq!(named.into_iter().collect::<BTreeSet<_>>(), expected);
    run(&vault, source.path());
    let newest = snapshots(&vault).pop().unwrap();
    assert_eq!(contents(&vault, &newest, source.path()), on_disk(source.path()));
}
