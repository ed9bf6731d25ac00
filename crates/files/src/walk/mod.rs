//! Walking: everything under some roots, in path order, with threads that look ahead.
//!
//! [`Walk`] is an iterator of [`Step`]s. It starts with the top of the tree and goes down through the
//! ancestors of the roots (with their real metadata, showing nothing else in them); inside a
//! directory the names come in byte order, files and directories mixed. What could not be read is a
//! step of its own, and the walk goes on.
//!
//! - `plan` merges the roots into a tree of what was asked for;
//! - `names` holds the sorted names of a folder in little memory;
//! - `scan` lists one folder and stats its entries, a bounded batch at a time;
//! - `order` keeps the scans still to do in path order;
//! - `lookahead` lets threads do the nearest of them before they are asked for.

mod lookahead;
mod names;
mod order;
mod plan;
mod scan;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::vec;

use thiserror::Error;

use crate::platform;
use crate::rules::Rules;
use crate::source::{Entry, SourceFolder};
use lookahead::{LookAhead, Ticket};
use scan::{Batch, Scanned, Scanner};

/// Why a walk could not begin.
#[derive(Debug, Error)]
pub enum WalkError {
    /// There is nothing to walk.
    #[error("no path was given; name at least one file or folder")]
    NoRoots,
    /// One of the roots is not there or not reachable.
    #[error("the path {} cannot be found", path.display())]
    Root {
        /// The root as it was given.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The top of the tree itself cannot be opened.
    #[error("the top of the file system cannot be opened")]
    Top(#[source] io::Error),
    /// No thread could be started.
    #[error("a thread to look ahead cannot be started; lower the number of threads")]
    Thread(#[source] io::Error),
}

/// How to walk.
#[derive(Clone, Debug)]
pub struct WalkOptions {
    /// What to leave out.
    pub rules: Rules,
    /// Show other file systems mounted below a root as empty directories.
    pub one_file_system: bool,
    /// Directories, as (device, inode), that are neither shown nor entered, even as a root.
    pub skip: Vec<(u64, u64)>,
    /// How many threads look ahead; with 0 everything is scanned when it is asked for.
    pub threads: usize,
    /// How many entries of one folder are looked at in one go; bounds memory in huge folders.
    pub batch: usize,
}

impl Default for WalkOptions {
    /// Leaves nothing out and looks ahead with two to four threads.
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, |count| count.get());
        WalkOptions {
            rules: Rules::default(),
            one_file_system: false,
            skip: Vec::new(),
            threads: processors.clamp(2, 4),
            batch: 4096,
        }
    }
}

/// One event of a walk.
#[derive(Debug)]
pub enum Step {
    /// A directory begins; what is in it follows until its [`Step::Leave`].
    Enter(Entry),
    /// Anything but a directory.
    Item(Entry),
    /// The directory entered last and not yet left ends.
    Leave,
    /// Something could not be read. A directory that cannot be listed is still entered and left; what
    /// vanished between two looks (the error is `NotFound`) does not appear otherwise.
    Problem {
        /// What it is about.
        path: PathBuf,
        /// What went wrong.
        error: io::Error,
    },
}

/// What a walk left out so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries left out by the rules (of a directory, only itself counts).
    pub excluded: u64,
    /// Directories shown empty for a marker file or a cache tag.
    pub emptied: u64,
    /// Mount points shown empty.
    pub mounts: u64,
}

/// A walk under way; see the module. Dropping it ends the threads.
#[derive(Debug)]
pub struct Walk {
    look_ahead: LookAhead,
    /// The directories entered and not yet left.
    path: Vec<Level>,
    /// Steps that are due before anything else.
    due: VecDeque<Step>,
}

/// A directory that is being shown.
#[derive(Debug)]
struct Level {
    folder: Arc<SourceFolder>,
    items: vec::IntoIter<Scanned>,
    /// The rest of a large directory.
    rest: Option<Ticket>,
}

impl Walk {
    /// Begins to walk `roots`: files or directories, absolute or relative. Symlinks among a root's
    /// ancestors are resolved, its last component is not followed (unless a slash is written after
    /// it). Roots inside each other are merged.
    pub fn start(roots: &[PathBuf], options: WalkOptions) -> Result<Walk, WalkError> {
        let plan = plan::plan(roots)?;
        let open_file_limit = platform::raise_open_file_limit();
        let threads = options.threads;
        let (scanner, top, stat) = Scanner::start(options, &plan).map_err(WalkError::Top)?;
        let entry = Entry { name: Vec::new(), stat, folder: top.parent() };
        let mut look_ahead =
            LookAhead::start(scanner, threads, open_file_limit).map_err(WalkError::Thread)?;
        let batch = look_ahead.scan(top);
        let mut walk = Walk { look_ahead, path: Vec::new(), due: VecDeque::new() };
        walk.enter(entry, batch);
        Ok(walk)
    }

    /// What was left out so far, by the threads that look ahead too; final when the walk has ended.
    pub fn counts(&self) -> Counts {
        self.look_ahead.scanner().counts()
    }

    /// Makes the steps of a directory whose first batch is known: entering it, and what went wrong.
    fn enter(&mut self, entry: Entry, batch: Batch) {
        let path = batch.error.as_ref().map(|_| entry.path());
        match batch.folder {
            Some(folder) => {
                self.due.push_back(Step::Enter(entry));
                self.path.push(Level { folder, items: batch.items.into_iter(), rest: batch.rest });
            }
            None if batch.vanished => {}
            None => self.due.extend([Step::Enter(entry), Step::Leave]),
        }
        if let (Some(path), Some(error)) = (path, batch.error) {
            // Between Enter and Leave, so that it is plain whose problem it is.
            let place = self.due.len() - usize::from(matches!(self.due.back(), Some(Step::Leave)));
            self.due.insert(place, Step::Problem { path, error });
        }
    }
}

impl Iterator for Walk {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            if let Some(step) = self.due.pop_front() {
                return Some(step);
            }
            let level = self.path.last_mut()?;
            match level.items.next() {
                Some(Scanned::Thing { name, stat, contents }) => {
                    let entry = Entry { name, stat, folder: level.folder.clone() };
                    if !stat.is_directory() {
                        return Some(Step::Item(entry));
                    }
                    match contents {
                        Some(ticket) => {
                            let batch = self.look_ahead.take(ticket);
                            self.enter(entry, batch);
                        }
                        None => {
                            self.due.push_back(Step::Leave);
                            return Some(Step::Enter(entry));
                        }
                    }
                }
                Some(Scanned::Problem { name, error }) => {
                    let path = level.folder.path().join(platform::path_from(name));
                    return Some(Step::Problem { path, error });
                }
                None => match level.rest.take() {
                    Some(ticket) => {
                        let batch = self.look_ahead.take(ticket);
                        level.items = batch.items.into_iter();
                        level.rest = batch.rest;
                    }
                    None => {
                        self.path.pop();
                        return Some(Step::Leave);
                    }
                },
            }
        }
    }
}

#[cfg(test)]
mod tests;
