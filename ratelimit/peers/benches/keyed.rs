//! R4 and R5: many keys, and many threads at one. A table of 1,000,000 tenants beside governor's.
//!
//! Both sides get the same requests in the same order, as `String`s in the order in which they come (a request
//! brings its own key), a clock that stands still in one atomic, and a quota that lets everything pass.
//! governor has one quota for all keys; here it comes with each call and is compared with the one in force.
//!
//! A program and not criterion's: the contenders take turns every 100,000 requests, so that a neighbour on the
//! machine slows down both, and with one thread the time is that of the thread's processor, not of the wall.
//! Medians over the rounds; the ratio is the median of the ratios within a round.

#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use forebay_ratelimit::{
    Interned, InternedOptions, Keyed, KeyedOptions, LeaseOptions, Leased, Limiter, Name, Quota, Rate,
};
use governor::clock::FakeRelativeClock;
use governor::{Quota as GovernorQuota, RateLimiter};

const TENANTS: u32 = 1_000_000;
const REQUESTS: usize = 1 << 20;
const QUOTA: Quota = Quota::new(Rate::per_second(1_000_000_000), 1 << 50);

static NOW_NS: AtomicU64 = AtomicU64::new(1);

fn now_ns() -> u64 {
    NOW_NS.load(Ordering::Relaxed)
}

fn governor_quota() -> GovernorQuota {
    let most = NonZeroU32::new(1_000_000_000).expect("not zero");
    GovernorQuota::per_second(most).allow_burst(NonZeroU32::MAX)
}

/// A generator that both sides' requests come from (Steele, Lea and Flood, "SplitMix", 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn uniform(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

fn uniform(seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    (0..REQUESTS).map(|_| (random.next() % u64::from(TENANTS)) as u32).collect()
}

/// Zipf with the exponent 1: tenant k with a weight of 1/k, tenants in no particular order of memory.
fn zipf(seed: u64) -> Vec<u32> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=TENANTS)
        .map(|rank| {
            sum += 1.0 / f64::from(rank);
            sum
        })
        .collect();
    let mut random = Random(seed);
    let scatter = |rank: usize| (rank as u64 * 2_654_435_761 % u64::from(TENANTS)) as u32;
    (0..REQUESTS)
        .map(|_| {
            let point = random.uniform() * sum;
            scatter(sums.partition_point(|&below| below < point))
        })
        .collect()
}

fn name(id: u32) -> String {
    format!("tenant-{id:07}")
}

type Work<'a> = Box<dyn Fn(usize) -> u64 + Sync + 'a>;

/// A contender: passes the requests `from..from + SLICE` and counts those that were admitted.
struct Contender<'a> {
    name: &'static str,
    work: Work<'a>,
}

const SLICE: usize = 100_000;

fn contender<'a, R: Sync>(
    name: &'static str,
    requests: &'a [R],
    allow: impl Fn(&R) -> bool + Sync + 'a,
) -> Contender<'a> {
    let work = move |from: usize| {
        let (before, after) = requests.split_at(from % requests.len());
        let slice = after.iter().chain(before).cycle().take(SLICE);
        slice.map(|request| u64::from(black_box(allow(request)))).sum()
    };
    Contender { name, work: Box::new(work) }
}

/// Nanoseconds per request of one thread.
fn round(contender: &Contender<'_>, threads: usize, from: usize) -> f64 {
    if threads == 1 {
        let start = cpu_ns();
        assert_eq!((contender.work)(from), SLICE as u64);
        return (cpu_ns() - start) as f64 / SLICE as f64;
    }
    let start = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || assert_eq!((contender.work)(from + thread * 333_333), SLICE as u64));
        }
    });
    start.elapsed().as_nanos() as f64 / SLICE as f64
}

