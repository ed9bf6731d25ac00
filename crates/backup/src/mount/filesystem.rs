//! Answers to the kernel.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use content::tree::Node as EntryNode;
use fuser::{
    AccessFlags, Errno, FileAttr, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, InitFlags,
    KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs, ReplyXattr, Request,
};

use super::attributes;
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

    fn look_up(&self, parent: INodeNo, name: &[u8]) -> Result<FileAttr, Errno> {
        let Some(directory) = self.directory(parent)? else {
            let folder = self.top.get(parent.0).ok_or(Errno::ENOENT)?;
            let number = self.top.find(folder, name).ok_or(Errno::ENOENT)?;
            let top = self.top.get(number).ok_or(Errno::ENOENT)?;
            return Ok(attributes::of_top(number, top, self.owner));
        };
        let child = self.pages.child(&directory.entry, name).map_err(|error| self.failed(error))?;
        let node = self.nodes.make(&directory, child.ok_or(Errno::ENOENT)?);
        let node = self.nodes.remember(node);
        Ok(attributes::of_entry(node.number, &node.entry))
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
            if offset < after && !add(after, name, &attributes::of_dots(number)) {
                return Ok(());
            }
        }
        let mut place = offset.saturating_sub(FIRST);
        match directory {
            Some(directory) => loop {
                let next = self.pages.next(&directory.entry, place).map_err(|error| self.failed(error))?;
                let Some((after, entry)) = next else { return Ok(()) };
                let name = entry.name.clone();
                let node = self.nodes.make(&directory, entry);
                let node = if with_lookup { self.nodes.remember(node) } else { Arc::new(node) };
                if !add(FIRST + after, &name, &attributes::of_entry(node.number, &node.entry)) {
                    if with_lookup {
                        self.nodes.forget(node.number, 1);
                    }
                    return Ok(());
                }
                place = after;
            },
            None => {
                let Some(TopNode { kind: TopKind::Folder(children), .. }) = self.top.get(number.0) else {
                    return Ok(());
                };
                for (index, number) in children.iter().enumerate().skip(place as usize) {
                    let Some(top) = self.top.get(*number) else { continue };
                    if !add(
                        FIRST + index as u64 + 1,
                        &top.name,
                        &attributes::of_top(*number, top, self.owner),
                    ) {
                        break;
                    }
                }
                Ok(())
            }
        }
    }
}

impl Filesystem for SnapshotFiles {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        let mut wanted = vec![
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_CACHE_SYMLINKS,
        ];
        if rustix::process::geteuid().is_root() {
            // Access control lists count where modes do.
            wanted.push(InitFlags::FUSE_POSIX_ACL);
        }
        for capability in wanted {
            // An older kernel does without.
            let _ = config.add_capabilities(capability);
        }
        // As much as the kernel allows.
        if let Err(most) = config.set_max_readahead(1 << 20) {
            let _ = config.set_max_readahead(most);
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look_up(parent, name.as_bytes()) {
            Ok(attributes) => reply.entry(&FOR_EVER, &attributes, GENERATION),
            Err(error) => reply.error(error),
        }
    }

    fn forget(&self, _request: &Request, number: INodeNo, lookups: u64) {
        self.nodes.forget(number.0, lookups);
    }

    fn getattr(&self, _request: &Request, number: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.thing(number) {
            Ok(Thing::Top(number, top)) => {
                reply.attr(&FOR_EVER, &attributes::of_top(number, top, self.owner));
            }
            Ok(Thing::Node(node)) => reply.attr(&FOR_EVER, &attributes::of_entry(node.number, &node.entry)),
            Err(error) => reply.error(error),
        }
    }

