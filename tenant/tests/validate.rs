//! Verdicts on labels and entries: order of checks, boundaries, cutting.

use std::time::Duration;

use forebay_tenant::{Limits, Reason, Rejection, Validator, Verdict};
use proptest::prelude::*;

const NOW: i64 = 1_767_312_000_000_000_000;

fn reason(verdict: Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Discard(rejection) => Some(rejection.reason()),
        Verdict::Accept | Verdict::Truncate { .. } => None,
    }
}

fn tight() -> Limits {
    Limits {
        max_label_name_length: 12,
        max_label_value_length: 3,
        max_label_names_per_series: 2,
        max_line_size: 4,
        max_structured_metadata_size: 6,
        max_structured_metadata_entries_count: 2,
        ..Limits::default()
    }
}

#[test]
fn labels_within_the_limits_are_accepted_up_to_the_limits() {
    let limits = tight();
    let validator = Validator::new(&limits, NOW);
    for labels in [
        &[("a", "x")][..],
        &[("a", "xyz"), ("b", "")],
        &[("_a", ""), ("abcdefghijkl", "xyz")],
        &[("A", "x"), ("service_name", "abc"), ("z9", "x")],
    ] {
        assert_eq!(validator.labels(labels), Ok(()), "{labels:?}");
    }
}

#[test]
fn labels_beyond_a_limit_are_refused_for_the_first_reason_in_order() {
    let limits = tight();
    let validator = Validator::new(&limits, NOW);
    for (labels, reason, message) in [
        (&[][..], Reason::MissingLabels, "a stream needs at least one label"),
        (&[("9a", "x")], Reason::InvalidLabels, "label name `9a` is not of letters, digits and underscores"),
        (&[("", "x")], Reason::InvalidLabels, "label name `` is not of letters, digits and underscores"),
        (
            &[("a-b", "x")],
            Reason::InvalidLabels,
            "label name `a-b` is not of letters, digits and underscores",
        ),
        (&[("ä", "x")], Reason::InvalidLabels, "label name `ä` is not of letters, digits and underscores"),
        (
            &[("b", "x"), ("a", "x"), ("b", "x")],
            Reason::InvalidLabels,
            "label `a` comes after `b`: labels must be sorted by name",
        ),
        (
            &[("a", "long"), ("b", "x"), ("c", "x")],
            Reason::MaxLabelNamesPerSeries,
            "3 label names exceed the limit of 2",
        ),
        (
            &[("a", "x"), ("b", "x"), ("c d", "x")],
            Reason::InvalidLabels,
            "label name `c d` is not of letters, digits and underscores",
        ),
        (
            &[("abcdefghijklm", "long")],
            Reason::LabelNameTooLong,
            "label name `abcdefghijklm` of 13 bytes exceeds the limit of 12",
        ),
        (
            &[("a", "x"), ("b", "éé")],
            Reason::LabelValueTooLong,
            "value of label `b` of 4 bytes exceeds the limit of 3",
        ),
        (&[("a", "x"), ("a", "y")], Reason::DuplicateLabelNames, "label `a` is there twice"),
        (
            &[("service_name", "x"), ("service_name", "y")],
            Reason::DuplicateLabelNames,
            "label `service_name` is there twice",
        ),
    ] {
        let refused = validator.labels(labels).unwrap_err();
        assert_eq!((refused.reason(), refused.to_string().as_str()), (reason, message), "{labels:?}");
    }
}

#[test]
fn entries_are_refused_for_the_first_reason_in_order() {
    let limits = tight();
    let disallowed = Limits { allow_structured_metadata: false, ..tight() };
    let (old, new) = (NOW - 7 * 86_400_000_000_000 - 1, NOW + 600_000_000_001);
    let much = [("abc", "def"), ("g", ""), ("h", "")];
    for (limits, timestamp_ns, line, metadata, message) in [
        (
            &limits,
            old,
            "12345",
            &much[..],
            "timestamp 2025-12-25T23:59:59.999999999Z is too old, the oldest accepted is 2025-12-26T00:00:00Z",
        ),
        (
            &limits,
            new,
            "12345",
            &much,
            "timestamp 2026-01-02T00:10:00.000000001Z is too new, the newest accepted is 2026-01-02T00:10:00Z",
        ),
        (&limits, NOW, "12345", &much, "line of 5 bytes exceeds the limit of 4"),
        (&disallowed, NOW, "1234", &much, "structured metadata of 3 pairs, but none is allowed"),
        (&limits, NOW, "1234", &much, "structured metadata of 8 bytes exceeds the limit of 6"),
        (
            &limits,
            NOW,
            "1234",
            &[("a", "b"), ("c", "d"), ("e", "")],
            "structured metadata of 3 pairs exceeds the limit of 2",
        ),
    ] {
        let Verdict::Discard(refused) =
            Validator::new(limits, NOW).entry(timestamp_ns, line.as_bytes(), metadata)
        else {
            panic!("{message}")
        };
        assert_eq!(refused.to_string(), message);
    }
    assert_eq!(Validator::new(&limits, NOW).entry(NOW, b"1234", &much[..1]), Verdict::Accept);
    assert_eq!(Validator::new(&disallowed, NOW).entry(NOW, b"1234", &[]), Verdict::Accept);
}

