//! A store with a limit on the bytes per second.
//!
//! An object goes through in one piece, so the pauses lie between calls: a call waits until what went before it is
//! paid for. Over a time longer than one object takes, the rate is kept.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::{Lock, ObjectInfo, StorageClass, Store, StoreError, Warming, Warmth};

/// Bytes per second in each direction; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// For `put` and `replace`.
    pub upload: Option<u64>,
    /// For the reads.
    pub download: Option<u64>,
}

/// Debts shorter than this are not waited for but added up: timers are too coarse to pay for each small object.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// Holds the calls to `inner` to the rates.
#[derive(Debug)]
pub struct Limited {
    inner: Arc<dyn Store>,
    upload: Option<Bucket>,
    download: Option<Bucket>,
}

impl Limited {
    /// Wraps `inner`. A rate of 0 counts as one byte per second.
    pub fn new(inner: Arc<dyn Store>, rates: Rates) -> Self {
        Self { inner, upload: rates.upload.map(Bucket::new), download: rates.download.map(Bucket::new) }
    }

    async fn upload(&self, bytes: u64) {
        if let Some(bucket) = &self.upload {
            bucket.pay(bytes).await;
        }
    }

    async fn download(&self, bytes: u64) {
        if let Some(bucket) = &self.download {
            bucket.pay(bytes).await;
        }
    }
}

/// A token bucket, kept as the moment at which all that was taken is paid for.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: u64,
    paid_until: Mutex<Option<Instant>>,
}

impl Bucket {
    fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second: bytes_per_second.max(1), paid_until: Mutex::new(None) }
    }

    /// Takes tokens for `bytes`, after the earlier ones are paid for.
    async fn pay(&self, bytes: u64) {
        let start = {
            let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let start = paid_until.map_or(now, |until| until.max(now));
            *paid_until = Some(start.checked_add(self.time_for(bytes)).unwrap_or(start));
            (start.duration_since(now) >= PAUSE_MIN).then_some(start)
        };
        if let Some(start) = start {
            sleep_until(start).await;
        }
    }

    fn time_for(&self, bytes: u64) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

fn total(parts: &[Bytes]) -> u64 {
    parts.iter().map(|part| part.len() as u64).sum()
}

#[async_trait]
impl Store for Limited {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.upload(total(&parts)).await;
        self.inner.put(name, parts).await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.upload(total(&parts)).await;
        self.inner.replace(name, parts).await
    }

    async fn put_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.upload(total(&parts)).await;
        self.inner.put_dated(name, parts).await
    }

    async fn replace_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.upload(total(&parts)).await;
        self.inner.replace_dated(name, parts).await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        // The size is known only afterwards: the answer is held back instead of the question.
        let bytes = self.inner.get(name, size_max).await?;
        self.download(bytes.len() as u64).await;
        Ok(bytes)
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let bytes = self.inner.get_range(name, range).await?;
        self.download(bytes.len() as u64).await;
        Ok(bytes)
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        let (bytes, size) = self.inner.get_tail(name, length_max).await?;
        self.download(bytes.len() as u64).await;
        Ok((bytes, size))
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
        self.upload(total(&parts)).await;
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
        self.upload(total(&parts)).await;
        self.inner.put_as(name, parts, class).await
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.inner.warmth(name).await
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        self.inner.warm(name, how).await
    }
}
