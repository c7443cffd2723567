//! A process that receives a request and makes some itself: what goes in, and what comes out.
//!
//! Every exchange takes place twice, once as function calls and once as HTTP/1.1 over loopback sockets, written
//! and read by hand at both ends of the process. Both make ids from the same numbers, so both have to send the
//! same bytes.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use forebay_tracing_ctx::carrier::{self, BAGGAGE, TRACEPARENT, TRACESTATE};
use forebay_tracing_ctx::layer::Trust;
use forebay_tracing_ctx::sampler::{Always, ParentBased};
use forebay_tracing_ctx::{
    Sampler, TraceClientLayer, TraceContext, TraceFutureExt, TraceServerLayer, context,
};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::{Layer, ServiceExt, service_fn};

type Error = Box<dyn std::error::Error + Send + Sync>;
type AnySampler = Arc<dyn Sampler + Send + Sync>;
type Source = fn() -> u64;

/// First id that is made; none of the tests' own headers has it.
pub(crate) const FIRST_ID: u64 = 0xd000_0000_0000_0001;

thread_local! {
    static NEXT_ID: Cell<u64> = const { Cell::new(FIRST_ID) };
}

/// Counts up from the first id, on the one thread of an exchange.
fn next_id() -> u64 {
    NEXT_ID.replace(NEXT_ID.get() + 1)
}

/// The process in between.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) server: TraceServerLayer<AnySampler, Trust, Source>,
    pub(crate) client: TraceClientLayer<AnySampler, Source>,
    pub(crate) work: Work,
    /// How many requests it makes for the one it received.
    pub(crate) calls: usize,
}

/// What the process does before it calls.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Nothing.
    Plain,
    /// Looks at its context and changes it.
    Edit(fn(&mut TraceContext)),
    /// Copies the headers of the trace into its own requests, as they are.
    Forward,
    /// Copies them as well, and calls from a task that has lost its context.
    ForwardWithoutContext,
}

impl Process {
    /// Both layers as they are made by default.
    pub(crate) fn new() -> Self {
        Self {
            server: TraceServerLayer::with_source(next_id as Source).sampler(by_parent(Always)),
            client: TraceClientLayer::with_source(next_id as Source).sampler(by_parent(Always)),
            work: Work::Plain,
            calls: 1,
        }
    }

    /// One that does this to its context.
    pub(crate) fn editing(edit: fn(&mut TraceContext)) -> Self {
        Self { work: Work::Edit(edit), ..Self::new() }
    }

    /// What goes out, and what is answered, when these headers come in.
    pub(crate) fn exchange(&self, received: &[(&str, &str)]) -> Exchange {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        NEXT_ID.set(FIRST_ID);
        let called = runtime.block_on(self.by_calls(received)).expect("calls go through");
        NEXT_ID.set(FIRST_ID);
        let wired = runtime.block_on(self.over_sockets(received)).expect("sockets go through");
        assert_eq!(called, wired, "function calls and sockets differ");
        called
    }

    /// What goes out, by a process that makes one request.
    pub(crate) fn sent(&self, received: &[(&str, &str)]) -> Sent {
        let [sent] = self.exchange(received).sent.try_into().expect("one request");
        sent
    }

    /// The context of the calls it makes for a request, and the headers that they begin with.
    fn outgoing(&self, received: &HeaderMap) -> (Option<Arc<TraceContext>>, HeaderMap) {
        let mut context = context::current();
        let mut headers = HeaderMap::new();
        match self.work {
            Work::Plain => {}
            Work::Edit(edit) => edit(Arc::make_mut(context.as_mut().expect("there is always one"))),
            Work::Forward => carrier::forward(received, &mut headers),
            Work::ForwardWithoutContext => {
                carrier::forward(received, &mut headers);
                context = None;
            }
        }
        (context, headers)
    }

