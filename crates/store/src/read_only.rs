//! A store that refuses every change.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Kind, Lock, ObjectInfo, Operation, StorageClass, Store, StoreError, Warming, Warmth};

/// Passes reads through and answers writes with [`Kind::ReadOnly`]: for commands that only look, so that a mistake
/// in them cannot change a vault or cost money.
#[derive(Clone, Debug)]
pub struct ReadOnly {
    inner: Arc<dyn Store>,
}

impl ReadOnly {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner }
    }

    fn refuse(&self, operation: Operation, object: &str) -> Result<(), StoreError> {
        Err(StoreError::new(Kind::ReadOnly, operation.verb(), object, self.location()))
    }
}

#[async_trait]
impl Store for ReadOnly {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    async fn put(&self, name: &str, _parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.refuse(Operation::Put, name)
    }

    async fn replace(&self, name: &str, _parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.refuse(Operation::Replace, name)
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.inner.get(name, size_max).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.get_range(name, range).await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        self.inner.get_tail(name, length_max).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.inner.stat(name).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.inner.list(prefix).await
    }

    async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        self.inner.list_each(folders).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.refuse(Operation::Delete, name)
    }

    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        self.refuse(Operation::Delete, name)
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
        _parts: Vec<Bytes>,
        _class: Option<&StorageClass>,
        _lock: Lock,
    ) -> Result<(), StoreError> {
        self.refuse(Operation::Put, name)
    }

    async fn lock(&self, name: &str, _lock: Lock) -> Result<(), StoreError> {
        self.refuse(Operation::Lock, name)
    }

    async fn locked(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        self.inner.locked(name).await
    }

    fn has_classes(&self) -> bool {
        self.inner.has_classes()
    }

    fn check_class(&self, class: &StorageClass) -> Result<(), StoreError> {
        self.inner.check_class(class)
    }

    async fn put_as(&self, name: &str, _parts: Vec<Bytes>, _class: &StorageClass) -> Result<(), StoreError> {
        self.refuse(Operation::Put, name)
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.inner.warmth(name).await
    }

    async fn warm(&self, name: &str, _how: Warming) -> Result<(), StoreError> {
        self.refuse(Operation::Warm, name)
    }
}
