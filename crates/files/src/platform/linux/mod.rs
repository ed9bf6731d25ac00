//! Linux, through rustix: no C library between us and the kernel except for names of users.
//!
//! Everything is done relative to open folders and never follows a symlink, so that neither long
//! paths nor somebody who swaps a folder for a link can lead us astray.

mod mounts;
mod process;
mod read;
mod write;
mod xattr;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use rustix::fs::FileType;

use crate::stat::{Kind, Stat, Timestamp};

pub(crate) use mounts::*;
pub(crate) use process::*;
pub(crate) use read::*;
pub(crate) use write::*;
pub(crate) use xattr::*;

/// An open file or folder; closes itself.
pub(crate) type Handle = OwnedFd;

/// A path from its bytes, for people and error messages.
pub(crate) fn path_from(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// The kernel's numbers in our words.
fn stat_from(raw: &rustix::fs::Stat) -> Stat {
    Stat {
        kind: kind_from(FileType::from_raw_mode(raw.st_mode)),
        mode: raw.st_mode & 0o7777,
        uid: raw.st_uid,
        gid: raw.st_gid,
        // Sizes and nanoseconds are never negative; the kernel's types are merely signed.
        size: u64::try_from(raw.st_size).unwrap_or(0),
        modified: timestamp(raw.st_mtime, raw.st_mtime_nsec),
        changed: timestamp(raw.st_ctime, raw.st_ctime_nsec),
        inode: raw.st_ino,
        device: raw.st_dev,
        links: raw.st_nlink as _,
        rdev_major: rustix::fs::major(raw.st_rdev),
        rdev_minor: rustix::fs::minor(raw.st_rdev),
        blocks: u64::try_from(raw.st_blocks).unwrap_or(0),
    }
}

fn timestamp(seconds: i64, nanoseconds: u64) -> Timestamp {
    Timestamp { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or(0) }
}

fn kind_from(raw: FileType) -> Kind {
    match raw {
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::RegularFile | FileType::Unknown => Kind::File,
    }
}
