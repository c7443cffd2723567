//! What the layers do around what the headers say: extensions, the current context, response headers, trust.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_tracing_ctx::carrier::{BAGGAGE, Faults, TRACEPARENT, TRACESTATE};
use forebay_tracing_ctx::layer::{Caller, Link, Trust};
use forebay_tracing_ctx::sampler::{Always, Never, ParentBased, RateLimit, RateLimited, Rule, SampleInput};
use forebay_tracing_ctx::{
    Sampler, TraceClientLayer, TraceContext, TraceFutureExt, TraceParentError, TraceServerLayer,
    TraceStateError, context,
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

fn here() -> TraceContext {
    TraceContext::clone(&context::current().expect("there is always one"))
}

/// The current context, once the handler has found the same one after waiting.
async fn seen(_: Request<()>) -> Result<Response<TraceContext>, Infallible> {
    let seen = context::current();
    yield_now().await;
    assert_eq!(context::current(), seen, "after waiting");
    Ok(Response::new(here()))
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
    let inner = service_fn(|_: Request<()>| {
        let in_call = context::current();
        async move { Ok::<_, Infallible>(Response::new((in_call, context::current()))) }
    });
    let response = TraceServerLayer::new().layer(inner).oneshot(Request::new(())).await.unwrap();
    let (in_call, in_poll) = response.into_body();
    assert!(in_call.is_some());
    assert_eq!(in_call, in_poll);
}

#[tokio::test]
async fn the_context_is_in_the_extensions_of_the_request_if_that_is_wanted() {
    let inner = service_fn(async |request: Request<()>| {
        let context: Option<TraceContext> = request.extensions().get().cloned();
        Ok::<_, Infallible>(Response::new((context, here())))
    });
    let layer = TraceServerLayer::new();
    let response = layer.clone().layer(inner).oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.into_body().0, None);
    let response = layer.extension().layer(inner).oneshot(Request::new(())).await.unwrap();
    let (in_request, current) = response.into_body();
    assert_eq!(in_request, Some(current));
}

/// A client prefers the context in a request's extensions, and found that of a layer further out there.
#[tokio::test]
async fn what_another_layer_left_in_the_extensions_is_not_taken_for_this_layers() {
    let inner = service_fn(async |request: Request<()>| {
        let extensions = request.extensions();
        let left: (Option<Link>, _) = (extensions.get().copied(), extensions.get::<Faults>().copied());
        let sent = TraceClientLayer::new().layer(service_fn(echo)).oneshot(request).await?;
        Ok::<_, Infallible>(Response::new((left, sent, here())))
    });
    let restarting = TraceServerLayer::new().trust(Trust::Restart).layer(inner);
    let server = TraceServerLayer::new().extension().layer(restarting);
    let mut request = traced(&[("traceparent", VALID), ("baggage", "k=v"), ("baggage", "no member")]);
    request.extensions_mut().insert(Link(VALID.parse().unwrap()));
    let (left, sent, here) = server.oneshot(request).await.unwrap().into_body();
    assert_eq!(left, (None, None));
    assert_ne!(here.trace_id().to_string(), &VALID[3..35]);
    assert_eq!(&sent[&TRACEPARENT].to_str().unwrap()[3..35], here.trace_id().to_string());
    assert_eq!(sent.get(&BAGGAGE), None);
}

const STRANGER: &[(&str, &str)] = &[("traceparent", VALID), ("tracestate", "a=1"), ("baggage", "k=v")];

/// What of a stranger's request and its link the handler sees under this policy and a sampler that never does.
async fn under(trust: Trust) -> (TraceContext, Option<Link>) {
    let inner = service_fn(async |request: Request<()>| {
        let link: Option<Link> = request.extensions().get().copied();
        Ok::<_, Infallible>(Response::new((here(), link)))
    });
    let layer = TraceServerLayer::with_source(counting()).trust(trust).sampler(ParentBased::new(Never));
    layer.layer(inner).oneshot(traced(STRANGER)).await.unwrap().into_body()
}

#[tokio::test]
async fn a_server_restarts_what_strangers_send() {
    let (context, link) = under(Trust::Restart).await;
    assert_eq!(context.parent.to_string(), "00-00000000000000010000000000000002-0000000000000003-02");
    assert!(context.state.is_empty() && context.baggage.is_empty());
    assert_eq!(link, None);
}

#[tokio::test]
async fn a_restarted_trace_is_linked_to_the_one_that_was_named() {
    let (context, link) = under(Trust::Link).await;
    assert_eq!(context.parent.to_string(), "00-00000000000000010000000000000002-0000000000000003-02");
    assert!(context.state.is_empty() && context.baggage.is_empty());
    assert_eq!(link, Some(Link(VALID.parse().unwrap())));
}

