//! What every carrier has to do, as functions that panic if it does not. For the tests of carriers of one's
//! own.

use std::fmt::Write;

use http::header::{HeaderName, HeaderValue};

use super::{BAGGAGE, Extractor, FieldValue, Injector, TRACEPARENT, TRACESTATE, extract, forward, inject};
use crate::{TraceContext, TraceParent};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03";

/// Checks that a carrier keeps the three fields of this crate apart, in order and byte by byte of printable ASCII,
/// and that contexts survive it.
///
/// Whether names have case, and what becomes of fields of other names, is the carrier's own affair.
///
/// `new` makes an empty carrier, and `append` adds a field the way a sender does, behind those of the same name
/// that are there.
///
/// ```
/// use forebay_tracing_ctx::carrier::{Extractor, Injector, conformance};
/// use http::{HeaderName, HeaderValue};
///
/// /// As a client of Kafka has them: names with case, and values that may be null.
/// #[derive(Default)]
/// struct RecordHeaders(Vec<(String, Option<Vec<u8>>)>);
///
/// impl Extractor for RecordHeaders {
///     type Value<'a> = &'a [u8];
///
///     fn values(&self, name: &'static HeaderName) -> impl Iterator<Item = &[u8]> {
///         let of_name = self.0.iter().filter(move |header| header.0 == name.as_str());
///         of_name.filter_map(|header| header.1.as_deref())
///     }
/// }
///
/// impl Injector for RecordHeaders {
///     fn replace(&mut self, name: &'static HeaderName, value: Option<HeaderValue>) {
///         self.0.retain(|header| header.0 != name.as_str());
///         value.into_iter().for_each(|value| self.append(name, value));
///     }
///
///     fn append(&mut self, name: &'static HeaderName, value: HeaderValue) {
///         self.0.push((name.to_string(), Some(value.as_bytes().to_vec())));
///     }
/// }
///
/// // In a test:
/// conformance::check(RecordHeaders::default, |headers, name, value| {
///     headers.0.push((name.to_owned(), Some(value.into())));
/// });
/// ```
///
/// # Panics
///
/// If the carrier does not do what [`Extractor`] and [`Injector`] promise.
pub fn check<C: Extractor + Injector>(new: impl Fn() -> C, append: impl Fn(&mut C, &'static str, &str)) {
    an_empty_carrier_has_nothing(&new());
    fields_of_a_name_come_in_order(new(), &append);
    replacing_leaves_one_field_and_the_others_alone(new(), &append);
    fields_that_are_passed_on_stay_apart(&new, &append);
    a_context_comes_out_as_it_went_in(new(), &append);
    repeated_and_malformed_fields_are_seen_as_such(&new, &append);
}

fn values<C: Extractor>(carrier: &C, name: &'static HeaderName) -> Vec<Vec<u8>> {
    carrier.values(name).map(|value| value.as_bytes().to_vec()).collect()
}

fn an_empty_carrier_has_nothing<C: Extractor>(carrier: &C) {
    for name in [&TRACEPARENT, &TRACESTATE, &BAGGAGE] {
        assert_eq!(values(carrier, name), [b""; 0], "{name} in an empty carrier");
    }
    assert_eq!(extract(carrier), super::Extracted::default());
}

fn fields_of_a_name_come_in_order<C: Extractor>(
    mut carrier: C,
    append: &impl Fn(&mut C, &'static str, &str),
) {
    append(&mut carrier, "tracestate", "c=3,a=1");
    append(&mut carrier, "x-other", "tracestate");
    append(&mut carrier, "baggage", "k= v;p");
    append(&mut carrier, "tracestate", "b=2");
    assert_eq!(values(&carrier, &TRACESTATE), [b"c=3,a=1".to_vec(), b"b=2".to_vec()]);
    assert_eq!(values(&carrier, &BAGGAGE), [b"k= v;p".to_vec()]);
    assert_eq!(values(&carrier, &TRACEPARENT), [b""; 0]);
}

fn replacing_leaves_one_field_and_the_others_alone<C: Extractor + Injector>(
    mut carrier: C,
    append: &impl Fn(&mut C, &'static str, &str),
) {
    append(&mut carrier, "tracestate", "a=1");
    append(&mut carrier, "tracestate", "b=2");
    append(&mut carrier, "baggage", "k=v");
    carrier.replace(&TRACESTATE, Some(HeaderValue::from_static("c=3")));
    assert_eq!(values(&carrier, &TRACESTATE), [b"c=3".to_vec()]);
    carrier.replace(&TRACESTATE, None);
    assert_eq!(values(&carrier, &TRACESTATE), [b""; 0]);
    carrier.replace(&TRACESTATE, None);
    carrier.replace(&TRACEPARENT, Some(HeaderValue::from_static(PARENT)));
    assert_eq!(values(&carrier, &TRACEPARENT), [PARENT.as_bytes().to_vec()]);
    assert_eq!(values(&carrier, &BAGGAGE), [b"k=v".to_vec()]);
}

fn fields_that_are_passed_on_stay_apart<C: Extractor + Injector>(
    new: &impl Fn() -> C,
    append: &impl Fn(&mut C, &'static str, &str),
) {
    let (mut from, mut to) = (new(), new());
    append(&mut from, "traceparent", "not one");
    append(&mut from, "tracestate", "a=1,");
    append(&mut from, "tracestate", "B= 2");
    append(&mut to, "tracestate", "left=over");
    append(&mut to, "baggage", "left=over");
    forward(&from, &mut to);
    for name in [&TRACEPARENT, &TRACESTATE, &BAGGAGE] {
        assert_eq!(values(&to, name), values(&from, name), "{name} is passed on as it came");
    }
}

fn a_context_comes_out_as_it_went_in<C: Extractor + Injector>(
    mut carrier: C,
    append: &impl Fn(&mut C, &'static str, &str),
) {
    append(&mut carrier, "traceparent", "left over");
    append(&mut carrier, "traceparent", "twice");
    let parent = TraceParent::parse(PARENT.as_bytes()).expect("valid");
    let mut sent = TraceContext::new(parent);
    let mut list = String::new();
    for n in 0..32 {
        write!(list, "{}key{n}={}", if n > 0 { "," } else { "" }, "v".repeat(256))
            .expect("a string takes all");
    }
    sent.state = list.parse().expect("valid");
    sent.baggage = "user=M%C3%BCller;verified,empty=".parse().expect("valid");
    inject(&sent, &mut carrier);
    sent.remote = true;
    assert_eq!(extract(&carrier).into_context(), Some(sent));
    inject(&TraceContext::new(parent), &mut carrier);
    assert_eq!(values(&carrier, &TRACESTATE), [b""; 0], "what is empty is not sent");
    assert_eq!(values(&carrier, &BAGGAGE), [b""; 0], "what is empty is not sent");
}

fn repeated_and_malformed_fields_are_seen_as_such<C: Extractor>(
    new: &impl Fn() -> C,
    append: &impl Fn(&mut C, &'static str, &str),
) {
    let mut carrier = new();
    append(&mut carrier, "traceparent", PARENT);
    append(&mut carrier, "traceparent", PARENT);
    let extracted = extract(&carrier);
    assert!(extracted.parent.is_none() && extracted.faults.parent.is_some(), "{extracted:?}");

    let mut carrier = new();
    append(&mut carrier, "traceparent", PARENT);
    append(&mut carrier, "tracestate", "a=1");
    append(&mut carrier, "tracestate", "B=2");
    let extracted = extract(&carrier);
    assert!(extracted.parent.is_some() && extracted.state.is_empty(), "{extracted:?}");
    assert!(extracted.faults.state.is_some(), "{extracted:?}");
}
