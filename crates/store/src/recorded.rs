//! A store that remembers what was asked of it.
//!
//! Two uses. Tests state what an operation may *cost*: "an unchanged backup lists the snapshots once and writes one
//! object". And tests enumerate *crash points*: the changes of a run are kept with their bytes, and
//! [`Recorded::replay`] builds the store as it was after any number of them.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{
    Kind, Lock, MemoryStore, ObjectInfo, Operation, StorageClass, Store, StoreError, Warming, Warmth,
};

/// One call, recorded when it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which one.
    pub operation: Operation,
    /// The object or, for a listing, the folder.
    pub name: String,
    /// Bytes of object content that were handed over, in either direction; 0 for a failed read.
    pub bytes: u64,
    /// How it failed, if it did.
    pub failed: Option<Kind>,
}

#[derive(Clone, Debug)]
enum Change {
    Put(String, Vec<Bytes>),
    Replace(String, Vec<Bytes>),
    Delete(String),
}

#[derive(Debug, Default)]
struct Log {
    calls: Vec<Call>,
    changes: Vec<Change>,
}

/// Records every call to `inner`, and keeps the bytes of every change.
#[derive(Debug)]
pub struct Recorded {
    inner: Arc<dyn Store>,
    log: Mutex<Log>,
}

impl Recorded {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, log: Mutex::default() }
    }

    /// All calls so far, in the order in which they ended.
    pub fn calls(&self) -> Vec<Call> {
        self.log().calls.clone()
    }

    /// How many calls of one kind ended so far, for names that begin with `prefix`.
    pub fn count(&self, operation: Operation, prefix: &str) -> usize {
        self.log()
            .calls
            .iter()
            .filter(|call| call.operation == operation && call.name.starts_with(prefix))
            .count()
    }

    /// Forgets the calls; the changes are kept.
    pub fn forget_calls(&self) {
        self.log().calls.clear();
    }

    /// How many changes succeeded so far.
    pub fn change_count(&self) -> usize {
        self.log().changes.len()
    }

    /// A store with the first `count` changes and no others: what a crash right after them leaves. More than there
    /// are means all.
    pub async fn replay(&self, count: usize) -> Result<MemoryStore, StoreError> {
        self.replay_onto(MemoryStore::new(), count).await
    }

    /// Like [`replay`](Self::replay), on top of what was there before the recording began.
    pub async fn replay_onto(&self, base: MemoryStore, count: usize) -> Result<MemoryStore, StoreError> {
        let changes: Vec<Change> = self.log().changes.iter().take(count).cloned().collect();
        for change in changes {
            match change {
                Change::Put(name, parts) => base.put(&name, parts).await?,
                Change::Replace(name, parts) => base.replace(&name, parts).await?,
                Change::Delete(name) => base.delete(&name).await?,
            }
        }
        Ok(base)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record<T>(
        &self,
        operation: Operation,
        name: &str,
        outcome: &Result<T, StoreError>,
        bytes: u64,
        change: Option<Change>,
    ) {
        let failed = outcome.as_ref().err().map(|error| error.kind);
        let mut log = self.log();
        log.calls.push(Call { operation, name: name.to_owned(), bytes, failed });
        if failed.is_none() {
            log.changes.extend(change);
        }
    }

    fn record_read<T>(
        &self,
        operation: Operation,
        name: &str,
        outcome: Result<T, StoreError>,
        length: impl Fn(&T) -> usize,
    ) -> Result<T, StoreError> {
        let bytes = outcome.as_ref().map_or(0, length) as u64;
        self.record(operation, name, &outcome, bytes, None);
        outcome
    }
}

