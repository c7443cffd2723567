//! Decisions that look at what was decided for the parent.

use super::{Decision, SampleInput, Sampler, ThresholdChange, random_bits};

/// What was decided for the parent: whether it was sampled, and with which threshold. Without a parent, not
/// sampled.
///
/// A threshold that cannot have led to the parent's flag is erased instead of being passed on, as the
/// [specification] asks for.
///
/// [specification]: https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Inherit;

impl Sampler for Inherit {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        let Some(parent) = input.parent else {
            return Decision::DROPPED;
        };
        let sampled = parent.is_sampled();
        let (threshold, explicit) = parent.state.threshold_and_randomness();
        let randomness = explicit.unwrap_or(random_bits(input.trace_id));
        let possible = threshold.is_none_or(|threshold| threshold.keeps(randomness) == sampled);
        let threshold = if possible { ThresholdChange::Keep } else { ThresholdChange::Erase };
        Decision { sampled, threshold }
    }
}

/// Asks one sampler about new traces, and others about spans that have a parent.
///
/// | parent | asked | unless told otherwise |
/// |---|---|---|
/// | none | `root` | |
/// | in another process, sampled | `remote_sampled` | as the parent |
/// | in another process, not sampled | `remote_not_sampled` | as the parent |
/// | in this process, sampled | `local_sampled` | as the parent |
/// | in this process, not sampled | `local_not_sampled` | as the parent |
///
/// So by default a trace is decided where it begins, and everyone else keeps the flag and the `tracestate`,
/// threshold included. Where callers are not one's own, the flag they send is a hint that costs money: give
/// `remote_sampled` a sampler with a limit.
///
/// ```
/// use forebay_tracing_ctx::sampler::{Never, ParentBased, Ratio};
/// use forebay_tracing_ctx::{SpanId, TraceContext};
///
/// let sampler = ParentBased::new(Ratio::new(0.1)?).remote_sampled(Never);
///
/// let mut received = TraceContext::new(
///     "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().expect("valid"),
/// );
/// assert!(received.child_sampled(SpanId::random(), &sampler).is_sampled());
/// received.remote = true;
/// assert!(!received.child_sampled(SpanId::random(), &sampler).is_sampled());
/// # Ok::<_, forebay_tracing_ctx::sampler::RatioError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ParentBased<
    Root,
    RemoteSampled = Inherit,
    RemoteNotSampled = Inherit,
    LocalSampled = Inherit,
    LocalNotSampled = Inherit,
> {
    root: Root,
    remote_sampled: RemoteSampled,
    remote_not_sampled: RemoteNotSampled,
    local_sampled: LocalSampled,
    local_not_sampled: LocalNotSampled,
}

impl<Root> ParentBased<Root> {
    /// Asks `root` about new traces and leaves all others as they are.
    pub const fn new(root: Root) -> Self {
        Self {
            root,
            remote_sampled: Inherit,
            remote_not_sampled: Inherit,
            local_sampled: Inherit,
            local_not_sampled: Inherit,
        }
    }
}

impl<Root, A, B, C, D> ParentBased<Root, A, B, C, D> {
    /// Asks `sampler` if the parent is in another process and sampled.
    #[must_use]
    pub fn remote_sampled<S>(self, sampler: S) -> ParentBased<Root, S, B, C, D> {
        ParentBased {
            root: self.root,
            remote_sampled: sampler,
            remote_not_sampled: self.remote_not_sampled,
            local_sampled: self.local_sampled,
            local_not_sampled: self.local_not_sampled,
        }
    }

    /// Asks `sampler` if the parent is in another process and not sampled.
    #[must_use]
    pub fn remote_not_sampled<S>(self, sampler: S) -> ParentBased<Root, A, S, C, D> {
        ParentBased {
            root: self.root,
            remote_sampled: self.remote_sampled,
            remote_not_sampled: sampler,
            local_sampled: self.local_sampled,
            local_not_sampled: self.local_not_sampled,
        }
    }

    /// Asks `sampler` if the parent is in this process and sampled.
    #[must_use]
    pub fn local_sampled<S>(self, sampler: S) -> ParentBased<Root, A, B, S, D> {
        ParentBased {
            root: self.root,
            remote_sampled: self.remote_sampled,
            remote_not_sampled: self.remote_not_sampled,
            local_sampled: sampler,
            local_not_sampled: self.local_not_sampled,
        }
    }

    /// Asks `sampler` if the parent is in this process and not sampled.
    #[must_use]
    pub fn local_not_sampled<S>(self, sampler: S) -> ParentBased<Root, A, B, C, S> {
        ParentBased {
            root: self.root,
            remote_sampled: self.remote_sampled,
            remote_not_sampled: self.remote_not_sampled,
            local_sampled: self.local_sampled,
            local_not_sampled: sampler,
        }
    }
}

impl<Root, A, B, C, D> Sampler for ParentBased<Root, A, B, C, D>
where
    Root: Sampler,
    A: Sampler,
    B: Sampler,
    C: Sampler,
    D: Sampler,
{
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        match input.parent.map(|parent| (parent.remote, parent.is_sampled())) {
            None => self.root.sample(input),
            Some((true, true)) => self.remote_sampled.sample(input),
            Some((true, false)) => self.remote_not_sampled.sample(input),
            Some((false, true)) => self.local_sampled.sample(input),
            Some((false, false)) => self.local_not_sampled.sample(input),
        }
    }
}
