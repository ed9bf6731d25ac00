//! Counters that a run keeps up to date, and the way to stop it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::Error;

/// What a run has done so far. Shared between the run and whoever shows it.
#[derive(Debug, Default)]
pub struct Progress {
    files: AtomicU64,
    bytes: AtomicU64,
    bytes_read: AtomicU64,
    bytes_stored: AtomicU64,
    files_total: AtomicU64,
    bytes_total: AtomicU64,
    problems: AtomicU64,
    cancelled: AtomicBool,
    current: Mutex<Vec<u8>>,
    stage: Mutex<&'static str>,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident, $add:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&self) -> u64 {
                self.$name.load(Ordering::Relaxed)
            }

            pub(crate) fn $add(&self, more: u64) {
                self.$name.fetch_add(more, Ordering::Relaxed);
            }
        )*
    };
}

impl Progress {
    /// Starts at nothing.
    pub fn new() -> Self {
        Self::default()
    }

    counters! {
        /// Files done.
        files, add_files;
        /// Bytes of those files.
        bytes, add_bytes;
        /// Bytes read from files or from the vault.
        bytes_read, add_bytes_read;
        /// Bytes written to the store, or to the target of a restore.
        bytes_stored, add_bytes_stored;
        /// How many files there will be, as far as is known; 0 is unknown.
        files_total, add_files_total;
        /// How many bytes there will be, as far as is known; 0 is unknown.
        bytes_total, add_bytes_total;
        /// Paths that had a problem.
        problems, add_problems;
    }

    /// The path being worked on, as raw bytes.
    pub fn current(&self) -> Vec<u8> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_current(&self, path: &[u8]) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        current.clear();
        current.extend_from_slice(path);
    }

    /// What the run is doing, in a word or two.
    pub fn stage(&self) -> &'static str {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_stage(&self, stage: &'static str) {
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    /// Asks the run to end soon, keeping what is finished.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// An error if it was asked to end.
    pub(crate) fn checkpoint(&self) -> Result<(), Error> {
        if self.is_cancelled() { Err(Error::Interrupted) } else { Ok(()) }
    }
}
