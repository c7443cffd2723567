//! Consistent probability sampling, by the rule that all OpenTelemetry participants share.

use super::{Decision, RatioError, SampleInput, Sampler, Threshold};

/// Samples with a probability, consistently across services, and publishes it.
///
/// Everyone compares the same 56 bits, [`SampleInput::randomness`], with a [`Threshold`] of their own. So a
/// trace that a service with probability 0.1 takes is also taken by all with a higher one, in whichever
/// language they are written, and what both have sampled is complete. The threshold goes out as `th` in the
/// member `ot` of `tracestate`, so that who counts spans knows how many each one stands for. A span that is
/// not sampled has none, and other entries of the member, such as `rv`, stay.
///
/// The parent's decision and threshold play no part. Within
/// [`ParentBased::new`](super::ParentBased::new) this decides about new traces only, which is what most
/// services want.
///
/// ```
/// use forebay_tracing_ctx::sampler::{Consistent, ParentBased};
/// use forebay_tracing_ctx::{SpanId, TraceContext, random_u64};
///
/// let sampler = ParentBased::new(Consistent::new(1.0)?);
/// let trace = TraceContext::root(random_u64, &sampler);
/// assert_eq!(trace.state.to_string(), "ot=th:0");
/// assert_eq!(trace.child_sampled(SpanId::random(), &sampler).state, trace.state);
/// # Ok::<_, forebay_tracing_ctx::sampler::RatioError>(())
/// ```
///
/// A `th` is up to 14 digits long. Where every byte of a header counts, take a threshold of fewer:
/// `Consistent::with_threshold("e666".parse()?)` is close enough to a tenth.
///
/// Source: [TraceState: Probability Sampling].
///
/// [TraceState: Probability Sampling]: https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Consistent {
    /// None for a probability of 0, which has no threshold.
    threshold: Option<Threshold>,
}

impl Consistent {
    /// Every span, and says so.
    pub const ALL: Self = Self::with_threshold(Threshold::ALL);

    /// The nearest of the 2^56 probabilities that thresholds have.
    ///
    /// What is above 0 but below 2^-56, the lowest of them, becomes that one. A probability of 0 is none in
    /// the sense of the specification; it samples nothing, as [`Never`](super::Never) does.
    ///
    /// # Errors
    ///
    /// If `probability` is below 0, above 1 or not a number.
    pub const fn new(probability: f64) -> Result<Self, RatioError> {
        match Threshold::from_probability(probability) {
            None if probability != 0.0 => Err(RatioError { found: probability }),
            threshold => Ok(Self { threshold }),
        }
    }

    /// The probability that belongs to a threshold.
    pub const fn with_threshold(threshold: Threshold) -> Self {
        Self { threshold: Some(threshold) }
    }

    /// What is published with spans that are sampled; `None` if none are.
    pub const fn threshold(self) -> Option<Threshold> {
        self.threshold
    }
}

impl Sampler for Consistent {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        self.threshold
            .map_or(Decision::DROPPED, |threshold| Decision::consistent(threshold, input.randomness()))
    }
}
