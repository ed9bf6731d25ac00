//! Cleanups of a vault whose objects are locked.

use store::LockMode;

use super::*;
use crate::locking::Locking;
use crate::locks::Locks;
use crate::settings::LockSetting;

const DAY: u64 = 86_400;

fn for_seconds(seconds: u64) -> LockSetting {
    LockSetting { period: Duration::from_secs(seconds), mode: LockMode::Governance }
}

/// A toy whose objects are locked as they are written, and the record of what is asked of its store.
fn locked(setting: Option<LockSetting>) -> (Toy, Arc<Recorded>) {
    let recorded = Arc::new(Recorded::new(Arc::new(MemoryStore::with_locks())));
    (Toy { store: Locking::with(recorded.clone(), setting), count: 0 }, recorded)
}

/// A descriptor, a key slot, two snapshots of two packs: eight objects that are needed.
async fn fill(toy: &mut Toy) -> (SnapshotId, SnapshotId) {
    let slot = ObjectHash::of(b"slot").slot_name();
    for name in [name::DESCRIPTOR, &slot] {
        toy.store.put(name, vec![Bytes::from_static(b"x")]).await.unwrap();
    }
    let (old, new) = (toy.pack(2).await, toy.pack(2).await);
    (toy.commit(&[(old, &[0, 1])]).await, toy.commit(&[(new, &[0, 1])]).await)
}

async fn clean(toy: &mut Toy, setting: LockSetting) -> Report {
    toy.try_clean(|options| options.lock = Some(setting)).await.unwrap()
}