fn total(parts: &[Bytes]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

#[async_trait]
impl Store for Recorded {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        let outcome = self.inner.put(name, parts.clone()).await;
        let bytes = total(&parts);
        self.record(Operation::Put, name, &outcome, bytes, Some(Change::Put(name.to_owned(), parts)));
        outcome
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        let outcome = self.inner.replace(name, parts.clone()).await;
        let bytes = total(&parts);
        self.record(Operation::Replace, name, &outcome, bytes, Some(Change::Replace(name.to_owned(), parts)));
        outcome
    }

    async fn put_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        let outcome = self.inner.put_dated(name, parts.clone()).await;
        let bytes = total(&parts);
        self.record(Operation::Put, name, &outcome, bytes, Some(Change::Put(name.to_owned(), parts)));
        outcome
    }

    async fn replace_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        let outcome = self.inner.replace_dated(name, parts.clone()).await;
        let bytes = total(&parts);
        self.record(Operation::Replace, name, &outcome, bytes, Some(Change::Replace(name.to_owned(), parts)));
        outcome
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        let outcome = self.inner.get(name, size_max).await;
        self.record_read(Operation::Get, name, outcome, Bytes::len)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let outcome = self.inner.get_range(name, range).await;
        self.record_read(Operation::GetRange, name, outcome, Bytes::len)
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        let outcome = self.inner.get_tail(name, length_max).await;
        self.record_read(Operation::GetTail, name, outcome, |(bytes, _)| bytes.len())
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        let outcome = self.inner.stat(name).await;
        self.record_read(Operation::Stat, name, outcome, |_| 0)
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let outcome = self.inner.list(prefix).await;
        self.record_read(Operation::List, prefix, outcome, |_| 0)
    }

    /// Recorded as one listing, of the first folder.
    async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        let outcome = self.inner.list_each(folders).await;
        let first = folders.first().copied().unwrap_or_default();
        self.record_read(Operation::List, first, outcome, |_| 0)
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let outcome = self.inner.delete(name).await;
        self.record(Operation::Delete, name, &outcome, 0, Some(Change::Delete(name.to_owned())));
        outcome
    }

    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        let outcome = self.inner.discard(name).await;
        self.record(Operation::Delete, name, &outcome, 0, Some(Change::Delete(name.to_owned())));
        outcome
    }

    fn has_locks(&self) -> bool {
        self.inner.has_locks()
    }

    async fn can_lock(&self) -> Result<bool, StoreError> {
        self.inner.can_lock().await
    }

    async fn put_locked(
        &self,
        name: &str,
        parts: Vec<Bytes>,
        class: Option<&StorageClass>,
        lock: Lock,
    ) -> Result<(), StoreError> {
        let outcome = self.inner.put_locked(name, parts.clone(), class, lock).await;
        let bytes = total(&parts);
        self.record(Operation::Put, name, &outcome, bytes, Some(Change::Put(name.to_owned(), parts)));
        outcome
    }

    async fn lock(&self, name: &str, lock: Lock) -> Result<(), StoreError> {
        let outcome = self.inner.lock(name, lock).await;
        self.record(Operation::Lock, name, &outcome, 0, None);
        outcome
    }

    async fn locked(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        let outcome = self.inner.locked(name).await;
        self.record_read(Operation::Stat, name, outcome, |_| 0)
    }

    fn has_classes(&self) -> bool {
        self.inner.has_classes()
    }

    fn check_class(&self, class: &StorageClass) -> Result<(), StoreError> {
        self.inner.check_class(class)
    }

    async fn put_as(&self, name: &str, parts: Vec<Bytes>, class: &StorageClass) -> Result<(), StoreError> {
        let outcome = self.inner.put_as(name, parts.clone(), class).await;
        let bytes = total(&parts);
        self.record(Operation::Put, name, &outcome, bytes, Some(Change::Put(name.to_owned(), parts)));
        outcome
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        let outcome = self.inner.warmth(name).await;
        self.record_read(Operation::Stat, name, outcome, |_| 0)
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        let outcome = self.inner.warm(name, how).await;
        self.record(Operation::Warm, name, &outcome, 0, None);
        outcome
    }
}
