//! The tree of the snapshot before, read beside the walk.

use std::sync::Arc;

use content::tree::{Entry, FileContent, Node};

use super::session::Session;
use crate::{Entries, Error, Reader};

/// Where the merge stands in the previous tree: one level for each directory the walk is in.
pub(super) struct Previous {
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

impl Previous {
    /// Opens the parent's tree. One that cannot be read is as if there were none: everything is read anew.
    pub(super) fn open(session: &Session<'_>) -> Self {
        let root = session.parent.as_ref().and_then(|parent| match session.reader.open(parent) {
            Ok(root) => Some(root),
            Err(_) => {
                session.distrust([parent.body.root.pack]);
                None
            }
        });
        Self { reader: session.reader.clone(), root, levels: Vec::new() }
    }

    /// What stood under `name` in the directory the walk is in (for the root: the root).
    pub(super) fn find(&mut self, session: &Session<'_>, name: &[u8]) -> Option<Entry> {
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

    /// Goes into a directory, beside the one that stood there before if there was one.
    pub(super) fn enter(&mut self, before: Option<&Entry>) -> Result<(), Error> {
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

    pub(super) fn leave(&mut self) {
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
            list.iter().all(|address| !session.distrusts(address.pack))
        }
        _ => true,
    }
}
