//! What the index says that packs hold: enough to judge whether a snapshot has all it needs.

use std::collections::HashMap;

use bytes::Bytes;

use crate::name::{ObjectHash, PackId};
use crate::pack::Trailer;
use crate::segments::SegmentSet;

/// One pack object as its trailer describes it: a bit for each segment, nothing for a chunk.
#[derive(Clone, Debug)]
pub struct Held {
    /// The size of the object in bytes.
    pub size: u64,
    /// How many segments are in it.
    pub segments: u64,
    trailer: [u8; 16],
    origins: Vec<(PackId, SegmentSet)>,
}

impl Held {
    /// Takes down what a trailer says.
    pub fn new(size: u64, trailer: &Trailer, encoded: &[u8]) -> Self {
        let mut origins: Vec<_> =
            trailer.origins.iter().map(|origin| (origin.pack, SegmentSet::default())).collect();
        for row in &trailer.rows {
            if let Some((_, segments)) = origins.get_mut(row.origin as usize) {
                segments.insert(row.number);
            }
        }
        Self { size, segments: trailer.rows.len() as u64, trailer: short_hash(encoded), origins }
    }

    /// The segments of `pack` that are in it.
    pub fn of(&self, pack: PackId) -> Option<&SegmentSet> {
        self.origins.iter().find(|(origin, _)| *origin == pack).map(|(_, segments)| segments)
    }

    /// The packs whose segments are in it.
    pub fn packs(&self) -> impl Iterator<Item = PackId> {
        self.origins.iter().map(|(pack, _)| *pack)
    }

    /// The packs whose segments are in it, with these segments.
    pub fn origins(&self) -> impl Iterator<Item = (PackId, &SegmentSet)> {
        self.origins.iter().map(|(pack, segments)| (*pack, segments))
    }

    /// Whether these are the bytes of the trailer it was made from.
    pub fn is_from(&self, encoded: &[u8]) -> bool {
        self.trailer == short_hash(encoded)
    }
}

fn short_hash(bytes: &[u8]) -> [u8; 16] {
    let mut out = [0; 16];
    out.iter_mut().zip(blake3::hash(bytes).as_bytes()).for_each(|(to, from)| *to = *from);
    out
}

/// All packs that index fragments name.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    objects: HashMap<ObjectHash, Held>,
}

impl Holdings {
    /// Adds a pack. `false` when it is known already and something else was said of it then; what came first stays.
    pub fn add(&mut self, object: ObjectHash, size: u64, trailer: &Trailer, encoded: &Bytes) -> bool {
        match self.objects.get(&object) {
            Some(held) => held.size == size && held.is_from(encoded),
            None => {
                self.objects.insert(object, Held::new(size, trailer, encoded));
                true
            }
        }
    }

    /// What is known of a pack.
    pub fn get(&self, object: ObjectHash) -> Option<&Held> {
        self.objects.get(&object)
    }

    /// All packs that are known.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectHash, &Held)> {
        self.objects.iter().map(|(object, held)| (*object, held))
    }
}
