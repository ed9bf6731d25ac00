//! Comparing what is on this machine with chunk ids, without fetching any data from the vault.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use content::chunk::Identifier;
use content::directory::SegmentChunks;
use content::index::open_directories;
use content::segment::Opener;
use content::tree::Hole;
use content::{Address, ChunkId};
use files::{TargetError, TargetFile};
use vault::PackId;
use vault::error::Damage;
use vault::fragment::PackRecord;

use super::file::FileWork;
use super::layout::{PlacedChunk, each_span};
use super::session::Session;
use crate::{Error, Reader};

/// How many chunk ids are kept, over all packs: about 20 bytes each.
const IDS_MAX: usize = 1 << 20;

/// The ids of a pack's chunks by segment.
type PackIds = Arc<Vec<SegmentChunks>>;

/// Chunk ids by address, read from the packs' sealed directories.
pub(super) struct Ids {
    reader: Arc<Reader>,
    identifier: Identifier,
    cached: Mutex<Cached>,
}

#[derive(Default)]
struct Cached {
    packs: HashMap<PackId, PackIds>,
    order: VecDeque<PackId>,
    ids: usize,
}

impl Ids {
    pub(super) fn new(reader: &Arc<Reader>) -> Self {
        let identifier = reader.vault().keyring().identifier();
        Self { reader: reader.clone(), identifier, cached: Mutex::default() }
    }

    /// One thread reads a directory while others that need one wait: they mostly need the same.
    fn of_pack(&self, pack: PackId) -> Result<PackIds, Error> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ids) = cached.packs.get(&pack) {
            return Ok(ids.clone());
        }
        let object = self.reader.pack(pack)?.object;
        let (trailer, encoded) = self.reader.trailer(object)?;
        let record = PackRecord { hash: object, size: trailer.object_size(encoded.len()), trailer: encoded };
        let keyring = self.reader.vault().keyring();
        let opened = open_directories(keyring, &record, &trailer, &mut Opener::new())
            .map_err(|error| Error::content(object.pack_name(), error))?;
        let mut wanted = None;
        for of_origin in opened {
            let ids = Arc::new(of_origin.segments);
            if of_origin.pack == pack {
                wanted = Some(ids.clone());
            }
            cached.keep(of_origin.pack, ids);
        }
        wanted.ok_or_else(|| Error::damaged(object.pack_name(), Damage::Nonsense("it lacks a directory")))
    }
}

impl Cached {
    fn keep(&mut self, pack: PackId, ids: PackIds) {
        let count = |ids: &PackIds| ids.iter().map(Vec::len).sum::<usize>();
        self.ids += count(&ids);
        if let Some(before) = self.packs.insert(pack, ids) {
            self.ids -= count(&before);
        } else {
            self.order.push_back(pack);
        }
        while self.ids > IDS_MAX && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.packs.remove(&oldest) {
                self.ids -= count(&gone);
            }
        }
    }
}

/// What a comparison says.
#[derive(Debug)]
pub(super) enum Comparison {
    Same,
    Different,
    /// The chunk's id cannot be read.
    Unknown(Error),
}

/// Compares files; one for each thread.
pub(super) struct Comparer {
    session: Arc<Session>,
    buffer: Vec<u8>,
    last: Option<(PackId, PackIds)>,
}

impl Comparer {
    pub(super) fn new(session: &Arc<Session>) -> Self {
        Self { session: session.clone(), buffer: Vec::new(), last: None }
    }

    fn id(&mut self, address: &Address) -> Result<ChunkId, Error> {
        let ids = match &self.last {
            Some((pack, ids)) if *pack == address.pack => ids,
            _ => &self.last.insert((address.pack, self.session.ids.of_pack(address.pack)?)).1,
        };
        let mut offset = 0;
        for (id, length) in ids.get(address.segment as usize).into_iter().flatten() {
            if offset == u64::from(address.offset) && *length == address.length {
                return Ok(*id);
            }
            offset += u64::from(*length);
        }
        let object = format!("the directory of pack {}", address.pack);
        Err(Error::damaged(object, Damage::Nonsense("a chunk that is needed is not in it")))
    }

