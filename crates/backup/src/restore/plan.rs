//! Planning: walks the tree in path order, makes folders and small things, and sends files on their way.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use content::tree::{Entry, Node};
use files::{Target, TargetError, TargetFolder, Verdict, machine};

use super::clear::{self, Surplus};
use super::existing::{self, Found};
use super::folder::Folder;
use super::links::Links;
use super::session::{Session, describe, is_out_of_reach};
use super::window::Windows;
use super::{Overwrite, work};
use crate::tree_walk::join;
use crate::{Error, TreeStep};

/// A folder of the snapshot that the walk is in.
struct Level {
    path: Vec<u8>,
    entry: Entry,
    /// Selected, and not only on the way to what is.
    wanted: bool,
    state: LevelState,
    /// The file system it is on here, if it existed.
    device: Option<u64>,
    /// What is here and may have to be removed.
    surplus: Option<Surplus>,
}

impl Level {
    fn new(path: Vec<u8>, entry: Entry, wanted: bool, state: LevelState) -> Self {
        Self { path, entry, wanted, state, device: None, surplus: None }
    }
}

enum LevelState {
    /// It is made or opened when something in it is wanted.
    Waiting,
    Open(Arc<Folder>),
    /// It cannot be made, which was noted, or is not wanted.
    Closed,
}

pub(super) struct Planner<'a> {
    pub(super) session: &'a Arc<Session>,
    /// `None` in a dry run when it would have to be made.
    pub(super) top: Option<Arc<TargetFolder>>,
    levels: Vec<Level>,
    pub(super) links: Links,
    pub(super) windows: Windows,
}

/// Restores all that is at and below `start`, which stands at `path`.
pub(super) fn run(session: &Arc<Session>, start: &Entry, path: &[u8]) -> Result<(), Error> {
    let top = open_target(session)?;
    if let (Node::Directory { files, bytes, .. }, true) =
        (&start.node, session.request.selection.is_everything())
    {
        session.progress.add_files_total(*files);
        session.progress.add_bytes_total(*bytes);
    }
    session.progress.set_stage("restoring");
    work::run(session, |windows| {
        let mut planner = Planner { session, top, levels: Vec::new(), links: Links::default(), windows };
        planner.walk(start, path)?;
        planner.windows.end()
    })
}

/// The target folder. One that is missing is made, and belongs to the restore then.
fn open_target(session: &Session) -> Result<Option<Arc<TargetFolder>>, Error> {
    let path = &session.request.target;
    let failed = |error: TargetError| {
        let source = std::io::Error::other(describe(&error));
        Error::File { path: path.clone(), action: "used as the target", source }
    };
    if path.exists() {
        return Ok(Some(Target::open(path, false).map_err(failed)?.root()));
    }
    if session.request.dry_run {
        return Ok(None);
    }
    // Made by way of its parent, so that it counts as new and nobody has to look for what could be in it.
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => {
            let here = parent.as_os_str().is_empty();
            let parent = if here { Path::new(".") } else { parent };
            let parent = Target::open(parent, true).map_err(failed)?.root();
            Ok(Some(parent.folder(name.as_encoded_bytes()).map_err(failed)?))
        }
        _ => Ok(Some(Target::open(path, true).map_err(failed)?.root())),
    }
}

