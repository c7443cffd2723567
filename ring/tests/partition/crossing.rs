//! Two nodes of a store in which both may write at once, and the later put is the record (N1).

use forebay_ring::partition::{
    Owner, Partition, PartitionChange, PartitionDecision, PartitionRecord, PartitionState, Partitions,
};

use crate::{partition, view};

/// One node: what is stored there, and what was heard there.
struct Node {
    name: usize,
    /// Which put made the record, and whose it was; the highest is the record everywhere.
    put: (u64, usize),
    stored: PartitionRecord,
    view: Partitions,
}

impl Node {
    fn new(name: usize, stored: impl Into<PartitionRecord>, view: &Partitions) -> Self {
        Self { name, put: (0, 0), stored: stored.into(), view: view.clone() }
    }

    fn put(&mut self, record: PartitionRecord) {
        self.put = (self.put.0 + 1, self.name);
        self.view.observe(record.clone()).unwrap();
        self.stored = record;
    }

    fn decide(&self, change: &PartitionChange) -> PartitionDecision {
        let mut bytes = Vec::new();
        self.stored.encode(&mut bytes).unwrap();
        change.decide(Some(&bytes)).unwrap()
    }

    /// Puts a change, or it is a panic.
    fn change(&mut self, change: &PartitionChange) {
        match self.decide(change) {
            PartitionDecision::Put(record) => self.put(record),
            other => panic!("{other:?} over {:?}", self.stored),
        }
    }

    fn hear(&mut self, other: &Node) -> bool {
        let news = other.put > self.put;
        if news {
            (self.put, self.stored) = (other.put, other.stored.clone());
            self.view.observe(self.stored.clone()).unwrap();
            if let Some(more) = self.view.completed(&self.stored) {
                self.put(more);
            }
        }
        news
    }
}

/// Until both have nothing to tell.
fn gossip(one: &mut Node, two: &mut Node) {
    for _ in 0..10 {
        let heard = [two.hear(one), one.hear(two)];
        if heard == [false, false] {
            return;
        }
    }
    panic!("they go on for ever");
}

fn stored(node: &Node) -> Partition {
    match node.stored {
        PartitionRecord::Partition(partition) => partition,
        PartitionRecord::Owner(_) => unreachable!(),
    }
}

fn two_actives() -> (Partitions, Partition) {
    let first = partition(1, PartitionState::Active);
    (view([first, partition(2, PartitionState::Active)]), first)
}

#[test]
fn a_state_and_a_lock_that_are_put_at_once_are_both_kept_in_stores_and_views() {
    let (start, first) = two_actives();
    for names in [[1, 2], [2, 1]] {
        let [mut one, mut two] = names.map(|name| Node::new(name, first, &start));
        one.change(&start.change(1, PartitionState::Inactive, 5).unwrap());
        two.change(&start.lock(1, true, 6).unwrap().unwrap());
        gossip(&mut one, &mut two);
        for node in [&one, &two] {
            let partition = stored(node);
            assert_eq!(Some(&partition), node.view.partition(1));
            assert_eq!((partition.state, partition.lock.locked), (PartitionState::Inactive, true));
        }
        assert_eq!(one.view, two.view);
    }
}

#[test]
fn who_knows_more_than_the_store_may_change_what_is_there_and_brings_it_back() {
    let (mut seen, first) = two_actives();
    let stopped = seen.change(1, PartitionState::Inactive, 5).unwrap();
    seen.observe(stopped.after).unwrap();
    let mut node = Node::new(1, first, &seen);
    // A lock brings the state along, and a state does not need its predecessor to be there.
    let lock = seen.lock(1, true, 6).unwrap().unwrap();
    node.change(&lock);
    assert_eq!(node.stored, lock.after);
    let mut node = Node::new(1, first, &seen);
    node.change(&seen.change(1, PartitionState::Active, 6).unwrap());
    assert_eq!((stored(&node).state, stored(&node).version), (PartitionState::Active, 2));
}

#[test]
fn a_change_is_refused_by_a_lock_that_only_the_store_knows_and_is_not_made_twice() {
    let (start, first) = two_actives();
    let stopped = start.change(1, PartitionState::Inactive, 5).unwrap();
    let lock = start.lock(1, true, 6).unwrap().unwrap();
    let mut node = Node::new(1, first, &start);
    node.change(&lock);
    assert_eq!(node.decide(&stopped), PartitionDecision::Refused);
    assert_eq!(node.decide(&lock), PartitionDecision::Same);
    // A lock is set on whatever state there is.
    let mut node = Node::new(1, first, &start);
    node.change(&stopped);
    node.change(&lock);
    assert_eq!((stored(&node).state, stored(&node).lock.locked), (PartitionState::Inactive, true));
    // Both are there, so neither is made again.
    assert_eq!([&stopped, &lock].map(|change| node.decide(change)), [const { PartitionDecision::Same }; 2]);
    let other = start.change(2, PartitionState::Inactive, 5).unwrap();
    assert_eq!(node.decide(&other), PartitionDecision::Refused, "of another partition");
}

#[test]
fn an_owner_that_ceased_is_put_back_where_an_older_word_of_it_came_later() {
    let mut start = Partitions::default();
    let owner = Owner::new("a", 1, 0);
    start.observe(owner.clone()).unwrap();
    let gone = Owner { state: forebay_ring::partition::OwnerState::Deleted, version: 1, ..owner.clone() };
    let [mut one, mut two] = [1, 2].map(|name| Node::new(name, owner.clone(), &start));
    one.put(gone.clone().into());
    two.put(owner.clone().into());
    gossip(&mut one, &mut two);
    assert_eq!((&one.stored, &two.stored), (&gone.clone().into(), &gone.clone().into()));
    assert_eq!(one.view.completed(&gone.into()), None);
    let known = one.view.owner("a", 1).unwrap().clone();
    let back = PartitionChange {
        before: Some(known.clone().into()),
        after: Owner { version: 2, ..owner.clone() }.into(),
    };
    let late = Node::new(1, owner, &one.view);
    assert_eq!(
        late.decide(&back),
        PartitionDecision::Put(back.after.clone()),
        "its tombstone was lost there"
    );
}
