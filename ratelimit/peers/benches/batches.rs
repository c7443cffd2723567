//! R1 to R3 once more, for a machine that is not quiet: short batches of all limiters in turn, so that whatever
//! else runs hits all of them, and of each the fastest batch and the lower quartile. One thread, injected clock.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use forebay_ratelimit::{Limiter, Quota, Rate};
use forebay_ratelimit_peers::Injected;

const BATCH: u32 = 10_000;
const ROUNDS: usize = 2_000;

struct Case {
    name: &'static str,
    batch: Box<dyn FnMut()>,
    times: Vec<f64>,
}

/// `step_ns` is how far the clock moves before each decision.
fn case(
    name: &'static str,
    clock: Injected,
    step_ns: u64,
    mut decide: impl FnMut() -> bool + 'static,
) -> Case {
    let batch = move || {
        for _ in 0..BATCH {
            clock.advance(step_ns);
            black_box(decide());
        }
    };
    Case { name, batch: Box::new(batch), times: Vec::with_capacity(ROUNDS) }
}

fn limiter(rate: u64, burst: u64) -> (Limiter<impl Fn() -> u64>, Injected) {
    let clock = Injected::new();
    (Limiter::with_clock(Quota::new(Rate::per_second(rate), burst), move || clock.now_ns()), clock)
}

type Governor = governor::RateLimiter<
    governor::state::NotKeyed,
    governor::state::InMemoryState,
    Injected,
    governor::middleware::NoOpMiddleware<governor::nanos::Nanos>,
>;

fn governor(rate: u32, burst: u32) -> (Governor, Injected) {
    let clock = Injected::new();
    let quota = governor::Quota::per_second(cells(rate)).allow_burst(cells(burst));
    (governor::RateLimiter::direct_with_clock(quota, clock), clock)
}

fn cells(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn cases() -> Vec<Case> {
    const RATE: u32 = 1_000_000_000;
    const BURST: u32 = u32::MAX;
    let mut cases = Vec::new();
    let (word, clock) = (AtomicU64::new(0), Injected::new());
    cases.push(case("floor: load, compare-and-swap", clock, 7, move || {
        let before = word.load(Ordering::Acquire);
        word.compare_exchange(before, clock.now_ns(), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }));
    let (l, clock) = limiter(RATE.into(), BURST.into());
    cases.push(case("R1 forebay allow, bucket full", clock, 7, move || l.allow(black_box(1))));
    let (g, clock) = governor(RATE, BURST);
    cases.push(case("R1 governor check, bucket full", clock, 7, move || g.check().is_ok()));
    let (l, clock) = limiter(RATE.into(), BURST.into());
    while l.allow(1 << 30) {}
    cases.push(case("R1 forebay allow, bucket in use", clock, 1, move || l.allow(black_box(1))));
    let (l, clock) = limiter(RATE.into(), BURST.into());
    cases.push(case("R1 forebay try_acquire, bucket full", clock, 7, move || {
        l.try_acquire(black_box(1)).is_ok()
    }));
    let (g, clock) = governor(RATE, BURST);
    while g.check_n(cells(1 << 30)).unwrap().is_ok() {}
    cases.push(case("R1 governor check, bucket in use", clock, 1, move || g.check().is_ok()));
    let (l, clock) = limiter(RATE.into(), BURST.into());
    cases.push(case("R2 forebay allow(4096)", clock, 5_003, move || l.allow(black_box(4_096))));
    let (g, clock) = governor(RATE, BURST);
    cases.push(case("R2 governor check_n(4096)", clock, 5_003, move || {
        g.check_n(black_box(cells(4_096))).is_ok()
    }));
    let clock = Injected::new();
    let r = ratelimit::Builder::with_clock(RATE.into(), clock).max_tokens(BURST.into()).build().unwrap();
    cases.push(case("R2 ratelimit try_wait_n(4096)", clock, 5_003, move || {
        r.try_wait_n(black_box(4_096)).is_ok()
    }));
    let (l, clock) = limiter(1_000, 1);
    l.allow(1);
    cases.push(case("R3 forebay allow, refused", clock, 0, move || l.allow(black_box(1))));
    let (l, clock) = limiter(1_000, 1);
    l.allow(1);
    cases
        .push(case("R3 forebay try_acquire, refused", clock, 0, move || l.try_acquire(black_box(1)).is_ok()));
    let (g, clock) = governor(1_000, 1);
    g.check().ok();
    cases.push(case("R3 governor check, refused", clock, 0, move || g.check().is_ok()));
    cases
}

fn main() {
    let mut cases = cases();
    for _ in 0..ROUNDS {
        for Case { batch, times, .. } in &mut cases {
            let start = Instant::now();
            batch();
            times.push(start.elapsed().as_secs_f64() * 1e9 / f64::from(BATCH));
        }
    }
    println!("| one thread, injected clock | fastest | lower quartile |\n|---|---|---|");
    for Case { name, times, .. } in &mut cases {
        times.sort_by(f64::total_cmp);
        println!("| {name} | {:.2} ns | {:.2} ns |", times[0], times[ROUNDS / 4]);
    }
}
