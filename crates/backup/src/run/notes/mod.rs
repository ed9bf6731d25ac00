//! Notes: what a machine whose key can only add remembers of its last backup, to compare the next one with.
//!
//! Such a machine cannot open the tree it stored. It keeps the same entries in its cache folder, a file for each job, in
//! the order of the walk:
//!
//! ```text
//! "SROOMNT1"  salt (32)
//! blocks, each: length (u32)  sealed
//! ending: sealed: snapshot (32)  when its backup began: seconds (i64)  count of blocks (u32)
//! ```
//! The blocks hold one stream of records: `length (u32)  page`, or a length of zero. A page has consecutive entries of
//! one directory, and when its last is a directory, what follows is in that; zero leaves it. Files have all their chunks
//! in their entry, however many they are.
//!
//! Everything is sealed under a key that follows from the write secret and the salt, and is bound to the vault and the job;
//! the ending binds it to the snapshot. It is a cache: what is missing, damaged, another's or about a snapshot that the
//! vault does not have any more is as if there were none. Nothing here fails a backup.

mod reader;
mod tree;
mod writer;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use content::envelope::{DIRECTORY_NUMBER, Place, Purpose};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use vault::wire::Write as _;
use vault::{SnapshotId, SystemId};

use super::session::path_bytes;
use crate::Vault;

pub(super) use reader::Notes;
pub(super) use tree::NotedTree;
pub(super) use writer::NotesWriter;

const MAGIC: [u8; 8] = *b"SROOMNT1";
const SALT: usize = 32;
/// How much of the stream is sealed at once.
const BLOCK: usize = 1 << 20;
/// The notes of all jobs hold no more bytes than this together: those of some twenty million files.
const NOTES_MAX: u64 = 1 << 30;
/// The number under which the ending is sealed; blocks count from 0 and never reach it.
const ENDING_NUMBER: u32 = DIRECTORY_NUMBER;
/// How long the ending is, opened.
const ENDING: usize = 32 + 8 + 4;

const UNFINISHED: &str = "unfinished-";
/// A listing may lag, but not for so long.
const LAG_MAX: Duration = Duration::from_secs(24 * 3600);

/// Whose notes: a machine's backup of these paths into a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Job([u8; 16]);

impl Job {
    /// By what a snapshot to compare with is found.
    pub(super) fn of(vault: &Vault, system: SystemId, host: &str, paths: &[PathBuf]) -> Self {
        let mut paths = path_bytes(paths);
        paths.sort();
        let mut identity = system.bytes().to_vec();
        identity.sized(host.as_bytes());
        paths.iter().for_each(|path| identity.sized(path));
        Self(*vault.keyring().job_identifier().identify(&identity).bytes())
    }

    fn place(self, vault: &Vault) -> Place {
        Place { vault: vault.id(), id: self.0, purpose: Purpose::Notes }
    }

    fn file_name(self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }

    fn from_file_name(name: &str) -> Option<Self> {
        let job = Self(u128::from_str_radix(name, 16).ok()?.to_be_bytes());
        (job.file_name() == name).then_some(job)
    }
}

fn folder(vault: &Vault) -> PathBuf {
    vault.cache_folder().join("notes")
}

/// Lets go of what killed runs left, and of notes about snapshots that are gone: what they say of the machine's files
/// shall not stay here longer than there.
pub(super) fn tidy(vault: &Vault, is_there: impl Fn(SnapshotId) -> bool) {
    let Ok(entries) = fs::read_dir(folder(vault)) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let is_needed = match name.strip_prefix(UNFINISHED) {
            Some(_) => is_locked(&path),
            None => {
                let notes = Job::from_file_name(&name).and_then(|job| Notes::open(vault, job));
                notes.is_some_and(|notes| is_there(notes.snapshot)) || is_fresh(&path)
            }
        };
        if !is_needed {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Whether the run that writes it lives.
fn is_locked(path: &Path) -> bool {
    let Ok(file) = File::open(path) else { return false };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => false,
        Err(Errno::WOULDBLOCK) => true,
        // A file system without locks.
        Err(_) => is_fresh(path),
    }
}

fn is_fresh(path: &Path) -> bool {
    let age = path.metadata().and_then(|status| status.modified());
    age.is_ok_and(|modified| SystemTime::now().duration_since(modified).is_ok_and(|age| age < LAG_MAX))
}

/// Deletes the oldest notes in `folder` until the rest is within `limit` bytes.
fn shrink(folder: &Path, limit: u64) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let is_finished = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().starts_with(UNFINISHED);
    let mut all: Vec<_> = entries
        .flatten()
        .filter(is_finished)
        .filter_map(|entry| {
            let status = entry.metadata().ok()?;
            Some((status.modified().ok()?, status.len(), entry.path()))
        })
        .collect();
    all.sort();
    let mut total: u64 = all.iter().map(|(_, length, _)| length).sum();
    for (_, length, path) in all {
        if total <= limit {
            return;
        }
        if fs::remove_file(path).is_ok() {
            total -= length;
        }
    }
}

#[cfg(test)]
mod tests;
