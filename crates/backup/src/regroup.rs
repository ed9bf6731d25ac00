//! The owner's part in a cleanup: which chunks snapshots need, and segments without the others.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::Arc;

use content::directory::{self, SegmentChunks};
use content::envelope::{DIRECTORY_NUMBER, DataKey, Place, Purpose};
use content::index::open_directories;
use content::segment::{Compression, Grain, Opener, Sealer};
use content::tree::{FileContent, Node, decode_extents, decode_page};
use content::{Address, ChunkId, ContentError};
use vault::collect::{Owner, OwnerError, Sealed, View};
use vault::error::Damage;
use vault::fragment::{self, FRAGMENT_MAX};
use vault::pack::{Origin, PackKind};
use vault::{ObjectHash, PackId, SegmentSet, SnapshotId, name};

use crate::{Error, Progress, Reader, SnapshotList, Vault};

/// How many opened bytes of trees are kept.
const CACHE: usize = 24 << 20;

/// A chunk in a pack: its segment, and its offset and length there.
type Spot = (u32, u32, u32);

/// What the index says of a pack: how often it was regrouped, and how many bytes of chunks are in each segment.
struct Stocked {
    kind: PackKind,
    generation: u32,
    bytes: Vec<u32>,
}

/// The chunks that snapshots need, as far as they were read.
pub(crate) struct Regrouper {
    vault: Arc<Vault>,
    progress: Arc<Progress>,
    /// A pack is regrouped when this share of its bytes is needed by nobody.
    dead_share: f64,
    snapshots: HashSet<SnapshotId>,
    pages: HashSet<Address>,
    needed: HashMap<PackId, Spots>,
    fragments: HashSet<ObjectHash>,
    stock: HashMap<PackId, Stocked>,
}

/// Whether snapshots in the trash are read. Some of them are deleted in the first part of a cleanup.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trash {
    LeftOut,
    Included,
}

/// Chunks of a pack, each once after `settle`.
#[derive(Default)]
struct Spots {
    list: Vec<Spot>,
    /// How many of them are known to be different.
    settled: usize,
}

impl Spots {
    fn add(&mut self, spot: Spot) {
        if self.list.last() != Some(&spot) {
            self.list.push(spot);
        }
        // Trees of different days name the same chunks again and again.
        if self.list.len() > 2 * self.settled + 1024 {
            self.settle();
        }
    }

    fn settle(&mut self) {
        self.list.sort_unstable();
        self.list.dedup();
        self.settled = self.list.len();
    }
}

impl Regrouper {
    pub(crate) fn new(vault: &Arc<Vault>, dead_share: f64, progress: &Arc<Progress>) -> Self {
        Self {
            vault: vault.clone(),
            progress: progress.clone(),
            dead_share,
            snapshots: HashSet::new(),
            pages: HashSet::new(),
            needed: HashMap::new(),
            fragments: HashSet::new(),
            stock: HashMap::new(),
        }
    }

    /// Reads the snapshots and the index as far as that was not done before. A snapshot in the trash that cannot be read
    /// holds nothing up: nobody builds on it.
    pub(crate) fn read(&mut self, trash: Trash) -> Result<(), Error> {
        self.progress.set_stage("reading what snapshots need");
        let list = SnapshotList::load(&self.vault)?;
        if let Some((object, damage)) = list.damaged.first() {
            return Err(Error::damaged(object, damage.clone()));
        }
        let reader = Reader::uncached(&self.vault, CACHE);
        let in_trash = list.trash.iter().filter_map(|one| one.snapshot.as_ref().ok());
        let there: HashSet<_> =
            list.snapshots.iter().chain(in_trash.clone()).map(|snapshot| snapshot.id).collect();
        if !self.snapshots.is_subset(&there) {
            // What only those needed that are gone is needed no more.
            self.snapshots.clear();
            self.pages.clear();
            self.needed.clear();
        }
        let in_trash = in_trash.filter(|_| trash == Trash::Included);
        for snapshot in list.snapshots.iter().chain(in_trash) {
            if self.snapshots.contains(&snapshot.id) {
                continue;
            }
            for need in &snapshot.envelope.needs {
                reader.learn(need.pack, need.object, &need.segments)?;
            }
            self.tree(&reader, snapshot.body.root)?;
            self.snapshots.insert(snapshot.id);
        }
        for spots in self.needed.values_mut() {
            spots.settle();
        }
        self.read_index()
    }

