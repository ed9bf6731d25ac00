//! Writing a file, or a folder as a tar archive, to a stream.
//!
//! One thread reads, opens and decompresses ahead while the caller's thread writes. Between them stand a few blocks
//! of bounded size.

mod header;
mod tar;

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use content::body::Problem;
use content::tree::Entry;
use crossbeam_channel::{Sender, bounded};

use crate::file_map::FileMap;
use crate::{Error, Progress, Reader};

/// How many blocks wait to be written. A block is a chunk, or small things collected up to [`BLOCK`].
const BLOCKS: usize = 8;
const BLOCK: usize = 256 << 10;
/// A hole is written in pieces of this many bytes.
const ZEROS: usize = 64 << 10;

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpReport {
    /// Files, folders and other things in the archive; 1 for a file alone.
    pub entries: u64,
    /// Bytes of file content.
    pub bytes: u64,
    /// Sockets, which an archive cannot hold.
    pub left_out: Vec<Vec<u8>>,
    /// What could not be read whole; in the archive, zeros stand for what is missing of a file.
    pub problems: Vec<Problem>,
}

/// Writes the content of a file; holes become zeros.
pub fn dump_file(
    reader: &Arc<Reader>,
    file: &Entry,
    output: &mut dyn Write,
    progress: &Progress,
) -> Result<DumpReport, Error> {
    progress.set_stage("writing");
    progress.add_bytes_total(file.size());
    pipe(output, progress, |stream| {
        let mut report = DumpReport { entries: 1, ..DumpReport::default() };
        let map = FileMap::new(reader, file)?;
        content(reader, &map, stream, &mut Err)?;
        report.bytes = stream.sent();
        Ok(report)
    })
}

/// Writes what is at `path` and everything below it as a tar archive (POSIX, with extended headers where they are
/// needed). Names in it are the paths in the snapshot without their leading slash.
///
/// What cannot be read is a problem in the report and does not end it.
pub fn dump_tar(
    reader: &Arc<Reader>,
    start: &Entry,
    path: &[u8],
    output: &mut dyn Write,
    progress: &Progress,
) -> Result<DumpReport, Error> {
    progress.set_stage("writing");
    if let content::tree::Node::Directory { files, bytes, .. } = start.node {
        progress.add_files_total(files);
        progress.add_bytes_total(bytes);
    }
    pipe(output, progress, |stream| tar::write(reader, start, path, stream, progress))
}

/// Runs `produce` on a thread of its own and writes what it sends.
fn pipe<T: Send>(
    output: &mut dyn Write,
    progress: &Progress,
    produce: impl FnOnce(&mut Stream<'_>) -> Result<T, Error> + Send,
) -> Result<T, Error> {
    let (sender, receiver) = bounded::<Bytes>(BLOCKS);
    thread::scope(|scope| {
        let producer = scope.spawn(move || {
            let mut stream = Stream { sender, progress, pending: Vec::new(), sent: 0 };
            let value = produce(&mut stream)?;
            stream.flush()?;
            Ok(value)
        });
        let mut written = Ok(());
        for block in &receiver {
            written = output.write_all(&block);
            if written.is_err() {
                break;
            }
            progress.add_bytes_stored(block.len() as u64);
        }
        // The producer notices that nobody listens any more.
        drop(receiver);
        let produced = producer.join().unwrap_or(Err(Error::Interrupted));
        written.and_then(|()| output.flush()).map_err(|source| Error::File {
            path: PathBuf::from("the output"),
            action: "written",
            source,
        })?;
        produced
    })
}

/// Takes bytes in order and hands them on in blocks.
struct Stream<'a> {
    sender: Sender<Bytes>,
    progress: &'a Progress,
    pending: Vec<u8>,
    sent: u64,
}

impl Stream<'_> {
    /// How many bytes it took so far.
    fn sent(&self) -> u64 {
        self.sent
    }

    /// Bytes that are copied.
    fn small(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.sent += bytes.len() as u64;
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= BLOCK { self.flush() } else { Ok(()) }
    }

    /// Bytes that are handed on as they are, unless they are few.
    fn bytes(&mut self, bytes: Bytes) -> Result<(), Error> {
        if bytes.len() < BLOCK / 4 {
            return self.small(&bytes);
        }
        self.sent += bytes.len() as u64;
        self.flush()?;
        self.send(bytes)
    }

    fn zeros(&mut self, mut count: u64) -> Result<(), Error> {
        static ZERO: [u8; ZEROS] = [0; ZEROS];
        while count > 0 {
            let some = count.min(ZEROS as u64);
            self.bytes(Bytes::from_static(ZERO.get(..some as usize).unwrap_or_default()))?;
            count -= some;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(BLOCK + BLOCK / 4);
        let block = std::mem::replace(&mut self.pending, next);
        self.send(block.into())
    }

    fn send(&mut self, block: Bytes) -> Result<(), Error> {
        self.progress.checkpoint()?;
        self.sender.send(block).map_err(|_| Error::Interrupted)
    }
}

/// Sends a file's content. For a piece that cannot be read, `lost` decides: an error ends it, otherwise zeros stand
/// for the piece.
fn content(
    reader: &Reader,
    map: &FileMap,
    stream: &mut Stream<'_>,
    lost: &mut dyn FnMut(Error) -> Result<(), Error>,
) -> Result<(), Error> {
    for piece in map.pieces(0) {
        match piece.chunk.map(|(address, skip)| (reader.chunk(&address), skip as usize)) {
            None => stream.zeros(piece.length)?,
            Some((Ok(bytes), start)) => stream.bytes(bytes.slice(start..start + piece.length as usize))?,
            Some((Err(error), _)) => {
                lost(error)?;
                stream.zeros(piece.length)?;
            }
        }
        stream.progress.add_bytes(piece.length);
    }
    Ok(())
}
