//! Tower layers: a server continues the trace of a request or starts one, a client passes it on.
//!
//! They look at headers and extensions only, so they fit every body: axum, hyper and tonic alike. One more layer
//! is for bodies that are still being made when the response is on its way.

mod body;
mod client;
mod response;
mod server;
mod span;
mod trust;

pub use body::{BodyFuture, TraceBody, TraceBodyLayer, TracedBody};
pub use client::{TraceClient, TraceClientLayer};
pub use server::{ServerFuture, TraceServer, TraceServerLayer};
pub use trust::{Caller, Link, Trust, TrustPolicy};
