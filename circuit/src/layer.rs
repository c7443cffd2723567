//! A breaker around a tower service. No box, and where all is well no lock and no allocation; and the permit is taken
//! in `call`: one that was taken in `poll_ready` would keep a probe's slot for as long as the caller, who was told
//! that it may call, does not.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::breaker::{Breaker, CallError, by_result};
use crate::permit::OwnedPermit;
use crate::state::{Outcome, Rejected};

/// Says what a service's answer means for its endpoint. Functions from `&Result<T, E>` to [`Outcome`] do.
pub trait Classify<T, E> {
    /// Success, failure, throttled, or nothing of the kind.
    fn classify(&self, result: &Result<T, E>) -> Outcome;
}

impl<T, E, F: Fn(&Result<T, E>) -> Outcome> Classify<T, E> for F {
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        self(result)
    }
}

/// An answer is a success, an error a failure.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByResult;

impl<T, E> Classify<T, E> for ByResult {
    fn classify(&self, result: &Result<T, E>) -> Outcome {
        by_result(result)
    }
}

/// Puts a [`Breaker`] before services; all of one layer share it.
///
/// A service that fails to get ready is classified like one that answers. One that does not get ready keeps its
/// caller waiting, be the breaker open or not: who may not wait puts a deadline or a load shedder around it.
///
/// What `poll_ready` has reserved in the service, such as a place under tower's `ConcurrencyLimit`, is kept over a
/// rejection until this clone is called again or dropped: such layers go outside of this one.
///
/// ```
/// use forebay_circuit::{Breaker, CircuitBreakerLayer, Options, Outcome};
/// use tower_layer::Layer;
/// # use std::{future::{Ready, ready}, task::{Context, Poll}};
/// # #[derive(Clone)]
/// # struct Client;
/// # impl tower_service::Service<u16> for Client {
/// #     type Response = u16;
/// #     type Error = std::io::Error;
/// #     type Future = Ready<Result<u16, std::io::Error>>;
/// #     fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), std::io::Error>> { Poll::Ready(Ok(())) }
/// #     fn call(&mut self, status: u16) -> Self::Future { ready(Ok(status)) }
/// # }
/// # let client = Client;
///
/// let breaker = Breaker::new(Options::default())?;
/// // A status in place of an error is what HTTP clients return.
/// let layer = CircuitBreakerLayer::new(breaker).classify(|answer: &Result<u16, std::io::Error>| match answer {
///     Ok(429) => Outcome::Throttled(None),
///     Ok(500..) | Err(_) => Outcome::Failure,
///     Ok(_) => Outcome::Success,
/// });
/// let client = layer.layer(client);
/// # fn is_service<S: tower_service::Service<u16>>(_: S) {}
/// # is_service(client);
/// # Ok::<(), forebay_circuit::OptionsError>(())
/// ```
pub struct CircuitBreakerLayer<C = fn() -> u64, K = ByResult> {
    breaker: Breaker<C>,
    classify: K,
}

/// A service behind a [`Breaker`]. Its error is [`CallError`]: rejected, or what the service says.
pub struct CircuitBreaker<S, C = fn() -> u64, K = ByResult> {
    inner: S,
    breaker: Breaker<C>,
    classify: K,
}

pin_project! {
    /// The answer of a [`CircuitBreaker`].
    pub struct ResponseFuture<F, C: Fn() -> u64 = fn() -> u64, K = ByResult> {
        #[pin]
        inner: Option<F>,
        // None once the answer is there, or if there is none.
        permit: Option<OwnedPermit<C>>,
        rejected: Option<Rejected>,
        classify: K,
    }
}

impl<C> CircuitBreakerLayer<C> {
    /// Answers are successes, errors are failures.
    pub fn new(breaker: Breaker<C>) -> Self {
        Self { breaker, classify: ByResult }
    }
}

impl<C, K> CircuitBreakerLayer<C, K> {
    /// With another view of what answers mean. It is cloned for each call, which costs nothing for a function.
    pub fn classify<L>(self, classify: L) -> CircuitBreakerLayer<C, L> {
        CircuitBreakerLayer { breaker: self.breaker, classify }
    }
}

impl<S, C, K: Clone> Layer<S> for CircuitBreakerLayer<C, K> {
    type Service = CircuitBreaker<S, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker { inner, breaker: self.breaker.clone(), classify: self.classify.clone() }
    }
}

impl<S, C, K> CircuitBreaker<S, C, K> {
    /// The breaker, to look at it or to force it.
    pub fn breaker(&self) -> &Breaker<C> {
        &self.breaker
    }
}

impl<S, R, C, K> Service<R> for CircuitBreaker<S, C, K>
where
    S: Service<R>,
    C: Fn() -> u64,
    K: Classify<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = CallError<S::Error>;
    type Future = ResponseFuture<S::Future, C, K>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let Err(error) = ready!(self.inner.poll_ready(cx)) else { return Poll::Ready(Ok(())) };
        let result = Err(error);
        if let Ok(permit) = self.breaker.try_acquire() {
            permit.record(self.classify.classify(&result));
        }
        Poll::Ready(result.map(drop).map_err(CallError::Failed))
    }

    fn call(&mut self, request: R) -> Self::Future {
        let classify = self.classify.clone();
        match self.breaker.try_acquire_owned() {
            Ok(permit) => {
                let inner = Some(self.inner.call(request));
                ResponseFuture { inner, permit: Some(permit), rejected: None, classify }
            }
            Err(rejected) => ResponseFuture { inner: None, permit: None, rejected: Some(rejected), classify },
        }
    }
}

impl<F, C, K, T, E> Future for ResponseFuture<F, C, K>
where
    F: Future<Output = Result<T, E>>,
    C: Fn() -> u64,
    K: Classify<T, E>,
{
    type Output = Result<T, CallError<E>>;

    /// # Panics
    /// If it is polled again after it was rejected, as any future may be after its end.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else {
            let rejected = this.rejected.take().expect("a future is not polled after its end");
            return Poll::Ready(Err(CallError::Rejected(rejected)));
        };
        // Here, so that a panic drops it, and not whoever catches that and drops the future later.
        let permit = this.permit.take();
        let Poll::Ready(result) = inner.poll(cx) else {
            *this.permit = permit;
            return Poll::Pending;
        };
        if let Some(permit) = permit {
            permit.record(this.classify.classify(&result));
        }
        Poll::Ready(result.map_err(CallError::Failed))
    }
}

impl<C, K: Clone> Clone for CircuitBreakerLayer<C, K> {
    fn clone(&self) -> Self {
        Self { breaker: self.breaker.clone(), classify: self.classify.clone() }
    }
}

impl<S: Clone, C, K: Clone> Clone for CircuitBreaker<S, C, K> {
    fn clone(&self) -> Self {
        let Self { inner, breaker, classify } = self;
        Self { inner: inner.clone(), breaker: breaker.clone(), classify: classify.clone() }
    }
}

impl<C: Fn() -> u64, K> fmt::Debug for CircuitBreakerLayer<C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerLayer").field("breaker", &self.breaker).finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, C: Fn() -> u64, K> fmt::Debug for CircuitBreaker<S, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, breaker, .. } = self;
        f.debug_struct("CircuitBreaker")
            .field("inner", inner)
            .field("breaker", breaker)
            .finish_non_exhaustive()
    }
}

impl<F, C: Fn() -> u64, K> fmt::Debug for ResponseFuture<F, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { permit, rejected, .. } = self;
        f.debug_struct("ResponseFuture")
            .field("permit", permit)
            .field("rejected", rejected)
            .finish_non_exhaustive()
    }
}
