//! Assembling: everything in path order again. Chunks are looked up or get their place; directories are built from the
//! bottom up; what the snapshot will need is noted.

use std::collections::HashMap;

use content::body::{Problem, ProblemKind, Statistics};
use content::chunk::Identifier;
use content::index::{Index, PackChunks};
use content::tree::{EXTENT_PAGE_ADDRESSES, Entry, FileContent, Node, PageWriter, encode_extents};
use content::{Address, ChunkId, ContentError};
use crossbeam_channel::{Receiver, Sender};
use vault::pack::PackKind;
use vault::{ObjectHash, PackId, SegmentSet};

use super::lane::{Effects, Lane, SealJob};
use super::notes::NotesWriter;
use super::plan::{FileKey, PlanStep, Portion};
use super::read::{FileFacts, ReadOutput, SmallFile};
use super::seal::ToPack;
use super::session::Session;
use crate::Error;

/// What assembling leaves for the commit.
pub(super) struct Assembled {
    pub root: Address,
    pub files: u64,
    pub bytes: u64,
    pub needs: HashMap<PackId, SegmentSet>,
    /// Objects of packs that were known from the index.
    pub objects: HashMap<PackId, ObjectHash>,
    pub statistics: Statistics,
    pub problems: Vec<Problem>,
    /// The local index was found damaged and must go.
    pub discard_index: bool,
    pub notes: Option<NotesWriter>,
}

/// An index fragment that was written, and what is in it.
pub(super) type NewFragment = (ObjectHash, Vec<PackChunks>);

/// What the first name of a hard-linked file gave: content and extended attributes.
type Linked = (Node, Vec<(Vec<u8>, Vec<u8>)>);

/// A directory that is being filled.
struct Frame {
    entry: Entry,
    page: PageWriter,
    pages: Vec<Address>,
    files: u64,
    bytes: u64,
}

struct Assembler<'a> {
    session: &'a Session<'a>,
    index: Index,
    identifier: Identifier,
    data: Lane,
    tree: Lane,
    seals: Sender<SealJob>,
    to_pack: Sender<ToPack>,
    fragments: &'a Receiver<NewFragment>,
    frames: Vec<Frame>,
    links: HashMap<FileKey, Linked>,
    results: Results,
    needs: HashMap<PackId, SegmentSet>,
    last_need: Option<(PackId, u32)>,
    root: Option<Address>,
    total: (u64, u64),
    statistics: Statistics,
    problems: Vec<Problem>,
    discard_index: bool,
    notes: Option<NotesWriter>,
}

/// Small files of the message taken last.
#[derive(Default)]
struct Results {
    data: Vec<u8>,
    at: usize,
    files: std::vec::IntoIter<SmallFile>,
}

/// Runs the assemble stage.
pub(super) fn run(
    session: &Session<'_>,
    notes: Option<NotesWriter>,
    portions: &Receiver<Portion>,
    seals: Sender<SealJob>,
    to_pack: Sender<ToPack>,
    fragments: &Receiver<NewFragment>,
) -> Result<Assembled, Error> {
    let index = session.index.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    let index = index.ok_or(Error::Interrupted)?;
    let target = pack_target(index.packs(), session.vault.store().is_remote());
    let mut assembler = Assembler {
        session,
        index,
        identifier: session.vault.keyring().identifier(),
        data: Lane::new(PackKind::Data, target),
        tree: Lane::new(PackKind::Tree, target),
        seals,
        to_pack,
        fragments,
        frames: Vec::new(),
        links: HashMap::new(),
        results: Results::default(),
        needs: HashMap::new(),
        last_need: None,
        root: None,
        total: (0, 0),
        statistics: Statistics::default(),
        problems: Vec::new(),
        discard_index: false,
        notes,
    };
    for portion in portions {
        assembler.take_fragments()?;
        for step in portion.steps {
            if let PlanStep::Finished = step {
                return assembler.finish();
            }
            assembler.step(step, portion.results.as_ref())?;
        }
    }
    Err(Error::Interrupted)
}

