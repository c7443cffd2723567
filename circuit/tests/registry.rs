//! A breaker per endpoint: made on demand, bounded, and none forgotten that has something to remember.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use forebay_circuit::{Options, OptionsError, Outcome, Phase, Rate, Registry, State, Trip, Verdict, Window};
use proptest::prelude::*;

const SECOND_NS: u64 = 1_000_000_000;

fn options() -> Options {
    Options {
        trip: Trip::Consecutive(1),
        half_open_probes: 1,
        verdict: Verdict::Successes(1),
        ..Options::default()
    }
}

fn clock() -> (Arc<AtomicU64>, impl Fn() -> u64 + Clone) {
    let now_ns = Arc::new(AtomicU64::new(0));
    (Arc::clone(&now_ns), move || now_ns.load(Ordering::SeqCst))
}

#[test]
fn one_key_has_one_breaker() {
    let registry: Registry<String, _> = Registry::with_clock(options(), 10, || 0).unwrap();
    registry.get("a").unwrap().try_acquire().unwrap().failure();
    assert_eq!(registry.get("a").unwrap().state().phase(), Phase::Open);
    assert_eq!(registry.get("b").unwrap().state(), State::Closed);
    let names: Vec<_> = registry.snapshots().into_iter().map(|(name, of)| (name, of.state.phase())).collect();
    assert_eq!(names, [("a".to_owned(), Phase::Open), ("b".to_owned(), Phase::Closed)]);
}

#[test]
fn the_least_recently_used_idle_breaker_makes_room() {
    let registry: Registry<u32, _> = Registry::with_clock(options(), 3, || 0).unwrap();
    for key in [1, 2, 3, 1] {
        drop(registry.get(&key).unwrap());
    }
    drop(registry.get(&4).unwrap());
    let keys: Vec<_> = registry.snapshots().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [1, 3, 4]);
}

#[test]
fn a_breaker_that_has_something_to_remember_is_not_evicted() {
    let (now_ns, clock) = clock();
    let registry: Registry<&str, _> = Registry::with_clock(options(), 1, clock).unwrap();
    let refused = || registry.get(&"other").unwrap_err().to_string();

    // Held.
    let breaker = registry.get(&"first").unwrap();
    assert_eq!(
        refused(),
        "registry is full: it holds 1 circuit breakers that are in use or remember failures"
    );
    let permit = breaker.try_acquire_owned().unwrap();
    drop(breaker);
    refused();
    // Open.
    permit.failure();
    refused();
    now_ns.store(SECOND_NS, Ordering::SeqCst);
    refused();
    // Closed again, but the next wait would not be the first.
    registry.get(&"first").unwrap().try_acquire().unwrap().success();
    assert_eq!(registry.get(&"first").unwrap().state(), State::Closed);
    refused();
    // Stable for `reset_after`.
    now_ns.fetch_add(30 * SECOND_NS, Ordering::SeqCst);
    assert!(registry.get(&"other").is_ok());
    assert_eq!(registry.len(), 1);
}

#[test]
fn a_removed_breaker_is_made_anew() {
    let registry: Registry<String, _> = Registry::with_clock(options(), 2, || 0).unwrap();
    registry.get("a").unwrap().force_open();
    assert!(registry.remove("a").is_some_and(|breaker| breaker.state().phase() == Phase::Open));
    assert!(registry.is_empty());
    assert_eq!(registry.get("a").unwrap().state(), State::Closed);
}

#[test]
fn the_observer_knows_whose_breaker_it_was() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let registry: Registry<String, _> =
        Registry::with_clock(options(), 2, || 0).unwrap().with_observer(move |key: &String, transition| {
            log.lock().unwrap().push((key.clone(), transition.to))
        });
    registry.get("a").unwrap().try_acquire().unwrap().failure();
    registry.get("b").unwrap().force_open();
    registry.get("a").unwrap().reset();
    let told = told.lock().unwrap();
    let told: Vec<_> = told.iter().map(|(key, to)| (key.as_str(), *to)).collect();
    assert_eq!(told, [("a", Phase::Open), ("b", Phase::Open), ("a", Phase::Closed)]);
}

#[test]
fn endpoints_that_fail_together_are_not_probed_together() {
    let options = Options { open_for: Duration::from_secs(10), ..options() };
    let registry: Registry<u32, _> = Registry::with_clock(options, 100, || 0).unwrap();
    let mut waits: Vec<_> = (0..100)
        .map(|key| {
            let breaker = registry.get(&key).unwrap();
            breaker.try_acquire().unwrap().failure();
            breaker.try_acquire().unwrap_err().retry_after.unwrap()
        })
        .collect();
    waits.sort_unstable();
    waits.dedup();
    assert_eq!(waits.len(), 100);
    assert!(waits[0] >= Duration::from_secs(8) && waits[99] <= Duration::from_secs(10));
}

