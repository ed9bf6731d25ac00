//! Reading packs: every byte hashed, every segment opened, every chunk named anew.
//!
//! Each thread takes one pack at a time, the largest first. The store fetches the next pieces meanwhile, so a thread
//! computes and seldom waits; a pack's bytes are fetched once and hashed, opened and identified while they are there.
//! A thread holds its piece, the ones on their way and one opened segment, whatever the size of the vault.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use content::ChunkId;
use content::chunk::Identifier;
use content::envelope::{DataKey, Place, Purpose};
use content::index::{PackChunks, open_directories};
use content::segment::{Opened, Opener};
use store::{Kind, StoreError};
use tokio::task::JoinHandle;
use vault::check::{Finding, Holdings, PackReading, Piece, Severity, cold, table_differs, unreadable};
use vault::error::Damage;
use vault::fragment::PackRecord;
use vault::pack::SegmentRow;
use vault::segments::SegmentSet;
use vault::{ObjectHash, PackId};

use super::{Ledger, PACK_ADVICE};
use crate::{Error, Progress, Vault};

/// More threads than this would only fetch more at once.
const THREADS_MAX: usize = 8;
/// How many pieces of a pack are fetched ahead.
const AHEAD: usize = 2;

struct Shared<'a> {
    vault: &'a Arc<Vault>,
    packs: &'a [(ObjectHash, u64)],
    holdings: &'a Holdings,
    progress: &'a Progress,
    identifier: Identifier,
    next: AtomicUsize,
    bytes_read: AtomicU64,
    ledger: Mutex<&'a mut Ledger>,
    failed: AtomicBool,
    failure: Mutex<Option<Error>>,
}

/// Reads these packs. Returns how many bytes were read.
pub(super) fn read(
    vault: &Arc<Vault>,
    packs: &[(ObjectHash, u64)],
    holdings: &Holdings,
    ledger: &mut Ledger,
    progress: &Progress,
) -> Result<u64, Error> {
    if packs.is_empty() {
        return Ok(0);
    }
    progress.set_stage("reading data");
    progress.add_bytes_total(packs.iter().map(|(_, size)| size).sum());
    let shared = &Shared {
        vault,
        packs,
        holdings,
        progress,
        identifier: vault.keyring().identifier(),
        next: AtomicUsize::new(0),
        bytes_read: AtomicU64::new(0),
        ledger: Mutex::new(ledger),
        failed: AtomicBool::new(false),
        failure: Mutex::new(None),
    };
    let cores = thread::available_parallelism().map_or(2, std::num::NonZero::get);
    thread::scope(|scope| {
        for _ in 0..cores.min(THREADS_MAX).min(packs.len()) {
            scope.spawn(|| {
                if let Err(error) = shared.work() {
                    shared.failed.store(true, Ordering::Relaxed);
                    shared.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            });
        }
    });
    match shared.failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(error),
        None => Ok(shared.bytes_read.load(Ordering::Relaxed)),
    }
}

/// What is wrong with a pack.
#[derive(Default)]
struct Faults {
    /// Segments that do not give what they should.
    bad: Vec<(PackId, u32)>,
    /// The first of them, in words.
    first: Option<String>,
}

impl Faults {
    fn add(&mut self, pack: PackId, number: u32, what: &str) {
        self.bad.push((pack, number));
        self.first.get_or_insert_with(|| format!("segment {number} {what}"));
    }
}

