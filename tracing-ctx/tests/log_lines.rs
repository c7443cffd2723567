//! Every log line of every part that handles a request carries the trace id.

use std::convert::Infallible;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use forebay_tracing_ctx::layer::{TraceBodyLayer, Trust, TrustPolicy};
use forebay_tracing_ctx::sampler::{Always, ParentBased};
use forebay_tracing_ctx::{TraceClientLayer, TraceContext, TraceServerLayer, task};
use http::{HeaderValue, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tracing::info;
use tracing_subscriber::fmt::MakeWriter;

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self) -> Vec<String> {
        let log = self.0.lock().expect("nobody panics with the log").clone();
        String::from_utf8(log).expect("text").lines().map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("nobody panics with the log").extend(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Says goodbye when it is dropped.
struct Leaves(&'static str);

impl Drop for Leaves {
    fn drop(&mut self) {
        info!("{} dropped", self.0);
    }
}

/// What this logs, line by line, on this thread.
fn lines(work: impl FnOnce()) -> Vec<String> {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    log.lines()
}

/// Sends these fields to a server that logs `handled`.
fn handle<P: TrustPolicy + Clone>(
    layer: TraceServerLayer<ParentBased<Always>, P>,
    fields: &[(&'static str, &'static str)],
) {
    let mut request = Request::new(());
    for &(name, value) in fields {
        request.headers_mut().append(name, HeaderValue::from_static(value));
    }
    let server = layer.layer(service_fn(async |_: Request<()>| {
        info!("handled");
        Ok::<_, Infallible>(Response::new(()))
    }));
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(server.oneshot(request)).expect("infallible");
}

#[test]
fn what_is_refused_is_logged_with_its_reason() {
    let lines = lines(|| {
        handle(TraceServerLayer::new(), &[("traceparent", "00-x")]);
        handle(
            TraceServerLayer::new(),
            &[("traceparent", VALID), ("tracestate", "A=1"), ("baggage", "no member")],
        );
    });
    let [anew, handled, dropped, _] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(anew.contains("refused reason=traceparent of 4 bytes"), "{anew}");
    let span = |line: &str| line[line.find("request{").unwrap()..line.find('}').unwrap()].to_owned();
    assert_eq!(span(anew), span(handled), "with the ids of the trace that starts");
    assert!(dropped.contains("tracestate member 0 is malformed; 1 baggage members dropped"), "{dropped}");
    assert!(dropped.contains(&VALID[3..35]), "{dropped}");
}

#[test]
fn the_line_of_a_restarted_trace_names_the_one_it_is_linked_to() {
    let lines = lines(|| handle(TraceServerLayer::new().trust(Trust::Link), &[("traceparent", VALID)]));
    assert!(lines[0].contains(&format!("linked={VALID}")), "{lines:?}");
    assert!(!lines[0].contains(&format!("trace_id={}", &VALID[3..35])), "{lines:?}");
    assert!(!lines[0].contains("parent_id="), "it has no parent in the trace it is in: {lines:?}");
}

#[test]
fn the_span_of_a_request_can_be_ones_own() {
    let layer = TraceServerLayer::new().span(|caller, context, link| {
        assert_eq!(link, None);
        tracing::info_span!("mine", path = caller.uri.path(), id = %context.trace_id())
    });
    let lines = lines(|| handle(layer, &[("traceparent", VALID)]));
    assert!(lines[0].contains(&format!("mine{{path=\"/\" id={}}}", &VALID[3..35])), "{lines:?}");
}

#[test]
fn lines_say_which_call_led_to_which_request() {
    let lines = lines(|| {
        let called = TraceServerLayer::with_source(|| 0xc).layer(service_fn(async |_: Request<()>| {
            info!("called");
            Ok::<_, Infallible>(Response::new(()))
        }));
        let client = TraceClientLayer::with_source(|| 0xb).layer(called);
        let server = TraceServerLayer::with_source(|| 0xa).layer(client);
        let request = Request::builder().header("traceparent", VALID).body(()).expect("valid");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(server.oneshot(request)).expect("infallible");
    });
    let [call, called] = lines.as_slice() else { panic!("{lines:#?}") };
    let trace_id = &VALID[3..35];
    let outer = format!("request{{trace_id={trace_id} span_id=000000000000000a parent_id=00f067aa0ba902b7}}");
    assert!(call.contains(&outer) && call.contains("call trace_id="), "{call}");
    assert!(call.contains("child_id=000000000000000b"), "{call}");
    let inner = format!("request{{trace_id={trace_id} span_id=000000000000000c parent_id=000000000000000b}}");
    assert!(called.contains(&inner), "{called}");
}

#[test]
fn a_client_logs_what_it_refuses_as_a_server_does() {
    let lines = lines(|| {
        let client =
            TraceClientLayer::new().layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(())));
        let request = Request::builder().header("traceparent", "00-x").body(()).expect("valid");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(client.oneshot(request)).expect("infallible");
    });
    let [refused, call] = lines.as_slice() else { panic!("{lines:#?}") };
    assert!(refused.contains("refused reason=traceparent of 4 bytes"), "{refused}");
    assert!(call.contains("call trace_id="), "{call}");
}

#[test]
fn lines_of_a_body_have_the_ids_of_its_request_until_it_is_gone() {
    struct Logs(Leaves);
    impl http_body::Body for Logs {
        type Data = bytes::Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
            info!("{} polled", self.0.0);
            Poll::Ready(None)
        }
    }
    let lines = lines(|| {
        let inner =
            service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Logs(Leaves("body")))));
        let server = TraceServerLayer::with_source(|| 0xabc).layer(TraceBodyLayer::new().layer(inner));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let request = Request::builder().header("traceparent", VALID).body(()).expect("valid");
        let body = runtime.block_on(server.oneshot(request)).expect("infallible").into_body();
        runtime.block_on(http_body_util::BodyExt::collect(body)).expect("infallible");
        info!("outside");
    });
    let [polled, dropped, outside] = lines.as_slice() else { panic!("{lines:#?}") };
    for (line, word) in [(polled, "body polled"), (dropped, "body dropped")] {
        assert!(line.contains(word) && line.contains("span_id=0000000000000abc"), "{lines:#?}");
    }
    assert!(!outside.contains("trace_id"), "{outside}");
}

