use std::time::Duration;

use crate::quota::Oversize;
use proptest::prelude::*;

use super::*;
use crate::bucket::Bucket;
use crate::rate::Rate;

const SECOND_NS: u64 = 1_000_000_000;

/// A bucket of one's own, made of a position in segments that began long before.
struct Lodger {
    segment: Segment,
    position: Position,
}

impl Lodger {
    fn full(quota: Quota, began_ns: u64, now_ns: u64) -> Self {
        let (segment, _) = Segment::start(quota, began_ns);
        Self { segment, position: segment.full_position(now_ns, now_ns) }
    }

    fn try_acquire(&mut self, now_ns: u64, tokens: u64) -> Result<(), Denied> {
        loop {
            match self.segment.weigh_at(self.position, now_ns, tokens) {
                Weighed::Admitted(position) => {
                    self.position = position;
                    return Ok(());
                }
                Weighed::Short => return Err(self.segment.refusal_at(self.position, now_ns, tokens)),
                Weighed::Due => {
                    self.position = self.segment.within_reach(self.position, now_ns);
                    (self.segment, _) = self.segment.turn(0, now_ns, self.segment.quota());
                }
            }
        }
    }

    fn reconfigure(&mut self, now_ns: u64, quota: Quota, began_ns: u64) {
        let (next, _) = Segment::start(quota, began_ns);
        self.position = self.segment.carry_to(&next, self.position, now_ns);
        self.segment = next;
    }
}

