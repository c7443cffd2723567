//! The context of a future is current when the future runs, and only then.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use forebay_tracing_ctx::sampler::Never;
use forebay_tracing_ctx::{TraceContext, TraceFutureExt, TraceId, context, task};
use tokio::task::{JoinSet, yield_now};

fn trace(seed: u64) -> TraceContext {
    TraceContext::root(|| seed, &Never)
}

fn current_id() -> Option<TraceId> {
    context::current().map(|context| context.trace_id())
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn a_future_that_waits_leaves_nothing_behind_on_the_thread() {
    let mut waiting = pin!(std::future::pending::<()>().with_trace(trace(1)));
    context::scope(trace(2), || {
        assert!(poll(waiting.as_mut()).is_pending());
        assert_eq!(context::current().as_deref(), Some(&trace(2)));
    });
    assert!(poll(waiting).is_pending());
    assert_eq!(context::current(), None);
}

#[test]
fn futures_polled_in_turns_keep_their_own() {
    let asking = |seed| {
        async move {
            for _ in 0..10 {
                assert_eq!(context::current().as_deref(), Some(&trace(seed)));
                yield_once().await;
            }
        }
        .with_trace(trace(seed))
    };
    let (mut one, mut two) = (pin!(asking(1)), pin!(asking(2)));
    for _ in 0..10 {
        assert!(poll(one.as_mut()).is_pending());
        assert!(poll(two.as_mut()).is_pending());
    }
    assert!(poll(one).is_ready() && poll(two).is_ready());
}

#[test]
fn a_context_within_a_context_is_the_inner_one() {
    let inner = async { current_id() }.with_trace(trace(2));
    let outer = async { (current_id(), inner.await, current_id()) }.with_trace(trace(1));
    let (one, two) = (Some(trace(1).trace_id()), Some(trace(2).trace_id()));
    assert_eq!(poll(pin!(outer)), Poll::Ready((one, two, one)));
}

#[test]
fn a_future_is_in_the_context_it_was_made_in_wherever_it_is_polled() {
    let made = context::scope(trace(1), || async { context::current() }.in_current_trace());
    let outside = async { context::current() }.in_current_trace();
    context::scope(trace(2), || {
        assert_eq!(poll(pin!(made)), Poll::Ready(Some(Arc::new(trace(1)))));
        assert_eq!(poll(pin!(outside)), Poll::Ready(None), "which was none");
    });
}

#[test]
fn a_future_that_panics_leaves_nothing_behind_on_the_thread() {
    let mut failing = pin!(async { panic!("on purpose") }.with_trace(trace(1)));
    catch_unwind(AssertUnwindSafe(|| poll(failing.as_mut()))).unwrap_err();
    assert_eq!(context::current(), None);
}

#[test]
fn destructors_in_a_future_run_in_its_context() {
    struct Asks(Arc<Mutex<Vec<Option<TraceId>>>>);
    impl Drop for Asks {
        fn drop(&mut self) {
            self.0.lock().unwrap().push(current_id());
        }
    }
    let answers = Arc::<Mutex<_>>::default();
    for polled in [true, false] {
        let asks = Asks(Arc::clone(&answers));
        let future = async move {
            let _asks = asks;
            std::future::pending::<()>().await;
        };
        let mut future = Box::pin(future.with_trace(trace(1)));
        if polled {
            assert!(poll(future.as_mut()).is_pending());
        }
        drop(future);
    }
    assert_eq!(*answers.lock().unwrap(), [Some(trace(1).trace_id()); 2]);
    assert_eq!(context::current(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tasks_that_move_between_threads_keep_their_own() {
    let mut tasks = JoinSet::new();
    for seed in 1..200 {
        let asking = async move {
            for step in 0..50 {
                yield_now().await;
                assert_eq!(context::current().as_deref(), Some(&trace(seed)), "task {seed} at step {step}");
            }
            let (spawned, blocking) = (task::spawn(async { current_id() }), task::spawn_blocking(current_id));
            let expected = Some(trace(seed).trace_id());
            assert_eq!((spawned.await.unwrap(), blocking.await.unwrap()), (expected, expected));
        };
        tasks.spawn(asking.with_trace(trace(seed)));
    }
    // Others on the same threads that must stay outside of any.
    for _ in 0..50 {
        tasks.spawn(async {
            for _ in 0..50 {
                yield_now().await;
                assert_eq!(context::current(), None);
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

#[test]
fn a_task_continues_on_another_thread() {
    let mut future = Box::pin(
        async {
            yield_once().await;
            (context::current(), std::thread::current().id())
        }
        .with_trace(trace(1)),
    );
    assert!(poll(future.as_mut()).is_pending());
    let here = std::thread::current().id();
    let Poll::Ready((found, there)) = std::thread::spawn(move || poll(future.as_mut())).join().unwrap()
    else {
        panic!("it waits once only");
    };
    assert_ne!(here, there);
    assert_eq!(found.as_deref(), Some(&trace(1)));
}

#[tokio::test]
async fn a_plain_spawn_is_outside_and_ours_is_inside() {
    let work = async {
        let plain = tokio::spawn(async { current_id() }).await.unwrap();
        let ours = task::spawn(async { current_id() }).await.unwrap();
        (plain, ours)
    };
    assert_eq!(work.with_trace(trace(1)).await, (None, Some(trace(1).trace_id())));
}

/// Pending once, then ready.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(move |_| if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}
