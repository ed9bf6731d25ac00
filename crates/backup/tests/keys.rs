//! The life of keys: new ones for what is stored from now on, and ones that can only add.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "support/mod.rs"]
mod support;

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use backup::{
    Category, Credential, Error, Filter, FirstSettings, LockSetting, NewSlot, Progress, ReadData,
    SnapshotList, Vault, check,
};
use store::{LockMode, MemoryStore, Store};
use support::{contents, create, noise, on_disk, run, slot};
use tempfile::TempDir;

struct World {
    store: Arc<dyn Store>,
    source: TempDir,
    cache: TempDir,
}

impl World {
    fn new() -> Self {
        let world = Self {
            store: Arc::new(MemoryStore::new()),
            source: tempfile::tempdir().unwrap(),
            cache: tempfile::tempdir().unwrap(),
        };
        fs::write(world.source.path().join("large"), noise(1, 6 << 20)).unwrap();
        fs::write(world.source.path().join("small"), "as it was").unwrap();
        create(world.store.clone(), world.cache.path());
        world
    }

    fn open(&self, credential: &Credential) -> Arc<Vault> {
        Vault::open(self.store.clone(), credential, self.cache.path()).unwrap()
    }
}

/// A slot for a key in a file.
fn key(label: &str, write_only: bool) -> NewSlot {
    NewSlot { credential: Credential::new_key_file(), label: label.into(), write_only, ..slot() }
}

fn look(vault: &Arc<Vault>) -> backup::CheckReport {
    check(vault, ReadData::All, &Arc::new(Progress::new())).unwrap()
}

#[test]
fn with_new_keys_all_is_readable_and_with_the_old_ones_what_was_there_before() {
    let world = World::new();
    let vault = world.open(&slot().credential);
    let old = key("old", false);
    vault.add_slot(&old).unwrap();
    run(&vault, world.source.path());
    let before = on_disk(world.source.path());

    let recovery = NewSlot { credential: Credential::new_recovery_code(), ..slot() };
    assert_eq!(vault.renew_keys(&[slot(), recovery.clone()]).unwrap().len(), 2);
    fs::write(world.source.path().join("new"), noise(2, 3 << 20)).unwrap();
    fs::write(world.source.path().join("small"), "as it is").unwrap();
    let vault = world.open(&slot().credential);
    assert_eq!(vault.keyring().current().number(), 1);
    let report = run(&vault, world.source.path());
    assert!(
        report.statistics.bytes_stored < 4 << 20,
        "what is there already is known by the same names: {report:?}"
    );

    for credential in [slot().credential, recovery.credential] {
        let vault = world.open(&credential);
        let list = SnapshotList::load(&vault).unwrap();
        let found: Vec<_> =
            list.snapshots.iter().map(|snapshot| contents(&vault, snapshot, world.source.path())).collect();
        assert_eq!(found, [before.clone(), on_disk(world.source.path())]);
        assert_eq!(look(&vault).findings, []);
    }

    let vault = world.open(&old.credential);
    let list = SnapshotList::load(&vault).unwrap();
    assert_eq!((list.snapshots.len(), list.sealed.len(), list.damaged.len()), (1, 1, 0));
    assert_eq!(contents(&vault, &list.snapshots[0], world.source.path()), before);
    let refused = |text: &str| list.find(text, &Filter::default()).unwrap_err();
    for error in [refused("latest"), refused(&list.sealed[0].id.to_string())] {
        assert_eq!(error.category(), Category::WrongKey, "{error}");
        assert!(error.hint().unwrap().contains("key list"), "{error}");
    }
    let report = look(&vault);
    assert!(!report.is_damaged() && report.findings.len() == 1, "{:#?}", report.findings);
    // It can still add, and what it adds everybody reads.
    run(&vault, world.source.path());
    let vault = world.open(&slot().credential);
    let list = SnapshotList::load(&vault).unwrap();
    let numbers: Vec<_> = list.snapshots.iter().map(|snapshot| snapshot.envelope.sequence).collect();
    assert_eq!((numbers, list.sealed.len()), (vec![0, 1, 2], 0));
    assert_eq!(look(&vault).findings, []);
}

#[test]
fn keys_are_renewed_where_slots_are_locked() {
    let (cache, source) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store: Arc<dyn Store> = Arc::new(MemoryStore::with_locks());
    let lock = LockSetting { period: Duration::from_secs(86_400), mode: LockMode::Governance };
    let settings = FirstSettings { lock: Some(lock), ..FirstSettings::default() };
    let vault = Vault::create_with(store.clone(), &[slot()], cache.path(), &settings).unwrap();
    vault.renew_keys(&[slot()]).unwrap();
    let vault = Vault::open(store, &slot().credential, cache.path()).unwrap();
    assert_eq!((vault.keyring().current().number(), vault.slots().unwrap().len()), (1, 1));
    run(&vault, source.path());
}

#[test]
fn a_key_that_can_only_add_goes_on_with_the_chain_and_renews_nothing() {
    let world = World::new();
    let vault = world.open(&slot().credential);
    let added = key("machine", true);
    vault.add_slot(&added).unwrap();
    let machine = world.open(&added.credential);
    for text in ["one", "two"] {
        fs::write(world.source.path().join("small"), text).unwrap();
        run(&machine, world.source.path());
    }
    let list = SnapshotList::load(&machine).unwrap();
    assert_eq!((list.snapshots.len(), list.sealed.len(), list.damaged.len()), (0, 2, 0));
    let error = list.find("latest", &Filter::default()).unwrap_err();
    assert!(error.to_string().contains("only add") || error.hint().unwrap().contains("only add"), "{error}");
    let renewed = machine.renew_keys(&[slot()]);
    assert!(matches!(renewed, Err(Error::WriteOnly)), "{renewed:?}");
    let [one, other] = &vault.slots().unwrap()[..] else { panic!("{:?}", vault.slots()) };
    let used = if one.opened_with { one } else { other };
    assert!(matches!(machine.remove_slot(&used.id), Err(Error::WriteOnly)));
    assert!(matches!(vault.remove_slot(&used.id), Err(Error::Slot(_))), "what is left can only add");
    assert_eq!(vault.slots().unwrap().len(), 2);

    let list = SnapshotList::load(&vault).unwrap();
    let numbers: Vec<_> = list.snapshots.iter().map(|snapshot| snapshot.envelope.sequence).collect();
    assert_eq!(numbers, [0, 1]);
    assert_eq!(contents(&vault, &list.snapshots[1], world.source.path()), on_disk(world.source.path()));
    assert_eq!(look(&vault).findings, []);
}
