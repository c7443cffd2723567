//! Contexts into carriers and out of them: the headers of HTTP, and whatever else has named fields.
//!
//! `tracestate` is looked at only if `traceparent` is valid, and whatever is wrong with it never affects the
//! trace. `baggage` has nothing to do with either.

use http::header::{HeaderName, HeaderValue};

use crate::{Baggage, TraceContext, TraceParent, TraceParentError, TraceState, TraceStateError};

#[cfg(feature = "conformance")]
pub mod conformance;
mod extracted;
mod field;
mod memory;

pub use extracted::{Extracted, Faults};
pub use field::{Extractor, FieldValue, Injector};
pub use memory::Fields;

/// Name of the field with the ids.
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Name of the field with the notes of vendors.
pub static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Name of the field with what the application sends along.
pub static BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// Reads the context that came with a request or a message.
///
/// Three look-ups, and linear in the length of what they find. From a `HeaderMap` it allocates only to join
/// fields that came in several pieces, to cut padding off their ends or out of what it makes too long, and to
/// leave members of baggage out.
pub fn extract<E: Extractor>(carrier: &E) -> Extracted {
    let mut extracted = extract_trace(carrier);
    (extracted.baggage, extracted.faults.baggage) = Baggage::from_fields(carrier.values(&BAGGAGE));
    extracted
}

/// All but the baggage, which is not looked at.
pub(crate) fn extract_trace<E: Extractor>(carrier: &E) -> Extracted {
    let mut extracted = Extracted::default();
    match extract_parent(carrier) {
        Ok(parent) => extracted.parent = parent,
        Err(error) => extracted.faults.parent = Some(error),
    }
    let mut states = carrier.values(&TRACESTATE);
    let state = match extracted.parent {
        Some(_) => TraceState::from_fields(states),
        None if states.next().is_some() => Err(TraceStateError::Parentless),
        None => Ok(TraceState::EMPTY),
    };
    match state {
        Ok(state) => extracted.state = state,
        Err(error) => extracted.faults.state = Some(error),
    }
    extracted
}

/// The one `traceparent`; several are invalid, even if they are equal.
pub(crate) fn extract_parent<E: Extractor>(carrier: &E) -> Result<Option<TraceParent>, TraceParentError> {
    let mut values = carrier.values(&TRACEPARENT);
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match values.count() {
        0 => TraceParent::parse(value.as_bytes()).map(Some),
        others => Err(TraceParentError::Repeated { fields: others + 1 }),
    }
}

/// Writes a context in place of any that is there: one `traceparent`, and `tracestate` and `baggage` unless
/// they are empty.
///
/// The receiver takes the span of `context` as its parent, so each request should have a
/// [`child`](TraceContext::child) of its own. A `HeaderMap` that is full, at 24576 names, is left without what
/// it does not take.
pub fn inject<I: Injector>(context: &TraceContext, carrier: &mut I) {
    let parent = HeaderValue::from_bytes(&context.parent.to_bytes()).expect("digits and dashes are a value");
    carrier.replace(&TRACEPARENT, Some(parent));
    carrier.replace(&TRACESTATE, context.state.to_header());
    carrier.replace(&BAGGAGE, context.baggage.to_header());
}

/// Copies the three headers as they are, field by field and byte by byte, valid or not, in place of any there.
///
/// For a proxy that takes no part in the trace. Only what no header may have, such as a line break in the headers
/// of a message, is left out.
pub fn forward<E: Extractor, I: Injector>(from: &E, to: &mut I) {
    for name in [&TRACEPARENT, &TRACESTATE, &BAGGAGE] {
        to.replace(name, None);
        from.values(name).filter_map(|value| passed(&value)).for_each(|value| to.append(name, value));
    }
}

/// The value itself, so that one which is sensitive stays so, or a copy of its bytes.
fn passed(value: &impl FieldValue) -> Option<HeaderValue> {
    let bytes = value.as_bytes();
    let shared = value.shared().filter(|shared| shared.as_bytes() == bytes);
    shared.or_else(|| HeaderValue::from_bytes(bytes).ok())
}

#[cfg(test)]
mod tests;
