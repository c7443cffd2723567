//! Tenant ids against a regular expression, and the header that carries them.

use forebay_tenant::id::MAX_ID_BYTES;
use forebay_tenant::org::{MAX_HEADER_BYTES, MAX_METADATA_BYTES};
use forebay_tenant::{IdError, Org, OrgError, Tenancy, TenantId};
use proptest::prelude::*;
use regex::Regex;

const ID: &str = r"[A-Za-z0-9!\-_.*'()]{1,150}";

fn org(text: &str) -> Result<Vec<String>, OrgError> {
    Org::parse(text).map(|org| org.tenants().iter().map(ToString::to_string).collect())
}

#[test]
fn tenants_are_sorted_and_distinct() {
    assert_eq!(org("b|a|b|c").unwrap(), ["a", "b", "c"]);
    assert_eq!(Org::parse("b|a:x=1|b").unwrap().to_string(), "a:x=1|b");
}

#[test]
fn one_tenant_named_twice_is_one_tenant() {
    assert_eq!(Org::parse("a|a").unwrap().single().unwrap(), &"a");
    let refused = Org::parse("a|b").unwrap().single().cloned().unwrap_err();
    assert_eq!(refused.to_string(), "multiple org IDs present");
}

#[test]
fn a_missing_header_and_an_empty_one_are_the_same() {
    for header in [None, Some(&b""[..])] {
        let refused = Tenancy::Multi.resolve(header).unwrap_err();
        assert_eq!(refused, OrgError::Missing);
        assert_eq!(refused.to_string(), "no org id");
    }
}

#[test]
fn with_a_single_tenant_no_header_matters() {
    let own = Tenancy::Single(TenantId::parse("own").unwrap());
    for header in [None, Some(&b""[..]), Some(b"other"), Some(b"a|b"), Some(b"\xff\x00"), Some(b"||")] {
        assert_eq!(own.resolve(header).unwrap().single().unwrap(), &"own");
        assert_eq!(Tenancy::default().resolve(header).unwrap().single().unwrap(), &"fake");
    }
}

#[test]
fn hostile_headers_are_refused_with_their_place() {
    let refused = |header: &[u8]| Tenancy::Multi.resolve(Some(header)).unwrap_err();
    assert_eq!(refused(b"ab\xffc"), OrgError::NotText { position: 2 });
    assert_eq!(
        refused(b"ab|c d"),
        OrgError::Id { position: 3, source: IdError::Character { found: ' ', position: 1 } }
    );
    assert_eq!(refused(b"a|.."), OrgError::Id { position: 2, source: IdError::RelativePath });
    assert_eq!(
        refused(b"a\0"),
        OrgError::Id { position: 0, source: IdError::Character { found: '\0', position: 1 } }
    );
    let long = "a".repeat(MAX_HEADER_BYTES + 1);
    assert_eq!(refused(long.as_bytes()), OrgError::TooLong { length: MAX_HEADER_BYTES + 1 });
    let all_bars = "|".repeat(MAX_HEADER_BYTES);
    assert_eq!(refused(all_bars.as_bytes()), OrgError::EmptyPart { position: 0 });
    let most = vec!["a"; MAX_HEADER_BYTES / 2].join("|");
    assert_eq!(org(&most).unwrap(), ["a"]);
}

#[test]
fn metadata_belongs_to_its_tenant_and_is_no_part_of_the_id() {
    let org = Org::parse("b:y=2:x=1|a").unwrap();
    assert_eq!(org.tenants(), ["a", "b"]);
    assert_eq!(org.metadata("b").collect::<Vec<_>>(), [("x", "1"), ("y", "2")]);
    assert_eq!(org.metadata("a").count(), 0);
    assert_eq!(org.to_string(), "a|b:x=1:y=2");
    assert_eq!(Org::parse("a:k=v").unwrap().single().unwrap(), &"a");
}

#[test]
fn malformed_metadata_is_refused() {
    for (header, position) in
        [("a:", 1), ("a:x", 1), ("a:=1", 1), ("a:x=", 1), ("a:x=1:x=2", 1), ("a:x=1=2", 1), ("b|aa:x=ä", 4)]
    {
        assert_eq!(org(header), Err(OrgError::Metadata { position }), "{header}");
    }
    let metadata = |length: usize| format!("a:k={}", "v".repeat(length - 3));
    assert!(org(&metadata(MAX_METADATA_BYTES)).is_ok());
    assert_eq!(org(&metadata(MAX_METADATA_BYTES + 1)), Err(OrgError::Metadata { position: 1 }));
    let tenant = TenantId::parse("a").unwrap();
    assert_eq!(org("a:x=1|b|a:x=2"), Err(OrgError::Ambiguous { tenant: tenant.clone() }));
    assert_eq!(org("a:x=1|a"), Err(OrgError::Ambiguous { tenant }));
    assert_eq!(org("a:x=1:y=2|a:y=2:x=1").unwrap(), ["a"]);
    assert_eq!(org(":x=1"), Err(OrgError::EmptyPart { position: 0 }));
}

proptest! {
    /// T1, refusing side: arbitrary and nearly valid texts against the regular expression.
    #[test]
    fn an_id_is_what_the_expression_matches(
        text in prop_oneof![".*", r"[A-Za-z0-9!\-_.*'()|:/ ]{0,8}", "[.a]{0,3}", r"[a-z]{145,155}"],
    ) {
        let whole = Regex::new(&format!("^(?:{ID})$")).unwrap();
        let expected = whole.is_match(&text) && text != "." && text != "..";
        prop_assert_eq!(TenantId::parse(&text).is_ok(), expected);
    }

    /// T1, accepting side: an id is its text again.
    #[test]
    fn a_valid_id_comes_back_as_it_was(text in ID) {
        prop_assume!(text != "." && text != "..");
        let id = TenantId::parse(&text).unwrap();
        prop_assert_eq!(id.as_str(), &text);
        prop_assert_eq!(id.to_string(), text.clone());
        prop_assert!(text.len() <= MAX_ID_BYTES);
        prop_assert_eq!(Org::parse(&text).unwrap(), Org::from(id));
    }

    #[test]
    fn a_printed_org_reads_as_the_same(
        members in prop::collection::btree_map("[a-z]{1,3}", prop::collection::btree_map("[a-z]{1,2}", "[0-9]{1,2}", 0..3), 1..5),
    ) {
        let parts: Vec<String> = members.iter().rev().map(|(id, pairs)| {
            pairs.iter().rev().fold(id.clone(), |part, (key, value)| format!("{part}:{key}={value}"))
        }).collect();
        let org = Org::parse(&parts.join("|")).unwrap();
        prop_assert_eq!(&Org::parse(&org.to_string()).unwrap(), &org);
        prop_assert!(org.tenants().iter().map(TenantId::as_str).eq(members.keys().map(String::as_str)));
        for (id, pairs) in &members {
            prop_assert!(org.metadata(id).eq(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str()))));
        }
    }

    #[test]
    fn no_header_upsets_the_reader(header in prop::collection::vec(prop_oneof![Just(b'|'), Just(b':'), Just(b'='), any::<u8>()], 0..64)) {
        if let Ok(org) = Tenancy::Multi.resolve(Some(&header)) {
            prop_assert!(org.tenants().array_windows::<2>().all(|[a, b]| a < b));
            prop_assert!(org.tenants().iter().all(|id| TenantId::parse(id.as_str()).is_ok()));
        }
    }
}
