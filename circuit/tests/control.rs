//! By hand: forced, switched off, watching only, and under other options while it works.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_circuit::{Breaker, Control, Options, OptionsError, Phase, Rate, State, Trip, Verdict, Window};

const SECOND_NS: u64 = 1_000_000_000;

fn breaker(options: Options) -> (Arc<AtomicU64>, Breaker<impl Fn() -> u64 + Send + Sync + 'static>) {
    let now_ns = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&now_ns);
    (now_ns, Breaker::with_clock(options, move || clock.load(Ordering::SeqCst)).unwrap())
}

fn options(trip: Trip) -> Options {
    Options { trip, jitter_percent: 0, verdict: Verdict::Successes(1), ..Options::default() }
}

fn calls(permille: u32, min_calls: u32, calls: u32) -> Trip {
    Trip::FailureRate(Rate { permille, min_calls, over: Window::Calls(calls) })
}

fn time(ms: u64, slices: u32) -> Trip {
    let over = Window::Time { span: Duration::from_millis(ms), slices };
    Trip::FailureRate(Rate { permille: 1_000, min_calls: 1_000, over })
}

#[test]
fn a_disabled_breaker_admits_everything_and_counts_nothing() {
    let (_, breaker) = breaker(Options { count_calls: true, ..options(calls(500, 1, 10)) });
    breaker.disable();
    (0..100).for_each(|_| breaker.try_acquire().unwrap().failure());
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.control, snapshot.state), (Control::Disabled, State::Closed));
    assert_eq!((snapshot.readings[0].calls, snapshot.calls.unwrap().admitted), (Some(0), 0));
    breaker.reset();
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state().phase(), Phase::Open);
}

#[test]
fn metrics_only_shows_what_would_have_happened() {
    let (_, breaker) = breaker(options(calls(500, 2, 10)));
    breaker.metrics_only();
    (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.suppressed_trips, snapshot.readings[0].hits), (State::Closed, 4, 5));
}

#[test]
fn forced_closed_goes_on_counting() {
    let (_, breaker) = breaker(options(calls(500, 2, 10)));
    breaker.force_close();
    (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.suppressed_trips, snapshot.readings[0].hits), (State::Closed, 0, 5));
    breaker.force_open();
    assert_eq!(breaker.try_acquire().unwrap_err().state, State::Open { retry_after: None });
}

#[test]
fn a_window_of_calls_that_shrinks_forgets_the_oldest() {
    let (_, breaker) = breaker(options(calls(1_000, 10, 10)));
    for call in 0..10 {
        breaker.try_acquire().unwrap().record(if call < 5 {
            forebay_circuit::Outcome::Failure
        } else {
            forebay_circuit::Outcome::Success
        });
    }
    breaker.reconfigure(options(calls(1_000, 7, 7))).unwrap();
    let reading = breaker.snapshot().readings[0];
    assert_eq!((reading.hits, reading.calls), (2, Some(7)));
    breaker.reconfigure(options(calls(1_000, 10, 20))).unwrap();
    let reading = breaker.snapshot().readings[0];
    assert_eq!((reading.hits, reading.calls), (2, Some(7)));
}

#[test]
fn a_window_of_time_keeps_its_slices_and_a_coarser_one_takes_them_over() {
    let (now_ns, breaker) = breaker(options(time(1_000, 10)));
    for _ in 0..10 {
        breaker.try_acquire().unwrap().failure();
        now_ns.fetch_add(SECOND_NS / 10, Ordering::SeqCst);
    }
    now_ns.fetch_sub(1, Ordering::SeqCst);
    let held = |trip| {
        breaker.reconfigure(options(trip)).unwrap();
        breaker.snapshot().readings[0].calls
    };
    assert_eq!(held(time(1_000, 10)), Some(10));
    assert_eq!(held(time(4_000, 4)), Some(10));
    assert_eq!(held(time(500, 5)), Some(10), "merged into one slice, they are as young as its end");
}

#[test]
fn other_thresholds_are_judged_by_from_the_next_call_on() {
    let (_, breaker) = breaker(options(Trip::Consecutive(100)));
    (0..4).for_each(|_| breaker.try_acquire().unwrap().failure());
    let early = breaker.try_acquire().unwrap();
    let generation = breaker.snapshot().generation;
    breaker.reconfigure(options(Trip::Consecutive(5).or(calls(500, 10, 10)))).unwrap();
    assert_eq!((breaker.snapshot().generation, breaker.snapshot().consecutive_failures), (generation, 4));
    early.failure();
    assert_eq!(breaker.state().phase(), Phase::Open);
}

