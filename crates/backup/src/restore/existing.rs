//! What to do where something is already.

use std::sync::Arc;

use content::tree::Entry;
use files::{Kind, Stat, TargetError, TargetFolder};

use super::clear;
use super::folder::Folder;
use super::session::Session;
use super::{Overwrite, metadata};

/// What is in a place, and what that means.
pub(super) enum Found {
    /// Nothing, or nothing any more.
    Nothing,
    /// Something that is to be left alone.
    LeaveAlone,
    /// Something that is not removed without being asked to.
    InTheWay(&'static str),
    /// A thing of the same kind.
    Same(Stat),
}

/// Looks at the place of `entry`, and clears it when a thing of another kind is there that may be replaced.
pub(super) fn look(
    session: &Session,
    folder: &Folder,
    entry: &Entry,
    path: &[u8],
) -> Result<Found, TargetError> {
    let Some(place) = folder.place.as_ref().filter(|_| !folder.is_fresh()) else {
        return Ok(Found::Nothing);
    };
    let Some(stat) = place.look(&entry.name)? else { return Ok(Found::Nothing) };
    let wanted = metadata::kind(entry);
    let same = stat.kind == wanted;
    let overwrite = session.request.overwrite;
    // Folders that exist are worked in whatever their age.
    let leave_alone = match overwrite {
        Overwrite::Never => true,
        Overwrite::IfNewer => metadata::modified(entry) <= stat.modified,
        Overwrite::Always | Overwrite::IfChanged => false,
    };
    if same && wanted == Kind::Directory {
        return Ok(Found::Same(stat));
    }
    if leave_alone {
        let blocks = wanted == Kind::Directory;
        let why = "something that is not a folder is in the way, and is to be left alone";
        return Ok(if blocks { Found::InTheWay(why) } else { Found::LeaveAlone });
    }
    if same {
        return Ok(Found::Same(stat));
    }
    if stat.kind != Kind::Directory {
        if !session.request.dry_run {
            place.remove(&entry.name)?;
        }
        return Ok(Found::Nothing);
    }
    replace_folder(session, place, &entry.name, path)
}

/// A folder stands where something else belongs.
fn replace_folder(
    session: &Session,
    place: &Arc<TargetFolder>,
    name: &[u8],
    path: &[u8],
) -> Result<Found, TargetError> {
    let may_clear = session.request.delete || session.request.overwrite == Overwrite::Always;
    if !may_clear && !place.existing_folder(name)?.names()?.is_empty() {
        return Ok(Found::InTheWay(
            "a folder that is not empty is in the way; move it, or restore with --delete or --overwrite always",
        ));
    }
    match clear::clear(session, place, name, path)? {
        true => Ok(Found::Nothing),
        false => Ok(Found::InTheWay("a folder is in the way, and not all that is in it may be removed")),
    }
}
