//! Beside OpenTelemetry: contexts both ways, and its own propagator on what both have to accept.

use std::collections::HashMap;

use forebay_tracing_ctx::carrier::{self, Fields};
use forebay_tracing_ctx::otel::{InvalidSpanContext, W3cPropagator};
use forebay_tracing_ctx::{SpanId, TraceContext, TraceFlags, TraceId, TraceParent};
use opentelemetry::Context;
use opentelemetry::baggage::BaggageExt;
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{SpanContext, TraceContextExt, TraceState as OtelState};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use proptest::collection::vec;
use proptest::prelude::*;

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Fields as an extractor of theirs, several of a name included.
struct Theirs<'a>(&'a Fields);

impl Extractor for Theirs<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.get_all(key)?.first().copied()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|field| field.0).collect()
    }

    fn get_all(&self, key: &str) -> Option<Vec<&str>> {
        let values = self.0.iter().filter(|field| field.0 == key);
        let values: Vec<_> = values.map(|field| std::str::from_utf8(field.1).expect("text")).collect();
        (!values.is_empty()).then_some(values)
    }
}

fn fields(fields: &[(&str, &str)]) -> Fields {
    fields.iter().copied().collect()
}

fn extracted(propagator: &dyn TextMapPropagator, fields: &Fields) -> SpanContext {
    let context = propagator.extract_with_context(&Context::new(), &Theirs(fields));
    context.span().span_context().clone()
}

#[test]
fn a_context_becomes_a_span_context_and_back() {
    let fields = fields(&[("traceparent", VALID), ("tracestate", "congo=t61rcWkgMzE,rojo= 1")]);
    let ours = carrier::extract(&fields).into_context().unwrap();
    let theirs = SpanContext::from(&ours);
    assert_eq!(theirs.trace_id().to_string(), &VALID[3..35]);
    assert_eq!(theirs.span_id().to_string(), &VALID[36..52]);
    assert!(theirs.is_sampled() && theirs.is_remote() && theirs.is_valid());
    assert_eq!(theirs.trace_state().get("congo"), Some("t61rcWkgMzE"));
    assert_eq!(TraceContext::try_from(&theirs), Ok(ours));
}

#[test]
fn the_random_flag_survives_both_ways() {
    let ours = TraceContext::new(format!("{}3", &VALID[..54]).parse().unwrap());
    let back = TraceContext::try_from(&SpanContext::from(&ours)).unwrap();
    assert_eq!(back.parent.flags.bits(), 3);
}

#[test]
fn a_span_context_without_ids_is_no_context() {
    assert_eq!(TraceContext::try_from(&SpanContext::empty_context()), Err(InvalidSpanContext));
}

#[test]
fn their_state_is_held_to_the_specification() {
    let ours = TraceContext::new(VALID.parse().unwrap());
    let theirs = SpanContext::from(&ours);
    let state = OtelState::from_key_value([("foo", "")]).unwrap();
    let theirs = SpanContext::new(theirs.trace_id(), theirs.span_id(), theirs.trace_flags(), false, state);
    assert!(TraceContext::try_from(&theirs).unwrap().state.is_empty(), "an empty value is none");
}

#[test]
fn a_member_that_one_of_both_does_not_take_leaves_the_others_alone() {
    let mut ours = TraceContext::new(VALID.parse().unwrap());
    ours.state = "congo=1,foo@bar@baz=2,rojo=3".parse().unwrap();
    let theirs = SpanContext::from(&ours);
    assert_eq!(theirs.trace_state().header(), "congo=1,rojo=3");
    let state = theirs.trace_state().insert("empty", "").unwrap();
    let theirs = SpanContext::new(theirs.trace_id(), theirs.span_id(), theirs.trace_flags(), false, state);
    assert_eq!(TraceContext::try_from(&theirs).unwrap().state.as_str(), "congo=1,rojo=3");
}

#[test]
fn the_propagator_reads_several_fields_and_refuses_what_theirs_takes() {
    let ours = W3cPropagator::new();
    let received =
        extracted(&ours, &fields(&[("traceparent", VALID), ("tracestate", "a=1"), ("tracestate", "b=2")]));
    assert_eq!(received.trace_state().header(), "a=1,b=2");
    let short = fields(&[("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-f067aa0ba902b7-01")]);
    assert!(!extracted(&ours, &short).is_valid());
    assert!(extracted(&TraceContextPropagator::new(), &short).is_valid(), "theirs still takes it");
    let twice = fields(&[("traceparent", VALID), ("traceparent", VALID)]);
    assert!(!extracted(&ours, &twice).is_valid());
}

#[test]
fn the_propagator_sends_what_it_received_and_no_empty_field() {
    let ours = W3cPropagator::new();
    let names: Vec<_> = ours.fields().collect();
    assert_eq!(names, ["traceparent", "tracestate"]);
    for state in ["", "a=1"] {
        let received = extracted(&ours, &fields(&[("traceparent", VALID), ("tracestate", state)]));
        let mut sent = HashMap::new();
        ours.inject_context(&Context::new().with_remote_span_context(received), &mut sent);
        assert_eq!(sent.get("traceparent").map(String::as_str), Some(VALID));
        assert_eq!(sent.get("tracestate").map_or("", String::as_str), state);
        assert_eq!(sent.contains_key("tracestate"), !state.is_empty());
    }
    let mut sent = HashMap::new();
    ours.inject_context(&Context::new(), &mut sent);
    assert!(sent.is_empty());
}

