//! The rules of the specification about `baggage` that show between processes, through a real server and a
//! real client.

#[path = "stack/two_hops.rs"]
mod two_hops;

const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What of these fields goes out behind a valid `traceparent`, which must not suffer.
fn sent(fields: &[&str]) -> Option<String> {
    let fields = fields.iter().map(|value| ("baggage", *value));
    let headers: Vec<_> = [("traceparent", VALID)].into_iter().chain(fields).collect();
    let sent = two_hops::sent(&headers);
    assert_eq!(sent.parts()[1], &VALID[3..35], "{headers:?}");
    sent.baggage
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
