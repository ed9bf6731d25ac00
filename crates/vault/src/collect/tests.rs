//! A cleanup on a toy vault: packs of a few segments, snapshots that need some of them.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use store::{Fault, Faulty, Kind, MemoryStore, Operation, Recorded, Rule, Store, When};

use super::*;
use crate::check::Unwatched;
use crate::error::Damage;
use crate::fragment::{self, PackRecord};
use crate::pack::{PackAssembler, PackKind, verify_whole};
use crate::relocation::Holders;
use crate::signing::{self, VerifyingKey};
use crate::snapshot::{self, Envelope, PackNeed};
use crate::writer::{Outcome, Writer};
use crate::{PackId, SegmentSet, SnapshotId};

mod leftovers;
mod locks;

const VAULT: VaultId = VaultId::new([1; 16]);
const SEGMENT: usize = 100_000;

struct Toy {
    store: Arc<dyn Store>,
    count: u8,
}

type Packed = (PackId, ObjectHash);

impl Toy {
    fn new() -> Self {
        Self { store: Arc::new(MemoryStore::new()), count: 0 }
    }

    fn random(&mut self) -> [u8; 16] {
        self.count += 1;
        [self.count; 16]
    }

    async fn pack(&mut self, segments: usize) -> Packed {
        let id = PackId::new(self.random());
        let mut pack = PackAssembler::new(PackKind::Data, VAULT, id);
        for number in 0..segments {
            pack.push(vec![self.count ^ number as u8; SEGMENT].into());
        }
        let finished = pack.finish(0, Bytes::from_static(b"envelope"), Bytes::from_static(b"directory"));
        let record = PackRecord::from(&finished);
        self.store.put(&finished.hash.pack_name(), finished.parts).await.unwrap();
        let fragment = fragment::encode(VAULT, &[record]);
        self.store.put(&ObjectHash::of(&fragment).index_name(), vec![fragment]).await.unwrap();
        (id, finished.hash)
    }

    fn snapshot(&mut self, needs: &[(Packed, &[u32])]) -> (SnapshotId, Vec<PackNeed>, Bytes) {
        let key = SigningKey::from_bytes(&[5; 32]);
        let signer = VerifyingKey::new(key.verifying_key().to_bytes());
        self.count += 1;
        let mut needs: Vec<_> = needs
            .iter()
            .map(|((pack, object), segments)| PackNeed {
                pack: *pack,
                object: *object,
                segments: segments.iter().copied().collect(),
            })
            .collect();
        needs.sort_by_key(|need| need.pack);
        let envelope = Envelope {
            vault: VAULT,
            system: SystemId::new([2; 16]),
            job: [0; 16],
            sequence: u64::from(self.count),
            time: (0, 0),
            previous: ObjectHash::default(),
            files: 0,
            bytes: 0,
            needs: needs.clone(),
        };
        let mut out = snapshot::encode_unsigned(&envelope, 0, b"", &[], &signer);
        out.extend_from_slice(&key.sign(&signing::message(snapshot::SIGNING_CONTEXT, &out)).to_bytes());
        (ObjectHash::of(&out), needs, out.into())
    }

    async fn commit(&mut self, needs: &[(Packed, &[u32])]) -> SnapshotId {
        let (id, _, bytes) = self.snapshot(needs);
        self.store.put(&id.snapshot_name(), vec![bytes]).await.unwrap();
        id
    }

    async fn forget(&mut self, snapshot: SnapshotId) {
        let mark = trash::Mark {
            nonce: self.random(),
            snapshot,
            system: SystemId::new([2; 16]),
            sequence: 0,
            previous: ObjectHash::default(),
            written: 0,
            reason: String::new(),
        };
        trash::forget(self.store.as_ref(), VAULT, &mark).await.unwrap();
    }

    async fn try_clean(&mut self, change: impl Fn(&mut Options)) -> Result<Report, CleanupError> {
        let mut options = Options::new(Duration::ZERO, false);
        options.unfinished = Duration::ZERO;
        change(&mut options);
        let store = self.store.clone();
        cleanup(&store, VAULT, &options, &mut || self.random(), &Unwatched).await
    }

    async fn clean(&mut self) -> Report {
        self.try_clean(|_| {}).await.unwrap()
    }

    async fn packs(&self) -> HashSet<ObjectHash> {
        let packs = self.store.list(name::PACKS).await.unwrap();
        packs.iter().filter_map(|object| ObjectHash::from_object_name(&object.name)).collect()
    }

