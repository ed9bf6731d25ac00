//! Setting a thing's metadata, in the order in which nothing undoes what came before.
//!
//! 1. The owner: changing it takes setuid bits and file capabilities away.
//! 2. Extended attributes. What is there but should not be goes first. They come before the mode,
//!    because a file that forbids writing takes no attributes either, and because an ACL changes the
//!    mode.
//! 3. The mode, with setuid and setgid only when the owner and the group are the right ones.
//! 4. The time of the last change.
//!
//! Of something that we just made we know what is set already, and ask nothing.

use std::fmt;
use std::io;

use thiserror::Error;

use crate::machine;
use crate::platform::{Place, Xattr};
use crate::stat::{Details, Kind, Stat, Timestamp};

/// How to set metadata.
#[derive(Clone, Copy, Debug)]
pub struct ApplyOptions {
    /// Report an owner or group that could not be set. Without it files just keep the owner that the
    /// system gave them (and lose setuid and setgid with it).
    pub require_owner: bool,
}

impl Default for ApplyOptions {
    /// Owners are required of the superuser, who alone can set them.
    fn default() -> Self {
        ApplyOptions { require_owner: machine::is_root() }
    }
}

/// A part of a thing's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// The thing itself: it could not be looked at.
    Itself,
    /// Owner and group.
    Owner,
    /// Permission bits.
    Mode,
    /// The extended attribute of this name.
    Xattr(Vec<u8>),
    /// The time of the last change of content.
    Modified,
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attribute::Itself => f.write_str("metadata"),
            Attribute::Owner => f.write_str("owner"),
            Attribute::Mode => f.write_str("permissions"),
            Attribute::Xattr(name) => write!(f, "attribute {}", String::from_utf8_lossy(name)),
            Attribute::Modified => f.write_str("time"),
        }
    }
}

/// One part of a thing's metadata that could not be set; the other parts are.
#[derive(Debug, Error)]
#[error("the {attribute} could not be set")]
pub struct MetadataProblem {
    /// Which part.
    pub attribute: Attribute,
    /// Why not.
    pub source: io::Error,
}

impl MetadataProblem {
    pub(super) fn unreachable(source: io::Error) -> MetadataProblem {
        MetadataProblem { attribute: Attribute::Itself, source }
    }
}

/// What is set at the moment.
#[derive(Clone, Debug)]
pub(super) struct Current {
    uid: u32,
    gid: u32,
    /// `None`: unknown, so it has to be set.
    mode: Option<u32>,
    /// `None`: surely not the right one.
    modified: Option<Timestamp>,
    /// Whether there may be attributes that do not belong there.
    may_have_xattrs: bool,
}

impl Current {
    /// What a thing has that we just made in a folder of our own making: `folder`'s owner and group (the
    /// folder got them by the same rules), and no attributes.
    pub fn fresh(folder: &Stat, mode: Option<u32>) -> Current {
        Current { uid: folder.uid, gid: folder.gid, mode, modified: None, may_have_xattrs: false }
    }

    fn found(stat: &Stat) -> Current {
        Current {
            uid: stat.uid,
            gid: stat.gid,
            mode: Some(stat.mode),
            modified: Some(stat.modified),
            may_have_xattrs: true,
        }
    }
}

/// Sets everything of `stat` and `details` on `place`; the result says what could not be.
pub(super) fn apply(
    place: Place<'_>,
    known: Option<Current>,
    stat: &Stat,
    details: &Details,
    options: &ApplyOptions,
) -> Vec<MetadataProblem> {
    let current = match known {
        Some(known) => known,
        None => match place.stat() {
            Ok(found) if found.kind == stat.kind => Current::found(&found),
            Ok(found) => {
                let why = format!("it is a {}, not a {}", found.kind, stat.kind);
                return vec![MetadataProblem::unreachable(io::Error::other(why))];
            }
            Err(error) => return vec![MetadataProblem::unreachable(error)],
        },
    };
    let mut work = Work { place, current, problems: Vec::new() };
    work.set_owner(stat, options);
    if work.current.may_have_xattrs || !details.xattrs.is_empty() {
        work.set_xattrs(stat, &details.xattrs);
    }
    if stat.kind != Kind::Symlink {
        work.set_mode(stat);
    }
    if work.current.modified != Some(stat.modified) {
        let result = place.set_modified(stat.modified);
        work.note(Attribute::Modified, result);
    }
    work.problems
}