    /// Compares one chunk with what the file has in its place.
    pub(super) fn chunk(
        &mut self,
        file: &TargetFile,
        holes: &[Hole],
        chunk: &PlacedChunk,
    ) -> Result<Comparison, TargetError> {
        let id = match self.id(&chunk.address) {
            Ok(id) => id,
            Err(error) => return Ok(Comparison::Unknown(error)),
        };
        self.buffer.resize(chunk.address.length as usize, 0);
        let mut outcome = Ok(true);
        each_span(holes, chunk.at, u64::from(chunk.address.length), |span, from| {
            let length = span.end.saturating_sub(span.start) as usize;
            let part = self.buffer.get_mut(from as usize..from as usize + length).unwrap_or_default();
            if matches!(outcome, Ok(true)) {
                outcome = fill(file, span.start, part);
            }
        });
        Ok(match outcome? && self.session.ids.identifier.identify(&self.buffer) == id {
            true => Comparison::Same,
            false => Comparison::Different,
        })
    }

    /// Those chunks that have to be written because the file has something else, or nothing, in their place. An error
    /// when that cannot be told: then they could not be fetched either.
    fn differing(
        &mut self,
        file: &TargetFile,
        holes: &[Hole],
        chunks: &[PlacedChunk],
    ) -> Result<Vec<PlacedChunk>, Error> {
        let mut differing = Vec::new();
        for chunk in chunks {
            self.session.checkpoint()?;
            match self.chunk(file, holes, chunk) {
                Ok(Comparison::Same) => {}
                Ok(Comparison::Unknown(error)) => return Err(error),
                // What cannot be read here is written again.
                Ok(Comparison::Different) | Err(_) => differing.push(*chunk),
            }
        }
        Ok(differing)
    }

    /// Prepares a file that exists for what has to be written to it, and returns that: `chunks` are all of it, or a
    /// part of a file that is open already. Where the vault is damaged the file is left as it is.
    pub(super) fn file(&mut self, file: &FileWork, chunks: Vec<PlacedChunk>) -> Vec<PlacedChunk> {
        self.prepare(file, chunks).unwrap_or_else(|error| {
            file.lost(&error);
            Vec::new()
        })
    }

    fn prepare(&mut self, file: &FileWork, chunks: Vec<PlacedChunk>) -> Result<Vec<PlacedChunk>, Error> {
        let Some(place) = file.place() else { return Ok(Vec::new()) };
        if self.session.request.dry_run {
            if !self.is_right(file, &chunks)? {
                file.set_changed();
            }
            return Ok(Vec::new());
        }
        if file.opened().is_none() {
            match place.open_file(&file.entry.name) {
                Ok(open) => file.adopt(open, true),
                // It cannot be changed: it is right, or is replaced.
                Err(_) if self.is_right(file, &chunks)? => return Ok(Vec::new()),
                Err(_) => {
                    return match file.replace() {
                        Ok(()) => Ok(chunks),
                        Err(error) => {
                            file.refused(error);
                            Ok(Vec::new())
                        }
                    };
                }
            }
        }
        let Some(open) = file.opened() else { return Ok(Vec::new()) };
        let differing = self.differing(&open, file.holes(), &chunks)?;
        if !differing.is_empty() {
            file.set_changed();
        }
        Ok(differing)
    }

    /// Whether a file's whole content is right. If so the file stays open, only to be read.
    pub(super) fn is_right(&mut self, file: &FileWork, chunks: &[PlacedChunk]) -> Result<bool, Error> {
        let Some(place) = file.place() else { return Ok(false) };
        let Ok(open) = place.open_file_to_read(&file.entry.name) else { return Ok(false) };
        let right = open.len().is_ok_and(|length| length == file.entry.size())
            && self.differing(&open, file.holes(), chunks)?.is_empty();
        if right && !self.session.request.dry_run {
            file.adopt(open, false);
        }
        Ok(right)
    }
}

/// Reads until `buffer` is full; `false` when the file ends before.
fn fill(file: &TargetFile, mut offset: u64, mut buffer: &mut [u8]) -> Result<bool, TargetError> {
    while !buffer.is_empty() {
        let got = file.read_at(offset, buffer)?;
        if got == 0 {
            return Ok(false);
        }
        offset += got as u64;
        buffer = buffer.get_mut(got..).unwrap_or_default();
    }
    Ok(true)
}