    /// Notes every chunk of a tree. Pages that were read before are not read again.
    fn tree(&mut self, reader: &Arc<Reader>, root: Address) -> Result<(), Error> {
        let mut stack = vec![(root, false)];
        while let Some((address, is_extents)) = stack.pop() {
            self.progress.checkpoint()?;
            if self.pages.contains(&address) {
                continue;
            }
            self.need(&address);
            let bytes = reader.chunk(&address)?;
            let object = || format!("page in pack {}, segment {}", address.pack, address.segment);
            let malformed = |error| Error::content(object(), error);
            if is_extents {
                decode_extents(&bytes).map_err(malformed)?.iter().for_each(|chunk| self.need(chunk));
            } else {
                for entry in decode_page(&bytes).map_err(malformed)? {
                    match entry.node {
                        Node::File { content: FileContent::Chunks(chunks), .. } => {
                            chunks.iter().for_each(|chunk| self.need(chunk));
                        }
                        Node::File { content: FileContent::Extents(pages), .. } => {
                            stack.extend(pages.into_iter().map(|page| (page, true)));
                        }
                        Node::Directory { pages, .. } => {
                            stack.extend(pages.into_iter().map(|page| (page, false)));
                        }
                        _ => {}
                    }
                }
            }
            self.pages.insert(address);
        }
        Ok(())
    }

    fn need(&mut self, address: &Address) {
        let Address { pack, segment, offset, length } = *address;
        self.needed.entry(pack).or_default().add((segment, offset, length));
    }

    /// How many bytes of chunks are in each segment, by the sealed directories in the index.
    fn read_index(&mut self) -> Result<(), Error> {
        let mut opener = Opener::new();
        for object in self.vault.wait(self.vault.store().list(name::INDEX))? {
            self.progress.checkpoint()?;
            let Some(hash) = ObjectHash::from_object_name(&object.name) else { continue };
            if self.fragments.contains(&hash) {
                continue;
            }
            let bytes = match self.vault.wait(self.vault.store().get(&object.name, FRAGMENT_MAX)) {
                Ok(bytes) => bytes,
                Err(error) if error.kind == store::Kind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            // What a damaged one lists is not regrouped.
            let Ok(records) = fragment::decode(&bytes, hash, self.vault.id()) else { continue };
            for (record, trailer) in records {
                let Ok(packs) = open_directories(self.vault.keyring(), &record, &trailer, &mut opener) else {
                    continue;
                };
                for (origin, chunks) in trailer.origins.iter().zip(packs) {
                    let bytes = chunks.segments.iter().map(stocked_bytes).collect();
                    let Origin { pack, generation, .. } = *origin;
                    let known = self.stock.get(&pack);
                    if known.is_none_or(|known| known.generation < generation) {
                        self.stock.insert(pack, Stocked { kind: trailer.kind, generation, bytes });
                    }
                }
            }
            self.fragments.insert(hash);
        }
        Ok(())
    }

    /// The share of the bytes in these segments of a pack that nobody needs; `None` when the index does not know.
    fn dead_share_of(&self, pack: PackId, segments: &SegmentSet) -> Option<f64> {
        let stock = self.stock.get(&pack).filter(|stock| stock.kind == PackKind::Data)?;
        let needed = self.needed.get(&pack)?;
        let in_stock = |number| stock.bytes.get(number as usize).copied().map_or(0, u64::from);
        let there: u64 = segments.iter().map(in_stock).sum();
        let of_segments = needed.list.iter().filter(|(segment, ..)| segments.contains(*segment));
        let needed: u64 = of_segments.map(|(_, _, length)| u64::from(*length)).sum();
        (there > 0).then(|| there.saturating_sub(needed) as f64 / there as f64)
    }

    fn thinned(
        &self,
        kind: PackKind,
        origin: &Origin,
        sealed: &[Sealed],
    ) -> Result<(Origin, Vec<Sealed>), ContentError> {
        let (vault, keyring) = (self.vault.id(), self.vault.keyring());
        let place = Place { vault, id: *origin.pack.bytes(), purpose: Purpose::from(kind) };
        let key = DataKey::open(keyring, origin.epoch, &origin.envelope, place)?;
        let mut opener = Opener::new();
        let listed = directory::decode(opener.open(&origin.directory, &key, DIRECTORY_NUMBER)?)?;
        let spots = self.needed.get(&origin.pack).map_or(&[][..], |spots| &spots.list);
        // Numbers must not be sealed again for the key that they were sealed for.
        let (new_key, envelope) = DataKey::generate(keyring.current(), place)?;
        let mut sealer = Sealer::new(Compression::Default);
        let mut kept_lists: Vec<SegmentChunks> = vec![SegmentChunks::new(); listed.len()];
        let mut out = Vec::with_capacity(sealed.len());
        let mut found = 0;
        for segment in sealed {
            let number = segment.number;
            let opened = opener.open_segment(&segment.bytes, &key, number)?;
            let chunks = listed.get(number as usize).map_or(&[][..], Vec::as_slice);
            let (kept, holes) = sort_out(number, chunks, spots);
            let needed = kept.iter().filter(|(id, _)| *id != ChunkId::default()).count();
            let is_there = |(offset, length): (u32, u32)| opened.get(offset, length).is_some();
            if !needed_places(&kept).all(is_there) {
                return Err(ContentError::Segment { action: "thinned: it lacks a chunk", length: needed });
            }
            found += needed;
            let bytes = match (holes.is_empty(), kept.len()) {
                (true, 1) => sealer.seal(opened.raw, Grain::Coarse, &new_key, number)?,
                (true, _) => sealer.seal(opened.raw, Grain::Fine, &new_key, number)?,
                (false, _) => sealer.seal_thinned(opened.raw, &holes, &new_key, number)?,
            };
            out.push(Sealed { number, hash: *blake3::hash(&bytes).as_bytes(), bytes });
            if let Some(list) = kept_lists.get_mut(number as usize) {
                *list = kept;
            }
        }
        // What snapshots need and the directory does not list at that place would be lost here.
        let numbers: HashSet<u32> = sealed.iter().map(|segment| segment.number).collect();
        let needed = spots.iter().filter(|(segment, ..)| numbers.contains(segment)).count();
        if needed != found {
            return Err(ContentError::Segment { action: "thinned: a chunk is not listed", length: needed });
        }
        let encoded = directory::encode(&kept_lists);
        let directory = sealer.seal(&encoded, Grain::Fine, &new_key, DIRECTORY_NUMBER)?;
        let origin = Origin {
            pack: origin.pack,
            epoch: keyring.current().number(),
            envelope,
            directory,
            generation: origin.generation.saturating_add(1),
        };
        Ok((origin, out))
    }
}

/// The bytes of chunks that are in a segment.
fn stocked_bytes(chunks: &SegmentChunks) -> u32 {
    let there = chunks.iter().filter(|(id, _)| *id != ChunkId::default());
    there.map(|(_, length)| *length).fold(0, u32::saturating_add)
}

/// The chunks of a segment that stay, with nameless ones in place of the others; and where these were. `spots` are in
/// order.
fn sort_out(number: u32, chunks: &[(ChunkId, u32)], spots: &[Spot]) -> (SegmentChunks, Vec<Range<u32>>) {
    let mut kept = SegmentChunks::new();
    let mut holes: Vec<Range<u32>> = Vec::new();
    let mut offset = 0u32;
    for (id, length) in chunks {
        let end = offset.saturating_add(*length);
        let is_needed = spots.binary_search(&(number, offset, *length)).is_ok();
        match (is_needed && *id != ChunkId::default(), kept.last_mut(), holes.last_mut()) {
            (true, ..) => kept.push((*id, *length)),
            (false, Some(last), Some(hole)) if hole.end == offset => {
                last.1 = last.1.saturating_add(*length);
                hole.end = end;
            }
            (false, ..) => {
                kept.push((ChunkId::default(), *length));
                holes.push(offset..end);
            }
        }
        offset = end;
    }
    (kept, holes)
}

/// Offset and length of the chunks that have a name.
fn needed_places(chunks: &SegmentChunks) -> impl Iterator<Item = (u32, u32)> {
    let mut end = 0u32;
    chunks.iter().filter_map(move |(id, length)| {
        let start = end;
        end = end.saturating_add(*length);
        (*id != ChunkId::default()).then_some((start, *length))
    })
}

/// Outside the runtime that the collector runs in: the vault has its own.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic)))
}