struct Work<'a> {
    place: Place<'a>,
    current: Current,
    problems: Vec<MetadataProblem>,
}

impl Work<'_> {
    fn note(&mut self, attribute: Attribute, result: io::Result<()>) {
        if let Err(source) = result {
            self.problems.push(MetadataProblem { attribute, source });
        }
    }

    fn set_owner(&mut self, stat: &Stat, options: &ApplyOptions) {
        let uid = (self.current.uid != stat.uid).then_some(stat.uid);
        let gid = (self.current.gid != stat.gid).then_some(stat.gid);
        if uid.is_none() && gid.is_none() {
            return;
        }
        if self.current.mode.is_some_and(|mode| mode & 0o6000 != 0) {
            self.current.mode = None;
        }
        let mut result = self.place.set_owner(uid, gid);
        if result.is_ok() {
            self.current.uid = stat.uid;
            self.current.gid = stat.gid;
        } else if uid.is_some() && gid.is_some() && self.place.set_owner(None, gid).is_ok() {
            // Not being allowed to give a file away does not mean that a group one is in is forbidden.
            self.current.gid = stat.gid;
        }
        if !options.require_owner {
            result = Ok(());
        }
        self.note(Attribute::Owner, result);
    }

    fn set_xattrs(&mut self, stat: &Stat, wanted: &[Xattr]) {
        let mut present = Vec::new();
        if self.current.may_have_xattrs {
            match self.place.xattrs().all() {
                Ok(all) => present = all,
                Err(source) => {
                    self.problems.push(MetadataProblem { attribute: Attribute::Itself, source });
                    return;
                }
            }
        }
        let surplus = present
            .iter()
            .map(|(name, _)| name)
            .filter(|name| is_ours_to_remove(name) && wanted.iter().all(|(wanted, _)| wanted != *name));
        let surplus: Vec<Vec<u8>> = surplus.cloned().collect();
        let missing: Vec<&Xattr> = wanted.iter().filter(|xattr| !present.contains(xattr)).collect();
        if surplus.is_empty() && missing.is_empty() {
            return;
        }
        self.allow_xattrs(stat.kind);
        for name in surplus {
            let result = self.place.xattrs().remove(&name);
            self.note(Attribute::Xattr(name), result);
        }
        for (name, value) in missing {
            let result = self.place.xattrs().set(name, value);
            self.note(Attribute::Xattr(name.clone()), result);
        }
    }

    /// Attributes can be set only on what its owner may write to, unless one is the superuser.
    fn allow_xattrs(&mut self, kind: Kind) {
        let locked = self.current.mode.is_none_or(|mode| mode & 0o200 == 0);
        if kind != Kind::Symlink && locked && !machine::is_root() {
            // If this fails, setting the attributes does too, and says so.
            let _ = self.place.set_mode(if kind == Kind::Directory { 0o700 } else { 0o600 });
            self.current.mode = None;
        }
    }

    fn set_mode(&mut self, stat: &Stat) {
        let mut mode = stat.mode & 0o7777;
        // Running as the wrong user is worse than not running as the right one.
        if self.current.uid != stat.uid {
            mode &= !0o4000;
        }
        if self.current.gid != stat.gid {
            mode &= !0o2000;
        }
        if self.current.mode != Some(mode) {
            let result = self.place.set_mode(mode);
            self.note(Attribute::Mode, result);
        }
    }
}

/// Whether an attribute that the original did not have is taken away. Labels that the system puts on
/// files by its own policy stay.
fn is_ours_to_remove(name: &[u8]) -> bool {
    name.starts_with(b"user.")
        || name.starts_with(b"trusted.")
        || name.starts_with(b"system.posix_acl_")
        || name == b"security.capability"
}
