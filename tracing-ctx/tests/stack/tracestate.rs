//! Every rule of the specification about `tracestate`: what is passed on unread, then what is edited, then what
//! the W3C's own black-box tests are blind to.

use forebay_tracing_ctx::TraceContext;

use crate::two_hops::{self, Process};

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What of these fields goes out behind a valid `traceparent`, whose trace must not suffer.
fn sent(fields: &[&str]) -> Option<String> {
    let fields = fields.iter().map(|value| ("tracestate", *value));
    let headers: Vec<_> = [("traceparent", VALID)].into_iter().chain(fields).collect();
    let sent = two_hops::sent(&headers);
    assert_eq!(sent.parts()[1], &VALID[3..35], "{headers:?}");
    sent.tracestate
}

/// What goes out of a process that does this to its context.
fn edited(edit: fn(&mut TraceContext), fields: &[&str]) -> Option<String> {
    let fields = fields.iter().map(|value| ("tracestate", *value));
    let headers: Vec<_> = [("traceparent", VALID)].into_iter().chain(fields).collect();
    Process::editing(edit).sent(&headers).tracestate
}

/// Notes something of one's own.
fn note(context: &mut TraceContext) {
    context.state.insert("own", "new").expect("within the grammar");
}

/// Sends at most this many bytes.
fn cut(bytes: usize, field: &str) -> Option<String> {
    let process = Process::new();
    let process = Process { client: process.client.max_tracestate(bytes), ..process };
    process.sent(&[("traceparent", VALID), ("tracestate", field)]).tracestate
}

fn assert_kept(field: &str) {
    assert!(sent(&[field]).as_deref() == Some(field), "{field:.200}");
}

fn assert_dropped(fields: &[&str]) {
    assert!(sent(fields).is_none(), "{:.200}", format!("{fields:?}"));
}

fn numbered(count: usize) -> String {
    (0..count).map(|n| format!("bar{n:02}={n:02}")).collect::<Vec<_>>().join(",")
}

#[test]
fn a_list_is_sent_on_as_it_came() {
    assert_kept("foo=1");
    assert_kept("foo=1,bar=2");
    assert_kept("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE");
}

#[test]
fn it_is_not_read_without_a_valid_traceparent() {
    for traceparent in [&VALID[..54], "", VALID.to_uppercase().as_str()] {
        let sent = two_hops::sent(&[("traceparent", traceparent), ("tracestate", "foo=1")]);
        assert!(sent.is_restarted());
        assert_eq!(sent.tracestate, None);
    }
}

#[test]
fn several_fields_are_combined_in_order_into_one() {
    assert_eq!(sent(&["foo=1", "bar=2"]).as_deref(), Some("foo=1,bar=2"));
    assert_eq!(sent(&["foo=1,bar=2", "baz=3", "qux=4"]).as_deref(), Some("foo=1,bar=2,baz=3,qux=4"));
}

#[test]
fn the_name_of_the_field_is_in_any_case() {
    let sent = two_hops::sent(&[("traceparent", VALID), ("TraceState", "foo=1"), ("TRACESTATE", "bar=2")]);
    assert_eq!(sent.tracestate.as_deref(), Some("foo=1,bar=2"));
    assert_eq!(two_hops::sent(&[("traceparent", VALID), ("trace-state", "foo=1")]).tracestate, None);
}

#[test]
fn empty_fields_and_members_are_skipped() {
    assert_eq!(sent(&["foo=1", ""]).as_deref(), Some("foo=1"));
    assert_eq!(sent(&["", "foo=1"]).as_deref(), Some("foo=1"));
    assert_eq!(sent(&["foo=1", "", "bar=2"]).as_deref(), Some("foo=1,bar=2"));
    assert_kept("foo=1,,bar=2");
    assert_kept("foo=1, \t,bar=2");
}

#[test]
fn no_empty_field_is_sent() {
    assert_dropped(&[""]);
    assert_dropped(&["", ""]);
    assert_dropped(&[","]);
    assert_dropped(&[" , \t,", ""]);
}

#[test]
fn spaces_and_tabs_may_stand_around_members() {
    assert_kept("foo=1 \t , \t bar=2, \t baz=3");
    assert_eq!(sent(&["\tfoo=1 "]).as_deref(), Some("foo=1"));
    assert_eq!(sent(&[" \tfoo=1 \t", " bar=2"]).as_deref(), Some("foo=1,bar=2"));
}

