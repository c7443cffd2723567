//! W3C trace context across process borders, strict to the byte.
//!
//! One request passes through many processes. A trace id that all of them know joins their log lines into one
//! story, provided that every process reads the id by the same rules and loses it nowhere: not between two
//! threads, not in a spawned task, not on the next call. This crate reads and writes the headers
//! `traceparent` and `tracestate` of [W3C Trace Context], levels 1 and 2, and `baggage` of [W3C Baggage],
//! carries the context through tokio tasks, and has tower layers for both ends.
//!
//! It does **not** record spans, export anything or need a tracing backend: what it gives you are ids that
//! are the same everywhere, whether they are sampled, and the baggage that goes with them. B3, Jaeger and X-Ray
//! headers are not supported.
//!
//! ```
//! use forebay_tracing_ctx::{SpanId, TraceParent};
//!
//! let received = TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")?;
//! assert!(received.flags.is_sampled());
//!
//! let here = SpanId::from_source(|| 0x0123_4567_89ab_cdef); // or SpanId::random()
//! let sent = received.child(here).to_bytes();
//! assert_eq!(&sent, b"00-4bf92f3577b34da6a3ce929d0e0e4736-0123456789abcdef-01");
//!
//! // Nearly valid is not valid: digits are lower case, and 55 bytes are 55 bytes.
//! assert!(TraceParent::parse(b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01").is_err());
//! # Ok::<_, forebay_tracing_ctx::TraceParentError>(())
//! ```
//!
//! In a server (features `tower` and `tokio`), one layer goes around the service and one around each client of
//! it. Work that leaves the request for a task of its own takes the context along by [`task::spawn`], or in a
//! `JoinSet` by [`in_current_trace`](TraceFutureExt::in_current_trace):
//!
//! ```
//! # #[cfg(not(all(feature = "tower", feature = "tokio")))] fn main() {}
//! # #[cfg(all(feature = "tower", feature = "tokio"))]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! use forebay_tracing_ctx::{TraceClientLayer, TraceServerLayer, task};
//! use http::{HeaderName, Request, Response};
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! // What is called. Here it answers with the header it gets.
//! let storage = service_fn(|request: Request<()>| async move {
//!     let header = request.headers()["traceparent"].to_str()?.to_owned();
//!     Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Response::new(header))
//! });
//! let client = ServiceBuilder::new().layer(TraceClientLayer::new()).service(storage);
//!
//! // What calls it, from a task of its own.
//! let handler = service_fn(move |_: Request<()>| {
//!     let client = client.clone();
//!     async move { task::spawn(client.oneshot(Request::new(()))).await? }
//! });
//! let mut server = ServiceBuilder::new()
//!     .layer(TraceServerLayer::new().response_header(HeaderName::from_static("x-trace-id")))
//!     .service(handler);
//!
//! let response = server.call(Request::new(())).await?;
//! let trace_id = response.headers()["x-trace-id"].to_str()?;
//! assert!(response.body().starts_with(&format!("00-{trace_id}-")));
//! # Ok(())
//! # }
//! ```
//!
//! What a response streams after it has been returned has the context as well, if there is a
//! [`TraceBodyLayer`](layer::TraceBodyLayer) inside of the server's layer.
//!
//! A message queue has no layers. What its messages do have are named fields, and those are a [`carrier`]:
//!
//! ```
//! # #[cfg(not(feature = "std"))] fn main() {}
//! # #[cfg(feature = "std")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use forebay_tracing_ctx::carrier::{self, Fields};
//! use forebay_tracing_ctx::sampler::{ParentBased, Ratio};
//! use forebay_tracing_ctx::{TraceContext, context, random_u64};
//!
//! // A tenth of all traces is sampled. Who sends decides it, and everybody after him keeps the decision.
//! let sampler = ParentBased::new(Ratio::new(0.1)?);
//! let mut sent = TraceContext::root(random_u64, &sampler);
//! sent.baggage.insert("tenant", "Müller & Söhne")?;
//! let mut message = Fields::default();
//! carrier::inject(&sent, &mut message);
//!
//! // Who receives begins work in that trace, or in a new one if the message names none.
//! let work = carrier::extract(&message).begin(random_u64, &sampler);
//! assert_eq!(work.trace_id(), sent.trace_id());
//! assert_eq!(work.is_sampled(), sent.is_sampled());
//! context::scope(work, || {
//!     let current = context::current().expect("in a scope");
//!     assert_eq!(current.baggage.get("tenant").as_deref(), Some("Müller & Söhne"));
//! });
//! # Ok(())
//! # }
//! ```
//!
//! | where | what |
//! |---|---|
//! | a server of axum, hyper or tonic, or a client | [`layer`], step by step, also for the edge to strangers |
//! | a task, a thread, a `JoinSet`, a stream | [`task`] and [`context::scope`]; `in_current_trace` leaves the span of `tracing` behind, [`task::spawn`] takes it along |
//! | a queue, a log, a file | [`carrier`], and a test that holds a carrier of one's own to the rules |
//! | not everything is to be kept | [`sampler`] |
//!
//! # Guarantees
//!
//! 1. What is accepted is what the grammar of the specifications has, no byte more or less, within the limits
//!    below. Three things are tolerated beyond it: in `tracestate` keys that occur again and empty members that
//!    do not count, and in `baggage` empty members. Parsers written a second time, byte by byte, agree on
//!    mutations of valid headers.
//! 2. An id is never zero, whatever its source yields.
//! 3. An invalid `traceparent` starts a new trace and drops `tracestate`; an invalid `tracestate` is dropped
//!    whole and leaves the trace alone; a malformed member of `baggage` is left out and leaves the others
//!    alone. [`Extracted`](carrier::Extracted) says what was wrong.
//! 4. Flags go out as they came in, except those the specification has not named. The sampling decision of a
//!    trace is made where the trace starts, unless a sampler is asked to decide anew.
//! 5. Each request that goes out through the client's layer has a span id of its own, one `traceparent`, and
//!    at most one `tracestate` and one `baggage`, unless the layer is told to keep headers that are there.
//! 6. What is current on a thread when a future has been polled is what was current before, also after a
//!    panic. A task does not see the context of another, unless it is polled from within it, as a `LocalSet`
//!    polls its tasks.
//! 7. Ids and `traceparent` are read and written without allocation, without `std` and without `unsafe`.
//!
//! # Limits
//!
//! | what | most | beyond it |
//! |---|---|---|
//! | `traceparent` of version 00 | 55 bytes, exactly | new trace |
//! | `traceparent` of a later version | 512 bytes | new trace |
//! | `tracestate`, all fields together | 32 members | dropped |
//! | key, value of a member of `tracestate` | 256 bytes each | `tracestate` dropped |
//! | `tracestate` with padding | 16447 bytes, as 32 longest members have without | padding dropped |
//! | `baggage`, all fields together, without padding | 64 members, 8192 bytes | whole members dropped |
//!
//! # Injecting chance and time
//!
//! Ids come from any `FnMut() -> u64`: [`TraceId::from_source`], [`TraceContext::root`]. Layers, which are
//! cloned, take an `Fn`: [`TraceServerLayer::with_source`]. A seeded one makes every id of a run repeatable. The
//! default is [`random_u64`], a generator per thread that the operating system seeds. The one thing here that
//! asks for the time is [`RateLimited`](sampler::RateLimited), and it takes a clock. There is no disk.
//!
//! # Features
//!
//! | feature | gives |
//! |---|---|
//! | none | [`TraceId`], [`SpanId`], [`TraceParent`]; `no_std` |
//! | `std` (default) | [`TraceState`], [`Baggage`], [`TraceContext`], [`carrier`], [`context`], [`sampler`], [`Caller`], [`random_u64`] |
//! | `tokio` | [`task`]: contexts of futures and streams, [`task::spawn`], [`task::spawn_blocking`] |
//! | `tower` | [`layer`]: [`TraceServerLayer`], [`TraceClientLayer`], [`TraceBodyLayer`](layer::TraceBodyLayer); contexts of futures, streams and bodies |
//! | `tracing` | the server's span, with the fields `trace_id`, `span_id` and `parent_id` for every log line in it, unless a filter takes the span away: `forebay_tracing_ctx=info` keeps it |
//! | `otel-0_33` | [`otel`]: to and from the span contexts of `opentelemetry` 0.33, and a propagator for it |
//! | `serde` | ids and `traceparent` as the text that they are |
//! | `conformance` | [`carrier::conformance`], for carriers of one's own |
//!
//! How fast it is beside others is in `COMPARE.md`, and which rules each keeps is printed by
//! `cargo run --example conformance` in `peers/`. A service that the W3C's own test suite can drive is among the
//! pipeline's programs: `cargo run -p forebay-examples --bin w3c_service -- --help`.
//!
//! [W3C Trace Context]: https://www.w3.org/TR/trace-context-2/
//! [W3C Baggage]: https://www.w3.org/TR/baggage/

