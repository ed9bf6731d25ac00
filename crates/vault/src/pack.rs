//! Packs: many sealed segments in one immutable object.
//!
//! ```text
//! header (8)  pack id (16)  sealed segment 0, 1, 2 …  trailer  trailer length (u32)  "SROOMEND"
//! ```
//! The trailer is public. For each *origin* (the pack a segment was first sealed for; a fresh pack has one, itself)
//! it carries the origin's pack id, key epoch, key envelope and sealed directory; for each segment its origin,
//! number, length and BLAKE3. So whoever keeps the pack can verify, copy and compact it without opening anything, and
//! an address (pack id, segment number, …) stays valid for ever: a segment keeps its origin wherever it is copied.
//! The trailer stands at the end because lengths and hashes are known only then, and a pack is written in one pass.

use bytes::Bytes;
use store::{Store, StoreError};

use crate::error::Damage;
use crate::header::{self, ObjectKind};
use crate::name::{ObjectHash, PackId, VaultId};
use crate::segments::{SEGMENTS_MAX, SegmentSet};
use crate::wire::{Malformed, Reader, Write};

/// Where the first segment starts.
pub const PREFIX_LENGTH: u64 = (header::LENGTH + PackId::LENGTH) as u64;
/// The length of the fixed part at the very end: trailer length and end mark.
pub const FOOTER_LENGTH: usize = 12;
/// A trailer longer than this is refused.
pub const TRAILER_MAX: usize = 256 << 20;
/// A sealed segment longer than this is refused.
pub const SEALED_SEGMENT_MAX: u32 = 9 << 20;

/// The feature of a trailer whose origins say their generation, because one of them was thinned.
const THINNED: u64 = 1;

const END_MARK: [u8; 8] = *b"SROOMEND";
const ENVELOPE_MAX: usize = 64 << 10;
/// A trailer with more origins is refused.
pub const ORIGINS_MAX: u64 = 1 << 16;

/// What a pack holds. Trees and data never share a pack, so that a store can keep trees on faster storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PackKind {
    /// File contents.
    Data,
    /// Directory listings and lists of extents.
    Tree,
}

impl PackKind {
    /// The byte that stands for it in a trailer and in what binds a segment to its place.
    pub fn byte(self) -> u8 {
        match self {
            Self::Data => 1,
            Self::Tree => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Data),
            2 => Some(Self::Tree),
            _ => None,
        }
    }
}

/// The pack that segments were sealed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its identity.
    pub pack: PackId,
    /// The key epoch whose key opens the envelope.
    pub epoch: u32,
    /// The pack's data key, sealed to the vault's key; opaque here.
    pub envelope: Bytes,
    /// The sealed list of chunks in each segment; opaque here.
    pub directory: Bytes,
    /// How often its segments were sealed anew, without chunks that nobody needed any more; 0 as they were first sealed.
    pub generation: u32,
}

/// One segment in a pack's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentRow {
    /// Position in the list of origins.
    pub origin: u32,
    /// The segment's number within its origin.
    pub number: u32,
    /// Where its sealed bytes start in the object; not stored, but the sum of the lengths before it.
    pub offset: u64,
    /// The length of its sealed bytes.
    pub length: u32,
    /// BLAKE3 of its sealed bytes.
    pub hash: [u8; 32],
}

/// The public part at the end of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// What the pack holds.
    pub kind: PackKind,
    /// The vault it belongs to.
    pub vault: VaultId,
    /// The identity of this object's own pack id (for a fresh pack, also its only origin).
    pub pack: PackId,
    /// Where the segments come from.
    pub origins: Vec<Origin>,
    /// The segments in the order of their bytes.
    pub rows: Vec<SegmentRow>,
}

