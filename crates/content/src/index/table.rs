//! A table: an immutable file of sorted records.
//!
//! ```text
//! "SROOMTB1"  BLAKE3 of the rest of the head (32)  counts: fragments, packs, records (u64 each)
//! fragments (32 each)  packs: pack id (16)  object hash (32), each          -- the head ends here
//! filter: one 64-byte block for every 40 records, at least one
//! records (32 each), sorted by chunk id
//! ```
//! This is a cache of the machine, not part of the vault's format.

use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use vault::wire::Reader;
use vault::{ObjectHash, PackId};

use super::record::{self, Record};
use super::{PackChunks, cache_error, mapped};
use crate::chunk::{Address, ChunkId};
use crate::error::ContentError;

const MAGIC: [u8; 8] = *b"SROOMTB1";
const BLOCK: usize = 64;
const RECORDS_PER_BLOCK: usize = 40;

pub(super) struct Table {
    path: PathBuf,
    map: Mmap,
    fragments: Vec<ObjectHash>,
    packs: Vec<(PackId, ObjectHash)>,
    filter_at: usize,
    blocks: usize,
    records_at: usize,
    records: usize,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({}, {} records)", self.path.display(), self.records)
    }
}

impl Table {
    /// Opens a table and checks its head; records are checked when they are used.
    pub(super) fn open(path: &Path) -> Result<Self, ContentError> {
        let map = mapped::map(path)?;
        let damaged = || ContentError::CacheDamaged { path: path.display().to_string() };
        let mut reader = Reader::new(&map);
        let magic: [u8; 8] = reader.array("magic").map_err(|_| damaged())?;
        let hash: [u8; 32] = reader.array("hash").map_err(|_| damaged())?;
        let head_at = reader.position();
        let mut count = || reader.u64("count").ok().and_then(|count| usize::try_from(count).ok());
        let (Some(fragments), Some(packs), Some(records)) = (count(), count(), count()) else {
            return Err(damaged());
        };
        let room = map.len() / 16;
        if magic != MAGIC || fragments > room || packs > room || records > room {
            return Err(damaged());
        }
        let fragments = (0..fragments)
            .map(|_| ObjectHash::read(&mut reader, "fragment"))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| damaged())?;
        let packs = (0..packs)
            .map(|_| Ok((PackId::read(&mut reader, "pack")?, ObjectHash::read(&mut reader, "object")?)))
            .collect::<Result<Vec<_>, vault::wire::Malformed>>()
            .map_err(|_| damaged())?;
        let filter_at = reader.position();
        let head = map.get(head_at..filter_at).ok_or_else(damaged)?;
        let blocks = blocks_for(records);
        let records_at = filter_at + blocks * BLOCK;
        if blake3::hash(head) != hash || map.len() != records_at + records * record::LENGTH {
            return Err(damaged());
        }
        Ok(Self { path: path.to_owned(), map, fragments, packs, filter_at, blocks, records_at, records })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn fragments(&self) -> &[ObjectHash] {
        &self.fragments
    }

