//! What of a request's headers a server takes over, and the context that its work begins with.

use http::HeaderMap;

use super::{Caller, Link, TraceServerLayer, Trust};
use crate::carrier::{self, Faults};
use crate::sampler::{Decision, SampleInput};
use crate::{Sampler, SpanId, TraceContext, TraceParent};

impl<S: Sampler, P, R: Fn() -> u64> TraceServerLayer<S, P, R> {
    pub(super) fn admit(&self, caller: &Caller<'_>, trust: Trust) -> Admission {
        let sampler = Informed { sampler: &self.sampler, caller };
        let mut faults = Faults::default();
        match trust {
            Trust::Continue | Trust::IgnoreSampled => self.resume(&sampler, caller.headers, trust),
            Trust::Link => match carrier::extract_parent(caller.headers) {
                Ok(parent) => self.restart(&sampler, parent.map(Link), faults),
                Err(error) => {
                    faults.parent = Some(error);
                    self.restart(&sampler, None, faults)
                }
            },
            Trust::Restart => self.restart(&sampler, None, faults),
        }
    }

    fn resume(&self, sampler: &impl Sampler, headers: &HeaderMap, trust: Trust) -> Admission {
        let received = if self.baggage { carrier::extract(headers) } else { carrier::extract_trace(headers) };
        let (parent, faults, noted) = (received.parent, received.faults, received.state.place());
        let context = match (trust, parent) {
            (Trust::IgnoreSampled, Some(_)) => {
                let received = received.into_context().expect("it has a parent");
                received.child_resampled(SpanId::from_source(&self.source), sampler)
            }
            _ => received.begin(&self.source, sampler),
        };
        let as_decided = |parent: TraceParent| {
            parent.flags.is_sampled() == context.is_sampled() && context.state.place() == noted
        };
        let named = parent.is_none_or(as_decided);
        Admission { context, link: None, faults, named, baggage_named: self.baggage }
    }

    fn restart(&self, sampler: &impl Sampler, link: Option<Link>, faults: Faults) -> Admission {
        let context = TraceContext::root(&self.source, sampler);
        Admission { context, link, faults, named: false, baggage_named: false }
    }
}

/// What begins with a request.
pub(super) struct Admission {
    pub(super) context: TraceContext,
    pub(super) link: Option<Link>,
    pub(super) faults: Faults,
    /// Whether the headers of the request say what goes on: the trace, whether it is sampled, and how likely
    /// that was.
    named: bool,
    /// Whether they say what baggage goes on.
    baggage_named: bool,
}

impl Admission {
    /// Removes what does not go on: whoever sends the request on without its context would continue it.
    pub(super) fn forget(&self, headers: &mut HeaderMap) {
        if !self.named {
            headers.remove(&carrier::TRACEPARENT);
            headers.remove(&carrier::TRACESTATE);
        }
        if !self.baggage_named {
            headers.remove(&carrier::BAGGAGE);
        }
    }
}

/// A sampler that sees whose request a span is for.
struct Informed<'a, S> {
    sampler: &'a S,
    caller: &'a Caller<'a>,
}

impl<S: Sampler> Sampler for Informed<'_, S> {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        let mut input = *input;
        input.caller = Some(self.caller);
        self.sampler.sample(&input)
    }
}
