//! Packing: sealed segments into packs, packs into the store, and what is in them into index fragments.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use content::directory::{self, SegmentChunks};
use content::envelope::DIRECTORY_NUMBER;
use content::index::PackChunks;
use content::segment::{Compression, Grain, Sealer};
use crossbeam_channel::{Receiver, Sender, select, unbounded};
use store::{Cached, StoreError};
use vault::fragment::PackRecord;
use vault::pack::{PackAssembler, PackKind, Tail, trailer_in_tail};
use vault::{ObjectHash, PackId};

use super::assemble::NewFragment;
use super::lane::{PackEnd, PackInFlight};
use super::seal::ToPack;
use super::session::{Session, store_fragment};
use crate::Error;
use crate::reader::TAIL_GUESS;

/// Packs on their way to the store hold no more bytes than this together, unless one alone does.
const UPLOADING_MAX: u64 = 72 << 20;
/// A fragment is due when this many packs wait for one, or an eighth of all, whichever is more: a first backup of any
/// size writes few fragments, and a killed one loses little of its index.
const FRAGMENT_PACKS: usize = 8;
/// … or when this many chunks do, which bounds what is held in memory.
const FRAGMENT_CHUNKS: usize = 250_000;

/// What packing leaves for the commit.
#[derive(Default)]
pub(super) struct Packed {
    pub objects: HashMap<PackId, ObjectHash>,
    pub bytes_stored: u64,
    pub packs: u64,
}

struct Packing<'a> {
    session: &'a Session<'a>,
    fragments: &'a Sender<NewFragment>,
    open: HashMap<PackId, OpenPack>,
    sealer: Sealer,
    uploading: usize,
    uploading_bytes: u64,
    uploaded_in: Sender<Uploaded>,
    waiting: Vec<(PackRecord, PackChunks)>,
    waiting_chunks: usize,
    packed: Packed,
}

struct OpenPack {
    pack: Arc<PackInFlight>,
    assembler: PackAssembler,
    /// Segments that came before one with a lower number.
    early: BTreeMap<u32, Bytes>,
    end: Option<Vec<SegmentChunks>>,
}

struct Uploaded {
    record: PackRecord,
    chunks: PackChunks,
    outcome: Result<(), StoreError>,
}

/// Runs the pack stage. When the run is stopped, packs that are complete are still stored and get their fragment.
pub(super) fn run(
    session: &Session<'_>,
    input: &Receiver<ToPack>,
    fragments: &Sender<NewFragment>,
) -> Result<Packed, Error> {
    let (uploaded_in, uploaded) = unbounded();
    let mut packing = Packing {
        session,
        fragments,
        open: HashMap::new(),
        sealer: Sealer::new(Compression::Default),
        uploading: 0,
        uploading_bytes: 0,
        uploaded_in,
        waiting: Vec::new(),
        waiting_chunks: 0,
        packed: Packed::default(),
    };
    match packing.store_all(input, &uploaded) {
        Ok(true) => Ok(packing.packed),
        Ok(false) => Err(Error::Interrupted),
        Err(error) => {
            packing.note_the_rest(&uploaded);
            Err(error)
        }
    }
}

/// Keeps what a [`crate::Reader`] asks for of a stored pack: its segments if it has trees, and its end. `parts` are those
/// of the pack, or only the last ones where the segments are not kept.
async fn remember(cached: &Cached, name: &str, parts: &[Bytes], kind: PackKind, size: u64) {
    let mut start = 0;
    for part in parts.iter().filter(|_| kind == PackKind::Tree) {
        let end = start + part.len() as u64;
        cached.remember_range(name, start..end, part.clone()).await;
        start = end;
    }
    let end = end_of(parts).concat();
    let guessed = end.get(end.len().saturating_sub(TAIL_GUESS as usize)..).unwrap_or_default();
    cached.remember_tail(name, TAIL_GUESS, guessed, size).await;
    if let Ok(Tail::Need(length)) = trailer_in_tail(&Bytes::copy_from_slice(guessed), size) {
        let all = usize::try_from(length).ok().and_then(|length| end.get(end.len().checked_sub(length)?..));
        if let Some(all) = all {
            cached.remember_tail(name, length, all, size).await;
        }
    }
}

/// The last parts of a pack, which hold its trailer.
fn end_of(parts: &[Bytes]) -> Vec<Bytes> {
    let mut missing = TAIL_GUESS as usize;
    let mut first = parts.len();
    // The trailer is the last part, and longer than was guessed where there are many chunks.
    for part in parts.iter().rev() {
        if missing == 0 {
            break;
        }
        missing = missing.saturating_sub(part.len());
        first -= 1;
    }
    parts.get(first..).unwrap_or_default().to_vec()
}