impl Trailer {
    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.rows.len() * 40);
        out.push(self.kind.byte());
        let is_thinned = self.origins.iter().any(|origin| origin.generation > 0);
        let features = if is_thinned { THINNED } else { 0 };
        out.extend_from_slice(&features.to_le_bytes());
        out.extend_from_slice(self.vault.bytes());
        out.extend_from_slice(self.pack.bytes());
        out.varint(self.origins.len() as u64);
        for origin in &self.origins {
            out.extend_from_slice(origin.pack.bytes());
            out.extend_from_slice(&origin.epoch.to_le_bytes());
            out.sized(&origin.envelope);
            out.sized(&origin.directory);
            if is_thinned {
                out.varint(u64::from(origin.generation));
            }
        }
        out.varint(self.rows.len() as u64);
        for row in &self.rows {
            out.varint(u64::from(row.origin));
            out.varint(u64::from(row.number));
            out.varint(u64::from(row.length));
            out.extend_from_slice(&row.hash);
        }
        out
    }

    /// Reads the stored form.
    pub fn decode(bytes: &Bytes) -> Result<Self, Damage> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8("pack kind")?;
        let kind =
            PackKind::from_byte(kind).ok_or(reader.malformed("pack kind", "it is not a known kind"))?;
        let features = reader.u64("features")?;
        if features & !THINNED != 0 {
            return Err(Damage::UnknownFeatures { bits: features & !THINNED });
        }
        let vault = VaultId::read(&mut reader, "vault id")?;
        let pack = PackId::read(&mut reader, "pack id")?;
        let count = reader.count("origins", 22)?;
        if count as u64 > ORIGINS_MAX {
            return Err(reader.malformed("origins", "there are too many").into());
        }
        let mut origins = Vec::with_capacity(count);
        for _ in 0..count {
            origins.push(Origin {
                pack: PackId::read(&mut reader, "origin pack id")?,
                epoch: reader.u32("key epoch")?,
                envelope: bytes.slice_ref(reader.sized("key envelope", ENVELOPE_MAX)?),
                directory: bytes.slice_ref(reader.sized("sealed directory", TRAILER_MAX)?),
                generation: match features & THINNED {
                    0 => 0,
                    _ => reader.varint_u32("generation")?,
                },
            });
        }
        // One form for one content, or the table that is encoded anew would not be the one that was read.
        if features & THINNED != 0 && origins.iter().all(|origin| origin.generation == 0) {
            return Err(reader.malformed("features", "no origin was thinned").into());
        }
        let rows = Self::decode_rows(&mut reader, origins.len())?;
        reader.finish("trailer")?;
        Ok(Self { kind, vault, pack, origins, rows })
    }

    fn decode_rows(reader: &mut Reader<'_>, origins: usize) -> Result<Vec<SegmentRow>, Malformed> {
        let count = reader.count("segments", 35)?;
        let mut rows = Vec::with_capacity(count);
        let mut offset = PREFIX_LENGTH;
        for _ in 0..count {
            let origin = reader.varint_u32("segment origin")?;
            if origin as usize >= origins {
                return Err(reader.malformed("segment origin", "there is no such origin"));
            }
            let number = reader.varint_u32("segment number")?;
            if number >= SEGMENTS_MAX {
                return Err(reader.malformed("segment number", "it is out of range"));
            }
            let length = reader.varint_u32("segment length")?;
            if length == 0 || length > SEALED_SEGMENT_MAX {
                return Err(reader.malformed("segment length", "it is out of range"));
            }
            rows.push(SegmentRow { origin, number, offset, length, hash: reader.array("segment hash")? });
            offset += u64::from(length);
        }
        Ok(rows)
    }

    /// Where the segments end and the trailer begins.
    pub fn segments_end(&self) -> u64 {
        self.rows.last().map_or(PREFIX_LENGTH, |row| row.offset + u64::from(row.length))
    }

    /// The row of a segment, by the pack it was sealed for and its number.
    pub fn row(&self, origin: PackId, number: u32) -> Option<&SegmentRow> {
        let of = |row: &SegmentRow| {
            row.number == number
                && self.origins.get(row.origin as usize).is_some_and(|from| from.pack == origin)
        };
        // A fresh pack's rows stand at their own number; compaction may have moved them.
        self.rows.get(number as usize).filter(|row| of(row)).or_else(|| self.rows.iter().find(|row| of(row)))
    }

    /// The origin with this identity.
    pub fn origin(&self, pack: PackId) -> Option<&Origin> {
        self.origins.iter().find(|origin| origin.pack == pack)
    }

    /// The rows of the segments of a pack that are in this object, in the order of their bytes.
    pub fn rows_of(&self, pack: PackId) -> Vec<SegmentRow> {
        let is_of = |row: &&SegmentRow| {
            self.origins.get(row.origin as usize).is_some_and(|origin| origin.pack == pack)
        };
        self.rows.iter().filter(is_of).copied().collect()
    }

    /// The segments of a pack that are in this object.
    pub fn segments_of(&self, pack: PackId) -> SegmentSet {
        self.rows_of(pack).iter().map(|row| row.number).collect()
    }

    /// The size in bytes of the whole object that ends with this trailer of `trailer_length` bytes.
    pub fn object_size(&self, trailer_length: usize) -> u64 {
        self.segments_end() + trailer_length as u64 + FOOTER_LENGTH as u64
    }
}

