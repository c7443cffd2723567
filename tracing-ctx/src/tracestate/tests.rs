use std::hash::{BuildHasher, RandomState};

use super::*;

fn fields(values: &[&str]) -> Result<TraceState, TraceStateError> {
    let values: Vec<_> = values.iter().map(|value| HeaderValue::from_str(value).unwrap()).collect();
    TraceState::from_fields(&values)
}

fn members(state: &TraceState) -> Vec<(&str, &str)> {
    state.members().collect()
}

fn numbered(count: usize) -> String {
    (0..count).map(|n| format!("k{n}={n}")).collect::<Vec<_>>().join(",")
}

#[test]
fn several_fields_are_one_list_in_order() {
    let state = fields(&["a=1,b=2", "", "c=3", " , ", "d=4"]).unwrap();
    assert_eq!(state.as_str(), "a=1,b=2,c=3,d=4");
    assert_eq!(state, "a=1,b=2,c=3,d=4".parse().unwrap());
}

#[test]
fn one_field_is_kept_as_it_came_and_not_copied() {
    let value = HeaderValue::from_str("a=1 ,,\tb=2").unwrap();
    let state = TraceState::from_fields([&HeaderValue::from_static(" "), &value]).unwrap();
    assert_eq!(state.as_str(), "a=1 ,,\tb=2");
    assert_eq!(state.as_str().as_ptr(), value.as_bytes().as_ptr());
    assert_eq!(state.to_header().unwrap().as_bytes().as_ptr(), value.as_bytes().as_ptr());
    assert_eq!(members(&state), [("a", "1"), ("b", "2")]);
}

#[test]
fn the_ends_of_a_field_are_cut_off() {
    assert_eq!(fields(&[" a=1 ,b=2\t"]).unwrap().as_str(), "a=1 ,b=2");
    assert_eq!(fields(&["", "\ta=1 ", " b=2 "]).unwrap().as_str(), "a=1,b=2");
    assert_eq!(" a=1 ".parse::<TraceState>().unwrap().as_str(), "a=1");
}

#[test]
fn nothing_but_empty_members_is_an_empty_list() {
    for values in [&[][..], &[""], &[" ", "\t,, ,"]] {
        let state = fields(values).unwrap();
        assert!(state.is_empty() && state.to_header().is_none());
        assert_eq!(state.as_str(), "");
    }
}

#[test]
fn a_value_keeps_the_spaces_in_front_of_it_and_loses_those_behind() {
    let state: TraceState = "a= 1 \t, b=x y".parse().unwrap();
    assert_eq!(members(&state), [("a", " 1"), ("b", "x y")]);
}

#[test]
fn equality_and_hash_look_at_members_and_not_at_padding() {
    let (tight, wide) = (fields(&["a=1,b=2"]).unwrap(), fields(&["a=1 ", ", b=2"]).unwrap());
    let hasher = RandomState::new();
    assert_eq!(tight, wide);
    assert_eq!(hasher.hash_one(&tight), hasher.hash_one(&wide));
    assert_ne!(tight, "b=2,a=1".parse().unwrap());
}

#[test]
fn the_error_names_the_first_bad_member() {
    assert_eq!(fields(&["a=1,,b=2", "C=3"]), Err(TraceStateError::Member { at: 2 }));
    assert_eq!(fields(&[&numbered(20), &numbered(13)]), Err(TraceStateError::TooManyMembers { limit: 32 }));
    let error = TraceStateError::Member { at: 32 - 1 };
    assert_eq!(fields(&[&format!("{}{},b", numbered(31), ",".repeat(20_000))]), Err(error));
}

#[test]
fn the_longest_legal_list_is_kept() {
    let member = |n: usize| format!("k{n:0255}={}", "v".repeat(256));
    let list = (0..32).map(member).collect::<Vec<_>>().join(",");
    assert_eq!(list.len(), MAX_TRACESTATE_LEN);
    assert_eq!(list.parse::<TraceState>().unwrap().members().count(), 32);
    // Padding at the ends of a field is not part of the list, so it does not make it longer.
    let padded = [format!(" {list}"), format!("{list}\t"), format!("\t{list} ")];
    for field in &padded {
        assert_eq!(fields(&[" ", field]).unwrap().as_str(), list);
    }
    let (first, rest) = list.split_at(list.find(',').unwrap());
    assert_eq!(fields(&[&format!(" {first}"), &rest[1..]]).unwrap().as_str(), list);
    assert_eq!(fields(&[first, rest]).unwrap().as_str(), list, "a comma too many is padding as well");
}

/// In one field such a list was dropped for its padding, and kept when it came in several.
#[test]
fn what_padding_makes_too_long_is_kept_without_it_however_it_is_spread() {
    let member = |n: usize| format!("k{n:0255}={}", "v".repeat(256));
    let members: Vec<_> = (0..32).map(member).collect();
    let (list, wide) = (members.join(","), members.join(" ,\t"));
    assert_eq!(fields(&[&wide]).unwrap().as_str(), list);
    assert_eq!(wide.parse::<TraceState>().unwrap().as_str(), list);
    for cut in [1, 7, 31] {
        let (first, rest) = (members[..cut].join(" , "), members[cut..].join(" , "));
        assert_eq!(fields(&[&first, &rest]).unwrap().as_str(), list);
        assert_eq!(fields(&[",", &first, &format!("{rest},"), "\t"]).unwrap().as_str(), list);
    }
    let padded = format!("a=1{}b=2", ",".repeat(9000));
    assert_eq!(fields(&[&padded]).unwrap().as_str(), padded, "as it came");
    assert_eq!(fields(&[&padded, &padded]).unwrap().as_str(), "a=1,b=2,a=1,b=2");
}