impl Packing<'_> {
    /// Whether everything that was to be packed came and is stored.
    fn store_all(&mut self, input: &Receiver<ToPack>, uploaded: &Receiver<Uploaded>) -> Result<bool, Error> {
        let mut finished = false;
        loop {
            select! {
                recv(input) -> message => match message {
                    Ok(ToPack::Finished) => finished = true,
                    Ok(ToPack::Sealed { pack, number, bytes }) => self.sealed(&pack, number, bytes)?,
                    Ok(ToPack::End(end)) => self.end(end)?,
                    Err(_) => break,
                },
                recv(uploaded) -> done => self.uploaded(done.map_err(|_| Error::Interrupted)?)?,
            }
            while self.uploading_bytes > UPLOADING_MAX {
                self.uploaded(uploaded.recv().map_err(|_| Error::Interrupted)?)?;
            }
        }
        while self.uploading > 0 {
            self.uploaded(uploaded.recv().map_err(|_| Error::Interrupted)?)?;
        }
        self.fragment()?;
        Ok(finished && self.open.is_empty())
    }

    /// After a failure: what was still on its way may have arrived all the same, and the next run should know. No
    /// fragment is tried, as the store has just failed; the journal is enough.
    fn note_the_rest(&mut self, uploaded: &Receiver<Uploaded>) {
        while self.uploading > 0 {
            let Ok(Uploaded { record, outcome, .. }) = uploaded.recv() else { return };
            self.uploading -= 1;
            if outcome.is_ok() {
                // The first error is the one to tell.
                let _ = self.session.journal().note(record.hash);
            }
        }
    }

    fn open_pack(&mut self, pack: &Arc<PackInFlight>) -> &mut OpenPack {
        let vault = self.session.vault.id();
        self.open.entry(pack.id).or_insert_with(|| OpenPack {
            pack: pack.clone(),
            assembler: PackAssembler::new(pack.kind, vault, pack.id),
            early: BTreeMap::new(),
            end: None,
        })
    }

    fn sealed(&mut self, pack: &Arc<PackInFlight>, number: u32, bytes: Bytes) -> Result<(), Error> {
        let open = self.open_pack(pack);
        open.early.insert(number, bytes);
        while let Some(bytes) = open.early.remove(&(open.assembler.segments() as u32)) {
            open.assembler.push(bytes);
        }
        self.complete(pack.id)
    }

    fn end(&mut self, end: PackEnd) -> Result<(), Error> {
        self.open_pack(&end.pack).end = Some(end.segments);
        self.complete(end.pack.id)
    }

    /// Stores the pack if all its segments are there.
    fn complete(&mut self, id: PackId) -> Result<(), Error> {
        let whole = |open: &OpenPack| {
            open.end.as_ref().is_some_and(|segments| segments.len() == open.assembler.segments())
        };
        if !self.open.get(&id).is_some_and(whole) {
            return Ok(());
        }
        let Some(OpenPack { pack, assembler, end: Some(segments), .. }) = self.open.remove(&id) else {
            return Ok(());
        };
        let encoded = directory::encode(&segments);
        let sealed = self
            .sealer
            .seal(&encoded, Grain::Fine, &pack.key, DIRECTORY_NUMBER)
            .map_err(|error| Error::content(format!("new pack {id}, directory"), error))?;
        let finished = assembler.finish(pack.epoch, pack.envelope.clone(), sealed);
        let record = PackRecord::from(&finished);
        let chunks = PackChunks { pack: id, object: finished.hash, segments };
        self.uploading += 1;
        self.uploading_bytes += finished.size;
        let store = self.session.vault.store().clone();
        let class = match pack.kind {
            PackKind::Data => self.session.vault.data_class()?,
            PackKind::Tree => None,
        };
        let done = self.uploaded_in.clone();
        // The next backup reads the trees of this one, and a restore the tables of all packs.
        let cached = self.session.vault.cached().cloned();
        let parts = match (&cached, pack.kind) {
            (None, _) => Vec::new(),
            (Some(_), PackKind::Tree) => finished.parts.clone(),
            (Some(_), PackKind::Data) => end_of(&finished.parts),
        };
        self.session.vault.spawn(async move {
            let name = finished.hash.pack_name();
            let outcome = store::put_in(store.as_ref(), &name, finished.parts, class.as_ref()).await;
            if let (Ok(()), Some(cached)) = (&outcome, cached) {
                remember(&cached, &name, &parts, pack.kind, finished.size).await;
            }
            // Nobody listens only when the run has failed already.
            let _ = done.send(Uploaded { record, chunks, outcome });
        });
        Ok(())
    }

    fn uploaded(&mut self, done: Uploaded) -> Result<(), Error> {
        let Uploaded { record, chunks, outcome } = done;
        self.uploading -= 1;
        self.uploading_bytes -= record.size;
        outcome?;
        self.session.journal().note(record.hash)?;
        self.session.progress.add_bytes_stored(record.size);
        self.packed.bytes_stored += record.size;
        self.packed.packs += 1;
        self.packed.objects.insert(chunks.pack, chunks.object);
        self.waiting_chunks += chunks.segments.iter().map(Vec::len).sum::<usize>();
        self.waiting.push((record, chunks));
        let due = FRAGMENT_PACKS.max(self.packed.packs as usize / 8);
        if self.waiting.len() >= due || self.waiting_chunks >= FRAGMENT_CHUNKS {
            self.fragment()
        } else {
            Ok(())
        }
    }

    /// Writes a fragment for the packs that wait for one.
    fn fragment(&mut self) -> Result<(), Error> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let (records, chunks): (Vec<_>, Vec<_>) = std::mem::take(&mut self.waiting).into_iter().unzip();
        self.waiting_chunks = 0;
        let fragment = store_fragment(self.session.vault, &records)?;
        let size: usize = records.iter().map(|record| record.trailer.len() + 48).sum();
        self.packed.bytes_stored += size as u64;
        let _ = self.fragments.send((fragment, chunks));
        Ok(())
    }
}
