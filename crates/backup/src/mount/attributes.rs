//! What `stat` shows.

use std::time::{Duration, SystemTime};

use content::tree::{Entry, Node, Time};
use fuser::{FileAttr, FileType, INodeNo};

use super::top::{TopKind, TopNode};

/// Attributes of what stands above the snapshots; it belongs to `owner` (user and group).
pub(super) fn of_top(number: u64, top: &TopNode, owner: (u32, u32)) -> FileAttr {
    let (kind, perm, size) = match &top.kind {
        TopKind::Folder(_) | TopKind::Snapshot(_) => (FileType::Directory, 0o755, 0),
        TopKind::Link(target) => (FileType::Symlink, 0o777, target.len() as u64),
    };
    let moment = moment(top.modified);
    let (uid, gid) = owner;
    let times = FileAttr { atime: moment, mtime: moment, ctime: moment, crtime: moment, ..of_dots(number) };
    FileAttr { size, kind, perm, uid, gid, ..times }
}

fn moment(time: Time) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    let moment = whole.and_then(|whole| whole.checked_add(Duration::from_nanos(time.nanoseconds.into())));
    moment.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Everything that `stat` shows of an entry.
pub(super) fn of_entry(number: u64, entry: &Entry) -> FileAttr {
    let (kind, size, blocks, rdev) = match &entry.node {
        Node::File { size, holes, .. } => {
            let hollow: u64 = holes.iter().map(|hole| hole.length).sum();
            (FileType::RegularFile, *size, size.saturating_sub(hollow).div_ceil(512), 0)
        }
        Node::Directory { .. } => (FileType::Directory, 0, 0, 0),
        Node::Symlink { target } => (FileType::Symlink, target.len() as u64, 0, 0),
        Node::Fifo => (FileType::NamedPipe, 0, 0, 0),
        Node::Socket => (FileType::Socket, 0, 0, 0),
        Node::CharDevice { major, minor } => (FileType::CharDevice, 0, 0, device(*major, *minor)),
        Node::BlockDevice { major, minor } => (FileType::BlockDevice, 0, 0, device(*major, *minor)),
    };
    let modified = moment(entry.modified);
    FileAttr {
        ino: INodeNo(number),
        size,
        blocks,
        atime: modified,
        mtime: modified,
        ctime: moment(entry.changed),
        crtime: modified,
        kind,
        perm: entry.mode as u16 & 0o7777,
        nlink: u32::try_from(entry.links).unwrap_or(u32::MAX),
        uid: entry.owner.user,
        gid: entry.owner.group,
        rdev,
        blksize: 4096,
        flags: 0,
    }
}

/// A directory of which only the number matters: `.` or `..` in a listing.
pub(super) fn of_dots(number: u64) -> FileAttr {
    let epoch = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(number),
        size: 0,
        blocks: 0,
        atime: epoch,
        mtime: epoch,
        ctime: epoch,
        crtime: epoch,
        kind: FileType::Directory,
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

/// A device's numbers as the kernel's interface packs them: twelve bits of major, twenty of minor.
fn device(major: u32, minor: u32) -> u32 {
    (minor & 0xff) | (major & 0xfff) << 8 | (minor & 0xfff00) << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_before_1970_and_beyond_reason() {
        let half = moment(Time { seconds: -1, nanoseconds: 500_000_000 });
        assert_eq!(SystemTime::UNIX_EPOCH.duration_since(half).unwrap(), Duration::from_millis(500));
        moment(Time { seconds: i64::MAX, nanoseconds: 999_999_999 });
        moment(Time { seconds: i64::MIN, nanoseconds: 0 });
    }

    #[test]
    fn devices_are_packed_as_the_kernel_does() {
        assert_eq!(device(8, 1), 0x801);
        assert_eq!(device(259, 0x12345), 0x1231_0345);
    }
}
