//! Work that goes on after the response has been returned: bodies and streams in the context of their request.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use forebay_tracing_ctx::layer::TraceBodyLayer;
use forebay_tracing_ctx::{TraceContext, TraceFutureExt, TraceParent, TraceServerLayer, context};
use futures_core::Stream;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tower::{Layer, Service, ServiceExt, service_fn};

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const SEEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-000000000000000b-01";

/// What is current whenever this is polled or dropped.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Option<TraceParent>>>>);

impl Seen {
    fn note(&self) -> String {
        let current = context::current_parent();
        self.0.lock().expect("nobody panics with it").push(current);
        current.map_or("none\n".to_owned(), |parent| format!("{parent}\n"))
    }

    fn times(&self) -> usize {
        let seen = self.0.lock().expect("nobody panics with it");
        assert!(seen.iter().all(|parent| *parent == SEEN.parse().ok()), "{seen:?}");
        seen.len()
    }
}

/// Three items, each the context it is made in; waits before each of them.
struct Items {
    seen: Seen,
    left: u64,
    waits: bool,
}

impl Items {
    fn new(seen: &Seen) -> Self {
        Self { seen: seen.clone(), left: 3, waits: false }
    }
}

impl Stream for Items {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.waits = !self.waits;
        if self.waits {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let item = self.left.checked_sub(1).map(|left| {
            self.left = left;
            Ok(self.seen.note().into())
        });
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, usize::try_from(self.left).ok())
    }
}

impl Body for Items {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.poll_next(cx).map_ok(Frame::data)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left * 56)
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        self.seen.note();
    }
}

/// Answers with such a body.
fn streaming(
    seen: &Seen,
) -> impl Service<Request<()>, Response = Response<impl Body<Data = Bytes, Error = Infallible>>, Error = Infallible>
{
    let seen = seen.clone();
    let inner = service_fn(move |_: Request<()>| {
        let items = Items::new(&seen);
        async { Ok(Response::new(items)) }
    });
    TraceServerLayer::with_source(|| 0xb).layer(TraceBodyLayer::new().layer(inner))
}

fn request() -> Request<()> {
    Request::builder().header("traceparent", VALID).body(()).expect("valid")
}

#[tokio::test]
async fn a_body_is_made_and_dropped_in_the_context_of_its_request() {
    let seen = Seen::default();
    let body = streaming(&seen).oneshot(request()).await.unwrap().into_body();
    assert_eq!(body.collect().await.unwrap().to_bytes(), format!("{SEEN}\n").repeat(3));
    assert_eq!(seen.times(), 4, "three items and the end");
    assert_eq!(context::current(), None, "and nothing is left behind");
}

#[tokio::test]
async fn a_body_that_is_dropped_early_is_dropped_in_the_context_of_its_request() {
    let seen = Seen::default();
    let mut body = Box::pin(streaming(&seen).oneshot(request()).await.unwrap().into_body());
    body.frame().await.unwrap().unwrap();
    drop(body);
    assert_eq!(seen.times(), 2, "one item and the end");
    drop(streaming(&seen).oneshot(request()).await.unwrap());
    assert_eq!(seen.times(), 3, "and the end of one that was never polled");
}

#[tokio::test]
async fn without_the_layer_a_body_is_outside_of_the_context() {
    let seen = Seen::default();
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Items::new(&seen))));
    let response = TraceServerLayer::new().layer(handler).oneshot(request()).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "none\n".repeat(3));
}

/// As layers answer by themselves that do not call what is inside: the body of a refusal is an empty one.
#[tokio::test]
async fn an_empty_body_of_this_kind_can_be_made_without_a_response() {
    fn refusal<I: Service<Request<()>, Response = Response<B>>, B: Body + Default>(_: &I) -> B {
        B::default()
    }
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())));
    let body = refusal(&TraceBodyLayer::new().layer(inner));
    assert!(body.is_end_stream());
}

#[tokio::test]
async fn how_long_a_body_is_and_whether_it_has_ended_pass_through() {
    let seen = Seen::default();
    let mut body = Box::pin(streaming(&seen).oneshot(request()).await.unwrap().into_body());
    for left in (0..3).rev() {
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some((left + 1) * 56), false));
        body.frame().await.unwrap().unwrap();
    }
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
}

#[tokio::test]
async fn a_stream_and_a_body_may_be_given_a_context_by_hand() {
    let seen = Seen::default();
    let trace = TraceContext::new(SEEN.parse().unwrap());
    let (stream, body) = context::scope(trace, || {
        (Items::new(&seen).in_current_trace(), Items::new(&seen).in_current_trace())
    });
    assert_eq!(Stream::size_hint(&stream), (0, Some(3)));
    assert_eq!((Body::size_hint(&body).exact(), body.is_end_stream()), (Some(168), false));
    assert_eq!(body.collect().await.unwrap().to_bytes(), format!("{SEEN}\n").repeat(3));
    let mut stream = Box::pin(stream);
    for _ in 0..3 {
        std::future::poll_fn(|cx| stream.as_mut().poll_next(cx)).await.unwrap().unwrap();
    }
    drop(stream);
    assert_eq!(seen.times(), 8);
}

/// Over a socket the connection polls the body, and no one who has ever heard of the request.
#[tokio::test]
async fn a_streaming_body_of_axum_is_made_in_the_context_of_its_request() {
    let seen = Seen::default();
    let in_handler = seen.clone();
    let handler = async move || axum::body::Body::from_stream(Items::new(&in_handler));
    let router = axum::Router::new()
        .route("/", axum::routing::get(handler))
        .layer(TraceBodyLayer::new())
        .layer(TraceServerLayer::with_source(|| 0xb));

    let (client, server) = tokio::io::duplex(1024);
    let server = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(server), TowerToHyperService::new(router));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client)).await.unwrap();
    let ask = async {
        let request = request().map(|()| Empty::<Bytes>::new());
        let body = sender.send_request(request).await.unwrap().into_body();
        let bytes = body.collect().await.unwrap().to_bytes();
        drop(sender);
        bytes
    };
    let (bytes, served, connected) = tokio::join!(ask, server, connection);
    served.unwrap();
    connected.unwrap();
    assert_eq!(bytes, format!("{SEEN}\n").repeat(3));
    assert_eq!(seen.times(), 4);
}
