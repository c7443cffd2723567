//! Overrides against an oracle that sets field by field, and reloads that go wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forebay_tenant::{Limits, Overrides, Snapshot};
use proptest::prelude::*;

fn snapshot(text: &str) -> Snapshot {
    Snapshot::parse(text, Arc::new(Limits::default()), &mut Vec::new()).expect(text)
}

#[test]
fn files_without_overrides_leave_the_defaults() {
    for text in
        ["", "overrides:", "overrides: {}", "overrides: {a: }", "overrides: {a: ~, b: null}", "configs: {}"]
    {
        let snapshot = snapshot(text);
        assert_eq!(snapshot.tenants().len(), 0, "{text}");
        assert!(Arc::ptr_eq(snapshot.limits("a"), snapshot.defaults()));
    }
}

#[test]
fn tenants_may_be_numbers_and_share_by_merge() {
    let snapshot = snapshot(
        "overrides:\n  456: &small {max_line_size: 1KB, max_streams_per_user: 7}\n  \
         b:\n    <<: *small\n    max_streams_per_user: 8\n  c: *small\n",
    );
    let read = |tenant| (snapshot.limits(tenant).max_line_size, snapshot.limits(tenant).max_streams_per_user);
    assert_eq!(
        [read("456"), read("b"), read("c"), read("d")],
        [(1024, 7), (1024, 8), (1024, 7), (256 << 10, 0)]
    );
}

#[test]
fn what_has_no_effect_is_warned_of_with_its_path() {
    let text = "configs: {a: {log_push_request: true}}\nmulti_kv_config: {mirror_enabled: true}\noverrides:\n  \
                a:\n    ingestion_rate_strategy: local\n    shard_streams: {enabled: false}\n  \
                \"b/c\": {unordered_writes: true}\n";
    let mut warnings = Vec::new();
    let snapshot = Snapshot::parse(text, Arc::new(Limits::default()), &mut warnings).unwrap();
    assert_eq!(
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "line 1 column 1: configs: recognised, not used",
            "line 2 column 1: multi_kv_config: recognised, not used",
            "line 6 column 5: overrides.a.shard_streams: recognised, not used",
            "line 5 column 5: overrides.a.ingestion_rate_strategy: cannot be set per tenant, not used",
            "line 7 column 11: overrides.\"b/c\".unordered_writes: removed, not used",
            "line 7 column 3: overrides.\"b/c\": not a valid tenant id, never used",
        ]
    );
    assert_eq!(snapshot.limits("a").ingestion_rate_strategy, Limits::default().ingestion_rate_strategy);
}

#[test]
fn a_bad_file_changes_nothing() {
    let overrides = Overrides::new(Limits::default());
    overrides.reload("overrides: {a: {max_line_size: 1KB}}").unwrap();
    let before = overrides.load();
    for (text, message) in [
        (
            "overrides:\n  a: {max_line_size: 2KB}\n  b: {max_line_sise: 1KB}",
            "line 3 column 7: overrides.b: unknown key `max_line_sise`, the nearest known is `max_line_size`",
        ),
        (
            "overrides:\n  a: {max_line_size: 2KB}\n  a: {max_line_size: 3KB}",
            "line 3 column 3: duplicate key `a`, first on line 2 column 3",
        ),
        ("override: {}", "line 1 column 1: unknown key `override`, the nearest known is `overrides`"),
        ("overrides: [a]", "line 1 column 12: overrides: expected a mapping, found a sequence"),
        ("overrides: {a: 5}", "line 1 column 16: overrides.a: expected a mapping, found `5`"),
    ] {
        assert_eq!(overrides.reload(text).unwrap_err().to_string(), message);
        assert!(Arc::ptr_eq(&overrides.load(), &before));
    }
    assert!(overrides.reload("overrides: {a: {max_line_size: 2KB}").is_err());
    assert!(Arc::ptr_eq(&overrides.load(), &before));
}

#[test]
fn a_reload_keeps_what_did_not_change() {
    let overrides = Overrides::new(Limits::default());
    let file = "overrides: {a: {max_line_size: 1KB}, b: {max_line_size: 2KB}}";
    assert!(overrides.reload(file).unwrap().changed);
    let before = overrides.load();
    assert!(!overrides.reload(file).unwrap().changed);
    assert!(Arc::ptr_eq(&overrides.load(), &before), "the same file is no change");

    assert!(
        overrides.reload("overrides: {a: {max_line_size: 1024}, b: {max_line_size: 3KB}}").unwrap().changed
    );
    let after = overrides.load();
    assert!(Arc::ptr_eq(after.limits("a"), before.limits("a")), "only b has to be told");
    assert_eq!(after.limits("b").max_line_size, 3 << 10);
    assert_eq!(
        before.limits("b").max_line_size,
        2 << 10,
        "who loaded before the reload sees what was before"
    );

    assert!(overrides.reload("").unwrap().changed);
    assert_eq!(overrides.load().limits("a").max_line_size, 256 << 10);
}

