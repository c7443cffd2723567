//! Tower layers: a server continues the trace of a request or starts one, a client passes it on.
//!
//! They look at headers and extensions only, so they fit every body: axum, hyper and tonic alike.

mod client;
mod server;

pub use client::{TraceClient, TraceClientLayer};
pub use server::{ServerFuture, TraceServer, TraceServerLayer};

/// What a server makes of a context it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Trust {
    /// The request is part of the trace it names. For callers of one's own.
    #[default]
    Continue,
    /// Every request starts a trace, whatever it names. For the edge to strangers, who could otherwise
    /// choose ids, have everything sampled, and write into `tracestate`.
    Restart,
}