/// A whole pack, ready to be stored.
#[derive(Debug)]
pub struct FinishedPack {
    /// BLAKE3 of all its bytes, and its name.
    pub hash: ObjectHash,
    /// Its bytes in order.
    pub parts: Vec<Bytes>,
    /// How many bytes that is.
    pub size: u64,
    /// The encoded trailer, as it also goes into an index fragment.
    pub trailer: Bytes,
}

/// Puts sealed segments one after the other into a pack.
#[derive(Debug)]
pub struct PackAssembler {
    kind: PackKind,
    vault: VaultId,
    pack: PackId,
    hasher: blake3::Hasher,
    parts: Vec<Bytes>,
    /// Those of moved segments; a fresh pack gets its one origin at the end.
    origins: Vec<Origin>,
    rows: Vec<SegmentRow>,
    offset: u64,
}

impl PackAssembler {
    /// Starts a pack: one that is filled by [`Self::push`] or one that is filled by [`Self::push_moved`].
    pub fn new(kind: PackKind, vault: VaultId, pack: PackId) -> Self {
        let mut prefix = ObjectKind::Pack.header().to_vec();
        prefix.extend_from_slice(pack.bytes());
        let mut hasher = blake3::Hasher::new();
        hasher.update(&prefix);
        Self {
            kind,
            vault,
            pack,
            hasher,
            parts: vec![prefix.into()],
            origins: Vec::new(),
            rows: Vec::new(),
            offset: PREFIX_LENGTH,
        }
    }

    /// The pack's identity.
    pub fn pack(&self) -> PackId {
        self.pack
    }

    /// How many segments are in it.
    pub fn segments(&self) -> usize {
        self.rows.len()
    }

    /// How many bytes it has so far.
    pub fn size(&self) -> u64 {
        self.offset
    }

    /// Appends the sealed bytes of the next segment; segments are numbered from 0 in this order.
    pub fn push(&mut self, sealed: Bytes) {
        let (number, hash) = (self.rows.len() as u32, *blake3::hash(&sealed).as_bytes());
        self.append(0, number, hash, sealed);
    }

    fn append(&mut self, origin: u32, number: u32, hash: [u8; 32], sealed: Bytes) {
        self.hasher.update(&sealed);
        self.rows.push(SegmentRow { origin, number, offset: self.offset, length: sealed.len() as u32, hash });
        self.offset += sealed.len() as u64;
        self.parts.push(sealed);
    }

    /// Ends a fresh pack with its trailer.
    pub fn finish(mut self, epoch: u32, envelope: Bytes, directory: Bytes) -> FinishedPack {
        self.origins = vec![Origin { pack: self.pack, epoch, envelope, directory, generation: 0 }];
        self.finish_moved()
    }

    /// Says from which pack the moved segments that follow come.
    pub fn begin_origin(&mut self, origin: Origin) {
        self.origins.push(origin);
    }

    /// Appends a sealed segment as it was in another object: its number in the origin begun last, and its hash.
    pub fn push_moved(&mut self, number: u32, hash: [u8; 32], sealed: Bytes) {
        let origin = self.origins.len().saturating_sub(1) as u32;
        self.append(origin, number, hash, sealed);
    }

    /// How many origins moved segments have.
    pub fn origins(&self) -> usize {
        self.origins.len()
    }

    /// Ends a pack of moved segments with its trailer.
    pub fn finish_moved(mut self) -> FinishedPack {
        let trailer = Trailer {
            kind: self.kind,
            vault: self.vault,
            pack: self.pack,
            origins: self.origins,
            rows: self.rows,
        };
        let trailer = Bytes::from(trailer.encode());
        let mut footer = (trailer.len() as u32).to_le_bytes().to_vec();
        footer.extend_from_slice(&END_MARK);
        self.hasher.update(&trailer);
        self.hasher.update(&footer);
        let size = self.offset + (trailer.len() + footer.len()) as u64;
        self.parts.push(trailer.clone());
        self.parts.push(footer.into());
        FinishedPack {
            hash: ObjectHash::new(*self.hasher.finalize().as_bytes()),
            parts: self.parts,
            size,
            trailer,
        }
    }
}

