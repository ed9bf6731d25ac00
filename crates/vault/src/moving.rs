//! Moving sealed segments, as they are, into new packs: for compaction, for a copy and for a repair.

use std::sync::Arc;

use bytes::Bytes;
use store::{Kind, StorageClass, Store};

use crate::check::{PackReading, Watch};
use crate::error::{Damage, VaultError};
use crate::fragment::PackRecord;
use crate::name::{ObjectHash, PackId, VaultId};
use crate::pack::{FinishedPack, Origin, PackAssembler, PackKind, SegmentRow};
use crate::relocation::Moved;
use crate::segments::SegmentSet;

/// A new pack is ended when it has this many bytes: it is held in memory until it is stored.
const TARGET: u64 = 32 << 20;
/// … or this many origins.
const ORIGINS: usize = 4096;
/// Segments that lie side by side are read together, up to this many bytes.
const READ_MAX: u64 = 8 << 20;

/// A source of random bytes for new names.
pub type Random<'a> = &'a mut (dyn FnMut() -> [u8; 16] + Send);

/// A sealed segment on its way: its number in its origin, its hash, its bytes.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Its number in the pack it was sealed for.
    pub number: u32,
    /// BLAKE3 of its bytes.
    pub hash: [u8; 32],
    /// The bytes.
    pub bytes: Bytes,
}

/// The sealed bytes of segments, each compared with its hash: all of them, or what is wrong with the object.
pub(crate) async fn read_segments(
    store: &dyn Store,
    object: ObjectHash,
    rows: &[SegmentRow],
    watch: &dyn Watch,
) -> Result<Result<Vec<Sealed>, Damage>, VaultError> {
    let mut segments = Vec::with_capacity(rows.len());
    for segment in read_each(store, object, rows, watch).await? {
        match segment {
            Ok(segment) => segments.push(segment),
            Err(damage) => return Ok(Err(damage)),
        }
    }
    Ok(Ok(segments))
}

/// The sealed bytes of segments, in order, or what is wrong with each. Of bytes that cannot be read together, each
/// segment is tried by itself.
pub(crate) async fn read_each(
    store: &dyn Store,
    object: ObjectHash,
    rows: &[SegmentRow],
    watch: &dyn Watch,
) -> Result<Vec<Result<Sealed, Damage>>, VaultError> {
    let name = object.pack_name();
    let mut segments = Vec::with_capacity(rows.len());
    let mut rest = rows;
    while let Some(first) = rest.first() {
        let mut end = first.offset;
        let fits = |row: &&SegmentRow| {
            let follows = row.offset == end && row.offset + u64::from(row.length) - first.offset <= READ_MAX;
            let is_first = row.offset == first.offset;
            if follows || is_first {
                end = row.offset + u64::from(row.length);
            }
            follows || is_first
        };
        let count = rest.iter().take_while(fits).count().max(1);
        let (together, after) = rest.split_at(count);
        rest = after;
        match read_range(store, &name, first.offset..end).await? {
            Ok(bytes) => {
                watch.read(bytes.len() as u64);
                segments.extend(together.iter().map(|row| cut(&bytes, first.offset, row)));
            }
            Err(damage) if together.len() == 1 => segments.push(Err(damage)),
            Err(_) => {
                for row in together {
                    let range = row.offset..row.offset + u64::from(row.length);
                    let read = read_range(store, &name, range).await?;
                    segments.push(read.and_then(|bytes| cut(&bytes, row.offset, row)));
                }
            }
        }
    }
    Ok(segments)
}

async fn read_range(
    store: &dyn Store,
    name: &str,
    range: std::ops::Range<u64>,
) -> Result<Result<Bytes, Damage>, VaultError> {
    match store.get_range(name, range).await {
        Ok(bytes) => Ok(Ok(bytes)),
        Err(error) => damage_of(error).map(Err),
    }
}

/// What a store's error says about one object; an error of the whole store stays one.
pub(crate) fn damage_of(error: store::StoreError) -> Result<Damage, VaultError> {
    match error.kind {
        Kind::NotFound if !error.object.is_empty() => Ok(Damage::Missing),
        Kind::Truncated | Kind::TooLarge => Ok(Damage::HashMismatch),
        // A disk that gives some of its blocks no more.
        Kind::Other if !error.object.is_empty() => Ok(Damage::Nonsense("the store cannot read it")),
        _ => Err(error.into()),
    }
}

fn cut(bytes: &Bytes, start: u64, row: &SegmentRow) -> Result<Sealed, Damage> {
    let at = (row.offset - start) as usize;
    let segment = bytes.get(at..at + row.length as usize).unwrap_or_default();
    if *blake3::hash(segment).as_bytes() != row.hash {
        return Err(Damage::SegmentHash { number: row.number });
    }
    Ok(Sealed { number: row.number, hash: row.hash, bytes: bytes.slice_ref(segment) })
}

