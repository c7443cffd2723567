use super::*;

fn state(text: &str) -> TraceState {
    text.parse().unwrap()
}

fn threshold(text: &str) -> Threshold {
    text.parse().unwrap()
}

fn set(text: &str, to: &str) -> String {
    let mut state = state(text);
    state.set_threshold(threshold(to)).unwrap();
    state.to_string()
}

fn erased(text: &str) -> String {
    let mut state = state(text);
    state.erase_threshold();
    state.to_string()
}

#[test]
fn both_entries_are_found_wherever_they_stand() {
    for text in ["ot=th:c;rv:0123456789abcd", "a=1, ot=p:;rv:0123456789abcd;x9:-._Z;th:c0 ,b=2"] {
        assert_eq!(state(text).threshold(), Some(threshold("c")), "{text}");
        assert_eq!(state(text).explicit_randomness(), Some(0x01_2345_6789_abcd), "{text}");
    }
    for text in ["", "a=1", "OT@x=1".to_lowercase().as_str(), "ot=xth:c;thx:8;rvx:0123456789abcd"] {
        assert_eq!((state(text).threshold(), state(text).explicit_randomness()), (None, None), "{text}");
    }
}

#[test]
fn a_value_outside_its_grammar_says_nothing_and_leaves_the_other_alone() {
    for bad in ["", "123456789abcdef", "C", "8.", "-8"] {
        let state = state(&format!("ot=th:{bad};rv:0123456789abcd"));
        assert_eq!(state.threshold(), None, "{bad}");
        assert!(state.explicit_randomness().is_some());
    }
    for bad in ["", "0123456789abc", "0123456789abcde", "0123456789abcD", "0123456789abc_"] {
        let state = state(&format!("ot=rv:{bad};th:8"));
        assert_eq!(state.explicit_randomness(), None, "{bad}");
        assert!(state.threshold().is_some());
    }
}

const MALFORMED: [&str; 12] = [
    "th",
    "th:c;",
    ";th:c",
    "th:c;;x:1",
    "th:c;th:8",
    "th:c;x:1;x:2",
    "th:c;X:1",
    "th:c;1x:1",
    "th:c;:1",
    "th:c;x:1:2",
    " th:c",
    "th:c;x:~",
];

#[test]
fn a_list_outside_the_grammar_says_nothing_and_is_replaced_whole() {
    for bad in MALFORMED {
        let text = format!("a=1,ot={bad}");
        assert_eq!(state(&text).threshold(), None, "{bad}");
        assert_eq!(set(&text, "8"), "ot=th:8,a=1", "{bad}");
        assert_eq!(erased(&text), "a=1", "{bad}");
    }
}

#[test]
fn a_threshold_is_replaced_in_its_place_or_added_at_the_end_and_the_member_moves_to_the_front() {
    assert_eq!(set("", "0"), "ot=th:0");
    assert_eq!(set("a=1,b=2", "8"), "ot=th:8,a=1,b=2");
    assert_eq!(set("a=1,ot=p:8;r:62,b=2", "8"), "ot=p:8;r:62;th:8,a=1,b=2");
    assert_eq!(set("a=1,ot=p:8;th:c;rv:0123456789abcd", "8"), "ot=p:8;th:8;rv:0123456789abcd,a=1");
    assert_eq!(set("a=1,ot=th:XYZ;p:8", "8"), "ot=th:8;p:8,a=1", "nothing is kept of a malformed one");
}

#[test]
fn erasing_a_threshold_keeps_the_rest_in_order_and_the_member_only_if_there_is_any() {
    assert_eq!(erased("a=1,ot=th:8"), "a=1");
    assert_eq!(erased("ot=th:8"), "");
    assert_eq!(erased("a=1,ot=p:8;th:;rv:0123456789abcd"), "ot=p:8;rv:0123456789abcd,a=1");
}

#[test]
fn what_does_not_change_stays_as_it_came_to_the_byte() {
    for text in ["a=1,  ot=th:80;p:8\t,b=2", "a=1,\t,ot=th:8"] {
        assert_eq!(set(text, "8"), text);
    }
    for text in ["", "a=1 ,b=2", "a=1, ot=rv:0123456789abcd"] {
        assert_eq!(erased(text), text);
    }
}

#[test]
fn a_member_without_room_ends_up_without_a_threshold_and_says_so() {
    let filler = |len: usize| "x".repeat(len);
    // The entry takes `;th:8` from the 256 bytes.
    let fits = format!("ot=x:{}", filler(256 - 2 - 5));
    assert_eq!(set(&fits, "8"), format!("{fits};th:8"));
    assert_eq!(set(&set(&fits, "8"), "c"), format!("{fits};th:c"), "in place of one as long");

    let full = format!("a=1,ot=x:{};th:8", filler(256 - 2 - 5));
    let mut state = state(&full);
    assert_eq!(state.set_threshold(threshold("88")), Err(TraceStateError::Value { found: 257 }));
    assert_eq!(state.threshold(), None);
    assert_eq!(state.to_string(), format!("ot=x:{},a=1", filler(256 - 2 - 5)));
    let before = state.clone();
    assert_eq!(state.set_threshold(threshold("888")), Err(TraceStateError::Value { found: 258 }));
    assert_eq!(state, before);
}

#[test]
fn a_full_list_gives_up_its_last_member_for_a_new_one() {
    let full = (0..32).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
    let text = set(&full, "8");
    assert!(text.starts_with("ot=th:8,k0=1,") && text.ends_with(",k30=1"));
    assert_eq!(erased(&text), full.trim_end_matches(",k31=1"));
}

#[test]
fn setting_a_threshold_leaves_no_second_member_even_if_the_first_has_it_already() {
    assert_eq!(set("ot=th:8,a=1,ot=th:0", "8"), "ot=th:8,a=1");
    assert_eq!(set("ot=x:1,a=1,ot=th:0", "8"), "ot=x:1;th:8,a=1");
}

#[test]
fn erasing_reaches_a_threshold_in_a_second_member_as_well() {
    let mut state: TraceState = "ot=x:1,a=1,ot=th:0".parse().unwrap();
    state.erase_threshold();
    assert_eq!(state.as_str(), "ot=x:1,a=1");
}
