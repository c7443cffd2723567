//! The client's layer. Each request goes out with a span id of its own, in the trace of whoever makes it.

use std::fmt;
use std::task::{Context, Poll};

use http::Request;
use tower_layer::Layer;
use tower_service::Service;

use super::span;
use crate::sampler::{Always, ParentBased};
use crate::{Baggage, Sampler, SpanId, TraceContext, carrier, context, random_u64};

/// Puts the trace into the headers of each request, when the request is made.
///
/// The trace is that of the first of these that there is: a [`TraceContext`] in the extensions of the
/// request, the [`current`](context::current) one, or one that the headers of the request name already, as
/// those of a proxy do; a server's layer has removed what it did not take over. If there is none, a trace
/// starts here: whoever calls from a task of its own has to hand the context over, see [`task`](crate::task).
/// Headers that were there are replaced. What of them was refused, if they were looked at, is in the extensions
/// of the request as [`Faults`](carrier::Faults).
///
/// Around a layer that tries again, the tries share a span id; within it, each has its own.
///
/// With the feature `tracing` each request is an event of level DEBUG with the fields `trace_id` and `child_id`,
/// which is the `parent_id` in the lines of whoever receives it, and so are headers that are refused.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), std::convert::Infallible> {
/// use forebay_tracing_ctx::sampler::Always;
/// use forebay_tracing_ctx::{TraceClientLayer, TraceContext, TraceFutureExt, carrier, random_u64};
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
pub struct TraceClientLayer<S = ParentBased<Always>, R = fn() -> u64> {
    sampler: S,
    source: R,
    baggage: bool,
    max_tracestate: usize,
    keep_existing: bool,
}

impl TraceClientLayer {
    /// Keeps the decisions of others, samples all traces that start here, and sends all there is.
    pub fn new() -> Self {
        Self::with_source(random_u64)
    }
}

impl Default for TraceClientLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Fn() -> u64> TraceClientLayer<ParentBased<Always>, R> {
    /// Makes ids from `source`, whose clones must not repeat each other.
    pub fn with_source(source: R) -> Self {
        let sampler = ParentBased::new(Always);
        Self { sampler, source, baggage: true, max_tracestate: usize::MAX, keep_existing: false }
    }
}

impl<S: Sampler, R: Fn() -> u64> TraceClientLayer<S, R> {
    /// Who decides whether a trace is sampled.
    ///
    /// By default all that start here are, and others stay as they are. A sampler that is not
    /// [`ParentBased`] decides about every request anew.
    #[must_use]
    pub fn sampler<T: Sampler>(self, sampler: T) -> TraceClientLayer<T, R> {
        let Self { source, baggage, max_tracestate, keep_existing, .. } = self;
        TraceClientLayer { sampler, source, baggage, max_tracestate, keep_existing }
    }

    /// Whether to send baggage, which is on by default. For calls to strangers it belongs off.
    #[must_use]
    pub fn baggage(self, baggage: bool) -> Self {
        Self { baggage, ..self }
    }

    /// Sends at most this many bytes of `tracestate`, without limit by default.
    ///
    /// What does not fit is left out member by member, see [`truncate_to`](crate::TraceState::truncate_to).
    /// The specification asks for at least 512.
    #[must_use]
    pub fn max_tracestate(self, bytes: usize) -> Self {
        Self { max_tracestate: bytes, ..self }
    }

    /// Sends requests that have a `traceparent` already with the headers that they have. Off by default.
    ///
    /// For requests that are replayed or passed through, whose sender wants to be seen as the parent. Only the
    /// [`baggage`](Self::baggage) of these is removed if none is to be sent.
    #[must_use]
    pub fn keep_existing(self, keep_existing: bool) -> Self {
        Self { keep_existing, ..self }
    }

    fn child(&self, parent: &TraceContext) -> TraceContext {
        parent.child_sampled(SpanId::from_source(&self.source), &self.sampler)
    }

    fn begin<B>(&self, request: &mut Request<B>) -> TraceContext {
        let mut context = match request.extensions().get() {
            Some(caller) => self.child(caller),
            None => match context::current() {
                Some(caller) => self.child(&caller),
                None => self.begin_from_headers(request),
            },
        };
        if !self.baggage {
            context.baggage = Baggage::EMPTY;
        }
        context.state.truncate_to(self.max_tracestate);
        context
    }

    fn begin_from_headers<B>(&self, request: &mut Request<B>) -> TraceContext {
        let received = carrier::extract(request.headers());
        if !received.faults.is_empty() {
            span::report(&received.faults);
            request.extensions_mut().insert(received.faults);
        }
        received.begin(&self.source, &self.sampler)
    }
}

impl<S: fmt::Debug, R> fmt::Debug for TraceClientLayer<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceClientLayer")
            .field("sampler", &self.sampler)
            .field("baggage", &self.baggage)
            .field("max_tracestate", &self.max_tracestate)
            .field("keep_existing", &self.keep_existing)
            .finish_non_exhaustive()
    }
}

impl<I, S: Clone, R: Clone> Layer<I> for TraceClientLayer<S, R> {
    type Service = TraceClient<I, S, R>;

    fn layer(&self, inner: I) -> TraceClient<I, S, R> {
        TraceClient { inner, layer: self.clone() }
    }
}

/// A service that sends its requests with a trace; made by [`TraceClientLayer`].
#[derive(Clone)]
pub struct TraceClient<I, S = ParentBased<Always>, R = fn() -> u64> {
    inner: I,
    layer: TraceClientLayer<S, R>,
}

impl<I: fmt::Debug, S: fmt::Debug, R> fmt::Debug for TraceClient<I, S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceClient").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<I, S, R, B> Service<Request<B>> for TraceClient<I, S, R>
where
    I: Service<Request<B>>,
    S: Sampler,
    R: Fn() -> u64,
{
    type Response = I::Response;
    type Error = I::Error;
    type Future = I::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> I::Future {
        if self.layer.keep_existing && request.headers().contains_key(&carrier::TRACEPARENT) {
            if !self.layer.baggage {
                request.headers_mut().remove(&carrier::BAGGAGE);
            }
        } else {
            let context = self.layer.begin(&mut request);
            span::sent(&context);
            carrier::inject(&context, request.headers_mut());
        }
        self.inner.call(request)
    }
}
