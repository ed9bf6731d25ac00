//! Reading back what was restored, and comparing it with the chunks' ids.
//!
//! A second walk of the tree, after everything else: so it also sees what a later step may have done to an earlier one.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use content::tree::{Entry, Node};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use files::{Target, TargetError, TargetFile, TargetFolder, Verdict};

use super::compare::{Comparer, Comparison};
use super::layout::{Layout, PlacedChunk};
use super::session::{Session, describe, is_out_of_reach};
use crate::{Error, TreeStep};

/// One worker takes about this many bytes, or this many files.
const BATCH_BYTES: u64 = 16 << 20;
const BATCH_FILES: usize = 64;
/// How often a waiting thread looks whether everything was stopped.
const LOOK: Duration = Duration::from_millis(100);
/// Holes are read in pieces of this many bytes.
const HOLE_PIECE: usize = 256 << 10;

/// A file, or a part of a large one.
struct Part {
    folder: Arc<TargetFolder>,
    path: Arc<Vec<u8>>,
    entry: Arc<Entry>,
    chunks: Vec<PlacedChunk>,
    /// Whether length and holes are looked at with this part.
    first: bool,
}

/// Verifies all that is at and below `start`, which stands at `path`.
pub(super) fn run(session: &Arc<Session>, start: Entry, path: &[u8]) -> Result<(), Error> {
    session.progress.set_stage("verifying");
    let target = &session.request.target;
    let top = Target::open(target, false).map_err(|error| {
        let source = std::io::Error::other(describe(&error));
        Error::File { path: target.clone(), action: "read back", source }
    })?;
    let threads = session.threads();
    let (parts_in, parts) = bounded(4 * threads);
    thread::scope(|scope| {
        for _ in 0..threads {
            let parts = parts.clone();
            scope.spawn(move || verify_parts(session, &parts));
        }
        drop(parts);
        let mut planner = Planner { session, parts: parts_in, batch: Vec::new(), bytes: 0 };
        let walked = planner.walk(&top.root(), start, path).and_then(|()| planner.hand_out());
        if let Err(error) = walked {
            session.stop(error);
        }
    });
    match session.failure() {
        Some(error) => Err(error),
        None => session.checkpoint(),
    }
}

struct Planner<'a> {
    session: &'a Arc<Session>,
    parts: Sender<Vec<Part>>,
    batch: Vec<Part>,
    bytes: u64,
}

