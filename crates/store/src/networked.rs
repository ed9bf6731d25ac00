//! Runs every call of a store where connections live; see [`network`](crate::network).

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Kind, ObjectInfo, Operation, StorageClass, Store, StoreError, Warming, Warmth, network};

/// A store whose connections outlive the runtimes of those who call it.
#[derive(Debug)]
pub(crate) struct Networked<S>(Arc<S>);

impl<S: Store + 'static> Networked<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self(Arc::new(inner))
    }

    async fn run<T, F>(
        &self,
        operation: Operation,
        object: &str,
        call: impl FnOnce(Arc<S>, String) -> F,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        network::run(call(self.0.clone(), object.to_owned())).await.unwrap_or_else(|error| {
            Err(StoreError::new(Kind::Other, operation.verb(), object, self.location()).because(error))
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
        self.run(Operation::Put, name, |inner, name| async move { inner.put(&name, parts).await }).await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.run(Operation::Replace, name, |inner, name| async move { inner.replace(&name, parts).await })
            .await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.run(Operation::Get, name, move |inner, name| async move { inner.get(&name, size_max).await })
            .await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run(Operation::GetRange, name, |inner, name| async move { inner.get_range(&name, range).await })
            .await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        let call = move |inner: Arc<S>, name: String| async move { inner.get_tail(&name, length_max).await };
        self.run(Operation::GetTail, name, call).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.run(Operation::Stat, name, |inner, name| async move { inner.stat(&name).await }).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.run(Operation::List, prefix, |inner, prefix| async move { inner.list(&prefix).await }).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.run(Operation::Delete, name, |inner, name| async move { inner.delete(&name).await }).await
    }

    fn has_classes(&self) -> bool {
        self.0.has_classes()
    }

    fn check_class(&self, class: &StorageClass) -> Result<(), StoreError> {
        self.0.check_class(class)
    }

    async fn put_as(&self, name: &str, parts: Vec<Bytes>, class: &StorageClass) -> Result<(), StoreError> {
        let class = class.clone();
        self.run(Operation::Put, name, |inner, name| async move { inner.put_as(&name, parts, &class).await })
            .await
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.run(Operation::Stat, name, |inner, name| async move { inner.warmth(&name).await }).await
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        self.run(Operation::Warm, name, move |inner, name| async move { inner.warm(&name, how).await }).await
    }
}
