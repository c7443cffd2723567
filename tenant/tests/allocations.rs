//! What allocates and what does not, counted by an allocator.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use forebay_tenant::{
    Admission, Limits, Overrides, Reason, Snapshot, StreamRetention, Streams, Validator, Verdict, yaml,
};

const NOW: i64 = 1_767_312_000_000_000_000;

fn count(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

#[test]
fn the_counter_counts() {
    assert_eq!(count(|| drop(black_box(Box::new(1)))), 1);
}

#[test]
fn checking_what_is_accepted_allocates_nothing() {
    let limits = Limits { max_line_size: 1000, max_line_size_truncate: true, ..Limits::default() };
    let names: Vec<_> = (10..25).map(|n| format!("name_{n}")).collect();
    let labels: Vec<_> = names.iter().map(|name| (name.as_str(), "välue")).collect();
    let long = "é".repeat(1000);
    let allocations = count(|| {
        let validator = Validator::new(black_box(&limits), NOW);
        assert_eq!(validator.labels(black_box(&labels)), Ok(()));
        assert_eq!(validator.entry(NOW, black_box(b"a line"), black_box(&labels)), Verdict::Accept);
        assert_eq!(validator.entry(NOW, black_box(long.as_bytes()), &[]), Verdict::Truncate { keep: 1000 });
    });
    assert_eq!(allocations, 0);
}

#[test]
fn a_refusal_allocates_only_when_it_is_printed() {
    let limits = Limits { max_line_size: 3, ..Limits::default() };
    let validator = Validator::new(&limits, NOW);
    let (twice, unsorted) = ([("a", "x"), ("a", "y")], [("b", "x"), ("a", "x")]);
    let allocations = count(|| {
        for labels in [&[][..], &twice, &unsorted, &[("a-b", "x")]] {
            assert!(validator.labels(black_box(labels)).is_err());
        }
        for (timestamp_ns, line, reason) in [
            (NOW, "long line", Reason::LineTooLong),
            (0, "old", Reason::GreaterThanMaxSampleAge),
            (i64::MAX, "new", Reason::TooFarInFuture),
        ] {
            let Verdict::Discard(rejection) = validator.entry(timestamp_ns, black_box(line.as_bytes()), &[])
            else {
                panic!("{line} is refused");
            };
            assert_eq!(rejection.reason(), reason);
        }
    });
    assert_eq!(allocations, 0);
    let Err(rejection) = validator.labels(&twice) else { panic!("refused") };
    assert!(count(|| drop(black_box(rejection.to_string()))) > 0);
}

#[test]
fn limits_of_a_tenant_and_its_known_streams_are_looked_up_without_allocation() {
    let overrides = Overrides::new(Limits::default());
    overrides.reload("overrides: {team-a: {max_line_size: 1MB}}").unwrap();
    let streams = Streams::new();
    let limit = NonZeroUsize::new(1);
    assert_eq!(streams.admit("team-a", 1, 0, limit), Admission::New);
    drop(overrides.load()); // the thread's slot
    let allocations = count(|| {
        let snapshot = overrides.load();
        assert_eq!(snapshot.limits(black_box("team-a")).max_line_size, 1 << 20);
        assert_eq!(snapshot.limits(black_box("team-b")).max_line_size, 256 << 10);
        assert_eq!(streams.admit(black_box("team-a"), 1, 1, limit), Admission::Known);
        assert!(matches!(streams.admit(black_box("team-a"), 2, 1, limit), Admission::Refused { .. }));
    });
    assert_eq!(allocations, 0);
}

#[test]
fn reading_a_tenant_copies_the_defaults_once() {
    const RULES: u64 = 100;
    const TENANTS: u64 = 50;
    let rule = |n| StreamRetention {
        selector: format!("{{app=\"{n}\"}}"),
        period: Duration::from_hours(24),
        priority: 0,
    };
    let defaults = Arc::new(Limits { retention_stream: (0..RULES).map(rule).collect(), ..Limits::default() });
    let tenants: String = (0..TENANTS).map(|n| format!("  t{n}: {{max_line_size: 1KB}}\n")).collect();
    let node = yaml::parse(&format!("overrides:\n{tenants}")).unwrap();
    let allocations = count(|| {
        let snapshot = Snapshot::read(black_box(&node), Arc::clone(&defaults), &mut Vec::new()).unwrap();
        assert_eq!(black_box(snapshot).tenants().len(), 50);
    });
    // A list and its selectors, the limits, the name, and now and then a larger table.
    assert!(allocations <= TENANTS * (RULES + 8), "{allocations} allocations");
}