#[test]
fn work_without_a_request_has_a_span_as_well() {
    let lines = lines(|| TraceContext::new(VALID.parse().unwrap()).span().in_scope(|| info!("job")));
    assert!(
        lines[0].contains(&format!("trace{{trace_id={} span_id=00f067aa0ba902b7}}", &VALID[3..35])),
        "{lines:?}"
    );
}

#[test]
fn lines_of_the_handler_of_tasks_and_of_destructors_have_the_ids_of_the_request() {
    let log = Log::default();
    // For the whole process, because blocking work logs from a thread of its own.
    let subscriber =
        tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).without_time().finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let handler = service_fn(|_: Request<()>| {
        info!("called");
        async {
            let _leaves = Leaves("handler");
            tokio::task::yield_now().await;
            info!("handled");
            task::spawn(async { info!("spawned") }).await.unwrap();
            task::spawn_blocking(|| info!("blocking")).await.unwrap();
            Ok::<_, Infallible>(Response::new(()))
        }
    });
    let server = TraceServerLayer::with_source(|| 0xabc).layer(handler);
    let mut request = Request::new(());
    let traceparent = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    request.headers_mut().insert("traceparent", traceparent);

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(server.clone().oneshot(request)).unwrap();
    drop(server.oneshot(Request::new(()))); // never called, so nothing to say
    info!("outside");

    let lines = log.lines();
    let [inside @ .., outside] = lines.as_slice() else { panic!("no lines") };
    for (line, word) in inside.iter().zip(["called", "handled", "spawned", "blocking", "handler dropped"]) {
        assert!(line.contains(word), "{word} in {line}");
        assert!(line.contains("trace_id=4bf92f3577b34da6a3ce929d0e0e4736"), "{line}");
        assert!(line.contains("span_id=0000000000000abc"), "{line}");
    }
    assert_eq!(inside.len(), 5, "{inside:#?}");
    assert!(outside.contains("outside") && !outside.contains("trace_id"), "{outside}");
}
