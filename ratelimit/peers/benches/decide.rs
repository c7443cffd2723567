//! R1, R2, R3, R7: one decision. Injected and real clocks apart, 1 and 2 threads.
//!
//! Every limiter has the rate of 10^9 tokens a second and a burst of 2^32-1, the most that governor can say
//! exactly, and what is admitted stays far below that. "injected" is one relaxed load, turned by the bench
//! between decisions; with two threads it stands still. "floor" is what no shared limiter can go below: one
//! load and one compare-and-swap of the word.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use forebay_ratelimit::{Limiter, Quota, Rate};
use forebay_ratelimit_peers::Injected;

const RATE: u64 = 1_000_000_000;
const BURST: u32 = u32::MAX;

fn quota() -> Quota {
    Quota::new(Rate::per_second(RATE), u64::from(BURST))
}

fn governor_quota() -> governor::Quota {
    governor::Quota::per_second(NonZeroU32::new(1_000_000_000).unwrap())
        .allow_burst(NonZeroU32::new(BURST).unwrap())
}

fn cells(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn floor(word: &AtomicU64, n: u64) -> bool {
    let before = word.load(Ordering::Acquire);
    word.compare_exchange(before, before + n, Ordering::AcqRel, Ordering::Relaxed).is_ok()
}

/// One thread; the clock moves `step_ns` before each decision.
fn turned(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    clock: Injected,
    step_ns: u64,
    decide: impl Fn() -> bool,
) {
    group.bench_function(format!("{name}/1"), |bencher| {
        bencher.iter(|| {
            clock.advance(step_ns);
            black_box(decide())
        });
    });
}

/// `threads` threads at one limiter, which `fresh` makes anew for each sample: nanoseconds a decision a thread.
fn threaded<L: Sync>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    threads: usize,
    fresh: impl Fn() -> L,
    decide: impl Fn(&L) -> bool + Sync,
) {
    group.bench_function(format!("{name}/{threads}"), |bencher| {
        bencher.iter_custom(|iterations| {
            let limiter = fresh();
            let barrier = Barrier::new(threads);
            let slowest = std::thread::scope(|scope| {
                let workers: Vec<_> = (0..threads)
                    .map(|_| {
                        scope.spawn(|| {
                            barrier.wait();
                            let start = Instant::now();
                            for _ in 0..iterations {
                                black_box(decide(black_box(&limiter)));
                            }
                            start.elapsed()
                        })
                    })
                    .collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).max()
            });
            slowest.unwrap_or(Duration::ZERO)
        });
    });
}

/// R1 and R2.
fn allow(c: &mut Criterion) {
    for (title, n, step_ns) in [("R1 allow 1 injected", 1, 7), ("R2 allow 4096 injected", 4_096, 5_003)] {
        let mut group = c.benchmark_group(title);
        let clock = Injected::new();
        let word = AtomicU64::new(0);
        turned(&mut group, "floor", clock, step_ns, || floor(&word, clock.now_ns()));
        let limiter = Limiter::with_clock(quota(), move || clock.now_ns());
        turned(&mut group, "forebay", clock, step_ns, || limiter.allow(black_box(n)));
        turned(&mut group, "forebay try_acquire", clock, step_ns, || {
            limiter.try_acquire(black_box(n)).is_ok()
        });
        let theirs = governor::RateLimiter::direct_with_clock(governor_quota(), clock);
        if n == 1 {
            turned(&mut group, "governor check", clock, step_ns, || theirs.check().is_ok());
        }
        let many = cells(u32::try_from(n).unwrap());
        turned(&mut group, "governor check_n", clock, step_ns, || theirs.check_n(black_box(many)).is_ok());
        let theirs =
            ratelimit::Builder::with_clock(RATE, clock).max_tokens(u64::from(BURST)).build().unwrap();
        turned(&mut group, "ratelimit", clock, step_ns, || theirs.try_wait_n(black_box(n)).is_ok());
        if n == 1 {
            threaded(&mut group, "floor", 2, || AtomicU64::new(0), |word| floor(word, 1));
            threaded(
                &mut group,
                "forebay",
                2,
                || Limiter::with_clock(quota(), move || clock.now_ns()),
                |l| l.allow(1),
            );
            let fresh = || governor::RateLimiter::direct_with_clock(governor_quota(), clock);
            threaded(&mut group, "governor check", 2, fresh, |l| l.check().is_ok());
            let fresh = || {
                ratelimit::Builder::with_clock(RATE, clock)
                    .max_tokens(u64::from(BURST))
                    .initial_available(u64::from(BURST))
                    .build()
                    .unwrap()
            };
            threaded(&mut group, "ratelimit", 2, fresh, |l| l.try_wait().is_ok());
        }
        group.finish();
    }
}

