//! Every rule of the specification about `baggage` that comes, with the limits this crate sets.
//!
//! Source: w3c/baggage, `baggage/HTTP_HEADER_FORMAT.md`.

#![cfg(feature = "std")]

use forebay_tracing_ctx::baggage::{Baggage, Dropped, MAX_BAGGAGE_LEN};
use http::HeaderValue;

fn field(value: impl AsRef<[u8]>) -> HeaderValue {
    HeaderValue::from_bytes(value.as_ref()).expect("bytes that may stand in a header")
}

fn received(values: &[&str]) -> (Baggage, Dropped) {
    let fields: Vec<_> = values.iter().map(field).collect();
    Baggage::from_fields(&fields)
}

/// All of these fields, which must be good.
fn whole(values: &[&str]) -> Baggage {
    let (baggage, dropped) = received(values);
    assert_eq!(dropped, Dropped::default(), "{values:?}");
    baggage
}

fn pairs(baggage: &Baggage) -> Vec<(String, String)> {
    baggage.members().map(|member| (member.key().to_owned(), member.value().into_owned())).collect()
}

/// The value of the only member.
fn value(text: &str) -> String {
    let baggage = whole(&[text]);
    let [(_, value)] = pairs(&baggage).try_into().expect("one member");
    value
}

fn numbered(count: usize) -> String {
    (0..count).map(|n| format!("k{n}={n}")).collect::<Vec<_>>().join(",")
}

/// How many were malformed, too many, too long, and which was the first.
fn counts(dropped: Dropped) -> (usize, usize, usize, Option<usize>) {
    (dropped.malformed, dropped.too_many, dropped.too_long, dropped.first)
}

/// The members and the counts of fields of which something is dropped.
fn rest(values: &[&str]) -> (String, (usize, usize, usize, Option<usize>)) {
    let (baggage, dropped) = received(values);
    assert!(!dropped.is_empty());
    (baggage.to_string(), counts(dropped))
}

#[test]
fn several_fields_are_combined_in_order() {
    let baggage = whole(&["userId=alice", "", "serverNode=DF%2028,isProduction=false", " , ", "z=1"]);
    assert_eq!(baggage.as_str(), "userId=alice,serverNode=DF%2028,isProduction=false,z=1");
    assert_eq!(baggage, whole(&[baggage.as_str()]));
}

#[test]
fn one_field_is_kept_as_it_came_and_not_copied() {
    let came = field("a=%7a ; p,\tb = %ff");
    let (baggage, dropped) = Baggage::from_fields([&field(" "), &came, &field(","), &field("no member")]);
    assert_eq!(counts(dropped), (1, 0, 0, Some(2)));
    assert_eq!(baggage.as_str(), "a=%7a ; p,\tb = %ff");
    assert_eq!(baggage.as_str().as_ptr(), came.as_bytes().as_ptr());
    assert_eq!(baggage.to_header().unwrap().as_bytes().as_ptr(), came.as_bytes().as_ptr());
}

#[test]
fn without_members_there_is_nothing_to_send() {
    for values in [&[][..], &[""], &[" ", "\t,, ,"]] {
        let baggage = whole(values);
        assert!(baggage.is_empty() && baggage.to_header().is_none());
        assert_eq!((baggage.as_str(), &baggage), ("", &Baggage::EMPTY));
    }
}

#[test]
fn empty_members_are_skipped() {
    assert_eq!(whole(&[",a=1, ,\t,b=2,", ",,c=3"]).as_str(), "a=1,b=2,c=3");
    assert_eq!(whole(&["a=1,,b=2"]).as_str(), "a=1,b=2", "the grammar has none, so none is sent");
}

#[test]
fn a_key_is_a_token() {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    for byte in (0x20..=0xff).filter(|byte| *byte != 0x7f) {
        for (key, good) in [(vec![byte], token(byte)), (vec![b'k', byte, b'k'], token(byte))] {
            let came = field([&key[..], b"=1"].concat());
            let (baggage, _) = Baggage::from_fields([&came]);
            let found = baggage.members().next().is_some_and(|member| member.key().as_bytes() == key);
            // Both of these end the key before its end.
            assert_eq!(found, good, "{came:?}");
        }
    }
    assert_eq!(rest(&["=1,a=2"]), ("a=2".into(), (1, 0, 0, Some(0))));
}

#[test]
fn keys_differ_by_case() {
    let baggage = whole(&["key=1,KEY=2"]);
    assert_eq!(
        (baggage.get("KEY").as_deref(), baggage.get("key").as_deref(), baggage.get("Key")),
        (Some("2"), Some("1"), None)
    );
}

