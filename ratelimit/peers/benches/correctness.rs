//! D1 to D5, R8, and who is stuck: how much each limiter lets through of what is legal. No time is measured; clocks are turned
//! by hand, tokio's are paused. Figures in quotation marks are published ones.

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use forebay_ratelimit::{Limiter, Queue, Quota, Rate};
use forebay_ratelimit_peers::Injected;

const SECOND_NS: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;

fn cells(n: u64) -> NonZeroU32 {
    NonZeroU32::new(u32::try_from(n).unwrap()).unwrap()
}

fn row(name: &str, cells: &[String]) {
    println!("| {name} | {} |", cells.join(" | "));
}

/// Two seconds of pushes of 64 KiB at 4 MiB/s and 6 MiB of burst; each is decided with a time that is up to 8 ms
/// old. Admitted through legal. `decide` is handed the clock of that moment.
fn late(pushers: u64, clock: Injected, mut decide: impl FnMut(u64) -> bool) -> f64 {
    let (push, mut admitted) = (64 << 10, 0);
    let start_ns = clock.now_ns();
    for round in 0..20_000 {
        for pusher in 0..pushers / 8 {
            let late_ns = 1_000_000 + (round * 7 + pusher * 13) % 8 * 1_000_000;
            let now_ns = start_ns + 10_000_000 + round * 100_000 - late_ns;
            clock.0.store(now_ns, std::sync::atomic::Ordering::Relaxed);
            admitted += if decide(push) { push } else { 0 };
        }
    }
    admitted as f64 / (6 * MIB + 4 * MIB * 201 / 100) as f64
}

/// D1 (R8): the pattern of a distributor: time taken early, half of what was admitted taken back.
fn d1() {
    println!(
        "\n## D1, R8: late times and cancelled pushes, admitted of legal\n\n| | 8 pushers | 32 | 128 |\n|---|---|---|---|"
    );
    let per_pushers =
        |make: &dyn Fn(u64) -> f64| [8, 32, 128].map(|pushers| format!("{:.2}×", make(pushers)));
    row(
        "forebay, `try_acquire` and `release`",
        &per_pushers(&|pushers| {
            let clock = Injected::new();
            let limiter =
                Limiter::with_clock(Quota::new(Rate::per_second(4 * MIB), 6 * MIB), move || clock.now_ns());
            let mut turn = 0;
            late(pushers, clock, |push| match limiter.try_acquire(push) {
                Ok(permit) => {
                    turn += 1;
                    let rejected = turn % 2 == 0;
                    if rejected {
                        permit.release();
                    }
                    !rejected
                }
                Err(_) => false,
            })
        }),
    );
    row(
        "forebay, `reserve` and `cancel`",
        &per_pushers(&|pushers| {
            let clock = Injected::new();
            let limiter =
                Limiter::with_clock(Quota::new(Rate::per_second(4 * MIB), 6 * MIB), move || clock.now_ns());
            let mut turn = 0;
            late(pushers, clock, |push| match limiter.reserve(push, Duration::ZERO) {
                Ok(reservation) => {
                    turn += 1;
                    let rejected = turn % 2 == 0;
                    if rejected {
                        reservation.cancel();
                    }
                    !rejected
                }
                Err(_) => false,
            })
        }),
    );
    row(
        "governor (nothing can be given back)",
        &per_pushers(&|pushers| {
            let clock = Injected::new();
            let quota = governor::Quota::per_second(cells(4 * MIB)).allow_burst(cells(6 * MIB));
            let limiter = governor::RateLimiter::direct_with_clock(quota, clock);
            late(pushers, clock, |push| limiter.check_n(cells(push)).unwrap().is_ok())
        }),
    );
    row(
        "ratelimit (nothing can be given back)",
        &per_pushers(&|pushers| {
            let clock = Injected::new();
            let limiter = ratelimit::Builder::with_clock(4 * MIB, clock)
                .max_tokens(6 * MIB)
                .initial_available(6 * MIB)
                .build()
                .unwrap();
            late(pushers, clock, |push| limiter.try_wait_n(push).is_ok())
        }),
    );
    println!("| x/time/rate, `ReserveN` and `CancelAt` | \"2.5×\" | \"6.8×\" | \"13.0×\" |");
}

