//! Every rule of the specification about `baggage`: what is passed on unread, then what is read and edited.

use forebay_tracing_ctx::TraceContext;

use crate::two_hops::{self, Process};

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What of these fields goes out behind a valid `traceparent`, which must not suffer.
fn sent(fields: &[&str]) -> Option<String> {
    let fields = fields.iter().map(|value| ("baggage", *value));
    let headers: Vec<_> = [("traceparent", VALID)].into_iter().chain(fields).collect();
    let sent = two_hops::sent(&headers);
    assert_eq!(sent.parts()[1], &VALID[3..35], "{headers:?}");
    sent.baggage
}

/// What goes out of a process that does this to its context.
fn edited(edit: fn(&mut TraceContext), fields: &[&str]) -> Option<String> {
    let headers: Vec<_> = fields.iter().map(|value| ("baggage", *value)).collect();
    Process::editing(edit).sent(&headers).baggage
}

#[test]
fn it_is_sent_on_as_it_came() {
    for field in [
        "key1=value1",
        "key1=value1,key2=value2",
        "key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue",
        "userId=Am%C3%A9lie,serverNode=DF%2028,isProduction=false",
        "a=b=c==,empty=,!#$%&'*+-.^_`|~=x",
    ] {
        assert_eq!(sent(&[field]).as_deref(), Some(field));
    }
}

#[test]
fn several_fields_are_combined_in_order_and_keys_may_occur_again() {
    assert_eq!(sent(&["a=1", "b=2;p", "a=3"]).as_deref(), Some("a=1,b=2;p,a=3"));
}

#[test]
fn it_needs_no_trace() {
    for headers in [
        &[("baggage", "a=1")][..],
        &[("traceparent", "00-x"), ("baggage", "a=1")],
        &[("traceparent", VALID), ("traceparent", VALID), ("baggage", "a=1")],
    ] {
        let sent = two_hops::sent(headers);
        assert!(sent.is_restarted());
        assert_eq!(sent.baggage.as_deref(), Some("a=1"));
    }
}

#[test]
fn a_member_outside_the_grammar_is_left_out_and_the_others_are_sent() {
    for bad in ["", "novalue", "=1", "k\"=1", "k=\"quoted\"", "k=a b", "k=a\\b", "k=1;=p", "k=1;p q"] {
        assert_eq!(sent(&[&format!("a=1,{bad},b=2")]).as_deref(), Some("a=1,b=2"), "{bad}");
    }
}

#[test]
fn an_empty_field_is_not_sent() {
    assert_eq!(sent(&[]), None);
    assert_eq!(sent(&["", " , "]), None);
    assert_eq!(sent(&["nothing good"]), None);
}

#[test]
fn up_to_64_members_and_8192_bytes_are_sent_and_only_whole_members_beyond_them_are_not() {
    let members = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
    assert_eq!(sent(&[&members(64)]), Some(members(64)));
    assert_eq!(sent(&[&members(65)]), Some(members(64)));
    assert_eq!(sent(&[&members(40), &members(40)]), Some(format!("{},{}", members(40), members(24))));
    let (long, short) = (format!("a={}", "v".repeat(8186)), "b=1");
    assert_eq!(
        sent(&[&format!("{long},{short}")]),
        Some(format!("{long},{short}").chars().take(8192).collect())
    );
    assert_eq!(sent(&[&format!("{long}v,{short}")]), Some(format!("{long}v")));
}

#[test]
fn the_limits_are_those_of_all_fields_together() {
    let member = |key: &str, bytes: usize| format!("{key}={}", "v".repeat(bytes - key.len() - 1));
    let (first, second) = (member("a", 5000), member("b", 3191));
    assert_eq!(sent(&[&first, &second]), Some(format!("{first},{second}")), "8192 bytes with the comma");
    assert_eq!(sent(&[&first, &member("b", 3192)]), Some(first.clone()), "and no part of a member");
    assert_eq!(sent(&[&first, &member("b", 3192), "c=1"]), Some(first.clone()), "nor what follows it");
    assert_eq!(sent(&[&member("a", 8193)]), None);
    assert_eq!(sent(&[&member("a", 8192)]), Some(member("a", 8192)));
}

#[test]
fn the_name_of_the_field_is_in_any_case() {
    for name in ["baggage", "Baggage", "BAGGAGE", "bAgGaGe"] {
        let sent = two_hops::sent(&[("baggage", "a=1"), (name, "b=2")]);
        assert_eq!(sent.baggage.as_deref(), Some("a=1,b=2"), "{name}");
    }
}

#[test]
fn a_receiver_decodes_values_and_neither_keys_nor_what_is_sent_on() {
    let read = |context: &mut TraceContext| {
        let members: Vec<_> =
            context.baggage.members().map(|member| (member.key(), member.value().into_owned())).collect();
        let expected = [
            ("user", "Amélie"),
            ("node", "DF 28"),
            ("k%20", "a=b=="),
            ("cut", "\u{fffd}x"),
            ("odd", "50%"),
            ("%zz", "%zz"),
        ];
        let expected = expected.map(|(key, value)| (key, value.to_owned()));
        assert_eq!(members, expected);
    };
    let field = "user\t= Am%C3%A9lie , node=DF%2028,k%20=a=b==,cut=%ffx,odd=50%,%zz=%zz";
    assert_eq!(edited(read, &[field]).as_deref(), Some(field));
}

#[test]
fn a_receiver_sees_properties_in_order_with_the_member_they_belong_to() {
    let read = |context: &mut TraceContext| {
        let member = context.baggage.members().nth(1).expect("there are two");
        let properties: Vec<_> = member
            .properties()
            .map(|property| (property.key(), property.value().map(|value| value.into_owned())))
            .collect();
        assert_eq!((member.key(), member.value().as_ref()), ("b", "2"));
        let expected = [("p", None), ("q", Some("x y".to_owned())), ("p", Some(String::new()))];
        assert_eq!(properties, expected);
    };
    assert_eq!(
        edited(read, &["a=1;z, b=2 ; p;q = x%20y;p="]).as_deref(),
        Some("a=1;z, b=2 ; p;q = x%20y;p=")
    );
}

#[test]
fn a_sender_escapes_what_may_not_stand_in_a_value() {
    let write = |context: &mut TraceContext| {
        let text = "100%,a;b\"c\\d e=\u{e9}\u{1f980}\u{7f}\n";
        context.baggage.insert_with("k", text, [("p", Some(";,"))]).expect("fits");
        assert_eq!(context.baggage.get("k").as_deref(), Some(text));
    };
    let expected = "k=100%25%2Ca%3Bb%22c%5Cd%20e=%C3%A9%F0%9F%A6%80%7F%0A;p=%3B%2C";
    assert_eq!(edited(write, &[]).as_deref(), Some(expected));
}

#[test]
fn members_are_added_updated_and_removed_and_the_others_stay_as_they_came() {
    let change = |context: &mut TraceContext| {
        context.baggage.insert("new", "1").expect("fits");
        context.baggage.insert("b", "2").expect("fits");
        assert!(context.baggage.remove("c"));
    };
    assert_eq!(
        edited(change, &["a=%41%2f;p=%3b,b=old;gone,c=3", "d=4,d=5;q,b=older"]).as_deref(),
        Some("a=%41%2f;p=%3b,b=2,d=4,d=5;q,new=1"),
        "equal keys among them, escape by escape"
    );
    let clear = |context: &mut TraceContext| assert!(context.baggage.remove("a"));
    assert_eq!(edited(clear, &["a=1", "a=2"]), None);
}
