//! Repairs of a toy vault.

use store::{Kind, MemoryStore, Operation, Recorded};

use super::*;
use crate::check::{Finding, Severity, Unwatched};
use crate::condemned::{Row, What};
use crate::copy::{self, no_timer};
use crate::damage::{self, DamagedPack};
use crate::name;
use crate::records;
use crate::toy::{self, SEGMENT, Toy, VAULT, assert_sound, clean, contents, findings, forget, names, random};

type Packed = (PackId, ObjectHash);

fn all() -> Options {
    Options { read_all: true, ..Options::default() }
}

async fn fix(store: &Arc<dyn Store>, replica: Option<&Arc<dyn Store>>, options: &Options) -> Report {
    repair(store, replica, options, &no_timer, &mut random, &Unwatched).await.unwrap()
}

async fn replica_of(store: &Arc<dyn Store>) -> Arc<dyn Store> {
    let replica: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let options = copy::Options::default();
    copy::copy(store, &replica, &options, &no_timer, &mut random, &Unwatched).await.unwrap();
    replica
}

async fn duplicate(store: &Arc<dyn Store>) -> Arc<dyn Store> {
    let other: Arc<dyn Store> = Arc::new(MemoryStore::new());
    for object in store.list("").await.unwrap() {
        let bytes = store.get(&object.name, u64::MAX).await.unwrap();
        other.put(&object.name, vec![bytes]).await.unwrap();
    }
    other
}

/// A vault with some of everything: packs, one of them compacted away, snapshots, a relocation, a damage record.
struct Ward {
    store: Arc<dyn Store>,
    snapshots: Vec<SnapshotId>,
    packs: [Packed; 3],
}

async fn a_ward() -> Ward {
    let mut toy = Toy::new().await;
    let (a, b) = (toy.pack(6).await, toy.pack(6).await);
    let old = toy.commit(&[(a, &[0, 1, 2, 3, 4, 5])]).await;
    let first = toy.commit(&[(a, &[0, 5]), (b, &[0, 1, 2, 3, 4, 5])]).await;
    forget(&toy.store, old).await;
    assert!(clean(&toy.store).await.segments_moved > 0);
    let c = toy.pack(3).await;
    let second = toy.commit(&[(b, &[2]), (c, &[0, 1, 2])]).await;
    Ward { store: toy.store, snapshots: vec![first, second], packs: [a, b, c] }
}

async fn all_contents(
    store: &Arc<dyn Store>,
    ward: &Ward,
) -> Vec<Option<BTreeMap<(PackId, u32), ObjectHash>>> {
    let mut all = Vec::new();
    for id in &ward.snapshots {
        all.push(contents(store, *id).await);
    }
    all
}

async fn change(store: &Arc<dyn Store>, name: &str, how: &str) {
    let mut bytes = store.get(name, u64::MAX).await.unwrap().to_vec();
    match how {
        "delete" => return store.delete(name).await.unwrap(),
        "truncate" => bytes.truncate(bytes.len() / 2),
        "empty" => bytes.clear(),
        // Of a pack: the hash of the last segment.
        "flip the table" if bytes.len() > 60 => {
            let at = bytes.len() - 20;
            bytes[at] ^= 1;
        }
        "flip the end" => *bytes.last_mut().unwrap() ^= 1,
        // Not in the header or the features: those could be a newer program's.
        "flip the beginning" => bytes[20] ^= 1,
        _ => {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        }
    }
    store.replace(name, vec![bytes.into()]).await.unwrap();
}

