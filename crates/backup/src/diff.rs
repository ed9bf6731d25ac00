//! What differs between two snapshots, or parts of them.
//!
//! Both trees are merged in path order. What has the same pages on both sides is the same and is not read, so the
//! cost follows the changes and not the size.

use std::collections::HashSet;
use std::iter::Peekable;
use std::sync::Arc;

use content::tree::{Entry, Node};

use crate::file_map::FileMap;
use crate::tree_walk::join;
use crate::{Entries, Error, Progress, Reader, Snapshot, Vault};

/// How many opened bytes are kept.
const CACHE: usize = 32 << 20;

/// A snapshot, or a part of it.
#[derive(Clone, Debug)]
pub struct Part {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// An absolute path in it; empty or `/` is everything.
    pub path: Vec<u8>,
}

impl Part {
    /// Finds what is at the path.
    pub fn open(&self, reader: &Arc<Reader>) -> Result<Entry, Error> {
        let root = reader.open(&self.snapshot)?;
        reader.lookup(&root, &self.path)?.ok_or_else(|| Error::NoSuchPath {
            path: String::from_utf8_lossy(&self.path).into_owned(),
            snapshot: self.snapshot.id.short(),
        })
    }
}

/// How something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It is only in the second.
    Added,
    /// It is only in the first.
    Removed,
    /// Other bytes, another target of a link, another device.
    Content,
    /// The same content with another mode, owner, time of change, or other extended attributes. A directory's time is
    /// left out: it follows from what is in it.
    Metadata,
    /// Something of another type, such as a link in the place of a file.
    Type,
}

/// One difference.
#[derive(Clone, Debug)]
pub struct Change {
    /// The path: as in both snapshots or, when two parts with different paths are compared, as in the second.
    pub path: Vec<u8>,
    /// How it changed.
    pub kind: ChangeKind,
    /// What it was; `None` when it was added.
    pub before: Option<Entry>,
    /// What it is; `None` when it was removed.
    pub after: Option<Entry>,
}

impl Change {
    /// Its size before, in bytes; 0 for anything but a file.
    pub fn size_before(&self) -> u64 {
        self.before.as_ref().map_or(0, Entry::size)
    }

    /// Its size after, in bytes; 0 for anything but a file.
    pub fn size_after(&self) -> u64 {
        self.after.as_ref().map_or(0, Entry::size)
    }
}

/// All differences in numbers; directories are counted too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiffSummary {
    /// Only in the second.
    pub added: u64,
    /// Only in the first.
    pub removed: u64,
    /// With other content.
    pub content: u64,
    /// With other metadata.
    pub metadata: u64,
    /// Of another type.
    pub types: u64,
    /// Sizes of files that were added, or after they changed.
    pub bytes_after: u64,
    /// Sizes of files that were removed, or before they changed.
    pub bytes_before: u64,
}

impl DiffSummary {
    fn count(&mut self, change: &Change) {
        let counter = match change.kind {
            ChangeKind::Added => &mut self.added,
            ChangeKind::Removed => &mut self.removed,
            ChangeKind::Content => &mut self.content,
            ChangeKind::Metadata => &mut self.metadata,
            ChangeKind::Type => &mut self.types,
        };
        *counter += 1;
        if change.kind != ChangeKind::Metadata {
            self.bytes_before += change.size_before();
            self.bytes_after += change.size_after();
        }
    }
}

/// Tells every difference to `each`, in path order: a directory before what is in it.
pub fn diff(
    vault: &Arc<Vault>,
    before: &Part,
    after: &Part,
    progress: &Progress,
    each: &mut dyn FnMut(&Change) -> Result<(), Error>,
) -> Result<DiffSummary, Error> {
    progress.set_stage("comparing");
    let reader = Reader::new(vault, CACHE);
    let (first, second) = (before.open(&reader)?, after.open(&reader)?);
    let mut path = vec![b'/'];
    path.extend(after.path.iter().skip_while(|byte| **byte == b'/'));
    while path.len() > 1 && path.ends_with(b"/") {
        path.pop();
    }
    let mut diff = Diff { reader, progress, each, summary: DiffSummary::default(), levels: Vec::new() };
    diff.both(path, &first, &second)?;
    while diff.step()? {}
    Ok(diff.summary)
}

struct Diff<'a> {
    reader: Arc<Reader>,
    progress: &'a Progress,
    each: &'a mut dyn FnMut(&Change) -> Result<(), Error>,
    summary: DiffSummary,
    levels: Vec<Level>,
}

/// A directory that is being compared; a side that has none is empty.
struct Level {
    path: Vec<u8>,
    before: Side,
    after: Side,
}

type Side = Option<Peekable<Entries>>;

