//! Whatever happens to a permit, the breaker hears of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;

use forebay_circuit::{Breaker, CallError, OnDrop, Options, Outcome, Phase, State, Trip, Verdict};

fn fragile() -> Options {
    Options {
        trip: Trip::Consecutive(1),
        jitter_percent: 0,
        half_open_probes: 1,
        verdict: Verdict::Successes(1),
        ..Options::default()
    }
}

fn at_zero() -> fn() -> u64 {
    || 0
}

#[test]
fn a_dropped_permit_is_neither_success_nor_failure_and_gives_its_slot_back() {
    let clock = AtomicU64::new(0);
    let breaker = Breaker::with_clock(fragile(), || clock.load(Ordering::SeqCst)).unwrap();
    drop(breaker.try_acquire().unwrap());
    breaker.try_acquire().unwrap().ignored();
    assert_eq!(breaker.state(), State::Closed);
    breaker.try_acquire().unwrap().failure();
    clock.store(1_000_000_000, Ordering::SeqCst);
    for _ in 0..3 {
        drop(breaker.try_acquire().unwrap());
        assert_eq!(breaker.state(), State::HalfOpen);
    }
    breaker.try_acquire().unwrap().success();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_permit_dropped_by_a_panic_is_a_failure() {
    let breaker = Breaker::with_clock(fragile(), at_zero()).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _permit = breaker.try_acquire().unwrap();
        panic!("the call itself");
    }));
    assert!(panicked.is_err());
    assert_eq!(breaker.state().phase(), Phase::Open);

    breaker.reset();
    let panicked = catch_unwind(AssertUnwindSafe(|| breaker.call(|| -> Result<(), ()> { panic!("inside") })));
    assert!(panicked.is_err());
    assert_eq!(breaker.state().phase(), Phase::Open);
}

#[test]
fn a_permit_outlives_its_handle_and_reports_from_another_thread() {
    let breaker = Breaker::with_clock(fragile(), at_zero()).unwrap();
    let permit = breaker.clone().try_acquire_owned().unwrap();
    thread::spawn(move || permit.failure()).join().unwrap();
    assert_eq!(breaker.state().phase(), Phase::Open);
}

#[test]
fn a_call_reports_its_result_and_a_classifier_has_the_last_word() {
    let breaker = Breaker::with_clock(fragile(), at_zero()).unwrap();
    assert_eq!(breaker.call(|| Ok::<_, ()>(5)), Ok(5));
    let missing = |result: &Result<(), &str>| match result {
        Err("not found") => Outcome::Success,
        Err("cancelled") => Outcome::Ignored,
        _ => Outcome::Failure,
    };
    for error in ["not found", "cancelled"] {
        assert_eq!(breaker.call_with(missing, || Err(error)), Err(CallError::Failed(error)));
        assert_eq!(breaker.state(), State::Closed);
    }
    assert_eq!(breaker.call_with(missing, || Err("timeout")), Err(CallError::Failed("timeout")));
    let Err(CallError::Rejected(rejected)) = breaker.call(|| -> Result<(), ()> { panic!("not called") })
    else {
        panic!("an open breaker calls")
    };
    assert_eq!(rejected.state.phase(), Phase::Open);
}

#[test]
fn a_closed_breaker_does_not_read_the_clock() {
    let reads = AtomicU64::new(0);
    let breaker = Breaker::with_clock(Options::default(), || reads.fetch_add(1, Ordering::SeqCst)).unwrap();
    let before = reads.load(Ordering::SeqCst);
    for _ in 0..100 {
        breaker.call(|| Ok::<_, ()>(())).unwrap();
        breaker.try_acquire().unwrap().success();
        breaker.try_acquire().unwrap().ignored();
    }
    assert_eq!(reads.load(Ordering::SeqCst), before);
}

#[test]
fn a_success_after_failures_is_heard() {
    let breaker =
        Breaker::with_clock(Options { trip: Trip::Consecutive(2), ..fragile() }, at_zero()).unwrap();
    for _ in 0..10 {
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.snapshot().consecutive_failures, 1);
        breaker.call(|| Ok::<_, ()>(())).unwrap();
        assert_eq!(breaker.snapshot().consecutive_failures, 0);
    }
}

#[test]
fn a_dropped_permit_says_what_the_options_say() {
    let clock = AtomicU64::new(0);
    for (on_drop, ms, opens) in [
        (OnDrop::Ignore, 5_000, false),
        (OnDrop::Fail, 0, true),
        (OnDrop::FailIfSlow, 4_999, false),
        (OnDrop::FailIfSlow, 5_000, true),
    ] {
        let options = Options { on_drop, ..fragile() };
        let breaker = Breaker::with_clock(options, || clock.load(Ordering::SeqCst)).unwrap();
        let permit = breaker.try_acquire().unwrap();
        clock.fetch_add(ms * 1_000_000, Ordering::SeqCst);
        drop(permit);
        assert_eq!(breaker.state().phase() == Phase::Open, opens, "{on_drop:?} after {ms} ms");
    }
}

#[test]
fn calls_that_are_counted_are_all_accounted_for() {
    let options = Options { count_calls: true, trip: Trip::Consecutive(3), ..fragile() };
    let breaker = Breaker::with_clock(options, at_zero()).unwrap();
    for outcome in [Outcome::Success, Outcome::Failure, Outcome::Throttled(None), Outcome::Ignored] {
        breaker.try_acquire().unwrap().record(outcome);
    }
    drop(breaker.try_acquire().unwrap());
    std::mem::forget(breaker.try_acquire().unwrap());
    let late = breaker.try_acquire().unwrap();
    breaker.try_acquire().unwrap().failure();
    assert!(breaker.try_acquire().is_err());
    late.success();
    let calls = breaker.snapshot().calls.unwrap();
    assert_eq!((calls.admitted, calls.rejected, calls.in_flight), (8, 1, 1));
    assert_eq!((calls.succeeded, calls.failed, calls.ignored, calls.dropped), (2, 3, 1, 1));
}

#[test]
fn a_fallback_has_the_last_word() {
    let breaker = Breaker::with_clock(fragile(), at_zero()).unwrap();
    let cached = |error: CallError<&str>| match error {
        CallError::Failed("down") => Ok(1),
        CallError::Rejected(rejected) if rejected.retry_after.is_some() => Ok(2),
        _ => Err("neither"),
    };
    assert_eq!(breaker.call_or_else(|| Ok(0), cached), Ok(0));
    assert_eq!(breaker.call_or_else(|| Err("down"), cached), Ok(1));
    assert_eq!(breaker.call_or_else(|| Ok(0), cached), Ok(2));
}

#[test]
fn a_future_is_not_polled_by_an_open_breaker_and_reports_by_itself() {
    let breaker = Breaker::with_clock(fragile(), at_zero()).unwrap();
    let failed = |_: &Result<(), &str>| Outcome::Failure;
    {
        let pending = pin!(breaker.call_async(failed, std::future::pending()));
        assert!(pending.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!(breaker.state(), State::Closed, "dropped");
    let answer = breaker.call_async(failed, std::future::ready(Err("down")));
    assert_eq!(
        pin!(answer).poll(&mut Context::from_waker(Waker::noop())),
        Poll::Ready(Err(CallError::Failed("down")))
    );
    let unasked = breaker.call_async(failed, std::future::poll_fn(|_| panic!("polled")));
    let answer = pin!(unasked).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(answer, Poll::Ready(Err(CallError::Rejected(_)))));
}
