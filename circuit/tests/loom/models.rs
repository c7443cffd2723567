//! What two or three threads do at the same time, and what has to be so afterwards.
//!
//! The thread that changes the most is the one that spawns: it runs first, and loom looks for other orders where a
//! later thread reads what an earlier one has written, but not always the other way round.

use std::cell::Cell;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::Duration;

use loom::thread::{self, JoinHandle};

use crate::crowd::{Crowd, Seat};
use crate::in_flight::InFlight;
use crate::options::{Options, Verdict};
use crate::policy::Policy;
use crate::shared::{Attached, Shared};
use crate::state::{Control, Outcome, Phase, State};
use crate::sync::{AtomicU64, Ordering};
use crate::ticket::Ticket;
use crate::trip::{Rate, Trip, Window};
use crate::window::{CountWindow, TimeWindow, Totals};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("additions_to_a_slice_that_begins_are_all_there", additions_to_a_slice_that_begins_are_all_there),
    ("a_late_addition_disturbs_no_slice", a_late_addition_disturbs_no_slice),
    ("the_total_of_a_window_is_the_number_of_its_bits", the_total_of_a_window_is_the_number_of_its_bits),
    (
        "calls_that_leave_while_their_slot_goes_on_are_gone",
        calls_that_leave_while_their_slot_goes_on_are_gone,
    ),
    ("one_of_those_who_ask_is_the_probe", one_of_those_who_ask_is_the_probe),
    ("a_slot_is_issued_again_only_after_it_came_back", a_slot_is_issued_again_only_after_it_came_back),
    ("a_late_result_is_in_no_window", a_late_result_is_in_no_window),
    ("a_late_result_is_no_failure_in_a_row", a_late_result_is_no_failure_in_a_row),
    ("of_two_last_failures_one_opens", of_two_last_failures_one_opens),
    ("a_success_between_two_failures_has_its_place", a_success_between_two_failures_has_its_place),
    ("a_rejection_tells_the_wait_of_its_own_state", a_rejection_tells_the_wait_of_its_own_state),
    ("transitions_are_told_in_order", transitions_are_told_in_order),
    ("of_two_that_open_one_gets_the_seat", of_two_that_open_one_gets_the_seat),
    ("a_seat_that_comes_free_is_taken_by_who_was_spared", a_seat_that_comes_free_is_taken_by_who_was_spared),
    ("a_call_in_flight_is_counted_once_whoever_resets", a_call_in_flight_is_counted_once_whoever_resets),
    ("a_slot_that_is_dropped_is_issued_again", a_slot_that_is_dropped_is_issued_again),
    ("other_options_neither_open_nor_keep_from_opening", other_options_neither_open_nor_keep_from_opening),
    ("calls_that_are_counted_are_all_accounted_for", calls_that_are_counted_are_all_accounted_for),
    ("an_observer_that_resets_is_told_in_order", an_observer_that_resets_is_told_in_order),
];

type Breaker = Arc<Shared<fn() -> u64>>;

fn options(trip: Trip) -> Options {
    Options {
        trip,
        jitter_percent: 0,
        half_open_probes: 1,
        verdict: Verdict::Successes(1),
        ..Options::default()
    }
}

fn breaker(trip: Trip, clock: fn() -> u64) -> Breaker {
    let policy = Policy::try_from(options(trip)).unwrap();
    Arc::new(Shared::new(Arc::new(policy), 0, clock, None))
}

fn all_of(calls: u32) -> Trip {
    Trip::FailureRate(Rate { permille: 1_000, min_calls: calls, over: Window::Calls(calls) })
}

fn spawn<T: 'static>(
    breaker: &Breaker,
    act: impl FnOnce(&Shared<fn() -> u64>) -> T + 'static,
) -> JoinHandle<T> {
    let breaker = Arc::clone(breaker);
    thread::spawn(move || act(&breaker))
}

fn fail(breaker: &Shared<fn() -> u64>) {
    if let Ok(ticket) = breaker.admit() {
        breaker.settle(ticket, Outcome::Failure);
    }
}

fn one(hit: bool) -> Totals {
    Totals { calls: 1, hits: u64::from(hit) }
}

/// Open, and half-open as soon as somebody asks.
fn ready_to_probe() -> Breaker {
    // Not an atomic of loom's: time passes before the threads begin. They all run on this one.
    std::thread_local!(static NOW_NS: Cell<u64> = const { Cell::new(0) });
    NOW_NS.set(0);
    let breaker = breaker(Trip::Consecutive(1), || NOW_NS.get());
    fail(&breaker);
    assert_eq!(breaker.state().phase(), Phase::Open);
    NOW_NS.set(1_000_000_000);
    breaker
}

