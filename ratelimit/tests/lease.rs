//! Tokens taken in advance.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use forebay_ratelimit::{LeaseOptions, Leased, Oversize, Quota, Rate};

const SECOND_NS: u64 = 1_000_000_000;

#[test]
fn what_passes_was_taken_before_and_what_is_held_comes_back() {
    let quota = Quota::new(Rate::per_second(1), 100);
    let limiter = Leased::with_clock(quota, LeaseOptions { lease: 30, slots: 4 }, || 0);
    assert!(limiter.allow(5));
    assert_eq!((limiter.held(), limiter.peek().available), (30, 65));
    assert!(limiter.allow(30));
    assert_eq!((limiter.held(), limiter.peek().available), (0, 65));
    assert!(limiter.allow(60), "without a lease, as there is not enough for one");
    assert_eq!((limiter.held(), limiter.peek().available), (0, 5));
    let denied = limiter.try_acquire(6).unwrap_err();
    assert_eq!((denied.requested, denied.available), (6, 5));
    assert!(limiter.allow(0) && limiter.try_acquire(5).is_ok());
    assert_eq!(limiter.settle(), 0);
}

/// Once a mistake: a new lease came on top of what was left of the one before.
#[test]
fn a_slot_never_holds_more_than_a_lease() {
    let quota = Quota::new(Rate::per_second(1), 1_000);
    let limiter = Leased::with_clock(quota, LeaseOptions { lease: 30, slots: 1 }, || 0);
    for tokens in [5, 31, 29, 7, 30, 12, 45] {
        assert!(limiter.allow(tokens));
        assert!(limiter.held() <= 30, "{} after {tokens}", limiter.held());
    }
    assert_eq!(limiter.held() + limiter.peek().available, 1_000 - 159);
}

/// Once a mistake: leases filled up while nothing was taken for them, and passed on top of the burst.
#[test]
fn nothing_is_held_that_was_not_taken() {
    let quota = Quota::new(Rate::per_second(1), 100);
    let limiter = Leased::with_clock(Quota::UNLIMITED, LeaseOptions { lease: 30, slots: 1 }, || 0);
    assert!((0..1_000).all(|_| limiter.allow(1 << 40)));
    assert_eq!(limiter.held(), 0);
    limiter.reconfigure(quota);
    assert!(limiter.allow(100) && !limiter.allow(1));
}

#[test]
fn a_request_that_fits_makes_no_debt_for_its_lease() {
    let quota = Quota::new(Rate::per_second(1), 100).oversize(Oversize::WhenFull);
    let limiter = Leased::with_clock(quota, LeaseOptions { lease: 30, slots: 1 }, || 0);
    assert!(limiter.allow(90));
    assert_eq!((limiter.held(), limiter.peek().available, limiter.peek().debt), (0, 10, 0));
}

#[test]
fn leases_of_any_size_are_counted_without_overflow() {
    let quota = Quota::new(Rate::per_second(1), Quota::MAX_BURST);
    let limiter = Leased::with_clock(quota, LeaseOptions { lease: 1 << 60, slots: 1_024 }, || 0);
    for leases in 1..=18 {
        thread::scope(|scope| drop(scope.spawn(|| assert!(limiter.allow(1)))));
        assert_eq!(limiter.held(), u64::try_from(leases * (1_u128 << 60)).unwrap_or(u64::MAX));
        // What was unlimited starts full.
        limiter.reconfigure(Quota::UNLIMITED);
        limiter.reconfigure(quota);
    }
    assert_eq!((limiter.settle(), limiter.held()), (u64::MAX, 0));
}

#[test]
fn oversize_requests_and_edges_are_the_limiters_affair() {
    let quota = Quota::new(Rate::per_second(1), 100).oversize(Oversize::WhenFull);
    let limiter = Leased::with_clock(quota, LeaseOptions { lease: u64::MAX, slots: 0 }, || 0);
    assert!(limiter.allow(300) && !limiter.allow(1));
    assert!(!limiter.allow(u64::MAX));
    assert_eq!((limiter.held(), limiter.peek().debt), (0, 200));
    assert_eq!(limiter.settle(), 0);
}

#[test]
fn at_one_instant_threads_pass_exactly_the_burst_less_what_they_hold() {
    let limiter = Leased::with_clock(Quota::new(Rate::per_second(1), 50_000), LeaseOptions::default(), || 7);
    let passed = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (limiter, passed) = (&limiter, &passed);
            scope.spawn(move || {
                for call in 0..20_000 {
                    let tokens = 1 + (thread + call) % 3;
                    passed.fetch_add(tokens * u64::from(limiter.allow(tokens)), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner() + limiter.held() + limiter.peek().available, 50_000);
    assert!(limiter.held() <= 16 * 64);
}

/// The bound that the documentation states, at its worst: leases taken before the window, and a full bucket in it.
#[test]
fn a_window_holds_no_more_than_the_limiter_and_the_leases() {
    let clock = AtomicU64::new(0);
    let options = LeaseOptions { lease: 40, slots: 4 };
    let quota = Quota::new(Rate::per_second(10), 200);
    let limiter = Leased::with_clock(quota, options, || clock.load(Ordering::SeqCst));
    thread::scope(|scope| {
        (0..4).for_each(|_| drop(scope.spawn(|| assert!(limiter.allow(1)))));
    });
    clock.store(3_600 * SECOND_NS, Ordering::SeqCst);
    let passed = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    passed.fetch_add(u64::from(limiter.allow(1)), Ordering::Relaxed);
                }
            });
        }
    });
    let passed = passed.into_inner();
    assert!(passed <= 200 + 4 * 40, "{passed}");
    assert!(passed + limiter.held() >= 200, "{passed}");
}
