//! A quota that changes while it runs: what was there stays there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::time::Duration;

use forebay_ratelimit::bucket::Bucket;
use forebay_ratelimit::{Inherit, Limiter, Oversize, Quota, Rate};
use proptest::prelude::*;

const SECOND_NS: u64 = 1_000_000_000;

fn quota() -> impl Strategy<Value = Quota> {
    (1..1_000_000_u64, 1..1_000_000_u64, 0..1_000_u64).prop_map(|(tokens, per_us, burst)| {
        Quota::new(Rate::per(tokens, Duration::from_micros(per_us)), burst).oversize(Oversize::WhenFull)
    })
}

fn assert_level_follows(rates: &[u64], step_ns: u64) {
    let burst = 1 << 40;
    let mut bucket = Bucket::full(Quota::new(Rate::per_second(rates[0]), burst), 0);
    bucket.try_acquire(0, burst).unwrap();
    let (mut exact, mut lost, mut now_ns) = (0, 0, 0);
    for rate in rates {
        bucket.reconfigure(now_ns, Quota::new(Rate::per_second(*rate), burst));
        now_ns += step_ns;
        exact += rate * step_ns;
        lost += rate;
    }
    let available = bucket.peek(now_ns).available;
    assert!(available <= exact / SECOND_NS, "{} of {}", available, exact / SECOND_NS);
    assert!(available >= (exact - lost.min(exact)) / SECOND_NS, "{} of {}", available, exact / SECOND_NS);
}

proptest! {
    /// P8. At the instant of the change nothing comes and nothing goes but what the new burst cannot hold.
    #[test]
    fn tokens_and_debt_survive_a_change_of_quota(
        quotas in prop::collection::vec(quota(), 2..20),
        steps in prop::collection::vec((0..SECOND_NS, 0..1_500_u64), 20),
    ) {
        let clock = Cell::new(0);
        let limiter = Limiter::with_clock(quotas[0], || clock.get());
        let mut bucket = Bucket::full(quotas[0], 0);
        for (quota, (step_ns, tokens)) in quotas.iter().zip(steps) {
            clock.set(clock.get() + step_ns);
            let now_ns = clock.get();
            limiter.allow(tokens);
            let _ = bucket.try_acquire(now_ns, tokens);
            for (before, after) in [
                (limiter.peek(), { limiter.reconfigure(*quota); limiter.peek() }),
                (bucket.peek(now_ns), { bucket.reconfigure(now_ns, *quota); bucket.peek(now_ns) }),
            ] {
                prop_assert_eq!(after.available, before.available.min(quota.burst));
                prop_assert_eq!(after.debt, before.debt);
                prop_assert_eq!((after.rate, after.burst), (quota.rate, quota.burst));
            }
        }
    }

    /// Under a storm of changes the level follows the piecewise exact one: never above it, and below it by
    /// less than what one nanosecond mints per change.
    #[test]
    fn a_storm_of_changes_mints_and_loses_nothing(
        rates in prop::collection::vec(1..1_000_000_u64, 1..40),
        step_ns in 1..3_000_000_u64,
    ) {
        assert_level_follows(&rates, step_ns);
    }
}

/// Once a mistake: the part of a token that one rate minted is carried into the next, whatever that is.
#[test]
fn the_part_of_a_token_is_carried_through_five_rates() {
    assert_level_follows(&[20_704, 205_485, 106_400, 157_568, 41], 255_001);
}

/// What was in the bucket, what the bursts were, and what each inheritance makes of it; below zero is a debt.
#[test]
fn tokens_are_inherited_in_four_ways() {
    use Inherit::{Additive, AsIs, Proportional, Reset};
    for (tokens, old, new, expected) in [
        (40, 100, 200, [(AsIs, 40), (Reset, 200), (Proportional, 80), (Additive, 140)]),
        (40, 100, 20, [(AsIs, 20), (Reset, 20), (Proportional, 8), (Additive, -40)]),
        (100, 100, 30, [(AsIs, 30), (Reset, 30), (Proportional, 30), (Additive, 30)]),
        (1, 3, 2, [(AsIs, 1), (Reset, 2), (Proportional, 0), (Additive, 0)]),
        (-50, 100, 200, [(AsIs, -50), (Reset, 200), (Proportional, -50), (Additive, 50)]),
        (0, 0, 7, [(AsIs, 0), (Reset, 7), (Proportional, 7), (Additive, 7)]),
        (5, 7, 0, [(AsIs, 0), (Reset, 0), (Proportional, 0), (Additive, -2)]),
    ] {
        let quotas =
            [old, new].map(|burst| Quota::new(Rate::per_second(10), burst).oversize(Oversize::WhenFull));
        for (inherit, expected) in expected {
            let limiter = Limiter::with_clock(quotas[0], || 7);
            let mut bucket = Bucket::full(quotas[0], 7);
            let take = u64::try_from(i64::try_from(old).unwrap() - tokens).unwrap();
            assert!(limiter.allow(take) && bucket.try_acquire(7, take).is_ok());
            limiter.reconfigure_with(quotas[1], inherit);
            bucket.reconfigure_with(7, quotas[1], inherit);
            for after in [limiter.peek(), bucket.peek(7)] {
                let level = after.available.cast_signed() - after.debt.cast_signed();
                assert_eq!(level, expected, "{tokens} of {old} under {new} {inherit:?}");
            }
        }
    }
}