/// The planted error: what an addition would be that is not atomic.
pub(crate) fn two_threads_that_load_and_store_lose_an_update() {
    let word = Arc::new(AtomicU64::new(0));
    let add = |word: &AtomicU64| word.store(word.load(Ordering::Acquire) + 1, Ordering::Release);
    let other = Arc::clone(&word);
    let thread = thread::spawn(move || add(&other));
    add(&word);
    thread.join().unwrap();
    assert_eq!(word.load(Ordering::Acquire), 2, "planted, and to be found");
}

/// S5, T1.
fn additions_to_a_slice_that_begins_are_all_there() {
    let window = Arc::new(TimeWindow::new(10, 2));
    window.add(one(true), 0);
    let threads = [10, 11].map(|now_ns| {
        let window = Arc::clone(&window);
        thread::spawn(move || window.add(one(now_ns == 10), now_ns))
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(window.totals(11), Totals { calls: 2, hits: 1 });
}

/// T1.
fn a_late_addition_disturbs_no_slice() {
    let window = Arc::new(TimeWindow::new(10, 2));
    let late = Arc::clone(&window);
    let thread = thread::spawn(move || late.add(one(false), 0));
    window.add(one(true), 10);
    thread.join().unwrap();
    window.add(one(true), 10);
    // It came in time and has left the window since, or counts now.
    let Totals { calls, hits } = window.totals(10);
    assert!(hits == 2 && (calls == 2 || calls == 3), "{hits} of {calls}");
}

/// S5.
fn the_total_of_a_window_is_the_number_of_its_bits() {
    let window = Arc::new(CountWindow::new(2));
    window.add(true);
    let other = Arc::clone(&window);
    let thread = thread::spawn(move || {
        other.add(false);
        other.add(true);
    });
    window.add(true);
    window.add(false);
    thread.join().unwrap();
    let counted = CountWindow::new(2);
    counted.inherit(&window);
    assert_eq!(window.totals(), counted.totals());
}

/// I1.
fn calls_that_leave_while_their_slot_goes_on_are_gone() {
    const SLICE_NS: u64 = 1_000_000;
    let ring = Arc::new(InFlight::new(NonZeroU16::MIN, 8 * SLICE_NS));
    let place = ring.enter(0).unwrap();
    ring.enter(0).unwrap();
    let (leaves, enters) = (Arc::clone(&ring), Arc::clone(&ring));
    let leaving = thread::spawn(move || leaves.leave(place));
    let entering = thread::spawn(move || enters.enter(16 * SLICE_NS).unwrap());
    leaving.join().unwrap();
    let place = entering.join().unwrap();
    assert_eq!((ring.all(), ring.slow(16 * SLICE_NS)), (2, 1));
    ring.leave(place);
    assert_eq!((ring.all(), ring.slow(16 * SLICE_NS)), (1, 1));
}

/// S2, B1: exactly one thread moves an open breaker to half-open, and it gets the only slot; the other does not take
/// the end of the round, which comes later, for that of the wait.
fn one_of_those_who_ask_is_the_probe() {
    let breaker = ready_to_probe();
    let threads = [(); 2].map(|()| {
        spawn(&breaker, |breaker| {
            let result = breaker.admit();
            if let Err(rejected) = &result {
                let round = Some(Duration::from_secs(5));
                assert_eq!((rejected.state, rejected.retry_after), (State::HalfOpen, round), "B1");
            }
            result
        })
    });
    let admitted: Vec<Ticket> =
        threads.into_iter().filter_map(|thread| thread.join().unwrap().ok()).collect();
    assert_eq!(admitted.len(), 1);
    assert_eq!(breaker.snapshot().in_flight, 1);
}

/// S2.
fn a_slot_is_issued_again_only_after_it_came_back() {
    let breaker = ready_to_probe();
    let probe = breaker.admit().unwrap();
    let held = Arc::new(AtomicU64::new(1));
    let counted = Arc::clone(&held);
    let asks = spawn(&breaker, move |breaker| {
        let Ok(probe) = breaker.admit() else { return };
        assert_eq!(counted.fetch_add(1, Ordering::SeqCst), 0, "S2: two at once");
        counted.fetch_sub(1, Ordering::SeqCst);
        breaker.settle(probe, Outcome::Ignored);
    });
    held.fetch_sub(1, Ordering::SeqCst);
    breaker.settle(probe, Outcome::Ignored);
    if let Ok(probe) = breaker.admit() {
        assert_eq!(held.fetch_add(1, Ordering::SeqCst), 0, "S2: two at once");
        held.fetch_sub(1, Ordering::SeqCst);
        breaker.settle(probe, Outcome::Ignored);
    }
    asks.join().unwrap();
    assert_eq!(breaker.snapshot().in_flight, 0);
}

/// S3: a thread that is held up in the middle of its report, while the breaker goes on to another period.
fn a_late_result_is_in_no_window() {
    let breaker = breaker(all_of(2), || 0);
    let early = breaker.admit().unwrap();
    let late = spawn(&breaker, move |breaker| breaker.settle(early, Outcome::Failure));
    breaker.control(Control::Automatic);
    fail(&breaker);
    late.join().unwrap();
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.readings[0].calls), (State::Closed, Some(1)), "S3");
}

