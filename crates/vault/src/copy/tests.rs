//! Copies of a toy vault.

use store::{Fault as StoreFault, Faulty, Kind, MemoryStore, Operation, Recorded, Rule, When};

use super::*;
use crate::check::Unwatched;
use crate::pack::{Origin, PackAssembler, PackKind};
use crate::pins::{self, Pin, Until};
use crate::toy::{Toy, VAULT, assert_sound, clean, contents, descriptor, forget, names, random};
use crate::trash::Trash;
use crate::{SegmentSet, VaultId};

fn empty() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

async fn run(source: &Arc<dyn Store>, target: &Arc<dyn Store>) -> Report {
    run_with(source, target, Options::default()).await.unwrap()
}

async fn run_with(
    source: &Arc<dyn Store>,
    target: &Arc<dyn Store>,
    options: Options,
) -> Result<Report, CopyError> {
    copy(source, target, &options, &no_timer, &mut random, &Unwatched).await
}

/// Fails unless these snapshots, and no others, are at the target with the contents they have at the source.
async fn assert_same(source: &Arc<dyn Store>, target: &Arc<dyn Store>, snapshots: &[SnapshotId]) {
    assert_sound(target, "the copy").await;
    let mut expected: Vec<_> = snapshots.iter().map(|id| id.snapshot_name()).collect();
    expected.sort();
    assert_eq!(names(target, name::SNAPSHOTS).await, expected);
    for id in snapshots {
        let here = contents(source, *id).await.unwrap();
        assert_eq!(contents(target, *id).await.unwrap(), here, "{id}");
    }
}

/// Two packs, three snapshots.
async fn a_vault() -> (Toy, Vec<SnapshotId>, [(crate::PackId, ObjectHash); 2]) {
    let mut toy = Toy::new().await;
    let (a, b) = (toy.pack(6).await, toy.pack(6).await);
    let mut snapshots = vec![toy.commit(&[(a, &[0, 1, 2, 3, 4, 5])]).await];
    snapshots.push(toy.commit(&[(a, &[0, 5]), (b, &[0, 1, 2, 3, 4, 5])]).await);
    snapshots.push(toy.commit(&[(b, &[2])]).await);
    (toy, snapshots, [a, b])
}

#[tokio::test]
async fn a_copy_is_a_vault_and_the_next_copy_copies_nothing() {
    let (toy, snapshots, _) = a_vault().await;
    let target = empty();
    let options = Options { verify: true, ..Options::default() };
    let report = run_with(&toy.store, &target, options).await.unwrap();
    assert_eq!((report.copied.clone(), report.packs_copied, report.is_new), (snapshots.clone(), 2, true));
    assert!(report.is_complete() && report.small_copied == 1, "{report:?}");
    assert_same(&toy.store, &target, &snapshots).await;
    let again = run(&toy.store, &target).await;
    assert_eq!((again.present, again.packs_copied, again.bytes_copied, again.is_new), (3, 0, 0, false));
    assert_eq!(names(&target, name::INDEX).await.len(), 2, "a fragment for each snapshot with new packs");
}

#[tokio::test]
async fn chosen_snapshots_go_alone_and_unknown_ones_are_an_error() {
    let (toy, snapshots, _) = a_vault().await;
    let target = empty();
    let chosen = |id| Options { snapshots: Some(vec![id]), ..Options::default() };
    run_with(&toy.store, &target, chosen(snapshots[2])).await.unwrap();
    assert_same(&toy.store, &target, &snapshots[2..]).await;
    assert_eq!(names(&target, name::PACKS).await.len(), 1);
    let outcome = run_with(&toy.store, &target, chosen(ObjectHash::of(b"x"))).await;
    assert!(matches!(outcome, Err(CopyError::NoSnapshot(_))), "{outcome:?}");
    run(&toy.store, &target).await;
    assert_same(&toy.store, &target, &snapshots).await;
}

