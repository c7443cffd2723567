//! The same work for many on a paused clock: bounds, order, failures, panics and cancellation.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use forebay_ring::quorum::{ErrorMode, JobError, for_each_bounded};
use tokio::time::{Instant, sleep};

fn at_once(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the clock of the paused runtime")]
fn now() -> Instant {
    Instant::now()
}

/// How many run, counted while they do.
#[derive(Clone, Default)]
struct Running(Arc<AtomicUsize>);

struct Guard(Running);

impl Running {
    fn enter(&self) -> (usize, Guard) {
        let running = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        (running, Guard(self.clone()))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn results_come_in_the_order_of_the_jobs_and_no_more_run_than_may() {
    for concurrency in [1, 3, 10, 100] {
        let (running, begin) = (Running::default(), now());
        let most = Arc::new(AtomicUsize::new(0));
        let results = for_each_bounded(0..10_u64, at_once(concurrency), ErrorMode::CollectAll, |job| {
            let (running, most) = (running.clone(), Arc::clone(&most));
            async move {
                let (count, _guard) = running.enter();
                most.fetch_max(count, Ordering::Relaxed);
                sleep(Duration::from_secs(10 - job)).await;
                if job % 3 == 2 { Err(job) } else { Ok(job * 2) }
            }
        })
        .await;
        let expected = (0..10).map(|job| if job % 3 == 2 { Err(JobError::Failed(job)) } else { Ok(job * 2) });
        assert_eq!(results, expected.collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::Relaxed), concurrency.min(10));
        let took = (now() - begin).as_secs();
        assert!(if concurrency == 1 { took == 55 } else { took < 55 }, "{took} s, {concurrency} at once");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_error_cancels_what_runs_and_draws_no_further_job() {
    let (running, drawn) = (Running::default(), Cell::new(0));
    let jobs = (0..).inspect(|_| drawn.set(drawn.get() + 1));
    let begin = now();
    let results = for_each_bounded(jobs, at_once(3), ErrorMode::FirstError, |job| {
        let running = running.clone();
        async move {
            let (_, _guard) = running.enter();
            // 0 and 1 end at 1 s, 3 fails at 3 s while 2 and 4 run on.
            sleep(Duration::from_secs([1, 1, 99, 2, 99][job])).await;
            if job == 3 { Err("no") } else { Ok(job) }
        }
    })
    .await;
    let cancelled = || Err(JobError::Cancelled);
    assert_eq!(results, [Ok(0), Ok(1), cancelled(), Err(JobError::Failed("no")), cancelled()]);
    assert_eq!((drawn.get(), running.count(), (now() - begin).as_secs()), (5, 0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_job_that_panics_fails_alone() {
    let work = |job: u32| {
        assert_ne!(job, 1, "before there is a future");
        async move {
            sleep(Duration::from_secs(1)).await;
            if job == 2 {
                std::panic::panic_any(7_u8);
            }
            assert!(job != 3, "job {job} is broken");
            Ok::<_, String>(job)
        }
    };
    let message = |text: &str| Err(JobError::Panicked { message: text.to_owned() });
    let results = for_each_bounded(0..5, at_once(2), ErrorMode::CollectAll, work).await;
    assert_eq!(results[0], Ok(0));
    assert!(results[1].as_ref().unwrap_err().to_string().contains("before there is a future"));
    assert_eq!(results[2..], [message("not with a text"), message("job 3 is broken"), Ok(4)]);
    let results = for_each_bounded([0, 4, 2, 0], at_once(2), ErrorMode::FirstError, work).await;
    assert_eq!(results[..3], [Ok(0), Ok(4), message("not with a text")]);
    let results = for_each_bounded([0, 1, 0], at_once(3), ErrorMode::FirstError, work).await;
    assert_eq!(results[0], Err(JobError::Cancelled));
    assert_eq!(results.len(), 2, "what is behind a panic is not made, either");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_cancels_the_jobs() {
    let (running, begun) = (Running::default(), Arc::new(AtomicUsize::new(0)));
    let work = |_| {
        let (running, begun) = (running.clone(), Arc::clone(&begun));
        async move {
            let (_, _guard) = running.enter();
            begun.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<Result<(), ()>>().await
        }
    };
    let all = for_each_bounded(0..9, at_once(4), ErrorMode::CollectAll, work);
    tokio::time::timeout(Duration::from_secs(1), all).await.unwrap_err();
    tokio::task::yield_now().await;
    assert_eq!((begun.load(Ordering::Relaxed), running.count()), (4, 0));
}

#[test]
fn no_jobs_have_no_results_and_need_no_runtime() {
    let work = |job: u8| std::future::ready(Ok::<_, ()>(job));
    let all = for_each_bounded([], at_once(1), ErrorMode::FirstError, work);
    let polled = std::pin::pin!(all).poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert_eq!(polled, std::task::Poll::Ready(Vec::new()));
}
