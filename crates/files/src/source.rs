//! The things a walk meets, and reading them.
//!
//! Everything is reached from an open handle of its folder by a plain name, and no symlink is
//! followed: a path may be longer than the system takes in one call, and nobody who renames folders
//! during a backup can make us read something else under the old name.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::machine;
use crate::platform::{self, Handle, Subject, path_from};
use crate::stat::{Details, Kind, Stat};

/// An open folder that is being walked. Its handle stays open as long as an [`Entry`] in it or a
/// folder below it exists.
pub struct SourceFolder {
    handle: Handle,
    parent: Option<Arc<SourceFolder>>,
    /// Empty for the top of the tree.
    name: Vec<u8>,
    /// How many folders the walk has open.
    open_folders: Arc<AtomicUsize>,
}

impl SourceFolder {
    /// The folder `name` in `parent` (or the top), already open.
    pub(crate) fn new(
        handle: Handle,
        parent: Option<Arc<SourceFolder>>,
        name: Vec<u8>,
        open_folders: Arc<AtomicUsize>,
    ) -> Arc<SourceFolder> {
        open_folders.fetch_add(1, Ordering::Relaxed);
        Arc::new(SourceFolder { handle, parent, name, open_folders })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    #[cfg(test)]
    pub(crate) fn open_folders(&self) -> usize {
        self.open_folders.load(Ordering::Relaxed)
    }

    /// The absolute path, put together from the names on the way.
    pub fn path(&self) -> PathBuf {
        path_from(self.path_bytes())
    }

    /// The absolute path as bytes; the top is `/`.
    pub(crate) fn path_bytes(&self) -> Vec<u8> {
        let mut names = Vec::new();
        let mut folder = self;
        while let Some(parent) = &folder.parent {
            names.push(&folder.name[..]);
            folder = parent;
        }
        if names.is_empty() {
            return b"/".to_vec();
        }
        let mut path = Vec::with_capacity(names.iter().map(|name| name.len() + 1).sum());
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }
}

impl Drop for SourceFolder {
    fn drop(&mut self) {
        self.open_folders.fetch_sub(1, Ordering::Relaxed);
        // Parents that end with us are let go one by one: ending inside each other, a chain of
        // thousands of folders would exhaust the stack.
        let mut parent = self.parent.take();
        while let Some(mut last) = parent.and_then(Arc::into_inner) {
            parent = last.parent.take();
        }
    }
}

impl fmt::Debug for SourceFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceFolder").field(&self.path()).finish()
    }
}

/// The path of `name` in the folder with the path `folder`.
pub(crate) fn join(mut folder: Vec<u8>, name: &[u8]) -> Vec<u8> {
    if !name.is_empty() {
        if folder.last() != Some(&b'/') {
            folder.push(b'/');
        }
        folder.extend_from_slice(name);
    }
    folder
}

/// Something a walk met: a name in a folder with its numbers.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name's bytes, without slashes; empty for the top of the tree.
    pub name: Vec<u8>,
    /// Its numbers when the walk looked.
    pub stat: Stat,
    /// The folder it is in (the top is in itself).
    pub folder: Arc<SourceFolder>,
}

impl Entry {
    /// The absolute path, for messages.
    pub fn path(&self) -> PathBuf {
        path_from(join(self.folder.path_bytes(), &self.name))
    }

    /// Extended attributes and, of a symlink, the target. Does not need the thing to be open; of a
    /// file that is open anyway, [`SourceFile::details`] is quicker.
    pub fn details(&self) -> io::Result<Details> {
        let subject = match &self.name[..] {
            b"" => Subject::entry(self.folder.handle(), b"."),
            name => Subject::entry(self.folder.handle(), name),
        };
        let target = match self.stat.kind {
            Kind::Symlink => platform::read_link(self.folder.handle(), &self.name)?,
            _ => Vec::new(),
        };
        Ok(Details { xattrs: subject.all()?, target })
    }

    /// Opens a regular file to read it, leaving its access time alone where we may. Something else
    /// may have taken its place since: compare [`SourceFile::stat`] with [`Entry::stat`].
    pub fn open(&self) -> io::Result<SourceFile> {
        if self.stat.kind != Kind::File {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a {} cannot be read like a file", self.stat.kind),
            ));
        }
        let own = may_hide_access(self.stat.uid);
        Ok(SourceFile { handle: platform::open_file(self.folder.handle(), &self.name, own)? })
    }
}

/// Whether the system lets us read something of this owner without touching its access time.
pub(crate) fn may_hide_access(uid: u32) -> bool {
    let user = machine::user_id();
    user == 0 || user == uid
}

/// A file opened for reading.
#[derive(Debug)]
pub struct SourceFile {
    handle: Handle,
}

impl SourceFile {
    /// The numbers now, of what is really open.
    pub fn stat(&self) -> io::Result<Stat> {
        platform::stat_open(&self.handle)
    }

    /// Extended attributes.
    pub fn details(&self) -> io::Result<Details> {
        Ok(Details { xattrs: Subject::open(&self.handle).all()?, target: Vec::new() })
    }

    /// Reads on from where the last `read` ended; may give fewer bytes than fit, and 0 at the end.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        platform::read(&self.handle, buffer)
    }

    /// Reads from `offset`; may give fewer bytes than fit, and 0 at the end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        platform::read_at(&self.handle, offset, buffer)
    }

    /// Which parts of the first `size` bytes hold data, in order; the rest are holes. Worth calling
    /// only when [`Stat::may_have_holes`]; sets the position of [`read`](Self::read) to the start.
    pub fn data_ranges(&self, size: u64) -> io::Result<Vec<Range<u64>>> {
        platform::data_ranges(&self.handle, size)
    }

    /// Tells the system that the file will be read from front to back, so that it reads ahead more.
    /// Pays for files of some megabytes.
    pub fn advise_sequential(&self) {
        platform::advise_sequential(&self.handle);
    }
}

impl io::Read for SourceFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        SourceFile::read(self, buffer)
    }
}