#[tokio::test]
async fn a_dry_run_says_what_a_copy_then_does_and_writes_nothing() {
    let (toy, _, _) = a_vault().await;
    let target = empty();
    let before = names(&toy.store, "").await;
    let dry = run_with(&toy.store, &target, Options { dry_run: true, ..Options::default() }).await.unwrap();
    assert!(names(&target, "").await.is_empty());
    assert_eq!(names(&toy.store, "").await, before);
    let done = run(&toy.store, &target).await;
    assert_eq!((dry.copied, dry.packs_copied), (done.copied, done.packs_copied));
    assert_eq!(dry.bytes_copied, done.bytes_copied);
}

#[tokio::test]
async fn what_is_at_the_target_already_decides() {
    let (toy, _, _) = a_vault().await;
    let other = empty();
    other.put(name::DESCRIPTOR, vec![descriptor(VaultId::new([9; 16]))]).await.unwrap();
    let outcome = run_with(&toy.store, &other, Options::default()).await;
    assert!(matches!(outcome, Err(CopyError::ForeignVault { .. })), "{outcome:?}");
    let full = empty();
    full.put("photos/1.jpg", vec![Bytes::from_static(b"?")]).await.unwrap();
    let outcome = run_with(&toy.store, &full, Options::default()).await;
    assert!(matches!(outcome, Err(CopyError::NotEmpty { .. })), "{outcome:?}");
    assert_eq!(names(&full, "").await, ["photos/1.jpg"]);
    let broken = empty();
    broken.put(name::DESCRIPTOR, vec![Bytes::from_static(b"?")]).await.unwrap();
    let outcome = run_with(&toy.store, &broken, Options::default()).await;
    assert!(matches!(outcome, Err(CopyError::Unreadable { .. })), "{outcome:?}");
    let outcome = run_with(&empty(), &empty(), Options::default()).await;
    assert!(matches!(outcome, Err(CopyError::Vault(VaultError::NoVault { .. }))), "{outcome:?}");
}

#[tokio::test]
async fn what_is_gone_for_good_is_forgotten_at_the_target_if_somebody_asks() {
    let (toy, snapshots, _) = a_vault().await;
    let target = empty();
    run(&toy.store, &target).await;
    forget(&toy.store, snapshots[0]).await;
    let now = SystemTime::now();
    let later = now + Duration::from_secs(8 * 24 * 3600);
    let follow = async |moment, dry_run| {
        let options = Options { forget: Some(moment), dry_run, ..Options::default() };
        run_with(&toy.store, &target, options).await.unwrap().forgotten
    };
    let in_trash = async || Trash::read(target.as_ref(), VAULT).await.unwrap();
    assert!(follow(now, false).await.is_empty(), "it can be brought back");
    assert!(run(&toy.store, &target).await.forgotten.is_empty(), "nobody asked");
    assert_eq!(follow(later, true).await, snapshots[..1]);
    assert!(in_trash().await.is_empty(), "a dry run");
    let pin = Pin { nonce: [1; 16], snapshot: snapshots[0], until: Until::Unpinned, written: 0 };
    let pin = pins::pin(target.as_ref(), VAULT, &pin).await.unwrap();
    assert!(follow(later, false).await.is_empty(), "it is pinned");
    target.delete(&pin).await.unwrap();
    assert_eq!(follow(later, false).await, snapshots[..1]);
    assert!(in_trash().await.get(snapshots[0]).unwrap().mark.reason.starts_with("forgotten at the source"));
    assert!(follow(later, false).await.is_empty(), "once is enough");
    assert_same(&toy.store, &target, &snapshots).await;
}

#[tokio::test]
async fn before_an_unreadable_pin_at_the_target_nothing_is_forgotten_there() {
    let (toy, snapshots, _) = a_vault().await;
    let target = empty();
    run(&toy.store, &target).await;
    forget(&toy.store, snapshots[0]).await;
    let object = format!("{}{}", name::PINS, ObjectHash::of(b"?"));
    target.put(&object, vec![Bytes::from_static(b"?")]).await.unwrap();
    let later = SystemTime::now() + Duration::from_secs(8 * 24 * 3600);
    let options = Options { forget: Some(later), ..Options::default() };
    let report = run_with(&toy.store, &target, options).await.unwrap();
    assert!(report.forgotten.is_empty() && !report.is_complete(), "{report:#?}");
    assert_eq!(report.faults[0].object, object);
}

