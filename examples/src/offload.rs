//! Work that would hold up a runtime thread goes to another one.

use std::future::Future;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// Runs `work` on a thread for blocking work; on a single-threaded runtime, as simulations use, in place, so that
/// nothing depends on how the machine schedules threads.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

/// Same for a future that blocks between its awaits. Where this is dropped, it stops at its next await.
pub async fn offload_future<F>(work: F) -> F::Output
where
    F: Future<Output: Send> + Send + 'static,
{
    let runtime = Handle::current();
    if runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work.await;
    }
    let (_wanted, dropped) = oneshot::channel::<()>();
    let done = offload(move || {
        runtime.block_on(async {
            tokio::select! {
                value = work => Some(value),
                _ = dropped => None,
            }
        })
    });
    done.await.expect("it is wanted as long as it is awaited")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_future_runs_elsewhere_and_stops_when_nobody_waits_for_it() {
        let here = std::thread::current().id();
        assert_ne!(offload_future(async { std::thread::current().id() }).await, here);
        let held = Arc::new(());
        let (started, has_started) = oneshot::channel();
        let inside = Arc::clone(&held);
        let waiting = tokio::spawn(offload_future(async move {
            started.send(()).unwrap();
            std::future::pending::<()>().await;
            drop(inside);
        }));
        has_started.await.unwrap();
        waiting.abort();
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
