//! Windows: bounded numbers of files whose chunks are planned together.
//!
//! Within a window the chunks are grouped by segment, so that a segment is opened once for all files that want
//! something of it, and segments are put in the order in which they lie in the packs. Windows follow one another
//! without a gap: while the workers write one, the next one is planned, and others are compared.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use vault::PackId;

use super::budget::Budget;
use super::fetch::{Fetcher, Piece, RangeWork, SegmentWork};
use super::file::FileWork;
use super::layout::{Layout, PlacedChunk};
use super::session::{Session, is_out_of_reach};
use super::work::Task;
use crate::Error;
use crate::reader::OpenPack;

/// A window holds about this many bytes of content.
pub(super) const WINDOW_BYTES: u64 = 64 << 20;
/// How much a window may hold.
struct Limits {
    /// Bytes of content, about.
    bytes: u64,
    /// Bytes of files that are there already, about: nothing is fetched before all of them are compared.
    compared: u64,
    /// Chunks and files together.
    things: usize,
    /// Open folders and files, as far as the process may have that many.
    handles: usize,
    /// How many windows are written at once, at most.
    at_once: usize,
}
const LIMITS_NEAR: Limits =
    Limits { bytes: WINDOW_BYTES, compared: WINDOW_BYTES, things: 16 << 10, handles: 512, at_once: 4 };
/// What is not in the same window is asked for anew: where each request is to another machine, windows are wide, and fewer.
const LIMITS_FAR: Limits =
    Limits { bytes: 64 << 30, compared: 1 << 30, things: 192 << 10, handles: 8192, at_once: 2 };
/// How many windows wait for comparisons, at most.
const COMPARED_AT_ONCE: usize = 3;
/// How long ranges may be in sealed bytes, and how many unwanted bytes between two segments are fetched rather than asked
/// for around them. A request to another machine costs more than a few bytes; there a whole pack may come at once.
const NEAR: (u64, u64) = (2 << 20, 64 << 10);
const FAR: (u64, u64) = (72 << 20, 512 << 10);
/// One comparison takes about this many bytes, or this many files.
const COMPARE_BYTES: u64 = 8 << 20;
const COMPARE_FILES: usize = 64;
/// How many files without content are completed in one go.
const FINISH_FILES: usize = 128;
/// How often a waiting thread looks whether everything was stopped.
const LOOK: Duration = Duration::from_millis(100);

/// A file and chunks of it.
pub(super) type FileChunks = (Arc<FileWork>, Vec<PlacedChunk>);

struct Window {
    chunks: Vec<(Arc<FileWork>, PlacedChunk)>,
    bytes: u64,
    /// Of files that are compared.
    compared: u64,
    files: usize,
    /// Open folders and files that it may need at once.
    handles: usize,
    last_folder: usize,
    /// To be compared, not yet handed out.
    compare: Vec<FileChunks>,
    compare_bytes: u64,
    /// How many answers are still to come.
    answers: usize,
    answer: Sender<Vec<FileChunks>>,
    answered: Receiver<Vec<FileChunks>>,
}

impl Window {
    fn new() -> Self {
        let (answer, answered) = unbounded();
        Self {
            chunks: Vec::new(),
            bytes: 0,
            compared: 0,
            files: 0,
            handles: 0,
            last_folder: 0,
            compare: Vec::new(),
            compare_bytes: 0,
            answers: 0,
            answer,
            answered,
        }
    }

    fn count_file(&mut self, file: &FileWork) {
        let folder = Arc::as_ptr(&file.folder).addr();
        if folder != self.last_folder {
            self.last_folder = folder;
            self.handles += 1;
        }
        self.files += 1;
    }
}

/// Collects windows and sends them on their way.
pub(super) struct Windows {
    session: Arc<Session>,
    tasks: Sender<Task>,
    fetcher: Fetcher,
    written: Arc<Budget>,
    open: Window,
    waiting: VecDeque<Window>,
    /// Files for which nothing is to be written.
    finish: Vec<Arc<FileWork>>,
    limits: Limits,
}

