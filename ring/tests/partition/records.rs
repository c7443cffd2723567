//! Records and changes of them: the laws of merging (N1), and what a compare-and-swap makes of a change.

use forebay_ring::partition::{
    ChangeError, Lock, Owner, OwnerState, Partition, PartitionDecision, PartitionRecord, PartitionState,
    Partitions,
};
use proptest::prelude::*;

use crate::{locked, partition, view};

fn any_partition() -> impl Strategy<Value = Partition> {
    let state = prop::sample::select(PartitionState::ALL.to_vec());
    let lock = (any::<bool>(), 0..3_i64, 0..3_u64);
    (0..3_u32, state, 0..3_i64, 0..3_u64, lock).prop_map(|(number, state, changed_at_ns, version, lock)| {
        let (locked, at, of) = lock;
        let lock = Lock { locked, changed_at_ns: at, version: of };
        Partition { number, state, changed_at_ns, version, lock }
    })
}

fn any_owner() -> impl Strategy<Value = Owner> {
    let state = prop::sample::select(vec![OwnerState::Active, OwnerState::Deleted]);
    (0..2_usize, 0..3_u32, state, 0..3_i64, 0..3_u64).prop_map(
        |(id, partition, state, changed_at_ns, version)| Owner {
            instance: ["a", "b"][id].into(),
            partition,
            state,
            changed_at_ns,
            version,
        },
    )
}

fn any_view() -> impl Strategy<Value = Partitions> {
    let record = prop_oneof![
        any_partition().prop_map(PartitionRecord::from),
        any_owner().prop_map(PartitionRecord::from)
    ];
    prop::collection::vec(record, 0..8).prop_map(|records| {
        let mut view = Partitions::default();
        for record in records {
            view.observe(record).unwrap();
        }
        view
    })
}

fn merged(one: &Partitions, other: &Partitions) -> Partitions {
    let mut merged = one.clone();
    merged.merge(other).unwrap();
    merged
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn merging_is_commutative_associative_and_idempotent(a in any_view(), b in any_view(), c in any_view()) {
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &a), a.clone());
        prop_assert!(merged(&a, &b).clone().merge(&b).unwrap().is_empty(), "told twice is no news");
    }

    #[test]
    fn whatever_is_written_is_read_back(a in any_view()) {
        for record in a.records() {
            let mut bytes = Vec::new();
            record.encode(&mut bytes).unwrap();
            prop_assert_eq!(PartitionRecord::decode(&bytes), Ok(record));
        }
    }

    #[test]
    fn bytes_of_chance_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert!(PartitionRecord::decode(&bytes).is_err());
    }
}

#[test]
fn a_lock_and_a_change_of_state_that_cross_are_both_kept() {
    let start = view([partition(1, PartitionState::Active), partition(2, PartitionState::Active)]);
    let stopped = start.change(1, PartitionState::Inactive, 5).unwrap();
    let locked = start.lock(1, true, 6).unwrap().unwrap();
    for order in [[&stopped, &locked], [&locked, &stopped]] {
        let mut seen = start.clone();
        for change in order {
            assert!(seen.observe(change.after.clone()).unwrap());
        }
        let partition = seen.partition(1).unwrap();
        assert_eq!((partition.state, partition.lock.locked), (PartitionState::Inactive, true));
    }
}

#[test]
fn a_change_is_put_over_what_it_was_made_from_and_over_nothing_newer() {
    let start = view([partition(1, PartitionState::Inactive)]);
    let bytes = |record: &PartitionRecord| {
        let mut bytes = Vec::new();
        record.encode(&mut bytes).unwrap();
        bytes
    };
    let change = start.change(1, PartitionState::Active, 5).unwrap();
    let lock = start.lock(1, true, 6).unwrap().unwrap();
    let before = bytes(change.before.as_ref().unwrap());
    assert_eq!(change.decide(Some(&before)), Ok(PartitionDecision::Put(change.after.clone())));
    assert_eq!(change.decide(Some(&bytes(&change.after))), Ok(PartitionDecision::Same));
    assert_eq!(change.decide(Some(&bytes(&lock.after))), Ok(PartitionDecision::Refused), "locked meanwhile");
    assert_eq!(change.decide(None), Ok(PartitionDecision::Refused), "its record vanished");
    change.decide(Some(&before[1..])).unwrap_err();
}

#[test]
fn a_change_is_stamped_later_than_the_one_before_by_whatever_clock() {
    let mut seen = view([partition(1, PartitionState::Active), partition(2, PartitionState::Active)]);
    let before = *seen.partition(1).unwrap();
    seen.observe(seen.change(1, PartitionState::Inactive, before.changed_at_ns - 7_200).unwrap().after)
        .unwrap();
    assert_eq!(seen.partition(1).unwrap().changed_at_ns, before.changed_at_ns + 1);
    for (locked, now) in [(true, 500), (false, 300)] {
        seen.observe(seen.lock(1, locked, now).unwrap().unwrap().after).unwrap();
    }
    assert_eq!(seen.partition(1).unwrap().lock.changed_at_ns, 501);
    let last = Partition { changed_at_ns: i64::MAX, ..partition(3, PartitionState::Inactive) };
    seen.observe(last).unwrap();
    seen.observe(seen.change(3, PartitionState::Active, 0).unwrap().after).unwrap();
    assert_eq!(seen.partition(3).unwrap().changed_at_ns, i64::MAX);
}

#[test]
fn keys_of_owners_name_instance_and_partition() {
    assert_eq!(PartitionRecord::from(Owner::new("in/a", 7, 0)).key(), "owners/in%2Fa%2F7");
    assert_eq!(PartitionRecord::from(Partition::new(7, 0)).key(), "partitions/7");
}

#[test]
fn an_operator_is_told_why_a_partition_stays_as_it_is() {
    use PartitionState::{Active, Deleted, Inactive, Pending};
    let mut seen = view([
        partition(0, Active),
        partition(1, Inactive),
        locked(partition(2, Inactive)),
        partition(3, Pending),
        partition(4, Inactive),
    ]);
    seen.observe(Owner::new("a", 1, 0)).unwrap();
    assert_eq!(seen.change(9, Active, 5), Err(ChangeError::Unknown { number: 9 }));
    assert_eq!(seen.change(2, Active, 5), Err(ChangeError::Locked { number: 2 }));
    assert_eq!(seen.change(0, Inactive, 5), Err(ChangeError::LastActive { number: 0 }));
    assert_eq!(seen.change(1, Deleted, 5), Err(ChangeError::Owned { number: 1, owners: 1 }));
    let step = ChangeError::Step { number: 3, from: Pending, to: Deleted };
    assert_eq!(seen.change(3, Deleted, 5), Err(step));
    assert!(seen.change(4, Deleted, 5).is_ok());
    seen.observe(seen.change(1, Active, 5).unwrap().after).unwrap();
    assert!(seen.change(0, Inactive, 5).is_ok(), "not the last any more");
    assert_eq!(seen.lock(2, true, 5), Ok(None), "locked already");
    seen.observe(seen.lock(2, false, 5).unwrap().unwrap().after).unwrap();
    assert!(seen.change(2, Active, 5).is_ok());
}
