//! Keys and shards against the documented walk over the documented tokens (N2, N5).

use std::collections::BTreeSet;
use std::time::Duration;

use forebay_ring::partition::{
    Owner, OwnerState, Partition, PartitionError, PartitionRing, PartitionState, Partitions,
};
use forebay_ring::shard::{Lookback, Query, Rendezvous, Sharder, TokenWalk};
use forebay_ring::{Instance, Membership, Operation, Options, Ring, State};
use proptest::prelude::*;

use crate::{SECOND_NS, partition, tokens, view};

const KEYS: [u32; 9] = [0, 1, 77, 1 << 20, 1 << 30, 1 << 31, 0xdead_beef, u32::MAX - 1, u32::MAX];

/// The first token strictly after the key, wrapping, of those in question; of two that share it the lower number's.
fn nearest(key: u32, among: impl IntoIterator<Item = u32>) -> Option<u32> {
    let distance = |number: u32| {
        let own = tokens(number);
        own.iter().map(|token| token.wrapping_sub(key).wrapping_sub(1)).min().unwrap()
    };
    among.into_iter().min_by_key(|&number| (distance(number), number))
}

fn in_state(view: &Partitions, state: PartitionState) -> impl Iterator<Item = u32> {
    view.partitions().filter(move |p| p.state == state).map(|p| p.number)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_key_belongs_to_the_active_partition_with_the_first_token_after_it(
        states in prop::collection::vec(0..4_usize, 1..12),
        then in prop::collection::vec(0..4_usize, 1..12),
        keys in prop::collection::vec(any::<u32>(), 8),
    ) {
        let of = |states: &[usize]| {
            view((0..).zip(states).map(|(number, &state)| partition(number, PartitionState::ALL[state])))
        };
        let (old, new) = (of(&states), of(&then));
        let built = PartitionRing::build(&old).unwrap();
        for (ring, view) in [(&built, &old), (&built.updated(&new).unwrap(), &new)] {
            for &key in keys.iter().chain(&KEYS) {
                let expected = nearest(key, in_state(view, PartitionState::Active));
                prop_assert_eq!(ring.partition_for(key).ok(), expected);
                for size in [0, 1, 3] {
                    let shard = ring.shuffle_shard("t", size);
                    prop_assert_eq!(shard.partition_for(key).ok(), nearest(key, shard.iter()));
                }
            }
        }
    }
}

#[test]
fn a_partition_that_comes_takes_keys_and_one_that_goes_gives_them_and_none_move_between_others() {
    let all = view((0..20).map(|number| partition(number, PartitionState::Active)));
    let before = PartitionRing::build(&all).unwrap();
    let mut fewer = all.clone();
    fewer.observe(all.change(7, PartitionState::Inactive, 5).unwrap().after).unwrap();
    let after = before.updated(&fewer).unwrap();
    assert!(after.shares_topology(&before), "states alone follow no token");
    let mut moved = 0;
    for key in (0..u32::MAX).step_by(1 << 18) {
        let (was, is) = (before.partition_for(key).unwrap(), after.partition_for(key).unwrap());
        assert!(if was == 7 { is != 7 } else { is == was }, "key {key} went from {was} to {is}");
        moved += u32::from(was != is);
    }
    // One in 20; the relative standard deviation of a share is 4.4 %.
    assert!((710..=930).contains(&moved), "{moved} of 16384 keys");
}

#[test]
fn among_many_a_change_of_state_follows_no_token_but_of_those_that_share_one() {
    let all = view((0..1_000).map(|number| partition(number, PartitionState::Active)));
    let before = PartitionRing::build(&all).unwrap();
    let mut claims: Vec<(u32, u32)> = (0..1_000)
        .flat_map(|number| tokens(number).iter().map(|&token| (token, number)).collect::<Vec<_>>())
        .collect();
    claims.sort_unstable();
    let shared: Vec<_> = claims.windows(2).filter(|pair| pair[0].0 == pair[1].0).collect();
    let sharing: BTreeSet<u32> = shared.iter().flat_map(|pair| [pair[0].1, pair[1].1]).collect();
    assert!((1..200).contains(&sharing.len()), "{} partitions share tokens", sharing.len());
    let without = |number| {
        let mut view = all.clone();
        view.observe(all.change(number, PartitionState::Inactive, 5).unwrap().after).unwrap();
        before.updated(&view).unwrap()
    };
    let alone = (0..1_000).find(|number| !sharing.contains(number)).unwrap();
    assert!(without(alone).shares_topology(&before));
    // A token belongs to the lower number until that is INACTIVE.
    let (token, [lower, higher]) = (shared[0][0].0, [shared[0][0].1, shared[0][1].1]);
    assert_eq!(before.partition_for(token - 1), Ok(lower));
    assert_eq!(without(lower).partition_for(token - 1), Ok(higher));
    assert_eq!(without(higher).partition_for(token - 1), Ok(lower));
}

