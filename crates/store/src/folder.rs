//! A store in a folder of a local or mounted file system.
//!
//! Objects are files of mode 0600 in folders of mode 0700. An object is written to `tmp/`, flushed, renamed to its
//! name, and then its folder is flushed: the rename is the moment it appears, so a reader sees all of it or nothing,
//! and a writer that is killed leaves at most a file below `tmp/`, which no listing shows and which is removed when
//! the store is opened a day later or after.
//!
//! The folder is opened once and held (a file system it lies on cannot be unmounted meanwhile). When its path leads to
//! nothing or to another folder, every call says [`Kind::Gone`](crate::Kind::Gone): a vault that is removed under a
//! running backup is an error, never an empty vault that begins anew.
//!
//! All work on files is done on the blocking threads of the tokio runtime that calls.

mod read;
mod root;
mod write;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Kind, ObjectInfo, Operation, Store, StoreError, name};
use root::Root;

/// Objects as files under one folder.
#[derive(Clone, Debug)]
pub struct FolderStore {
    root: Arc<Root>,
}

impl FolderStore {
    /// Opens the store in an existing folder; [`Kind::NotFound`] with an empty object when there is no such folder.
    /// Removes temporary files older than a day. Touches the disk a little, on this thread.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let root = Root::open(path.as_ref())?;
        write::remove_stale_temporaries(&root, SystemTime::now());
        Ok(Self { root: Arc::new(root) })
    }

    /// Makes the folder and what is missing above it (mode 0700) and opens it. A folder that exists is used as it
    /// is: whether it may be empty or not is for the caller to say, with [`list`](Store::list).
    pub fn create(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Ok(Self { root: Arc::new(Root::create(path.as_ref())?) })
    }

    /// The folder, as an absolute path.
    pub fn path(&self) -> &Path {
        self.root.path()
    }

    /// Takes away a folder inside, such as `packs/`, if it is empty.
    #[cfg(feature = "locations")]
    pub(crate) async fn remove_folder(&self, folder: &str) {
        // Nothing depends on what a folder was for.
        let remove = |root: &Root, folder: &str| {
            root.remove_folder(folder);
            Ok(())
        };
        let _ = self.run(Operation::List, folder, remove).await;
    }

    /// Runs `work` on a blocking thread, after the name was found good.
    async fn run<T: Send + 'static>(
        &self,
        operation: Operation,
        object: &str,
        work: impl FnOnce(&Root, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let checked =
            if operation == Operation::List { name::check_folder(object) } else { name::check(object) };
        checked.map_err(|reason| {
            StoreError::new(Kind::InvalidName, operation.verb(), object, self.location()).because(reason)
        })?;
        let (root, object) = (self.root.clone(), object.to_owned());
        let task = tokio::task::spawn_blocking(move || work(&root, &object));
        match task.await {
            Ok(outcome) => outcome,
            // The runtime is shutting down, or the closure panicked, which the panic hook has reported.
            Err(error) => {
                Err(StoreError::new(Kind::Other, operation.verb(), "", self.location()).because(error))
            }
        }
    }
}

#[async_trait]
impl Store for FolderStore {
    fn location(&self) -> String {
        self.root.location()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(Operation::Put, name, move |root, name| {
            write::write(root, Operation::Put, name, &parts, false)
        })
        .await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(Operation::Replace, name, move |root, name| {
            write::write(root, Operation::Replace, name, &parts, true)
        })
        .await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.run(Operation::Get, name, move |root, name| {
            let (bytes, _) = read::read(root, Operation::Get, name, |size| {
                if size > size_max { Err((Kind::TooLarge, "the caller allows less")) } else { Ok(0..size) }
            })?;
            Ok(bytes)
        })
        .await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run(Operation::GetRange, name, move |root, name| {
            let (bytes, _) = read::read(root, Operation::GetRange, name, |_| {
                if range.start > range.end {
                    return Err((Kind::Other, "the range ends before it starts"));
                }
                Ok(range)
            })?;
            Ok(bytes)
        })
        .await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        self.run(Operation::GetTail, name, move |root, name| {
            read::read(root, Operation::GetTail, name, |size| Ok(size.saturating_sub(length_max)..size))
        })
        .await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.run(Operation::Stat, name, read::stat).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.run(Operation::List, prefix, read::list).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.run(Operation::Delete, name, write::delete).await
    }
}
