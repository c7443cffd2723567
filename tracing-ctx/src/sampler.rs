//! Whether a trace is sampled, decided when a span begins.
//!
//! Numbered, because several files keep them together:
//!
//! * S1: the threshold in a context that was made here is the probability with which its span was sampled, or
//!   there is none. A sampler that does not know the probability says so.
//! * S2: of two samplers of the same kind, the one with the higher probability takes whatever the other takes.
//! * S3: a decision reads and counts, but allocates nothing; only writing a threshold down or erasing it does.

use std::sync::Arc;

use crate::TraceId;

mod compose;
mod consistent;
mod constant;
mod decision;
mod input;
mod limit;
mod ot;
mod parent;
mod ratio;
mod rule;
mod threshold;

pub use compose::{And, Or};
pub use consistent::Consistent;
pub use constant::{Always, Never};
pub use decision::{Decision, ThresholdChange};
pub use input::SampleInput;
pub use limit::{RateLimit, RateLimitError, RateLimited};
pub use parent::{Inherit, ParentBased};
pub use ratio::{Ratio, RatioError};
pub use rule::Rule;
pub use threshold::{Threshold, ThresholdError};

/// Decides which spans are sampled, and thereby which traces.
///
/// ```
/// use forebay_tracing_ctx::sampler::{Decision, Ratio, SampleInput};
/// use forebay_tracing_ctx::{Sampler, SpanId, TraceContext, random_u64};
///
/// /// Follows whoever was sampled elsewhere, and a share of everything else.
/// struct Sticky(Ratio);
///
/// impl Sampler for Sticky {
///     fn sample(&self, input: &SampleInput<'_>) -> Decision {
///         match input.parent {
///             Some(parent) if parent.is_sampled() => Decision::SAMPLED,
///             _ => self.0.sample(input),
///         }
///     }
/// }
///
/// let trace = TraceContext::root(random_u64, &Sticky(Ratio::new(1.0)?));
/// let child = trace.child_sampled(SpanId::random(), &Sticky(Ratio::new(0.0)?));
/// assert!(trace.is_sampled() && child.is_sampled());
/// # Ok::<_, forebay_tracing_ctx::sampler::RatioError>(())
/// ```
pub trait Sampler {
    /// Whether the span is sampled, and how likely that was.
    fn sample(&self, input: &SampleInput<'_>) -> Decision;

    /// Samples what both this one and `other` sample. Of two thresholds the higher is published.
    fn and<S: Sampler>(self, other: S) -> And<Self, S>
    where
        Self: Sized,
    {
        And::new(self, other)
    }

    /// Samples what this one or `other` samples. Of two thresholds the lower is published.
    fn or<S: Sampler>(self, other: S) -> Or<Self, S>
    where
        Self: Sized,
    {
        Or::new(self, other)
    }
}

impl<S: Sampler + ?Sized> Sampler for &S {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        (**self).sample(input)
    }
}

impl<S: Sampler + ?Sized> Sampler for Box<S> {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        (**self).sample(input)
    }
}

impl<S: Sampler + ?Sized> Sampler for Arc<S> {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        (**self).sample(input)
    }
}

/// The bits of a trace id or an `rv` that consistent sampling looks at.
const RANDOM_BITS: u32 = 56;

/// The right-most 56 bits of a trace id.
const fn random_bits(trace_id: TraceId) -> u64 {
    trace_id.low_u64() & ((1 << RANDOM_BITS) - 1)
}