#[test]
fn most_partitions_may_be_inactive_and_keys_still_find_the_others() {
    let view = view((0..300).map(|number| {
        partition(number, if number % 100 == 7 { PartitionState::Active } else { PartitionState::Inactive })
    }));
    let ring = PartitionRing::build(&view).unwrap();
    for key in (0..u32::MAX).step_by(1 << 24) {
        assert_eq!(ring.partition_for(key).ok(), nearest(key, [7, 107, 207]));
        // 1 of 300 is farther than 64 tokens away more often than not.
        let shard = ring.shuffle_shard("t", 1);
        assert_eq!(shard.partition_for(key).ok(), shard.iter().next());
    }
}

#[test]
fn without_an_active_partition_a_key_has_none_and_is_told_so() {
    assert_eq!(
        PartitionRing::build(&Partitions::default()).unwrap().partition_for(7),
        Err(PartitionError::NoneActive { others: 0 })
    );
    let states = [PartitionState::Pending, PartitionState::Inactive, PartitionState::Deleted];
    let ring = PartitionRing::build(&view((0..).zip(states).map(|(n, s)| partition(n, s)))).unwrap();
    assert_eq!(ring.partition_for(7), Err(PartitionError::NoneActive { others: 2 }));
    let shard = ring.shuffle_shard("t", 2);
    assert!(shard.is_empty() && !shard.contains(1));
    assert_eq!(shard.partition_for(7), Err(PartitionError::NoneActive { others: 0 }));
    assert_eq!(ring.partitions().map(|p| p.number).collect::<Vec<_>>(), [0, 1]);
    assert!(ring.partition(1).is_some() && ring.partition(2).is_none());
}

#[test]
fn numbers_need_not_follow_one_another_nor_be_small() {
    let numbers = [0, 9, 10, 99, 1_000_000_000, u32::MAX];
    let ring = PartitionRing::build(&view(numbers.map(|n| partition(n, PartitionState::Active)))).unwrap();
    for key in KEYS {
        assert_eq!(ring.partition_for(key).ok(), nearest(key, numbers));
    }
    assert_eq!(ring.shuffle_shard("t", 0).iter().collect::<Vec<_>>(), numbers);
}

#[test]
fn the_partitions_of_a_key_and_of_a_tenant_never_change() {
    // Stored data lies where these say: a change here moves every cluster's keys at an upgrade.
    let ring = PartitionRing::build(&view((0..20).map(|n| partition(n, PartitionState::Active)))).unwrap();
    let keys = KEYS.map(|key| ring.partition_for(key).unwrap());
    let shard: Vec<u32> = ring.shuffle_shard("tenant", 4).iter().collect();
    assert_eq!((keys, shard), ([17, 17, 17, 1, 16, 5, 4, 17, 17], vec![0, 5, 10, 18]));
}

