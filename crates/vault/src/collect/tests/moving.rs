//! Compaction: what is moved, what is not, and what stays readable.

use super::*;

#[tokio::test]
async fn mostly_dead_packs_are_compacted_and_stay_readable() {
    let mut toy = Toy::new();
    let (a, b) = (toy.pack(10).await, toy.pack(10).await);
    let all: Vec<u32> = (0..10).collect();
    let whole = toy.commit(&[(a, &all), (b, &all)]).await;
    let part = toy.commit(&[(a, &[3, 4]), (b, &[7])]).await;
    toy.forget(whole).await;
    let dry = toy.try_clean(|options| options.dry_run = true).await.unwrap();
    assert_eq!((dry.segments_moved, dry.packs_condemned, dry.segments_condemned), (3, 2, 20));
    let report = toy.clean().await;
    assert_eq!((report.segments_moved, report.packs_deleted), (3, 2));
    assert_eq!((report.segments_condemned, report.bytes_condemned), (20, dry.bytes_condemned));
    assert!(toy.is_whole(part).await);
    assert_eq!(toy.packs().await.len(), 1);
    let stored: u64 = toy.store.list(name::PACKS).await.unwrap().iter().map(|object| object.size).sum();
    assert!(stored < 4 * SEGMENT as u64, "{stored}");
    // Again: of the new pack one segment stays.
    let holders = Holders::read(toy.store.as_ref(), VAULT).await.unwrap();
    let now = holders.find(a.0, a.1, &SegmentSet::from_iter([3])).unwrap();
    let less = toy.commit(&[((a.0, now), &[3])]).await;
    toy.forget(part).await;
    let report = toy.clean().await;
    assert_eq!((report.segments_moved, report.packs_deleted), (1, 1));
    assert!(toy.is_whole(less).await);
    let report = toy.clean().await;
    assert_eq!((report.segments_moved, report.packs_condemned), (0, 0), "it is done");
}

/// Reads of packs are refused as those of cold objects.
fn all_cold(store: &Arc<dyn Store>) -> Arc<dyn Store> {
    let rule = |operation| Rule::new(When::Always, Fault::Error(Kind::Cold)).on(operation).under(name::PACKS);
    let rules = [Operation::Get, Operation::GetRange, Operation::GetTail].map(rule);
    Arc::new(Faulty::new(store.clone(), 1, rules.to_vec()))
}

#[tokio::test]
async fn cold_packs_stay_as_they_are_until_nothing_needs_them() {
    let mut toy = Toy::new();
    let (a, b) = (toy.pack(10).await, toy.pack(10).await);
    let part = toy.commit(&[(a, &[3])]).await;
    let other = toy.commit(&[(b, &[1, 2, 3])]).await;
    // One that no fragment names: neither what is needed nor what is not can be read.
    let (unnamed, dead) = (toy.pack(3).await, toy.pack(4).await);
    let named = toy.commit(&[(unnamed, &[0, 1, 2])]).await;
    for fragment in toy.store.list(name::INDEX).await.unwrap() {
        let bytes = toy.store.get(&fragment.name, 1 << 20).await.unwrap();
        let hash = ObjectHash::from_object_name(&fragment.name).unwrap();
        let packs = fragment::decode(&bytes, hash, VAULT).unwrap();
        if packs.iter().any(|(record, _)| [unnamed.1, dead.1].contains(&record.hash)) {
            toy.store.delete(&fragment.name).await.unwrap();
        }
    }
    toy.forget(other).await;
    let warm = toy.store.clone();
    toy.store = all_cold(&warm);
    let report = toy.clean().await;
    assert_eq!((report.segments_moved, report.packs_deleted), (0, 2), "{report:?}");
    toy.store = warm;
    assert_eq!(toy.packs().await, HashSet::from([a.1, unnamed.1]));
    assert!(toy.is_whole(part).await && toy.is_whole(named).await);
    // They are not even looked at when that is how the vault is set.
    let recorded = Arc::new(Recorded::new(toy.store.clone()));
    toy.store = recorded.clone();
    let report = toy.try_clean(|options| options.keeps_data = true).await.unwrap();
    assert_eq!((report.segments_moved, report.packs_condemned), (0, 0));
    assert_eq!(recorded.count(Operation::GetRange, name::PACKS), 0);
    assert!(toy.clean().await.segments_moved > 0, "else they are worth it");
}

#[tokio::test]
async fn what_was_moved_stays_while_it_is_too_cold_to_be_compared() {
    let mut toy = Toy::new();
    let a = toy.pack(10).await;
    let part = toy.commit(&[(a, &[3])]).await;
    let condemned_only = |options: &mut Options| options.settle = Duration::from_secs(1);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let report = toy.try_clean(condemned_only).await.unwrap();
    assert_eq!((report.segments_moved, report.packs_condemned, report.packs_deleted), (1, 1, 0));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let warm = toy.store.clone();
    toy.store = all_cold(&warm);
    let report = toy.try_clean(condemned_only).await.unwrap();
    assert_eq!(report.packs_deleted, 0, "{report:?}");
    toy.store = warm;
    assert!(toy.packs().await.contains(&a.1) && toy.is_whole(part).await);
}

