//! What becomes of baggage that is changed, compared, printed; and what all of it allocates.

#![cfg(feature = "std")]

use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;

use allocation_counter::measure;
use forebay_tracing_ctx::baggage::{Baggage, BaggageError};
use http::HeaderValue;

fn parsed(text: &str) -> Baggage {
    text.parse().expect("a good text")
}

fn numbered(count: usize) -> String {
    (0..count).map(|n| format!("k{n}={n}")).collect::<Vec<_>>().join(",")
}

#[test]
fn a_new_key_goes_to_the_end() {
    let mut baggage = Baggage::EMPTY;
    baggage.insert("b", "1").unwrap();
    baggage.insert("a", "2").unwrap();
    baggage.insert("B", "3").unwrap();
    assert_eq!(baggage.as_str(), "b=1,a=2,B=3");
}

#[test]
fn a_known_key_keeps_its_first_place_and_loses_the_others_and_its_properties() {
    let mut baggage = parsed("a=1,b=2;p,c=3,b=4,c=5,b=6");
    baggage.insert("b", "new").unwrap();
    assert_eq!(baggage.as_str(), "a=1,b=new,c=3,c=5", "others that occur twice are none of its business");
}

#[test]
fn an_edit_leaves_the_others_as_they_were_written() {
    let others = "a=%7e%FF%;p=%zz;p,a=%41";
    let mut baggage = parsed(others);
    baggage.insert("new", "1").unwrap();
    assert_eq!(baggage.as_str(), format!("{others},new=1"));
    assert!(baggage.remove("new"));
    assert_eq!(baggage.as_str(), others);
}

#[test]
fn a_value_may_be_any_text() {
    let mut baggage = Baggage::EMPTY;
    for text in ["", " ", "a,b;c=d\"\\", "100%", "%41", "\0\t\r\n\u{7f}", "søk 🦀", "\u{fffd}"] {
        baggage.insert("k", text).unwrap();
        assert_eq!(baggage.get("k").as_deref(), Some(text));
        assert_eq!(baggage, parsed(baggage.as_str()));
    }
    baggage.insert("k", "a %,;\"\\\u{7f}ø=+~!").unwrap();
    assert_eq!(baggage.as_str(), "k=a%20%25%2C%3B%22%5C%7F%C3%B8=+~!", "only what needs it is escaped");
}

#[test]
fn properties_are_written_in_order() {
    let mut baggage = parsed("k=old;gone");
    baggage.insert_with("k", "v", [("p", None), ("q", Some("a b")), ("p", Some(""))]).unwrap();
    assert_eq!(baggage.as_str(), "k=v;p;q=a%20b;p=");
    let member = baggage.members().next().unwrap();
    let read: Vec<_> = member.properties().map(|p| (p.key(), p.value())).collect();
    assert_eq!(read, [("p", None), ("q", Some("a b".into())), ("p", Some("".into()))]);
}

#[test]
fn what_is_no_token_is_no_key() {
    let mut baggage = parsed("a=1");
    for key in ["", " ", "a b", "a=b", "ø", "a,b", "a;b", "(a)", "a/b", "\"a\"", "a\n"] {
        let error = Err(BaggageError::Key { found: key.len() });
        assert_eq!(baggage.insert(key, "2"), error, "{key:?}");
        assert_eq!(baggage.insert_with("a", "2", [("p", None), (key, None)]), error, "{key:?}");
    }
    assert_eq!(baggage.as_str(), "a=1", "a refused member changes nothing");
}

#[test]
fn a_member_too_many_is_refused_and_nothing_changes() {
    let mut baggage = parsed(&numbered(64));
    assert_eq!(baggage.insert("new", "1"), Err(BaggageError::TooManyMembers { limit: 64 }));
    assert_eq!(baggage.as_str(), numbered(64));
    baggage.insert("k5", "new").unwrap();
    assert!(baggage.remove("k0"));
    baggage.insert("new", "1").unwrap();
    assert_eq!(baggage.members().count(), 64);
}