#[test]
fn a_key_is_not_decoded() {
    let baggage = whole(&["a%3Db=1;c%20d=2"]);
    let member = baggage.members().next().unwrap();
    assert_eq!(member.key(), "a%3Db");
    assert_eq!(member.properties().next().unwrap().key(), "c%20d");
    assert_eq!(baggage.get("a=b"), None);
}

#[test]
fn a_value_is_made_of_baggage_octets() {
    let octet = |byte: u8| matches!(byte, 0x21 | 0x23..=0x2b | 0x2d..=0x3a | 0x3c..=0x5b | 0x5d..=0x7e);
    for byte in (0x20..=0xff).filter(|byte| *byte != 0x7f) {
        let text = [b'x', byte, b'x'];
        for before in [&b"a="[..], b"a=1;p="] {
            let came = field([before, &text].concat());
            let (baggage, dropped) = Baggage::from_fields([&came]);
            let kept = dropped.is_empty() && baggage.as_str().as_bytes().ends_with(&text);
            // A semicolon divides a value in two, of which the second is a property.
            assert_eq!(kept, octet(byte) || byte == b';', "{came:?}");
        }
    }
}

#[test]
fn a_value_may_contain_equals_signs_and_be_empty() {
    assert_eq!(value("k=YWJj=="), "YWJj==");
    assert_eq!(value("k==;p==="), "=");
    assert_eq!(value("k="), "");
    assert_eq!(value("k = ;p"), "");
}

#[test]
fn a_member_has_an_equals_sign() {
    assert_eq!(rest(&["a,b=1,c;d=2"]), ("b=1".into(), (2, 0, 0, Some(0))));
}

#[test]
fn spaces_and_tabs_around_every_part_are_cut_off() {
    let baggage = whole(&["\t k \t = \t v \t ; \t p \t ; \t q \t = \t w=w \t , \t l \t = \t m \t "]);
    assert_eq!(baggage.as_str(), "k=v;p;q=w=w,l=m");
    let inner = whole(&["k \t = \t v \t ; \t p \t ; \t q \t = \t w=w \t , \t l = m"]);
    assert_eq!(inner.as_str().len(), 47, "kept as it came");
    assert_eq!(baggage, inner);
    assert_eq!(pairs(&inner), [("k".into(), "v".into()), ("l".into(), "m".into())]);
}

#[test]
fn spaces_within_a_key_or_a_value_are_malformed() {
    for member in ["k k=v", "k=v v", "k=v;p p", "k=v;p=w w", "k=v;p p=w", "k=v\tv"] {
        assert_eq!(rest(&["a=1", member]), ("a=1".into(), (1, 0, 0, Some(1))), "{member}");
    }
}

#[test]
fn values_are_decoded_when_they_are_read() {
    assert_eq!(value("k=DF%2028"), "DF 28");
    assert_eq!(value("k=%2c%3B%22%5C%25%0a"), ",;\"\\%\n");
    assert_eq!(value("k=s%C3%B8k%F0%9F%A6%80"), "søk🦀");
    assert_eq!(value("k=%2541"), "%41", "decoded once");
    assert_eq!(value("k=a+b"), "a+b", "no form encoding");
}

#[test]
fn escaped_bytes_that_are_no_utf_8_read_as_replacements_and_are_sent_on_as_they_came() {
    for (text, read) in [
        ("a%ffb", "a\u{fffd}b"),
        ("%C3", "\u{fffd}"),
        ("%C3x", "\u{fffd}x"),
        ("%F0%9F%A6", "\u{fffd}"),
        ("%C0%AF", "\u{fffd}\u{fffd}"),
        ("%ED%A0%80", "\u{fffd}\u{fffd}\u{fffd}"),
    ] {
        let mut baggage = whole(&[&format!("k={text}")]);
        assert_eq!(baggage.get("k").as_deref(), Some(read), "{text}");
        baggage.insert("other", "1").unwrap();
        assert_eq!(baggage.as_str(), format!("k={text},other=1"));
    }
}

#[test]
fn what_is_no_escape_is_kept_as_it_is() {
    for text in ["%", "%%", "100%", "%4", "%zz", "%4z", "%z4", "%+1", "%%%"] {
        assert_eq!(value(&format!("k={text}")), text);
    }
    assert_eq!(value("k=%%41%4%42"), "%A%4B");
}

#[test]
fn properties_keep_their_order_and_may_have_values() {
    let baggage = whole(&["k=v;p;q=1; p ;q = a%20b;e=", "l=w"]);
    let members: Vec<_> = baggage.members().collect();
    let properties: Vec<_> = members[0].properties().collect();
    let read: Vec<_> = properties.iter().map(|p| (p.key(), p.value())).collect();
    let some = |text: &'static str| Some(text.into());
    assert_eq!(read, [("p", None), ("q", some("1")), ("p", None), ("q", some("a b")), ("e", some(""))]);
    assert_eq!(properties[3].raw_value(), Some("a%20b"));
    assert_eq!((members[0].raw_value(), members[1].properties().count()), ("v", 0));
}

