//! Merging is a semilattice over arbitrary records (R5), forged ones with equal versions included.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_ring::{Features, Instance, Membership, Operation, Options, ReadOnly, Ring, State, Version};
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
            features: if enabled { Features::default() } else { Features::new([(1, 1)]).unwrap() },
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
    fn replicas_that_lost_or_repeated_messages_agree_after_one_full_exchange(
        heard in proptest::collection::vec((any_instance(), 0..4_usize), 1..20),
        messages in proptest::collection::vec((0..4_usize, 0..4_usize, any::<u8>()), 0..30),
    ) {
        let mut replicas = vec![Membership::default(); 4];
        for (instance, at) in &heard {
            replicas[*at].observe(instance.clone(), 0);
        }
        // A message carries some of the sender's records, in its order; the others are lost.
        for (from, to, carried) in messages {
            let sent: Vec<_> = replicas[from].iter().map(|member| Arc::clone(&member.instance)).collect();
            for (at, record) in sent.into_iter().enumerate() {
                if carried & (1 << (at % 8)) != 0 {
                    replicas[to].observe(record, 1);
                }
            }
        }
        let all = replicas.clone();
        for replica in &mut replicas {
            for other in &all {
                replica.merge(other, 2);
            }
        }
        let told = observed(heard.iter().map(|(instance, _)| instance));
        for replica in &replicas {
            prop_assert_eq!(records(replica), records(&told));
        }
    }

    #[test]
    fn nothing_heard_before_a_tombstone_comes_back_while_it_is_kept(
        past in proptest::collection::vec(any_instance(), 0..12),
        order in any::<u64>(),
    ) {
        let left = Version { incarnation: 2, sequence: 0 };
        let tombstone = Instance { state: State::Left, version: left, ..Instance::new("0", "") };
        let mut members = Membership::default();
        for (at, instance) in past.iter().enumerate() {
            if order & (1 << at) != 0 {
                members.observe(instance.clone(), 1);
            }
        }
        members.observe(tombstone, 2);
        for instance in past {
            members.observe(instance, 3);
            members.drop_tombstones(2);
            prop_assert_eq!(members.member("0").unwrap().instance.state, State::Left);
        }
    }

    #[test]
    fn wall_clocks_a_day_apart_change_nothing_about_who_is_alive(
        skews in proptest::collection::vec(-86_400_000_000_000..86_400_000_000_000_i64, 1..6),
        silent_ns in 0..120_000_000_000_u64,
    ) {
        const START_NS: u64 = 1_000_000_000_000;
        let mut members = Membership::default();
        for (number, &skew_ns) in skews.iter().enumerate() {
            let wall_ns = 1_700_000_000_000_000_000 + skew_ns;
            members.observe(Instance {
                state: State::Active,
                tokens: vec![7].into(),
                registered_at_ns: wall_ns,
                read_only: ReadOnly { enabled: false, changed_at_ns: wall_ns },
                ..Instance::new(number.to_string(), "")
            }, START_NS);
        }
        let ring = Ring::build(&Options::default(), &members, START_NS + silent_ns).unwrap();
        for number in 0..skews.len() {
            let alive = silent_ns <= 60_000_000_000;
            prop_assert_eq!(ring.is_healthy(&number.to_string(), Operation::WRITE), alive);
            // And whoever is dead can be buried, whatever time it wrote.
            let record = Arc::clone(&members.member(&number.to_string()).unwrap().instance);
            let version = record.version.next();
            let left = Instance { state: State::Left, version, ..(*record).clone() };
            prop_assert!(members.observe(left, START_NS + silent_ns));
        }
        prop_assert!(Ring::build(&Options::default(), &members, 0).unwrap().instances().len() == 0);
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
