//! What the layers do around what the headers say: extensions, the current context, response headers, trust.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_tracing_ctx::carrier::{TRACEPARENT, TRACESTATE};
use forebay_tracing_ctx::{
    Always, Never, Sampler, TraceClientLayer, TraceContext, TraceFutureExt, TraceServerLayer, Trust, context,
};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use tokio::task::yield_now;
use tower::{Layer, Service, ServiceExt, service_fn};

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const X_TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// Counts up from 1, however often it is cloned.
fn counting() -> impl Fn() -> u64 + Clone {
    let last = Arc::new(AtomicU64::new(0));
    move || last.fetch_add(1, Ordering::Relaxed) + 1
}

fn traced(fields: &[(&'static str, &'static str)]) -> Request<()> {
    let mut request = Request::new(());
    for &(name, value) in fields {
        request.headers_mut().append(name, HeaderValue::from_static(value));
    }
    request
}

/// The context in the request's extensions, once the handler has found the same one current everywhere.
async fn seen(mut request: Request<()>) -> Result<Response<TraceContext>, Infallible> {
    let seen: TraceContext = request.extensions_mut().remove().expect("put there by the layer");
    assert_eq!(context::current().as_ref(), Some(&seen));
    yield_now().await;
    assert_eq!(context::current().as_ref(), Some(&seen), "after waiting");
    Ok(Response::new(seen))
}

async fn echo(request: Request<()>) -> Result<HeaderMap, Infallible> {
    Ok(request.into_parts().0.headers)
}

#[tokio::test]
async fn a_server_gives_the_request_a_span_of_its_own_in_the_callers_trace() {
    let server = TraceServerLayer::with_source(counting()).layer(service_fn(seen));
    let request = traced(&[("traceparent", VALID), ("tracestate", "a=1"), ("tracestate", "b=2")]);
    let seen = server.oneshot(request).await.unwrap().into_body();
    assert_eq!(seen.parent.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01");
    assert_eq!((seen.state.as_str(), seen.remote), ("a=1,b=2", false));
    assert_eq!(context::current(), None, "and nothing is left behind");
}

#[tokio::test]
async fn the_context_is_current_while_the_inner_service_is_called_and_not_only_while_it_is_polled() {
    let inner = service_fn(|request: Request<()>| {
        let in_call = context::current();
        async move { Ok::<_, Infallible>(Response::new((in_call, request.extensions().get().cloned()))) }
    });
    let (in_call, in_request) =
        TraceServerLayer::new().layer(inner).oneshot(Request::new(())).await.unwrap().into_body();
    assert!(in_call.is_some());
    assert_eq!(in_call, in_request);
}

#[tokio::test]
async fn a_server_at_the_edge_restarts_what_strangers_send() {
    let layer = TraceServerLayer::with_source(counting()).trust(Trust::Restart).sampler(Never);
    let request = traced(&[("traceparent", VALID), ("tracestate", "a=1")]);
    let seen = layer.layer(service_fn(seen)).oneshot(request).await.unwrap().into_body();
    assert_eq!(seen.parent.to_string(), "00-00000000000000010000000000000002-0000000000000003-02");
    assert!(seen.state.is_empty());
}

#[tokio::test]
async fn the_sampler_decides_about_new_traces_and_leaves_others_alone() {
    const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    for (sampler, started) in
        [(Arc::new(Always) as Arc<dyn Sampler + Send + Sync>, true), (Arc::new(Never), false)]
    {
        let layer = TraceServerLayer::new().sampler(sampler);
        for (fields, expected) in [
            (&[][..], started),
            (&[("traceparent", "invalid")], started),
            (&[("traceparent", VALID)], true),
            (&[("traceparent", NOT_SAMPLED)], false),
        ] {
            let seen = layer.layer(service_fn(seen)).oneshot(traced(fields)).await.unwrap().into_body();
            assert_eq!(seen.is_sampled(), expected, "{started} {fields:?}");
        }
    }
}

#[tokio::test]
async fn a_response_names_its_trace_in_the_field_of_the_callers_choice() {
    let inner = service_fn(async |_: Request<()>| {
        let mut response = Response::new(());
        response.headers_mut().append(X_TRACE_ID, HeaderValue::from_static("another"));
        Ok::<_, Infallible>(response)
    });
    let layer = TraceServerLayer::new().response_header(X_TRACE_ID);
    let response = layer.layer(inner).oneshot(traced(&[("traceparent", VALID)])).await.unwrap();
    let values: Vec<_> = response.headers().get_all(X_TRACE_ID).iter().collect();
    assert_eq!(values, ["4bf92f3577b34da6a3ce929d0e0e4736"]);

    let response = TraceServerLayer::new().layer(inner).oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.headers()[X_TRACE_ID], "another", "or in none");
}

