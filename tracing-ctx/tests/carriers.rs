//! Every carrier, those of this crate and one of a user's own, through the same conformance suite.

use forebay_tracing_ctx::carrier::{self, Extractor, Fields, Injector, conformance};
use forebay_tracing_ctx::{TraceContext, TraceParent};
use http::header::{HeaderMap, HeaderName, HeaderValue};

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_header_map_is_a_carrier() {
    conformance::check(HeaderMap::new, |headers, name, value| {
        headers.append(name, HeaderValue::from_str(value).unwrap());
    });
}

#[test]
fn fields_in_memory_are_a_carrier() {
    conformance::check(Fields::default, |fields, name, value| fields.push(name, value));
}

/// As a client of Kafka has them: names with case, values that may be absent.
#[derive(Default)]
struct RecordHeaders(Vec<(String, Option<Vec<u8>>)>);

impl Extractor for RecordHeaders {
    type Value<'a> = &'a [u8];

    fn values(&self, name: &'static HeaderName) -> impl Iterator<Item = &[u8]> {
        self.0.iter().filter(|header| header.0 == name.as_str()).filter_map(|header| header.1.as_deref())
    }
}

impl Injector for RecordHeaders {
    fn replace(&mut self, name: &'static HeaderName, value: Option<HeaderValue>) {
        self.0.retain(|header| header.0 != name.as_str());
        value.into_iter().for_each(|value| self.append(name, value));
    }

    fn append(&mut self, name: &'static HeaderName, value: HeaderValue) {
        self.0.push((name.as_str().to_owned(), Some(value.as_bytes().to_vec())));
    }
}

#[test]
fn the_headers_of_a_record_are_a_carrier() {
    conformance::check(RecordHeaders::default, |headers, name, value| {
        headers.0.push((name.to_owned(), Some(value.as_bytes().to_vec())));
    });
}

#[test]
fn names_of_fields_in_memory_have_no_case() {
    let fields: Fields =
        [("TraceParent", VALID), ("TRACESTATE", "a=1"), ("Baggage", "k=v")].into_iter().collect();
    let context = carrier::extract(&fields).into_context().unwrap();
    assert_eq!(context.parent, VALID.parse().unwrap());
    assert_eq!((context.state.as_str(), context.baggage.as_str()), ("a=1", "k=v"));
}

#[test]
fn bytes_that_no_header_could_have_are_malformed_and_not_overlooked() {
    let mut fields: Fields = [("traceparent", VALID), ("tracestate", "a=1")].into_iter().collect();
    fields.push("tracestate", b"b=\x002".as_slice());
    let extracted = carrier::extract(&fields);
    assert!(extracted.parent.is_some() && extracted.state.is_empty() && extracted.faults.state.is_some());

    let mut fields: Fields = [("traceparent", b"\xff\n".as_slice())].into_iter().collect();
    fields.push("baggage", b"a=\x7f,b=2".as_slice());
    let extracted = carrier::extract(&fields);
    assert!(extracted.faults.parent.is_some() && !extracted.faults.baggage.is_empty());
    assert_eq!(extracted.baggage.as_str(), "b=2");
}

#[test]
fn a_context_goes_from_one_kind_of_carrier_to_another() {
    let mut sent = TraceContext::new(TraceParent::parse(VALID.as_bytes()).unwrap());
    sent.state = "congo=t61rcWkgMzE, rojo= 1".parse().unwrap();
    sent.baggage = "user=M%C3%BCller;p".parse().unwrap();
    let mut record = RecordHeaders::default();
    carrier::inject(&sent, &mut record);
    let received = carrier::extract(&record).into_context().unwrap();
    let mut headers = HeaderMap::new();
    carrier::inject(&received, &mut headers);
    assert_eq!(headers["traceparent"], VALID);
    assert_eq!(headers["tracestate"], sent.state.as_str());
    assert_eq!(headers["baggage"], sent.baggage.as_str());
}
