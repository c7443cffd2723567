//! Every rule of the specification about `traceparent`. What the W3C's own black-box tests are blind to comes
//! last.

use crate::two_hops::{FIRST_ID, Process, Sent, sent};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn header(version: &str, flags: &str) -> String {
    format!("{version}-{TRACE}-{SPAN}-{flags}")
}

fn sent_for(traceparent: &str) -> Sent {
    sent(&[("traceparent", traceparent), ("tracestate", "foo=1")])
}

fn assert_continues(traceparent: &str, flags: &str) {
    let sent = sent_for(traceparent);
    let [version, trace_id, parent_id, sent_flags] = sent.parts();
    assert_eq!((version, trace_id, sent_flags), ("00", TRACE, flags), "{traceparent:?}");
    assert_ne!(parent_id, SPAN, "{traceparent:?}");
    assert_eq!(sent.tracestate.as_deref(), Some("foo=1"), "{traceparent:?}");
}

fn assert_restarts(traceparent: &str) {
    let sent = sent_for(traceparent);
    assert!(sent.is_restarted(), "{traceparent:?} was sent on as {sent:?}");
    assert_eq!(sent.tracestate, None, "{traceparent:?}");
}

#[test]
fn without_a_traceparent_a_trace_starts_and_a_lone_tracestate_is_dropped() {
    let sent = sent(&[("tracestate", "foo=1")]);
    assert!(sent.is_restarted());
    assert_eq!(sent.tracestate, None);
}

#[test]
fn a_started_trace_is_random_and_sampled_and_of_version_00() {
    let sent = sent(&[]);
    let [version, _, _, flags] = sent.parts();
    assert_eq!((version, flags), ("00", "03"));
}

#[test]
fn a_valid_traceparent_is_continued_with_a_new_parent_id() {
    assert_continues(&header("00", "01"), "01");
}

#[test]
fn two_traceparents_restart_whether_they_differ_or_not() {
    let (one, other) = (header("00", "01"), header("00", "00"));
    for second in [&one, &other] {
        let sent = sent(&[("traceparent", &one), ("traceparent", second), ("tracestate", "foo=1")]);
        assert!(sent.is_restarted());
        assert_eq!(sent.tracestate, None);
    }
}

#[test]
fn two_traceparents_in_one_field_restart() {
    assert_restarts(&format!("{0},{0}", header("00", "01")));
    assert_restarts(&format!("{0}, {0}", header("00", "01")));
}

#[test]
fn the_name_of_the_field_is_in_any_case() {
    for name in ["traceparent", "TraceParent", "TRACEPARENT"] {
        assert_eq!(sent(&[(name, &header("00", "01"))]).parts()[1], TRACE);
    }
    for name in ["trace-parent", "trace.parent"] {
        assert!(sent(&[(name, &header("00", "01"))]).is_restarted());
    }
}

#[test]
fn spaces_and_tabs_around_the_value_are_not_part_of_it() {
    for (before, after) in
        [(" ", ""), ("\t", ""), ("", " "), ("", "\t"), ("\t ", " \t"), ("  \t\t", "\t\t  ")]
    {
        assert_continues(&format!("{before}{}{after}", header("00", "01")), "01");
    }
}

#[test]
fn an_empty_value_restarts() {
    assert_restarts("");
    assert_restarts(" \t ");
}

#[test]
fn version_00_has_exactly_55_bytes() {
    for rest in [".", "-", "-what-the-future-will-be-like", "0", "x"] {
        assert_restarts(&format!("{}{rest}", header("00", "01")));
    }
    assert_restarts(&header("00", "01")[..54]);
}

#[test]
fn a_later_version_is_read_by_its_first_55_bytes() {
    for version in ["01", "0a", "10", "cc", "f0", "fe"] {
        assert_continues(&header(version, "01"), "01");
    }
}

#[test]
fn what_follows_in_a_later_version_begins_with_a_dash() {
    for version in ["01", "cc", "fe"] {
        assert_continues(&format!("{}-what-the-future-will-be-like", header(version, "01")), "01");
        assert_continues(&format!("{}-", header(version, "01")), "01");
        assert_restarts(&format!("{}.what-the-future-will-be-like", header(version, "01")));
        assert_restarts(&format!("{}0", header(version, "01")));
    }
}

/// So two fields of a later version that somebody has joined are read as the first of them: what follows in a
/// version that is not known yet is not judged.
#[test]
fn what_follows_in_a_later_version_may_hold_a_comma_and_what_comes_before_may_not() {
    assert_continues(&format!("{0}-x,{0}", header("cc", "01")), "01");
    assert_restarts(&format!("{0},{0}", header("cc", "01")));
}

#[test]
fn a_later_version_is_read_up_to_512_bytes() {
    assert_continues(&format!("{}-{}", header("cc", "01"), "x".repeat(456)), "01");
    assert_restarts(&format!("{}-{}", header("cc", "01"), "x".repeat(457)));
    assert_restarts(&format!("{}-{}", header("cc", "01"), "x".repeat(100_000)));
}

#[test]
fn version_ff_restarts() {
    assert_restarts(&header("ff", "01"));
    assert_restarts(&format!("{}-", header("ff", "01")));
}

#[test]
fn a_version_is_two_digits() {
    for version in ["", "0", "000", "0000", ".0", "0.", "x0", "-0"] {
        assert_restarts(&header(version, "01"));
    }
}