/// S3.
fn a_late_result_is_no_failure_in_a_row() {
    let breaker = breaker(Trip::Consecutive(2), || 0);
    let early = breaker.admit().unwrap();
    let late = spawn(&breaker, move |breaker| breaker.settle(early, Outcome::Failure));
    breaker.control(Control::Automatic);
    fail(&breaker);
    late.join().unwrap();
    assert_eq!((breaker.state(), breaker.snapshot().consecutive_failures), (State::Closed, 1), "S3");
}

/// S6, S7: both see that it is time, and one transition comes of it.
fn of_two_last_failures_one_opens() {
    let breaker = breaker(all_of(2), || 0);
    let tickets = [(); 2].map(|()| breaker.admit().unwrap());
    let threads =
        tickets.map(|ticket| spawn(&breaker, move |breaker| breaker.settle(ticket, Outcome::Failure)));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state.phase(), snapshot.transitions), (Phase::Open, 1), "S6");
}

/// S6: in whatever order the results come, it is that of one thread.
fn a_success_between_two_failures_has_its_place() {
    let breaker = breaker(Trip::Consecutive(2), || 0);
    let [first, second, success] = [(); 3].map(|()| breaker.admit().unwrap());
    breaker.settle(first, Outcome::Failure);
    let fails = spawn(&breaker, move |breaker| breaker.settle(second, Outcome::Failure));
    breaker.settle(success, Outcome::Success);
    fails.join().unwrap();
    let snapshot = breaker.snapshot();
    let opened = snapshot.state.phase() == Phase::Open;
    assert!(opened || snapshot.consecutive_failures == 1, "{snapshot:?}");
}

/// B1.
fn a_rejection_tells_the_wait_of_its_own_state() {
    let breaker = breaker(Trip::Consecutive(1), || 0);
    fail(&breaker);
    let asks = spawn(&breaker, Shared::admit);
    breaker.control(Control::ForcedOpen);
    breaker.control(Control::Automatic);
    fail(&breaker);
    match asks.join().unwrap() {
        Ok(_) => {}
        Err(rejected) => {
            let wait = rejected.retry_after;
            assert!(wait.is_none() || wait == Some(Duration::from_secs(1)), "B1: {wait:?}");
            assert_eq!(rejected.state, State::Open { retry_after: wait });
        }
    }
}

/// S7.
fn transitions_are_told_in_order() {
    let policy = Arc::new(Policy::try_from(options(Trip::Consecutive(1))).unwrap());
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let observer =
        move |transition: crate::observer::Transition| log.lock().unwrap().push(transition.sequence);
    let attached = Attached::new(&policy, Some(Box::new(observer)), None);
    let breaker: Breaker = Arc::new(Shared::new(policy, 0, || 0, attached));
    let opens = spawn(&breaker, fail);
    breaker.control(Control::ForcedOpen);
    breaker.control(Control::Automatic);
    opens.join().unwrap();
    let transitions = breaker.snapshot().transitions;
    assert_eq!(*told.lock().unwrap(), (1..=transitions).collect::<Vec<_>>(), "S7");
}

/// Two breakers, of which one may reject; and the crowd.
fn two_of_a_crowd(clock: fn() -> u64) -> ([Breaker; 2], Arc<Crowd>) {
    let policy = Arc::new(Policy::try_from(options(Trip::Consecutive(1))).unwrap());
    let crowd = Arc::new(Crowd::new(500));
    let breakers = [1, 2].map(|number| {
        let attached = Attached::new(&policy, None, Some(Seat::join(Arc::clone(&crowd), number)));
        Arc::new(Shared::new(Arc::clone(&policy), number, clock, attached))
    });
    (breakers, crowd)
}

/// K1.
fn of_two_that_open_one_gets_the_seat() {
    let (breakers, crowd) = two_of_a_crowd(|| 0);
    let threads = [&breakers[0], &breakers[1]].map(|breaker| spawn(breaker, fail));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let rejecting = breakers.iter().filter(|breaker| breaker.admit().is_err()).count();
    assert_eq!(rejecting, 1, "K1");
    breakers.iter().for_each(|breaker| breaker.control(Control::Automatic));
    let others = [3, 4].map(|number| Seat::join(Arc::clone(&crowd), number));
    drop(breakers);
    assert!(others[0].take(0, 1) && !others[1].take(0, 1), "every seat is given back, once");
}

