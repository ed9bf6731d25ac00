//! The tree of the snapshot before, or what was noted of it, read beside the walk.

use std::sync::Arc;

use content::tree::{Entry, FileContent, Node};

use super::notes::NotedTree;
use super::parent::Parent;
use super::session::Session;
use crate::{Entries, Error, Reader, Snapshot};

/// Where the merge stands in what was there before.
pub(super) enum Previous {
    Stored(StoredTree),
    Noted(NotedTree),
}

impl Previous {
    pub(super) fn open(session: &Session<'_>) -> Self {
        match &session.parent {
            Some(Parent::Noted(noted)) => Self::Noted(NotedTree::new(noted.take())),
            Some(Parent::Opened(parent)) => Self::Stored(StoredTree::open(session, Some(parent))),
            None => Self::Stored(StoredTree::open(session, None)),
        }
    }

    /// What stood under `name` in the directory the walk is in (for the root: the root).
    pub(super) fn find(&mut self, session: &Session<'_>, name: &[u8]) -> Option<Entry> {
        match self {
            Self::Stored(tree) => tree.find(session, name),
            Self::Noted(tree) => tree.find(name),
        }
    }

    /// Goes into a directory, beside the one that was just found there if there was one.
    pub(super) fn enter(&mut self, before: Option<&Entry>) -> Result<(), Error> {
        match self {
            Self::Stored(tree) => tree.enter(before),
            Self::Noted(tree) => {
                tree.enter(before);
                Ok(())
            }
        }
    }

    pub(super) fn leave(&mut self) {
        match self {
            Self::Stored(tree) => tree.leave(),
            Self::Noted(tree) => tree.leave(),
        }
    }
}

/// Where the merge stands in the previous tree: one level for each directory the walk is in.
pub(super) struct StoredTree {
    reader: Arc<Reader>,
    root: Option<Entry>,
    levels: Vec<Option<Level>>,
}

struct Level {
    entries: Entries,
    next: Option<Entry>,
    /// The directory's own pages, to distrust their packs if they cannot be read.
    directory: Entry,
}

impl StoredTree {
    /// Opens the parent's tree. One that cannot be read is as if there were none: everything is read anew.
    fn open(session: &Session<'_>, parent: Option<&Arc<Snapshot>>) -> Self {
        let root = parent.and_then(|parent| match session.reader.open(parent) {
            Ok(root) => Some(root),
            Err(_) => {
                session.distrust([parent.body.root.pack]);
                None
            }
        });
        Self { reader: session.reader.clone(), root, levels: Vec::new() }
    }

    fn find(&mut self, session: &Session<'_>, name: &[u8]) -> Option<Entry> {
        if self.levels.is_empty() {
            return self.root.take();
        }
        let level = self.levels.last_mut()?.as_mut()?;
        loop {
            match &level.next {
                Some(next) if next.name.as_slice() < name => {}
                Some(next) if next.name == name => return level.next.take(),
                Some(_) => return None,
                None => {}
            }
            level.next = match level.entries.next() {
                Some(Ok(entry)) => Some(entry),
                None => return None,
                Some(Err(_)) => {
                    session.distrust(pages_of(&level.directory));
                    level.entries.end();
                    return None;
                }
            };
        }
    }

    fn enter(&mut self, before: Option<&Entry>) -> Result<(), Error> {
        let level = match before {
            Some(directory) if directory.is_directory() => Some(Level {
                entries: self.reader.entries(directory)?,
                next: None,
                directory: directory.clone(),
            }),
            _ => None,
        };
        self.levels.push(level);
        Ok(())
    }

    fn leave(&mut self) {
        self.levels.pop();
    }
}

fn pages_of(directory: &Entry) -> Vec<vault::PackId> {
    match &directory.node {
        Node::Directory { pages, .. } => pages.iter().map(|page| page.pack).collect(),
        _ => Vec::new(),
    }
}

/// Whether everything an entry's content stands on is trusted.
pub(super) fn is_trusted(session: &Session<'_>, entry: &Entry) -> bool {
    match &entry.node {
        Node::File { content: FileContent::Chunks(list) | FileContent::Extents(list), .. } => {
            let is_needed = |address| session.parent.as_ref().is_some_and(|parent| parent.needs(address));
            list.iter().all(|address| !session.distrusts(address.pack) && is_needed(address))
        }
        _ => true,
    }
}
