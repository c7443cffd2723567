//! What was read from a carrier, and the work that begins with it.

use std::fmt;

use crate::baggage::Dropped;
use crate::sampler::SampleInput;
use crate::{
    Baggage, Sampler, SpanId, TraceContext, TraceParent, TraceParentError, TraceState, TraceStateError,
};

/// What the fields of a carrier say, and what is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Extracted {
    /// The trace of the sender and its span there, or `None` if the trace starts here.
    pub parent: Option<TraceParent>,
    /// Notes of vendors about that trace.
    pub state: TraceState,
    /// What the application sends along, with or without a trace.
    pub baggage: Baggage,
    /// What has been refused.
    pub faults: Faults,
}

impl Extracted {
    /// The context of the work that is asked for: a child of the sender's span, or the first span of a new
    /// trace, with the baggage that came in either case. The sampler sees that baggage.
    pub fn begin(self, source: impl FnMut() -> u64, sampler: &(impl Sampler + ?Sized)) -> TraceContext {
        let Self { parent, state, baggage, .. } = self;
        match parent {
            Some(parent) => {
                let received = TraceContext { parent, state, baggage, remote: true };
                received.into_child_sampled(SpanId::from_source(source), sampler)
            }
            None => {
                let root = TraceContext { baggage, ..TraceContext::new(TraceParent::root(source)) };
                sampler.sample(&SampleInput::anew(&root)).apply(root)
            }
        }
    }

    /// The received context, if there is a valid `traceparent`. Baggage that came without one is lost; see
    /// [`begin`](Self::begin).
    #[inline]
    pub fn into_context(self) -> Option<TraceContext> {
        let Self { parent, state, baggage, faults: _ } = self;
        Some(TraceContext { parent: parent?, state, baggage, remote: true })
    }
}

/// Why fields have been refused, by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Faults {
    /// Why the trace had to be started anew. `None` also if there was no `traceparent` at all.
    pub parent: Option<TraceParentError>,
    /// Why `tracestate` was dropped.
    pub state: Option<TraceStateError>,
    /// How many members of `baggage` were dropped, and why.
    pub baggage: Dropped,
}

impl Faults {
    /// Whether nothing was refused.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.parent.is_none() && self.state.is_none() && self.baggage.is_empty()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        if let Some(error) = &self.parent {
            write!(f, "{error}")?;
            between = "; ";
        }
        if let Some(error) = &self.state {
            write!(f, "{between}{error}")?;
            between = "; ";
        }
        if !self.baggage.is_empty() {
            write!(f, "{between}{}", self.baggage)?;
        }
        Ok(())
    }
}
