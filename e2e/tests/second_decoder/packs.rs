//! Packs, their trailers and directories, and index fragments: sections 8 and 10.

use std::collections::{BTreeMap, BTreeSet};

use super::bytes::Bytes;
use super::keys::Keyring;
use super::sealed::{Opened, Place, open_part, open_segment};

/// One segment, opened: its bytes and the chunks in them, by offset.
pub struct Segment {
    /// How many bytes it takes in the pack.
    pub sealed: usize,
    pub raw: Vec<u8>,
    /// The length of the chunk at each offset. Where a thinned segment has a hole there is none.
    pub chunks: BTreeMap<u64, u64>,
    /// Start and end of each hole.
    pub holes: Vec<(usize, usize)>,
}

/// Whose segments are in a pack object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Of the keys that seal it here.
    pub epoch: u32,
    /// How often it was thinned.
    pub generation: u32,
}

/// A pack object.
pub struct Pack {
    /// 1 data, 2 tree.
    pub kind: u8,
    /// By pack id.
    pub origins: BTreeMap<[u8; 16], Origin>,
    /// By origin and number.
    pub segments: BTreeMap<([u8; 16], u32), Segment>,
}

/// The chunks of each segment of an origin: length and id.
type Directory = Vec<Vec<(u64, [u8; 16])>>;

/// What opens the segments of an origin.
struct Sealed {
    place: Place,
    key: [u8; 32],
    directory: Directory,
    origin: Origin,
}

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

/// Opens everything in a pack and checks every hash and id of it.
pub fn open_pack(object: &[u8], keys: &Keyring) -> Pack {
    let mut front = Bytes::new(object);
    front.header(b'P');
    let pack: [u8; 16] = front.array();
    let trailer = trailer(object);
    let mut bytes = Bytes::new(trailer);
    let kind = bytes.u8();
    assert!((1..=2).contains(&kind));
    let features = bytes.u64();
    assert!(features <= 1, "features {features:#x}");
    assert_eq!(bytes.array(), keys.vault());
    assert_eq!(bytes.array(), pack);
    let origins = bytes.list(22, |bytes| open_origin(bytes, kind, features == 1, keys));
    assert!((1..=65_536).contains(&origins.len()));
    assert_eq!(features == 1, origins.iter().any(|sealed| sealed.origin.generation > 0), "the feature bit");
    let ids: BTreeSet<_> = origins.iter().map(|sealed| sealed.place.id).collect();
    assert_eq!(ids.len(), origins.len(), "each origin stands there once");
    let is_fresh = ids.contains(&pack);
    assert!(!is_fresh || (origins.len() == 1 && features == 0), "a fresh pack has one origin");
    let rows = bytes.list(35, |bytes| {
        let (origin, number, length) = (bytes.number(), bytes.number(), bytes.number());
        Row { origin, number, length, hash: bytes.array() }
    });
    bytes.end();
    if is_fresh {
        assert_eq!(rows.len(), origins[0].directory.len(), "a fresh pack holds all its segments");
    }
    let mut segments = BTreeMap::new();
    for (place_in_table, row) in rows.iter().enumerate() {
        assert!(!is_fresh || row.number as usize == place_in_table);
        assert!((1..=9 << 20).contains(&row.length) && row.number < 1 << 20);
        let sealed = front.take(row.length);
        assert_eq!(blake3::hash(sealed), row.hash, "the hash of a segment");
        let origin = &origins[row.origin];
        let segment = check_segment(origin, row.number, sealed, keys);
        let before = segments.insert((origin.place.id, row.number), segment);
        assert!(before.is_none(), "each segment stands there once");
    }
    assert_eq!(front.at() + trailer.len() + 12, object.len(), "the table adds up");
    let origins = origins.into_iter().map(|sealed| (sealed.place.id, sealed.origin)).collect();
    Pack { kind, origins, segments }
}

/// Reads an origin, and opens its envelope and directory.
fn open_origin(bytes: &mut Bytes, kind: u8, has_generation: bool, keys: &Keyring) -> Sealed {
    let place = Place { vault: keys.vault(), id: bytes.array(), purpose: kind };
    let epoch = bytes.u32();
    let key = keys.open_envelope(epoch, bytes.sized(), &place);
    let directory = open_directory(&open_part(&key, &place, u32::MAX, bytes.sized()));
    let generation = if has_generation { bytes.number() } else { 0 };
    Sealed { place, key, directory, origin: Origin { epoch, generation } }
}

/// Opens a segment. Its chunks must be those of the directory, and its holes must be where that has no names.
fn check_segment(sealed: &Sealed, number: u32, bytes: &[u8], keys: &Keyring) -> Segment {
    let Opened { raw, holes } = open_segment(&sealed.key, &sealed.place, number, bytes);
    assert!(holes.is_empty() || sealed.origin.generation > 0, "what was never thinned has no holes");
    let mut rest = Bytes::new(&raw);
    let mut chunks = BTreeMap::new();
    let mut nameless = Vec::new();
    for (length, id) in &sealed.directory[number as usize] {
        let start = rest.at();
        let chunk = rest.take(*length as usize);
        if *id == [0; 16] {
            nameless.push((start, rest.at()));
        } else {
            assert_eq!(keys.chunk_id(chunk), *id, "the id of a chunk");
            chunks.insert(start as u64, *length);
        }
    }
    rest.end();
    assert_eq!(nameless, holes, "where there is no name is a hole, and nowhere else");
    Segment { sealed: bytes.len(), raw, chunks, holes }
}

/// For each segment, the lengths and ids of its chunks.
fn open_directory(raw: &[u8]) -> Directory {
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

/// The packs an index fragment names: hash, size and trailer.
pub fn open_fragment(object: &[u8], vault: [u8; 16]) -> Vec<([u8; 32], u64, Vec<u8>)> {
    let mut bytes = Bytes::new(object);
    bytes.header(b'I');
    assert_eq!(bytes.array(), vault);
    let packs = bytes.list(34, |bytes| (bytes.array(), bytes.varint(), bytes.sized().to_vec()));
    bytes.end();
    packs
}
