//! Who wants to know of transitions is told of each, and can do no harm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};
use std::thread;

use forebay_circuit::{Breaker, Options, Phase, State, Transition, Trip};

fn fragile() -> Options {
    Options { trip: Trip::Consecutive(1), jitter_percent: 0, ..Options::default() }
}

#[test]
fn an_observer_that_panics_is_counted_and_told_of_the_next() {
    let heard = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&heard);
    let observer = move |transition: Transition| {
        count.fetch_add(1, Ordering::SeqCst);
        assert_ne!(transition.sequence, 1, "the first is too much");
    };
    let breaker = Breaker::with_observer(fragile(), || 0, observer).unwrap();
    breaker.try_acquire().unwrap().failure();
    breaker.reset();
    assert_eq!(heard.load(Ordering::SeqCst), 2);
    assert_eq!(breaker.observer_panics(), 1);
}

#[test]
fn a_thread_that_read_the_clock_early_does_not_take_the_breaker_back_in_time() {
    let (clock, (sent, told)) = (Arc::new(AtomicU64::new(10)), mpsc::channel());
    let now_ns = Arc::clone(&clock);
    let observer = move |transition: Transition| sent.send(transition.at_ns).unwrap();
    let breaker = Breaker::with_observer(fragile(), move || now_ns.load(Ordering::SeqCst), observer).unwrap();
    breaker.force_open();
    clock.store(5, Ordering::SeqCst);
    breaker.reset();
    clock.store(11, Ordering::SeqCst);
    breaker.force_open();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [10, 10, 11]);
}

#[test]
fn nobody_waits_for_a_slow_observer_but_the_thread_that_runs_it() {
    let (started, finish) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (sent, told) = mpsc::channel();
    let (entered, leave) = (Arc::clone(&started), Arc::clone(&finish));
    let observer = move |transition: Transition| {
        if transition.sequence == 1 {
            entered.wait();
            leave.wait();
        }
        sent.send((transition.sequence, transition.to)).unwrap();
    };
    let breaker = Breaker::with_observer(fragile(), || 0, observer).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| breaker.try_acquire().unwrap().failure());
        started.wait();
        // The observer is at work on the first transition, and the breaker goes on.
        assert_eq!(breaker.state().phase(), Phase::Open);
        breaker.reset();
        breaker.try_acquire().unwrap().failure();
        breaker.reset();
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(told.try_recv(), Err(mpsc::TryRecvError::Empty));
        finish.wait();
    });
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(told, [(1, Phase::Open), (2, Phase::Closed), (3, Phase::Open), (4, Phase::Closed)]);
}

#[test]
fn an_observer_too_slow_misses_the_oldest_and_sees_the_gap() {
    let (started, finish) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
    let (sent, told) = mpsc::channel();
    let (entered, leave) = (Arc::clone(&started), Arc::clone(&finish));
    let observer = move |transition: Transition| {
        if transition.sequence == 1 {
            entered.wait();
            leave.wait();
        }
        sent.send(transition.sequence).unwrap();
    };
    let breaker = Breaker::with_observer(fragile(), || 0, observer).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| breaker.force_open());
        started.wait();
        for _ in 0..1_000 {
            breaker.reset();
            breaker.force_open();
        }
        finish.wait();
    });
    let told: Vec<u64> = told.try_iter().collect();
    let expected: Vec<u64> = [1].into_iter().chain(2_001 - 1_023..=2_001).collect();
    assert_eq!(told, expected);
}
