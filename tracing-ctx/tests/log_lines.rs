//! Every log line of every part that handles a request carries the trace id.

use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use forebay_tracing_ctx::{TraceServerLayer, task};
use http::{HeaderValue, Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tracing::info;
use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

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

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<_> = log.lines().collect();
    let [inside @ .., outside] = lines.as_slice() else { panic!("no lines") };
    for (line, word) in inside.iter().zip(["called", "handled", "spawned", "blocking", "handler dropped"]) {
        assert!(line.contains(word), "{word} in {line}");
        assert!(line.contains("trace_id=4bf92f3577b34da6a3ce929d0e0e4736"), "{line}");
        assert!(line.contains("span_id=0000000000000abc"), "{line}");
    }
    assert_eq!(inside.len(), 5, "{log}");
    assert!(outside.contains("outside") && !outside.contains("trace_id"), "{outside}");
}