#[test]
fn threads_that_ask_for_the_same_key_get_the_same_breaker() {
    let registry: Registry<u32, _> = Registry::with_clock(options(), 8, || 0).unwrap();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for key in 0..8 {
                    registry.get(&key).unwrap().force_open();
                }
            });
        }
    });
    assert!(registry.snapshots().iter().all(|(_, of)| of.transitions == 1));
    assert_eq!(registry.len(), 8);
}

#[test]
fn wrong_options_are_refused_before_any_breaker_is_made() {
    let wrong = Options { verdict: Verdict::Successes(0), ..options() };
    let error = Registry::<u32>::new(wrong, 1).unwrap_err();
    assert_eq!(
        error,
        OptionsError::OutOfRange { option: "verdict.successes", value: 0, least: 1, most: 65_535 }
    );
    let error = Registry::<u32>::new(options(), 0).unwrap_err();
    assert!(matches!(error, OptionsError::OutOfRange { option: "max_breakers", value: 0, least: 1, .. }));
}

#[test]
fn no_more_than_the_permitted_part_rejects_at_once() {
    let (now_ns, clock) = clock();
    let registry: Registry<u32, _> =
        Registry::with_clock(options(), 100, clock).unwrap().with_max_open(300).unwrap();
    let breakers: Vec<_> = (0..10).map(|key| registry.get(&key).unwrap()).collect();
    for breaker in &breakers {
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.state().phase(), Phase::Open);
    }
    let rejecting = || breakers.iter().map(|breaker| breaker.try_acquire().is_err()).collect::<Vec<_>>();
    assert_eq!(rejecting().iter().filter(|rejects| **rejects).count(), 3);
    let spared: Vec<_> = breakers.iter().map(|breaker| breaker.snapshot().spared).collect();
    assert_eq!(spared, [&[false; 3][..], &[true; 7]].concat());

    // What a spared breaker lets through counts nowhere.
    breakers[9].try_acquire().unwrap().success();
    assert_eq!(breakers[9].state().phase(), Phase::Open);

    // A seat that is given back goes to the next that wants to reject.
    breakers[0].reset();
    assert!(breakers[7].try_acquire().is_err());
    assert!(breakers[5].try_acquire().is_ok());
    breakers[7].force_open();
    assert!(breakers[5].try_acquire().is_err(), "who is forced open needs no seat");
    drop(registry.remove(&5));
    now_ns.store(SECOND_NS, Ordering::SeqCst);
    breakers[1].try_acquire().unwrap().success();
    assert_eq!(breakers[1].state(), State::Closed);
}

#[test]
fn one_may_always_reject() {
    let registry: Registry<u32, _> =
        Registry::with_clock(options(), 100, || 0).unwrap().with_max_open(1).unwrap();
    let [one, other] = [1, 2].map(|key| registry.get(&key).unwrap());
    one.try_acquire().unwrap().failure();
    other.try_acquire().unwrap().failure();
    assert!(one.try_acquire().is_err() && other.try_acquire().is_ok());
    // Gone, with its seat.
    registry.remove(&1);
    drop(one);
    assert!(other.try_acquire().is_err());
    assert!(Registry::<u32>::new(options(), 1).unwrap().with_max_open(0).is_err());
}

#[test]
fn other_options_reach_breakers_that_there_are_and_that_will_be() {
    let registry: Registry<u32, _> = Registry::with_clock(options(), 100, || 0).unwrap();
    let early = registry.get(&1).unwrap();
    registry.reconfigure(Options { trip: Trip::Consecutive(2), ..options() }).unwrap();
    for breaker in [early, registry.get(&2).unwrap()] {
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.state(), State::Closed);
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.state().phase(), Phase::Open);
    }
    let mut open = 0;
    registry.for_each(|_, breaker| open += u32::from(breaker.state().phase() == Phase::Open));
    assert_eq!(open, 2);
}

