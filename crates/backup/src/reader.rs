//! Reading a vault: segments, chunks, directories, files.
//!
//! A snapshot's envelope says which object holds each pack, so nothing here needs the index. What was opened last is
//! kept, within a bound in bytes.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use content::Address;
use content::envelope::{DataKey, Place, Purpose};
use content::segment::{Opened, Opener, touches};
use content::tree::{Entry, FileContent, Node, decode_extents, decode_page};
use store::{Part, Store};
use vault::SegmentSet;
use vault::error::Damage;
use vault::pack::{SegmentRow, Tail, Trailer, trailer_in_tail};
use vault::relocation::Holders;
use vault::{ObjectHash, PackId};

use crate::error::Category;
use crate::{Error, ReadingTenure, Snapshot, Vault};

/// How much of a pack's end is read to find its trailer in one request.
pub(crate) const TAIL_GUESS: u64 = 64 << 10;

/// How much memory the tables of packs may take: those of a few thousand packs.
const PACK_CACHE: usize = 16 << 20;

/// What is said of bytes that a cleanup took out of a segment.
const GONE: Damage = Damage::Nonsense("what is said to be in it was taken out when nothing needed it");

/// A pack whose trailer was read and whose key was opened.
#[derive(Debug)]
pub(crate) struct OpenPack {
    /// The pack that addresses name.
    pub pack: PackId,
    /// The object that holds it.
    pub object: ObjectHash,
    /// Of this pack alone, by their numbers: a trailer as a whole keeps the list of its chunks in memory.
    rows: Box<[SegmentRow]>,
    key: DataKey,
}

impl OpenPack {
    fn new(pack: PackId, object: ObjectHash, trailer: &Trailer, key: DataKey) -> Self {
        let of_pack = |row: &&SegmentRow| {
            trailer.origins.get(row.origin as usize).is_some_and(|origin| origin.pack == pack)
        };
        let mut rows: Box<[SegmentRow]> = trailer.rows.iter().filter(of_pack).copied().collect();
        rows.sort_unstable_by_key(|row| row.number);
        Self { pack, object, rows, key }
    }

    /// About how many bytes of memory it takes.
    fn weight(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.rows)
    }

    /// Where a segment's sealed bytes are.
    pub fn row(&self, number: u32) -> Result<&SegmentRow, Error> {
        let missing = || Error::damaged(self.object.pack_name(), Damage::SegmentMissing { number });
        let found = self.rows.binary_search_by_key(&number, |row| row.number).ok();
        found.and_then(|place| self.rows.get(place)).ok_or_else(missing)
    }

    /// Opens sealed bytes.
    pub fn open<'a>(&self, number: u32, sealed: &[u8], opener: &'a mut Opener) -> Result<Opened<'a>, Error> {
        let object = || format!("{}, segment {number}", self.object.pack_name());
        opener.open_segment(sealed, &self.key, number).map_err(|error| Error::content(object(), error))
    }
}

type SegmentKey = (PackId, u32);

/// A segment's bytes, and where it has none any more.
#[derive(Clone)]
struct RawSegment {
    bytes: Bytes,
    holes: Arc<[Range<u32>]>,
}

#[derive(Default)]
struct Cached {
    /// Where packs went; read when the first snapshot is opened.
    holders: Option<Arc<Holders>>,
    objects: HashMap<PackId, ObjectHash>,
    packs: HashMap<PackId, Arc<OpenPack>>,
    pack_order: VecDeque<PackId>,
    pack_bytes: usize,
    segments: HashMap<SegmentKey, RawSegment>,
    order: VecDeque<SegmentKey>,
    bytes: usize,
    openers: Vec<Opener>,
}

impl Cached {
    fn forget_pack(&mut self, pack: PackId) {
        if let Some(gone) = self.packs.remove(&pack) {
            self.pack_bytes -= gone.weight();
            self.pack_order.retain(|kept| *kept != pack);
        }
    }

    fn keep_pack(&mut self, open: &Arc<OpenPack>) {
        if self.packs.insert(open.pack, open.clone()).is_some() {
            return;
        }
        self.pack_order.push_back(open.pack);
        self.pack_bytes += open.weight();
        while self.pack_bytes > PACK_CACHE {
            let Some(gone) = self.pack_order.pop_front().and_then(|oldest| self.packs.remove(&oldest)) else {
                break;
            };
            self.pack_bytes -= gone.weight();
        }
    }
}

