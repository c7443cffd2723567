//! The span of a request, where the feature `tracing` is on; nothing at all where it is off.

use super::{Caller, Link};
use crate::TraceContext;
use crate::carrier::Faults;

#[cfg(feature = "tracing")]
pub(super) use on::*;

#[cfg(not(feature = "tracing"))]
pub(super) use off::*;

#[cfg(feature = "tracing")]
mod on {
    use tracing::Instrument;
    pub(in crate::layer) use tracing::Span;
    use tracing::instrument::Instrumented;

    use super::*;
    use crate::carrier::TRACEPARENT;
    use crate::{SpanId, TraceParent};

    pub(in crate::layer) type Spanned<F> = Instrumented<F>;

    /// Makes spans.
    #[derive(Debug, Clone, Copy)]
    pub(in crate::layer) struct Maker(
        pub(in crate::layer) fn(&Caller<'_>, &TraceContext, Option<Link>) -> Span,
    );

    impl Maker {
        /// The span `request` with the ids.
        pub(in crate::layer) const REQUEST: Self = Self(request);

        pub(in crate::layer) fn make(
            self,
            caller: &Caller<'_>,
            context: &TraceContext,
            link: Option<Link>,
        ) -> Span {
            (self.0)(caller, context, link)
        }
    }

    fn request(caller: &Caller<'_>, context: &TraceContext, link: Option<Link>) -> Span {
        tracing::info_span!(
            "request",
            trace_id = %context.trace_id(),
            span_id = %context.span_id(),
            parent_id = sender(caller, context).map(display),
            linked = link.map(|Link(parent)| display(parent)),
        )
    }

    /// The caller's span, if it is in this trace. Read once more, which costs nothing where nobody listens.
    fn sender(caller: &Caller<'_>, context: &TraceContext) -> Option<SpanId> {
        let sent = TraceParent::parse(caller.headers.get(&TRACEPARENT)?.as_bytes()).ok()?;
        (sent.trace_id == context.trace_id()).then_some(sent.parent_id)
    }

    /// Names the span that the receiver of a request will have as its parent.
    pub(in crate::layer) fn sent(context: &TraceContext) {
        tracing::debug!(trace_id = %context.trace_id(), child_id = %context.span_id(), "call");
    }

    /// The call within the span, and its future as well.
    pub(in crate::layer) fn call<F>(span: Span, call: impl FnOnce() -> F) -> Spanned<F> {
        let future = span.in_scope(call);
        future.instrument(span)
    }

    /// Says in the current span what was wrong with the headers of a request.
    pub(in crate::layer) fn report(faults: &Faults) {
        tracing::debug!(reason = %faults, "headers of the trace refused");
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use super::*;

    pub(in crate::layer) type Spanned<F> = F;

    /// What stands for a span.
    #[derive(Debug, Clone, Copy)]
    pub(in crate::layer) struct Span;

    impl Span {
        pub(in crate::layer) fn current() -> Self {
            Self
        }

        pub(in crate::layer) fn in_scope<R>(self, work: impl FnOnce() -> R) -> R {
            work()
        }
    }

    #[derive(Debug, Clone, Copy)]
    pub(in crate::layer) struct Maker;

    impl Maker {
        pub(in crate::layer) const REQUEST: Self = Self;

        pub(in crate::layer) fn make(self, _: &Caller<'_>, _: &TraceContext, _: Option<Link>) -> Span {
            Span
        }
    }

    pub(in crate::layer) fn call<F>(_: Span, call: impl FnOnce() -> F) -> Spanned<F> {
        call()
    }

    pub(in crate::layer) fn report(_: &Faults) {}

    pub(in crate::layer) fn sent(_: &TraceContext) {}
}
