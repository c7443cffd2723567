//! Every partition and owner that was heard of. Invariant: as long as it is not full, merging is commutative,
//! associative and idempotent (N1), and what one view has is bounded.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use super::record::{Owner, OwnerState, Partition, PartitionRecord};
use super::state::PartitionState;

/// The replicated map of partitions and their owners, tombstones included.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partitions {
    partitions: BTreeMap<u32, Partition>,
    owners: BTreeMap<(u32, Arc<str>), Owner>,
}

/// There is no room for one more. The record was not taken; look for who announces so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room beside {partitions} partitions and {owners} owners")]
pub struct PartitionsFull {
    /// Partitions known, tombstones included.
    pub partitions: usize,
    /// Owners known, tombstones included.
    pub owners: usize,
}

impl Partitions {
    /// Partitions are bounded, tombstones included.
    pub const MAX_PARTITIONS: usize = 10_000;

    /// Owners are bounded, tombstones included.
    pub const MAX_OWNERS: usize = 100_000;

    /// Takes one record; tells whether anything is known by it that was not before, and should be passed on.
    /// O(log records).
    ///
    /// # Errors
    ///
    /// If there is no room for one more. What is known stays as it is.
    pub fn observe(&mut self, record: impl Into<PartitionRecord>) -> Result<bool, PartitionsFull> {
        let full = PartitionsFull { partitions: self.partitions.len(), owners: self.owners.len() };
        match record.into() {
            PartitionRecord::Partition(partition) => match self.partitions.entry(partition.number) {
                Entry::Vacant(_) if full.partitions >= Self::MAX_PARTITIONS => Err(full),
                Entry::Vacant(entry) => {
                    entry.insert(partition);
                    Ok(true)
                }
                Entry::Occupied(mut entry) => {
                    let merged = entry.get().merged(partition);
                    Ok(entry.insert(merged) != merged)
                }
            },
            PartitionRecord::Owner(owner) => {
                match self.owners.entry((owner.partition, Arc::clone(&owner.instance))) {
                    Entry::Vacant(_) if full.owners >= Self::MAX_OWNERS => Err(full),
                    Entry::Vacant(entry) => {
                        entry.insert(owner);
                        Ok(true)
                    }
                    Entry::Occupied(mut entry) => {
                        let news = owner.precedence() > entry.get().precedence();
                        if news {
                            entry.insert(owner);
                        }
                        Ok(news)
                    }
                }
            }
        }
    }

    /// Takes all records of `other`; returns those that were news here. O(other · log records).
    ///
    /// # Errors
    ///
    /// If there is no room for one; those before it were taken.
    pub fn merge(&mut self, other: &Partitions) -> Result<Vec<PartitionRecord>, PartitionsFull> {
        let mut news = Vec::new();
        for record in other.records() {
            if self.observe(record.clone())? {
                news.push(record);
            }
        }
        Ok(news)
    }

    /// What to put in the place of a record that a store holds, if more is known here; `None` if not. Where two may write at
    /// once, as by gossip, one loses the other's word: whoever hears of a record from the store observes it, and then puts
    /// this, by a compare-and-swap. O(log records).
    pub fn completed(&self, stored: &PartitionRecord) -> Option<PartitionRecord> {
        let known: PartitionRecord = match stored {
            PartitionRecord::Partition(stored) => (*self.partition(stored.number)?).into(),
            PartitionRecord::Owner(stored) => self.owner(&stored.instance, stored.partition)?.clone().into(),
        };
        known.completes(stored)
    }

    /// All records, those of partitions first.
    pub fn records(&self) -> impl Iterator<Item = PartitionRecord> {
        let partitions = self.partitions.values().map(|partition| PartitionRecord::from(*partition));
        partitions.chain(self.owners.values().cloned().map(PartitionRecord::from))
    }

    /// What is known of a partition, a tombstone included.
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        self.partitions.get(&number)
    }

    /// All partitions by ascending number, tombstones included.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = &Partition> {
        self.partitions.values()
    }

    /// What is known of an owner, a tombstone included.
    pub fn owner(&self, instance: &str, partition: u32) -> Option<&Owner> {
        self.owners.get(&(partition, Arc::from(instance)))
    }

    /// The owners of a partition by ascending id, without tombstones.
    pub fn owners(&self, partition: u32) -> impl Iterator<Item = &Owner> {
        let all = self.owners.range((partition, Arc::from(""))..);
        let its = all.take_while(move |((of, _), _)| *of == partition).map(|(_, owner)| owner);
        its.filter(|owner| owner.state == OwnerState::Active)
    }

    /// Forgets a partition, as if it had never been heard of: where a store says that its record is gone.
    pub fn remove_partition(&mut self, number: u32) -> Option<Partition> {
        self.partitions.remove(&number)
    }

    /// Forgets an owner.
    pub fn remove_owner(&mut self, instance: &str, partition: u32) -> Option<Owner> {
        self.owners.remove(&(partition, Arc::from(instance)))
    }

    /// Drops tombstones that were made before this time (wall time, nanoseconds since 1970); returns how many. Keep them
    /// for longer than any observer may be cut off: what comes back from one after that is taken as new. Delete them from
    /// the store first: while one is there that is not known here, a lifecycler that wants its partition or owner to be
    /// wishes to create it, which is refused until the tombstone is heard of again.
    pub fn drop_tombstones(&mut self, made_before_ns: i64) -> usize {
        let before = self.partitions.len() + self.owners.len();
        self.partitions
            .retain(|_, p| p.state != PartitionState::Deleted || p.changed_at_ns >= made_before_ns);
        self.owners.retain(|_, o| o.state != OwnerState::Deleted || o.changed_at_ns >= made_before_ns);
        before - self.partitions.len() - self.owners.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_owners_are_bounded_and_known_ones_go_on() {
        let mut view = Partitions::default();
        for number in 0..10_000 {
            assert_eq!(view.observe(Partition::new(number, 0)), Ok(true));
        }
        for partition in 0..100_000 {
            assert_eq!(view.observe(Owner::new("a", partition, 0)), Ok(true));
        }
        let full = PartitionsFull { partitions: 10_000, owners: 100_000 };
        assert_eq!(view.observe(Partition::new(10_000, 0)), Err(full));
        assert_eq!(view.observe(Owner::new("b", 0, 0)), Err(full));
        let newer = Partition::new(7, 0).with_state(PartitionState::Active, 1);
        assert_eq!(view.observe(newer), Ok(true));
        assert_eq!(view.partition(7), Some(&newer));
    }

    #[test]
    fn owners_of_a_partition_are_its_own_and_those_that_ceased_are_none() {
        let mut view = Partitions::default();
        for (instance, partition) in [("", 3), ("a", 2), ("b", 3), ("c", 3), ("a", 4)] {
            view.observe(Owner::new(instance, partition, 0)).unwrap();
        }
        let gone = view.owner("b", 3).unwrap().with_state(OwnerState::Deleted, 1);
        view.observe(gone).unwrap();
        let ids: Vec<&str> = view.owners(3).map(|owner| &*owner.instance).collect();
        assert_eq!(ids, ["", "c"]);
        assert_eq!((view.drop_tombstones(1), view.drop_tombstones(2)), (0, 1));
        assert!(view.owner("b", 3).is_none());
    }
}
