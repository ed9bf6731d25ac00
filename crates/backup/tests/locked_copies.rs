//! Copies in a bucket that locks objects, on a real gateway: what is there is locked, kept so, and goes when its lock ends.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use backup::{
    CopyRequest, Dropped, FirstSettings, LockSetting, Progress, ReadData, SnapshotList, Vault, check, copy,
    forget,
};
use services::Service;
use store::versions::Versioned;
use store::{Kind, Location, LockMode, MemoryStore, Store};
use support::{contents, noise, on_disk, open, run, slot};
use vault::check::Unwatched;
use vault::collect::{self, Options, Report};
use vault::locking::{Locking, is_lockable};
use vault::name;

/// Long enough for a copy to end before half of it is over, and short enough to be waited for.
const LOCK: LockSetting = LockSetting { period: Duration::from_secs(20), mode: LockMode::Compliance };

fn gateway() -> &'static Service {
    static GATEWAY: OnceLock<Service> = OnceLock::new();
    GATEWAY.get_or_init(|| Service::start("ceph"))
}

fn look_up(key: &str) -> Option<String> {
    let known = ["AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"];
    known.contains(&key).then(|| gateway().setting(key).to_owned())
}

/// A bucket that was made with object lock.
fn bucket(name: &str) -> (Arc<dyn Store>, Arc<dyn Versioned>) {
    let setting = |name| gateway().setting(name);
    let user = format!("{}:{}", setting("AWS_ACCESS_KEY_ID"), setting("AWS_SECRET_ACCESS_KEY"));
    let headers = ["x-amz-bucket-object-lock-enabled: true", "x-amz-content-sha256: UNSIGNED-PAYLOAD"];
    let mut make = Command::new("curl");
    make.args(["-fsS", "-X", "PUT", "--aws-sigv4", "aws:amz:us-east-1:s3", "-u", &user]);
    make.args(headers.into_iter().flat_map(|header| ["-H", header]));
    assert!(make.arg(format!("{}/{name}", setting("AWS_ENDPOINT_URL"))).status().unwrap().success());
    let location = Location::parse(&format!("s3://{name}/vault")).unwrap();
    (location.open_with(&look_up).unwrap(), location.open_versioned_with(&look_up).unwrap())
}

fn version(top: &Path, number: u64) {
    std::fs::write(top.join("large"), noise(number, 2 << 20)).unwrap();
    std::fs::write(top.join(format!("small-{number}")), noise(100 + number, 5000)).unwrap();
}

fn names(vault: &Vault) -> Vec<String> {
    vault.wait(vault.store().list("")).unwrap().into_iter().map(|object| object.name).collect()
}

/// Those that are to be locked and are not, at this moment.
fn unlocked(vault: &Vault) -> Vec<String> {
    let mut names = names(vault);
    names.retain(|name| is_lockable(name) && vault.wait(vault.store().locked(name)).unwrap().is_none());
    names
}

/// A cleanup as it is with a store on another machine, but for the hours that it would wait.
fn clean(vault: &Arc<Vault>) -> Report {
    let mut options = Options::new(Duration::ZERO, true);
    (options.settle, options.unfinished) = (Duration::from_secs(1), Duration::ZERO);
    (options.lock, options.lock_longest) = (vault.lock_setting().unwrap(), LOCK.period);
    let store = &Locking::with(vault.store().clone(), options.lock);
    let random = &mut content::random::identity;
    vault.wait(collect::cleanup(store, vault.id(), &options, random, &Unwatched)).unwrap()
}

fn copied(source: &Vault, target: &Arc<dyn Store>, lock: Option<LockSetting>) -> backup::CopyReport {
    let request = CopyRequest { lock, verify: true, ..CopyRequest::default() };
    let report = copy(source.store(), target, &request, &Arc::new(Progress::new())).unwrap();
    assert!(report.is_complete(), "{report:?}");
    report
}

/// That the last so many versions are what the snapshots give back.
fn assert_whole(vault: &Arc<Vault>, top: &Path, expected: usize) {
    let list = SnapshotList::load(vault).unwrap().snapshots;
    assert_eq!(list.len(), expected);
    assert!(contents(vault, list.last().unwrap(), top) == on_disk(top), "the newest differs");
    let report = check(vault, ReadData::All, &Arc::new(Progress::new())).unwrap();
    assert!(!report.is_damaged(), "{:#?}", report.findings);
}

