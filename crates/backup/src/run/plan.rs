//! Planning: the walk merged with the snapshot before, into steps in path order and jobs for the readers.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use content::body::{Problem, ProblemKind};
use content::tree::{Entry, FileContent, Node, Owner, Time};
use crossbeam_channel::{Receiver, Sender, bounded};
use files::owner::Names;
use files::{Details, Kind, Stat, Step, Walk, WalkOptions};

use super::previous::{Previous, is_trusted};
use super::read::{ReadJob, ReadOutput};
use super::session::Session;
use crate::Error;

/// Files up to this size are read together.
pub(super) const SMALL_FILE: u64 = 256 << 10;
const BATCH_FILES: usize = 64;
const BATCH_BYTES: u64 = 1 << 20;
const PORTION_STEPS: usize = 512;

/// A device and an inode: one file, however many names it has.
pub(super) type FileKey = (u64, u64);

/// Steps in path order, and where the results of those that need reading come from.
pub(super) struct Portion {
    pub steps: Vec<PlanStep>,
    pub results: Option<Receiver<ReadOutput>>,
}

pub(super) enum PlanStep {
    /// A directory begins.
    Enter(Entry),
    /// Taken over as it was.
    Keep(Entry),
    /// Complete, but not in the snapshot before or not like this.
    Ready { entry: Entry, changed: bool },
    /// What the next result says, in this place. The entry has everything but what was read.
    Read { entry: Entry, changed: bool, link: Option<FileKey> },
    /// Another name of a file that was read before.
    Link { entry: Entry, changed: bool, key: FileKey },
    /// The directory ends.
    Leave,
    /// Something went wrong.
    Problem(Problem),
    /// Everything was walked.
    Finished,
}

pub(super) struct Planner<'a> {
    session: &'a Session<'a>,
    jobs: Sender<ReadJob>,
    portions: Sender<Portion>,
    steps: Vec<PlanStep>,
    batch: Vec<files::Entry>,
    batch_bytes: u64,
    owners: Owners,
    devices: HashMap<u64, u64>,
    linked: HashSet<FileKey>,
}

/// Runs the plan stage.
pub(super) fn run(
    session: &Session<'_>,
    jobs: Sender<ReadJob>,
    portions: Sender<Portion>,
) -> Result<(), Error> {
    let request = session.request;
    let options = WalkOptions {
        rules: request.rules.clone(),
        one_file_system: request.one_file_system,
        skip: request.skip.clone(),
        ..WalkOptions::default()
    };
    let walk = Walk::start(&session.paths, options).map_err(|error| Error::Source(describe(&error)))?;
    if let Some(parent) = &session.parent {
        session.progress.add_files_total(parent.envelope().files);
        session.progress.add_bytes_total(parent.envelope().bytes);
    }
    let mut previous = Previous::open(session);
    let mut planner = Planner {
        session,
        jobs,
        portions,
        steps: Vec::new(),
        batch: Vec::new(),
        batch_bytes: 0,
        owners: Owners::default(),
        devices: HashMap::new(),
        linked: HashSet::new(),
    };
    for step in walk {
        session.progress.checkpoint()?;
        match step {
            Step::Enter(entry) => planner.enter(&entry, &mut previous)?,
            Step::Item(entry) => planner.item(entry, &mut previous)?,
            Step::Leave => {
                previous.leave();
                planner.push(PlanStep::Leave)?;
            }
            Step::Problem { path, error } => planner.problem(&path, &error)?,
        }
    }
    planner.push(PlanStep::Finished)?;
    planner.flush()
}

