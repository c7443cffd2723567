//! What allocates and what does not, counted by an allocator.

use std::hint::black_box;
use std::sync::Arc;

use allocation_counter::measure;
use forebay_tracing_ctx::carrier;
use forebay_tracing_ctx::sampler::Always;
use forebay_tracing_ctx::{
    SpanId, TRACEPARENT_LEN, TraceContext, TraceId, TraceParent, TraceState, context, random_u64,
};
use http::{HeaderMap, HeaderValue};

const VALID: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn count(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

#[test]
fn the_counter_counts() {
    assert_eq!(count(|| drop(black_box(Box::new(1)))), 1);
}

#[test]
fn a_traceparent_is_read_and_written_without_allocation() {
    let allocations = count(|| {
        let parent = TraceParent::parse(black_box(VALID)).unwrap();
        let mut out = [0; TRACEPARENT_LEN];
        parent.child(SpanId::from_source(|| 7)).write(&mut out);
        assert_eq!(TraceParent::parse(black_box(&out)).unwrap().trace_id, parent.trace_id);
    });
    assert_eq!(allocations, 0);
}

#[test]
fn refusing_a_traceparent_allocates_nothing() {
    let allocations = count(|| {
        for end in 0..VALID.len() {
            TraceParent::parse(black_box(&VALID[..end])).unwrap_err();
        }
        TraceParent::parse(black_box(&[b'x'; 10_000])).unwrap_err();
    });
    assert_eq!(allocations, 0);
}

#[test]
fn making_ids_allocates_nothing() {
    random_u64(); // the seed
    let allocations = count(|| {
        black_box((TraceId::random(), SpanId::random()));
        black_box(TraceContext::root(random_u64, &Always));
    });
    assert_eq!(allocations, 0);
}

#[test]
fn a_context_of_one_tracestate_field_is_extracted_without_allocation() {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", HeaderValue::from_bytes(VALID).unwrap());
    headers.insert("tracestate", HeaderValue::from_str("congo=t61rcWkgMzE, rojo=1,x=y").unwrap());
    // Whatever a header value does when it is cloned for the first time is not what is measured.
    drop(black_box(headers.clone()));
    let allocations = count(|| {
        let context = carrier::extract(black_box(&headers)).into_context().expect("valid");
        assert_eq!(context.state.get("rojo"), Some("1"));
    });
    assert_eq!(allocations, 0);
}

#[test]
fn a_list_of_32_members_is_checked_without_allocation() {
    let list: Vec<_> = (0..32).map(|n| format!("vendor{n}={n:020}")).collect();
    let field = HeaderValue::from_str(&list.join(",")).unwrap();
    drop(black_box(field.clone()));
    assert_eq!(count(|| drop(TraceState::from_fields(black_box([&field])).unwrap())), 0);
}

#[test]
fn a_hostile_tracestate_allocates_no_more_than_a_legal_one_may_take() {
    let many: Vec<_> = (0..10_000).map(|_| HeaderValue::from_static("a=1")).collect();
    let long = HeaderValue::from_str(&format!("a={}", "v".repeat(1 << 20))).unwrap();
    let padded = HeaderValue::from_str(&format!("a=1{}", " ,".repeat(1 << 19))).unwrap();
    let refused = |fields: &[HeaderValue]| TraceState::from_fields(fields).is_err();
    assert!(
        refused(&many) && refused(std::slice::from_ref(&long)) && !refused(std::slice::from_ref(&padded))
    );
    for fields in [many, vec![long], vec![padded.clone()], vec![padded.clone(), padded]] {
        let used = measure(|| drop(black_box(TraceState::from_fields(black_box(&fields)))));
        assert!(used.bytes_total <= 64 << 10, "{} bytes", used.bytes_total);
    }
}

#[test]
fn injecting_allocates_the_traceparent_and_nothing_else() {
    let mut context = TraceContext::new(TraceParent::parse(VALID).unwrap());
    context.state = "a=1".parse().unwrap();
    let mut headers = HeaderMap::with_capacity(8);
    carrier::inject(&context, &mut headers);
    let allocations = count(|| carrier::inject(black_box(&context), &mut headers));
    // What a header value does when it is made or cloned for the first time is up to `bytes`.
    assert!(allocations <= 2, "{allocations}");
}

#[cfg(all(feature = "tower", feature = "tokio"))]
#[test]
fn the_whole_layer_of_a_server_allocates_the_context_and_nothing_else() {
    use std::convert::Infallible;
    use std::pin::pin;
    use std::task::{Context, Waker};

    use forebay_tracing_ctx::TraceServerLayer;
    use http::{Request, Response};
    use tower::{Layer, Service, service_fn};

    let mut server = TraceServerLayer::new()
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))));
    let request = || {
        let mut request = Request::new(());
        request.headers_mut().insert("traceparent", HeaderValue::from_bytes(VALID).unwrap());
        request.headers_mut().insert("tracestate", HeaderValue::from_static("congo=t61rcWkgMzE"));
        request
    };
    let mut handle = |request| {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(server.call(request)).poll(&mut cx).is_ready());
    };
    handle(request()); // the thread's cells
    let request = request();
    assert_eq!(count(|| handle(request)), 1);
}

#[cfg(feature = "tokio")]
#[test]
fn polling_in_a_context_allocates_nothing() {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use forebay_tracing_ctx::TraceFutureExt;

    let context = TraceContext::root(random_u64, &Always);
    let mut future = pin!(std::future::pending::<()>().with_trace(context));
    let mut poll = || assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    poll();
    assert_eq!(count(poll), 0);
}

#[test]
fn refusing_a_tracestate_allocates_nothing() {
    let field = HeaderValue::from_str(&"a=1,".repeat(33)).unwrap();
    let bad = HeaderValue::from_str("a=1,B=2").unwrap();
    let allocations = count(|| {
        TraceState::from_fields(black_box([&field])).unwrap_err();
        TraceState::from_fields(black_box([&bad, &field])).unwrap_err();
    });
    assert_eq!(allocations, 0);
}

#[test]
fn cutting_a_list_that_is_short_enough_allocates_nothing() {
    let mut state: TraceState = "a=1,b=2".parse().unwrap();
    assert_eq!(count(|| state.truncate_to(7)), 0);
    assert_ne!(count(|| state.truncate_to(6)), 0);
}

#[test]
fn entering_a_context_and_asking_for_it_allocates_nothing() {
    let context = Arc::new(TraceContext::root(random_u64, &Always));
    context::scope(context.clone(), || ()); // the thread's cell
    let allocations = count(|| {
        let asked = context::scope(context.clone(), context::current);
        assert_eq!(asked.as_ref(), Some(&context));
    });
    assert_eq!(allocations, 0);
}
