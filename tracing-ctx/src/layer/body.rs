//! The layer for bodies. What a response is still to bring is made in the context and the span in which the
//! response was made, and dropped in them as well.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::span::Span;
use crate::TraceFutureExt;
use crate::task::WithTrace;

/// Keeps the trace for response bodies that are produced bit by bit: gRPC streams, events, large answers.
///
/// Such a body is polled by the connection, after the service has returned its response and the
/// [`TraceServerLayer`](super::TraceServerLayer) has left the request's context. This layer belongs inside of
/// that one, so that the context, and with the feature `tracing` the span, are still there for it to take. The
/// body then runs in them until it has been dropped.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::convert::Infallible;
/// use std::pin::Pin;
/// use std::task::{Context, Poll};
///
/// use forebay_tracing_ctx::layer::{TraceBodyLayer, TraceServerLayer};
/// use forebay_tracing_ctx::context;
/// use http::{Request, Response};
/// use http_body::{Body, Frame};
/// use http_body_util::BodyExt;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// /// Has the trace id for its only frame, and reads it when that is asked for.
/// struct Late(bool);
///
/// impl Body for Late {
///     type Data = bytes::Bytes;
///     type Error = Infallible;
///
///     fn poll_frame(
///         mut self: Pin<&mut Self>,
///         _: &mut Context<'_>,
///     ) -> Poll<Option<Result<Frame<bytes::Bytes>, Infallible>>> {
///         let first = !std::mem::replace(&mut self.0, true);
///         let trace_id = context::current_parent().map_or("none".into(), |parent| parent.trace_id.to_string());
///         Poll::Ready(first.then(|| Ok(Frame::data(trace_id.into()))))
///     }
/// }
///
/// let service = ServiceBuilder::new()
///     .layer(TraceServerLayer::new()) // outside
///     .layer(TraceBodyLayer::new()) // inside
///     .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Late(false)))));
///
/// let request = Request::builder()
///     .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
///     .body(())?;
/// let body = service.oneshot(request).await?.into_body();
/// assert_eq!(body.collect().await?.to_bytes(), "4bf92f3577b34da6a3ce929d0e0e4736");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceBodyLayer {}

impl TraceBodyLayer {
    /// There is nothing to choose.
    pub const fn new() -> Self {
        Self {}
    }
}

impl<I> Layer<I> for TraceBodyLayer {
    type Service = TraceBodies<I>;

    fn layer(&self, inner: I) -> TraceBodies<I> {
        TraceBodies { inner }
    }
}

/// A service whose response bodies run in the trace of the request; made by [`TraceBodyLayer`].
#[derive(Debug, Clone)]
pub struct TraceBodies<I> {
    inner: I,
}

impl<I, B, D> Service<Request<B>> for TraceBodies<I>
where
    I: Service<Request<B>, Response = Response<D>>,
{
    type Response = Response<TracedBody<D>>;
    type Error = I::Error;
    type Future = BodyFuture<I::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), I::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        BodyFuture { future: self.inner.call(request) }
    }
}

pin_project! {
    /// The response of a [`TraceBodies`].
    #[must_use = "a future does nothing unless it is polled"]
    pub struct BodyFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F, D, E> Future for BodyFuture<F>
where
    F: Future<Output = Result<Response<D>, E>>,
{
    type Output = Result<Response<TracedBody<D>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.project().future.poll(cx));
        Poll::Ready(result.map(|response| response.map(TracedBody::new)))
    }
}

impl<F> fmt::Debug for BodyFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BodyFuture").finish_non_exhaustive()
    }
}

pin_project! {
    /// A body that is produced, and dropped, in the trace and the span in which it was handed over.
    #[derive(Debug)]
    pub struct TracedBody<B> {
        #[pin]
        body: WithTrace<B>,
        span: Span,
    }

    impl<B> PinnedDrop for TracedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            this.span.in_scope(|| this.body.clear());
        }
    }
}

impl<B> TracedBody<B> {
    fn new(body: B) -> Self {
        Self { body: body.in_current_trace(), span: Span::current() }
    }
}

/// In the trace and the span that are current, as a layer makes it that answers by itself.
impl<B: Default> Default for TracedBody<B> {
    fn default() -> Self {
        Self::new(B::default())
    }
}

impl<B: Body> Body for TracedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        this.span.in_scope(|| this.body.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