/// Reads one vault. Shared between threads.
pub struct Reader {
    vault: Arc<Vault>,
    store: Arc<dyn Store>,
    limit: usize,
    cached: Mutex<Cached>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Reader({})", self.vault.store().location())
    }
}

impl Reader {
    /// Reads `vault`, keeping at most `cache_bytes` of opened segments.
    pub fn new(vault: &Arc<Vault>, cache_bytes: usize) -> Arc<Self> {
        Self::from_store(vault, vault.reading(), cache_bytes)
    }

    /// As [`Self::new`], knowing what a reader's tenure knows.
    pub fn during(tenure: &ReadingTenure, cache_bytes: usize) -> Result<Arc<Self>, Error> {
        let reader = Self::new(tenure.vault(), cache_bytes);
        reader.know(tenure.holders()?);
        Ok(reader)
    }

    /// As [`Self::new`], but what it reads is what is in the store now.
    pub(crate) fn uncached(vault: &Arc<Vault>, cache_bytes: usize) -> Arc<Self> {
        Self::from_store(vault, vault.store().clone(), cache_bytes)
    }

    fn from_store(vault: &Arc<Vault>, store: Arc<dyn Store>, limit: usize) -> Arc<Self> {
        Arc::new(Self { vault: vault.clone(), store, limit, cached: Mutex::default() })
    }

    /// The vault it reads.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    fn cached(&self) -> MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns which objects hold the snapshot's packs, and returns the root's entry.
    pub fn open(&self, snapshot: &Snapshot) -> Result<Entry, Error> {
        for need in &snapshot.envelope.needs {
            self.learn(need.pack, need.object, &need.segments)?;
        }
        let mut entries = self.page(&snapshot.body.root)?.into_iter();
        match (entries.next(), entries.next()) {
            (Some(root), None) if root.is_directory() => Ok(root),
            _ => Err(Error::damaged(
                snapshot.id.snapshot_name(),
                Damage::Nonsense("its root is not a directory"),
            )),
        }
    }

    /// Takes over what is known of where packs went.
    pub(crate) fn know(&self, holders: Arc<Holders>) {
        self.cached().holders = Some(holders);
    }

    /// Where packs went.
    fn holders(&self) -> Result<Arc<Holders>, Error> {
        if let Some(holders) = &self.cached().holders {
            return Ok(holders.clone());
        }
        let read = Holders::read(self.vault.store().as_ref(), self.vault.id());
        let holders = Arc::new(self.vault.wait(read)?);
        self.know(holders.clone());
        Ok(holders)
    }

    /// Tells which object held a pack when a snapshot that needs these segments was written.
    pub(crate) fn learn(&self, pack: PackId, object: ObjectHash, segments: &SegmentSet) -> Result<(), Error> {
        let object = self.holders()?.find(pack, object, segments).unwrap_or(object);
        self.cached().objects.insert(pack, object);
        Ok(())
    }

    /// Which object holds a pack, as far as it was told.
    pub(crate) fn object_of(&self, pack: PackId) -> Option<ObjectHash> {
        self.cached().objects.get(&pack).copied()
    }

    /// The pack, its trailer read and its key opened.
    pub(crate) fn pack(&self, pack: PackId) -> Result<Arc<OpenPack>, Error> {
        let object = {
            let cached = self.cached();
            if let Some(open) = cached.packs.get(&pack) {
                return Ok(open.clone());
            }
            cached.objects.get(&pack).copied()
        };
        let unknown = || Error::damaged(format!("pack {pack}"), Damage::Missing);
        let object = object.ok_or_else(unknown)?;
        self.twice(|| self.forget_tail(object), || self.pack_once(pack, object))
    }

