//! Directories' pages, decoded, the most recent ones kept.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use content::Address;
use content::tree::{Entry, Node, decode_page};

use crate::{Error, Reader};

/// How many entries are kept. One takes some hundred bytes.
const ENTRIES_MAX: usize = 60_000;

#[derive(Default)]
struct Kept {
    pages: HashMap<Address, Arc<Vec<Entry>>>,
    order: VecDeque<Address>,
    entries: usize,
}

/// Reads pages of directories.
pub(super) struct Pages {
    reader: Arc<Reader>,
    kept: Mutex<Kept>,
}

impl Pages {
    pub(super) fn new(reader: &Arc<Reader>) -> Self {
        Self { reader: reader.clone(), kept: Mutex::default() }
    }

    /// The entries of a page.
    pub(super) fn page(&self, address: &Address) -> Result<Arc<Vec<Entry>>, Error> {
        if let Some(page) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).pages.get(address) {
            return Ok(page.clone());
        }
        let bytes = self.reader.chunk(address)?;
        let object = || format!("directory page in pack {}, segment {}", address.pack, address.segment);
        let page = Arc::new(decode_page(&bytes).map_err(|error| Error::content(object(), error))?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.pages.insert(*address, page.clone()).is_none() {
            kept.order.push_back(*address);
            kept.entries += page.len();
        }
        while kept.entries > ENTRIES_MAX && kept.order.len() > 1 {
            let Some(oldest) = kept.order.pop_front() else { break };
            if let Some(gone) = kept.pages.remove(&oldest) {
                kept.entries -= gone.len();
            }
        }
        Ok(page)
    }

    /// The entry with this name. Pages are in order of names, so the right one is found by halving.
    pub(super) fn child(&self, directory: &Entry, name: &[u8]) -> Result<Option<Entry>, Error> {
        let Node::Directory { pages, .. } = &directory.node else { return Ok(None) };
        let (mut low, mut high) = (0, pages.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let Some(page) = pages.get(middle) else { break };
            let entries = self.page(page)?;
            match entries.binary_search_by(|entry| entry.name.as_slice().cmp(name)) {
                Ok(found) => return Ok(entries.get(found).cloned()),
                Err(0) => high = middle,
                Err(place) if place == entries.len() => low = middle + 1,
                Err(_) => return Ok(None),
            }
        }
        Ok(None)
    }

    /// The entry that follows a place in a directory, and its own place. A place is what [`start`](Self::start) or
    /// this says; it never changes, so whoever lists a directory can go on from it at any time.
    pub(super) fn next(&self, directory: &Entry, place: u64) -> Result<Option<(u64, Entry)>, Error> {
        let Node::Directory { pages, .. } = &directory.node else { return Ok(None) };
        let (mut page, mut index) = ((place >> 32) as usize, (place & u64::from(u32::MAX)) as usize);
        while let Some(address) = pages.get(page) {
            if let Some(entry) = self.page(address)?.get(index) {
                return Ok(Some(((page as u64) << 32 | (index as u64 + 1), entry.clone())));
            }
            (page, index) = (page + 1, 0);
        }
        Ok(None)
    }
}
