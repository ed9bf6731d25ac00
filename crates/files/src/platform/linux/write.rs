//! Making things and setting their metadata.

use std::fs::DirBuilder;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid,
};
use rustix::io::Errno;

use super::{Handle, read::uninterrupted};
use crate::stat::{Kind, Stat, Timestamp};

/// Makes a folder and its missing parents, by a path from outside a snapshot, for the owner only.
pub(crate) fn make_folders_by_path(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a folder by a path from outside a snapshot: symlinks on the way are the user's own.
pub(crate) fn open_folder_by_path(path: &Path) -> io::Result<Handle> {
    Ok(rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens an existing folder to work in it.
pub(crate) fn open_work_folder(parent: impl AsFd, name: &[u8]) -> io::Result<Handle> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(&parent, name, flags, Mode::empty())?)
}

/// Makes a folder that only its owner can enter.
pub(crate) fn make_folder(parent: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(parent, name, Mode::RWXU)?)
}

/// Makes a new file, open for reading and writing; refuses a name that exists, even as a link.
pub(crate) fn create_file(folder: impl AsFd, name: &[u8], mode: u32) -> io::Result<Handle> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::from_raw_mode(mode))?)
}

/// Opens an existing file for reading and writing, without waiting and without following.
pub(crate) fn open_for_update(folder: impl AsFd, name: &[u8]) -> io::Result<Handle> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

/// Makes a symlink.
pub(crate) fn make_symlink(folder: impl AsFd, name: &[u8], target: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::symlinkat(target, folder, name)?)
}

/// Makes a pipe, socket or device that nobody else can use yet.
pub(crate) fn make_node(
    folder: impl AsFd,
    name: &[u8],
    kind: Kind,
    major: u32,
    minor: u32,
) -> io::Result<()> {
    let (kind, device) = match kind {
        Kind::Fifo => (FileType::Fifo, 0),
        Kind::Socket => (FileType::Socket, 0),
        Kind::CharDevice => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
        Kind::BlockDevice => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
        Kind::File | Kind::Directory | Kind::Symlink => return Err(io::ErrorKind::InvalidInput.into()),
    };
    Ok(rustix::fs::mknodat(folder, name, kind, Mode::RUSR | Mode::WUSR, device)?)
}

/// Gives an existing thing (a symlink itself, not its target) a second name.
pub(crate) fn make_link(
    folder: impl AsFd,
    name: &[u8],
    new_folder: impl AsFd,
    new_name: &[u8],
) -> io::Result<()> {
    Ok(rustix::fs::linkat(folder, name, new_folder, new_name, AtFlags::empty())?)
}

/// Removes anything but a folder.
pub(crate) fn remove_entry(folder: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?)
}

/// Removes an empty folder.
pub(crate) fn remove_folder(folder: impl AsFd, name: &[u8]) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
}

/// Writes all of `data` at `offset`.
pub(crate) fn write_at(file: impl AsFd, mut offset: u64, mut data: &[u8]) -> io::Result<()> {
    while !data.is_empty() {
        let written = uninterrupted(|| rustix::io::pwrite(&file, data, offset))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        data = &data[written..];
        offset += written as u64;
    }
    Ok(())
}

/// Cuts or extends a file; what is added is a hole.
pub(crate) fn set_length(file: impl AsFd, length: u64) -> io::Result<()> {
    uninterrupted(|| rustix::fs::ftruncate(&file, length))
}

/// Turns a range into a hole. `false`: the file system cannot.
pub(crate) fn punch_hole(file: impl AsFd, range: &Range<u64>) -> io::Result<bool> {
    let mode = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    match rustix::fs::fallocate(file, mode, range.start, range.end - range.start) {
        Ok(()) => Ok(true),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Waits until content and length are on the disk.
pub(crate) fn sync(file: impl AsFd) -> io::Result<()> {
    uninterrupted(|| rustix::fs::fdatasync(&file))
}

/// What a change of metadata is aimed at.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// Something open.
    Open(&'a Handle),
    /// A name in an open folder; never followed.
    Entry(&'a Handle, &'a [u8]),
}

impl Place<'_> {
    /// Its numbers now.
    pub fn stat(self) -> io::Result<Stat> {
        match self {
            Place::Open(file) => super::stat_open(file),
            Place::Entry(folder, name) => {
                let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
                Ok(super::stat_from(&rustix::fs::statat(folder, name, flags)?))
            }
        }
    }

    /// Its extended attributes.
    pub fn xattrs(&self) -> super::Subject<'_> {
        match self {
            Place::Open(file) => super::Subject::open(*file),
            Place::Entry(folder, name) => super::Subject::entry(*folder, name),
        }
    }

    /// Gives it to another owner or group; `None` leaves that part.
    pub fn set_owner(self, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        // The all-ones number means "leave" to the kernel and is nobody's.
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        let result = match self {
            Place::Open(file) => rustix::fs::fchown(file, uid, gid),
            Place::Entry(folder, name) => {
                rustix::fs::chownat(folder, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        Ok(result?)
    }

    /// Sets permission bits (not of a symlink: those have none).
    pub fn set_mode(self, mode: u32) -> io::Result<()> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Place::Open(file) => Ok(rustix::fs::fchmod(file, mode)?),
            Place::Entry(folder, name) => {
                // There is no call that changes the mode of a name without following it on older
                // kernels; a handle to the place, and the way to it through /proc, does the same.
                let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let place = rustix::fs::openat(folder, name, flags, Mode::empty())?;
                let path = format!("/proc/self/fd/{}", place.as_raw_fd());
                Ok(rustix::fs::chmod(path, mode)?)
            }
        }
    }

    /// Sets the time of the last change of content, and leaves the time of the last access.
    pub fn set_modified(self, time: Timestamp) -> io::Result<()> {
        let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        // The kernel gives numbers beyond a second special meanings.
        let nanoseconds = time.nanoseconds.min(999_999_999);
        let times = Timestamps {
            last_access: omit,
            last_modification: Timespec { tv_sec: time.seconds, tv_nsec: nanoseconds.into() },
        };
        let result = match self {
            Place::Open(file) => rustix::fs::futimens(file, &times),
            Place::Entry(folder, name) => {
                rustix::fs::utimensat(folder, name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        Ok(result?)
    }
}

/// Waits until everything on the file system of `folder` is on the disk.
pub(crate) fn sync_file_system(folder: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}
