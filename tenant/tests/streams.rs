//! Active streams against a naive model, and from several threads.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use forebay_tenant::{Admission, Streams};
use proptest::prelude::*;

const TENANTS: [&str; 3] = ["a", "b", ""];

#[derive(Debug, Clone)]
enum Step {
    Admit { tenant: usize, stream: u64, limit: usize },
    Remove { tenant: usize, stream: u64 },
    Expire { idle_ns: u64 },
    Wait { ns: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    // Few streams, so that they meet; spread, so that they do not all lie in one shard.
    let stream = (0u64..12).prop_map(|n| n.wrapping_mul(0xdead_beef_cafe_f00d));
    prop_oneof![
        6 => (0..3usize, stream.clone(), 0..8usize).prop_map(|(tenant, stream, limit)| Step::Admit { tenant, stream, limit }),
        2 => (0..3usize, stream).prop_map(|(tenant, stream)| Step::Remove { tenant, stream }),
        1 => (0u64..30).prop_map(|idle_ns| Step::Expire { idle_ns }),
        2 => (0u64..10).prop_map(|ns| Step::Wait { ns }),
    ]
}

proptest! {
    /// T6: the count is the model's, and passes the limit only where the limit was lowered.
    #[test]
    fn streams_are_those_of_a_naive_model(steps in prop::collection::vec(step(), 0..120)) {
        let streams = Streams::new();
        let mut model: BTreeMap<(usize, u64), u64> = BTreeMap::new();
        let mut now_ns = 100;
        for step in steps {
            let count = |model: &BTreeMap<(usize, u64), u64>, t: usize| model.keys().filter(|(tenant, _)| *tenant == t).count();
            match step {
                Step::Admit { tenant, stream, limit } => {
                    let active = count(&model, tenant);
                    let expected = if model.contains_key(&(tenant, stream)) { Admission::Known }
                        else if limit > 0 && active >= limit { Admission::Refused { active, limit } }
                        else { Admission::New };
                    let found = streams.admit(TENANTS[tenant], stream, now_ns, NonZeroUsize::new(limit));
                    prop_assert_eq!(found, expected);
                    if !matches!(expected, Admission::Refused { .. }) {
                        model.insert((tenant, stream), now_ns);
                    }
                    if expected == Admission::New && limit > 0 {
                        prop_assert!(streams.active(TENANTS[tenant]) <= limit);
                    }
                }
                Step::Remove { tenant, stream } => {
                    prop_assert_eq!(streams.remove(TENANTS[tenant], stream), model.remove(&(tenant, stream)).is_some());
                }
                Step::Expire { idle_ns } => {
                    let before = model.len();
                    model.retain(|_, seen_ns| *seen_ns >= now_ns - idle_ns);
                    prop_assert_eq!(streams.expire(now_ns - idle_ns), before - model.len());
                }
                Step::Wait { ns } => now_ns += ns,
            }
            let mut listed = streams.tenants();
            listed.sort();
            let mut expected: Vec<(Box<str>, usize)> =
                (0..3).map(|t| (TENANTS[t].into(), count(&model, t))).filter(|(_, n)| *n > 0).collect();
            expected.sort();
            prop_assert_eq!(listed, expected);
        }
    }
}

#[test]
fn active_streams_go_on_above_a_lowered_limit() {
    let streams = Streams::new();
    for stream in 0..10 {
        assert_eq!(streams.admit("a", stream, 0, NonZeroUsize::new(10)), Admission::New);
    }
    let lowered = NonZeroUsize::new(3);
    for stream in 0..10 {
        assert_eq!(streams.admit("a", stream, 1, lowered), Admission::Known);
    }
    assert_eq!(streams.admit("a", 10, 1, lowered), Admission::Refused { active: 10, limit: 3 });
    (0..7).for_each(|stream| assert!(streams.remove("a", stream)));
    assert_eq!(streams.admit("a", 10, 1, lowered), Admission::Refused { active: 3, limit: 3 });
    assert!(streams.remove("a", 7));
    assert_eq!(streams.admit("a", 10, 1, lowered), Admission::New);
    assert_eq!(streams.admit("b", 10, 1, lowered), Admission::New, "tenants do not share limits");
}

#[test]
fn refused_streams_leave_nothing_behind() {
    let streams = Streams::new();
    let one = NonZeroUsize::new(1);
    assert_eq!(streams.admit("a", 0, 7, one), Admission::New);
    for stream in 1..1000 {
        assert_eq!(streams.admit("a", stream, 8, one), Admission::Refused { active: 1, limit: 1 });
        assert!(!streams.remove("a", stream));
    }
    assert_eq!(streams.expire(8), 1, "only the one that was admitted");
    assert!(streams.tenants().is_empty());
    assert_eq!(format!("{streams:?}"), "Streams { tenants: 0, .. }", "and nothing of its tenant either");
}

#[test]
fn a_stream_that_is_seen_late_does_not_become_older() {
    let streams = Streams::new();
    streams.admit("a", 1, 100, None);
    streams.admit("a", 1, 50, None);
    assert_eq!(streams.expire(100), 0);
    assert_eq!(streams.expire(101), 1);
}

/// Whatever the schedule: as many are admitted as there is room for, and the count is right in the end.
#[test]
fn threads_together_admit_exactly_up_to_the_limit() {
    let streams = Streams::new();
    let (new, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (streams, new, refused) = (&streams, &new, &refused);
            scope.spawn(move || {
                for stream in 0..500 {
                    // Half of the streams are this thread's own, half are everybody's.
                    let stream = if stream % 2 == 0 { stream } else { thread * 1000 + stream };
                    match streams.admit("a", stream, 0, NonZeroUsize::new(300)) {
                        Admission::New => new.fetch_add(1, Relaxed),
                        Admission::Refused { active, limit } => {
                            assert!(active >= limit && limit == 300);
                            refused.fetch_add(1, Relaxed)
                        }
                        Admission::Known => 0,
                    };
                    assert!(streams.active("a") <= 300);
                }
            });
        }
    });
    assert_eq!(new.load(Relaxed), 300);
    assert_eq!(streams.active("a"), 300);
    assert!(refused.load(Relaxed) > 0);
    assert_eq!(streams.expire(1), 300);
}

/// Tenants come and go while others of the same name arrive: no count is lost with the last of them.
#[test]
fn a_tenant_that_comes_and_goes_on_many_threads_is_counted_right() {
    let streams = Streams::new();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let streams = &streams;
            scope.spawn(move || {
                for round in 0..2000 {
                    assert_eq!(streams.admit("a", thread, round, NonZeroUsize::new(4)), Admission::New);
                    assert!((1..=4).contains(&streams.active("a")));
                    assert!(streams.remove("a", thread));
                }
            });
        }
    });
    assert_eq!(streams.active("a"), 0);
    assert_eq!(format!("{streams:?}"), "Streams { tenants: 0, .. }");
    let left: BTreeSet<_> = streams.tenants().into_iter().collect();
    assert!(left.is_empty());
}
