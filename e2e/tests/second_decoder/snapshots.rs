//! The descriptor and snapshots: sections 3 and 12.

use std::collections::{BTreeMap, BTreeSet};

use super::bytes::Bytes;
use super::keys::{Keyring, verify};
use super::marks::tagged;
use super::sealed::{Place, open_part};
use super::tree::Address;

pub struct Descriptor {
    pub vault: [u8; 16],
    /// Minimum, average and maximum.
    pub chunk_sizes: [u64; 3],
    pub owner: [u8; 32],
    /// Where in the object the sizes are.
    pub sizes_at: std::ops::Range<usize>,
    /// By tag.
    pub settings: Vec<(u64, Vec<u8>)>,
}

pub fn open_descriptor(object: &[u8]) -> Descriptor {
    let mut bytes = Bytes::new(object);
    bytes.header(b'V');
    bytes.features();
    let vault = bytes.array();
    let _created = bytes.signed();
    let start = bytes.at();
    let chunk_sizes = [bytes.varint(), bytes.varint(), bytes.varint()];
    let sizes_at = start..bytes.at();
    assert!(4096 <= chunk_sizes[0] && chunk_sizes.is_sorted_by(|a, b| a < b) && chunk_sizes[2] <= 8 << 20);
    let settings = tagged(&mut bytes);
    let owner = bytes.array();
    let signed = bytes.before();
    verify(&owner, "strongroom 1 descriptor", signed, &bytes.array());
    bytes.end();
    Descriptor { vault, chunk_sizes, owner, sizes_at, settings }
}

pub struct Snapshot {
    pub hash: [u8; 32],
    pub system: [u8; 16],
    pub sequence: u64,
    pub previous: [u8; 32],
    pub files: u64,
    pub bytes: u64,
    /// For each pack, the object that holds it and the segments in use.
    pub needs: BTreeMap<[u8; 16], ([u8; 32], BTreeSet<u32>)>,
    /// Of the keys that seal its body.
    pub epoch: u32,
    pub body: Body,
}

pub fn open_snapshot(object: &[u8], descriptor: &Descriptor, keys: &Keyring) -> Snapshot {
    let mut bytes = Bytes::new(object);
    bytes.header(b'S');
    bytes.features();
    assert_eq!(bytes.array(), descriptor.vault);
    let (system, job) = (bytes.array(), bytes.array());
    assert_eq!(job, [0; 16], "a backup made by hand");
    let (sequence, time, previous) = (bytes.varint(), bytes.time(), bytes.array());
    let (files, total) = (bytes.varint(), bytes.varint());
    let needs = bytes.list(49, |bytes| (bytes.array(), (bytes.array(), bytes.set())));
    assert!(needs.is_sorted_by(|(one, _), (next, _)| one < next));
    let place = Place { vault: descriptor.vault, id: system, purpose: 3 };
    let epoch = bytes.u32();
    let key = keys.open_envelope(epoch, bytes.sized(), &place);
    let mut number = 0;
    let parts = bytes.list(1, |bytes| {
        number += 1;
        open_part(&key, &place, number - 1, bytes.sized())
    });
    assert_eq!(bytes.array(), descriptor.owner, "the signer");
    let signed = bytes.before();
    verify(&descriptor.owner, "strongroom 1 snapshot", signed, &bytes.array());
    bytes.end();
    let body = Body::decode(&parts.concat());
    assert!(body.started <= body.finished && body.started <= time);
    let hash = *blake3::hash(object).as_bytes();
    let needs = needs.into_iter().collect();
    Snapshot { hash, system, sequence, previous, files, bytes: total, needs, epoch, body }
}

/// What a snapshot's sealed body says.
#[derive(Default)]
pub struct Body {
    pub host: String,
    pub user: String,
    pub program: String,
    pub started: (i64, u32),
    pub finished: (i64, u32),
    pub paths: Vec<Vec<u8>>,
    pub labels: Vec<String>,
    pub options: Vec<(String, String)>,
    pub root: Option<Address>,
    pub statistics: Vec<u64>,
    pub problems: usize,
}

impl Body {
    fn decode(raw: &[u8]) -> Self {
        let mut bytes = Bytes::new(raw);
        bytes.layout();
        let mut body = Self::default();
        while bytes.left() > 0 {
            let (tag, value) = (bytes.varint(), bytes.sized());
            let mut inner = Bytes::new(value);
            let text = || String::from_utf8(value.to_vec()).unwrap();
            match tag {
                1 => body.host = text(),
                2 => body.user = text(),
                3 => body.program = text(),
                4 => body.started = inner.time(),
                5 => body.finished = inner.time(),
                6 => body.paths.push(value.to_vec()),
                7 => body.labels.push(text()),
                8 => body.options.push((inner.text(), inner.text())),
                9 => body.root = Some(Address::absolute(&mut inner)),
                10 => body.statistics = inner.list(1, Bytes::varint),
                11 => body.problems += 1,
                _ => {}
            }
        }
        body
    }
}
