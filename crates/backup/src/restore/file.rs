//! One regular file on its way.
//!
//! Each piece of work on a file holds it. Whoever lets go last completes it: all bytes are there, so lengths, holes and
//! metadata are set and it is closed. A file that failed, or that is dropped half-way, is removed if it is new.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use content::tree::{Entry, FileContent, Hole, Node};
use files::{TargetError, TargetFile, TargetFolder};

use super::folder::Folder;
use super::layout::each_span;
use super::links::Group;
use super::metadata;
use super::session::describe;
use crate::Error;
use crate::tree_walk::join;

/// How the content gets to its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Into a new file.
    Create,
    /// Into the file that is there.
    Update,
}

pub(super) struct FileWork {
    pub folder: Arc<Folder>,
    pub entry: Entry,
    /// The names it has, when there may be several.
    pub group: Option<Arc<Group>>,
    state: Mutex<State>,
}

struct State {
    way: Way,
    file: Option<Arc<TargetFile>>,
    /// Whether `file` may be written to.
    writable: bool,
    /// Whether the name stands for something that we made.
    made: bool,
    /// Whether its content is not what was found.
    changed: bool,
    /// Why it cannot be restored.
    failed: Option<String>,
    completed: bool,
}

impl FileWork {
    /// Begins with a file; its list of chunks is taken out of `entry`, which must be a file's.
    pub(super) fn new(folder: &Arc<Folder>, mut entry: Entry, way: Way) -> Self {
        if let Node::File { content, .. } = &mut entry.node {
            *content = FileContent::Chunks(Vec::new());
        }
        let state = State {
            way,
            file: None,
            writable: false,
            made: false,
            changed: way == Way::Create,
            failed: None,
            completed: false,
        };
        Self { folder: folder.clone(), entry, group: None, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn path(&self) -> Vec<u8> {
        join(&self.folder.path, &self.entry.name)
    }

    pub(super) fn holes(&self) -> &[Hole] {
        match &self.entry.node {
            Node::File { holes, .. } => holes,
            _ => &[],
        }
    }

    /// The folder on this machine. `None` only in a dry run.
    pub(super) fn place(&self) -> Option<&Arc<TargetFolder>> {
        self.folder.place.as_ref()
    }

    pub(super) fn is_failed(&self) -> bool {
        self.state().failed.is_some()
    }

    /// It cannot be restored because of the vault. Only the first reason is noted.
    pub(super) fn lost(&self, error: &Error) {
        let why = describe(error);
        if self.fail(&why) {
            self.folder.session.lost(&self.path(), why);
        }
    }

    /// It cannot be restored because of this machine. Only the first reason is noted.
    pub(super) fn refused(&self, error: TargetError) {
        if self.fail(&describe(&error)) {
            self.folder.session.refused(&self.path(), error);
        }
    }

    fn fail(&self, why: &str) -> bool {
        let failed = &mut self.state().failed;
        let first = failed.is_none();
        failed.get_or_insert_with(|| why.to_owned());
        first
    }

    /// Takes a file that is open already; `writable` as long as it is right as it is.
    pub(super) fn adopt(&self, file: TargetFile, writable: bool) {
        let mut state = self.state();
        (state.file, state.writable) = (Some(Arc::new(file)), writable);
    }

    /// The file, if it is open.
    pub(super) fn opened(&self) -> Option<Arc<TargetFile>> {
        self.state().file.clone()
    }

    /// Its content will not be what was found.
    pub(super) fn set_changed(&self) {
        self.state().changed = true;
    }

    /// Takes what is there away; all content goes into a new file.
    pub(super) fn replace(&self) -> Result<(), TargetError> {
        let mut state = self.state();
        (state.file, state.way, state.changed) = (None, Way::Create, true);
        match self.place() {
            Some(place) if !self.folder.session.request.dry_run => place.remove(&self.entry.name),
            _ => Ok(()),
        }
    }

    /// Makes or opens the file if that is still to be done.
    pub(super) fn open(&self) -> Result<Option<Arc<TargetFile>>, TargetError> {
        let mut state = self.state();
        let Some(place) = self.place().filter(|_| state.failed.is_none()) else { return Ok(None) };
        if let Some(file) = state.file.as_ref().filter(|_| state.writable) {
            return Ok(Some(file.clone()));
        }
        let name = &self.entry.name;
        let file = match state.way {
            Way::Update => match place.open_file(name) {
                Ok(file) => file,
                // It is being executed, or may not be changed: a new one in its place is as good.
                Err(_) => {
                    place.remove(name)?;
                    state.way = Way::Create;
                    place.create_file_like(name, &metadata::stat(&self.entry))?
                }
            },
            Way::Create => place.create_file_like(name, &metadata::stat(&self.entry))?,
        };
        let file = Arc::new(file);
        (state.file, state.writable, state.changed) = (Some(file.clone()), true, true);
        state.made = state.way == Way::Create;
        Ok(Some(file))
    }

    /// Writes data whose first byte belongs at `at`; it goes on behind each hole.
    pub(super) fn write(&self, at: u64, data: &[u8]) {
        let written = self.open().and_then(|file| {
            let Some(file) = file else { return Ok(false) };
            let mut outcome = Ok(true);
            each_span(self.holes(), at, data.len() as u64, |span, from| {
                let length = span.end.saturating_sub(span.start) as usize;
                let piece = data.get(from as usize..from as usize + length).unwrap_or_default();
                if outcome.is_ok() {
                    outcome = file.write_at(span.start, piece).map(|()| true);
                }
            });
            outcome
        });
        match written {
            // It has failed before.
            Ok(false) => {}
            Ok(true) => {
                let session = &self.folder.session;
                session.counts.bytes_written.fetch_add(data.len() as u64, Ordering::Relaxed);
                session.progress.add_bytes_stored(data.len() as u64);
            }
            Err(error) => self.refused(error),
        }
    }

    /// Lets go of a file; the last one to do so completes it.
    pub(super) fn release(self: Arc<Self>) {
        if let Some(file) = Arc::into_inner(self) {
            file.complete();
        }
    }

    fn complete(self) {
        let session = &self.folder.session;
        if !session.is_stopped() && !self.is_failed() {
            if session.request.dry_run {
                self.state().completed = true;
            } else {
                match self.settle() {
                    Ok(()) => self.state().completed = true,
                    Err(error) => self.refused(error),
                }
            }
        }
        let state = self.state();
        if state.completed {
            let counts = &session.counts;
            let counter = if state.changed { &counts.files_restored } else { &counts.files_unchanged };
            counter.fetch_add(1, Ordering::Relaxed);
            if let Some(group) = &self.group {
                group.complete();
            }
        }
        session.progress.add_files(1);
        session.progress.add_bytes(self.entry.size());
    }

    /// All content is there: length, holes and metadata.
    fn settle(&self) -> Result<(), TargetError> {
        let open = self.state().file.clone();
        let file = match open {
            Some(file) => file,
            // Nothing was to be written.
            None => match self.open()? {
                Some(file) => file,
                None => return Ok(()),
            },
        };
        let (size, holes) = (self.entry.size(), self.holes());
        // Read only now: what cannot be changed becomes a new file when it is opened.
        let way = self.state().way;
        match way {
            Way::Create => {
                if holes.last().is_some_and(|hole| hole.offset + hole.length == size) {
                    file.set_len(size)?;
                }
            }
            Way::Update => {
                if file.len()? != size {
                    file.set_len(size)?;
                    self.set_changed();
                }
                // One that is only open to be read is right, but for where it has zeros instead of holes.
                if self.state().writable {
                    self.punch(&file, holes)?;
                }
            }
        }
        let stat = metadata::stat(&self.entry);
        let problems = file.apply(&stat, &metadata::details(&self.entry), &self.folder.session.apply);
        if !problems.is_empty() {
            metadata::note(&self.folder.session, &self.path(), &problems);
        }
        Ok(())
    }

    /// Makes holes where the snapshot has some and the file that was there has data.
    fn punch(&self, file: &TargetFile, holes: &[Hole]) -> Result<(), TargetError> {
        if holes.is_empty() {
            return Ok(());
        }
        for data in file.data_ranges(self.entry.size())? {
            let first = holes.partition_point(|hole| hole.offset + hole.length <= data.start);
            for hole in holes.iter().skip(first).take_while(|hole| hole.offset < data.end) {
                let range = data.start.max(hole.offset)..data.end.min(hole.offset + hole.length);
                file.punch_hole(range)?;
                self.set_changed();
            }
        }
        Ok(())
    }
}

impl Drop for FileWork {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        if state.completed {
            return;
        }
        state.file = None;
        if let (true, Some(place)) = (state.made, &self.folder.place)
            && let Err(error) = place.remove(&self.entry.name)
        {
            let path = join(&self.folder.path, &self.entry.name);
            self.folder.session.lost(&path, format!("its beginning is left over: {}", describe(&error)));
        }
        if let Some(group) = &self.group {
            group.fail(state.failed.as_deref().unwrap_or("it was interrupted"));
        }
    }
}
