//! The decisions of OpenTelemetry for Rust, as its own crate makes them.

use forebay_tracing_ctx::sampler::{Always, ParentBased, Ratio, SampleInput};
use forebay_tracing_ctx::{Sampler, SpanId, TraceContext};
use opentelemetry::trace::{SpanContext, SpanKind, TraceContextExt};
use opentelemetry::{Context, trace};
use opentelemetry_sdk::trace::{Sampler as Theirs, SamplingDecision, ShouldSample};

use super::numbers;

fn theirs(sampler: &Theirs, context: &TraceContext, parent: Option<&Context>) -> bool {
    let trace_id = trace::TraceId::from_bytes(context.trace_id().to_bytes());
    let result = sampler.should_sample(parent, trace_id, "request", &SpanKind::Server, &[], &[]);
    result.decision == SamplingDecision::RecordAndSample
}

#[test]
fn a_ratio_takes_the_traces_that_opentelemetry_takes() {
    let mut numbers = numbers(3);
    let shares = [0.0, 1e-18, 1e-3, 0.1, 0.25, 1.0 / 3.0, 0.5, 0.9, 1.0_f64.next_down(), 1.0];
    let samplers = shares.map(|share| (Ratio::new(share).unwrap(), Theirs::TraceIdRatioBased(share)));
    for _ in 0..10_000 {
        let context = TraceContext::root(&mut numbers, &Always);
        for (ours, other) in &samplers {
            let input = SampleInput::root(context.trace_id());
            assert_eq!(ours.sample(&input).sampled, theirs(other, &context, None), "{context:?} {ours:?}");
        }
    }
}

#[test]
fn a_parent_is_followed_as_opentelemetry_follows_it() {
    let mut numbers = numbers(4);
    let ours = ParentBased::new(Ratio::new(0.5).unwrap());
    let other = Theirs::ParentBased(Box::new(Theirs::TraceIdRatioBased(0.5)));
    for _ in 0..1000 {
        let mut parent = TraceContext::root(&mut numbers, &Ratio::new(0.5).unwrap());
        parent.remote = numbers().is_multiple_of(2);
        let decided = parent.child_sampled(SpanId::from_source(&mut numbers), &ours).is_sampled();
        let span = SpanContext::new(
            trace::TraceId::from_bytes(parent.trace_id().to_bytes()),
            trace::SpanId::from_bytes(parent.span_id().to_bytes()),
            trace::TraceFlags::new(parent.parent.flags.bits()),
            parent.remote,
            trace::TraceState::default(),
        );
        let context = Context::new().with_remote_span_context(span);
        assert_eq!(decided, theirs(&other, &parent, Some(&context)));
        let root = TraceContext::root(&mut numbers, &ours);
        assert_eq!(root.is_sampled(), theirs(&other, &root, None));
    }
}
