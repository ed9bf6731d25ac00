//! One folder of the target: finding, making and linking what is in it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::apply::{ApplyOptions, Current, MetadataProblem, apply};
use super::{TargetError, TargetFile, remove};
use crate::platform::{self, Handle, Place, path_from};
use crate::source::join;
use crate::stat::{Details, Kind, Stat};

/// An open folder of the target.
pub struct TargetFolder {
    handle: Handle,
    parent: Option<Arc<TargetFolder>>,
    /// The name in the parent; empty for the top.
    name: Vec<u8>,
    /// Of the top: the path it was opened by.
    top: PathBuf,
    /// The folder's numbers, if we made it: until its own metadata is applied nobody else can have
    /// put anything into it, and what we make in it will have its owner and group.
    made: Option<Stat>,
    /// The folder's own metadata has been applied, so what we knew of it holds no longer.
    settled: AtomicBool,
    /// Whether new entries inherit an ACL.
    default_acl: OnceLock<bool>,
}

impl TargetFolder {
    pub(super) fn top(handle: Handle, top: PathBuf) -> Arc<TargetFolder> {
        Arc::new(TargetFolder {
            handle,
            parent: None,
            name: Vec::new(),
            top,
            made: None,
            settled: AtomicBool::new(false),
            default_acl: OnceLock::new(),
        })
    }

    fn below(self: &Arc<Self>, handle: Handle, name: &[u8], made: Option<Stat>) -> Arc<TargetFolder> {
        let default_acl = match made {
            // A new folder inherits just what its parent passes on.
            Some(_) => OnceLock::from(self.passes_on_acl()),
            None => OnceLock::new(),
        };
        Arc::new(TargetFolder {
            handle,
            parent: Some(self.clone()),
            name: name.to_owned(),
            top: PathBuf::new(),
            made,
            settled: AtomicBool::new(false),
            default_acl,
        })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Whether this folder was made by us, and not found.
    pub fn fresh(&self) -> bool {
        self.made.is_some()
    }

    /// The path, for messages: that of the target and the names below it.
    pub fn path(&self) -> PathBuf {
        let mut names = Vec::new();
        let mut folder = self;
        while let Some(parent) = &folder.parent {
            names.push(&folder.name);
            folder = parent;
        }
        let mut path = folder.top.clone().into_os_string().into_encoded_bytes();
        for name in names.iter().rev() {
            path = join(path, name);
        }
        path_from(path)
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        path_from(join(self.path().into_os_string().into_encoded_bytes(), name))
    }

    /// An error of the system about `name` in this folder.
    pub(super) fn refused(&self, action: &'static str, name: &[u8], source: io::Error) -> TargetError {
        TargetError::System { action, path: self.path_of(name), source }
    }

    fn wrong_kind(&self, name: &[u8], found: Kind, wanted: Kind) -> TargetError {
        TargetError::WrongKind { path: self.path_of(name), found, wanted }
    }

    /// Refuses names that do not stand for an entry of this very folder.
    fn check(&self, name: &[u8]) -> Result<(), TargetError> {
        if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(TargetError::UnsafeName {
                folder: self.path(),
                name: String::from_utf8_lossy(name).into_owned(),
            });
        }
        Ok(())
    }

    /// What we know of a thing that we make in this folder, besides its mode.
    fn known(&self) -> Option<&Stat> {
        self.made.as_ref().filter(|_| !self.settled.load(Ordering::Relaxed) && !self.passes_on_acl())
    }

    fn passes_on_acl(&self) -> bool {
        *self.default_acl.get_or_init(|| {
            let default = platform::Subject::open(&self.handle).value(platform::DEFAULT_ACL);
            // When it cannot be told, the slower way of looking at each file is the right one.
            default.is_err() || default.is_ok_and(|value| value.is_some())
        })
    }

    /// The folder `name` in this one: found if it exists, else made (open to its owner only, until its
    /// metadata is applied). [`fresh`](Self::fresh) tells which.
    pub fn folder(self: &Arc<Self>, name: &[u8]) -> Result<Arc<TargetFolder>, TargetError> {
        self.check(name)?;
        match platform::make_folder(&self.handle, name) {
            Ok(()) => {
                let handle = self.open_folder(name)?;
                let made = platform::stat_open(&handle)
                    .map_err(|source| self.refused("look at the folder", name, source))?;
                Ok(self.below(handle, name, Some(made)))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let handle = self.open_folder(name)?;
                Ok(self.below(handle, name, None))
            }
            Err(source) => Err(self.refused("make the folder", name, source)),
        }
    }

