//! To and from OpenTelemetry: its span contexts, and its propagators.
//!
//! The version stands in the name of the feature, since each release of `opentelemetry` has types of its own.

use http::header::HeaderName;
use opentelemetry::Context;
use opentelemetry::propagation::text_map_propagator::FieldIter;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{self as otel, SpanContext, TraceContextExt};

use crate::carrier::{self, TRACEPARENT, TRACESTATE};
use crate::{SpanId, TraceContext, TraceFlags, TraceId, TraceParent};

/// A span context without ids, which cannot be a [`TraceContext`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("span context without a trace id or a span id")]
pub struct InvalidSpanContext;

impl From<TraceId> for otel::TraceId {
    fn from(id: TraceId) -> Self {
        Self::from_bytes(id.to_bytes())
    }
}

impl From<SpanId> for otel::SpanId {
    fn from(id: SpanId) -> Self {
        Self::from_bytes(id.to_bytes())
    }
}

/// Baggage has no place in a span context. Members of `tracestate` whose keys `opentelemetry` does not take are
/// left out: it knows the grammar of level 1 only.
impl From<&TraceContext> for SpanContext {
    fn from(context: &TraceContext) -> Self {
        let taken = |member: &(&str, &str)| otel::TraceState::from_key_value([*member]).is_ok();
        let state =
            otel::TraceState::from_key_value(context.state.members().filter(taken)).unwrap_or_default();
        let flags = otel::TraceFlags::new(context.parent.flags.bits());
        Self::new(context.trace_id().into(), context.span_id().into(), flags, context.remote, state)
    }
}

/// Members of `tracestate` that are invalid by the specification are left out.
impl TryFrom<&SpanContext> for TraceContext {
    type Error = InvalidSpanContext;

    fn try_from(span: &SpanContext) -> Result<Self, InvalidSpanContext> {
        let trace_id = TraceId::new(span.trace_id().to_bytes()).ok_or(InvalidSpanContext)?;
        let parent_id = SpanId::new(span.span_id().to_bytes()).ok_or(InvalidSpanContext)?;
        let flags = TraceFlags::from_bits(span.trace_flags().to_u8());
        let mut context = Self::new(TraceParent { trace_id, parent_id, flags });
        let members: Vec<_> = span.trace_state().into_iter().collect();
        for (key, value) in members.into_iter().rev() {
            // What `opentelemetry` takes and the specification does not, nobody would pass on.
            let _ = context.state.insert(key, value);
        }
        context.remote = span.is_remote();
        Ok(context)
    }
}

/// Reads and writes `traceparent` and `tracestate` for OpenTelemetry by the rules of this crate, in place of
/// `TraceContextPropagator`.
///
/// What it is given is what it can judge: an extractor that shows one field of several, as the default of
/// `Extractor::get_all` does, hides that there are others. An injector cannot remove a field, so inject into
/// headers that have no `tracestate` yet.
///
/// A span context that comes in continues to be OpenTelemetry's, with spans, sampling and export. Baggage is
/// left to `BaggagePropagator`.
///
/// ```
/// use forebay_tracing_ctx::otel::W3cPropagator;
///
/// opentelemetry::global::set_text_map_propagator(W3cPropagator::new());
/// ```
#[derive(Debug)]
pub struct W3cPropagator {
    fields: [String; 2],
}

impl W3cPropagator {
    /// A propagator; it has no state.
    pub fn new() -> Self {
        Self { fields: [&TRACEPARENT, &TRACESTATE].map(|name| name.as_str().to_owned()) }
    }
}

impl Default for W3cPropagator {
    fn default() -> Self {
        Self::new()
    }
}

impl TextMapPropagator for W3cPropagator {
    fn inject_context(&self, cx: &Context, injector: &mut dyn Injector) {
        let Ok(context) = TraceContext::try_from(cx.span().span_context()) else {
            return;
        };
        injector.set(TRACEPARENT.as_str(), context.parent.to_string());
        if !context.state.is_empty() {
            injector.set(TRACESTATE.as_str(), context.state.to_string());
        }
    }

    fn extract_with_context(&self, cx: &Context, extractor: &dyn Extractor) -> Context {
        match carrier::extract(&Dynamic(extractor)).into_context() {
            Some(context) => cx.with_remote_span_context(SpanContext::from(&context)),
            None => cx.clone(),
        }
    }

    fn fields(&self) -> FieldIter<'_> {
        FieldIter::new(&self.fields)
    }
}

/// Their extractor as one of ours.
struct Dynamic<'e>(&'e dyn Extractor);

impl carrier::Extractor for Dynamic<'_> {
    type Value<'a>
        = &'a [u8]
    where
        Self: 'a;

    fn values(&self, name: &'static HeaderName) -> impl Iterator<Item = &[u8]> {
        self.0.get_all(name.as_str()).into_iter().flatten().map(str::as_bytes)
    }
}
