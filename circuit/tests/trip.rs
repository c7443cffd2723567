//! What opens a breaker: each condition by itself, at its very edge, and how they combine.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_circuit::{Breaker, Cause, Options, Outcome, Phase, Rate, Reading, State, Trip, Window};

const MS: u64 = 1_000_000;

fn breaker(trip: Trip) -> (Arc<AtomicU64>, Breaker<impl Fn() -> u64 + Send + Sync + 'static>) {
    let now_ns = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&now_ns);
    let options =
        Options { trip, slow_call: Duration::from_millis(80), jitter_percent: 0, ..Options::default() };
    (now_ns, Breaker::with_clock(options, move || clock.load(Ordering::SeqCst)).unwrap())
}

fn half(min_calls: u32, over: Window) -> Rate {
    Rate { permille: 500, min_calls, over }
}

#[test]
fn half_of_a_window_of_calls_opens_and_one_less_does_not() {
    let (_, breaker) = breaker(Trip::FailureRate(half(4, Window::Calls(10))));
    for _ in 0..5 {
        breaker.try_acquire().unwrap().success();
    }
    for _ in 0..4 {
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.state(), State::Closed);
    }
    let reading = Reading { condition: Cause::FailureRate, hits: 4, calls: Some(9) };
    assert_eq!((breaker.snapshot().readings, reading.permille()), (vec![reading], Some(444)));
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state().phase(), Phase::Open);
}

#[test]
fn nothing_is_judged_before_there_are_enough_calls() {
    let (_, breaker) = breaker(Trip::FailureRate(half(4, Window::Calls(10))));
    for _ in 0..3 {
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.state(), State::Closed);
    }
    // A success does not open, though with it the rate means something; the next failure does.
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state().phase(), Phase::Open);
}

#[test]
fn a_window_of_less_than_a_second_forgets_in_slices() {
    let window = Window::Time { span: Duration::from_millis(100), slices: 10 };
    let (now_ns, breaker) = breaker(Trip::FailureRate(half(4, window)));
    for _ in 0..3 {
        breaker.try_acquire().unwrap().failure();
    }
    now_ns.store(99 * MS, Ordering::SeqCst);
    assert_eq!(breaker.snapshot().readings[0].calls, Some(3));
    now_ns.store(100 * MS, Ordering::SeqCst);
    assert_eq!(breaker.snapshot().readings[0].calls, Some(0));
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn slow_successes_open_and_their_probes_have_to_be_fast() {
    let (now_ns, breaker) = breaker(Trip::SlowRate(half(2, Window::Calls(10))));
    let slow = |ms: u64| {
        let permit = breaker.try_acquire().unwrap();
        now_ns.fetch_add(ms * MS, Ordering::SeqCst);
        permit.success();
    };
    slow(79);
    slow(79);
    slow(80);
    assert_eq!(breaker.state(), State::Closed);
    slow(80);
    assert_eq!(breaker.state().phase(), Phase::Open);
    now_ns.fetch_add(1_000 * MS, Ordering::SeqCst);
    slow(80);
    assert_eq!(breaker.state().phase(), Phase::Open, "a slow probe has failed");
    now_ns.fetch_add(2_000 * MS, Ordering::SeqCst);
    (0..3).for_each(|_| slow(79));
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn calls_that_hang_open_before_any_of_them_returns() {
    let (now_ns, breaker) = breaker(Trip::SlowInFlight(3));
    let hung: Vec<_> = (0..3).map(|_| breaker.try_acquire().unwrap()).collect();
    now_ns.store(80 * MS, Ordering::SeqCst);
    drop(breaker.try_acquire().unwrap());
    // An eighth of `slow_call` later at most.
    now_ns.store(90 * MS, Ordering::SeqCst);
    assert_eq!(breaker.snapshot().readings[0].hits, 3);
    assert_eq!(breaker.try_acquire().unwrap_err().state.phase(), Phase::Open);
    hung.into_iter().for_each(|permit| permit.success());
    assert_eq!(breaker.state().phase(), Phase::Open);
}

#[test]
fn calls_that_end_in_time_are_not_in_flight_any_more() {
    let (now_ns, breaker) = breaker(Trip::SlowInFlight(2));
    for _ in 0..1_000 {
        let permits = [0, 1, 2].map(|_| breaker.try_acquire().unwrap());
        now_ns.fetch_add(70 * MS, Ordering::SeqCst);
        permits.into_iter().for_each(|permit| permit.record(Outcome::Failure));
    }
    let readings = breaker.snapshot().readings;
    assert_eq!(readings, [Reading { condition: Cause::SlowInFlight, hits: 0, calls: Some(0) }]);
}

/// S4, where leaks themselves are what opens it.
#[test]
fn calls_that_are_leaked_open_it_once_and_wedge_nothing() {
    let (now_ns, breaker) = breaker(Trip::SlowInFlight(3));
    (0..3).for_each(|_| std::mem::forget(breaker.try_acquire().unwrap()));
    now_ns.store(90 * MS, Ordering::SeqCst);
    assert!(breaker.try_acquire().is_err());
    now_ns.fetch_add(1_000 * MS, Ordering::SeqCst);
    (0..3).for_each(|_| breaker.try_acquire().unwrap().success());
    for _ in 0..100 {
        now_ns.fetch_add(1_000 * MS, Ordering::SeqCst);
        breaker.try_acquire().unwrap().success();
    }
    assert_eq!(breaker.snapshot().transitions, 3);
}

#[test]
fn either_condition_opens_where_any_does() {
    let rate = Trip::FailureRate(half(10, Window::Calls(10)));
    let trip = Trip::Consecutive(3).or(rate);
    let (_, first) = breaker(trip.clone());
    (0..3).for_each(|_| first.try_acquire().unwrap().failure());
    assert_eq!(first.state().phase(), Phase::Open);
    let (_, second) = breaker(trip);
    for call in 0..10 {
        let outcome = if call % 2 == 1 { Outcome::Failure } else { Outcome::Success };
        second.try_acquire().unwrap().record(outcome);
    }
    assert_eq!(second.state().phase(), Phase::Open);
}

#[test]
fn all_conditions_have_to_hold_where_all_do() {
    let rate = Trip::FailureRate(half(1, Window::Calls(100)));
    let (_, breaker) = breaker(Trip::Consecutive(3).and(rate));
    (0..10).for_each(|_| breaker.try_acquire().unwrap().success());
    for _ in 0..9 {
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.state(), State::Closed);
    }
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state().phase(), Phase::Open);
}

