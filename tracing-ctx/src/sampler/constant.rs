//! The samplers that do not look at anything.

use super::{Decision, SampleInput, Sampler};

/// Samples every span.
///
/// It says nothing about its probability, so that new traces need no `tracestate`.
/// [`Consistent::ALL`](super::Consistent::ALL) does: it publishes the threshold 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Always;

/// Samples no span.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Never;

impl Sampler for Always {
    fn sample(&self, _: &SampleInput<'_>) -> Decision {
        Decision::SAMPLED
    }
}

impl Sampler for Never {
    fn sample(&self, _: &SampleInput<'_>) -> Decision {
        Decision::DROPPED
    }
}