#[tokio::test]
async fn an_incremental_copy_costs_what_it_must() {
    let (mut toy, _, [a, b]) = a_vault().await;
    let source = Arc::new(Recorded::new(toy.store.clone()));
    let target = Arc::new(Recorded::new(empty()));
    let (here, there): (Arc<dyn Store>, Arc<dyn Store>) = (source.clone(), target.clone());
    run(&here, &there).await;
    let c = toy.pack(2).await;
    let id = toy.commit(&[(a, &[0, 1]), (b, &[2]), (c, &[0, 1])]).await;
    let last = toy.commit(&[(a, &[0, 1]), (b, &[2])]).await;
    source.forget_calls();
    target.forget_calls();
    let report = run(&here, &there).await;
    assert_eq!((report.copied, report.packs_copied), (vec![id, last], 1));
    // The descriptor, two new snapshots, and the one new pack.
    assert_eq!(source.count(Operation::Get, ""), 4, "{:#?}", source.calls());
    assert_eq!(source.count(Operation::GetRange, ""), 0);
    // Old packs are neither read nor is the index; of snapshots only the one before the new ones, if it does not
    // explain every pack the index is read.
    assert_eq!(target.count(Operation::GetTail, ""), 0, "{:#?}", target.calls());
    assert_eq!(target.count(Operation::Put, ""), 1 + 1 + 2, "a pack, its fragment, the snapshots");
    assert_eq!(target.count(Operation::Replace, ""), 2, "the lease begins and ends");
    assert!(target.calls().len() <= 24, "{:#?}", target.calls());
    source.forget_calls();
    target.forget_calls();
    run(&here, &there).await;
    assert_eq!(source.count(Operation::Get, ""), 1, "{:#?}", source.calls());
    assert!(source.calls().len() <= 11 && target.calls().len() <= 14, "{:#?}", target.calls());
    assert_eq!(target.count(Operation::Put, ""), 0);
}

#[tokio::test]
async fn after_a_crash_at_any_call_the_target_is_no_vault_or_sound_and_goes_on() {
    let (mut toy, mut snapshots, [a, _]) = a_vault().await;
    // Compacted, so that relocations are copied too.
    forget(&toy.store, snapshots.remove(0)).await;
    let report = clean(&toy.store).await;
    assert!(report.segments_moved > 0 && report.packs_deleted > 0);
    let c = toy.pack(1).await;
    let holders = Holders::read(toy.store.as_ref(), VAULT).await.unwrap();
    let now = holders.find(a.0, a.1, &SegmentSet::from_iter([5])).unwrap();
    snapshots.push(toy.commit(&[((a.0, now), &[5]), (c, &[0])]).await);
    let recorded = Arc::new(Recorded::new(empty()));
    let target: Arc<dyn Store> = recorded.clone();
    run(&toy.store, &target).await;
    assert_same(&toy.store, &target, &snapshots).await;
    let total = recorded.change_count();
    assert!(total >= 11, "{total}");
    for cut in 0..=total {
        let store: Arc<dyn Store> = Arc::new(recorded.replay(cut).await.unwrap());
        if store.stat(name::DESCRIPTOR).await.is_ok() {
            assert_sound(&store, &format!("after {cut}")).await;
            for name in names(&store, name::SNAPSHOTS).await {
                let id = ObjectHash::from_object_name(&name).unwrap();
                let here = contents(&toy.store, id).await;
                assert_eq!(contents(&store, id).await, here, "after {cut}");
            }
        } else {
            assert!(cut < 3, "a vault by then");
        }
        let report = run(&toy.store, &store).await;
        assert!(report.is_complete(), "after {cut}: {report:?}");
        assert_same(&toy.store, &store, &snapshots).await;
        let copied_twice = report.packs_copied as usize + names(&store, name::PACKS).await.len()
            > names(&target, name::PACKS).await.len() * 2;
        assert!(!copied_twice, "after {cut}");
    }
}

