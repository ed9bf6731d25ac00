//! A lane: the pack of one kind that is being filled, and the run of small chunks that is open in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use content::directory::SegmentChunks;
use content::envelope::{DataKey, Place, Purpose};
use content::segment::Grain;
use content::{Address, ChunkId};
use vault::PackId;
use vault::pack::PackKind;

use crate::{Error, Vault};

/// Chunks of at least this many bytes have a segment of their own.
const OWN_SEGMENT: usize = 512 << 10;
/// Smaller ones are collected in runs of about this many bytes.
const RUN_FULL: usize = 1 << 20;
/// A pack has no more chunks than this, so that its directory fits one sealed part.
const CHUNKS_MAX: usize = 200_000;

/// A pack on its way.
#[derive(Debug)]
pub(super) struct PackInFlight {
    pub id: PackId,
    pub kind: PackKind,
    pub epoch: u32,
    pub key: DataKey,
    pub envelope: Bytes,
    /// Bytes of segments that are sealed: before and after.
    pub raw_done: AtomicU64,
    pub sealed_done: AtomicU64,
}

/// A raw segment to be sealed.
pub(super) struct SealJob {
    pub pack: Arc<PackInFlight>,
    pub number: u32,
    pub raw: Vec<u8>,
    pub grain: Grain,
}

/// A pack to which no more segments will come.
pub(super) struct PackEnd {
    pub pack: Arc<PackInFlight>,
    pub segments: Vec<SegmentChunks>,
}

/// What adding a chunk sets in motion.
#[derive(Default)]
pub(super) struct Effects {
    pub seal: Vec<SealJob>,
    pub end: Option<PackEnd>,
}

pub(super) struct Lane {
    kind: PackKind,
    target: u64,
    open: Option<Open>,
}

struct Open {
    pack: Arc<PackInFlight>,
    segments: Vec<SegmentChunks>,
    chunks: usize,
    raw: u64,
    run: Option<Run>,
}

struct Run {
    number: u32,
    bytes: Vec<u8>,
}

impl Lane {
    /// Fills packs of this kind up to about `target` bytes.
    pub(super) fn new(kind: PackKind, target: u64) -> Self {
        Self { kind, target, open: None }
    }

    fn open(&mut self, vault: &Vault) -> Result<&mut Open, Error> {
        if self.open.is_none() {
            let id = PackId::new(content::random::identity());
            let place = Place { vault: vault.id(), id: *id.bytes(), purpose: Purpose::from(self.kind) };
            let keys = vault.keyring().current();
            let (key, envelope) =
                DataKey::generate(keys, place).map_err(|error| Error::content("a new pack", error))?;
            let pack = Arc::new(PackInFlight {
                id,
                kind: self.kind,
                epoch: keys.number(),
                key,
                envelope,
                raw_done: AtomicU64::new(0),
                sealed_done: AtomicU64::new(0),
            });
            self.open = Some(Open { pack, segments: Vec::new(), chunks: 0, raw: 0, run: None });
        }
        self.open.as_mut().ok_or(Error::Interrupted)
    }

    /// Gives a chunk of its own buffer its place.
    pub(super) fn add_owned(
        &mut self,
        vault: &Vault,
        id: ChunkId,
        bytes: Vec<u8>,
    ) -> Result<(Address, Effects), Error> {
        if bytes.len() < OWN_SEGMENT {
            return self.add(vault, id, &bytes);
        }
        let open = self.open(vault)?;
        let length = bytes.len() as u32;
        let number = open.begin_segment();
        open.count(number, id, length);
        let pack = open.pack.clone();
        let address = Address { pack: pack.id, segment: number, offset: 0, length };
        let job = SealJob { pack, number, raw: bytes, grain: Grain::Coarse };
        let mut effects = Effects { seal: vec![job], end: None };
        self.end_if_full(&mut effects);
        Ok((address, effects))
    }

    /// Gives a chunk its place, copying its bytes into the open run when it is small.
    pub(super) fn add(
        &mut self,
        vault: &Vault,
        id: ChunkId,
        bytes: &[u8],
    ) -> Result<(Address, Effects), Error> {
        if bytes.len() >= OWN_SEGMENT {
            return self.add_owned(vault, id, bytes.to_vec());
        }
        let open = self.open(vault)?;
        let number = match &open.run {
            Some(run) => run.number,
            None => {
                let number = open.begin_segment();
                open.run = Some(Run { number, bytes: Vec::with_capacity(RUN_FULL + OWN_SEGMENT) });
                number
            }
        };
        let mut offset = 0;
        let mut full = false;
        if let Some(run) = &mut open.run {
            offset = run.bytes.len() as u32;
            run.bytes.extend_from_slice(bytes);
            full = run.bytes.len() >= RUN_FULL;
        }
        open.count(number, id, bytes.len() as u32);
        let address = Address { pack: open.pack.id, segment: number, offset, length: bytes.len() as u32 };
        let mut effects = Effects::default();
        if full {
            effects.seal.extend(open.close_run());
            self.end_if_full(&mut effects);
        }
        Ok((address, effects))
    }

    fn end_if_full(&mut self, effects: &mut Effects) {
        if self.open.as_ref().is_some_and(|open| open.is_full(self.target)) {
            self.end(effects);
        }
    }

    /// Ends the pack that is open, if there is one.
    pub(super) fn end(&mut self, effects: &mut Effects) {
        if let Some(mut open) = self.open.take() {
            effects.seal.extend(open.close_run());
            effects.end = Some(PackEnd { pack: open.pack, segments: open.segments });
        }
    }
}

impl Open {
    fn begin_segment(&mut self) -> u32 {
        self.segments.push(SegmentChunks::new());
        self.segments.len() as u32 - 1
    }

    fn count(&mut self, number: u32, id: ChunkId, length: u32) {
        if let Some(segment) = self.segments.get_mut(number as usize) {
            segment.push((id, length));
        }
        self.chunks += 1;
        self.raw += u64::from(length);
    }

    fn close_run(&mut self) -> Option<SealJob> {
        let run = self.run.take()?;
        Some(SealJob { pack: self.pack.clone(), number: run.number, raw: run.bytes, grain: Grain::Fine })
    }

    /// Judges the sealed size by what is sealed already: the rest is taken to shrink as much.
    fn is_full(&self, target: u64) -> bool {
        let raw_done = self.pack.raw_done.load(Ordering::Relaxed);
        let sealed_done = self.pack.sealed_done.load(Ordering::Relaxed);
        let waiting = self.raw.saturating_sub(raw_done);
        let waiting_sealed = match raw_done {
            0 => waiting / 2,
            _ => (u128::from(waiting) * u128::from(sealed_done) / u128::from(raw_done)) as u64,
        };
        sealed_done + waiting_sealed >= target || self.chunks >= CHUNKS_MAX
    }
}