    /// Whether a snapshot's segments can all be had, the way a reader finds them.
    async fn is_whole(&self, snapshot: SnapshotId) -> bool {
        let Ok(bytes) = self.store.get(&snapshot.snapshot_name(), 1 << 20).await else { return false };
        let envelope = snapshot::decode(&bytes, snapshot, VAULT).unwrap().envelope;
        let holders = Holders::moved(self.store.as_ref(), VAULT).await.unwrap();
        for need in &envelope.needs {
            let mut objects = vec![need.object];
            objects.extend(holders.elsewhere(need.pack));
            let mut found = false;
            for object in objects {
                let Ok(bytes) = self.store.get(&object.pack_name(), 1 << 30).await else { continue };
                let trailer = verify_whole(&bytes, object, VAULT).unwrap();
                found |= need.segments.iter().all(|number| trailer.row(need.pack, number).is_some());
            }
            if !found {
                return false;
            }
        }
        true
    }
}

#[tokio::test]
async fn what_nothing_needs_goes_and_the_rest_stays() {
    let mut toy = Toy::new();
    let (shared, old, new) = (toy.pack(2).await, toy.pack(2).await, toy.pack(2).await);
    let first = toy.commit(&[(shared, &[0, 1]), (old, &[0, 1])]).await;
    let second = toy.commit(&[(shared, &[0, 1]), (new, &[0, 1])]).await;
    let report = toy.clean().await;
    assert_eq!((report.packs_deleted, report.packs_condemned), (0, 0), "nothing was forgotten");
    toy.forget(first).await;
    let report = toy.clean().await;
    assert_eq!((report.snapshots_deleted, report.packs_deleted, report.waiting.len()), (1, 1, 0));
    assert!(report.bytes_freed > 2 * SEGMENT as u64);
    assert_eq!(toy.packs().await, HashSet::from([shared.1, new.1]));
    assert!(toy.is_whole(second).await && !toy.is_whole(first).await);
    let report = toy.clean().await;
    assert_eq!((report.snapshots_deleted, report.packs_deleted, report.packs_condemned), (0, 0, 0));
}

#[tokio::test]
async fn nothing_goes_before_its_time_in_the_trash_is_over() {
    let mut toy = Toy::new();
    let pack = toy.pack(1).await;
    let snapshot = toy.commit(&[(pack, &[0])]).await;
    toy.forget(snapshot).await;
    let report = toy.try_clean(|options| options.delay = Duration::from_secs(60)).await.unwrap();
    assert_eq!((report.snapshots_condemned, report.packs_condemned), (0, 0));
    assert!(toy.is_whole(snapshot).await);
}

#[tokio::test]
async fn a_dry_run_promises_and_changes_nothing() {
    let mut toy = Toy::new();
    let pack = toy.pack(1).await;
    let snapshot = toy.commit(&[(pack, &[0])]).await;
    toy.forget(snapshot).await;
    let report = toy.try_clean(|options| options.dry_run = true).await.unwrap();
    assert_eq!((report.snapshots_condemned, report.packs_condemned), (1, 1));
    assert!(toy.is_whole(snapshot).await);
}

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
async fn what_was_never_needed_is_left_alone_for_a_while() {
    let mut toy = Toy::new();
    let orphan = toy.pack(1).await;
    let report = toy.try_clean(|options| options.unfinished = Duration::from_secs(60)).await.unwrap();
    assert_eq!((report.unfinished.0, report.packs_condemned), (1, 0));
    assert_eq!(toy.packs().await, HashSet::from([orphan.1]));
    assert_eq!(toy.clean().await.packs_deleted, 1);
}

