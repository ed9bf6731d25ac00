//! The local index: which chunks the vault has, and where.
//!
//! The truth is in the vault's index fragments; this is a cache of them in a folder of the machine, laid out for
//! look-ups. Each table is an immutable file, sorted by chunk id and mapped into memory, that says which fragments it
//! covers. Tables are merged when there are many. What this run adds is held in memory until its fragment is written
//! and becomes a table too, so memory does not grow with the vault. Anything that looks wrong in the folder is thrown
//! away and read again from the vault.

mod mapped;
mod record;
mod table;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use vault::fragment::PackRecord;
use vault::pack::Trailer;
use vault::{ObjectHash, PackId};

use crate::chunk::{Address, ChunkId};
use crate::directory::SegmentChunks;
use crate::envelope::{DIRECTORY_NUMBER, DataKey, Place, Purpose};
use crate::error::ContentError;
use crate::keyring::Keyring;
use crate::segment::Opener;
use table::Table;

/// More tables than this are merged into one.
const TABLES_MAX: usize = 6;

/// A pack and the chunks in its segments, as an index needs them.
#[derive(Debug)]
pub struct PackChunks {
    /// The pack its segments were sealed for.
    pub pack: PackId,
    /// The object that holds it.
    pub object: ObjectHash,
    /// The chunks of each segment, in the order of the segments' numbers.
    pub segments: Vec<SegmentChunks>,
}

/// Opens a pack's sealed directories: one item for each origin of the pack. Segments that are not in the pack any
/// more come back empty.
pub fn open_directories(
    keyring: &Keyring,
    record: &PackRecord,
    trailer: &Trailer,
    opener: &mut Opener,
) -> Result<Vec<PackChunks>, ContentError> {
    let mut out = Vec::with_capacity(trailer.origins.len());
    for (index, origin) in trailer.origins.iter().enumerate() {
        let place =
            Place { vault: trailer.vault, id: *origin.pack.bytes(), purpose: Purpose::from(trailer.kind) };
        let key = DataKey::open(keyring, origin.epoch, &origin.envelope, place)?;
        let mut segments =
            crate::directory::decode(opener.open(&origin.directory, &key, DIRECTORY_NUMBER)?)?;
        let present: HashSet<u32> =
            trailer.rows.iter().filter(|row| row.origin as usize == index).map(|row| row.number).collect();
        for (number, chunks) in segments.iter_mut().enumerate() {
            if !present.contains(&(number as u32)) {
                chunks.clear();
            }
        }
        out.push(PackChunks { pack: origin.pack, object: record.hash, segments });
    }
    Ok(out)
}

/// The chunks of a vault that this machine knows of.
#[derive(Debug)]
pub struct Index {
    folder: PathBuf,
    tables: Vec<Table>,
    fresh: HashMap<ChunkId, Address>,
    objects: HashMap<PackId, ObjectHash>,
}

impl Index {
    /// Opens the tables in `folder` (made when missing) that cover only fragments in `listed`; others are deleted.
    pub fn open(folder: &Path, listed: &HashSet<ObjectHash>) -> Result<Self, ContentError> {
        std::fs::create_dir_all(folder).map_err(|source| cache_error(folder, "made", source))?;
        let mut tables = Vec::new();
        let mut covered = HashSet::new();
        let entries = std::fs::read_dir(folder).map_err(|source| cache_error(folder, "read", source))?;
        for entry in entries {
            let path = entry.map_err(|source| cache_error(folder, "read", source))?.path();
            let table = match Table::open(&path) {
                Ok(table) => table,
                Err(_) => {
                    let _ = std::fs::remove_file(&path);
                    continue;
                }
            };
            let current = table.fragments().iter().all(|name| listed.contains(name));
            let new = !table.fragments().iter().all(|name| covered.contains(name));
            if current && new {
                covered.extend(table.fragments().iter().copied());
                tables.push(table);
            } else {
                let _ = std::fs::remove_file(&path);
            }
        }
        let mut index =
            Self { folder: folder.to_owned(), tables, fresh: HashMap::new(), objects: HashMap::new() };
        for table in &index.tables {
            index.objects.extend(table.packs());
        }
        Ok(index)
    }

    /// The fragments of `listed` that have not been read yet.
    pub fn missing(&self, listed: &HashSet<ObjectHash>) -> Vec<ObjectHash> {
        let covered: HashSet<_> =
            self.tables.iter().flat_map(|table| table.fragments().iter().copied()).collect();
        let mut missing: Vec<_> = listed.difference(&covered).copied().collect();
        missing.sort();
        missing
    }

    /// Takes a fragment in. Only data and tree packs' chunks of this fragment are in `packs`; what this run had added
    /// for them itself is let go.
    pub fn add_fragment(&mut self, fragment: ObjectHash, packs: &[PackChunks]) -> Result<(), ContentError> {
        let table = Table::write(&self.folder, &[fragment], packs)?;
        self.objects.extend(table.packs());
        self.tables.push(table);
        let in_table: HashSet<PackId> = packs.iter().map(|pack| pack.pack).collect();
        self.fresh.retain(|_, address| !in_table.contains(&address.pack));
        if self.tables.len() > TABLES_MAX {
            self.merge()?;
        }
        Ok(())
    }

    fn merge(&mut self) -> Result<(), ContentError> {
        let merged = Table::merge(&self.folder, &self.tables)?;
        for old in std::mem::replace(&mut self.tables, vec![merged]) {
            if self.tables.iter().all(|table| table.path() != old.path()) {
                let _ = std::fs::remove_file(old.path());
            }
        }
        Ok(())
    }

    /// Notes a chunk that this run stores.
    pub fn insert(&mut self, id: ChunkId, address: Address) {
        self.fresh.insert(id, address);
    }

    /// How many chunks are held in memory.
    pub fn in_memory(&self) -> usize {
        self.fresh.len()
    }

    /// Where a chunk is: the first place that `accept` takes, for a chunk may have been stored again because one of
    /// its places is bad. A damaged table is an error: the caller rebuilds the cache.
    pub fn find(
        &self,
        id: &ChunkId,
        accept: impl Fn(&Address) -> bool,
    ) -> Result<Option<Address>, ContentError> {
        if let Some(address) = self.fresh.get(id).filter(|address| accept(address)) {
            return Ok(Some(*address));
        }
        for table in self.tables.iter().rev() {
            if let Some(address) = table.find(id, &accept)? {
                return Ok(Some(address));
            }
        }
        Ok(None)
    }

    /// How many packs are known.
    pub fn packs(&self) -> usize {
        self.objects.len()
    }

    /// Whether some fragment names this object.
    pub fn holds(&self, object: ObjectHash) -> bool {
        self.objects.values().any(|known| *known == object)
    }

    /// The object that holds a pack, as far as the fragments say.
    pub fn object(&self, pack: PackId) -> Option<ObjectHash> {
        self.objects.get(&pack).copied()
    }

    /// How many chunks the tables hold; one stored twice counts twice.
    pub fn len(&self) -> usize {
        self.tables.iter().map(Table::len).sum::<usize>() + self.fresh.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything on disk, for when a table was found damaged.
    pub fn discard(folder: &Path) -> Result<(), ContentError> {
        match std::fs::remove_dir_all(folder) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(cache_error(folder, "deleted", source))
            }
            _ => Ok(()),
        }
    }
}

fn cache_error(path: &Path, action: &'static str, source: std::io::Error) -> ContentError {
    ContentError::Cache { path: path.display().to_string(), action, source }
}

#[cfg(test)]
mod tests;