/// D2: eight requests in flight, all given up; what is missing in the bucket afterwards.
fn d2() {
    println!(
        "\n## D2: eight overlapping requests of 1 MiB given up, five rounds: tokens missing afterwards\n\n| | missing |\n|---|---|"
    );
    let clock = Injected::new();
    let limiter = Limiter::with_clock(Quota::new(Rate::per_second(MIB), 8 * MIB), move || clock.now_ns());
    for _ in 0..5 {
        let reservations: Vec<_> =
            (0..16).map(|_| limiter.reserve(MIB, Duration::from_secs(60)).unwrap()).collect();
        reservations.into_iter().for_each(|reservation| reservation.cancel());
    }
    row("forebay, `reserve` and `cancel`", &[(8 * MIB - limiter.peek().available).to_string()]);
    let runtime = paused();
    let missing = runtime.block_on(async {
        let queue = Queue::new(Quota::new(Rate::per_second(MIB), 8 * MIB));
        assert!(queue.allow(8 * MIB));
        for _ in 0..5 {
            let waits: Vec<_> = (0..8).map(|_| Box::pin(queue.wait(MIB))).collect();
            futures_poll(waits).await;
        }
        8 * MIB - queue.peek().available
    });
    row("forebay, `wait` and drop (empty bucket)", &[(missing - 8 * MIB).to_string()]);
    let missing = runtime.block_on(async {
        let limiter = leaky_bucket::RateLimiter::builder().initial(0).max(8 << 20).refill(1 << 20).build();
        for _ in 0..5 {
            let waits: Vec<_> = (0..8).map(|_| Box::pin(limiter.acquire(1 << 20))).collect();
            futures_poll(waits).await;
        }
        limiter.balance()
    });
    row("leaky-bucket, `acquire` and drop (empty bucket)", &[missing.to_string()]);
    println!("| governor, ratelimit | nothing can be given up |");
    println!("| x/time/rate, `ReserveN` and `CancelAt` | \"7 MiB after a round, 35 MiB after five\" |");
}

/// Polls each once, and drops all.
async fn futures_poll<F: Future + Unpin>(mut futures: Vec<F>) {
    std::future::poll_fn(|cx| {
        for future in &mut futures {
            assert!(std::pin::Pin::new(future).poll(cx).is_pending());
        }
        std::task::Poll::Ready(())
    })
    .await;
}

fn paused() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

/// D3: every other time is 50 ms old; 1,000 a second for 100 ms, so 101 are legal.
fn d3() {
    println!("\n## D3: every other time is 50 ms old, 101 are legal\n\n| | admitted |\n|---|---|");
    let stale = |clock: Injected, decide: &dyn Fn() -> bool| {
        let start_ns = clock.now_ns() + SECOND_NS;
        let mut admitted = 0;
        for tick in 0..100_000 {
            let late_ns = if tick % 2 == 0 { 0 } else { 50_000_000 };
            clock.0.store(start_ns + tick * 1_000 - late_ns, std::sync::atomic::Ordering::Relaxed);
            admitted += u64::from(decide());
        }
        admitted.to_string()
    };
    let clock = Injected::new();
    let limiter = Limiter::with_clock(Quota::new(Rate::per_second(1_000), 1), move || clock.now_ns());
    row("forebay", &[stale(clock, &|| limiter.allow(1))]);
    let clock = Injected::new();
    let limiter = governor::RateLimiter::direct_with_clock(
        governor::Quota::per_second(cells(1_000)).allow_burst(cells(1)),
        clock,
    );
    row("governor", &[stale(clock, &|| limiter.check().is_ok())]);
    let clock = Injected::new();
    let limiter =
        ratelimit::Builder::with_clock(1_000, clock).max_tokens(1).initial_available(1).build().unwrap();
    row("ratelimit", &[stale(clock, &|| limiter.try_wait().is_ok())]);
    println!("| leaky-bucket, tower-resilience | read the clock themselves, under a lock |");
    println!("| x/time/rate, `AllowN` | \"20,000\" |");
}