#[tokio::test]
async fn mostly_dead_packs_are_compacted_and_stay_readable() {
    let mut toy = Toy::new();
    let (a, b) = (toy.pack(10).await, toy.pack(10).await);
    let all: Vec<u32> = (0..10).collect();
    let whole = toy.commit(&[(a, &all), (b, &all)]).await;
    let part = toy.commit(&[(a, &[3, 4]), (b, &[7])]).await;
    toy.forget(whole).await;
    let report = toy.clean().await;
    assert_eq!((report.segments_moved, report.packs_deleted), (3, 2));
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

#[test]
fn a_lost_lease_is_told_from_damage() {
    assert!(matches!(lost(VaultError::damaged("x", OVERSLEPT)), CleanupError::Overslept));
    assert!(matches!(lost(VaultError::damaged("x", Damage::Missing)), CleanupError::Vault(_)));
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

/// What somebody who may only add can do: an object that says it holds another one's segments, and a fragment.
async fn forge(toy: &mut Toy, pack: PackId, segments: &[u32]) -> ObjectHash {
    let id = PackId::new(toy.random());
    let mut forged = PackAssembler::new(PackKind::Data, VAULT, id);
    let (envelope, directory) = (Bytes::from_static(b"envelope"), Bytes::from_static(b"directory"));
    forged.begin_origin(crate::pack::Origin { pack, epoch: 0, envelope, directory, generation: 0 });
    for number in segments {
        let junk = Bytes::from(vec![0x66; SEGMENT / 10]);
        forged.push_moved(*number, *blake3::hash(&junk).as_bytes(), junk);
    }
    let finished = forged.finish_moved();
    let record = PackRecord::from(&finished);
    toy.store.put(&finished.hash.pack_name(), finished.parts).await.unwrap();
    let fragment = fragment::encode(VAULT, &[record]);
    toy.store.put(&ObjectHash::of(&fragment).index_name(), vec![fragment]).await.unwrap();
    finished.hash
}

#[tokio::test]
async fn a_forged_copy_replaces_nothing() {
    let mut toy = Toy::new();
    let a = toy.pack(10).await;
    let part = toy.commit(&[(a, &[3, 4])]).await;
    let forged = forge(&mut toy, a.0, &[3, 4]).await;
    for _ in 0..3 {
        toy.clean().await;
        assert!(toy.is_whole(part).await);
    }
    assert!(!toy.packs().await.contains(&forged), "nobody needs it");
    let holders = Holders::moved(toy.store.as_ref(), VAULT).await.unwrap();
    assert!(holders.named_for(a.0).all(|object| object != forged));
}

#[tokio::test]
async fn a_copy_is_proved_before_the_original_goes() {
    let mut toy = Toy::new();
    let a = toy.pack(10).await;
    let part = toy.commit(&[(a, &[3, 4])]).await;
    // Somebody got a false relocation in.
    let forged = forge(&mut toy, a.0, &[3, 4]).await;
    let moved = Moved { pack: a.0, object: forged, segments: [3, 4].into_iter().collect() };
    let record = relocation::encode(VAULT, toy.random(), &[moved]);
    records::write(toy.store.as_ref(), name::RELOCATIONS, record).await.unwrap();
    let mut told = Vec::new();
    for _ in 0..4 {
        told.extend(toy.clean().await.not_understood);
        assert!(toy.packs().await.contains(&a.1) && toy.is_whole(part).await);
    }
    assert!(told.iter().any(|(name, _)| *name == forged.pack_name()), "{told:?}");
}

#[tokio::test]
async fn a_forged_snapshot_takes_nothing_away() {
    let mut toy = Toy::new();
    let (a, b) = (toy.pack(10).await, toy.pack(10).await);
    let part = toy.commit(&[(a, &[3, 4]), (b, &[0])]).await;
    // Of one of the two packs there is a copy already, made by a collector.
    toy.try_clean(|options| options.max_move = Some(SEGMENT as u64 + 500)).await.unwrap();
    assert!(toy.packs().await.contains(&a.1) && !toy.packs().await.contains(&b.1));
    // A thief with an agent's keys signs a snapshot that needs its own objects for both.
    for (pack, segments) in [(a.0, &[3, 4][..]), (b.0, &[0])] {
        let forged = forge(&mut toy, pack, segments).await;
        toy.commit(&[((pack, forged), segments)]).await;
    }
    for _ in 0..4 {
        toy.clean().await;
        assert!(toy.is_whole(part).await);
        let holders = Holders::read(toy.store.as_ref(), VAULT).await.unwrap();
        let bytes = toy.store.get(&part.snapshot_name(), 1 << 20).await.unwrap();
        for need in &snapshot::decode(&bytes, part, VAULT).unwrap().envelope.needs {
            let object = holders.find(need.pack, need.object, &need.segments).unwrap();
            let bytes = toy.store.get(&object.pack_name(), 1 << 30).await.unwrap();
            let trailer = verify_whole(&bytes, object, VAULT).unwrap();
            let number = need.segments.iter().next().unwrap();
            let length = trailer.row(need.pack, number).unwrap().length as usize;
            assert_eq!(length, SEGMENT, "the true one, and not the forged one");
        }
    }
}

#[tokio::test]
async fn a_pinned_snapshot_stays_whatever_was_forgotten() {
    let mut toy = Toy::new();
    let pack = toy.pack(1).await;
    let snapshot = toy.commit(&[(pack, &[0])]).await;
    let until = crate::pins::Until::Unpinned;
    let pin = crate::pins::Pin { nonce: [1; 16], snapshot, until, written: 0 };
    let name = crate::pins::pin(toy.store.as_ref(), VAULT, &pin).await.unwrap();
    toy.forget(snapshot).await;
    assert_eq!(toy.clean().await.packs_condemned, 0);
    let whole = toy.store.get(&name, 1000).await.unwrap();
    toy.store.replace(&name, vec![Bytes::from_static(b"?")]).await.unwrap();
    let report = toy.clean().await;
    assert_eq!((report.packs_condemned, report.not_understood.len()), (0, 1), "a pin may be anybody's");
    toy.store.replace(&name, vec![whole]).await.unwrap();
    toy.store.delete(&name).await.unwrap();
    assert_eq!(toy.clean().await.snapshots_deleted, 1);
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
