//! The breaker before a tower service.
#![cfg(feature = "tower")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cell::Cell;
use std::future::{Future, Pending, Ready, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use forebay_circuit::{
    Breaker, CallError, CircuitBreakerLayer, Options, Outcome, Phase, State, Trip, Verdict,
};
use tower_layer::Layer;
use tower_service::Service;

/// Answers with its request; counts who asked whether it is ready, and who called.
#[derive(Clone, Default)]
struct Echo {
    polled: Rc<Cell<u32>>,
    called: Rc<Cell<u32>>,
}

impl Service<Result<u32, &'static str>> for Echo {
    type Response = u32;
    type Error = &'static str;
    type Future = Ready<Result<u32, &'static str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.polled.set(self.polled.get() + 1);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, answer: Result<u32, &'static str>) -> Self::Future {
        assert_ne!(answer, Err("panic"), "a service that panics in call");
        self.called.set(self.called.get() + 1);
        ready(answer)
    }
}

/// Never answers.
struct Hang;

impl Service<()> for Hang {
    type Response = ();
    type Error = ();
    type Future = Pending<Result<(), ()>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        pending()
    }
}

fn breaker(clock: impl Fn() -> u64 + 'static) -> Breaker<impl Fn() -> u64> {
    let options = Options {
        trip: Trip::Consecutive(2),
        jitter_percent: 0,
        half_open_probes: 1,
        verdict: Verdict::Successes(1),
        ..Options::default()
    };
    Breaker::with_clock(options, clock).unwrap()
}

fn poll<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn errors_open_it_and_then_the_service_is_not_called() {
    let (echo, breaker) = (Echo::default(), breaker(|| 0));
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(echo.clone());
    assert_eq!(poll(service.call(Ok(7))), Poll::Ready(Ok(7)));
    for _ in 0..2 {
        assert_eq!(poll(service.call(Err("down"))), Poll::Ready(Err(CallError::Failed("down"))));
    }
    assert_eq!(breaker.state().phase(), Phase::Open);
    let Poll::Ready(Err(error)) = poll(service.call(Ok(7))) else { panic!("an open breaker calls") };
    assert_eq!(error.rejected().unwrap().retry_after, Some(Duration::from_secs(1)));
    assert_eq!((echo.called.get(), error.to_string().as_str()), (3, "circuit breaker is open for 1s"));
    assert_eq!(service.breaker().state(), breaker.state());
}

/// A caller may ask whether the service is ready and never call.
#[test]
fn being_ready_takes_no_permit() {
    let now_ns = Rc::new(Cell::new(0));
    let clock = Rc::clone(&now_ns);
    let (echo, breaker) = (Echo::default(), breaker(move || clock.get()));
    (0..2).for_each(|_| breaker.try_acquire().unwrap().failure());
    now_ns.set(1_000_000_000);
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(echo.clone());
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..10 {
        assert!(service.poll_ready(&mut cx).is_ready());
    }
    assert_eq!((echo.polled.get(), breaker.snapshot().in_flight), (10, 0));
    assert_eq!(poll(service.call(Ok(1))), Poll::Ready(Ok(1)));
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_future_that_is_dropped_gives_its_slot_back() {
    let now_ns = Rc::new(Cell::new(0));
    let clock = Rc::clone(&now_ns);
    let breaker = breaker(move || clock.get());
    (0..2).for_each(|_| breaker.try_acquire().unwrap().failure());
    now_ns.set(1_000_000_000);
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(Hang);
    for _ in 0..3 {
        let mut future = Box::pin(service.call(()));
        assert!(poll(future.as_mut()).is_pending());
        assert_eq!(breaker.snapshot().in_flight, 1);
        let rejected = service.call(());
        assert!(matches!(poll(rejected), Poll::Ready(Err(CallError::Rejected(_)))));
        drop(future);
        assert_eq!(breaker.snapshot().in_flight, 0);
    }
}

#[test]
fn a_classifier_says_what_answers_mean() {
    let breaker = breaker(|| 0);
    let classify = |answer: &Result<u32, &'static str>| match answer {
        Ok(429) => Outcome::Throttled(Some(Duration::from_secs(30))),
        Ok(500..) => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Ignored,
    };
    let mut service = CircuitBreakerLayer::new(breaker.clone()).classify(classify).layer(Echo::default());
    for answer in [Err("cancelled"), Ok(503), Ok(200), Ok(503), Err("cancelled")] {
        assert!(poll(service.call(answer)).is_ready());
        assert_eq!(breaker.state(), State::Closed);
    }
    assert_eq!(poll(service.clone().call(Ok(429))), Poll::Ready(Ok(429)));
    assert_eq!(breaker.state(), State::Open { retry_after: Some(Duration::from_secs(30)) });
}

#[test]
fn a_service_that_panics_has_failed() {
    let breaker = breaker(|| 0);
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(Echo::default());
    for _ in 0..2 {
        assert!(catch_unwind(AssertUnwindSafe(|| service.call(Err("panic")))).is_err());
    }
    assert_eq!(breaker.state().phase(), Phase::Open);
}

/// Panics when it is polled.
async fn panics() -> Result<(), ()> {
    panic!("in the answer")
}

/// Its future was dropped later, by whoever had caught the panic, and said nothing then.
#[test]
fn an_answer_that_panics_is_a_failure_whoever_catches_it() {
    #[derive(Clone)]
    struct Panics;
    impl Service<()> for Panics {
        type Response = ();
        type Error = ();
        type Future = Pin<Box<dyn Future<Output = Result<(), ()>>>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            Box::pin(panics())
        }
    }
    let breaker = breaker(|| 0);
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(Panics);
    for _ in 0..2 {
        let mut future = Box::pin(service.call(()));
        assert!(catch_unwind(AssertUnwindSafe(|| poll(future.as_mut()))).is_err());
        drop(future);
    }
    assert_eq!(breaker.state().phase(), Phase::Open);
}

#[test]
fn a_service_that_fails_to_get_ready_has_failed() {
    #[derive(Clone)]
    struct Refused;
    impl Service<()> for Refused {
        type Response = ();
        type Error = &'static str;
        type Future = Pending<Result<(), &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready(Err("connection refused"))
        }

        fn call(&mut self, (): ()) -> Self::Future {
            panic!("it is not ready")
        }
    }
    let breaker = breaker(|| 0);
    let mut cx = Context::from_waker(Waker::noop());
    let ignores = |_: &Result<(), &'static str>| Outcome::Ignored;
    let mut ignored = CircuitBreakerLayer::new(breaker.clone()).classify(ignores).layer(Refused);
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(Refused);
    for _ in 0..2 {
        assert!(ignored.poll_ready(&mut cx).is_ready());
        assert_eq!(breaker.state(), State::Closed);
        assert_eq!(service.poll_ready(&mut cx), Poll::Ready(Err(CallError::Failed("connection refused"))));
    }
    assert_eq!(breaker.state().phase(), Phase::Open);
}
