//! Before a service.
#![cfg(feature = "tower")]

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use forebay_ratelimit::{Ask, Denied, Keyed, KeyedOptions, Limiter, Name, Quota, Rate, RateLimitLayer};
use tower::{Layer, Service, service_fn};

const QUOTA: Quota = Quota::new(Rate::per_second(10), 100);

struct Push {
    tenant: &'static str,
    bytes: u64,
}

/// Counts the bytes that reach it.
#[derive(Clone, Default)]
struct Sink(Arc<AtomicU64>);

impl Service<Push> for Sink {
    type Response = u16;
    type Error = Infallible;
    type Future = Ready<Result<u16, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, push: Push) -> Self::Future {
        self.0.fetch_add(push.bytes, Ordering::Relaxed);
        ready(Ok(204))
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not ready"),
    }
}

fn push(tenant: &'static str, bytes: u64) -> Push {
    Push { tenant, bytes }
}

#[test]
fn requests_pass_at_their_own_cost_and_all_clones_share_the_limiter() {
    let limiter = Arc::new(Limiter::with_clock(QUOTA, || 0));
    let layer = RateLimitLayer::new(limiter, |push: &Push| push.bytes, |_: Denied| Ok(429));
    let sink = Sink::default();
    let (mut one, mut other) = (layer.layer(sink.clone()), layer.clone().layer(sink.clone()));
    assert_eq!(now(one.call(push("blue", 60))), Ok(204));
    assert_eq!(now(other.call(push("blue", 41))), Ok(429));
    assert_eq!(now(other.clone().call(push("blue", 40))), Ok(204));
    assert_eq!(now(one.call(push("blue", 1))), Ok(429));
    assert_eq!(sink.0.load(Ordering::Relaxed), 100, "what was refused never reached the service");
}

#[test]
fn a_tenant_is_held_to_its_own_quota() {
    let tenants: Arc<Keyed<Name, _>> = Arc::new(Keyed::with_clock(KeyedOptions::default(), || 0));
    let ask = Ask(move |push: &Push, tokens| tenants.try_acquire(push.tenant, tokens, QUOTA).map(drop));
    let mut service =
        RateLimitLayer::new(ask, |push: &Push| push.bytes, |_: Denied| Ok(429)).layer(Sink::default());
    assert_eq!(now(service.call(push("blue", 100))), Ok(204));
    assert_eq!(now(service.call(push("blue", 1))), Ok(429));
    assert_eq!(now(service.call(push("green", 100))), Ok(204));
}

#[test]
fn a_refusal_is_an_error_where_the_service_has_one_for_it() {
    let limiter = Arc::new(Limiter::with_clock(QUOTA, || 0));
    let layer =
        RateLimitLayer::new(limiter, |_: &u64| 60, |denied: Denied| Err(denied.retry_after.seconds()));
    let mut service = layer.layer(service_fn(|number: u64| ready(Ok::<_, Option<u64>>(number))));
    assert_eq!(now(service.call(7)), Ok(7));
    assert_eq!(now(service.call(7)), Err(Some(2)));
}

#[test]
fn neither_passing_nor_refusing_allocates() {
    let limiter = Arc::new(Limiter::with_clock(QUOTA, || 0));
    let mut service =
        RateLimitLayer::new(limiter, |push: &Push| push.bytes, |_: Denied| Ok(429)).layer(Sink::default());
    let allocations = measure(|| {
        assert_eq!(now(service.call(push("blue", 60))), Ok(204));
        assert_eq!(now(service.call(push("blue", 60))), Ok(429));
    });
    assert_eq!(allocations.count_total, 0);
}
