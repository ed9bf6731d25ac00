mod records;

use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use store::{MemoryStore, Store};

use super::*;
use crate::descriptor::{self, ChunkSizes};
use crate::fragment::PackRecord;
use crate::name::SystemId;
use crate::pack::{FinishedPack, PackAssembler, PackKind};
use crate::signing::{self, VerifyingKey};
use crate::snapshot::{self, Envelope, PackNeed};

const VAULT: VaultId = VaultId::new([7; 16]);

/// A small vault: two packs, a fragment for each, and a chain of two snapshots; the first needs one pack.
pub(crate) struct Sample {
    pub(crate) store: Arc<dyn Store>,
    key: SigningKey,
    pub(crate) packs: Vec<FinishedPack>,
    fragments: Vec<String>,
    pub(crate) snapshots: Vec<ObjectHash>,
}

fn sign(key: &SigningKey, context: &str, mut bytes: Vec<u8>) -> Bytes {
    let signature = key.sign(&signing::message(context, &bytes)).to_bytes();
    bytes.extend_from_slice(&signature);
    bytes.into()
}

fn verifying(key: &SigningKey) -> VerifyingKey {
    VerifyingKey::new(key.verifying_key().to_bytes())
}

pub(crate) fn a_pack(id: u8) -> FinishedPack {
    let mut pack = PackAssembler::new(PackKind::Data, VAULT, PackId::new([id; 16]));
    // More than one piece.
    for number in 0..6u8 {
        pack.push(vec![number ^ id; 1 << 20].into());
    }
    pack.finish(0, Bytes::from_static(b"envelope"), Bytes::from_static(b"directory"))
}

pub(crate) fn need(pack: &FinishedPack, id: u8, segments: &[u32]) -> PackNeed {
    PackNeed { pack: PackId::new([id; 16]), object: pack.hash, segments: segments.iter().copied().collect() }
}

pub(crate) fn a_snapshot(
    key: &SigningKey,
    sequence: u64,
    previous: ObjectHash,
    needs: Vec<PackNeed>,
) -> Bytes {
    let envelope = Envelope {
        vault: VAULT,
        system: SystemId::new([2; 16]),
        job: [0; 16],
        sequence,
        time: (sequence as i64, 0),
        previous,
        files: 1,
        bytes: 1,
        needs,
    };
    let body = [Bytes::from_static(b"body")];
    let unsigned = snapshot::encode_unsigned(&envelope, 0, b"envelope", &body, &verifying(key));
    sign(key, snapshot::SIGNING_CONTEXT, unsigned)
}

impl Sample {
    pub(crate) async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let key = SigningKey::from_bytes(&[5; 32]);
        let descriptor = Descriptor {
            vault: VAULT,
            created: 0,
            chunk_sizes: ChunkSizes { min: 1 << 18, average: 1 << 20, max: 1 << 22 },
            settings: Vec::new(),
            owner: verifying(&key),
        };
        let bytes = sign(&key, descriptor::SIGNING_CONTEXT, descriptor.encode_unsigned());
        store.put(name::DESCRIPTOR, vec![bytes]).await.unwrap();
        let mut slot = ObjectKind::KeySlot.header().to_vec();
        slot.extend_from_slice(&[0; 8]);
        slot.extend_from_slice(VAULT.bytes());
        slot.extend_from_slice(b"the rest is for who has a key");
        store.put(&ObjectHash::of(&slot).slot_name(), vec![slot.into()]).await.unwrap();
        let packs = vec![a_pack(1), a_pack(2)];
        let mut fragments = Vec::new();
        for pack in &packs {
            store.put(&pack.hash.pack_name(), pack.parts.clone()).await.unwrap();
            let bytes = fragment::encode(VAULT, &[PackRecord::from(pack)]);
            let name = ObjectHash::of(&bytes).index_name();
            store.put(&name, vec![bytes]).await.unwrap();
            fragments.push(name);
        }
        let mut sample = Self { store, key, packs, fragments, snapshots: Vec::new() };
        let first = vec![need(&sample.packs[0], 1, &[0, 5])];
        sample.commit(0, first).await;
        let both = vec![need(&sample.packs[0], 1, &[0, 1]), need(&sample.packs[1], 2, &[3])];
        sample.commit(1, both).await;
        sample
    }

    pub(crate) async fn commit(&mut self, sequence: u64, needs: Vec<PackNeed>) -> ObjectHash {
        let previous = self.snapshots.last().copied().unwrap_or_default();
        let bytes = a_snapshot(&self.key, sequence, previous, needs);
        let id = ObjectHash::of(&bytes);
        self.store.put(&id.snapshot_name(), vec![bytes]).await.unwrap();
        self.snapshots.push(id);
        id
    }

    pub(crate) async fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.store.get(name, u64::MAX).await.unwrap().to_vec();
        change(&mut bytes);
        self.store.replace(name, vec![bytes.into()]).await.unwrap();
    }

    async fn check(&self, packs: ReadPacks) -> Report {
        let watch: Arc<dyn Watch> = Arc::new(Unwatched);
        check(&self.store, &packs, None, &watch).await.unwrap()
    }

    /// Severity and object of everything found.
    async fn found(&self, packs: ReadPacks) -> Vec<(Severity, String)> {
        let findings = self.check(packs).await.findings.finish();
        findings.into_iter().map(|finding| (finding.severity, finding.object)).collect()
    }

    fn short(&self, number: usize) -> String {
        self.snapshots[number].short()
    }
}

