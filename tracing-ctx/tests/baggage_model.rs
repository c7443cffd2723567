//! Random baggage against a second implementation, written sign by sign from the grammar.

#![cfg(feature = "std")]

use forebay_tracing_ctx::baggage::{Baggage, BaggageError};
use http::HeaderValue;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Key, value as it is sent, and properties.
type Entry = (String, String, Vec<(String, Option<String>)>);

/// Reads one thing after another; `None` where the grammar wants something else.
struct Signs<'a>(&'a [u8]);

impl Signs<'_> {
    fn take(&mut self, wanted: impl Fn(u8) -> bool) -> String {
        let mut taken = String::new();
        while let Some(&sign) = self.0.first().filter(|sign| wanted(**sign)) {
            taken.push(char::from(sign));
            self.0 = &self.0[1..];
        }
        taken
    }

    fn ows(&mut self) {
        self.take(|sign| sign == 0x20 || sign == 0x09);
    }

    fn token(&mut self) -> Option<String> {
        let separator = b"(),/:;<=>?@[\\]{}\"";
        let token = self.take(|sign| sign > 0x20 && sign < 0x7f && !separator.contains(&sign));
        (!token.is_empty()).then_some(token)
    }

    fn value(&mut self) -> String {
        self.take(|sign| sign > 0x20 && sign < 0x7f && !b"\",;\\".contains(&sign))
    }

    fn sign(&mut self, wanted: u8) -> bool {
        let found = self.0.first() == Some(&wanted);
        self.0 = if found { &self.0[1..] } else { self.0 };
        found
    }

    fn pair(&mut self) -> Option<(String, Option<String>)> {
        self.ows();
        let key = self.token()?;
        self.ows();
        let value = self.sign(b'=').then(|| {
            self.ows();
            self.value()
        });
        self.ows();
        Some((key, value))
    }

    fn entry(mut self) -> Option<Entry> {
        let (key, value) = self.pair()?;
        let mut properties = Vec::new();
        while self.sign(b';') {
            properties.push(self.pair()?);
        }
        self.0.is_empty().then_some((key, value?, properties))
    }
}

/// As it is sent without padding.
fn printed((key, value, properties): &Entry) -> String {
    let mut text = format!("{key}={value}");
    for (key, value) in properties {
        text += &format!(";{key}");
        text += &value.iter().map(|value| format!("={value}")).collect::<String>();
    }
    text
}

fn length(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| printed(entry).len() + 1).sum::<usize>().saturating_sub(1)
}

/// What is kept of all fields together, and how many members are malformed, too many and too long.
fn oracle(fields: &[Vec<u8>]) -> (Vec<Entry>, [usize; 3], Option<usize>) {
    let (mut kept, mut counts, mut first) = (Vec::new(), [0; 3], None);
    let combined = fields.join(&b',');
    let blank = |member: &&[u8]| !member.iter().all(|sign| *sign == b' ' || *sign == b'\t');
    for (at, member) in combined.split(|sign| *sign == b',').filter(blank).enumerate() {
        let reason = match Signs(member).entry() {
            None => 0,
            Some(_) if kept.len() == 64 => 1,
            Some(_) if counts[2] > 0 => 2,
            Some(entry) => {
                kept.push(entry);
                if length(&kept) <= 8192 {
                    continue;
                }
                kept.pop();
                2
            }
        };
        counts[reason] += 1;
        first = first.or(Some(at));
    }
    (kept, counts, first)
}

/// Whether a field may be sent on as it came.
fn sendable(field: &[u8]) -> bool {
    let padded = |sign: Option<&u8>| sign.is_some_and(|sign| b" \t".contains(sign));
    let empty = |member: &[u8]| member.iter().all(|sign| b" \t".contains(sign));
    let all_full = !field.split(|sign| *sign == b',').any(empty);
    field.len() <= 8192 && !padded(field.first()) && !padded(field.last()) && all_full
}

/// Any text with an escape for each byte.
fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// A value as it is sent.
fn encoded(text: &str) -> String {
    let plain = "!#$&'()*+-./:<=>?@[]^_`{|}~";
    let sign = |sign: char| match sign {
        _ if sign.is_ascii_alphanumeric() || plain.contains(sign) => sign.to_string(),
        _ => escaped(sign.encode_utf8(&mut [0; 4])).to_uppercase(),
    };
    text.chars().map(sign).collect()
}

