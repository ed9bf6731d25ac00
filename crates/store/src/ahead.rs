//! A store some of whose folders were listed ahead of time.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;

use crate::{Lock, ObjectInfo, StorageClass, Store, StoreError, Warming, Warmth};

/// Answers the first listing of some folders from what was listed when it was made; all else is asked of `inner`.
///
/// For whoever begins to work and needs many listings: they come at once, and cost few requests.
#[derive(Debug)]
pub struct Ahead {
    inner: Arc<dyn Store>,
    listed: Mutex<HashMap<String, Vec<ObjectInfo>>>,
}

impl Ahead {
    /// Lists every folder of every group; a group are neighbours as [`Store::list_each`] wants them. The groups are
    /// asked for at the same time.
    pub async fn list(inner: Arc<dyn Store>, groups: &[&[&str]]) -> Result<Self, StoreError> {
        let lists = try_join_all(groups.iter().map(|group| inner.list_each(group))).await?;
        let folders = groups.iter().flat_map(|group| group.iter()).map(|folder| (*folder).to_owned());
        let listed = folders.zip(lists.into_iter().flatten()).collect();
        Ok(Self { inner, listed: Mutex::new(listed) })
    }

    /// Whether the folder was listed and is empty.
    pub fn is_empty(&self, folder: &str) -> bool {
        self.listed().get(folder).is_some_and(Vec::is_empty)
    }

    /// Forgets what was listed of a folder: whoever lists it next sees it as it is then.
    pub fn forget(&self, folder: &str) {
        self.listed().remove(folder);
    }

    fn listed(&self) -> MutexGuard<'_, HashMap<String, Vec<ObjectInfo>>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for Ahead {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.inner.put(name, parts).await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.inner.replace(name, parts).await
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
        let known = self.listed().remove(prefix);
        match known {
            Some(objects) => Ok(objects),
            None => self.inner.list(prefix).await,
        }
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.inner.delete(name).await
    }

    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        self.inner.discard(name).await
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
        self.inner.put_locked(name, parts, class, lock).await
    }

    async fn lock(&self, name: &str, lock: Lock) -> Result<(), StoreError> {
        self.inner.lock(name, lock).await
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

    async fn put_as(&self, name: &str, parts: Vec<Bytes>, class: &StorageClass) -> Result<(), StoreError> {
        self.inner.put_as(name, parts, class).await
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.inner.warmth(name).await
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        self.inner.warm(name, how).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryStore, Operation, Recorded};

    #[tokio::test]
    async fn a_folder_is_answered_once_from_what_was_listed() {
        let store = Arc::new(Recorded::new(Arc::new(MemoryStore::new())));
        for name in ["a/1", "b/1", "c/1"] {
            store.put(name, vec![]).await.unwrap();
        }
        let ahead = Ahead::list(store.clone(), &[&["a/", "b/"], &["c/", "d/"]]).await.unwrap();
        store.put("a/2", vec![]).await.unwrap();
        store.forget_calls();
        assert!(ahead.is_empty("d/") && !ahead.is_empty("a/") && !ahead.is_empty("e/"));
        assert_eq!(ahead.list("a/").await.unwrap().len(), 1);
        assert_eq!(store.count(Operation::List, ""), 0);
        assert_eq!(ahead.list("a/").await.unwrap().len(), 2, "as it is now");
        ahead.forget("b/");
        store.put("b/2", vec![]).await.unwrap();
        assert_eq!(ahead.list("b/").await.unwrap().len(), 2);
        assert!(ahead.list("d/").await.unwrap().is_empty());
    }
}
