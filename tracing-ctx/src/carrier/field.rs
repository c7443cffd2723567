//! What a carrier is: named fields to be read, named fields to be replaced, and the bytes of their values.

use http::header::{HeaderMap, HeaderName, HeaderValue};

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
    /// Asked for [`TRACEPARENT`](super::TRACEPARENT), [`TRACESTATE`](super::TRACESTATE) and
    /// [`BAGGAGE`](super::BAGGAGE).
    fn values(&self, name: &'static HeaderName) -> impl Iterator<Item = Self::Value<'_>>;
}

/// What a context can be written to.
///
/// `http::HeaderMap` is one, and with it the metadata of gRPC: `inject(&context, metadata.as_mut())`. Several fields
/// of a name are only put there to be passed on, see [`forward`](super::forward): what has one value for a name, as
/// an environment has, can be injected into, but does not pass the test of `conformance`.
pub trait Injector {
    /// Puts one field of this name in place of all that are there, or only removes these if there is no value.
    ///
    /// A carrier that takes no more fields stays without this one.
    fn replace(&mut self, name: &'static HeaderName, value: Option<HeaderValue>);

    /// Puts one more field of this name behind those that are there.
    ///
    /// A carrier that takes no more fields stays without this one.
    fn append(&mut self, name: &'static HeaderName, value: HeaderValue);
}

/// The bytes of a field, and a way to keep them.
pub trait FieldValue {
    /// The value as it came.
    fn as_bytes(&self) -> &[u8];

    /// The value to be kept, if it can be had without a copy. One of other bytes than
    /// [`as_bytes`](Self::as_bytes) has is not kept.
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

    fn append(&mut self, name: &'static HeaderName, value: HeaderValue) {
        let _ = self.try_append(name, value);
    }
}
