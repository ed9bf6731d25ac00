//! Walking a snapshot's tree in path order.

use std::sync::Arc;

use content::tree::Entry;

use crate::{Entries, Error, Reader};

/// One step of a walk; paths are absolute raw bytes.
#[derive(Clone, Debug)]
pub enum TreeStep {
    /// A directory begins.
    Enter {
        /// Its path.
        path: Vec<u8>,
        /// What it is.
        entry: Entry,
    },
    /// Something that is not a directory.
    Item {
        /// Its path.
        path: Vec<u8>,
        /// What it is.
        entry: Entry,
    },
    /// The directory entered last ends.
    Leave {
        /// Its path.
        path: Vec<u8>,
    },
}

/// Walks a tree. A directory that cannot be read is one error; the walk goes on after it.
#[derive(Debug)]
pub struct TreeWalk {
    reader: Arc<Reader>,
    start: Option<(Vec<u8>, Entry)>,
    levels: Vec<(Vec<u8>, Entries)>,
}

impl Reader {
    /// Walks from `start`, which stands at path `at`.
    pub fn walk(self: &Arc<Self>, start: Entry, at: &[u8]) -> TreeWalk {
        TreeWalk { reader: self.clone(), start: Some((at.to_vec(), start)), levels: Vec::new() }
    }
}

/// A path and a name joined.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + name.len() + 1);
    out.extend_from_slice(path);
    if !path.ends_with(b"/") {
        out.push(b'/');
    }
    out.extend_from_slice(name);
    out
}

impl TreeWalk {
    fn step(&mut self, path: Vec<u8>, entry: Entry) -> Result<TreeStep, Error> {
        if !entry.is_directory() {
            return Ok(TreeStep::Item { path, entry });
        }
        let entries = self.reader.entries(&entry)?;
        self.levels.push((path.clone(), entries));
        Ok(TreeStep::Enter { path, entry })
    }

    /// Does not go into the directory entered last: its `Leave` is the next step.
    pub fn skip_directory(&mut self) {
        if let Some((_, entries)) = self.levels.last_mut() {
            entries.end();
        }
    }
}

impl Iterator for TreeWalk {
    type Item = Result<TreeStep, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((path, entry)) = self.start.take() {
            return Some(self.step(path, entry));
        }
        let (path, entries) = self.levels.last_mut()?;
        match entries.next() {
            Some(Ok(entry)) => {
                let path = join(path, &entry.name);
                Some(self.step(path, entry))
            }
            Some(Err(error)) => Some(Err(error)),
            None => self.levels.pop().map(|(path, _)| Ok(TreeStep::Leave { path })),
        }
    }
}

/// The same path from the top, with single slashes and none at its end; the top is `/`. A snapshot holds no `..`, so that
/// stays and is not found.
pub fn clean_path(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 1);
    for name in path.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
        out.push(b'/');
        out.extend_from_slice(name);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}
