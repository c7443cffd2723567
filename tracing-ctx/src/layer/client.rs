//! The client's layer. Each request goes out with a span id of its own, in the trace of whoever makes it.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use crate::{Always, Sampler, SpanId, TraceContext, carrier, context, random_u64};

/// Puts the trace into the headers of each request, when the request is made.
///
/// The trace is that of the first of these that there is: a [`TraceContext`] in the extensions of the
/// request, the [`current`](context::current) one, or one that the headers of the request name already (as
/// those of a proxy do). If there is none, a trace starts here. Headers that were there are replaced.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), std::convert::Infallible> {
/// use forebay_tracing_ctx::{Always, TraceClientLayer, TraceContext, TraceFutureExt, carrier, random_u64};
/// use http::Request;
/// use tower::{Service, ServiceBuilder, service_fn};
///
/// let mut client = ServiceBuilder::new()
///     .layer(TraceClientLayer::new())
///     .service(service_fn(|request: Request<()>| async move {
///         Ok::<_, std::convert::Infallible>(carrier::extract(request.headers()))
///     }));
///
/// let trace = TraceContext::root(random_u64, &Always);
/// let work = async { client.call(Request::new(())).await };
/// let received = work.with_trace(trace.clone()).await?.into_context().expect("sent");
/// assert_eq!(received.trace_id(), trace.trace_id());
/// assert_ne!(received.span_id(), trace.span_id());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TraceClientLayer<R = fn() -> u64> {
    sampler: Arc<dyn Sampler + Send + Sync>,
    source: R,
}

impl TraceClientLayer {
    /// Samples all traces that start here.
    pub fn new() -> Self {
        Self::with_source(random_u64)
    }
}

impl Default for TraceClientLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Fn() -> u64> TraceClientLayer<R> {
    /// Makes ids from `source`, whose clones must not repeat each other.
    pub fn with_source(source: R) -> Self {
        Self { sampler: Arc::new(Always), source }
    }

    /// Which of the traces that start here are sampled; all by default. Others stay as they are.
    #[must_use]
    pub fn sampler(self, sampler: impl Sampler + Send + Sync + 'static) -> Self {
        Self { sampler: Arc::new(sampler), ..self }
    }

    fn begin<B>(&self, request: &Request<B>) -> TraceContext {
        let caller = request.extensions().get().cloned();
        let caller = caller.or_else(context::current);
        match caller.or_else(|| carrier::extract(request.headers()).into_context()) {
            Some(caller) => caller.child(SpanId::from_source(&self.source)),
            None => TraceContext::root(&self.source, &self.sampler),
        }
    }
}

impl<R> fmt::Debug for TraceClientLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceClientLayer").finish_non_exhaustive()
    }
}

impl<S, R: Clone> Layer<S> for TraceClientLayer<R> {
    type Service = TraceClient<S, R>;

    fn layer(&self, inner: S) -> TraceClient<S, R> {
        TraceClient { inner, layer: self.clone() }
    }
}

/// A service that sends its requests with a trace; made by [`TraceClientLayer`].
#[derive(Debug, Clone)]
pub struct TraceClient<S, R = fn() -> u64> {
    inner: S,
    layer: TraceClientLayer<R>,
}

impl<S, R, B> Service<Request<B>> for TraceClient<S, R>
where
    S: Service<Request<B>>,
    R: Fn() -> u64,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        let context = self.layer.begin(&request);
        carrier::inject(&context, request.headers_mut());
        self.inner.call(request)
    }
}