#[test]
fn a_bad_property_spoils_its_member_alone() {
    for member in ["k=v;", "k=v;;p", "k=v;=w", "k=v;p;", ";k=v", "k=v;p=\"w\"", "k=v;p(q)"] {
        assert_eq!(rest(&[&format!("a=1,{member},b=2")]), ("a=1,b=2".into(), (1, 0, 0, Some(1))), "{member}");
    }
}

#[test]
fn keys_that_occur_several_times_are_kept_in_order() {
    let baggage = whole(&["a=1,b=2,a=3", "a=4"]);
    assert_eq!(baggage.as_str(), "a=1,b=2,a=3,a=4");
    assert_eq!(baggage.get("a").as_deref(), Some("1"), "the first");
}

#[test]
fn bytes_beyond_ascii_spoil_their_member_alone() {
    let (baggage, dropped) = Baggage::from_fields([&field("a=1,b=ø,ø=c,d=4;ø,e=5")]);
    assert_eq!((baggage.as_str(), counts(dropped)), ("a=1,e=5", (3, 0, 0, Some(1))));
}

#[test]
fn members_are_counted_over_all_fields_and_empty_ones_are_not() {
    assert_eq!(rest(&["a=1,,b=2", ",\"", "c=3", "d"]), ("a=1,b=2,c=3".into(), (2, 0, 0, Some(2))));
}

#[test]
fn sixty_four_members_are_kept_and_no_more() {
    let most = numbered(64);
    assert_eq!(whole(&[&most]).as_str(), most);
    assert_eq!(whole(&[&numbered(40), "", &most[numbered(40).len() + 1..]]).as_str(), most);
    assert_eq!(rest(&[&numbered(67)]), (most.clone(), (0, 3, 0, Some(64))));
    assert_eq!(rest(&[&most, "a=1", "b=2"]), (most.clone(), (0, 2, 0, Some(64))));
    // What is malformed takes no one's place, wherever it stands.
    assert_eq!(rest(&["?", &most, "?,a=1,?"]), (most, (3, 1, 0, Some(0))));
}

#[test]
fn eight_thousand_one_hundred_and_ninety_two_bytes_are_kept_and_no_more() {
    let long = format!("a={}", "x".repeat(8190));
    assert_eq!(long.len(), MAX_BAGGAGE_LEN);
    assert_eq!(whole(&[&long]).as_str(), long);
    assert_eq!(rest(&[&format!("{long}x")]), (String::new(), (0, 0, 1, Some(0))));
    assert_eq!(rest(&[&long, "b=1"]), (long.clone(), (0, 0, 1, Some(1))));

    let properties = format!("a=;p;q={};r", "x".repeat(8192 - 9));
    assert_eq!(properties.len(), MAX_BAGGAGE_LEN, "properties count like all else");
    assert_eq!(whole(&[&properties]).as_str(), properties);
    assert_eq!(rest(&[&format!("{properties}r")]), (String::new(), (0, 0, 1, Some(0))));

    let (first, second) = (format!("a={}", "x".repeat(4093)), format!("b={}", "y".repeat(4094)));
    let both = format!("{first},{second}");
    assert_eq!(both.len(), MAX_BAGGAGE_LEN);
    assert_eq!(whole(&[&both]), whole(&[&first, &second]));
    assert_eq!(rest(&[&first, &format!("{second}y")]), (first, (0, 0, 1, Some(1))));
}

#[test]
fn members_are_dropped_from_the_right_and_whole() {
    let long = format!("b={};p", "x".repeat(9000));
    assert_eq!(rest(&[&format!("a=1,{long},c=3"), "d=4", "?"]), ("a=1".into(), (1, 0, 3, Some(1))));
}

#[test]
fn optional_spaces_count_for_nothing() {
    let space = " \t".repeat(5000);
    let padded = format!("a=1{space},{space}b{space}={space}2{space};{space}p");
    assert_eq!(whole(&[&padded]).as_str(), "a=1,b=2;p");
    assert_eq!(whole(&[&format!("a=1{}b=2", ",".repeat(9000))]).as_str(), "a=1,b=2");
}

#[test]
fn a_text_is_read_whole_or_not_at_all() {
    let baggage: Baggage = " a=1 ;p, b=%20 ".parse().unwrap();
    assert_eq!(baggage.as_str(), "a=1;p,b=%20");
    let error = "a=1,b,c=3\n".parse::<Baggage>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "2 baggage members dropped, the first is member 1: 2 malformed, 0 after 64 others, 0 after 8192 bytes"
    );
    numbered(65).parse::<Baggage>().unwrap_err();
    assert!("".parse::<Baggage>().unwrap().is_empty());
}