fn broken(object: impl Into<String>) -> (Severity, String) {
    (Severity::Damage, object.into())
}

#[tokio::test]
async fn a_whole_vault_is_silent() {
    let sample = Sample::new().await;
    let report = sample.check(ReadPacks::All).await;
    assert_eq!(report.findings.clone().finish(), []);
    assert_eq!((report.snapshots, report.packs, report.segments), (2, 2, 12));
    assert_eq!(report.bytes_read, sample.packs.iter().map(|pack| pack.size).sum::<u64>());
    let quick = sample.check(ReadPacks::None).await;
    assert_eq!(quick.bytes_read, 0);
}

#[tokio::test]
async fn a_place_without_a_vault_is_an_error() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    let outcome = check(&store, &ReadPacks::None, None, &watch).await;
    assert!(matches!(outcome, Err(VaultError::NoVault { .. })));
}

#[tokio::test]
async fn every_flip_in_every_object_is_found() {
    let whole = Sample::new().await;
    for object in whole.store.list("").await.unwrap() {
        let length = object.size;
        for at in [0, 5, 9, length / 3, length / 2, length - 1] {
            let sample = Sample::new().await;
            sample.change(&object.name, |bytes| bytes[at as usize] ^= 8).await;
            let found = sample.found(ReadPacks::All).await;
            assert!(
                found.iter().any(|(severity, name)| *severity != Severity::Note && *name == object.name),
                "byte {at} of {}: {found:?}",
                object.name
            );
        }
    }
}

#[tokio::test]
async fn every_truncation_and_every_swap_is_found_without_reading_packs() {
    let whole = Sample::new().await;
    let objects = whole.store.list("").await.unwrap();
    for object in &objects {
        for length in [0, 7, 20, object.size / 2, object.size - 1] {
            let sample = Sample::new().await;
            sample.change(&object.name, |bytes| bytes.truncate(length as usize)).await;
            let found = sample.found(ReadPacks::None).await;
            assert!(found.contains(&broken(&object.name)), "{length} of {}: {found:?}", object.name);
        }
        let other =
            objects.iter().find(|other| other.name != object.name && other.size != object.size).unwrap();
        let sample = Sample::new().await;
        let bytes = sample.store.get(&other.name, u64::MAX).await.unwrap();
        sample.store.replace(&object.name, vec![bytes]).await.unwrap();
        let found = sample.found(ReadPacks::None).await;
        assert!(found.contains(&broken(&object.name)), "{} for {}: {found:?}", other.name, object.name);
    }
}

#[tokio::test]
async fn two_packs_that_changed_places_are_found_when_they_are_read() {
    let sample = Sample::new().await;
    let [a, b] = [0, 1].map(|n: usize| sample.packs[n].hash.pack_name());
    let bytes = sample.store.get(&b, u64::MAX).await.unwrap();
    sample.store.replace(&a, vec![bytes]).await.unwrap();
    let found = sample.found(ReadPacks::All).await;
    assert!(found.iter().all(|finding| *finding == broken(&a)), "{found:?}");
    assert!(!found.is_empty());
}

