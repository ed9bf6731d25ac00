//! Reading: new and changed files into named chunks, each file looked at before and after.

use std::io;

use content::body::{Problem, ProblemKind};
use content::chunk::Identifier;
use content::cut::{Cutter, Progress as CutProgress};
use content::tree::Hole;
use content::{ChunkId, tree::Time};
use crossbeam_channel::{Receiver, Sender};
use files::{Kind, SourceFile, Stat};

use super::plan::{SMALL_FILE, problem, time};
use super::session::Session;
use crate::{Error, Progress};

/// How often a file that changes while it is read is read again.
const TRIES: usize = 3;
/// How much of a large file is read at a time.
const BLOCK: usize = 256 << 10;

/// Files to read, in order; results go to `output` in the same order.
pub(super) struct ReadJob {
    pub files: Vec<files::Entry>,
    pub output: Sender<ReadOutput>,
}

/// What was read of one file besides its bytes.
pub(super) struct FileFacts {
    pub size: u64,
    pub holes: Vec<Hole>,
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub mode: u32,
    pub modified: Time,
    pub changed: Time,
    pub changing: bool,
    /// Something to be noted beside a file that was read.
    pub note: Option<Problem>,
}

/// One small file among others: its bytes are the next `length` of the message's data.
pub(super) struct SmallFile {
    pub length: usize,
    /// `None` for a file without data.
    pub id: Option<ChunkId>,
    pub outcome: Result<FileFacts, Problem>,
}

pub(super) enum ReadOutput {
    /// Small files, one after the other.
    Small { data: Vec<u8>, files: Vec<SmallFile> },
    /// The next chunk of a large file.
    Chunk { bytes: Vec<u8>, id: ChunkId },
    /// The large file changed: what came of it is void, it comes again from the start.
    Restart,
    /// The large file is complete.
    End(Result<FileFacts, Problem>),
}

/// Runs a reader until there are no more jobs.
pub(super) fn run(session: &Session<'_>, jobs: &Receiver<ReadJob>) -> Result<(), Error> {
    let mut reader = FileReader {
        cutter: session.cutter.clone(),
        identifier: session.vault.keyring().identifier(),
        progress: session.progress,
        data: Vec::new(),
        small: Vec::new(),
    };
    for job in jobs {
        reader.job(&job)?;
    }
    Ok(())
}

pub(super) struct FileReader<'a> {
    pub cutter: Cutter,
    pub identifier: Identifier,
    pub progress: &'a Progress,
    pub data: Vec<u8>,
    pub small: Vec<SmallFile>,
}

/// Why reading stopped: the file's fault or the run's end.
enum Stop {
    File(io::Error),
    Run,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

impl FileReader<'_> {
    fn job(&mut self, job: &ReadJob) -> Result<(), Error> {
        for file in &job.files {
            self.progress.checkpoint()?;
            let start = self.data.len();
            match self.read_small(file) {
                Ok(Some(facts)) => {
                    let bytes = self.data.get(start..).unwrap_or_default();
                    let id = (!bytes.is_empty()).then(|| self.identifier.identify(bytes));
                    self.small.push(SmallFile { length: bytes.len(), id, outcome: Ok(facts) });
                }
                Ok(None) => {
                    // It is large, or has grown since the walk met it.
                    self.data.truncate(start);
                    self.flush(&job.output)?;
                    self.read_large(file, &job.output)?;
                }
                Err(error) => {
                    self.data.truncate(start);
                    self.small.push(SmallFile { length: 0, id: None, outcome: Err(failed(file, &error)) });
                }
            }
        }
        self.flush(&job.output)
    }

    fn flush(&mut self, output: &Sender<ReadOutput>) -> Result<(), Error> {
        if self.small.is_empty() {
            return Ok(());
        }
        let message = ReadOutput::Small {
            data: std::mem::take(&mut self.data),
            files: std::mem::take(&mut self.small),
        };
        output.send(message).map_err(|_| Error::Interrupted)
    }

