//! The breakers side by side, set up alike: what `benches/peers.rs` measures, and what the programs in `src/bin/`
//! show.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use failsafe::StateMachine;
use failsafe::backoff::Constant;
use failsafe::failure_policy::{ConsecutiveFailures, SuccessRateOverTimeWindow};
use forebay_circuit::{Breaker, Options, Rate, Trip, Verdict, Window};
use recloser::Recloser;

/// A clock for ours that only we move.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_nanos()).expect("not for centuries"), Ordering::SeqCst);
    }

    pub fn reader(&self) -> impl Fn() -> u64 + Clone + Send + Sync + use<> {
        let now_ns = Arc::clone(&self.0);
        move || now_ns.load(Ordering::Relaxed)
    }
}

/// Opens after 5 failures in a row.
pub fn consecutive() -> Options {
    Options { trip: Trip::Consecutive(5), jitter_percent: 0, ..Options::default() }
}

/// Opens at half of what ended in 10 seconds, in 10 slices.
pub fn time_window() -> Options {
    let over = Window::Time { span: Duration::from_secs(10), slices: 10 };
    Options { trip: Trip::FailureRate(Rate { permille: 500, min_calls: 100, over }), ..consecutive() }
}

/// Opens at half of the last 100 calls.
pub fn count_window() -> Options {
    let rate = Rate { permille: 500, min_calls: 100, over: Window::Calls(100) };
    Options { trip: Trip::FailureRate(rate), ..consecutive() }
}

/// One probe decides.
pub fn one_probe(options: Options) -> Options {
    Options { half_open_probes: 1, verdict: Verdict::Successes(1), ..options }
}

pub fn ours(options: Options) -> Breaker {
    Breaker::new(options).expect("right options")
}

pub type FailsafeConsecutive = StateMachine<ConsecutiveFailures<Constant>, ()>;
pub type FailsafeWindow = StateMachine<SuccessRateOverTimeWindow<Constant>, ()>;

pub fn failsafe_consecutive(wait: Duration) -> FailsafeConsecutive {
    let policy = failsafe::failure_policy::consecutive_failures(5, failsafe::backoff::constant(wait));
    failsafe::Config::new().failure_policy(policy).build()
}

pub fn failsafe_window(wait: Duration) -> FailsafeWindow {
    let policy = failsafe::failure_policy::success_rate_over_time_window(
        0.5,
        100,
        Duration::from_secs(10),
        failsafe::backoff::constant(wait),
    );
    failsafe::Config::new().failure_policy(policy).build()
}

pub fn recloser(wait: Duration) -> Recloser {
    Recloser::custom().error_rate(0.5).closed_len(100).half_open_len(10).open_wait(wait).build()
}

/// Has no use for a result.
pub fn discard<T>(_: T) {}

/// Polls a future that is ready at once.
pub fn now<F: Future>(future: F) -> F::Output {
    match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// A service that answers at once.
#[derive(Clone, Debug)]
pub struct Echo;

impl tower_service::Service<Result<(), ()>> for Echo {
    type Response = ();
    type Error = ();
    type Future = std::future::Ready<Result<(), ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, answer: Result<(), ()>) -> Self::Future {
        std::future::ready(answer)
    }
}