impl Diff<'_> {
    /// Takes the next name of the innermost directory. Returns whether there was anything left.
    fn step(&mut self) -> Result<bool, Error> {
        self.progress.checkpoint()?;
        let Some(level) = self.levels.last_mut() else { return Ok(false) };
        let name = |side: &mut Side| match side.as_mut().and_then(Peekable::peek) {
            Some(Ok(entry)) => Some(entry.name.clone()),
            // An error comes first, so that it is taken now.
            Some(Err(_)) => Some(Vec::new()),
            None => None,
        };
        let (first, second) = (name(&mut level.before), name(&mut level.after));
        let Some(least) = first.iter().chain(&second).min().cloned() else {
            self.levels.pop();
            return Ok(true);
        };
        let take = |side: &mut Side, its: Option<Vec<u8>>| {
            if its.as_ref() == Some(&least) {
                side.as_mut().and_then(Iterator::next).transpose()
            } else {
                Ok(None)
            }
        };
        let before = take(&mut level.before, first)?;
        let after = take(&mut level.after, second)?;
        let path = join(&level.path, &least);
        self.progress.set_current(&path);
        match (before, after) {
            (Some(before), Some(after)) => self.both(path, &before, &after)?,
            (Some(before), None) => {
                self.tell(&path, ChangeKind::Removed, Some(&before), None)?;
                self.enter(path, Some(&before), None)?;
            }
            (None, Some(after)) => {
                self.tell(&path, ChangeKind::Added, None, Some(&after))?;
                self.enter(path, None, Some(&after))?;
            }
            (None, None) => {}
        }
        Ok(true)
    }

    fn both(&mut self, path: Vec<u8>, before: &Entry, after: &Entry) -> Result<(), Error> {
        let kind = if std::mem::discriminant(&before.node) != std::mem::discriminant(&after.node) {
            Some(ChangeKind::Type)
        } else if !self.same_content(before, after)? {
            Some(ChangeKind::Content)
        } else if !same_metadata(before, after) {
            Some(ChangeKind::Metadata)
        } else {
            None
        };
        if let Some(kind) = kind {
            self.tell(&path, kind, Some(before), Some(after))?;
        }
        self.enter(path, Some(before), Some(after))
    }

    fn tell(
        &mut self,
        path: &[u8],
        kind: ChangeKind,
        before: Option<&Entry>,
        after: Option<&Entry>,
    ) -> Result<(), Error> {
        let change = Change { path: path.to_vec(), kind, before: before.cloned(), after: after.cloned() };
        self.summary.count(&change);
        (self.each)(&change)
    }

    /// Goes into whatever of the two is a directory, leaving out the pages that both have.
    fn enter(&mut self, path: Vec<u8>, before: Option<&Entry>, after: Option<&Entry>) -> Result<(), Error> {
        let pages = |entry: Option<&Entry>| match entry.map(|entry| &entry.node) {
            Some(Node::Directory { pages, .. }) => pages.iter().copied().collect(),
            _ => HashSet::new(),
        };
        let (first, second) = (pages(before), pages(after));
        let before = self.side(before, &second)?;
        let after = self.side(after, &first)?;
        if before.is_some() || after.is_some() {
            self.levels.push(Level { path, before, after });
        }
        Ok(())
    }

    fn side(&self, entry: Option<&Entry>, others: &HashSet<content::Address>) -> Result<Side, Error> {
        let Some(entry) = entry else { return Ok(None) };
        let Node::Directory { pages, files, bytes } = &entry.node else { return Ok(None) };
        let pages: Vec<_> = pages.iter().filter(|page| !others.contains(page)).copied().collect();
        if pages.is_empty() {
            return Ok(None);
        }
        let node = Node::Directory { pages, files: *files, bytes: *bytes };
        let directory = Entry { node, ..entry.clone() };
        Ok(Some(self.reader.entries(&directory)?.peekable()))
    }

    /// Whether two things of the same type hold the same; directories always do.
    fn same_content(&self, before: &Entry, after: &Entry) -> Result<bool, Error> {
        match (&before.node, &after.node) {
            (Node::Directory { .. }, Node::Directory { .. }) => Ok(true),
            (
                Node::File { size: first, content: from, holes: gaps, .. },
                Node::File { size: second, content: to, holes, .. },
            ) => {
                if first != second {
                    return Ok(false);
                }
                // The same file, never touched between the two.
                let untouched = before.inode == after.inode
                    && (before.modified, before.changed) == (after.modified, after.changed);
                if untouched || (from == to && gaps == holes) {
                    return Ok(true);
                }
                self.same_bytes(before, after)
            }
            (first, second) => Ok(first == second),
        }
    }

    /// Compares two files of the same size. The same bytes may be stored in two places, when two machines or a repair
    /// stored them; mostly the first chunks that differ tell.
    fn same_bytes(&self, before: &Entry, after: &Entry) -> Result<bool, Error> {
        let (first, second) = (FileMap::new(&self.reader, before)?, FileMap::new(&self.reader, after)?);
        let mut at = 0;
        while let (Some(one), Some(other)) = (first.at(at), second.at(at)) {
            self.progress.checkpoint()?;
            let length = one.length.min(other.length);
            if one.chunk != other.chunk {
                let (one, other) = (self.bytes(one.chunk, length)?, self.bytes(other.chunk, length)?);
                let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
                let same = match (one, other) {
                    (Some(one), Some(other)) => one == other,
                    (Some(bytes), None) | (None, Some(bytes)) => is_zero(&bytes),
                    (None, None) => true,
                };
                if !same {
                    return Ok(false);
                }
            }
            at += length;
        }
        Ok(true)
    }

    fn bytes(
        &self,
        chunk: Option<(content::Address, u32)>,
        length: u64,
    ) -> Result<Option<bytes::Bytes>, Error> {
        let Some((address, skip)) = chunk else { return Ok(None) };
        let bytes = self.reader.chunk(&address)?;
        Ok(Some(bytes.slice(skip as usize..skip as usize + length as usize)))
    }
}

fn same_metadata(before: &Entry, after: &Entry) -> bool {
    before.mode == after.mode
        && before.owner == after.owner
        && before.xattrs == after.xattrs
        && (before.is_directory() || before.modified == after.modified)
}
