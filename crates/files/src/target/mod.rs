//! Writing files back, with everything that belongs to them.
//!
//! A [`Target`] is the folder that a restore writes into. Everything below is reached by plain names
//! from open folders, and no symlink is ever followed, so neither a forged snapshot nor somebody who
//! plants links while we work can make us write outside. Names that could climb (`..`, slashes, the
//! empty name) are refused.
//!
//! - `folder` makes and finds things in one folder;
//! - `file` writes one file's bytes;
//! - `apply` sets owner, attributes, mode and time, in the order in which they do not undo each other;
//! - `remove` takes away a file or a whole tree, and stops at other file systems.

mod apply;
mod file;
mod folder;
mod remove;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::platform;
use crate::stat::Kind;

pub use apply::{ApplyOptions, Attribute, MetadataProblem};
pub use file::TargetFile;
pub use folder::TargetFolder;

/// Why something could not be written back.
#[derive(Debug, Error)]
pub enum TargetError {
    /// A name that would lead out of its folder, or that no file can have.
    #[error("the name {name:?} is refused in {}: it could lead to another place", folder.display())]
    UnsafeName {
        /// Where it was to be used.
        folder: PathBuf,
        /// The name, for people.
        name: String,
    },
    /// Something of another kind is in the way.
    #[error("{} is a {found}, not a {wanted}; remove it first", path.display())]
    WrongKind {
        /// What is in the way.
        path: PathBuf,
        /// What it is.
        found: Kind,
        /// What it would have to be.
        wanted: Kind,
    },
    /// A folder to be removed holds another file system.
    #[error("{} is another file system and is not removed; unmount it first", path.display())]
    OtherFileSystem {
        /// Where it is mounted.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot {action} {}", path.display())]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl TargetError {
    /// The system's reason in general terms, if the system refused.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self {
            TargetError::System { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    /// Whether the name exists already.
    pub fn already_exists(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::AlreadyExists)
    }

    /// Whether the name does not exist.
    pub fn not_found(&self) -> bool {
        self.io_kind() == Some(io::ErrorKind::NotFound)
    }
}

/// The folder that files are written back into.
#[derive(Clone, Debug)]
pub struct Target {
    root: Arc<TargetFolder>,
}

impl Target {
    /// Opens the folder at `path`; with `create`, makes it and its missing parents (open to their
    /// owner only). This path is the user's own, so symlinks in it are followed.
    pub fn open(path: &Path, create: bool) -> Result<Target, TargetError> {
        let system = |action| move |source| TargetError::System { action, path: path.to_owned(), source };
        if create {
            platform::make_folders_by_path(path).map_err(system("make the target folder"))?;
        }
        platform::raise_open_file_limit();
        let handle = platform::open_folder_by_path(path).map_err(system("open the target folder"))?;
        Ok(Target { root: TargetFolder::top(handle, path.to_owned()) })
    }

    /// The folder itself.
    pub fn root(&self) -> Arc<TargetFolder> {
        self.root.clone()
    }

    /// Waits until everything written to the target's file system is on the disk.
    pub fn sync(&self) -> Result<(), TargetError> {
        self.root.sync()
    }
}

#[cfg(test)]
mod tests;
