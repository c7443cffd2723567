//! S10: what went wrong in other breakers, each with the bug it is named after.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use forebay_circuit::{Breaker, Options, Phase, Rate, State, Transition, Trip, Verdict, Window};

const SECOND_NS: u64 = 1_000_000_000;

fn options() -> Options {
    Options {
        trip: Trip::Consecutive(5),
        jitter_percent: 0,
        half_open_probes: 1,
        verdict: Verdict::Successes(1),
        ..Options::default()
    }
}

fn clock() -> (Arc<AtomicU64>, impl Fn() -> u64 + Clone + Send + Sync + 'static) {
    let now_ns = Arc::new(AtomicU64::new(0));
    (Arc::clone(&now_ns), move || now_ns.load(Ordering::SeqCst))
}

/// D6. The window that was said to slide only grew: after 10,000 successes it took 10,000 failures to reach half.
#[test]
fn a_window_of_a_hundred_calls_opens_after_fifty_failures_whatever_came_before() {
    let rate = Rate { permille: 500, min_calls: 100, over: Window::Calls(100) };
    let options = Options { trip: Trip::FailureRate(rate), ..options() };
    let breaker = Breaker::with_clock(options, || 0).unwrap();
    (0..10_000).for_each(|_| breaker.try_acquire().unwrap().success());
    let failures = (1..).find(|_| {
        breaker.try_acquire().unwrap().failure();
        breaker.state().phase() == Phase::Open
    });
    assert_eq!(failures, Some(50));
}

/// D7. Half-open let everybody through, and one success that had been admitted before the trip closed the
/// breaker.
#[test]
fn a_success_from_before_the_trip_closes_nothing() {
    let (now_ns, clock) = clock();
    let breaker = Breaker::with_clock(options(), clock).unwrap();
    let early: Vec<_> = (0..10).map(|_| breaker.try_acquire().unwrap()).collect();
    (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    now_ns.store(SECOND_NS, Ordering::SeqCst);
    let probe = breaker.try_acquire().unwrap();
    let half_open = breaker.snapshot();
    early.into_iter().for_each(|permit| permit.success());
    assert_eq!(breaker.snapshot(), half_open);
    probe.success();
    assert_eq!(breaker.state(), State::Closed);
}

/// D8. The number of probes did not bound how many ran at once: 501 of 10.
#[test]
fn no_more_probes_run_at_once_than_are_permitted() {
    let (now_ns, clock) = clock();
    let options = Options { half_open_probes: 10, verdict: Verdict::Successes(10), ..options() };
    let breaker = Breaker::with_clock(options, clock).unwrap();
    (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    now_ns.store(SECOND_NS, Ordering::SeqCst);
    let probes: Vec<_> = (0..10_000).filter_map(|_| breaker.try_acquire().ok()).collect();
    assert_eq!(probes.len(), 10);
    drop(probes);
    assert_eq!((0..10_000).filter_map(|_| breaker.try_acquire().ok().map(std::mem::forget)).count(), 10);
}

/// D9, first half. One probe that never came back kept its slot for ever.
#[test]
fn a_hung_probe_does_not_wedge_the_breaker() {
    let (now_ns, clock) = clock();
    let breaker = Breaker::with_clock(options(), clock).unwrap();
    (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    now_ns.store(SECOND_NS, Ordering::SeqCst);
    let hung = breaker.try_acquire().unwrap();
    let wait = breaker.try_acquire().unwrap_err().retry_after.unwrap();
    assert_eq!(wait, options().half_open_max_wait);
    now_ns.fetch_add(5 * SECOND_NS, Ordering::SeqCst);
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
    hung.failure();
    assert_eq!(breaker.snapshot().consecutive_failures, 0);
}

/// D9, second half. Calls slower than the interval of the counters were never counted, so the breaker of an
/// endpoint that only timed out never opened.
#[test]
fn failures_count_however_long_they_took() {
    let (now_ns, clock) = clock();
    let breaker = Breaker::with_clock(options(), clock).unwrap();
    let calls: Vec<_> = (0..5).map(|_| breaker.try_acquire().unwrap()).collect();
    for call in calls {
        now_ns.fetch_add(3_600 * SECOND_NS, Ordering::SeqCst);
        call.failure();
    }
    assert_eq!(breaker.state().phase(), Phase::Open);
}

/// D9, second half, before anything returns: calls that hang open the breaker too, and are counted in every window.
#[test]
fn calls_that_only_hang_open_the_breaker() {
    let (now_ns, clock) = clock();
    let over = Window::Time { span: Duration::from_millis(50), slices: 10 };
    let rate = Trip::FailureRate(Rate { permille: 500, min_calls: 5, over });
    let options = Options { trip: rate.clone(), ..options() };
    let breaker = Breaker::with_clock(options.clone(), clock.clone()).unwrap();
    let calls: Vec<_> = (0..5).map(|_| breaker.try_acquire().unwrap()).collect();
    // Longer than the window, and counted when they end.
    now_ns.store(SECOND_NS, Ordering::SeqCst);
    calls.into_iter().for_each(|call| call.failure());
    assert_eq!(breaker.state().phase(), Phase::Open);

    let options = Options { trip: rate.or(Trip::SlowInFlight(5)), ..options };
    let breaker = Breaker::with_clock(options, clock).unwrap();
    let _hung: Vec<_> = (0..5).map(|_| breaker.try_acquire().unwrap()).collect();
    now_ns.fetch_add(6 * SECOND_NS, Ordering::SeqCst);
    assert!(breaker.try_acquire().is_err());
}

/// A callback that ran under the lock and asked the breaker for its state waited for itself.
#[test]
fn an_observer_may_ask_and_even_move_the_breaker() {
    static BREAKER: OnceLock<Breaker> = OnceLock::new();
    let (sent, seen) = std::sync::mpsc::channel();
    let observer = move |transition: Transition| {
        let breaker = BREAKER.get().unwrap();
        if transition.to == Phase::Open {
            breaker.force_close();
        }
        sent.send((transition.sequence, transition.to, breaker.state())).unwrap();
    };
    let breaker = Breaker::with_observer(options(), (|| 0) as fn() -> u64, observer).unwrap();
    let breaker = BREAKER.get_or_init(|| breaker);
    (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    let seen: Vec<_> = seen.try_iter().collect();
    assert_eq!(seen, [(1, Phase::Open, State::Closed), (2, Phase::Closed, State::Closed)]);
}

/// A wait that had run out was still shown as open until somebody called.
#[test]
fn a_wait_that_is_over_shows_without_traffic() {
    let (now_ns, clock) = clock();
    let breaker = Breaker::with_clock(options(), clock).unwrap();
    (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    assert_eq!(breaker.state(), State::Open { retry_after: Some(Duration::from_secs(1)) });
    now_ns.store(SECOND_NS, Ordering::SeqCst);
    assert_eq!(breaker.state(), State::HalfOpen);
    assert_eq!(breaker.snapshot().state, State::HalfOpen);
}