#[tokio::test]
async fn a_compacted_vault_is_copied_and_a_copy_from_before_needs_little() {
    let (mut toy, snapshots, [a, b]) = a_vault().await;
    let early = empty();
    run(&toy.store, &early).await;
    forget(&toy.store, snapshots[0]).await;
    assert!(clean(&toy.store).await.segments_moved > 0);
    let holders = Holders::read(toy.store.as_ref(), VAULT).await.unwrap();
    let now = |pack: (crate::PackId, ObjectHash), segment| {
        (pack.0, holders.find(pack.0, pack.1, &SegmentSet::from_iter([segment])).unwrap())
    };
    let new = toy.commit(&[(now(a, 5), &[5]), (now(b, 2), &[2])]).await;
    let late = empty();
    run(&toy.store, &late).await;
    assert_same(&toy.store, &late, &[snapshots[1], snapshots[2], new]).await;
    // The early copy has all segments where they were before.
    let report = run(&toy.store, &early).await;
    assert_eq!((report.packs_copied, report.segments_moved), (0, 0), "{report:?}");
    assert!(contents(&early, snapshots[0]).await.is_some(), "the target keeps what the source forgot");
    assert_eq!(contents(&early, new).await, contents(&toy.store, new).await);
    assert_sound(&early, "the early copy").await;
    // And cleaning it up keeps it whole.
    clean(&early).await;
    clean(&early).await;
    assert_eq!(contents(&early, new).await, contents(&toy.store, new).await);
    assert_sound(&early, "cleaned up").await;
}

#[tokio::test]
async fn what_only_says_to_hold_a_pack_is_not_pointed_to() {
    let mut toy = Toy::new().await;
    let (a, b) = (toy.pack(6).await, toy.pack(1).await);
    let whole = toy.commit(&[(a, &[0, 1, 2, 3, 4, 5])]).await;
    let part = toy.commit(&[(a, &[3])]).await;
    let other = toy.commit(&[(b, &[0])]).await;
    let target = empty();
    let options = Options { snapshots: Some(vec![other]), ..Options::default() };
    run_with(&toy.store, &target, options).await.unwrap();
    forget(&toy.store, whole).await;
    assert_eq!(clean(&toy.store).await.segments_moved, 1);
    // Who may only add to the target has read the names at the source.
    let mut forged = PackAssembler::new(PackKind::Data, VAULT, crate::PackId::new(random()));
    let (envelope, directory) = (Bytes::from_static(b"envelope"), Bytes::from_static(b"directory"));
    forged.begin_origin(Origin { pack: a.0, epoch: 0, generation: 0, envelope, directory });
    for number in 0..6 {
        let junk = Bytes::from(vec![0x66; 100]);
        forged.push_moved(number, *blake3::hash(&junk).as_bytes(), junk);
    }
    let forged = forged.finish_moved();
    let fragment = crate::fragment::encode(VAULT, &[PackRecord::from(&forged)]);
    target.put(&ObjectHash::of(&fragment).index_name(), vec![fragment]).await.unwrap();
    target.put(&forged.hash.pack_name(), forged.parts).await.unwrap();
    run(&toy.store, &target).await;
    for _ in 0..2 {
        let there = contents(&target, part).await;
        assert!(there.is_some() && there == contents(&toy.store, part).await);
        clean(&target).await;
    }
}