#[tokio::test]
async fn a_trace_is_continued_with_a_decision_of_ones_own_if_that_of_the_caller_is_ignored() {
    let (context, link) = under(Trust::IgnoreSampled).await;
    assert_eq!(context.parent.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-00");
    assert_eq!((context.state.as_str(), context.baggage.as_str(), link), ("a=1", "k=v", None));
    let (context, _) = under(Trust::Continue).await;
    assert_eq!(context.parent.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01");
}

#[tokio::test]
async fn a_policy_judges_each_caller() {
    let policy = |caller: &Caller<'_>| match caller.extensions.get::<u8>() {
        Some(_) if caller.uri.path() == "/" && caller.headers.contains_key("traceparent") => Trust::Continue,
        _ => Trust::Restart,
    };
    let server = TraceServerLayer::new().trust(policy).layer(service_fn(seen));
    let stranger = server.clone().oneshot(traced(STRANGER)).await.unwrap().into_body();
    assert_ne!(stranger.trace_id().to_string(), &VALID[3..35]);
    let mut request = traced(STRANGER);
    request.extensions_mut().insert(7_u8);
    let friend = server.oneshot(request).await.unwrap().into_body();
    assert_eq!(friend.trace_id().to_string(), &VALID[3..35]);
}

#[tokio::test]
async fn the_sampler_decides_about_new_traces_and_leaves_others_alone() {
    const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    async fn check(root: impl Sampler + Clone, started: bool) {
        let layer = TraceServerLayer::new().sampler(ParentBased::new(root));
        for (fields, expected) in [
            (&[][..], started),
            (&[("traceparent", "invalid")], started),
            (&[("traceparent", VALID)], true),
            (&[("traceparent", NOT_SAMPLED)], false),
        ] {
            let seen = layer.layer(service_fn(seen)).oneshot(traced(fields)).await.unwrap().into_body();
            assert_eq!(seen.is_sampled(), expected, "{fields:?}");
        }
    }
    check(Always, true).await;
    check(Never, false).await;
}

#[tokio::test]
async fn a_sampler_that_asks_no_parent_decides_about_all() {
    let server = TraceServerLayer::new().sampler(Never).layer(service_fn(seen));
    let seen = server.oneshot(traced(STRANGER)).await.unwrap().into_body();
    assert_eq!((seen.is_sampled(), seen.trace_id().to_string().as_str()), (false, &VALID[3..35]));
}

#[tokio::test]
async fn a_sampler_may_leave_out_requests_by_where_they_go() {
    let no_probe = |input: &SampleInput<'_>| input.caller.is_some_and(|caller| caller.uri.path() != "/ready");
    let rule = Rule::new(no_probe);
    async fn sampled(
        layer: &TraceServerLayer<impl Sampler + Clone>,
        path: &str,
        fields: &[(&'static str, &'static str)],
    ) -> bool {
        let mut request = traced(fields);
        *request.uri_mut() = path.parse().unwrap();
        layer.layer(service_fn(seen)).oneshot(request).await.unwrap().into_body().is_sampled()
    }
    let everywhere = TraceServerLayer::new().sampler(rule);
    let in_new_traces = TraceServerLayer::new().sampler(ParentBased::new(Always.and(rule)));
    for (path, fields, anew, new_only) in [
        ("/", &[][..], true, true),
        ("/ready", &[], false, false),
        ("/", STRANGER, true, true),
        ("/ready", STRANGER, false, true),
    ] {
        assert_eq!(sampled(&everywhere, path, fields).await, anew, "{path} {fields:?}");
        assert_eq!(sampled(&in_new_traces, path, fields).await, new_only, "{path} {fields:?}");
    }
    for trust in [Trust::Restart, Trust::Link, Trust::IgnoreSampled] {
        let server = TraceServerLayer::new().trust(trust).sampler(rule).layer(service_fn(seen));
        assert!(server.oneshot(traced(STRANGER)).await.unwrap().into_body().is_sampled(), "{trust:?}");
    }
}

#[tokio::test]
async fn what_strangers_want_sampled_is_a_hint_that_has_a_limit() {
    let limit = RateLimit::per_second(1.0).unwrap().burst(2);
    let sampler = ParentBased::new(Never).remote_sampled(RateLimited::with_clock(Always, limit, || 0));
    let server = TraceServerLayer::new().sampler(sampler).layer(service_fn(seen));
    for sampled in [true, true, false, false] {
        let seen = server.clone().oneshot(traced(STRANGER)).await.unwrap().into_body();
        assert_eq!((seen.is_sampled(), seen.trace_id().to_string().as_str()), (sampled, &VALID[3..35]));
    }
}

#[tokio::test]
async fn baggage_comes_with_a_trace_that_starts_here_as_well() {
    for traceparent in [VALID, "invalid"] {
        let request = traced(&[("traceparent", traceparent), ("baggage", "a=1"), ("baggage", "b=2;p")]);
        let seen =
            TraceServerLayer::new().layer(service_fn(seen)).oneshot(request).await.unwrap().into_body();
        assert_eq!(seen.baggage.as_str(), "a=1,b=2;p");
    }
}

#[tokio::test]
async fn a_response_names_its_trace_as_the_draft_of_the_w3c_has_it() {
    const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
    let inner = service_fn(async |_: Request<()>| {
        let mut response = Response::new(());
        response.headers_mut().append(SERVER_TIMING, HeaderValue::from_static("db;dur=53"));
        Ok::<_, Infallible>(response)
    });
    let layer = TraceServerLayer::with_source(counting()).server_timing();
    let response = layer.layer(inner).oneshot(traced(&[("traceparent", VALID)])).await.unwrap();
    let values: Vec<_> = response.headers().get_all(SERVER_TIMING).iter().collect();
    let metric = "trace;desc=00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000001-01";
    assert_eq!(values, ["db;dur=53", metric], "beside those of others");
}

#[tokio::test]
async fn baggage_of_callers_is_left_where_it_is_if_that_is_wanted() {
    let server = TraceServerLayer::new().baggage(false).layer(service_fn(seen));
    let seen = server.oneshot(traced(STRANGER)).await.unwrap().into_body();
    assert_eq!((seen.state.as_str(), seen.baggage.as_str()), ("a=1", ""));
}

#[tokio::test]
async fn what_was_refused_is_in_the_extensions_of_the_request() {
    let inner = service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(request.extensions().get::<Faults>().copied()))
    });
    let server = TraceServerLayer::new().layer(inner);
    let good = server.clone().oneshot(traced(STRANGER)).await.unwrap().into_body();
    assert_eq!(good, None);
    let bad = server.oneshot(traced(&[("traceparent", "x"), ("tracestate", "a=1")])).await.unwrap();
    let faults = bad.into_body().expect("there are some");
    assert_eq!(faults.parent, Some(TraceParentError::TooShort { found: 1 }));
    assert_eq!(faults.state, Some(TraceStateError::Parentless));
}

