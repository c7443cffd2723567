//! The cases C1 to C4: closed and healthy, over windows, open, behind a tower service. A cell is the time of one call
//! that does nothing itself, asked for and reported; with two threads, of one call of each at the same breaker. Time is
//! what the threads spend on a processor, so that what else the machine does disturbs less.
#![expect(clippy::disallowed_methods, reason = "the clock itself is measured, too")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use failsafe::CircuitBreaker as _;
use forebay_circuit::{Breaker, CircuitBreakerLayer, Options};
use forebay_circuit_peers::{
    Clock, Echo, consecutive, count_window, discard, failsafe_consecutive, failsafe_window, now, ours,
    recloser, time_window,
};
use tower_layer::Layer;
use tower_resilience_circuitbreaker::{
    CircuitBreaker as TowerResilience, CircuitBreakerLayer as TowerResilienceLayer, DefaultClassifier,
    SlidingWindowType,
};
use tower_service::Service;

const HOUR: Duration = Duration::from_secs(3_600);

/// What the calling thread has spent on a processor.
struct ThreadTime;

fn spent() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("time that was spent is not negative")
}

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        spent()
    }

    fn end(&self, started: Duration) -> Duration {
        spent() - started
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// One call after the other in one thread, and in two that start together.
fn cells<F: Fn() -> O + Sync, O>(group: &mut BenchmarkGroup<'_, ThreadTime>, name: &str, call: F) {
    for threads in [1, 2] {
        group.bench_function(format!("{name}/{threads}"), |bencher| {
            bencher.iter_custom(|calls| {
                let start = Barrier::new(threads);
                let run = || {
                    start.wait();
                    let started = spent();
                    (0..calls).for_each(|_| {
                        black_box(call());
                    });
                    spent() - started
                };
                thread::scope(|scope| {
                    let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
                    let own = run();
                    others
                        .into_iter()
                        .map(|other| other.join().expect("no call panics"))
                        .fold(own, Duration::max)
                })
            })
        });
    }
}

fn injected(options: Options) -> Breaker<impl Fn() -> u64 + Send + Sync> {
    Breaker::with_clock(options, Clock::default().reader()).expect("right options")
}

fn succeed() -> Result<(), ()> {
    black_box(Ok(()))
}

fn clock(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("clock");
    group.bench_function("Instant::now", |bencher| bencher.iter(Instant::now));
    let origin = Instant::now();
    group.bench_function("Instant::elapsed", |bencher| bencher.iter(|| origin.elapsed()));
    group.finish();
}

/// C1. Recloser has no such mode: its window of 100 calls stands in.
fn closed_consecutive(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("closed_consecutive");
    let breaker = injected(consecutive());
    cells(&mut group, "forebay, injected clock", || breaker.call(succeed).is_ok());
    cells(&mut group, "forebay, permit, injected clock", || {
        breaker.try_acquire().map(|permit| permit.success())
    });
    cells(&mut group, "forebay, owned permit, injected clock", || {
        breaker.try_acquire_owned().map(|permit| permit.success()).is_ok()
    });
    let breaker = ours(consecutive());
    cells(&mut group, "forebay", || breaker.call(succeed).is_ok());
    let breaker = ours(Options { count_calls: true, ..consecutive() });
    cells(&mut group, "forebay, calls counted", || breaker.call(succeed).is_ok());
    let breaker = failsafe_consecutive(HOUR);
    cells(&mut group, "failsafe", || breaker.call(succeed).is_ok());
    let breaker = recloser(HOUR);
    cells(&mut group, "recloser", || breaker.call(succeed).is_ok());
    let layer = TowerResilienceLayer::builder().consecutive_failures(5).build().expect("right options");
    tower_resilience(&mut group, layer.layer(Echo));
    group.finish();
}

/// Its services are cloned to be shared, as tower's are.
fn tower_resilience(
    group: &mut BenchmarkGroup<'_, ThreadTime>,
    service: TowerResilience<Echo, DefaultClassifier>,
) {
    let mut own = service.clone();
    group.bench_function("tower-resilience/1", |bencher| bencher.iter(|| now(own.call(Ok(()))).is_ok()));
    // Its lock is tokio's: to wait for it takes a runtime.
    group.bench_function("tower-resilience/2", |bencher| {
        bencher.iter_custom(|calls| {
            let start = Arc::new(Barrier::new(2));
            let threads = [(); 2].map(|()| {
                let (mut service, start) = (service.clone(), Arc::clone(&start));
                thread::spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
                    runtime.block_on(async {
                        start.wait();
                        let started = spent();
                        for _ in 0..calls {
                            let _ = black_box(service.call(Ok(())).await);
                        }
                        spent() - started
                    })
                })
            });
            threads.map(|thread| thread.join().expect("no call panics")).into_iter().max().unwrap_or_default()
        })
    });
}