#[tokio::test]
async fn what_either_side_forgot_stays_forgotten() {
    let (toy, snapshots, _) = a_vault().await;
    let target = empty();
    run(&toy.store, &target).await;
    forget(&target, snapshots[1]).await;
    clean(&target).await;
    forget(&toy.store, snapshots[2]).await;
    let report = run(&toy.store, &target).await;
    assert_eq!(report.forgotten_at_target, [snapshots[1]]);
    assert_eq!((report.present, report.copied.len()), (2, 0), "what is there stays there");
    let other = empty();
    let report = run(&toy.store, &other).await;
    assert_eq!(report.forgotten_at_source, [snapshots[2]]);
    assert_same(&toy.store, &other, &snapshots[..2]).await;
    assert!(Trash::read(other.as_ref(), VAULT).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_name_that_the_target_deleted_is_not_written_again() {
    let mut toy = Toy::new().await;
    let (a, b) = (toy.pack(4).await, toy.pack(4).await);
    let old = toy.commit(&[(a, &[0, 1, 2, 3]), (b, &[0])]).await;
    let target = empty();
    run(&toy.store, &target).await;
    forget(&target, old).await;
    assert!(clean(&target).await.packs_deleted > 0);
    let new = toy.commit(&[(a, &[1, 2]), (b, &[0, 3])]).await;
    let report = run(&toy.store, &target).await;
    assert!(report.segments_moved >= 4 && report.packs_copied == 0, "{report:?}");
    assert_eq!(report.forgotten_at_target, [old]);
    let packs = names(&target, name::PACKS).await;
    assert!(!packs.contains(&a.1.pack_name()) && !packs.contains(&b.1.pack_name()));
    assert_same(&toy.store, &target, &[new]).await;
    clean(&target).await;
    assert_same(&toy.store, &target, &[new]).await;
    // Somebody at work there holds back the deleting: then it is condemned and there.
    let third = toy.commit(&[(a, &[3])]).await;
    run(&toy.store, &target).await;
    assert_same(&toy.store, &target, &[new, third]).await;
}

#[tokio::test]
async fn damage_at_the_source_leaves_behind_what_needs_it_and_nothing_else() {
    for change in ["flip", "truncate", "delete"] {
        let (toy, snapshots, [a, _]) = a_vault().await;
        let name = a.1.pack_name();
        let mut bytes = toy.store.get(&name, u64::MAX).await.unwrap().to_vec();
        match change {
            "flip" => bytes[1000] ^= 1,
            _ => bytes.truncate(5000),
        }
        toy.store.delete(&name).await.unwrap();
        if change != "delete" {
            toy.store.put(&name, vec![bytes.into()]).await.unwrap();
        }
        let target = empty();
        let report = run(&toy.store, &target).await;
        assert_eq!(report.copied, [snapshots[2]], "{change}");
        let left: Vec<_> = report.left_behind.iter().map(|left| left.snapshot).collect();
        assert_eq!(left, snapshots[..2], "{change}");
        assert!(report.left_behind.iter().all(|left| left.objects == [name.clone()]));
        assert_eq!(report.faults.len(), 1, "{:?}", report.faults);
        assert_same(&toy.store, &target, &snapshots[2..]).await;
        assert!(!names(&target, "").await.contains(&name), "{change}");
    }
    let (toy, snapshots, _) = a_vault().await;
    toy.store.replace(&snapshots[1].snapshot_name(), vec![Bytes::from_static(b"?")]).await.unwrap();
    let target = empty();
    let report = run(&toy.store, &target).await;
    assert_eq!(report.copied, [snapshots[0], snapshots[2]]);
    assert_eq!(report.left_behind[0].objects, [snapshots[1].snapshot_name()]);
}

#[tokio::test]
async fn what_is_whole_of_a_damaged_pack_arrives() {
    let (mut toy, mut snapshots, [a, _]) = a_vault().await;
    let name = a.1.pack_name();
    let whole = toy.store.get(&name, u64::MAX).await.unwrap();
    let mut torn = whole.to_vec();
    torn[whole.len() * 2 / 5] ^= 1;
    toy.store.replace(&name, vec![torn.into()]).await.unwrap();
    let target = empty();
    let report = run(&toy.store, &target).await;
    assert_eq!(report.copied, snapshots[1..], "{report:?}");
    assert_eq!(report.left_behind.iter().map(|left| left.snapshot).collect::<Vec<_>>(), snapshots[..1]);
    assert_eq!((report.faults.len(), report.segments_moved), (1, 5), "{report:?}");
    assert_same(&toy.store, &target, &snapshots[1..]).await;
    // What needs the damaged segment stays behind, and all else needs nothing more.
    let (good, bad) = (toy.commit(&[(a, &[0, 3, 4])]).await, toy.commit(&[(a, &[2, 3])]).await);
    let report = run(&toy.store, &target).await;
    assert_eq!((report.copied, report.segments_moved), (vec![good], 0));
    let left: Vec<_> = report.left_behind.iter().map(|left| left.snapshot).collect();
    assert_eq!(left, [snapshots[0], bad]);
    clean(&target).await;
    assert_same(&toy.store, &target, &[snapshots[1], snapshots[2], good]).await;
    // Healed, all of it comes.
    toy.store.replace(&name, vec![whole]).await.unwrap();
    let report = run(&toy.store, &target).await;
    assert!(report.is_complete() && report.copied == [snapshots[0], bad], "{report:?}");
    snapshots.extend([good, bad]);
    for _ in 0..2 {
        assert_same(&toy.store, &target, &snapshots).await;
        clean(&target).await;
    }
}

#[tokio::test]
async fn what_is_whole_arrives_too_of_a_pack_that_was_moved_and_is_about_to_go() {
    let mut toy = Toy::new().await;
    let a = toy.pack(6).await;
    let all = toy.commit(&[(a, &[0, 1, 2, 3, 4, 5])]).await;
    let (good, bad) = (toy.commit(&[(a, &[1])]).await, toy.commit(&[(a, &[1, 4])]).await);
    forget(&toy.store, all).await;
    while names(&toy.store, name::PACKS).await.contains(&a.1.pack_name()) {
        clean(&toy.store).await;
    }
    let [moved] = names(&toy.store, name::PACKS).await.try_into().unwrap();
    let condemned = Condemned { what: What::Pack, hash: ObjectHash::from_object_name(&moved).unwrap() };
    condemned::write(toy.store.as_ref(), VAULT, random(), &[condemned]).await.unwrap();
    let mut torn = toy.store.get(&moved, u64::MAX).await.unwrap().to_vec();
    let end = torn.len() / 2 + 1000;
    torn[end] ^= 1;
    toy.store.replace(&moved, vec![torn.into()]).await.unwrap();
    let target = empty();
    let report = run(&toy.store, &target).await;
    assert_eq!(report.copied, [good], "{report:?}");
    assert_eq!(report.left_behind.iter().map(|left| left.snapshot).collect::<Vec<_>>(), [bad]);
    assert_same(&toy.store, &target, &[good]).await;
}

#[tokio::test]
async fn of_a_damaged_pack_without_a_second_table_nothing_is_taken() {
    for has_fragment in [true, false] {
        let (toy, snapshots, [a, _]) = a_vault().await;
        let mut torn = toy.store.get(&a.1.pack_name(), u64::MAX).await.unwrap().to_vec();
        let at = match has_fragment {
            // What opens the pack's segments, in its own table: no hash there tells.
            true => torn.windows(8).rposition(|bytes| bytes == b"envelope").unwrap(),
            false => torn.len() * 2 / 5,
        };
        torn[at] ^= 1;
        toy.store.replace(&a.1.pack_name(), vec![torn.into()]).await.unwrap();
        if !has_fragment {
            for fragment in names(&toy.store, name::INDEX).await {
                toy.store.delete(&fragment).await.unwrap();
            }
        }
        let target = empty();
        let report = run(&toy.store, &target).await;
        assert_eq!((report.copied, report.segments_moved), (vec![snapshots[2]], 0), "{has_fragment}");
    }
}

#[tokio::test]
async fn a_pack_of_the_wrong_size_at_the_target_is_told() {
    let (mut toy, _, [a, _]) = a_vault().await;
    let target = empty();
    run(&toy.store, &target).await;
    target.replace(&a.1.pack_name(), vec![Bytes::from_static(b"short")]).await.unwrap();
    let new = toy.commit(&[(a, &[1])]).await;
    let report = run(&toy.store, &target).await;
    assert_eq!(report.left_behind[0].snapshot, new);
    assert_eq!(report.faults[0].location, target.location());
}

#[tokio::test]
async fn a_target_that_does_not_keep_what_it_is_given_is_found_by_reading_back() {
    let (toy, _, [a, _]) = a_vault().await;
    let inner = empty();
    let rule = Rule::new(When::Always, StoreFault::Error(Kind::Truncated))
        .on(Operation::GetRange)
        .under(a.1.pack_name());
    let target: Arc<dyn Store> = Arc::new(Faulty::new(inner, 1, vec![rule]));
    let options = Options { verify: true, ..Options::default() };
    let report = run_with(&toy.store, &target, options).await.unwrap();
    assert_eq!(report.left_behind.len(), 2, "{report:?}");
    assert_eq!(report.faults[0].object, a.1.pack_name());
}

#[tokio::test]
async fn a_source_that_may_only_be_read_is_copied() {
    let (toy, snapshots, _) = a_vault().await;
    let source: Arc<dyn Store> = Arc::new(store::ReadOnly::new(toy.store.clone()));
    let target = empty();
    run(&source, &target).await;
    assert_same(&toy.store, &target, &snapshots).await;
}

#[tokio::test]
async fn leases_are_renewed_when_the_timer_says_so() {
    let (toy, snapshots, _) = a_vault().await;
    let recorded = Arc::new(Recorded::new(empty()));
    let rule = Rule::new(When::Always, StoreFault::Delay(Duration::from_millis(20))).under(name::PACKS);
    let target: Arc<dyn Store> = Arc::new(Faulty::new(recorded.clone(), 1, vec![rule.on(Operation::Put)]));
    let soon = || -> Alarm {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(4)).await;
            Due::Renewal
        })
    };
    copy(&toy.store, &target, &Options::default(), &soon, &mut random, &Unwatched).await.unwrap();
    assert!(recorded.count(Operation::Replace, name::LEASES) > 2);
    assert_same(&toy.store, &target, &snapshots).await;
}

