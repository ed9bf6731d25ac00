//! Answers to the kernel.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use content::tree::{Entry, Node as EntryNode, Time};
use fuser::{
    AccessFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::contents::Contents;
use super::nodes::{Key, Node, Nodes};
use super::pages::Pages;
use super::top::{Top, TopKind, TopNode};
use crate::{Error, Progress, Reader, Snapshot};

/// Nothing here ever changes, so the kernel may keep what it knows.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);
const GENERATION: Generation = Generation(0);
/// Places in a directory's listing: `.` and `..` come first, then what the pages say, counted from here.
const AFTER_DOT: u64 = 1;
const AFTER_DOTS: u64 = 2;
const FIRST: u64 = 3;

/// The snapshots as a file system.
pub(super) struct SnapshotFiles {
    top: Top,
    snapshots: Vec<Arc<Snapshot>>,
    reader: Arc<Reader>,
    pages: Pages,
    nodes: Nodes,
    contents: Contents,
    progress: Arc<Progress>,
    /// Who mounted it: owns the folders above the snapshots.
    owner: (u32, u32),
}

/// Something in the mount.
enum Thing<'a> {
    Top(u64, &'a TopNode),
    Node(Arc<Node>),
}

impl SnapshotFiles {
    pub(super) fn new(
        reader: &Arc<Reader>,
        top: Top,
        snapshots: Vec<Arc<Snapshot>>,
        progress: &Arc<Progress>,
    ) -> std::io::Result<Self> {
        let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Ok(Self {
            top,
            snapshots,
            reader: reader.clone(),
            pages: Pages::new(reader),
            nodes: Nodes::default(),
            contents: Contents::new(reader)?,
            progress: progress.clone(),
            owner,
        })
    }

    /// An error that the kernel passes on; what the vault cannot give is counted as a problem.
    fn failed(&self, error: Error) -> Errno {
        self.progress.add_problems(1);
        drop(error);
        Errno::EIO
    }

    fn thing(&self, number: INodeNo) -> Result<Thing<'_>, Errno> {
        if let Some(node) = self.top.get(number.0) {
            return Ok(Thing::Top(number.0, node));
        }
        self.nodes.get(number.0).map(Thing::Node).ok_or(Errno::ENOENT)
    }

    /// The entry of anything in a snapshot.
    fn node(&self, number: INodeNo) -> Result<Arc<Node>, Errno> {
        match self.thing(number)? {
            Thing::Node(node) => Ok(node),
            Thing::Top(..) => Err(Errno::EINVAL),
        }
    }

    /// A directory in a snapshot; a snapshot itself is one. `None` for a folder above.
    fn directory(&self, number: INodeNo) -> Result<Option<Arc<Node>>, Errno> {
        match self.thing(number)? {
            Thing::Node(node) if node.entry.is_directory() => Ok(Some(node)),
            Thing::Node(_) => Err(Errno::ENOTDIR),
            Thing::Top(number, top) => match &top.kind {
                TopKind::Folder(_) => Ok(None),
                TopKind::Link(_) => Err(Errno::ENOTDIR),
                TopKind::Snapshot(place) => {
                    let snapshot = self.snapshots.get(*place).ok_or(Errno::ENOENT)?;
                    let entry = self.reader.open(snapshot).map_err(|error| self.failed(error))?;
                    let (key, snapshot) = (Key::snapshot(snapshot.id), snapshot.id);
                    Ok(Some(Arc::new(Node { number, parent: top.parent, key, snapshot, entry })))
                }
            },
        }
    }

    fn top_attributes(&self, number: u64, top: &TopNode) -> FileAttr {
        let (kind, perm, size) = match &top.kind {
            TopKind::Folder(_) | TopKind::Snapshot(_) => (FileType::Directory, 0o755, 0),
            TopKind::Link(target) => (FileType::Symlink, 0o777, target.len() as u64),
        };
        let moment = moment(top.modified);
        FileAttr {
            ino: INodeNo(number),
            size,
            blocks: 0,
            atime: moment,
            mtime: moment,
            ctime: moment,
            crtime: moment,
            kind,
            perm,
            nlink: 1,
            uid: self.owner.0,
            gid: self.owner.1,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn look_up(&self, parent: INodeNo, name: &[u8]) -> Result<FileAttr, Errno> {
        let Some(directory) = self.directory(parent)? else {
            let folder = self.top.get(parent.0).ok_or(Errno::ENOENT)?;
            let number = self.top.find(folder, name).ok_or(Errno::ENOENT)?;
            let top = self.top.get(number).ok_or(Errno::ENOENT)?;
            return Ok(self.top_attributes(number, top));
        };
        let child = self.pages.child(&directory.entry, name).map_err(|error| self.failed(error))?;
        let node = self.nodes.make(&directory, child.ok_or(Errno::ENOENT)?);
        let node = self.nodes.remember(node);
        Ok(attributes(node.number, &node.entry))
    }

    /// Lists a directory from a place on. `add` is given the place after each thing and returns whether there was room
    /// for it; a node that it took is known to the kernel if `with_lookup`.
    fn list(
        &self,
        number: INodeNo,
        offset: u64,
        with_lookup: bool,
        add: &mut dyn FnMut(u64, &[u8], &FileAttr) -> bool,
    ) -> Result<(), Errno> {
        let directory = self.directory(number)?;
        let parent = match (&directory, self.top.get(number.0)) {
            (_, Some(top)) => top.parent,
            (Some(node), None) => node.parent,
            (None, None) => return Err(Errno::ENOENT),
        };
        for (after, name, number) in [(AFTER_DOT, b".".as_slice(), number.0), (AFTER_DOTS, b"..", parent)] {
            if offset < after && !add(after, name, &bare_directory(number)) {
                return Ok(());
            }
        }
        let mut place = offset.saturating_sub(FIRST - 1).saturating_sub(u64::from(offset >= FIRST));
        if offset >= FIRST {
            place = offset - FIRST;
        }
        match directory {
            Some(directory) => loop {
                let next = self.pages.next(&directory.entry, place).map_err(|error| self.failed(error))?;
                let Some((after, entry)) = next else { return Ok(()) };
                let name = entry.name.clone();
                let node = self.nodes.make(&directory, entry);
                if !add(FIRST + after, &name, &attributes(node.number, &node.entry)) {
                    return Ok(());
                }
                if with_lookup {
                    self.nodes.remember(node);
                }
                place = after;
            },
            None => {
                let Some(TopNode { kind: TopKind::Folder(children), .. }) = self.top.get(number.0) else {
                    return Ok(());
                };
                for (index, number) in children.iter().enumerate().skip(place as usize) {
                    let Some(top) = self.top.get(*number) else { continue };
                    if !add(FIRST + index as u64 + 1, &top.name, &self.top_attributes(*number, top)) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}