    /// Appends a small file's data. `None` when it is not small.
    fn read_small(&mut self, file: &files::Entry) -> io::Result<Option<FileFacts>> {
        if file.stat.size > SMALL_FILE {
            return Ok(None);
        }
        let start = self.data.len();
        for attempt in 1..=TRIES {
            self.data.truncate(start);
            let source = file.open()?;
            let before = checked_stat(&source)?;
            if before.size > SMALL_FILE {
                return Ok(None);
            }
            let ranges = data_ranges(&source, &before)?;
            for range in &ranges {
                append_range(&source, range.clone(), &mut self.data)?;
            }
            let length = self.data.len() - start;
            let expected: u64 = ranges.iter().map(|range| range.end - range.start).sum();
            let steady = holds_still(&source, &before)? && length as u64 == expected;
            if steady || attempt == TRIES {
                self.progress.add_bytes_read(length as u64);
                let holes = holes_between(&ranges, before.size, length as u64);
                return facts(file, &source, &before, length as u64, holes, !steady).map(Some);
            }
        }
        Ok(None)
    }

    fn read_large(&mut self, file: &files::Entry, output: &Sender<ReadOutput>) -> Result<(), Error> {
        for attempt in 1..=TRIES {
            let end = match self.attempt_large(file, output) {
                Ok((facts, steady)) if steady || attempt == TRIES => Ok(facts),
                Ok(_) => {
                    output.send(ReadOutput::Restart).map_err(|_| Error::Interrupted)?;
                    continue;
                }
                Err(Stop::Run) => return Err(Error::Interrupted),
                Err(Stop::File(error)) => Err(failed(file, &error)),
            };
            return output.send(ReadOutput::End(end)).map_err(|_| Error::Interrupted);
        }
        Ok(())
    }

    fn attempt_large(
        &mut self,
        file: &files::Entry,
        output: &Sender<ReadOutput>,
    ) -> Result<(FileFacts, bool), Stop> {
        let source = file.open()?;
        source.advise_sequential();
        let before = checked_stat(&source)?;
        let ranges = data_ranges(&source, &before)?;
        let expected: u64 = ranges.iter().map(|range| range.end - range.start).sum();
        let mut chunker = ChunkStream::new(self.cutter.clone());
        let mut length = 0u64;
        for range in &ranges {
            let mut at = range.start;
            while at < range.end {
                let want = (range.end - at).min(BLOCK as u64) as usize;
                let got = chunker.fill(want, |buffer| source.read_at(at, buffer))?;
                if got == 0 {
                    break;
                }
                at += got as u64;
                length += got as u64;
                self.progress.add_bytes_read(got as u64);
                while let Some(chunk) = chunker.next_chunk() {
                    self.send_chunk(chunk, output)?;
                }
            }
        }
        if let Some(chunk) = chunker.finish() {
            self.send_chunk(chunk, output)?;
        }
        let steady = holds_still(&source, &before)? && length == expected;
        let holes = holes_between(&ranges, before.size, length);
        Ok((facts(file, &source, &before, length, holes, !steady)?, steady))
    }

    fn send_chunk(&self, bytes: Vec<u8>, output: &Sender<ReadOutput>) -> Result<(), Stop> {
        if self.progress.is_cancelled() {
            return Err(Stop::Run);
        }
        let id = self.identifier.identify(&bytes);
        output.send(ReadOutput::Chunk { bytes, id }).map_err(|_| Stop::Run)
    }
}

/// Cuts a stream: bytes go in in blocks, chunks come out.
pub(super) struct ChunkStream {
    cutter: Cutter,
    buffer: Vec<u8>,
    progress: CutProgress,
}

impl ChunkStream {
    pub(super) fn new(cutter: Cutter) -> Self {
        Self { cutter, buffer: Vec::new(), progress: CutProgress::default() }
    }

