//! The context of a future: current whenever the future runs, on whichever thread that is.
//!
//! A future of this module sets its context before it polls, and puts back what was there when the poll
//! returns or panics. So a task that waits leaves nothing behind on the thread, and finds its own context
//! again when it wakes on another.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::TraceContext;
use crate::context::{self, Entered};

pin_project! {
    /// A future with a context of its own; see [`TraceFutureExt`].
    #[must_use = "a future does nothing unless it is polled"]
    #[derive(Debug)]
    pub struct WithTrace<F> {
        // Taken out by the drop below, so that destructors in the future run in its context as well.
        #[pin]
        future: Option<F>,
        context: Option<Arc<TraceContext>>,
    }

    impl<F> PinnedDrop for WithTrace<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _entered = Entered::new(this.context);
            this.future.set(None);
        }
    }
}

impl<F: Future> Future for WithTrace<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let future = this.future.as_pin_mut().expect("taken out only by drop");
        let _entered = Entered::new(this.context);
        future.poll(cx)
    }
}

/// Gives futures a trace context.
pub trait TraceFutureExt: Sized {
    /// Runs this future with `context` current, or with none.
    fn with_trace(self, context: impl Into<Option<Arc<TraceContext>>>) -> WithTrace<Self> {
        WithTrace { future: Some(self), context: context.into() }
    }

    /// Runs this future in the context that is current now, wherever it is polled later.
    ///
    /// This is what a future needs that is handed to another task, a `JoinSet` for example. A span of `tracing`
    /// it does not take along: `Instrument::in_current_span` does, and [`spawn`] does both.
    fn in_current_trace(self) -> WithTrace<Self> {
        self.with_trace(context::current())
    }
}

impl<F: Future> TraceFutureExt for F {}

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
