//! Lifecyclers over one store: partitions come, are owned, activated, stopped and deleted, whatever is lost on the way
//! (N3, N4).

use std::collections::BTreeMap;
use std::time::Duration;

use forebay_ring::lifecycle::Now;
use forebay_ring::partition::{
    LifecycleOptions, OwnerState, PartitionChange, PartitionDecision, PartitionLifecycler, PartitionRecord,
    PartitionState, Partitions,
};
use proptest::prelude::*;

use crate::{locked, partition, view};

const WAIT: Duration = Duration::from_secs(10);
const DELETE: Duration = Duration::from_secs(60);

fn options(owners_to_activate: usize) -> LifecycleOptions {
    LifecycleOptions { owners_to_activate, activate_after: WAIT, delete_after: Some(DELETE) }
}

fn at(seconds: u64) -> Now {
    let mono_ns = seconds * 1_000_000_000;
    Now { mono_ns, unix_ns: i64::try_from(mono_ns).unwrap() }
}

/// Lets it write what it wants, and counts that.
fn look(lifecycler: &mut PartitionLifecycler, view: &mut Partitions, seconds: u64) -> usize {
    let changes = lifecycler.reconcile(view, at(seconds));
    let count = changes.len();
    changes.into_iter().for_each(|change| assert!(view.observe(change.after).unwrap()));
    count
}

fn state(view: &Partitions, number: u32) -> Option<PartitionState> {
    view.partition(number).map(|partition| partition.state)
}

#[test]
fn a_partition_is_created_owned_and_activated_once_it_has_had_its_owners_for_a_while() {
    let mut view = Partitions::default();
    let mut one = PartitionLifecycler::new("a", [7], options(2));
    let mut two = PartitionLifecycler::new("b", [7], options(2));
    assert_eq!(look(&mut one, &mut view, 0), 2);
    assert_eq!(state(&view, 7), Some(PartitionState::Pending));
    assert!(one.is_settled(&view) && !two.is_settled(&view));
    assert_eq!(look(&mut one, &mut view, 100), 0, "one owner is too few");
    assert_eq!(look(&mut two, &mut view, 100), 1);
    assert_eq!(look(&mut one, &mut view, 101), 0, "two, from now on");
    assert_eq!(look(&mut one, &mut view, 110), 0);
    assert_eq!(look(&mut one, &mut view, 111), 1);
    assert_eq!(state(&view, 7), Some(PartitionState::Active));
    assert_eq!(look(&mut one, &mut view, 112), 0, "nothing is left to do");
}

#[test]
fn the_wait_begins_again_when_an_owner_went_away_meanwhile() {
    let mut view = Partitions::default();
    let mut one = PartitionLifecycler::new("a", [7], options(2));
    let mut two = PartitionLifecycler::new("b", [7], options(2));
    for lifecycler in [&mut one, &mut two] {
        look(lifecycler, &mut view, 0);
    }
    look(&mut one, &mut view, 1);
    two.stop();
    assert_eq!(look(&mut two, &mut view, 5), 1);
    assert!(two.is_settled(&view));
    look(&mut one, &mut view, 6);
    let mut again = PartitionLifecycler::new("b", [7], options(2));
    look(&mut again, &mut view, 7);
    assert_eq!(look(&mut one, &mut view, 12), 0);
    assert_eq!(look(&mut one, &mut view, 22), 1);
}

#[test]
fn an_inactive_partition_is_deleted_when_nobody_has_owned_it_for_long_and_created_again_by_who_wants_it() {
    let mut view = view([partition(0, PartitionState::Active), partition(7, PartitionState::Inactive)]);
    let mut owner = PartitionLifecycler::new("a", [7], options(1));
    let mut other = PartitionLifecycler::new("b", [0], options(1));
    look(&mut owner, &mut view, 0);
    look(&mut other, &mut view, 0);
    assert_eq!(look(&mut other, &mut view, 1_000), 0, "it has an owner");
    owner.stop();
    look(&mut owner, &mut view, 1_000);
    assert_eq!(look(&mut owner, &mut view, 2_000), 0, "and then it is silent");
    for seconds in [1_001, 1_060] {
        assert_eq!(look(&mut other, &mut view, seconds), 0);
    }
    assert_eq!(look(&mut other, &mut view, 1_061), 1);
    assert_eq!(state(&view, 7), Some(PartitionState::Deleted));
    let mut back = PartitionLifecycler::new("a", [7], options(1));
    assert_eq!(look(&mut back, &mut view, 2_000), 2);
    assert_eq!(state(&view, 7), Some(PartitionState::Pending));
    assert!(back.is_settled(&view));
}

