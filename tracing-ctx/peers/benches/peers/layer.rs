//! Servers' layers whole: a request goes through the layer and a service that does nothing, and its response
//! comes back. What the service alone takes is measured beside it, to be subtracted.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

use axum_tracing_opentelemetry::middleware::OtelAxumLayer;
use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput};
use fastrace::collector::{Config, Reporter, SpanRecord};
use fastrace_tower::FastraceServerLayer;
use forebay_tracing_ctx::TraceServerLayer;
use forebay_tracing_ctx_peers::requests;
use http::{HeaderMap, Request, Response};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tower_layer::Layer;
use tower_service::Service;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Requests that are made beforehand in one go, few enough to stay in the caches.
const BATCH: usize = 64;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("clock");
    #[expect(clippy::disallowed_methods, reason = "what a look at the clock costs is the question")]
    group.bench_function("std::time::Instant::now", |bencher| bencher.iter(std::time::Instant::now));
    group.finish();

    let headers = requests(true);
    let mut group = criterion.benchmark_group("server layer, nobody listens");
    serve(&mut group, "no layer", &headers, Inner);
    serve(&mut group, "forebay", &headers, TraceServerLayer::new().layer(Inner));
    serve(&mut group, "fastrace", &headers, FastraceServerLayer::default().layer(Inner));
    serve(&mut group, "axum-tracing-opentelemetry", &headers, OtelAxumLayer::default().layer(Inner));
    group.finish();

    // Once more with somebody who listens. What fastrace records is thrown away by its thread in the
    // background, and what OpenTelemetry records at once: nothing is exported.
    let mut group = criterion.benchmark_group("server layer, spans recorded");
    serve(&mut group, "no layer", &headers, Inner);
    fastrace::set_reporter(Discard, Config::default());
    serve(&mut group, "fastrace", &headers, FastraceServerLayer::default().layer(Inner));
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let provider = SdkTracerProvider::builder().build();
    let otel = tracing_opentelemetry::layer().with_tracer(provider.tracer("peers"));
    tracing_subscriber::registry().with(otel).init();
    serve(&mut group, "forebay", &headers, TraceServerLayer::new().layer(Inner));
    serve(&mut group, "axum-tracing-opentelemetry", &headers, OtelAxumLayer::default().layer(Inner));
    group.finish();
}

struct Discard;

impl Reporter for Discard {
    fn report(&mut self, _: Vec<SpanRecord>) {}
}

#[derive(Clone)]
struct Inner;

impl Service<Request<()>> for Inner {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline(never)]
    fn call(&mut self, request: Request<()>) -> Self::Future {
        black_box(&request);
        ready(Ok(Response::new(())))
    }
}

fn serve<S>(group: &mut BenchmarkGroup<'_, WallTime>, library: &str, headers: &[HeaderMap], mut service: S)
where
    S: Service<Request<()>, Response = Response<()>, Error = Infallible>,
{
    let request = |headers: &HeaderMap| {
        let mut request = Request::new(());
        *request.headers_mut() = headers.clone();
        request
    };
    let mut at = 0;
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(library, |bencher| {
        let mut cx = TaskContext::from_waker(Waker::noop());
        bencher.iter_batched(
            || {
                at = (at + BATCH) % headers.len();
                headers[at..at + BATCH].iter().map(request).collect::<Vec<_>>()
            },
            |requests| {
                for request in requests {
                    let response = pin!(service.call(request)).poll(&mut cx);
                    assert!(black_box(response).is_ready());
                }
            },
            BatchSize::PerIteration,
        );
    });
}
