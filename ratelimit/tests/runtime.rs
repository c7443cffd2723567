//! The line on tokio's clock and timer, paused: no real time passes.
#![cfg(feature = "tokio")]
#![expect(clippy::disallowed_methods, reason = "the paused clock of the test's own runtime")]

use std::future::Future;
use std::task::Poll;
use std::time::Duration;

use forebay_ratelimit::{Inherit, Queue, QueueOptions, Quota, Rate};
use tokio::time::{Instant, timeout};

fn per_second(rate: u64, burst: u64) -> Quota {
    Quota::new(Rate::per_second(rate), burst)
}

#[tokio::test(start_paused = true)]
async fn tasks_are_served_in_the_order_in_which_they_came() {
    let start = Instant::now();
    let queue = Queue::new(per_second(100, 10));
    assert!(queue.allow(10));
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                queue.wait(10).await.unwrap().keep();
                start.elapsed()
            })
        })
        .collect();
    for (turn, task) in (1..).zip(tasks) {
        assert_eq!(task.await.unwrap(), Duration::from_millis(100) * turn);
    }
}

/// tokio's timer counts in milliseconds, and 64 tokens are minted in each.
#[tokio::test(start_paused = true)]
async fn a_rate_beyond_the_granularity_of_the_timer_is_kept() {
    let start = Instant::now();
    let queue = Queue::new(per_second(64_000, 1));
    for _ in 0..64_001 {
        let queue = queue.clone();
        tokio::spawn(async move { queue.wait(1).await.unwrap().keep() });
    }
    while queue.waiting() < 64_000 {
        tokio::task::yield_now().await;
    }
    queue.wait(1).await.unwrap().keep();
    assert_eq!(start.elapsed(), Duration::from_millis(1_001));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_around_a_wait_leaves_the_line() {
    let queue = Queue::new(per_second(10, 10));
    assert!(queue.allow(10));
    assert!(timeout(Duration::from_millis(900), queue.wait(10)).await.is_err());
    assert_eq!((queue.waiting(), queue.peek().available), (0, 9));
    assert!(timeout(Duration::from_millis(1), queue.wait(9)).await.is_ok());
}

/// Once a mistake: a timer that is polled on the budget of the task is put off when that is used up, and in
/// `block_on` woken on the spot: the line looked after itself for ever, on the thread that had to go on.
#[test]
fn a_task_without_budget_can_begin_to_wait() {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        let waiting = runtime.block_on(async {
            let queue = Queue::new(per_second(1, 3_600));
            assert!(queue.allow(3_600));
            let mut wait = std::pin::pin!(queue.wait(3_600));
            std::future::poll_fn(|cx| {
                while tokio::task::coop::has_budget_remaining() {
                    assert!(std::pin::pin!(tokio::task::coop::consume_budget()).poll(cx).is_ready());
                }
                Poll::Ready(wait.as_mut().poll(cx).is_pending())
            })
            .await
        });
        tell.send(waiting).unwrap();
    });
    // Waited for in full only where it fails.
    assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(true));
}

/// Whoever reloads a configuration or gives tokens back may be on a thread without a runtime.
#[test]
fn a_thread_without_runtime_may_change_the_quota_and_set_the_timer() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let queue = {
        let _inside = runtime.enter();
        Queue::with_options(per_second(1, 100), QueueOptions { capacity: 10, ..QueueOptions::default() })
    };
    assert!(queue.allow(100));
    let waiter = runtime.spawn({
        let queue = queue.clone();
        async move { queue.wait(100).await.map(|permit| permit.tokens()) }
    });
    runtime.block_on(tokio::task::yield_now());
    assert_eq!(queue.waiting(), 1);
    std::thread::scope(|scope| {
        scope.spawn(|| queue.reconfigure_with(per_second(100, 100), Inherit::AsIs));
    });
    let start = runtime.block_on(async { Instant::now() });
    assert_eq!(runtime.block_on(waiter).unwrap(), Ok(100));
    let elapsed = runtime.block_on(async { start.elapsed() });
    // A thread without runtime knows nothing of a paused clock, and reads the real one.
    assert!((1..10).contains(&elapsed.as_secs()), "{elapsed:?}");
}