#[test]
fn an_instance_may_own_several_partitions_and_those_who_serve_answer_for_them() {
    let mut view = view((0..3).map(|number| partition(number, PartitionState::Active)));
    for (instance, partition) in [("b", 0), ("a", 0), ("a", 1), ("c", 2)] {
        view.observe(Owner::new(instance, partition, 0)).unwrap();
    }
    let gone = Owner { state: OwnerState::Deleted, version: 1, ..Owner::new("c", 2, 0) };
    view.observe(gone).unwrap();
    let ring = PartitionRing::build(&view).unwrap();
    assert_eq!(ring.owners(0).map(|id| &**id).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(ring.owners(2).len() + ring.owners(9).len(), 0);
    assert_eq!(ring.owned_by("a").collect::<Vec<_>>(), [0, 1]);

    let mut members = Membership::default();
    for (id, state) in [("a", State::Active), ("b", State::Leaving), ("d", State::Active)] {
        members.observe(Instance { state, ..Instance::new(id, "") }, 0);
    }
    let instances = Ring::build(&Options::default(), &members, 0).unwrap();
    let serving = |partition, op| {
        ring.healthy_owners(partition, &instances, op).map(|i| i.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(serving(0, Operation::READ), ["a", "b"]);
    assert_eq!(serving(0, Operation::WRITE), ["a"]);
    assert!(serving(2, Operation::READ).is_empty());
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % bound
    }
}

fn shard_by<S: Sharder + Default>(ring: &PartitionRing, query: &Query<'_>) -> BTreeSet<u32> {
    ring.shard_by(&S::default(), query).iter().collect()
}

type By = fn(&PartitionRing, &Query<'_>) -> BTreeSet<u32>;

const BOTH: [By; 2] = [shard_by::<TokenWalk>, shard_by::<Rendezvous>];

#[test]
fn one_change_puts_at_most_one_into_a_shard_and_takes_at_most_one_out() {
    for seed in 0..60 {
        let mut chance = Chance(seed);
        let state = |chance: &mut Chance| PartitionState::ALL[1 + usize::try_from(chance.below(2)).unwrap()];
        let partitions: Vec<Partition> = (0..12).map(|n| partition(n, state(&mut chance))).collect();
        let before = view(partitions);
        let number = u32::try_from(chance.below(12)).unwrap();
        let other = match before.partition(number).unwrap().state {
            PartitionState::Active => PartitionState::Inactive,
            _ => PartitionState::Active,
        };
        let Ok(change) = before.change(number, other, 9) else { continue };
        let mut after = before.clone();
        after.observe(change.after).unwrap();
        let old = PartitionRing::build(&before).unwrap();
        let new = old.updated(&after).unwrap();
        for shard in BOTH {
            for size in 1..8 {
                let query = Query { tenant: "t", size, lookback: None };
                let (was, is) = (shard(&old, &query), shard(&new, &query));
                assert!(is.difference(&was).count() <= 1 && was.difference(&is).count() <= 1);
                let active = in_state(&after, PartitionState::Active).count();
                assert_eq!(is.len(), size.min(active));
            }
        }
    }
}

/// Partitions that are activated and stopped, 5 minutes a step, by clocks that are up to 20 minutes wrong, with reads an
/// hour back after each, to which those 20 minutes are added.
#[test]
fn with_a_lookback_no_partition_that_was_in_the_shard_within_it_is_missing() {
    const SKEW: u64 = 1_200;
    const PERIOD: Duration = Duration::from_secs(3_600 + SKEW);
    let mut changes = 0;
    for seed in 0..40 {
        let mut chance = Chance(seed);
        let mut now = 1_700_000_000 * SECOND_NS;
        let mut view = view((0..8).map(|number| {
            let state = PartitionState::ALL[usize::try_from(chance.below(3)).unwrap()];
            Partition { state, ..Partition::new(number, now) }
        }));
        let mut ring = PartitionRing::build(&view).unwrap();
        let size = 1 + usize::try_from(chance.below(4)).unwrap();
        let mut past: Vec<(i64, [BTreeSet<u32>; 2])> = Vec::new();
        for _ in 0..60 {
            now += 300 * SECOND_NS;
            let number = u32::try_from(chance.below(8)).unwrap();
            let next = match view.partition(number).unwrap().state {
                PartitionState::Active => PartitionState::Inactive,
                _ => PartitionState::Active,
            };
            let skew = i64::try_from(chance.below(2 * SKEW)).unwrap() - i64::try_from(SKEW).unwrap();
            if chance.below(3) == 0
                && let Ok(change) = view.change(number, next, now + skew * SECOND_NS)
            {
                view.observe(change.after).unwrap();
                changes += 1;
            }
            ring = ring.updated(&view).unwrap();
            past.push((now, BOTH.map(|shard| shard(&ring, &Query { tenant: "t", size, lookback: None }))));
            let lookback = Some(Lookback { period: PERIOD, now_unix_ns: now });
            for (which, shard) in BOTH.into_iter().enumerate() {
                let readers = shard(&ring, &Query { tenant: "t", size, lookback });
                for (at, shards) in past.iter().filter(|(at, _)| *at >= now - 3_600 * SECOND_NS) {
                    assert!(
                        shards[which].is_subset(&readers),
                        "seed {seed}: {:?} at {at}, {readers:?} at {now}",
                        shards[which]
                    );
                }
                let never = in_state(&view, PartitionState::Pending);
                assert!(never.into_iter().all(|number| !readers.contains(&number)));
            }
        }
    }
    assert!(changes > 300, "{changes} changes");
}
