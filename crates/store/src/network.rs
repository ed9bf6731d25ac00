//! The runtime on which connections live.
//!
//! A pooled connection belongs to the runtime that opened it and dies with it. Callers of stores open and drop
//! runtimes as they like (to open a vault, to look whether there is one), so the stores that speak to servers do it on
//! one runtime of their own that lives as long as the process.

use std::future::Future;
use std::io;
use std::sync::{OnceLock, mpsc};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// Threads that move bytes between servers and memory; encryption costs more, and that is done elsewhere.
const WORKERS: usize = 2;

/// Runs a future on the runtime of the connections and waits for it. When the caller gives up, so does the future.
pub(crate) async fn run<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> io::Result<T> {
    let mut task = Task(runtime()?.spawn(future));
    (&mut task.0).await.map_err(io::Error::other)
}

/// The same for a thread that may be blocked. In asynchronous code it blocks the worker that calls.
pub(crate) fn wait<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Nobody listens only when the thread that waited is gone.
        let _ = sender.send(future.await);
    });
    receiver.recv().map_err(io::Error::other)
}

fn runtime() -> io::Result<&'static Runtime> {
    static RUNTIME: OnceLock<io::Result<Runtime>> = OnceLock::new();
    let build =
        || Builder::new_multi_thread().worker_threads(WORKERS).thread_name("store").enable_all().build();
    RUNTIME.get_or_init(build).as_ref().map_err(|error| io::Error::new(error.kind(), error.to_string()))
}

/// A task that ends when it is dropped.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