/// C2. Failsafe's is a moving average and 5 slices; tower-resilience keeps each call and looks at all.
fn closed_time_window(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("closed_time_window");
    let breaker = injected(time_window());
    cells(&mut group, "forebay, injected clock", || breaker.call(succeed).is_ok());
    let breaker = ours(time_window());
    cells(&mut group, "forebay", || breaker.call(succeed).is_ok());
    let breaker = failsafe_window(HOUR);
    cells(&mut group, "failsafe", || breaker.call(succeed).is_ok());
    for held in [1_000, 10_000] {
        let layer = TowerResilienceLayer::builder()
            .sliding_window_type(SlidingWindowType::TimeBased)
            .sliding_window_duration(Duration::from_secs(10))
            .minimum_number_of_calls(100)
            .build()
            .expect("right options");
        group.sample_size(10);
        group.bench_function(format!("tower-resilience, {held} calls in the window/1"), |bencher| {
            bencher.iter_custom(|calls| {
                let mut elapsed = Duration::ZERO;
                let mut left = calls;
                while left > 0 {
                    let batch = left.min(100);
                    let mut service = layer.layer(Echo);
                    (0..held).for_each(|_| discard(now(service.call(Ok(())))));
                    let started = spent();
                    (0..batch).for_each(|_| discard(black_box(now(service.call(Ok(()))))));
                    elapsed += spent() - started;
                    left -= batch;
                }
                elapsed
            })
        });
    }
    group.finish();
}

/// C1 and C2 over the last 100 calls, which is what recloser does. Tower-resilience counts since its last transition.
fn closed_count_window(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("closed_count_window");
    let breaker = ours(count_window());
    cells(&mut group, "forebay", || breaker.call(succeed).is_ok());
    let breaker = recloser(HOUR);
    cells(&mut group, "recloser", || breaker.call(succeed).is_ok());
    let layer = TowerResilienceLayer::builder().build().expect("right options");
    tower_resilience(&mut group, layer.layer(Echo));
    group.finish();
}

/// C3.
fn open(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("open_rejection");
    let options = Options { open_for: HOUR, max_open_for: HOUR, ..consecutive() };
    let fail = || Err::<(), ()>(());
    let breaker = injected(options.clone());
    (0..5).for_each(|_| discard(breaker.call(fail)));
    cells(&mut group, "forebay, injected clock", || breaker.call(succeed).is_ok());
    let breaker = ours(options);
    (0..5).for_each(|_| discard(breaker.call(fail)));
    cells(&mut group, "forebay", || breaker.call(succeed).is_ok());
    let breaker = failsafe_consecutive(HOUR);
    (0..5).for_each(|_| discard(breaker.call(fail)));
    assert!(!breaker.is_call_permitted());
    cells(&mut group, "failsafe", || breaker.call(succeed).is_ok());
    let breaker = recloser(HOUR);
    (0..200).for_each(|_| discard(breaker.call(fail)));
    cells(&mut group, "recloser", || breaker.call(succeed).is_ok());
    let layer = TowerResilienceLayer::builder()
        .consecutive_failures(5)
        .wait_duration_in_open(HOUR)
        .build()
        .expect("right options");
    let mut service = layer.layer(Echo);
    (0..5).for_each(|_| discard(now(service.call(Err(())))));
    assert!(now(service.call(Ok(()))).is_err());
    tower_resilience(&mut group, service);
    group.finish();
}

/// C4: what a layer adds to a service that answers at once.
fn layer(c: &mut Criterion<ThreadTime>) {
    let mut group = c.benchmark_group("layer");
    let mut bare = Echo;
    group.bench_function("no layer/1", |bencher| {
        bencher.iter(|| now(black_box(&mut bare).call(Ok(()))).is_ok())
    });
    let mut service = CircuitBreakerLayer::new(ours(consecutive())).layer(Echo);
    group.bench_function("forebay/1", |bencher| bencher.iter(|| now(service.call(Ok(()))).is_ok()));
    let layer = TowerResilienceLayer::builder().consecutive_failures(5).build().expect("right options");
    let mut service = layer.layer(Echo);
    group.bench_function("tower-resilience/1", |bencher| bencher.iter(|| now(service.call(Ok(()))).is_ok()));
    group.finish();
}

criterion_group! {
    name = peers;
    config = Criterion::default().with_measurement(ThreadTime).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(500));
    targets = clock, closed_consecutive, closed_time_window, closed_count_window, open, layer
}
criterion_main!(peers);
