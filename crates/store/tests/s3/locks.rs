//! Locked objects and older versions on a real gateway.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use store::versions::Versioned;
use store::{Kind, Location, Lock, LockMode, StorageClass, Store};

use super::{bucket, bucket_with, bytes, chain, gateway, open, open_with, settings};
use crate::survey::configure_versions;

/// A bucket whose objects can be locked.
fn lockable(name: &str) -> Arc<dyn Store> {
    let lock =
        ["-H", "x-amz-bucket-object-lock-enabled: true", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"];
    bucket_with("PUT", name, &lock);
    open_with(&format!("s3://{name}/a b/c"), &[]).unwrap()
}

fn versions_of(location: &str) -> Arc<dyn Versioned> {
    Location::parse(location).unwrap().open_versioned_with(&settings(&[])).unwrap()
}

/// In whole seconds, as locks are.
fn in_seconds(seconds: u64) -> SystemTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    SystemTime::UNIX_EPOCH + Duration::from_secs(now + seconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_locked_stays_until_the_lock_ends() {
    let store = lockable("lock-ends");
    let lock = Lock { until: in_seconds(3), mode: LockMode::Compliance };
    assert!(store.has_locks() && store.can_lock().await.unwrap());
    store.put_locked("packs/a", bytes("a"), None, lock).await.unwrap();
    assert_eq!(store.locked("packs/a").await.unwrap(), Some(lock));
    assert_eq!(store.get("packs/a", 9).await.unwrap(), "a");

    let refused = store.delete("packs/a").await.unwrap_err();
    assert_eq!(refused.kind, Kind::Locked, "{}", chain(&refused));
    assert!(chain(&refused).contains("locked until 20"), "{}", chain(&refused));
    assert_eq!(store.get("packs/a", 9).await.unwrap(), "a", "it is not hidden");

    // What is there is left alone, and so is its lock.
    let later = Lock { until: in_seconds(600), ..lock };
    store.put_locked("packs/a", bytes("b"), None, later).await.unwrap();
    assert_eq!(store.get("packs/a", 9).await.unwrap(), "a");
    assert_eq!(store.locked("packs/a").await.unwrap(), Some(lock));

    while store.locked("packs/a").await.unwrap().is_some() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    store.delete("packs/a").await.unwrap();
    assert_eq!(store.stat("packs/a").await.unwrap_err().kind, Kind::NotFound);
    assert!(versions_of("s3://lock-ends/a%20b/c").versions("").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_made_longer_and_never_shorter() {
    let store = lockable("lock-longer");
    let until = |seconds| Lock { until: in_seconds(seconds), mode: LockMode::Governance };
    store.put("packs/a", bytes("a")).await.unwrap();
    assert_eq!(store.locked("packs/a").await.unwrap(), None);
    let (first, second) = (until(100), until(200));
    for (asked, found) in [(first, first), (second, second), (first, second)] {
        store.lock("packs/a", asked).await.unwrap();
        assert_eq!(store.locked("packs/a").await.unwrap(), Some(found));
    }
    // Nor weaker; a stricter one counts for a key that may change locks.
    let strict = |lock: Lock| Lock { mode: LockMode::Compliance, ..lock };
    let third = Lock { until: in_seconds(300), ..first };
    for (asked, found) in [(strict(second), strict(second)), (third, strict(third))] {
        store.lock("packs/a", asked).await.unwrap();
        assert_eq!(store.locked("packs/a").await.unwrap(), Some(found));
    }
    assert_eq!(store.lock("packs/b", first).await.unwrap_err().kind, Kind::NotFound);
    // Hidden is all that it can be.
    store.discard("packs/a").await.unwrap();
    assert_eq!(store.stat("packs/a").await.unwrap_err().kind, Kind::NotFound);
    store.discard("packs/a").await.unwrap();
    let versions = versions_of("s3://lock-longer/a%20b/c").versions("packs/").await.unwrap();
    let kinds: Vec<_> = versions.iter().map(|version| version.is_deletion).collect();
    assert_eq!(kinds, [true, false], "{versions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn class_and_lock_go_together() {
    let store = lockable("lock-class");
    let lock = Lock { until: in_seconds(100), mode: LockMode::Governance };
    let class = StorageClass::new("STANDARD").unwrap();
    store.put_locked("packs/a", bytes("a"), Some(&class), lock).await.unwrap();
    assert_eq!(store.locked("packs/a").await.unwrap(), Some(lock));
    // 20 MB in several parts, in one request.
    let large = vec![Bytes::from(vec![7; 10_000_000]); 2];
    store.put_locked("packs/b", large, None, lock).await.unwrap();
    assert_eq!(store.stat("packs/b").await.unwrap().size, 20_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_lock_says_so() {
    let lock = Lock { until: in_seconds(100), mode: LockMode::Governance };
    bucket("PUT", "lock-never");
    bucket("PUT", "lock-versioned");
    configure_versions("lock-versioned", "Enabled");
    for name in ["lock-never", "lock-versioned"] {
        let store = open_with(&format!("s3://{name}"), &[]).unwrap();
        assert!(!store.can_lock().await.unwrap());
        let error = store.put_locked("packs/a", bytes("a"), None, lock).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported, "{}", chain(&error));
        assert!(error.hint().contains("made with object lock"), "{}", error.hint());
        store.put("packs/a", bytes("a")).await.unwrap();
        let error = store.lock("packs/a", lock).await.unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported, "{}", chain(&error));
        assert_eq!(store.locked("packs/a").await.unwrap(), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_leaves_no_version_behind() {
    bucket("PUT", "no-version-left");
    configure_versions("no-version-left", "Enabled");
    let location = "s3://no-version-left/x%25y";
    let (store, versions) = (open_with(location, &[]).unwrap(), versions_of(location));
    for round in ["a", "b", "c"] {
        store.replace("leases/1", bytes(round)).await.unwrap();
        store.replace("leases/1-other", bytes(round)).await.unwrap();
    }
    let found = versions.versions("leases/").await.unwrap();
    assert_eq!(found.len(), 6);
    assert_eq!(found.iter().filter(|version| version.is_current).count(), 2);
    assert_eq!(versions.get_version(&found[0], 9).await.unwrap(), "c", "the newest first");
    assert_eq!(versions.get_version(&found[2], 9).await.unwrap(), "a");
    // A process that has written nothing does not know that versions are kept.
    open_with(location, &[]).unwrap().delete("leases/1").await.unwrap();
    let left = versions.versions("").await.unwrap();
    assert!(left.len() == 3 && left.iter().all(|version| version.name == "leases/1-other"), "{left:?}");
    store.delete("leases/1-other").await.unwrap();
    store.delete("never/there").await.unwrap();
    assert!(versions.versions("").await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_comes_back() {
    let store = lockable("comes-back");
    let location = "s3://comes-back/a%20b/c";
    let versions = versions_of(location);
    let lock = Lock { until: in_seconds(100), mode: LockMode::Governance };
    let later = Lock { until: in_seconds(200), ..lock };
    for name in ["deleted", "overwritten", "locked-over"] {
        store.put_locked(name, bytes("right"), None, lock).await.unwrap();
    }
    store.discard("deleted").await.unwrap();
    store.replace("overwritten", bytes("wrong")).await.unwrap();
    store.replace("locked-over", bytes("wrong")).await.unwrap();
    store.lock("locked-over", later).await.unwrap();
    for version in versions.versions("").await.unwrap() {
        if version.is_deletion || version.is_current {
            continue;
        }
        assert_eq!(versions.get_version(&version, 99).await.unwrap(), "right");
        versions.make_current(&version, Some(lock)).await.unwrap();
        assert_eq!(store.get(&version.name, 99).await.unwrap(), "right", "{}", version.name);
        assert_eq!(store.locked(&version.name).await.unwrap(), Some(lock), "{}", version.name);
    }
    let left = |name: &'static str| {
        let versions = versions.clone();
        async move { versions.versions(name).await.unwrap().len() }
    };
    assert_eq!(left("").await, 1 + 1 + 3, "what could not be removed is behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_there_are_no_versions_each_object_is_its_only_one() {
    let store = open("unversioned");
    store.put("a/b", bytes("x")).await.unwrap();
    let location = format!("s3://{}/unversioned", gateway().setting("BUCKET"));
    let found = versions_of(&location).versions("").await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].is_current && !found[0].is_deletion && found[0].size == 1);
}