/// K1: one that is spared asks while the one with the seat gives it back.
fn a_seat_that_comes_free_is_taken_by_who_was_spared() {
    let ([first, second], _crowd) = two_of_a_crowd(|| 0);
    fail(&first);
    fail(&second);
    let asks = spawn(&second, |breaker| breaker.admit().is_err());
    first.control(Control::Automatic);
    asks.join().unwrap();
    assert!(second.admit().is_err() && first.admit().is_ok(), "K1");
}

/// I1, S3: a call that began before a reset is none of the next period.
fn a_call_in_flight_is_counted_once_whoever_resets() {
    let breaker = breaker(Trip::SlowInFlight(5), || 0);
    let asks = spawn(&breaker, Shared::admit);
    breaker.control(Control::Automatic);
    let own = breaker.admit().unwrap();
    let other = asks.join().unwrap().unwrap();
    breaker.settle(own, Outcome::Success);
    breaker.settle(other, Outcome::Success);
    assert_eq!(breaker.snapshot().readings[0].calls, Some(0), "I1");
}

/// S2, S4.
fn a_slot_that_is_dropped_is_issued_again() {
    let breaker = ready_to_probe();
    let probe = breaker.admit().unwrap();
    let asks = spawn(&breaker, Shared::admit);
    breaker.cancel(probe);
    let early = asks.join().unwrap();
    assert_eq!(breaker.snapshot().in_flight, u32::from(early.is_ok()));
    let probe = early.or_else(|_| breaker.admit()).unwrap();
    breaker.settle(probe, Outcome::Success);
    assert_eq!(breaker.state(), State::Closed);
}

/// S3, S6: a failure that ends while the windows are carried over may be missing from them, and is not there twice.
fn other_options_neither_open_nor_keep_from_opening() {
    let breaker = breaker(all_of(2), || 0);
    let early = breaker.admit().unwrap();
    let fails = spawn(&breaker, move |breaker| breaker.settle(early, Outcome::Failure));
    breaker.reconfigure(Arc::new(Policy::try_from(options(all_of(2))).unwrap()));
    fails.join().unwrap();
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.generation), (State::Closed, 0));
    assert!(snapshot.readings[0].hits <= 1, "{snapshot:?}");
    fail(&breaker);
    fail(&breaker);
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state.phase(), snapshot.transitions), (Phase::Open, 1), "S6");
}

/// S8.
fn calls_that_are_counted_are_all_accounted_for() {
    let options = Options { count_calls: true, ..options(Trip::Consecutive(1)) };
    let policy = Arc::new(Policy::try_from(options).unwrap());
    let attached = Attached::new(&policy, None, None);
    let breaker: Breaker = Arc::new(Shared::new(policy, 0, || 0, attached));
    let fails = spawn(&breaker, fail);
    let dropped = breaker.admit().ok().map(|ticket| breaker.cancel(ticket));
    fails.join().unwrap();
    let calls = breaker.snapshot().calls.unwrap();
    let asked = (calls.failed, calls.dropped, calls.rejected, calls.in_flight);
    assert_eq!(asked, if dropped.is_some() { (1, 1, 0, 0) } else { (1, 0, 1, 0) });
}

/// S7.
fn an_observer_that_resets_is_told_in_order() {
    let policy = Arc::new(Policy::try_from(options(Trip::Consecutive(1))).unwrap());
    let (told, own) = (Arc::new(std::sync::Mutex::new(Vec::new())), Arc::new(std::sync::OnceLock::new()));
    let (log, itself) = (Arc::clone(&told), Arc::clone(&own));
    let observer = move |transition: crate::observer::Transition| {
        let itself: &std::sync::Weak<Shared<fn() -> u64>> = itself.get().unwrap();
        let itself = itself.upgrade().unwrap();
        // Here another thread may come in between.
        let _ = itself.state();
        log.lock().unwrap().push((transition.sequence, transition.to));
        if transition.to == Phase::Open {
            itself.control(Control::Automatic);
        }
    };
    let attached = Attached::new(&policy, Some(Box::new(observer)), None);
    let breaker: Breaker = Arc::new(Shared::new(policy, 0, || 0, attached));
    own.set(Arc::downgrade(&breaker)).unwrap();
    let opens = spawn(&breaker, fail);
    fail(&breaker);
    opens.join().unwrap();
    let transitions = breaker.snapshot().transitions;
    let told = told.lock().unwrap();
    assert!(transitions == 2 || transitions == 4, "{transitions}");
    let order = (1..=transitions).zip([Phase::Open, Phase::Closed].into_iter().cycle());
    assert_eq!(*told, order.collect::<Vec<_>>(), "S7");
    assert_eq!(breaker.state(), State::Closed);
}