/// Reads a pack piece by piece and compares it with its name.
pub(crate) async fn prove(
    store: &Arc<dyn Store>,
    object: ObjectHash,
    size: u64,
    vault: VaultId,
    watch: &dyn Watch,
) -> Result<Result<(), Damage>, VaultError> {
    let mut reading = match PackReading::begin(store.as_ref(), object, size, vault).await {
        Ok(Ok(reading)) => reading,
        Ok(Err(damage)) => return Ok(Err(damage)),
        Err(error) => return damage_of(error).map(Err),
    };
    let name = object.pack_name();
    for piece in reading.pieces() {
        match store.get_range(&name, piece.range.clone()).await {
            Ok(bytes) => {
                reading.take(&piece, &bytes);
                watch.read(bytes.len() as u64);
            }
            Err(error) => return damage_of(error).map(Err),
        }
    }
    Ok(reading.finish())
}

/// New packs, filled one after the other with what comes from others.
pub(crate) struct Mover<'a> {
    store: &'a Arc<dyn Store>,
    vault: VaultId,
    /// Where packs of data go.
    data_class: Option<StorageClass>,
    open: Option<(PackKind, PackAssembler)>,
    /// What is in the open pack.
    filling: Vec<(PackId, SegmentSet)>,
    /// The packs that were stored.
    pub packs: Vec<PackRecord>,
    /// Where segments went; only of packs that were stored.
    pub moved: Vec<Moved>,
    /// How many segments, and their bytes.
    pub segments: u64,
    pub bytes: u64,
}

impl<'a> Mover<'a> {
    pub(crate) fn new(store: &'a Arc<dyn Store>, vault: VaultId, data_class: Option<&StorageClass>) -> Self {
        let (packs, moved, data_class) = (Vec::new(), Vec::new(), data_class.cloned());
        Self {
            store,
            vault,
            data_class,
            open: None,
            filling: Vec::new(),
            packs,
            moved,
            segments: 0,
            bytes: 0,
        }
    }

    /// Puts all that is wanted of one origin into a pack. A pack id has one home: all its segments go into one new
    /// pack, or readers would have to look in several.
    pub(crate) async fn place(
        &mut self,
        kind: PackKind,
        origin: &Origin,
        sealed: Vec<Sealed>,
        random: Random<'_>,
    ) -> Result<(), VaultError> {
        if self.open.as_ref().is_some_and(|(open, _)| *open != kind) {
            self.end_pack().await?;
        }
        let vault = self.vault;
        let new = || (kind, PackAssembler::new(kind, vault, PackId::new(random())));
        let (_, pack) = self.open.get_or_insert_with(new);
        pack.begin_origin(origin.clone());
        let mut segments = SegmentSet::default();
        for Sealed { number, hash, bytes } in sealed {
            self.segments += 1;
            self.bytes += bytes.len() as u64;
            segments.insert(number);
            pack.push_moved(number, hash, bytes);
        }
        self.filling.push((origin.pack, segments));
        if pack.size() >= TARGET || pack.origins() >= ORIGINS { self.end_pack().await } else { Ok(()) }
    }

    /// Stores the open pack, if there is one.
    pub(crate) async fn end_pack(&mut self) -> Result<(), VaultError> {
        let Some((kind, pack)) = self.open.take() else { return Ok(()) };
        let finished: FinishedPack = pack.finish_moved();
        let record = PackRecord::from(&finished);
        let class = self.data_class.as_ref().filter(|_| kind == PackKind::Data);
        store::put_in(self.store.as_ref(), &finished.hash.pack_name(), finished.parts, class).await?;
        let object = record.hash;
        let filled = std::mem::take(&mut self.filling);
        self.moved.extend(filled.into_iter().map(|(pack, segments)| Moved { pack, object, segments }));
        self.packs.push(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Unwatched;
    use crate::pack::Trailer;

    #[tokio::test]
    async fn each_segment_is_judged_by_itself() {
        let store = store::MemoryStore::new();
        let vault = VaultId::new([1; 16]);
        let mut pack = PackAssembler::new(PackKind::Data, vault, PackId::new([2; 16]));
        (0..4u8).for_each(|number| pack.push(vec![number; 3 << 20].into()));
        let finished = pack.finish(0, Bytes::new(), Bytes::new());
        let rows = Trailer::decode(&finished.trailer).unwrap().rows;
        let mut bytes = finished.parts.concat();
        bytes[24 + (3 << 20) + 5] ^= 1;
        bytes.truncate(24 + (9 << 20) + 7);
        store.put(&finished.hash.pack_name(), vec![bytes.into()]).await.unwrap();
        let read = read_each(&store, finished.hash, &rows, &Unwatched).await.unwrap();
        let good: Vec<_> = read.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, true, false]);
        assert_eq!(read[1].as_ref().unwrap_err(), &Damage::SegmentHash { number: 1 });
        let all = read_segments(&store, finished.hash, &rows[2..3], &Unwatched).await.unwrap().unwrap();
        assert_eq!((all[0].number, all[0].bytes.len()), (2, 3 << 20));
        assert!(read_segments(&store, finished.hash, &rows, &Unwatched).await.unwrap().is_err());
    }
}
