//! The promise itself, against oracles that share no arithmetic with the crate: an exact fractional bucket,
//! an unbounded virtual counter, and the sum over every window of time.

use std::cell::Cell;
use std::time::Duration;

use forebay_ratelimit::bucket::{Bucket, Decision, Segment};
use forebay_ratelimit::{Limiter, Oversize, Quota, Rate, RetryAfter};
use proptest::prelude::*;

/// A rate as the oracles know it: tokens and nanoseconds, not in lowest terms.
#[derive(Clone, Copy, Debug)]
struct Fraction {
    tokens: u64,
    per_ns: u64,
}

impl Fraction {
    fn rate(self) -> Rate {
        Rate::per(self.tokens, Duration::from_nanos(self.per_ns))
    }

    fn minted(self, elapsed_ns: u64) -> i128 {
        i128::from(self.tokens) * i128::from(elapsed_ns) / i128::from(self.per_ns)
    }
}

/// From one token a day to 100 GB/s and beyond, and any fraction.
fn fraction() -> impl Strategy<Value = Fraction> {
    const SECOND_NS: u64 = 1_000_000_000;
    let known = [
        (1, 86_400 * SECOND_NS),
        (7, 3_600 * SECOND_NS),
        (1, SECOND_NS),
        (1_000, 3 * SECOND_NS),
        (4 << 20, SECOND_NS),
        (64 << 20, SECOND_NS),
        (600_000_000, SECOND_NS),
        (2_000_000_000, SECOND_NS),
        (u64::from(u32::MAX), SECOND_NS),
        (100_000_000_000, SECOND_NS),
    ];
    let known = known.map(|(tokens, per_ns)| Fraction { tokens, per_ns });
    let other = (1..1_u64 << 40, 1..1_u64 << 40).prop_map(|(tokens, per_ns)| Fraction { tokens, per_ns });
    prop_oneof![prop::sample::select(known.to_vec()), other]
}

#[derive(Clone, Debug)]
struct Trace {
    fraction: Fraction,
    quota: Quota,
    /// Instant and size of each request; instants do not decrease.
    requests: Vec<(u64, u64)>,
}

/// Requests that come about when tokens do, to the nanosecond before and after, with pauses of any length.
fn trace() -> impl Strategy<Value = Trace> {
    let burst = prop_oneof![0..20_u64, 1..1_u64 << 32];
    (fraction(), burst, any::<bool>(), 0..1_u64 << 50).prop_flat_map(
        |(fraction, burst, when_full, origin)| {
            let oversize = if when_full { Oversize::WhenFull } else { Oversize::Reject };
            let quota = Quota { rate: fraction.rate(), burst, oversize };
            let size = prop_oneof![4 => 0..=burst.min(8), 2 => 0..=burst, 1 => 0..=burst * 2 + 2];
            let pause = prop_oneof![3 => 0..4_u64, 2 => 0..=burst.min(1_000), 1 => 0..=burst + 2];
            let jitter = prop_oneof![Just(-1_i64), Just(0), Just(1), 0..1_000_i64];
            prop::collection::vec((size, pause, jitter), 1..60).prop_map(move |steps| {
                let mut now_ns = origin;
                let requests = steps.into_iter().map(|(size, pause, jitter)| {
                    let pause_ns =
                        u128::from(pause) * u128::from(fraction.per_ns) / u128::from(fraction.tokens);
                    let pause_ns = u64::try_from(pause_ns).unwrap_or(u64::MAX).min(1 << 52);
                    now_ns += pause_ns.saturating_add_signed(jitter);
                    (now_ns, size)
                });
                Trace { fraction, quota, requests: requests.collect() }
            })
        },
    )
}