#[tokio::test]
async fn what_is_not_taken_over_is_not_read_either() {
    const BAD: &[(&str, &str)] = &[("traceparent", VALID), ("tracestate", "A=1"), ("baggage", "no member")];
    let inner = service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(request.extensions().get::<Faults>().copied()))
    });
    let faults =
        async |layer: TraceServerLayer| layer.layer(inner).oneshot(traced(BAD)).await.unwrap().into_body();
    let all = faults(TraceServerLayer::new()).await.expect("two");
    assert!(all.state.is_some() && !all.baggage.is_empty());
    let without_baggage = faults(TraceServerLayer::new().baggage(false)).await.expect("one");
    assert!(without_baggage.state.is_some() && without_baggage.baggage.is_empty());
    assert_eq!(faults(TraceServerLayer::new().trust(Trust::Link)).await, None);
    assert_eq!(faults(TraceServerLayer::new().trust(Trust::Restart)).await, None);

    let server = TraceServerLayer::new().trust(Trust::Link).layer(inner);
    let faults = server.oneshot(traced(&[("traceparent", "x"), ("tracestate", "A=1")])).await.unwrap();
    let parent = faults.into_body().expect("one").parent;
    assert_eq!(parent, Some(TraceParentError::TooShort { found: 1 }), "which there is no link to");
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
async fn a_response_that_takes_no_more_fields_does_not_name_another_trace() {
    let inner = service_fn(async |_: Request<()>| {
        let mut response = Response::new(());
        response.headers_mut().insert(X_TRACE_ID, HeaderValue::from_static("another"));
        for n in 0_u32.. {
            let name = HeaderName::try_from(format!("x-{n}")).unwrap();
            if response.headers_mut().try_append(name, HeaderValue::from_static("1")).is_err() {
                break;
            }
        }
        Ok::<_, Infallible>(response)
    });
    let layer = TraceServerLayer::new().server_timing().response_header(X_TRACE_ID);
    let response = layer.layer(inner).oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.headers().get(X_TRACE_ID), None);
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
    assert_eq!([&first[&TRACESTATE], &second[&TRACESTATE]], ["a=1", "a=1"]);
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
    async fn check(sampler: impl Sampler + Clone, flags: &str) {
        let client = TraceClientLayer::with_source(counting()).sampler(sampler).layer(service_fn(echo));
        let request = traced(&[("traceparent", "invalid"), ("tracestate", "a=1"), ("x", "y")]);
        let headers = client.oneshot(request).await.unwrap();
        let expected = format!("00-00000000000000010000000000000002-0000000000000003-{flags}");
        assert_eq!(headers[&TRACEPARENT], expected);
        assert!(!headers.contains_key(&TRACESTATE));
        assert_eq!(headers["x"], "y");
    }
    check(Always, "03").await;
    check(Never, "02").await;
}

