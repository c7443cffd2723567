//! Tokens of the future, and requests in part.

use std::cell::Cell;
use std::time::Duration;

use forebay_ratelimit::bucket::Bucket;
use forebay_ratelimit::{Bound, Limiter, Oversize, Quota, Rate, RetryAfter};
use proptest::prelude::*;

const SECOND_NS: u64 = 1_000_000_000;
const LONG: Duration = Duration::from_secs(86_400);

fn per_second(rate: u64, burst: u64) -> Quota {
    Quota::new(Rate::per_second(rate), burst)
}

#[test]
fn reservations_follow_each_other() {
    let clock = Cell::new(0);
    let limiter = Limiter::with_clock(per_second(10, 5), || clock.get());
    let instants = [5, 2, 3].map(|tokens| limiter.reserve(tokens, LONG).unwrap().at_ns());
    assert_eq!(instants, [0, 200_000_000, 500_000_000]);
    assert!(!limiter.allow(1));
    clock.set(400_000_000);
    let next = limiter.reserve(1, LONG).unwrap();
    assert_eq!((next.at_ns(), next.wait()), (600_000_000, Duration::from_millis(200)));
    clock.set(SECOND_NS);
    assert_eq!(next.wait(), Duration::ZERO);
    assert_eq!(next.into_permit().granted(), 1);
}

#[test]
fn a_reservation_that_would_come_too_late_is_refused_and_says_when_it_is_not() {
    let clock = Cell::new(0);
    let limiter = Limiter::with_clock(per_second(10, 5), || clock.get());
    assert!(limiter.allow(5));
    let denied = limiter.reserve(3, Duration::from_millis(200)).unwrap_err();
    assert_eq!(
        (denied.bound, denied.retry_after.duration()),
        (Bound::Rate, Some(Duration::from_millis(100)))
    );
    clock.set(100_000_000 - 1);
    assert!(limiter.reserve(3, Duration::from_millis(200)).is_err());
    clock.set(100_000_000);
    assert_eq!(limiter.reserve(3, Duration::from_millis(200)).unwrap().at_ns(), 300_000_000);
    let denied = limiter.reserve(6, LONG).unwrap_err();
    assert_eq!((denied.bound, denied.retry_after), (Bound::Burst, RetryAfter::Never));
}

#[test]
fn oversize_reservations_are_paid_for_before_or_afterwards() {
    for (oversize, at_ns) in [(Oversize::Split, SECOND_NS), (Oversize::WhenFull, 0)] {
        let limiter = Limiter::with_clock(per_second(10, 5).oversize(oversize), || 0);
        assert_eq!(limiter.reserve(15, LONG).unwrap().at_ns(), at_ns, "{oversize:?}");
        assert_eq!(limiter.reserve(1, LONG).unwrap().at_ns(), SECOND_NS + SECOND_NS / 10);
    }
}

#[test]
fn reserving_without_end_is_refused_before_anything_overflows() {
    let limiter = Limiter::with_clock(per_second(u64::MAX, Quota::MAX_BURST), || 0);
    for reserved in 0.. {
        match limiter.reserve(Quota::MAX_BURST, Duration::MAX) {
            Ok(reservation) => drop(reservation.into_permit()),
            Err(denied) => {
                assert_eq!((reserved, denied.retry_after), (2, RetryAfter::Never));
                break;
            }
        }
    }
    let slow = Limiter::with_clock(Quota::new(Rate::per(1, Duration::MAX), 1), || u64::MAX);
    assert_eq!(slow.reserve(1, Duration::MAX).unwrap().at_ns(), u64::MAX);
    assert_eq!(slow.reserve(1, Duration::MAX).unwrap_err().retry_after, RetryAfter::Never);
    let unlimited = Limiter::with_clock(Quota::UNLIMITED, || 7);
    let reservation = unlimited.reserve(u64::MAX, Duration::ZERO).unwrap();
    assert_eq!((reservation.at_ns(), reservation.into_permit().tokens()), (7, 0));
}

/// D2 as it is written: eight overlapping reservations, taken back, in every round.
#[test]
fn reservations_that_are_cancelled_leave_no_phantom_debt() {
    let clock = Cell::new(SECOND_NS);
    let limiter = Limiter::with_clock(per_second(1 << 20, 8 << 20), || clock.get());
    for _ in 0..5 {
        let reservations: Vec<_> = (0..16).map(|_| limiter.reserve(1 << 20, LONG).unwrap()).collect();
        assert_eq!(limiter.peek().debt, 8 << 20);
        reservations.into_iter().for_each(|reservation| reservation.cancel());
        assert!(limiter.peek().is_full());
        clock.set(clock.get() + 1_000);
    }
}

