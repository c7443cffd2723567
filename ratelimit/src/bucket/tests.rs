use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::decision::{Bound, RetryAfter};
use crate::quota::Oversize;
use crate::rate::Rate;

const SECOND_NS: u64 = 1_000_000_000;

fn edge() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(1 << 61),
        Just((1 << 61) + 1),
        Just(1 << 63),
        Just(u64::MAX - 1),
        Just(u64::MAX),
        any::<u64>(),
    ]
}

fn any_quota() -> impl Strategy<Value = Quota> {
    let rate = prop_oneof![
        Just(Rate::UNLIMITED),
        Just(Rate::ZERO),
        edge().prop_map(Rate::per_second),
        (edge(), edge()).prop_map(|(tokens, ns)| Rate::per(tokens, Duration::from_nanos(ns))),
    ];
    let oversize = prop_oneof![Just(Oversize::Reject), Just(Oversize::WhenFull), Just(Oversize::Split)];
    (rate, edge(), oversize).prop_map(|(rate, burst, oversize)| Quota { rate, burst, oversize })
}

proptest! {
    #[test]
    fn no_value_at_the_edge_of_64_bits_panics(
        quotas in prop::collection::vec(any_quota(), 1..5),
        steps in prop::collection::vec((edge(), edge(), 0..6_usize), 1..20),
        spent in prop::option::of(edge()),
    ) {
        let (mut segment, mut word) = Segment::start(quotas[0], steps[0].0);
        word = spent.unwrap_or(word);
        let mut bucket = Bucket::full(quotas[0], steps[0].0);
        for (now_ns, tokens, choice) in steps {
            let quota = quotas[choice % quotas.len()];
            match segment.decide(word, now_ns, tokens) {
                Decision::Admitted { spent } => word = spent,
                Decision::Denied(_) => word = segment.give_back(word, now_ns, tokens),
                Decision::Turn => (segment, word) = segment.turn(word, now_ns, segment.quota()),
            }
            segment.peek(word, now_ns);
            segment.full_at_ns(word);
            let _ = bucket.try_acquire(now_ns, tokens);
            if choice >= quotas.len() {
                bucket.release(now_ns, tokens);
            } else {
                (segment, word) = segment.turn(word, now_ns, quota);
                bucket.reconfigure(now_ns, quota);
            }
            let snapshot = bucket.peek(now_ns);
            prop_assert!(snapshot.available <= snapshot.burst || snapshot.rate.is_unlimited());
        }
    }

    #[test]
    fn a_segment_survives_its_words(quota in any_quota(), now_ns in any::<u64>(), later in any::<u64>()) {
        let (segment, word) = Segment::start(quota, now_ns);
        let (turned, _) = segment.turn(word, now_ns.saturating_add(later), quota);
        for segment in [segment, turned] {
            let gauge = Gauge::from_words(Gauge::of(&segment).to_words());
            prop_assert_eq!(gauge, Gauge::of(&segment));
            prop_assert_eq!(Segment::of(&gauge, segment.rest()), segment);
        }
    }

    /// Two computations that share no step: whatever the one is sure of, the other says.
    #[test]
    fn a_glance_is_what_a_close_look_finds(
        quotas in prop::collection::vec(any_quota(), 1..4),
        steps in prop::collection::vec((prop_oneof![edge(), 0..1_000_000_000_000_u64], edge(), 0..1_000_u64), 1..40),
    ) {
        let (mut segment, mut word) = Segment::start(quotas[0], 0);
        let mut now_ns = 0_u64;
        for (step_ns, large, small) in steps {
            now_ns = now_ns.saturating_add(step_ns);
            let gauge = Gauge::of(&segment);
            for tokens in [large, small, segment.peek(word, now_ns).available, segment.quota().burst] {
                for tokens in [tokens, tokens.saturating_add(1)] {
                    for now_ns in [now_ns, now_ns.saturating_sub(step_ns), now_ns.saturating_sub(1)] {
                        let same = match (gauge.weigh(word, now_ns, tokens), segment.weigh(word, now_ns, tokens)) {
                            (Glance::Unsure, _) | (Glance::Short, Verdict::Short(_)) => true,
                            (Glance::Admitted { spent }, Verdict::Admitted { spent: close }) => spent == close,
                            _ => false,
                        };
                        prop_assert!(same, "{} tokens at {}: {:?}", tokens, now_ns, segment);
                    }
                }
            }
            match segment.decide(word, now_ns, small) {
                Decision::Admitted { spent } => word = spent,
                Decision::Denied(_) => {
                    let quota = quotas[usize::try_from(small).unwrap() % quotas.len()];
                    (segment, word) = segment.turn(word, now_ns, quota);
                }
                Decision::Turn => (segment, word) = segment.turn(word, now_ns, segment.quota()),
            }
        }
    }

    /// A gauge that always asks the segment would pass the test above.
    #[test]
    fn a_glance_is_enough_nearly_always(
        tokens in 1..1_000_000_u64,
        period_ns in 1..10_000_000_000_u64,
        carried_ns in 0..1_000_000_000_u64,
        step_ns in 1..86_400_000_000_000_u64,
    ) {
        let quota = Quota::new(Rate::per(tokens, Duration::from_nanos(period_ns)), 1_000_000);
        let (segment, word) = Segment::start(quota, 0);
        let (segment, word) = segment.turn(word, carried_ns, quota);
        let gauge = Gauge::of(&segment);
        let unsure = (0..1_000).filter(|step| {
            gauge.weigh(word, carried_ns + step * step_ns / 1_000, 1) == Glance::Unsure
        });
        // The day of the longest is 2^46 ns, and so unsure once in 2^18 times.
        prop_assert!(unsure.count() <= 2);
    }

    /// Whatever it is inherited as: a bucket is never fuller than full, and no debt is larger than a burst can be.
    #[test]
    fn what_is_inherited_keeps_within_the_new_bounds(
        tokens in prop_oneof![edge().prop_map(|edge| (edge >> 2).cast_signed()), edge().prop_map(|edge| -(edge >> 3).cast_signed())],
        old in edge(),
        new in edge(),
    ) {
        let (old, new) = (old.min(Quota::MAX_BURST), new.min(Quota::MAX_BURST));
        let tokens = tokens.min(old.cast_signed());
        for inherit in [Inherit::AsIs, Inherit::Reset, Inherit::Proportional, Inherit::Additive] {
            let inherited = inherit.tokens(tokens, old, new);
            prop_assert!(inherited <= new.cast_signed(), "{:?}: {}", inherit, inherited);
            prop_assert!(inherited >= -Quota::MAX_BURST.cast_signed(), "{:?}: {}", inherit, inherited);
            if inherit != Inherit::Additive {
                prop_assert!(inherited >= tokens.min(0), "{:?}: {}", inherit, inherited);
            }
        }
    }

    #[test]
    fn dividing_by_multiplication_is_dividing(units in edge(), per_ns in edge().prop_filter("a rate", |ns| *ns > 0)) {
        let rate = Rate::per(1, Duration::from_nanos(per_ns));
        let (segment, _) = Segment::start(Quota::new(rate, 1), 0);
        for units in [units, units / per_ns * per_ns, (units / per_ns * per_ns).saturating_sub(1)] {
            prop_assert_eq!(segment.divided(units), units / per_ns);
        }
    }

    #[test]
    fn turning_under_the_same_quota_moves_nothing_ever(
        tokens in 1..1_000_000_u64,
        period_ns in 1..1_000_000_000_000_u64,
        turns in prop::collection::vec(0..10_000_000_000_u64, 1..50),
    ) {
        let quota = Quota::new(Rate::per(tokens, Duration::from_nanos(period_ns)), 1_000_000_000);
        let (kept, word) = Segment::start(quota, 7);
        let (mut turned, mut turned_word) = (kept, word.wrapping_add(quota.burst));
        let word = turned_word;
        let mut now_ns = 7;
        for step in turns {
            now_ns += step;
            (turned, turned_word) = turned.turn(turned_word, now_ns, quota);
            let full = kept.peek(word, now_ns).is_full();
            // While full, both are full; until then they agree to the token and to the nanosecond.
            prop_assert_eq!(turned.peek(turned_word, now_ns), kept.peek(word, now_ns));
            if full {
                break;
            }
            prop_assert_eq!(turned.full_at_ns(turned_word), kept.full_at_ns(word));
        }
    }
}

