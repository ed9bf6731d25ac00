//! Reading open files.
//!
//! The kernel asks for pieces of a chunk from several threads at once; a segment is fetched and opened by one of them
//! while the others wait for it. When a file is read in order, threads fetch ahead.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use content::Address;
use content::tree::Entry;
use crossbeam_channel::{Sender, bounded};
use vault::PackId;

use crate::file_map::FileMap;
use crate::{Error, Reader};

/// How many threads fetch ahead, and how many chunks.
const AHEAD: usize = 2;

/// A file that is open.
pub(super) struct OpenFile {
    map: FileMap,
    /// Where the next read starts if the file is read in order.
    next: AtomicU64,
}

impl OpenFile {
    /// Where its bytes are.
    pub(super) fn map(&self) -> &FileMap {
        &self.map
    }
}

/// Opens each segment once at a time.
struct Flights {
    reader: Arc<Reader>,
    under_way: Mutex<HashSet<(PackId, u32)>>,
    landed: Condvar,
}

impl Flights {
    fn under_way(&self) -> MutexGuard<'_, HashSet<(PackId, u32)>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chunk(&self, address: &Address) -> Result<Bytes, Error> {
        let segment = (address.pack, address.segment);
        let mut under_way = self.under_way();
        while under_way.contains(&segment) {
            under_way = self.landed.wait(under_way).unwrap_or_else(PoisonError::into_inner);
        }
        under_way.insert(segment);
        drop(under_way);
        let bytes = self.reader.chunk(address);
        self.under_way().remove(&segment);
        self.landed.notify_all();
        bytes
    }
}

/// All open files.
pub(super) struct Contents {
    flights: Arc<Flights>,
    files: Mutex<HashMap<u64, Arc<OpenFile>>>,
    handle: AtomicU64,
    ahead: Sender<Address>,
}

impl Contents {
    /// Starts the threads that fetch ahead; they end when this is dropped.
    pub(super) fn new(reader: &Arc<Reader>) -> std::io::Result<Self> {
        let flights =
            Arc::new(Flights { reader: reader.clone(), under_way: Mutex::default(), landed: Condvar::new() });
        let (ahead, wanted) = bounded::<Address>(AHEAD);
        for _ in 0..AHEAD {
            let (flights, wanted) = (flights.clone(), wanted.clone());
            std::thread::Builder::new().name("ahead".to_owned()).spawn(move || {
                for address in wanted {
                    // Whoever needs it gets the error.
                    let _ = flights.chunk(&address);
                }
            })?;
        }
        Ok(Self { flights, files: Mutex::default(), handle: AtomicU64::new(1), ahead })
    }

    fn files(&self) -> MutexGuard<'_, HashMap<u64, Arc<OpenFile>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a file. Returns its handle.
    pub(super) fn open(&self, file: &Entry) -> Result<u64, Error> {
        let map = FileMap::new(&self.flights.reader, file)?;
        let handle = self.handle.fetch_add(1, Ordering::Relaxed);
        self.files().insert(handle, Arc::new(OpenFile { map, next: AtomicU64::new(0) }));
        Ok(handle)
    }

    /// The open file with this handle.
    pub(super) fn get(&self, handle: u64) -> Option<Arc<OpenFile>> {
        self.files().get(&handle).cloned()
    }

    /// Closes a file.
    pub(super) fn close(&self, handle: u64) {
        self.files().remove(&handle);
    }

    /// Reads at most `size` bytes from `offset`; fewer only at the end of the file.
    pub(super) fn read(&self, file: &OpenFile, offset: u64, size: u32) -> Result<Vec<u8>, Error> {
        let end = offset.saturating_add(u64::from(size)).min(file.map.size());
        let mut out = Vec::with_capacity(end.saturating_sub(offset) as usize);
        let mut at = offset;
        while at < end {
            let Some(piece) = file.map.at(at) else { break };
            let length = piece.length.min(end - at);
            match piece.chunk {
                None => out.resize(out.len() + length as usize, 0),
                Some((address, skip)) => {
                    let bytes = self.flights.chunk(&address)?;
                    let (start, length) = (skip as usize, length as usize);
                    out.extend_from_slice(bytes.get(start..start + length).unwrap_or_default());
                }
            }
            at += length;
        }
        // Reads in order arrive a little out of order from several threads.
        let before = file.next.fetch_max(at, Ordering::Relaxed);
        if at > before && offset.abs_diff(before) <= 1 << 20 {
            self.fetch_ahead(file, at);
        }
        Ok(out)
    }

    /// Asks for the next chunks behind `offset`, unless the threads are busy.
    fn fetch_ahead(&self, file: &OpenFile, offset: u64) {
        let chunks = file.map.pieces(offset).filter_map(|piece| piece.chunk).map(|(address, _)| address);
        for address in chunks.take(AHEAD) {
            if self.ahead.try_send(address).is_err() {
                break;
            }
        }
    }
}
