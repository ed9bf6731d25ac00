//! A cleanup on a toy vault: packs of a few segments, snapshots that need some of them.

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use store::{Fault, Faulty, Kind, MemoryStore, Operation, Recorded, Rule, Store, When};

use super::tidy::LEASES_KEPT;
use super::*;
use crate::check::Unwatched;
use crate::condemned::{self, What};
use crate::error::Damage;
use crate::fragment::{self, PackRecord};
use crate::pack::{PackAssembler, PackKind, verify_whole};
use crate::relocation::{self, Holders, Moved};
use crate::signing::{self, VerifyingKey};
use crate::snapshot::{self, Envelope, PackNeed};
use crate::writer::{Outcome, Writer};
use crate::{PackId, SegmentSet, SnapshotId, name, records, trash};

mod forged;
mod leftovers;
mod locks;
mod moving;
mod writers;

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
    // Nor does it need a store that takes writes.
    let names = async |toy: &Toy| {
        let all = toy.store.list("").await.unwrap();
        all.into_iter().map(|object| object.name).collect::<Vec<_>>()
    };
    let before = names(&toy).await;
    for kind in [Kind::PermissionDenied, Kind::ReadOnly, Kind::NoSpace] {
        let refused = [Operation::Put, Operation::Replace, Operation::Delete]
            .map(|operation| Rule::new(When::Always, Fault::Error(kind)).on(operation));
        let inner = toy.store.clone();
        toy.store = Arc::new(Faulty::new(inner.clone(), 1, refused.into()));
        let report = toy.try_clean(|options| options.dry_run = true).await.unwrap();
        assert_eq!((report.snapshots_condemned, report.packs_condemned), (1, 1));
        assert!(toy.try_clean(|_| {}).await.is_err());
        toy.store = inner;
    }
    assert_eq!(names(&toy).await, before);
    // And it is not in the way of others.
    let outcome = toy.try_clean(|_| {}).await.unwrap();
    assert_eq!(outcome.packs_condemned, 1);
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