fn owned(baggage: &Baggage) -> Vec<Entry> {
    let entry = |member: forebay_tracing_ctx::baggage::Member<'_>| {
        let properties = member.properties().map(|p| (p.key().to_owned(), p.raw_value().map(str::to_owned)));
        (member.key().to_owned(), member.raw_value().to_owned(), properties.collect())
    };
    baggage.members().map(entry).collect()
}

fn received(fields: &[Vec<u8>]) -> (Baggage, [usize; 3], Option<usize>) {
    let header = |field: &Vec<u8>| HeaderValue::from_bytes(field).expect("no control characters");
    let fields: Vec<_> = fields.iter().map(header).collect();
    let (baggage, dropped) = Baggage::from_fields(&fields);
    (baggage, [dropped.malformed, dropped.too_many, dropped.too_long], dropped.first)
}

fn whole(text: &str) -> Baggage {
    text.parse().expect("good")
}

/// What has come out of this crate is good, and read as it was meant.
fn assert_sendable(baggage: &Baggage) {
    let Some(header) = baggage.to_header() else {
        return assert!(baggage.is_empty() && baggage.members().next().is_none());
    };
    let (again, dropped) = Baggage::from_fields([&header]);
    assert!(dropped.is_empty() && header.len() <= 8192);
    assert_eq!((&again, again.as_str().as_bytes()), (baggage, header.as_bytes()));
    assert_eq!(oracle(&[header.as_bytes().to_vec()]).0, owned(baggage));
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![6 => "[a-cA-C]", 3 => "[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,6}"]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "[!#-+\\--:<-\\[\\]-~]{0,6}",
        4 => "(%[0-9a-fA-F]{2}|%|[a-z=]){0,6}",
        1 => (1..2000_usize).prop_map(|len| "v".repeat(len)),
    ]
}

fn ows() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 1 => "[ \t]{1,3}"]
}

/// With spaces and tabs wherever they may stand.
fn member() -> impl Strategy<Value = String> {
    let key = || (ows(), key(), ows()).prop_map(|(before, key, after)| format!("{before}{key}{after}"));
    let value =
        || (ows(), value(), ows()).prop_map(|(before, value, after)| format!("={before}{value}{after}"));
    let property =
        (key(), prop::option::of(value())).prop_map(|(k, v)| format!(";{k}{}", v.unwrap_or_default()));
    (key(), value(), prop_oneof![3 => Just(vec![]), 1 => vec(property, 1..4)])
        .prop_map(|(key, value, properties)| format!("{key}{value}{}", properties.concat()))
}

/// Mostly good; sometimes with a sign in the wrong place, or empty.
fn spoilt_member() -> impl Strategy<Value = Vec<u8>> {
    let sign = select(b"=;, \t\"\\()/%A~\x80\xff".to_vec());
    let spoil = |(member, at, sign): (String, Index, u8)| {
        let mut member = member.into_bytes();
        member.insert(at.index(member.len() + 1), sign);
        member
    };
    prop_oneof![
        8 => member().prop_map(String::into_bytes),
        2 => (member(), any::<Index>(), sign).prop_map(spoil),
        1 => ows().prop_map(String::into_bytes),
        1 => "[a-z;]{0,2}=?[a-z;]{0,2}".prop_map(String::into_bytes),
    ]
}

/// A byte that may stand in a header, likely one that makes a difference.
fn any_byte() -> impl Strategy<Value = u8> {
    prop_oneof![select(b"ab=;, \t%".to_vec()), 0x20..0x7f_u8, 0x80..=0xff_u8]
}

/// Any text, properties, and by how much to make the text longer.
fn inserted() -> impl Strategy<Value = (String, Vec<(String, Option<String>)>, usize)> {
    (any::<String>(), vec((key(), prop::option::of("[ -~]{0,4}")), 0..3), 0..600_usize)
}

