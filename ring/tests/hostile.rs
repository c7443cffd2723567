//! Input nobody sane would send: a clear error or a plain answer, never a panic.

use std::time::Duration;

use forebay_ring::{
    BuildError, Error, Instance, Membership, Operation, Options, Ring, State, Token, TokenSet, Version,
};
use proptest::prelude::*;

fn members(instances: impl IntoIterator<Item = Instance>) -> Membership {
    let mut members = Membership::default();
    for instance in instances {
        members.observe(instance, 0);
    }
    members
}

fn named(number: u32) -> Instance {
    Instance { state: State::Active, ..Instance::new(format!("{number:08}"), "") }
}

#[test]
fn a_ring_of_nobody_owns_nothing() {
    let options = Options::default();
    for members in [members([]), members([named(1), named(2)])] {
        let ring = Ring::build(&options, &members, 0).unwrap();
        assert_eq!(ring.get(0, Operation::WRITE).unwrap_err(), Error::Empty);
        assert!(ring.owner(u32::MAX).is_none());
        assert!(ring.ownership().all(|(_, share)| share == 0.0));
        assert_eq!(ring.token_count(), 0);
    }
}

#[test]
fn those_who_left_are_not_in_the_ring() {
    let left = Instance { state: State::Left, tokens: vec![1, 2].into(), ..named(1) };
    let ring = Ring::build(&Options::default(), &members([left]), 0).unwrap();
    assert_eq!(ring.instances().len(), 0);
    assert!(ring.instance("00000001").is_none());
    assert!(ring.owner(0).is_none());
}

#[test]
fn no_replicas_are_refused_and_more_than_there_are_instances_are_not_found() {
    let members = members([Instance { tokens: vec![5].into(), ..named(1) }]);
    let options = |replication_factor| Options { replication_factor, ..Options::default() };
    assert_eq!(Ring::build(&options(0), &members, 0).unwrap_err(), BuildError::NoReplicas);
    let ring = Ring::build(&options(255), &members, 0).unwrap();
    assert_eq!(ring.get(0, Operation::WRITE).unwrap_err(), Error::TooManyUnhealthy { needed: 128, found: 1 });
}

#[test]
fn one_instance_too_many_is_an_error_and_one_less_is_served() {
    let instance = |number: u32| Instance { tokens: vec![number * 60_000].into(), ..named(number) };
    let most = u32::try_from(Ring::MAX_INSTANCES).unwrap();
    let mut all = members((0..most).map(instance));
    let options = Options { zone_awareness: true, ..Options::default() };
    let ring = Ring::build(&options, &all, 0).unwrap();
    let last = format!("{:08}", most - 1);
    assert_eq!(*ring.owner((most - 1) * 60_000 - 1).unwrap().id, *last);
    assert!(ring.is_healthy(&last, Operation::WRITE));

    all.observe(instance(most), 0);
    let found = Ring::MAX_INSTANCES + 1;
    let refused = BuildError::TooManyInstances { found, max: Ring::MAX_INSTANCES };
    assert_eq!(Ring::build(&options, &all, 0).unwrap_err(), refused);
    assert_eq!(ring.updated(&all, 0).unwrap_err(), refused);
}

#[test]
fn tokens_beyond_the_limit_are_an_error_before_they_are_sorted() {
    // One list shared by many instances: cheap to send, dear to sort.
    let tokens: TokenSet = (0..1 << 16).collect();
    let all = members((0..1_025).map(|number| Instance { tokens: tokens.clone(), ..named(number) }));
    let found = 1_025 << 16;
    assert_eq!(
        Ring::build(&Options::default(), &all, 0).unwrap_err(),
        BuildError::TooManyTokens { found, max: Ring::MAX_TOKENS }
    );
}

proptest! {
    #[test]
    fn records_made_of_anything_build_and_answer(
        parts in proptest::collection::vec(
            (".{0,4}", ".{0,2}", 0..5_usize, proptest::collection::vec(any::<u32>(), 0..40), any::<[u64; 3]>()),
            0..20,
        ),
        replication_factor: u8,
        zone_awareness: bool,
        timeout: u64,
        now_ns: u64,
        keys: [u32; 8],
        serving in 0..32_usize,
        extending in 0..32_usize,
    ) {
        let mut all = Membership::default();
        for (id, zone, state, tokens, [incarnation, sequence, heard_ns]) in parts {
            let instance = Instance {
                zone: zone.into(),
                state: State::ALL[state],
                tokens: tokens.into(),
                version: Version { incarnation, sequence }.next(),
                ..Instance::new(id, "")
            };
            all.observe(instance, heard_ns);
        }
        let states = |set: usize| {
            State::ALL.into_iter().filter(|&s| set & (1 << s as usize) != 0).collect::<Vec<_>>()
        };
        let op = Operation::new(&states(serving), &states(extending));
        let heartbeat_timeout = Duration::from_nanos(timeout);
        let options = Options { replication_factor, zone_awareness, heartbeat_timeout, ..Options::default() };
        let built = Ring::build(&options, &all, now_ns);
        prop_assert_eq!(built.is_ok(), replication_factor > 0);
        for key in keys.map(Token) {
            let Ok(ring) = &built else { continue };
            if let Ok(set) = ring.get(key, op) {
                prop_assert!(set.len() <= set.selected() && set.needed() <= set.len());
            }
        }
    }
}
