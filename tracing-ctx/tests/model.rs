//! Random and nearly valid input against a second implementation, written byte by byte from the grammar.

use forebay_tracing_ctx::carrier;
use forebay_tracing_ctx::{SpanId, TraceContext, TraceFlags, TraceId, TraceParent, TraceState};
use http::{HeaderMap, HeaderValue};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Trace id, parent id and named flags, as the grammar has them.
fn traceparent_oracle(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>, u8)> {
    let around = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = value.iter().position(|byte| !around(byte))?;
    let end = value.iter().rposition(|byte| !around(byte))?;
    let value = &value[start..=end];
    if value.len() < 55 || value.len() > 512 {
        return None;
    }
    let digit = |byte: u8| b"0123456789abcdef".contains(&byte);
    let in_place =
        |(at, byte): (usize, &u8)| if [2, 35, 52].contains(&at) { *byte == b'-' } else { digit(*byte) };
    if !value[..55].iter().enumerate().all(in_place) {
        return None;
    }
    let rest_is_good = match &value[..2] {
        b"ff" => false,
        b"00" => value.len() == 55,
        _ => value.len() == 55 || value[55] == b'-',
    };
    let (trace, parent) = (&value[3..35], &value[36..52]);
    let zero = |id: &[u8]| id.iter().all(|digit| *digit == b'0');
    let flags = u8::from(b"13579bdf".contains(&value[54])) + 2 * u8::from(b"2367abef".contains(&value[54]));
    (rest_is_good && !zero(trace) && !zero(parent)).then(|| (trace.to_vec(), parent.to_vec(), flags))
}

fn parsed(value: &[u8]) -> Option<(Vec<u8>, Vec<u8>, u8)> {
    let parent = TraceParent::parse(value).ok()?;
    let (trace_id, parent_id) = (parent.trace_id.to_string(), parent.parent_id.to_string());
    Some((trace_id.into_bytes(), parent_id.into_bytes(), parent.flags.bits()))
}

/// The members of all fields together, as the grammar has them.
fn tracestate_oracle(fields: &[String]) -> Option<Vec<(String, String)>> {
    let around = [' ', '\t'];
    let mut members = Vec::new();
    for member in fields.join(",").split(',').map(|member| member.trim_matches(around)) {
        if member.is_empty() {
            continue;
        }
        let [key, value] = member.split('=').collect::<Vec<_>>().try_into().ok()?;
        let small = |sign: char| sign.is_ascii_lowercase() || sign.is_ascii_digit();
        let key_is_good =
            key.starts_with(small) && key.chars().all(|sign| small(sign) || "_-*/@".contains(sign));
        let value_is_good = !value.is_empty() && value.chars().all(|sign| (' '..='~').contains(&sign));
        if !key_is_good || !value_is_good || key.len() > 256 || value.len() > 256 {
            return None;
        }
        members.push((key.to_owned(), value.to_owned()));
    }
    (members.len() <= 32).then_some(members)
}

fn combined(fields: &[String]) -> Option<TraceState> {
    let fields: Vec<_> = fields
        .iter()
        .map(|field| HeaderValue::from_bytes(field.as_bytes()).expect("no control characters"))
        .collect();
    TraceState::from_fields(&fields).ok()
}