/// D4: an empty bucket, one second in steps of 1 ms, tokens taken in thousands; the error of what passes.
fn d4() {
    let rates =
        [64 * MIB, 100 * MIB, 300_000_000, 600_000_000, 2_000_000_000, u64::from(u32::MAX), 100_000_000_000];
    println!("\n## D4: bytes let through in a second, error against the rate\n");
    println!(
        "| | {} |\n|---|---|---|---|---|---|---|---|",
        rates.map(|rate| format!("{:.1} MB/s", rate as f64 / 1e6)).join(" | ")
    );
    let error = |rate: u64, admitted: u64| format!("{:+.3} %", (admitted as f64 / rate as f64 - 1.0) * 100.0);
    /// Takes ever smaller pieces of what there is, to the last byte.
    fn drain(clock: Injected, take: &dyn Fn(u64) -> bool) -> u64 {
        let start_ns = clock.now_ns();
        let mut admitted = 0;
        for step in 0..=1_000 {
            clock.0.store(start_ns + step * 1_000_000, std::sync::atomic::Ordering::Relaxed);
            for bits in (0..28).rev() {
                while take(1 << bits) {
                    // The first time empties the bucket.
                    admitted += if step > 0 { 1 << bits } else { 0 };
                }
            }
        }
        admitted
    }
    row(
        "forebay",
        &rates.map(|rate| {
            let clock = Injected::new();
            let burst = rate / 4;
            let limiter =
                Limiter::with_clock(Quota::new(Rate::per_second(rate), burst), move || clock.now_ns());
            error(rate, drain(clock, &|n| limiter.allow(n)))
        }),
    );
    row(
        "governor",
        &rates.map(|rate| {
            let Ok(per_second) = u32::try_from(rate) else { return "cannot say it".to_owned() };
            let clock = Injected::new();
            let burst = cells(rate / 4);
            let quota = governor::Quota::per_second(NonZeroU32::new(per_second).unwrap()).allow_burst(burst);
            let limiter = governor::RateLimiter::direct_with_clock(quota, clock);
            error(rate, drain(clock, &|n| limiter.check_n(cells(n)).is_ok_and(|passed| passed.is_ok())))
        }),
    );
    row(
        "ratelimit",
        &rates.map(|rate| {
            let clock = Injected::new();
            let limiter = ratelimit::Builder::with_clock(rate, clock)
                .max_tokens(rate / 4)
                .initial_available(0)
                .build()
                .unwrap();
            error(rate, drain(clock, &|n| limiter.try_wait_n(n).is_ok()))
        }),
    );
    row(
        "leaky-bucket, refilled each ms",
        &rates.map(|rate| {
            paused().block_on(async {
                let per_ms = usize::try_from(rate / 1_000).unwrap();
                let limiter = leaky_bucket::RateLimiter::builder()
                    .initial(0)
                    .max(per_ms * 250)
                    .refill(per_ms)
                    .interval(Duration::from_millis(1))
                    .build();
                let mut admitted = 0;
                for _ in 0..1_000 {
                    tokio::time::advance(Duration::from_millis(1)).await;
                    for bits in (0..28).rev() {
                        while limiter.try_acquire(1 << bits) {
                            admitted += 1 << bits;
                        }
                    }
                }
                error(rate, admitted)
            })
        }),
    );
}

