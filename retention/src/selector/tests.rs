use proptest::prelude::*;

use super::*;

fn set(values: &[&str]) -> BTreeSet<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

fn native(key: &str, operator: Operator) -> Selector {
    Selector::new([Requirement::new(key, operator)]).unwrap()
}

fn loki(text: &str) -> Selector {
    Selector::parse_loki(text).unwrap()
}

#[test]
fn native_requirements_tell_absent_from_empty() {
    let pattern = |text| Pattern::new(text).unwrap();
    let cases: [(Operator, bool, bool, bool); 8] = [
        // operator, matches absent, matches "", matches "x"
        (Operator::In(set(&["x"])), false, false, true),
        (Operator::In(set(&[""])), false, true, false),
        (Operator::NotIn(set(&["x"])), true, true, false),
        (Operator::NotIn(set(&[""])), true, false, true),
        (Operator::Exists, false, true, true),
        (Operator::DoesNotExist, true, false, false),
        (Operator::Matches(pattern(".*")), false, true, true),
        (Operator::NotMatches(pattern("x?")), true, false, false),
    ];
    for (operator, absent, empty, x) in cases {
        let selector = native("k", operator);
        assert_eq!(selector.matches(&[("other", "x")]), absent, "{selector} on absent");
        assert_eq!(selector.matches(&[("k", "")]), empty, "{selector} on empty");
        assert_eq!(selector.matches(&[("k", "x")]), x, "{selector} on x");
    }
}

#[test]
fn loki_matchers_read_a_missing_label_as_empty() {
    for (text, absent_or_empty, x) in [
        (r#"{k="x"}"#, false, true),
        (r#"{k=""}"#, true, false),
        (r#"{k!="x"}"#, true, false),
        (r#"{k!=""}"#, false, true),
        (r#"{k=~".*"}"#, true, true),
        (r#"{k=~".+"}"#, false, true),
        (r#"{k!~".+"}"#, true, false),
        (r#"{k!~"x|"}"#, false, false),
    ] {
        let selector = loki(text);
        assert_eq!(selector.matches(&[]), absent_or_empty, "{text} on absent");
        assert_eq!(selector.matches(&[("k", "")]), absent_or_empty, "{text} on empty");
        assert_eq!(selector.matches(&[("k", "x")]), x, "{text} on x");
    }
}

#[test]
fn all_requirements_must_hold_and_none_is_everything() {
    let both = loki(r#"{app="a", env=~"dev|test"}"#);
    assert!(both.matches(&[("app", "a"), ("env", "dev")]));
    assert!(!both.matches(&[("app", "a"), ("env", "prod")]));
    assert!(!both.matches(&[("app", "b"), ("env", "dev")]));
    assert!(Selector::everything().matches(&[]));
    assert!(loki("{}").matches(&[("a", "b")]));
}

#[test]
fn requirements_without_key_or_values_are_refused() {
    let of = |key: &str, operator| Selector::new([Requirement::new(key, operator)]).unwrap_err();
    assert_eq!(of("", Operator::Exists), SelectorError::NoKey);
    assert_eq!(of("a", Operator::In(set(&[]))), SelectorError::NoValues { key: "a".into() });
    assert_eq!(of("a", Operator::NotIn(set(&[]))), SelectorError::NoValues { key: "a".into() });
}

#[test]
fn oversized_selectors_are_refused() {
    let text = format!("{{a=\"{}\"}}", "x".repeat(MAX_SELECTOR_BYTES));
    assert!(matches!(Selector::parse_loki(&text), Err(SelectorError::TooLong { .. })));
    let long = Requirement::equals("a", "x".repeat(MAX_SELECTOR_BYTES));
    assert!(matches!(Selector::new([long]), Err(SelectorError::TooLong { bytes: 65537, limit: 65536 })));
    let many =
        (0..=MAX_PATTERNS).map(|_| Requirement::new("a", Operator::Matches(Pattern::new("x").unwrap())));
    assert_eq!(Selector::new(many).unwrap_err(), SelectorError::TooManyPatterns { patterns: 33, limit: 32 });
}

#[test]
fn display_reads_like_its_origin() {
    assert_eq!(loki(" { app = `x` ,env!~\"a\\nb\" } ").to_string(), r#"{app="x", env!~"a\nb"}"#);
    let selector = Selector::new([
        Requirement::new("app", Operator::In(set(&["a", "b"]))),
        Requirement::new("env", Operator::DoesNotExist),
        Requirement::new("tier", Operator::Exists),
    ]);
    assert_eq!(selector.unwrap().to_string(), r#"app in ("a", "b"), !env, tier"#);
    assert_eq!(Selector::everything().to_string(), "{}");
}

proptest! {
    #[test]
    fn a_loki_selector_printed_parses_back_to_itself(
        parts in prop::collection::vec(("[a-z_][a-z0-9_]{0,3}", 0..4u8, "[^(){}\\[\\]*+?|^$.\\\\]{0,6}"), 0..4)
    ) {
        let requirements = parts.into_iter().map(|(key, sign, value)| {
            let operator = match sign {
                0 => Operator::In(set(&[&value])),
                1 => Operator::NotIn(set(&[&value])),
                2 => Operator::Matches(Pattern::new(&value).unwrap()),
                _ => Operator::NotMatches(Pattern::new(&value).unwrap()),
            };
            Requirement { key, operator }
        });
        let selector = Selector::checked(requirements.collect(), Missing::Empty).unwrap();
        prop_assert_eq!(loki(&selector.to_string()), selector);
    }

    #[test]
    fn any_text_parses_or_names_a_byte_inside(text in ".{0,40}|[{}a\"=~!,\\\\x` ]{0,20}") {
        match Selector::parse_loki(&text) {
            Ok(selector) => prop_assert_eq!(loki(&selector.to_string()), selector),
            Err(SelectorError::Expected { at, .. } | SelectorError::Escape { at }) => {
                prop_assert!(at <= text.len() && text.is_char_boundary(at));
            }
            Err(SelectorError::Unterminated { at } | SelectorError::NotUtf8 { at }) => prop_assert!(at < text.len()),
            Err(SelectorError::Pattern { at, .. }) => prop_assert!(at < text.len()),
            Err(other) => prop_assert!(false, "{other:?}"),
        }
    }
}