#[test]
fn limits_of_zero_are_no_limits_for_lines_and_metadata() {
    let limits = Limits {
        max_line_size: 0,
        max_structured_metadata_size: 0,
        max_structured_metadata_entries_count: 0,
        ..Limits::default()
    };
    let line = vec![b'x'; 1 << 20];
    let text = "x".repeat(1 << 20);
    let metadata = vec![("a", text.as_str()); 1000];
    assert_eq!(Validator::new(&limits, NOW).entry(NOW, &line, &metadata), Verdict::Accept);
}

#[test]
fn a_line_is_refused_where_there_is_no_room_beside_the_identifier() {
    let cut = |max_line_size, identifier: &str| {
        let limits = Limits {
            max_line_size,
            max_line_size_truncate: true,
            max_line_size_truncate_identifier: identifier.to_owned(),
            ..Limits::default()
        };
        Validator::new(&limits, NOW).entry(NOW, b"0123456789", &[])
    };
    assert_eq!(cut(8, ""), Verdict::Truncate { keep: 8 });
    assert_eq!(cut(8, "..."), Verdict::Truncate { keep: 5 });
    assert_eq!(cut(4, "..."), Verdict::Truncate { keep: 1 });
    for max_line_size in [3, 2] {
        let limit = max_line_size;
        assert_eq!(cut(max_line_size, "..."), Verdict::Discard(Rejection::LineTooLong { found: 10, limit }));
    }
    assert_eq!(cut(10, "..."), Verdict::Accept, "a line within the limit needs no identifier");
}

#[test]
fn a_line_that_is_cut_must_still_have_fitting_metadata() {
    let limits = Limits { max_line_size_truncate: true, ..tight() };
    let validator = Validator::new(&limits, NOW);
    assert_eq!(validator.entry(NOW, b"12345", &[("a", "b")]), Verdict::Truncate { keep: 4 });
    let verdict = validator.entry(NOW, b"12345", &[("abcd", "efg")]);
    assert_eq!(reason(verdict), Some(Reason::StructuredMetadataTooLarge));
}

/// T5: the window's ends are inside, the nanosecond beyond is not, and nothing overflows.
#[test]
fn times_are_judged_to_the_nanosecond_and_at_the_ends_of_time() {
    let second = Duration::from_secs(1);
    let at = |now_ns: i64, age: Duration, grace: Duration, timestamp_ns: i64| {
        let limits =
            Limits { reject_old_samples_max_age: age, creation_grace_period: grace, ..Limits::default() };
        reason(Validator::new(&limits, now_ns).entry(timestamp_ns, b"", &[]))
    };
    let (old, new) = (Some(Reason::GreaterThanMaxSampleAge), Some(Reason::TooFarInFuture));
    let s = 1_000_000_000;
    for (now, timestamp, expected) in [
        (NOW, NOW - s, None),
        (NOW, NOW - s - 1, old),
        (NOW, NOW - s + 1, None),
        (NOW, NOW + s, None),
        (NOW, NOW + s + 1, new),
        (NOW, NOW + s - 1, None),
        (NOW, i64::MIN, old),
        (NOW, i64::MAX, new),
        (NOW, 0, old),
        (NOW, -1, old),
        (i64::MIN, i64::MIN, None),
        (i64::MIN, i64::MIN + s, None),
        (i64::MIN, i64::MIN + s + 1, new),
        (i64::MAX, i64::MAX, None),
        (i64::MAX, i64::MAX - s, None),
        (i64::MAX, i64::MAX - s - 1, old),
        (i64::MIN, i64::MAX, new),
        (i64::MAX, i64::MIN, old),
    ] {
        assert_eq!(at(now, second, second, timestamp), expected, "{timestamp} at {now}");
    }
    for timestamp in [i64::MIN, 0, i64::MAX] {
        assert_eq!(at(NOW, Duration::MAX, Duration::MAX, timestamp), None);
        let limits =
            Limits { reject_old_samples: false, creation_grace_period: Duration::MAX, ..Limits::default() };
        assert_eq!(Validator::new(&limits, NOW).entry(timestamp, b"", &[]), Verdict::Accept);
    }
    assert_eq!(at(NOW, Duration::ZERO, Duration::ZERO, NOW), None);
    assert_eq!(at(NOW, Duration::ZERO, Duration::ZERO, NOW - 1), old);
    assert_eq!(at(NOW, Duration::ZERO, Duration::ZERO, NOW + 1), new);
}

