//! A toy vault for tests: packs of a few segments, snapshots that need some of them, all of it signed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use store::{MemoryStore, Store};

use crate::check::{self, Finding, ReadPacks, Severity, Unwatched, Watch};
use crate::collect::{self, Options};
use crate::descriptor::{self, ChunkSizes, Descriptor};
use crate::fragment::{self, PackRecord};
use crate::header::ObjectKind;
use crate::name::{self, ObjectHash, PackId, SnapshotId, SystemId, VaultId};
use crate::pack::{PackAssembler, PackKind, read_trailer};
use crate::relocation::Holders;
use crate::signing::{self, VerifyingKey};
use crate::snapshot::{self, Envelope, PackNeed};
use crate::trash::{self, Mark};

pub const VAULT: VaultId = VaultId::new([1; 16]);
pub const SEGMENT: usize = 10_000;

/// A pack id and the object that holds it.
pub type Packed = (PackId, ObjectHash);

static COUNT: AtomicU32 = AtomicU32::new(1);

/// 16 bytes that no other call in this process gives.
pub fn random() -> [u8; 16] {
    let mut out = [0xab; 16];
    out[..4].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    out
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn sign(context: &str, mut bytes: Vec<u8>) -> Bytes {
    let signature = key().sign(&signing::message(context, &bytes)).to_bytes();
    bytes.extend_from_slice(&signature);
    bytes.into()
}

pub fn owner() -> VerifyingKey {
    VerifyingKey::new(key().verifying_key().to_bytes())
}

pub fn descriptor(vault: VaultId) -> Bytes {
    let descriptor = Descriptor {
        vault,
        created: 0,
        chunk_sizes: ChunkSizes { min: 1 << 18, average: 1 << 20, max: 1 << 22 },
        settings: Vec::new(),
        owner: owner(),
    };
    sign(descriptor::SIGNING_CONTEXT, descriptor.encode_unsigned())
}

pub fn slot(text: &[u8]) -> Bytes {
    let mut slot = ObjectKind::KeySlot.header().to_vec();
    slot.extend_from_slice(&[0; 8]);
    slot.extend_from_slice(VAULT.bytes());
    slot.extend_from_slice(text);
    slot.into()
}

pub struct Toy {
    pub store: Arc<dyn Store>,
    previous: ObjectHash,
    sequence: u64,
}

impl Toy {
    pub async fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new())).await
    }

    pub async fn over(store: Arc<dyn Store>) -> Self {
        let slot = slot(b"for who has a key");
        store.put(&ObjectHash::of(&slot).slot_name(), vec![slot]).await.unwrap();
        store.put(name::DESCRIPTOR, vec![descriptor(VAULT)]).await.unwrap();
        Self { store, previous: ObjectHash::default(), sequence: 0 }
    }

    /// A new pack of so many segments, with its fragment.
    pub async fn pack(&mut self, segments: usize) -> Packed {
        let id = PackId::new(random());
        let mut pack = PackAssembler::new(PackKind::Data, VAULT, id);
        for number in 0..segments {
            let seed = blake3::hash(&[&id.bytes()[..], &[number as u8]].concat());
            pack.push(seed.as_bytes().iter().copied().cycle().take(SEGMENT).collect::<Vec<_>>().into());
        }
        let finished = pack.finish(0, Bytes::from_static(b"envelope"), Bytes::from_static(b"directory"));
        let record = PackRecord::from(&finished);
        self.store.put(&finished.hash.pack_name(), finished.parts).await.unwrap();
        let fragment = fragment::encode(VAULT, &[record]);
        self.store.put(&ObjectHash::of(&fragment).index_name(), vec![fragment]).await.unwrap();
        (id, finished.hash)
    }

    /// A snapshot after the one before it.
    pub async fn commit(&mut self, needs: &[(Packed, &[u32])]) -> SnapshotId {
        let need = |((pack, object), segments): &(Packed, &[u32])| PackNeed {
            pack: *pack,
            object: *object,
            segments: segments.iter().copied().collect(),
        };
        let mut needs: Vec<_> = needs.iter().map(need).collect();
        needs.sort_by_key(|need| need.pack);
        let envelope = Envelope {
            vault: VAULT,
            system: SystemId::new([2; 16]),
            job: [0; 16],
            sequence: self.sequence,
            time: (self.sequence as i64, 0),
            previous: self.previous,
            files: 0,
            bytes: 0,
            needs,
        };
        let bytes =
            sign(snapshot::SIGNING_CONTEXT, snapshot::encode_unsigned(&envelope, 0, b"", &[], &owner()));
        let id = ObjectHash::of(&bytes);
        self.store.put(&id.snapshot_name(), vec![bytes]).await.unwrap();
        self.previous = id;
        self.sequence += 1;
        id
    }
}

