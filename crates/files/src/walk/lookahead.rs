//! Threads that scan folders before the walk gets there, nearest first.
//!
//! All scans still to do are in one list in path order. A thread takes the first that nobody has begun;
//! what it finds (subfolders, the rest of a large folder) takes the scan's place in the list. The
//! consumer takes results; a scan that nobody has begun it does itself, so it never depends on a
//! thread having room, and nothing can lock up. The threads rest while enough lies ready.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use super::order::{Order, Place};
use super::scan::{Batch, Found, Scanned, Scanner, Work};

/// Threads pause while this many entries lie ready.
const READY_MAX: usize = 32 << 10;
/// ... and are woken when it is down to this many, so that they do not wake for every folder.
const READY_LOW: usize = READY_MAX / 4 * 3;
/// Threads pause while this many folders are open; half of what the system allows if that is less.
const FOLDERS_MAX: usize = 512;
/// A batch at least this long keeps its consumer busy long enough to wake a thread for the next.
const LONG_BATCH: usize = 32;

/// Names a scan whose result will be wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(Place);

/// The threads and what they share with the consumer.
#[derive(Debug)]
pub(crate) struct LookAhead {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    scanner: Scanner,
    folders_max: usize,
    state: Mutex<State>,
    /// Signalled when a resting thread should look for work again.
    work: Condvar,
    /// Signalled when the scan that the consumer waits for is done.
    done: Condvar,
}

#[derive(Debug)]
struct State {
    order: Order<Piece>,
    /// Scans that nobody has begun.
    waiting: usize,
    /// Entries in results that nobody has taken.
    ready: usize,
    /// Threads at rest.
    resting: usize,
    /// What the consumer waits for.
    awaited: Option<Place>,
    stop: bool,
}

#[derive(Debug)]
enum Piece {
    Waiting(Work),
    Running,
    Done(Batch),
}

impl LookAhead {
    /// Starts the threads.
    pub fn start(scanner: Scanner, threads: usize, open_file_limit: u64) -> io::Result<LookAhead> {
        let half = usize::try_from(open_file_limit / 2).unwrap_or(usize::MAX);
        let state =
            State { order: Order::new(), waiting: 0, ready: 0, resting: 0, awaited: None, stop: false };
        let shared = Arc::new(Shared {
            scanner,
            folders_max: FOLDERS_MAX.min(half),
            state: Mutex::new(state),
            work: Condvar::new(),
            done: Condvar::new(),
        });
        let mut look_ahead = LookAhead { shared, threads: Vec::with_capacity(threads) };
        for _ in 0..threads {
            let shared = look_ahead.shared.clone();
            let thread = thread::Builder::new().name("walk".to_owned()).spawn(move || shared.help());
            // Dropping what was started so far ends it.
            look_ahead.threads.push(thread?);
        }
        Ok(look_ahead)
    }

    /// What scans here.
    pub fn scanner(&self) -> &Scanner {
        &self.shared.scanner
    }

    /// Scans what is not in the list yet.
    pub fn scan(&mut self, work: Work) -> Batch {
        let place = self.shared.lock().order.insert_before(None, Piece::Running);
        self.shared.scan_now(place, work)
    }

    /// The result of a scan: taken if it is there, awaited if a thread is at it, else done here. A
    /// ticket is good for one time.
    pub fn take(&mut self, Ticket(place): Ticket) -> Batch {
        let shared = &self.shared;
        let mut state = shared.lock();
        loop {
            match state.order.get_mut(place) {
                Some(Piece::Running) => match shared.next_work(&mut state) {
                    // Better to do the next scan meanwhile than to fall asleep and be woken.
                    Some((place, work)) => state = shared.scan_ahead(state, place, work),
                    None => {
                        state.awaited = Some(place);
                        state = shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                        state.awaited = None;
                    }
                },
                Some(piece @ Piece::Waiting(_)) => {
                    let begun = std::mem::replace(piece, Piece::Running);
                    state.waiting -= 1;
                    drop(state);
                    return match begun {
                        Piece::Waiting(work) => shared.scan_now(place, work),
                        // Not possible: it was matched as waiting under the same lock.
                        Piece::Running | Piece::Done(_) => Batch::default(),
                    };
                }
                Some(Piece::Done(_)) => {
                    let Some(Piece::Done(batch)) = state.order.remove(place) else {
                        return Batch::default();
                    };
                    state.ready -= batch.items.len();
                    if state.ready <= READY_LOW && state.waiting > 0 {
                        shared.wake_one(&state);
                    }
                    return batch;
                }
                // Not possible: a ticket names a piece until it is taken.
                None => return Batch::default(),
            }
        }
    }
}

