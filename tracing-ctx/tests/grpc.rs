//! The layers around tonic: a real gRPC server and client on loopback, HTTP/2 and all.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, BufMut};
use forebay_tracing_ctx::layer::TraceBodyLayer;
use forebay_tracing_ctx::{
    TraceClientLayer, TraceContext, TraceFutureExt, TraceServerLayer, carrier, context,
};
use futures_core::Stream;
use http::uri::PathAndQuery;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::NamedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::{Layer, Service, service_fn};

/// Messages that are plain text.
#[derive(Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = message.copy_to_bytes(message.remaining());
        Ok(Some(String::from_utf8(bytes.to_vec()).map_err(|_| Status::internal("no text"))?))
    }
}

/// Answers with the context that the call runs in, and the one that its metadata names.
#[derive(Clone)]
struct Echo;

impl NamedService for Echo {
    const NAME: &'static str = "Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() == "/Echo/Stream" {
            let streaming =
                service_fn(async |_: Request<String>| Ok::<_, Status>(Response::new(Here { left: 3 })));
            return Box::pin(async move {
                Ok(tonic::server::Grpc::new(Text).server_streaming(streaming, request).await)
            });
        }
        let unary = service_fn(async |request: Request<String>| {
            let named = carrier::extract(request.metadata().as_ref()).into_context().expect("sent");
            let current = context::current().expect("there is always one");
            let TraceContext { parent, state, baggage, .. } = &*current;
            let answer = format!("{parent} {state} {baggage} of {}", named.parent);
            Ok::<_, Status>(Response::new(answer))
        });
        Box::pin(async move { Ok(tonic::server::Grpc::new(Text).unary(unary, request).await) })
    }
}

/// The span that is current when an item is asked for, several times.
struct Here {
    left: usize,
}

impl Stream for Here {
    type Item = Result<String, Status>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let left = self.left.checked_sub(1);
        Poll::Ready(left.map(|left| {
            self.left = left;
            let current = context::current_parent().ok_or_else(|| Status::internal("no context"))?;
            Ok(current.to_string())
        }))
    }
}

#[tokio::test]
async fn a_call_and_the_stream_it_is_answered_with_are_in_the_trace_of_the_caller() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = Server::builder()
        .layer(TraceServerLayer::with_source(|| 0xb))
        .layer(TraceBodyLayer::new())
        .add_service(Echo)
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), async { drop(stopped.await) });
    let server = tokio::spawn(server);

    let channel = Endpoint::try_from(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(TraceClientLayer::with_source(|| 0xa).layer(channel));
    let mut trace =
        TraceContext::new("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03".parse().unwrap());
    trace.state = "congo=t61rcWkgMzE,rojo=1".parse().unwrap();
    trace.baggage = "user=M%C3%BCller;p".parse().unwrap();
    let call = async {
        client.ready().await.unwrap();
        client.unary(Request::new(String::new()), PathAndQuery::from_static("/Echo/Call"), Text).await
    };
    let answer = call.with_trace(trace.clone()).await.unwrap().into_inner();
    assert_eq!(
        answer,
        "00-4bf92f3577b34da6a3ce929d0e0e4736-000000000000000b-03 congo=t61rcWkgMzE,rojo=1 user=M%C3%BCller;p \
         of 00-4bf92f3577b34da6a3ce929d0e0e4736-000000000000000a-03"
    );

    let call = async {
        client.ready().await.unwrap();
        let path = PathAndQuery::from_static("/Echo/Stream");
        client.server_streaming(Request::new(String::new()), path, Text).await
    };
    let mut items = call.with_trace(trace).await.unwrap().into_inner();
    for _ in 0..3 {
        let item = items.message().await.unwrap();
        assert_eq!(item.as_deref(), Some("00-4bf92f3577b34da6a3ce929d0e0e4736-000000000000000b-03"));
    }
    assert_eq!(items.message().await.unwrap(), None);
    drop((client, items));
    stop.send(()).unwrap();
    server.await.unwrap().unwrap();
}