impl Windows {
    pub(super) fn new(session: &Arc<Session>, tasks: Sender<Task>, fetcher: Fetcher) -> Self {
        let limits = if session.vault.store().is_remote() { LIMITS_FAR } else { LIMITS_NEAR };
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let limit = usize::try_from(limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let handles = limit / (2 * (limits.at_once + COMPARED_AT_ONCE + 1));
        Self {
            session: session.clone(),
            tasks,
            fetcher,
            written: Budget::new(limits.at_once),
            open: Window::new(),
            waiting: VecDeque::new(),
            finish: Vec::new(),
            limits: Limits { handles: handles.clamp(8, limits.handles), ..limits },
        }
    }

    /// All of the file is to be written.
    pub(super) fn write(&mut self, file: FileWork, layout: Layout) -> Result<(), Error> {
        let file = Arc::new(file);
        self.open.count_file(&file);
        let mut count = 0;
        for chunk in layout {
            match chunk {
                Ok(chunk) => {
                    self.open.bytes += u64::from(chunk.address.length);
                    self.open.chunks.push((file.clone(), chunk));
                    count += 1;
                    // The second chunk is when it begins to stay open.
                    self.open.handles += usize::from(count == 2);
                }
                Err(error) => {
                    file.lost(&error);
                    break;
                }
            }
            self.close_if_full()?;
        }
        if count == 0 {
            return self.finish(file);
        }
        file.release();
        Ok(())
    }

    /// What differs of the file is to be written.
    pub(super) fn compare(&mut self, file: FileWork, layout: Layout) -> Result<(), Error> {
        let file = Arc::new(file);
        self.open.count_file(&file);
        // It is open from now on until it is done.
        self.open.handles += 1;
        let mut chunks = Vec::new();
        for chunk in layout {
            match chunk {
                Ok(chunk) => {
                    self.open.bytes += u64::from(chunk.address.length);
                    self.open.compared += u64::from(chunk.address.length);
                    self.open.compare_bytes += u64::from(chunk.address.length);
                    chunks.push(chunk);
                }
                Err(error) => {
                    file.lost(&error);
                    break;
                }
            }
            if self.is_full() {
                self.open.compare.push((file.clone(), std::mem::take(&mut chunks)));
                self.close()?;
            }
        }
        self.open.compare.push((file, chunks));
        if self.open.compare.len() >= COMPARE_FILES || self.open.compare_bytes >= COMPARE_BYTES {
            self.hand_out_comparison()?;
        }
        self.close_if_full()
    }

    /// Nothing of the file is to be written.
    pub(super) fn finish(&mut self, file: Arc<FileWork>) -> Result<(), Error> {
        self.finish.push(file);
        if self.finish.len() < FINISH_FILES { Ok(()) } else { self.hand_out_finish() }
    }

    fn hand_out_finish(&mut self) -> Result<(), Error> {
        let files = std::mem::take(&mut self.finish);
        self.send(Task::Finish(files))
    }

    fn hand_out_comparison(&mut self) -> Result<(), Error> {
        let files = std::mem::take(&mut self.open.compare);
        self.open.compare_bytes = 0;
        if files.is_empty() {
            return Ok(());
        }
        self.open.answers += 1;
        let answer = self.open.answer.clone();
        self.send(Task::Compare { files, answer })
    }

    fn send(&self, task: Task) -> Result<(), Error> {
        self.tasks.send(task).map_err(|_| Error::Interrupted)
    }

    fn is_full(&self) -> bool {
        let open = &self.open;
        open.bytes >= self.limits.bytes
            || open.compared >= self.limits.compared
            || open.files + open.chunks.len() >= self.limits.things
            || open.handles >= self.limits.handles
    }

    fn close_if_full(&mut self) -> Result<(), Error> {
        if self.is_full() { self.close() } else { Ok(()) }
    }

    fn close(&mut self) -> Result<(), Error> {
        self.hand_out_comparison()?;
        self.hand_out_finish()?;
        let window = std::mem::replace(&mut self.open, Window::new());
        self.waiting.push_back(window);
        self.launch_until(COMPARED_AT_ONCE)
    }

    /// Everything is planned.
    pub(super) fn end(mut self) -> Result<(), Error> {
        self.close()?;
        self.launch_until(0)
    }

    /// Sends windows on their way until no more than `count` of them wait for comparisons.
    fn launch_until(&mut self, count: usize) -> Result<(), Error> {
        while self.waiting.len() > count || self.waiting.front().is_some_and(|window| window.answers == 0) {
            let Some(window) = self.waiting.pop_front() else { break };
            self.launch(window)?;
        }
        Ok(())
    }

    fn launch(&mut self, mut window: Window) -> Result<(), Error> {
        while window.answers > 0 {
            self.session.checkpoint()?;
            match window.answered.recv_timeout(LOOK) {
                Ok(differing) => {
                    window.answers -= 1;
                    for (file, chunks) in differing {
                        window.chunks.extend(chunks.into_iter().map(|chunk| (file.clone(), chunk)));
                        file.release();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Error::Interrupted),
            }
        }
        if window.chunks.is_empty() {
            return Ok(());
        }
        let share = Arc::new(self.written.take(1, &self.session)?);
        let (range_max, gap_max) = if self.session.vault.store().is_remote() { FAR } else { NEAR };
        let mut segments = self.group(window.chunks)?.into_iter().peekable();
        while let Some(first) = segments.next() {
            let object = first.pack.object;
            let mut range = first.sealed.clone();
            let mut together = vec![first];
            while let Some(next) = segments.next_if(|next| {
                next.pack.object == object
                    && (range.end..=range.end + gap_max).contains(&next.sealed.start)
                    && next.sealed.end - range.start <= range_max
            }) {
                range.end = next.sealed.end;
                together.push(next);
            }
            let object = object.pack_name();
            self.fetcher.fetch(RangeWork { object, range, segments: together, window: share.clone() })?;
        }
        Ok(())
    }

    /// The segments of these chunks: packs in the order in which they are met, and within them by place. Files whose
    /// chunks cannot be found are told so.
    fn group(&self, chunks: Vec<(Arc<FileWork>, PlacedChunk)>) -> Result<Vec<SegmentWork>, Error> {
        let mut packs: HashMap<PackId, FoundPack> = HashMap::new();
        let mut found: HashMap<(PackId, u32), Result<usize, Rc<Error>>> = HashMap::new();
        let mut segments: Vec<(usize, SegmentWork)> = Vec::new();
        for (file, PlacedChunk { address, at }) in chunks {
            let segment = found.entry((address.pack, address.segment)).or_insert_with(|| {
                let segment = self.locate(&mut packs, address.pack, address.segment)?;
                segments.push(segment);
                Ok(segments.len() - 1)
            });
            match segment {
                Ok(number) => {
                    if let Some((_, segment)) = segments.get_mut(*number) {
                        let (offset, length) = (address.offset, address.length);
                        segment.pieces.push(Piece { file, at, offset, length });
                    }
                }
                Err(error) => {
                    self.session.checkpoint()?;
                    file.lost(error);
                    file.release();
                }
            }
        }
        segments.sort_by_key(|(pack, segment)| (*pack, segment.sealed.start));
        Ok(segments.into_iter().map(|(_, segment)| segment).collect())
    }

    /// Where a segment is, with its pack's place in the order.
    fn locate(
        &self,
        packs: &mut HashMap<PackId, FoundPack>,
        pack: PackId,
        number: u32,
    ) -> Result<(usize, SegmentWork), Rc<Error>> {
        let rank = packs.len();
        let found = packs.entry(pack).or_insert_with(|| match self.session.reader.pack(pack) {
            Ok(open) => Ok((rank, open)),
            Err(error) if is_out_of_reach(&error) => {
                self.session.stop(error);
                Err(Rc::new(Error::Interrupted))
            }
            Err(error) => Err(Rc::new(error)),
        });
        let (rank, open) = found.as_ref().map_err(Rc::clone)?;
        let row = open.row(number).map_err(Rc::new)?;
        let sealed = row.offset..row.offset + u64::from(row.length);
        Ok((*rank, SegmentWork { pack: open.clone(), number, sealed, pieces: Vec::new() }))
    }
}

/// A pack with its place in the order, or why it cannot be used.
type FoundPack = Result<(usize, Arc<OpenPack>), Rc<Error>>;
