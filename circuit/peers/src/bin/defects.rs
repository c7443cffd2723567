//! C6: the defects D6 to D9, tried on each breaker that has what it takes. Real clocks, so it waits; nothing here is a
//! test, it prints what it sees.
#![expect(clippy::disallowed_methods, reason = "the peers know no other clock than the system's")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use failsafe::{CircuitBreaker as _, backoff, failure_policy};
use forebay_circuit::{Breaker, Options, State, Trip};
use forebay_circuit_peers::{
    Clock, Echo, consecutive, count_window, discard, failsafe_consecutive, now, one_probe, recloser,
    time_window,
};
use tower_layer::Layer;
use tower_resilience_circuitbreaker::{CircuitBreakerLayer as TowerResilienceLayer, SlidingWindowType};
use tower_service::Service;

const WAIT: Duration = Duration::from_millis(50);
const SECOND: Duration = Duration::from_secs(1);

fn fail() -> Result<(), ()> {
    Err(())
}

fn clocked(options: Options) -> (Clock, Breaker<impl Fn() -> u64 + Clone + Send + Sync>) {
    let clock = Clock::default();
    let breaker = Breaker::with_clock(options, clock.reader()).expect("right options");
    (clock, breaker)
}

fn pass(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::yield_now();
    }
}

/// How many failures in a row open it after 10,000 successes, at half of 100 calls.
fn d6() {
    println!("D6: failures that open it at 50 % of the last 100 calls, after 10,000 successes");
    let (_, breaker) = clocked(count_window());
    (0..10_000).for_each(|_| discard(breaker.call(|| Ok::<(), ()>(()))));
    let failures = (1..).find(|_| {
        discard(breaker.call(fail));
        breaker.state() != State::Closed
    });
    println!("  forebay            {}", failures.unwrap_or(0));

    // It has no way to ask for its state: so the failures that it lets through are counted, until it rejects one.
    let breaker = recloser(SECOND);
    (0..10_000).for_each(|_| discard(breaker.call(|| Ok::<(), ()>(()))));
    let admitted = (0..).take_while(|_| !matches!(breaker.call(fail), Err(recloser::Error::Rejected)));
    println!("  recloser           {}", admitted.count());

    let layer = TowerResilienceLayer::builder().build().expect("right options");
    let mut service = layer.layer(Echo);
    (0..10_000).for_each(|_| discard(now(service.call(Ok(())))));
    let failures = (1..).find(|_| {
        discard(now(service.call(Err(()))));
        service.is_open()
    });
    println!("  tower-resilience   {}", failures.unwrap_or(0));
    println!("  failsafe           has no window of calls");
}

/// Half-open: of 10,000 that ask while no probe has ended, how many get through; and what a success does that was
/// admitted before the trip.
fn d7_d8() {
    println!(
        "D7, D8: probes in flight at once, of 1,000 that ask, one permitted (recloser: 10); and whether a success from before the trip closes it"
    );
    let (clock, breaker) = clocked(one_probe(consecutive()));
    let early = breaker.try_acquire().expect("closed");
    (0..5).for_each(|_| discard(breaker.call(fail)));
    clock.advance(SECOND);
    let probes: Vec<_> = (0..1_000).filter_map(|_| breaker.try_acquire().ok()).collect();
    early.success();
    let closed = breaker.state() == State::Closed;
    println!("  forebay            {} in flight, stale success closes: {closed}", probes.len());

    let breaker = failsafe_consecutive(WAIT);
    assert!(breaker.is_call_permitted());
    (0..5).for_each(|_| discard(breaker.call(fail)));
    pass(2 * WAIT);
    let probes = (0..1_000).filter(|_| breaker.is_call_permitted()).count();
    // The call that was permitted first ends well now.
    breaker.on_success();
    let closed = format!("{breaker:?}").contains("closed");
    println!("  failsafe           {probes} in flight, stale success closes: {closed}");

    let breaker = recloser(WAIT);
    (0..200).for_each(|_| discard(breaker.call(fail)));
    pass(2 * WAIT);
    println!("  recloser           {} in flight (nested, so at once)", nested(&breaker, 500));

    let layer = TowerResilienceLayer::builder()
        .consecutive_failures(5)
        .wait_duration_in_open(WAIT)
        .build()
        .expect("right options");
    let mut service = layer.layer(Hang(AtomicU32::new(0).into()));
    let mut early = Box::pin(service.call(Ask::Later));
    assert!(poll(early.as_mut()).is_pending());
    (0..5).for_each(|_| discard(now(service.call(Ask::Fail))));
    pass(2 * WAIT);
    let mut probes = Vec::new();
    for _ in 0..1_000 {
        let mut probe = Box::pin(service.call(Ask::Later));
        if poll(probe.as_mut()).is_pending() {
            probes.push(probe);
        }
    }
    service.get_ref().0.store(1, Ordering::Relaxed);
    assert!(poll(early.as_mut()).is_ready());
    println!(
        "  tower-resilience   {} in flight, stale success closes: {}",
        probes.len(),
        service.state_sync() == tower_resilience_circuitbreaker::CircuitState::Closed
    );
}

/// Calls within calls, all at once in flight, while half-open.
fn nested(breaker: &recloser::Recloser, left: u32) -> u32 {
    if left == 0 {
        return 0;
    }
    let mut inner = 0;
    let result = breaker.call(|| {
        inner = nested(breaker, left - 1);
        Ok::<(), ()>(())
    });
    inner + u32::from(!matches!(result, Err(recloser::Error::Rejected)))
}