#[test]
fn a_breaker_whose_window_remembers_failures_is_not_evicted() {
    let (now_ns, clock) = clock();
    let over = Window::Time { span: Duration::from_secs(10), slices: 10 };
    let trip = Trip::FailureRate(Rate { permille: 1_000, min_calls: 5, over });
    let registry: Registry<u32, _> = Registry::with_clock(Options { trip, ..options() }, 1, clock).unwrap();
    registry.get(&1).unwrap().try_acquire().unwrap().failure();
    assert!(registry.get(&2).is_err());
    now_ns.store(10 * SECOND_NS, Ordering::SeqCst);
    assert!(registry.get(&2).is_ok());
}

/// Seats that were given back only by whoever held them: one endpoint that died and was never called again kept the
/// only one, and no other breaker rejected anything from then on.
#[test]
fn a_breaker_that_is_never_asked_again_keeps_no_seat() {
    let (now_ns, clock) = clock();
    let registry: Registry<u32, _> =
        Registry::with_clock(options(), 100, clock).unwrap().with_max_open(1).unwrap();
    let [gone, other, third] = [1, 2, 3].map(|key| registry.get(&key).unwrap());
    gone.try_acquire().unwrap().failure();
    now_ns.store(SECOND_NS, Ordering::SeqCst);
    assert_eq!(gone.state(), State::HalfOpen);
    other.try_acquire().unwrap().failure();
    assert!(other.try_acquire().is_err());

    // It comes back, and finds its seat taken: its probe is one, and the others are admitted besides.
    let probe = gone.try_acquire().unwrap();
    assert!(gone.snapshot().spared);
    gone.try_acquire().unwrap().failure();
    assert_eq!(gone.state(), State::HalfOpen);
    probe.success();
    assert_eq!(gone.state(), State::Closed);

    // Half-open, and its probe is lost.
    now_ns.store(2 * SECOND_NS, Ordering::SeqCst);
    std::mem::forget(other.try_acquire().unwrap());
    assert!(other.try_acquire().is_err());
    third.try_acquire().unwrap().failure();
    assert!(third.try_acquire().is_ok(), "the seat is taken for as long as a probe is waited for");
    now_ns.store(7 * SECOND_NS, Ordering::SeqCst);
    third.try_acquire().unwrap().failure();
    assert!(third.try_acquire().is_err());
}

#[test]
fn a_breaker_that_was_removed_needs_no_seat_and_keeps_none() {
    let registry: Registry<u32, _> =
        Registry::with_clock(options(), 100, || 0).unwrap().with_max_open(1).unwrap();
    let [removed, spared, other] = [1, 2, 3].map(|key| registry.get(&key).unwrap());
    removed.try_acquire().unwrap().failure();
    spared.try_acquire().unwrap().failure();
    drop((registry.remove(&1), registry.remove(&2)));
    assert!(removed.try_acquire().is_err() && spared.try_acquire().is_err());
    other.try_acquire().unwrap().failure();
    assert!(other.try_acquire().is_err());
}

#[test]
fn the_part_that_may_reject_is_one_of_the_breakers_that_there_are() {
    let rejecting = |registry: &Registry<u32, fn() -> u64>| {
        let mut rejecting = 0;
        registry.for_each(|_, breaker| {
            breaker.reset();
            breaker.try_acquire().unwrap().failure();
        });
        registry.for_each(|_, breaker| rejecting += u32::from(breaker.try_acquire().is_err()));
        registry.for_each(|_, breaker| breaker.reset());
        rejecting
    };
    let clock: fn() -> u64 = || 0;
    let registry = Registry::with_clock(options(), 20, clock).unwrap().with_max_open(100).unwrap();
    (0..20).for_each(|key| drop(registry.get(&key).unwrap()));
    assert_eq!(rejecting(&registry), 2);
    (20..40).for_each(|key| drop(registry.get(&key).unwrap()));
    assert_eq!((registry.len(), rejecting(&registry)), (20, 2), "evicted ones are no members");
    (20..30).for_each(|key| drop(registry.remove(&key)));
    assert_eq!((registry.len(), rejecting(&registry)), (10, 1), "nor are removed ones");
}