    /// Appends up to `want` bytes with one call of `read`; how many came.
    pub(super) fn fill(
        &mut self,
        want: usize,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let start = self.buffer.len();
        self.buffer.resize(start + want, 0);
        let got = read(self.buffer.get_mut(start..).unwrap_or_default());
        self.buffer.truncate(start + got.as_ref().map_or(0, |got| *got));
        got
    }

    /// The next chunk that is complete.
    pub(super) fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let length = self.cutter.find(&mut self.progress, &self.buffer)?;
        let rest = self.buffer.split_off(length);
        self.progress = CutProgress::default();
        Some(std::mem::replace(&mut self.buffer, rest))
    }

    /// What is left at the end.
    pub(super) fn finish(mut self) -> Option<Vec<u8>> {
        (!self.buffer.is_empty()).then(|| std::mem::take(&mut self.buffer))
    }
}

fn checked_stat(source: &SourceFile) -> io::Result<Stat> {
    let stat = source.stat()?;
    match stat.kind {
        Kind::File => Ok(stat),
        _ => Err(io::Error::other("it was replaced by something that is not a file")),
    }
}

/// Whether nothing happened to the file since `before`.
fn holds_still(source: &SourceFile, before: &Stat) -> io::Result<bool> {
    let after = source.stat()?;
    Ok(after.size == before.size && after.modified == before.modified && after.changed == before.changed)
}

fn data_ranges(source: &SourceFile, stat: &Stat) -> io::Result<Vec<std::ops::Range<u64>>> {
    if stat.may_have_holes() {
        return source.data_ranges(stat.size);
    }
    Ok(if stat.size > 0 { std::iter::once(0..stat.size).collect() } else { Vec::new() })
}

/// Reads a range whole; less is left when the file ends earlier.
fn append_range(source: &SourceFile, range: std::ops::Range<u64>, data: &mut Vec<u8>) -> io::Result<()> {
    let mut at = range.start;
    while at < range.end {
        let start = data.len();
        data.resize(start + (range.end - at) as usize, 0);
        let got = source.read_at(at, data.get_mut(start..).unwrap_or_default());
        data.truncate(start + got.as_ref().map_or(0, |got| *got));
        match got? {
            0 => return Ok(()),
            got => at += got as u64,
        }
    }
    Ok(())
}

/// The holes of a file of `size` bytes with data in `ranges`. If less data came than the ranges hold, the file shrank
/// meanwhile: holes beyond what was read are dropped, so that holes and data add up.
fn holes_between(ranges: &[std::ops::Range<u64>], size: u64, length: u64) -> Vec<Hole> {
    let mut holes = Vec::new();
    let mut end = 0;
    let mut left = length;
    for range in ranges {
        if range.start > end {
            holes.push(Hole { offset: end, length: range.start - end });
        }
        let data = range.end - range.start;
        if left < data {
            return holes;
        }
        left -= data;
        end = range.end;
    }
    if size > end {
        holes.push(Hole { offset: end, length: size - end });
    }
    holes
}

fn facts(
    file: &files::Entry,
    source: &SourceFile,
    stat: &Stat,
    length: u64,
    holes: Vec<Hole>,
    changing: bool,
) -> io::Result<FileFacts> {
    let (xattrs, mut note) = match source.details() {
        Ok(details) => (details.xattrs, None),
        Err(error) => (Vec::new(), Some(problem(ProblemKind::Metadata, &file.path(), &error))),
    };
    if changing {
        let message = io::Error::other("it changed each time it was read; what was read last is stored");
        note = Some(problem(ProblemKind::Changing, &file.path(), &message));
    }
    Ok(FileFacts {
        size: length + holes.iter().map(|hole| hole.length).sum::<u64>(),
        holes,
        xattrs,
        mode: stat.mode,
        modified: time(stat.modified),
        changed: time(stat.changed),
        changing,
        note,
    })
}

fn failed(file: &files::Entry, error: &io::Error) -> Problem {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ProblemKind::Vanished,
        _ => ProblemKind::Unreadable,
    };
    problem(kind, &file.path(), error)
}