    fn readlink(&self, _request: &Request, number: INodeNo, reply: ReplyData) {
        match self.thing(number) {
            Ok(Thing::Top(_, TopNode { kind: TopKind::Link(target), .. })) => reply.data(target),
            Ok(Thing::Node(node)) => match &node.entry.node {
                EntryNode::Symlink { target } => reply.data(target),
                _ => reply.error(Errno::EINVAL),
            },
            Ok(Thing::Top(..)) => reply.error(Errno::EINVAL),
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _request: &Request, number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let opened = self
            .node(number)
            .and_then(|node| self.contents.open(&node.entry).map_err(|error| self.failed(error)));
        match opened {
            Ok(handle) => {
                let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
                reply.opened(FileHandle(handle), flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.contents.get(handle.0) else { return reply.error(Errno::EBADF) };
        match self.contents.read(&file, offset, size) {
            Ok(bytes) => {
                self.progress.add_bytes(bytes.len() as u64);
                reply.data(&bytes);
            }
            Err(error) => reply.error(self.failed(error)),
        }
    }

    fn release(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        _lock: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        self.contents.close(handle.0);
        reply.ok();
    }

    fn opendir(&self, _request: &Request, _number: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR);
    }

    fn readdir(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = self.list(number, offset, false, &mut |after, name, attributes| {
            !reply.add(attributes.ino, after, attributes.kind, OsStr::from_bytes(name))
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn readdirplus(
        &self,
        _request: &Request,
        number: INodeNo,
        _handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let listed = self.list(number, offset, true, &mut |after, name, attributes| {
            !reply.add(attributes.ino, after, OsStr::from_bytes(name), &FOR_EVER, attributes, GENERATION)
        });
        match listed {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _request: &Request, _number: INodeNo, reply: ReplyStatfs) {
        reply.statfs(0, 0, 0, 0, 0, 4096, 255, 4096);
    }

    fn getxattr(&self, _request: &Request, number: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        match self.thing(number) {
            Ok(Thing::Node(node)) => {
                match node.entry.xattrs.iter().find(|(known, _)| known == name.as_bytes()) {
                    Some((_, value)) => sized(value, size, reply),
                    None => reply.error(Errno::NO_XATTR),
                }
            }
            Ok(Thing::Top(..)) => reply.error(Errno::NO_XATTR),
            Err(error) => reply.error(error),
        }
    }

    fn listxattr(&self, _request: &Request, number: INodeNo, size: u32, reply: ReplyXattr) {
        match self.thing(number) {
            Ok(Thing::Node(node)) => {
                let mut list = Vec::new();
                for (name, _) in &node.entry.xattrs {
                    list.extend_from_slice(name);
                    list.push(0);
                }
                sized(&list, size, reply);
            }
            Ok(Thing::Top(..)) => sized(&[], size, reply),
            Err(error) => reply.error(error),
        }
    }

    fn access(&self, _request: &Request, _number: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        if mask.contains(AccessFlags::W_OK) { reply.error(Errno::EROFS) } else { reply.ok() }
    }

    fn lseek(
        &self,
        _request: &Request,
        _number: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let Some(file) = self.contents.get(handle.0) else { return reply.error(Errno::EBADF) };
        let map = file.map();
        let found = match (u64::try_from(offset), whence) {
            (Ok(offset), SEEK_DATA) => map.next_data(offset),
            (Ok(offset), SEEK_HOLE) => map.next_hole(offset),
            _ => return reply.error(Errno::EINVAL),
        };
        match found.and_then(|found| i64::try_from(found).ok()) {
            Some(found) => reply.offset(found),
            None => reply.error(Errno::ENXIO),
        }
    }
}

/// Linux's numbers for `lseek`; the kernel answers all others itself.
const SEEK_DATA: i32 = 3;
const SEEK_HOLE: i32 = 4;

/// Asked with no room, the answer is how much is needed.
fn sized(bytes: &[u8], room: u32, reply: ReplyXattr) {
    match (room as usize, bytes.len()) {
        (0, length) => reply.size(length as u32),
        (room, length) if length > room => reply.error(Errno::ERANGE),
        _ => reply.data(bytes),
    }
}