    fn pack_once(&self, pack: PackId, named: ObjectHash) -> Result<Arc<OpenPack>, Error> {
        let (object, trailer) = self.find_trailer(pack, named)?;
        let name = object.pack_name();
        let origin = trailer
            .origin(pack)
            .ok_or_else(|| Error::damaged(&name, Damage::Nonsense("it does not hold the pack it should")))?;
        let place = Place { vault: self.vault.id(), id: *pack.bytes(), purpose: Purpose::from(trailer.kind) };
        let key = DataKey::open(self.vault.keyring(), origin.epoch, &origin.envelope, place)
            .map_err(|error| Error::content(&name, error))?;
        let open = Arc::new(OpenPack::new(pack, object, &trailer, key));
        self.cached().keep_pack(&open);
        Ok(open)
    }

    /// The trailer of the object that holds `pack`: the named one, or if that is gone one that it was moved to.
    fn find_trailer(&self, pack: PackId, named: ObjectHash) -> Result<(ObjectHash, Trailer), Error> {
        let is_gone = |error: &Error| {
            matches!(error, Error::Vault(vault::VaultError::Damaged { damage: Damage::Missing, .. }))
        };
        let first = match self.trailer_once(named) {
            Ok((trailer, _)) => return Ok((named, trailer)),
            Err(error) if is_gone(&error) => error,
            Err(error) => return Err(error),
        };
        // It may have been moved since this reader began.
        let holders = self.vault.wait(Holders::moved(self.vault.store().as_ref(), self.vault.id()))?;
        for object in holders.elsewhere(pack).into_iter().filter(|object| *object != named) {
            if let Ok((trailer, _)) = self.trailer_once(object) {
                return Ok((object, trailer));
            }
        }
        Err(first)
    }

    /// A pack's trailer, decoded and as stored.
    pub(crate) fn trailer(&self, object: ObjectHash) -> Result<(Trailer, Bytes), Error> {
        self.twice(|| self.forget_tail(object), || self.trailer_once(object))
    }

    /// Reads something, and once more when it is damaged and far away: bytes may be damaged on their way, and what is
    /// kept here may have come that way. `forget` lets go of that.
    fn twice<T>(&self, forget: impl Fn(), read: impl Fn() -> Result<T, Error>) -> Result<T, Error> {
        match read() {
            Err(error) if self.store.is_remote() && error.category() == Category::Damaged => forget(),
            outcome => return outcome,
        }
        read().inspect_err(|_| forget())
    }

    fn forget(&self, object: ObjectHash, part: &Part) {
        if let Some(cached) = self.vault.cached() {
            self.vault.wait(cached.forget(&object.pack_name(), part));
        }
    }

    fn forget_tail(&self, object: ObjectHash) {
        self.forget(object, &Part::Tail(TAIL_GUESS));
    }

    /// Lets go of a segment, and of the table that says where it is: that may be what is wrong.
    fn forget_segment(&self, pack: PackId, number: u32) {
        let open = self.cached().packs.get(&pack).cloned();
        let Some(open) = open else { return };
        if let Ok(row) = open.row(number) {
            self.forget(open.object, &Part::Range(row.offset..row.offset + u64::from(row.length)));
        }
        self.forget_tail(open.object);
        self.cached().forget_pack(pack);
    }

    fn trailer_once(&self, object: ObjectHash) -> Result<(Trailer, Bytes), Error> {
        let name = object.pack_name();
        let read = |length| missing_is_damage(self.vault.wait(self.store.get_tail(&name, length)), &name);
        let (tail, size) = read(TAIL_GUESS)?;
        let damaged = |damage| Error::damaged(&name, damage);
        let encoded = match trailer_in_tail(&tail, size).map_err(damaged)? {
            Tail::Whole(encoded) => encoded,
            Tail::Need(length) => {
                let forget = || self.forget(object, &Part::Tail(length));
                self.twice(forget, || match trailer_in_tail(&read(length)?.0, size).map_err(damaged)? {
                    Tail::Whole(encoded) => Trailer::decode(&encoded).map_err(damaged).map(|_| encoded),
                    Tail::Need(_) => Err(damaged(Damage::Nonsense("its trailer cannot be that long"))),
                })?
            }
        };
        let trailer = Trailer::decode(&encoded).map_err(damaged)?;
        if trailer.vault != self.vault.id() {
            return Err(damaged(Damage::ForeignVault));
        }
        if trailer.object_size(encoded.len()) != size {
            return Err(damaged(Damage::Length {
                recorded: trailer.object_size(encoded.len()),
                found: size,
            }));
        }
        Ok((trailer, encoded))
    }