impl Planner<'_> {
    fn walk(&mut self, start: &Entry, path: &[u8]) -> Result<(), Error> {
        if !start.is_directory() {
            let folder = Folder::new(self.session, None, parent_of(path), self.top.clone(), None);
            return self.thing(&folder, start.clone(), path);
        }
        let mut walk = self.session.reader.walk(start.clone(), path);
        while let Some(step) = walk.next() {
            self.session.checkpoint()?;
            match step {
                Ok(TreeStep::Enter { path, entry }) => {
                    if !self.enter(path, entry)? {
                        walk.skip_directory();
                    }
                }
                Ok(TreeStep::Item { path, entry }) => self.item(&path, entry)?,
                Ok(TreeStep::Leave { .. }) => self.leave(),
                Err(error) => self.damaged_listing(error)?,
            }
        }
        Ok(())
    }

    /// A part of the listing of the folder that the walk is in cannot be read.
    fn damaged_listing(&mut self, error: Error) -> Result<(), Error> {
        if is_out_of_reach(&error) {
            return Err(error);
        }
        if let Some(level) = self.levels.last_mut() {
            // What the snapshot has from here on is not known for sure.
            level.surplus = None;
            let message = format!("not all that was in it can be restored: {}", describe(&error));
            self.session.lost(&level.path, message);
        }
        Ok(())
    }

    /// Returns whether what is in the folder is to be looked at.
    fn enter(&mut self, path: Vec<u8>, entry: Entry) -> Result<bool, Error> {
        self.clear_before(Some(&entry.name));
        if self.contains_itself(&entry) {
            self.session.lost(&path, "nothing in it is restored: it contains itself".to_owned());
            self.levels.push(Level::new(path, entry, false, LevelState::Closed));
            return Ok(false);
        }
        let is_top = self.levels.is_empty();
        let verdict = self.session.request.selection.verdict(&path, true);
        let wanted = verdict == Verdict::Wanted;
        let state = if verdict == Verdict::No { LevelState::Closed } else { LevelState::Waiting };
        self.levels.push(Level::new(path, entry, wanted, state));
        if verdict == Verdict::No {
            return Ok(false);
        }
        if wanted || is_top {
            return Ok(self.open_levels().is_some());
        }
        if self.session.request.delete {
            self.open_if_there();
        }
        Ok(true)
    }

    /// A folder with the listing of one that it is in would never end.
    fn contains_itself(&self, entry: &Entry) -> bool {
        let Node::Directory { pages, .. } = &entry.node else { return false };
        let same = |level: &Level| matches!(&level.entry.node, Node::Directory { pages: other, .. } if other == pages);
        !pages.is_empty() && self.levels.iter().any(same)
    }

    fn leave(&mut self) {
        self.clear_before(None);
        // Letting go of it lets its metadata be set, as soon as the workers let go too.
        self.levels.pop();
    }

    /// Removes what stands before `known` in the folder that the walk is in and is not in the snapshot.
    fn clear_before(&mut self, known: Option<&[u8]>) {
        let Some(level) = self.levels.last_mut() else { return };
        let (Some(surplus), LevelState::Open(folder)) = (&mut level.surplus, &level.state) else { return };
        let Some(place) = &folder.place else { return };
        while let Some(name) = surplus.next_before(known) {
            clear::remove_surplus(self.session, place, &name, &join(&level.path, &name));
        }
        if let Some(known) = known {
            surplus.skip(known);
        }
    }

    /// The folder that the walk is in, made or opened now with all that lead to it. `None`: it cannot be.
    fn open_levels(&mut self) -> Option<Arc<Folder>> {
        let open = self.levels.iter().rposition(|level| !matches!(level.state, LevelState::Waiting));
        let first = open.map_or(0, |open| open + 1);
        for index in first..self.levels.len() {
            let opened = self.open_level(index);
            let level = self.levels.get_mut(index)?;
            match opened {
                Ok(Some(folder)) => level.state = LevelState::Open(folder),
                Ok(None) => level.state = LevelState::Closed,
                Err(error) => {
                    let path = level.path.clone();
                    level.state = LevelState::Closed;
                    self.session.refused(&path, error);
                }
            }
        }
        match &self.levels.last()?.state {
            LevelState::Open(folder) => Some(folder.clone()),
            _ => None,
        }
    }

    /// Opens the folder that the walk is in if it exists, to remove from it what the snapshot does not have.
    fn open_if_there(&mut self) {
        let [.., parent, level] = &self.levels[..] else { return };
        let LevelState::Open(folder) = &parent.state else { return };
        let found = folder.place.as_ref().map(|place| place.look(&level.entry.name));
        if matches!(found, Some(Ok(Some(stat))) if stat.is_directory()) {
            self.open_levels();
        }
    }

    /// `None`: it was noted why it cannot be.
    fn open_level(&mut self, index: usize) -> Result<Option<Arc<Folder>>, TargetError> {
        let session = self.session;
        let Some(level) = self.levels.get(index) else { return Ok(None) };
        let parent = match index.checked_sub(1).and_then(|parent| self.levels.get(parent)) {
            Some(Level { state: LevelState::Open(parent), .. }) => Some(parent.clone()),
            Some(_) => return Ok(None),
            None => None,
        };
        let (place, device) = match &parent {
            // The target itself.
            None => (self.top.clone(), device_of(&session.request.target)),
            Some(parent) => match existing::look(session, parent, &level.entry, &level.path)? {
                Found::Nothing if session.request.dry_run => (None, None),
                Found::Nothing => {
                    let place = parent.place.as_ref().map(|place| place.folder(&level.entry.name));
                    (place.transpose()?, None)
                }
                Found::Same(stat) => {
                    let Some(place) = &parent.place else { return Ok(None) };
                    let place = place.existing_folder(&level.entry.name)?;
                    if !session.request.dry_run && !machine::is_root() && stat.mode & 0o700 != 0o700 {
                        place.make_writable()?;
                    }
                    (Some(place), Some(stat.device))
                }
                Found::LeaveAlone => return Ok(None),
                Found::InTheWay(why) => {
                    session.lost(&level.path, format!("nothing in it is restored: {why}"));
                    return Ok(None);
                }
            },
        };
        let fresh = place.as_ref().is_none_or(|place| place.fresh());
        let keeps_its_own =
            parent.is_none() || session.request.overwrite == Overwrite::Never || !level.wanted;
        let entry = (fresh || !keeps_its_own).then_some(&level.entry);
        if parent.is_some() && (fresh || level.wanted) {
            session.counts.directories.fetch_add(1, Ordering::Relaxed);
        }
        let folder = Folder::new(session, parent.as_ref(), &level.path, place, entry);
        let surplus = self.surplus(index, &folder, device)?;
        if let Some(level) = self.levels.get_mut(index) {
            (level.surplus, level.device) = (surplus, device);
        }
        Ok(Some(folder))
    }

    /// What is in a folder that exists, if what the snapshot does not have is to be removed from it.
    fn surplus(
        &self,
        index: usize,
        folder: &Folder,
        device: Option<u64>,
    ) -> Result<Option<Surplus>, TargetError> {
        let (Some(place), Some(level)) = (&folder.place, self.levels.get(index)) else { return Ok(None) };
        if !self.session.request.delete || place.fresh() || !self.session.is_complete(&level.path) {
            return Ok(None);
        }
        // The backup may have stopped at what is mounted here, or have found nothing mounted.
        let parent = index.checked_sub(1).and_then(|parent| self.levels.get(parent));
        let mounted = parent.is_some_and(|parent| parent.device != device);
        let empty = matches!(&level.entry.node, Node::Directory { pages, .. } if pages.is_empty());
        if empty && mounted {
            return Ok(None);
        }
        Surplus::new(place).map(Some)
    }

    fn item(&mut self, path: &[u8], entry: Entry) -> Result<(), Error> {
        self.clear_before(Some(&entry.name));
        if self.session.request.selection.verdict(path, false) != Verdict::Wanted {
            return Ok(());
        }
        match self.open_levels() {
            Some(folder) => self.thing(&folder, entry, path),
            None => Ok(()),
        }
    }

    /// The names that lead from the target to the folder that the walk is in.
    pub(super) fn way(&self) -> Vec<Vec<u8>> {
        self.levels.iter().skip(1).map(|level| level.entry.name.clone()).collect()
    }
}

fn parent_of(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(0) | None => b"/",
        Some(slash) => path.get(..slash).unwrap_or(b"/"),
    }
}

fn device_of(path: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    path.metadata().ok().map(|found| found.dev())
}