    /// The folder `name` in this one, which must exist.
    pub fn existing_folder(self: &Arc<Self>, name: &[u8]) -> Result<Arc<TargetFolder>, TargetError> {
        self.check(name)?;
        let handle = self.open_folder(name)?;
        Ok(self.below(handle, name, None))
    }

    fn open_folder(&self, name: &[u8]) -> Result<Handle, TargetError> {
        platform::open_work_folder(&self.handle, name)
            .map_err(|source| self.explain("open the folder", name, Kind::Directory, source))
    }

    /// Turns a refusal into one that says what is in the way, if something of another kind is.
    fn explain(&self, action: &'static str, name: &[u8], wanted: Kind, source: io::Error) -> TargetError {
        match self.look(name) {
            Ok(Some(stat)) if stat.kind != wanted => self.wrong_kind(name, stat.kind, wanted),
            _ => self.refused(action, name, source),
        }
    }

    /// The numbers of `name`, if it exists; of a symlink, its own.
    pub fn look(&self, name: &[u8]) -> Result<Option<Stat>, TargetError> {
        self.check(name)?;
        match Place::Entry(&self.handle, name).stat() {
            Ok(stat) => Ok(Some(stat)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.refused("look at", name, source)),
        }
    }

    /// All metadata of variable length of `name`.
    pub fn details(&self, name: &[u8]) -> Result<Details, TargetError> {
        self.check(name)?;
        let place = Place::Entry(&self.handle, name);
        let read = || {
            let target = match place.stat()?.kind {
                Kind::Symlink => platform::read_link(&self.handle, name)?,
                _ => Vec::new(),
            };
            Ok(Details { xattrs: place.xattrs().all()?, target })
        };
        read().map_err(|source| self.refused("read the attributes of", name, source))
    }

    /// All names in this folder, in byte order.
    pub fn names(&self) -> Result<Vec<Vec<u8>>, TargetError> {
        remove::names(&self.handle).map_err(|source| self.refused("list", b"", source))
    }

    /// Makes a file that did not exist, readable by its owner only until its metadata is applied.
    pub fn create_file(self: &Arc<Self>, name: &[u8]) -> Result<TargetFile, TargetError> {
        self.create(name, 0o600)
    }

    /// Like [`create_file`](Self::create_file), for a file that will get the mode of `stat`: gives it
    /// that mode from the start where this shows nobody anything, which saves changing it later.
    pub fn create_file_like(self: &Arc<Self>, name: &[u8], stat: &Stat) -> Result<TargetFile, TargetError> {
        let mode = stat.mode & 0o777;
        let as_asked = || platform::creation_mask().is_some_and(|mask| mode & mask == 0);
        // In a folder that only we can enter, nobody sees a file before it has its owner.
        let early = stat.mode == mode && self.known().is_some() && as_asked();
        self.create(name, if early { mode } else { 0o600 })
    }

    fn create(self: &Arc<Self>, name: &[u8], mode: u32) -> Result<TargetFile, TargetError> {
        self.check(name)?;
        let handle = platform::create_file(&self.handle, name, mode)
            .map_err(|source| self.refused("make the file", name, source))?;
        let given = platform::creation_mask().map(|mask| mode & !mask);
        let known = self.known().map(|folder| Current::fresh(folder, given));
        Ok(TargetFile::new(handle, self.clone(), name, known))
    }

    /// Opens an existing regular file to read and change it. Fails for one that is being executed and
    /// for one that forbids writing: remove such a file and make it anew.
    pub fn open_file(self: &Arc<Self>, name: &[u8]) -> Result<TargetFile, TargetError> {
        self.open(name, true)
    }

    /// Opens an existing regular file only to read it.
    pub fn open_file_to_read(self: &Arc<Self>, name: &[u8]) -> Result<TargetFile, TargetError> {
        self.open(name, false)
    }

    fn open(self: &Arc<Self>, name: &[u8], change: bool) -> Result<TargetFile, TargetError> {
        self.check(name)?;
        let opened = if change {
            platform::open_for_update(&self.handle, name)
        } else {
            platform::open_file(&self.handle, name, false)
        };
        let handle = opened.map_err(|source| self.explain("open the file", name, Kind::File, source))?;
        let stat =
            platform::stat_open(&handle).map_err(|source| self.refused("look at the file", name, source))?;
        if stat.kind != Kind::File {
            return Err(self.wrong_kind(name, stat.kind, Kind::File));
        }
        Ok(TargetFile::new(handle, self.clone(), name, None))
    }