#[test]
fn a_byte_too_many_is_refused_and_nothing_changes() {
    let mut baggage = parsed("a=1;p");
    let fits = "%".repeat((8192 - 8) / 3);
    assert_eq!(baggage.insert("b", &format!("{fits}12")), Err(too_long(8194)));
    assert_eq!(baggage.as_str(), "a=1;p");
    baggage.insert("b", &fits).unwrap();
    assert_eq!(baggage.as_str().len(), 8192);
    assert_eq!(baggage.insert_with("a", "1", [("p", Some(""))]), Err(too_long(8193)));
    assert_eq!(baggage.get("b").as_deref(), Some(&*fits));
}

fn too_long(found: usize) -> BaggageError {
    BaggageError::TooLong { found, limit: 8192 }
}

#[test]
fn removing_takes_all_of_a_key_and_the_last_leaves_nothing_to_send() {
    let came = HeaderValue::from_static("a=1 , b=2;p,a=3");
    let (mut baggage, _) = Baggage::from_fields([&came]);
    assert!(!baggage.remove("A"));
    assert_eq!(baggage.as_str(), "a=1 , b=2;p,a=3", "untouched if there was nothing to remove");
    assert!(baggage.remove("a"));
    assert_eq!(baggage.as_str(), "b=2;p");
    assert!(baggage.remove("b"));
    assert!(baggage.to_header().is_none());
}

#[test]
fn baggage_that_reads_the_same_is_the_same() {
    let hasher = RandomState::new();
    let (tight, wide) = (parsed("a=A%2c;p=~,b="), HeaderValue::from_static("a = %41%2C ; p=%7E ,, b ="));
    let (wide, _) = Baggage::from_fields([&wide]);
    assert_ne!(tight.as_str(), wide.as_str());
    assert_eq!(tight, wide);
    assert_eq!(hasher.hash_one(&tight), hasher.hash_one(&wide));
    for other in
        ["b=,a=A%2c;p=~", "a=A%2c;p=~", "a=A%2c;p,b=", "a=A%2c;q=~,b=", "A=A%2c;p=~,b=", "a=B%2c;p=~,b="]
    {
        assert_ne!(tight, parsed(other), "{other}");
    }
}

#[test]
fn it_prints_what_is_sent_and_shows_what_is_read() {
    let baggage = parsed("a=1%20;p;q=2");
    let shown = r#"[Member { key: "a", value: "1 ", properties: [Property { key: "p", value: None }, "#;
    assert_eq!(baggage.to_string(), "a=1%20;p;q=2");
    assert_eq!(format!("{baggage:?}"), format!(r#"{shown}Property {{ key: "q", value: Some("2") }}] }}]"#));
}

#[test]
fn one_good_field_is_received_read_and_sent_without_allocation() {
    let came = HeaderValue::from_str("userId=alice;cached;by=me, serverNode=DF28").unwrap();
    // Whatever a header value does when it is cloned for the first time is not what is measured.
    drop(black_box(came.clone()));
    let counted = measure(|| {
        let (baggage, dropped) = Baggage::from_fields(black_box([&came]));
        let read = |member: forebay_tracing_ctx::baggage::Member<'_>| {
            let properties = member.properties().map(|p| p.value().map_or(0, |value| value.len()));
            member.value().len() + properties.sum::<usize>()
        };
        assert!(dropped.is_empty());
        assert_eq!(baggage.members().map(read).sum::<usize>(), 11);
        assert_eq!(baggage.get("serverNode").as_deref(), Some("DF28"));
        assert_eq!(baggage, black_box(baggage.clone()));
        assert!(baggage.to_header().is_some());
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn a_megabyte_is_judged_without_copying_it_and_in_linear_time() {
    // Anything quadratic would not come to an end.
    const SIZE: usize = 1 << 20;
    let fill = |unit: &str| HeaderValue::from_str(&unit.repeat(SIZE / unit.len())).unwrap();
    for (unit, kept) in [
        ("a=1,", 64),
        (",", 0),
        (" ", 0),
        ("=", 0),
        (";", 0),
        ("a", 0),
        ("a=", 0),
        ("a=1;", 0),
        (" = ", 0),
        ("a =\t1 ;p ,", 64),
        ("?,", 0),
        ("%41", 0),
    ] {
        let came = fill(unit);
        let counted = measure(|| {
            let (baggage, _) = Baggage::from_fields(black_box([&came]));
            assert_eq!(baggage.members().count(), kept, "{unit:?}");
        });
        assert!(counted.bytes_total <= 4 * 8192, "{} bytes for {unit:?}", counted.bytes_total);
    }
}
