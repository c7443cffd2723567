use std::cell::Cell;
use std::sync::Barrier;

use proptest::collection::vec;
use proptest::prelude::*;

use super::rate::{MAX_REACH_NS, SET_BACK_NS};
use super::*;
use crate::TraceId;
use crate::sampler::{Always, Consistent, Never};

const SECOND: u64 = 1_000_000_000;

fn limit(per_second: f64, burst: u32) -> RateLimit {
    RateLimit::per_second(per_second).unwrap().burst(burst)
}

fn samples(sampler: &impl Sampler) -> bool {
    sampler.sample(&SampleInput::root(TraceId::from_source(|| 7))).sampled
}

/// How many of `tries` pass at once.
fn passing(sampler: &impl Sampler, tries: usize) -> usize {
    (0..tries).filter(|_| samples(sampler)).count()
}

#[test]
fn a_burst_passes_and_then_one_per_interval() {
    let now = Cell::new(5 * SECOND);
    let sampler = RateLimited::with_clock(Always, limit(10.0, 3), || now.get());
    assert_eq!(passing(&sampler, 10), 3);
    now.set(now.get() + SECOND / 10 - 1);
    assert_eq!(passing(&sampler, 10), 0, "a nanosecond early");
    now.set(now.get() + 1);
    assert_eq!(passing(&sampler, 10), 1);
    now.set(now.get() + SECOND / 10 * 2 + SECOND / 20);
    assert_eq!(passing(&sampler, 10), 2);
    now.set(now.get() + SECOND / 20);
    assert_eq!(passing(&sampler, 10), 1, "the half before was not lost");
    now.set(now.get() + 1000 * SECOND);
    assert_eq!(passing(&sampler, 10), 3, "and a long time is worth a burst");
}

#[test]
fn the_bucket_is_full_at_the_beginning_whatever_the_clock_says() {
    for now in [0, 1, SECOND, 1 << 63, u64::MAX - 1, u64::MAX] {
        let sampler = RateLimited::with_clock(Always, limit(10.0, 3), || now);
        assert_eq!(passing(&sampler, 10), 3, "{now}");
    }
}

#[test]
fn a_second_is_the_burst_unless_told_otherwise() {
    for (rate, burst) in [(5.0, 5), (5.5, 6), (0.1, 1)] {
        let sampler = RateLimited::with_clock(Always, RateLimit::per_second(rate).unwrap(), || 0);
        assert_eq!(passing(&sampler, 10), burst, "{rate}");
    }
    assert_eq!(limit(5.0, 0), limit(5.0, 1));
}

#[test]
fn a_rate_is_exact_to_the_nanosecond_of_the_interval() {
    for (rate, interval_ns) in
        [(1e9, 1), (0.6e9, 2), (1e6, 1000), (3.0, 333_333_334), (0.1, 10 * SECOND), (1e-300, MAX_REACH_NS)]
    {
        assert_eq!(limit(rate, 1), RateLimit { interval_ns, reach_ns: interval_ns }, "{rate}");
    }
    assert_eq!(limit(1e-9, u32::MAX).reach_ns, MAX_REACH_NS);
}

#[test]
fn what_is_no_rate_is_refused() {
    for found in [0.0, -1.0, 1e9_f64.next_up(), f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(RateLimit::per_second(found), Err(RateLimitError { found }));
    }
    let error = RateLimit::per_second(f64::NAN).unwrap_err();
    assert_eq!(error.to_string(), "rate of NaN per second is not above 0 and up to 1e9");
}

#[test]
fn what_the_other_sampler_drops_costs_nothing() {
    let half = Consistent::new(0.5).unwrap();
    let sampler = RateLimited::with_clock(half, limit(1.0, 2), || 0);
    let ask = |low: u64| sampler.sample(&SampleInput::root(TraceId::from_source(|| low)));
    for _ in 0..100 {
        assert_eq!(ask(1), Decision::DROPPED);
    }
    for _ in 0..2 {
        assert_eq!(ask(1 << 55), Decision::SAMPLED, "without the threshold, which is no longer true");
    }
    assert_eq!(ask(1 << 55), Decision::DROPPED);
    let none = RateLimited::with_clock(Never, limit(1.0, 2), || panic!("there is no need to know"));
    assert!(!samples(&none));
}

#[test]
fn clones_share_the_limit() {
    let sampler = RateLimited::with_clock(Always, limit(1.0, 4), || 0);
    let clone = sampler.clone();
    assert_eq!((passing(&sampler, 3), passing(&clone, 3), passing(&sampler, 3)), (3, 1, 0));
}

#[test]
fn the_systems_clock_is_the_default_and_begins_with_a_full_bucket() {
    // Once in three years, so that no machine is slow enough to see a second burst.
    let sampler = RateLimited::new(Always, limit(1e-8, 3));
    assert_eq!(passing(&sampler, 10), 3);
    assert_eq!(
        format!("{sampler:?}"),
        "RateLimited { inner: Always, limit: RateLimit { interval_ns: 100000000000000000, \
         reach_ns: 300000000000000000 }, .. }"
    );
}

