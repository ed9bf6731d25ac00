//! What is kept beside a store: it saves requests, is never trusted, and never stands in the way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use store::{Cached, MemoryStore, Part, Recorded, Store, conformance};

const LIMIT: u64 = 1 << 20;

fn in_packs(name: &str) -> bool {
    name.starts_with("packs/")
}

fn cached(inner: &Arc<Recorded>, folder: &Path) -> Cached {
    Cached::new(inner.clone(), in_packs, folder, LIMIT)
}

async fn filled() -> Arc<Recorded> {
    let inner = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    for (name, byte) in [("packs/a", 1), ("packs/b", 2), ("other/a", 3)] {
        inner.put(name, vec![vec![byte; 1000].into()]).await.unwrap();
    }
    inner.forget_calls();
    inner
}

async fn read_all(store: &Cached, name: &str) {
    let byte = store.get(name, 1000).await.unwrap()[0];
    assert_eq!(store.get(name, 2000).await.unwrap(), vec![byte; 1000]);
    assert_eq!(store.get_range(name, 10..20).await.unwrap(), vec![byte; 10]);
    assert_eq!(store.get_tail(name, 7).await.unwrap(), (Bytes::from(vec![byte; 7]), 1000));
    assert_eq!(store.get_tail(name, 7000).await.unwrap(), (Bytes::from(vec![byte; 1000]), 1000));
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let scratch = tempfile::tempdir().unwrap();
    let inner = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    conformance::run(Arc::new(cached(&inner, scratch.path()))).await.unwrap();
}

#[tokio::test]
async fn what_never_changes_is_asked_for_once() {
    let scratch = tempfile::tempdir().unwrap();
    let inner = filled().await;
    read_all(&cached(&inner, &scratch.path().join("new")), "packs/a").await;
    assert_eq!(inner.calls().len(), 4);
    inner.forget_calls();
    // Another process, later.
    read_all(&cached(&inner, &scratch.path().join("new")), "packs/a").await;
    assert_eq!(inner.calls().len(), 0);
    for _ in 0..2 {
        read_all(&cached(&inner, &scratch.path().join("new")), "other/a").await;
    }
    assert_eq!(inner.calls().len(), 10);
}

#[tokio::test]
async fn what_was_remembered_is_not_asked_for() {
    let scratch = tempfile::tempdir().unwrap();
    let inner = filled().await;
    let store = cached(&inner, scratch.path());
    store.remember_range("packs/a", 5..9, vec![1; 4].into()).await;
    store.remember_tail("packs/a", 3, &[1; 3], 1000).await;
    store.remember_range("other/a", 5..9, vec![1; 4].into()).await;
    assert_eq!(store.get_range("packs/a", 5..9).await.unwrap(), vec![1; 4]);
    assert_eq!(store.get_tail("packs/a", 3).await.unwrap(), (Bytes::from(vec![1; 3]), 1000));
    assert_eq!(inner.calls().len(), 0);
    assert_eq!(store.get_range("other/a", 5..9).await.unwrap(), vec![3; 4]);
    assert_eq!(inner.calls().len(), 1);
}

#[tokio::test]
async fn files_that_were_damaged_or_exchanged_are_not_believed() {
    let scratch = tempfile::tempdir().unwrap();
    let inner = filled().await;
    let store = cached(&inner, scratch.path());
    let files =
        || -> Vec<_> { fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path()).collect() };
    read_all(&store, "packs/a").await;
    for file in files() {
        let mut bytes = fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&file, bytes).unwrap();
    }
    read_all(&store, "packs/a").await;
    assert_eq!(inner.calls().len(), 8);
    read_all(&store, "packs/b").await;
    let some = fs::read(&files()[0]).unwrap();
    for file in files() {
        fs::write(file, &some).unwrap();
    }
    read_all(&store, "packs/a").await;
    read_all(&store, "packs/b").await;
    for file in files() {
        fs::write(file, "short").unwrap();
    }
    read_all(&store, "packs/a").await;
}

#[tokio::test]
async fn it_stays_within_its_limit_and_keeps_what_was_used_last() {
    let scratch = tempfile::tempdir().unwrap();
    let inner = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
    let store = cached(&inner, scratch.path());
    for number in 0..100 {
        let name = format!("packs/{number}");
        inner.put(&name, vec![vec![0; 50_000].into()]).await.unwrap();
        store.get(&name, LIMIT).await.unwrap();
        let kept: u64 =
            fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
        assert!(kept <= LIMIT, "{kept} bytes after {number}");
    }
    inner.forget_calls();
    store.get("packs/99", LIMIT).await.unwrap();
    assert_eq!(inner.calls().len(), 0);
    // One that is too large leaves the rest where it is.
    inner.put("packs/large", vec![vec![0; 900_000].into()]).await.unwrap();
    store.get("packs/large", LIMIT).await.unwrap();
    inner.forget_calls();
    store.get("packs/99", LIMIT).await.unwrap();
    assert_eq!(inner.calls().len(), 0);
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_stops_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("file"), "not a folder").unwrap();
    let inner = filled().await;
    read_all(&cached(&inner, &scratch.path().join("file")), "packs/a").await;
    assert_eq!(inner.calls().len(), 5);
}

#[tokio::test]
async fn what_is_forgotten_is_asked_for_again_and_nothing_else() {
    let scratch = tempfile::tempdir().unwrap();
    let inner = filled().await;
    let store = cached(&inner, scratch.path());
    read_all(&store, "packs/a").await;
    for part in [Part::Whole, Part::Range(10..20), Part::Tail(7)] {
        inner.forget_calls();
        store.forget("packs/a", &part).await;
        store.forget("packs/b", &part).await;
        read_all(&store, "packs/a").await;
        assert_eq!(inner.calls().len(), 1, "{part:?}");
    }
}