#[test]
fn a_partition_that_was_active_meanwhile_is_not_deleted_for_having_been_stopped_long_ago() {
    let mut view = view([partition(0, PartitionState::Active), partition(7, PartitionState::Inactive)]);
    let mut other = PartitionLifecycler::new("b", [0], options(1));
    look(&mut other, &mut view, 0);
    for state in [PartitionState::Active, PartitionState::Inactive] {
        view.observe(view.change(7, state, 5).unwrap().after).unwrap();
    }
    assert_eq!(look(&mut other, &mut view, 60), 0);
    assert_eq!(look(&mut other, &mut view, 120), 1);
}

#[test]
fn a_locked_partition_is_neither_activated_nor_deleted_until_it_is_unlocked() {
    let pending = locked(partition(1, PartitionState::Pending));
    let mut view = view([pending, locked(partition(2, PartitionState::Inactive))]);
    let mut lifecycler = PartitionLifecycler::new("a", [1], options(1));
    for seconds in [0, 1, 1_000] {
        look(&mut lifecycler, &mut view, seconds);
        assert_eq!(state(&view, 1), Some(PartitionState::Pending));
        assert_eq!(state(&view, 2), Some(PartitionState::Inactive));
    }
    for number in [1, 2] {
        view.observe(view.lock(number, false, 5).unwrap().unwrap().after).unwrap();
    }
    assert_eq!(look(&mut lifecycler, &mut view, 1_001), 2);
}

#[test]
fn an_instance_that_stops_is_told_which_active_partitions_nobody_would_own() {
    let mut view = view([
        partition(0, PartitionState::Active),
        partition(1, PartitionState::Active),
        partition(2, PartitionState::Inactive),
        partition(3, PartitionState::Active),
    ]);
    let mut one = PartitionLifecycler::new("a", [0, 1, 2], options(1));
    let mut two = PartitionLifecycler::new("b", [1, 3], options(1));
    look(&mut one, &mut view, 0);
    look(&mut two, &mut view, 0);
    let sole = |of: &PartitionLifecycler, view: &Partitions| of.sole_owner_of(view).collect::<Vec<_>>();
    assert_eq!((sole(&one, &view), sole(&two, &view)), (vec![0], vec![3]));
    two.stop();
    look(&mut two, &mut view, 1);
    assert_eq!(sole(&one, &view), [0, 1]);
    view.observe(view.change(0, PartitionState::Inactive, 2).unwrap().after).unwrap();
    assert_eq!(sole(&one, &view), [1]);
    assert_eq!(sole(&two, &view), [3], "nobody reads it any more");
}

/// What somebody does in a history.
#[derive(Debug, Clone)]
enum Step {
    /// An instance looks at the store, or at what it saw last.
    Reconcile {
        instance: usize,
        fresh: bool,
        lost: bool,
    },
    /// It is started anew, or told to give up.
    Restart(usize),
    Stop(usize),
    /// An operator's wish, by the store.
    Wish {
        number: u32,
        state: usize,
    },
    Lock {
        number: u32,
        locked: bool,
    },
    Wait(u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_usize, any::<bool>(), any::<bool>())
            .prop_map(|(instance, fresh, lost)| Step::Reconcile { instance, fresh, lost }),
        1 => (0..3_usize).prop_map(Step::Restart),
        1 => (0..3_usize).prop_map(Step::Stop),
        2 => (0..4_u32, 0..4_usize).prop_map(|(number, state)| Step::Wish { number, state }),
        1 => (0..4_u32, any::<bool>()).prop_map(|(number, locked)| Step::Lock { number, locked }),
        2 => (1..70_u64).prop_map(Step::Wait),
    ]
}

/// One store that compares and swaps, by its records' keys.
#[derive(Default)]
struct Store(BTreeMap<String, Vec<u8>>);