/// Many from a few, which is quicker, and has keys that occur several times.
fn repeated<T: Clone + std::fmt::Debug>(
    member: impl Strategy<Value = T>,
    count: std::ops::Range<usize>,
) -> impl Strategy<Value = Vec<T>> {
    let pick = |(pool, picks): (Vec<T>, Vec<Index>)| picks.iter().map(|at| at.get(&pool).clone()).collect();
    (vec(member, 1..12), vec(any::<Index>(), count)).prop_map(pick)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn nearly_good_fields_are_judged_like_the_grammar_does(
        fields in vec(repeated(spoilt_member(), 0..40).prop_map(|members| members.join(&b',')), 0..5),
    ) {
        let (baggage, counts, first) = received(&fields);
        prop_assert_eq!((owned(&baggage), counts, first), oracle(&fields));
        assert_sendable(&baggage);
        if let [field] = &fields[..] && first.is_none() && !baggage.is_empty() && sendable(field) {
            prop_assert_eq!(baggage.as_str().as_bytes(), field);
        }
    }

    #[test]
    fn any_bytes_at_all_are_judged_like_the_grammar_does(
        fields in vec(vec(any_byte(), 0..12), 0..4),
    ) {
        let (baggage, counts, first) = received(&fields);
        prop_assert_eq!((owned(&baggage), counts, first), oracle(&fields));
        assert_sendable(&baggage);
    }

    #[test]
    fn any_text_survives_and_is_written_with_the_fewest_escapes(
        text in prop_oneof![any::<String>(), "[ -~]{0,20}", "(%[0-9a-f]{2}|%){0,4}"],
    ) {
        let mut baggage = Baggage::EMPTY;
        baggage.insert_with("k", &text, [("p", Some(text.as_str()))]).unwrap();
        let sent = encoded(&text);
        prop_assert_eq!(baggage.as_str(), format!("k={sent};p={sent}"));
        for baggage in [whole(baggage.as_str()), whole(&format!("k={0};p={0}", escaped(&text)))] {
            let member = baggage.members().next().unwrap();
            prop_assert_eq!(member.value(), &*text);
            prop_assert_eq!(member.properties().next().unwrap().value().unwrap(), &*text);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn members_may_be_spread_over_any_number_of_fields(
        members in repeated(spoilt_member(), 1..80),
        cuts in vec(any::<bool>(), 80),
        empty in vec(any::<bool>(), 80),
    ) {
        let mut fields = vec![members[0].clone()];
        for ((member, cut), empty) in members[1..].iter().zip(cuts).zip(empty) {
            if cut && empty {
                fields.push(b" ,".to_vec());
            }
            match fields.last_mut() {
                Some(field) if !cut => {
                    field.push(b',');
                    field.extend(member);
                }
                _ => fields.push(member.clone()),
            }
        }
        prop_assert_eq!(received(&fields), received(&[members.join(&b',')]));
    }

    #[test]
    fn edits_do_what_they_do_to_a_list_of_entries(
        members in repeated(member(), 0..70),
        edits in vec((key(), prop::option::of(inserted())), 1..12),
    ) {
        let (mut baggage, ..) = received(&[members.join(",").into_bytes()]);
        let mut model = owned(&baggage);
        for (key, edit) in edits {
            let Some((text, properties, more)) = edit else {
                let before = model.len();
                model.retain(|entry| entry.0 != key);
                prop_assert_eq!(baggage.remove(&key), model.len() < before);
                prop_assert_eq!(owned(&baggage), model.clone());
                continue;
            };
            let text = text + &"%".repeat(more);
            let mut edited = model.clone();
            let place = edited.iter().position(|entry| entry.0 == key).unwrap_or(edited.len());
            edited.retain(|entry| entry.0 != key);
            let sent = properties.iter().map(|(key, value)| (key.clone(), value.as_deref().map(encoded)));
            edited.insert(place, (key.clone(), encoded(&text), sent.collect()));
            let expected = match length(&edited) {
                _ if edited.len() > 64 => Err(BaggageError::TooManyMembers { limit: 64 }),
                found if found > 8192 => Err(BaggageError::TooLong { found, limit: 8192 }),
                _ => Ok(()),
            };
            let before = baggage.to_string();
            let given = properties.iter().map(|(key, value)| (key.as_str(), value.as_deref()));
            prop_assert_eq!(baggage.insert_with(&key, &text, given), expected);
            if expected.is_ok() {
                model = edited;
                prop_assert_eq!(baggage.get(&key), Some(text.into()));
            } else {
                prop_assert_eq!(baggage.as_str(), before, "a refused member changes nothing");
            }
            prop_assert_eq!(owned(&baggage), model.clone());
            assert_sendable(&baggage);
        }
    }
}