/// An error and its causes in one line.
pub(super) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl Planner<'_> {
    fn enter(&mut self, found: &files::Entry, previous: &mut Previous) -> Result<(), Error> {
        let before = previous.find(self.session, &found.name);
        previous.enter(before.as_ref())?;
        self.session.progress.set_current(found.path().as_os_str().as_bytes());
        let node = Node::Directory { pages: Vec::new(), files: 0, bytes: 0 };
        let mut entry = self.entry(found, node);
        entry.xattrs = match before {
            Some(before) if before.is_directory() && before.changed == entry.changed => before.xattrs,
            _ => match found.details() {
                Ok(details) => details.xattrs,
                Err(error) => {
                    self.metadata_problem(&found.path(), &error)?;
                    Vec::new()
                }
            },
        };
        self.push(PlanStep::Enter(entry))
    }

    fn item(&mut self, found: files::Entry, previous: &mut Previous) -> Result<(), Error> {
        let before = previous.find(self.session, &found.name);
        let known = before.is_some();
        if let Some(before) = before
            && self.is_unchanged(&before, &found.stat)
        {
            return self.push(PlanStep::Keep(before));
        }
        let stat = found.stat;
        if stat.kind == Kind::File {
            return self.file(found, known);
        }
        let details = match found.details() {
            Ok(details) => details,
            Err(error) => return self.problem(&found.path(), &error),
        };
        let Details { xattrs, target } = details;
        let node = match stat.kind {
            Kind::Symlink => Node::Symlink { target },
            Kind::Fifo => Node::Fifo,
            Kind::Socket => Node::Socket,
            Kind::CharDevice => Node::CharDevice { major: stat.rdev_major, minor: stat.rdev_minor },
            Kind::BlockDevice => Node::BlockDevice { major: stat.rdev_major, minor: stat.rdev_minor },
            Kind::File | Kind::Directory => return Ok(()),
        };
        let entry = Entry { xattrs, ..self.entry(&found, node) };
        self.push(PlanStep::Ready { entry, changed: known })
    }

    fn file(&mut self, found: files::Entry, changed: bool) -> Result<(), Error> {
        let stat = found.stat;
        let content = FileContent::Chunks(Vec::new());
        let node = Node::File { size: 0, content, holes: Vec::new(), changing: false };
        let entry = self.entry(&found, node);
        let key = (stat.device, stat.inode);
        if stat.links > 1 && !self.linked.insert(key) {
            return self.push(PlanStep::Link { entry, changed, key });
        }
        let link = (stat.links > 1).then_some(key);
        let small = stat.size <= SMALL_FILE;
        if !small {
            self.flush()?;
            self.session.progress.set_current(found.path().as_os_str().as_bytes());
        }
        self.batch_bytes += stat.size.min(SMALL_FILE);
        self.batch.push(found);
        self.steps.push(PlanStep::Read { entry, changed, link });
        if !small || self.batch.len() >= BATCH_FILES || self.batch_bytes >= BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Whether what the snapshot before says still holds, by everything that a change would have touched.
    fn is_unchanged(&self, before: &Entry, stat: &Stat) -> bool {
        let session = self.session;
        if session.request.force_read && stat.kind == Kind::File {
            return false;
        }
        let same_kind = match (&before.node, stat.kind) {
            (Node::File { size, changing, .. }, Kind::File) => *size == stat.size && !changing,
            (Node::Symlink { .. }, Kind::Symlink)
            | (Node::Fifo, Kind::Fifo)
            | (Node::Socket, Kind::Socket)
            | (Node::CharDevice { .. }, Kind::CharDevice)
            | (Node::BlockDevice { .. }, Kind::BlockDevice) => true,
            _ => false,
        };
        same_kind
            && before.modified == time(stat.modified)
            && before.changed == time(stat.changed)
            && before.inode == stat.inode
            && before.mode == stat.mode
            && before.links == stat.links.max(1)
            && !self.may_have_raced(before)
            && is_trusted(session, before)
    }

    /// A file that changed while the parent was made may have changed again within the same tick of the file
    /// system's clock, unseen; it is read once more.
    fn may_have_raced(&self, before: &Entry) -> bool {
        let Some(parent) = &self.session.parent else { return false };
        before.changed.seconds >= parent.began() - 1 && !before.is_directory()
    }

    fn entry(&mut self, found: &files::Entry, node: Node) -> Entry {
        let stat = &found.stat;
        let linked = stat.links > 1 && stat.kind != Kind::Directory;
        let devices = self.devices.len() as u64;
        let device = *self.devices.entry(stat.device).or_insert(devices);
        Entry {
            name: found.name.clone(),
            node,
            mode: stat.mode,
            owner: self.owners.get(stat.uid, stat.gid),
            modified: time(stat.modified),
            changed: time(stat.changed),
            inode: stat.inode,
            device: if linked { device } else { 0 },
            links: if linked { stat.links } else { 1 },
            xattrs: Vec::new(),
        }
    }

    fn problem(&mut self, path: &Path, error: &std::io::Error) -> Result<(), Error> {
        let kind = match error.kind() {
            ErrorKind::NotFound => ProblemKind::Vanished,
            _ => ProblemKind::Unreadable,
        };
        self.push(PlanStep::Problem(problem(kind, path, error)))
    }

    fn metadata_problem(&mut self, path: &Path, error: &std::io::Error) -> Result<(), Error> {
        self.push(PlanStep::Problem(problem(ProblemKind::Metadata, path, error)))
    }

    fn push(&mut self, step: PlanStep) -> Result<(), Error> {
        self.steps.push(step);
        if self.steps.len() >= PORTION_STEPS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.steps.is_empty() {
            return Ok(());
        }
        let results = if self.batch.is_empty() {
            None
        } else {
            let (output, results) = bounded(3);
            let files = std::mem::take(&mut self.batch);
            self.batch_bytes = 0;
            self.jobs.send(ReadJob { files, output }).map_err(|_| Error::Interrupted)?;
            Some(results)
        };
        let steps = std::mem::take(&mut self.steps);
        self.portions.send(Portion { steps, results }).map_err(|_| Error::Interrupted)
    }
}

/// A problem with a path.
pub(super) fn problem(kind: ProblemKind, path: &Path, error: &dyn std::error::Error) -> Problem {
    Problem { kind, path: path.as_os_str().as_bytes().to_vec(), message: describe(error) }
}

/// A file system's time as a tree keeps it.
pub(super) fn time(timestamp: files::Timestamp) -> Time {
    Time { seconds: timestamp.seconds, nanoseconds: timestamp.nanoseconds }
}

/// Owners by their numbers.
#[derive(Default)]
struct Owners {
    names: Names,
    known: HashMap<(u32, u32), Arc<Owner>>,
}

impl Owners {
    fn get(&mut self, user: u32, group: u32) -> Arc<Owner> {
        if let Some(owner) = self.known.get(&(user, group)) {
            return owner.clone();
        }
        let text = |name: Option<Arc<[u8]>>| name.map(|name| name.to_vec()).unwrap_or_default();
        let owner = Arc::new(Owner {
            user,
            group,
            user_name: text(self.names.user_name(user)),
            group_name: text(self.names.group_name(group)),
        });
        self.known.insert((user, group), owner.clone());
        owner
    }
}
