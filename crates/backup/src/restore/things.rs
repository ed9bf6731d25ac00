//! Planning what is not a folder: whether it is there, whether it is another name of something, and how it gets its
//! content.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use content::body::ProblemKind;
use content::tree::{Entry, FileContent, Node};
use files::{Stat, TargetError, TargetFolder};

use super::Overwrite;
use super::compare::Comparer;
use super::existing::{self, Found};
use super::file::{FileWork, Way};
use super::folder::Folder;
use super::layout::{Layout, PlacedChunk};
use super::links::{Links, NotLinked, without_content};
use super::metadata;
use super::plan::Planner;
use super::session::describe;
use super::window::WINDOW_BYTES;
use crate::Error;

impl Planner<'_> {
    /// Restores one thing that is not a folder. An error ends the restore.
    pub(super) fn thing(&mut self, folder: &Arc<Folder>, entry: Entry, path: &[u8]) -> Result<(), Error> {
        let session = self.session;
        session.progress.set_current(path);
        session.counts.bytes_total.fetch_add(entry.size(), Ordering::Relaxed);
        let size = entry.size();
        let planned = match existing::look(session, folder, &entry, path) {
            Ok(Found::LeaveAlone) => {
                session.left_alone(path);
                Ok(None)
            }
            Ok(Found::InTheWay(why)) => {
                session.lost(path, why.to_owned());
                Ok(None)
            }
            Ok(Found::Nothing) => self.new_or_linked(folder, entry, path, None),
            Ok(Found::Same(stat)) => self.new_or_linked(folder, entry, path, Some(stat)),
            Err(error) => Err(error),
        };
        match planned {
            Ok(Some(plan)) => return self.send(plan),
            Ok(None) => {}
            Err(error) => session.refused(path, error),
        }
        session.progress.add_files(1);
        session.progress.add_bytes(size);
        Ok(())
    }

    fn send(&mut self, plan: Planned) -> Result<(), Error> {
        match plan {
            Planned::Write(file, layout) if !self.session.request.dry_run => self.windows.write(file, layout),
            Planned::Compare(file, layout) => self.windows.compare(file, layout),
            Planned::Write(file, _) | Planned::Finish(file) => self.windows.finish(Arc::new(file)),
        }
    }

    /// Makes it another name of something that was restored before, or else the thing itself. `None`: it is done.
    fn new_or_linked(
        &mut self,
        folder: &Arc<Folder>,
        entry: Entry,
        path: &[u8],
        found: Option<Stat>,
    ) -> Result<Option<Planned>, TargetError> {
        let Some(key) = Links::key(&entry).filter(|key| self.links.is_known(*key)) else {
            return match &entry.node {
                Node::File { .. } => self.file(folder, entry, found).map(Some),
                _ => self.small_thing(folder, &entry, path, found).map(|()| None),
            };
        };
        let session = self.session;
        let is_there = found.is_some_and(|found| self.links.is_linked(key, (found.device, found.inode)));
        if found.is_some() && !is_there && !session.request.dry_run {
            place(folder, |place| place.remove(&entry.name))?;
        }
        match self.links.further(key, self.top.as_ref(), folder, &entry.name, is_there) {
            Ok(()) => {
                let counts = &session.counts;
                let counter = if is_there { &counts.files_unchanged } else { &counts.files_restored };
                counter.fetch_add(1, Ordering::Relaxed);
                Ok(None)
            }
            Err(NotLinked::WithoutContent(why)) => {
                session.lost(path, without_content(&why));
                Ok(None)
            }
            Err(NotLinked::Refused(error)) => {
                let message = format!("it is restored as a file of its own: {}", describe(&error));
                session.problem(ProblemKind::Metadata, path, message);
                match &entry.node {
                    Node::File { .. } => {
                        let layout = Layout::new(&session.reader, &entry);
                        Ok(Some(Planned::Write(FileWork::new(folder, entry, Way::Create), layout)))
                    }
                    _ => self.make(folder, &entry, path).map(|()| None),
                }
            }
        }
    }

    /// Symlinks, pipes, sockets and devices: all that is to say about them is in the tree.
    fn small_thing(
        &mut self,
        folder: &Arc<Folder>,
        entry: &Entry,
        path: &[u8],
        found: Option<Stat>,
    ) -> Result<(), TargetError> {
        let key = Links::key(entry);
        if let Some(found) = found {
            let identity = (found.device, found.inode);
            let alone = found.links <= 1 || key.is_some_and(|key| self.links.keep(identity, key));
            if alone && is_right(folder, entry, &found)? {
                self.session.counts.files_unchanged.fetch_add(1, Ordering::Relaxed);
                self.add_group(folder, entry, Some(identity));
                self.apply(folder, entry, path);
                return Ok(());
            }
            if !self.session.request.dry_run {
                place(folder, |place| place.remove(&entry.name))?;
            }
        }
        self.make(folder, entry, path)?;
        if key.is_some() {
            let made = folder.place.as_ref().map(|place| place.look(&entry.name)).transpose()?.flatten();
            self.add_group(folder, entry, made.map(|made| (made.device, made.inode)));
        }
        Ok(())
    }

    fn add_group(&mut self, folder: &Arc<Folder>, entry: &Entry, identity: Option<(u64, u64)>) {
        if let Some(key) = Links::key(entry) {
            let way = self.way();
            self.links.add(key, folder, way, entry, identity).complete();
        }
    }

    fn make(&self, folder: &Folder, entry: &Entry, path: &[u8]) -> Result<(), TargetError> {
        let name = &entry.name;
        if !self.session.request.dry_run {
            place(folder, |place| match &entry.node {
                Node::Symlink { target } => place.symlink(name, target),
                Node::Fifo => place.fifo(name),
                Node::Socket => place.socket(name),
                Node::CharDevice { .. } | Node::BlockDevice { .. } => {
                    place.device(name, &metadata::stat(entry))
                }
                // Neither comes here.
                Node::File { .. } | Node::Directory { .. } => Ok(()),
            })?;
        }
        self.session.counts.files_restored.fetch_add(1, Ordering::Relaxed);
        self.apply(folder, entry, path);
        Ok(())
    }

    fn apply(&self, folder: &Folder, entry: &Entry, path: &[u8]) {
        let (Some(place), false) = (&folder.place, self.session.request.dry_run) else { return };
        let (stat, details) = (metadata::stat(entry), metadata::details(entry));
        let problems = place.apply(&entry.name, &stat, &details, &self.session.apply);
        metadata::note(self.session, path, &problems);
    }

    fn file(
        &mut self,
        folder: &Arc<Folder>,
        entry: Entry,
        found: Option<Stat>,
    ) -> Result<Planned, TargetError> {
        let layout = Layout::new(&self.session.reader, &entry);
        let key = Links::key(&entry);
        let Some(found) = found else {
            let file = FileWork::new(folder, entry, Way::Create);
            return Ok(Planned::Write(self.with_group(file, None)?, layout));
        };
        let shared = found.links > 1;
        let large = is_large(&entry);
        let file = FileWork::new(folder, entry, Way::Update);
        let identity = (found.device, found.inode);
        if self.session.request.overwrite == Overwrite::Always || (shared && key.is_none()) {
            file.set_changed();
            // Changing a file that has other names would change those, which may be outside of what is restored.
            if shared {
                file.replace()?;
            }
            return Ok(Planned::Write(self.with_group(file, None)?, layout));
        }
        if self.session.request.dry_run {
            return Ok(Planned::Compare(self.with_group(file, Some(identity))?, layout));
        }
        if shared {
            return self.shared_file(file, layout, identity);
        }
        // Which file it will be has to be known now: before a further name is linked to it, and before a part of it is
        // taken for done.
        if key.is_some() || large {
            let Some(opened) = folder.place.as_ref().map(|place| place.open_file(&file.entry.name)) else {
                return Ok(Planned::Finish(file));
            };
            match opened {
                Ok(open) => file.adopt(open, true),
                Err(_) => {
                    file.replace()?;
                    return Ok(Planned::Write(self.with_group(file, None)?, layout));
                }
            }
        }
        Ok(Planned::Compare(self.with_group(file, Some(identity))?, layout))
    }

    /// A file that has several names here and in the snapshot is kept if it is right, and never changed: other names
    /// may be outside of what is restored.
    fn shared_file(
        &mut self,
        file: FileWork,
        layout: Layout,
        identity: (u64, u64),
    ) -> Result<Planned, TargetError> {
        let keep = Links::key(&file.entry).is_some_and(|key| self.links.keep(identity, key));
        if keep {
            let chunks: Result<Vec<PlacedChunk>, Error> = layout.clone().collect();
            let right = chunks.and_then(|chunks| Comparer::new(self.session).is_right(&file, &chunks));
            match right {
                Ok(true) => return Ok(Planned::Finish(self.with_group(file, Some(identity))?)),
                Ok(false) => {}
                // It cannot be told, and so it could not be fetched either: it stays as it is.
                Err(error) => {
                    let file = self.with_group(file, Some(identity))?;
                    file.lost(&error);
                    return Ok(Planned::Finish(file));
                }
            }
        }
        file.replace()?;
        Ok(Planned::Write(self.with_group(file, None)?, layout))
    }

    /// With the names that a file may have; the file is made now if others will be linked to it.
    fn with_group(
        &mut self,
        mut file: FileWork,
        identity: Option<(u64, u64)>,
    ) -> Result<FileWork, TargetError> {
        let Some(key) = Links::key(&file.entry) else { return Ok(file) };
        let identity = match identity {
            Some(identity) => Some(identity),
            None if self.session.request.dry_run => None,
            None => match file.open()? {
                Some(open) => open.stat().map(|stat| Some((stat.device, stat.inode)))?,
                None => None,
            },
        };
        let way = self.way();
        file.group = Some(self.links.add(key, &file.folder, way, &file.entry, identity));
        Ok(file)
    }
}