impl Owner for Regrouper {
    fn survey(&mut self, living: &[SnapshotId]) -> Result<(), OwnerError> {
        apart(|| self.read(Trash::Included))?;
        match living.iter().find(|id| !self.snapshots.contains(id)) {
            Some(id) => Err(Error::damaged(id.snapshot_name(), Damage::Missing).into()),
            None => Ok(()),
        }
    }

    fn worth_regrouping(&mut self, view: &View) -> Result<Vec<PackId>, OwnerError> {
        let mut worth: Vec<(f64, PackId)> = view
            .live
            .iter()
            .filter_map(|(pack, segments)| Some((self.dead_share_of(*pack, segments)?, *pack)))
            .filter(|(share, _)| *share > self.dead_share)
            .collect();
        worth.sort_by(|(a, pack_a), (b, pack_b)| b.total_cmp(a).then_with(|| pack_a.cmp(pack_b)));
        Ok(worth.into_iter().map(|(_, pack)| pack).collect())
    }

    fn thin(
        &mut self,
        kind: PackKind,
        origin: &Origin,
        sealed: &[Sealed],
    ) -> Result<(Origin, Vec<Sealed>), Damage> {
        self.thinned(kind, origin, sealed).map_err(|_| Damage::Nonsense("it could not be regrouped"))
    }
}
