//! A folder as a tar archive.

use std::collections::HashMap;
use std::sync::Arc;

use content::body::{Problem, ProblemKind};
use content::tree::{Entry, Node};

use super::header::{BLOCK, Header};
use super::{DumpReport, Stream, content};
use crate::error::{chain, survivable};
use crate::file_map::FileMap;
use crate::{Error, Progress, Reader, TreeStep};

/// Two blocks of zeros end an archive, and it is padded to records of twenty blocks.
const RECORD: u64 = 20 * BLOCK as u64;

struct Archive<'a, 'b> {
    reader: &'a Arc<Reader>,
    stream: &'a mut Stream<'b>,
    report: DumpReport,
    written: u64,
    /// The first name of each file that has several, and how many are still to come.
    links: HashMap<(u64, u64), (Vec<u8>, u64)>,
}

pub(super) fn write(
    reader: &Arc<Reader>,
    start: &Entry,
    path: &[u8],
    stream: &mut Stream<'_>,
    progress: &Progress,
) -> Result<DumpReport, Error> {
    let report = DumpReport::default();
    let mut archive = Archive { reader, stream, report, written: 0, links: HashMap::new() };
    let mut folders: Vec<Vec<u8>> = Vec::new();
    let path = if path.is_empty() { b"/" } else { path };
    for step in reader.walk(start.clone(), path) {
        match step {
            Ok(TreeStep::Enter { path, entry }) => {
                progress.set_current(&path);
                archive.add(&path, &entry)?;
                folders.push(path);
            }
            Ok(TreeStep::Item { path, entry }) => {
                archive.add(&path, &entry)?;
                progress.add_files(1);
            }
            Ok(TreeStep::Leave { .. }) => {
                folders.pop();
            }
            Err(error) => {
                let folder = folders.last().map_or(path, Vec::as_slice);
                archive.unreadable(folder, chain(&survivable(error)?));
            }
        }
    }
    archive.finish()
}

impl Archive<'_, '_> {
    fn add(&mut self, path: &[u8], entry: &Entry) -> Result<(), Error> {
        let name = member_name(path, entry.is_directory());
        let mut header = Header {
            path: &name,
            mode: entry.mode,
            user: entry.owner.user,
            group: entry.owner.group,
            user_name: &entry.owner.user_name,
            group_name: &entry.owner.group_name,
            seconds: entry.modified.seconds,
            nanoseconds: entry.modified.nanoseconds,
            xattrs: &entry.xattrs,
            ..Header::default()
        };
        let first = self.first_name(entry, &name);
        if let Some(first) = &first {
            (header.kind, header.link, header.xattrs) = (b'1', first, &[]);
            return self.header(&header);
        }
        match &entry.node {
            Node::File { size, .. } => {
                (header.kind, header.size) = (b'0', *size);
                self.header(&header)?;
                return self.file(path, entry, *size);
            }
            Node::Directory { .. } => header.kind = b'5',
            Node::Symlink { target } => (header.kind, header.link) = (b'2', target),
            Node::CharDevice { major, minor } => (header.kind, header.device) = (b'3', (*major, *minor)),
            Node::BlockDevice { major, minor } => (header.kind, header.device) = (b'4', (*major, *minor)),
            Node::Fifo => header.kind = b'6',
            Node::Socket => {
                self.report.left_out.push(path.to_vec());
                return Ok(());
            }
        }
        self.header(&header)
    }

    /// The name under which a file with several names is in the archive already.
    fn first_name(&mut self, entry: &Entry, name: &[u8]) -> Option<Vec<u8>> {
        if !entry.is_hard_linked() || matches!(entry.node, Node::Socket) {
            return None;
        }
        let key = (entry.device, entry.inode);
        match self.links.get_mut(&key) {
            Some((first, left)) => {
                let first = first.clone();
                *left -= 1;
                if *left == 0 {
                    self.links.remove(&key);
                }
                Some(first)
            }
            None => {
                self.links.insert(key, (name.to_vec(), entry.links - 1));
                None
            }
        }
    }

    fn header(&mut self, header: &Header<'_>) -> Result<(), Error> {
        let bytes = header.encode();
        self.written += bytes.len() as u64;
        self.report.entries += 1;
        self.stream.small(&bytes)
    }

    /// A file's content. The header has said how long it is, so zeros stand for what cannot be read, and one problem
    /// tells of it.
    fn file(&mut self, path: &[u8], entry: &Entry, size: u64) -> Result<(), Error> {
        let before = self.stream.sent();
        let mut first = None;
        let mut lost = |error: Error| {
            let error = survivable(error)?;
            first.get_or_insert_with(|| chain(&error));
            Ok(())
        };
        match FileMap::new(self.reader, entry) {
            Ok(map) => content(self.reader, &map, self.stream, &mut lost)?,
            Err(error) => lost(error)?,
        }
        let sent = self.stream.sent() - before;
        if sent < size {
            first.get_or_insert_with(|| "its chunks are shorter than it is".to_owned());
        }
        self.report.bytes += size;
        if let Some(message) = first {
            self.unreadable(path, message);
        }
        let padded = size.next_multiple_of(BLOCK as u64);
        self.stream.zeros(padded - sent.min(padded))?;
        self.written += padded;
        Ok(())
    }

    fn unreadable(&mut self, path: &[u8], message: String) {
        self.stream.progress.add_problems(1);
        let path = path.to_vec();
        self.report.problems.push(Problem { kind: ProblemKind::Unreadable, path, message });
    }

    fn finish(self) -> Result<DumpReport, Error> {
        let end = self.written + 2 * BLOCK as u64;
        self.stream.zeros(end.next_multiple_of(RECORD) - self.written)?;
        Ok(self.report)
    }
}

/// The path without its leading slash, with one at the end for a directory; the top is `./`.
fn member_name(path: &[u8], is_directory: bool) -> Vec<u8> {
    let start = path.iter().take_while(|byte| **byte == b'/').count();
    let mut name = path.get(start..).unwrap_or_default().to_vec();
    if name.is_empty() {
        name.push(b'.');
    }
    if is_directory && !name.ends_with(b"/") {
        name.push(b'/');
    }
    name
}
