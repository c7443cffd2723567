//! The server's layer. Everything that handles a request runs in one context, which is the request's own
//! span of the trace it belongs to.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::HeaderName;
use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::admission::Admission;
use super::response::{ResponseFields, Stamp};
use super::span::{self, Spanned};
use super::{Caller, Link, Trust, TrustPolicy};
use crate::carrier::Faults;
use crate::context::Entered;
use crate::sampler::{Always, ParentBased};
use crate::task::WithTrace;
use crate::{Sampler, TraceContext, TraceFutureExt, random_u64};

/// Continues the trace of each request, or starts one.
///
/// The request gets a span id of its own. Its [`TraceContext`] is [`current`](crate::context::current) while
/// the inner service runs. What of the headers that were read was refused, and why, is in its extensions as
/// [`Faults`], if anything was.
///
/// Headers that say something else than what goes on are removed from the request, so that nobody sends them on
/// who has lost its context: see [`Trust`], [`sampler`](Self::sampler) and [`baggage`](Self::baggage).
///
/// With the feature `tracing` the inner service runs in a span `request` of level INFO with the fields
/// `trace_id` and `span_id`, `parent_id` for the caller's span, and `linked` for a [`Link`]; headers that are
/// refused are an event of level DEBUG in it. A filter that leaves spans of that level out, as `RUST_LOG=warn`
/// does, takes the ids away from the lines that are left: `RUST_LOG=warn,forebay_tracing_ctx=info` keeps them.
///
/// A response body that is produced after the response has been returned is outside of both, unless there is a
/// [`TraceBodyLayer`](super::TraceBodyLayer) between this layer and whoever makes it.
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
pub struct TraceServerLayer<S = ParentBased<Always>, P = Trust, R = fn() -> u64> {
    trust: P,
    pub(super) sampler: S,
    pub(super) source: R,
    response: ResponseFields,
    pub(super) baggage: bool,
    extension: bool,
    span: span::Maker,
}

impl TraceServerLayer {
    /// Trusts its callers, keeps their decisions, samples all traces that start here, and sets no response
    /// header.
    pub fn new() -> Self {
        Self::with_source(random_u64)
    }
}

impl Default for TraceServerLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: Fn() -> u64> TraceServerLayer<ParentBased<Always>, Trust, R> {
    /// Makes ids from `source`.
    ///
    /// Servers clone services at will, so clones of `source` must not repeat each other.
    pub fn with_source(source: R) -> Self {
        Self {
            trust: Trust::default(),
            sampler: ParentBased::new(Always),
            source,
            response: ResponseFields::default(),
            baggage: true,
            extension: false,
            span: span::Maker::REQUEST,
        }
    }
}

impl<S: Sampler, P: TrustPolicy, R: Fn() -> u64> TraceServerLayer<S, P, R> {
    /// What to make of contexts that requests bring: a [`Trust`], [`Trust::Continue`] by default, or a function
    /// that decides about each request.
    #[must_use]
    pub fn trust<Q: TrustPolicy>(self, trust: Q) -> TraceServerLayer<S, Q, R> {
        let Self { sampler, source, response, baggage, extension, span, .. } = self;
        TraceServerLayer { trust, sampler, source, response, baggage, extension, span }
    }

    /// Who decides whether a trace is sampled.
    ///
    /// By default all that start here are, and others stay as they came. A sampler that is not
    /// [`ParentBased`] decides about every request anew. If that changes the flag or the threshold of a trace
    /// that is continued, `traceparent` and `tracestate` are removed from the request.
    ///
    /// The request is in what a sampler is asked about:
    ///
    /// ```
    /// use forebay_tracing_ctx::sampler::{ParentBased, Ratio, Rule, SampleInput};
    /// use forebay_tracing_ctx::{Sampler, TraceServerLayer};
    ///
    /// // A tenth of what begins here, but none of what asks whether the service is ready.
    /// let no_probe =
    ///     |input: &SampleInput<'_>| input.caller.is_none_or(|caller| caller.uri.path() != "/ready");
    /// let sampler = ParentBased::new(Ratio::new(0.1)?.and(Rule::new(no_probe)));
    /// let layer = TraceServerLayer::new().sampler(sampler);
    /// # let _ = layer;
    /// # Ok::<_, forebay_tracing_ctx::sampler::RatioError>(())
    /// ```
    #[must_use]
    pub fn sampler<T: Sampler>(self, sampler: T) -> TraceServerLayer<T, P, R> {
        let Self { trust, source, response, baggage, extension, span, .. } = self;
        TraceServerLayer { trust, sampler, source, response, baggage, extension, span }
    }

    /// Whether to take over the baggage of callers, which is on by default. Every call that the request leads
    /// to sends it on. If not, it is removed from the request without having been read.
    #[must_use]
    pub fn baggage(self, baggage: bool) -> Self {
        Self { baggage, ..self }
    }