fn owned(state: &TraceState) -> Vec<(String, String)> {
    state.members().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

prop_compose! {
    fn any_parent()(trace in any::<[u8; 16]>(), span in any::<[u8; 8]>(), flags in any::<u8>()) -> TraceParent {
        let trace_id = TraceId::new(trace).unwrap_or(TraceId::from_source(|| 1));
        let parent_id = SpanId::new(span).unwrap_or(SpanId::from_source(|| 1));
        TraceParent { trace_id, parent_id, flags: TraceFlags::from_bits(flags) }
    }
}

/// A byte that is likely to make a difference.
fn telling_byte() -> impl Strategy<Value = u8> {
    prop_oneof![select(b"0123456789abcdefABCDEFfg-+ \t.,_/:@`G\0\x7f\x80\xb0\xff".to_vec()), any::<u8>()]
}

#[derive(Debug, Clone)]
enum Change {
    Replace(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Truncate(Index),
    Upper(Index),
    Zero { trace: bool },
    Version([u8; 2]),
    Append(Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    use Change::*;
    prop_oneof![
        4 => (any::<Index>(), telling_byte()).prop_map(|(at, byte)| Replace(at, byte)),
        1 => (any::<Index>(), telling_byte()).prop_map(|(at, byte)| Insert(at, byte)),
        1 => any::<Index>().prop_map(Remove),
        1 => any::<Index>().prop_map(Truncate),
        1 => any::<Index>().prop_map(Upper),
        1 => any::<bool>().prop_map(|trace| Zero { trace }),
        2 => select(vec![*b"00", *b"01", *b"0a", *b"cc", *b"fe", *b"ff", *b"FF"]).prop_map(Version),
        2 => vec(telling_byte(), 0..4).prop_map(Append),
        1 => (select(vec![455_usize, 456, 457, 458]), select(vec![b'-', b'0'])).prop_map(|(more, first)| {
            let mut rest = vec![first];
            rest.resize(more, b'x');
            Append(rest)
        }),
    ]
}

fn apply(value: &mut Vec<u8>, change: Change) {
    let len = value.len();
    match change {
        Change::Append(rest) => value.extend(rest),
        Change::Insert(at, byte) => value.insert(at.index(len + 1), byte),
        Change::Version(version) if len >= 2 => value[..2].copy_from_slice(&version),
        Change::Zero { trace: true } if len >= 35 => value[3..35].fill(b'0'),
        Change::Zero { trace: false } if len >= 52 => value[36..52].fill(b'0'),
        Change::Replace(at, byte) if len > 0 => value[at.index(len)] = byte,
        Change::Remove(at) if len > 0 => drop(value.remove(at.index(len))),
        Change::Truncate(at) if len > 0 => value.truncate(at.index(len)),
        Change::Upper(at) if len > 0 => value[at.index(len)].make_ascii_uppercase(),
        _ => {}
    }
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![4 => "[a-d]", 4 => "[a-z0-9][a-z0-9_*/@-]{0,8}", 1 => "[a-z0-9][a-z@]{253,255}"]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[ -+\\--<>-~]{0,6}[!-+\\--<>-~]", 1 => "[a-z ]{253,255}[a-z]"]
}

fn member() -> impl Strategy<Value = String> {
    ("[ \t]{0,2}", key(), value(), "[ \t]{0,2}")
        .prop_map(|(before, key, value, after)| format!("{before}{key}={value}{after}"))
}

/// About as long as a member that is the first to go.
fn long_member() -> impl Strategy<Value = String> {
    ("[a-z]", "[a-z]{124,130}").prop_map(|(key, value)| format!("{key}={value}"))
}

/// So long that padding decides whether 32 of them are longer than a list may be.
fn longest_member() -> impl Strategy<Value = String> {
    ("[ \t]{0,2}", 0..100_000_u32, "[ \t]{0,2}")
        .prop_map(|(before, n, after)| format!("{before}{n:0256}={}{after}", "v".repeat(256)))
}

/// Mostly valid; sometimes with a sign in the wrong place, empty, or a little too long.
fn spoilt_member() -> impl Strategy<Value = String> {
    let spoil = |(mut member, at, sign): (String, Index, char)| {
        member.insert(at.index(member.len() + 1), sign);
        member
    };
    prop_oneof![
        40 => member(),
        1 => (member(), any::<Index>(), select("=, \tA.~_@0".chars().collect::<Vec<_>>())).prop_map(spoil),
        2 => "[ \t]{0,2}",
        1 => "[a-z]{0,2}=?[a-z]{0,2}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nearly_valid_traceparents_are_judged_like_the_grammar_does(
        parent in any_parent(),
        changes in vec(change(), 0..4),
    ) {
        let mut value = parent.to_bytes().to_vec();
        changes.into_iter().for_each(|change| apply(&mut value, change));
        prop_assert_eq!(parsed(&value), traceparent_oracle(&value), "{}", value.escape_ascii());
    }

    #[test]
    fn any_bytes_at_all_are_judged_like_the_grammar_does(value in vec(any::<u8>(), 0..70)) {
        prop_assert_eq!(parsed(&value), traceparent_oracle(&value));
    }

    #[test]
    fn what_is_written_is_read_back(parent in any_parent()) {
        prop_assert_eq!(TraceParent::parse(&parent.to_bytes()), Ok(parent));
        prop_assert_eq!(parent.trace_id.to_string().parse(), Ok(parent.trace_id));
        prop_assert_eq!(parent.parent_id.to_string().parse(), Ok(parent.parent_id));
    }

    #[test]
    fn an_id_is_what_was_drawn_and_1_if_that_is_zero(
        draws in vec(prop_oneof![3 => Just(0), 1 => Just(u64::MAX), 2 => any::<u64>()], 3),
    ) {
        let mut next = draws.iter().copied();
        let parent = TraceParent::root(|| next.next().expect("three are enough"));
        let [high, low, span] = draws[..] else { unreachable!("three") };
        let trace_id = (u128::from(high) << 64) | u128::from(low);
        prop_assert_eq!(u128::from_be_bytes(parent.trace_id.to_bytes()), trace_id.max(1));
        prop_assert_eq!(u64::from_be_bytes(parent.parent_id.to_bytes()), span.max(1));
        prop_assert_eq!(TraceId::new(trace_id.to_be_bytes()).is_none(), trace_id == 0);
        prop_assert_eq!(SpanId::new(span.to_be_bytes()).is_none(), span == 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn nearly_valid_tracestates_are_judged_like_the_grammar_does(
        fields in vec(vec(spoilt_member(), 0..14).prop_map(|members| members.join(",")), 0..4),
    ) {
        prop_assert_eq!(combined(&fields).as_ref().map(owned), tracestate_oracle(&fields));
    }

    #[test]
    fn a_list_may_be_split_over_any_number_of_fields(
        members in prop_oneof![4 => vec(member(), 1..32), 1 => vec(longest_member(), 32)],
        cuts in vec(any::<bool>(), 32),
        empty in vec(any::<bool>(), 32),
    ) {
        let mut fields = vec![String::new()];
        for ((member, cut), empty) in members.iter().zip(cuts).zip(empty) {
            if empty {
                fields.push(" ".to_owned());
            }
            if cut || empty {
                fields.push(String::new());
            }
            let field = fields.last_mut().unwrap();
            *field = if field.is_empty() { member.clone() } else { format!("{field},{member}") };
        }
        let (whole, split) = (combined(&[members.join(",")]).unwrap(), combined(&fields).unwrap());
        prop_assert_eq!(&whole, &split);
        prop_assert_eq!(split.members().count(), members.len());
        prop_assert_eq!(split.as_str().parse(), Ok(whole));
    }

    #[test]
    fn edits_do_what_they_do_to_a_list_of_pairs(
        members in vec(member(), 0..32),
        edits in vec((key(), prop::option::of(value())), 1..20),
    ) {
        let mut state = combined(&[members.join(",")]).unwrap();
        let mut model = owned(&state);
        for (key, value) in edits {
            let found = model.iter().any(|member| member.0 == key);
            if value.is_some() || found {
                // An edit writes the list anew, with the first of each key.
                let mut seen = std::collections::HashSet::new();
                model.retain(|member| member.0 != key && seen.insert(member.0.clone()));
            }
            match value {
                Some(value) => {
                    state.insert(&key, &value).unwrap();
                    prop_assert_eq!(state.get(&key), Some(value.as_str()));
                    model.insert(0, (key, value));
                    model.truncate(32);
                }
                None => prop_assert_eq!(state.remove(&key), found),
            }
            prop_assert_eq!(owned(&state), model.clone());
            prop_assert_eq!(state.as_str().parse(), Ok(state.clone()), "what is edited is valid");
        }
    }

    #[test]
    fn cutting_removes_long_members_from_the_right_and_then_others_until_it_is_enough(
        members in vec(prop_oneof![3 => member(), 1 => long_member()], 0..12),
        limits in vec(0..900_usize, 1..4),
    ) {
        let mut state = combined(&[members.join(",")]).unwrap();
        for limit in limits {
            let before = state.clone();
            state.truncate_to(limit);
            prop_assert!(state.as_str().len() <= limit);
            prop_assert_eq!(state.as_str().parse(), Ok(state.clone()), "what is cut is valid");
            if before.as_str().len() <= limit {
                prop_assert_eq!(state.as_str().as_ptr(), before.as_str().as_ptr(), "nothing is copied");
                continue;
            }
            let mut seen = std::collections::HashSet::new();
            let mut model = owned(&before);
            model.retain(|member| seen.insert(member.0.clone()));
            let len = |member: &(String, String)| member.0.len() + 1 + member.1.len();
            while model.iter().map(|member| len(member) + 1).sum::<usize>() > limit + 1 {
                let long = model.iter().rposition(|member| len(member) > 128);
                model.remove(long.unwrap_or(model.len() - 1));
            }
            prop_assert_eq!(owned(&state), model);
        }
    }

    #[test]
    fn what_is_injected_is_extracted(
        parent in any_parent(),
        members in vec(member(), 0..32),
        baggage in vec(("[a-z%]{1,4}", any::<String>(), prop::option::of("[p-r ;,]{0,3}")), 0..8),
    ) {
        let mut context = TraceContext::new(parent);
        context.state = combined(&[members.join(",")]).unwrap();
        for (key, value, property) in &baggage {
            context.baggage.insert_with(key, value, [("p", property.as_deref())]).unwrap();
        }
        let mut headers = HeaderMap::new();
        carrier::inject(&context, &mut headers);
        context.remote = true;
        let fields = 1 + usize::from(!members.is_empty()) + usize::from(!baggage.is_empty());
        prop_assert_eq!(headers.len(), fields);
        let extracted = carrier::extract(&headers);
        for (key, value, property) in &baggage {
            if baggage.iter().filter(|member| member.0 == *key).count() == 1 {
                let member = extracted.baggage.members().find(|member| member.key() == key).expect("sent");
                prop_assert_eq!(member.value().into_owned(), value.clone());
                let found = member.properties().next().map(|property| property.value().map(String::from));
                prop_assert_eq!(found, Some(property.clone()));
            }
        }
        prop_assert_eq!(extracted.into_context(), Some(context));
    }
}
