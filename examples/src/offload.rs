//! Work that would hold up a runtime thread goes to another one, and work that nobody waits for any more goes on; both
//! stay in the trace and the span they belong to.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use forebay_tracing_ctx::task;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;

/// Bytes that are worked on in less time than a task may go without a break.
const MOST_IN_PASSING: usize = 1 << 20;

/// Runs `work` on a thread for blocking work; on a single-threaded runtime, as simulations use, in place, so that
/// nothing depends on how the machine schedules threads.
pub async fn offload<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return work();
    }
    match task::spawn_blocking(work).await {
        Ok(value) => value,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

/// Runs `work` on `bytes` bytes here, and where these are many, lets another thread take this one's tasks over: unlike
/// [`offload`], for work that borrows.
pub fn in_place<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    let threads = Handle::try_current().is_ok_and(|h| h.runtime_flavor() == RuntimeFlavor::MultiThread);
    if threads && bytes > MOST_IN_PASSING { tokio::task::block_in_place(work) } else { work() }
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

/// Finishes what it has begun: `work` runs where this is awaited, without a task of its own, and where this is dropped
/// before its end, in a task. What was never polled is not begun.
///
/// Where it is dropped, its trace and span have to be current, as they are in what
/// [`TraceFutureExt`](forebay_tracing_ctx::TraceFutureExt) and `Instrument` wrap.
pub fn finish<F>(work: F) -> Finish<F>
where
    F: Future<Output: Send> + Send + 'static,
{
    Finish { work: Some(Box::pin(work)), runtime: None }
}

/// The future of [`finish`].
#[derive(Debug)]
#[must_use = "it begins when it is polled"]
pub struct Finish<F: Future<Output: Send> + Send + 'static> {
    /// Gone when it has ended.
    work: Option<Pin<Box<F>>>,
    /// Where it was begun.
    runtime: Option<Handle>,
}

impl<F: Future<Output: Send> + Send + 'static> Future for Finish<F> {
    type Output = F::Output;

    /// # Panics
    /// Outside of a runtime, or polled again after its end.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.runtime.get_or_insert_with(Handle::current);
        // Work that panics is gone.
        let mut work = self.work.take().expect("it is not polled after its end");
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Finish<F> {
    fn drop(&mut self) {
        if let (Some(work), Some(runtime)) = (self.work.take(), &self.runtime) {
            let _entered = runtime.enter();
            drop(task::spawn(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use forebay_tracing_ctx::sampler::Always;
    use forebay_tracing_ctx::{TraceContext, TraceFutureExt, context, random_u64};
    use tracing::dispatcher::{Dispatch, set_default, with_default};
    use tracing::{Instrument, Span};

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn work_elsewhere_is_in_the_trace_and_the_span_of_whoever_waits_for_it() {
        let subscriber = Dispatch::new(tracing_subscriber::registry());
        let _here = set_default(&subscriber);
        let found = move || {
            let span = with_default(&subscriber, || Span::current().id());
            (context::current().map(|context| context.trace_id()), span)
        };
        let both = || {
            let (at_once, after_a_wait) = (found.clone(), found.clone());
            async {
                let second = async move {
                    tokio::task::yield_now().await;
                    after_a_wait()
                };
                (offload(at_once).await, offload_future(second).await)
            }
        };
        let (trace, span) = (TraceContext::root(random_u64, &Always), tracing::info_span!("request"));
        let own = (Some(trace.trace_id()), span.id());
        assert!(own.1.is_some());
        assert_eq!(both().with_trace(trace).instrument(span).await, (own.clone(), own));
        assert_eq!(both().await, ((None, None), (None, None)), "nothing stays behind on those threads");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn much_work_in_place_leaves_the_other_tasks_a_thread() {
        let (tell, told) = std::sync::mpsc::channel();
        tokio::spawn(async move {
            let other = tokio::spawn(async move { tell.send(()).unwrap() });
            in_place(MOST_IN_PASSING + 1, || told.recv().unwrap());
            other.await.unwrap();
        })
        .await
        .unwrap();
    }

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

    #[tokio::test]
    async fn what_was_begun_ends_after_any_poll_after_which_it_is_dropped() {
        for polls in 0..=4 {
            let steps = Arc::new(AtomicUsize::new(0));
            let own = Arc::clone(&steps);
            let mut work = Box::pin(finish(async move {
                for _ in 0..3 {
                    own.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                }
                7
            }));
            let mut answer = None;
            for _ in 0..polls {
                answer = match futures_util::poll!(work.as_mut()) {
                    Poll::Ready(value) => Some(value),
                    Poll::Pending => None,
                };
            }
            drop(work);
            while Arc::strong_count(&steps) > 1 {
                tokio::task::yield_now().await;
            }
            assert_eq!(answer, (polls == 4).then_some(7), "{polls} polls");
            assert_eq!(steps.load(Ordering::Relaxed), if polls == 0 { 0 } else { 3 }, "{polls} polls");
        }
    }

    #[tokio::test]
    async fn what_goes_on_by_itself_stays_in_its_trace_and_its_span() {
        let subscriber = Dispatch::new(tracing_subscriber::registry());
        let _here = set_default(&subscriber);
        let (tell, told) = oneshot::channel();
        let work = finish(async move {
            tokio::task::yield_now().await;
            let span = Span::current().id();
            let _ = tell.send((context::current().map(|context| context.trace_id()), span));
        });
        let (trace, span) = (TraceContext::root(random_u64, &Always), tracing::info_span!("request"));
        let own = (Some(trace.trace_id()), span.id());
        let mut work = Box::pin(work.with_trace(trace).instrument(span));
        assert!(futures_util::poll!(work.as_mut()).is_pending());
        drop(work);
        assert_eq!(told.await.unwrap(), own);
    }
}
