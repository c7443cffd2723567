//! What a sampler answers, and how the answer gets into the context of the span.

use super::Threshold;
use crate::TraceContext;

/// Whether a span is sampled, and what is told to others about how likely that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decision {
    /// Whether the span is sampled.
    pub sampled: bool,
    /// What becomes of the threshold in `tracestate`. There is none for a span that is not sampled, so
    /// [`Set`](ThresholdChange::Set) then means [`Erase`](ThresholdChange::Erase).
    pub threshold: ThresholdChange,
}

/// What becomes of the sampling threshold, the sub-key `th` of the member `ot` of `tracestate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ThresholdChange {
    /// Stays as it came from the parent, because the decision did as well.
    Keep,
    /// Is this one, because a span is sampled exactly if its trace's randomness is not below it.
    Set(Threshold),
    /// There is none, because nobody can say how likely the decision was.
    Erase,
}

impl Decision {
    /// Sampled, with a probability that is not known.
    pub const SAMPLED: Self = Self { sampled: true, threshold: ThresholdChange::Erase };
    /// Not sampled.
    pub const DROPPED: Self = Self { sampled: false, threshold: ThresholdChange::Erase };

    /// Sampled if the randomness of the trace (its lower 56 bits) is not below `threshold`, and published.
    #[inline]
    pub const fn consistent(threshold: Threshold, randomness: u64) -> Self {
        if threshold.keeps(randomness) {
            Self { sampled: true, threshold: ThresholdChange::Set(threshold) }
        } else {
            Self::DROPPED
        }
    }

    /// Gives a context that is being made, with a span id that nobody has seen yet, flag and threshold at
    /// once: the specification allows both to change only together with the span id.
    #[inline]
    pub(crate) fn apply(self, mut context: TraceContext) -> TraceContext {
        context.parent = context.parent.with_sampled(self.sampled);
        match self.threshold {
            ThresholdChange::Keep => {}
            ThresholdChange::Set(threshold) if self.sampled => {
                // A member without room loses the threshold it had (S1). The span is sampled all the same.
                let _ = context.state.set_threshold(threshold);
            }
            ThresholdChange::Set(_) | ThresholdChange::Erase => context.state.erase_threshold(),
        }
        context
    }
}