#[test]
fn a_copy_is_locked_kept_locked_and_cleaned_up_when_its_locks_end() {
    let (source, cache, far_cache) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = FirstSettings { delete_delay: Some(Duration::ZERO), ..FirstSettings::default() };
    let vault = Vault::create_with(Arc::new(MemoryStore::new()), &[slot()], cache.path(), &settings).unwrap();
    for number in 0..2 {
        version(source.path(), number);
        run(&vault, source.path());
    }
    let (target, versioned) = bucket("locked-copies");
    assert_eq!(copied(&vault, &target, Some(LOCK)).copied.len(), 2);
    let far = open(target.clone(), far_cache.path());
    assert!(far.set_lock(Some(&LOCK)).unwrap(), "the copy brought no lock that it could not sign");
    assert_eq!(unlocked(&far), Vec::<String>::new());
    // Whoever has the credential removes nothing of it, by name or by version.
    let protected: Vec<String> = names(&far).into_iter().filter(|name| is_lockable(name)).collect();
    assert!(protected.iter().any(|name| name.starts_with(name::PACKS)), "{protected:?}");
    for name in &protected {
        assert_eq!(far.wait(target.delete(name)).unwrap_err().kind, Kind::Locked, "{name}");
    }
    for version in far.wait(versioned.versions("")).unwrap() {
        let removed = far.wait(versioned.remove_version(&version));
        assert_eq!(
            removed.is_err_and(|error| error.kind == Kind::Locked),
            is_lockable(&version.name),
            "{version:?}"
        );
    }
    assert_whole(&far, source.path(), 2);

    // A later copy is told nothing, and locks as the copy's own settings say, whatever the vault's say now.
    vault.set_delete_delay(Duration::from_secs(60)).unwrap();
    vault.set_delete_delay(Duration::from_secs(120)).unwrap();
    version(source.path(), 2);
    run(&vault, source.path());
    let before = names(&far);
    assert_eq!(copied(&vault, &target, None).copied.len(), 1);
    let came: Vec<String> =
        names(&far).into_iter().filter(|name| is_lockable(name) && !before.contains(name)).collect();
    assert!(came.len() > 3, "a snapshot with its packs and fragment: {came:?}");
    assert!(came.iter().all(|name| far.wait(target.locked(name)).unwrap().is_some()), "{came:?}");

    // A cleanup makes longer what is less than half a period away.
    std::thread::sleep(LOCK.period * 2 / 3);
    let begun = SystemTime::now();
    let report = clean(&far);
    assert!(
        report.held.extended as usize >= before.iter().filter(|name| is_lockable(name)).count() - 1,
        "{report:?}"
    );
    for name in names(&far).iter().filter(|name| is_lockable(name)) {
        let lock = far.wait(target.locked(name)).unwrap().unwrap();
        assert!(lock.until + Duration::from_secs(1) >= begun + LOCK.period / 2, "{name}: {lock:?}");
    }

    // What is forgotten there is condemned, stays as long as it is locked, and goes then.
    let list = SnapshotList::load(&far).unwrap();
    let ids: Vec<_> = list.snapshots.iter().take(2).map(|snapshot| snapshot.id).collect();
    forget(&far, &list, &ids, Dropped::Named, false).unwrap();
    let (mut was_locked, mut deleted) = (false, 0);
    for _ in 0..30 {
        // Until the cleanup before is over for certain.
        std::thread::sleep(Duration::from_secs(3));
        let report = clean(&far);
        was_locked |= report.locked > 0;
        deleted += report.snapshots_deleted;
        if deleted == 2 {
            break;
        }
    }
    assert!(was_locked && deleted == 2, "{was_locked} {deleted}");
    assert!(ids.iter().all(|id| !names(&far).contains(&id.snapshot_name())));
    assert_whole(&far, source.path(), 1);
    assert_eq!(unlocked(&far).iter().filter(|name| name.starts_with(name::SNAPSHOTS)).count(), 0);
    // And what was forgotten there does not come back.
    assert!(copied(&vault, &target, None).copied.is_empty());
    assert_whole(&far, source.path(), 1);
}
