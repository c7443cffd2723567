//! A tenant's share of the partitions.

use std::fmt;

use super::snapshot::{PartitionError, PartitionRing};
use crate::shard::Shard;
use crate::token::Token;

/// Tokens looked at one by one for a key; beyond these the nearest of the partitions is looked for.
const MAX_STEPS: usize = 64;

/// The partitions of a shard.
pub struct PartitionShard<'r> {
    partitions: &'r PartitionRing,
    shard: Shard<'r>,
}

impl<'r> PartitionShard<'r> {
    pub(super) fn new(partitions: &'r PartitionRing, shard: Shard<'r>) -> Self {
        Self { partitions, shard }
    }

    /// Whether a partition is in it. O(log partitions).
    pub fn contains(&self, number: u32) -> bool {
        self.partitions.member_of(number).is_some_and(|member| self.has(member))
    }

    /// The partitions, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = u32> + '_ {
        self.shard.members().iter().map(|&member| self.partitions.number_of(member))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.shard.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shard.is_empty()
    }

    /// The ACTIVE partition of these that takes a key. Ask a shard without lookback, as all writers do. Nothing is built
    /// for it: it goes on from token to token until it meets one of the shard, O(partitions / shard) expected, and O(shard ·
    /// log tokens) if that is more than 64.
    ///
    /// # Errors
    ///
    /// If none of them is ACTIVE.
    pub fn partition_for(&self, key: impl Into<Token>) -> Result<u32, PartitionError> {
        let key = key.into();
        let topology = self.partitions.ring().topology();
        let mut near = topology.owners_from(key).take(MAX_STEPS);
        let near = near.find(|&member| self.has(member) && self.is_active(member));
        let nearest = || {
            let distance = |&member: &u16| {
                let first = topology.owned()[usize::from(member)].first_after(key)?;
                Some((key.distance_to(first), member))
            };
            let active = self.shard.members().iter().filter(|&&member| self.is_active(member));
            active.filter_map(distance).min().map(|(_, member)| member)
        };
        let found = near.or_else(nearest).map(|member| self.partitions.number_of(member));
        found.ok_or(PartitionError::NoneActive { others: self.len() })
    }

    fn has(&self, member: u16) -> bool {
        self.shard.members().binary_search(&member).is_ok()
    }

    fn is_active(&self, member: u16) -> bool {
        !self.partitions.ring().is_read_only(member)
    }
}

impl fmt::Debug for PartitionShard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}
