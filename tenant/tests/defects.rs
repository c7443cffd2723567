//! Defects of the systems whose files and headers this crate reads, which it does not have.

use std::num::NonZeroUsize;

use forebay_tenant::limits::stream_limit;
use forebay_tenant::{Admission, Limits, Org, OrgError, Streams, TenantId, Validator, Verdict};

/// A global limit of 5 divided among 10 ingesters is half a stream, which integers round to 0, which elsewhere
/// reads as "no limit": the tenants with the smallest limits had none.
#[test]
fn d12_a_small_global_stream_limit_never_becomes_unlimited() {
    assert_eq!(stream_limit(0, 5, 1, 10), NonZeroUsize::new(1));
    for partitions in 1..=64 {
        assert!(stream_limit(0, 63, 1, partitions).is_some());
    }
    let limits = Limits { max_global_streams_per_user: 5, ..Limits::default() };
    let streams = Streams::new();
    let limit = limits.stream_limit(1, 10);
    assert_eq!(streams.admit("small", 1, 0, limit), Admission::New);
    assert_eq!(streams.admit("small", 2, 0, limit), Admission::Refused { active: 1, limit: 1 });
}

/// `a||b` elsewhere names a tenant without a name, whose data everybody with an empty part shares.
#[test]
fn d13_an_empty_part_names_no_tenant() {
    for (header, position) in [("a||b", 2), ("|a", 0), ("a|", 2), ("|", 0), ("a|:k=v", 2)] {
        assert_eq!(Org::parse(header), Err(OrgError::EmptyPart { position }), "{header}");
    }
    assert!(TenantId::parse("").is_err());
}

/// Cutting a line at a number of bytes leaves half a character at its end.
#[test]
fn d13_a_line_is_never_cut_inside_a_character() {
    for (max_line_size, keep) in
        [(1, 0), (2, 2), (3, 2), (4, 2), (5, 5), (6, 5), (8, 5), (9, 9), (10, 10), (11, 10)]
    {
        let limits = Limits { max_line_size, max_line_size_truncate: true, ..Limits::default() };
        let line = "é€😀!é"; // 2, 3, 4, 1 and 2 bytes
        let verdict = Validator::new(&limits, 0).entry(0, line.as_bytes(), &[]);
        assert_eq!(verdict, Verdict::Truncate { keep }, "{max_line_size}");
        assert!(line.is_char_boundary(keep));
    }
}