prop_compose! {
    fn any_parent()(trace in 1_u128.., span in 1_u64.., flags in any::<u8>()) -> TraceParent {
        let trace_id = TraceId::new(trace.to_be_bytes()).expect("not zero");
        let parent_id = SpanId::new(span.to_be_bytes()).expect("not zero");
        TraceParent { trace_id, parent_id, flags: TraceFlags::from_bits(flags) }
    }
}

/// Members that both take, up to the limits of number and length.
///
/// Theirs holds to level 1 in that an at sign stands once, with a system of up to 13 bytes behind it, that begins
/// with a letter or a digit.
fn members() -> impl Strategy<Value = Vec<(String, String)>> {
    let key = prop_oneof![
        8 => "[a-z0-9][a-z0-9_*/-]{0,20}",
        4 => "[a-z0-9][a-z0-9_*/-]{0,20}@[a-z0-9][a-z0-9_*/-]{0,12}",
        1 => "[a-z0-9][a-z0-9_*/-]{253,255}",
        1 => "[a-z0-9][a-z0-9_*/-]{237,240}@[a-z][a-z0-9_*/-]{12}",
    ];
    let value = prop_oneof![
        8 => "[ ]{0,2}[!-+\\--<>-~]([ -+\\--<>-~]{0,18}[!-+\\--<>-~])?",
        1 => "[ -+\\--<>-~]{253,255}[!-+\\--<>-~]",
    ];
    let members = prop_oneof![
        3 => prop::collection::btree_map(key.clone(), value.clone(), 0..32),
        1 => prop::collection::btree_map(key, value, 32),
    ];
    members.prop_map(|members| members.into_iter().collect())
}

/// Baggage that both read alike: theirs also decodes keys, cuts values at an equals sign, and trims what it has
/// decoded. It has one value for each key.
fn baggage() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = any::<String>().prop_map(|text| text.replace('=', "").trim().to_owned());
    prop::collection::btree_map("[a-zA-Z0-9!#$&'*+.^_`|~-]{1,8}", value, 0..8)
        .prop_map(|members| members.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn both_read_the_same_from_what_both_have_to_accept(
        parent in any_parent(),
        (version, rest) in prop_oneof![
            Just(("00", "".to_owned())),
            (prop::sample::select(vec!["01", "cc", "fe"]), "(-[ -~]{0,20}[!-~])?"),
        ],
        flags in any::<u8>(),
        padding in vec("[ \t]{0,2}", 32),
        members in members(),
    ) {
        let parent = format!("{version}{}{flags:02x}{rest}", &parent.to_string()[2..53]);
        let list = members.iter().zip(&padding);
        let list: Vec<_> = list.map(|((key, value), pad)| format!("{pad}{key}={value}{pad}")).collect();
        let fields = fields(&[("traceparent", &parent), ("tracestate", &list.join(","))]);
        let theirs = extracted(&TraceContextPropagator::new(), &fields);
        let ours = carrier::extract(&fields).into_context().expect("valid");
        prop_assert!(theirs.is_valid());
        prop_assert_eq!(theirs.trace_id().to_bytes(), ours.trace_id().to_bytes());
        prop_assert_eq!(theirs.span_id().to_bytes(), ours.span_id().to_bytes());
        prop_assert_eq!(theirs.is_sampled(), ours.is_sampled());
        let state = theirs.trace_state();
        prop_assert_eq!(state.into_iter().collect::<Vec<_>>(), ours.state.members().collect::<Vec<_>>());
    }

    #[test]
    fn what_is_sent_is_accepted_by_theirs(parent in any_parent(), members in members()) {
        let mut sent = TraceContext::new(parent);
        for (key, value) in &members {
            sent.state.insert(key, value).unwrap();
        }
        let mut carried = Fields::default();
        carrier::inject(&sent, &mut carried);
        let theirs = extracted(&TraceContextPropagator::new(), &carried);
        prop_assert_eq!(theirs.trace_id().to_bytes(), sent.trace_id().to_bytes());
        prop_assert_eq!(theirs.trace_state().header(), sent.state.as_str());
    }

    #[test]
    fn baggage_that_is_sent_is_read_by_theirs(members in baggage()) {
        let mut sent = TraceContext::new(VALID.parse().unwrap());
        for (key, value) in &members {
            sent.baggage.insert_with(key, value, [("p", Some("q"))]).unwrap();
        }
        let mut carried = Fields::default();
        carrier::inject(&sent, &mut carried);
        let context = BaggagePropagator::new().extract_with_context(&Context::new(), &Theirs(&carried));
        prop_assert_eq!(context.baggage().len(), members.len());
        for (key, value) in &members {
            let (theirs, metadata) = context.baggage().get_with_metadata(key.as_str()).expect("read");
            prop_assert_eq!((theirs.as_str(), metadata.as_str()), (value.as_str(), "p=q"));
        }
    }
}