#[test]
fn requests_see_whole_snapshots_while_reloads_go_on() {
    let overrides = Overrides::new(Limits::default());
    let file =
        |n: usize| format!("overrides: {{a: {{max_streams_per_user: {n}, max_label_name_length: {n}}}}}");
    overrides.reload(&file(1)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| (2..200).for_each(|n| drop(overrides.reload(&file(n)).unwrap())));
        for _ in 0..2 {
            scope.spawn(|| {
                let mut last = 0;
                while last < 199 {
                    let snapshot = overrides.load();
                    let limits = snapshot.limits("a");
                    assert_eq!(limits.max_streams_per_user, limits.max_label_name_length);
                    assert!(limits.max_streams_per_user >= last);
                    last = limits.max_streams_per_user;
                }
            });
        }
    });
}

/// One field of one tenant, as it is written and as the oracle sets it.
#[derive(Debug, Clone)]
enum Set {
    Rate(u16),
    LineSize(u32),
    Truncate(bool),
    MaxAge(u32),
    Streams(Option<u16>),
}

impl Set {
    fn name(&self) -> &'static str {
        match self {
            Self::Rate(_) => "ingestion_rate_mb",
            Self::LineSize(_) => "max_line_size",
            Self::Truncate(_) => "max_line_size_truncate",
            Self::MaxAge(_) => "reject_old_samples_max_age",
            Self::Streams(_) => "max_global_streams_per_user",
        }
    }

    fn yaml(&self) -> String {
        let value = match self {
            Self::Rate(quarters) => format!("{}", f64::from(*quarters) / 4.0),
            Self::LineSize(kib) => format!("{kib}KB"),
            Self::Truncate(yes) => if *yes { "on" } else { "No" }.to_owned(),
            Self::MaxAge(minutes) => format!("{}h{}m", minutes / 60, minutes % 60),
            Self::Streams(count) => count.map_or("~".to_owned(), |n| format!("0x{n:x}")),
        };
        format!("{}: {value}", self.name())
    }

    fn set(&self, limits: &mut Limits) {
        match self {
            Self::Rate(quarters) => limits.ingestion_rate_mb = f64::from(*quarters) / 4.0,
            Self::LineSize(kib) => limits.max_line_size = u64::from(*kib) * 1024,
            Self::Truncate(yes) => limits.max_line_size_truncate = *yes,
            Self::MaxAge(minutes) => {
                limits.reject_old_samples_max_age = Duration::from_secs(u64::from(*minutes) * 60)
            }
            Self::Streams(Some(count)) => limits.max_global_streams_per_user = usize::from(*count),
            Self::Streams(None) => {}
        }
    }
}

fn sets() -> impl Strategy<Value = Vec<Set>> {
    let set = prop_oneof![
        any::<u16>().prop_map(Set::Rate),
        any::<u32>().prop_map(Set::LineSize),
        any::<bool>().prop_map(Set::Truncate),
        (0u32..1_000_000).prop_map(Set::MaxAge),
        any::<Option<u16>>().prop_map(Set::Streams),
    ];
    // The last of each name: a file may say a name only once.
    prop::collection::vec(set, 0..6).prop_map(|all| {
        all.into_iter().map(|set| (set.name(), set)).collect::<BTreeMap<_, _>>().into_values().collect()
    })
}

proptest! {
    /// T2: a tenant has the defaults with its own fields set, a reload is idempotent, and a file with a mistake
    /// anywhere changes nothing.
    #[test]
    fn overrides_are_the_defaults_with_some_fields_set(
        defaults in sets(),
        tenants in prop::collection::btree_map("[a-e]", sets(), 0..5),
        mistake in 0usize..5,
    ) {
        let apply = |mut limits: Limits, sets: &[Set]| { sets.iter().for_each(|set| set.set(&mut limits)); limits };
        let defaults = apply(Limits::default(), &defaults);
        let line = |(tenant, sets): (&String, &Vec<Set>)| {
            format!("  {tenant}: {{{}}}\n", sets.iter().map(Set::yaml).collect::<Vec<_>>().join(", "))
        };
        let lines: Vec<String> = tenants.iter().map(line).collect();
        let file = format!("overrides:\n{}", lines.concat());

        let overrides = Overrides::new(defaults.clone());
        overrides.reload(&file).unwrap();
        let before = overrides.load();
        for tenant in ["a", "b", "c", "d", "e"] {
            let expected = tenants.get(tenant).map_or(defaults.clone(), |sets| apply(defaults.clone(), sets));
            prop_assert_eq!(&**before.limits(tenant), &expected);
        }
        prop_assert!(!overrides.reload(&file).unwrap().changed);

        let mut lines = lines;
        lines.insert(mistake.min(lines.len()), "  f: {max_line_size: many}\n".to_owned());
        let refused = overrides.reload(&format!("overrides:\n{}", lines.concat()));
        prop_assert!(refused.is_err());
        prop_assert!(Arc::ptr_eq(&overrides.load(), &before));
    }
}
