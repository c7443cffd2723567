//! What a sampler is asked about.

use super::{Threshold, random_bits};
use crate::{TraceContext, TraceId};

/// The span that is about to begin.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SampleInput<'a> {
    /// Its trace.
    pub trace_id: TraceId,
    /// Whose child it is, or `None` if the trace begins with it. [`TraceContext::remote`] tells whether the
    /// parent is in another process.
    pub parent: Option<&'a TraceContext>,
}

impl<'a> SampleInput<'a> {
    /// The first span of a trace.
    pub const fn root(trace_id: TraceId) -> Self {
        Self { trace_id, parent: None }
    }

    /// A span in the trace of `parent`.
    pub const fn child(parent: &'a TraceContext) -> Self {
        Self { trace_id: parent.trace_id(), parent: Some(parent) }
    }

    /// The 56 bits that all participants in a trace compare with their threshold: the `rv` of the parent's
    /// `tracestate` if there is one, else the right-most 7 bytes of the trace id.
    ///
    /// These bytes are presumed to be random even if the random flag is not set, as the [specification]
    /// recommends: a caller of level 1 cannot set it.
    ///
    /// [specification]: https://opentelemetry.io/docs/specs/otel/trace/sdk/#presumption-of-traceid-randomness
    pub fn randomness(&self) -> u64 {
        let explicit = self.parent.and_then(|parent| parent.state.explicit_randomness());
        explicit.unwrap_or(random_bits(self.trace_id))
    }

    /// The threshold that the parent was sampled with, if it says.
    pub fn parent_threshold(&self) -> Option<Threshold> {
        self.parent?.state.threshold()
    }
}
