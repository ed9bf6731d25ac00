//! Reading and listing the objects of a folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use bytes::Bytes;
use rustix::fs::OFlags;

use super::root::Root;
use crate::{Kind, ObjectInfo, Operation, StoreError, name};

/// Why a part of an object cannot be chosen.
pub(super) type Refusal = (Kind, &'static str);

/// Reads the part of an object that `select` chooses by its size. Returns the bytes and the size.
pub(super) fn read(
    root: &Root,
    operation: Operation,
    object: &str,
    select: impl FnOnce(u64) -> Result<Range<u64>, Refusal>,
) -> Result<(Bytes, u64), StoreError> {
    let verb = operation.verb();
    let refuse =
        |(kind, reason): Refusal| StoreError::new(kind, verb, object, root.location()).because(reason);
    let (mut file, size) = open(root, object).map_err(|error| root.error(verb, object, error))?;
    let range = select(size).map_err(refuse)?;
    // Never beyond the object's end, so the allocation is bounded by what is there.
    let Some(length) = range.end.checked_sub(range.start).filter(|_| range.end <= size) else {
        return Err(refuse((Kind::Truncated, "the object ends before the range does")));
    };
    let mut bytes = Vec::new();
    let out_of_memory = || refuse((Kind::Other, "not enough memory"));
    bytes
        .try_reserve_exact(usize::try_from(length).map_err(|_| out_of_memory())?)
        .map_err(|_| out_of_memory())?;
    if range.start > 0 {
        file.seek(SeekFrom::Start(range.start)).map_err(|error| root.error(verb, object, error))?;
    }
    file.take(length).read_to_end(&mut bytes).map_err(|error| root.error(verb, object, error))?;
    if bytes.len() as u64 != length {
        return Err(refuse((Kind::Truncated, "the object became shorter while it was read")));
    }
    Ok((bytes.into(), size))
}

/// What is known of an object.
pub(super) fn stat(root: &Root, object: &str) -> Result<ObjectInfo, StoreError> {
    let error = |error| root.error(Operation::Stat.verb(), object, error);
    let metadata = fs::symlink_metadata(root.path().join(object)).map_err(error)?;
    if !metadata.is_file() {
        return Err(error(not_an_object()));
    }
    info(object.to_owned(), &metadata).map_err(error)
}

/// All objects below a folder, sorted.
pub(super) fn list(root: &Root, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
    let verb = Operation::List.verb();
    let mut objects = Vec::new();
    let mut folders = vec![prefix.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(root.path().join(&folder)) {
            Ok(entries) => entries,
            Err(error) => {
                // No such folder, or no folder any more, holds nothing, as long as the store itself is there.
                let error = root.error(verb, &folder, error);
                if error.kind == Kind::NotFound { continue } else { return Err(error) }
            }
        };
        for entry in entries {
            let entry = entry.map_err(|error| root.error(verb, &folder, error))?;
            // What cannot be a name is not ours: `lost+found`, `.nfs0001`, a file manager's notes.
            let file_name = entry.file_name();
            let Some(component) = file_name.to_str().filter(|text| name::check_component(text).is_ok())
            else {
                continue;
            };
            let object = format!("{folder}{component}");
            if name::check(&object).is_err() {
                continue;
            }
            let kind = entry.file_type().map_err(|error| root.error(verb, &object, error))?;
            if kind.is_dir() {
                folders.push(object + "/");
            } else if kind.is_file() {
                match entry.metadata().and_then(|metadata| info(object.clone(), &metadata)) {
                    Ok(info) => objects.push(info),
                    // Deleted since the folder was read.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(root.error(verb, &object, error)),
                }
            }
        }
    }
    // Also when all was found: a store that was swapped for another one must not answer.
    root.verify(verb, prefix)?;
    objects.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(objects)
}

/// Opens an object without following a link in its place and without waiting at a pipe.
fn open(root: &Root, object: &str) -> io::Result<(File, u64)> {
    let path: PathBuf = root.path().join(object);
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(not_an_object());
    }
    Ok((file, metadata.len()))
}

fn info(name: String, metadata: &fs::Metadata) -> io::Result<ObjectInfo> {
    Ok(ObjectInfo { name, size: metadata.len(), modified: metadata.modified()? })
}

fn not_an_object() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "it is not a regular file")
}
