//! Packs, their trailers and directories, and index fragments: sections 8 and 10.

use std::collections::{BTreeMap, BTreeSet};

use super::bytes::Bytes;
use super::keys::Keyring;
use super::sealed::{Place, open_part};

/// One segment, opened: its bytes and the chunks in them, by offset.
pub struct Segment {
    /// Of its pack: 1 data, 2 tree.
    pub kind: u8,
    /// How many bytes it takes in the pack.
    pub sealed: usize,
    pub raw: Vec<u8>,
    /// The length of the chunk at each offset.
    pub chunks: BTreeMap<u64, u64>,
}

/// All segments of a vault, by origin and number.
pub type Segments = BTreeMap<([u8; 16], u32), Segment>;

struct Row {
    origin: usize,
    number: u32,
    length: usize,
    hash: [u8; 32],
}

/// The trailer's bytes of a pack, found from its end.
pub fn trailer(object: &[u8]) -> &[u8] {
    let (rest, last) = object.split_at(object.len() - 12);
    assert_eq!(&last[4..], b"SROOMEND");
    let length = u32::from_le_bytes(last[..4].try_into().unwrap()) as usize;
    assert!(length <= 256 << 20);
    &rest[rest.len() - length..]
}

/// Opens everything in a pack and checks every hash and id of it; the numbers it holds, by origin.
pub fn open_pack(object: &[u8], keys: &Keyring, out: &mut Segments) -> Vec<([u8; 16], u32)> {
    let mut front = Bytes::new(object);
    front.header(b'P');
    let pack: [u8; 16] = front.array();
    let trailer = trailer(object);
    let mut bytes = Bytes::new(trailer);
    let kind = bytes.u8();
    assert!((1..=2).contains(&kind));
    bytes.features();
    assert_eq!(bytes.array(), keys.vault());
    assert_eq!(bytes.array(), pack);
    let origins = bytes.list(22, |bytes| {
        let place = Place { vault: keys.vault(), id: bytes.array(), purpose: kind };
        let epoch = bytes.u32();
        let key = keys.open_envelope(epoch, bytes.sized(), &place);
        let directory = open_directory(&open_part(&key, &place, u32::MAX, bytes.sized()));
        (place, key, directory)
    });
    assert!((1..=65_536).contains(&origins.len()));
    let ids: BTreeSet<_> = origins.iter().map(|(place, ..)| place.id).collect();
    assert_eq!(ids.len(), origins.len(), "each origin stands there once");
    let is_fresh = ids.contains(&pack);
    assert!(!is_fresh || origins.len() == 1, "a fresh pack has one origin");
    let rows = bytes.list(35, |bytes| {
        let (origin, number, length) = (bytes.number(), bytes.number(), bytes.number());
        Row { origin, number, length, hash: bytes.array() }
    });
    bytes.end();
    if is_fresh {
        assert_eq!(rows.len(), origins[0].2.len(), "a fresh pack holds all its segments");
    }
    let mut held = Vec::new();
    for (place_in_table, row) in rows.iter().enumerate() {
        assert!(!is_fresh || row.number as usize == place_in_table);
        assert!((1..=9 << 20).contains(&row.length) && row.number < 1 << 20);
        let sealed = front.take(row.length);
        assert_eq!(blake3::hash(sealed), row.hash, "the hash of a segment");
        let (place, key, directory) = &origins[row.origin];
        let raw = open_part(key, place, row.number, sealed);
        let chunks = check_chunks(&raw, &directory[row.number as usize], keys);
        let segment = Segment { kind, sealed: row.length, raw, chunks };
        if let Some(other) = out.insert((place.id, row.number), segment) {
            assert!(other.raw == out[&(place.id, row.number)].raw, "what was moved stays as it was");
        }
        held.push((place.id, row.number));
    }
    assert_eq!(front.at() + trailer.len() + 12, object.len(), "the table adds up");
    held
}

/// For each segment, the lengths and ids of its chunks.
fn open_directory(raw: &[u8]) -> Vec<Vec<(u64, [u8; 16])>> {
    let mut bytes = Bytes::new(raw);
    bytes.layout();
    let lengths = bytes.list(1, |bytes| bytes.list(1, Bytes::varint));
    let with_ids = lengths.into_iter().map(|lengths| {
        assert!(lengths.iter().all(|length| *length < 1 << 32));
        lengths.into_iter().map(|length| (length, bytes.array())).collect()
    });
    let directory = with_ids.collect();
    bytes.end();
    directory
}

fn check_chunks(raw: &[u8], directory: &[(u64, [u8; 16])], keys: &Keyring) -> BTreeMap<u64, u64> {
    let mut bytes = Bytes::new(raw);
    let mut chunks = BTreeMap::new();
    for (length, id) in directory {
        chunks.insert(bytes.at() as u64, *length);
        assert_eq!(keys.chunk_id(bytes.take(*length as usize)), *id, "the id of a chunk");
    }
    bytes.end();
    chunks
}

/// The packs an index fragment names: hash, size and trailer.
pub fn open_fragment(object: &[u8], vault: [u8; 16]) -> Vec<([u8; 32], u64, Vec<u8>)> {
    let mut bytes = Bytes::new(object);
    bytes.header(b'I');
    assert_eq!(bytes.array(), vault);
    let packs = bytes.list(34, |bytes| (bytes.array(), bytes.varint(), bytes.sized().to_vec()));
    bytes.end();
    packs
}
