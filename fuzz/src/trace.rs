//! Trace headers: what the grammar has is accepted and printed as it came, nothing else is, and lists stay within
//! their bounds.

use std::collections::BTreeSet;

use forebay_tracing_ctx::baggage::Member;
use forebay_tracing_ctx::sampler::Threshold;
use forebay_tracing_ctx::{
    Baggage, MAX_BAGGAGE_LEN, MAX_BAGGAGE_MEMBERS, MAX_TRACESTATE_LEN, MAX_TRACESTATE_MEMBERS, TraceParent,
    TraceState,
};
use http::HeaderValue;

mod grammar;

/// A `traceparent` field.
pub fn traceparent(data: &[u8]) {
    let parsed = TraceParent::parse(data);
    assert_eq!(parsed.is_ok(), grammar::is_traceparent(data), "{parsed:?}");
    let Ok(parent) = parsed else { return };
    let printed = parent.to_bytes();
    assert_eq!(TraceParent::parse(&printed), Ok(parent), "printed, it is the same");
    assert_eq!(parent.to_string().as_bytes(), printed);

    let value = data.trim_ascii();
    assert_eq!(value[3..52], printed[3..52], "ids are those that came");
    let sampled = b"13579bdf".contains(&value[54]);
    let random = b"2367abef".contains(&value[54]);
    assert_eq!((parent.flags.is_sampled(), parent.flags.is_random()), (sampled, random));
}

/// `tracestate` fields, one a line.
pub fn tracestate(data: &[u8]) {
    let fields: Vec<HeaderValue> =
        data.split(|&byte| byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let bytes = fields.iter().map(HeaderValue::as_bytes);
    assert_eq!(TraceState::from_fields(bytes), TraceState::from_fields(&fields), "shared or copied");
    let parsed = TraceState::from_fields(&fields);
    let texts: Vec<&[u8]> = fields.iter().map(HeaderValue::as_bytes).collect();
    let members = |state: &TraceState| -> Vec<(Vec<u8>, Vec<u8>)> {
        state.members().map(|(key, value)| (key.into(), value.into())).collect()
    };
    assert_eq!(parsed.as_ref().ok().map(members), grammar::tracestate(&texts), "{parsed:?}");
    let Ok(mut state) = parsed else { return };
    assert!(state.members().count() <= MAX_TRACESTATE_MEMBERS);
    assert!(state.as_str().len() <= MAX_TRACESTATE_LEN);
    assert_eq!(state.as_str().parse(), Ok(state.clone()), "printed, it is the same");

    state.insert("forebay", "1").expect("a key and a value within the grammar");
    assert_eq!(state.members().next(), Some(("forebay", "1")), "who changed it last is in front");
    assert!(state.members().count() <= MAX_TRACESTATE_MEMBERS);
    let keys: BTreeSet<&str> = state.members().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), state.members().count(), "an edited list has each key once");
    assert!(state.remove("forebay") && state.get("forebay").is_none());

    // The member of OpenTelemetry, whatever is in it.
    let (randomness, threshold) = (state.explicit_randomness(), Threshold::ALL);
    match state.set_threshold(threshold) {
        Ok(()) => assert_eq!(state.threshold(), Some(threshold)),
        Err(_) => assert_eq!(state.threshold(), None, "no room"),
    }
    assert_eq!(state.explicit_randomness(), randomness);
    state.erase_threshold();
    assert_eq!((state.threshold(), state.explicit_randomness()), (None, randomness));
}

/// `baggage` fields, one a line.
pub fn baggage(data: &[u8]) {
    let fields: Vec<HeaderValue> =
        data.split(|&byte| byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()).collect();
    let (mut baggage, dropped) = Baggage::from_fields(&fields);
    let texts: Vec<&[u8]> = fields.iter().map(HeaderValue::as_bytes).collect();
    assert_eq!(members_of(&baggage), grammar::baggage(&texts), "{dropped}");
    let members = baggage.members().count();
    assert!(members <= MAX_BAGGAGE_MEMBERS && baggage.as_str().len() <= MAX_BAGGAGE_LEN);
    assert_eq!(dropped.is_empty(), dropped.members() == 0);
    let came = fields.iter().flat_map(|field| field.as_bytes().split(|&byte| byte == b','));
    let came = came.filter(|member| member.iter().any(|byte| !matches!(byte, b' ' | b'\t'))).count();
    assert_eq!(members + dropped.members(), came, "each member is kept or counted");
    assert_eq!(baggage.as_str().parse(), Ok(baggage.clone()), "printed, it is the same");

    let before: Vec<(String, String)> = raw(&baggage).filter(|(key, _)| key != "forebay").collect();
    let value = String::from_utf8_lossy(data.get(..64).unwrap_or(data));
    if baggage.insert_with("forebay", &value, [("fuzzed", None)]).is_ok() {
        assert_eq!(baggage.get("forebay"), Some(value), "any text comes back");
        assert_eq!(baggage.as_str().parse(), Ok(baggage.clone()), "edited, it is good");
        assert!(baggage.remove("forebay") && baggage.get("forebay").is_none());
        assert_eq!(raw(&baggage).collect::<Vec<_>>(), before, "the others are as they were");
    }
}

/// As they are sent, without spaces and tabs.
fn members_of(baggage: &Baggage) -> Vec<Vec<u8>> {
    let printed = |member: Member<'_>| {
        let mut text = format!("{}={}", member.key(), member.raw_value());
        for property in member.properties() {
            text += &format!(";{}", property.key());
            text.extend(property.raw_value().into_iter().flat_map(|value| ["=", value]));
        }
        text.into_bytes()
    };
    baggage.members().map(printed).collect()
}

fn raw(baggage: &Baggage) -> impl Iterator<Item = (String, String)> {
    baggage.members().map(|member| (member.key().to_owned(), member.raw_value().to_owned()))
}