fn cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Each row is compared with the first.
fn compare(title: &str, contenders: &[Contender<'_>]) {
    let rounds = std::env::var("ROUNDS").map_or(41, |rounds| rounds.parse().expect("a number"));
    for threads in [1, 2] {
        let mut times = vec![Vec::new(); contenders.len()];
        for number in 0..rounds {
            for (contender, times) in contenders.iter().zip(&mut times) {
                times.push(round(contender, threads, number * SLICE));
            }
        }
        let first = times[0].clone();
        println!("\n{title}, {threads} thread(s)");
        for (contender, times) in contenders.iter().zip(&times) {
            let mut ratios: Vec<f64> = first.iter().zip(times).map(|(first, time)| first / time).collect();
            let mut times = times.clone();
            let middle = median(&mut times);
            let (low, high) = (times[times.len() / 4], times[times.len() * 3 / 4]);
            println!(
                "  {:26} {middle:7.1} ns  (quartiles {low:.1} to {high:.1})  {:5.2} x",
                contender.name,
                median(&mut ratios)
            );
        }
    }
}

/// R5.
fn many_tenants() {
    let governor_names = RateLimiter::dashmap_with_clock(governor_quota(), FakeRelativeClock::default());
    let governor_numbers = RateLimiter::dashmap_with_clock(governor_quota(), FakeRelativeClock::default());
    let keyed_names: Keyed<Name, _> = Keyed::with_clock(KeyedOptions::default(), now_ns);
    let keyed_strings: Keyed<String, _> = Keyed::with_clock(KeyedOptions::default(), now_ns);
    let keyed_numbers: Keyed<u64, _> = Keyed::with_clock(KeyedOptions::default(), now_ns);
    let interned = Interned::with_clock(InternedOptions::default(), now_ns);
    for id in 0..TENANTS {
        assert!(governor_names.check_key(&name(id)).is_ok());
        assert!(governor_numbers.check_key(&u64::from(id)).is_ok());
        assert!(keyed_names.allow(&*name(id), 1, QUOTA));
        assert!(keyed_strings.allow(&*name(id), 1, QUOTA));
        assert!(keyed_numbers.allow(&u64::from(id), 1, QUOTA));
        assert!(interned.allow(id, 1, QUOTA));
    }
    for (shape, ids) in [("uniform", uniform(1)), ("zipf", zipf(1))] {
        let names: Vec<String> = ids.iter().map(|&id| name(id)).collect();
        let wide: Vec<u64> = ids.iter().map(|&id| u64::from(id)).collect();
        compare(
            &format!("1,000,000 tenants by name, {shape}"),
            &[
                contender("governor DashMap<String>", &names, |name| governor_names.check_key(name).is_ok()),
                contender("Keyed<Name>", &names, |name| keyed_names.allow(name.as_str(), 1, QUOTA)),
                contender("Keyed<String>", &names, |name| keyed_strings.allow(name.as_str(), 1, QUOTA)),
            ],
        );
        compare(
            &format!("1,000,000 tenants by number, {shape}"),
            &[
                contender("governor DashMap<u64>", &wide, |id| governor_numbers.check_key(id).is_ok()),
                contender("Keyed<u64>", &wide, |id| keyed_numbers.allow(id, 1, QUOTA)),
                contender("Interned", &ids, |&id| interned.allow(id, 1, QUOTA)),
            ],
        );
    }
}

/// R4: every thread at the same key.
fn hot_key() {
    let requests = ["blue".to_owned()];
    let direct = RateLimiter::direct_with_clock(governor_quota(), FakeRelativeClock::default());
    let limiter = Limiter::with_clock(QUOTA, now_ns);
    let leased = Leased::with_clock(QUOTA, LeaseOptions::default(), now_ns);
    compare(
        "one limiter",
        &[
            contender("governor direct", &requests, |_| direct.check().is_ok()),
            contender("Limiter", &requests, |_| limiter.allow(1)),
            contender("Leased, 64 tokens a lease", &requests, |_| leased.allow(1)),
        ],
    );
    let governor = RateLimiter::dashmap_with_clock(governor_quota(), FakeRelativeClock::default());
    let keyed: Keyed<Name, _> = Keyed::with_clock(KeyedOptions::default(), now_ns);
    let interned = Interned::with_clock(InternedOptions::default(), now_ns);
    compare(
        "one hot key of a table",
        &[
            contender("governor DashMap<String>", &requests, |key| governor.check_key(key).is_ok()),
            contender("Keyed<Name>", &requests, |key| keyed.allow(key.as_str(), 1, QUOTA)),
            contender("Interned", &requests, |_| interned.allow(7, 1, QUOTA)),
        ],
    );
}

fn main() {
    hot_key();
    many_tenants();
}
