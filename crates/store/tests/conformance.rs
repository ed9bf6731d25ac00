//! Every store and every wrapper keeps the contract.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use store::{
    Fault, Faulty, FolderStore, Kind, Limited, MemoryStore, Operation, Patience, Rates, ReadOnly, Recorded,
    Retrying, Rule, Store, When, conformance,
};

fn memory() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

#[tokio::test]
async fn memory_store() {
    conformance::run(memory()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn folder_store() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Arc::new(FolderStore::create(scratch.path().join("new/folder")).unwrap());
    conformance::run(store.clone()).await.unwrap();
    let left = std::fs::read_dir(store.path().join("tmp")).unwrap().count();
    assert_eq!(left, 0, "temporary files were left behind");
    // Again, with everything already there and in the same object.
    conformance::run(store).await.unwrap();
}

#[tokio::test]
async fn a_name_is_an_object_or_a_folder_where_it_cannot_be_both() {
    let scratch = tempfile::tempdir().unwrap();
    let folder: Arc<dyn Store> = Arc::new(FolderStore::create(scratch.path()).unwrap());
    for store in [memory(), folder] {
        store.put("a/b", Vec::new()).await.unwrap();
        for clash in ["a", "a/b/c"] {
            store.put(clash, Vec::new()).await.unwrap_err();
            store.replace(clash, Vec::new()).await.unwrap_err();
        }
    }
}

#[tokio::test]
async fn recorded() {
    conformance::run(Arc::new(Recorded::new(memory()))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn faulty_without_faults_that_show() {
    let delay = Rule::new(When::Chance(0.5), Fault::Delay(Duration::from_secs(1)));
    let store = Arc::new(Faulty::new(memory(), 1, vec![delay]));
    conformance::run(store.clone()).await.unwrap();
    assert!(store.dealt() > 0);
}

#[tokio::test(start_paused = true)]
async fn limited() {
    let rates = Rates { upload: Some(1_000_000), download: Some(2_000_000) };
    conformance::run(Arc::new(Limited::new(memory(), rates))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn retrying_over_a_store_that_often_fails() {
    for seed in 0..20 {
        let rules = vec![
            Rule::new(When::Chance(0.3), Fault::Error(Kind::Unavailable)),
            Rule::new(When::Chance(0.3), Fault::ErrorAfter(Kind::Unavailable)),
        ];
        let faulty = Arc::new(Faulty::new(memory(), seed, rules));
        let store = Arc::new(Retrying::new(faulty.clone(), Patience::default()));
        conformance::run(store).await.unwrap();
        assert!(faulty.dealt() > 100);
    }
}

#[tokio::test]
async fn read_only() {
    let inner = memory();
    conformance::fill(&*inner).await.unwrap();
    let recorded = Arc::new(Recorded::new(inner));
    let store = ReadOnly::new(recorded.clone());
    conformance::reads(&store).await.unwrap();
    conformance::refuses_writes(&store).await.unwrap();
    for operation in [Operation::Put, Operation::Replace, Operation::Delete] {
        assert_eq!(recorded.count(operation, ""), 0, "{operation:?} came through");
    }
}

/// The suite itself must notice stores that break the contract.
#[tokio::test]
async fn the_suite_fails_on_bad_stores() {
    for rule in [
        Rule::new(When::Nth(0), Fault::FlipBit).on(Operation::Get).under("conformance/z"),
        Rule::new(When::Nth(0), Fault::Truncate).on(Operation::GetTail).under("conformance/z"),
        Rule::new(When::Nth(5), Fault::Error(Kind::Other)).on(Operation::List),
        Rule::new(When::Nth(2), Fault::ErrorAfter(Kind::Unavailable))
            .on(Operation::Delete)
            .under("conformance/"),
    ] {
        let store = Arc::new(Faulty::new(memory(), 7, vec![rule.clone()]));
        assert!(conformance::run(store.clone()).await.is_err(), "{rule:?} went unnoticed");
        assert_eq!(store.dealt(), 1);
    }
    assert!(conformance::run(Arc::new(ReadOnly::new(memory()))).await.is_err());
}
