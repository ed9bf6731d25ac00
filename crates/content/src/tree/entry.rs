//! What a tree knows of one file, directory or other thing.

use std::sync::Arc;

use crate::chunk::Address;

/// A moment: seconds since 1970 (UTC) and nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    /// Seconds; negative before 1970.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanoseconds: u32,
}

/// Who owns something: numbers, and the names they had where the backup was made (empty when unknown).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Owner {
    /// User id.
    pub user: u32,
    /// Group id.
    pub group: u32,
    /// User name.
    pub user_name: Vec<u8>,
    /// Group name.
    pub group_name: Vec<u8>,
}

/// A range of a file that holds no data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Where it starts, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// Where a file's data is. The data is the file without its holes, one piece after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileContent {
    /// The chunks in order.
    Chunks(Vec<Address>),
    /// The extent pages that list the chunks.
    Extents(Vec<Address>),
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A regular file.
    File {
        /// Its length in bytes, holes included.
        size: u64,
        /// Its data.
        content: FileContent,
        /// Its holes in ascending order, not touching one another.
        holes: Vec<Hole>,
        /// It never held still while it was read: the content may mix moments.
        changing: bool,
    },
    /// A directory.
    Directory {
        /// Its pages in order.
        pages: Vec<Address>,
        /// How many things that are not directories are below it.
        files: u64,
        /// The sum of the sizes of the files below it, in bytes.
        bytes: u64,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as written.
        target: Vec<u8>,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// One thing in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name: any bytes but `/` and NUL; empty only for the root.
    pub name: Vec<u8>,
    /// What it is.
    pub node: Node,
    /// Permission bits with set-user-id, set-group-id and sticky (07777).
    pub mode: u32,
    /// Who owns it.
    pub owner: Arc<Owner>,
    /// When its content last changed.
    pub modified: Time,
    /// When its inode last changed; tells the next backup that nothing did.
    pub changed: Time,
    /// Its inode number.
    pub inode: u64,
    /// The file system it is on, numbered from 0 in the order the walk met them. Kept only for hard-linked files.
    pub device: u64,
    /// How many names it has. Those with the same device and inode are one file.
    pub links: u64,
    /// Extended attributes sorted by name, ACLs and capabilities among them, as the system gives them.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Entry {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.node, Node::Directory { .. })
    }

    /// Length in bytes of a file, 0 for anything else.
    pub fn size(&self) -> u64 {
        match self.node {
            Node::File { size, .. } => size,
            _ => 0,
        }
    }

    /// Whether this name is one of several of the same file.
    pub fn is_hard_linked(&self) -> bool {
        self.links > 1 && !self.is_directory()
    }
}
