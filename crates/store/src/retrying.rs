//! A store that tries again.
//!
//! Only [`Kind::Unavailable`] is repeated: it is the one kind that time can heal. Repeating is safe for every
//! operation (see the contract). Pauses double from the first to the longest and are shortened by a random part, so
//! that many clients of a server that comes back do not return in step. A server that says how long it wants to be
//! left alone is obeyed, up to [`RETRY_AFTER_MAX`].

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::random::{mix, unit};
use crate::{Kind, Lock, ObjectInfo, StorageClass, Store, StoreError, Warming, Warmth};

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

/// Hears of failures after which a call is tried again.
pub type Waits = Arc<dyn Fn(&StoreError) + Send + Sync>;

/// A call that fails so often is worth a word; once or twice happens to every server.
const WORTH_A_WORD: u32 = 3;

/// A store that is waited for has at least this long to move a byte, and at most [`SILENCE_MAX`].
const SILENCE_MIN: Duration = Duration::from_secs(4);
/// See [`SILENCE_MIN`].
const SILENCE_MAX: Duration = Duration::from_secs(60);

impl Patience {
    /// Gives up after `total`. All pauses are shortened in proportion where that is less than usual.
    pub fn lasting(total: Duration) -> Self {
        let usual = Self::default();
        let share = (total.as_secs_f64() / usual.deadline.as_secs_f64()).min(1.0);
        Self {
            pause_first: usual.pause_first.mul_f64(share),
            pause_max: usual.pause_max.mul_f64(share),
            deadline: total,
        }
    }

    /// How long nothing may move on a connection before it is given up: a fifteenth of the whole, but no less than
    /// four seconds and no more than a minute.
    pub fn silence(&self) -> Duration {
        (self.deadline / 15).clamp(SILENCE_MIN, SILENCE_MAX)
    }

    #[cfg(feature = "locations")]
    /// Calls until it works, the failure is not one that time heals, or patience ends. For threads that may be blocked;
    /// `waits` hears of each failure after which there is a pause.
    pub(crate) fn repeat<T>(
        self,
        waits: &Waits,
        call: impl Fn() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut tries = Tries::new(self);
        let jitter = Jitter::new();
        loop {
            let error = match call() {
                Err(error) if error.kind == Kind::Unavailable => error,
                outcome => return outcome,
            };
            let Some(pause) = tries.pause_after(&error, &jitter) else { return Err(error) };
            waits(&error);
            std::thread::sleep(pause);
        }
    }
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
pub struct Retrying {
    inner: Arc<dyn Store>,
    patience: Patience,
    jitter: Jitter,
    waits: Option<Waits>,
}

impl fmt::Debug for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retrying").field("inner", &self.inner).field("patience", &self.patience).finish()
    }
}

impl Retrying {
    /// Wraps `inner`.
    pub fn new(inner: Arc<dyn Store>, patience: Patience) -> Self {
        Self { inner, patience, jitter: Jitter::new(), waits: None }
    }

    /// Tells `waits` of a call that fails for the third time in a row, and each time after that, unless it is given up.
    pub fn telling(self, waits: Waits) -> Self {
        Self { waits: Some(waits), ..self }
    }

    async fn repeat<T, F: Future<Output = Result<T, StoreError>> + Send>(
        &self,
        call: impl Fn() -> F + Send,
    ) -> Result<T, StoreError> {
        let mut tries = Tries::new(self.patience);
        loop {
            let error = match call().await {
                Err(error) if error.kind == Kind::Unavailable => error,
                outcome => return outcome,
            };
            let Some(pause) = tries.pause_after(&error, &self.jitter) else { return Err(error) };
            if let Some(waits) = self.waits.as_ref().filter(|_| tries.failed >= WORTH_A_WORD) {
                waits(&error);
            }
            sleep(pause).await;
        }
    }
}

/// The tries of one call.
struct Tries {
    patience: Patience,
    deadline: Option<Instant>,
    pause_max: Duration,
    failed: u32,
}

impl Tries {
    fn new(patience: Patience) -> Self {
        let deadline = Instant::now().checked_add(patience.deadline);
        Self { patience, deadline, pause_max: patience.pause_first, failed: 0 }
    }

    /// How long to wait before the next try; nothing when there is none.
    fn pause_after(&mut self, error: &StoreError, jitter: &Jitter) -> Option<Duration> {
        self.failed = self.failed.saturating_add(1);
        let pause = asked(error).saturating_add(jitter.shorten(self.pause_max));
        if self.deadline.is_some_and(|deadline| Instant::now() + pause > deadline) {
            return None;
        }
        self.pause_max = self.pause_max.saturating_mul(2).min(self.patience.pause_max);
        Some(pause)
    }
}