pub async fn forget(store: &Arc<dyn Store>, snapshot: SnapshotId) {
    let bytes = store.get(&snapshot.snapshot_name(), 1 << 20).await.unwrap();
    let envelope = snapshot::decode(&bytes, snapshot, VAULT).unwrap().envelope;
    let mark = Mark {
        nonce: random(),
        snapshot,
        system: envelope.system,
        sequence: envelope.sequence,
        previous: envelope.previous,
        written: 0,
        reason: String::new(),
    };
    trash::forget(store.as_ref(), VAULT, &mark).await.unwrap();
}

/// Cleans up without waiting for anything, joining and compacting as much as it can.
pub async fn clean(store: &Arc<dyn Store>) -> collect::Report {
    let mut options = Options::new(Duration::ZERO, false);
    (options.unfinished, options.max_unused) = (Duration::ZERO, 0.0);
    collect::cleanup(store, VAULT, &options, &mut random, &Unwatched).await.unwrap()
}

/// All that a check of everything finds.
pub async fn findings(store: &Arc<dyn Store>) -> Vec<Finding> {
    let watch: Arc<dyn Watch> = Arc::new(Unwatched);
    check::check(store, &ReadPacks::All, None, &watch).await.unwrap().findings.finish()
}

/// Fails unless a check of everything finds no damage.
pub async fn assert_sound(store: &Arc<dyn Store>, what: &str) {
    let mut found = findings(store).await;
    found.retain(|finding| finding.severity != Severity::Note);
    assert!(found.is_empty(), "{what}: {found:#?}");
}

/// The hashes of the sealed segments that a snapshot needs, found and read as a reader does; `None` when one is missing
/// or is not what its hash says.
pub async fn contents(
    store: &Arc<dyn Store>,
    snapshot: SnapshotId,
) -> Option<BTreeMap<(PackId, u32), ObjectHash>> {
    let bytes = store.get(&snapshot.snapshot_name(), 1 << 20).await.ok()?;
    let envelope = snapshot::decode(&bytes, snapshot, VAULT).unwrap().envelope;
    let holders = Holders::read(store.as_ref(), VAULT).await.unwrap();
    let mut out = BTreeMap::new();
    for need in &envelope.needs {
        let found = holders.find(need.pack, need.object, &need.segments).unwrap_or(need.object);
        let mut object = found;
        if store.stat(&found.pack_name()).await.is_err() {
            object = holders.elsewhere(need.pack).into_iter().find(|object| *object != found)?;
        }
        let (trailer, ..) = read_trailer(store.as_ref(), object, VAULT).await.ok()?.ok()?;
        for number in need.segments.iter() {
            let row = trailer.row(need.pack, number)?;
            let range = row.offset..row.offset + u64::from(row.length);
            let sealed = store.get_range(&object.pack_name(), range).await.ok()?;
            if *blake3::hash(&sealed).as_bytes() != row.hash {
                return None;
            }
            out.insert((need.pack, number), ObjectHash::new(row.hash));
        }
    }
    Some(out)
}

pub async fn names(store: &Arc<dyn Store>, folder: &str) -> Vec<String> {
    store.list(folder).await.unwrap().into_iter().map(|object| object.name).collect()
}