#[tokio::test]
async fn a_missing_pack_says_who_needs_it() {
    let sample = Sample::new().await;
    let name = sample.packs[1].hash.pack_name();
    sample.store.delete(&name).await.unwrap();
    let report = sample.check(ReadPacks::All).await;
    let loss = &report.losses[0];
    assert_eq!((loss.pack, loss.segments.clone()), (PackId::new([2; 16]), None));
    let findings = report.findings.finish();
    assert_eq!(findings.len(), 1);
    assert_eq!((findings[0].severity, &findings[0].object), (Severity::Damage, &name));
    assert_eq!(findings[0].affects, [sample.short(1)]);
}

#[tokio::test]
async fn a_flipped_segment_is_named_and_lost_alone() {
    let sample = Sample::new().await;
    let name = sample.packs[0].hash.pack_name();
    sample.change(&name, |bytes| bytes[24 + (5 << 20) + 9] ^= 1).await;
    assert_eq!(sample.found(ReadPacks::None).await, [], "names and tables are as they should be");
    let report = sample.check(ReadPacks::All).await;
    let loss = &report.losses[0];
    assert_eq!(loss.pack, PackId::new([1; 16]));
    assert_eq!(loss.segments.as_ref().unwrap().iter().collect::<Vec<_>>(), [5]);
    assert_eq!(report.findings.finish()[0].message, "segment 5 does not match its hash");
}

#[tokio::test]
async fn a_missing_fragment_is_found_because_snapshots_need_its_packs() {
    let sample = Sample::new().await;
    sample.store.delete(&sample.fragments[0]).await.unwrap();
    assert_eq!(sample.found(ReadPacks::None).await, [broken(name::INDEX)]);
    let pack = &sample.packs[0].hash;
    sample.change(&pack.pack_name(), |bytes| bytes.truncate(1000)).await;
    let found = sample.found(ReadPacks::None).await;
    assert!(found.contains(&broken(pack.pack_name())), "{found:?}");
}

#[tokio::test]
async fn a_snapshot_that_needs_what_no_pack_has_is_found() {
    let mut sample = Sample::new().await;
    let needs = vec![need(&sample.packs[0], 1, &[2, 6, 7])];
    let id = sample.commit(2, needs).await;
    let findings = sample.check(ReadPacks::None).await.findings.finish();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].object, sample.packs[0].hash.pack_name());
    assert!(findings[0].message.starts_with("segment 6 of pack"), "{}", findings[0].message);
    assert_eq!(findings[0].affects, [id.short()]);
}

#[tokio::test]
async fn a_snapshot_that_somebody_else_signed_is_damage() {
    let sample = Sample::new().await;
    let stranger = SigningKey::from_bytes(&[6; 32]);
    let bytes = a_snapshot(&stranger, 2, sample.snapshots[1], Vec::new());
    let name = ObjectHash::of(&bytes).snapshot_name();
    sample.store.put(&name, vec![bytes]).await.unwrap();
    assert_eq!(sample.found(ReadPacks::None).await, [broken(name)]);
}

#[tokio::test]
async fn a_missing_first_snapshot_is_a_note_of_the_second() {
    let sample = Sample::new().await;
    sample.store.delete(&sample.snapshots[0].snapshot_name()).await.unwrap();
    let expected = (Severity::Note, sample.snapshots[1].snapshot_name());
    assert_eq!(sample.found(ReadPacks::None).await, [expected]);
}

