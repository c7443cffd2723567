//! Contexts out of the header map of a usual request, and into it.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use fastrace::collector::W3CTraceContext;
use forebay_tracing_ctx::carrier;
use forebay_tracing_ctx_peers::requests;
use http::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::rotate;

/// Maps that are changed in one go, few enough to stay in the caches.
const BATCH: usize = 64;

pub(crate) fn benches(criterion: &mut Criterion) {
    extract(criterion);
    inject(criterion);
}

fn extract_fast(headers: &HeaderMap) -> Option<W3CTraceContext> {
    let traceparent = headers.get("traceparent")?.to_str().ok()?;
    W3CTraceContext::decode(traceparent, headers.get("tracestate").and_then(|state| state.to_str().ok()))
}

fn extract(criterion: &mut Criterion) {
    let maps = requests(true);
    let mut group = criterion.benchmark_group("extract");
    rotate(&mut group, "forebay", &maps, carrier::extract);
    let (propagator, empty) = (TraceContextPropagator::new(), Context::new());
    rotate(&mut group, "opentelemetry", &maps, |headers| {
        propagator.extract_with_context(&empty, &HeaderExtractor(headers))
    });
    rotate(&mut group, "fastrace", &maps, extract_fast);
    // What nobody can do without who asks a header map for three fields and keeps one of them.
    rotate(&mut group, "three look-ups, one value kept", &maps, |headers| {
        let absent = headers.get(&carrier::BAGGAGE).is_none();
        (absent, headers.get(&carrier::TRACEPARENT).is_some(), headers.get(&carrier::TRACESTATE).cloned())
    });
    group.finish();
}

/// Measures `work` on each context and a map without fields of a trace, which is made beforehand and dropped
/// afterwards.
fn fill<C>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    library: &str,
    contexts: &[C],
    mut work: impl FnMut(&C, &mut HeaderMap),
) {
    let untraced = requests(false);
    let mut at = 0;
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(library, |bencher| {
        bencher.iter_batched(
            || {
                at = (at + BATCH) % contexts.len();
                (at, untraced[at..at + BATCH].to_vec())
            },
            |(at, mut maps)| {
                for (context, map) in contexts[at..at + BATCH].iter().zip(&mut maps) {
                    work(black_box(context), map);
                }
                maps
            },
            BatchSize::PerIteration,
        );
    });
}

fn inject(criterion: &mut Criterion) {
    let maps = requests(true);
    let mut group = criterion.benchmark_group("inject");
    let contexts: Vec<_> =
        maps.iter().map(|map| carrier::extract(map).into_context().expect("valid")).collect();
    fill(&mut group, "forebay", &contexts, carrier::inject);
    let (propagator, empty) = (TraceContextPropagator::new(), Context::new());
    let contexts: Vec<_> =
        maps.iter().map(|map| propagator.extract_with_context(&empty, &HeaderExtractor(map))).collect();
    fill(&mut group, "opentelemetry", &contexts, |context, map| {
        propagator.inject_context(context, &mut HeaderInjector(map));
    });
    let contexts: Vec<_> = maps.iter().map(|map| extract_fast(map).expect("valid")).collect();
    fill(&mut group, "fastrace", &contexts, |context, map| {
        let parent = HeaderValue::try_from(context.encode_traceparent()).expect("printable");
        map.insert("traceparent", parent);
        if let Some(state) = context.encode_tracestate() {
            map.insert("tracestate", HeaderValue::from_str(state).expect("printable"));
        }
    });
    group.finish();
}
