//! A store that counts what is asked of it, and remembers nothing else: for reports of what something cost.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Lock, ObjectInfo, Operation, StorageClass, Store, StoreError, Warming, Warmth};

/// How often each operation was called, of those that were.
pub type Calls = Vec<(Operation, u64)>;

const ALL: [Operation; 10] = [
    Operation::List,
    Operation::Get,
    Operation::GetRange,
    Operation::GetTail,
    Operation::Stat,
    Operation::Put,
    Operation::Replace,
    Operation::Delete,
    Operation::Warm,
    Operation::Lock,
];

/// Counts every call to `inner`, failed ones too. What `inner` needs several requests for is one call.
#[derive(Debug)]
pub struct Counted {
    inner: Arc<dyn Store>,
    counts: [AtomicU64; ALL.len()],
}

impl Counted {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, counts: Default::default() }
    }

    /// The calls so far.
    pub fn calls(&self) -> Calls {
        let counted = ALL.into_iter().zip(&self.counts);
        let counted = counted.map(|(operation, count)| (operation, count.load(Ordering::Relaxed)));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    fn count(&self, operation: Operation) -> &dyn Store {
        for (of, count) in ALL.into_iter().zip(&self.counts) {
            if of == operation {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.inner.as_ref()
    }
}

#[async_trait]
impl Store for Counted {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.count(Operation::Put).put(name, parts).await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.count(Operation::Replace).replace(name, parts).await
    }

    async fn put_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.count(Operation::Put).put_dated(name, parts).await
    }

    async fn replace_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.count(Operation::Replace).replace_dated(name, parts).await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.count(Operation::Get).get(name, size_max).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.count(Operation::GetRange).get_range(name, range).await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        self.count(Operation::GetTail).get_tail(name, length_max).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.count(Operation::Stat).stat(name).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.count(Operation::List).list(prefix).await
    }

    async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        self.count(Operation::List).list_each(folders).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.count(Operation::Delete).delete(name).await
    }

    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        self.count(Operation::Delete).discard(name).await
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
        self.count(Operation::Put).put_locked(name, parts, class, lock).await
    }

    async fn lock(&self, name: &str, lock: Lock) -> Result<(), StoreError> {
        self.count(Operation::Lock).lock(name, lock).await
    }

    async fn locked(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        self.count(Operation::Stat).locked(name).await
    }

    fn has_classes(&self) -> bool {
        self.inner.has_classes()
    }

    fn check_class(&self, class: &StorageClass) -> Result<(), StoreError> {
        self.inner.check_class(class)
    }

    async fn put_as(&self, name: &str, parts: Vec<Bytes>, class: &StorageClass) -> Result<(), StoreError> {
        self.count(Operation::Put).put_as(name, parts, class).await
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.count(Operation::Stat).warmth(name).await
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        self.count(Operation::Warm).warm(name, how).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    #[tokio::test]
    async fn every_call_is_counted_once_and_failures_too() {
        let store = Counted::new(Arc::new(MemoryStore::new()));
        store.put("a/b", vec![Bytes::from_static(b"c")]).await.unwrap();
        store.get("a/b", 9).await.unwrap();
        store.get("a/missing", 9).await.unwrap_err();
        store.list("a/").await.unwrap();
        store.delete("a/b").await.unwrap();
        let expected =
            [(Operation::List, 1), (Operation::Get, 2), (Operation::Put, 1), (Operation::Delete, 1)];
        assert_eq!(store.calls(), expected);
    }
}
