//! Fetching ranges of packs, several at a time, and handing what is in them to the workers.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use store::StoreError;

use super::budget::{Budget, Share};
use super::file::FileWork;
use super::session::Session;
use super::work::{Batch, Task};
use crate::Error;
use crate::reader::OpenPack;

/// How much may be fetched and not yet written, in bytes.
const IN_FLIGHT_NEAR: usize = 32 << 20;
/// The same where a round trip is long.
const IN_FLIGHT_FAR: usize = 144 << 20;
/// What a piece is reckoned at besides the bytes it is fetched with: the memory for it and its file.
const PIECE_COST: usize = 512;
/// About how many sealed bytes one worker takes at once.
const BATCH: usize = 512 << 10;
/// How often a waiting thread looks whether everything was stopped.
const LOOK: Duration = Duration::from_millis(50);

/// A part of a segment that belongs into a file.
pub(super) struct Piece {
    pub file: Arc<FileWork>,
    /// Where its first byte belongs in the file.
    pub at: u64,
    /// Where it starts in the raw segment.
    pub offset: u32,
    pub length: u32,
}

/// A segment and all that is wanted of it.
pub(super) struct SegmentWork {
    pub pack: Arc<OpenPack>,
    pub number: u32,
    /// Where its sealed bytes are in the object.
    pub sealed: Range<u64>,
    pub pieces: Vec<Piece>,
}

impl SegmentWork {
    /// Its pieces cannot be had.
    pub(super) fn lost(self, error: &Error) {
        for piece in self.pieces {
            piece.file.lost(error);
            piece.file.release();
        }
    }
}

/// Segments that lie side by side in one object.
pub(super) struct RangeWork {
    pub object: String,
    pub range: Range<u64>,
    pub segments: Vec<SegmentWork>,
    /// Holds the bounds on open files and folders.
    pub window: Arc<Share>,
}

/// What a batch occupies until it is written.
pub(super) struct Held {
    _bytes: Share,
    _window: Arc<Share>,
}

type Fetched = (u64, Result<Bytes, StoreError>);

/// Ranges that were asked for, with what they cost.
type UnderWay = Arc<Mutex<HashMap<u64, (RangeWork, Share)>>>;

/// Asks for ranges.
pub(super) struct Fetcher {
    session: Arc<Session>,
    budget: Arc<Budget>,
    under_way: UnderWay,
    done: Sender<Fetched>,
    next: u64,
}

/// Takes what was fetched.
pub(super) struct Dispatcher {
    session: Arc<Session>,
    under_way: UnderWay,
    fetched: Receiver<Fetched>,
}

/// The two ends of fetching. Dropping the first ends the second, once everything has arrived.
pub(super) fn pair(session: &Arc<Session>) -> (Fetcher, Dispatcher) {
    let (done, fetched) = unbounded();
    let under_way = UnderWay::default();
    let in_flight = if session.vault.store().is_remote() { IN_FLIGHT_FAR } else { IN_FLIGHT_NEAR };
    let fetcher = Fetcher {
        session: session.clone(),
        budget: Budget::new(in_flight),
        under_way: under_way.clone(),
        done,
        next: 0,
    };
    (fetcher, Dispatcher { session: session.clone(), under_way, fetched })
}

impl Fetcher {
    /// Asks for a range, once there is room.
    pub(super) fn fetch(&mut self, work: RangeWork) -> Result<(), Error> {
        let length = work.range.end.saturating_sub(work.range.start) as usize;
        let pieces: usize = work.segments.iter().map(|segment| segment.pieces.len()).sum();
        let share = self.budget.take(length + pieces * PIECE_COST, &self.session)?;
        let (object, range) = (work.object.clone(), work.range.clone());
        let (store, done, number) = (self.session.vault.store().clone(), self.done.clone(), self.next);
        self.next += 1;
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(number, (work, share));
        self.session.vault.spawn(async move {
            let outcome = store.get_range(&object, range).await;
            // Nobody takes it any more when the restore was stopped.
            let _ = done.send((number, outcome));
        });
        Ok(())
    }
}

impl Dispatcher {
    /// Hands out what arrives until nothing more will.
    pub(super) fn run(self, tasks: &Sender<Task>) {
        loop {
            let (number, outcome) = match self.fetched.recv_timeout(LOOK) {
                Ok(fetched) => fetched,
                Err(RecvTimeoutError::Timeout) if !self.session.is_stopped() => continue,
                Err(_) => break,
            };
            let found = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            let Some((work, share)) = found else { continue };
            let sent = match outcome {
                Ok(bytes) => {
                    self.session.progress.add_bytes_read(bytes.len() as u64);
                    hand_out(work, &bytes, share, tasks)
                }
                Err(error) => tasks.send(Task::Retry { work, error, share }).is_ok(),
            };
            if !sent {
                break;
            }
        }
        // Whatever is still under way will not be written.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Cuts a range into batches. Returns whether somebody takes them.
fn hand_out(work: RangeWork, bytes: &Bytes, share: Share, tasks: &Sender<Task>) -> bool {
    let held = Arc::new(Held { _bytes: share, _window: work.window });
    let mut batch = Vec::new();
    let mut size = 0;
    let mut segments = work.segments.into_iter().peekable();
    while let Some(segment) = segments.next() {
        size += (segment.sealed.end - segment.sealed.start) as usize;
        batch.push(segment);
        if size >= BATCH || segments.peek().is_none() {
            let segments = std::mem::take(&mut batch);
            size = 0;
            let (bytes, _held) = (bytes.clone(), held.clone());
            let batch = Batch { bytes, start: work.range.start, segments, _held };
            if tasks.send(Task::Write(batch)).is_err() {
                return false;
            }
        }
    }
    true
}