/// How often a lock was asked for, and made longer.
fn requests(recorded: &Recorded) -> (usize, usize) {
    let of = |folder| (recorded.count(Operation::Stat, folder), recorded.count(Operation::Lock, folder));
    let folders = ["packs/", "index/", "snapshots/", "keys/", "settings/", name::DESCRIPTOR].map(of);
    recorded.forget_calls();
    folders.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

#[tokio::test]
async fn what_is_needed_is_kept_locked_in_few_requests() {
    let (mut toy, recorded) = locked(Some(for_seconds(10 * DAY)));
    fill(&mut toy).await;
    recorded.forget_calls();
    // No record names them yet: each is asked for, once.
    let report = clean(&mut toy, for_seconds(10 * DAY)).await;
    assert_eq!((requests(&recorded), report.held.objects), ((8, 0), 8));
    assert!(report.held.until.unwrap() > SystemTime::now() + Duration::from_secs(9 * DAY));
    let report = clean(&mut toy, for_seconds(10 * DAY)).await;
    let (asked, longer) = requests(&recorded);
    assert!(
        (1..=4).contains(&asked) && longer == 0,
        "nothing is due, and a few are proved: {asked} {longer}"
    );
    assert_eq!(report.held.asked, asked as u64);
    // Less than half of the period is left.
    let report = clean(&mut toy, for_seconds(30 * DAY)).await;
    let (asked, longer) = requests(&recorded);
    assert!(asked <= 4 && longer == 8 && report.held.extended == 8, "{asked} {longer}");
    assert!(report.held.until.unwrap() > SystemTime::now() + Duration::from_secs(29 * DAY));
    // One more backup: only what is new is asked for.
    let pack = toy.pack(1).await;
    toy.commit(&[(pack, &[0])]).await;
    recorded.forget_calls();
    clean(&mut toy, for_seconds(30 * DAY)).await;
    let (asked, longer) = requests(&recorded);
    assert!((4..=7).contains(&asked) && longer == 3, "three are new: {asked} {longer}");
    // A record that is lost is made anew by asking.
    let records = toy.store.list(name::LOCKS).await.unwrap();
    assert_eq!(records.len(), 1);
    toy.store.delete(&records[0].name).await.unwrap();
    clean(&mut toy, for_seconds(30 * DAY)).await;
    assert_eq!(requests(&recorded), (11, 0));
}

/// Whoever may write into the store says that all is locked for long, and waits.
#[tokio::test]
async fn a_forged_record_is_not_believed() {
    for forged in [100 * 365 * DAY, DAY] {
        let (mut toy, recorded) = locked(None);
        fill(&mut toy).await;
        let until = crate::clock::seconds(SystemTime::now() + Duration::from_secs(forged));
        let names = recorded.list("").await.unwrap().into_iter().map(|object| (object.name, until));
        let mut forgery = Locks::default();
        forgery.until.extend(names);
        forgery.write(recorded.as_ref(), VAULT, [9; 16]).await.unwrap();
        let report = clean(&mut toy, for_seconds(DAY)).await;
        assert_eq!((report.held.objects, report.held.extended), (8, 8), "{forged}");
        for object in recorded.list("packs/").await.unwrap() {
            assert!(recorded.locked(&object.name).await.unwrap().is_some());
        }
    }
}

#[tokio::test]
async fn what_was_stored_without_a_lock_gets_one() {
    let (mut toy, recorded) = locked(None);
    fill(&mut toy).await;
    recorded.forget_calls();
    let report = clean(&mut toy, for_seconds(DAY)).await;
    assert_eq!((requests(&recorded), report.held.objects), ((8, 8), 8));
    for folder in ["packs/", "index/", "snapshots/", "keys/"] {
        for object in toy.store.list(folder).await.unwrap() {
            assert_eq!(toy.store.delete(&object.name).await.unwrap_err().kind, Kind::Locked);
        }
    }
}

#[tokio::test]
async fn what_is_locked_stays_condemned_until_the_lock_ends() {
    let setting = for_seconds(2);
    let (mut toy, recorded) = locked(Some(setting));
    let (old, new) = fill(&mut toy).await;
    let begun = SystemTime::now();
    toy.forget(old).await;
    recorded.forget_calls();
    let report = clean(&mut toy, setting).await;
    assert_eq!((report.packs_condemned, report.packs_deleted, report.snapshots_deleted), (1, 0, 0));
    assert_eq!(report.locked, 3, "a snapshot, its pack, and the fragment that names it");
    assert!(report.bytes_locked > 2 * SEGMENT as u64);
    assert!(report.locked_until.unwrap() <= SystemTime::now() + Duration::from_secs(3));
    assert!(begun.elapsed().unwrap() < Duration::from_secs(2), "too slow to show anything");
    for folder in ["packs/", "index/", "snapshots/"] {
        assert_eq!(recorded.count(Operation::Delete, folder), 0, "{folder} was not even tried");
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let report = clean(&mut toy, setting).await;
    assert_eq!((report.packs_deleted, report.snapshots_deleted, report.locked), (1, 1, 0));
    assert!(toy.is_whole(new).await && !toy.is_whole(old).await);
    assert_eq!(toy.packs().await.len(), 1);
    let known = Locks::read(toy.store.as_ref(), VAULT).await.unwrap();
    let packs = known.until.keys().filter(|name| name.starts_with("packs/")).count();
    assert_eq!(packs, 1, "what is gone is forgotten");
}

#[tokio::test]
async fn a_snapshot_that_is_locked_keeps_its_packs() {
    let (mut toy, recorded) = locked(None);
    let (old, _) = fill(&mut toy).await;
    let lock = for_seconds(DAY).from(SystemTime::now());
    recorded.lock(&old.snapshot_name(), lock).await.unwrap();
    toy.forget(old).await;
    // The period is over for everything else.
    let report = clean(&mut toy, for_seconds(DAY)).await;
    assert_eq!((report.packs_deleted, report.snapshots_deleted), (0, 0));
    assert_eq!(toy.packs().await.len(), 2);
    assert!(toy.is_whole(old).await);
}

#[tokio::test]
async fn a_lock_that_nobody_knew_of_is_no_failure() {
    let (mut toy, _) = locked(Some(for_seconds(DAY)));
    let (old, _) = fill(&mut toy).await;
    toy.forget(old).await;
    // As in a bucket that locks by itself: the vault's settings know nothing of it.
    for _ in 0..2 {
        let report = toy.clean().await;
        assert_eq!((report.packs_deleted, report.snapshots_deleted), (0, 0));
        assert!(report.locked >= 2 && report.locked_until.is_none(), "{report:?}");
        assert_eq!(toy.packs().await.len(), 2);
    }
}

#[tokio::test]
async fn a_store_that_cannot_lock_is_told_and_cleaned_all_the_same() {
    let mut toy = Toy::new();
    let (old, _) = fill(&mut toy).await;
    toy.forget(old).await;
    let report = clean(&mut toy, for_seconds(DAY)).await;
    assert!(report.held.is_impossible);
    assert_eq!((report.held.objects, report.packs_deleted), (0, 1));
}
