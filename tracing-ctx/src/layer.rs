//! Tower layers: a server continues the trace of a request or starts one, a client passes it on.
//!
//! They look at headers and extensions only, so they fit every body: axum, hyper and tonic alike. One more layer
//! is for bodies that are still being made when the response is on its way. From the outside to the inside:
//!
//! 1. [`TraceServerLayer`];
//! 2. whatever writes log lines, makes calls, or turns errors into responses, which then have the trace id too;
//! 3. [`TraceBodyLayer`], if bodies are streamed;
//! 4. the handler, and around each client that it calls a [`TraceClientLayer`].
//!
//! # axum
//!
//! Each `Router::layer` goes around all routes and fallbacks that are there already, so the last one is the
//! outermost, and a route that is added later, as one for health checks may be, has no trace.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, body::Body, routing::get};
//! use forebay_tracing_ctx::layer::{TraceBodyLayer, TraceServerLayer};
//! use forebay_tracing_ctx::context;
//! use http::{HeaderName, Request};
//! use tower::ServiceExt;
//!
//! async fn handler() -> String {
//!     context::current().expect("within the layer").trace_id().to_string()
//! }
//!
//! let app = Router::new()
//!     .route("/", get(handler))
//!     .layer(TraceBodyLayer::new())
//!     .layer(TraceServerLayer::new().response_header(HeaderName::from_static("x-trace-id")))
//!     .route("/ready", get(async || "yes"));
//! // axum::serve(listener, app).await?;
//!
//! let response = app.clone().oneshot(Request::new(Body::empty())).await?;
//! let named = response.headers()["x-trace-id"].to_str()?.to_owned();
//! assert_eq!(axum::body::to_bytes(response.into_body(), 32).await?, named);
//!
//! let response = app.oneshot(Request::get("/ready").body(Body::empty())?).await?;
//! assert!(!response.headers().contains_key("x-trace-id"));
//! # Ok(())
//! # }
//! ```
//!
//! # hyper
//!
//! `hyper_util` makes a service of tower one of hyper. Its client is a service of tower as it is:
//! `TraceClientLayer::new().layer(Client::builder(executor).build_http())`.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use forebay_tracing_ctx::{TraceServerLayer, context};
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use hyper::body::{Bytes, Incoming};
//! use hyper_util::{rt::TokioIo, service::TowerToHyperService};
//! use tower::{ServiceBuilder, service_fn};
//!
//! let service = ServiceBuilder::new() // the first layer is the outermost
//!     .layer(TraceServerLayer::new())
//!     .service(service_fn(async |_: Request<Incoming>| {
//!         let trace_id = context::current().expect("within the layer").trace_id().to_string();
//!         Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(trace_id)))
//!     }));
//!
//! # use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! # let (mut peer, stream) = tokio::io::duplex(1024);
//! # peer.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
//! // For each connection that a listener accepts:
//! hyper::server::conn::http1::Builder::new()
//!     .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service.clone()))
//!     .await?;
//! # let mut answer = String::new();
//! # peer.read_to_string(&mut answer).await?;
//! # assert!(answer.contains("\r\ncontent-length: 32\r\n"), "{answer}");
//! # Ok(())
//! # }
//! ```
//!
//! # tonic
//!
//! The trace is in the metadata of a call. A client of generated code is made with a channel in the client's
//! layer, as `GreeterClient::new(channel)`. Where replies are streams, they are made after the call has
//! returned, so the server has both layers. A stream of requests is made by the connection: it takes the context
//! along as `client.upload(requests.in_current_trace())`.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use forebay_tracing_ctx::layer::{TraceBodyLayer, TraceClientLayer, TraceServerLayer};
//! use tonic::transport::{Endpoint, Server};
//! use tower::ServiceBuilder;
//!
//! let server = Server::builder() // the first layer is the outermost
//!     .layer(TraceServerLayer::new())
//!     .layer(TraceBodyLayer::new());
//! // server.add_service(GreeterServer::new(greeter)).serve(address).await?;
//!
//! let channel = ServiceBuilder::new()
//!     .layer(TraceClientLayer::new())
//!     .service(Endpoint::from_static("http://127.0.0.1:50051").connect_lazy());
//! // let mut client = GreeterClient::new(channel);
//! # let (_, client) = (server, tonic::client::Grpc::new(channel));
//! # fn is_ready<T: tonic::client::GrpcService<tonic::body::Body>>(_: &tonic::client::Grpc<T>) {}
//! # is_ready(&client);
//! # Ok(())
//! # }
//! ```
//!
//! # At the edge
//!
//! Strangers choose ids, have everything sampled, and write into baggage. [`Trust`] says what of it counts:
//! [`Trust::Link`] starts a trace that remembers theirs. Who keeps their ids can keep their flag from costing
//! more than a limit allows, see [`RateLimited`](crate::sampler::RateLimited). What is sent to strangers is
//! without baggage by [`TraceClientLayer::baggage`].

mod admission;
mod body;
mod client;
mod response;
mod server;
mod span;
mod trust;

pub use body::{BodyFuture, TraceBodies, TraceBodyLayer, TracedBody};
pub use client::{TraceClient, TraceClientLayer};
pub use server::{ServerFuture, TraceServer, TraceServerLayer};
pub use trust::{Link, Trust, TrustPolicy};

pub use crate::Caller;