/// Packs grow with the vault, so that their number does not: 16 MiB up to 4 GiB or so of packs, 128 MiB beyond 256. Where
/// each is a request to another machine, they begin with 56 MiB: with one that grows and one that goes up, a backup stays
/// below 250 MiB.
fn pack_target(packs: usize, is_remote: bool) -> u64 {
    match packs {
        0..1024 if is_remote => 56 << 20,
        0..256 => 16 << 20,
        256..1024 => 32 << 20,
        1024..4096 => 64 << 20,
        _ => 128 << 20,
    }
}

impl Assembler<'_> {
    fn step(&mut self, step: PlanStep, results: Option<&Receiver<ReadOutput>>) -> Result<(), Error> {
        match step {
            PlanStep::Enter(entry) => {
                self.statistics.directories += 1;
                if let Some(notes) = &mut self.notes {
                    notes.entry(&entry);
                }
                let frame = Frame { entry, page: PageWriter::new(), pages: Vec::new(), files: 0, bytes: 0 };
                self.frames.push(frame);
                Ok(())
            }
            PlanStep::Leave => self.leave(),
            PlanStep::Keep(entry) => {
                self.statistics.files_unchanged += 1;
                self.need_content(&entry)?;
                self.add(entry)
            }
            PlanStep::Ready { entry, changed } => {
                self.count(changed);
                self.add(entry)
            }
            PlanStep::Read { entry, changed, link } => {
                let results = results.ok_or(Error::Interrupted)?;
                self.read(entry, changed, link, results)
            }
            PlanStep::Link { mut entry, changed, key } => match self.links.get(&key) {
                Some((node, xattrs)) => {
                    (entry.node, entry.xattrs) = (node.clone(), xattrs.clone());
                    self.count(changed);
                    self.add(entry)
                }
                // Its first name could not be read, and that is noted.
                None => Ok(()),
            },
            PlanStep::Problem(problem) => {
                self.note(problem);
                Ok(())
            }
            PlanStep::Finished => Ok(()),
        }
    }

    fn count(&mut self, changed: bool) {
        match changed {
            true => self.statistics.files_changed += 1,
            false => self.statistics.files_new += 1,
        }
    }

    fn note(&mut self, problem: Problem) {
        if problem.kind != ProblemKind::Vanished {
            self.session.progress.add_problems(1);
        }
        self.problems.push(problem);
    }

    fn read(
        &mut self,
        mut entry: Entry,
        changed: bool,
        link: Option<FileKey>,
        results: &Receiver<ReadOutput>,
    ) -> Result<(), Error> {
        let mut chunks: Vec<Address> = Vec::new();
        let outcome = loop {
            if let Some(small) = self.results.files.next() {
                let end = self.results.at + small.length;
                if let Some(id) = small.id {
                    let data = std::mem::take(&mut self.results.data);
                    let bytes = data.get(self.results.at..end).unwrap_or_default();
                    chunks.push(self.data_chunk(id, ChunkBytes::Borrowed(bytes))?);
                    self.results.data = data;
                }
                self.results.at = end;
                break small.outcome;
            }
            match results.recv().map_err(|_| Error::Interrupted)? {
                ReadOutput::Small { data, files } => {
                    self.results = Results { data, at: 0, files: files.into_iter() };
                }
                ReadOutput::Chunk { bytes, id } => {
                    let length = bytes.len() as u64;
                    chunks.push(self.data_chunk(id, ChunkBytes::Owned(bytes))?);
                    self.session.progress.add_bytes(length);
                }
                ReadOutput::Restart => chunks.clear(),
                ReadOutput::End(outcome) => break outcome,
            }
        };
        match outcome {
            Ok(facts) => {
                self.fill(&mut entry, facts, chunks);
                if let Some(key) = link {
                    self.links.insert(key, (entry.node.clone(), entry.xattrs.clone()));
                }
                self.count(changed);
                self.add(entry)
            }
            Err(problem) => {
                self.note(problem);
                Ok(())
            }
        }
    }

    fn fill(&mut self, entry: &mut Entry, facts: FileFacts, chunks: Vec<Address>) {
        let FileFacts { size, holes, xattrs, mode, modified, changed, changing, note } = facts;
        if let Some(problem) = note {
            self.note(problem);
        }
        self.statistics.bytes_read += chunks.iter().map(|chunk| u64::from(chunk.length)).sum::<u64>();
        (entry.mode, entry.modified, entry.changed, entry.xattrs) = (mode, modified, changed, xattrs);
        entry.node = Node::File { size, content: FileContent::Chunks(chunks), holes, changing };
    }

    /// Too many chunks for an entry go into pages of their own.
    fn move_to_extents(&mut self, entry: &mut Entry) -> Result<(), Error> {
        if let Node::File { content, .. } = &mut entry.node
            && let FileContent::Chunks(chunks) = content
            && chunks.len() > EXTENT_PAGE_ADDRESSES
        {
            let mut pages = Vec::new();
            for addresses in chunks.chunks(EXTENT_PAGE_ADDRESSES) {
                pages.push(self.tree_chunk(&encode_extents(addresses))?);
            }
            *content = FileContent::Extents(pages);
        }
        Ok(())
    }

    /// Adds an entry to the directory that is open.
    fn add(&mut self, mut entry: Entry) -> Result<(), Error> {
        let progress = self.session.progress;
        progress.add_files(1);
        let size = entry.size();
        // Large files were counted while their chunks came.
        if let Node::File { content: FileContent::Chunks(chunks), .. } = &entry.node
            && chunks.len() <= 1
        {
            progress.add_bytes(size);
        }
        self.statistics.bytes_total += size;
        if let Some(frame) = self.frames.last_mut() {
            frame.files += 1;
            frame.bytes += size;
        }
        if let Some(notes) = &mut self.notes {
            notes.entry(&entry);
        }
        self.move_to_extents(&mut entry)?;
        self.push(&entry)
    }

    fn push(&mut self, entry: &Entry) -> Result<(), Error> {
        let Some(frame) = self.frames.last_mut() else { return Ok(()) };
        if frame.page.push(entry, &self.session.cutter) {
            let bytes = frame.page.finish();
            let address = self.tree_chunk(&bytes)?;
            if let Some(frame) = self.frames.last_mut() {
                frame.pages.push(address);
            }
        }
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Error> {
        let Some(mut frame) = self.frames.pop() else { return Ok(()) };
        if let Some(notes) = &mut self.notes {
            notes.leave();
        }
        if !frame.page.is_empty() {
            let address = self.tree_chunk(&frame.page.finish())?;
            frame.pages.push(address);
        }
        let mut entry = frame.entry;
        entry.node = Node::Directory { pages: frame.pages, files: frame.files, bytes: frame.bytes };
        match self.frames.last_mut() {
            Some(parent) => {
                parent.files += frame.files;
                parent.bytes += frame.bytes;
                self.push(&entry)
            }
            None => {
                let mut page = PageWriter::new();
                page.push(&entry, &self.session.cutter);
                self.root = Some(self.tree_chunk(&page.finish())?);
                self.total = (frame.files, frame.bytes);
                Ok(())
            }
        }
    }

    /// The address of a data chunk: known, or new.
    fn data_chunk(&mut self, id: ChunkId, bytes: ChunkBytes<'_>) -> Result<Address, Error> {
        if let Some(address) = self.known(id, bytes.len()) {
            self.statistics.chunks_known += 1;
            return Ok(address);
        }
        self.statistics.chunks_new += 1;
        self.statistics.bytes_new += bytes.len() as u64;
        let vault = self.session.vault;
        let (address, effects) = match bytes {
            ChunkBytes::Borrowed(bytes) => self.data.add(vault, id, bytes)?,
            ChunkBytes::Owned(bytes) => self.data.add_owned(vault, id, bytes)?,
        };
        self.placed(id, address, effects)
    }

    fn tree_chunk(&mut self, bytes: &[u8]) -> Result<Address, Error> {
        let id = self.identifier.identify(bytes);
        if let Some(address) = self.known(id, bytes.len()) {
            return Ok(address);
        }
        self.statistics.bytes_new += bytes.len() as u64;
        let (address, effects) = self.tree.add(self.session.vault, id, bytes)?;
        self.placed(id, address, effects)
    }

    fn known(&mut self, id: ChunkId, length: usize) -> Option<Address> {
        let session = self.session;
        let index = &self.index;
        let accept = |found: &Address| {
            found.length as usize == length
                && !session.distrusts(found.pack)
                // What this run stores is in no object yet.
                && index.object(found.pack).is_none_or(|object| {
                    session.holders.allows(found.pack, object, found.segment)
                })
        };
        let found = match self.index.find(&id, accept) {
            Ok(found) => found,
            Err(_) => {
                // The chunk is stored again; nothing is lost but bytes, and the next run reads the index anew.
                self.discard_index = true;
                None
            }
        };
        let address = found?;
        self.need(&address);
        Some(address)
    }

    fn placed(&mut self, id: ChunkId, address: Address, effects: Effects) -> Result<Address, Error> {
        self.index.insert(id, address);
        self.need(&address);
        self.apply(effects)?;
        Ok(address)
    }

    fn apply(&mut self, effects: Effects) -> Result<(), Error> {
        if self.session.request.dry_run {
            return Ok(());
        }
        for job in effects.seal {
            self.seals.send(job).map_err(|_| Error::Interrupted)?;
        }
        if let Some(end) = effects.end {
            self.to_pack.send(ToPack::End(end)).map_err(|_| Error::Interrupted)?;
        }
        Ok(())
    }

    fn need(&mut self, address: &Address) {
        if self.last_need != Some((address.pack, address.segment)) {
            self.needs.entry(address.pack).or_default().insert(address.segment);
            self.last_need = Some((address.pack, address.segment));
        }
    }

    fn need_content(&mut self, entry: &Entry) -> Result<(), Error> {
        if let Node::File { content, .. } = &entry.node {
            match content {
                FileContent::Chunks(chunks) => chunks.iter().for_each(|chunk| self.need(chunk)),
                FileContent::Extents(pages) => {
                    pages.iter().for_each(|page| self.need(page));
                    for chunk in self.session.reader.chunks(entry)? {
                        self.need(&chunk);
                    }
                }
            }
        }
        Ok(())
    }

    /// Fragments that were written meanwhile move from memory into tables.
    fn take_fragments(&mut self) -> Result<(), Error> {
        while let Ok((fragment, packs)) = self.fragments.try_recv() {
            self.add_fragment(fragment, &packs)?;
        }
        Ok(())
    }

    fn add_fragment(&mut self, fragment: ObjectHash, packs: &[PackChunks]) -> Result<(), Error> {
        match self.index.add_fragment(fragment, packs) {
            Err(ContentError::CacheDamaged { .. }) => {
                self.discard_index = true;
                Ok(())
            }
            other => other.map_err(Error::Cache),
        }
    }

    fn finish(mut self) -> Result<Assembled, Error> {
        let mut effects = Effects::default();
        self.data.end(&mut effects);
        self.apply(effects)?;
        let mut effects = Effects::default();
        self.tree.end(&mut effects);
        self.apply(effects)?;
        self.to_pack.send(ToPack::Finished).map_err(|_| Error::Interrupted)?;
        // The sealers and the pack stage end when nobody can send to them any more.
        let (closed, _) = crossbeam_channel::bounded(0);
        self.seals = closed;
        let (closed, _) = crossbeam_channel::bounded(0);
        self.to_pack = closed;
        while let Ok((fragment, packs)) = self.fragments.recv() {
            self.add_fragment(fragment, &packs)?;
        }
        let objects =
            self.needs.keys().filter_map(|pack| self.index.object(*pack).map(|object| (*pack, object)));
        Ok(Assembled {
            root: self.root.ok_or(Error::Interrupted)?,
            files: self.total.0,
            bytes: self.total.1,
            objects: objects.collect(),
            needs: self.needs,
            statistics: self.statistics,
            problems: self.problems,
            discard_index: self.discard_index,
            notes: self.notes,
        })
    }
}

/// A chunk's bytes, in a buffer of their own or among others.
enum ChunkBytes<'a> {
    Owned(Vec<u8>),
    Borrowed(&'a [u8]),
}

impl ChunkBytes<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Owned(bytes) => bytes.len(),
            Self::Borrowed(bytes) => bytes.len(),
        }
    }
}