    /// Makes a symlink; where it points is only text here.
    pub fn symlink(&self, name: &[u8], target: &[u8]) -> Result<(), TargetError> {
        self.check(name)?;
        platform::make_symlink(&self.handle, name, target)
            .map_err(|source| self.refused("make the symbolic link", name, source))
    }

    /// Makes a named pipe.
    pub fn fifo(&self, name: &[u8]) -> Result<(), TargetError> {
        self.node(name, Kind::Fifo, 0, 0)
    }

    /// Makes a socket's name (nobody listens at it).
    pub fn socket(&self, name: &[u8]) -> Result<(), TargetError> {
        self.node(name, Kind::Socket, 0, 0)
    }

    /// Makes the device that `stat` describes; only the superuser may.
    pub fn device(&self, name: &[u8], stat: &Stat) -> Result<(), TargetError> {
        match stat.kind {
            Kind::CharDevice | Kind::BlockDevice => {
                self.node(name, stat.kind, stat.rdev_major, stat.rdev_minor)
            }
            other => Err(self.wrong_kind(name, other, Kind::CharDevice)),
        }
    }

    fn node(&self, name: &[u8], kind: Kind, major: u32, minor: u32) -> Result<(), TargetError> {
        self.check(name)?;
        let action = match kind {
            Kind::Fifo => "make the named pipe",
            Kind::Socket => "make the socket",
            _ => "make the device",
        };
        platform::make_node(&self.handle, name, kind, major, minor)
            .map_err(|source| self.refused(action, name, source))
    }

    /// Gives `existing` in this folder a further name `new_name` in `new_folder`.
    pub fn hard_link(
        &self,
        existing: &[u8],
        new_folder: &TargetFolder,
        new_name: &[u8],
    ) -> Result<(), TargetError> {
        self.check(existing)?;
        new_folder.check(new_name)?;
        platform::make_link(&self.handle, existing, &new_folder.handle, new_name)
            .map_err(|source| new_folder.refused("make the hard link", new_name, source))
    }

    /// Removes a file, or a folder with all that is in it; symlinks are removed, not followed. Stops
    /// with an error before another file system that is mounted inside.
    pub fn remove(&self, name: &[u8]) -> Result<(), TargetError> {
        self.check(name)?;
        remove::remove(self, name)
    }

    /// Sets the metadata of `name` without opening it: for symlinks, pipes, sockets and devices, and
    /// for files and folders whose content needs no change. What cannot be set is in the result.
    pub fn apply(
        &self,
        name: &[u8],
        stat: &Stat,
        details: &Details,
        options: &ApplyOptions,
    ) -> Vec<MetadataProblem> {
        if let Err(error) = self.check(name) {
            return vec![MetadataProblem::unreachable(io::Error::other(error))];
        }
        // We know all about a link that we made ourselves.
        let known = match stat.kind {
            Kind::Symlink => self.known().map(|folder| Current::fresh(folder, None)),
            _ => None,
        };
        apply(Place::Entry(&self.handle, name), known, stat, details, options)
    }

    /// Sets this folder's own metadata. Comes after everything in it is done, because each change in a
    /// folder changes its time and a folder may forbid changes.
    pub fn apply_to_self(
        &self,
        stat: &Stat,
        details: &Details,
        options: &ApplyOptions,
    ) -> Vec<MetadataProblem> {
        let known = self.known().map(|folder| Current::fresh(folder, Some(folder.mode)));
        self.settled.store(true, Ordering::Relaxed);
        apply(Place::Open(&self.handle), known, stat, details, options)
    }

    /// Lets the owner list, enter and change this folder, for the time of a restore; its mode is set
    /// again by [`apply_to_self`](Self::apply_to_self).
    pub fn make_writable(&self) -> Result<(), TargetError> {
        let place = Place::Open(&self.handle);
        place
            .stat()
            .and_then(|stat| place.set_mode(stat.mode | 0o700))
            .map_err(|source| self.refused("allow changes in", b"", source))
    }

    pub(super) fn sync(&self) -> Result<(), TargetError> {
        platform::sync_file_system(&self.handle)
            .map_err(|source| self.refused("write to the disk what is in", b"", source))
    }
}

impl Drop for TargetFolder {
    fn drop(&mut self) {
        // One by one, as for `SourceFolder`: a deep chain must not end inside itself.
        let mut parent = self.parent.take();
        while let Some(mut last) = parent.and_then(Arc::into_inner) {
            parent = last.parent.take();
        }
    }
}

impl fmt::Debug for TargetFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TargetFolder").field(&self.path()).finish()
    }
}
