//! A breaker per endpoint: made on demand, bounded, and none forgotten that has something to remember.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use forebay_circuit::{Options, OptionsError, Phase, Registry, State};

const SECOND_NS: u64 = 1_000_000_000;

fn options() -> Options {
    Options { failure_threshold: 1, half_open_probes: 1, close_after: 1, ..Options::default() }
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
    assert_eq!(refused(), "registry is full: none of 1 circuit breakers is closed and idle");
    let permit = breaker.try_acquire().unwrap();
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
    let wrong = Options { close_after: 0, ..options() };
    let error = Registry::<u32>::new(wrong, 1).unwrap_err();
    assert_eq!(error, OptionsError::Zero { option: "close_after" });
}
