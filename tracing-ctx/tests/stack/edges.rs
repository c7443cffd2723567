//! What processes do that do not simply continue a trace: they restart it, decide about it, pass it through,
//! or name it in their response.

use std::sync::Arc;

use forebay_tracing_ctx::layer::Trust;
use forebay_tracing_ctx::sampler::{Always, Consistent, Never};
use http::HeaderName;

use crate::two_hops::{FIRST_ID, Process, Sent, Work, by_parent};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const STRANGER: &[(&str, &str)] = &[
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("tracestate", "a=1"),
    ("baggage", "k=v"),
];

/// With flags of one's choice and a threshold and a randomness of OpenTelemetry.
fn threshold(flags: &str) -> [(&'static str, String); 2] {
    let traceparent = format!("00-{TRACE}-00f067aa0ba902b7-{flags}");
    [("traceparent", traceparent), ("tracestate", "a=1,ot=th:0;rv:80000000000000".to_owned())]
}

fn trusting(trust: Trust) -> Process {
    let process = Process::new();
    Process { server: process.server.trust(trust), ..process }
}

fn assert_is_new(sent: &Sent, flags: &str) {
    assert!(sent.is_restarted(), "{sent:?}");
    assert_eq!(sent.parts()[3], flags);
    assert_eq!((&sent.tracestate, &sent.baggage), (&None, &None));
}

#[test]
fn a_restarted_trace_is_random_and_takes_neither_tracestate_nor_baggage_along() {
    for trust in [Trust::Restart, Trust::Link] {
        assert_is_new(&trusting(trust).sent(STRANGER), "03");
    }
}

#[test]
fn a_restarted_trace_that_is_not_sampled_is_random_all_the_same() {
    for trust in [Trust::Restart, Trust::Link] {
        let process = trusting(trust);
        let process = Process { server: process.server.sampler(by_parent(Never)), ..process };
        assert_is_new(&process.sent(STRANGER), "02");
    }
    let process = Process::new();
    let process = Process { server: process.server.sampler(by_parent(Never)), ..process };
    for received in [&[][..], &[("traceparent", "00-x")], &[("tracestate", "a=1")]] {
        assert_is_new(&process.sent(received), "02");
    }
}

#[test]
fn whoever_decides_anew_changes_the_flag_together_with_the_parent_id() {
    for (sampler, flags, sent_flags) in [
        (by_parent(Never), "01", "00"),
        (by_parent(Never), "03", "02"),
        (by_parent(Always), "00", "01"),
        (by_parent(Always), "02", "03"),
    ] {
        let process = trusting(Trust::IgnoreSampled);
        let process = Process { server: process.server.sampler(sampler), ..process };
        let received = threshold(flags);
        let sent = process.sent(&received.each_ref().map(|(name, value)| (*name, value.as_str())));
        let parent_id = format!("{:016x}", FIRST_ID + 1);
        assert_eq!(sent.parts(), ["00", TRACE, &parent_id, sent_flags]);
        // The threshold said something else, and goes; the randomness is the trace's, and stays.
        assert_eq!(sent.tracestate.as_deref(), Some("ot=rv:80000000000000,a=1"));
    }
}

#[test]
fn a_client_that_decides_anew_changes_the_flag_together_with_the_parent_id() {
    let process = Process::new();
    let process = Process { client: process.client.sampler(Arc::new(Never)), calls: 2, ..process };
    let sent = process.exchange(STRANGER).sent;
    for (n, sent) in (1..).zip(&sent) {
        assert_eq!(sent.traceparent, format!("00-{TRACE}-{:016x}-00", FIRST_ID + n));
        assert_eq!(sent.tracestate.as_deref(), Some("a=1"));
    }
}

#[test]
fn baggage_stops_at_a_server_or_at_a_client_that_does_not_take_it_along() {
    let process = Process::new();
    let deaf = Process { server: process.server.clone().baggage(false), ..process.clone() };
    let mute = Process { client: process.client.clone().baggage(false), ..process };
    for process in [deaf, mute] {
        let sent = process.sent(STRANGER);
        assert_eq!(
            (sent.parts()[1], sent.tracestate.as_deref(), sent.baggage.as_deref()),
            (TRACE, Some("a=1"), None)
        );
    }
}

#[test]
fn a_proxy_that_loses_its_context_continues_the_trace_that_its_requests_name() {
    let process = Process { work: Work::ForwardWithoutContext, ..Process::new() };
    let sent = process.sent(STRANGER);
    assert_eq!((sent.parts()[1], sent.tracestate.as_deref()), (TRACE, Some("a=1")));
    assert_eq!(sent.baggage.as_deref(), Some("k=v"));
}

/// Headers that the server had not taken over were still there for the client to find.
#[test]
fn a_proxy_that_loses_its_context_does_not_continue_what_the_server_has_not_taken_over() {
    for keep in [false, true] {
        for trust in [Trust::Restart, Trust::Link] {
            let process = trusting(trust);
            let client = process.client.clone().keep_existing(keep);
            let process = Process { client, work: Work::ForwardWithoutContext, ..process };
            let sent = process.sent(STRANGER);
            assert_ne!(sent.parts()[1], TRACE);
            assert_eq!((sent.tracestate, sent.baggage), (None, None));
        }
        // Whether a trace is sampled was not taken over either, nor how likely that was.
        let ignoring = trusting(Trust::IgnoreSampled);
        let ignoring = Process { server: ignoring.server.sampler(by_parent(Never)), ..ignoring };
        let anew = Process::new();
        let anew = Process { server: anew.server.sampler(Arc::new(Never)), ..anew };
        for process in [ignoring, anew] {
            let client = process.client.clone().keep_existing(keep);
            let process = Process { client, work: Work::ForwardWithoutContext, ..process };
            let sent = process.sent(STRANGER);
            assert_ne!(sent.parts()[1], TRACE);
            assert_eq!((sent.tracestate, sent.baggage.as_deref()), (None, Some("k=v")));
        }
        // What is decided as the caller did is what its headers say.
        let process = trusting(Trust::IgnoreSampled);
        let client = process.client.clone().keep_existing(keep);
        let process = Process { client, work: Work::ForwardWithoutContext, ..process };
        assert_eq!(process.sent(STRANGER).parts()[1], TRACE);
        let process = Process::new();
        let server = process.server.clone().baggage(false);
        let client = process.client.clone().keep_existing(keep);
        let process = Process { server, client, work: Work::ForwardWithoutContext, ..process };
        let sent = process.sent(STRANGER);
        assert_eq!((sent.parts()[1], sent.tracestate.as_deref()), (TRACE, Some("a=1")));
        assert_eq!(sent.baggage, None);
    }
}

#[test]
fn a_proxy_that_loses_its_context_does_not_pass_on_a_threshold_that_was_changed() {
    let process = Process { work: Work::ForwardWithoutContext, ..Process::new() };
    let process = Process { server: process.server.sampler(Arc::new(Consistent::ALL)), ..process };
    for (threshold, continued) in [("8", false), ("0", true)] {
        let tracestate = format!("ot=th:{threshold};rv:80000000000000");
        let sent = process.sent(&[STRANGER[0], ("tracestate", &tracestate)]);
        assert_eq!(sent.parts()[1] == TRACE, continued);
        assert_eq!(sent.tracestate, continued.then_some(tracestate));
    }
}

#[test]
fn a_process_that_takes_no_part_passes_every_byte() {
    let process = Process::new();
    let client = process.client.clone().keep_existing(true);
    let process = Process { client, work: Work::Forward, ..process };
    for received in [
        STRANGER,
        &[
            ("traceparent", "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-more"),
            ("tracestate", "b=2 , a= 1,,a=3"),
            ("baggage", "k=%41 ; p,, no member"),
        ],
        &[("traceparent", "00-x"), ("tracestate", "A=,"), ("baggage", ";")],
    ] {
        let sent = process.sent(received);
        let passed = [Some(sent.traceparent), sent.tracestate, sent.baggage];
        let expected: Vec<_> = received.iter().map(|field| Some(field.1.to_owned())).collect();
        assert_eq!(passed.as_slice(), expected);
    }
}

#[test]
fn a_process_that_passes_headers_on_keeps_baggage_from_strangers_if_it_is_told_to() {
    let process = Process::new();
    let client = process.client.clone().keep_existing(true).baggage(false);
    let process = Process { client, work: Work::Forward, ..process };
    let sent = process.sent(STRANGER);
    assert_eq!((sent.traceparent.as_str(), sent.tracestate.as_deref()), (STRANGER[0].1, Some("a=1")));
    assert_eq!(sent.baggage, None);
}

#[test]
fn a_response_names_the_span_of_the_server() {
    let process = Process::new();
    let server =
        process.server.clone().server_timing().response_header(HeaderName::from_static("x-trace-id"));
    let process = Process { server, ..process };
    let answered = process.exchange(STRANGER).answered;
    let metric = format!("trace;desc=00-{TRACE}-{FIRST_ID:016x}-01");
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(answered, [field("x-trace-id", TRACE), field("server-timing", &metric)]);

    let answered = process.exchange(&[]).answered;
    assert_eq!(answered[0].1, format!("{FIRST_ID:016x}{:016x}", FIRST_ID + 1), "one that started here");
    assert_eq!(Process::new().exchange(STRANGER).answered, [], "nothing unless it is told to");
}
