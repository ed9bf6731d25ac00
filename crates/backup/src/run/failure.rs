//! One stage's failure ends all of them.

use std::sync::{Arc, Mutex, PoisonError};

use crate::{Error, Progress};

/// Holds the first error of a run. The stages notice closed queues; [`Progress`] is what long loops look at.
#[derive(Debug)]
pub(super) struct Failure {
    first: Mutex<Option<Error>>,
    progress: Arc<Progress>,
}

impl Failure {
    pub(super) fn new(progress: Arc<Progress>) -> Self {
        Self { first: Mutex::new(None), progress }
    }

    /// Runs a stage. Its error is kept if it is the first one that says more than "interrupted".
    pub(super) fn guard<T>(&self, stage: impl FnOnce() -> Result<T, Error>) -> Option<T> {
        match stage() {
            Ok(value) => Some(value),
            Err(error) => {
                let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
                if matches!(*first, None | Some(Error::Interrupted)) {
                    *first = Some(error);
                }
                drop(first);
                self.progress.cancel();
                None
            }
        }
    }

    pub(super) fn take(&self) -> Option<Error> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