impl Store {
    fn view(&self) -> Partitions {
        let mut view = Partitions::default();
        for (key, bytes) in &self.0 {
            let record = PartitionRecord::decode(bytes).unwrap();
            assert_eq!(record.key(), *key);
            view.observe(record).unwrap();
        }
        view
    }

    fn write(&mut self, change: &PartitionChange) {
        let key = change.after.key();
        let current = self.0.get(&key).map(Vec::as_slice);
        if let Ok(PartitionDecision::Put(record)) = change.decide(current) {
            let mut bytes = Vec::new();
            record.encode(&mut bytes).unwrap();
            self.0.insert(key, bytes);
        }
    }
}

const OWN: [&[u32]; 3] = [&[0, 1], &[1, 2], &[0, 2, 3]];

fn lifecycler(instance: usize) -> PartitionLifecycler {
    PartitionLifecycler::new(
        ["a", "b", "c"][instance],
        OWN[instance].iter().copied(),
        options(1 + instance % 2),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn histories_keep_locked_states_step_by_step_and_end_with_all_owned_and_active(
        steps in prop::collection::vec(any_step(), 0..60)
    ) {
        let mut store = Store::default();
        let mut instances: Vec<_> = (0..3).map(lifecycler).collect();
        let mut seen = vec![Partitions::default(); 3];
        let mut now = 0;
        for step in steps {
            let before = store.view();
            let wish = matches!(step, Step::Wish { .. });
            // Owners are other records: one that comes while somebody acts on an older view is not seen.
            let mut acting = before.clone();
            match step {
                Step::Reconcile { instance, fresh, lost } => {
                    if fresh {
                        seen[instance] = store.view();
                    }
                    let changes = instances[instance].reconcile(&seen[instance], at(now));
                    acting = seen[instance].clone();
                    if !lost {
                        changes.iter().for_each(|change| store.write(change));
                    }
                }
                Step::Restart(instance) => instances[instance] = lifecycler(instance),
                Step::Stop(instance) => instances[instance].stop(),
                Step::Wish { number, state } => {
                    let change = before.change(number, PartitionState::ALL[state], at(now).unix_ns);
                    change.iter().for_each(|change| store.write(change));
                }
                Step::Lock { number, locked } => {
                    let change = before.lock(number, locked, at(now).unix_ns);
                    change.iter().flatten().for_each(|change| store.write(change));
                }
                Step::Wait(seconds) => now += seconds,
            }
            let after = store.view();
            let active = |view: &Partitions| {
                view.partitions().filter(|p| p.state == PartitionState::Active).count()
            };
            prop_assert!(active(&before) == 0 || active(&after) > 0, "the last one is taken");
            for was in before.partitions() {
                let is = after.partition(was.number).unwrap();
                prop_assert!(was.state == is.state || was.state.can_become(is.state));
                prop_assert!(was.state == is.state || !was.lock.locked, "it is locked");
                let kept = was.state != PartitionState::Active || is.state == PartitionState::Active;
                prop_assert!(kept || wish, "nobody wished it");
                let deleted = was.state != is.state && is.state == PartitionState::Deleted;
                prop_assert!(!deleted || acting.owners(was.number).next().is_none(), "it is seen to have owners");
            }
        }
        // All come back and look often enough: whatever is not locked or was stopped by an operator ends ACTIVE.
        let mut instances: Vec<_> = (0..3).map(lifecycler).collect();
        for round in 0..4 {
            for instance in &mut instances {
                for change in instance.reconcile(&store.view(), at(now + round * 11)) {
                    store.write(&change);
                }
            }
        }
        let end = store.view();
        for (instance, own) in instances.iter().zip(OWN) {
            let locked = own.iter().any(|&number| end.partition(number).unwrap().lock.locked);
            prop_assert!(locked || instance.is_settled(&end));
            for &number in own {
                let partition = end.partition(number).unwrap();
                let stays = partition.lock.locked || partition.state == PartitionState::Inactive;
                prop_assert!(stays || partition.state == PartitionState::Active, "{partition:?}");
            }
        }
        let is_gone = |record: PartitionRecord| match record {
            PartitionRecord::Owner(owner) => owner.state == OwnerState::Deleted,
            PartitionRecord::Partition(_) => false,
        };
        prop_assert!(!end.records().any(is_gone), "all came back");
    }
}
