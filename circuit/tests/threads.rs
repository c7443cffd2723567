//! Many threads at one breaker, on a clock that only the test moves.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use forebay_circuit::{Breaker, Options, Phase, Registry, Transition, Trip, Verdict};

const THREADS: u64 = 4;
const SECOND_NS: u64 = 1_000_000_000;

fn clock() -> (Arc<AtomicU64>, impl Fn() -> u64 + Send + Sync + 'static) {
    let now_ns = Arc::new(AtomicU64::new(0));
    (Arc::clone(&now_ns), move || now_ns.load(Ordering::SeqCst))
}

#[test]
fn threads_never_hold_more_probes_than_are_permitted() {
    let (now_ns, clock) = clock();
    let options = Options {
        trip: Trip::Consecutive(1),
        half_open_probes: 2,
        verdict: Verdict::Successes(Options::MAX_PROBES),
        half_open_max_wait: Duration::from_secs(3_600),
        ..Options::default()
    };
    let breaker = Breaker::with_clock(options, clock).unwrap();
    breaker.try_acquire().unwrap().failure();
    now_ns.store(SECOND_NS, Ordering::SeqCst);
    let (held, most, probes) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (breaker, held, most, probes) = (&breaker, &held, &most, &probes);
            scope.spawn(move || {
                for call in 0..10_000 {
                    let Ok(permit) = breaker.try_acquire() else { continue };
                    most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    probes.fetch_add(1, Ordering::SeqCst);
                    if call % 8 == 0 {
                        thread::yield_now();
                    }
                    held.fetch_sub(1, Ordering::SeqCst);
                    if (thread + call) % 3 == 0 { permit.success() } else { drop(permit) }
                }
            });
        }
    });
    assert!(most.into_inner() <= 2);
    let snapshot = breaker.snapshot();
    assert_eq!(snapshot.probes.issued, probes.into_inner());
    assert_eq!((snapshot.in_flight, snapshot.probes.void), (0, 0));
    assert_eq!(snapshot.probes.succeeded + snapshot.probes.ignored, snapshot.probes.issued);
    assert_eq!(snapshot.transitions, 2);
}

#[test]
fn exactly_one_thread_moves_an_open_breaker_to_half_open() {
    for round in 0..200 {
        let (now_ns, clock) = clock();
        let options =
            Options { trip: Trip::Consecutive(1), half_open_probes: 1, seed: round, ..Options::default() };
        let breaker = Breaker::with_clock(options, clock).unwrap();
        breaker.try_acquire().unwrap().failure();
        now_ns.store(SECOND_NS, Ordering::SeqCst);
        let winners = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    if let Ok(permit) = breaker.try_acquire() {
                        winners.fetch_add(1, Ordering::SeqCst);
                        std::mem::forget(permit);
                    }
                });
            }
        });
        assert_eq!(winners.into_inner(), 1);
    }
}

#[test]
fn transitions_are_told_in_order_and_none_is_missing() {
    let (now_ns, clock) = clock();
    let told = Arc::new(Mutex::new(Vec::<Transition>::new()));
    let log = Arc::clone(&told);
    let options = Options {
        trip: Trip::Consecutive(2),
        open_for: Duration::from_nanos(50),
        max_open_for: Duration::from_nanos(500),
        half_open_max_wait: Duration::from_nanos(100),
        half_open_probes: 2,
        verdict: Verdict::Successes(2),
        ..Options::default()
    };
    let observer = move |transition| log.lock().unwrap().push(transition);
    let breaker = Breaker::with_observer(options, clock, observer).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (breaker, now_ns) = (&breaker, &now_ns);
            scope.spawn(move || {
                for call in 0..10_000_u64 {
                    now_ns.fetch_add(7, Ordering::SeqCst);
                    let Ok(permit) = breaker.try_acquire() else { continue };
                    match (call / 3 + thread * 2) % 11 {
                        0..5 => permit.success(),
                        5..9 => permit.failure(),
                        9 => drop(permit),
                        _ => std::mem::forget(permit),
                    }
                }
            });
        }
    });
    let told = told.lock().unwrap();
    assert_eq!(told.len() as u64, breaker.snapshot().transitions);
    assert!(told.len() > 100, "only {} transitions", told.len());
    let mut phase = Phase::Closed;
    let mut at_ns = 0;
    for (transition, sequence) in told.iter().zip(1..) {
        assert_eq!((transition.sequence, transition.from), (sequence, phase));
        assert!(transition.at_ns >= at_ns);
        (phase, at_ns) = (transition.to, transition.at_ns);
    }
}

/// The one that came first went on telling its breakers after the other had told all of them.
#[test]
fn of_two_changes_of_options_at_once_one_holds_for_all() {
    const FIRST: u32 = 1;
    const SECOND: u32 = 2;
    const DONE: u32 = 3;
    let stage = AtomicU32::new(0);
    let clock = || {
        // In the middle of the first change the second may begin, and end if it can.
        if stage.compare_exchange(FIRST, SECOND, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            (0..10_000)
                .take_while(|_| stage.load(Ordering::SeqCst) != DONE)
                .for_each(|_| thread::yield_now());
        }
        0
    };
    let change =
        |failures| Options { trip: Trip::Consecutive(failures), jitter_percent: 0, ..Options::default() };
    let registry: Registry<u32, _> = Registry::with_clock(change(5), 10, &clock).unwrap();
    let early = [0, 1].map(|key| registry.get(&key).unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            while stage.load(Ordering::SeqCst) != SECOND {
                thread::yield_now();
            }
            registry.reconfigure(change(1)).unwrap();
            stage.store(DONE, Ordering::SeqCst);
        });
        stage.store(FIRST, Ordering::SeqCst);
        registry.reconfigure(change(2)).unwrap();
    });
    for breaker in early.into_iter().chain([registry.get(&2).unwrap()]) {
        breaker.try_acquire().unwrap().failure();
        assert_eq!(breaker.state().phase(), Phase::Open);
    }
}
