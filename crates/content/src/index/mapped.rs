//! A file mapped into memory, read only.
#![allow(unsafe_code)]

use std::fs::File;
use std::path::Path;

use crate::error::ContentError;

/// Maps a whole file.
pub(super) fn map(path: &Path) -> Result<memmap2::Mmap, ContentError> {
    let fail = |source| super::cache_error(path, "opened", source);
    let file = File::open(path).map_err(fail)?;
    // SAFETY: a mapping is sound as long as nobody changes or shortens the file under it. Table files are written
    // once under a temporary name, renamed, and never written again; they stand in a folder of mode 0700 that belongs
    // to this program. Deleting one leaves the mapping valid.
    unsafe { memmap2::Mmap::map(&file) }.map_err(fail)
}
