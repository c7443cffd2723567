//! A process that receives a request and makes one itself: what goes in, and what comes out.
//!
//! Every exchange takes place twice, once as function calls and once as HTTP/1.1 over loopback sockets, written
//! by hand on the way in. Both make ids from the same numbers, so both have to send the same bytes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay_tracing_ctx::carrier::{BAGGAGE, TRACEPARENT, TRACESTATE};
use forebay_tracing_ctx::{TraceClientLayer, TraceServerLayer};
use http::header::{HeaderMap, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt, service_fn};

type Error = Box<dyn std::error::Error + Send + Sync>;

/// First id that is made; none of the tests' own headers has it.
const FIRST_ID: u64 = 0xd000_0000_0000_0001;

/// The headers of the request that went out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) traceparent: String,
    pub(crate) tracestate: Option<String>,
    pub(crate) baggage: Option<String>,
}

impl Sent {
    /// Version, trace id, parent id, flags.
    pub(crate) fn parts(&self) -> [&str; 4] {
        let parts: Vec<_> = self.traceparent.split('-').collect();
        parts.try_into().expect("a traceparent has four parts")
    }

    /// Whether the trace is one that was started here.
    pub(crate) fn is_restarted(&self) -> bool {
        self.parts()[1] == format!("{FIRST_ID:016x}{:016x}", FIRST_ID + 1)
    }
}

/// What goes out when these headers come in.
pub(crate) fn sent(received: &[(&str, &str)]) -> Sent {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let called = only(&runtime.block_on(by_calls(received)).expect("calls go through"));
    let wired = only(&runtime.block_on(over_sockets(received)).expect("sockets go through"));
    assert_eq!(called, wired, "function calls and sockets differ");
    called
}

/// Checks that there is one `traceparent` and at most one of the others.
fn only(headers: &HeaderMap) -> Sent {
    let text = |value: &HeaderValue| value.to_str().expect("printable").to_owned();
    assert_eq!(headers.get_all(&TRACEPARENT).iter().count(), 1, "{headers:?}");
    let other = |name| {
        assert!(headers.get_all(name).iter().count() <= 1, "{headers:?}");
        headers.get(name).map(text)
    };
    Sent {
        traceparent: text(&headers[&TRACEPARENT]),
        tracestate: other(&TRACESTATE),
        baggage: other(&BAGGAGE),
    }
}

/// Counts up, however often it is cloned.
fn source() -> impl Fn() -> u64 + Clone + Send + 'static {
    let next = Arc::new(AtomicU64::new(FIRST_ID));
    move || next.fetch_add(1, Ordering::Relaxed)
}

async fn by_calls(received: &[(&str, &str)]) -> Result<HeaderMap, Error> {
    let source = source();
    let client_source = source.clone();
    let server = TraceServerLayer::with_source(source).layer(service_fn(move |_: Request<()>| {
        let client = TraceClientLayer::with_source(client_source.clone())
            .layer(service_fn(async |request: Request<()>| Ok::<_, Infallible>(request.headers().clone())));
        async { client.oneshot(Request::new(())).await.map(Response::new) }
    }));
    let mut request = Request::new(());
    for (name, value) in received {
        let name: http::HeaderName = name.parse()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes())?);
    }
    Ok(server.oneshot(request).await?.into_body())
}

async fn over_sockets(received: &[(&str, &str)]) -> Result<HeaderMap, Error> {
    let front = TcpListener::bind("127.0.0.1:0").await?;
    let back = TcpListener::bind("127.0.0.1:0").await?;
    let (front_address, back_address) = (front.local_addr()?, back.local_addr()?);
    let (report, mut reported) = tokio::sync::mpsc::channel(1);

    let serve_front = async {
        let (stream, _) = front.accept().await?;
        let source = source();
        let client_source = source.clone();
        let service = TraceServerLayer::with_source(source).layer(service_fn(move |_| {
            let client = TraceClientLayer::with_source(client_source.clone())
                .layer(service_fn(move |request| send(back_address, request)));
            client.oneshot(Request::new(Full::<Bytes>::default()))
        }));
        let connection = hyper::server::conn::http1::Builder::new();
        connection.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await?;
        Ok::<_, Error>(())
    };
    let serve_back = async {
        let (stream, _) = back.accept().await?;
        let service = hyper::service::service_fn(|request: Request<hyper::body::Incoming>| {
            let sent = report.send(request.headers().clone());
            async { sent.await.map(|()| Response::new(Full::<Bytes>::default())) }
        });
        let connection = hyper::server::conn::http1::Builder::new();
        connection.serve_connection(TokioIo::new(stream), service).await?;
        Ok(())
    };
    let ask = async {
        let mut stream = TcpStream::connect(front_address).await?;
        let mut request = "GET / HTTP/1.1\r\nhost: front\r\nconnection: close\r\n".to_owned();
        for (name, value) in received {
            request += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{request}\r\n").as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        Ok(())
    };
    tokio::try_join!(serve_front, serve_back, ask)?;
    Ok(reported.recv().await.expect("the request was reported"))
}

/// Makes a connection for each request and reads the whole response.
async fn send(
    address: SocketAddr,
    mut request: Request<Full<Bytes>>,
) -> Result<Response<Full<Bytes>>, Error> {
    request.headers_mut().insert("host", HeaderValue::from_static("back"));
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        drop(sender);
        Ok(Response::from_parts(head, Full::new(body)))
    };
    let (response, ()) = tokio::try_join!(exchange, connection)?;
    Ok(response)
}