proptest! {
    /// T5 against arithmetic that cannot overflow.
    #[test]
    fn the_window_is_that_of_wide_integers(
        now in prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)],
        age in any::<u64>(), grace in any::<u64>(),
        timestamp in any::<i64>(), offset in -2i128..=2, near in 0u8..3,
    ) {
        let limits = Limits {
            reject_old_samples_max_age: Duration::from_nanos(age),
            creation_grace_period: Duration::from_nanos(grace),
            ..Limits::default()
        };
        let (oldest, newest) = (i128::from(now) - i128::from(age), i128::from(now) + i128::from(grace));
        let edge = match near { 0 => i128::from(timestamp), 1 => oldest + offset, _ => newest + offset };
        let Ok(timestamp) = i64::try_from(edge) else { return Ok(()) };
        let verdict = Validator::new(&limits, now).entry(timestamp, b"", &[]);
        let expected = if edge < oldest { Some(Reason::GreaterThanMaxSampleAge) }
            else if edge > newest { Some(Reason::TooFarInFuture) }
            else { None };
        prop_assert_eq!(reason(verdict), expected);
    }

    /// T4: a cut line is within the limit, still text, a prefix, as long as possible, and not cut again.
    #[test]
    fn a_cut_line_fits_is_text_and_stays(line in "(.|[éß€😀]){0,40}", max_line_size in 1u64..60, identifier in "[.…]{0,3}") {
        let limits = Limits {
            max_line_size,
            max_line_size_truncate: true,
            max_line_size_truncate_identifier: identifier.clone(),
            ..Limits::default()
        };
        let validator = Validator::new(&limits, NOW);
        match validator.entry(NOW, line.as_bytes(), &[]) {
            Verdict::Accept => prop_assert!(line.len() as u64 <= max_line_size),
            Verdict::Truncate { keep } => {
                prop_assert!(line.len() as u64 > max_line_size);
                prop_assert!(line.is_char_boundary(keep));
                let room = usize::try_from(max_line_size).unwrap() - identifier.len();
                prop_assert_eq!(keep, line.floor_char_boundary(room));
                let cut = format!("{}{identifier}", &line[..keep]);
                prop_assert!(cut.len() as u64 <= max_line_size);
                prop_assert_eq!(validator.entry(NOW, cut.as_bytes(), &[]), Verdict::Accept);
            }
            Verdict::Discard(rejection) => {
                prop_assert_eq!(rejection.reason(), Reason::LineTooLong);
                prop_assert!(identifier.len() as u64 >= max_line_size);
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_cut_within_the_limit(line in prop::collection::vec(any::<u8>(), 0..40), max_line_size in 1u64..40) {
        let limits = Limits { max_line_size, max_line_size_truncate: true, ..Limits::default() };
        if let Verdict::Truncate { keep } = Validator::new(&limits, NOW).entry(NOW, &line, &[]) {
            prop_assert!(keep as u64 <= max_line_size && keep as u64 + 3 >= max_line_size);
        }
    }

    /// Labels against the same rules written one after the other.
    #[test]
    fn labels_are_judged_as_by_the_rules_one_by_one(
        mut labels in prop::collection::vec(("[ab_9]{0,4}|service_name", "[xé]{0,3}"), 0..5), sort: bool,
    ) {
        if sort { labels.sort(); }
        let limits = tight();
        let pairs: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let valid_name = |name: &str| !name.is_empty() && !name.starts_with('9');
        let expected = if pairs.is_empty() { Some(Reason::MissingLabels) }
            else if !pairs.iter().all(|(n, _)| valid_name(n)) || !pairs.is_sorted_by_key(|(n, _)| *n) {
                Some(Reason::InvalidLabels)
            }
            else if pairs.iter().filter(|(n, _)| *n != "service_name").count() > 2 {
                Some(Reason::MaxLabelNamesPerSeries)
            }
            else {
                pairs.iter().enumerate().find_map(|(i, (n, v))| {
                    if v.len() > 3 { Some(Reason::LabelValueTooLong) }
                    else if i > 0 && pairs[i - 1].0 == *n { Some(Reason::DuplicateLabelNames) }
                    else { None }
                })
            };
        let found = Validator::new(&limits, NOW).labels(&pairs).err().map(|rejection| rejection.reason());
        prop_assert_eq!(found, expected);
    }
}
