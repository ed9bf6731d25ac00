//! Small packs, fragments and snapshots in the real layouts. What a segment holds is told by its first bytes, so a
//! restore can be compared without a key.

use std::collections::BTreeMap;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use vault::descriptor::{self, ChunkSizes, Descriptor};
use vault::fragment::PackRecord;
use vault::header::ObjectKind;
use vault::pack::{FinishedPack, Origin, PackAssembler, PackKind, Trailer};
use vault::signing::{self, VerifyingKey};
use vault::snapshot::{self, Envelope, PackNeed};
use vault::trash::Mark;
use vault::{ObjectHash, PackId, SnapshotId, SystemId, VaultId, name};

use crate::oracle::Content;
use crate::random::Random;

/// The vault of every scenario.
pub const VAULT: VaultId = VaultId::new([1; 16]);
/// How many bytes tell a segment's content.
pub const CONTENT_LENGTH: usize = 8;
/// Large enough that tables are small beside segments, as in real packs.
const SEGMENT: usize = 3000;

fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

/// What every vault begins with: its descriptor and a key slot, with their names.
pub fn beginning() -> [(String, Bytes); 2] {
    let mut slot = ObjectKind::KeySlot.header().to_vec();
    slot.extend_from_slice(&[0; 8]);
    slot.extend_from_slice(VAULT.bytes());
    let descriptor = Descriptor {
        vault: VAULT,
        created: 0,
        chunk_sizes: ChunkSizes { min: 1 << 18, average: 1 << 20, max: 1 << 22 },
        settings: Vec::new(),
        owner: VerifyingKey::new(key().verifying_key().to_bytes()),
    };
    let mut signed = descriptor.encode_unsigned();
    let signature = key().sign(&signing::message(descriptor::SIGNING_CONTEXT, &signed));
    signed.extend_from_slice(&signature.to_bytes());
    [(ObjectHash::of(&slot).slot_name(), slot.into()), (name::DESCRIPTOR.to_owned(), signed.into())]
}

/// The content that a sealed segment begins with.
pub fn content_of(sealed: &[u8]) -> Content {
    sealed.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// A pack with these contents, one in each segment.
pub fn pack(id: PackId, kind: PackKind, contents: &[Content]) -> FinishedPack {
    let mut pack = PackAssembler::new(kind, VAULT, id);
    let mut directory = Vec::new();
    for (number, content) in contents.iter().enumerate() {
        let mut sealed = content.to_le_bytes().to_vec();
        sealed.resize(SEGMENT, number as u8);
        pack.push(sealed.into());
        directory.extend_from_slice(&content.to_le_bytes());
    }
    pack.finish(0, Bytes::from_static(b"envelope"), directory.into())
}

/// A pack that says to hold `contents` of a pack that others wrote, and does not.
pub fn false_pack(id: PackId, of: PackId, contents: usize) -> FinishedPack {
    let mut pack = PackAssembler::new(PackKind::Data, VAULT, id);
    let directory = Bytes::from(vec![0; contents * CONTENT_LENGTH]);
    pack.begin_origin(Origin {
        pack: of,
        epoch: 0,
        envelope: Bytes::from_static(b"envelope"),
        directory,
        generation: 0,
    });
    for number in 0..contents as u32 {
        let sealed = Bytes::from(vec![0xff; SEGMENT]);
        pack.push_moved(number, *blake3_of(&sealed).bytes(), sealed);
    }
    pack.finish_moved()
}

fn blake3_of(bytes: &[u8]) -> ObjectHash {
    ObjectHash::of(bytes)
}

/// What the directories of a pack say: each segment's content.
pub fn directory(trailer: &Trailer) -> Vec<(PackId, u32, Content)> {
    let mut found = Vec::new();
    for row in &trailer.rows {
        let Some(origin) = trailer.origins.get(row.origin as usize) else { continue };
        let start = row.number as usize * CONTENT_LENGTH;
        if let Some(bytes) = origin.directory.get(start..start + CONTENT_LENGTH) {
            found.push((origin.pack, row.number, content_of(bytes)));
        }
    }
    found
}

/// A signed snapshot: its name, what it needs and its bytes.
pub fn snapshot(
    system: SystemId,
    sequence: u64,
    previous: ObjectHash,
    needs: BTreeMap<PackId, PackNeed>,
) -> (SnapshotId, Vec<PackNeed>, Bytes) {
    let key = key();
    let signer = VerifyingKey::new(key.verifying_key().to_bytes());
    let needs: Vec<_> = needs.into_values().collect();
    let envelope = Envelope {
        vault: VAULT,
        system,
        job: [0; 16],
        sequence,
        time: (0, 0),
        previous,
        files: 0,
        bytes: 0,
        needs: needs.clone(),
    };
    let mut out = snapshot::encode_unsigned(&envelope, 0, b"", &[], &signer);
    out.extend_from_slice(&key.sign(&signing::message(snapshot::SIGNING_CONTEXT, &out)).to_bytes());
    (ObjectHash::of(&out), needs, out.into())
}

/// A mark for a snapshot.
pub fn mark(snapshot: SnapshotId, random: &mut Random) -> Mark {
    Mark {
        nonce: random.identity(),
        snapshot,
        system: SystemId::default(),
        sequence: 0,
        previous: ObjectHash::default(),
        written: 0,
        reason: String::new(),
    }
}

/// A pack as a fragment names it.
pub fn record(pack: &FinishedPack) -> PackRecord {
    PackRecord::from(pack)
}
