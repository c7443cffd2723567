//! The server's layer. Everything that handles a request runs in one context, which is the request's own
//! span of the trace it belongs to.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::Trust;
use crate::carrier::{self, Extracted};
use crate::task::WithTrace;
use crate::{Always, Sampler, SpanId, TraceContext, TraceFutureExt, TraceId, context, random_u64};

#[cfg(feature = "tracing")]
type Spanned<F> = tracing::instrument::Instrumented<F>;
#[cfg(not(feature = "tracing"))]
type Spanned<F> = F;

/// Continues the trace of each request, or starts one.
///
/// The request gets a span id of its own. The [`TraceContext`] is in the extensions of the request, and
/// [`current`](context::current) while the inner service runs. With the feature `tracing` it runs in a span
/// `request` of level INFO with the fields `trace_id` and `span_id`.
///
/// A response body that is produced after the response has been returned is outside of both.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), std::convert::Infallible> {
/// use forebay_tracing_ctx::{TraceServerLayer, context};
/// use http::{HeaderName, Request, Response};
/// use tower::{Service, ServiceBuilder, service_fn};
///
/// let mut service = ServiceBuilder::new()
///     .layer(TraceServerLayer::new().response_header(HeaderName::from_static("x-trace-id")))
///     .service(service_fn(|_: Request<()>| async {
///         let trace_id = context::current().expect("there is always one").trace_id();
///         Ok::<_, std::convert::Infallible>(Response::new(trace_id.to_string()))
///     }));
///
/// let request = Request::builder()
///     .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
///     .body(())
///     .expect("valid");
/// let response = service.call(request).await?;
/// assert_eq!(response.headers()["x-trace-id"], "4bf92f3577b34da6a3ce929d0e0e4736");
/// assert_eq!(response.body(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TraceServerLayer<R = fn() -> u64> {
    trust: Trust,
    sampler: Arc<dyn Sampler + Send + Sync>,
    response_header: Option<HeaderName>,
    source: R,
}

impl TraceServerLayer {
    /// Trusts its callers, samples all traces that start here, and sets no response header.
    pub fn new() -> Self {
        Self::with_source(random_u64)
    }
}

impl Default for TraceServerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Fn() -> u64> TraceServerLayer<R> {
    /// Makes ids from `source`.
    ///
    /// Servers clone services at will, so clones of `source` must not repeat each other.
    pub fn with_source(source: R) -> Self {
        Self { trust: Trust::default(), sampler: Arc::new(Always), response_header: None, source }
    }

    /// What to make of contexts that requests bring; [`Trust::Continue`] by default.
    #[must_use]
    pub fn trust(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }

    /// Which of the traces that start here are sampled; all by default. Others stay as they came.
    #[must_use]
    pub fn sampler(self, sampler: impl Sampler + Send + Sync + 'static) -> Self {
        Self { sampler: Arc::new(sampler), ..self }
    }

    /// Puts the trace id into this field of each response, in place of any that is there.
    ///
    /// An error of the inner service is no response. Where errors are turned into responses, this layer
    /// belongs outside of that.
    #[must_use]
    pub fn response_header(self, name: HeaderName) -> Self {
        Self { response_header: Some(name), ..self }
    }

    fn begin(&self, headers: &HeaderMap) -> TraceContext {
        let received = match self.trust {
            Trust::Continue => carrier::extract(headers),
            Trust::Restart => Extracted::None,
        };
        match received.into_context() {
            Some(caller) => caller.child(SpanId::from_source(&self.source)),
            None => TraceContext::root(&self.source, &self.sampler),
        }
    }
}

impl<R> fmt::Debug for TraceServerLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceServerLayer")
            .field("trust", &self.trust)
            .field("response_header", &self.response_header)
            .finish_non_exhaustive()
    }
}

impl<S, R: Clone> Layer<S> for TraceServerLayer<R> {
    type Service = TraceServer<S, R>;

    fn layer(&self, inner: S) -> TraceServer<S, R> {
        TraceServer { inner, layer: self.clone() }
    }
}

/// A service whose requests run in a trace; made by [`TraceServerLayer`].
#[derive(Debug, Clone)]
pub struct TraceServer<S, R = fn() -> u64> {
    inner: S,
    layer: TraceServerLayer<R>,
}

impl<S, R, B, D> Service<Request<B>> for TraceServer<S, R>
where
    S: Service<Request<B>, Response = Response<D>>,
    R: Fn() -> u64,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let context = self.layer.begin(request.headers());
        let header = self.layer.response_header.clone().map(|name| (name, context.trace_id()));
        request.extensions_mut().insert(context.clone());
        let call = || spanned(&context, || self.inner.call(request));
        let future = context::scope(context.clone(), call);
        ServerFuture { future: future.with_trace(context), header }
    }
}

/// The call within the span of the request, and its future as well.
#[cfg(feature = "tracing")]
fn spanned<F>(context: &TraceContext, call: impl FnOnce() -> F) -> Spanned<F> {
    let span = tracing::info_span!("request", trace_id = %context.trace_id(), span_id = %context.span_id());
    tracing::Instrument::instrument(span.in_scope(call), span)
}

#[cfg(not(feature = "tracing"))]
fn spanned<F>(_: &TraceContext, call: impl FnOnce() -> F) -> Spanned<F> {
    call()
}

pin_project! {
    /// The response of a [`TraceServer`].
    #[must_use = "a future does nothing unless it is polled"]
    pub struct ServerFuture<F> {
        #[pin]
        future: WithTrace<Spanned<F>>,
        header: Option<(HeaderName, TraceId)>,
    }
}

impl<F, D, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<D>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut result = ready!(this.future.poll(cx));
        if let (Ok(response), Some((name, trace_id))) = (&mut result, this.header.take()) {
            let value = HeaderValue::from_bytes(&trace_id.to_hex()).expect("digits are a value");
            // A response so full that it takes no more fields goes out without this one.
            let _ = response.headers_mut().try_insert(name, value);
        }
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for ServerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerFuture").field("header", &self.header).finish_non_exhaustive()
    }
}
