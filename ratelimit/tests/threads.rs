//! Many threads at one bucket, on a clock that only the test moves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use forebay_ratelimit::{Keyed, KeyedOptions, Limiter, Quota, Rate};

const SECOND_NS: u64 = 1_000_000_000;
const THREADS: u64 = 4;

#[test]
fn at_one_instant_exactly_the_burst_passes() {
    let limiter = Limiter::with_clock(Quota::new(Rate::per_second(1), 50_000), || 7);
    let keyed: Keyed<u64, _> = Keyed::with_clock(KeyedOptions::default(), || 7);
    let passed = [AtomicU64::new(0), AtomicU64::new(0)];
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (limiter, keyed, passed) = (&limiter, &keyed, &passed);
            scope.spawn(move || {
                for call in 0..20_000 {
                    let tokens = 1 + (thread + call) % 3;
                    if limiter.allow(tokens) {
                        passed[0].fetch_add(tokens, Ordering::Relaxed);
                    }
                    if keyed.allow(&(call % 2), tokens, Quota::new(Rate::per_second(1), 25_000)) {
                        passed[1].fetch_add(tokens, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(passed.map(AtomicU64::into_inner), [50_000; 2]);
}

#[test]
fn a_quota_that_changes_under_the_threads_neither_mints_nor_loses_a_token() {
    let limiter = Limiter::with_clock(Quota::new(Rate::per_second(1), 40_000), || 7);
    let (passed, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            for rate in (1..).take_while(|_| !done.load(Ordering::Relaxed)) {
                limiter.reconfigure(Quota::new(Rate::per_second(rate), 40_000));
                let quota = limiter.quota();
                assert_eq!((quota.rate, quota.burst), (Rate::per_second(rate), 40_000));
            }
        });
        let workers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        passed.fetch_add(u64::from(limiter.allow(1)), Ordering::Relaxed);
                        if let Ok(permit) = limiter.try_acquire(3) {
                            permit.release();
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    // A permit held for a moment by one thread may refuse another, so the rest is drained afterwards.
    let mut passed = passed.into_inner();
    while limiter.allow(1) {
        passed += 1;
    }
    assert_eq!(passed, 40_000);
}

#[test]
fn a_reader_never_sees_the_rate_of_one_quota_with_the_burst_of_another() {
    let quotas = [11, 222, 3_333].map(|number| Quota::new(Rate::per_second(number), number));
    let limiter = Limiter::with_clock(quotas[0], || 0);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let seen = limiter.peek();
                    assert_eq!(seen.rate, Rate::per_second(seen.burst));
                }
            });
        }
        for round in 0..30_000 {
            limiter.reconfigure(quotas[round % 3]);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_running_clock_lets_through_what_it_mints_and_turns_segments_on_the_way() {
    // 2^61 tokens, after which a segment is turned, are minted in an eighth of a second.
    for (rate, step_ns) in [(1_000_000, 500), (u64::MAX, SECOND_NS / 50)] {
        let clock = AtomicU64::new(0);
        let burst = 1_000;
        let limiter =
            Limiter::with_clock(Quota::new(Rate::per_second(rate), burst), || clock.load(Ordering::SeqCst));
        let passed = AtomicU64::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        clock.fetch_add(step_ns, Ordering::SeqCst);
                        passed.fetch_add(u64::from(limiter.allow(1)), Ordering::Relaxed);
                    }
                });
            }
        });
        let minted = u128::from(rate) * u128::from(clock.into_inner()) / u128::from(SECOND_NS);
        let passed = passed.into_inner();
        assert!(u128::from(passed) <= u128::from(burst) + minted, "{passed} of {minted}");
        if rate == u64::MAX {
            assert_eq!(passed, THREADS * 10_000);
        } else {
            // 40,000 requests in 20 ms at a token a microsecond: half of them, and the burst.
            assert!((20_900..=21_000).contains(&passed), "{passed} passed");
        }
    }
}
