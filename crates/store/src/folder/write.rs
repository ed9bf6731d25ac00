//! Writing an object: a temporary file, flushed, renamed, and the folder flushed after it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;

use super::root::Root;
use crate::{Kind, Operation, StoreError, name, random};

/// A temporary file older than this belongs to no living writer: a writer touches its file with every write.
const STALE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// Writes `parts` under `object`; an object that exists is kept unless `overwrite`.
pub(super) fn write(
    root: &Root,
    operation: Operation,
    object: &str,
    parts: &[Bytes],
    overwrite: bool,
) -> Result<(), StoreError> {
    let verb = operation.verb();
    root.verify(verb, object)?;
    let folder = Path::new(object).parent().unwrap_or(Path::new(""));
    let target = root.path().join(object);
    if exists(root, verb, object, &target)? && !overwrite {
        // It may have been renamed by a writer that died before it flushed the folder.
        return root.sync(folder).map_err(|error| root.vanished(verb, object, error));
    }
    root.ensure_folder(verb, object, Path::new(name::RESERVED))?;
    root.ensure_folder(verb, object, folder)?;

    let mut temporary = Temporary::create(root, verb, object)?;
    temporary.fill(parts).map_err(|error| root.error(verb, object, error))?;
    temporary.rename(&target).map_err(|error| root.vanished(verb, object, error))?;
    root.sync(folder).map_err(|error| root.vanished(verb, object, error))
}

fn exists(root: &Root, verb: &'static str, object: &str, target: &Path) -> Result<bool, StoreError> {
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(StoreError::new(Kind::Other, verb, object, root.location())
            .because("something that is not a file is in its place")),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(StoreError::new(Kind::Other, verb, object, root.location()).because(error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(root.error(verb, object, error)),
    }
}

/// Removes an object, durably.
pub(super) fn delete(root: &Root, object: &str) -> Result<(), StoreError> {
    let verb = Operation::Delete.verb();
    root.verify(verb, object)?;
    let folder = Path::new(object).parent().unwrap_or(Path::new(""));
    match fs::remove_file(root.path().join(object)) {
        Ok(()) => root.sync(folder).map_err(|error| root.vanished(verb, object, error)),
        Err(error) => {
            // A folder is not an object: there is no object of that name to remove.
            let is_folder = error.kind() == io::ErrorKind::IsADirectory;
            let error = root.error(verb, object, error);
            if is_folder || error.kind == Kind::NotFound { Ok(()) } else { Err(error) }
        }
    }
}

/// Removes what writers that died left behind. Best effort: a store that cannot be tidied can still be used.
pub(super) fn remove_stale_temporaries(root: &Root, now: SystemTime) {
    let Ok(entries) = fs::read_dir(root.path().join(name::RESERVED)) else { return };
    for entry in entries.flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        let age = modified.ok().and_then(|modified| now.duration_since(modified).ok());
        if age.is_some_and(|age| age > STALE_AFTER) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// A file below `tmp/`, removed when dropped unless it was renamed.
struct Temporary {
    path: PathBuf,
    file: File,
    renamed: bool,
}

impl Temporary {
    fn create(root: &Root, verb: &'static str, object: &str) -> Result<Self, StoreError> {
        let unique = random::unique_name()
            .map_err(|error| StoreError::new(Kind::Other, verb, object, root.location()).because(error))?;
        let path = root.path().join(name::RESERVED).join(unique);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| root.vanished(verb, object, error))?;
        Ok(Self { path, file, renamed: false })
    }

    /// Writes all parts without joining them, and flushes them to the disk.
    fn fill(&mut self, parts: &[Bytes]) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> =
            parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)).collect();
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            match self.file.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.file.sync_all()
    }

    fn rename(mut self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.renamed {
            let _ = fs::remove_file(&self.path);
        }
    }
}
