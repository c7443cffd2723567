//! A service that calls others before it answers: what the W3C's public tests of trace contexts drive, and the two
//! layers of `forebay-tracing-ctx` in their smallest use.
//!
//! Invariant: every call is in the trace of the request that asked for it, as a span of its own.

use std::fmt;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderName, Method, Request, StatusCode, Uri, uri::Scheme};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use bytes::Bytes;
use clap::Parser;
use forebay_agent::log;
use forebay_examples::supervisor;
use forebay_tracing_ctx::layer::TraceClient;
use forebay_tracing_ctx::{TraceClientLayer, TraceServerLayer};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tower::{Layer, ServiceExt};

/// Bodies of more bytes are refused.
const MAX_BODY_BYTES: usize = 8 << 20;
/// How long a body may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that one request may ask for.
const MAX_CALLS: usize = 1000;
/// How long one call may take, the connection included,
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// and all those of one request.
const CALLS_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers to calls are read to their end, but no further than this.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// How long requests that are under way may go on once the process is told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls whom it is told to, in the trace of whoever tells it: the service that the W3C's tests of trace contexts
/// want.
///
/// POST a JSON array of {"url": "http://…", "arguments": […]} to any path. Each url gets a POST whose JSON body is its
/// arguments as they came, one after the other, each with a traceparent of its own and the tracestate and baggage that
/// came in. Then the request is answered: 200 with the status of each call, 400 and a reason if the body is no such
/// array, 502 and a reason if a call failed or was not answered with 2xx; those behind it are not made.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
The W3C's tests are in the directory test of github.com/w3c/trace-context and
need Python 3 with aiohttp. There, with this service running:
  SPEC_LEVEL=2 STRICT_LEVEL=2 python3 test.py http://127.0.0.1:5000/test

By hand, the service calling itself, where RUST_LOG=info,w3c_service=debug
shows what is called in which trace:
  curl -i http://127.0.0.1:5000/ \\
    -H 'traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' \\
    -d '[{\"url\": \"http://127.0.0.1:5000/\", \"arguments\": []}]'

Limits: 8 MiB of body within 10 s; 1000 calls, each within 5 s and all within
30 s; 1 MiB of each answer. On SIGTERM or ctrl-c it finishes what is under way,
within 5 s, and ends. It calls any http address that it is told to, so let
nobody reach it whom you would not trust with that."
)]
struct Arguments {
    /// Where to listen. Port 0 takes a free one; the address is printed.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
}

/// Tells every call whose trace it is in.
type Caller = TraceClient<Client<HttpConnector, Full<Bytes>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    log::init(log::Format::Text, colours);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind(arguments.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", arguments.listen))?;
    println!("{}http://{}", supervisor::HTTP_LINE, listener.local_addr()?);

    let (stop, mut stopped) = watch::channel(false);
    let served = axum::serve(listener, service(caller())).with_graceful_shutdown(async move {
        // The sender lives as long as the server.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    });
    let told = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        let _ = stop.send(true);
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        served = served.into_future() => Ok(served?),
        () = told => anyhow::bail!("requests were still under way after {STOP_TIMEOUT:?}"),
    }
}

fn caller() -> Caller {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client = Client::builder(TokioExecutor::new())
        // A callee may close a connection that lies idle just when it is to be used again, and a call that fails for
        // that cannot be told from one that must not be made twice.
        .pool_max_idle_per_host(0)
        .build(connector);
    TraceClientLayer::new().layer(client)
}

/// The server's layer is outermost: whatever answers has a trace.
fn service(caller: Caller) -> Router {
    Router::new()
        .fallback(post(relay))
        .layer(TraceServerLayer::new().response_header(HeaderName::from_static("x-trace-id")))
        .with_state(caller)
}

/// What a request asks for.
#[derive(Debug)]
struct Calls<'a>(Vec<Call<'a>>);

#[derive(Debug, Deserialize)]
struct Call<'a> {
    url: Target,
    /// Whatever JSON it is, null too; an empty array where there is none.
    #[serde(borrow, default, deserialize_with = "given")]
    arguments: Option<&'a RawValue>,
}

/// An `Option` alone would take null for none.
fn given<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    Deserialize::deserialize(deserializer).map(Some)
}

