//! Stream → policy → tenant → process: all or nothing, exactly given back, the most specific bound named.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use forebay_ratelimit::bucket::Bucket;
use forebay_ratelimit::{
    Bound, Interned, InternedOptions, Keyed, KeyedOptions, Limiter, Multi, Name, OverCap, Oversize, Quota,
    Rate, RetryAfter, Tree,
};
use proptest::prelude::*;

const SECOND_NS: u64 = 1_000_000_000;
const TREE: Tree<4> = Tree::new(["stream", "policy", "tenant", "process"]);

/// A level of a tree may be shared by threads, and so its clock.
struct Clock(AtomicU64);

impl Clock {
    fn new(now_ns: u64) -> Self {
        Self(AtomicU64::new(now_ns))
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn set(&self, now_ns: u64) {
        self.0.store(now_ns, Ordering::SeqCst);
    }
}

fn per_second(rate: u64, burst: u64) -> Quota {
    Quota::new(Rate::per_second(rate), burst)
}

fn capped(max_keys: usize) -> KeyedOptions {
    KeyedOptions { max_keys, ..KeyedOptions::default() }
}

#[test]
fn the_most_specific_bound_is_named_and_its_wait_suffices_for_all() {
    let clock = Clock::new(0);
    let now = || clock.get();
    let process = Limiter::with_clock(per_second(1, 100), now);
    let tenants: Keyed<Name, _> = Keyed::with_clock(capped(10), now);
    let policies = Interned::with_clock(InternedOptions::default(), now);
    let streams: Keyed<u64, _> = Keyed::with_clock(capped(10), now);
    let acquire = |tokens| {
        let (stream, policy) = (streams.node(&7, per_second(100, 60)), policies.node(3, per_second(50, 90)));
        let tenant = tenants.node("blue", per_second(10, 95));
        TREE.try_acquire([&stream, &policy, &tenant, &process], tokens).map(|permit| permit.tokens())
    };
    assert_eq!(acquire(60), Ok(60));
    let exceeded = acquire(41).unwrap_err();
    assert_eq!((exceeded.level, exceeded.name), (0, "stream"));
    // The stream would pass after 410 ms, the process only after a second.
    assert_eq!(exceeded.denied.retry_after, RetryAfter::After(Duration::from_secs(1)));
    assert!(exceeded.to_string().starts_with("stream: 41 tokens exceed the rate of 100/s"));
    assert_eq!(exceeded.denied.bound, Bound::Rate);
    clock.set(SECOND_NS - 1);
    assert_eq!(acquire(41).unwrap_err().name, "process");
    clock.set(SECOND_NS);
    assert_eq!(acquire(41), Ok(41));
    assert_eq!(acquire(50).unwrap_err().name, "stream");
    assert_eq!(acquire(61).unwrap_err().denied.retry_after, RetryAfter::Never);
}

/// Once a mistake, as in `Multi` alone.
#[test]
fn a_permit_gives_nothing_back_to_a_bandwidth_that_was_unlimited() {
    let process = Multi::with_clock([Quota::UNLIMITED, per_second(1, 1_000)], || 0);
    let tree = Tree::new(["process"]);
    let permit = tree.try_acquire([&process], 1_000).unwrap();
    process.reconfigure([per_second(1, 100), per_second(1, 1_000)]);
    assert!(process.try_acquire_each([100, 0]).is_ok());
    permit.release();
    assert_eq!(process.peek().map(|bucket| bucket.available), [0, 1_000]);
}

#[test]
fn what_a_level_above_refuses_is_stored_nowhere_below_and_given_back_everywhere() {
    let process = Limiter::with_clock(per_second(1, 100), || 0);
    let tenants: Keyed<Name, _> = Keyed::with_clock(capped(10), || 0);
    let streams: Keyed<u64, _> = Keyed::with_clock(capped(10), || 0);
    let pair = Tree::new(["stream", "tenant", "process"]);
    let quota = per_second(1, 1_000);
    let exceeded = pair
        .try_acquire([&streams.node(&1, quota), &tenants.node("blue", quota), &process], 101)
        .unwrap_err();
    assert_eq!(exceeded.name, "process");
    assert!(streams.is_empty() && tenants.is_empty() && process.peek().is_full());

    // A parent without a slot for its key, after all had admitted.
    let none: Keyed<Name, _> = Keyed::with_clock(capped(0), || 0);
    assert!(streams.allow(&2, 1, quota));
    let exceeded =
        pair.try_acquire([&streams.node(&2, quota), &none.node("blue", quota), &process], 5).unwrap_err();
    assert_eq!((exceeded.name, exceeded.denied.bound), ("tenant", Bound::Keys));
    assert_eq!(streams.peek(&2).unwrap().available, 999);
    assert!(process.peek().is_full());
}

#[test]
fn a_permit_is_settled_on_every_level_that_is_limited() {
    let process = Multi::with_clock([per_second(1, 100), per_second(1, 200)], || 0);
    let over_cap = OverCap::Shared(per_second(1, 80));
    let tenants: Keyed<Name, _> = Keyed::with_clock(KeyedOptions { over_cap, ..capped(0) }, || 0);
    let ids = Interned::with_clock(InternedOptions::default(), || 0);
    let free: Keyed<u64, _> = Keyed::with_clock(capped(10), || 0);
    let (stream, policy) = (free.node(&1, Quota::UNLIMITED), ids.node(5, per_second(1, 70)));
    let tenant = tenants.node("blue", per_second(1, 500));
    let mut permit = TREE.try_acquire([&stream, &policy, &tenant, &process], 70).unwrap();
    permit.shrink_to(30);
    assert_eq!(ids.peek(5).unwrap().available, 40);
    assert_eq!(process.peek().map(|bucket| bucket.available), [70, 170]);
    assert!(TREE.allow([&stream, &policy, &tenant, &process], 40));
    assert!(!TREE.allow([&stream, &ids.node(6, Quota::UNLIMITED), &tenant, &process], 11), "80 are shared");
    permit.release();
    assert!(free.is_empty());
    assert_eq!(process.peek().map(|bucket| bucket.available), [60, 160]);
    assert!(TREE.allow([&stream, &ids.node(6, Quota::UNLIMITED), &tenant, &process], 40));
}

/// Buckets of one level by key, kept for ever.
type Level = HashMap<u64, Bucket>;

/// A naive tree: every bucket is copied, asked, and put back if any of the branch refuses.
fn naive(levels: &mut [Level; 3], branch: [(u64, Quota); 3], now_ns: u64, tokens: u64) -> Result<(), usize> {
    let mut taken = Vec::new();
    let mut exceeded = None;
    for (level, (key, quota)) in branch.into_iter().enumerate() {
        let mut bucket = *levels[level].entry(key).or_insert_with(|| Bucket::full(quota, now_ns));
        if bucket.try_acquire(now_ns, tokens).is_err() && exceeded.is_none() {
            exceeded = Some(level);
        }
        taken.push(bucket);
    }
    if let Some(level) = exceeded {
        return Err(level);
    }
    for (level, ((key, _), bucket)) in branch.into_iter().zip(taken).enumerate() {
        levels[level].insert(key, bucket);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// P3. Refused, returned and settled requests in any order leave what a naive tree has, to the token: no
    /// debt that nobody made, and no token that nobody gave back. And the same level is named.
    #[test]
    fn a_tree_decides_as_one_that_copies_every_bucket(
        steps in prop::collection::vec(
            (0..6_u64, 0..80_u64, 0..SECOND_NS / 2, 0..5_u8, any::<prop::sample::Index>()), 1..120),
    ) {
        let clock = Clock::new(0);
        let now = || clock.get();
        let tree = Tree::new(["stream", "tenant", "process"]);
        let process: Keyed<u64, _> = Keyed::with_clock(capped(1), now);
        let tenants: Keyed<u64, _> = Keyed::with_clock(capped(100), now);
        let streams: Keyed<u64, _> = Keyed::with_clock(capped(100), now);
        let mut levels = [Level::new(), Level::new(), Level::new()];
        let keys: Vec<u64> = (0..6).collect();
        let nodes: Vec<_> = keys.iter().map(|stream| {
            let quota = per_second(5 + stream, 40).oversize(Oversize::WhenFull);
            let tenant = &keys[usize::try_from(stream / 2).unwrap()];
            (streams.node(stream, quota), tenants.node(tenant, per_second(20, 60)))
        }).collect();
        let root = process.node(&0, per_second(40, 90));
        let mut permits = Vec::new();
        for (stream, tokens, step_ns, choice, index) in steps {
            clock.set(clock.get() + step_ns);
            let quota = per_second(5 + stream, 40).oversize(Oversize::WhenFull);
            let branch = [(stream, quota), (stream / 2, per_second(20, 60)), (0, per_second(40, 90))];
            let expected = naive(&mut levels, branch, clock.get(), tokens);
            let (leaf, tenant) = &nodes[usize::try_from(stream).unwrap()];
            let found = tree.try_acquire([leaf, tenant, &root], tokens);
            prop_assert_eq!(found.as_ref().map(drop).map_err(|exceeded| exceeded.level), expected);
            if let Ok(permit) = found {
                permits.push((permit, branch));
            }
            if choice == 0 && !permits.is_empty() {
                let (mut permit, branch) = permits.swap_remove(index.index(permits.len()));
                let (before, left) = (permit.tokens(), permit.tokens() / 3);
                permit.shrink_to(left);
                for (level, (key, _)) in branch.into_iter().enumerate() {
                    levels[level].get_mut(&key).unwrap().release(clock.get(), before - left);
                }
            }
            for (level, table) in [&streams, &tenants, &process].into_iter().enumerate() {
                for (key, bucket) in &levels[level] {
                    let expected = bucket.peek(clock.get());
                    let found = table.peek(key);
                    prop_assert!(found.map_or(expected.is_full(), |found| found == expected));
                }
            }
        }
    }
}

#[test]
fn threads_that_refuse_and_return_leave_the_exact_sums() {
    let process = Limiter::with_clock(per_second(1, 50_000), || 7);
    let tenants = Interned::with_clock(InternedOptions::default(), || 7);
    let streams: Keyed<u64, _> = Keyed::with_clock(KeyedOptions::default(), || 7);
    let passed: [AtomicU64; 8] = Default::default();
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (process, tenants, streams, passed) = (&process, &tenants, &streams, &passed);
            scope.spawn(move || {
                let tree = Tree::new(["stream", "tenant", "process"]);
                for call in 0..8_000 {
                    let key = (thread + call) % 8;
                    let stream = streams.node(&key, per_second(1, 9_000));
                    let tenant = tenants.node(u32::try_from(key / 4).unwrap(), per_second(1, 22_000));
                    let tokens = 1 + call % 5;
                    if let Ok(mut permit) = tree.try_acquire([&stream, &tenant, process], tokens) {
                        let kept = tokens * u64::from(call % 3 != 0);
                        permit.shrink_to(kept);
                        passed[usize::try_from(key).unwrap()].fetch_add(kept, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let passed = passed.map(AtomicU64::into_inner);
    let total: u64 = passed.iter().sum();
    assert!(total > 30_000, "{total}");
    assert_eq!(process.peek().available, 50_000 - total);
    for (key, &tokens) in (0_u64..).zip(&passed) {
        assert_eq!(streams.peek(&key).unwrap().available, 9_000 - tokens);
    }
    for id in 0..2 {
        let of_tenant: u64 = passed[id as usize * 4..][..4].iter().sum();
        assert_eq!(tenants.peek(id).unwrap().available, 22_000 - of_tenant);
    }
}
