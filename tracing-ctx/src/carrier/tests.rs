use http::HeaderMap;

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
    assert_eq!(extract(&headers(&[])), Extracted::default());
    let extracted = extract(&headers(&[("tracestate", "a=1")]));
    assert_eq!((extracted.parent, extracted.state), (None, TraceState::EMPTY));
    assert_eq!(extracted.faults.state, Some(TraceStateError::Parentless));
}

#[test]
fn what_was_received_is_remote() {
    let extracted = extract(&headers(&[("traceparent", VALID), ("tracestate", "a=1"), ("baggage", "k=v")]));
    assert_eq!(extracted.faults, Faults::default());
    let context = extracted.into_context().unwrap();
    assert_eq!(context.parent, VALID.parse().unwrap());
    assert_eq!((context.state.as_str(), context.baggage.as_str()), ("a=1", "k=v"));
    assert!(context.remote);
}

#[test]
fn a_repeated_traceparent_is_a_reason_to_restart() {
    let extracted = extract(&headers(&[("traceparent", VALID); 3]));
    assert_eq!(extracted.faults.parent, Some(TraceParentError::Repeated { fields: 3 }));
    assert_eq!(extracted.into_context(), None);
}

#[test]
fn a_refused_tracestate_is_named_and_leaves_the_trace_alone() {
    let extracted = extract(&headers(&[("traceparent", VALID), ("tracestate", "a=1,B=2")]));
    assert_eq!(extracted.faults.state, Some(TraceStateError::Member { at: 1 }));
    assert_eq!((extracted.parent, extracted.state), (VALID.parse().ok(), TraceState::EMPTY));
}

#[test]
fn baggage_comes_with_an_invalid_traceparent_as_well() {
    let extracted = extract(&headers(&[("traceparent", "x"), ("tracestate", "a=1"), ("baggage", "k=v")]));
    assert_eq!(extracted.baggage.as_str(), "k=v");
    assert_eq!((extracted.parent, extracted.state), (None, TraceState::EMPTY));
    assert_eq!(extracted.faults.parent, Some(TraceParentError::TooShort { found: 1 }));
}

#[test]
fn injecting_replaces_whatever_was_there() {
    let mut headers = headers(&[
        ("traceparent", "x"),
        ("traceparent", "y"),
        ("tracestate", "z=1"),
        ("baggage", "k=v"),
        ("baggage", "l=w"),
    ]);
    inject(&TraceContext::new(VALID.parse().unwrap()), &mut headers);
    assert_eq!(headers.len(), 1);
    assert_eq!(headers[&TRACEPARENT], VALID);
}

/// A map refuses even to replace a field when it is full, and so sent the caller's instead of its own.
#[test]
fn a_full_map_is_left_without_a_context_and_without_that_of_others() {
    let mut headers = headers(&[("traceparent", VALID), ("tracestate", "z=1"), ("baggage", "k=v")]);
    for n in 0_u32.. {
        let name = HeaderName::try_from(format!("x-{n}")).unwrap();
        if headers.try_append(name, HeaderValue::from_static("1")).is_err() {
            break;
        }
    }
    let full = headers.len();
    assert_eq!(full, 24_576);
    let own = "00-00000000000000000000000000000001-0000000000000001-00";
    inject(&TraceContext::new(own.parse().unwrap()), &mut headers);
    assert_eq!(headers.len(), full - 3);
    assert_eq!(extract(&headers), Extracted::default());
    inject(&TraceContext::new(own.parse().unwrap()), &mut headers);
    assert_eq!(headers[&TRACEPARENT], own, "there is room again");
}

#[test]
fn a_proxy_that_takes_no_part_passes_every_byte() {
    let from = headers(&[
        ("traceparent", " cc-x"),
        ("tracestate", "A=,"),
        ("tracestate", "\tb=2 "),
        ("baggage", " ;"),
        ("x", "y"),
    ]);
    let mut to = headers(&[("traceparent", VALID), ("z", "z")]);
    forward(&from, &mut to);
    let fields = |headers: &HeaderMap, name| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
    for name in [&TRACEPARENT, &TRACESTATE, &BAGGAGE] {
        assert_eq!(fields(&to, name), fields(&from, name));
    }
    assert_eq!(to.len(), 5);

    let mut record: Fields = [("TraceParent", VALID), ("z", "z")].into_iter().collect();
    forward(&from, &mut record);
    record.push("baggage", "no\nheader");
    let mut back = HeaderMap::new();
    forward(&record, &mut back);
    for name in [&TRACEPARENT, &TRACESTATE, &BAGGAGE] {
        assert_eq!(fields(&back, name), fields(&from, name), "also over a carrier of another kind");
    }
}

#[test]
fn what_is_passed_on_is_not_copied_and_stays_as_sensitive_as_it_was() {
    let mut value = HeaderValue::from_static("secret=1");
    value.set_sensitive(true);
    let mut from = HeaderMap::new();
    from.insert(&BAGGAGE, value);
    let mut to = HeaderMap::new();
    forward(&from, &mut to);
    assert!(to[&BAGGAGE].is_sensitive());
    assert!(std::ptr::eq(to[&BAGGAGE].as_bytes(), from[&BAGGAGE].as_bytes()));
}

#[test]
fn work_begins_with_the_baggage_that_came_with_a_trace_or_without() {
    for (traceparent, continued) in [(VALID, true), ("x", false)] {
        let extracted = extract(&headers(&[("traceparent", traceparent), ("baggage", "k=v")]));
        let context = extracted.begin(|| 7, &crate::sampler::Always);
        assert_eq!(context.baggage.as_str(), "k=v");
        assert_eq!(context.trace_id().to_string() == VALID[3..35], continued);
        assert_eq!((context.span_id().to_string().as_str(), context.remote), ("0000000000000007", false));
    }
}

#[test]
fn faults_say_all_that_was_refused() {
    assert_eq!(Faults::default().to_string(), "");
    let extracted = extract(&headers(&[("traceparent", "x"), ("tracestate", "a=1"), ("baggage", "no")]));
    assert!(!extracted.faults.is_empty());
    let text = extracted.faults.to_string();
    assert!(
        text.starts_with(
            "traceparent of 1 bytes, expected 55; tracestate without a valid traceparent; 1 bag"
        )
    );
}

#[test]
fn what_a_carrier_keeps_is_what_was_checked() {
    struct Liar;
    impl FieldValue for Liar {
        fn as_bytes(&self) -> &[u8] {
            b"a=1"
        }

        fn shared(&self) -> Option<HeaderValue> {
            HeaderValue::from_bytes(b"A=\xff").ok()
        }
    }

    struct Carrier;
    impl Extractor for Carrier {
        type Value<'a> = Liar;

        fn values(&self, _: &'static HeaderName) -> impl Iterator<Item = Liar> {
            [Liar].into_iter()
        }
    }

    assert_eq!(TraceState::from_fields([Liar]).unwrap().as_str(), "a=1");
    assert_eq!(Baggage::from_fields([Liar]).0.as_str(), "a=1");

    let mut to = HeaderMap::new();
    forward(&Carrier, &mut to);
    assert_eq!(to[&BAGGAGE], "a=1");
}
