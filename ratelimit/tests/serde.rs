//! Quotas in documents.
#![cfg(feature = "serde")]

use std::time::Duration;

use forebay_ratelimit::{Inherit, Oversize, Quota, Rate};

#[test]
fn a_quota_survives_its_document() {
    for quota in [
        Quota::new(Rate::per_second(4 << 20), 6 << 20),
        Quota::new(Rate::per(7, Duration::from_secs(86_400)), 1).oversize(Oversize::WhenFull),
        Quota::new(Rate::ZERO, 0).oversize(Oversize::Split),
        Quota::UNLIMITED,
    ] {
        let document = serde_json::to_string(&quota).unwrap();
        assert_eq!(serde_json::from_str::<Quota>(&document).unwrap(), quota, "{document}");
    }
}

#[test]
fn a_rate_in_any_terms_is_read_as_the_rate_it_is() {
    let read = |document| serde_json::from_str::<Quota>(document).unwrap();
    let written = read(r#"{"rate": {"limited": {"tokens": 3600, "per_ns": 60000000000}}, "burst": 5}"#);
    assert_eq!(written, Quota::new(Rate::per_second(60), 5));
    assert_eq!(read(r#"{"rate": "unlimited", "burst": 0}"#).rate, Rate::UNLIMITED);
    let nothing = read(r#"{"rate": {"limited": {"tokens": 0, "per_ns": 7}}, "burst": 0}"#);
    assert_eq!(nothing.rate, Rate::ZERO);
}

/// Once a mistake: a period of zero turned the limit off.
#[test]
fn a_document_that_is_no_quota_is_refused_with_the_allowed_range() {
    for (document, message) in [
        (
            r#"{"rate": {"limited": {"tokens": 5, "per_ns": 0}}, "burst": 5}"#,
            "5 tokens per 0 ns: the time has to be within 1",
        ),
        (r#"{"rate": {"limited": {"tokens": 0, "per_ns": 0}}, "burst": 5}"#, "0 tokens per 0 ns"),
        (r#"{"rate": {"limited": {"tokens": -5, "per_ns": 9}}, "burst": 5}"#, "expected u64"),
        (r#"{"rate": {"limited": {"tokens": 5}}, "burst": 5}"#, "missing field `per_ns`"),
        (
            r#"{"rate": {"limited": {"tokens": 5, "per_ns": 9, "per_s": 9}}, "burst": 5}"#,
            "unknown field `per_s`",
        ),
        (r#"{"rate": "infinite", "burst": 5}"#, "unknown variant `infinite`"),
        (r#"{"rate": "unlimited"}"#, "missing field `burst`"),
        (r#"{"rate": "unlimited", "burst": 5, "oversize": "pass"}"#, "unknown variant `pass`"),
        (r#"{"rate": "unlimited", "burst": 5, "oversise": "when_full"}"#, "unknown field `oversise`"),
    ] {
        let refusal = serde_json::from_str::<Quota>(document).unwrap_err().to_string();
        assert!(refusal.contains(message), "{document}: {refusal}");
    }
}

#[test]
fn an_inheritance_survives_its_document() {
    for inherit in [Inherit::AsIs, Inherit::Reset, Inherit::Proportional, Inherit::Additive] {
        let document = serde_json::to_string(&inherit).unwrap();
        assert_eq!(serde_json::from_str::<Inherit>(&document).unwrap(), inherit, "{document}");
    }
}