    async fn by_calls(&self, received: &[(&str, &str)]) -> Result<Exchange, Error> {
        let process = self.clone();
        let server = self.server.layer(service_fn(move |request: Request<()>| {
            let process = process.clone();
            async move {
                let (context, headers) = process.outgoing(request.headers());
                let client = process.client.layer(service_fn(async |request: Request<()>| {
                    Ok::<_, Infallible>(Sent::of(&lines(request.headers())))
                }));
                let mut sent = Vec::new();
                for _ in 0..process.calls {
                    let mut request = Request::new(());
                    *request.headers_mut() = headers.clone();
                    sent.push(client.clone().oneshot(request).with_trace(context.clone()).await?);
                }
                Ok::<_, Infallible>(Response::new(sent))
            }
        }));
        let mut request = Request::new(());
        for (name, value) in received {
            let name: HeaderName = name.parse()?;
            request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes())?);
        }
        let (head, sent) = server.oneshot(request).await?.into_parts();
        Ok(Exchange { sent, answered: lines(&head.headers) })
    }

    async fn over_sockets(&self, received: &[(&str, &str)]) -> Result<Exchange, Error> {
        let front = TcpListener::bind("127.0.0.1:0").await?;
        let back = TcpListener::bind("127.0.0.1:0").await?;
        let (front_address, back_address) = (front.local_addr()?, back.local_addr()?);

        let process = self.clone();
        let serve_front = async {
            let (stream, _) = front.accept().await?;
            let service = self.server.layer(service_fn(move |request: Request<hyper::body::Incoming>| {
                let process = process.clone();
                async move {
                    let (context, headers) = process.outgoing(request.headers());
                    let client = process.client.layer(service_fn(move |request| send(back_address, request)));
                    for _ in 0..process.calls {
                        let mut request = Request::new(Full::<Bytes>::default());
                        *request.headers_mut() = headers.clone();
                        client.clone().oneshot(request).with_trace(context.clone()).await?;
                    }
                    Ok::<_, Error>(Response::new(Full::<Bytes>::default()))
                }
            }));
            let connection = hyper::server::conn::http1::Builder::new();
            connection.serve_connection(TokioIo::new(stream), TowerToHyperService::new(service)).await?;
            Ok::<_, Error>(())
        };
        let serve_back = async {
            let mut sent = Vec::new();
            for _ in 0..self.calls {
                let (mut stream, _) = back.accept().await?;
                sent.push(Sent::of(&head(&mut stream).await?));
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                stream.write_all(answer.as_bytes()).await?;
            }
            Ok(sent)
        };
        let ask = async {
            let mut stream = TcpStream::connect(front_address).await?;
            let mut request = "GET / HTTP/1.1\r\nhost: front\r\nconnection: close\r\n".to_owned();
            for (name, value) in received {
                request += &format!("{name}: {value}\r\n");
            }
            stream.write_all(format!("{request}\r\n").as_bytes()).await?;
            let mut answered = head(&mut stream).await?;
            answered.retain(|(name, _)| !["connection", "content-length", "date"].contains(&name.as_str()));
            Ok(answered)
        };
        let ((), sent, answered) = tokio::try_join!(serve_front, serve_back, ask)?;
        Ok(Exchange { sent, answered })
    }
}

/// What goes out of a process with layers as they are by default.
pub(crate) fn sent(received: &[(&str, &str)]) -> Sent {
    Process::new().sent(received)
}

/// Decides about new traces; all others stay as they are.
pub(crate) fn by_parent(root: impl Sampler + Send + Sync + 'static) -> AnySampler {
    Arc::new(ParentBased::new(root))
}

/// What a process sent, and what it answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    /// Request by request.
    pub(crate) sent: Vec<Sent>,
    /// The fields of the response, without those of HTTP itself.
    pub(crate) answered: Vec<(String, String)>,
}

/// The headers of a request that went out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) traceparent: String,
    pub(crate) tracestate: Option<String>,
    pub(crate) baggage: Option<String>,
}

impl Sent {
    /// Checks that names are in lower case, and that there is one `traceparent` and at most one of the others.
    fn of(fields: &[(String, String)]) -> Self {
        let one = |name: &HeaderName| {
            let mut found = fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name.as_str()));
            let field = found.next();
            assert!(found.next().is_none(), "{name} twice in {fields:?}");
            assert!(field.is_none_or(|field| field.0 == name.as_str()), "{fields:?}");
            field.map(|field| field.1.clone())
        };
        Self {
            traceparent: one(&TRACEPARENT).unwrap_or_else(|| panic!("no traceparent in {fields:?}")),
            tracestate: one(&TRACESTATE),
            baggage: one(&BAGGAGE),
        }
    }

    /// Version, trace id, parent id, flags.
    pub(crate) fn parts(&self) -> [&str; 4] {
        let parts: Vec<_> = self.traceparent.split('-').collect();
        parts.try_into().expect("a traceparent has four parts")
    }

    /// Whether the trace is one that was started by the server.
    pub(crate) fn is_restarted(&self) -> bool {
        self.parts()[1] == format!("{FIRST_ID:016x}{:016x}", FIRST_ID + 1)
    }
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| value.to_str().expect("printable").to_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

/// The fields of a message without a body, as they are on the wire.
async fn head(stream: &mut TcpStream) -> Result<Vec<(String, String)>, Error> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let (first, fields) = head.trim_end().split_once("\r\n").expect("a first line");
    assert!(first.starts_with("GET / ") || first == "HTTP/1.1 200 OK", "{first}");
    let field = |line: &str| {
        let (name, value) = line.split_once(':').expect("a field");
        (name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned())
    };
    Ok(fields.split("\r\n").map(field).collect())
}

/// Makes a connection for each request and reads the whole response.
async fn send(address: SocketAddr, mut request: Request<Full<Bytes>>) -> Result<(), Error> {
    request.headers_mut().insert("host", HeaderValue::from_static("back"));
    let stream = TokioIo::new(TcpStream::connect(address).await?);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await?;
    let exchange = async {
        sender.send_request(request).await?.into_body().collect().await?;
        drop(sender);
        Ok(())
    };
    let ((), ()) = tokio::try_join!(exchange, connection)?;
    Ok(())
}
