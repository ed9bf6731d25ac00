//! Writing one file's bytes.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::apply::{ApplyOptions, Current, MetadataProblem, apply};
use super::{TargetError, TargetFolder};
use crate::platform::{self, Handle, Place};
use crate::stat::{Details, Stat};

/// Zeros to write where a file system cannot make holes.
const ZEROS: &[u8] = &[0; 64 << 10];

/// An open file of the target.
#[derive(Debug)]
pub struct TargetFile {
    handle: Handle,
    folder: Arc<TargetFolder>,
    name: Vec<u8>,
    /// What we know of its metadata, because we made it.
    known: Option<Current>,
}

impl TargetFile {
    pub(super) fn new(
        handle: Handle,
        folder: Arc<TargetFolder>,
        name: &[u8],
        known: Option<Current>,
    ) -> TargetFile {
        TargetFile { handle, folder, name: name.to_owned(), known }
    }

    fn refused(&self, action: &'static str) -> impl Fn(io::Error) -> TargetError + '_ {
        move |source| self.folder.refused(action, &self.name, source)
    }

    /// Writes all of `data` at `offset`; what lies between the old end and `offset` becomes a hole.
    pub fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), TargetError> {
        platform::write_at(&self.handle, offset, data).map_err(self.refused("write to"))
    }

    /// Reads from `offset`; may give fewer bytes than fit, and 0 at the end.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize, TargetError> {
        platform::read_at(&self.handle, offset, buffer).map_err(self.refused("read"))
    }

    /// Cuts or extends the file; what is added is a hole.
    pub fn set_len(&self, length: u64) -> Result<(), TargetError> {
        platform::set_length(&self.handle, length).map_err(self.refused("set the length of"))
    }

    /// Turns a range inside the file into a hole; on a file system without holes, into zeros.
    pub fn punch_hole(&self, range: Range<u64>) -> Result<(), TargetError> {
        if range.is_empty() {
            return Ok(());
        }
        let refused = self.refused("make a hole in");
        if platform::punch_hole(&self.handle, &range).map_err(&refused)? {
            return Ok(());
        }
        // The hole never extends the file, so neither may the zeros.
        let end = range.end.min(self.len()?);
        let mut offset = range.start;
        while offset < end {
            let length = (end - offset).min(ZEROS.len() as u64);
            platform::write_at(&self.handle, offset, &ZEROS[..length as usize]).map_err(&refused)?;
            offset += length;
        }
        Ok(())
    }

    /// The length in bytes.
    #[allow(clippy::len_without_is_empty)] // asks the system, and may fail
    pub fn len(&self) -> Result<u64, TargetError> {
        Ok(self.stat()?.size)
    }

    /// The numbers now.
    pub fn stat(&self) -> Result<Stat, TargetError> {
        platform::stat_open(&self.handle).map_err(self.refused("look at"))
    }

    /// Which parts of the first `size` bytes hold data; the rest are holes.
    pub fn data_ranges(&self, size: u64) -> Result<Vec<Range<u64>>, TargetError> {
        platform::data_ranges(&self.handle, size).map_err(self.refused("look for holes in"))
    }

    /// Waits until the content is on the disk.
    pub fn sync(&self) -> Result<(), TargetError> {
        platform::sync(&self.handle).map_err(self.refused("write to the disk"))
    }

    /// Sets the file's metadata; comes after the last write, because writing changes the time and
    /// takes privileges away. What cannot be set is in the result.
    pub fn apply(&self, stat: &Stat, details: &Details, options: &ApplyOptions) -> Vec<MetadataProblem> {
        apply(Place::Open(&self.handle), self.known.clone(), stat, details, options)
    }
}
