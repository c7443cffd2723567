//! New ids, and the decision about a trace by its id.

use std::cell::Cell;

use criterion::Criterion;
use fastrace::collector::{SpanId as FastSpanId, TraceId as FastTraceId};
use forebay_tracing_ctx::sampler::{Always, RateLimit, RateLimited, Ratio, SampleInput};
use forebay_tracing_ctx::{Sampler, SpanId, TraceId, TraceParent};
use forebay_tracing_ctx_peers::{INPUTS, traceparents};
use opentelemetry::trace::{SpanKind, TraceId as OtelTraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, Sampler as OtelSampler, ShouldSample};

use super::rotate;

pub(crate) fn benches(criterion: &mut Criterion) {
    let times = vec![(); INPUTS];
    let otel = RandomIdGenerator::default();

    let mut group = criterion.benchmark_group("new span id");
    rotate(&mut group, "forebay", &times, |()| SpanId::random());
    rotate(&mut group, "opentelemetry", &times, |()| otel.new_span_id());
    rotate(&mut group, "fastrace", &times, |()| FastSpanId::random());
    rotate(&mut group, "fastrace, counted", &times, |()| FastSpanId::next_id());
    group.finish();

    let mut group = criterion.benchmark_group("new trace id");
    rotate(&mut group, "forebay", &times, |()| TraceId::random());
    rotate(&mut group, "opentelemetry", &times, |()| otel.new_trace_id());
    rotate(&mut group, "fastrace", &times, |()| FastTraceId::random());
    group.finish();

    let parents: Vec<TraceParent> = traceparents().iter().map(|text| text.parse().expect("valid")).collect();
    let ids: Vec<_> = parents.iter().map(|parent| parent.trace_id).collect();
    let mut group = criterion.benchmark_group("ratio decision");
    let ours = Ratio::new(0.1).expect("a ratio");
    rotate(&mut group, "forebay", &ids, |id| ours.sample(&SampleInput::root(*id)));
    let theirs = OtelSampler::TraceIdRatioBased(0.1);
    let ids: Vec<_> = ids.iter().map(|id| OtelTraceId::from_bytes(id.to_bytes())).collect();
    rotate(&mut group, "opentelemetry", &ids, |id| {
        theirs.should_sample(None, *id, "request", &SpanKind::Server, &[], &[])
    });
    group.finish();

    // Nobody else has one. Given the time; the clock is measured with the server's layers.
    let mut group = criterion.benchmark_group("rate-limited decision");
    let limit = RateLimit::per_second(1e6).expect("a rate");
    for (name, step_ns) in [("forebay, passes", 1_000), ("forebay, refused", 0)] {
        let now_ns = Cell::new(0_u64);
        let limited = RateLimited::with_clock(Always, limit.burst(1), move || {
            now_ns.set(now_ns.get() + step_ns);
            now_ns.get()
        });
        let inputs = parents.iter().map(|parent| parent.trace_id).collect::<Vec<_>>();
        rotate(&mut group, name, &inputs, |id| limited.sample(&SampleInput::root(*id)));
    }
    group.finish();
}