/// P1 as it is written: no window holds more than its burst, what the rate mints in it, and `slack`. Tokens
/// that came back in it are below zero.
fn assert_conformant(trace: &Trace, admitted: &[(u64, i128)], slack: i128, late_ns: u64) {
    let burst = i128::from(trace.quota.burst);
    for (first, &(start_ns, _)) in admitted.iter().enumerate() {
        let mut sum = 0;
        let mut debt = 0;
        for &(end_ns, tokens) in &admitted[first..] {
            sum += tokens;
            debt = debt.max(tokens - burst);
            let most = burst + debt + trace.fraction.minted(end_ns - start_ns + late_ns) + slack;
            assert!(sum <= most, "{sum} of {most} tokens within {start_ns}..={end_ns}");
        }
    }
}

fn assert_bucket_is_exact(trace: &Trace) {
    let Trace { fraction, quota, requests } = trace;
    let (per_ns, burst) = (i128::from(fraction.per_ns), i128::from(quota.burst));
    let mut bucket = Bucket::full(*quota, requests[0].0);
    // The level in units of one token over `per_ns`.
    let (mut level, mut last_ns) = (burst * per_ns, requests[0].0);
    let mut admitted = Vec::new();
    for &(now_ns, tokens) in requests {
        level = (level + i128::from(fraction.tokens) * i128::from(now_ns - last_ns)).min(burst * per_ns);
        last_ns = now_ns;
        let wanted = i128::from(tokens) * per_ns;
        let oversize = quota.oversize == Oversize::WhenFull && level == burst * per_ns;
        let passes = tokens == 0 || wanted <= level || oversize;
        assert_eq!(bucket.try_acquire(now_ns, tokens).is_ok(), passes, "{} at {}", tokens, now_ns);
        if passes {
            level -= wanted;
            admitted.push((now_ns, i128::from(tokens)));
        }
        assert_eq!(i128::from(bucket.peek(now_ns).available), (level / per_ns).max(0));
    }
    assert_conformant(trace, &admitted, 0, 0);
}

