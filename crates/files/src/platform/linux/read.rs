//! Looking and reading: listing folders, numbers, opening, links, holes.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Advice, AtFlags, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use super::{Handle, kind_from, stat_from};
use crate::stat::{Kind, Stat};

/// Bytes of directory entries asked for at once; large enough that most folders need one call that
/// brings entries and one that brings none.
const LIST_BUFFER_BYTES: usize = 32 << 10;

/// Most separate pieces of a sparse file that are told apart; beyond, the rest counts as data.
const DATA_RANGES_MAX: usize = 1 << 20;

/// The numbers of `name` in `folder`; a symlink's own, and no automount is set off.
pub(crate) fn stat_at(folder: impl AsFd, name: &CStr) -> io::Result<Stat> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    Ok(stat_from(&rustix::fs::statat(folder, name, flags)?))
}

/// The numbers of something open.
pub(crate) fn stat_open(file: impl AsFd) -> io::Result<Stat> {
    Ok(stat_from(&rustix::fs::fstat(file)?))
}

/// The top of the machine's tree, as a place: enough to reach what is below, but not to list.
pub(crate) fn open_top() -> io::Result<Handle> {
    Ok(rustix::fs::open(c"/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Opens a folder to list it. `own`: reading may be kept out of its access time. A folder that
/// something else has replaced is as little found as one that was removed.
pub(crate) fn open_folder(parent: impl AsFd, name: &[u8], own: bool) -> io::Result<Handle> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    open_quietly(parent.as_fd(), name, flags, own).map_err(not_a_folder_is_not_found)
}

/// Opens a folder only to reach what is below it; needs no permission to list.
pub(crate) fn open_place(parent: impl AsFd, name: &[u8]) -> io::Result<Handle> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
        .map_err(io::Error::from)
        .map_err(not_a_folder_is_not_found)
}

fn not_a_folder_is_not_found(error: io::Error) -> io::Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NOTDIR | Errno::LOOP) => {
            io::Error::new(io::ErrorKind::NotFound, "it is no longer a directory")
        }
        _ => error,
    }
}

/// Opens a file to read it. Never waits: a pipe that took the file's place does not block.
pub(crate) fn open_file(parent: impl AsFd, name: &[u8], own: bool) -> io::Result<Handle> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    open_quietly(parent.as_fd(), name, flags, own)
}

/// Opens without touching the access time where that is allowed: to the owner and the superuser.
fn open_quietly(parent: BorrowedFd<'_>, name: &[u8], flags: OFlags, own: bool) -> io::Result<Handle> {
    if own {
        match rustix::fs::openat(parent, name, flags | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => {}
            other => return Ok(other?),
        }
    }
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Calls `each` for every name in an open folder, with its kind where the file system tells. The order
/// is the file system's; `.` and `..` are left out.
pub(crate) fn list(folder: impl AsFd, mut each: impl FnMut(&[u8], Option<Kind>)) -> io::Result<()> {
    // The kernel writes only what it needs, so nothing has to be cleared beforehand.
    let mut buffer = [const { MaybeUninit::<u8>::uninit() }; LIST_BUFFER_BYTES];
    let mut entries = RawDir::new(folder, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = match entry {
            Ok(entry) => entry,
            // The folder was removed while it was open: it has no more names.
            Err(Errno::NOENT) => break,
            Err(error) => return Err(error.into()),
        };
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let kind = match entry.file_type() {
                rustix::fs::FileType::Unknown => None,
                known => Some(kind_from(known)),
            };
            each(name, kind);
        }
    }
    Ok(())
}

/// Where a symlink points.
pub(crate) fn read_link(folder: impl AsFd, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(rustix::fs::readlinkat(folder, name, Vec::new())?.into_bytes())
}

/// Reads from where the last read ended; 0 at the end.
pub(crate) fn read(file: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| rustix::io::read(&file, &mut *buffer))
}

/// Reads from `offset`; 0 at the end.
pub(crate) fn read_at(file: impl AsFd, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    uninterrupted(|| rustix::io::pread(&file, &mut *buffer, offset))
}

/// Repeats what a signal cut short.
pub(super) fn uninterrupted<T>(mut call: impl FnMut() -> Result<T, Errno>) -> io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Announces that the file will be read from front to back. Only a hint: failing is no failure.
pub(crate) fn advise_sequential(file: impl AsFd) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::Sequential);
}

/// The parts of the first `size` bytes that hold data; between them are holes. A file system that
/// cannot tell says that all is data. Moves the file's reading position to the start.
pub(crate) fn data_ranges(file: impl AsFd, size: u64) -> io::Result<Vec<Range<u64>>> {
    let ranges = find_ranges(file.as_fd(), size)?;
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    Ok(ranges)
}

fn find_ranges(file: BorrowedFd<'_>, size: u64) -> io::Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let mut position = 0;
    while position < size {
        if ranges.len() == DATA_RANGES_MAX {
            ranges.push(position..size);
            break;
        }
        let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
            Ok(start) if start >= size => break,
            Ok(start) => start,
            // No data from here to the end.
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::OPNOTSUPP) => {
                ranges.push(position..size);
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(size),
            // The file was cut shorter in between.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        // A file system that does not advance must not hold us here.
        if end <= start {
            ranges.push(start..size);
            break;
        }
        ranges.push(start..end);
        position = end;
    }
    Ok(ranges)
}