#[test]
fn calls_in_flight_outlive_a_change_that_does_not_concern_them() {
    let (now_ns, breaker) = breaker(options(Trip::SlowInFlight(9)));
    let hung: Vec<_> = (0..2).map(|_| breaker.try_acquire().unwrap()).collect();
    breaker.reconfigure(options(Trip::SlowInFlight(2))).unwrap();
    assert_eq!(breaker.snapshot().readings[0].calls, Some(2));
    let faster = Options { slow_call: Duration::from_secs(1), ..options(Trip::SlowInFlight(2)) };
    breaker.reconfigure(faster).unwrap();
    assert_eq!(breaker.snapshot().readings[0].calls, Some(0), "their age is unknown now");
    drop(hung);
    assert_eq!(breaker.snapshot().readings[0].calls, Some(0));
    let _hung: Vec<_> = (0..2).map(|_| breaker.try_acquire().unwrap()).collect();
    now_ns.store(2 * SECOND_NS, Ordering::SeqCst);
    assert!(breaker.try_acquire().is_err());
}

#[test]
fn wrong_options_change_nothing() {
    let (_, breaker) = breaker(options(Trip::Consecutive(2)));
    breaker.try_acquire().unwrap().failure();
    let before = breaker.snapshot();
    let error = breaker.reconfigure(options(Trip::Consecutive(0))).unwrap_err();
    assert!(matches!(error, OptionsError::OutOfRange { option: "trip.consecutive", value: 0, .. }));
    assert_eq!(breaker.snapshot(), before);
}

#[test]
fn a_shorter_cap_shortens_a_wait_under_way() {
    let (now_ns, breaker) = breaker(options(Trip::Consecutive(1)));
    breaker.try_acquire().unwrap().failure();
    let brief = Duration::from_millis(10);
    let shorter = Options { open_for: brief, max_open_for: brief, ..options(Trip::Consecutive(1)) };
    breaker.reconfigure(shorter).unwrap();
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after, Some(brief));
    now_ns.store(SECOND_NS / 100, Ordering::SeqCst);
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
}

/// Other options once took the counters away from a breaker that counts, and sent one that does not past its fast
/// path.
#[test]
fn calls_are_counted_from_the_beginning_or_never() {
    for counted in [true, false] {
        let options = |count_calls| Options { count_calls, ..options(Trip::Consecutive(1)) };
        let (_, breaker) = breaker(options(counted));
        breaker.reconfigure(options(!counted)).unwrap();
        breaker.try_acquire().unwrap().success();
        assert_eq!(
            breaker.snapshot().calls.map(|calls| (calls.admitted, calls.succeeded)),
            counted.then_some((1, 1))
        );
        breaker.force_open();
        assert!(breaker.try_acquire().is_err());
        assert_eq!(breaker.snapshot().calls.map(|calls| calls.rejected), counted.then_some(1));
    }
}

#[test]
fn a_shorter_round_takes_probes_for_lost_sooner() {
    let (now_ns, breaker) = breaker(Options { half_open_probes: 1, ..options(Trip::Consecutive(1)) });
    breaker.try_acquire().unwrap().failure();
    now_ns.store(SECOND_NS, Ordering::SeqCst);
    let _lost = breaker.try_acquire().unwrap();
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after, Some(Duration::from_secs(5)));
    let brief = Duration::from_millis(10);
    let shorter = Options { half_open_max_wait: brief, half_open_probes: 1, ..options(Trip::Consecutive(1)) };
    breaker.reconfigure(shorter).unwrap();
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after, Some(brief));
    now_ns.fetch_add(SECOND_NS / 100, Ordering::SeqCst);
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
}

/// The first window of the kind was taken, though one was just the same.
#[test]
fn a_window_that_stays_keeps_what_it_holds_whatever_goes_before_it() {
    let [few, many] = [2, 20].map(|window| calls(1_000, window, window));
    let (_, breaker) = breaker(options(few.clone().or(many.clone())));
    breaker.metrics_only();
    (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
    let held = |trip| {
        breaker.reconfigure(options(trip)).unwrap();
        breaker.snapshot().readings.iter().map(|reading| reading.hits).collect::<Vec<_>>()
    };
    assert_eq!(held(many.clone().or(few)), [5, 2]);
    assert_eq!(held(many), [5]);
    assert_eq!(held(calls(1_000, 4, 4)), [4]);
}
