//! Several bandwidths, one decision.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use forebay_ratelimit::bucket::Bucket;
use forebay_ratelimit::{Multi, Oversize, Quota, Rate, RetryAfter};
use proptest::prelude::*;

const SECOND_NS: u64 = 1_000_000_000;

fn per_second(rate: u64, burst: u64) -> Quota {
    Quota::new(Rate::per_second(rate), burst)
}

#[test]
fn what_one_bandwidth_refuses_no_other_pays_for() {
    let clock = Cell::new(0);
    let day = Quota::new(Rate::per(1_000, Duration::from_secs(86_400)), 150);
    let limiter = Multi::with_clock([per_second(100, 100), day], || clock.get());
    assert!(limiter.allow(100));
    assert_eq!(limiter.try_acquire(1).unwrap_err().bandwidth, 0);
    clock.set(SECOND_NS);
    let refusal = limiter.try_acquire(60).unwrap_err();
    assert_eq!((refusal.bandwidth, refusal.denied.available), (1, 50));
    assert_eq!(limiter.peek().map(|bucket| bucket.available), [100, 50]);
    assert!(refusal.to_string().starts_with("bandwidth 1: 60 tokens exceed the rate of 1/86.4s: 50 of 150"));
}

#[test]
fn the_longest_wait_is_the_one_that_is_told_and_it_suffices() {
    let clock = Cell::new(0);
    let limiter = Multi::with_clock([per_second(10, 10), per_second(1, 10)], || clock.get());
    assert!(limiter.allow(10));
    let refusal = limiter.try_acquire(5).unwrap_err();
    assert_eq!(
        (refusal.bandwidth, refusal.denied.retry_after),
        (1, RetryAfter::After(Duration::from_secs(5)))
    );
    clock.set(5 * SECOND_NS - 1);
    assert!(!limiter.allow(5));
    clock.set(5 * SECOND_NS);
    assert!(limiter.allow(5));
}

#[test]
fn each_bandwidth_counts_its_own_and_gets_its_own_back() {
    let limiter = Multi::with_clock([per_second(1, 1_000), per_second(1, 10)], || 0);
    let mut permit = limiter.try_acquire_each([900, 4]).unwrap();
    permit.shrink_to([100, 9]);
    assert_eq!(permit.tokens(), [100, 4]);
    assert_eq!(limiter.peek().map(|bucket| bucket.available), [900, 6]);
    permit.release();
    assert!(limiter.peek().iter().all(|bucket| bucket.is_full()));
    assert!(limiter.try_acquire_each([0, 10]).is_ok());
    assert!(limiter.try_acquire_each([1_000, 0]).is_ok());
    assert!(limiter.allow(0) && !limiter.allow(1));
}

#[test]
fn quotas_change_together_and_debts_stay() {
    let oversize = per_second(10, 10).oversize(Oversize::WhenFull);
    let limiter = Multi::with_clock([oversize, Quota::UNLIMITED], || 0);
    assert!(limiter.allow(30));
    limiter.reconfigure([per_second(20, 50), per_second(1, 7)]);
    assert_eq!(limiter.peek().map(|bucket| (bucket.available, bucket.debt)), [(0, 20), (7, 0)]);
    assert_eq!(limiter.quotas(), [per_second(20, 50), per_second(1, 7)]);
    assert!(Multi::with_clock([], || 0).allow(u64::MAX));
}

/// Once a mistake: the permit gave back what an unlimited bandwidth had never been asked for.
#[test]
fn a_permit_gives_nothing_back_to_a_bandwidth_that_was_unlimited() {
    let limiter = Multi::with_clock([Quota::UNLIMITED, per_second(1, 2_000)], || 0);
    let permits = [limiter.try_acquire(1_000).unwrap(), limiter.try_acquire(1_000).unwrap()];
    limiter.reconfigure([per_second(1, 100), per_second(1, 2_000)]);
    assert!(limiter.try_acquire_each([100, 0]).is_ok());
    let [mut shrunk, released] = permits;
    assert_eq!(released.tokens(), [0, 1_000]);
    shrunk.shrink_to([500; 2]);
    released.release();
    assert_eq!(limiter.peek().map(|bucket| bucket.available), [0, 1_500]);
}

proptest! {
    /// Against buckets that are copied, asked one by one, and put back if any refuses.
    #[test]
    fn a_decision_is_the_one_that_all_bandwidths_agree_on(
        rates in prop::array::uniform3(1..50_u64),
        bursts in prop::array::uniform3(0..60_u64),
        steps in prop::collection::vec((0..SECOND_NS, prop::array::uniform3(0..70_u64), any::<bool>()), 1..80),
    ) {
        let quotas = [0, 1, 2].map(|place| per_second(rates[place], bursts[place]));
        let clock = Cell::new(0);
        let limiter = Multi::with_clock(quotas, || clock.get());
        let mut buckets = quotas.map(|quota| Bucket::full(quota, 0));
        for (step_ns, tokens, returns) in steps {
            clock.set(clock.get() + step_ns);
            let mut taken = buckets;
            let waits = [0, 1, 2].map(|place| taken[place].try_acquire(clock.get(), tokens[place]).err());
            let longest = waits.iter().flatten().map(|denied| denied.retry_after).max();
            match limiter.try_acquire_each(tokens) {
                Ok(permit) => {
                    prop_assert_eq!(longest, None);
                    if returns {
                        permit.release();
                        (0..3).for_each(|place| taken[place].release(clock.get(), tokens[place]));
                    }
                    buckets = taken;
                }
                Err(refusal) => {
                    prop_assert_eq!(Some(refusal.denied.retry_after), longest);
                    prop_assert_eq!(Some(refusal.denied), waits[refusal.bandwidth]);
                }
            }
            prop_assert_eq!(limiter.peek(), buckets.map(|bucket| bucket.peek(clock.get())));
        }
    }
}

#[test]
fn at_one_instant_exactly_the_smallest_burst_passes_and_all_pay_the_same() {
    let limiter = Multi::with_clock([per_second(1, 70_000), per_second(1, 30_000)], || 7);
    let passed = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (limiter, passed) = (&limiter, &passed);
            scope.spawn(move || {
                for call in 0..10_000 {
                    let tokens = 1 + (thread + call) % 3;
                    passed.fetch_add(tokens * u64::from(limiter.allow(tokens)), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(passed.into_inner(), 30_000);
    assert_eq!(limiter.peek().map(|bucket| bucket.available), [40_000, 0]);
}