#[tokio::test]
async fn a_client_says_what_it_refuses_of_the_headers_it_looks_at() {
    let inner = service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(request.extensions().get::<Faults>().copied())
    });
    let client = TraceClientLayer::new().layer(inner);
    let bad = || traced(&[("traceparent", "x"), ("baggage", "no member")]);
    let faults = client.clone().oneshot(bad()).await.unwrap().expect("two");
    assert_eq!(faults.parent, Some(TraceParentError::TooShort { found: 1 }));
    assert!(!faults.baggage.is_empty());
    assert_eq!(client.clone().oneshot(traced(STRANGER)).await.unwrap(), None);
    let current = TraceContext::new(VALID.parse().unwrap());
    assert_eq!(client.oneshot(bad()).with_trace(current).await.unwrap(), None, "not looked at");
}

#[tokio::test]
async fn a_client_sends_the_baggage_of_the_context_unless_it_is_told_not_to() {
    let mut current = TraceContext::new(VALID.parse().unwrap());
    current.baggage = "user=1;p".parse().unwrap();
    for (send, expected) in [(true, Some("user=1;p")), (false, None)] {
        let client = TraceClientLayer::new().baggage(send).layer(service_fn(echo));
        let request = traced(&[("baggage", "of=others")]);
        let headers = client.oneshot(request).with_trace(current.clone()).await.unwrap();
        assert_eq!(headers.get(&BAGGAGE).map(|value| value.to_str().unwrap()), expected);
    }
}

#[tokio::test]
async fn a_client_without_a_trace_passes_on_the_baggage_that_a_request_has() {
    let client = TraceClientLayer::new().layer(service_fn(echo));
    let headers = client.oneshot(traced(&[("baggage", "k=v")])).await.unwrap();
    assert_eq!(headers[&BAGGAGE], "k=v");
    assert!(headers.contains_key(&TRACEPARENT));
}

#[tokio::test]
async fn a_client_leaves_headers_that_are_there_alone_if_it_is_told_to() {
    let client = TraceClientLayer::new().keep_existing(true).layer(service_fn(echo));
    let current =
        TraceContext::new("00-00000000000000000000000000000001-0000000000000001-00".parse().unwrap());
    let replayed = client.clone().oneshot(traced(STRANGER)).with_trace(current.clone()).await.unwrap();
    assert_eq!((&replayed[&TRACEPARENT], replayed.len()), (&HeaderValue::from_static(VALID), 3));
    let own = client.oneshot(Request::new(())).with_trace(current.clone()).await.unwrap();
    assert!(own[&TRACEPARENT].to_str().unwrap().contains(&current.trace_id().to_string()));
}

#[tokio::test]
async fn a_client_sends_as_much_of_tracestate_as_it_may() {
    let mut current = TraceContext::new(VALID.parse().unwrap());
    let long = "v".repeat(200);
    current.state = format!("a=1,long={long},b=2,c=3").parse().unwrap();
    let client = TraceClientLayer::new().max_tracestate(8).layer(service_fn(echo));
    let headers = client.oneshot(Request::new(())).with_trace(current).await.unwrap();
    assert_eq!(headers[&TRACESTATE], "a=1,b=2");
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
    let router = Router::new()
        .route("/", get(handler))
        .layer(TraceServerLayer::with_source(|| 0xb).extension().response_header(X_TRACE_ID));
    let client = TraceClientLayer::with_source(|| 0xa).layer(router);
    let calling = TraceContext::new(VALID.parse().unwrap());
    let call = client.oneshot(Request::new(Body::empty())).with_trace(calling);
    let response = call.await.unwrap();
    assert_eq!(response.headers()[X_TRACE_ID], VALID[3..35]);
    let body = axum::body::to_bytes(response.into_body(), 55).await.unwrap();
    assert_eq!(body, "00-4bf92f3577b34da6a3ce929d0e0e4736-000000000000000b-01");
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