/// L3.
#[test]
fn one_mad_reading_does_not_stop_the_limiter_for_good() {
    let now = Cell::new(SECOND);
    let sampler = RateLimited::with_clock(Always, limit(10.0, 3), || now.get());
    now.set(u64::MAX);
    assert_eq!(passing(&sampler, 10), 3);
    assert_eq!(passing(&sampler, 10), 0, "nor does it open it");
    now.set(2 * SECOND);
    assert_eq!(passing(&sampler, 10), 0, "the bucket is empty");
    now.set(3 * SECOND);
    assert_eq!(passing(&sampler, 10), 3, "and fills by the new time");
}

/// L2.
#[test]
fn a_reading_that_is_late_never_mints() {
    let now = Cell::new(100 * SECOND);
    let sampler = RateLimited::with_clock(Always, limit(1.0, 5), || now.get());
    assert_eq!(passing(&sampler, 10), 5);
    now.set(now.get() - 9 * SECOND);
    assert_eq!(passing(&sampler, 10), 0);
    now.set(100 * SECOND);
    assert_eq!(passing(&sampler, 10), 0, "and going back and forth brings nothing");
}

/// The bucket as one would draw it: how full it was when the clock was furthest.
struct Model {
    interval: i128,
    size: i128,
    last: i128,
    fill: i128,
}

impl Model {
    fn new(limit: RateLimit) -> Self {
        let size = limit.reach_ns.into();
        Self { interval: limit.interval_ns.into(), size, last: 0, fill: size }
    }

    fn ask(&mut self, now: u64) -> bool {
        let now = i128::from(now).min(i128::from(u64::MAX) - self.size);
        if self.last - now - self.fill > i128::from(SET_BACK_NS) {
            (self.last, self.fill) = (now, 0);
        }
        if now > self.last {
            self.fill = self.size.min(self.fill + now - self.last);
            self.last = now;
        }
        let pass = self.fill - (self.last - now) >= self.interval;
        if pass {
            self.fill -= self.interval;
        }
        pass
    }
}

/// Where a clock goes.
#[derive(Debug, Clone)]
enum Move {
    Ahead(u64),
    Back(u64),
    To(u64),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (0..3 * SECOND).prop_map(Move::Ahead),
        3 => Just(Move::Ahead(0)),
        2 => (0..3 * SECOND).prop_map(Move::Back),
        1 => (0..60 * SECOND).prop_map(Move::Back),
        1 => any::<u64>().prop_map(Move::To),
        1 => prop::sample::select(vec![0, 1, u64::MAX, u64::MAX - 1, 1 << 63, u64::MAX - SECOND])
            .prop_map(Move::To),
    ]
}

proptest! {
    #[test]
    fn whatever_the_clock_says_the_limiter_does_what_the_model_does(
        rate in prop_oneof![0.05..20.0_f64, Just(1e9), Just(1e-12)],
        burst in 1..20_u32,
        moves in vec((moves(), 1..8_usize), 1..120),
    ) {
        let limit = limit(rate, burst);
        let mut model = Model::new(limit);
        let now = Cell::new(0_u64);
        let sampler = RateLimited::with_clock(Always, limit, || now.get());
        for (step, asked) in moves {
            now.set(match step {
                Move::Ahead(by) => now.get().saturating_add(by),
                Move::Back(by) => now.get().saturating_sub(by),
                Move::To(there) => there,
            });
            for _ in 0..asked {
                prop_assert_eq!(samples(&sampler), model.ask(now.get()), "at {}", now.get());
            }
        }
    }
}

/// L1.
#[test]
fn threads_neither_share_a_token_nor_lose_one() {
    const THREADS: usize = 8;
    let now = AtomicU64::new(0);
    let sampler = RateLimited::with_clock(Always, limit(1000.0, 500), || now.load(Ordering::Relaxed));
    let (barrier, passed) = (Barrier::new(THREADS), AtomicU64::new(0));
    // What the bucket holds at the beginning of each round: it is emptied in every one.
    let rounds = [(0, 500), (1, 1), (37, 37), (500, 500), (10_000, 500), (0, 0), (7, 7)];
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for (milliseconds, expected) in rounds {
                    if barrier.wait().is_leader() {
                        now.fetch_add(milliseconds * 1_000_000, Ordering::Relaxed);
                        passed.store(0, Ordering::Relaxed);
                    }
                    barrier.wait();
                    let mine = passing(&sampler, 400);
                    passed.fetch_add(mine as u64, Ordering::Relaxed);
                    barrier.wait();
                    assert_eq!(passed.load(Ordering::Relaxed), expected);
                }
            });
        }
    });
}

/// L1 and L2.
#[test]
fn threads_with_late_readings_never_get_more_than_the_time_is_worth() {
    const READINGS: usize = 20_000;
    let ticks = AtomicU64::new(0);
    // Every reading is another microsecond, and whoever is interrupted comes with an old one.
    let clock = || ticks.fetch_add(1, Ordering::Relaxed) * 1000;
    let sampler = RateLimited::with_clock(Always, limit(50_000.0, 10), clock);
    let passed: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| passing(&sampler, READINGS / 4))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    // An interval is 20 readings.
    assert!(passed <= 10 + READINGS / 20, "{passed}");
}