    pub(super) fn packs(&self) -> impl Iterator<Item = (PackId, ObjectHash)> + '_ {
        self.packs.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.records
    }

    fn damaged(&self) -> ContentError {
        ContentError::CacheDamaged { path: self.path.display().to_string() }
    }

    fn raw(&self, index: usize) -> Result<&[u8; record::LENGTH], ContentError> {
        let start = self.records_at + index * record::LENGTH;
        let bytes = self.map.get(start..start + record::LENGTH).and_then(|bytes| bytes.first_chunk());
        bytes.ok_or_else(|| self.damaged())
    }

    fn record(&self, index: usize) -> Result<Record, ContentError> {
        Record::decode(self.raw(index)?).ok_or_else(|| self.damaged())
    }

    pub(super) fn find(
        &self,
        id: &ChunkId,
        accept: impl Fn(&Address) -> bool,
    ) -> Result<Option<Address>, ContentError> {
        let (block, bits) = filter_bits(id, self.blocks);
        let start = self.filter_at + block * BLOCK;
        let block = self.map.get(start..start + BLOCK).ok_or_else(|| self.damaged())?;
        if !bits.iter().all(|bit| block.get(bit / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0)) {
            return Ok(None);
        }
        let Some(found) = self.search(id)? else { return Ok(None) };
        // The same chunk stored twice has two records side by side, and the search may hit either.
        let same = |index: &usize| self.raw(*index).is_ok_and(|raw| raw.starts_with(id.bytes()));
        let before = (0..found).rev().take_while(same);
        let after = (found + 1..self.records).take_while(same);
        for index in std::iter::once(found).chain(before).chain(after) {
            let record = self.record(index)?;
            let (pack, _) = self.packs.get(record.pack as usize).ok_or_else(|| self.damaged())?;
            let Record { segment, offset, length, .. } = record;
            let address = Address { pack: *pack, segment, offset, length };
            if accept(&address) {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    /// Interpolation search: ids are uniform, so the first guesses land close; it falls back to halving.
    fn search(&self, id: &ChunkId) -> Result<Option<usize>, ContentError> {
        let key = leading(id.bytes());
        let (mut low, mut high) = (0, self.records);
        for round in 0.. {
            if low >= high {
                return Ok(None);
            }
            let middle = if round < 4 { self.guess(key, low, high)? } else { low + (high - low) / 2 };
            let found = self.raw(middle)?.first_chunk::<16>().copied().unwrap_or_default();
            match found.cmp(id.bytes()) {
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    fn guess(&self, key: u64, low: usize, high: usize) -> Result<usize, ContentError> {
        let (first, last) = (leading(self.raw(low)?), leading(self.raw(high - 1)?));
        if key <= first || last <= first {
            return Ok(low);
        }
        let share = (u128::from(key - first) * (high - 1 - low) as u128) / u128::from(last - first);
        Ok((low + share as usize).min(high - 1))
    }

    /// Writes a table of these packs' chunks.
    pub(super) fn write(
        folder: &Path,
        fragments: &[ObjectHash],
        packs: &[PackChunks],
    ) -> Result<Self, ContentError> {
        let mut records =
            Vec::with_capacity(packs.iter().flat_map(|pack| &pack.segments).map(Vec::len).sum());
        for (number, pack) in packs.iter().enumerate() {
            for (segment, chunks) in pack.segments.iter().enumerate() {
                let mut offset = 0u32;
                for (id, length) in chunks {
                    let segment = segment as u32;
                    records.push(Record { id: *id, pack: number as u32, segment, offset, length: *length });
                    offset = offset.saturating_add(*length);
                }
            }
        }
        records.sort_unstable_by_key(|record| record.id);
        let names: Vec<_> = packs.iter().map(|pack| (pack.pack, pack.object)).collect();
        let mut blocks = Blocks::for_records(records.len());
        records.iter().for_each(|record| blocks.add(&record.id));
        Self::create(folder, fragments, &names, &blocks, records.len(), |out| {
            records.iter().try_for_each(|record| out.write_all(&record.encode()))
        })
    }

    /// Writes one table that covers all of `tables`, streaming their records in order.
    pub(super) fn merge(folder: &Path, tables: &[Table]) -> Result<Self, ContentError> {
        let mut fragments: Vec<_> = tables.iter().flat_map(|table| table.fragments.iter().copied()).collect();
        fragments.sort();
        fragments.dedup();
        let names: Vec<_> = tables.iter().flat_map(Table::packs).collect();
        let total = tables.iter().map(|table| table.records).sum();
        let mut blocks = Blocks::for_records(total);
        for table in tables {
            for index in 0..table.records {
                blocks.add(&table.record(index)?.id);
            }
        }
        let mut damaged = None;
        let written = Self::create(folder, &fragments, &names, &blocks, total, |out| {
            let mut places = vec![0; tables.len()];
            loop {
                let mut least: Option<(Record, usize)> = None;
                let mut packs_before = 0;
                for (which, table) in tables.iter().enumerate() {
                    let place = places.get(which).copied().unwrap_or_default();
                    if place < table.records {
                        let mut record = match table.record(place) {
                            Ok(record) => record,
                            Err(error) => {
                                damaged = Some(error);
                                return Err(std::io::ErrorKind::InvalidData.into());
                            }
                        };
                        record.pack += packs_before;
                        if least.is_none_or(|(least, _)| record.id < least.id) {
                            least = Some((record, which));
                        }
                    }
                    packs_before += table.packs.len() as u32;
                }
                let Some((record, which)) = least else { return Ok(()) };
                out.write_all(&record.encode())?;
                if let Some(place) = places.get_mut(which) {
                    *place += 1;
                }
            }
        });
        match damaged {
            Some(error) => Err(error),
            None => written,
        }
    }

    fn create(
        folder: &Path,
        fragments: &[ObjectHash],
        packs: &[(PackId, ObjectHash)],
        blocks: &Blocks,
        records: usize,
        write_records: impl FnOnce(&mut dyn std::io::Write) -> std::io::Result<()>,
    ) -> Result<Self, ContentError> {
        let mut head = Vec::new();
        for count in [fragments.len(), packs.len(), records] {
            head.extend_from_slice(&(count as u64).to_le_bytes());
        }
        fragments.iter().for_each(|name| head.extend_from_slice(name.bytes()));
        for (pack, object) in packs {
            head.extend_from_slice(pack.bytes());
            head.extend_from_slice(object.bytes());
        }
        let hash = blake3::hash(&head);
        let path = folder.join(ObjectHash::new(*hash.as_bytes()).to_string());
        let random = PackId::new(crate::random::identity());
        let temporary = folder.join(format!("temporary-{random}"));
        let write = || -> std::io::Result<()> {
            let file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
            let mut out = BufWriter::with_capacity(1 << 18, file);
            out.write_all(&MAGIC)?;
            out.write_all(hash.as_bytes())?;
            out.write_all(&head)?;
            out.write_all(&blocks.bytes)?;
            write_records(&mut out)?;
            out.flush()?;
            drop(out);
            std::fs::rename(&temporary, &path)
        };
        if let Err(source) = write() {
            let _ = std::fs::remove_file(&temporary);
            return Err(cache_error(&path, "written", source));
        }
        Self::open(&path)
    }
}

fn leading(bytes: &[u8]) -> u64 {
    bytes.first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first))
}

fn blocks_for(records: usize) -> usize {
    records.div_ceil(RECORDS_PER_BLOCK).max(1)
}

/// The block of an id and six bits in it, from parts of the id that the search does not lean on.
fn filter_bits(id: &ChunkId, blocks: usize) -> (usize, [usize; 6]) {
    let [.., a, b, c, d, e, f, g, h] = *id.bytes();
    let value = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let [i, j, k, l, ..] = *id.bytes();
    let which = u32::from_le_bytes([l, k, j, i]).wrapping_mul(0x9e37_79b1);
    let block = (u64::from(which) * blocks as u64) >> 32;
    (block as usize, std::array::from_fn(|n| ((value >> (9 * n)) & 511) as usize))
}

/// A Bloom filter in blocks of one cache line.
struct Blocks {
    bytes: Vec<u8>,
    count: usize,
}

impl Blocks {
    fn for_records(records: usize) -> Self {
        let count = blocks_for(records);
        Self { bytes: vec![0; count * BLOCK], count }
    }

    fn add(&mut self, id: &ChunkId) {
        let (block, bits) = filter_bits(id, self.count);
        for bit in bits {
            if let Some(byte) = self.bytes.get_mut(block * BLOCK + bit / 8) {
                *byte |= 1 << (bit % 8);
            }
        }
    }
}