#[tokio::test]
async fn each_request_of_a_service_and_of_its_clones_has_ids_of_its_own() {
    let mut server = TraceServerLayer::with_source(counting()).layer(service_fn(seen));
    let mut clone = server.clone();
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(server.call(Request::new(())).await.unwrap().into_body().parent);
        ids.push(clone.call(Request::new(())).await.unwrap().into_body().parent);
    }
    let distinct: std::collections::HashSet<_> = ids.iter().map(|parent| parent.trace_id).collect();
    assert_eq!(distinct.len(), 6);
}

#[tokio::test]
async fn an_error_of_the_inner_service_passes_through() {
    let inner = service_fn(async |_: Request<()>| Err::<Response<()>, _>("no"));
    let layer = TraceServerLayer::new().response_header(X_TRACE_ID);
    assert_eq!(layer.layer(inner).oneshot(Request::new(())).await.unwrap_err(), "no");
}

#[tokio::test]
async fn a_client_sends_the_current_trace_with_a_span_of_its_own_each_time() {
    let mut client = TraceClientLayer::with_source(counting()).layer(service_fn(echo));
    let mut current = TraceContext::new(VALID.parse().unwrap());
    current.state = "a=1".parse().unwrap();
    let calls = async {
        let first = client.call(Request::new(())).await.unwrap();
        yield_now().await;
        (first, client.call(Request::new(())).await.unwrap())
    };
    let (first, second) = calls.with_trace(current).await;
    assert_eq!(first[&TRACEPARENT], "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01");
    assert_eq!(second[&TRACEPARENT], "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000002-01");
    assert_eq!((&first[&TRACESTATE], &second[&TRACESTATE]), (&first[&TRACESTATE], &first[&TRACESTATE]));
    assert_eq!(first[&TRACESTATE], "a=1");
}

#[tokio::test]
async fn the_context_in_a_request_comes_before_the_current_one_and_that_before_headers() {
    let named = |seed: u64| TraceContext::root(|| seed, &Never);
    let sent = async |request: Request<()>| {
        let headers = TraceClientLayer::new().layer(service_fn(echo)).oneshot(request).await.unwrap();
        headers[&TRACEPARENT].to_str().unwrap()[3..35].to_owned()
    };
    let mut explicit = traced(&[("traceparent", VALID)]);
    explicit.extensions_mut().insert(named(1));
    let trace_id = sent(explicit).with_trace(named(2)).await;
    assert_eq!(trace_id, named(1).trace_id().to_string());

    let trace_id = sent(traced(&[("traceparent", VALID)])).with_trace(named(2)).await;
    assert_eq!(trace_id, named(2).trace_id().to_string());

    let trace_id = sent(traced(&[("traceparent", VALID)])).await;
    assert_eq!(trace_id, VALID[3..35]);
}

#[tokio::test]
async fn a_client_starts_a_trace_if_there_is_none() {
    for (sampler, flags) in
        [(Arc::new(Always) as Arc<dyn Sampler + Send + Sync>, "03"), (Arc::new(Never), "02")]
    {
        let client = TraceClientLayer::with_source(counting()).sampler(sampler).layer(service_fn(echo));
        let request = traced(&[("traceparent", "invalid"), ("tracestate", "a=1"), ("x", "y")]);
        let headers = client.oneshot(request).await.unwrap();
        let expected = format!("00-00000000000000010000000000000002-0000000000000003-{flags}");
        assert_eq!(headers[&TRACEPARENT], expected);
        assert!(!headers.contains_key(&TRACESTATE));
        assert_eq!(headers["x"], "y");
    }
}

#[tokio::test]
async fn the_layers_fit_axum() {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;

    async fn handler(request: Request<Body>) -> String {
        let current = context::current().map(|context| context.parent.to_string());
        assert_eq!(
            current,
            request.extensions().get::<TraceContext>().map(|context| context.parent.to_string())
        );
        current.unwrap()
    }
    let router =
        Router::new().route("/", get(handler)).layer(TraceServerLayer::new().response_header(X_TRACE_ID));
    let client = TraceClientLayer::new().layer(router);
    let response = client.oneshot(Request::new(Body::empty())).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.headers()[X_TRACE_ID].to_str().unwrap().to_owned());
    assert_eq!(body.await.unwrap().to_bytes().len(), 32);
    let body = axum::body::to_bytes(response.into_body(), 55).await.unwrap();
    assert!(body.starts_with(b"00-"));
}

#[test]
fn services_and_futures_are_send_and_sync_if_what_they_wrap_is() {
    fn check<T: Send + Sync + 'static>(_: &T) {}
    let mut server =
        TraceServerLayer::new().layer(service_fn(async |_: Request<()>| Ok::<_, ()>(Response::new(()))));
    let mut client = TraceClientLayer::new().layer(server.clone());
    check(&server);
    check(&client);
    check(&server.call(Request::new(())));
    check(&client.call(Request::new(())));
}