/// A probe that never ends; and calls that end later than the window is long.
fn d9() {
    println!(
        "D9: calls rejected while one probe hangs, of 50 after twice the wait each; and failures slower than the window that open it"
    );
    let short = Options {
        open_for: WAIT,
        max_open_for: WAIT,
        half_open_max_wait: 2 * WAIT,
        ..one_probe(consecutive())
    };
    let (clock, breaker) = clocked(short);
    (0..5).for_each(|_| discard(breaker.call(fail)));
    clock.advance(WAIT);
    std::mem::forget(breaker.try_acquire().expect("a probe"));
    let rejected = (0..50)
        .filter(|_| {
            clock.advance(2 * WAIT);
            breaker.call(|| Ok::<(), ()>(())).is_err()
        })
        .count();
    let (clock, breaker) = clocked(time_window());
    let slow = (1..=1_000).find(|_| {
        let call = breaker.try_acquire().expect("closed");
        clock.advance(Duration::from_millis(10));
        call.failure();
        breaker.state() != State::Closed
    });
    // Longer than the window of 10 s.
    let (clock, breaker) = clocked(time_window());
    let calls: Vec<_> = (0..200).map(|_| breaker.try_acquire().expect("closed")).collect();
    clock.advance(11 * SECOND);
    calls.into_iter().for_each(|call| call.failure());
    let counted = breaker.state() != State::Closed;
    let (clock, breaker) = clocked(Options { trip: Trip::SlowInFlight(5), ..consecutive() });
    let _hung: Vec<_> = (0..5).map(|_| breaker.try_acquire().expect("closed")).collect();
    clock.advance(6 * SECOND);
    let found = breaker.try_acquire().is_err();
    println!(
        "  forebay            {rejected} rejected; slow failures counted: {counted} (opened after {}); hung calls open it before they return: {found}",
        slow.unwrap_or(0)
    );

    let breaker = failsafe_consecutive(WAIT);
    (0..5).for_each(|_| discard(breaker.call(fail)));
    pass(2 * WAIT);
    assert!(breaker.is_call_permitted());
    let rejected = (0..50).filter(|_| !breaker.is_call_permitted()).count();
    // Its shortest window is a second.
    let policy = failure_policy::success_rate_over_time_window(0.5, 100, SECOND, backoff::constant(WAIT));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    pass(SECOND + WAIT);
    for _ in 0..200 {
        pass(Duration::from_millis(2));
        breaker.on_error();
    }
    let counted = format!("{breaker:?}").contains("open");
    println!(
        "  failsafe           {rejected} rejected, as half-open rejects nobody (D7); slow failures counted: {counted}; does not look at calls in flight"
    );

    let breaker = recloser(WAIT);
    (0..200).for_each(|_| discard(breaker.call(fail)));
    pass(2 * WAIT);
    let mut rejected = 0;
    // The outer call is the probe that hangs.
    let _ = breaker.call(|| {
        let succeed = |_: &i32| matches!(breaker.call(|| Ok::<(), ()>(())), Err(recloser::Error::Rejected));
        rejected = (0..50).filter(succeed).count();
        fail()
    });
    println!(
        "  recloser           {rejected} rejected, as half-open rejects nobody (D8); has no window of time; does not look at calls in flight"
    );

    let layer = TowerResilienceLayer::builder()
        .consecutive_failures(5)
        .wait_duration_in_open(WAIT)
        .build()
        .expect("right options");
    let mut service = layer.layer(Hang(AtomicU32::new(0).into()));
    (0..5).for_each(|_| discard(now(service.call(Ask::Fail))));
    pass(2 * WAIT);
    let mut hung = Box::pin(service.call(Ask::Later));
    assert!(poll(hung.as_mut()).is_pending());
    let rejected = (0..50)
        .filter(|_| {
            pass(2 * WAIT);
            now(service.call(Ask::Succeed)).is_err()
        })
        .count();
    let layer = TowerResilienceLayer::builder()
        .sliding_window_type(SlidingWindowType::TimeBased)
        .sliding_window_duration(WAIT)
        .minimum_number_of_calls(5)
        .build()
        .expect("right options");
    let mut service = layer.layer(Hang(AtomicU32::new(0).into()));
    let mut calls: Vec<_> = (0..5).map(|_| Box::pin(service.call(Ask::Later))).collect();
    calls.iter_mut().for_each(|call| assert!(poll(call.as_mut()).is_pending()));
    pass(2 * WAIT);
    let open = service.is_open();
    service.get_ref().0.store(2, Ordering::Relaxed);
    calls.iter_mut().for_each(|call| assert!(poll(call.as_mut()).is_ready()));
    println!(
        "  tower-resilience   {rejected} rejected; slow failures counted: {}; hung calls open it before they return: {open}",
        service.is_open()
    );
}

/// Answers later: nothing while its number is 0, success at 1, failure at 2.
#[derive(Clone)]
struct Hang(std::sync::Arc<AtomicU32>);

enum Ask {
    Fail,
    Succeed,
    Later,
}

impl Service<Ask> for Hang {
    type Response = ();
    type Error = ();
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<(), ()>> + Send>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), ()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        let answer = std::sync::Arc::clone(&self.0);
        Box::pin(std::future::poll_fn(move |_| match (&ask, answer.load(Ordering::Relaxed)) {
            (Ask::Fail, _) | (Ask::Later, 2) => std::task::Poll::Ready(Err(())),
            (Ask::Succeed, _) | (Ask::Later, 1) => std::task::Poll::Ready(Ok(())),
            _ => std::task::Poll::Pending,
        }))
    }
}

fn poll<F: Future + ?Sized>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}

fn main() {
    d6();
    d7_d8();
    d9();
}
