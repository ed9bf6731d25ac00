//! Which packs this machine has stored and no index fragment names yet.
//!
//! One small file for each run in the cache folder: a line for each pack, written when the pack is stored. A run that
//! is killed leaves its file, unlocked; the next run takes it over and gives those packs their fragment, so nothing
//! is uploaded twice. Losing the file costs only that.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use vault::{ObjectHash, PackId};

use crate::Error;

const PREFIX: &str = "uploads-";
/// A journal larger than this is not one.
const JOURNAL_MAX: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Journal {
    own: Option<(PathBuf, File)>,
    taken_over: Vec<(PathBuf, File)>,
    leftovers: Vec<ObjectHash>,
}

impl Journal {
    /// Takes over what dead runs left in `folder` and begins a journal of its own, unless nothing will be stored.
    pub(super) fn begin(folder: &Path, dry_run: bool) -> Result<Self, Error> {
        let mut journal = Self { own: None, taken_over: Vec::new(), leftovers: Vec::new() };
        if dry_run {
            return Ok(journal);
        }
        let listing = std::fs::read_dir(folder).map_err(|error| file_error(folder, "read", error))?;
        for entry in listing.flatten() {
            if entry.file_name().to_string_lossy().starts_with(PREFIX) {
                journal.take_over(&entry.path());
            }
        }
        let random = PackId::new(content::random::identity());
        let path = folder.join(format!("{PREFIX}{random}"));
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| file_error(&path, "written", error))?;
        // A file system without locks only loses the hand-over to another run on this machine.
        let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        journal.own = Some((path, file));
        Ok(journal)
    }

    fn take_over(&mut self, path: &Path) {
        let Ok(file) = File::open(path) else { return };
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        let mut text = String::new();
        if (&file).take(JOURNAL_MAX).read_to_string(&mut text).is_ok() {
            self.leftovers.extend(text.lines().filter_map(ObjectHash::from_hex));
        }
        self.taken_over.push((path.to_owned(), file));
    }

    /// Packs that earlier runs stored.
    pub(super) fn leftovers(&self) -> &[ObjectHash] {
        &self.leftovers
    }

    /// Notes that a pack is stored.
    pub(super) fn note(&mut self, pack: ObjectHash) -> Result<(), Error> {
        match &mut self.own {
            Some((path, file)) => {
                writeln!(file, "{pack}").map_err(|error| file_error(path, "written", error))
            }
            None => Ok(()),
        }
    }

    /// Everything noted is in fragments now: the files go.
    pub(super) fn finish(&mut self) {
        for (path, _) in self.own.iter().chain(&self.taken_over) {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn file_error(path: &Path, action: &'static str, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), action, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_run_s_packs_are_found_and_a_living_one_s_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let hash = ObjectHash::of(b"pack");
        let mut dead = Journal::begin(folder.path(), false).unwrap();
        dead.note(hash).unwrap();
        let living = Journal::begin(folder.path(), false).unwrap();
        assert!(living.leftovers().is_empty(), "its lock is held");
        drop(dead);
        let mut heir = Journal::begin(folder.path(), false).unwrap();
        assert_eq!(heir.leftovers(), [hash]);
        heir.finish();
        drop((heir, living));
        assert!(Journal::begin(folder.path(), false).unwrap().leftovers().is_empty());
    }
}