impl<'a> Deserialize<'a> for Calls<'a> {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'a> Visitor<'a> for Bounded {
            type Value = Calls<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<S: SeqAccess<'a>>(self, mut sequence: S) -> Result<Self::Value, S::Error> {
                let mut calls = Vec::new();
                while let Some(call) = sequence.next_element()? {
                    if calls.len() == MAX_CALLS {
                        return Err(S::Error::custom(format_args!("the limit is {MAX_CALLS} calls")));
                    }
                    calls.push(call);
                }
                Ok(Calls(calls))
            }
        }

        deserializer.deserialize_seq(Bounded)
    }
}

/// An address that can be called.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
struct Target(Uri);

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("{text:?} is no url: {error}"))?;
        if uri.scheme() != Some(&Scheme::HTTP) {
            return Err(format!("{text:?} does not start with http://"));
        }
        Ok(Self(uri))
    }
}

/// What is said of a call that was answered with 2xx.
#[derive(Debug, Serialize)]
struct Answered {
    url: String,
    status: u16,
}

async fn relay(State(caller): State<Caller>, body: Body) -> Result<Json<Vec<Answered>>, Failure> {
    let body = read(body).await?;
    let calls = asked_for(&body)?;
    let count = calls.len();
    let mut answered = Vec::with_capacity(count);
    let make_all = async {
        for call in calls {
            let url = call.url.0.to_string();
            let arguments = call.arguments.map(|json| body.slice_ref(json.get().as_bytes()));
            let arguments = arguments.unwrap_or(Bytes::from_static(b"[]"));
            let made = tokio::time::timeout(CALL_TIMEOUT, make(&caller, call.url.0, arguments)).await;
            let made = made.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within {CALL_TIMEOUT:?}")));
            let failed = |error| Failure::call(&url, answered.len(), count, &error);
            let status = made.map_err(failed)?;
            tracing::debug!(url, status, "called");
            answered.push(Answered { url, status });
        }
        Ok(())
    };
    match tokio::time::timeout(CALLS_TIMEOUT, make_all).await {
        Ok(made) => made.map(|()| Json(answered)),
        Err(_) => {
            let reason = format!("{} of {count} calls were made within {CALLS_TIMEOUT:?}", answered.len());
            Err(Failure { status: StatusCode::BAD_GATEWAY, reason })
        }
    }
}

async fn read(body: Body) -> Result<Bytes, Failure> {
    let too_large = || Failure {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        reason: format!("the body exceeds the limit of {MAX_BODY_BYTES} bytes"),
    };
    // One that says it is too large is not waited for.
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(too_large());
    }
    let collected = tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY_BYTES).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Failure::bad_request(format!("the body cannot be read: {error}"))),
        Err(_) => Err(Failure {
            status: StatusCode::REQUEST_TIMEOUT,
            reason: format!("the body did not come within {BODY_TIMEOUT:?}"),
        }),
    }
}

fn asked_for(body: &[u8]) -> Result<Vec<Call<'_>>, Failure> {
    let calls: Calls<'_> = serde_json::from_slice(body).map_err(|error| {
        Failure::bad_request(format!("the body is no array of {{\"url\", \"arguments\"}}: {error}"))
    })?;
    Ok(calls.0)
}

/// The status of the answer, which is 2xx.
async fn make(caller: &Caller, url: Uri, arguments: Bytes) -> anyhow::Result<u16> {
    let mut request = Request::new(Full::from(arguments));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = url;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let answer = caller.clone().oneshot(request).await?;
    let status = answer.status();
    anyhow::ensure!(status.is_success(), "it answered {status}");
    let answer = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
    answer.map_err(|error| anyhow::anyhow!("its answer cannot be read: {error}"))?;
    Ok(status.as_u16())
}

/// Why a request was not answered as hoped.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    reason: String,
}

impl Failure {
    fn bad_request(reason: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason }
    }

    /// `made` of `count` calls were made when the one to `url` failed.
    fn call(url: &str, made: usize, count: usize, error: &anyhow::Error) -> Self {
        let reason = format!("call {} of {count}, to {url}, failed: {error:#}", made + 1);
        tracing::warn!(url, error = %format_args!("{error:#}"), "call failed");
        Self { status: StatusCode::BAD_GATEWAY, reason }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, self.reason + "\n").into_response()
    }
}
