//! Bytes a key at 1,000,000 tenants, and what a sweep costs those who ask meanwhile (the second half of R5).
//!
//! Bytes are what was asked of the allocator and not given back. What the allocator adds to that (16 bytes for
//! every small `String`, or more) is not counted, in favour of those who allocate once a key.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use allocation_counter::measure;
use forebay_ratelimit::{Interned, InternedOptions, Keyed, KeyedOptions, Name, Quota, Rate};
use governor::clock::FakeRelativeClock;
use governor::{Quota as GovernorQuota, RateLimiter};

const TENANTS: u32 = 1_000_000;
const QUOTA: Quota = Quota::new(Rate::per_second(1_000), 1 << 30);

static NOW_NS: AtomicU64 = AtomicU64::new(1);

fn now_ns() -> u64 {
    NOW_NS.load(Ordering::Relaxed)
}

fn name(id: u32) -> String {
    format!("tenant-{id:07}")
}

fn governor_quota() -> GovernorQuota {
    GovernorQuota::per_second(NonZeroU32::new(1_000).expect("not zero")).allow_burst(NonZeroU32::MAX)
}

fn report<T>(what: &str, keys: u32, fill: impl FnOnce() -> T) {
    let mut table = None;
    let bytes = measure(|| table = Some(fill())).bytes_current;
    println!("  {what:52} {:7.1} B a key", bytes as f64 / f64::from(keys));
    drop(black_box(table));
}

fn bytes_per_key() {
    println!("bytes at 1,000,000 tenants");
    report("governor DashMap<String>, one quota for all", TENANTS, || {
        let limiter = RateLimiter::dashmap_with_clock(governor_quota(), FakeRelativeClock::default());
        (0..TENANTS).for_each(|id| assert!(limiter.check_key(&name(id)).is_ok()));
        limiter
    });
    report("governor DashMap<u64>, one quota for all", TENANTS, || {
        let limiter = RateLimiter::dashmap_with_clock(governor_quota(), FakeRelativeClock::default());
        (0..u64::from(TENANTS)).for_each(|id| assert!(limiter.check_key(&id).is_ok()));
        limiter
    });
    let keyed = |quota: fn(u32) -> Quota, keys: u32| {
        let keyed: Keyed<Name, _> =
            Keyed::with_clock(KeyedOptions { max_keys: 1 << 24, ..Default::default() }, now_ns);
        (0..keys).for_each(|id| assert!(keyed.allow(&*name(id), 1, quota(id))));
        keyed
    };
    report("Keyed<Name>, one quota", TENANTS, || keyed(|_| QUOTA, TENANTS));
    report("Keyed<Name>, 100 quotas", TENANTS, || {
        keyed(|id| Quota::new(Rate::per_second(1_000 + u64::from(id % 100)), 1 << 30), TENANTS)
    });
    report("Keyed<Name>, a quota for each", TENANTS, || {
        keyed(|id| Quota::new(Rate::per_second(1_000 + u64::from(id)), 1 << 30), TENANTS)
    });
    report("Keyed<String>, one quota", TENANTS, || {
        let keyed: Keyed<String, _> = Keyed::with_clock(KeyedOptions::default(), now_ns);
        (0..TENANTS).for_each(|id| assert!(keyed.allow(&*name(id), 1, QUOTA)));
        keyed
    });
    report("Keyed<u64>, one quota", TENANTS, || {
        let keyed: Keyed<u64, _> = Keyed::with_clock(KeyedOptions::default(), now_ns);
        (0..u64::from(TENANTS)).for_each(|id| assert!(keyed.allow(&id, 1, QUOTA)));
        keyed
    });
    report("Interned", TENANTS, || {
        let interned = Interned::with_clock(InternedOptions::default(), now_ns);
        (0..TENANTS).for_each(|id| assert!(interned.allow(id, 1, QUOTA)));
        interned
    });
    println!("worst and best of Keyed<Name> from 500,000 to 2,000,000 keys, one quota");
    let mut seen: Vec<f64> = Vec::new();
    let mut keys = 500_000;
    while keys <= 2_000_000 {
        let mut table = None;
        let bytes = measure(|| table = Some(keyed(|_| QUOTA, keys))).bytes_current;
        seen.push(bytes as f64 / f64::from(keys));
        drop(black_box(table));
        keys += keys / 16;
    }
    seen.sort_by(f64::total_cmp);
    println!("  {:.1} to {:.1} B a key", seen[0], seen[seen.len() - 1]);
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

const REQUESTS: usize = 1_000_000;

/// Times every request on its own, on the wall, the two readings of the clock included.
fn latencies(names: &[String], allow: impl Fn(&String) -> bool) -> Vec<u64> {
    names
        .iter()
        .map(|name| {
            let start = Instant::now();
            black_box(allow(name));
            start.elapsed().as_nanos() as u64
        })
        .collect()
}

fn quantiles(what: &str, mut times: Vec<u64>) {
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    let (p50, p999) = (at(0.5), at(0.999));
    println!(
        "  {what:52} p50 {p50:6} ns, p99 {:6} ns, p99.9 {p999:8} ns = {:7.1} x p50, worst {:9} ns",
        at(0.99),
        p999 as f64 / p50 as f64,
        at(1.0)
    );
}

/// `sweep` again and again on another thread while `work` runs.
fn during<T>(sweep: impl Fn() + Sync, work: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                sweep();
            }
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        result
    })
}

fn sweeps() {
    let mut random = Random(7);
    let known: Vec<String> =
        (0..REQUESTS).map(|_| name((random.next() % u64::from(TENANTS)) as u32)).collect();
    // Every second request is of a tenant that was never seen.
    let churn: Vec<String> = (0..REQUESTS)
        .map(|request| match request % 2 {
            0 => name((random.next() % u64::from(TENANTS)) as u32),
            _ => name(TENANTS + request as u32),
        })
        .collect();
    println!("1,000,000 requests to 1,000,000 tenants, each timed");
    let governor = RateLimiter::dashmap_with_clock(governor_quota(), FakeRelativeClock::default());
    (0..TENANTS).for_each(|id| assert!(governor.check_key(&name(id)).is_ok()));
    let keyed: Keyed<Name, _> =
        Keyed::with_clock(KeyedOptions { max_keys: TENANTS as usize, ..Default::default() }, now_ns);
    (0..TENANTS).for_each(|id| assert!(keyed.allow(&*name(id), 1, QUOTA)));
    let ask_governor = |name: &String| governor.check_key(name).is_ok();
    let ask_keyed = |name: &String| keyed.allow(name.as_str(), 1, QUOTA);
    quantiles("governor DashMap<String>, quiet", latencies(&known, ask_governor));
    quantiles("Keyed<Name>, quiet", latencies(&known, ask_keyed));
    quantiles(
        "governor during retain_recent",
        during(|| governor.retain_recent(), || latencies(&known, ask_governor)),
    );
    quantiles(
        "Keyed<Name> during evict_full",
        during(
            || {
                keyed.evict_full();
            },
            || latencies(&known, ask_keyed),
        ),
    );
    // Ten microseconds a request, and a millisecond fills a bucket: most are full, and every new key evicts one.
    let times = latencies(&churn, |name| {
        NOW_NS.fetch_add(10_000, Ordering::Relaxed);
        ask_keyed(name)
    });
    quantiles("Keyed<Name> at its cap, every second key new", times);
    assert!(keyed.len() <= TENANTS as usize);
}

fn main() {
    bytes_per_key();
    sweeps();
}