#[tokio::test]
async fn newer_objects_and_unknown_names_are_no_damage() {
    let sample = Sample::new().await;
    let mut newer = Vec::new();
    for kind in [ObjectKind::Fragment, ObjectKind::Snapshot, ObjectKind::Pack] {
        let mut bytes = kind.header().to_vec();
        bytes[6] = 99;
        bytes.extend_from_slice(b"nobody knows what follows, but there is enough of it to be something");
        let hash = ObjectHash::of(&bytes);
        let name = match kind {
            ObjectKind::Fragment => hash.index_name(),
            ObjectKind::Snapshot => hash.snapshot_name(),
            _ => hash.pack_name(),
        };
        sample.store.put(&name, vec![bytes.into()]).await.unwrap();
        newer.push(name);
    }
    let mut slot = ObjectKind::KeySlot.header().to_vec();
    slot[6] = 99;
    let name = format!("keys/{}", "cd".repeat(32));
    sample.store.put(&name, vec![slot.into()]).await.unwrap();
    newer.push(name);
    for unknown in ["later/1", "packs/zz", "keys/readme.txt"] {
        sample.store.put(unknown, vec![Bytes::from_static(b"?")]).await.unwrap();
    }
    let found = sample.found(ReadPacks::All).await;
    for name in newer {
        assert!(found.contains(&(Severity::Newer, name.clone())), "{name}: {found:?}");
    }
    for unknown in ["later/1", "packs/zz", "keys/readme.txt"] {
        assert!(found.contains(&(Severity::Note, unknown.to_owned())), "{unknown}: {found:?}");
    }
    assert!(found.iter().all(|(severity, _)| *severity != Severity::Damage), "{found:?}");
}

#[tokio::test]
async fn a_pack_that_no_fragment_names_and_nobody_needs_is_a_note() {
    let sample = Sample::new().await;
    let pack = a_pack(9);
    sample.store.put(&pack.hash.pack_name(), pack.parts.clone()).await.unwrap();
    assert_eq!(sample.found(ReadPacks::All).await, [(Severity::Note, name::PACKS.to_owned())]);
}

#[tokio::test]
async fn fragments_that_contradict_each_other_or_the_pack_are_damage() {
    let sample = Sample::new().await;
    let mut other = a_pack(1);
    let mut pack = PackAssembler::new(PackKind::Data, VAULT, PackId::new([1; 16]));
    (0..6u8).for_each(|number| pack.push(vec![number; 1 << 20].into()));
    other.trailer = pack.finish(0, Bytes::from_static(b"envelope"), Bytes::from_static(b"directory")).trailer;
    let bytes = fragment::encode(VAULT, &[PackRecord::from(&other)]);
    let name = ObjectHash::of(&bytes).index_name();
    sample.store.put(&name, vec![bytes]).await.unwrap();
    let found = sample.found(ReadPacks::None).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0] == broken(&name) || found[0] == broken(&sample.fragments[0]), "{found:?}");
    sample.store.delete(&sample.fragments[0]).await.unwrap();
    assert_eq!(sample.found(ReadPacks::All).await, [broken(sample.packs[0].hash.pack_name())]);
}

#[tokio::test]
async fn a_vault_without_a_key_slot_is_told() {
    let sample = Sample::new().await;
    let slot = sample.store.list(name::KEYS).await.unwrap().remove(0).name;
    sample.store.delete(&slot).await.unwrap();
    assert_eq!(sample.found(ReadPacks::None).await, [broken(name::KEYS)]);
}

#[tokio::test]
async fn an_object_that_the_store_cannot_read_is_a_finding_and_a_store_that_is_gone_is_an_error() {
    use store::{Fault, Faulty, Operation, Rule, When};
    let sample = Sample::new().await;
    let name = sample.packs[0].hash.pack_name();
    for (kind, is_error) in [(Kind::Other, false), (Kind::PermissionDenied, false), (Kind::Gone, true)] {
        let rule = Rule::new(When::Always, Fault::Error(kind)).on(Operation::GetRange).under(&name);
        let store: Arc<dyn Store> = Arc::new(Faulty::new(sample.store.clone(), 1, vec![rule]));
        let watch: Arc<dyn Watch> = Arc::new(Unwatched);
        let outcome = check(&store, &ReadPacks::All, None, &watch).await;
        assert_eq!(outcome.is_err(), is_error, "{kind:?}");
        if let Ok(report) = outcome {
            let findings = report.findings.finish();
            assert_eq!(findings.len(), 1);
            assert_eq!(findings[0].object, name);
        }
    }
}

#[tokio::test]
async fn it_ends_early_when_asked() {
    struct Impatient;
    impl Watch for Impatient {
        fn is_cancelled(&self) -> bool {
            true
        }
    }
    let sample = Sample::new().await;
    let watch: Arc<dyn Watch> = Arc::new(Impatient);
    let report = check(&sample.store, &ReadPacks::All, None, &watch).await.unwrap();
    assert!(report.ended_early);
    assert_eq!((report.snapshots, report.bytes_read), (0, 0));
}
