//! A tower layer that asks a limiter before each request. No box, no task, no lock of its own.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::decision::Denied;
use crate::limiter::Limiter;

/// Whether a request may pass: a shared [`Limiter`], or [whatever](Ask) the caller makes of the request.
pub trait Admit<Request> {
    /// Takes what the request costs, or says why not.
    ///
    /// # Errors
    /// [`Denied`]; nothing was taken.
    fn admit(&self, request: &Request, tokens: u64) -> Result<(), Denied>;
}

impl<Request, C: Fn() -> u64> Admit<Request> for Arc<Limiter<C>> {
    fn admit(&self, _: &Request, tokens: u64) -> Result<(), Denied> {
        self.try_acquire(tokens).map(drop)
    }
}

/// Asks a function, which finds key and quota in the request and asks the table it shares.
#[derive(Clone, Copy)]
pub struct Ask<F>(pub F);

impl<Request, F: Fn(&Request, u64) -> Result<(), Denied>> Admit<Request> for Ask<F> {
    fn admit(&self, request: &Request, tokens: u64) -> Result<(), Denied> {
        (self.0)(request, tokens)
    }
}

impl<F> fmt::Debug for Ask<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ask").finish_non_exhaustive()
    }
}

/// Lets requests through to a service at the rate of a limiter, each at its own cost.
///
/// `cost` is the number of tokens a request takes: 1, or its content length. What `refuse` makes of a refusal is
/// the answer, a response (429 with [`RetryAfter::seconds`](crate::RetryAfter::seconds) as `Retry-After`) or an
/// error, as the service has it. A refused request never reaches the service. All clones share the limiter.
///
/// What `poll_ready` has reserved in the service, such as a place under tower's `ConcurrencyLimit`, is kept over a
/// refusal until this clone is called again or dropped: such layers go outside of this one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use forebay_ratelimit::{Denied, Limiter, Quota, Rate, RateLimitLayer};
/// use std::sync::Arc;
/// use tower::{Service, ServiceBuilder, service_fn};
///
/// let limiter = Arc::new(Limiter::new(Quota::new(Rate::per_second(100), 10)));
/// let mut service = ServiceBuilder::new()
///     .layer(RateLimitLayer::new(
///         limiter,
///         |line: &String| line.len() as u64,
///         |denied: Denied| Err(format!("429, retry after {:?} s", denied.retry_after.seconds())),
///     ))
///     .service(service_fn(|line: String| async move { Ok::<_, String>(line.to_uppercase()) }));
///
/// assert_eq!(service.call("eight by".to_owned()).await, Ok("EIGHT BY".to_owned()));
/// assert_eq!(service.call("too much".to_owned()).await, Err("429, retry after Some(1) s".to_owned()));
/// # }
/// ```
#[derive(Clone)]
pub struct RateLimitLayer<A, F, R> {
    admit: A,
    cost: F,
    refuse: R,
}

impl<A, F, R> RateLimitLayer<A, F, R> {
    /// A layer that asks `admit`, an `Arc<Limiter>` or an [`Ask`], for what `cost` says of the request, and
    /// answers with what `refuse` makes of a refusal.
    pub fn new(admit: A, cost: F, refuse: R) -> Self {
        Self { admit, cost, refuse }
    }
}

impl<S, A: Clone, F: Clone, R: Clone> Layer<S> for RateLimitLayer<A, F, R> {
    type Service = RateLimit<S, A, F, R>;

    fn layer(&self, service: S) -> Self::Service {
        RateLimit { service, limit: self.clone() }
    }
}

/// The service of [`RateLimitLayer`].
#[derive(Clone)]
pub struct RateLimit<S, A, F, R> {
    service: S,
    limit: RateLimitLayer<A, F, R>,
}

impl<Request, S, A, F, R> Service<Request> for RateLimit<S, A, F, R>
where
    S: Service<Request>,
    A: Admit<Request>,
    F: Fn(&Request) -> u64,
    R: Fn(Denied) -> Result<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RateLimitFuture<S::Future, S::Response, S::Error>;

    /// Ready when the service is: whether a request may pass depends on the request.
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let RateLimitLayer { admit, cost, refuse } = &self.limit;
        let step = match admit.admit(&request, cost(&request)) {
            Ok(()) => Step::Passed { future: self.service.call(request) },
            Err(denied) => Step::Refused { answer: Some(refuse(denied)) },
        };
        RateLimitFuture { step }
    }
}

pin_project! {
    /// What the service answers, or what became of the refusal.
    pub struct RateLimitFuture<F, T, E> {
        #[pin]
        step: Step<F, T, E>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F, T, E> {
        Passed { #[pin] future: F },
        Refused { answer: Option<Result<T, E>> },
    }
}

impl<F: Future<Output = Result<T, E>>, T, E> Future for RateLimitFuture<F, T, E> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().step.project() {
            StepProjection::Passed { future } => Poll::Ready(ready!(future.poll(context))),
            StepProjection::Refused { answer } => {
                Poll::Ready(answer.take().expect("a future is not polled after it is done"))
            }
        }
    }
}

impl<A, F, R> fmt::Debug for RateLimitLayer<A, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitLayer").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug, A, F, R> fmt::Debug for RateLimit<S, A, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimit").field("service", &self.service).finish_non_exhaustive()
    }
}

impl<F, T, E> fmt::Debug for RateLimitFuture<F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let refused = matches!(self.step, Step::Refused { .. });
        f.debug_struct("RateLimitFuture").field("refused", &refused).finish_non_exhaustive()
    }
}
