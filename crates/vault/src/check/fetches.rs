//! Fetching many objects in order, several at once, within a bound in bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use store::{Kind, ObjectInfo, Store, StoreError};
use tokio::task::JoinHandle;

const AT_ONCE: usize = 16;
const BYTES_AT_ONCE: u64 = 32 << 20;

type Fetch = JoinHandle<Result<Bytes, StoreError>>;

/// Objects on their way. What is still under way when it is dropped is given up.
pub(super) struct Fetches<'a> {
    store: &'a Arc<dyn Store>,
    size_max: u64,
    waiting: std::slice::Iter<'a, ObjectInfo>,
    under_way: VecDeque<(&'a ObjectInfo, Fetch)>,
    bytes: u64,
}

impl<'a> Fetches<'a> {
    pub(super) fn new(store: &'a Arc<dyn Store>, objects: &'a [ObjectInfo], size_max: u64) -> Self {
        Self { store, size_max, waiting: objects.iter(), under_way: VecDeque::new(), bytes: 0 }
    }

    /// The next object, or why it could not be read.
    pub(super) async fn next(&mut self) -> Option<(&'a ObjectInfo, Result<Bytes, StoreError>)> {
        while self.under_way.len() < AT_ONCE && (self.bytes < BYTES_AT_ONCE || self.under_way.is_empty()) {
            let Some(object) = self.waiting.next() else { break };
            let (store, name, size_max) = (self.store.clone(), object.name.clone(), self.size_max);
            self.bytes += object.size;
            self.under_way.push_back((object, tokio::spawn(async move { store.get(&name, size_max).await })));
        }
        let (object, fetch) = self.under_way.pop_front()?;
        let outcome = fetch.await.unwrap_or_else(|error| {
            Err(StoreError::new(Kind::Other, "read", &object.name, self.store.location()).because(error))
        });
        self.bytes -= object.size;
        Some((object, outcome))
    }
}

impl Drop for Fetches<'_> {
    fn drop(&mut self) {
        self.under_way.iter().for_each(|(_, fetch)| fetch.abort());
    }
}