    fn segment(&self, pack: PackId, number: u32) -> Result<RawSegment, Error> {
        if let Some(raw) = self.cached().segments.get(&(pack, number)) {
            return Ok(raw.clone());
        }
        let raw = self.twice(
            || self.forget_segment(pack, number),
            || {
                let open = self.pack(pack)?;
                let row = open.row(number)?;
                let name = open.object.pack_name();
                let range = row.offset..row.offset + u64::from(row.length);
                let sealed = missing_is_damage(self.vault.wait(self.store.get_range(&name, range)), &name)?;
                let mut opener = self.borrow_opener();
                let raw = open.open(number, &sealed, &mut opener).map(|opened| RawSegment {
                    bytes: Bytes::copy_from_slice(opened.raw),
                    holes: opened.holes.into(),
                });
                self.return_opener(opener);
                raw
            },
        )?;
        self.keep((pack, number), raw.clone());
        Ok(raw)
    }

    fn keep(&self, key: SegmentKey, raw: RawSegment) {
        let mut cached = self.cached();
        let length = raw.bytes.len();
        if length > self.limit || cached.segments.insert(key, raw).is_some() {
            return;
        }
        cached.order.push_back(key);
        cached.bytes += length;
        while cached.bytes > self.limit {
            let Some(oldest) = cached.order.pop_front() else { break };
            if let Some(gone) = cached.segments.remove(&oldest) {
                cached.bytes -= gone.bytes.len();
            }
        }
    }

    fn borrow_opener(&self) -> Opener {
        self.cached().openers.pop().unwrap_or_default()
    }

    fn return_opener(&self, opener: Opener) {
        self.cached().openers.push(opener);
    }

    /// The bytes of a chunk.
    pub fn chunk(&self, address: &Address) -> Result<Bytes, Error> {
        let raw = self.segment(address.pack, address.segment)?;
        let object = || format!("pack {}, segment {}", address.pack, address.segment);
        let start = address.offset as usize;
        let end = start + address.length as usize;
        if end > raw.bytes.len() {
            return Err(Error::damaged(
                object(),
                Damage::Nonsense("it is shorter than what is said to be in it"),
            ));
        }
        if touches(&raw.holes, address.offset..address.offset.saturating_add(address.length)) {
            return Err(Error::damaged(object(), GONE));
        }
        Ok(raw.bytes.slice(start..end))
    }

    fn page(&self, address: &Address) -> Result<Vec<Entry>, Error> {
        let bytes = self.chunk(address)?;
        let object = || format!("directory page in pack {}, segment {}", address.pack, address.segment);
        decode_page(&bytes).map_err(|malformed| Error::content(object(), malformed))
    }

    /// The entries of a directory, in the byte order of their names, read page by page.
    pub fn entries(self: &Arc<Self>, directory: &Entry) -> Result<Entries, Error> {
        let pages = match &directory.node {
            Node::Directory { pages, .. } => pages.clone(),
            _ => Vec::new(),
        };
        Ok(Entries {
            reader: self.clone(),
            pages: pages.into_iter(),
            page: Vec::new().into_iter(),
            last: None,
        })
    }