#[tokio::test]
async fn a_copy_that_overslept_brings_again_what_was_deleted() {
    let (mut toy, snapshots, [a, b]) = a_vault().await;
    let target = empty();
    run(&toy.store, &target).await;
    for id in &snapshots {
        forget(&target, *id).await;
    }
    let new = toy.commit(&[(a, &[0]), (b, &[1])]).await;
    // A lease that has run out at once.
    let options = Options { lease: Duration::ZERO, ..Options::default() };
    let outcome = run_with(&toy.store, &target, options).await;
    assert!(matches!(outcome, Err(CopyError::Restless)), "{outcome:?}");
    let trash = Trash::read(target.as_ref(), VAULT).await.unwrap();
    assert!(names(&target, name::SNAPSHOTS).await.iter().all(|name| {
        let id = ObjectHash::from_object_name(name).unwrap();
        id != new || trash.get(new).is_some()
    }));
}

#[tokio::test]
async fn a_copy_that_is_ended_early_goes_on_the_next_time() {
    struct Impatient(std::sync::atomic::AtomicU64);
    impl Watch for Impatient {
        fn read(&self, bytes: u64) {
            self.0.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        }
        fn is_cancelled(&self) -> bool {
            self.0.load(std::sync::atomic::Ordering::Relaxed) > 0
        }
    }
    let (toy, snapshots, _) = a_vault().await;
    let target = empty();
    let watch = Impatient(std::sync::atomic::AtomicU64::new(0));
    let copied =
        copy(&toy.store, &target, &Options::default(), &no_timer, &mut random, &watch).await.unwrap();
    assert!(copied.ended_early && copied.packs_copied == 1 && copied.copied.is_empty(), "{copied:?}");
    assert_sound(&target, "ended early").await;
    let report = run(&toy.store, &target).await;
    assert_eq!((report.packs_copied, report.copied), (1, snapshots.clone()));
    assert_same(&toy.store, &target, &snapshots).await;
}