fn quota(longest_ns: u64) -> impl Strategy<Value = Quota> {
    // Most of them such that a bucket is neither always full nor always empty.
    let tokens = prop_oneof![4 => 0..400_u64, 1 => 0..1_u64 << 33];
    let rate = (tokens, longest_ns / 8..longest_ns)
        .prop_map(|(tokens, ns)| Rate::per(tokens, Duration::from_nanos(ns)));
    let oversize = prop_oneof![Just(Oversize::Reject), Just(Oversize::WhenFull)];
    (rate, 0..200_u64, oversize).prop_map(|(rate, burst, oversize)| Quota { rate, burst, oversize })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// The fraction is exact up to 2^32 nanoseconds a period, so every decision and every wait is the same.
    #[test]
    fn a_position_in_a_shared_segment_decides_as_a_bucket_of_its_own(
        quotas in prop::collection::vec(quota(1 << 32), 1..4),
        began_ns in prop::collection::vec(0..SECOND_NS, 4),
        steps in prop::collection::vec((0..SECOND_NS, 0..250_u64, 0..12_usize), 1..60),
    ) {
        let mut now_ns = SECOND_NS;
        let (mut bucket, mut lodger) =
            (Bucket::full(quotas[0], now_ns), Lodger::full(quotas[0], began_ns[0], now_ns));
        for (step_ns, tokens, choice) in steps {
            now_ns += step_ns;
            if let Some(&quota) = quotas.get(choice) {
                // The bucket first drops what it holds beyond full, as it does before every request.
                if bucket.is_full(now_ns) {
                    bucket = Bucket::full(bucket.quota(), now_ns);
                }
                bucket.reconfigure(now_ns, quota);
                lodger.reconfigure(now_ns, quota, began_ns[choice]);
            }
            if choice == 11 {
                bucket.release(now_ns, tokens);
                lodger.position = lodger.segment.give_back_at(lodger.position, now_ns, tokens);
            }
            let found = lodger.try_acquire(now_ns, tokens);
            let expected = bucket.try_acquire(now_ns, tokens);
            prop_assert_eq!(found, expected);
            prop_assert_eq!(lodger.segment.peek_at(lodger.position, now_ns), bucket.peek(now_ns));
            prop_assert_eq!(lodger.segment.is_full_at(lodger.position, now_ns), bucket.is_full(now_ns));
        }
    }

    /// Beyond 2^32 nanoseconds a period, a token comes late by no more than 2^-31 of the time it takes.
    #[test]
    fn a_long_period_is_rounded_against_the_bucket_and_by_almost_nothing(
        tokens in 1..100_u64,
        period_ns in 1_u64 << 32..1 << 62,
        began_ns in 0..SECOND_NS,
        at_ns in 0..1_u64 << 62,
    ) {
        let quota = Quota::new(Rate::per(tokens, Duration::from_nanos(period_ns)), 5);
        let now_ns = SECOND_NS + at_ns;
        let (mut bucket, mut lodger) = (Bucket::full(quota, now_ns), Lodger::full(quota, began_ns, now_ns));
        bucket.try_acquire(now_ns, 5).unwrap();
        lodger.try_acquire(now_ns, 5).unwrap();
        let wait = |denied: Denied| denied.retry_after.duration().unwrap();
        let (exact, rounded) =
            (wait(bucket.try_acquire(now_ns, 1).unwrap_err()), wait(lodger.try_acquire(now_ns, 1).unwrap_err()));
        prop_assert!(exact <= rounded, "{:?} is earlier than {:?}", rounded, exact);
        let slack = exact / (1 << 31) + Duration::from_nanos(2);
        prop_assert!(rounded <= exact + slack, "{:?} is later than {:?}", rounded, exact);
        let later_ns = now_ns.saturating_add(u64::try_from(rounded.as_nanos()).unwrap());
        prop_assert!(lodger.try_acquire(later_ns - 1, 1).is_err());
        prop_assert!(lodger.try_acquire(later_ns, 1).is_ok());
    }

    /// What a debt sketch hands out: full at that instant, to the nanosecond, and not before.
    #[test]
    fn a_bucket_that_is_full_ahead_is_full_then_and_not_before(
        tokens in 1..1_000_000_000_u64,
        began_ns in 0..SECOND_NS,
        ahead_ns in 1..1_000 * SECOND_NS,
    ) {
        let (segment, _) = Segment::start(Quota::new(Rate::per_second(tokens), 100), began_ns);
        let position = segment.full_position(SECOND_NS, SECOND_NS + ahead_ns);
        prop_assert!(segment.is_full_at(position, SECOND_NS + ahead_ns));
        prop_assert!(!segment.is_full_at(position, SECOND_NS + ahead_ns - 1));
        prop_assert_eq!(segment.full_position_at_ns(position), Some(SECOND_NS + ahead_ns));
    }

    /// P10.
    #[test]
    fn no_position_at_the_edge_of_64_bits_panics(
        rates in prop::collection::vec((edge(), edge()), 2),
        bursts in prop::collection::vec(edge(), 2),
        instants in prop::collection::vec(edge(), 6),
        tokens in edge(),
        spent in edge(),
        rest in any::<u64>(),
    ) {
        let segment = |index: usize| {
            let rate = Rate::per(rates[index].0, Duration::from_nanos(rates[index].1.max(1)));
            Segment::start(Quota::new(rate, bursts[index]), instants[index]).0
        };
        let (here, next) = (segment(0), segment(1));
        let (_, per_ns) = here.rate.parts();
        let part = u32::try_from((rest % per_ns) >> here.grid()).unwrap();
        for position in [here.full_position(instants[2], instants[3]), Position { spent, part }] {
            let now_ns = instants[4];
            let position = match here.weigh_at(position, now_ns, tokens) {
                Weighed::Admitted(position) => position,
                Weighed::Short | Weighed::Due => position,
            };
            here.refusal_at(position, now_ns, tokens);
            here.peek_at(position, now_ns);
            here.full_position_at_ns(position);
            here.give_back_at(position, now_ns, tokens);
            next.peek_at(here.carry_to(&next, position, now_ns), instants[5]);
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
fn a_segment_that_is_turned_leaves_those_who_share_it_where_they_were() {
    let quota = Quota::new(Rate::per_second(100_000_000_000), 1_000);
    let mut lodger = Lodger::full(quota, 0, 0);
    for month in 1..=360 {
        let now_ns = month * 30 * 86_400 * SECOND_NS;
        lodger.try_acquire(now_ns, 1_000).unwrap();
        assert!(lodger.try_acquire(now_ns, 1).is_err(), "month {month}");
    }
}
