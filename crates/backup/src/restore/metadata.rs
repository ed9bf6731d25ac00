//! From a snapshot's words for metadata to those of this machine.

use content::body::ProblemKind;
use content::tree::{Entry, Node};
use files::{Details, Kind, MetadataProblem, Stat, Timestamp};

use super::session::{Session, describe};

/// What sort of thing an entry is.
pub(super) fn kind(entry: &Entry) -> Kind {
    match entry.node {
        Node::File { .. } => Kind::File,
        Node::Directory { .. } => Kind::Directory,
        Node::Symlink { .. } => Kind::Symlink,
        Node::Fifo => Kind::Fifo,
        Node::Socket => Kind::Socket,
        Node::CharDevice { .. } => Kind::CharDevice,
        Node::BlockDevice { .. } => Kind::BlockDevice,
    }
}

/// When an entry's content last changed.
pub(super) fn modified(entry: &Entry) -> Timestamp {
    Timestamp { seconds: entry.modified.seconds, nanoseconds: entry.modified.nanoseconds }
}

/// The numbers to apply.
pub(super) fn stat(entry: &Entry) -> Stat {
    let (rdev_major, rdev_minor) = match entry.node {
        Node::CharDevice { major, minor } | Node::BlockDevice { major, minor } => (major, minor),
        _ => (0, 0),
    };
    Stat {
        kind: kind(entry),
        mode: entry.mode,
        uid: entry.owner.user,
        gid: entry.owner.group,
        size: entry.size(),
        modified: modified(entry),
        rdev_major,
        rdev_minor,
        ..Stat::default()
    }
}

/// The attributes to apply.
pub(super) fn details(entry: &Entry) -> Details {
    let target = match &entry.node {
        Node::Symlink { target } => target.clone(),
        _ => Vec::new(),
    };
    Details { xattrs: entry.xattrs.clone(), target }
}

/// Notes what could not be set.
pub(super) fn note(session: &Session, path: &[u8], problems: &[MetadataProblem]) {
    for problem in problems {
        session.problem(ProblemKind::Metadata, path, describe(problem));
    }
}
