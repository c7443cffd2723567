//! What allocates and what does not, counted by an allocator.

use std::cell::Cell;
use std::hint::black_box;

use allocation_counter::measure;
use forebay_ratelimit::{Bound, Keyed, KeyedOptions, Limiter, OverCap, Quota, Rate};

const SECOND_NS: u64 = 1_000_000_000;

fn count(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

fn per_second(rate: u64, burst: u64) -> Quota {
    Quota::new(Rate::per_second(rate), burst)
}

#[test]
fn the_counter_counts() {
    assert_eq!(count(|| drop(black_box(Box::new(1)))), 1);
}

#[test]
fn a_limiter_never_allocates() {
    let clock = Cell::new(0);
    let limiter = Limiter::with_clock(per_second(10, 100), || clock.get());
    let allocations = count(|| {
        let mut permit = limiter.try_acquire(100).unwrap();
        permit.shrink_to(50);
        limiter.try_acquire(51).unwrap_err();
        permit.release();
        limiter.reconfigure(per_second(20, 200));
        clock.set(SECOND_NS);
        assert_eq!(limiter.peek().available, 120);
    });
    assert_eq!(allocations, 0);
}

/// K4, first half.
#[test]
fn a_known_key_is_charged_refused_and_reconfigured_without_allocation() {
    let clock = Cell::new(0);
    let keyed: Keyed<String, _> = Keyed::with_clock(KeyedOptions::default(), || clock.get());
    assert!(keyed.allow("blue", 1, per_second(10, 100)));
    let allocations = count(|| {
        let mut permit = keyed.try_acquire("blue", 99, per_second(10, 100)).unwrap();
        keyed.try_acquire("blue", 1, per_second(10, 100)).unwrap_err();
        permit.shrink_to(50);
        permit.release();
        assert!(!keyed.allow("blue", 200, per_second(20, 200)));
        assert_eq!(keyed.peek("blue").unwrap().available, 99);
        clock.set(10 * SECOND_NS);
        assert!(keyed.allow("blue", 200, per_second(20, 200)));
    });
    assert_eq!(allocations, 0);
}

/// K4, second half, and the sixth guarantee: by its own quota, for want of a slot, by the shared bucket.
#[test]
fn a_new_key_that_is_refused_or_gets_no_slot_allocates_nothing() {
    for over_cap in [OverCap::DenyNew, OverCap::Shared(per_second(1, 5))] {
        let options = KeyedOptions { max_keys: 100, over_cap, ..KeyedOptions::default() };
        let keyed: Keyed<String, _> = Keyed::with_clock(options, || 0);
        let greedy = |keyed: &Keyed<String, _>| {
            count(|| {
                keyed.try_acquire(black_box("greedy"), 6, per_second(1, 5)).unwrap_err();
                keyed.try_acquire(black_box("free"), 6, Quota::UNLIMITED).unwrap();
                keyed.try_acquire(black_box("idle"), 0, per_second(1, 5)).unwrap();
            })
        };
        assert_eq!(greedy(&keyed), 0);
        assert!(keyed.is_empty());
        let fill =
            count(|| (0..100).for_each(|key| assert!(keyed.allow(&*key.to_string(), 1, per_second(1, 5)))));
        assert!(fill >= 200, "a key each, stored: {fill} allocations");
        assert_eq!(greedy(&keyed), 0);
        let without_slot = count(|| {
            let first = keyed.try_acquire(black_box("late"), 5, per_second(1, 5));
            assert_eq!(first.is_ok(), over_cap != OverCap::DenyNew);
            let denied = keyed.try_acquire(black_box("later"), 5, per_second(1, 5)).unwrap_err();
            assert_eq!(denied.bound == Bound::Keys, over_cap == OverCap::DenyNew);
        });
        assert_eq!(without_slot, 0);
        assert_eq!(keyed.len(), 100);
    }
}