    /// The entry at an absolute path below `root`; `None` when there is none.
    pub fn lookup(self: &Arc<Self>, root: &Entry, path: &[u8]) -> Result<Option<Entry>, Error> {
        let mut entry = root.clone();
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match self.child(&entry, name)? {
                Some(child) => entry = child,
                None => return Ok(None),
            }
        }
        Ok(Some(entry))
    }

    /// Pages are in order of names, so the right one is found by halving.
    fn child(&self, directory: &Entry, name: &[u8]) -> Result<Option<Entry>, Error> {
        let Node::Directory { pages, .. } = &directory.node else { return Ok(None) };
        let (mut low, mut high) = (0, pages.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(page) = pages.get(middle) else { break };
            let entries = self.page(page)?;
            match entries.binary_search_by(|entry| entry.name.as_slice().cmp(name)) {
                Ok(found) => return Ok(entries.into_iter().nth(found)),
                Err(0) => high = middle,
                Err(place) if place == entries.len() => low = middle + 1,
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The chunks of a file in order.
    pub fn chunks(&self, file: &Entry) -> Result<Vec<Address>, Error> {
        match &file.node {
            Node::File { content: FileContent::Chunks(chunks), .. } => Ok(chunks.clone()),
            Node::File { content: FileContent::Extents(pages), size, holes, .. } => {
                let mut chunks = Vec::new();
                for page in pages {
                    let bytes = self.chunk(page)?;
                    let object = || format!("extent page in pack {}, segment {}", page.pack, page.segment);
                    chunks.extend(decode_extents(&bytes).map_err(|error| Error::content(object(), error))?);
                }
                let total: u64 = chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
                let hollow: u64 = holes.iter().map(|hole| hole.length).sum();
                if total + hollow != *size {
                    let object = String::from_utf8_lossy(&file.name).into_owned();
                    return Err(Error::damaged(
                        object,
                        Damage::Nonsense("its chunks do not add up to its size"),
                    ));
                }
                Ok(chunks)
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Reads from a file at `offset`; how many bytes were read (fewer than asked only at its end). Holes are zeros.
    pub fn read_at(&self, file: &Entry, offset: u64, buffer: &mut [u8]) -> Result<usize, Error> {
        let Node::File { size, holes, .. } = &file.node else { return Ok(0) };
        let end = size.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let wanted = buffer.get_mut(..end).unwrap_or_default();
        wanted.fill(0);
        // Walk the chunks beside the holes: `at` is the place in the file where the next byte of data belongs.
        let mut holes = holes.iter().peekable();
        let mut at = 0u64;
        for chunk in self.chunks(file)? {
            let mut done = 0u64;
            let mut bytes = None;
            while done < u64::from(chunk.length) {
                while let Some(hole) = holes.next_if(|hole| hole.offset <= at) {
                    at = hole.offset + hole.length;
                }
                let until_hole = holes.peek().map_or(u64::MAX, |hole| hole.offset - at);
                let step = until_hole.min(u64::from(chunk.length) - done);
                let (from, to) = (at.max(offset), (at + step).min(offset + end as u64));
                if from < to {
                    if bytes.is_none() {
                        bytes = Some(self.chunk(&chunk)?);
                    }
                    let source = (done + from - at) as usize;
                    let target = (from - offset) as usize;
                    let length = (to - from) as usize;
                    let source = bytes.as_ref().and_then(|bytes| bytes.get(source..source + length));
                    if let (Some(source), Some(target)) = (source, wanted.get_mut(target..target + length)) {
                        target.copy_from_slice(source);
                    }
                }
                at += step;
                done += step;
            }
            if at >= offset + end as u64 {
                break;
            }
        }
        Ok(end)
    }
}

/// An object that a snapshot needs and the store does not have, or has too short, is damage and not a store's fault.
pub(crate) fn missing_is_damage<T>(outcome: Result<T, store::StoreError>, name: &str) -> Result<T, Error> {
    outcome.map_err(|error| match error.kind {
        store::Kind::NotFound => Error::damaged(name, Damage::Missing),
        store::Kind::Truncated => Error::damaged(name, Damage::Nonsense("it is shorter than its table says")),
        _ => error.into(),
    })
}

/// Iterates over a directory.
#[derive(Debug)]
pub struct Entries {
    reader: Arc<Reader>,
    pages: std::vec::IntoIter<Address>,
    page: std::vec::IntoIter<Entry>,
    last: Option<Vec<u8>>,
}

impl Entries {
    /// Yields nothing more.
    pub(crate) fn end(&mut self) {
        self.pages = Vec::new().into_iter();
        self.page = Vec::new().into_iter();
    }
}

impl Iterator for Entries {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.next() {
                return Some(Ok(entry));
            }
            let address = self.pages.next()?;
            let page = match self.reader.page(&address) {
                Ok(page) => page,
                Err(error) => return Some(Err(error)),
            };
            let in_order = page.first().is_none_or(|first| {
                !first.name.is_empty() && self.last.as_ref().is_none_or(|last| *last < first.name)
            });
            if !in_order {
                let object = format!("directory page in pack {}, segment {}", address.pack, address.segment);
                return Some(Err(Error::damaged(object, Damage::Nonsense("its names are out of order"))));
            }
            self.last = page.last().map(|entry| entry.name.clone());
            self.page = page.into_iter();
        }
    }
}
