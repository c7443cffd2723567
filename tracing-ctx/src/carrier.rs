//! Contexts into carriers and out of them: the headers of HTTP, and whatever else has named fields.
//!
//! `tracestate` is looked at only if `traceparent` is valid, and whatever is wrong with it never affects the
//! trace. `baggage` has nothing to do with either.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::baggage::Dropped;
use crate::sampler::SampleInput;
use crate::{
    Baggage, Sampler, SpanId, TraceContext, TraceParent, TraceParentError, TraceState, TraceStateError,
};

#[cfg(feature = "conformance")]
pub mod conformance;
mod memory;

pub use memory::Fields;

/// Name of the field with the ids.
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Name of the field with the notes of vendors.
pub static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Name of the field with what the application sends along.
pub static BAGGAGE: HeaderName = HeaderName::from_static("baggage");

/// What has named fields to read a context from: the headers of a message, the metadata of a call.
///
/// `http::HeaderMap` is one, and with it the metadata of gRPC: `extract(metadata.as_ref())`. One of a client of
/// Kafka is written out and tested in `conformance::check` (feature `conformance`).
pub trait Extractor {
    /// The value of one field.
    type Value<'a>: FieldValue
    where
        Self: 'a;

    /// The values of all fields of this name, in the order in which they came. Where names have no case,
    /// as in HTTP, it does not count.
    ///
    /// Asked for [`TRACEPARENT`], [`TRACESTATE`] and [`BAGGAGE`].
    fn values(&self, name: &'static HeaderName) -> impl Iterator<Item = Self::Value<'_>>;
}

/// What a context can be written to.
///
/// `http::HeaderMap` is one, and with it the metadata of gRPC: `inject(&context, metadata.as_mut())`.
pub trait Injector {
    /// Puts one field of this name in place of all that are there, or only removes these if there is no value.
    ///
    /// A carrier that takes no more fields stays without this one.
    fn replace(&mut self, name: &'static HeaderName, value: Option<HeaderValue>);
}

/// The bytes of a field, and a way to keep them.
pub trait FieldValue {
    /// The value as it came.
    fn as_bytes(&self) -> &[u8];

    /// The value to be kept, if it can be had without a copy.
    ///
    /// Called after the bytes have been found to be printable ASCII.
    fn shared(&self) -> Option<HeaderValue> {
        None
    }
}

impl FieldValue for &HeaderValue {
    fn as_bytes(&self) -> &[u8] {
        HeaderValue::as_bytes(self)
    }

    fn shared(&self) -> Option<HeaderValue> {
        Some((*self).clone())
    }
}

impl FieldValue for &[u8] {
    fn as_bytes(&self) -> &[u8] {
        self
    }
}

impl FieldValue for &str {
    fn as_bytes(&self) -> &[u8] {
        str::as_bytes(self)
    }
}

impl FieldValue for Vec<u8> {
    fn as_bytes(&self) -> &[u8] {
        self
    }
}

impl Extractor for HeaderMap {
    type Value<'a> = &'a HeaderValue;

    fn values(&self, name: &'static HeaderName) -> impl Iterator<Item = &HeaderValue> {
        self.get_all(name).iter()
    }
}

impl Injector for HeaderMap {
    fn replace(&mut self, name: &'static HeaderName, value: Option<HeaderValue>) {
        match value {
            Some(value) => {
                // A full map refuses also to replace, and what is not replaced must not be sent.
                if self.try_insert(name, value).is_err() {
                    self.remove(name);
                }
            }
            None => drop(self.remove(name)),
        }
    }
}

/// What the fields of a carrier say, and what is wrong with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Extracted {
    /// The trace of the sender and its span there, or `None` if the trace starts here.
    pub parent: Option<TraceParent>,
    /// Notes of vendors about that trace.
    pub state: TraceState,
    /// What the application sends along, with or without a trace.
    pub baggage: Baggage,
    /// What has been refused.
    pub faults: Faults,
}

impl Extracted {
    /// The context of the work that is asked for: a child of the sender's span, or the first span of a new
    /// trace, with the baggage that came in either case. The sampler sees that baggage.
    pub fn begin(self, source: impl FnMut() -> u64, sampler: &(impl Sampler + ?Sized)) -> TraceContext {
        let Self { parent, state, baggage, .. } = self;
        match parent {
            Some(parent) => {
                let received = TraceContext { parent, state, baggage, remote: true };
                received.into_child_sampled(SpanId::from_source(source), sampler)
            }
            None => {
                let root = TraceContext { baggage, ..TraceContext::new(TraceParent::root(source)) };
                sampler.sample(&SampleInput::anew(&root)).apply(root)
            }
        }
    }

    /// The received context, if there is a valid `traceparent`. Baggage that came without one is lost; see
    /// [`begin`](Self::begin).
    pub fn into_context(self) -> Option<TraceContext> {
        let Self { parent, state, baggage, faults: _ } = self;
        Some(TraceContext { parent: parent?, state, baggage, remote: true })
    }
}

/// Why fields have been refused, by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Faults {
    /// Why the trace had to be started anew. `None` also if there was no `traceparent` at all.
    pub parent: Option<TraceParentError>,
    /// Why `tracestate` was dropped.
    pub state: Option<TraceStateError>,
    /// How many members of `baggage` were dropped, and why.
    pub baggage: Dropped,
}

impl Faults {
    /// Whether nothing was refused.
    pub const fn is_empty(&self) -> bool {
        self.parent.is_none() && self.state.is_none() && self.baggage.is_empty()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        if let Some(error) = &self.parent {
            write!(f, "{error}")?;
            between = "; ";
        }
        if let Some(error) = &self.state {
            write!(f, "{between}{error}")?;
            between = "; ";
        }
        if !self.baggage.is_empty() {
            write!(f, "{between}{}", self.baggage)?;
        }
        Ok(())
    }
}

/// Reads the context that came with a request or a message.
///
/// Three look-ups, and linear in the length of what they find. From a `HeaderMap` it allocates only to join
/// fields that came in several pieces, to cut padding off their ends, and to leave members of baggage out.
pub fn extract<E: Extractor>(carrier: &E) -> Extracted {
    let mut extracted = Extracted::default();
    match parent(carrier) {
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
    (extracted.baggage, extracted.faults.baggage) = Baggage::from_fields(carrier.values(&BAGGAGE));
    extracted
}

/// The one `traceparent`; several are invalid, even if they are equal.
fn parent<E: Extractor>(carrier: &E) -> Result<Option<TraceParent>, TraceParentError> {
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
/// it does not take, and so is a request.
pub fn inject<I: Injector>(context: &TraceContext, carrier: &mut I) {
    let parent = HeaderValue::from_bytes(&context.parent.to_bytes()).expect("digits and dashes are a value");
    carrier.replace(&TRACEPARENT, Some(parent));
    carrier.replace(&TRACESTATE, context.state.to_header());
    carrier.replace(&BAGGAGE, context.baggage.to_header());
}

/// Copies the three headers as they are, field by field and byte by byte, valid or not, in place of any there.
///
/// For a proxy that takes no part in the trace.
pub fn forward(from: &HeaderMap, to: &mut HeaderMap) {
    for name in [&TRACEPARENT, &TRACESTATE, &BAGGAGE] {
        to.remove(name);
        for value in from.get_all(name) {
            // As with `inject`, what a full map does not take is not sent.
            let _ = to.try_append(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests;