#[test]
fn spaces_and_tabs_may_not_stand_around_the_equals_sign_of_a_key() {
    assert_dropped(&["foo =1"]);
    assert_dropped(&["foo\t=1"]);
    assert_dropped(&["foo=\t1"]);
}

#[test]
fn spaces_in_front_of_and_within_a_value_belong_to_it() {
    assert_kept("foo= 1,bar=2");
    assert_kept("foo=a b  c,bar=2");
}

#[test]
fn a_member_has_one_equals_sign() {
    assert_dropped(&["foo"]);
    assert_dropped(&["foo=1=2"]);
    assert_dropped(&["foo==1"]);
    assert_dropped(&["foo=bar=baz=1"]);
}

#[test]
fn one_bad_member_drops_the_whole_list() {
    for bad in ["foo=", "=1", "=", "FOO=1", "foo.bar=1", "foo bar=1", "foo=,bar=3"] {
        assert_dropped(&[bad]);
        assert_dropped(&[&format!("good=1,{bad},fine=2")]);
        assert_dropped(&["good=1", bad]);
        assert_dropped(&[bad, "good=1"]);
    }
}

#[test]
fn a_key_is_of_small_letters_digits_and_five_signs() {
    assert_kept("abcdefghijklmnopqrstuvwxyz0123456789_-*/@=1");
    for bad in ["fOo", "f.o", "f+o", "f:o", "f;o", "f\\o", "f~o", "f\"o", "f%o"] {
        assert_dropped(&[&format!("{bad}=1")]);
    }
}

#[test]
fn a_key_begins_with_a_letter_or_a_digit() {
    for good in ["a", "9", "0a", "z*"] {
        assert_kept(&format!("{good}=1"));
    }
    for bad in ["_a", "-a", "*a", "/a", "@a", "@"] {
        assert_dropped(&[&format!("{bad}=1")]);
    }
}

#[test]
fn an_at_sign_is_a_sign_like_others_since_level_2() {
    let (long_tenant, long_system) = (format!("{}@v", "t".repeat(242)), format!("t@{}", "v".repeat(15)));
    for good in ["foo@", "foo@bar@baz", "foo@@bar", "0@a", &long_tenant, &long_system] {
        assert_kept(&format!("{good}=1"));
    }
}

#[test]
fn a_key_has_at_most_256_bytes() {
    assert_kept(&format!("{}=1", "z".repeat(256)));
    assert_dropped(&[&format!("{}=1", "z".repeat(257))]);
    assert_kept(&format!("{}@{}=1", "t".repeat(241), "v".repeat(14)));
    assert_dropped(&[&format!("{}@{}=1", "t".repeat(241), "v".repeat(15))]);
}

#[test]
fn a_value_is_of_printable_characters_without_comma_and_equals_sign() {
    let printable: String = (0x20..=0x7e_u8).map(char::from).filter(|sign| !",=".contains(*sign)).collect();
    assert_kept(&format!("foo={printable}"));
    assert_dropped(&["foo=a\tb"]);
    assert_dropped(&["foo=é"]);
}

#[test]
fn a_value_has_1_to_256_bytes() {
    assert_kept(&format!("foo={}", "v".repeat(256)));
    assert_dropped(&[&format!("foo={}", "v".repeat(257))]);
    assert_dropped(&["foo="]);
    assert_dropped(&["foo= ,bar=1"]);
}

#[test]
fn a_list_has_at_most_32_members_in_all_fields_and_one_more_drops_all() {
    assert_kept(&numbered(32));
    assert_dropped(&[&numbered(33)]);
    assert_eq!(sent(&[&numbered(16), &numbered(16)]), Some(format!("{0},{0}", numbered(16))));
    assert_dropped(&[&numbered(16), &numbered(17)]);
    assert_kept(&format!("{},,, ,", numbered(32)));
}

#[test]
fn equal_keys_do_not_kill_the_list() {
    assert_kept("foo=1,foo=1");
    assert_kept("foo=1,foo=2");
    assert_eq!(sent(&["foo=1", "foo=2"]).as_deref(), Some("foo=1,foo=2"));
}

#[test]
fn a_member_that_is_inserted_or_updated_goes_to_the_front() {
    assert_eq!(edited(note, &[]).as_deref(), Some("own=new"));
    assert_eq!(edited(note, &["foo=1,bar=2"]).as_deref(), Some("own=new,foo=1,bar=2"));
    assert_eq!(edited(note, &["foo=1,own=old,bar=2"]).as_deref(), Some("own=new,foo=1,bar=2"));
    assert_eq!(edited(note, &["own=old,foo=1,own=older"]).as_deref(), Some("own=new,foo=1"));
}