/// In a fleet whose addresses change, each endpoint that died with an error stayed, until nothing else fitted in.
#[test]
fn endpoints_that_are_gone_make_room_in_the_end() {
    let (now_ns, clock) = clock();
    let ten = Rate { permille: 1_000, min_calls: 10, over: Window::Calls(10) };
    let options = Options { trip: Trip::Consecutive(2).or(Trip::FailureRate(ten)), ..options() };
    let registry: Registry<u32, _> = Registry::with_clock(options, 4, clock).unwrap();
    let fail = |key: u32| registry.get(&key).unwrap().try_acquire().unwrap().failure();
    // Open; half-open with a probe that is lost; closed after a failure; closed with one in its window.
    [1, 1, 2, 2, 3, 4].into_iter().for_each(fail);
    registry.get(&4).unwrap().try_acquire().unwrap().success();
    now_ns.store(SECOND_NS, Ordering::SeqCst);
    std::mem::forget(registry.get(&2).unwrap().try_acquire().unwrap());
    assert!(registry.get(&5).is_err());

    let keys = || registry.snapshots().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    now_ns.store(30 * SECOND_NS - 1, Ordering::SeqCst);
    assert!(registry.get(&5).is_err());
    now_ns.store(30 * SECOND_NS, Ordering::SeqCst);
    registry.get(&5).unwrap().force_open();
    registry.get(&6).unwrap().disable();
    assert_eq!(keys(), [1, 2, 5, 6], "closed, not asked for 30 s");
    assert!(registry.get(&7).is_err());
    now_ns.store(31 * SECOND_NS, Ordering::SeqCst);
    registry.get(&7).unwrap().force_close();
    assert_eq!(keys(), [2, 5, 6, 7], "and for 30 s since the end of the wait");
    now_ns.store(36 * SECOND_NS, Ordering::SeqCst);
    drop(registry.get(&8).unwrap());
    assert_eq!(keys(), [5, 6, 7, 8], "and since that of the round");
    now_ns.store(u64::MAX, Ordering::SeqCst);
    drop(registry.get(&9).unwrap());
    assert_eq!(keys(), [5, 6, 7, 9], "what somebody said by hand is not forgotten");
}

#[test]
fn an_endpoint_that_is_in_use_keeps_what_is_known_of_it() {
    let (now_ns, clock) = clock();
    let ten = Rate { permille: 1_000, min_calls: 10, over: Window::Calls(10) };
    let options = Options { trip: Trip::FailureRate(ten), ..options() };
    let registry: Registry<u32, _> = Registry::with_clock(options, 1, clock).unwrap();
    let permit = registry.get(&1).unwrap().try_acquire_owned().unwrap();
    now_ns.store(60 * SECOND_NS, Ordering::SeqCst);
    assert!(registry.get(&2).is_err(), "its call has not ended");
    permit.failure();
    for second in (60..220).step_by(20) {
        now_ns.store(second * SECOND_NS, Ordering::SeqCst);
        registry.get(&1).unwrap().try_acquire().unwrap().success();
        assert!(registry.get(&2).is_err(), "after {second} s");
    }
    assert_eq!(registry.snapshots()[0].1.readings[0].hits, 1);
}

/// Lookups and openings were all that counted as use: whoever kept a handle, as the docs advise, and dropped it after
/// an hour found what its calls had just done forgotten.
#[test]
fn what_was_done_through_a_handle_that_was_kept_is_not_forgotten_at_once() {
    const HOUR_NS: u64 = 3_600 * SECOND_NS;
    for over in [Window::Time { span: Duration::from_secs(10), slices: 10 }, Window::Calls(10)] {
        let (now_ns, clock) = clock();
        let trip = Trip::FailureRate(Rate { permille: 1_000, min_calls: 10, over });
        let registry: Registry<u32, _> =
            Registry::with_clock(Options { trip, ..options() }, 1, clock).unwrap();
        let kept = registry.get(&1).unwrap();
        now_ns.store(HOUR_NS, Ordering::SeqCst);
        kept.try_acquire().unwrap().failure();
        let remembered = match over {
            // It ends by itself.
            Window::Time { .. } => 10 * SECOND_NS,
            // Who looked for room saw that it was in use.
            Window::Calls(_) => {
                assert!(registry.get(&2).is_err());
                30 * SECOND_NS
            }
        };
        drop(kept);
        for later_ns in [0, remembered - 1] {
            now_ns.store(HOUR_NS + later_ns, Ordering::SeqCst);
            assert!(registry.get(&2).is_err(), "{over:?} after {later_ns} ns");
        }
        now_ns.store(HOUR_NS + remembered, Ordering::SeqCst);
        assert!(registry.get(&2).is_ok(), "{over:?}");
    }
}

#[test]
fn one_of_many_that_may_go_is_found_in_the_end() {
    let registry: Registry<u32, _> = Registry::with_clock(options(), 1_000, || 0).unwrap();
    let mut held: Vec<_> = (0..1_000).map(|key| registry.get(&key).unwrap()).collect();
    drop(held.remove(900));
    let refusals = (0..10).take_while(|_| registry.get(&1_000).is_err()).count();
    assert!(refusals < 4, "{refusals}");
    assert!(registry.remove(&900).is_none());
}