#![cfg_attr(not(any(feature = "std", test)), no_std)]

mod hex;
mod id;
mod ows;
#[cfg(feature = "serde")]
mod text;
mod traceparent;

#[cfg(feature = "std")]
pub mod baggage;
#[cfg(feature = "std")]
mod caller;
#[cfg(feature = "std")]
pub mod carrier;
#[cfg(feature = "std")]
pub mod context;
#[cfg(feature = "tower")]
pub mod layer;
#[cfg(feature = "otel-0_33")]
pub mod otel;
#[cfg(feature = "std")]
mod random;
#[cfg(feature = "std")]
pub mod sampler;
#[cfg(any(feature = "tokio", feature = "tower"))]
pub mod task;
#[cfg(feature = "std")]
mod tracestate;

pub use id::{IdError, SpanId, TraceId};
pub use traceparent::{MAX_TRACEPARENT_LEN, TRACEPARENT_LEN, TraceFlags, TraceParent, TraceParentError};

#[cfg(feature = "std")]
pub use baggage::{Baggage, BaggageError, MAX_BAGGAGE_LEN, MAX_BAGGAGE_MEMBERS};
#[cfg(feature = "std")]
pub use caller::Caller;
#[cfg(feature = "std")]
pub use context::TraceContext;
#[cfg(feature = "tower")]
pub use layer::{TraceClientLayer, TraceServerLayer};
#[cfg(feature = "std")]
pub use random::random_u64;
#[cfg(feature = "std")]
pub use sampler::Sampler;
#[cfg(any(feature = "tokio", feature = "tower"))]
pub use task::TraceFutureExt;
#[cfg(feature = "std")]
pub use tracestate::{MAX_TRACESTATE_LEN, MAX_TRACESTATE_MEMBERS, TraceState, TraceStateError};
