//! Whom to believe: what a server makes of the context that a caller names.
//!
//! Whoever is believed chooses the ids, can have everything sampled, and writes into what other vendors read.

use super::Caller;
use crate::TraceParent;

/// What a server makes of a context it receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Trust {
    /// The request is part of the trace it names. For callers of one's own.
    #[default]
    Continue,
    /// The request is part of the trace it names, but whether that is sampled is decided here, as if it
    /// started here. For callers whose ids do no harm and whose load would. A sampler that looks at the id still
    /// lets them choose: only a limit protects the load. If it is decided otherwise than by the caller,
    /// `traceparent` and `tracestate` are removed from the request.
    IgnoreSampled,
    /// Every request starts a trace, which remembers the one that the caller named as a [`Link`]. Its
    /// `tracestate` and baggage are not looked at, and all three headers are removed from the request, so that
    /// nobody sends them on who has lost the context. For the edge to strangers.
    Link,
    /// Every request starts a trace, whatever it names. Its headers are not looked at, its baggage included, and
    /// are removed from it.
    Restart,
}

/// Decides about each request; a plain [`Trust`] decides the same about all.
///
/// ```
/// use forebay_tracing_ctx::TraceServerLayer;
/// use forebay_tracing_ctx::layer::{Caller, Trust};
///
/// /// Put into the extensions of a request by the layer outside of this one that has checked its certificate.
/// #[derive(Clone)]
/// struct OfOurs;
///
/// // Not by the peer's address: behind a proxy that is the proxy's, whoever it speaks for.
/// let policy = |caller: &Caller<'_>| match caller.extensions.get() {
///     Some(OfOurs) => Trust::Continue,
///     None => Trust::Link,
/// };
/// let layer = TraceServerLayer::new().trust(policy);
/// # let _ = layer;
/// ```
pub trait TrustPolicy {
    /// What to make of the context of this caller.
    fn trust(&self, caller: &Caller<'_>) -> Trust;
}

impl TrustPolicy for Trust {
    fn trust(&self, _: &Caller<'_>) -> Trust {
        *self
    }
}

impl<F: Fn(&Caller<'_>) -> Trust> TrustPolicy for F {
    fn trust(&self, caller: &Caller<'_>) -> Trust {
        self(caller)
    }
}

/// The trace that a caller named and that was not continued; in the extensions of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link(pub TraceParent);
