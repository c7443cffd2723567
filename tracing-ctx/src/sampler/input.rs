//! What a sampler is asked about.

use super::{Threshold, random_bits};
use crate::{Baggage, Caller, TraceContext, TraceId, TraceState};

static NO_BAGGAGE: Baggage = Baggage::EMPTY;

/// The span that is about to begin.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SampleInput<'a> {
    /// Its trace.
    pub trace_id: TraceId,
    /// Whose child it is, or `None` if the trace begins with it. [`TraceContext::remote`] tells whether the
    /// parent is in another process.
    pub parent: Option<&'a TraceContext>,
    /// What the application sends along with the work, also if the trace begins with it. Whoever called may
    /// write anything into it.
    pub baggage: &'a Baggage,
    /// The request that the span is for, if a server's layer asks.
    pub caller: Option<&'a Caller<'a>>,
    /// What is passed on about the trace, with the randomness that others will look at.
    state: Option<&'a TraceState>,
}

impl<'a> SampleInput<'a> {
    /// The first span of a trace, for work without baggage.
    #[inline]
    pub const fn root(trace_id: TraceId) -> Self {
        Self::new(trace_id, None, &NO_BAGGAGE, None)
    }

    /// A span in the trace of `parent`.
    #[inline]
    pub const fn child(parent: &'a TraceContext) -> Self {
        Self::new(parent.trace_id(), Some(parent), &parent.baggage, Some(&parent.state))
    }

    /// A span in the trace of `context`, to be decided as if the trace began with it.
    #[inline]
    pub const fn anew(context: &'a TraceContext) -> Self {
        Self::new(context.trace_id(), None, &context.baggage, Some(&context.state))
    }

    #[inline]
    const fn new(
        trace_id: TraceId,
        parent: Option<&'a TraceContext>,
        baggage: &'a Baggage,
        state: Option<&'a TraceState>,
    ) -> Self {
        Self { trace_id, parent, baggage, caller: None, state }
    }

    /// The 56 bits that all participants in a trace compare with their threshold: the `rv` of the
    /// `tracestate` that is passed on if there is one, else the right-most 7 bytes of the trace id.
    ///
    /// These bytes are presumed to be random even if the random flag is not set, as the [specification]
    /// recommends: a caller of level 1 cannot set it.
    ///
    /// [specification]: https://opentelemetry.io/docs/specs/otel/trace/sdk/#presumption-of-traceid-randomness
    pub fn randomness(&self) -> u64 {
        let explicit = self.state.and_then(TraceState::explicit_randomness);
        explicit.unwrap_or(random_bits(self.trace_id))
    }

    /// The threshold that the parent was sampled with, if it says.
    pub fn parent_threshold(&self) -> Option<Threshold> {
        self.parent?.state.threshold()
    }
}