#[tokio::test]
async fn every_damage_to_every_kind_is_healed_from_a_replica() {
    let ward = a_ward().await;
    let expected = all_contents(&ward.store, &ward).await;
    assert!(expected.iter().all(Option::is_some));
    let replica = replica_of(&ward.store).await;
    let mut kinds = BTreeSet::new();
    for object in names(&ward.store, "").await {
        // Nobody needs those, and a copy has others.
        if [name::LEASES, name::TRASH, name::CONDEMNED].iter().any(|folder| object.starts_with(folder)) {
            continue;
        }
        kinds.insert(object.split('/').next().unwrap().to_owned());
        for how in
            ["delete", "truncate", "empty", "flip", "flip the table", "flip the end", "flip the beginning"]
        {
            let store = duplicate(&ward.store).await;
            change(&store, &object, how).await;
            let report = fix(&store, Some(&replica), &all()).await;
            let what = format!("{how} {object}: {report:#?}");
            assert!(report.lost.is_empty(), "{what}");
            assert_sound(&store, &what).await;
            assert_eq!(all_contents(&store, &ward).await, expected, "{what}");
            let again = fix(&store, Some(&replica), &all()).await;
            assert!(again.healed.is_empty() && again.lost.is_empty(), "{what}, then {again:#?}");
            // What was replaced goes, and nothing else.
            clean(&store).await;
            let report = clean(&store).await;
            assert!(report.not_understood.is_empty(), "{what}, then {report:#?}");
            assert_sound(&store, &what).await;
            assert_eq!(all_contents(&store, &ward).await, expected, "{what}, cleaned up");
        }
    }
    let expected = ["index", "keys", "packs", "relocations", "snapshots", "strongroom.vault"];
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_vault_that_is_whole_is_left_as_it_is() {
    let ward = a_ward().await;
    let replica = replica_of(&ward.store).await;
    let before = names(&ward.store, "").await;
    let report = fix(&ward.store, Some(&replica), &all()).await;
    assert!(report.healed.is_empty() && report.lost.is_empty(), "{report:#?}");
    let mut after = names(&ward.store, "").await;
    after.retain(|name| !name.starts_with(name::LEASES) || before.contains(name));
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_dry_run_tells_what_a_repair_then_does() {
    let ward = a_ward().await;
    let replica = replica_of(&ward.store).await;
    change(&ward.store, &ward.packs[2].1.pack_name(), "flip").await;
    change(&ward.store, &ward.snapshots[0].snapshot_name(), "delete").await;
    let before = names(&ward.store, "").await;
    let dry = fix(&ward.store, Some(&replica), &Options { dry_run: true, ..all() }).await;
    assert_eq!(names(&ward.store, "").await, before);
    let done = fix(&ward.store, Some(&replica), &all()).await;
    assert_eq!((dry.healed, dry.lost), (done.healed, done.lost));
}

#[tokio::test]
async fn a_bad_pack_is_replaced_by_what_is_good_and_what_the_replica_has_elsewhere() {
    let mut toy = Toy::new().await;
    let a = toy.pack(10).await;
    let whole = toy.commit(&[(a, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9])]).await;
    let replica = replica_of(&toy.store).await;
    // The replica compacted it: it has a part, in another object.
    let part = toy.commit(&[(a, &[3, 4])]).await;
    let options = copy::Options::default();
    copy::copy(&toy.store, &replica, &options, &no_timer, &mut random, &Unwatched).await.unwrap();
    forget(&replica, whole).await;
    assert!(clean(&replica).await.segments_moved > 0);
    let expected = (contents(&toy.store, whole).await, contents(&toy.store, part).await);
    let name = a.1.pack_name();
    let mut bytes = toy.store.get(&name, u64::MAX).await.unwrap().to_vec();
    bytes[24 + 3 * SEGMENT + 7] ^= 1;
    toy.store.replace(&name, vec![bytes.clone().into()]).await.unwrap();
    let report = fix(&toy.store, Some(&replica), &all()).await;
    assert_eq!((report.segments_fetched, report.healed.len()), (1, 1), "{report:#?}");
    assert_eq!((contents(&toy.store, whole).await, contents(&toy.store, part).await), expected);
    assert!(Row::read(toy.store.as_ref(), VAULT).await.unwrap().of(What::Pack).contains(&a.1));
    assert!(names(&toy.store, name::PACKS).await.contains(&name), "condemned, and not deleted");
    assert_sound(&toy.store, "healed").await;
    clean(&toy.store).await;
    assert!(!names(&toy.store, name::PACKS).await.contains(&name));
    assert_eq!((contents(&toy.store, whole).await, contents(&toy.store, part).await), expected);
    // What the replica lacks is lost, and said with its segments.
    let new = names(&toy.store, name::PACKS).await.remove(0);
    let mut bytes = toy.store.get(&new, u64::MAX).await.unwrap().to_vec();
    for number in [3, 8] {
        bytes[24 + number * SEGMENT + 7] ^= 1;
    }
    toy.store.replace(&new, vec![bytes.into()]).await.unwrap();
    let report = fix(&toy.store, Some(&replica), &all()).await;
    assert_eq!(report.lost.len(), 1, "{report:#?}");
    assert_eq!(report.lost[0].segments, [(a.0, SegmentSet::from_iter([8]))]);
    assert!(names(&toy.store, name::PACKS).await.contains(&new));
}

#[tokio::test]
async fn damage_outside_of_segments_is_healed_without_a_replica() {
    let ward = a_ward().await;
    let expected = all_contents(&ward.store, &ward).await;
    let c = ward.packs[2].1.pack_name();
    for how in ["flip the beginning", "flip the end", "flip the table"] {
        let store = duplicate(&ward.store).await;
        change(&store, &c, how).await;
        let report = fix(&store, None, &all()).await;
        assert!(report.lost.is_empty() && report.healed.len() == 1, "{report:#?}");
        assert_sound(&store, how).await;
        assert_eq!(all_contents(&store, &ward).await, expected);
    }
    change(&ward.store, &c, "flip").await;
    let report = fix(&ward.store, None, &all()).await;
    assert_eq!(report.lost[0].object, c);
    assert_eq!(report.lost[0].segments[0].0, ward.packs[2].0);
}

#[tokio::test]
async fn damage_records_say_what_to_read_and_go_when_it_is_healed() {
    let ward = a_ward().await;
    let replica = replica_of(&ward.store).await;
    let (b, c) = (ward.packs[1], ward.packs[2]);
    change(&ward.store, &c.1.pack_name(), "flip").await;
    let report = fix(&ward.store, Some(&replica), &Options::default()).await;
    assert!(report.healed.is_empty() && report.bytes_read == 0, "nobody knows of it");
    let pairs = [c, b].map(|(pack, object)| DamagedPack { pack, object });
    let elsewhere = DamagedPack { pack: PackId::new([9; 16]), object: ObjectHash::of(b"elsewhere") };
    let record = [pairs[0], pairs[1], elsewhere];
    damage::record(ward.store.as_ref(), VAULT, &record).await.unwrap();
    let report = fix(&ward.store, Some(&replica), &Options::default()).await;
    assert_eq!(report.healed.iter().map(|healed| healed.how).collect::<Vec<_>>(), [How::Moved]);
    let left = damage::read_all(ward.store.as_ref(), VAULT).await.unwrap();
    assert!(left.contains(&elsewhere) && !left.contains(&pairs[0]), "{left:?}");
    change(&ward.store, &names(&ward.store, name::DAMAGE).await[0], "flip").await;
    fix(&ward.store, Some(&replica), &all()).await;
    assert_sound(&ward.store, "after the record was damaged").await;
}

#[tokio::test]
async fn salvage_takes_what_is_lost_out_of_the_index_and_nothing_else() {
    let ward = a_ward().await;
    let c = ward.packs[2];
    change(&ward.store, &c.1.pack_name(), "delete").await;
    let before = names(&ward.store, "").await;
    let report = fix(&ward.store, None, &Options { salvage: true, ..all() }).await;
    assert_eq!((report.salvaged, report.lost.len()), (1, 1), "{report:#?}");
    let recorded = damage::read_all(ward.store.as_ref(), VAULT).await.unwrap();
    assert_eq!(recorded, [DamagedPack { pack: c.0, object: c.1 }]);
    let after = names(&ward.store, "").await;
    assert!(before.iter().all(|name| after.contains(name)), "nothing is removed");
    let mut here = Shelf::read(&ward.store, VAULT, Holders::read(ward.store.as_ref(), VAULT).await.unwrap())
        .await
        .unwrap();
    here.learn_index(&ward.store, VAULT).await.unwrap();
    assert!(!here.sources.contains_key(&c.1));
    assert!(contents(&ward.store, ward.snapshots[0]).await.is_some());
    clean(&ward.store).await;
    assert!(contents(&ward.store, ward.snapshots[0]).await.is_some());
    let found = findings(&ward.store).await;
    assert!(found.iter().any(|finding| finding.object == c.1.pack_name()), "it is said still: {found:#?}");
}

#[tokio::test]
async fn a_salvage_that_is_repeated_says_the_same_and_undoes_nothing() {
    let ward = a_ward().await;
    let c = ward.packs[2];
    change(&ward.store, &c.1.pack_name(), "flip").await;
    let salvage = Options { salvage: true, ..all() };
    let first = fix(&ward.store, None, &salvage).await;
    let [lost] = &first.lost[..] else { panic!("{first:#?}") };
    let [(pack, segments)] = &lost.segments[..] else { panic!("{lost:#?}") };
    assert_eq!((*pack, segments.len()), (c.0, 1), "what is whole in it is not lost");
    for options in [&salvage, &all()] {
        let again = fix(&ward.store, None, options).await;
        assert_eq!((&again.lost, &again.healed), (&first.lost, &Vec::new()));
    }
    let found = findings(&ward.store).await;
    // That it is in no index is known, and no damage.
    let is_harmless = |finding: &Finding| finding.object != name::INDEX || finding.severity == Severity::Note;
    assert!(found.iter().all(is_harmless), "{found:#?}");
}

#[tokio::test]
async fn after_a_crash_at_any_call_nothing_is_worse_and_the_next_repair_heals() {
    let ward = a_ward().await;
    let expected = all_contents(&ward.store, &ward).await;
    let replica = replica_of(&ward.store).await;
    let base = MemoryStore::new();
    for object in ward.store.list("").await.unwrap() {
        let bytes = ward.store.get(&object.name, u64::MAX).await.unwrap();
        base.put(&object.name, vec![bytes]).await.unwrap();
    }
    let hurt: Arc<dyn Store> = Arc::new(base.clone());
    change(&hurt, &ward.packs[2].1.pack_name(), "flip").await;
    change(&hurt, &ward.snapshots[1].snapshot_name(), "delete").await;
    change(&hurt, &names(&hurt, name::INDEX).await[0], "flip").await;
    change(&hurt, &names(&hurt, name::RELOCATIONS).await[0], "truncate").await;
    let base = MemoryStore::new();
    for object in hurt.list("").await.unwrap() {
        let bytes = hurt.get(&object.name, u64::MAX).await.unwrap();
        base.put(&object.name, vec![bytes]).await.unwrap();
    }
    let before = all_contents(&hurt, &ward).await;
    let recorded = Arc::new(Recorded::new(Arc::new(base.clone())));
    let store: Arc<dyn Store> = recorded.clone();
    fix(&store, Some(&replica), &all()).await;
    assert_sound(&store, "the whole repair").await;
    let total = recorded.change_count();
    assert!(total >= 7, "{total}");
    for cut in 0..=total {
        let store: Arc<dyn Store> = Arc::new(recorded.replay_onto(base.clone(), cut).await.unwrap());
        for (before, now) in before.iter().zip(all_contents(&store, &ward).await) {
            assert!(before.is_none() || now.is_some(), "worse after {cut}");
        }
        let report = fix(&store, Some(&replica), &all()).await;
        assert!(report.lost.is_empty(), "after {cut}: {report:#?}");
        assert_sound(&store, &format!("after {cut}")).await;
        assert_eq!(all_contents(&store, &ward).await, expected, "after {cut}");
    }
}

#[tokio::test]
async fn another_vault_is_no_replica() {
    let ward = a_ward().await;
    let other: Arc<dyn Store> = Arc::new(MemoryStore::new());
    other.put(name::DESCRIPTOR, vec![toy::descriptor(VaultId::new([9; 16]))]).await.unwrap();
    for lose in [false, true] {
        if lose {
            ward.store.delete(name::DESCRIPTOR).await.unwrap();
        }
        let outcome =
            repair(&ward.store, Some(&other), &all(), &no_timer, &mut random, &Unwatched).await.unwrap_err();
        assert!(matches!(outcome, RepairError::Replica(CopyError::ForeignVault { .. })), "{outcome:?}");
    }
    let outcome = repair(&ward.store, None, &all(), &no_timer, &mut random, &Unwatched).await.unwrap_err();
    assert!(matches!(outcome, RepairError::NoDescriptor), "{outcome:?}");
}

#[tokio::test]
async fn what_was_forgotten_here_does_not_come_back_from_a_replica() {
    let ward = a_ward().await;
    let replica = replica_of(&ward.store).await;
    forget(&ward.store, ward.snapshots[1]).await;
    clean(&ward.store).await;
    let report = fix(&ward.store, Some(&replica), &all()).await;
    assert!(report.healed.is_empty(), "{report:#?}");
    assert_eq!(names(&ward.store, name::SNAPSHOTS).await, [ward.snapshots[0].snapshot_name()]);
}

#[tokio::test]
async fn a_quick_repair_reads_no_pack() {
    let ward = a_ward().await;
    let replica = replica_of(&ward.store).await;
    let recorded = Arc::new(Recorded::new(ward.store.clone()));
    let store: Arc<dyn Store> = recorded.clone();
    fix(&store, Some(&replica), &Options::default()).await;
    assert_eq!(recorded.count(Operation::GetRange, ""), 0);
    assert_eq!(recorded.count(Operation::GetTail, ""), 0);
    let missing = store.get("packs/none", 1).await.unwrap_err();
    assert_eq!(missing.kind, Kind::NotFound);
    assert!(records::read_all(store.as_ref(), name::DAMAGE, 1 << 20, |_| Ok(())).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_fragment_that_lies_about_a_pack_goes_and_the_pack_stays() {
    let ward = a_ward().await;
    let expected = all_contents(&ward.store, &ward).await;
    let (pack, object) = ward.packs[2];
    let name = object.pack_name();
    let mut forged = crate::pack::PackAssembler::new(crate::pack::PackKind::Data, VAULT, pack);
    forged.push(Bytes::from_static(b"something else"));
    let forged = forged.finish(0, Bytes::from_static(b"forged"), Bytes::from_static(b"forged"));
    let lie = PackRecord { hash: object, size: forged.size, trailer: forged.trailer };
    for fragment in names(&ward.store, name::INDEX).await {
        ward.store.delete(&fragment).await.unwrap();
    }
    crate::fragment::write(ward.store.as_ref(), VAULT, vec![lie], &Default::default()).await.unwrap();
    let report = fix(&ward.store, None, &all()).await;
    assert!(report.lost.is_empty() && report.bytes_written == 0, "{report:#?}");
    assert!(names(&ward.store, name::PACKS).await.contains(&name));
    assert_eq!(all_contents(&ward.store, &ward).await, expected);
    assert_sound(&ward.store, "the lie is condemned").await;
    clean(&ward.store).await;
    assert_sound(&ward.store, "the lie is gone").await;
    assert_eq!(all_contents(&ward.store, &ward).await, expected);
}