/// The hash, and so the name, of the pack that has this table and these segments in its order.
pub(crate) fn hash_of<'a>(trailer: &Trailer, segments: impl Iterator<Item = &'a Bytes>) -> ObjectHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&ObjectKind::Pack.header()).update(trailer.pack.bytes());
    for sealed in segments {
        hasher.update(sealed);
    }
    let encoded = trailer.encode();
    hasher.update(&encoded).update(&(encoded.len() as u32).to_le_bytes()).update(&END_MARK);
    ObjectHash::new(*hasher.finalize().as_bytes())
}

/// What the end of a pack says about its trailer.
#[derive(Debug)]
pub enum Tail {
    /// The tail held the whole trailer; these are its bytes.
    Whole(Bytes),
    /// The trailer is longer than the tail; this many bytes at the end are needed.
    Need(u64),
}

/// How much of a pack's end is read to find its trailer in one request.
pub const TAIL_GUESS: u64 = 64 << 10;

/// Reads a pack's trailer from its end: decoded, as stored, and the size of the whole object.
pub async fn read_trailer(
    store: &dyn Store,
    object: ObjectHash,
    vault: VaultId,
) -> Result<Result<(Trailer, Bytes, u64), Damage>, StoreError> {
    let (tail, size) = read_tail(store, object).await?;
    Ok(whole_trailer(&tail, size, vault))
}

/// The same of a pack that nobody is known to have written. Its end may look as in this version though a newer program wrote
/// it: then its header says so.
pub async fn read_unknown(
    store: &dyn Store,
    object: ObjectHash,
    vault: VaultId,
) -> Result<Result<(Trailer, Bytes, u64), Damage>, StoreError> {
    let (tail, size) = read_tail(store, object).await?;
    let found = match whole_trailer(&tail, size, vault) {
        Ok(found) => found,
        Err(damage) => return Ok(Err(damage)),
    };
    let header = match tail.len() as u64 == size {
        true => tail,
        false => store.get_range(&object.pack_name(), 0..PREFIX_LENGTH).await?,
    };
    match ObjectKind::Pack.expect(&mut Reader::new(&header)) {
        Err(damage) if damage.is_newer() => Ok(Err(damage)),
        _ => Ok(Ok(found)),
    }
}

/// As much of a pack's end as its trailer takes, or more, and the size of the whole object.
async fn read_tail(store: &dyn Store, object: ObjectHash) -> Result<(Bytes, u64), StoreError> {
    let name = object.pack_name();
    let (tail, size) = store.get_tail(&name, TAIL_GUESS).await?;
    match trailer_in_tail(&tail, size) {
        Ok(Tail::Need(length)) => store.get_tail(&name, length).await,
        _ => Ok((tail, size)),
    }
}

fn whole_trailer(tail: &Bytes, size: u64, vault: VaultId) -> Result<(Trailer, Bytes, u64), Damage> {
    let Tail::Whole(encoded) = trailer_in_tail(tail, size)? else {
        return Err(Damage::Nonsense("its trailer cannot be that long"));
    };
    let trailer = Trailer::decode(&encoded)?;
    if trailer.vault != vault {
        return Err(Damage::ForeignVault);
    }
    if trailer.object_size(encoded.len()) != size {
        return Err(Damage::Length { recorded: trailer.object_size(encoded.len()), found: size });
    }
    Ok((trailer, encoded, size))
}

/// Finds the trailer in the last bytes of a pack of `size` bytes.
pub fn trailer_in_tail(tail: &Bytes, size: u64) -> Result<Tail, Damage> {
    let short = Damage::Nonsense("it is too short to be a pack");
    let footer_at = tail.len().checked_sub(FOOTER_LENGTH).ok_or(short)?;
    let mut reader = Reader::new(tail.get(footer_at..).unwrap_or_default());
    let length = reader.u32("trailer length")? as usize;
    if reader.array::<8>("end mark")? != END_MARK {
        return Err(Damage::Nonsense("it does not end as a pack does"));
    }
    if length > TRAILER_MAX || length as u64 + FOOTER_LENGTH as u64 + PREFIX_LENGTH > size {
        return Err(Damage::Nonsense("its trailer cannot be that long"));
    }
    match footer_at.checked_sub(length) {
        Some(start) => Ok(Tail::Whole(tail.slice(start..footer_at))),
        None => Ok(Tail::Need((length + FOOTER_LENGTH) as u64)),
    }
}

