//! What keeps a vault in order: leases, condemnations, relocations and records. Section 15.

use std::collections::{BTreeMap, BTreeSet};

use super::bytes::Bytes;

/// Begins a record that has a nonce.
fn begin(object: &[u8], kind: u8, vault: [u8; 16]) -> Bytes<'_> {
    let mut bytes = Bytes::new(object);
    bytes.header(kind);
    assert_eq!(bytes.array(), vault);
    let _nonce: [u8; 16] = bytes.array();
    bytes
}

pub struct Lease {
    pub id: [u8; 16],
    pub holder: [u8; 16],
    /// 1 writer, 2 reader, 3 collector.
    pub role: u8,
    pub has_ended: bool,
    pub seconds: u32,
    pub begun: Option<(i64, u32)>,
}

/// Whether an object beside the leases is none, but asks the store for the time.
pub fn asks_for_the_time(object: &[u8]) -> bool {
    object == b"SROOML\x01\x00"
}

pub fn open_lease(object: &[u8], vault: [u8; 16]) -> Lease {
    assert!(object.len() <= 4096);
    let mut bytes = Bytes::new(object);
    bytes.header(b'L');
    assert_eq!(bytes.array(), vault);
    let (id, holder, role, state) = (bytes.array(), bytes.array(), bytes.u8(), bytes.u8());
    assert!((1..=3).contains(&role) && (1..=2).contains(&state));
    let seconds = bytes.u32();
    let begun = match bytes.u8() {
        0 => None,
        1 => Some(bytes.time()),
        other => panic!("begun {other}"),
    };
    bytes.end();
    Lease { id, holder, role, has_ended: state == 2, seconds, begun }
}

/// What is condemned: 1 pack, 2 index fragment, 3 snapshot, 4 relocation; and its hash. Or what is closed: 5 here, 6
/// elsewhere; and the pack id with zeros after it.
pub fn open_condemnation(object: &[u8], vault: [u8; 16]) -> Vec<(u8, [u8; 32])> {
    let mut bytes = begin(object, b'C', vault);
    let objects = bytes.list(33, |bytes| (bytes.u8(), bytes.array()));
    assert!(objects.iter().all(|(what, _)| (1..=6).contains(what)));
    let closes = |(what, _): &(u8, [u8; 32])| *what > 4;
    assert!(objects.iter().all(closes) || !objects.iter().any(closes), "closings are by themselves");
    assert!(objects.iter().filter(|object| closes(object)).all(|(_, pack)| pack[16..] == [0; 16]));
    bytes.end();
    objects
}

/// Where packs are: pack id, hash of the object, segments.
pub fn open_relocation(object: &[u8], vault: [u8; 16]) -> Vec<([u8; 16], [u8; 32], BTreeSet<u32>)> {
    let mut bytes = begin(object, b'R', vault);
    let moved = bytes.list(49, |bytes| (bytes.array(), bytes.array(), bytes.set()));
    bytes.end();
    moved
}

#[derive(Default)]
pub struct Verified {
    /// When each pack was found whole, by the hash of the object.
    pub packs: BTreeMap<[u8; 32], i64>,
    /// The newest snapshot of each machine: its sequence and hash.
    pub newest: BTreeMap<[u8; 16], (u64, [u8; 32])>,
}

pub fn open_verified(object: &[u8], vault: [u8; 16]) -> Verified {
    let mut bytes = begin(object, b'Y', vault);
    let packs = bytes.list(33, |bytes| (bytes.array(), bytes.signed()));
    let newest = bytes.list(49, |bytes| (bytes.array(), (bytes.varint(), bytes.array())));
    bytes.end();
    Verified { packs: packs.into_iter().collect(), newest: newest.into_iter().collect() }
}

/// What a test of the store found, by number, and when.
pub fn open_abilities(object: &[u8], vault: [u8; 16]) -> (i64, BTreeMap<u64, i64>) {
    assert!(object.len() <= 4096);
    let mut bytes = begin(object, b'A', vault);
    let tested = bytes.signed();
    let facts = bytes.list(2, |bytes| (bytes.varint(), bytes.signed()));
    bytes.end();
    assert!(facts.is_sorted_by(|(one, _), (next, _)| one < next));
    for (number, value) in &facts {
        let is_allowed = match number {
            1 | 3 | 4 | 6 | 7 => (0..=1).contains(value),
            2 | 5 => *value >= 0,
            _ => true,
        };
        assert!(is_allowed, "fact {number} is {value}");
    }
    (tested, facts.into_iter().collect())
}

/// Until when objects are locked.
pub fn open_locks(object: &[u8], vault: [u8; 16]) -> Vec<(String, i64)> {
    let mut bytes = begin(object, b'U', vault);
    let locks = bytes.list(2, |bytes| (bytes.text(), bytes.signed()));
    bytes.end();
    assert!(locks.is_sorted_by(|(one, _), (next, _)| one.as_bytes() < next.as_bytes()));
    locks
}