    /// Puts the trace id into this field of each response, in place of any that is there.
    ///
    /// An error of the inner service is no response. Where errors are turned into responses, this layer
    /// belongs outside of that.
    #[must_use]
    pub fn response_header(mut self, name: HeaderName) -> Self {
        self.response.trace_id = Some(name);
        self
    }

    /// Adds `server-timing: trace;desc=00-…` with trace id, span id and flags to each response.
    ///
    /// This is how the next draft of the W3C is [proposed] to name the trace to a browser, which shows it to
    /// scripts of the same origin. The draft before that had a field `traceresponse`.
    ///
    /// [proposed]: https://github.com/w3c/trace-context/pull/560
    #[must_use]
    pub fn server_timing(mut self) -> Self {
        self.response.server_timing = true;
        self
    }

    /// Puts the [`TraceContext`] of a request into its extensions as well, where extractors and layers find
    /// it that are called outside of it. Costs some allocations a request.
    #[must_use]
    pub fn extension(self) -> Self {
        Self { extension: true, ..self }
    }

    /// Makes the span of a request, in place of `request` with its fields. The function captures nothing; what
    /// it needs to know about the request beyond its headers, a layer outside can put into the extensions.
    ///
    /// ```
    /// use forebay_tracing_ctx::TraceServerLayer;
    ///
    /// let layer = TraceServerLayer::new().span(|caller, context, _link| {
    ///     let trace_id = tracing::field::display(context.trace_id());
    ///     tracing::info_span!("http", method = %caller.method, path = caller.uri.path(), trace_id)
    /// });
    /// # let _ = layer;
    /// ```
    #[cfg(feature = "tracing")]
    #[must_use]
    pub fn span(self, span: fn(&Caller<'_>, &TraceContext, Option<Link>) -> tracing::Span) -> Self {
        Self { span: span::Maker(span), ..self }
    }
}

impl<S: fmt::Debug, P, R> fmt::Debug for TraceServerLayer<S, P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceServerLayer")
            .field("sampler", &self.sampler)
            .field("response", &self.response)
            .field("baggage", &self.baggage)
            .field("extension", &self.extension)
            .finish_non_exhaustive()
    }
}

impl<I, S: Clone, P: Clone, R: Clone> Layer<I> for TraceServerLayer<S, P, R> {
    type Service = TraceServer<I, S, P, R>;

    fn layer(&self, inner: I) -> TraceServer<I, S, P, R> {
        TraceServer { inner, layer: self.clone() }
    }
}

/// A service whose requests run in a trace; made by [`TraceServerLayer`].
#[derive(Clone)]
pub struct TraceServer<I, S = ParentBased<Always>, P = Trust, R = fn() -> u64> {
    inner: I,
    layer: TraceServerLayer<S, P, R>,
}

impl<I: fmt::Debug, S: fmt::Debug, P, R> fmt::Debug for TraceServer<I, S, P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceServer").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

impl<I, S, P, R, B, D> Service<Request<B>> for TraceServer<I, S, P, R>
where
    I: Service<Request<B>, Response = Response<D>>,
    S: Sampler,
    P: TrustPolicy,
    R: Fn() -> u64,
{
    type Response = I::Response;
    type Error = I::Error;
    type Future = ServerFuture<I::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let caller = Caller::from(&request);
        let trust = self.layer.trust.trust(&caller);
        let admission = self.layer.admit(&caller, trust);
        let span = self.layer.span.make(&caller, &admission.context, admission.link);
        admission.forget(request.headers_mut());
        let Admission { context, link, faults, .. } = admission;
        let faults = Some(faults).filter(|faults| !faults.is_empty());
        if let Some(faults) = &faults {
            span.in_scope(|| span::report(faults));
        }
        let extensions = request.extensions_mut();
        put::<Link>(extensions, link);
        put::<Faults>(extensions, faults);
        put::<TraceContext>(extensions, self.layer.extension.then(|| context.clone()));
        let stamp = self.layer.response.stamp(&context);
        let mut context = Some(Arc::new(context));
        let entered = Entered::new(&mut context);
        let future = span::call(span, || self.inner.call(request));
        drop(entered);
        ServerFuture { future: future.with_trace(context), stamp }
    }
}

/// In place of what another layer may have left there.
fn put<T: Clone + Send + Sync + 'static>(extensions: &mut Extensions, value: Option<T>) {
    match value {
        Some(value) => drop(extensions.insert(value)),
        None => drop(extensions.remove::<T>()),
    }
}

pin_project! {
    /// The response of a [`TraceServer`].
    #[must_use = "a future does nothing unless it is polled"]
    pub struct ServerFuture<F> {
        #[pin]
        future: WithTrace<Spanned<F>>,
        stamp: Option<Stamp>,
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
        if let (Ok(response), Some(stamp)) = (&mut result, this.stamp.take()) {
            stamp.put(response.headers_mut());
        }
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for ServerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerFuture").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}
