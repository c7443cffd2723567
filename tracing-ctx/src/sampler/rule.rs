//! Decisions that look at what a span is about instead of drawing lots.

use std::fmt;

use super::{Decision, SampleInput, Sampler, Threshold, ThresholdChange};

/// Samples what a function says.
///
/// It publishes that everything is sampled, since of what the function says yes to everything is. So with
/// [`Sampler::and`] it leaves things out, and the threshold of the other sampler stays; with [`Sampler::or`] it
/// takes things that the other one would have left to chance.
///
/// ```
/// use forebay_tracing_ctx::sampler::{ParentBased, Ratio, Rule, SampleInput};
/// use forebay_tracing_ctx::{Sampler, carrier, random_u64};
/// use http::HeaderMap;
///
/// // A hundredth of what begins here, and everything from the test tenant.
/// let of_tests = |input: &SampleInput<'_>| input.baggage.get("tenant").as_deref() == Some("test");
/// let sampler = ParentBased::new(Ratio::new(0.01)?.or(Rule::new(of_tests)));
///
/// let mut headers = HeaderMap::new();
/// headers.insert("baggage", "tenant=test".parse()?);
/// assert!(carrier::extract(&headers).begin(random_u64, &sampler).is_sampled());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Rule<F> {
    rule: F,
}

impl<F: Fn(&SampleInput<'_>) -> bool> Rule<F> {
    /// Samples the spans that `rule` says yes to.
    pub const fn new(rule: F) -> Self {
        Self { rule }
    }
}

impl<F: Fn(&SampleInput<'_>) -> bool> Sampler for Rule<F> {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        if (self.rule)(input) {
            Decision { sampled: true, threshold: ThresholdChange::Set(Threshold::ALL) }
        } else {
            Decision::DROPPED
        }
    }
}

impl<F> fmt::Debug for Rule<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule").finish_non_exhaustive()
    }
}
