//! R6: ten thousand wait in line, on a runtime of one thread and in real time. What is counted is what it costs
//! to serve them: polls of the waiting tasks and the processor's time of the whole process.
//!
//! Everybody gets 20,000 tokens a second, so that 10,000 one-token waiters take half a second; and, for who
//! starves, 2,000 waiters of which every tenth wants 100 tokens. Rates are whole nanoseconds a token and burst is
//! small, so that nobody is exact by chance and nobody passes at once.

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use forebay_ratelimit::{Queue, Quota, Rate};

const RATE: u64 = 20_000;
const WAITERS: u64 = 10_000;
const BURST: u64 = 100;

/// Counts how often a future is polled.
struct Counted<F> {
    inner: Pin<Box<F>>,
    polls: Arc<AtomicU64>,
}

impl<F: Future> Future for Counted<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.polls.fetch_add(1, Ordering::Relaxed);
        self.inner.as_mut().poll(cx)
    }
}

/// The processor's time of this process.
fn cpu() -> Duration {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(usage.tv_sec).unwrap(), u32::try_from(usage.tv_nsec).unwrap())
}

struct Run {
    polls: u64,
    cpu: Duration,
    elapsed: Duration,
}

/// `waiters` tasks wait for what `wait` makes for the given size; all are in line before time begins.
fn run<W, F>(sizes: &[u32], wait: W) -> (Run, Vec<Duration>)
where
    W: Fn(u32) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let polls = Arc::new(AtomicU64::new(0));
        let (started, cpu_before) = (Instant::now(), cpu());
        let tasks: Vec<_> = sizes
            .iter()
            .map(|&size| {
                let counted = Counted { inner: Box::pin(wait(size)), polls: Arc::clone(&polls) };
                tokio::spawn(async move {
                    counted.await;
                    started.elapsed()
                })
            })
            .collect();
        let mut served = Vec::new();
        for task in tasks {
            served.push(task.await.unwrap());
        }
        let run =
            Run { polls: polls.load(Ordering::Relaxed), cpu: cpu() - cpu_before, elapsed: started.elapsed() };
        (run, served)
    })
}

fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by_key(|run| run.cpu);
    let middle = runs.len() / 2;
    runs.swap_remove(middle)
}

fn forebay(sizes: &[u32]) -> (Run, Vec<Duration>) {
    let quota = Quota::new(Rate::per_second(RATE), BURST);
    let queue = std::sync::OnceLock::new();
    run(sizes, |size| {
        let queue = queue.get_or_init(|| Queue::new(quota)).clone();
        async move { queue.wait(u64::from(size)).await.unwrap().keep() }
    })
}

fn governor_until(sizes: &[u32], jitter: Option<Duration>) -> (Run, Vec<Duration>) {
    let quota = governor::Quota::per_second(NonZeroU32::new(20_000).unwrap())
        .allow_burst(NonZeroU32::new(100).unwrap());
    let limiter = Arc::new(governor::RateLimiter::direct(quota));
    run(sizes, |size| {
        let limiter = Arc::clone(&limiter);
        let size = NonZeroU32::new(size).unwrap();
        async move {
            match jitter {
                None => limiter.until_n_ready(size).await.unwrap(),
                Some(jitter) => {
                    limiter.until_n_ready_with_jitter(size, governor::Jitter::up_to(jitter)).await.unwrap()
                }
            }
        }
    })
}

fn leaky(sizes: &[u32]) -> (Run, Vec<Duration>) {
    let limiter = std::sync::OnceLock::new();
    run(sizes, |size| {
        let limiter = limiter
            .get_or_init(|| {
                let limiter = leaky_bucket::RateLimiter::builder()
                    .initial(100)
                    .max(100)
                    .refill(20)
                    .interval(Duration::from_millis(1))
                    .build();
                Arc::new(limiter)
            })
            .clone();
        async move { limiter.acquire(size as usize).await }
    })
}

fn report(name: &str, waiters: u64, serve: impl Fn() -> (Run, Vec<Duration>)) {
    let Run { polls, cpu, elapsed } = median((0..5).map(|_| serve().0).collect());
    // The first poll is the asking, not a wake-up.
    let wakes = (polls - waiters) as f64 / waiters as f64;
    println!("| {name} | {wakes:.3} | {:.1} ms | {:.3} s |", cpu.as_secs_f64() * 1e3, elapsed.as_secs_f64());
}

fn fairness(name: &str, sizes: &[u32], serve: impl Fn(&[u32]) -> (Run, Vec<Duration>)) {
    let (_, served) = serve(sizes);
    let overtaken = served.windows(2).filter(|pair| pair[1] < pair[0]).count();
    let last = |large: bool| {
        let of = sizes.iter().zip(&served).filter(|&(&size, _)| (size > 1) == large).map(|(_, at)| *at);
        of.max().unwrap_or_default().as_secs_f64() * 1e3
    };
    println!("| {name} | {overtaken} | {:.0} ms | {:.0} ms |", last(false), last(true));
}

fn main() {
    let ones = vec![1; WAITERS as usize];
    println!(
        "| R6: 10,000 waiters, {RATE} a second | wake-ups a grant | processor | elapsed |\n|---|---|---|---|"
    );
    report("(tasks that wait for nothing)", WAITERS, || run(&ones, |_| std::future::ready(())));
    report("forebay `wait`", WAITERS, || forebay(&ones));
    report("governor `until_n_ready`", WAITERS, || governor_until(&ones, None));
    report("governor `until_n_ready_with_jitter` 500 ms", WAITERS, || {
        governor_until(&ones, Some(Duration::from_millis(500)))
    });
    report("leaky-bucket `acquire`", WAITERS, || leaky(&ones));
    let mixed: Vec<_> = (0..2_000).map(|index| if index % 10 == 5 { 100 } else { 1 }).collect();
    println!(
        "\n| 2,000 waiters, every tenth for 100 tokens | served before one who came earlier | last small one | last large one |\n|---|---|---|---|"
    );
    fairness("forebay `wait`", &mixed, forebay);
    fairness("governor `until_n_ready`", &mixed, |sizes| governor_until(sizes, None));
    fairness("leaky-bucket `acquire`", &mixed, leaky);
}