/// A source of uneven pauses: its number is mixed to a new one at each.
#[derive(Debug)]
struct Jitter(AtomicU64);

impl Jitter {
    fn new() -> Self {
        let mut seed = [0; 8];
        // Without a random seed the pauses are merely the same in every process.
        let _ = getrandom::fill(&mut seed);
        Self(AtomicU64::new(u64::from_le_bytes(seed)))
    }

    /// Between half of `pause` and all of it.
    fn shorten(&self, pause: Duration) -> Duration {
        let number = mix(self.0.fetch_add(1, Ordering::Relaxed));
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

    async fn put_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.repeat(|| self.inner.put_dated(name, parts.clone())).await
    }

    async fn replace_dated(&self, name: &str, parts: Vec<Bytes>) -> Result<SystemTime, StoreError> {
        self.repeat(|| self.inner.replace_dated(name, parts.clone())).await
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

    async fn list_each(&self, folders: &[&str]) -> Result<Vec<Vec<ObjectInfo>>, StoreError> {
        self.repeat(|| self.inner.list_each(folders)).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        self.repeat(|| self.inner.delete(name)).await
    }

    async fn discard(&self, name: &str) -> Result<(), StoreError> {
        self.repeat(|| self.inner.discard(name)).await
    }

    fn has_locks(&self) -> bool {
        self.inner.has_locks()
    }

    async fn can_lock(&self) -> Result<bool, StoreError> {
        self.repeat(|| self.inner.can_lock()).await
    }

    async fn put_locked(
        &self,
        name: &str,
        parts: Vec<Bytes>,
        class: Option<&StorageClass>,
        lock: Lock,
    ) -> Result<(), StoreError> {
        self.repeat(|| self.inner.put_locked(name, parts.clone(), class, lock)).await
    }

    async fn lock(&self, name: &str, lock: Lock) -> Result<(), StoreError> {
        self.repeat(|| self.inner.lock(name, lock)).await
    }

    async fn locked(&self, name: &str) -> Result<Option<Lock>, StoreError> {
        self.repeat(|| self.inner.locked(name)).await
    }

    fn has_classes(&self) -> bool {
        self.inner.has_classes()
    }

    fn check_class(&self, class: &StorageClass) -> Result<(), StoreError> {
        self.inner.check_class(class)
    }

    async fn put_as(&self, name: &str, parts: Vec<Bytes>, class: &StorageClass) -> Result<(), StoreError> {
        self.repeat(|| self.inner.put_as(name, parts.clone(), class)).await
    }

    async fn warmth(&self, name: &str) -> Result<(Warmth, u64), StoreError> {
        self.repeat(|| self.inner.warmth(name)).await
    }

    async fn warm(&self, name: &str, how: Warming) -> Result<(), StoreError> {
        self.repeat(|| self.inner.warm(name, how)).await
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

    #[test]
    fn a_shorter_patience_is_shorter_in_all() {
        assert_eq!(Patience::lasting(Duration::from_secs(900)), Patience::default());
        let short = Patience::lasting(Duration::from_secs(9));
        assert_eq!(
            (short.pause_first, short.pause_max),
            (Duration::from_millis(2), Duration::from_millis(300))
        );
        let long = Patience::lasting(Duration::from_secs(9000));
        assert_eq!(Patience { deadline: long.deadline, ..Patience::default() }, long);
        let silence = |seconds| Patience::lasting(Duration::from_secs(seconds)).silence().as_secs();
        assert_eq!([0, 90, 900, 9000].map(silence), [4, 6, 60, 60]);
    }

    #[cfg(feature = "locations")]
    #[test]
    fn opening_is_tried_again_until_patience_ends() {
        let patience = Patience::lasting(Duration::from_millis(200));
        static WAITS: AtomicU64 = AtomicU64::new(0);
        let calls = AtomicU64::new(0);
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let error = |kind| StoreError::new(kind, "open", "", "memory");
        let heard: Waits = Arc::new(|_: &StoreError| {
            WAITS.fetch_add(1, Ordering::Relaxed);
        });
        let opened = patience.repeat(&heard, || match count(&calls) {
            3 => Ok("there"),
            _ => Err(error(Kind::Unavailable)),
        });
        assert_eq!(opened.unwrap(), "there");
        assert_eq!((calls.load(Ordering::Relaxed), WAITS.load(Ordering::Relaxed)), (4, 3));
        let never = patience.repeat(&heard, || Err::<(), _>(error(Kind::Unavailable)));
        assert_eq!(never.unwrap_err().kind, Kind::Unavailable);
        let nothing: Waits = Arc::new(|_| panic!("nothing to wait for"));
        let at_once = patience.repeat(&nothing, || Err::<(), _>(error(Kind::NotFound)));
        assert_eq!(at_once.unwrap_err().kind, Kind::NotFound);
    }
}
