//! `traceparent` and `tracestate` as text: read, refused, written.

use std::hint::black_box;
use std::str::FromStr;

use criterion::Criterion;
use fastrace::collector::SpanContext as FastSpanContext;
use forebay_tracing_ctx::{TRACEPARENT_LEN, TraceParent, TraceState};
use forebay_tracing_ctx_peers::{invalid_traceparents, mixed_traceparents, traceparents, tracestates};
use http::HeaderValue;
use opentelemetry::Context;
use opentelemetry::propagation::{Injector, TextMapPropagator};
use opentelemetry::trace::TraceContextExt;
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::{Single, rotate};

pub(crate) fn benches(criterion: &mut Criterion) {
    parse(criterion, "parse", &traceparents());
    parse(criterion, "parse, half invalid", &mixed_traceparents());
    let invalid = invalid_traceparents();
    assert!(invalid.iter().all(|text| all_refuse(text)));
    parse(criterion, "parse, all invalid", &invalid);
    format(criterion);
    header_value(criterion);
    validate(criterion);
}

fn all_refuse(text: &str) -> bool {
    let theirs = TraceContextPropagator::new().extract_with_context(&Context::new(), &Single(text));
    TraceParent::parse(text.as_bytes()).is_err()
        && FastSpanContext::decode_w3c_traceparent(text).is_none()
        && !theirs.span().span_context().is_valid()
}

fn parse(criterion: &mut Criterion, name: &str, texts: &[String]) {
    let mut group = criterion.benchmark_group(name);
    rotate(&mut group, "forebay", texts, |text| TraceParent::parse(text.as_bytes()));
    let (propagator, empty) = (TraceContextPropagator::new(), Context::new());
    rotate(&mut group, "opentelemetry", texts, |text| propagator.extract_with_context(&empty, &Single(text)));
    rotate(&mut group, "fastrace", texts, |text| FastSpanContext::decode_w3c_traceparent(text));
    // Two ids and flags read with what OpenTelemetry has for each, without its search for dashes and without
    // a context around the result: less than any of its users can do.
    rotate(&mut group, "opentelemetry, ids only", texts, |text| {
        use opentelemetry::trace::{SpanId, TraceId};
        let text = text.as_str();
        let (trace, span, flags) = (text.get(3..35), text.get(36..52), text.get(53..55));
        let trace = trace.and_then(|trace| TraceId::from_hex(trace).ok());
        let span = span.and_then(|span| SpanId::from_hex(span).ok());
        (trace, span, flags.and_then(|flags| u8::from_str_radix(flags, 16).ok()))
    });
    group.finish();
}

/// Takes what a propagator writes and throws it away.
struct Sink;

impl Injector for Sink {
    fn set(&mut self, key: &str, value: String) {
        black_box((key, value));
    }
}

/// Keeps a value as the header it would be.
struct Values;

impl Injector for Values {
    fn set(&mut self, key: &str, value: String) {
        if key == "traceparent" {
            black_box(HeaderValue::try_from(value).expect("printable"));
        }
    }
}

fn ours(texts: &[String]) -> Vec<TraceParent> {
    texts.iter().map(|text| text.parse().expect("valid")).collect()
}

fn otel(texts: &[String]) -> Vec<Context> {
    let extract =
        |text: &String| TraceContextPropagator::new().extract_with_context(&Context::new(), &Single(text));
    texts.iter().map(extract).collect()
}

fn fast(texts: &[String]) -> Vec<FastSpanContext> {
    texts.iter().map(|text| FastSpanContext::decode_w3c_traceparent(text).expect("valid")).collect()
}

fn format(criterion: &mut Criterion) {
    let texts = traceparents();
    let mut group = criterion.benchmark_group("format");
    let mut out = [0; TRACEPARENT_LEN];
    rotate(&mut group, "forebay", &ours(&texts), |parent| parent.write(black_box(&mut out)));
    let propagator = TraceContextPropagator::new();
    rotate(&mut group, "opentelemetry", &otel(&texts), |context| {
        propagator.inject_context(context, &mut Sink);
    });
    rotate(&mut group, "fastrace", &fast(&texts), |parent| parent.encode_w3c_traceparent());
    group.finish();
}

fn header_value(criterion: &mut Criterion) {
    let texts = traceparents();
    let mut group = criterion.benchmark_group("format as header value");
    rotate(&mut group, "forebay", &ours(&texts), |parent| HeaderValue::from_bytes(&parent.to_bytes()));
    let propagator = TraceContextPropagator::new();
    rotate(&mut group, "opentelemetry", &otel(&texts), |context| {
        propagator.inject_context(context, &mut Values);
    });
    rotate(&mut group, "fastrace", &fast(&texts), |parent| {
        HeaderValue::try_from(parent.encode_w3c_traceparent())
    });
    group.finish();
}

fn validate(criterion: &mut Criterion) {
    // 64 lists of about 1 KiB stay in the caches, as a header that has just been received does.
    for (name, members) in [("validate tracestate, 3 members", 3), ("validate tracestate, 32 members", 32)] {
        let texts = tracestates(64, members);
        let fields: Vec<_> =
            texts.iter().map(|text| HeaderValue::from_str(text).expect("printable")).collect();
        let mut group = criterion.benchmark_group(name);
        rotate(&mut group, "forebay", &fields, |field| TraceState::from_fields([field]).expect("valid"));
        rotate(&mut group, "opentelemetry", &texts, |text| {
            opentelemetry::trace::TraceState::from_str(text).expect("valid")
        });
        group.finish();
    }
}
