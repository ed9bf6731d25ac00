//! Hard links: several names of one file.
//!
//! The first name is made as soon as it is met, so that further names can be linked to it at once while its content is
//! still on its way. If the content then fails, all names made so far go.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use content::tree::Entry;
use files::{Kind, TargetError, TargetFolder};

use super::folder::Folder;
use super::metadata;
use super::session::describe;
use crate::tree_walk::join;

/// The file's identity in the snapshot: file system and inode; and its kind, which honest snapshots do not need.
type Key = (u64, u64, Kind);

/// What becomes of a file with several names.
#[derive(Default)]
pub(super) struct Group {
    fate: Mutex<Fate>,
}

#[derive(Default)]
struct Fate {
    outcome: Outcome,
    /// Further names, as long as the content is on its way.
    names: Vec<(Arc<Folder>, Vec<u8>)>,
}

#[derive(Clone, Default, PartialEq, Eq)]
enum Outcome {
    #[default]
    Pending,
    Whole,
    /// With the reason.
    Failed(String),
}

impl Group {
    /// The content is whole.
    pub(super) fn complete(&self) {
        self.end(Outcome::Whole);
    }

    /// The content is not there, so the names must not be either.
    pub(super) fn fail(&self, why: &str) {
        for (folder, name) in self.end(Outcome::Failed(why.to_owned())) {
            let path = join(&folder.path, &name);
            // It was counted when it was made.
            folder.session.counts.files_restored.fetch_sub(1, Ordering::Relaxed);
            if let Some(Err(error)) = folder.place.as_ref().map(|place| place.remove(&name)) {
                folder.session.lost(&path, describe(&error));
            }
            folder.session.lost(&path, without_content(why));
        }
    }

    fn end(&self, outcome: Outcome) -> Vec<(Arc<Folder>, Vec<u8>)> {
        let mut fate = self.fate.lock().unwrap_or_else(PoisonError::into_inner);
        if fate.outcome == Outcome::Pending {
            fate.outcome = outcome;
        }
        std::mem::take(&mut fate.names)
    }
}

/// What is said of a further name.
pub(super) fn without_content(why: &str) -> String {
    format!("it is another name of a file that cannot be restored: {why}")
}

/// The first name of a group in this restore.
struct First {
    group: Arc<Group>,
    folder: Weak<Folder>,
    name: Vec<u8>,
    /// The names of the folders that lead to it from the target.
    way: Vec<Vec<u8>>,
    /// Device and inode on this machine; `None` in a dry run.
    identity: Option<(u64, u64)>,
    /// How many of its names are still to come.
    left: u64,
}

/// Why a further name was not made.
pub(super) enum NotLinked {
    /// The file's content cannot be restored, for this reason.
    WithoutContent(String),
    /// This machine does not link here.
    Refused(TargetError),
}

/// All groups whose names have not all been met.
#[derive(Default)]
pub(super) struct Links {
    groups: HashMap<Key, First>,
    /// Files with several names that were found and kept, so that two files of the snapshot never share one here.
    kept: HashMap<(u64, u64), Key>,
}

impl Links {
    pub(super) fn key(entry: &Entry) -> Option<Key> {
        entry.is_hard_linked().then_some((entry.device, entry.inode, metadata::kind(entry)))
    }

    pub(super) fn is_known(&self, key: Key) -> bool {
        self.groups.contains_key(&key)
    }

    /// The first name was made or found.
    pub(super) fn add(
        &mut self,
        key: Key,
        folder: &Arc<Folder>,
        way: Vec<Vec<u8>>,
        entry: &Entry,
        identity: Option<(u64, u64)>,
    ) -> Arc<Group> {
        let group = Arc::new(Group::default());
        let first = First {
            group: group.clone(),
            folder: Arc::downgrade(folder),
            name: entry.name.clone(),
            way,
            identity,
            left: entry.links.saturating_sub(1),
        };
        self.groups.insert(key, first);
        group
    }

    /// Whether a file that was found may be kept for this one: no other file of the snapshot has it.
    pub(super) fn keep(&mut self, identity: (u64, u64), key: Key) -> bool {
        *self.kept.entry(identity).or_insert(key) == key
    }

    /// Whether what was found is a name of the group's file already.
    pub(super) fn is_linked(&self, key: Key, found: (u64, u64)) -> bool {
        self.groups.get(&key).is_some_and(|first| first.identity == Some(found))
    }

    /// One more name was met; makes it unless it is there.
    pub(super) fn further(
        &mut self,
        key: Key,
        top: Option<&Arc<TargetFolder>>,
        folder: &Arc<Folder>,
        name: &[u8],
        is_there: bool,
    ) -> Result<(), NotLinked> {
        let Some(first) = self.groups.get_mut(&key) else { return Ok(()) };
        first.left = first.left.saturating_sub(1);
        let mut fate = first.group.fate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Outcome::Failed(why) = &fate.outcome {
            return Err(NotLinked::WithoutContent(why.clone()));
        }
        let dry_run = folder.session.request.dry_run;
        if let (Some(place), Some(top), false) = (&folder.place, top, is_there || dry_run) {
            let linked = first.open(top).and_then(|from| from.hard_link(&first.name, place, name));
            linked.map_err(NotLinked::Refused)?;
            if fate.outcome == Outcome::Pending {
                fate.names.push((folder.clone(), name.to_vec()));
            }
        }
        drop(fate);
        if first.left == 0 {
            self.groups.remove(&key);
        }
        Ok(())
    }
}

impl First {
    /// Its folder: still open, or found again from the top.
    fn open(&self, top: &Arc<TargetFolder>) -> Result<Arc<TargetFolder>, TargetError> {
        if let Some(place) = self.folder.upgrade().and_then(|folder| folder.place.clone()) {
            return Ok(place);
        }
        self.way.iter().try_fold(top.clone(), |folder, name| folder.existing_folder(name))
    }
}
