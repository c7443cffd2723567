//! What selectors, policies and holds look like as JSON, and that reading checks what construction checks.

use std::time::Duration;

use forebay_retention::{Hold, Period, Policy, Release, Retention, Scope, Selector, TimeRange};
use serde_json::{Value, from_value, json, to_value};

fn selector(value: Value) -> Result<Selector, String> {
    from_value(value).map_err(|error| error.to_string())
}

#[test]
fn a_native_selector_is_kubernetes_map() {
    let read = selector(json!({
        "match_labels": {"app": "a"},
        "match_expressions": [
            {"key": "env", "operator": "In", "values": ["dev", "test"]},
            {"key": "tier", "operator": "DoesNotExist"},
            {"key": "host", "operator": "NotMatches", "values": ["db-.*"]},
        ],
    }))
    .unwrap();
    assert!(read.matches(&[("app", "a"), ("env", "dev"), ("host", "web-1")]));
    assert!(!read.matches(&[("app", "a"), ("env", "dev"), ("host", "db-1")]));
    assert!(!read.matches(&[("app", "a"), ("env", "dev"), ("tier", "")]));
    assert_eq!(selector(to_value(&read).unwrap()), Ok(read));
}

#[test]
fn a_loki_selector_is_its_text() {
    let read = selector(json!(r#"{app=~"a|b", env!=""}"#)).unwrap();
    assert_eq!(to_value(&read).unwrap(), json!(r#"{app=~"a|b", env!=""}"#));
    assert!(!read.matches(&[("app", "a")]), "a missing label stays an empty one");
    assert_eq!(selector(to_value(&read).unwrap()), Ok(read));
}

#[test]
fn everything_is_spelled_out() {
    assert_eq!(selector(json!({})).unwrap(), Selector::everything());
    assert!(selector(json!("{}")).unwrap().requirements().is_empty());
    assert!(selector(Value::Null).is_err());
}

#[test]
fn malformed_selectors_are_refused() {
    for value in [
        json!({"match_label": {"app": "a"}}),
        json!({"match_expressions": [{"key": "a", "operator": "In"}]}),
        json!({"match_expressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}),
        json!({"match_expressions": [{"key": "a", "operator": "Matches", "values": []}]}),
        json!({"match_expressions": [{"key": "a", "operator": "Matches", "values": ["("]}]}),
        json!({"match_expressions": [{"key": "", "operator": "Exists"}]}),
        json!({"match_expressions": [{"key": "a", "operator": "Equals", "values": ["x"]}]}),
        json!("{app=}"),
        json!(7),
    ] {
        assert!(selector(value.clone()).is_err(), "{value}");
    }
    assert_eq!(
        selector(json!("{app=}")).unwrap_err(),
        "expected a string in double or back quotes at byte 5"
    );
    let error = selector(json!(r#"{app=~"("}"#)).unwrap_err();
    assert!(
        error.starts_with("pattern that starts at byte 6 is not usable: pattern is malformed at byte 0"),
        "{error}"
    );
}

#[test]
fn a_hold_comes_back_as_it_went() {
    let mut hold = Hold::new("h", Scope::Tenant("t".into()), Selector::everything(), "case 7", "court", 5)
        .within(TimeRange::covering(1, 2));
    let written = to_value(&hold).unwrap();
    assert_eq!(written["range"], json!([1, 2]));
    assert_eq!(written["scope"], json!({"tenant": "t"}));
    assert_eq!(from_value::<Hold>(written).unwrap(), hold);
    hold.released = Some(Release { at_ns: 9, reason: "settled".into() });
    assert_eq!(from_value::<Hold>(to_value(&hold).unwrap()).unwrap(), hold);
    let minimal =
        json!({"id": "h", "scope": "all", "selector": {}, "case": "c", "reason": "r", "created_at_ns": 1});
    assert!(from_value::<Hold>(minimal).unwrap().is_active());
    let without_selector = json!({"id": "h", "scope": "all", "case": "c", "reason": "r", "created_at_ns": 1});
    assert!(from_value::<Hold>(without_selector).is_err(), "holding everything must be said");
    assert!(from_value::<TimeRange>(json!([2, 1])).is_err());
}

#[test]
fn a_policy_comes_back_as_it_went_and_a_period_of_zero_does_not_come_in() {
    let week = Retention::period(Duration::from_hours(168)).unwrap();
    let policy = Policy::new("p", Scope::All, Selector::everything(), week).with_priority(3).as_fallback();
    assert_eq!(from_value::<Policy>(to_value(&policy).unwrap()).unwrap(), policy);
    assert_eq!(to_value(Retention::Forever).unwrap(), json!("forever"));
    assert!(from_value::<Period>(json!({"secs": 0, "nanos": 0})).is_err());
}
