//! Runs every call of a store where connections live; see [`network`](crate::network).

use std::ops::Range;
use std::sync::Arc;
#[cfg(feature = "locations")]
use std::time::Duration;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

#[cfg(feature = "locations")]
use crate::grant::{Grant, Mint, Permission, Settle};
#[cfg(feature = "locations")]
use crate::survey::{Survey, Surveyed};
#[cfg(feature = "locations")]
use crate::versions::{Version, Versioned};
use crate::{Kind, Lock, ObjectInfo, Operation, StorageClass, Store, StoreError, Warming, Warmth, network};

/// A store whose connections outlive the runtimes of those who call it.
#[derive(Debug)]
pub(crate) struct Networked<S>(Arc<S>);

impl<S: Store + 'static> Networked<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self(Arc::new(inner))
    }

    async fn run<T, F>(
        &self,
        operation: &'static str,
        object: &str,
        call: impl FnOnce(Arc<S>, String) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        network::run(call(self.0.clone(), object.to_owned())).await.unwrap_or_else(|error| {
            Err(StoreError::new(Kind::Other, operation, object, self.location()).because(error))
        })
    }
}

#[async_trait]
impl<S: Store + 'static> Store for Networked<S> {
    fn location(&self) -> String {
        self.0.location()
    }

    fn is_remote(&self) -> bool {
        self.0.is_remote()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(Operation::Put.verb(), name, |inner, name| async move { inner.put(&name, parts).await })
            .await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(
            Operation::Replace.verb(),
            name,
            |inner, name| async move { inner.replace(&name, parts).await },
        )
        .await
    }

    async fn put_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.run(
            Operation::Put.verb(),
            name,
            |inner, name| async move { inner.put_dated(&name, parts).await },
        )
        .await
    }

    async fn replace_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        let call = |inner: Arc<S>, name: String| async move { inner.replace_dated(&name, parts).await };
        self.run(Operation::Replace.verb(), name, call).await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.run(
            Operation::Get.verb(),
            name,
            move |inner, name| async move { inner.get(&name, size_max).await },
        )
        .await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run(Operation::GetRange.verb(), name, |inner, name| async move {
            inner.get_range(&name, range).await
        })
        .await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        let call = move |inner: Arc<S>, name: String| async move { inner.get_tail(&name, length_max).await };
        self.run(Operation::GetTail.verb(), name, call).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.run(Operation::Stat.verb(), name, |inner, name| async move { inner.stat(&name).await }).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.run(Operation::List.verb(), prefix, |inner, prefix| async move { inner.list(&prefix).await })
            .await
    }

    async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        let owned: Vec<String> = folders.iter().map(|folder| (*folder).to_owned()).collect();
        let call = |inner: Arc<S>, _| async move {
            let folders: Vec<&str> = owned.iter().map(String::as_str).collect();
            inner.list_each(&folders).await
        };
        self.run(Operation::List.verb(), folders.first().copied().unwrap_or_default(), call).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.run(Operation::Delete.verb(), name, |inner, name| async move { inner.delete(&name).await }).await
    }

    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        self.run(Operation::Delete.verb(), name, |inner, name| async move { inner.discard(&name).await })
            .await
    }

    fn has_locks(&self) -> bool {
        self.0.has_locks()
    }

    async fn can_lock(&self) -> Result<bool, StoreError> {
        self.run(Operation::Lock.verb(), "", |inner, _| async move { inner.can_lock().await }).await
    }

    async fn put_locked(
        &self,
        name: &str,
        parts: Vec<Bytes>,
        class: Option<&StorageClass>,
        lock: Lock,
    ) -> Result<(), StoreError> {
        let class = class.cloned();
        self.run(Operation::Put.verb(), name, move |inner, name| async move {
            inner.put_locked(&name, parts, class.as_ref(), lock).await
        })
        .await
    }

    async fn lock(&self, name: &str, lock: Lock) -> Result<(), StoreError> {
        self.run(
            Operation::Lock.verb(),
            name,
            move |inner, name| async move { inner.lock(&name, lock).await },
        )
        .await
    }

    async fn locked(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        self.run(Operation::Stat.verb(), name, |inner, name| async move { inner.locked(&name).await }).await
    }

    fn has_classes(&self) -> bool {
        self.0.has_classes()
    }

    fn check_class(&self, class: &StorageClass) -> Result<(), StoreError> {
        self.0.check_class(class)
    }

    async fn put_as(&self, name: &str, parts: Vec<Bytes>, class: &StorageClass) -> Result<(), StoreError> {
        let class = class.clone();
        self.run(Operation::Put.verb(), name, |inner, name| async move {
            inner.put_as(&name, parts, &class).await
        })
        .await
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.run(Operation::Stat.verb(), name, |inner, name| async move { inner.warmth(&name).await }).await
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        self.run(Operation::Warm.verb(), name, move |inner, name| async move { inner.warm(&name, how).await })
            .await
    }
}

#[cfg(feature = "locations")]
#[async_trait]
impl<S: Mint + 'static> Mint for Networked<S> {
    async fn grant(
        &self,
        permission: Permission,
        name: &str,
        valid_for: Duration,
    ) -> Result<Grant, StoreError> {
        let call =
            move |inner: Arc<S>, name: String| async move { inner.grant(permission, &name, valid_for).await };
        self.run("grant access to", name, call).await
    }
}

#[cfg(feature = "locations")]
#[async_trait]
impl<S: Mint + 'static> Settle for Networked<S> {
    async fn settle(&self, name: &str) -> Result<(), StoreError> {
        self.run("settle", name, |inner, name| async move { inner.settle(&name).await }).await
    }
}

#[cfg(feature = "locations")]
#[async_trait]
impl<S: Store + Surveyed + 'static> Surveyed for Networked<S> {
    async fn survey(&self, object: &str) -> Survey {
        let call = |inner: Arc<S>, object: String| async move { Ok(inner.survey(&object).await) };
        self.run("survey", object, call).await.unwrap_or_default()
    }
}

#[cfg(feature = "locations")]
#[async_trait]
impl<S: Store + Versioned + 'static> Versioned for Networked<S> {
    async fn versions(&self, folder: &str) -> Result<Vec<Version>, StoreError> {
        let call = |inner: Arc<S>, folder: String| async move { inner.versions(&folder).await };
        self.run(Operation::List.verb(), folder, call).await
    }

    async fn get_version(&self, version: &Version, size_max: u64) -> Result<Bytes, StoreError> {
        let wanted = version.clone();
        let call = move |inner: Arc<S>, _| async move { inner.get_version(&wanted, size_max).await };
        self.run(Operation::Get.verb(), &version.name, call).await
    }

    async fn remove_version(&self, version: &Version) -> Result<(), StoreError> {
        let unwanted = version.clone();
        let call = |inner: Arc<S>, _| async move { inner.remove_version(&unwanted).await };
        self.run(Operation::Delete.verb(), &version.name, call).await
    }

    async fn make_current(&self, version: &Version, lock: Option<Lock>) -> Result<(), StoreError> {
        let wanted = version.clone();
        let call = move |inner: Arc<S>, _| async move { inner.make_current(&wanted, lock).await };
        self.run(Operation::Replace.verb(), &version.name, call).await
    }
}
