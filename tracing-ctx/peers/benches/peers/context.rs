//! Making a context the current one and putting back what was there: for a call, and for each poll of a
//! future.

use std::future::poll_fn;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use criterion::{BenchmarkGroup, Criterion, measurement::WallTime};
use fastrace::Span;
use fastrace::collector::SpanContext as FastSpanContext;
use fastrace::future::FutureExt as _;
use forebay_tracing_ctx::{TraceFutureExt, carrier, context};
use forebay_tracing_ctx_peers::{INPUTS, requests};
use opentelemetry::Context;
use opentelemetry::context::FutureExt as _;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;

use super::rotate;

pub(crate) fn benches(criterion: &mut Criterion) {
    let headers = &requests(true)[0];
    let with_state = carrier::extract(headers).into_context().expect("valid");
    let mut plain = with_state.clone();
    plain.state = Default::default();
    let (plain, with_state) = (Arc::new(plain), Arc::new(with_state));
    let otel = TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
    let traceparent = headers["traceparent"].to_str().expect("printable");
    let parent = FastSpanContext::decode_w3c_traceparent(traceparent).expect("valid");
    let span = || Span::root("request", parent);

    let times = vec![(); INPUTS];
    let mut group = criterion.benchmark_group("enter for a call");
    rotate(&mut group, "forebay", &times, |()| context::scope(plain.clone(), work));
    rotate(&mut group, "forebay, with tracestate", &times, |()| context::scope(with_state.clone(), work));
    rotate(&mut group, "opentelemetry", &times, |()| {
        let _attached = otel.clone().attach();
        work();
    });
    let entered = span();
    rotate(&mut group, "fastrace", &times, |()| {
        let _local_parent = entered.set_local_parent();
        work();
    });
    group.finish();

    let mut group = criterion.benchmark_group("enter for a poll");
    poll(&mut group, "forebay", pin!(poll_fn(wait).with_trace(plain.clone())));
    poll(&mut group, "forebay, with tracestate", pin!(poll_fn(wait).with_trace(with_state)));
    poll(&mut group, "opentelemetry", pin!(poll_fn(wait).with_context(otel)));
    poll(&mut group, "fastrace", pin!(poll_fn(wait).in_span(span())));
    group.finish();
}

/// Something that happens within: without it, the compiler sees that entering and leaving cancel out.
fn work() {
    black_box(&mut 0_u8);
}

fn wait(_: &mut TaskContext<'_>) -> Poll<()> {
    work();
    Poll::Pending
}

fn poll<F: Future<Output = ()>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    library: &str,
    mut future: Pin<&mut F>,
) {
    let mut cx = TaskContext::from_waker(Waker::noop());
    rotate(group, library, &[(); INPUTS], |()| future.as_mut().poll(&mut cx));
}