#[test]
fn a_word_that_has_wrapped_round_counts_on() {
    let quota = Quota::new(Rate::per_second(100_000_000_000), 1_000);
    let (mut segment, mut word) = Segment::start(quota, 0);
    // Thirty years at 100 GB/s, a request a month: 5 times 2^64 tokens are minted.
    let mut turns = 0;
    for month in 1..=360 {
        let now_ns = month * 30 * 86_400 * SECOND_NS;
        if segment.decide(word, now_ns, 1) == Decision::Turn {
            turns += 1;
            (segment, word) = segment.turn(word, now_ns, quota);
        }
        assert_eq!(segment.peek(word, now_ns).available, 1_000);
        let Decision::Admitted { spent } = segment.decide(word, now_ns, 1_000) else {
            panic!("month {month}: a full bucket refuses")
        };
        word = spent;
        assert!(matches!(segment.decide(word, now_ns, 1), Decision::Denied(_)));
    }
    assert!((30..=60).contains(&turns), "{turns} turns");
}

#[test]
fn a_bucket_that_idled_while_the_counter_wrapped_is_full_and_not_in_debt() {
    let quota = Quota::new(Rate::per_second(u64::MAX), 10);
    let mut bucket = Bucket::full(quota, 0);
    bucket.try_acquire(0, 10).unwrap();
    for now_ns in [SECOND_NS / 2, SECOND_NS, 86_400 * SECOND_NS, u64::MAX] {
        assert!(bucket.is_full(now_ns), "at {now_ns} ns");
        bucket.try_acquire(now_ns, 10).unwrap();
    }
}

