//! Forgetting, bringing back, pins, and the delay in between.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use backup::{
    Category, Dropped, Error, Filter, FirstSettings, GroupBy, Policy, Progress, ReadData, Reason,
    SnapshotList, Until, Vault, Verdict, check, forget, judge, pin, undelete, unpin,
};
use jiff::tz::TimeZone;
use store::{MemoryStore, Store};
use support::{create, latest, open, request, run, slot};
use tempfile::TempDir;
use vault::SnapshotId;

const DAY: Duration = Duration::from_secs(86_400);

fn settings(delete_delay: Option<Duration>) -> FirstSettings {
    FirstSettings { delete_delay, ..FirstSettings::default() }
}

/// A vault with snapshots of a small folder, the oldest first.
struct World {
    store: Arc<MemoryStore>,
    source: TempDir,
    cache: TempDir,
    vault: Arc<Vault>,
    ids: Vec<SnapshotId>,
}

impl World {
    fn new(snapshots: usize, delay: Option<Duration>) -> Self {
        let (source, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let store = Arc::new(MemoryStore::new());
        let vault = Vault::create_with(store.clone(), &[slot()], cache.path(), &settings(delay)).unwrap();
        let mut world = Self { store, source, cache, vault, ids: Vec::new() };
        (0..snapshots).for_each(|_| world.back_up());
        world
    }

    fn back_up(&mut self) {
        std::fs::write(self.source.path().join("file"), self.ids.len().to_string()).unwrap();
        let report = run(&self.vault, self.source.path());
        self.ids.push(report.snapshot.unwrap());
    }

    fn list(&self) -> SnapshotList {
        SnapshotList::load(&self.vault).unwrap()
    }

    fn forget(&self, places: &[usize]) -> Result<backup::ForgetReport, Error> {
        let ids: Vec<_> = places.iter().map(|place| self.ids[*place]).collect();
        forget(&self.vault, &self.list(), &ids, Dropped::Named, false)
    }

    fn undelete(&self, place: usize) -> Result<(), Error> {
        undelete(&self.vault, &self.list(), &[self.ids[place]])
    }

    /// The places of those that are not in the trash.
    fn live(&self) -> Vec<usize> {
        let list = self.list();
        let place = |id| self.ids.iter().position(|known| *known == id).unwrap();
        list.snapshots.iter().map(|snapshot| place(snapshot.id)).collect()
    }

    fn judge(&self, policy: &Policy) -> Vec<Verdict> {
        let now = backup::store_clock(&self.vault).unwrap();
        let (list, filter) = (self.list(), Filter::default());
        let groups =
            judge(&self.vault, &list, &filter, policy, GroupBy::default(), &TimeZone::UTC, now).unwrap();
        groups.into_iter().flatten().map(|judged| judged.verdict).collect()
    }
}

#[test]
fn what_is_forgotten_is_found_by_its_id_alone_and_comes_back() {
    let world = World::new(3, None);
    let before = SystemTime::now();
    let report = world.forget(&[0, 2]).unwrap();
    assert_eq!(report.forgotten.len(), 2);
    let until = report.until.unwrap();
    assert!(before + 7 * DAY <= until && until <= SystemTime::now() + 7 * DAY, "seven days");
    assert_eq!(world.live(), [1]);

    let list = world.list();
    assert_eq!(list.trash.len(), 2);
    assert_eq!(latest(&world.vault).id, world.ids[1], "the newest is in the trash");
    let found = list.find(&world.ids[2].to_string(), &Filter::default()).unwrap();
    assert_eq!(found.id, world.ids[2]);
    assert!(list.in_trash(found.id).is_some() && list.in_trash(world.ids[1]).is_none());
    assert_eq!(list.with_trash().snapshots.len(), 3);
    // Again changes nothing.
    let again = world.forget(&[0]).unwrap();
    assert_eq!((again.forgotten.len(), &again.already[..]), (0, &world.ids[..1]));

    world.undelete(2).unwrap();
    assert_eq!(world.live(), [1, 2]);
    assert!(matches!(world.undelete(2), Err(Error::NotInTrash(_))));
    let whole = check(&world.vault, ReadData::All, &Arc::new(Progress::new())).unwrap();
    assert_eq!(whole.findings, []);
    // Another machine sees the same.
    let other = open(world.store.clone(), world.cache.path());
    assert_eq!(SnapshotList::load(&other).unwrap().snapshots.len(), 2);
}

#[test]
fn a_dry_run_says_the_same_and_writes_nothing() {
    let world = World::new(2, None);
    let objects = || world.vault.wait(world.store.list("")).unwrap();
    let before = objects();
    let dry = |place: usize| forget(&world.vault, &world.list(), &[world.ids[place]], Dropped::Named, true);
    let report = dry(0).unwrap();
    assert_eq!(report.forgotten, world.ids[..1]);
    assert!(report.until.unwrap() > SystemTime::now() + 6 * DAY);
    assert_eq!(objects(), before);
    pin(&world.vault, &world.list(), world.ids[1], Until::Unpinned).unwrap();
    assert!(matches!(dry(1), Err(Error::Pinned { .. })));
}

#[test]
fn without_a_delay_there_is_no_way_back() {
    let world = World::new(2, Some(Duration::ZERO));
    let report = world.forget(&[0]).unwrap();
    assert!(report.until.unwrap() <= SystemTime::now());
    assert!(matches!(world.undelete(0), Err(Error::TooLate { .. })));
    assert_eq!(world.live(), [1]);
}

#[test]
fn a_shorter_delay_does_not_hasten_and_a_longer_one_counts_at_once() {
    let world = World::new(1, Some(2 * DAY));
    let now = SystemTime::now() + Duration::from_secs(60);
    assert!(world.vault.set_delete_delay(Duration::ZERO).unwrap());
    assert!(!world.vault.set_delete_delay(Duration::ZERO).unwrap(), "that is how it is");
    let settings = world.vault.settings(now).unwrap();
    assert_eq!((settings.delete_delay, settings.in_force), (Duration::ZERO, 2 * DAY));
    assert_eq!(world.vault.settings(now + 2 * DAY).unwrap().in_force, Duration::ZERO);
    world.forget(&[0]).unwrap();
    world.undelete(0).unwrap();
    assert!(world.vault.set_delete_delay(9 * DAY).unwrap());
    assert_eq!(world.vault.settings(now).unwrap().in_force, 9 * DAY);
    assert!(matches!(world.vault.set_delete_delay(9999 * DAY), Err(Error::Setting(_))));
    // What cannot be read is told and counts for nothing.
    world.vault.wait(world.store.put(&format!("settings/{}", "ab".repeat(32)), vec![])).unwrap();
    let settings = world.vault.settings(now).unwrap();
    assert_eq!((settings.delete_delay, settings.unreadable.len()), (9 * DAY, 1));
    assert!(world.vault.set_delete_delay(10 * DAY).unwrap());
    assert_eq!(world.vault.delays().unwrap().newest(), 10 * DAY);
}

#[test]
fn what_is_in_the_trash_is_no_parent_and_the_chain_goes_on() {
    let mut world = World::new(2, None);
    world.forget(&[1]).unwrap();
    world.back_up();
    let list = world.list();
    let newest = list.snapshots.last().unwrap();
    assert_eq!((newest.envelope.sequence, newest.envelope.previous), (2, world.ids[1]));
    let asked = backup::BackupRequest { parent: Some(world.ids[1]), ..request(&[world.source.path()]) };
    let outcome = backup::back_up(&world.vault, &asked, &Arc::new(Progress::new()));
    assert!(matches!(outcome, Err(Error::NoSuchSnapshot(_))));
    // Once it is deleted, the mark explains the gap.
    world.vault.wait(world.store.delete(&world.ids[1].snapshot_name())).unwrap();
    assert!(world.list().trash.is_empty());
    let whole = check(&world.vault, ReadData::No, &Arc::new(Progress::new())).unwrap();
    assert_eq!(whole.findings, []);
}

#[test]
fn a_pinned_snapshot_stays_until_the_pin_is_taken_away() {
    let world = World::new(3, None);
    pin(&world.vault, &world.list(), world.ids[0], Until::Unpinned).unwrap();
    let soon = vault::clock::seconds(SystemTime::now()) + 3600;
    pin(&world.vault, &world.list(), world.ids[1], Until::Moment(soon)).unwrap();
    let policy = Policy { keep_last: 1, ..Policy::default() };
    let kept = |reason| Verdict::Keep(vec![reason]);
    assert_eq!(world.judge(&policy), [kept(Reason::Pinned), kept(Reason::Held), kept(Reason::Last)]);
    for places in [&[2, 0][..], &[2, 1]] {
        let error = world.forget(places).unwrap_err();
        let id = world.ids[places[1]].short();
        assert!(error.to_string().contains(&id) && error.hint().unwrap().contains(&format!("unpin {id}")));
    }
    assert_eq!(world.live(), [0, 1, 2], "all or nothing");
    let pins = world.vault.pins().unwrap();
    assert_eq!(unpin(&world.vault, &pins, world.ids[0]).unwrap(), 1);
    assert_eq!(unpin(&world.vault, &pins, world.ids[2]).unwrap(), 0);
    world.forget(&[0]).unwrap();
    assert!(matches!(
        pin(&world.vault, &world.list(), world.ids[0], Until::Unpinned),
        Err(Error::InTrash(_))
    ));
}

#[test]
fn while_a_pin_cannot_be_read_nothing_is_forgotten() {
    let world = World::new(2, None);
    let name = format!("pins/{}", "ab".repeat(32));
    world.vault.wait(world.store.put(&name, vec![])).unwrap();
    let error = world.forget(&[0]).unwrap_err();
    assert!(error.category() == Category::Damaged && error.to_string().contains(&name), "{error}");
    assert_eq!(world.live(), [0, 1]);
}

#[test]
fn what_lacks_a_pack_is_not_the_newest_good_one() {
    let world = World::new(3, None);
    let list = world.list();
    let packs = |place: usize| -> Vec<_> {
        let needs = &list.snapshots[place].envelope.needs;
        needs.iter().map(|need| need.object).collect()
    };
    let own = packs(2).into_iter().find(|object| !packs(1).contains(object)).unwrap();
    let policy = Policy { keep_last: 1, ..Policy::default() };
    let gone = Verdict::Forget(Dropped::NoRule);
    let last = Verdict::Keep(vec![Reason::Last]);
    assert_eq!(world.judge(&policy), [gone.clone(), gone.clone(), last.clone()]);
    world.vault.wait(world.store.delete(&own.pack_name())).unwrap();
    assert_eq!(world.judge(&policy), [gone, last, Verdict::Keep(vec![Reason::NotGood])]);
}

#[test]
fn backups_of_different_paths_are_judged_apart() {
    let world = World::new(2, None);
    let other = tempfile::tempdir().unwrap();
    std::fs::write(other.path().join("file"), "x").unwrap();
    let id = run(&world.vault, other.path()).snapshot.unwrap();
    let policy = Policy { keep_last: 1, ..Policy::default() };
    let (list, now) = (world.list(), SystemTime::now());
    let kept = |group_by: GroupBy, filter: &Filter| -> Vec<Vec<bool>> {
        let groups = judge(&world.vault, &list, filter, &policy, group_by, &TimeZone::UTC, now).unwrap();
        let kept = |group: &Vec<backup::Judged>| group.iter().map(|one| one.verdict.is_kept()).collect();
        groups.iter().map(kept).collect()
    };
    let all = Filter::default();
    assert_eq!(kept(GroupBy::default(), &all), [vec![false, true], vec![true]]);
    let by_host = GroupBy { system: false, host: true, paths: false };
    assert_eq!(kept(by_host, &all), [[false, false, true]]);
    let path = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let narrow = Filter { paths: vec![path(world.source.path())], ..Filter::default() };
    assert_eq!(kept(by_host, &narrow), [[false, true]], "what is not meant is not judged");
    assert_eq!(list.snapshots.last().unwrap().id, id);
}

#[test]
fn damaged_snapshots_go_when_they_are_named() {
    let world = World::new(2, None);
    let name = world.ids[0].snapshot_name();
    let mut bytes = world.vault.wait(world.store.get(&name, u64::MAX)).unwrap().to_vec();
    bytes[100] ^= 1;
    world.vault.wait(world.store.replace(&name, vec![bytes.into()])).unwrap();
    let list = world.list();
    assert_eq!(list.damaged.len(), 1);
    let text = world.ids[0].to_string();
    assert!(list.find(&text, &Filter::default()).is_err());
    assert_eq!(list.find_id_of(&text[..10], &Filter::default()).unwrap(), world.ids[0]);
    world.forget(&[0]).unwrap();
    let list = world.list();
    assert!(list.damaged.is_empty() && list.trash[0].snapshot.is_err());
    world.undelete(0).unwrap();
    assert_eq!(world.list().damaged.len(), 1);
}

#[test]
fn a_key_that_can_only_add_forgets_nothing() {
    let world = World::new(1, None);
    let added = backup::NewSlot {
        credential: backup::Credential::recognise(backup::SecretText::new("machine".into())),
        write_only: true,
        ..slot()
    };
    world.vault.add_slot(&added).unwrap();
    let vault = Vault::open(world.store.clone(), &added.credential, world.cache.path()).unwrap();
    let list = SnapshotList::load(&vault).unwrap();
    assert!(forget(&vault, &list, &world.ids, Dropped::Named, false).is_err());
    assert!(vault.set_delete_delay(DAY).is_err());
    assert!(pin(&vault, &list, world.ids[0], Until::Unpinned).is_err());
    assert_eq!(world.live(), [0]);
}

#[test]
fn the_delay_a_vault_was_made_with_is_in_its_descriptor() {
    let (store, cache) = (Arc::new(MemoryStore::new()), tempfile::tempdir().unwrap());
    let far: Result<_, _> =
        Vault::create_with(store.clone(), &[slot()], cache.path(), &settings(Some(9999 * DAY)));
    assert!(matches!(far, Err(Error::Setting(_))));
    let vault =
        Vault::create_with(store.clone(), &[slot()], cache.path(), &settings(Some(30 * DAY))).unwrap();
    assert_eq!(vault.delays().unwrap().newest(), 30 * DAY);
    let again = open(store, cache.path());
    assert_eq!(again.settings(SystemTime::now()).unwrap().in_force, 30 * DAY);
    let vault = create(Arc::new(MemoryStore::new()), cache.path());
    assert_eq!(vault.delays().unwrap().newest(), 7 * DAY);
}