#[test]
fn an_inserted_member_is_first_and_the_others_keep_their_order() {
    let mut state: TraceState = "a=1, b=2 ,c=3,b=4,a=5".parse().unwrap();
    state.insert("b", "new").unwrap();
    assert_eq!(state.as_str(), "b=new,a=1,c=3");
    state.insert("d", "4 ").unwrap_err();
    assert_eq!(state.as_str(), "b=new,a=1,c=3", "a refused member changes nothing");
}

#[test]
fn a_full_list_loses_its_last_member_to_an_inserted_one() {
    let mut state: TraceState = numbered(32).parse().unwrap();
    state.insert("new", "1").unwrap();
    assert_eq!(state.as_str(), format!("new=1,{}", numbered(31)));
    state.insert("k5", "1").unwrap();
    assert_eq!(state.members().count(), 32, "a key that was there makes no member too many");
}

#[test]
fn no_edit_makes_a_list_longer_than_the_longest_legal_one() {
    let member = |n: usize| format!("k{n:0255}={}", "v".repeat(256));
    let mut state: TraceState = (0..32).map(member).collect::<Vec<_>>().join(",").parse().unwrap();
    for n in 40..73 {
        state.insert(&format!("k{n:0255}"), &"w".repeat(256)).unwrap();
        assert_eq!(state.as_str().len(), MAX_TRACESTATE_LEN);
        assert_eq!(state.as_str().parse(), Ok(state.clone()));
    }
}

#[test]
fn a_list_that_is_short_enough_is_not_touched() {
    let value = HeaderValue::from_str("a=1 ,,\tb=2,a=3").unwrap();
    let mut state = TraceState::from_fields([&value]).unwrap();
    state.truncate_to(value.len());
    assert_eq!(state.as_str().as_ptr(), value.as_bytes().as_ptr());
    let mut empty = TraceState::EMPTY;
    empty.truncate_to(0);
    assert!(empty.is_empty());
    // Padding, and what no lookup finds, is worth less than a member.
    state.truncate_to(value.len() - 1);
    assert_eq!(state.as_str(), "a=1,b=2");
}

#[test]
fn long_members_go_first_and_then_the_last_ones() {
    let (long, longer) = (format!("l={}", "x".repeat(127)), format!("m={}", "x".repeat(200)));
    let just_short = format!("s={}", "x".repeat(126));
    let all = format!("a=1,{longer},{just_short},{long},b=2");
    let mut state: TraceState = all.parse().unwrap();
    for (limit, expected) in [
        (all.len(), all.clone()),
        (all.len() - 1 - long.len(), format!("a=1,{longer},{just_short},b=2")),
        (all.len() - 1 - long.len() - 1, format!("a=1,{just_short},b=2")),
        (7 + 128, format!("a=1,{just_short}")),
        (4 + 127, "a=1".to_owned()),
        (3, "a=1".to_owned()),
        (2, String::new()),
    ] {
        state.truncate_to(limit);
        assert_eq!(state.as_str(), expected, "{limit}");
    }
    assert!(state.is_empty() && state.to_header().is_none());
}

#[test]
fn what_is_no_key_or_no_value_is_not_inserted() {
    let mut state = TraceState::EMPTY;
    for key in ["", "A", "a b", "ä", "_a", "@a", "a=", "a,", &"a".repeat(257)] {
        assert_eq!(state.insert(key, "1"), Err(TraceStateError::Key { found: key.len() }), "{key:?}");
    }
    for value in ["", " ", "1 ", "a=b", "a,b", "\t1", "é", "\u{7f}", &"v".repeat(257)] {
        assert_eq!(state.insert("a", value), Err(TraceStateError::Value { found: value.len() }), "{value:?}");
    }
    assert!(state.is_empty());
}

#[test]
fn removing_the_last_member_leaves_nothing_to_send() {
    let mut state: TraceState = "a=1,b=2,a=3".parse().unwrap();
    assert!(!state.remove("c"));
    assert_eq!(state.as_str(), "a=1,b=2,a=3", "untouched if there was nothing to remove");
    assert!(state.remove("a"));
    assert_eq!(state.as_str(), "b=2");
    assert!(state.remove("b"));
    assert!(state.to_header().is_none());
}

#[test]
fn the_first_of_equal_keys_is_the_one_found() {
    let state: TraceState = "a=1,a=2".parse().unwrap();
    assert_eq!((state.get("a"), state.get("b")), (Some("1"), None));
}

#[test]
fn it_prints_its_members() {
    let state: TraceState = "a=1,b=2".parse().unwrap();
    assert_eq!(format!("{state} {state:?}"), r#"a=1,b=2 {"a": "1", "b": "2"}"#);
}