/// Once a mistake: with the tokens both used and cancelled, twice the burst passed at one instant.
#[test]
fn a_reservation_whose_time_has_come_is_not_cancelled_any_more() {
    let clock = Cell::new(0);
    let limiter = Limiter::with_clock(per_second(10, 100), || clock.get());
    let [now, later] = [100, 10].map(|tokens| limiter.reserve(tokens, LONG).unwrap());
    clock.set(later.at_ns() - 1);
    assert_eq!(limiter.peek().debt, 1);
    now.cancel();
    assert_eq!(limiter.peek().debt, 1, "its time was at once");
    later.cancel();
    assert_eq!(limiter.peek().available, 9);
    clock.set(20 * SECOND_NS);
    let kept = limiter.reserve(100, LONG).unwrap();
    kept.into_permit().release();
    assert!(limiter.peek().is_full(), "what was not done is settled by the permit");
}

proptest! {
    /// The documented bound: whoever acts when told passes what the rate and the burst allow, and on top of it
    /// only what was cancelled under those who reserved later. P3: with all of it cancelled, nothing was ever there.
    #[test]
    fn windows_of_reservations_hold_the_burst_the_rate_and_what_was_cancelled(
        rate in 1..10_000_u64,
        burst in 1..100_u64,
        steps in prop::collection::vec((1..100_u64, 0..50_000_000_u64, prop::option::weighted(0.3, any::<prop::sample::Index>())), 1..60),
    ) {
        let clock = Cell::new(0);
        let limiter = Limiter::with_clock(per_second(rate, burst), || clock.get());
        let mut held = Vec::new();
        let mut cancelled = 0;
        for (number, (tokens, step_ns, cancel)) in steps.into_iter().enumerate() {
            let tokens = tokens.min(burst);
            held.push((number, limiter.reserve(tokens, LONG).unwrap(), tokens));
            clock.set(clock.get() + step_ns);
            if let Some(index) = cancel {
                let (number, reservation, tokens) = held.swap_remove(index.index(held.len()));
                // What its holder has acted on is not taken back.
                if reservation.at_ns() > clock.get() {
                    cancelled += tokens * u64::from(held.iter().any(|&(later, ..)| later > number));
                    reservation.cancel();
                } else {
                    held.push((number, reservation, tokens));
                }
            }
        }
        held.sort_by_key(|(_, reservation, _)| reservation.at_ns());
        for (first, (_, start, _)) in held.iter().enumerate() {
            let mut sum = 0;
            for (_, end, tokens) in &held[first..] {
                sum += tokens;
                let minted = rate * (end.at_ns() - start.at_ns()) / SECOND_NS;
                prop_assert!(sum <= burst + minted + 1 + cancelled, "{} of {}", sum, burst + minted + 1 + cancelled);
            }
        }
        for (_, reservation, _) in held {
            reservation.into_permit().release();
        }
        prop_assert!(limiter.peek().is_full());
    }

    #[test]
    fn a_part_is_what_is_there_between_the_least_and_all(
        burst in 0..100_u64,
        requests in prop::collection::vec((0..150_u64, 0..150_u64, 0..2_000_000_000_u64), 1..40),
        when_full in any::<bool>(),
    ) {
        let oversize = if when_full { Oversize::WhenFull } else { Oversize::Reject };
        let quota = per_second(10, burst).oversize(oversize);
        let clock = Cell::new(0);
        let limiter = Limiter::with_clock(quota, || clock.get());
        let mut bucket = Bucket::full(quota, 0);
        for (tokens, least, step_ns) in requests {
            clock.set(clock.get() + step_ns);
            let (before, bucket_before) = (limiter.peek(), bucket.peek(clock.get()));
            for (granted, available, full) in [
                (limiter.acquire_up_to(tokens, least).map(|permit| permit.granted()), before.available, before.is_full()),
                (bucket.acquire_up_to(clock.get(), tokens, least), bucket_before.available, bucket_before.is_full()),
            ] {
                let least = least.min(tokens);
                match granted {
                    Ok(granted) if available >= least => prop_assert_eq!(granted, tokens.min(available)),
                    Ok(granted) => {
                        prop_assert!(when_full && full && least > burst);
                        prop_assert_eq!(granted, least);
                    }
                    Err(denied) => {
                        prop_assert!(available < least);
                        prop_assert_eq!((denied.requested, denied.available), (least, available));
                    }
                }
            }
        }
    }
}

#[test]
fn a_part_of_an_unlimited_bucket_is_all() {
    let limiter = Limiter::with_clock(Quota::UNLIMITED, || 0);
    let permit = limiter.acquire_up_to(u64::MAX, 1).unwrap();
    assert_eq!((permit.granted(), permit.tokens()), (u64::MAX, 0));
    let limited = Limiter::with_clock(per_second(1, 10), || 0);
    let mut permit = limited.acquire_up_to(15, 0).unwrap();
    assert_eq!((permit.granted(), permit.tokens()), (10, 10));
    permit.shrink_to(4);
    assert_eq!((permit.granted(), limited.peek().available), (4, 6));
    assert_eq!(limited.acquire_up_to(15, 7).unwrap_err().available, 6);
}
