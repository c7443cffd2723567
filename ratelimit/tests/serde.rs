//! Quotas in documents.
#![cfg(feature = "serde")]

use std::time::Duration;

use forebay_ratelimit::{Oversize, Quota, Rate};

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
    let nothing = read(r#"{"rate": {"limited": {"tokens": 0, "per_ns": 0}}, "burst": 0}"#);
    assert_eq!(nothing.rate, Rate::ZERO);
}
