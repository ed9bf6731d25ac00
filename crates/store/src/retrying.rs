//! A store that tries again.
//!
//! Only [`Kind::Unavailable`] is repeated: it is the one kind that time can heal. Repeating is safe for every
//! operation (see the contract). Pauses double from the first to the longest and are shortened by a random part, so
//! that many clients of a server that comes back do not return in step. A server that says how long it wants to be
//! left alone is obeyed, up to [`RETRY_AFTER_MAX`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::random::{mix, unit};
use crate::{Kind, ObjectInfo, Store, StoreError};

/// The longest wait that a server may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(2 * 60);

/// How long and how eagerly to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// The longest pause after the first failure.
    pub pause_first: Duration,
    /// The longest pause after any failure.
    pub pause_max: Duration,
    /// No try is started later than this after the first one.
    pub deadline: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            pause_first: Duration::from_millis(200),
            pause_max: Duration::from_secs(30),
            deadline: Duration::from_secs(15 * 60),
        }
    }
}

/// Repeats calls to `inner` that could not be answered.
#[derive(Debug)]
pub struct Retrying {
    inner: Arc<dyn Store>,
    patience: Patience,
    /// Jitter: mixed to a new number at each pause.
    counter: AtomicU64,
}

impl Retrying {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Store>, patience: Patience) -> Self {
        let mut seed = [0; 8];
        // Without a random seed the pauses are merely the same in every process.
        let _ = getrandom::fill(&mut seed);
        Self { inner, patience, counter: AtomicU64::new(u64::from_le_bytes(seed)) }
    }

    async fn repeat<T, F: Future<Output = Result<T, StoreError>> + Send>(
        &self,
        call: impl Fn() -> F + Send,
    ) -> Result<T, StoreError> {
        let deadline = Instant::now().checked_add(self.patience.deadline);
        let mut pause_max = self.patience.pause_first;
        loop {
            let error = match call().await {
                Err(error) if error.kind == Kind::Unavailable => error,
                outcome => return outcome,
            };
            let pause = asked(&error).saturating_add(self.jittered(pause_max));
            if deadline.is_some_and(|deadline| Instant::now() + pause > deadline) {
                return Err(error);
            }
            sleep(pause).await;
            pause_max = pause_max.saturating_mul(2).min(self.patience.pause_max);
        }
    }

    /// Between half of `pause` and all of it.
    fn jittered(&self, pause: Duration) -> Duration {
        let number = mix(self.counter.fetch_add(1, Ordering::Relaxed));
        pause.mul_f64(0.5 + unit(number) / 2.0)
    }
}

/// How long the server wants to be left alone, as far as it is obeyed.
fn asked(error: &StoreError) -> Duration {
    error.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)
}

#[async_trait]
impl Store for Retrying {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn is_remote(&self) -> bool {
        self.inner.is_remote()
    }

    async fn put(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.repeat(|| self.inner.put(name, parts.clone())).await
    }

    async fn replace(&self, name: &str, parts: Vec<Bytes>) -> Result<(), StoreError> {
        self.repeat(|| self.inner.replace(name, parts.clone())).await
    }

    async fn get(&self, name: &str, size_max: u64) -> Result<Bytes, StoreError> {
        self.repeat(|| self.inner.get(name, size_max)).await
    }

    async fn get_range(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.repeat(|| self.inner.get_range(name, range.clone())).await
    }

    async fn get_tail(&self, name: &str, length_max: u64) -> Result<(Bytes, u64), StoreError> {
        self.repeat(|| self.inner.get_tail(name, length_max)).await
    }

    async fn stat(&self, name: &str) -> Result<ObjectInfo, StoreError> {
        self.repeat(|| self.inner.stat(name)).await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        self.repeat(|| self.inner.list(prefix)).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.repeat(|| self.inner.delete(name)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_ask_for_time_but_not_for_hours() {
        let mut error = StoreError::new(Kind::Unavailable, "read", "a", "memory");
        assert_eq!(asked(&error), Duration::ZERO);
        error.retry_after = Some(Duration::from_secs(7));
        assert_eq!(asked(&error), Duration::from_secs(7));
        error.retry_after = Some(Duration::MAX);
        assert_eq!(asked(&error), RETRY_AFTER_MAX);
    }
}
