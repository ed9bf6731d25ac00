//! The workers: opening segments, writing what is in them, comparing.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use content::segment::Opener;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use store::{Part, StoreError};
use vault::error::Damage;

use super::budget::Share;
use super::compare::Comparer;
use super::fetch::{self, Held, Piece, RangeWork, SegmentWork};
use super::file::FileWork;
use super::session::{Session, is_out_of_reach};
use super::window::{FileChunks, Windows};
use crate::Error;
use crate::reader::{TAIL_GUESS, missing_is_damage};

/// How often a waiting thread looks whether everything was stopped.
const LOOK: Duration = Duration::from_millis(100);

/// Segments that were fetched.
pub(super) struct Batch {
    pub bytes: Bytes,
    /// Where `bytes` start in the object.
    pub start: u64,
    pub segments: Vec<SegmentWork>,
    pub _held: Arc<Held>,
}

/// What a worker does in one go.
pub(super) enum Task {
    Write(Batch),
    /// A range could not be fetched as a whole.
    Retry {
        work: RangeWork,
        error: StoreError,
        share: Share,
    },
    /// Files for which nothing is to be written.
    Finish(Vec<Arc<FileWork>>),
    /// The answer is what has to be written.
    Compare {
        files: Vec<FileChunks>,
        answer: Sender<Vec<FileChunks>>,
    },
}

/// Runs `plan` on this thread while the workers do what it plans; returns when all of that is done.
pub(super) fn run(
    session: &Arc<Session>,
    plan: impl FnOnce(Windows) -> Result<(), Error>,
) -> Result<(), Error> {
    let threads = session.threads();
    let (tasks_in, tasks) = bounded(16 * threads);
    let (fetcher, dispatcher) = fetch::pair(session);
    thread::scope(|scope| {
        for _ in 0..threads {
            let tasks = tasks.clone();
            scope.spawn(move || Worker::new(session).run(&tasks));
        }
        drop(tasks);
        let dispatched = tasks_in.clone();
        scope.spawn(move || dispatcher.run(&dispatched));
        if let Err(error) = plan(Windows::new(session, tasks_in, fetcher)) {
            session.stop(error);
        }
    });
    match session.failure() {
        Some(error) => Err(error),
        None => session.checkpoint(),
    }
}

struct Worker {
    session: Arc<Session>,
    opener: Opener,
    comparer: Comparer,
}

impl Worker {
    fn new(session: &Arc<Session>) -> Self {
        Self { session: session.clone(), opener: Opener::new(), comparer: Comparer::new(session) }
    }

    fn run(&mut self, tasks: &Receiver<Task>) {
        while !self.session.is_stopped() {
            match tasks.recv_timeout(LOOK) {
                Ok(Task::Write(batch)) => self.write(batch),
                Ok(Task::Retry { work, error, share }) => {
                    self.retry(work, error);
                    drop(share);
                }
                Ok(Task::Finish(files)) => files.into_iter().for_each(FileWork::release),
                Ok(Task::Compare { files, answer }) => self.compare(files, &answer),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        // What waits in the queue is dropped with it; nobody may wait for room in it meanwhile.
    }

    fn write(&mut self, batch: Batch) {
        for segment in batch.segments {
            let start = (segment.sealed.start - batch.start) as usize;
            let end = (segment.sealed.end - batch.start) as usize;
            let sealed = batch.bytes.get(start..end).unwrap_or_default();
            self.segment(segment, sealed);
        }
    }

    fn segment(&mut self, segment: SegmentWork, sealed: &[u8]) {
        if let Some((segment, error)) = self.open(segment, sealed) {
            self.look_again(segment, &error);
        }
    }

    /// Bytes that came from far away may have been damaged on their way.
    fn look_again(&mut self, segment: SegmentWork, error: &Error) {
        let store = self.session.vault.store().clone();
        if !store.is_remote() {
            return segment.lost(error);
        }
        let name = segment.pack.object.pack_name();
        // Perhaps it is the table of the pack that is wrong: the next run is to read that anew.
        if let Some(cached) = self.session.vault.cached() {
            self.session.vault.wait(cached.forget(&name, &Part::Tail(TAIL_GUESS)));
        }
        let again = self.session.vault.wait(store.get_range(&name, segment.sealed.clone()));
        match missing_is_damage(again, &name) {
            Ok(sealed) => {
                if let Some((segment, error)) = self.open(segment, &sealed) {
                    segment.lost(&error);
                }
            }
            Err(error) if is_out_of_reach(&error) => self.session.stop(error),
            Err(error) => segment.lost(&error),
        }
    }

    /// Opens a segment and writes what is in it; gives it back when it does not open.
    fn open(&mut self, segment: SegmentWork, sealed: &[u8]) -> Option<(SegmentWork, Error)> {
        let raw = match segment.pack.open(segment.number, sealed, &mut self.opener) {
            Ok(raw) => raw,
            Err(error) => return Some((segment, error)),
        };
        for Piece { file, at, offset, length } in segment.pieces {
            if self.session.is_stopped() {
                return None;
            }
            match raw.get(offset, length) {
                Some(data) => file.write(at, data),
                None => {
                    let object = format!("{}, segment {}", segment.pack.object.pack_name(), segment.number);
                    let damage = Damage::Nonsense("it does not have what is said to be in it");
                    file.lost(&Error::damaged(object, damage));
                }
            }
            file.release();
        }
        None
    }

    /// Fetches each segment by itself, so that what lies before a pack's lost end is not lost with it.
    fn retry(&mut self, work: RangeWork, error: StoreError) {
        let name = &work.object;
        let alone = work.segments.len() == 1;
        let mut first = Some(error);
        for segment in work.segments {
            if self.session.is_stopped() {
                return;
            }
            let outcome = match first.take().filter(|_| alone) {
                Some(error) => Err(error),
                None => self
                    .session
                    .vault
                    .wait(self.session.vault.store().get_range(name, segment.sealed.clone())),
            };
            match missing_is_damage(outcome, name) {
                Ok(sealed) => self.segment(segment, &sealed),
                Err(error) if is_out_of_reach(&error) => self.session.stop(error),
                Err(error) => segment.lost(&error),
            }
        }
    }

    fn compare(&mut self, files: Vec<FileChunks>, answer: &Sender<Vec<FileChunks>>) {
        let mut differing = Vec::new();
        for (file, chunks) in files {
            if self.session.is_stopped() {
                return;
            }
            let chunks = self.comparer.file(&file, chunks);
            if chunks.is_empty() {
                file.release();
            } else {
                differing.push((file, chunks));
            }
        }
        // The planner has gone only when everything was stopped.
        let _ = answer.send(differing);
    }
}