impl Drop for LookAhead {
    fn drop(&mut self) {
        self.shared.scanner.stop();
        self.shared.lock().stop = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing left to say: its scan was answered with an error.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic runs under the lock, except for running out of memory.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's life: scan the nearest folder, note what was found, rest when there is enough.
    fn help(&self) {
        let mut state = self.lock();
        loop {
            if state.stop {
                return;
            }
            let Some((place, work)) = self.next_work(&mut state) else {
                state.resting += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.resting -= 1;
                continue;
            };
            if state.waiting > 1 {
                self.wake_one(&state);
            }
            state = self.scan_ahead(state, place, work);
            if state.awaited == Some(place) {
                self.done.notify_one();
            }
        }
    }

    /// Does a claimed scan and keeps its result until it is taken. Gives up the lock meanwhile.
    fn scan_ahead<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
        place: Place,
        work: Work,
    ) -> MutexGuard<'a, State> {
        drop(state);
        // Whoever waits for this result must get one, whatever happens.
        let found = catch_unwind(AssertUnwindSafe(|| self.scanner.scan(work)))
            .unwrap_or_else(|_| Found::failed("looking into this folder failed unexpectedly"));
        let mut state = self.lock();
        let batch = Self::register(&mut state, place, found);
        state.ready += batch.items.len();
        state.order.unlink(place);
        if let Some(piece) = state.order.get_mut(place) {
            *piece = Piece::Done(batch);
        }
        state
    }

    /// Claims the first scan that nobody has begun, if there is room for its result.
    fn next_work(&self, state: &mut State) -> Option<(Place, Work)> {
        let room = state.ready < READY_MAX && self.scanner.open_folders() < self.folders_max;
        if state.waiting == 0 || !room {
            return None;
        }
        let place = state.order.find(|piece| matches!(piece, Piece::Waiting(_)))?;
        let Piece::Waiting(work) = std::mem::replace(state.order.get_mut(place)?, Piece::Running) else {
            return None;
        };
        state.waiting -= 1;
        Some((place, work))
    }

    /// Does a claimed scan on the consumer's own thread.
    fn scan_now(&self, place: Place, work: Work) -> Batch {
        let found = self.scanner.scan(work);
        let mut state = self.lock();
        let batch = Self::register(&mut state, place, found);
        state.order.remove(place);
        // The consumer itself is about to need the first of what waits; a thread is worth waking only
        // for more, or when the consumer will be busy for a while.
        let worthwhile = state.waiting > 1 || (state.waiting == 1 && batch.items.len() >= LONG_BATCH);
        if worthwhile && state.ready <= READY_LOW {
            self.wake_one(&state);
        }
        batch
    }

    /// Puts what a scan found to do in the scan's place, and tickets for it into the batch.
    fn register(state: &mut State, place: Place, found: Found) -> Batch {
        let Found { mut batch, contents, rest } = found;
        state.waiting += contents.len() + usize::from(rest.is_some());
        for (index, work) in contents {
            let ticket = Ticket(state.order.insert_before(Some(place), Piece::Waiting(work)));
            if let Scanned::Thing { contents, .. } = &mut batch.items[index] {
                *contents = Some(ticket);
            }
        }
        batch.rest = rest.map(|work| Ticket(state.order.insert_before(Some(place), Piece::Waiting(work))));
        batch
    }

    fn wake_one(&self, state: &State) {
        if state.resting > 0 {
            self.work.notify_one();
        }
    }
}
