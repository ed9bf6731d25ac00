//! What each wrapper adds. Time here is tokio's paused clock: it moves only when every task waits, so the numbers
//! are exact and no test depends on the machine.

#![allow(clippy::unwrap_used, reason = "a test's helper may fail the test")]

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use store::{
    Ahead, Cached, Fault, Faulty, Kind, Limited, Lock, LockMode, MemoryStore, ObjectInfo, Operation,
    Patience, Rates, ReadOnly, Recorded, Retrying, Rule, StorageClass, Store, StoreError, WarmTier, Warming,
    Warmth, When,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

fn object(length: usize) -> Vec<Bytes> {
    vec![Bytes::from(vec![7; length])]
}

async fn names(store: &dyn Store) -> Vec<String> {
    store.list("").await.unwrap().into_iter().map(|object: ObjectInfo| object.name).collect()
}

#[tokio::test]
async fn recorded_counts_costs() {
    let store = Recorded::new(Arc::new(MemoryStore::new()));
    store.put("packs/a", object(30)).await.unwrap();
    store.get("packs/a", 30).await.unwrap();
    store.get_range("packs/a", 5..9).await.unwrap();
    store.get_tail("packs/a", 7).await.unwrap();
    store.get("packs/b", 30).await.unwrap_err();
    store.list("packs/").await.unwrap();
    let calls: Vec<_> =
        store.calls().into_iter().map(|call| (call.operation, call.bytes, call.failed)).collect();
    assert_eq!(
        calls,
        [
            (Operation::Put, 30, None),
            (Operation::Get, 30, None),
            (Operation::GetRange, 4, None),
            (Operation::GetTail, 7, None),
            (Operation::Get, 0, Some(Kind::NotFound)),
            (Operation::List, 0, None),
        ]
    );
    assert_eq!(store.count(Operation::Get, "packs/"), 2);
    assert_eq!(store.count(Operation::Get, "index/"), 0);
    store.forget_calls();
    assert_eq!((store.calls().len(), store.change_count()), (0, 1));
}

#[tokio::test]
async fn recorded_replays_every_crash_point() {
    let inner = Faulty::new(
        Arc::new(MemoryStore::new()),
        0,
        vec![Rule::new(When::Nth(1), Fault::Error(Kind::NoSpace)).on(Operation::Put)],
    );
    let store = Recorded::new(Arc::new(inner));
    store.put("a", object(1)).await.unwrap();
    store.put("failed", object(1)).await.unwrap_err();
    store.put("b", object(2)).await.unwrap();
    store.replace("a", object(3)).await.unwrap();
    store.delete("b").await.unwrap();
    assert_eq!(store.change_count(), 4);
    let expected: [&[(&str, u64)]; 5] =
        [&[], &[("a", 1)], &[("a", 1), ("b", 2)], &[("a", 3), ("b", 2)], &[("a", 3)]];
    for (count, expected) in expected.into_iter().enumerate() {
        let listed = store.replay(count).await.unwrap().list("").await.unwrap();
        let listed: Vec<_> = listed.iter().map(|object| (object.name.as_str(), object.size)).collect();
        assert_eq!(listed, expected, "after {count} changes");
    }
    let base = MemoryStore::new();
    base.put("before", object(1)).await.unwrap();
    let later = store.replay_onto(base.clone(), 1).await.unwrap();
    assert_eq!(names(&later).await, ["a", "before"]);
    assert_eq!(names(&base).await, ["before"], "the copy is one of its own");
}

#[tokio::test]
async fn faulty_errors_before_and_after() {
    let inner = Arc::new(MemoryStore::new());
    let store = Faulty::new(
        inner.clone(),
        0,
        vec![
            Rule::new(When::Nth(0), Fault::Error(Kind::Unavailable)).on(Operation::Put),
            Rule::new(When::From(2), Fault::ErrorAfter(Kind::Other)).on(Operation::Put).under("packs/"),
        ],
    );
    assert_eq!(store.put("packs/a", object(1)).await.unwrap_err().kind, Kind::Unavailable);
    assert_eq!(names(&*inner).await, [""; 0]);
    store.put("packs/b", object(1)).await.unwrap();
    store.put("keys/c", object(1)).await.unwrap();
    assert_eq!(store.put("packs/d", object(1)).await.unwrap_err().kind, Kind::Other);
    assert_eq!(store.put("packs/e", object(1)).await.unwrap_err().kind, Kind::Other);
    assert_eq!(names(&*inner).await, ["keys/c", "packs/b", "packs/d", "packs/e"]);
    assert_eq!(store.dealt(), 3);
}

#[tokio::test]
async fn faulty_damages_what_is_read_and_not_what_is_stored() {
    let inner = Arc::new(MemoryStore::new());
    inner.put("a", object(1000)).await.unwrap();
    let whole = inner.get("a", 1000).await.unwrap();
    for seed in 0..50 {
        let flipping = Faulty::new(inner.clone(), seed, vec![Rule::new(When::Always, Fault::FlipBit)]);
        let bytes = flipping.get("a", 1000).await.unwrap();
        let turned: u32 = bytes.iter().zip(&whole).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!((bytes.len(), turned), (1000, 1));
        let cutting = Faulty::new(inner.clone(), seed, vec![Rule::new(When::Always, Fault::Truncate)]);
        let bytes = cutting.get_range("a", 0..500).await.unwrap();
        assert!(bytes.len() < 500);
        let (bytes, size) = cutting.get_tail("a", 500).await.unwrap();
        assert!(bytes.len() < 500 && size == 1000);
        // A listing has no bytes to damage.
        assert_eq!(names(&cutting).await, ["a"]);
    }
    assert_eq!(inner.get("a", 1000).await.unwrap(), whole);
}

/// The outcome of a run of 100 puts started in the given order.
async fn outcomes(seed: u64, order: impl Iterator<Item = usize>) -> Vec<(usize, bool)> {
    let rules = vec![Rule::new(When::Chance(0.5), Fault::Error(Kind::Other))];
    let store = Arc::new(Faulty::new(Arc::new(MemoryStore::new()), seed, rules));
    let mut tasks = JoinSet::new();
    for number in order {
        let store = store.clone();
        tasks.spawn(async move { (number, store.put(&format!("{number}"), object(1)).await.is_ok()) });
    }
    let mut outcomes = tasks.join_all().await;
    outcomes.sort_unstable();
    outcomes
}

#[tokio::test]
async fn faulty_chance_depends_on_the_seed_and_not_on_the_order() {
    let first = outcomes(1, 0..100).await;
    assert_eq!(first, outcomes(1, (0..100).rev()).await);
    assert_ne!(first, outcomes(2, 0..100).await);
    let failures = first.iter().filter(|(_, ok)| !ok).count();
    assert!((25..75).contains(&failures), "{failures} of 100 at even chances");
}

#[tokio::test(start_paused = true)]
async fn limited_keeps_the_rate_in_each_direction() {
    let rates = Rates { upload: Some(1000), download: Some(500) };
    let store = Arc::new(Limited::new(Arc::new(MemoryStore::new()), rates));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..11 {
        let store = store.clone();
        tasks.spawn(async move { store.put(&format!("{number}"), object(2000)).await });
    }
    tasks.join_all().await;
    // The first goes at once, each of the other ten waits for the two seconds of the one before it.
    assert_eq!(start.elapsed().as_secs(), 20);
    let start = Instant::now();
    for number in 0..11 {
        store.get(&format!("{number}"), 2000).await.unwrap();
    }
    assert_eq!(start.elapsed().as_secs(), 40);
    // Small objects owe too, though not one by one.
    let start = Instant::now();
    for number in 0..1000 {
        store.get_range("0", number..number + 5).await.unwrap();
    }
    assert_eq!(start.elapsed().as_secs(), 4 + 9);
}

#[tokio::test(start_paused = true)]
async fn limited_in_one_direction_leaves_the_other_alone() {
    let store = Limited::new(Arc::new(MemoryStore::new()), Rates { upload: Some(1), download: None });
    let start = Instant::now();
    store.put("a", object(1_000_000)).await.unwrap();
    for _ in 0..100 {
        store.get("a", u64::MAX).await.unwrap();
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn retrying_stops_at_the_deadline_and_only_repeats_what_time_can_heal() {
    let patience = Patience {
        pause_first: Duration::from_secs(1),
        pause_max: Duration::from_secs(10),
        deadline: Duration::from_secs(60),
    };
    let failing = |kind| {
        let rules = vec![Rule::new(When::Always, Fault::Error(kind))];
        let recorded = Arc::new(Recorded::new(Arc::new(Faulty::new(Arc::new(MemoryStore::new()), 0, rules))));
        (recorded.clone(), Retrying::new(recorded, patience))
    };
    let (recorded, store) = failing(Kind::Unavailable);
    let start = Instant::now();
    assert_eq!(store.put("a", object(1)).await.unwrap_err().kind, Kind::Unavailable);
    let waited = start.elapsed();
    assert!(waited > Duration::from_secs(45) && waited <= Duration::from_secs(60), "{waited:?}");
    let tries = recorded.calls().len();
    // Pauses of 1, 2, 4, 8, 10, 10 ... seconds, each shortened by up to a half.
    assert!((8..=15).contains(&tries), "{tries} tries");

    for kind in
        [Kind::NotFound, Kind::NoSpace, Kind::PermissionDenied, Kind::Gone, Kind::Truncated, Kind::Other]
    {
        let (recorded, store) = failing(kind);
        assert_eq!(store.get("a", 1).await.unwrap_err().kind, kind);
        assert_eq!(recorded.calls().len(), 1, "{kind:?} was repeated");
    }
}

/// A store with storage classes, which writes down what is asked of them.
#[derive(Debug, Default)]
struct Classy {
    objects: MemoryStore,
    asked: Mutex<Vec<String>>,
}

impl Classy {
    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }
}

#[async_trait]
impl Store for Classy {
    fn location(&self) -> String {
        self.objects.location()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.objects.put(name, parts).await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.objects.replace(name, parts).await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.objects.get(name, size_max).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.objects.get_range(name, range).await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        self.objects.get_tail(name, length_max).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.objects.stat(name).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.objects.list(prefix).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.objects.delete(name).await
    }

    fn has_classes(&self) -> bool {
        true
    }

    fn check_class(&self, class: &StorageClass) -> Result<(), StoreError> {
        self.note(format!("check {class}"));
        Ok(())
    }

    async fn put_as(&self, name: &str, parts: Vec<Bytes>, class: &StorageClass) -> Result<(), StoreError> {
        self.note(format!("put {name} in {class}"));
        self.objects.put(name, parts).await
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.note(format!("look at {name}"));
        Ok((Warmth::Cold, self.stat(name).await?.size))
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        self.note(format!("warm {name} for {} days", how.days));
        Ok(())
    }
}

#[tokio::test]
async fn storage_classes_are_reached_through_every_wrapper() {
    let (class, how) = (StorageClass::new("GLACIER").unwrap(), Warming { days: 3, tier: WarmTier::Bulk });
    let folder = tempfile::tempdir().unwrap();
    let patience = Patience::default();
    let rates = Rates { upload: Some(1 << 30), download: None };
    type Wrap<'a> = Box<dyn Fn(Arc<dyn Store>) -> Arc<dyn Store> + 'a>;
    let wraps: [(&str, Wrap<'_>); 5] = [
        ("retrying", Box::new(|inner| Arc::new(Retrying::new(inner, patience)))),
        ("limited", Box::new(|inner| Arc::new(Limited::new(inner, rates)))),
        ("cached", Box::new(|inner| Arc::new(Cached::new(inner, |_| true, folder.path(), 1 << 20)))),
        ("recorded", Box::new(|inner| Arc::new(Recorded::new(inner)))),
        ("faulty", Box::new(|inner| Arc::new(Faulty::new(inner, 0, Vec::new())))),
    ];
    let mut wrapped: Vec<(&str, Arc<Classy>, Arc<dyn Store>)> = Vec::new();
    for (name, wrap) in &wraps {
        let inner = Arc::new(Classy::default());
        wrapped.push((name, inner.clone(), wrap(inner)));
    }
    let inner = Arc::new(Classy::default());
    wrapped.push(("ahead", inner.clone(), Arc::new(Ahead::list(inner, &[]).await.unwrap())));
    for (wrapper, inner, store) in wrapped {
        assert!(store.has_classes(), "{wrapper}");
        store.check_class(&class).unwrap();
        store.put_as("packs/a", object(30), &class).await.unwrap();
        assert_eq!(store.warmth("packs/a").await.unwrap(), (Warmth::Cold, 30), "{wrapper}");
        store.warm("packs/a", how).await.unwrap();
        let asked = inner.asked.lock().unwrap().join(", ");
        let expected = "check GLACIER, put packs/a in GLACIER, look at packs/a, warm packs/a for 3 days";
        assert_eq!(asked, expected, "{wrapper}");
    }
    // Whoever may only look neither writes nor spends money.
    let inner = Arc::new(Classy::default());
    inner.put("packs/a", object(30)).await.unwrap();
    let store = ReadOnly::new(inner.clone());
    assert_eq!(store.put_as("packs/b", object(30), &class).await.unwrap_err().kind, Kind::ReadOnly);
    assert_eq!(store.warm("packs/a", how).await.unwrap_err().kind, Kind::ReadOnly);
    assert_eq!(store.warmth("packs/a").await.unwrap().0, Warmth::Cold);
    assert_eq!(*inner.asked.lock().unwrap(), ["look at packs/a"]);
}

#[tokio::test]
async fn a_store_without_classes_says_so() {
    let (class, how) = (StorageClass::new("GLACIER").unwrap(), Warming { days: 3, tier: WarmTier::Bulk });
    let store = MemoryStore::new();
    store.put("packs/a", object(30)).await.unwrap();
    assert!(!store.has_classes());
    assert_eq!(store.warmth("packs/a").await.unwrap(), (Warmth::Warm, 30));
    for outcome in [
        store.check_class(&class),
        store.put_as("packs/b", object(30), &class).await,
        store.warm("packs/a", how).await,
    ] {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind, Kind::Unsupported, "{error}");
        assert!(format!("{error:?}").contains("no storage classes"));
    }
    assert_eq!(names(&store).await, ["packs/a"]);
}

#[tokio::test]
async fn locks_are_reached_through_every_wrapper() {
    let until = SystemTime::now() + Duration::from_secs(3600);
    let lock = Lock { until, mode: LockMode::Compliance };
    let longer = Lock { until: until + Duration::from_secs(60), ..lock };
    let folder = tempfile::tempdir().unwrap();
    let inner = || -> Arc<dyn Store> { Arc::new(MemoryStore::with_locks()) };
    let rates = Rates { upload: Some(1 << 30), download: None };
    let wrapped: [(&str, Arc<dyn Store>); 6] = [
        ("retrying", Arc::new(Retrying::new(inner(), Patience::default()))),
        ("limited", Arc::new(Limited::new(inner(), rates))),
        ("cached", Arc::new(Cached::new(inner(), |_| true, folder.path(), 1 << 20))),
        ("recorded", Arc::new(Recorded::new(inner()))),
        ("faulty", Arc::new(Faulty::new(inner(), 0, Vec::new()))),
        ("ahead", Arc::new(Ahead::list(inner(), &[]).await.unwrap())),
    ];
    for (wrapper, store) in wrapped {
        assert!(store.has_locks() && store.can_lock().await.unwrap(), "{wrapper}");
        store.put_locked("packs/a", object(30), None, lock).await.unwrap();
        assert_eq!(store.locked("packs/a").await.unwrap(), Some(lock), "{wrapper}");
        store.lock("packs/a", longer).await.unwrap();
        store.lock("packs/a", lock).await.unwrap();
        assert_eq!(store.locked("packs/a").await.unwrap(), Some(longer), "{wrapper}");
        assert_eq!(store.delete("packs/a").await.unwrap_err().kind, Kind::Locked, "{wrapper}");
        store.discard("packs/a").await.unwrap();
        assert!(names(store.as_ref()).await.is_empty(), "{wrapper}");
    }
    let locked = inner();
    locked.put_locked("packs/a", object(30), None, lock).await.unwrap();
    let store = ReadOnly::new(locked);
    assert_eq!(store.locked("packs/a").await.unwrap(), Some(lock));
    for outcome in [
        store.put_locked("packs/b", object(30), None, lock).await,
        store.lock("packs/a", longer).await,
        store.discard("packs/a").await,
    ] {
        assert_eq!(outcome.unwrap_err().kind, Kind::ReadOnly);
    }
}

#[tokio::test]
async fn a_store_without_locks_says_so() {
    let lock = Lock { until: SystemTime::now() + Duration::from_secs(60), mode: LockMode::Governance };
    let store = MemoryStore::new();
    store.put("packs/a", object(30)).await.unwrap();
    assert!(!store.has_locks() && !store.can_lock().await.unwrap());
    assert_eq!(store.locked("packs/a").await.unwrap(), None);
    for outcome in
        [store.put_locked("packs/b", object(30), None, lock).await, store.lock("packs/a", lock).await]
    {
        assert_eq!(outcome.unwrap_err().kind, Kind::Unsupported);
    }
    store.discard("packs/a").await.unwrap();
    assert!(names(&store).await.is_empty());
}
