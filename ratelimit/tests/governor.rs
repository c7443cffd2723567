//! `governor` as a second opinion, where its time per token is a whole number of nanoseconds and so exact.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::num::NonZeroU32;
use std::time::Duration;

use forebay_ratelimit::bucket::Bucket;
use forebay_ratelimit::{Bound, Quota, Rate, RetryAfter};
use governor::clock::{Clock, FakeRelativeClock};
use proptest::prelude::*;

/// The figure on the front page: at 1.67 ns a byte, a whole number of nanoseconds is two thirds too much.
#[test]
fn whole_nanoseconds_per_byte_make_a_gigabyte_of_600_megabytes() {
    let theirs = governor::Quota::per_second(NonZeroU32::new(600_000_000).unwrap());
    assert_eq!(theirs.replenish_interval(), Duration::from_nanos(1));
    let mut ours = Bucket::full(Quota::new(Rate::per_second(600_000_000), 1 << 30), 0);
    ours.try_acquire(0, 1 << 30).unwrap();
    assert_eq!(ours.peek(1_000_000_000).available, 600_000_000);
}

/// `requests` are a pause in periods, squared, and in nanoseconds, and a number of cells.
fn assert_same(period_ns: u64, burst: u32, requests: Vec<(u64, i64, u32)>) {
    let burst = NonZeroU32::new(burst).unwrap();
    let clock = FakeRelativeClock::default();
    let theirs = governor::Quota::with_period(Duration::from_nanos(period_ns)).unwrap().allow_burst(burst);
    let theirs = governor::RateLimiter::direct_with_clock(theirs, clock.clone());
    let rate = Rate::per(1, Duration::from_nanos(period_ns));
    let mut ours = Bucket::full(Quota::new(rate, u64::from(burst.get())), 0);
    let mut now_ns = 0;
    for (periods, jitter, cells) in requests {
        let step_ns = (periods * periods * period_ns).saturating_add_signed(jitter);
        clock.advance(Duration::from_nanos(step_ns));
        now_ns += step_ns;
        let expected = theirs.check_n(NonZeroU32::new(cells).unwrap());
        match (ours.try_acquire(now_ns, u64::from(cells)), expected) {
            (Ok(()), Ok(Ok(()))) => {}
            (Err(denied), Ok(Err(not_until))) => {
                let wait = not_until.wait_time_from(clock.now());
                assert_eq!(denied.retry_after, RetryAfter::After(wait));
            }
            (Err(denied), Err(_)) => {
                assert_eq!((denied.bound, denied.retry_after), (Bound::Burst, RetryAfter::Never));
            }
            (ours, theirs) => {
                panic!("{cells} cells at {now_ns} ns: {ours:?}, but {theirs:?}");
            }
        }
    }
}

/// Once a mistake: a short period, a nanosecond less than one of them, and a request that takes all the rest.
#[test]
fn a_burst_in_pieces_is_the_same_burst() {
    let ones = |count| std::iter::repeat_n((0, 1, 1), count);
    let early = [(1, -1, 1)];
    let requests = ones(5).chain(early).chain(ones(2)).chain(early).chain([(0, 0, 1), (0, 0, 6), (0, 0, 17)]);
    assert_same(2, 28, requests.collect());
}

proptest! {
    #[test]
    fn decisions_and_waits_are_those_of_the_generic_cell_rate_algorithm(
        period_ns in 1..10_000_000_000_u64,
        burst in 1..200_u32,
        requests in prop::collection::vec((0..5_u64, -1..=1_i64, 1..210_u32), 1..80),
    ) {
        assert_same(period_ns, burst, requests);
    }
}
