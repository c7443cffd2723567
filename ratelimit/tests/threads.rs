//! Many threads at one bucket, on a clock that only the test moves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use forebay_ratelimit::{Keyed, KeyedOptions, Limiter, OverCap, Quota, Rate};

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

/// Runs `work` with the number of each of four threads and of each of its calls.
fn by_threads(calls: u64, work: impl Fn(u64, u64) + Sync) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let work = &work;
            scope.spawn(move || (0..calls).for_each(|call| work(thread, call)));
        }
    });
}

/// A key from a sequence that differs from thread to thread.
fn key_of(thread: u64, call: u64, keys: u64) -> u64 {
    (thread * 1_000_003 + call).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40 & (keys - 1)
}

fn counter(passed: &[AtomicU64], key: u64) -> &AtomicU64 {
    usize::try_from(key).ok().and_then(|key| passed.get(key)).expect("one for each key")
}

/// K1 and K3 where keys come, go and are swept away all the time.
#[test]
fn a_table_at_its_cap_holds_no_more_and_counts_right_whoever_comes_and_goes() {
    const CAP: usize = 40;
    let clock = AtomicU64::new(0);
    let options = KeyedOptions { max_keys: CAP, shards: 4, ..KeyedOptions::default() };
    let keyed: Keyed<u64, _> = Keyed::with_clock(options, || clock.load(Ordering::SeqCst));
    let quota = Quota::new(Rate::per_second(1_000_000), 3);
    let passed: Vec<AtomicU64> = (0..128).map(|_| AtomicU64::new(0)).collect();
    by_threads(20_000, |thread, call| {
        clock.fetch_add(37, Ordering::SeqCst);
        let key = key_of(thread, call, 128);
        match call % 1_000 {
            0 => drop(keyed.evict_full()),
            1 => drop(keyed.retain(|_, bucket| !bucket.is_full())),
            _ if call % 10 == 0 => {
                keyed.allow(&key, 0, Quota::UNLIMITED);
            }
            _ => {
                if let Ok(permit) = keyed.try_acquire(&key, 2, quota) {
                    if call % 3 == 0 {
                        permit.release();
                    } else {
                        counter(&passed, key).fetch_add(2, Ordering::Relaxed);
                    }
                }
            }
        }
        assert!(keyed.len() <= CAP);
    });
    let held = (0..128).filter(|key| keyed.peek(key).is_some()).count();
    assert_eq!(keyed.len(), held);
    assert_eq!((keyed.retain(|_, _| false), keyed.len()), (held, 0));
    assert!(passed.iter().all(|passed| passed.load(Ordering::Relaxed) > 0));
}

/// K2: at one instant, whoever had to go in between, every key passes exactly its burst.
#[test]
fn keys_that_evict_each_other_pass_exactly_their_bursts() {
    let options = KeyedOptions { max_keys: 8, over_cap: OverCap::EvictIndebted, shards: 4 };
    let keyed: Keyed<u64, _> = Keyed::with_clock(options, || 7);
    let quota = Quota::new(Rate::per_second(1), 100);
    let passed: Vec<AtomicU64> = (0..64).map(|_| AtomicU64::new(0)).collect();
    by_threads(10_000, |thread, call| {
        let key = key_of(thread, call, 64);
        if let Ok(mut permit) = keyed.try_acquire(&key, 1 + call % 3, quota) {
            permit.shrink_to(call % 2);
            counter(&passed, key).fetch_add(permit.tokens(), Ordering::Relaxed);
        }
        assert!(keyed.len() <= 8);
    });
    for (key, passed) in (0..).zip(&passed) {
        let rest = (0..=100).take_while(|_| keyed.allow(&key, 1, quota)).count() as u64;
        assert_eq!(passed.load(Ordering::Relaxed) + rest, 100, "{key}");
    }
}

#[test]
fn keys_without_a_slot_pass_exactly_what_they_share_from_whatever_shard() {
    let shared = Quota::new(Rate::per_second(1), 5_000);
    let options = KeyedOptions { max_keys: 4, over_cap: OverCap::Shared(shared), shards: 16 };
    let keyed: Keyed<u64, _> = Keyed::with_clock(options, || 7);
    let quota = Quota::new(Rate::per_second(1), 1_000);
    let passed = AtomicU64::new(0);
    by_threads(10_000, |thread, call| {
        let key = key_of(thread, call, 64);
        passed.fetch_add(u64::from(keyed.allow(&key, 1, quota)), Ordering::Relaxed);
    });
    // Ten keys out of sixteen ask so seldom that no burst of a slot is used up: those of slots keep the rest.
    let rest: u64 = (0..64).filter_map(|key| keyed.peek(&key)).map(|bucket| bucket.available).sum();
    assert_eq!((keyed.len(), passed.into_inner() + rest), (4, 4 * 1_000 + 5_000));
}

/// D1 where it happened: many threads that are late, each with its own instant.
#[test]
fn late_threads_mint_nothing() {
    thread_local! {
        static NOW_NS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }
    let limiter = Limiter::with_clock(Quota::new(Rate::per_second(1_000), 100), || NOW_NS.get());
    let latest = AtomicU64::new(0);
    let passed = AtomicU64::new(0);
    by_threads(20_000, |thread, call| {
        // Up to 8 ms late, and refused more often than not.
        let late_ns = (thread + call) % 9 * 1_000_000;
        NOW_NS.set(latest.fetch_add(2_000, Ordering::SeqCst).saturating_sub(late_ns));
        if let Ok(permit) = limiter.try_acquire(1 + call % 64) {
            passed.fetch_add(permit.granted(), Ordering::Relaxed);
        }
    });
    let (passed, minted) = (passed.into_inner(), latest.into_inner() / 1_000_000);
    assert!(passed <= 100 + minted, "{passed} of {minted}");
}

/// What `with_clock` says of clocks that are not monotonic.
#[test]
fn a_clock_that_ran_ahead_has_minted_what_it_showed_and_no_more() {
    let clock = AtomicU64::new(0);
    let now = || clock.load(Ordering::SeqCst);
    let quota = Quota::new(Rate::per_second(10), 10);
    let limiter = Limiter::with_clock(quota, now);
    let keyed: Keyed<u64, _> = Keyed::with_clock(KeyedOptions { shards: 1, ..KeyedOptions::default() }, now);
    assert!(limiter.allow(10) && keyed.allow(&0, 10, quota));
    clock.store(3_600 * SECOND_NS, Ordering::SeqCst);
    assert!(limiter.allow(10) && keyed.allow(&0, 10, quota));
    for now_ns in [SECOND_NS, 2 * SECOND_NS, 3_600 * SECOND_NS] {
        clock.store(now_ns, Ordering::SeqCst);
        assert!(!limiter.allow(1) && !keyed.allow(&0, 1, quota));
    }
    clock.store(3_601 * SECOND_NS, Ordering::SeqCst);
    assert!(limiter.allow(10) && keyed.allow(&0, 10, quota));
    assert!(!limiter.allow(1) && !keyed.allow(&0, 1, quota));
}