/// R1 with the clocks that people use, and what each clock costs.
fn real(c: &mut Criterion) {
    let mut group = c.benchmark_group("R1 allow 1 real");
    let origin = Instant::now();
    group.bench_function("clock std Instant/1", |b| b.iter(|| black_box(origin).elapsed()));
    let quanta = governor::clock::QuantaClock::default();
    group.bench_function("clock quanta/1", |b| b.iter(|| governor::clock::Clock::now(black_box(&quanta))));
    for threads in [1, 2] {
        threaded(&mut group, "forebay", threads, || Limiter::new(quota()), |l| l.allow(1));
        threaded(&mut group, "forebay on quanta", threads, on_quanta, |l| l.allow(1));
        let fresh = || governor::RateLimiter::direct(governor_quota());
        threaded(&mut group, "governor check", threads, fresh, |l| l.check().is_ok());
        let fresh =
            || governor::RateLimiter::direct_with_clock(governor_quota(), governor::clock::MonotonicClock);
        threaded(&mut group, "governor on Instant", threads, fresh, |l| l.check().is_ok());
        let fresh = || {
            ratelimit::Ratelimiter::builder(RATE)
                .max_tokens(u64::from(BURST))
                .initial_available(u64::from(BURST))
                .build()
                .unwrap()
        };
        threaded(&mut group, "ratelimit", threads, fresh, |l| l.try_wait().is_ok());
    }
    others(&mut group);
    group.finish();
}

/// Our limiter on the clock that governor reads by default.
fn on_quanta() -> Limiter<impl Fn() -> u64> {
    let clock = governor::clock::QuantaClock::default();
    let origin = governor::clock::Clock::now(&clock);
    Limiter::with_clock(quota(), move || {
        let now = governor::clock::Clock::now(&clock);
        governor::clock::Reference::duration_since(&now, origin).as_u64()
    })
}

/// Those that only know real time and a runtime: leaky-bucket, and tower-resilience as the service it is
/// (`call` boxes a future and clones the inner service; the empty service beside it is what of that is tower).
fn others(group: &mut BenchmarkGroup<'_, WallTime>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let leaky = leaky_bucket::RateLimiter::builder().initial(1 << 40).max(1 << 40).refill(1 << 20).build();
    group.bench_function("leaky-bucket try_acquire/1", |b| b.iter(|| leaky.try_acquire(black_box(1))));
    use tower_layer::Layer as _;
    let layer = tower_resilience_ratelimiter::RateLimiterLayer::builder()
        .limit_for_period(1 << 40)
        .refresh_period(Duration::from_secs(1))
        .build()
        .unwrap();
    let mut service = layer.layer(Empty);
    group.bench_function("tower-resilience call/1", |b| b.iter(|| call(&mut service)));
    group.bench_function("empty service call/1", |b| b.iter(|| call(&mut Boxed(Empty))));
}

#[derive(Clone)]
struct Empty;

impl tower_service::Service<()> for Empty {
    type Response = ();
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<(), Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

/// The empty service behind one boxed future, so that the difference is the limiter's.
struct Boxed(Empty);

impl tower_service::Service<()> for Boxed {
    type Response = ();
    type Error = std::convert::Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<(), Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, (): ()) -> Self::Future {
        let mut inner = self.0.clone();
        Box::pin(async move { inner.call(()).await })
    }
}

fn call<S: tower_service::Service<()>>(service: &mut S) -> bool {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let ready = service.poll_ready(&mut cx).is_ready();
    let future = std::pin::pin!(service.call(()));
    ready && future.poll(&mut cx).is_ready()
}

/// R3: refused, which writes nothing.
fn deny(c: &mut Criterion) {
    let mut group = c.benchmark_group("R3 deny injected");
    let clock = Injected::new();
    let (rate, burst) = (1_000, 1);
    for threads in [1, 2] {
        let fresh = || {
            let limiter =
                Limiter::with_clock(Quota::new(Rate::per_second(rate), burst), move || clock.now_ns());
            limiter.allow(1);
            limiter
        };
        threaded(&mut group, "forebay allow", threads, fresh, |l| l.allow(1));
        threaded(&mut group, "forebay try_acquire", threads, fresh, |l| l.try_acquire(1).is_ok());
        let fresh = || {
            let quota = governor::Quota::per_second(cells(1_000)).allow_burst(cells(1));
            let limiter = governor::RateLimiter::direct_with_clock(quota, clock);
            limiter.check().ok();
            limiter
        };
        threaded(&mut group, "governor check", threads, fresh, |l| l.check().is_ok());
        let fresh = || {
            let limiter = ratelimit::Builder::with_clock(rate, clock).max_tokens(burst).build().unwrap();
            limiter.try_wait().ok();
            limiter
        };
        threaded(&mut group, "ratelimit", threads, fresh, |l| l.try_wait().is_ok());
    }
    group.finish();
}

/// R7: a new quota, tokens and debt kept; governor has to be built anew and starts full.
fn reconfigure(c: &mut Criterion) {
    let mut group = c.benchmark_group("R7 reconfigure injected");
    let clock = Injected::new();
    let limiter = Limiter::with_clock(quota(), move || clock.now_ns());
    let quotas = [quota(), Quota::new(Rate::per_second(RATE / 2), 1 << 20)];
    group.bench_function("forebay/1", |b| {
        let mut round = 0;
        b.iter(|| {
            clock.advance(7);
            round ^= 1;
            limiter.reconfigure(black_box(quotas[round]));
        });
    });
    let same = quotas[0];
    limiter.reconfigure(same);
    group.bench_function("forebay, the same again/1", |b| b.iter(|| limiter.reconfigure(black_box(same))));
    let theirs = ratelimit::Builder::with_clock(RATE, clock).max_tokens(u64::from(BURST)).build().unwrap();
    group.bench_function("ratelimit, rate alone/1", |b| b.iter(|| theirs.set_rate(black_box(RATE))));
    group.finish();
}

criterion_group! {
    name = decide;
    config = Criterion::default()
        .sample_size(40)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = allow, real, deny, reconfigure
}
criterion_main!(decide);
