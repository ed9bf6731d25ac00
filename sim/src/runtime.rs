//! For code that spawns tasks and hashes on other threads: whatever it does, the scheduler goes on only when all of it
//! waits for the scheduler. So nothing depends on how fast a thread is.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{Builder, Runtime};
use tokio::task::{spawn_blocking, yield_now};

use crate::world::{Shared, lock};

/// How often everybody is let on before it is seen who waits: more often than one wakes the next.
const TURNS: usize = 8;

/// A future in a runtime of its own.
pub struct Within<'a> {
    world: Shared,
    // In this order they are dropped: the tasks that the future gave up go with the runtime.
    future: Pin<Box<dyn Future<Output = ()> + Send + 'a>>,
    runtime: Option<Runtime>,
}

impl<'a> Within<'a> {
    /// The future, in a runtime that it can spawn tasks in.
    pub fn new(world: &Shared, future: impl Future<Output = ()> + Send + 'a) -> Self {
        // One thread takes what blocks in the order in which it comes.
        let runtime = Builder::new_current_thread().max_blocking_threads(1).build().ok();
        Self { world: world.clone(), future: Box::pin(future), runtime }
    }
}

impl Future for Within<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let Self { world, future, runtime } = &mut *self;
        let Some(runtime) = runtime else { return Poll::Ready(()) };
        let tasks = runtime.metrics();
        runtime.block_on(async {
            loop {
                let before = (lock(world).waiting(), tasks.num_alive_tasks());
                let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
                if polled.is_ready() {
                    return Poll::Ready(());
                }
                take_turns().await;
                // When this is done, so is all that was sent to the thread before it.
                let _ = spawn_blocking(|| ()).await;
                take_turns().await;
                if (lock(world).waiting(), tasks.num_alive_tasks()) == before {
                    return Poll::Pending;
                }
            }
        })
    }
}

async fn take_turns() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        self.future = Box::pin(std::future::ready(()));
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