#[test]
fn a_trace_id_is_32_digits_and_not_zero() {
    let (zero, long, odd, dashes) =
        ("0".repeat(32), format!("{TRACE}0"), TRACE.replace('4', "."), "-".repeat(32));
    for trace in [zero.as_str(), "", &TRACE[1..], &long, &odd, &dashes] {
        assert_restarts(&format!("00-{trace}-{SPAN}-01"));
        assert_restarts(&format!("cc-{trace}-{SPAN}-01"));
    }
}

#[test]
fn a_parent_id_is_16_digits_and_not_zero() {
    let (zero, long, odd, dashes) =
        ("0".repeat(16), format!("{SPAN}0"), SPAN.replace('f', "."), "-".repeat(16));
    for span in [zero.as_str(), "", &SPAN[1..], &long, &odd, &dashes] {
        assert_restarts(&format!("00-{TRACE}-{span}-01"));
        assert_restarts(&format!("cc-{TRACE}-{span}-01"));
    }
}

#[test]
fn flags_are_two_digits() {
    for flags in ["", "1", "001", "0001", ".0", "0.", "-1", "1-"] {
        assert_restarts(&header("00", flags));
    }
}

#[test]
fn a_dash_stands_between_the_parts() {
    for between in ["_", " ", ".", "+", ""] {
        for at in 0..3 {
            let parts = ["00", TRACE, SPAN, "01"];
            let value = parts.into_iter().enumerate().fold(String::new(), |value, (n, part)| match n {
                0 => part.to_owned(),
                n if n == at + 1 => value + between + part,
                _ => value + "-" + part,
            });
            assert_restarts(&value);
        }
    }
}

#[test]
fn sampled_and_random_go_out_as_they_came() {
    for flags in ["00", "01", "02", "03"] {
        assert_continues(&header("00", flags), flags);
        assert_continues(&header("cc", flags), flags);
    }
}

#[test]
fn each_call_has_a_parent_id_of_its_own_which_is_not_the_servers() {
    // The server's span is the first id that is made, and appears in no header.
    let process = Process { calls: 3, ..Process::new() };
    let sent = process.exchange(&[("traceparent", &header("00", "01"))]).sent;
    let parent_ids: Vec<_> = sent.iter().map(|sent| sent.parts()[2].to_owned()).collect();
    assert_eq!(parent_ids, [1, 2, 3].map(|n| format!("{:016x}", FIRST_ID + n)));
    assert!(sent.iter().all(|sent| sent.parts()[1] == TRACE));
}

// Blind spots of the W3C's tests.

#[test]
fn a_short_id_is_not_padded() {
    let sent = sent_for(&format!("00-{}-{SPAN}-01", &TRACE[..31]));
    assert!(sent.is_restarted(), "neither the 31 digits nor these with a zero in front: {sent:?}");
    assert!(sent_for(&format!("00-{TRACE}-{}-01", &SPAN[..15])).is_restarted());
    assert_restarts(&format!("00-0{TRACE}-{}-01", &SPAN[..15]));
    assert_restarts("00-af7-1-1");
    assert_restarts(&format!("00-{TRACE}{}-{SPAN}-01", "0".repeat(19)));
}

#[test]
fn upper_case_digits_are_no_digits() {
    assert_restarts(&header("00", "01").to_uppercase());
    assert_restarts(&header("0A", "01"));
    assert_restarts(&header("A0", "01"));
    assert_restarts(&header("00", "0B"));
    assert_restarts(&format!("00-{}-{SPAN}-01", TRACE.replacen('f', "F", 1)));
    assert_restarts(&format!("00-{TRACE}-{}-01", SPAN.replacen('f', "F", 1)));
}

#[test]
fn signs_and_spaces_are_no_digits() {
    for odd in ["+", " ", "\t", "_", "."] {
        assert_restarts(&format!("{odd}0-{TRACE}-{SPAN}-01"));
        assert_restarts(&format!("00-{odd}{}-{SPAN}-01", &TRACE[1..]));
        assert_restarts(&format!("00-{}{odd}-{SPAN}-01", &TRACE[1..]));
        assert_restarts(&format!("00-{TRACE}-{odd}{}-01", &SPAN[1..]));
        assert_restarts(&format!("00-{TRACE}-{SPAN}-{odd}1"));
    }
    assert_restarts("00-0x4bf92f3577b34da6a3ce929d0e0e47-00f067aa0ba902b7-01");
}

#[test]
fn a_trailing_dash_is_a_byte_too_many() {
    assert_restarts("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-");
}

#[test]
fn flags_without_a_name_are_accepted_and_not_sent() {
    for (flags, named) in [("09", "01"), ("fc", "00"), ("ff", "03"), ("08", "00"), ("fe", "02"), ("80", "00")]
    {
        assert_continues(&header("00", flags), named);
    }
}

#[test]
fn a_random_flag_that_came_unset_stays_unset() {
    for flags in ["00", "01"] {
        assert_eq!(sent_for(&header("00", flags)).parts()[3], flags);
    }
}

#[test]
fn half_of_an_id_may_be_zero() {
    for trace in ["00000000000000000000000000000001", "10000000000000000000000000000000"] {
        assert_eq!(sent_for(&format!("00-{trace}-0000000000000001-00")).parts()[1], trace);
    }
}