#[tokio::test]
async fn what_was_moved_twice_is_proved_too_before_it_goes() {
    let mut toy = Toy::new();
    let a = toy.pack(10).await;
    let more = toy.commit(&[(a, &[3, 4, 5])]).await;
    toy.commit(&[(a, &[3])]).await;
    assert_eq!(toy.clean().await.segments_moved, 3);
    let once: Vec<_> = toy.packs().await.into_iter().collect();
    toy.forget(more).await;
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let report = toy.try_clean(|options| options.settle = Duration::from_secs(1)).await.unwrap();
    assert_eq!((report.segments_moved, report.packs_condemned, report.packs_deleted), (1, 1, 0));
    let twice: Vec<_> = toy.packs().await.into_iter().filter(|object| !once.contains(object)).collect();
    let ([once], [twice]) = (once.as_slice(), twice.as_slice()) else { panic!("{once:?} {twice:?}") };
    // No snapshot names the first copy, and the relocation that led to it is condemned.
    let mut broken = toy.store.get(&twice.pack_name(), 1 << 30).await.unwrap().to_vec();
    broken[SEGMENT / 2] ^= 1;
    toy.store.replace(&twice.pack_name(), vec![broken.into()]).await.unwrap();
    let report = toy.clean().await;
    assert_eq!(report.packs_deleted, 0, "{report:?}");
    assert!(toy.packs().await.contains(once));
}

#[tokio::test]
async fn limits_of_moving_are_kept() {
    let mut toy = Toy::new();
    let (a, b) = (toy.pack(10).await, toy.pack(10).await);
    toy.commit(&[(a, &[3]), (b, &[0, 1, 2, 3, 4, 5, 6, 7, 8])]).await;
    let report = toy.try_clean(|options| options.max_unused = 10.0).await.unwrap();
    assert_eq!(report.segments_moved, 0, "that much is put up with");
    let report = toy.try_clean(|options| options.max_move = Some(2 * SEGMENT as u64)).await.unwrap();
    assert_eq!(report.segments_moved, 1, "the cheapest gain first");
}

#[tokio::test]
async fn damage_is_not_moved_and_blindness_deletes_nothing() {
    let mut toy = Toy::new();
    let a = toy.pack(10).await;
    let part = toy.commit(&[(a, &[3])]).await;
    let bytes = toy.store.get(&a.1.pack_name(), 1 << 30).await.unwrap();
    let mut broken = bytes.to_vec();
    broken[3 * SEGMENT + 500] ^= 1;
    toy.store.replace(&a.1.pack_name(), vec![broken.into()]).await.unwrap();
    let report = toy.clean().await;
    assert_eq!((report.segments_moved, report.packs_deleted), (0, 0));
    assert!(report.not_understood.iter().any(|(name, _)| *name == a.1.pack_name()), "{report:?}");
    toy.store.replace(&a.1.pack_name(), vec![bytes]).await.unwrap();
    let garbage = toy.pack(1).await;
    toy.store.put(&ObjectHash::of(b"x").snapshot_name(), vec![Bytes::from_static(b"y")]).await.unwrap();
    let report = toy.clean().await;
    assert_eq!((report.packs_condemned, report.packs_deleted), (0, 0));
    assert!(toy.packs().await.contains(&garbage.1), "a snapshot that cannot be read may need anything");
    toy.forget(ObjectHash::of(b"x")).await;
    let report = toy.clean().await;
    assert!(report.packs_deleted >= 1 && !toy.packs().await.contains(&garbage.1));
    assert!(toy.is_whole(part).await);
}

#[tokio::test]
async fn many_small_packs_are_joined() {
    let mut toy = Toy::new();
    let mut needs: Vec<(Packed, &[u32])> = Vec::new();
    for _ in 0..20 {
        needs.push((toy.pack(1).await, &[0]));
    }
    let snapshot = toy.commit(&needs).await;
    let report = toy.clean().await;
    assert_eq!((report.segments_moved, report.packs_deleted), (20, 20));
    assert_eq!(toy.packs().await.len(), 1);
    assert_eq!(toy.store.list(name::INDEX).await.unwrap().len(), 1);
    assert!(toy.is_whole(snapshot).await);
}

#[tokio::test]
async fn a_lost_relocation_is_made_anew() {
    let mut toy = Toy::new();
    let a = toy.pack(10).await;
    let part = toy.commit(&[(a, &[3])]).await;
    toy.clean().await;
    assert!(toy.is_whole(part).await && !toy.packs().await.contains(&a.1));
    for record in toy.store.list(name::RELOCATIONS).await.unwrap() {
        toy.store.delete(&record.name).await.unwrap();
    }
    assert!(!toy.is_whole(part).await, "nobody knows where it went");
    toy.clean().await;
    assert!(toy.is_whole(part).await);
}

#[tokio::test]
async fn who_builds_on_the_copy_and_who_builds_on_the_original_find_both_in_one_place() {
    let mut toy = Toy::new();
    let a = toy.pack(10).await;
    toy.commit(&[(a, &[3])]).await;
    let id = toy.random();
    let reader =
        Lease::begin(&toy.store, VAULT, id, SystemId::default(), Role::Reader, Duration::from_secs(60));
    let reader = reader.await.unwrap();
    assert_eq!(toy.clean().await.segments_moved, 1);
    let holders = Holders::read(toy.store.as_ref(), VAULT).await.unwrap();
    let copy = holders.find(a.0, a.1, &SegmentSet::from_iter([3])).unwrap();
    assert_ne!(copy, a.1);
    // One backup knows of the copy, another one began before and still builds on the original. That is condemned, so it
    // goes all the same; but first all that is needed of it is moved, and the copy, which holds less, goes too.
    let new = toy.commit(&[((a.0, copy), &[3])]).await;
    let old = toy.commit(&[(a, &[0, 1, 2, 4, 5, 6, 7, 8, 9])]).await;
    reader.end().await.unwrap();
    toy.clean().await;
    toy.clean().await;
    let packs = toy.packs().await;
    assert!(packs.len() == 1 && !packs.contains(&a.1) && !packs.contains(&copy), "{packs:?}");
    assert!(toy.is_whole(old).await && toy.is_whole(new).await);
}
