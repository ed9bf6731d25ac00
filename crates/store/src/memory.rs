//! A store in memory: for tests and simulation.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};

use crate::{Kind, Lock, ObjectInfo, Operation, StorageClass, Store, StoreError, name};

/// Objects in a map. It lasts as long as the process; otherwise it keeps the whole contract.
#[derive(Debug, Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Object>>,
    /// How far its clock is ahead of the machine's.
    ahead: Mutex<Duration>,
    has_locks: bool,
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    modified: SystemTime,
    lock: Option<Lock>,
}

impl Object {
    /// The lock that has not ended at that time.
    fn locked(&self, now: SystemTime) -> Option<Lock> {
        self.lock.filter(|lock| lock.until > now)
    }
}

/// A copy of its own: later changes to one do not show in the other.
impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        Self {
            objects: Mutex::new(self.objects().clone()),
            ahead: Mutex::new(*self.ahead()),
            has_locks: self.has_locks,
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves its clock on: what is written from now on is younger than all else by that much. So a test lives through a
    /// year in seconds.
    pub fn advance(&self, by: Duration) {
        *self.ahead() += by;
    }

    /// The time by its clock.
    pub fn now(&self) -> SystemTime {
        SystemTime::now() + *self.ahead()
    }

    fn ahead(&self) -> MutexGuard<'_, Duration> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty store whose objects can be locked.
    pub fn with_locks() -> Self {
        Self { has_locks: true, ..Self::default() }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, Object>> {
        // A panic elsewhere cannot leave the map half changed: each change is one call.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, kind: Kind, operation: Operation, object: &str) -> StoreError {
        StoreError::new(kind, operation.verb(), object, self.location())
    }

    fn write(
        &self,
        operation: Operation,
        object: &str,
        parts: Vec<Bytes>,
        overwrite: bool,
        lock: Option<Lock>,
    ) -> Result<(), StoreError> {
        self.check(operation, object)?;
        let bytes = join(parts);
        let modified = self.now();
        let mut objects = self.objects();
        // A name is an object or a folder, as on a disk.
        let below = format!("{object}/");
        let is_folder =
            objects.range(below.clone()..).next().is_some_and(|(name, _)| name.starts_with(&below));
        let is_below_object = object.match_indices('/').any(|(end, _)| objects.contains_key(&object[..end]));
        if is_folder || is_below_object {
            return Err(self
                .error(Kind::Other, operation, object)
                .because("a name is either an object or a folder"));
        }
        if overwrite || !objects.contains_key(object) {
            objects.insert(object.to_owned(), Object { bytes, modified, lock });
        }
        Ok(())
    }

    fn read(&self, operation: Operation, object: &str) -> Result<Object, StoreError> {
        self.check(operation, object)?;
        self.objects().get(object).cloned().ok_or_else(|| self.error(Kind::NotFound, operation, object))
    }

    fn check(&self, operation: Operation, object: &str) -> Result<(), StoreError> {
        name::check(object).map_err(|reason| self.error(Kind::InvalidName, operation, object).because(reason))
    }
}

fn join(parts: Vec<Bytes>) -> Bytes {
    match <[Bytes; 1]>::try_from(parts) {
        Ok([only]) => only,
        Err(parts) => {
            let mut bytes = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.iter().for_each(|part| bytes.extend_from_slice(part));
            bytes.freeze()
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.write(Operation::Put, name, parts, false, None)
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.write(Operation::Replace, name, parts, true, None)
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        let bytes = self.read(Operation::Get, name)?.bytes;
        if bytes.len() as u64 > size_max {
            return Err(self.error(Kind::TooLarge, Operation::Get, name));
        }
        Ok(bytes)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = self.read(Operation::GetRange, name)?.bytes;
        if range.start > range.end {
            let error = self.error(Kind::Other, Operation::GetRange, name);
            return Err(error.because("the range ends before it starts"));
        }
        match (usize::try_from(range.start), usize::try_from(range.end)) {
            (Ok(start), Ok(end)) if end <= bytes.len() => Ok(bytes.slice(start..end)),
            _ => Err(self.error(Kind::Truncated, Operation::GetRange, name)),
        }
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        let bytes = self.read(Operation::GetTail, name)?.bytes;
        let length = usize::try_from(length_max).unwrap_or(usize::MAX).min(bytes.len());
        Ok((bytes.slice(bytes.len() - length..), bytes.len() as u64))
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        let Object { bytes, modified, .. } = self.read(Operation::Stat, name)?;
        Ok(ObjectInfo { name: name.to_owned(), size: bytes.len() as u64, modified })
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        name::check_folder(prefix)
            .map_err(|reason| self.error(Kind::InvalidName, Operation::List, prefix).because(reason))?;
        Ok(self
            .objects()
            .range(prefix.to_owned()..)
            .take_while(|(name, _)| name.starts_with(prefix))
            .map(|(name, object)| ObjectInfo {
                name: name.clone(),
                size: object.bytes.len() as u64,
                modified: object.modified,
            })
            .collect())
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.check(Operation::Delete, name)?;
        let mut objects = self.objects();
        if objects.get(name).is_some_and(|object| object.locked(self.now()).is_some()) {
            drop(objects);
            return Err(self.error(Kind::Locked, Operation::Delete, name));
        }
        objects.remove(name);
        Ok(())
    }

    /// What is hidden nobody can see any more here.
    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        self.check(Operation::Delete, name)?;
        self.objects().remove(name);
        Ok(())
    }

    fn has_locks(&self) -> bool {
        self.has_locks
    }

    async fn can_lock(&self) -> Result<bool, StoreError> {
        Ok(self.has_locks)
    }

    async fn put_locked(
        &self,
        name: &str,
        parts: Vec<Bytes>,
        _class: Option<&StorageClass>,
        lock: Lock,
    ) -> Result<(), StoreError> {
        if !self.has_locks {
            return Err(self.without_locks(Operation::Put, name));
        }
        self.write(Operation::Put, name, parts, false, Some(lock))
    }

    async fn lock(&self, name: &str, lock: Lock) -> Result<(), StoreError> {
        if !self.has_locks {
            return Err(self.without_locks(Operation::Lock, name));
        }
        self.check(Operation::Lock, name)?;
        let mut objects = self.objects();
        let Some(object) = objects.get_mut(name) else {
            drop(objects);
            return Err(self.error(Kind::NotFound, Operation::Lock, name));
        };
        if object.locked(self.now()).is_none_or(|before| before.until < lock.until) {
            object.lock = Some(lock);
        }
        Ok(())
    }

    async fn locked(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        Ok(self.read(Operation::Stat, name)?.locked(self.now()))
    }
}
