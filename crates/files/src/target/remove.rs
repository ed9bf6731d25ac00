//! Removing a tree without following links, without recursion, and never across a mount.

use std::io;

use super::{TargetError, TargetFolder};
use crate::platform::{self, Handle, path_from};
use crate::source::join;

/// A folder that is being emptied.
struct Level {
    handle: Handle,
    name: Vec<u8>,
    /// What is still in it.
    names: Vec<Vec<u8>>,
}

/// Removes `name` (already checked) with all that is in it.
pub(super) fn remove(folder: &TargetFolder, name: &[u8]) -> Result<(), TargetError> {
    let refused =
        |levels: &[Level], name: &[u8], source| folder.refused("remove", &path_below(levels, name), source);
    match platform::remove_entry(folder.handle(), name) {
        Ok(()) => return Ok(()),
        Err(error) if is_folder(folder.handle(), name) == Some(true) => drop(error),
        Err(error) => return Err(refused(&[], name, error)),
    }
    let device = |handle: &Handle| platform::stat_open(handle).map(|stat| stat.device);
    let home = device(folder.handle()).map_err(|error| refused(&[], name, error))?;

    let mut levels: Vec<Level> = Vec::new();
    let mut next = Some(name.to_owned());
    loop {
        let parent = levels.last().map_or(folder.handle(), |level| &level.handle);
        if let Some(name) = next.take() {
            // A folder: go in. Its contents must be of the same file system.
            let entered = platform::open_work_folder(parent, &name)
                .and_then(|handle| Ok((device(&handle)?, names(&handle)?, handle)));
            let (found, names, handle) = entered.map_err(|error| refused(&levels, &name, error))?;
            if found != home {
                let path = folder.path().join(path_from(path_below(&levels, &name)));
                return Err(TargetError::OtherFileSystem { path });
            }
            levels.push(Level { handle, name, names });
        }
        let Some(level) = levels.last_mut() else { return Ok(()) };
        match level.names.pop() {
            Some(name) => match platform::remove_entry(&level.handle, &name) {
                Ok(()) => {}
                Err(error) => match is_folder(&level.handle, &name) {
                    Some(true) => next = Some(name),
                    Some(false) => return Err(refused(&levels, &name, error)),
                    // It is gone, by whoever's hand.
                    None => {}
                },
            },
            None => {
                let Some(emptied) = levels.pop() else { return Ok(()) };
                let parent = levels.last().map_or(folder.handle(), |level| &level.handle);
                platform::remove_folder(parent, &emptied.name)
                    .map_err(|error| refused(&levels, &emptied.name, error))?;
            }
        }
    }
}

/// Whether `name` is a real folder; `None` when it cannot be looked at.
fn is_folder(folder: &Handle, name: &[u8]) -> Option<bool> {
    platform::Place::Entry(folder, name).stat().ok().map(|stat| stat.is_directory())
}

/// All names in a folder, in byte order.
pub(super) fn names(folder: &Handle) -> io::Result<Vec<Vec<u8>>> {
    // Listing moves a position in the handle; an own handle starts at the beginning.
    let own = platform::open_work_folder(folder, b".")?;
    let mut names = Vec::new();
    platform::list(&own, |name, _| names.push(name.to_owned()))?;
    names.sort_unstable();
    Ok(names)
}

/// The path from the folder in which the removal began.
fn path_below(levels: &[Level], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::new();
    for part in levels.iter().map(|level| &level.name[..]).chain([name]) {
        path = if path.is_empty() { part.to_owned() } else { join(path, part) };
    }
    path
}
