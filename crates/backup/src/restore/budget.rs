//! Bounds on what is under way at once.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::session::Session;
use crate::Error;

/// How often a waiting thread looks whether everything was stopped.
const LOOK: Duration = Duration::from_millis(100);

/// A bounded amount, taken in shares and given back when a share is dropped.
pub(super) struct Budget {
    limit: usize,
    used: Mutex<usize>,
    changed: Condvar,
}

/// A share of a budget.
pub(super) struct Share {
    budget: Arc<Budget>,
    amount: usize,
}

impl Budget {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::new(0), changed: Condvar::new() })
    }

    /// Waits until there is room. What is larger than the whole budget gets all of it.
    pub(super) fn take(self: &Arc<Self>, amount: usize, session: &Session) -> Result<Share, Error> {
        let amount = amount.min(self.limit);
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        while *used + amount > self.limit {
            session.checkpoint()?;
            (used, _) = self.changed.wait_timeout(used, LOOK).unwrap_or_else(PoisonError::into_inner);
        }
        *used += amount;
        Ok(Share { budget: self.clone(), amount })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut used = self.budget.used.lock().unwrap_or_else(PoisonError::into_inner);
        *used -= self.amount;
        self.budget.changed.notify_one();
    }
}
