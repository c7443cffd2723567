//! Two samplers made into one.
//!
//! A positive answer publishes a threshold only if those of all who gave it are known. Where one of them took
//! over the decision of the parent, the parent's threshold is the one that counts.

use super::{Decision, SampleInput, Sampler, Threshold, ThresholdChange};

/// Samples what both samplers sample; made by [`Sampler::and`].
///
/// The second is not asked about what the first drops, so a limit belongs last.
///
/// Of two thresholds the higher is published: consistent samplers look at the same bits, so the probability
/// that both say yes is the lower of theirs, and not their product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct And<A, B> {
    first: A,
    second: B,
}

/// Samples what at least one of two samplers samples; made by [`Sampler::or`].
///
/// Both are always asked.
///
/// Of two thresholds the lower is published: consistent samplers look at the same bits, so the probability
/// that one says yes is the higher of theirs. If only one says yes, its threshold is published and tells how
/// likely this was among those spans that the other says no to. For that to be true, the other has to be
/// consistent too, or a [`Rule`](super::Rule), which draws no lots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Or<A, B> {
    first: A,
    second: B,
}

impl<A, B> And<A, B> {
    pub(super) const fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A, B> Or<A, B> {
    pub(super) const fn new(first: A, second: B) -> Self {
        Self { first, second }
    }
}

impl<A: Sampler, B: Sampler> Sampler for And<A, B> {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        let first = self.first.sample(input);
        if !first.sampled {
            return Decision::DROPPED;
        }
        let second = self.second.sample(input);
        if !second.sampled {
            return Decision::DROPPED;
        }
        Decision { sampled: true, threshold: join(input, first, second, Threshold::max) }
    }
}

impl<A: Sampler, B: Sampler> Sampler for Or<A, B> {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        let (first, second) = (self.first.sample(input), self.second.sample(input));
        match (first.sampled, second.sampled) {
            (false, false) => Decision::DROPPED,
            (true, false) => first,
            (false, true) => second,
            (true, true) => Decision { sampled: true, threshold: join(input, first, second, Threshold::min) },
        }
    }
}

/// What becomes of the threshold if two samplers have said yes.
fn join(
    input: &SampleInput<'_>,
    first: Decision,
    second: Decision,
    choose: fn(Threshold, Threshold) -> Threshold,
) -> ThresholdChange {
    if (first.threshold, second.threshold) == (ThresholdChange::Keep, ThresholdChange::Keep) {
        return ThresholdChange::Keep;
    }
    let known = |decision: Decision| match decision.threshold {
        ThresholdChange::Keep => input.parent_threshold(),
        ThresholdChange::Set(threshold) => Some(threshold),
        ThresholdChange::Erase => None,
    };
    let chosen = known(first).zip(known(second)).map(|(first, second)| choose(first, second));
    chosen.map_or(ThresholdChange::Erase, ThresholdChange::Set)
}
