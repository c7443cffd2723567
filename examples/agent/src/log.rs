//! Log lines: on standard error, as text or as JSON, as many as `RUST_LOG` lets through.
//!
//! Invariant: a line that is let through is in the span of its request, whatever the filter says of spans. So a
//! failure that is logged at `warn` has its trace id, and needs no second run at `debug`.

use std::error::Error;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Format {
    /// For people: time, level, spans with their fields, message, fields.
    #[default]
    Text,
    /// For machines: one object a line; the trace id is `trace_id` in `span`, or in `fields` of what the agent says.
    Json,
}

/// What is let through where nobody says otherwise.
const DEFAULT: &str = "info";

/// The spans of requests; their target is the crate that makes them.
const REQUEST_SPANS: &str = "forebay_tracing_ctx=info";

/// Sends this process's lines to standard error. To be called once, before the first line.
pub fn init(format: Format, colours: bool) {
    let said = std::env::var("RUST_LOG").unwrap_or_default();
    let (filter, unread) = filter(&said);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        Format::Text => subscriber.with_ansi(colours).init(),
        Format::Json => subscriber.json().init(),
    }
    if let Some(error) = unread {
        tracing::warn!(said, %error, "RUST_LOG cannot be read and is taken for {DEFAULT}");
    }
}

/// The filter that `said` describes, or the default one and why it is none.
fn filter(said: &str) -> (EnvFilter, Option<ParseError>) {
    let (filter, unread) = match said.trim() {
        "" => (EnvFilter::new(DEFAULT), None),
        said => match EnvFilter::try_new(said) {
            Ok(filter) => (filter, None),
            Err(error) => (EnvFilter::new(DEFAULT), Some(error)),
        },
    };
    let spans = REQUEST_SPANS.parse().expect("the constant is a directive, which the tests parse");
    (filter.add_directive(spans), unread)
}

/// An error and what caused it, in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use forebay_tracing_ctx::TraceServerLayer;
    use http::{HeaderName, Request, Response};
    use tower::{Layer, ServiceExt, service_fn};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The trace id of a request during which all levels are logged, and the lines that `said` lets through.
    async fn logged(said: &str) -> (String, Vec<String>) {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter(said).0)
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .finish();
        let _here = tracing::subscriber::set_default(subscriber);
        let service = TraceServerLayer::new().response_header(HeaderName::from_static("x-trace-id")).layer(
            service_fn(async |_: Request<()>| {
                tracing::debug!("detail");
                tracing::info!("news");
                tracing::warn!("failure");
                Ok::<_, Infallible>(Response::new(()))
            }),
        );
        let response = service.oneshot(Request::new(())).await.unwrap();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(str::to_owned).collect();
        (response.headers()["x-trace-id"].to_str().unwrap().to_owned(), lines)
    }

    #[tokio::test]
    async fn whatever_is_let_through_has_its_trace_id() {
        for (said, messages) in [
            ("", &["news", "failure"][..]),
            ("info", &["news", "failure"]),
            ("warn", &["failure"]),
            ("forebay_agent=debug", &["detail", "news", "failure"]),
            ("warn,forebay_agent=debug", &["detail", "news", "failure"]),
            ("forebay_tracing_ctx=off,warn", &["failure"]),
            ("off", &[]),
        ] {
            let (trace_id, lines) = logged(said).await;
            assert_eq!(lines.len(), messages.len(), "{said:?}: {lines:?}");
            for (line, message) in lines.iter().zip(messages) {
                assert!(line.contains(message) && line.contains(&trace_id), "{said:?}: {line}");
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_and_taken_for_the_default() {
        for said in ["forebay_agent=loud", "a=b=c"] {
            let (taken, unread) = filter(said);
            assert!(unread.is_some(), "{said}");
            assert_eq!(taken.to_string(), filter("info").0.to_string(), "{said}");
        }
        assert!(filter("info,forebay_agent=debug").1.is_none());
    }
}
