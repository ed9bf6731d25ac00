//! Small packs, fragments and snapshots in the real layouts. What a segment holds is told by its first bytes, so a
//! restore can be compared without a key.

use std::collections::BTreeMap;

use bytes::Bytes;
use ed25519_dalek::{Signer, SigningKey};
use vault::collect::Sealed;
use vault::descriptor::{self, ChunkSizes, Descriptor};
use vault::fragment::PackRecord;
use vault::header::ObjectKind;
use vault::pack::{FinishedPack, Origin, PackAssembler, PackKind, Trailer};
use vault::signing::{self, VerifyingKey};
use vault::snapshot::{self, Envelope, PackNeed, SnapshotObject};
use vault::trash::Mark;
use vault::{ObjectHash, PackId, SnapshotId, SystemId, VaultId, name};

use crate::oracle::Content;
use crate::random::Random;

/// The vault of every scenario.
pub const VAULT: VaultId = VaultId::new([1; 16]);
/// How many bytes tell a chunk.
const CONTENT_LENGTH: usize = 8;
/// Large enough that tables are small beside segments, as in real packs.
const SEGMENT: usize = 3000;
/// How many chunks a segment has room for. The second one stands at its end.
const SLOTS: u32 = 2;
/// What the envelope of a pack begins with whose segments hold two chunks.
const DOUBLES: &[u8] = b"doubles";

/// The place of a chunk in a pack: its segment, and where in that.
pub type Spot = u32;

/// The segment that a place is in.
pub const fn segment_of(spot: Spot) -> u32 {
    spot / SLOTS
}

/// The places in a segment.
pub const fn spots_in(segment: u32) -> std::ops::Range<Spot> {
    segment * SLOTS..(segment + 1) * SLOTS
}

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

/// The chunks in a sealed segment, and where in the pack each is. One that was taken out is none.
pub fn contents_of(segment: u32, sealed: &[u8]) -> impl Iterator<Item = (Spot, Content)> {
    let first = sealed.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let second = sealed.get(SEGMENT..).and_then(|rest| rest.first_chunk());
    let contents = [first, second.map(|bytes| u64::from_le_bytes(*bytes))];
    let found = spots_in(segment).zip(contents);
    found.filter_map(|(spot, content)| Some((spot, content.filter(|content| *content != 0)?)))
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

fn sealed_double(number: u32, generation: u32, contents: &[Content]) -> Bytes {
    let content = |slot: usize| contents.get(slot).copied().unwrap_or_default().to_le_bytes();
    let mut sealed = content(0).to_vec();
    sealed.resize(SEGMENT, (number + 100 * generation) as u8);
    sealed.extend_from_slice(&content(1));
    sealed.into()
}

/// A pack with these contents, two in each segment.
pub fn double_pack(id: PackId, kind: PackKind, contents: &[Content]) -> FinishedPack {
    let mut pack = PackAssembler::new(kind, VAULT, id);
    let mut directory = Vec::new();
    for (number, contents) in contents.chunks(SLOTS as usize).enumerate() {
        pack.push(sealed_double(number as u32, 0, contents));
        for slot in 0..SLOTS as usize {
            directory.extend_from_slice(&contents.get(slot).copied().unwrap_or_default().to_le_bytes());
        }
    }
    pack.finish(0, Bytes::from_static(DOUBLES), directory.into())
}

/// Segments with two chunks each without those that nobody needs, and their origin; `None` if one lacks a chunk.
pub fn thin(
    origin: &Origin,
    sealed: &[Sealed],
    is_needed: impl Fn(Spot) -> bool,
) -> Option<(Origin, Vec<Sealed>)> {
    let generation = origin.generation + 1;
    let mut directory = origin.directory.to_vec();
    for (spot, listed) in directory.chunks_mut(CONTENT_LENGTH).enumerate() {
        if !is_needed(spot as Spot) {
            listed.fill(0);
        }
    }
    let thinned = sealed.iter().map(|segment| {
        let there: BTreeMap<Spot, Content> = contents_of(segment.number, &segment.bytes).collect();
        let kept = spots_in(segment.number).map(|spot| match is_needed(spot) {
            true => there.get(&spot).copied(),
            false => Some(0),
        });
        let kept: Vec<Content> = kept.collect::<Option<_>>()?;
        let bytes = sealed_double(segment.number, generation, &kept);
        Some(Sealed { number: segment.number, hash: *blake3_of(&bytes).bytes(), bytes })
    });
    let thinned = thinned.collect::<Option<Vec<_>>>()?;
    let envelope = [DOUBLES, &generation.to_le_bytes()].concat().into();
    Some((Origin { envelope, directory: directory.into(), generation, ..origin.clone() }, thinned))
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

/// Whether the segments of a pack hold two chunks.
pub fn is_double(origin: &Origin) -> bool {
    origin.envelope.starts_with(DOUBLES)
}

/// What the directories of a pack say: each chunk, and where it is.
pub fn directory(trailer: &Trailer) -> Vec<(PackId, Spot, Content)> {
    let mut found = Vec::new();
    for row in &trailer.rows {
        let Some(origin) = trailer.origins.get(row.origin as usize) else { continue };
        let spots = if is_double(origin) { spots_in(row.number) } else { row.number..row.number + 1 };
        for (slot, place) in spots.enumerate() {
            let start = place as usize * CONTENT_LENGTH;
            let listed = origin.directory.get(start..).and_then(|rest| rest.first_chunk());
            let content = listed.map_or(0, |bytes| u64::from_le_bytes(*bytes));
            if content != 0 || !is_double(origin) {
                found.push((origin.pack, spots_in(row.number).start + slot as Spot, content));
            }
        }
    }
    found
}

/// The body of a snapshot that names chunks: what only a key opens.
pub fn body(spots: impl IntoIterator<Item = (PackId, Spot)>) -> Vec<Bytes> {
    let mut body = Vec::new();
    for (pack, spot) in spots {
        body.extend_from_slice(pack.bytes());
        body.extend_from_slice(&spot.to_le_bytes());
    }
    vec![body.into()]
}

/// The chunks that a snapshot names; `None` if its body cannot be read.
pub fn spots_of(object: &SnapshotObject) -> Option<Vec<(PackId, Spot)>> {
    let [body] = object.body.as_slice() else { return None };
    let (entries, rest) = body.as_chunks::<20>();
    let spot = |entry: &[u8; 20]| {
        let (pack, spot) = (entry.first_chunk::<16>()?, entry.last_chunk::<4>()?);
        Some((PackId::new(*pack), u32::from_le_bytes(*spot)))
    };
    rest.is_empty().then(|| entries.iter().map(spot).collect())?
}

/// A signed snapshot: its name, what it needs and its bytes.
pub fn snapshot(
    system: SystemId,
    sequence: u64,
    previous: ObjectHash,
    needs: BTreeMap<PackId, PackNeed>,
    body: &[Bytes],
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
    let mut out = snapshot::encode_unsigned(&envelope, 0, b"", body, &signer);
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