impl Planner<'_> {
    fn walk(&mut self, top: &Arc<TargetFolder>, start: Entry, path: &[u8]) -> Result<(), Error> {
        let session = self.session;
        let selection = &session.request.selection;
        // The folders that the walk is in; `None` below one that is not there, which was noted before if it should be.
        let mut folders: Vec<Option<Arc<TargetFolder>>> = Vec::new();
        let mut walk = session.reader.walk(start, path);
        while let Some(step) = walk.next() {
            session.checkpoint()?;
            match step {
                Ok(TreeStep::Enter { path, entry }) => {
                    let folder = match folders.last() {
                        None => Some(top.clone()),
                        Some(parent) => parent
                            .as_ref()
                            .filter(|_| selection.verdict(&path, true) != Verdict::No)
                            .and_then(|parent| parent.existing_folder(&entry.name).ok()),
                    };
                    if folder.is_none() {
                        walk.skip_directory();
                    }
                    folders.push(folder);
                }
                Ok(TreeStep::Leave { .. }) => {
                    folders.pop();
                }
                Ok(TreeStep::Item { path, entry }) => {
                    let folder = folders.last().cloned().unwrap_or_else(|| Some(top.clone()));
                    if let (Some(folder), Verdict::Wanted, true) =
                        (folder, selection.verdict(&path, false), session.is_to_verify(&path))
                    {
                        self.thing(&folder, path, entry)?;
                    }
                }
                Err(error) if is_out_of_reach(&error) => return Err(error),
                // It was noted when it was restored.
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn thing(&mut self, folder: &Arc<TargetFolder>, path: Vec<u8>, entry: Entry) -> Result<(), Error> {
        self.session.progress.set_current(&path);
        match &entry.node {
            Node::File { .. } => self.file(folder, path, entry),
            Node::Symlink { target } => {
                match folder.details(&entry.name) {
                    Ok(details) if details.target == *target => {}
                    Ok(_) => self.session.lost(&path, "it points elsewhere than it should".to_owned()),
                    Err(error) => self.session.lost(&path, describe(&error)),
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn file(&mut self, folder: &Arc<TargetFolder>, path: Vec<u8>, entry: Entry) -> Result<(), Error> {
        let layout = Layout::new(&self.session.reader, &entry);
        let (path, entry) = (Arc::new(path), Arc::new(entry));
        let part = |chunks, first| Part {
            folder: folder.clone(),
            path: path.clone(),
            entry: entry.clone(),
            chunks,
            first,
        };
        let mut chunks = Vec::new();
        let mut first = true;
        for chunk in layout {
            match chunk {
                Ok(chunk) => {
                    self.bytes += u64::from(chunk.address.length);
                    chunks.push(chunk);
                }
                Err(error) => {
                    self.session.lost(&path, describe(&error));
                    return Ok(());
                }
            }
            if self.bytes >= BATCH_BYTES {
                self.batch.push(part(std::mem::take(&mut chunks), first));
                first = false;
                self.hand_out()?;
            }
        }
        if first || !chunks.is_empty() {
            self.batch.push(part(chunks, first));
        }
        if self.batch.len() >= BATCH_FILES { self.hand_out() } else { Ok(()) }
    }

    fn hand_out(&mut self) -> Result<(), Error> {
        self.bytes = 0;
        self.parts.send(std::mem::take(&mut self.batch)).map_err(|_| Error::Interrupted)
    }
}

fn verify_parts(session: &Arc<Session>, parts: &Receiver<Vec<Part>>) {
    let mut comparer = Comparer::new(session);
    while !session.is_stopped() {
        let batch = match parts.recv_timeout(LOOK) {
            Ok(batch) => batch,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        for part in batch {
            let wrong = match verify(session, &mut comparer, &part) {
                Ok(None) => continue,
                Ok(Some(wrong)) => wrong,
                Err(error) => describe(&error),
            };
            // Of a large file only the first part that is wrong counts.
            if session.is_to_verify(&part.path) {
                session.lost(&part.path, wrong);
            }
        }
    }
}

/// What is wrong with a part.
fn verify(session: &Session, comparer: &mut Comparer, part: &Part) -> Result<Option<String>, TargetError> {
    let file = part.folder.open_file_to_read(&part.entry.name)?;
    let holes = match &part.entry.node {
        Node::File { holes, .. } => holes.as_slice(),
        _ => &[],
    };
    if part.first {
        let (size, length) = (part.entry.size(), file.len()?);
        if size != length {
            return Ok(Some(format!("it reads back with {length} bytes and should have {size}")));
        }
        if !are_holes_empty(session, &file, part)? {
            return Ok(Some("it reads back with data where it should have none".to_owned()));
        }
    }
    for chunk in &part.chunks {
        if session.is_stopped() {
            return Ok(None);
        }
        match comparer.chunk(&file, holes, chunk)? {
            Comparison::Same => {}
            Comparison::Different => {
                return Ok(Some(format!("it reads back differently from byte {} on", chunk.at)));
            }
            Comparison::Unknown(error) => {
                return Ok(Some(format!("it cannot be verified: {}", describe(&error))));
            }
        }
    }
    Ok(None)
}

/// Whether all holes of the snapshot's file read as zeros. Only what takes room is read.
fn are_holes_empty(session: &Session, file: &TargetFile, part: &Part) -> Result<bool, TargetError> {
    let Node::File { holes, size, .. } = &part.entry.node else { return Ok(true) };
    if holes.is_empty() {
        return Ok(true);
    }
    let mut buffer = vec![0; HOLE_PIECE];
    for data in file.data_ranges(*size)? {
        let first = holes.partition_point(|hole| hole.offset + hole.length <= data.start);
        for hole in holes.iter().skip(first).take_while(|hole| hole.offset < data.end) {
            let end = data.end.min(hole.offset + hole.length);
            let mut at = data.start.max(hole.offset);
            while at < end && !session.is_stopped() {
                let length = (end - at).min(HOLE_PIECE as u64) as usize;
                let got = file.read_at(at, buffer.get_mut(..length).unwrap_or_default())?;
                if got == 0 || buffer.iter().take(got).any(|byte| *byte != 0) {
                    return Ok(false);
                }
                at += got as u64;
            }
        }
    }
    Ok(true)
}