#[test]
fn a_clock_that_jumps_panics_nowhere_and_wedges_nothing_once_it_goes_on() {
    let window = Window::Time { span: Duration::from_secs(1), slices: 10 };
    let trip = Trip::Consecutive(2)
        .or(Trip::FailureRate(half(5, window)))
        .or(Trip::SlowInFlight(5))
        .or(Trip::SlowRate(half(5, window)));
    let (now_ns, breaker) = breaker(trip);
    let call_at = |at_ns: u64, outcome| {
        now_ns.store(at_ns, Ordering::SeqCst);
        breaker.try_acquire().into_iter().for_each(|permit| permit.record(outcome));
        let _ = (breaker.state(), breaker.snapshot());
    };
    for call in 0..2_000_u64 {
        let ahead_ns = call * 5_000 * MS;
        let at_ns = match call % 4 {
            0 => ahead_ns,
            1 => 7,
            2 => ahead_ns / 2,
            _ => ahead_ns + 60_000 * MS,
        };
        call_at(at_ns, if call % 3 == 0 { Outcome::Success } else { Outcome::Failure });
    }
    let transitions = breaker.snapshot().transitions;
    assert!(transitions > 100, "{transitions}");
    // On from the latest instant that it has seen, for the longest wait.
    now_ns.store(2_000 * 5_000 * MS + 120_000 * MS, Ordering::SeqCst);
    if breaker.state() != State::Closed {
        (0..3).for_each(|_| breaker.try_acquire().unwrap().success());
    }
    assert_eq!(breaker.state(), State::Closed);
    for at_ns in [0, u64::MAX, 7, u64::MAX - 1, u64::MAX / 2, 0, u64::MAX].into_iter().cycle().take(700) {
        call_at(at_ns, if at_ns % 2 == 0 { Outcome::Success } else { Outcome::Failure });
    }
}

#[test]
fn a_clock_that_goes_back_while_it_is_open_makes_the_wait_longer_by_so_much() {
    let (now_ns, breaker) = breaker(Trip::Consecutive(1));
    let hour = Duration::from_secs(3_600);
    now_ns.store(3_600_000 * MS, Ordering::SeqCst);
    breaker.try_acquire().unwrap().failure();
    now_ns.store(0, Ordering::SeqCst);
    let longer = Some(hour + Duration::from_secs(1));
    assert_eq!(breaker.try_acquire().unwrap_err().retry_after, longer);
    assert_eq!(breaker.state(), State::Open { retry_after: longer });
    now_ns.store(3_601_000 * MS, Ordering::SeqCst);
    (0..3).for_each(|_| breaker.try_acquire().unwrap().success());
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_clock_that_was_ahead_once_holds_windows_up_until_it_is_there_again() {
    let window = Window::Time { span: Duration::from_secs(1), slices: 10 };
    let (now_ns, breaker) = breaker(Trip::FailureRate(half(100, window)));
    let calls = |at_ms: u64| {
        now_ns.store(at_ms * MS, Ordering::SeqCst);
        breaker.try_acquire().unwrap().failure();
        breaker.snapshot().readings[0].calls
    };
    assert_eq!(calls(3_600_000), Some(1));
    assert_eq!((calls(0), calls(5_000), calls(10_000)), (Some(2), Some(3), Some(4)));
    assert_eq!(calls(3_601_000), Some(1));
}

/// It opens nothing by itself, so that only the machine could remember what was asked for.
#[test]
fn a_wait_that_was_asked_for_before_holds_for_the_opening_that_follows() {
    let (_, breaker) = breaker(Trip::FailureRate(half(2, Window::Calls(10))));
    breaker.try_acquire().unwrap().record(Outcome::Throttled(Some(Duration::from_secs(30))));
    assert_eq!(breaker.state(), State::Closed);
    breaker.try_acquire().unwrap().failure();
    assert_eq!(breaker.state(), State::Open { retry_after: Some(Duration::from_secs(30)) });
}