#[test]
fn the_same_quota_again_changes_nothing_unless_it_resets() {
    let quota = Quota::new(Rate::per_second(10), 100);
    let limiter = Limiter::with_clock(quota, || 0);
    assert!(limiter.allow(60));
    for inherit in [Inherit::AsIs, Inherit::Proportional, Inherit::Additive] {
        limiter.reconfigure_with(quota, inherit);
        assert_eq!(limiter.peek().available, 40, "{inherit:?}");
    }
    limiter.reconfigure_with(quota, Inherit::Reset);
    assert!(limiter.peek().is_full());
    limiter.reconfigure(Quota::UNLIMITED);
    limiter.reconfigure_with(quota, Inherit::Additive);
    assert!(limiter.peek().is_full());
}

#[test]
fn flapping_between_two_quotas_is_worth_no_more_than_the_better_one() {
    let clock = Cell::new(0);
    let day = Rate::per(1, Duration::from_secs(86_400));
    let quotas = [Quota::new(day, 10), Quota::new(Rate::per_second(1), 10)];
    let limiter = Limiter::with_clock(quotas[0], || clock.get());
    let mut admitted = 0;
    for tick in 0..100_000 {
        clock.set(tick * 1_000_000);
        limiter.reconfigure(quotas[usize::from(tick % 2 == 0)]);
        admitted += u32::from(limiter.allow(1));
    }
    // A burst of ten, and one a second for half of the hundred seconds.
    assert!((59..=61).contains(&admitted), "{admitted} admitted");
}

#[test]
fn a_larger_burst_brings_no_tokens_of_its_own() {
    let clock = Cell::new(0);
    let limiter = Limiter::with_clock(Quota::new(Rate::per_second(1), 10), || clock.get());
    clock.set(3_600 * SECOND_NS);
    limiter.reconfigure(Quota::new(Rate::per_second(1), 1_000));
    assert_eq!(limiter.peek().available, 10);
    clock.set(3_605 * SECOND_NS);
    assert_eq!(limiter.peek().available, 15);
}

#[test]
fn limited_after_unlimited_is_full_once() {
    let clock = Cell::new(0);
    let quota = Quota::new(Rate::per_second(1), 10);
    let limiter = Limiter::with_clock(quota, || clock.get());
    assert!(limiter.allow(10));
    limiter.reconfigure(Quota::UNLIMITED);
    let permit = limiter.try_acquire(u64::MAX).unwrap();
    assert_eq!(permit.tokens(), 0);
    clock.set(86_400 * SECOND_NS);
    limiter.reconfigure(quota);
    assert!(limiter.allow(10));
    permit.release();
    assert!(!limiter.allow(1));
}

#[test]
fn a_permit_gives_back_what_it_took_and_no_more() {
    let clock = Cell::new(0);
    let limiter = Limiter::with_clock(Quota::new(Rate::per_second(10), 100), || clock.get());
    let mut permit = limiter.try_acquire(80).unwrap();
    permit.shrink_to(90);
    assert_eq!((permit.tokens(), limiter.peek().available), (80, 20));
    permit.shrink_to(30);
    assert_eq!((permit.tokens(), limiter.peek().available), (30, 70));
    permit.release();
    assert!(limiter.peek().is_full());

    let _dropped = limiter.try_acquire(60).unwrap();
    limiter.try_acquire(30).unwrap().keep();
    assert_eq!(limiter.peek().available, 10);

    // What comes back late is clamped at full: the time in between has refilled it already.
    let permit = limiter.try_acquire(10).unwrap();
    clock.set(3_600 * SECOND_NS);
    permit.release();
    assert_eq!(limiter.peek().available, 100);
    assert!(limiter.allow(100));
    assert!(!limiter.allow(1));
}