#[test]
fn a_wait_that_was_asked_for_is_remembered() {
    let (now_ns, clock) = clock();
    let options = Options { trip: Trip::Consecutive(5), reset_after: Duration::from_secs(100), ..options() };
    let registry: Registry<u32, _> = Registry::with_clock(options, 1, clock).unwrap();
    let breaker = registry.get(&1).unwrap();
    breaker.try_acquire().unwrap().record(Outcome::Throttled(Some(Duration::from_secs(40))));
    breaker.try_acquire().unwrap().success();
    drop(breaker);
    now_ns.store(40 * SECOND_NS - 1, Ordering::SeqCst);
    assert!(registry.get(&2).is_err());
    now_ns.store(40 * SECOND_NS, Ordering::SeqCst);
    assert!(registry.get(&2).is_ok());
}

/// Whoever asked for a new key waited for the whole round, and all others for him; and a full registry took its
/// breakers for held.
#[test]
fn room_is_made_while_breakers_are_told_of_other_options() {
    static REGISTRY: OnceLock<Registry<u32>> = OnceLock::new();
    static STAGE: AtomicU64 = AtomicU64::new(0);
    static MADE: AtomicU64 = AtomicU64::new(0);
    const ARMED: u64 = 1;
    const ASKED: u64 = 2;
    /// Asks in the middle of the round for a key that is new.
    fn clock() -> u64 {
        if STAGE.compare_exchange(ARMED, ASKED, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            let made = REGISTRY.get().is_some_and(|registry| registry.get(&3).is_ok());
            MADE.store(u64::from(made), Ordering::SeqCst);
        }
        0
    }
    let registry = Registry::with_clock(options(), 2, clock as fn() -> u64).unwrap();
    [1, 2].into_iter().for_each(|key| drop(registry.get(&key).unwrap()));
    let registry = REGISTRY.get_or_init(|| registry);
    STAGE.store(ARMED, Ordering::SeqCst);
    registry.reconfigure(Options { trip: Trip::Consecutive(2), ..options() }).unwrap();
    assert_eq!((STAGE.load(Ordering::SeqCst), MADE.load(Ordering::SeqCst)), (ASKED, 1));
    registry.for_each(|_, breaker| {
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.state(), State::Closed);
    });
    assert_eq!(registry.len(), 2);
}

#[test]
fn wrong_options_change_no_breaker() {
    let registry: Registry<u32, _> = Registry::with_clock(options(), 10, || 0).unwrap();
    let early = registry.get(&1).unwrap();
    let wrong = Options { trip: Trip::Consecutive(2), jitter_percent: 101, ..options() };
    assert!(matches!(
        registry.reconfigure(wrong),
        Err(OptionsError::OutOfRange { option: "jitter_percent", value: 101, .. })
    ));
    for breaker in [early, registry.get(&2).unwrap()] {
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.state().phase(), Phase::Open);
    }
}

proptest! {
    /// K1, K2: whatever happens to the others, as many as may reject, and one that opened rejects if none else does.
    #[test]
    fn never_more_than_the_permitted_part_rejects(
        permille in 1..1_000_u32,
        steps in prop::collection::vec((0..6_u32, 0..5_u32, 0..3_000_u64), 1..120),
    ) {
        let (now_ns, clock) = clock();
        let registry: Registry<u32, _> =
            Registry::with_clock(options(), 6, clock).unwrap().with_max_open(permille).unwrap();
        let breakers: Vec<_> = (0..6).map(|key| registry.get(&key).unwrap()).collect();
        let most = (6 * permille as usize / 1_000).max(1);
        for (key, act, ms) in steps {
            let breaker = &breakers[key as usize];
            match act {
                0 => breaker.try_acquire().into_iter().for_each(|permit| permit.success()),
                1 => std::mem::forget(breaker.try_acquire()),
                2 => drop(now_ns.fetch_add(ms * SECOND_NS / 1_000, Ordering::SeqCst)),
                _ => breaker.try_acquire().into_iter().for_each(|permit| permit.failure()),
            }
            let rejecting = breakers.iter().filter(|breaker| breaker.try_acquire().is_err()).count();
            prop_assert!(rejecting <= most, "{} of {}", rejecting, most);
            let count = |phase| breakers.iter().filter(|breaker| breaker.state().phase() == phase).count();
            let (opened, probing) = (count(Phase::Open), count(Phase::HalfOpen));
            prop_assert!(rejecting + probing >= opened.min(most), "{} of {}", rejecting, opened);
        }
    }
}
