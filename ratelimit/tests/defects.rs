//! P12. What went wrong in other limiters, each with the bug it is named after.

use std::cell::Cell;
use std::time::Duration;

use forebay_ratelimit::bucket::{Bucket, Decision, Segment};
use forebay_ratelimit::{Limiter, Quota, Rate};

const SECOND_NS: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;

/// D1. A distributor took the time at the start of a push, used it after validating, and cancelled what it
/// then rejected; each cancellation set the limiter's clock back to that early time, and tokens were minted
/// again. With 128 pushers 13 times the limit came in.
#[test]
fn late_timestamps_and_given_back_tokens_do_not_lift_the_limit() {
    for pushers in [8, 32, 128] {
        let quota = Quota::new(Rate::per_second(4 * MIB), 6 * MIB);
        let (segment, mut spent) = Segment::start(quota, SECOND_NS);
        let push = 64 << 10;
        let mut admitted = 0;
        let end_ns = 3 * SECOND_NS;
        // Every pusher is between 1 and 8 ms late, and half of what is admitted is taken back at once.
        for round in 0.. {
            let now_ns = SECOND_NS + round * 100_000;
            if now_ns > end_ns {
                break;
            }
            for pusher in 0..pushers / 8 {
                let late_ns = 1_000_000 + (round * 7 + pusher * 13) % 8 * 1_000_000;
                match segment.decide(spent, now_ns - late_ns, push) {
                    Decision::Admitted { spent: taken } if (round + pusher) % 2 == 0 => {
                        spent = segment.give_back(taken, now_ns - late_ns, push);
                    }
                    Decision::Admitted { spent: taken } => (spent, admitted) = (taken, admitted + push),
                    Decision::Denied(_) => {}
                    Decision::Turn => unreachable!("after three seconds"),
                }
            }
        }
        let legal = 6 * MIB + 2 * 4 * MIB;
        assert!(admitted <= legal, "{admitted} of {legal} bytes with {pushers} pushers");
        assert!(admitted > legal - legal / 50, "{admitted} of {legal} bytes with {pushers} pushers");
    }
}

/// D2. Taking and giving back eight overlapping requests left the debt of seven behind, in every round.
#[test]
fn tokens_given_back_leave_no_phantom_debt() {
    let limiter = Limiter::with_clock(Quota::new(Rate::per_second(MIB), 8 * MIB), || 0);
    for _ in 0..5 {
        let permits: Vec<_> = (0..8).map(|_| limiter.try_acquire(MIB).unwrap()).collect();
        assert_eq!(limiter.peek().available, 0);
        permits.into_iter().for_each(|permit| permit.release());
        assert!(limiter.peek().is_full());
    }
}

/// D3. A timestamp older than the last one minted the time in between anew: 20,000 admitted where 100 are
/// legal.
#[test]
fn a_clock_seen_late_by_every_other_thread_mints_nothing() {
    let clock = Cell::new(SECOND_NS);
    let limiter = Limiter::with_clock(Quota::new(Rate::per_second(1_000), 1), || clock.get());
    let mut admitted = 0;
    for tick in 0..100_000 {
        let now_ns = SECOND_NS + tick * 1_000;
        let late_ns = if tick % 2 == 0 { 0 } else { 50_000_000 };
        clock.set(now_ns - late_ns);
        admitted += u64::from(limiter.allow(1));
    }
    // A burst of one and 100 ms at 1,000 a second.
    assert!((100..=101).contains(&admitted), "{admitted} admitted");
}

/// D4. A time per token in whole nanoseconds makes 600 MB/s one GB/s and 2 GB/s half of it.
#[test]
fn byte_rates_are_exact_to_the_byte() {
    for rate in
        [64 * MIB, 100 * MIB, 300_000_000, 600_000_000, 2_000_000_000, u64::from(u32::MAX), 100_000_000_000]
    {
        let mut bucket = Bucket::full(Quota::new(Rate::per_second(rate), 1 << 40), 0);
        bucket.try_acquire(0, 1 << 40).unwrap();
        let mut admitted = 0;
        // Ten seconds in uneven steps, taking whatever there is.
        for now_ns in (0..10 * SECOND_NS).step_by(77_777_777).chain([10 * SECOND_NS]) {
            let available = bucket.peek(now_ns).available;
            bucket.try_acquire(now_ns, available).unwrap();
            admitted += available;
        }
        assert_eq!(admitted, rate * 10);
    }
}

/// D5. The product of burst and time per token overflowed: one an hour with a burst of 2^32-1 admitted
/// 975,202, one a year with a burst of 1,000 admitted 415.
#[test]
fn large_bursts_at_slow_rates_hold_what_they_say() {
    let year = Duration::from_secs(365 * 86_400);
    for (rate, burst) in [
        (Rate::per(1, Duration::from_secs(3_600)), u64::from(u32::MAX)),
        (Rate::per(1, year), 1_000),
        (Rate::per(1, Duration::MAX), Quota::MAX_BURST),
    ] {
        let mut bucket = Bucket::full(Quota::new(rate, burst), 0);
        for part in [burst / 2, burst - burst / 2] {
            assert!(bucket.try_acquire(0, part).is_ok(), "{part} of {burst} at {rate}");
        }
        assert!(bucket.try_acquire(0, 1).is_err());
    }
}