/// D5: a slow rate with a large burst: how much of the burst there is.
fn d5() {
    println!(
        "\n## D5: the burst that is there at a slow rate\n\n| | 1 an hour, burst 2^32-1 | 1 a year, burst 1,000 |\n|---|---|---|"
    );
    let year = Duration::from_secs(365 * 86_400);
    let hour = Duration::from_secs(3_600);
    let cases = [(hour, u64::from(u32::MAX)), (year, 1_000)];
    // One by one, as far as that ends in time, and then in larger pieces.
    let capacity = |take: &dyn Fn(u64) -> bool| {
        let mut there = 0_u64;
        while there < 2_000_000 {
            if !take(1) {
                return there.to_string();
            }
            there += 1;
        }
        for bits in (0..32).rev() {
            while take(1 << bits) {
                there += 1 << bits;
            }
        }
        there.to_string()
    };
    row(
        "forebay",
        &cases.map(|(period, burst)| {
            let clock = Injected::new();
            let limiter =
                Limiter::with_clock(Quota::new(Rate::per(1, period), burst), move || clock.now_ns());
            capacity(&|n| limiter.allow(n))
        }),
    );
    row(
        "governor",
        &cases.map(|(period, burst)| {
            let built = catch_unwind(AssertUnwindSafe(|| {
                let clock = Injected::new();
                let quota = governor::Quota::with_period(period).unwrap().allow_burst(cells(burst));
                let limiter = governor::RateLimiter::direct_with_clock(quota, clock);
                capacity(&|n| limiter.check_n(cells(n)).is_ok_and(|passed| passed.is_ok()))
            }));
            built.unwrap_or_else(|_| "panics".to_owned())
        }),
    );
    row(
        "ratelimit",
        &cases.map(|(period, burst)| {
            let clock = Injected::new();
            let limiter = ratelimit::Builder::with_clock(1, clock)
                .period(period)
                .max_tokens(burst)
                .initial_available(burst)
                .build();
            limiter.map_or_else(
                |error| error.to_string(),
                |limiter| capacity(&|n| limiter.try_wait_n(n).is_ok()),
            )
        }),
    );
    row(
        "leaky-bucket",
        &cases.map(|(period, burst)| {
            let max = usize::try_from(burst).unwrap();
            let built = catch_unwind(AssertUnwindSafe(|| {
                paused().block_on(async {
                    let limiter = leaky_bucket::RateLimiter::builder()
                        .initial(max)
                        .max(max)
                        .refill(1)
                        .interval(period)
                        .build();
                    capacity(&|n| limiter.try_acquire(usize::try_from(n).unwrap()))
                })
            }));
            built.unwrap_or_else(|_| "panics".to_owned())
        }),
    );
}

/// A waiter at the head whose task is stuck, or forgotten: is the next served?
fn stuck() {
    println!(
        "\n## A head of the line that is never polled again: is the next one served?\n\n| | |\n|---|---|"
    );
    let served = |outcome: Result<(), tokio::time::error::Elapsed>| {
        [if outcome.is_ok() { "yes" } else { "never" }.to_owned()]
    };
    let outcome = paused().block_on(async {
        let queue = Queue::new(Quota::new(Rate::per_second(10), 10));
        assert!(queue.allow(10));
        let mut head = Box::pin(queue.wait(5));
        std::future::poll_fn(|cx| std::task::Poll::Ready(head.as_mut().poll(cx).is_pending())).await;
        let next = tokio::time::timeout(Duration::from_secs(3_600), queue.wait(5)).await;
        next.map(|permit| permit.unwrap().keep())
    });
    row("forebay `wait`", &served(outcome));
    let outcome = paused().block_on(async {
        let limiter = Arc::new(
            leaky_bucket::RateLimiter::builder()
                .initial(0)
                .max(10)
                .refill(1)
                .interval(Duration::from_millis(100))
                .build(),
        );
        let mut head = Box::pin(limiter.acquire(5));
        std::future::poll_fn(|cx| std::task::Poll::Ready(head.as_mut().poll(cx).is_pending())).await;
        tokio::time::timeout(Duration::from_secs(3_600), limiter.acquire(5)).await
    });
    row("leaky-bucket `acquire`", &served(outcome));
}

fn main() {
    d1();
    d2();
    d3();
    d4();
    std::panic::set_hook(Box::new(|_| {}));
    d5();
    drop(std::panic::take_hook());
    stuck();
}