#[test]
fn a_member_may_be_removed_and_no_empty_field_is_sent_for_the_last_one() {
    let forget = |context: &mut TraceContext| assert!(context.state.remove("own"));
    assert_eq!(edited(forget, &["foo=1,own=old,bar=2"]).as_deref(), Some("foo=1,bar=2"));
    assert_eq!(edited(forget, &["own=old"]), None);
}

#[test]
fn of_equal_keys_the_first_is_kept_when_the_list_is_written_anew() {
    assert_eq!(edited(note, &["foo=1,bar=2,foo=3"]).as_deref(), Some("own=new,foo=1,bar=2"));
    assert_eq!(edited(note, &["foo=1", "foo=2"]).as_deref(), Some("own=new,foo=1"));
}

#[test]
fn a_full_list_loses_its_last_member_to_one_that_is_inserted() {
    let all_but_last = numbered(31);
    assert_eq!(edited(note, &[&numbered(32)]), Some(format!("own=new,{all_but_last}")));
    assert_eq!(edited(note, &[&all_but_last]), Some(format!("own=new,{all_but_last}")));
}

#[test]
fn a_list_is_cut_by_whole_members_first_the_long_ones_and_then_from_the_right() {
    let (long, longer) = ("l".repeat(125), "m".repeat(200)); // with key and equals sign 129 and 204 bytes
    let list = format!("a=1,long={long},b=2,far={longer},c=3");
    assert_eq!(cut(1000, &list).as_ref(), Some(&list));
    assert_eq!(cut(list.len() - 1, &list), Some(format!("a=1,long={long},b=2,c=3")));
    assert_eq!(cut(140, &list).as_deref(), Some("a=1,b=2,c=3"));
    assert_eq!(cut(10, &list).as_deref(), Some("a=1,b=2"));
    assert_eq!(cut(2, &list), None);
    let just = format!("a=1,k={}", "v".repeat(126)); // a member of 128 bytes is not yet a long one
    assert_eq!(cut(128, &format!("{just},b=2")).as_deref(), Some("a=1"));
}

#[test]
fn a_list_in_several_fields_is_edited_like_one_in_a_single_field() {
    let fields = ["a=1,b=2", "", "c=3", " d=4\t", "e=5,a=6"];
    for cuts in 0..16_u32 {
        let mut split = vec![fields[0].to_owned()];
        for (at, field) in fields[1..].iter().enumerate() {
            if cuts & (1 << at) != 0 {
                split.push((*field).to_owned());
            } else {
                let last = split.last_mut().expect("there is one");
                *last = format!("{last},{field}");
            }
        }
        let split: Vec<&str> = split.iter().map(String::as_str).collect();
        assert_eq!(edited(note, &split).as_deref(), Some("own=new,a=1,b=2,c=3,d=4,e=5"), "{split:?}");
    }
}

// Blind spots of the W3C's tests.

#[test]
fn far_more_than_512_characters_are_sent_on() {
    let longest = |n: usize| format!("{n:0256}={}", "v".repeat(256));
    let list = (0..32).map(longest).collect::<Vec<_>>().join(",");
    assert_eq!(list.len(), 16_447);
    assert_kept(&list);
}

#[test]
fn padding_beyond_the_longest_legal_list_is_not_sent() {
    assert_kept(&format!("a=1{}b=2", ",".repeat(16_441)));
    assert_eq!(sent(&[&format!("a=1{}b=2", ",".repeat(16_442))]).as_deref(), Some("a=1,b=2"));
}

#[test]
fn members_keep_their_order_also_behind_one_that_is_inserted_or_moved() {
    let list = |numbers: &[u32]| numbers.iter().map(|n| format!("k{n}={n}")).collect::<Vec<_>>().join(",");
    let falling: Vec<u32> = (0..31).rev().collect();
    assert_kept(&list(&falling));
    assert_eq!(edited(note, &[&list(&falling)]), Some(format!("own=new,{}", list(&falling))));
    let move_k7 = |context: &mut TraceContext| context.state.insert("k7", "x").expect("within the grammar");
    let others: Vec<u32> = falling.iter().copied().filter(|n| *n != 7).collect();
    assert_eq!(edited(move_k7, &[&list(&falling)]), Some(format!("k7=x,{}", list(&others))));
}
