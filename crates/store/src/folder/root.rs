//! The folder itself: which one was opened, whether it is still there, and the folders inside it.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::{Kind, StoreError};

/// The folder of a store.
#[derive(Debug)]
pub(super) struct Root {
    /// Absolute, so that it means the same after the process changes its working folder.
    path: PathBuf,
    /// Kept open so that the folder's number cannot be given to another one while we compare with it.
    handle: File,
    /// Folders that are known to be there and durable, relative to the root.
    known: Mutex<HashSet<PathBuf>>,
}

impl Root {
    /// Opens an existing folder.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let error = |source: io::Error| {
            StoreError::new(Kind::from(source.kind()), "open", "", path.display().to_string()).because(source)
        };
        let path = std::path::absolute(path).map_err(error)?;
        let handle = File::open(&path).map_err(error)?;
        if !handle.metadata().map_err(error)?.is_dir() {
            return Err(error(io::Error::from(io::ErrorKind::NotADirectory)));
        }
        Ok(Self { path, handle, known: Mutex::default() })
    }

    /// Makes the folder with all that is missing above it, durably, and opens it. One that exists is opened.
    pub(super) fn create(path: &Path) -> Result<Self, StoreError> {
        let error = |source: io::Error| {
            StoreError::new(Kind::from(source.kind()), "create", "", path.display().to_string())
                .because(source)
        };
        let absolute = std::path::absolute(path).map_err(error)?;
        let missing: Vec<&Path> = absolute.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        for folder in missing.into_iter().rev() {
            make_private(folder).map_err(error)?;
            if let Some(parent) = folder.parent() {
                sync_folder(parent).map_err(error)?;
            }
        }
        Self::open(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn location(&self) -> String {
        self.path.display().to_string()
    }

    /// An error at `object`, with its kind taken from the cause. What is missing because the whole store is missing
    /// is [`Kind::Gone`].
    pub(super) fn error(&self, operation: &'static str, object: &str, source: io::Error) -> StoreError {
        let kind = match Kind::from(source.kind()) {
            Kind::NotFound if self.is_gone() => Kind::Gone,
            kind => kind,
        };
        StoreError::new(kind, operation, object, self.location()).because(source)
    }

    /// Fails when the folder that was opened is no longer at its path: removed, moved, unmounted or mounted over.
    /// Called before each change, and before an answer that says "there is nothing".
    pub(super) fn verify(&self, operation: &'static str, object: &str) -> Result<(), StoreError> {
        if self.is_gone() {
            return Err(StoreError::new(Kind::Gone, operation, object, self.location()));
        }
        Ok(())
    }

    fn is_gone(&self) -> bool {
        let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        match (fs::metadata(&self.path).map(identity), self.handle.metadata().map(identity)) {
            (Ok(at_path), Ok(opened)) => at_path != opened,
            (Err(error), _) => matches!(Kind::from(error.kind()), Kind::NotFound | Kind::Gone),
            (_, Err(_)) => false,
        }
    }

    /// Sees to it that a folder inside the root is there, durably. One that was there before and is not any more is
    /// [`Kind::Gone`]: somebody is removing the store, and making the folder again would hide that.
    pub(super) fn ensure_folder(
        &self,
        operation: &'static str,
        object: &str,
        folder: &Path,
    ) -> Result<(), StoreError> {
        let parents: Vec<&Path> =
            folder.ancestors().filter(|ancestor| !ancestor.as_os_str().is_empty()).collect();
        for relative in parents.into_iter().rev() {
            if self.known().contains(relative) {
                continue;
            }
            let absolute = self.path.join(relative);
            match make_private(&absolute) {
                Ok(()) => {}
                // Its entry in the parent may not be durable yet: whoever made it may have crashed right after.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.vanished(operation, object, error)),
            }
            let parent = relative.parent().unwrap_or(Path::new(""));
            self.sync(parent).map_err(|error| self.vanished(operation, object, error))?;
            self.known().insert(relative.to_owned());
        }
        Ok(())
    }

    /// Takes away a folder inside the root, if it is empty. It is made again when something is written there.
    #[cfg(feature = "locations")]
    pub(super) fn remove_folder(&self, folder: &str) {
        let relative = Path::new(folder.trim_end_matches('/'));
        if !relative.as_os_str().is_empty() && fs::remove_dir(self.path.join(relative)).is_ok() {
            self.known().remove(relative);
        }
    }

    /// Like [`error`](Self::error), for a place that has to be there: what is not found is [`Kind::Gone`].
    pub(super) fn vanished(&self, operation: &'static str, object: &str, source: io::Error) -> StoreError {
        let mut error = self.error(operation, object, source);
        if error.kind == Kind::NotFound {
            error.kind = Kind::Gone;
        }
        error
    }

    /// Makes the entries of a folder inside the root durable.
    pub(super) fn sync(&self, folder: &Path) -> io::Result<()> {
        if folder.as_os_str().is_empty() {
            self.handle.sync_all()
        } else {
            sync_folder(&self.path.join(folder))
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