impl Shared<'_> {
    fn work(&self) -> Result<(), Error> {
        let mut opener = Opener::new();
        while let Some((object, size)) = self.packs.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            match self.pack(*object, *size, &mut opener) {
                Ok(()) => {}
                Err(Error::Store(error)) if error.kind == Kind::Cold => self.with_ledger(|ledger| {
                    ledger.unread.insert(*object);
                    ledger.findings.add(cold(*object))
                }),
                Err(Error::Store(error)) => {
                    let finding = unreadable(error, PACK_ADVICE)?;
                    self.lose_all(*object, finding);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn pack(&self, object: ObjectHash, size: u64, opener: &mut Opener) -> Result<(), Error> {
        self.go_on()?;
        let begun = PackReading::begin(self.vault.store().as_ref(), object, size, self.vault.id());
        let mut reading = match self.vault.wait(begun)? {
            Ok(reading) => reading,
            Err(damage) => {
                self.progress_by(size);
                self.lose_all(object, Finding::of(object.pack_name(), &damage, PACK_ADVICE));
                return Ok(());
            }
        };
        let encoded = reading.encoded_trailer().clone();
        if self.holdings.get(object).is_some_and(|held| !held.is_from(&encoded)) {
            self.with_ledger(|ledger| ledger.findings.add(table_differs(object)));
        }
        let record = PackRecord { hash: object, size, trailer: encoded };
        let insides = Inside::open(self.vault, &record, &reading, opener);
        let mut faults = Faults::default();
        let mut ahead = Ahead::new(self.vault, object, reading.pieces());
        while let Some((piece, bytes)) = ahead.next()? {
            self.go_on()?;
            reading.take(&piece, &bytes);
            if let Ok(insides) = &insides {
                self.segments(reading.segments(&piece, &bytes), insides, opener, &mut faults);
            }
            self.progress_by(bytes.len() as u64);
        }
        self.progress_by(size.saturating_sub(reading.trailer().segments_end()));
        let packs: Vec<PackId> = reading.trailer().origins.iter().map(|origin| origin.pack).collect();
        self.judge(object, &packs, reading.finish(), insides.err(), faults);
        Ok(())
    }

    /// Opens and identifies all segments of a piece.
    fn segments<'b>(
        &self,
        segments: impl Iterator<Item = (&'b SegmentRow, &'b [u8])>,
        insides: &[Inside],
        opener: &mut Opener,
        faults: &mut Faults,
    ) {
        for (row, sealed) in segments {
            let Some(inside) = insides.get(row.origin as usize) else { continue };
            let Ok(opened) = opener.open_segment(sealed, &inside.key, row.number) else {
                faults.add(inside.chunks.pack, row.number, "cannot be opened: its bytes were changed");
                continue;
            };
            let listed = inside.chunks.segments.get(row.number as usize).map_or(&[][..], Vec::as_slice);
            if !are_chunks(&self.identifier, &opened, listed) {
                faults.add(inside.chunks.pack, row.number, "does not hold the chunks it should");
            }
        }
    }

    fn judge(
        &self,
        object: ObjectHash,
        packs: &[PackId],
        whole: Result<(), Damage>,
        unopened: Option<String>,
        faults: Faults,
    ) {
        let name = object.pack_name();
        if let Err(damage) = &whole
            && damage.is_newer()
        {
            self.with_ledger(|ledger| ledger.findings.add(Finding::of(name, damage, PACK_ADVICE)));
            return;
        }
        if let Some(why) = unopened {
            let message = match whole {
                Err(damage) => damage.to_string(),
                Ok(()) => format!("its key or its list of chunks cannot be opened: {why}"),
            };
            self.lose_all(object, Finding::new(Severity::Damage, name, message, PACK_ADVICE));
            return;
        }
        if let Some(first) = faults.first {
            let message = match faults.bad.len() {
                1 => first,
                count => format!("{count} segments of it are damaged: {first}"),
            };
            let finding = Finding::new(Severity::Damage, name, message, PACK_ADVICE);
            let of = |pack: &PackId| {
                let segments: SegmentSet =
                    faults.bad.iter().filter(|(of, _)| of == pack).map(|(_, number)| *number).collect();
                (*pack, Some(segments))
            };
            let lost: Vec<_> = packs.iter().map(of).collect();
            self.with_ledger(|ledger| ledger.lose(finding, &lost, object));
        } else if let Err(damage) = whole {
            let message = format!("{damage}, though all data in it can be read");
            let advice = "put it back from a copy of the vault; restores are not affected";
            self.with_ledger(|ledger| {
                ledger.findings.add(Finding::new(Severity::Damage, name, message, advice))
            });
        }
    }

    /// A pack of no use: everything the index knows to be in it is lost.
    fn lose_all(&self, object: ObjectHash, finding: Finding) {
        self.with_ledger(|ledger| {
            // What was found before without a key needs no second finding.
            if ledger.losses.iter().any(|loss| loss.object == object && loss.segments.is_none()) {
                return None;
            }
            let held = self.holdings.get(object);
            let packs: Vec<_> = held.iter().flat_map(|held| held.packs()).map(|pack| (pack, None)).collect();
            ledger.lose(finding, &packs, object)
        });
    }

    fn with_ledger(&self, work: impl FnOnce(&mut Ledger) -> Option<usize>) {
        work(&mut self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn progress_by(&self, bytes: u64) {
        self.progress.add_bytes(bytes);
        self.progress.add_bytes_read(bytes);
        self.bytes_read.fetch_add(bytes, Ordering::Relaxed);
    }

    fn go_on(&self) -> Result<(), Error> {
        if self.failed.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { self.progress.checkpoint() }
    }
}

/// What is sealed in the trailer for one origin of a pack.
struct Inside {
    key: DataKey,
    chunks: PackChunks,
}

impl Inside {
    /// One for each origin; why not, in words.
    fn open(
        vault: &Vault,
        record: &PackRecord,
        reading: &PackReading,
        opener: &mut Opener,
    ) -> Result<Vec<Self>, String> {
        let trailer = reading.trailer();
        let directories = open_directories(vault.keyring(), record, trailer, opener);
        let directories = directories.map_err(|error| error.to_string())?;
        let mut insides = Vec::with_capacity(directories.len());
        for (origin, chunks) in trailer.origins.iter().zip(directories) {
            let place =
                Place { vault: vault.id(), id: *origin.pack.bytes(), purpose: Purpose::from(trailer.kind) };
            let key = DataKey::open(vault.keyring(), origin.epoch, &origin.envelope, place);
            insides.push(Self { key: key.map_err(|error| error.to_string())?, chunks });
        }
        Ok(insides)
    }
}

/// Whether a segment is made of exactly these chunks; nameless ones are holes.
fn are_chunks(identifier: &Identifier, opened: &Opened<'_>, chunks: &[(ChunkId, u32)]) -> bool {
    let mut end = 0u32;
    for (id, length) in chunks {
        let start = end;
        let Some(next) = start.checked_add(*length) else { return false };
        end = next;
        let is_right = match opened.get(start, *length) {
            Some(chunk) => identifier.identify(chunk) == *id,
            None => *id == ChunkId::default() && opened.holes.contains(&(start..end)),
        };
        if !is_right {
            return false;
        }
    }
    end as usize == opened.raw.len() && !chunks.is_empty()
}

/// Fetches the pieces of one pack, a few ahead.
struct Ahead<'a> {
    vault: &'a Arc<Vault>,
    name: Arc<str>,
    waiting: std::vec::IntoIter<Piece>,
    under_way: VecDeque<(Piece, JoinHandle<Result<Bytes, StoreError>>)>,
}

impl<'a> Ahead<'a> {
    fn new(vault: &'a Arc<Vault>, object: ObjectHash, pieces: Vec<Piece>) -> Self {
        let name = object.pack_name().into();
        Self { vault, name, waiting: pieces.into_iter(), under_way: VecDeque::new() }
    }

    fn next(&mut self) -> Result<Option<(Piece, Bytes)>, Error> {
        while self.under_way.len() <= AHEAD
            && let Some(piece) = self.waiting.next()
        {
            let (store, name, range) = (self.vault.store().clone(), self.name.clone(), piece.range.clone());
            let fetch = self.vault.spawn(async move { store.get_range(&name, range).await });
            self.under_way.push_back((piece, fetch));
        }
        let Some((piece, fetch)) = self.under_way.pop_front() else { return Ok(None) };
        match self.vault.wait(fetch) {
            Ok(bytes) => Ok(Some((piece, bytes?))),
            Err(_) => Err(Error::Interrupted),
        }
    }
}

impl Drop for Ahead<'_> {
    fn drop(&mut self) {
        self.under_way.iter().for_each(|(_, fetch)| fetch.abort());
    }
}
