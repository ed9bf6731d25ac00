//! Removing what the snapshot does not have. The rules are in [`super`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use files::{Kind, Stat, TargetError, TargetFolder, Verdict};

use super::session::{Session, describe};
use crate::tree_walk::join;

/// Names in a folder that exists, to be compared with the snapshot's in order.
pub(super) struct Surplus {
    names: std::iter::Peekable<std::vec::IntoIter<Vec<u8>>>,
}

impl Surplus {
    /// Begins with all names that are in a folder.
    pub(super) fn new(folder: &TargetFolder) -> Result<Self, TargetError> {
        Ok(Self { names: folder.names()?.into_iter().peekable() })
    }

    /// The next name before `known` that the snapshot does not have; of all that are left, without `known`.
    pub(super) fn next_before(&mut self, known: Option<&[u8]>) -> Option<Vec<u8>> {
        self.names.next_if(|name| known.is_none_or(|known| name.as_slice() < known))
    }

    /// The snapshot has this name.
    pub(super) fn skip(&mut self, known: &[u8]) {
        self.names.next_if(|name| name == known);
    }
}

/// A folder whose contents are being removed.
struct Level {
    parent: Arc<TargetFolder>,
    name: Vec<u8>,
    path: Vec<u8>,
    folder: Arc<TargetFolder>,
    names: std::vec::IntoIter<Vec<u8>>,
    /// Whether something in it stays, and so it stays too.
    kept: bool,
}

/// Removes `name`, whose path in the snapshot would be `path`, with all in it that may be removed. Returns whether it
/// is gone.
pub(super) fn clear(
    session: &Session,
    folder: &Arc<TargetFolder>,
    name: &[u8],
    path: &[u8],
) -> Result<bool, TargetError> {
    let mut levels: Vec<Level> = Vec::new();
    let mut next = Some((folder.clone(), name.to_vec(), path.to_vec()));
    let Some(top) = folder.look(name)? else { return Ok(true) };
    loop {
        if session.is_stopped() {
            return Ok(false);
        }
        if let Some((parent, name, path)) = next.take() {
            let gone = match parent.look(&name)? {
                None => true,
                Some(stat) if is_kept(session, &stat, &top, &path) => false,
                Some(stat) if stat.is_directory() => {
                    let folder = parent.existing_folder(&name)?;
                    let names = folder.names()?.into_iter();
                    levels.push(Level { parent, name, path, folder, names, kept: false });
                    continue;
                }
                Some(_) => {
                    remove(session, &parent, &name)?;
                    true
                }
            };
            match levels.last_mut() {
                Some(level) => level.kept |= !gone,
                None => return Ok(gone),
            }
        }
        let Some(level) = levels.last_mut() else { return Ok(true) };
        if let Some(name) = level.names.next() {
            next = Some((level.folder.clone(), name.clone(), join(&level.path, &name)));
            continue;
        }
        let Some(done) = levels.pop() else { return Ok(true) };
        let wanted = session.request.selection.verdict(&done.path, true) == Verdict::Wanted;
        let gone = !done.kept && wanted;
        drop(done.folder);
        if gone {
            remove(session, &done.parent, &done.name)?;
        }
        match levels.last_mut() {
            Some(level) => level.kept |= !gone,
            None => return Ok(gone),
        }
    }
}

/// Whether this is not to be removed, and neither is anything in it.
fn is_kept(session: &Session, stat: &Stat, top: &Stat, path: &[u8]) -> bool {
    let verdict = session.request.selection.verdict(path, stat.is_directory());
    let unwanted = match stat.kind {
        Kind::Directory => verdict == Verdict::No,
        _ => verdict != Verdict::Wanted,
    };
    unwanted || stat.device != top.device || session.is_protected(stat.device, stat.inode)
}

fn remove(session: &Session, folder: &TargetFolder, name: &[u8]) -> Result<(), TargetError> {
    if !session.request.dry_run {
        folder.remove(name)?;
    }
    session.counts.deleted.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Removes a name that the snapshot does not have; a failure is noted.
pub(super) fn remove_surplus(session: &Session, folder: &Arc<TargetFolder>, name: &[u8], path: &[u8]) {
    if let Err(error) = clear(session, folder, name, path) {
        session.lost(path, format!("it is not in the snapshot and stays: {}", describe(&error)));
    }
}
