//! The context of a future, a stream or a body: current whenever it is polled, on whichever thread that is.
//!
//! What has a context here sets its context before it polls, and puts back what was there when the poll
//! returns or panics. So a task that waits leaves nothing behind on the thread, and finds its own context
//! again when it wakes on another.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use pin_project_lite::pin_project;

use crate::TraceContext;
use crate::context::{self, Entered};

pin_project! {
    /// A future, a stream or a body with a context of its own; see [`TraceFutureExt`].
    #[must_use = "it does nothing unless it is polled"]
    #[derive(Debug)]
    pub struct WithTrace<T> {
        // Taken out by the drop below, so that destructors in it run in its context as well.
        #[pin]
        inner: Option<T>,
        context: Option<Arc<TraceContext>>,
    }

    impl<T> PinnedDrop for WithTrace<T> {
        fn drop(this: Pin<&mut Self>) {
            this.clear();
        }
    }
}

impl<T> WithTrace<T> {
    /// Drops what is inside, in its context. Not to be polled afterwards.
    pub(crate) fn clear(self: Pin<&mut Self>) {
        let mut this = self.project();
        let _entered = Entered::new(this.context);
        this.inner.set(None);
    }

    /// Runs `poll` in the context.
    fn enter<R>(self: Pin<&mut Self>, poll: impl FnOnce(Pin<&mut T>) -> R) -> R {
        let this = self.project();
        let inner = this.inner.as_pin_mut().expect("taken out only by drop");
        let _entered = Entered::new(this.context);
        poll(inner)
    }

    fn inner(&self) -> &T {
        self.inner.as_ref().expect("taken out only by drop")
    }
}

impl<F: Future> Future for WithTrace<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.enter(|future| future.poll(cx))
    }
}

impl<S: Stream> Stream for WithTrace<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        self.enter(|stream| stream.poll_next(cx))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.inner().size_hint()
    }
}

#[cfg(feature = "tower")]
impl<B: http_body::Body> http_body::Body for WithTrace<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<B::Data>, B::Error>>> {
        self.enter(|body| body.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.inner().is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner().size_hint()
    }
}

/// Gives futures, streams and bodies a trace context. Implemented for every type, as `Instrument` is.
pub trait TraceFutureExt: Sized {
    /// Runs this with `context` current, or with none.
    fn with_trace(self, context: impl Into<Option<Arc<TraceContext>>>) -> WithTrace<Self> {
        WithTrace { inner: Some(self), context: context.into() }
    }

    /// Runs this in the context that is current now, wherever it is polled later.
    ///
    /// This is what a future needs that is handed to another task, a `JoinSet` for example; a stream that is
    /// made a response; and a body that a client sends, which the connection polls. A span of `tracing` they
    /// do not take along: `Instrument::in_current_span` does that for futures, [`spawn`] does both, and for
    /// the bodies of responses so does [`TraceBodyLayer`](crate::layer::TraceBodyLayer).
    fn in_current_trace(self) -> WithTrace<Self> {
        self.with_trace(context::current())
    }
}

impl<T> TraceFutureExt for T {}

/// Like [`tokio::spawn`], keeping the context that is current, and with the feature `tracing` the span.
///
/// # Panics
///
/// Outside of a tokio runtime.
#[cfg(feature = "tokio")]
pub fn spawn<F>(future: F) -> tokio::task::JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[cfg(feature = "tracing")]
    let future = tracing::Instrument::in_current_span(future);
    tokio::spawn(future.in_current_trace())
}

/// Like [`tokio::task::spawn_blocking`], keeping the context that is current, and with the feature `tracing`
/// the span.
///
/// # Panics
///
/// Outside of a tokio runtime.
#[cfg(feature = "tokio")]
pub fn spawn_blocking<R, W>(work: W) -> tokio::task::JoinHandle<R>
where
    R: Send + 'static,
    W: FnOnce() -> R + Send + 'static,
{
    let context = context::current();
    #[cfg(feature = "tracing")]
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || {
        #[cfg(feature = "tracing")]
        let _entered = span.entered();
        context::scope(context, work)
    })
}
