//! Whoever works on a vault beside a cleanup: writers, other collectors, and those that slept.

use super::*;

#[tokio::test]
async fn whoever_is_at_work_is_waited_for() {
    let mut toy = Toy::new();
    let pack = toy.pack(2).await;
    let first = toy.commit(&[(pack, &[0])]).await;
    let id = toy.random();
    let mut writer =
        Writer::begin(&toy.store, VAULT, id, SystemId::new([9; 16]), Duration::from_secs(60)).await.unwrap();
    toy.forget(first).await;
    let report = toy.clean().await;
    assert_eq!((report.packs_condemned, report.packs_deleted, report.waiting.len()), (1, 0, 1));
    assert_eq!(report.waiting[0].holder, Some(SystemId::new([9; 16])));
    // It had the pack from before and relies on it.
    let (second, needs, bytes) = toy.snapshot(&[(pack, &[0, 1])]);
    let outcome = writer.commit(second, &needs, &bytes, &mut || toy.random()).await.unwrap();
    assert_eq!(outcome, Outcome::Committed);
    // Whoever begins now does not rely on it, so what is needed of it is moved; but it stays until the writer has ended.
    let report = toy.clean().await;
    assert_eq!((report.kept, report.segments_moved, report.packs_deleted), (1, 2, 0));
    assert!(toy.packs().await.contains(&pack.1));
    writer.end().await.unwrap();
    let report = toy.clean().await;
    assert_eq!((report.kept, report.segments_moved, report.packs_deleted), (0, 0, 1));
    assert!(toy.is_whole(second).await && !toy.packs().await.contains(&pack.1));
}

#[tokio::test]
async fn whoever_begins_later_does_not_rely_on_what_is_condemned() {
    let mut toy = Toy::new();
    let pack = toy.pack(1).await;
    let snapshot = toy.commit(&[(pack, &[0])]).await;
    let id = toy.random();
    let reader =
        Lease::begin(&toy.store, VAULT, id, SystemId::default(), Role::Reader, Duration::from_secs(60));
    let reader = reader.await.unwrap();
    toy.forget(snapshot).await;
    toy.clean().await;
    let id = toy.random();
    let writer =
        Writer::begin(&toy.store, VAULT, id, SystemId::default(), Duration::from_secs(60)).await.unwrap();
    assert!(!writer.holders().allows(pack.0, pack.1, 0));
    assert!(toy.is_whole(snapshot).await, "the reader is at work still");
    reader.end().await.unwrap();
    let report = toy.clean().await;
    assert_eq!((report.packs_deleted, report.waiting.len()), (1, 0), "nobody waits for who knows");
    drop(writer);
}

#[tokio::test]
async fn a_writer_that_overslept_learns_what_it_lost() {
    let mut toy = Toy::new();
    let (gone, kept) = (toy.pack(1).await, toy.pack(1).await);
    let old = toy.commit(&[(gone, &[0])]).await;
    toy.commit(&[(kept, &[0])]).await;
    let id = toy.random();
    let mut sleeper =
        Writer::begin(&toy.store, VAULT, id, SystemId::default(), Duration::ZERO).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    toy.forget(old).await;
    assert_eq!(toy.clean().await.packs_deleted, 1);
    let (id, needs, bytes) = toy.snapshot(&[(gone, &[0]), (kept, &[0])]);
    let outcome = sleeper.commit(id, &needs, &bytes, &mut || toy.random()).await.unwrap();
    let Outcome::Lost { needs: lost, written: true } = outcome else { panic!("{outcome:?}") };
    assert_eq!(lost.iter().map(|need| need.pack).collect::<Vec<_>>(), [gone.0]);
}

#[tokio::test]
async fn a_writer_that_overslept_counts_what_is_closed_as_lost() {
    let mut toy = Toy::new();
    let (closed, open) = (toy.pack(1).await, toy.pack(1).await);
    toy.commit(&[(closed, &[0]), (open, &[0])]).await;
    let random = toy.random();
    let mut sleeper =
        Writer::begin(&toy.store, VAULT, random, SystemId::default(), Duration::ZERO).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let closing = [Condemned::closing(What::ClosedPack, closed.0)];
    let nonce = toy.random();
    condemned::write(toy.store.as_ref(), VAULT, nonce, &closing).await.unwrap();
    let (id, needs, bytes) = toy.snapshot(&[(closed, &[0]), (open, &[0])]);
    let outcome = sleeper.commit(id, &needs, &bytes, &mut || toy.random()).await.unwrap();
    let Outcome::Lost { needs: lost, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!(lost.iter().map(|need| need.pack).collect::<Vec<_>>(), [closed.0]);
    // Whoever begins now takes nothing of it from the index, and a cleanup deletes nothing because of it.
    let holders = Holders::read(toy.store.as_ref(), VAULT).await.unwrap();
    assert!(!holders.allows(closed.0, closed.1, 0) && holders.allows(open.0, open.1, 0));
    assert_eq!(holders.find(closed.0, closed.1, &SegmentSet::from_iter([0])), Some(closed.1));
    toy.clean().await;
    assert!(toy.packs().await.contains(&closed.1));
}

#[tokio::test]
async fn two_collectors_do_not_work_at_once() {
    let mut toy = Toy::new();
    let id = toy.random();
    let other =
        Lease::begin(&toy.store, VAULT, id, SystemId::default(), Role::Collector, Duration::from_secs(60))
            .await;
    let outcome = toy.try_clean(|_| {}).await;
    assert!(matches!(outcome, Err(CleanupError::Busy { .. })), "{outcome:?}");
    other.unwrap().end().await.unwrap();
    toy.clean().await;
}

#[tokio::test]
async fn a_store_that_lags_is_given_time() {
    let mut toy = Toy::new();
    let pack = toy.pack(1).await;
    let snapshot = toy.commit(&[(pack, &[0])]).await;
    toy.forget(snapshot).await;
    let slow = |options: &mut Options| options.settle = Duration::from_millis(200);
    let report = toy.try_clean(slow).await.unwrap();
    assert_eq!((report.packs_condemned, report.packs_deleted), (1, 0));
    let report = toy
        .try_clean(|o| {
            slow(o);
            o.lease = Duration::ZERO;
        })
        .await;
    assert!(matches!(report, Err(CleanupError::Overslept | CleanupError::Busy { .. })), "{report:?}");
    tokio::time::sleep(Duration::from_millis(900)).await;
    let report = toy.try_clean(slow).await.unwrap();
    assert_eq!((report.packs_deleted, report.snapshots_deleted), (1, 1));
}

#[test]
fn a_lost_lease_is_told_from_damage() {
    assert!(matches!(lost(VaultError::damaged("x", OVERSLEPT)), CleanupError::Overslept));
    assert!(matches!(lost(VaultError::damaged("x", Damage::Missing)), CleanupError::Vault(_)));
}
