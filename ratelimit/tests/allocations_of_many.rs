//! What trees, interned keys and several bandwidths allocate, counted by an allocator.

use std::hint::black_box;

use allocation_counter::measure;
use forebay_ratelimit::{
    Interned, InternedOptions, Keyed, KeyedOptions, Limiter, Multi, Name, OverCap, Quota, Rate, Tree,
};

fn count(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

fn per_second(rate: u64, burst: u64) -> Quota {
    Quota::new(Rate::per_second(rate), burst)
}

/// T3.
#[test]
fn a_new_key_that_a_level_above_refuses_allocates_nothing_on_any_level() {
    let process = Limiter::with_clock(per_second(1, 10), || 0);
    let tenants: Keyed<Name, _> = Keyed::with_clock(KeyedOptions::default(), || 0);
    let streams: Keyed<String, _> = Keyed::with_clock(KeyedOptions::default(), || 0);
    let ids = Interned::with_clock(InternedOptions::default(), || 0);
    let tree = Tree::new(["stream", "policy", "tenant", "process"]);
    let quota = per_second(1, 1_000);
    let acquire = |tokens| {
        let (stream, policy) = (streams.node(black_box("app=web"), quota), ids.node(9, quota));
        tree.allow([&stream, &policy, &tenants.node("blue", quota), &process], tokens)
    };
    assert_eq!(count(|| assert!(!acquire(11))), 0);
    assert!(streams.is_empty() && tenants.is_empty() && ids.peek(9).is_none());
    assert!(count(|| assert!(acquire(1))) > 0);
    assert_eq!(count(|| assert!(acquire(1) && !acquire(11) && !acquire(2_000))), 0);
}

#[test]
fn a_known_id_and_several_bandwidths_allocate_nothing() {
    let ids = Interned::with_clock(InternedOptions::default(), || 0);
    let multi = Multi::with_clock([per_second(1, 10), per_second(2, 20)], || 0);
    assert!(ids.allow(1, 1, per_second(1, 10)));
    let allocations = count(|| {
        assert!(ids.allow(1, 1, per_second(2, 20)) && !ids.allow(1, 21, per_second(2, 20)));
        ids.try_acquire(1, 1, per_second(1, 10)).unwrap().release();
        multi.try_acquire(10).unwrap().release();
        multi.try_acquire(11).unwrap_err();
        multi.reconfigure([per_second(3, 30), per_second(4, 40)]);
    });
    assert_eq!(allocations, 0);
}

#[test]
fn a_key_that_takes_the_slot_of_another_allocates_no_more_than_itself() {
    let options = KeyedOptions { max_keys: 50, over_cap: OverCap::EvictIndebted, shards: 1 };
    let names: Vec<String> = (0..500).map(|name| format!("tenant-{name}")).collect();
    let keyed: Keyed<Name, _> = Keyed::with_clock(options, || 0);
    assert!(names[..100].iter().all(|name| keyed.allow(name.as_str(), 1, per_second(1, 10))));
    let allocations = count(|| {
        assert!(names[100..].iter().all(|name| keyed.allow(name.as_str(), 1, per_second(1, 10))));
    });
    assert_eq!((allocations, keyed.len()), (0, 50));
}
