//! What the classes of the W3C's own test suite (`tracecontext/traceparent.py` and `tracestate.py`) say
//! of a thousand headers, made from a seed by mutating valid ones. A line is a header and what is in it, or null.
//!
//! Left out is what those classes leave to their users: zero ids in later versions, and more than 32 members.

use forebay_tracing_ctx::{TraceParent, TraceState};
use serde_json::Value;

const GOLDEN: &str = include_str!("golden/w3c.jsonl");

/// The lines about this field: its value, and what it is.
fn lines(field: &str) -> Vec<(String, Value)> {
    let line = |line: &str| {
        let Value::Object(mut line) = serde_json::from_str(line).expect("JSON") else { panic!("{line}") };
        let text = line.remove(field)?.as_str()?.to_owned();
        Some((text, line.remove("is")?))
    };
    GOLDEN.lines().filter_map(line).collect()
}

#[test]
fn traceparents_are_what_the_suite_takes_them_for() {
    let lines = lines("traceparent");
    assert_eq!(lines.len(), 400);
    for (text, expected) in lines {
        let found = TraceParent::parse(text.as_bytes()).map_or(Value::Null, |parent| {
            let ids = (parent.trace_id.to_string(), parent.parent_id.to_string());
            serde_json::json!([ids.0, ids.1, parent.flags.bits()])
        });
        assert_eq!(found, expected, "{text:?}");
    }
}

#[test]
fn tracestates_have_the_members_that_the_suite_finds_in_them() {
    let lines = lines("tracestate");
    assert_eq!(lines.len(), 600);
    for (text, expected) in lines {
        let found = text.parse::<TraceState>().map_or(Value::Null, |state| {
            // The suite's list drops what has a key that was there before.
            let mut members: Vec<(&str, &str)> = Vec::new();
            for member in state.members() {
                if members.iter().all(|before| before.0 != member.0) {
                    members.push(member);
                }
            }
            serde_json::json!(members)
        });
        assert_eq!(found, expected, "{text:?}");
    }
}
