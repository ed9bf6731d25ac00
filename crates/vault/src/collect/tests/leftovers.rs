//! What an interruption leaves behind.

use store::FolderStore;

use super::*;

#[tokio::test]
async fn a_snapshot_that_stays_keeps_all_that_it_needs() {
    // A lock that nobody knew of, and a request that came to nothing.
    for kind in [Kind::Locked, Kind::Unavailable] {
        let mut toy = Toy::new();
        let (a, b) = (toy.pack(2).await, toy.pack(2).await);
        let (first, second) = (toy.commit(&[(a, &[0, 1])]).await, toy.commit(&[(b, &[0])]).await);
        toy.forget(first).await;
        toy.forget(second).await;
        let inner = toy.store.clone();
        let refused =
            Rule::new(When::Nth(0), Fault::Error(kind)).on(Operation::Delete).under(name::SNAPSHOTS);
        toy.store = Arc::new(Faulty::new(inner.clone(), 1, vec![refused]));
        let outcome = toy.try_clean(|_| {}).await;
        assert_eq!(outcome.is_ok(), kind == Kind::Locked, "{outcome:?}");
        toy.store = inner;
        let snapshots = toy.store.list(name::SNAPSHOTS).await.unwrap();
        assert_eq!(snapshots.len(), 1, "the other went");
        let stayed = ObjectHash::from_object_name(&snapshots[0].name).unwrap();
        assert!(toy.is_whole(stayed).await, "{kind:?}");
        let report = toy.clean().await;
        assert_eq!((report.snapshots_deleted, report.packs_deleted), (1, 2), "{report:?}");
    }
}

#[tokio::test]
async fn who_asked_for_the_time_and_was_stopped_leaves_nothing_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let mut toy = Toy { store: Arc::new(FolderStore::open(folder.path()).unwrap()), count: 0 };
    let cut = Rule::new(When::Always, Fault::Error(Kind::Unavailable)).on(Operation::Delete);
    let cutting = Faulty::new(toy.store.clone(), 1, vec![cut]);
    crate::store_clock(&cutting).await.unwrap_err();
    let questions = async |toy: &Toy| {
        let found = lease::read_all(toy.store.as_ref(), VAULT).await.unwrap();
        found.questions.into_iter().map(|question| question.name).collect::<Vec<_>>()
    };
    let [left] = questions(&toy).await.try_into().unwrap();
    toy.clean().await;
    assert_eq!(questions(&toy).await, std::slice::from_ref(&left), "somebody may be waiting for the answer");
    let file = std::fs::File::options().write(true).open(folder.path().join(&left)).unwrap();
    file.set_modified(SystemTime::now() - LEASES_KEPT - Duration::from_secs(60)).unwrap();
    toy.clean().await;
    assert!(questions(&toy).await.is_empty());
}
