//! Contexts into HTTP headers and out of them.
//!
//! `tracestate` is looked at only if `traceparent` is valid, and whatever is wrong with it never affects the
//! trace.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::{TraceContext, TraceParent, TraceParentError, TraceState};

/// Name of the field with the ids.
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Name of the field with the notes of vendors.
pub static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What the headers of a request say about its trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extracted {
    /// Nothing: the trace starts here.
    None,
    /// Something invalid: the trace starts here, and what came is not to be trusted or passed on.
    Restart {
        /// What is wrong with it.
        reason: TraceParentError,
    },
    /// The request is part of this trace.
    Continue(TraceContext),
}

impl Extracted {
    /// The received context, if there is a valid one.
    pub fn into_context(self) -> Option<TraceContext> {
        match self {
            Self::Continue(context) => Some(context),
            Self::None | Self::Restart { .. } => None,
        }
    }
}

/// Reads the context that came with a request.
///
/// Allocates only if there are several `tracestate` fields.
pub fn extract(headers: &HeaderMap) -> Extracted {
    let mut fields = headers.get_all(&TRACEPARENT).iter();
    let Some(field) = fields.next() else {
        return Extracted::None;
    };
    let others = fields.count();
    if others > 0 {
        return Extracted::Restart { reason: TraceParentError::Repeated { fields: others + 1 } };
    }
    match TraceParent::parse(field.as_bytes()) {
        Err(reason) => Extracted::Restart { reason },
        Ok(parent) => {
            let state = TraceState::from_fields(headers.get_all(&TRACESTATE)).unwrap_or_default();
            Extracted::Continue(TraceContext { parent, state, remote: true })
        }
    }
}

/// Writes a context in place of any that is there: one `traceparent`, and one `tracestate` unless it is
/// empty.
///
/// The receiver takes the span of `context` as its parent, so each request should have a
/// [`child`](TraceContext::child) of its own. A map so full that it takes no more fields (32768) is left
/// without a context.
pub fn inject(context: &TraceContext, headers: &mut HeaderMap) {
    headers.remove(&TRACEPARENT);
    headers.remove(&TRACESTATE);
    let parent = HeaderValue::from_bytes(&context.parent.to_bytes()).expect("digits and dashes are a value");
    let inserted = headers.try_insert(&TRACEPARENT, parent).is_ok();
    if let (true, Some(state)) = (inserted, context.state.to_header()) {
        // Notes of vendors are the lesser half: the trace goes on without them.
        let _ = headers.try_insert(&TRACESTATE, state);
    }
}

/// Copies both headers as they are, field by field and byte by byte, valid or not, in place of any there.
///
/// For a proxy that takes no part in the trace.
pub fn forward(from: &HeaderMap, to: &mut HeaderMap) {
    for name in [&TRACEPARENT, &TRACESTATE] {
        to.remove(name);
        for value in from.get_all(name) {
            // As with `inject`, what a full map does not take is not sent.
            let _ = to.try_append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_request_without_traceparent_says_nothing_even_with_a_tracestate() {
        assert_eq!(extract(&headers(&[])), Extracted::None);
        assert_eq!(extract(&headers(&[("tracestate", "a=1")])), Extracted::None);
    }

    #[test]
    fn what_was_received_is_remote() {
        let context =
            extract(&headers(&[("traceparent", VALID), ("tracestate", "a=1")])).into_context().unwrap();
        assert_eq!(context.parent, VALID.parse().unwrap());
        assert_eq!((context.state.as_str(), context.remote), ("a=1", true));
    }

    #[test]
    fn a_repeated_traceparent_is_a_reason_to_restart() {
        let extracted = extract(&headers(&[("traceparent", VALID); 3]));
        assert_eq!(extracted, Extracted::Restart { reason: TraceParentError::Repeated { fields: 3 } });
        assert_eq!(extracted.into_context(), None);
    }

    #[test]
    fn injecting_replaces_whatever_was_there() {
        let mut headers = headers(&[("traceparent", "x"), ("traceparent", "y"), ("tracestate", "z=1")]);
        inject(&TraceContext::new(VALID.parse().unwrap()), &mut headers);
        assert_eq!(headers.len(), 1);
        assert_eq!(headers[&TRACEPARENT], VALID);
    }

    #[test]
    fn a_full_map_is_left_without_a_context_instead_of_panicking() {
        let mut headers = HeaderMap::new();
        for n in 0_u32.. {
            let name = HeaderName::try_from(format!("x-{n}")).unwrap();
            if headers.try_append(name, HeaderValue::from_static("1")).is_err() {
                break;
            }
        }
        let full = headers.len();
        inject(&TraceContext::new(VALID.parse().unwrap()), &mut headers);
        assert_eq!(headers.len(), full);
    }

    #[test]
    fn a_proxy_that_takes_no_part_passes_every_byte() {
        let from =
            headers(&[("traceparent", " cc-x"), ("tracestate", "A=,"), ("tracestate", "\tb=2 "), ("x", "y")]);
        let mut to = headers(&[("traceparent", VALID), ("z", "z")]);
        forward(&from, &mut to);
        let fields = |headers: &HeaderMap, name| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(fields(&to, &TRACEPARENT), fields(&from, &TRACEPARENT));
        assert_eq!(fields(&to, &TRACESTATE), fields(&from, &TRACESTATE));
        assert_eq!(to.len(), 4);
    }
}