/// Checks a whole pack held in memory: its name, its header, its table, and each segment against its hash.
pub fn verify_whole(bytes: &Bytes, hash: ObjectHash, vault: VaultId) -> Result<Trailer, Damage> {
    if ObjectHash::of(bytes) != hash {
        return Err(segment_at_fault(bytes, vault).unwrap_or(Damage::HashMismatch));
    }
    let trailer = read_structure(bytes, vault)?;
    match first_bad_segment(bytes, &trailer) {
        Some(number) => Err(Damage::SegmentHash { number }),
        None => Ok(trailer),
    }
}

/// Reads the header and the table of a whole pack in memory, and sees that they fit; segments are not looked at.
pub(crate) fn read_structure(bytes: &Bytes, vault: VaultId) -> Result<Trailer, Damage> {
    let mut reader = Reader::new(bytes);
    ObjectKind::Pack.expect(&mut reader)?;
    let pack = PackId::read(&mut reader, "pack id")?;
    let Tail::Whole(encoded) = trailer_in_tail(bytes, bytes.len() as u64)? else {
        return Err(Damage::Nonsense("its trailer cannot be that long"));
    };
    let trailer = Trailer::decode(&encoded)?;
    if trailer.vault != vault {
        return Err(Damage::ForeignVault);
    }
    if trailer.pack != pack {
        return Err(Damage::Nonsense("its trailer names another pack"));
    }
    if trailer.object_size(encoded.len()) != bytes.len() as u64 {
        return Err(Damage::Nonsense("its table does not add up to its length"));
    }
    Ok(trailer)
}

fn first_bad_segment(bytes: &Bytes, trailer: &Trailer) -> Option<u32> {
    let good = |row: &SegmentRow| {
        let start = row.offset as usize;
        bytes
            .get(start..start + row.length as usize)
            .is_some_and(|sealed| *blake3::hash(sealed).as_bytes() == row.hash)
    };
    trailer.rows.iter().find(|row| !good(row)).map(|row| row.number)
}

/// When a pack's hash does not hold but its table is readable, names the first segment that was changed.
fn segment_at_fault(bytes: &Bytes, vault: VaultId) -> Option<Damage> {
    let trailer = read_structure(bytes, vault).ok()?;
    first_bad_segment(bytes, &trailer).map(|number| Damage::SegmentHash { number })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn a_pack(segments: &[Vec<u8>]) -> (FinishedPack, Bytes) {
        let mut pack = PackAssembler::new(PackKind::Data, VaultId::new([1; 16]), PackId::new([2; 16]));
        for segment in segments {
            pack.push(segment.clone().into());
        }
        let finished = pack.finish(0, Bytes::from_static(b"envelope"), Bytes::from_static(b"directory"));
        let whole: Vec<u8> = finished.parts.iter().flat_map(|part| part.to_vec()).collect();
        (finished, whole.into())
    }

    proptest! {
        #[test]
        fn a_pack_comes_back_and_every_flip_is_found(
            segments in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..100), 0..20),
            position: prop::sample::Index,
            bit in 0u8..8,
        ) {
            let (finished, whole) = a_pack(&segments);
            prop_assert_eq!(whole.len() as u64, finished.size);
            let trailer = verify_whole(&whole, finished.hash, VaultId::new([1; 16])).unwrap();
            for (number, segment) in segments.iter().enumerate() {
                let row = trailer.row(PackId::new([2; 16]), number as u32).unwrap();
                let start = row.offset as usize;
                prop_assert_eq!(&whole[start..start + row.length as usize], &segment[..]);
            }
            let mut broken = whole.to_vec();
            let at = position.index(broken.len());
            broken[at] ^= 1 << bit;
            prop_assert!(verify_whole(&broken.into(), finished.hash, VaultId::new([1; 16])).is_err());
        }

        #[test]
        fn any_bytes_decode_or_fail_in_words(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let _ = Trailer::decode(&bytes);
            let _ = trailer_in_tail(&bytes, bytes.len() as u64);
        }
    }

    #[test]
    fn a_short_tail_says_how_much_is_needed() {
        let (finished, whole) = a_pack(&vec![vec![7; 10]; 50]);
        let tail = whole.slice(whole.len() - 20..);
        match trailer_in_tail(&tail, finished.size) {
            Ok(Tail::Need(length)) => assert_eq!(length, (finished.trailer.len() + FOOTER_LENGTH) as u64),
            other => panic!("{other:?}"),
        }
    }
}
