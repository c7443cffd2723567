//! W3C trace context across process borders, strict to the byte.
//!
//! One request passes through many processes. A trace id that all of them know joins their log lines into one
//! story, provided that every process reads the id by the same rules and loses it nowhere: not between two
//! threads, not in a spawned task, not on the next call. This crate reads and writes the
//! headers `traceparent` and `tracestate` of [W3C Trace Context], levels 1 and 2.
//!
//! It does **not** record spans, export anything or need a tracing backend: what it gives you are ids that
//! are the same everywhere. W3C Baggage, B3, Jaeger and X-Ray headers are not supported.
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
//! [W3C Trace Context]: https://www.w3.org/TR/trace-context-2/

#![cfg_attr(not(any(feature = "std", test)), no_std)]

mod hex;
mod id;
mod sampler;
mod traceparent;

#[cfg(feature = "std")]
pub mod carrier;
#[cfg(feature = "std")]
pub mod context;
#[cfg(feature = "std")]
mod random;
#[cfg(feature = "std")]
mod tracestate;

pub use id::{IdError, SpanId, TraceId};
pub use sampler::{Ratio, RatioError, Sampler};
pub use traceparent::{MAX_TRACEPARENT_LEN, TRACEPARENT_LEN, TraceFlags, TraceParent, TraceParentError};

#[cfg(feature = "std")]
pub use context::TraceContext;
#[cfg(feature = "std")]
pub use random::random_u64;
#[cfg(feature = "std")]
pub use tracestate::{MAX_TRACESTATE_LEN, MAX_TRACESTATE_MEMBERS, TraceState, TraceStateError};
