//! Keys that are numbers: 16 bytes each, and the same decisions.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use forebay_ratelimit::bucket::Bucket;
use forebay_ratelimit::{Bound, Interned, InternedOptions, Oversize, Quota, Rate, RetryAfter};
use proptest::prelude::*;

const SECOND_NS: u64 = 1_000_000_000;

fn per_second(rate: u64, burst: u64) -> Quota {
    Quota::new(Rate::per_second(rate), burst)
}

#[test]
fn ids_have_buckets_and_quotas_of_their_own() {
    let interned = Interned::with_clock(InternedOptions { max_ids: 1_000, stripes: 4 }, || 0);
    assert!(interned.allow(0, 5, per_second(1, 5)) && !interned.allow(0, 1, per_second(1, 5)));
    assert!(interned.allow(999, 500, per_second(1, 500)));
    assert!(interned.allow(4, u64::MAX, Quota::UNLIMITED) && interned.peek(4).is_none());
    assert!(!interned.allow(5, 6, per_second(1, 5)) && interned.peek(5).is_none());
    let denied = interned.try_acquire(1_000, 1, per_second(1, 5)).unwrap_err();
    assert_eq!((denied.bound, denied.retry_after), (Bound::Keys, RetryAfter::Never));
    assert!(interned.allow(u32::MAX, 0, per_second(1, 5)) && interned.peek(u32::MAX).is_none());
    interned.release(u32::MAX, 7);
}

#[test]
fn a_permit_gives_back_what_it_took_and_no_more() {
    let interned = Interned::with_clock(InternedOptions::default(), || 0);
    let mut permit = interned.try_acquire(3, 80, per_second(1, 100)).unwrap();
    permit.shrink_to(90);
    permit.shrink_to(30);
    assert_eq!((permit.tokens(), interned.peek(3).unwrap().available), (30, 70));
    assert!(
        interned.check(3, 70, per_second(1, 100)).is_ok()
            && interned.check(3, 71, per_second(1, 100)).is_err()
    );
    assert!(
        interned.check(3, 6, per_second(7, 5)).is_err() && interned.check(3, 5, per_second(7, 5)).is_ok()
    );
    let bucket = interned.peek(3).unwrap();
    assert_eq!((bucket.available, bucket.rate), (70, Rate::per_second(1)), "a check leaves all as it is");
    permit.release();
    assert!(interned.peek(3).unwrap().is_full());
    assert_eq!(interned.try_acquire(3, 80, Quota::UNLIMITED).unwrap().tokens(), 0);
    assert!(interned.allow(3, 100, per_second(1, 100)) && interned.forget(3) && !interned.forget(3));
}

#[test]
fn a_rate_that_wraps_the_counter_is_turned_for_all_of_its_ids() {
    let clock = Cell::new(0);
    let interned = Interned::with_clock(InternedOptions { stripes: 1, ..Default::default() }, || clock.get());
    let fast = Quota::new(Rate::per_second(u64::MAX), 10);
    for step in 0..200 {
        clock.set(step * SECOND_NS / 10);
        // Those with a long period are idle while the counter goes round.
        for id in [1, 3, 7, 11, 17] {
            if step % u64::from(id) == 0 {
                assert!(interned.allow(id, 10, fast), "{id} at {step}");
                assert!(!interned.allow(id, 1, fast), "{id} at {step}");
            }
        }
    }
}

/// Rates change with every third second.
fn quota_of(id: u32, now_ns: u64) -> Quota {
    let change = now_ns / (3 * SECOND_NS) % 3;
    let rate = Rate::per(u64::from(id) * 7 + 3 + change, Duration::from_secs(1 + change));
    let oversize = if id.is_multiple_of(2) { Oversize::Reject } else { Oversize::WhenFull };
    Quota { rate, burst: 60 + u64::from(id), oversize }
}

proptest! {
    /// Against a map that keeps a bucket of its own for every id.
    #[test]
    fn an_id_is_decided_as_by_a_bucket_of_its_own(
        steps in prop::collection::vec((0..12_u32, 0..120_u64, 0..SECOND_NS / 2, 0..8_u8), 1..200),
    ) {
        let clock = Cell::new(0);
        let interned = Interned::with_clock(InternedOptions { max_ids: 12, stripes: 2 }, || clock.get());
        let mut kept: HashMap<u32, Bucket> = HashMap::new();
        for (id, tokens, step_ns, choice) in steps {
            clock.set(clock.get() + step_ns);
            let (now_ns, quota) = (clock.get(), quota_of(id, clock.get()));
            if choice == 0 {
                interned.release(id, tokens);
                if let Some(bucket) = kept.get_mut(&id) {
                    bucket.release(now_ns, tokens);
                }
                continue;
            }
            let bucket = kept.entry(id).or_insert_with(|| Bucket::full(quota, now_ns));
            if bucket.quota() != quota {
                bucket.reconfigure(now_ns, quota);
            }
            let expected = bucket.try_acquire(now_ns, tokens);
            let found = interned.try_acquire(id, tokens, quota).map(drop);
            if tokens > 0 {
                prop_assert_eq!(found, expected);
            }
        }
    }

    /// P10.
    #[test]
    fn no_value_at_the_edge_of_64_bits_panics(
        steps in prop::collection::vec((edge(), edge(), edge(), edge(), edge(), 0..3_u32), 1..20),
    ) {
        let clock = Cell::new(0);
        let interned = Interned::with_clock(InternedOptions::default(), || clock.get());
        for (now_ns, tokens, rate, period_ns, burst, id) in steps {
            clock.set(now_ns);
            let quota = Quota::new(Rate::per(rate, Duration::from_nanos(period_ns)), burst);
            let _ = interned.try_acquire(id, tokens, quota);
            interned.release(id, tokens);
            interned.peek(id);
        }
    }
}

fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(1 << 61),
        Just(1 << 63),
        Just(u64::MAX - 1),
        Just(u64::MAX),
        any::<u64>()
    ]
}

#[test]
fn at_one_instant_exactly_the_burst_of_each_id_passes() {
    let interned = Interned::with_clock(InternedOptions::default(), || 7);
    let passed: [AtomicU64; 3] = Default::default();
    thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (interned, passed) = (&interned, &passed);
            scope.spawn(move || {
                for call in 0..12_000 {
                    let id = (thread + call) % 3;
                    let tokens = 1 + u64::from(call % 4);
                    if interned.allow(id, tokens, per_second(1, 20_000)) {
                        passed[id as usize].fetch_add(tokens, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(passed.map(AtomicU64::into_inner), [20_000; 3]);
}
