//! Merging is a semilattice over arbitrary records (R5), forged ones with equal versions included.

use forebay_ring::{Instance, Membership, ReadOnly, State, Version};
use proptest::prelude::*;
use std::sync::Arc;

/// Records from so small a space that ids and versions collide with different content.
fn any_instance() -> impl Strategy<Value = Instance> {
    let version = (0..2_u64, 0..3_u64);
    let state = proptest::sample::select(&State::ALL[..]);
    let texts = (0..3_u8, 0..2_u8, 0..2_u8);
    let tokens = proptest::collection::vec(0..4_u32, 0..3);
    (version, state, texts, tokens, 0..2_i64, any::<bool>()).prop_map(
        |((incarnation, sequence), state, (id, addr, zone), tokens, registered_at_ns, enabled)| Instance {
            zone: zone.to_string().into(),
            state,
            tokens: tokens.into(),
            version: Version { incarnation, sequence },
            registered_at_ns,
            read_only: ReadOnly { enabled, changed_at_ns: registered_at_ns },
            ..Instance::new(id.to_string(), addr.to_string())
        },
    )
}

fn any_membership() -> impl Strategy<Value = Membership> {
    proptest::collection::vec((any_instance(), 0..100_u64), 0..8).prop_map(|heard| {
        let mut members = Membership::default();
        for (instance, at) in heard {
            members.observe(instance, at);
        }
        members
    })
}

/// What is replicated; when it was heard is each observer's own.
fn records(members: &Membership) -> Vec<Arc<Instance>> {
    members.iter().map(|member| Arc::clone(&member.instance)).collect()
}

fn observed<'i>(heard: impl IntoIterator<Item = &'i Instance>) -> Membership {
    let mut members = Membership::default();
    for instance in heard {
        members.observe(instance.clone(), 0);
    }
    members
}

fn merged(left: &Membership, right: &Membership) -> Membership {
    let mut result = left.clone();
    result.merge(right, 1_000);
    result
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(
        a in any_membership(), b in any_membership(), c in any_membership(),
    ) {
        prop_assert_eq!(records(&merged(&a, &b)), records(&merged(&b, &a)));
        prop_assert_eq!(records(&merged(&merged(&a, &b), &c)), records(&merged(&a, &merged(&b, &c))));
        prop_assert_eq!(records(&merged(&a, &a)), records(&a));
        let mut again = merged(&a, &b);
        prop_assert!(again.merge(&b, 2_000).is_empty(), "nothing is news twice");
    }

    #[test]
    fn observers_that_heard_the_same_in_any_order_agree(
        heard in proptest::collection::vec(any_instance(), 1..12),
        order in any::<[u16; 24]>(),
    ) {
        // Every record at least once, in an order of its own, some twice.
        let mut shuffled: Vec<(u16, &Instance)> =
            order.iter().copied().zip(heard.iter().chain(&heard)).collect();
        shuffled.sort_by_key(|(at, _)| *at);
        let here = observed(&heard);
        let there = observed(shuffled.into_iter().map(|(_, instance)| instance));
        prop_assert_eq!(records(&here), records(&there));
    }

    #[test]
    fn the_winner_is_one_of_the_records_with_the_highest_version(
        heard in proptest::collection::vec(any_instance(), 1..12),
    ) {
        for winner in records(&observed(&heard)) {
            let rivals: Vec<_> = heard.iter().filter(|instance| instance.id == winner.id).collect();
            prop_assert!(rivals.contains(&&*winner));
            let newest = rivals.iter().map(|instance| instance.version).max().unwrap();
            prop_assert_eq!(winner.version, newest);
            let buried = rivals.iter().any(|i| i.version == newest && i.state == State::Left);
            prop_assert_eq!(winner.state == State::Left, buried);
        }
    }
}