#[test]
fn giving_back_without_end_leaves_a_full_bucket() {
    let quota = Quota::new(Rate::per_second(1), Quota::MAX_BURST);
    let mut bucket = Bucket::full(quota, 0);
    for tokens in [1, u64::MAX, Quota::MAX_BURST, u64::MAX, u64::MAX] {
        bucket.release(0, tokens);
        assert_eq!(bucket.peek(0).available, Quota::MAX_BURST);
    }
    bucket.try_acquire(0, Quota::MAX_BURST).unwrap();
    assert!(bucket.try_acquire(0, 1).is_err());
}

#[test]
fn a_change_of_quota_that_comes_late_mints_nothing() {
    let quota = Quota::new(Rate::per_second(10), 100);
    let mut bucket = Bucket::full(quota, 10 * SECOND_NS);
    bucket.try_acquire(10 * SECOND_NS, 100).unwrap();
    bucket.reconfigure(SECOND_NS, Quota { burst: 1_000, ..quota });
    assert_eq!(bucket.peek(10 * SECOND_NS).available, 0);
    assert_eq!(bucket.peek(11 * SECOND_NS).available, 10);
}

#[test]
fn unlimited_admits_everything_and_returns_to_a_full_bucket_not_to_a_hoard() {
    let quota = Quota::new(Rate::per_second(1), 5);
    let mut bucket = Bucket::full(quota, 0);
    bucket.try_acquire(0, 5).unwrap();
    bucket.reconfigure(0, Quota::UNLIMITED);
    bucket.try_acquire(0, u64::MAX).unwrap();
    assert_eq!(bucket.peek(0).available, u64::MAX);
    bucket.reconfigure(3_600 * SECOND_NS, quota);
    assert_eq!(bucket.peek(3_600 * SECOND_NS).available, 5);
}

#[test]
fn zero_and_unlimited_are_opposites() {
    let mut zero = Bucket::full(Quota::new(Rate::ZERO, 3), 0);
    zero.try_acquire(0, 3).unwrap();
    let denied = zero.try_acquire(u64::MAX, 1).unwrap_err();
    assert_eq!((denied.bound, denied.retry_after), (Bound::Rate, RetryAfter::Never));
    assert!(Bucket::full(Quota::new(Rate::ZERO, 0), 0).try_acquire(0, 1).is_err());
    assert!(Bucket::full(Quota::new(Rate::UNLIMITED, 0), 0).try_acquire(0, u64::MAX).is_ok());
}

#[test]
fn an_oversize_request_passes_once_when_full_and_is_paid_for() {
    let quota = Quota::new(Rate::per_second(10), 100).oversize(Oversize::WhenFull);
    let mut bucket = Bucket::full(quota, 0);
    bucket.try_acquire(0, 350).unwrap();
    assert_eq!(bucket.peek(0).debt, 250);
    let small = bucket.try_acquire(0, 1).unwrap_err();
    assert_eq!(small.retry_after, RetryAfter::After(Duration::from_millis(25_100)));
    let large = bucket.try_acquire(0, 101).unwrap_err();
    assert_eq!((large.bound, large.retry_after), (Bound::Burst, RetryAfter::After(Duration::from_secs(35))));
    assert!(bucket.try_acquire(35 * SECOND_NS - 1, 101).is_err());
    assert!(bucket.try_acquire(35 * SECOND_NS, 101).is_ok());
    let beyond = bucket.try_acquire(u64::MAX, Quota::MAX_BURST + 1).unwrap_err();
    assert_eq!(beyond.retry_after, RetryAfter::Never);
}

#[test]
fn a_request_beyond_the_burst_is_rejected_for_ever_by_default() {
    let mut bucket = Bucket::full(Quota::new(Rate::per_second(10), 100), 0);
    let denied = bucket.try_acquire(0, 101).unwrap_err();
    assert_eq!((denied.bound, denied.retry_after), (Bound::Burst, RetryAfter::Never));
    assert_eq!(denied.available, 100);
}
