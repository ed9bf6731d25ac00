//! What the system says about one file: its kind and numbers ([`Stat`]), and the parts of
//! variable length ([`Details`]) that cost further system calls and are fetched only when needed.

use std::fmt;

/// What sort of thing a name in a folder stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A regular file: bytes with a length.
    #[default]
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its target is in [`Details::target`].
    Symlink,
    /// A named pipe.
    Fifo,
    /// A Unix domain socket's name.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Symlink => "symbolic link",
            Kind::Fifo => "named pipe",
            Kind::Socket => "socket",
            Kind::CharDevice => "character device",
            Kind::BlockDevice => "block device",
        })
    }
}

/// A moment as file systems keep it: seconds since 1970-01-01 UTC (negative before) and the
/// nanoseconds after that second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Whole seconds since 1970-01-01 00:00:00 UTC.
    pub seconds: i64,
    /// 0 to 999,999,999, counted forward from `seconds`.
    pub nanoseconds: u32,
}

/// One file's numbers, from a single system call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// File, directory, link, ...
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky (`0o7777` at most).
    pub mode: u32,
    /// Owner's number.
    pub uid: u32,
    /// Group's number.
    pub gid: u32,
    /// Length in bytes (of the target's name for a symlink).
    pub size: u64,
    /// When the content last changed.
    pub modified: Timestamp,
    /// When content or metadata last changed; the system sets it, nobody else can.
    pub changed: Timestamp,
    /// Number within the file system; hard links share it.
    pub inode: u64,
    /// Which file system the file is on.
    pub device: u64,
    /// How many names the file has.
    pub links: u64,
    /// For devices: the driver.
    pub rdev_major: u32,
    /// For devices: the unit.
    pub rdev_minor: u32,
    /// 512-byte blocks that are really allocated.
    pub blocks: u64,
}

impl Stat {
    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// Whether a regular file occupies less than its length, so that part of it may be holes.
    /// (File systems that compress say so too; then looking for holes finds none.)
    pub fn may_have_holes(&self) -> bool {
        self.kind == Kind::File && self.blocks.saturating_mul(512) < self.size
    }
}

/// The parts of a file's metadata that have no fixed size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// Extended attributes as (name, value), sorted by name. POSIX ACLs (`system.posix_acl_access`,
    /// `system.posix_acl_default`) and file capabilities (`security.capability`) are among them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where a symlink points; empty for everything else.
    pub target: Vec<u8>,
}