fn assert_limiter_is_the_counter(trace: &Trace) {
    let Trace { fraction, quota, requests } = trace;
    let (origin, burst) = (requests[0].0, i128::from(quota.burst));
    let clock = Cell::new(origin);
    let limiter = Limiter::with_clock(*quota, || clock.get());
    let mut spent = -burst;
    let mut admitted = Vec::new();
    for &(now_ns, tokens) in requests {
        clock.set(now_ns);
        let minted = fraction.minted(now_ns - origin);
        let base = spent.max(minted - burst);
        let oversize = quota.oversize == Oversize::WhenFull && base == minted - burst;
        let passes = tokens == 0 || base + i128::from(tokens) <= minted || oversize;
        assert_eq!(limiter.allow(tokens), passes, "{} at {}", tokens, now_ns);
        if passes && tokens > 0 {
            spent = base + i128::from(tokens);
            admitted.push((now_ns, i128::from(tokens)));
        }
    }
    assert_conformant(trace, &admitted, 1, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_bucket_decides_as_the_exact_fractional_bucket_does(trace in trace()) {
        assert_bucket_is_exact(&trace);
    }

    #[test]
    fn a_limiter_decides_as_an_unbounded_virtual_counter_does(trace in trace()) {
        assert_limiter_is_the_counter(&trace);
    }

    /// P2. Decisions taken late book their tokens earlier, which is worth what the rate mints meanwhile and
    /// nothing else, in whatever order they come.
    #[test]
    fn instants_that_come_late_mint_nothing(
        trace in trace(),
        lateness in prop::collection::vec(0..1_000_000_000_u64, 60),
    ) {
        let origin = trace.requests[0].0;
        let clock = Cell::new(origin);
        let limiter = Limiter::with_clock(trace.quota, || clock.get());
        let mut bucket = Bucket::full(trace.quota, origin);
        let (mut by_limiter, mut by_bucket) = (Vec::new(), Vec::new());
        for (&(now_ns, tokens), late_ns) in trace.requests.iter().zip(&lateness) {
            let seen_ns = now_ns.saturating_sub(*late_ns);
            clock.set(seen_ns);
            if limiter.allow(tokens) {
                by_limiter.push((now_ns, i128::from(tokens)));
            }
            if bucket.try_acquire(seen_ns, tokens).is_ok() {
                by_bucket.push((now_ns, i128::from(tokens)));
            }
        }
        let latest = lateness.iter().copied().max().unwrap_or(0);
        assert_conformant(&trace, &by_limiter, 1, latest);
        assert_conformant(&trace, &by_bucket, 1, latest);
    }

    /// What comes back counts against the window in which it does, whenever it was taken; a window that began
    /// with the bucket holds no more in sum than one without returns.
    #[test]
    fn returns_are_worth_what_they_return_and_nothing_else(
        trace in trace(),
        choices in prop::collection::vec((0..4_u8, any::<prop::sample::Index>(), any::<u64>()), 60),
    ) {
        let clock = Cell::new(trace.requests[0].0);
        let limiter = Limiter::with_clock(trace.quota, || clock.get());
        let mut bucket = Bucket::full(trace.quota, clock.get());
        let (mut permits, mut held) = (Vec::new(), Vec::new());
        let (mut by_limiter, mut by_bucket) = (Vec::new(), Vec::new());
        for (&(now_ns, tokens), (choice, index, part)) in trace.requests.iter().zip(choices) {
            clock.set(now_ns);
            if let Ok(permit) = limiter.try_acquire(tokens) {
                by_limiter.push((now_ns, i128::from(tokens)));
                permits.push(permit);
            }
            if bucket.try_acquire(now_ns, tokens).is_ok() {
                by_bucket.push((now_ns, i128::from(tokens)));
                held.push(tokens);
            }
            if choice == 0 && !permits.is_empty() {
                let mut permit = permits.swap_remove(index.index(permits.len()));
                let before = permit.tokens();
                permit.shrink_to(part % (before + 1));
                by_limiter.push((now_ns, i128::from(permit.tokens()) - i128::from(before)));
            }
            if choice == 1 && !held.is_empty() {
                let tokens = held.swap_remove(index.index(held.len()));
                bucket.release(now_ns, tokens);
                by_bucket.push((now_ns, -i128::from(tokens)));
            }
        }
        assert_conformant(&trace, &by_limiter, 1, 0);
        assert_conformant(&trace, &by_bucket, 0, 0);
    }

    /// P2 for one decision: what passes at an earlier instant passes at a later one, to the same word or one
    /// that leaves less.
    #[test]
    fn an_earlier_instant_never_admits_what_a_later_one_refuses(
        trace in trace(),
        tokens in 1..1_000_u64,
        late_ns in any::<u64>(),
    ) {
        let (segment, mut spent) = Segment::start(trace.quota, trace.requests[0].0);
        for &(now_ns, size) in &trace.requests {
            let late = segment.decide(spent, now_ns.saturating_sub(late_ns), tokens);
            let timely = segment.decide(spent, now_ns, tokens);
            prop_assert!(
                !matches!((late, timely), (Decision::Admitted { .. }, Decision::Denied(_))),
                "{:?}, but {:?}", late, timely
            );
            if let Decision::Admitted { spent: taken } = segment.decide(spent, now_ns, size) {
                spent = taken;
            }
        }
    }

    /// P5. One nanosecond before its time a refused request is refused again; at its time it passes. What never
    /// passes does not even do so at the last instant of the clock.
    #[test]
    fn the_wait_of_a_refusal_is_tight(trace in trace()) {
        let mut bucket = Bucket::full(trace.quota, trace.requests[0].0);
        for &(now_ns, tokens) in &trace.requests {
            let Err(denied) = bucket.try_acquire(now_ns, tokens) else { continue };
            match denied.retry_after {
                RetryAfter::After(wait) => {
                    let at_ns = now_ns + u64::try_from(wait.as_nanos()).unwrap();
                    let (mut before, mut then) = (bucket, bucket);
                    prop_assert!(before.try_acquire(at_ns - 1, tokens).is_err(), "passes before {:?}", wait);
                    prop_assert!(then.try_acquire(at_ns, tokens).is_ok(), "does not pass after {:?}", wait);
                }
                RetryAfter::Never => {
                    let mut at_the_end = bucket;
                    prop_assert!(at_the_end.try_acquire(u64::MAX, tokens).is_err());
                }
            }
        }
    }

    /// P4. With requests of one size, more rate or more burst never admits less.
    #[test]
    fn a_larger_quota_admits_no_less_of_requests_of_one_size(
        trace in trace(),
        size in 1..20_u64,
        more_burst in 0..50_u64,
        times in 1..4_u64,
    ) {
        let small = trace.quota;
        let Fraction { tokens, per_ns } = trace.fraction;
        let rate = Fraction { tokens: tokens * times, per_ns }.rate();
        let large = Quota { rate, burst: small.burst + more_burst, oversize: Oversize::Reject };
        let start_ns = trace.requests[0].0;
        let mut buckets = [Bucket::full(small.oversize(Oversize::Reject), start_ns), Bucket::full(large, start_ns)];
        let mut counts = [0, 0];
        for &(now_ns, _) in &trace.requests {
            for (bucket, count) in buckets.iter_mut().zip(&mut counts) {
                *count += u32::from(bucket.try_acquire(now_ns, size).is_ok());
            }
            prop_assert!(counts[0] <= counts[1], "{:?}", counts);
        }
    }
}

/// The price of returning everything, as the front page states it: a burst that was taken, replaced by time and
/// then returned is there a second time. It comes once, and adds nothing to the sum since the beginning.
#[test]
fn what_comes_back_late_passes_on_top_of_what_was_minted_meanwhile() {
    const SECOND_NS: u64 = 1_000_000_000;
    let quota = Quota::new(Rate::per_second(10), 100);
    let clock = Cell::new(0);
    let limiter = Limiter::with_clock(quota, || clock.get());
    let mut bucket = Bucket::full(quota, 0);
    let early = limiter.try_acquire(100).unwrap();
    bucket.try_acquire(0, 100).unwrap();
    clock.set(10 * SECOND_NS);
    assert!(limiter.allow(100) && !limiter.allow(1));
    bucket.try_acquire(clock.get(), 100).unwrap();
    early.release();
    bucket.release(clock.get(), 100);
    assert!(limiter.allow(100) && !limiter.allow(1));
    bucket.try_acquire(clock.get(), 100).unwrap();
    assert!(bucket.try_acquire(clock.get(), 1).is_err());
}

/// Once a mistake: the token is there on the nanosecond at which the day is over, and not one earlier.
#[test]
fn a_token_a_day_is_there_when_the_day_is_over() {
    const DAY_NS: u64 = 86_400_000_000_000;
    let fraction = Fraction { tokens: 1, per_ns: DAY_NS };
    let first_ns = 172_803_748_346_377;
    let requests =
        vec![(first_ns, 1), (first_ns + DAY_NS - 1, 1), (first_ns + DAY_NS, 0), (first_ns + DAY_NS, 1)];
    let trace = Trace { fraction, quota: Quota::new(fraction.rate(), 1), requests };
    assert_bucket_is_exact(&trace);
    assert_limiter_is_the_counter(&trace);
}

#[test]
fn zero_tokens_always_pass_and_cost_nothing() {
    let clock = Cell::new(5);
    let limiter = Limiter::with_clock(Quota::new(Rate::per_second(1), 1), || clock.get());
    assert!(limiter.allow(1));
    for now_ns in [0, 4, 5, 6] {
        clock.set(now_ns);
        assert!(limiter.allow(0));
        assert!(!limiter.allow(1));
    }
    assert!(Bucket::full(Quota::new(Rate::ZERO, 0), 0).try_acquire(0, 0).is_ok());
}
