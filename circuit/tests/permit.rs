//! Whatever happens to a permit, the breaker hears of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use forebay_circuit::{Breaker, CallError, Options, Outcome, Phase, State};

fn fragile() -> Options {
    Options {
        failure_threshold: 1,
        jitter_percent: 0,
        half_open_probes: 1,
        close_after: 1,
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
    let permit = breaker.clone().try_acquire().unwrap();
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
    let breaker = Breaker::with_clock(Options { failure_threshold: 2, ..fragile() }, at_zero()).unwrap();
    for _ in 0..10 {
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.snapshot().consecutive_failures, 1);
        breaker.call(|| Ok::<_, ()>(())).unwrap();
        assert_eq!(breaker.snapshot().consecutive_failures, 0);
    }
}