/// What is still to be done for a file.
enum Planned {
    /// All of it is to be written.
    Write(FileWork, Layout),
    /// What differs is to be written.
    Compare(FileWork, Layout),
    /// Nothing is to be written.
    Finish(FileWork),
}

/// Whether a file may be spread over several windows.
fn is_large(entry: &Entry) -> bool {
    matches!(&entry.node, Node::File { content: FileContent::Extents(_), .. })
        || entry.size() > WINDOW_BYTES / 2
}

/// Whether what was found is what it should be, but for metadata.
fn is_right(folder: &Folder, entry: &Entry, found: &Stat) -> Result<bool, TargetError> {
    Ok(match (&entry.node, &folder.place) {
        (Node::Symlink { target }, Some(place)) => place.details(&entry.name)?.target == *target,
        (Node::CharDevice { major, minor } | Node::BlockDevice { major, minor }, _) => {
            (found.rdev_major, found.rdev_minor) == (*major, *minor)
        }
        (Node::Fifo | Node::Socket, _) => true,
        _ => false,
    })
}

/// Does something in the folder on this machine, unless in a dry run it is not there.
fn place(
    folder: &Folder,
    work: impl FnOnce(&Arc<TargetFolder>) -> Result<(), TargetError>,
) -> Result<(), TargetError> {
    folder.place.as_ref().map_or(Ok(()), work)
}
