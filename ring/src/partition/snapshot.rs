//! The partitions as they were at one moment: which takes a key, who owns it. Invariant: a lookup takes no lock and
//! allocates nothing; a change of states shares what follows from tokens, but for partitions that share one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::PartitionShard;
use super::record::{Owner, Partition};
use super::state::PartitionState;
use super::view::Partitions;
use crate::error::BuildError;
use crate::generate::random_tokens;
use crate::instance::{Instance, ReadOnly, State};
use crate::membership::Membership;
use crate::operation::Operation;
use crate::replication::Require;
use crate::ring::{Options, Ring};
use crate::shard::{Query, Sharder, TokenWalk};
use crate::token::{Token, TokenSet};

/// Tokens of each partition: shares of the key space differ by about 4 % of their mean (one standard deviation).
pub const TOKENS_PER_PARTITION: usize = 512;

/// Why a key has no partition right now.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// Wait until one has owners, or activate one.
    #[error("no partition is ACTIVE, {others} are PENDING or INACTIVE")]
    NoneActive {
        /// How many there are that take no keys; of a shard, how many are in it.
        others: usize,
    },
}

/// Which partition takes a key, and who owns it. `Send + Sync`, cheap to swap, never changed in place.
///
/// It is a ring whose members are the partitions that take keys or did: ACTIVE ones, and INACTIVE ones as members that
/// are read-only and extend a set, so that keys pass over them.
#[derive(Clone)]
pub struct PartitionRing {
    ring: Ring,
    /// The partitions that are members of the ring, by their numbers there.
    members: Arc<[u32]>,
    /// All but the tombstones, by ascending number.
    partitions: Arc<[Partition]>,
    /// All but the tombstones, by ascending partition, then id.
    owners: Arc<[Owner]>,
}

impl PartitionRing {
    /// A snapshot of what is known. O(partitions · tokens of each · log).
    ///
    /// # Errors
    ///
    /// None that a view within its bounds can cause.
    pub fn build(view: &Partitions) -> Result<Self, BuildError> {
        let options =
            Options { replication_factor: 1, heartbeat_timeout: Duration::MAX, ..Options::default() };
        let ring = Ring::build(&options, &members_of(view, tokens_of), 0)?;
        Ok(Self::assemble(ring, view))
    }

    /// A snapshot of a newer view. While the same partitions are ACTIVE or INACTIVE it costs O(partitions + owners);
    /// otherwise as [`build`](Self::build), without making tokens anew. So it does when a partition goes from one to the
    /// other that shares a token with another, as by chance 1 of 100 does among 180, 6 among 1,000 and 45 among 10,000.
    ///
    /// # Errors
    ///
    /// As for [`build`](Self::build).
    pub fn updated(&self, view: &Partitions) -> Result<Self, BuildError> {
        let known = |number| Some(self.ring.instance_at(self.member_of(number)?).tokens.clone());
        let members = members_of(view, |number| known(number).unwrap_or_else(|| tokens_of(number)));
        Ok(Self::assemble(self.ring.updated(&members, 0)?, view))
    }

    fn assemble(ring: Ring, view: &Partitions) -> Self {
        let partitions: Arc<[Partition]> =
            view.partitions().filter(|p| p.state != PartitionState::Deleted).copied().collect();
        let members = partitions.iter().filter(|p| was_written(p.state)).map(|p| p.number).collect();
        let owners = partitions.iter().flat_map(|partition| view.owners(partition.number)).cloned();
        Self { ring, members, owners: owners.collect(), partitions }
    }

    /// The ACTIVE partition that takes a key (N2). O(1) expected while most are ACTIVE.
    ///
    /// # Errors
    ///
    /// If none is.
    pub fn partition_for(&self, key: impl Into<Token>) -> Result<u32, PartitionError> {
        match self.ring.get_with(key, Operation::WRITE, Require::One) {
            Ok(set) => Ok(self.members[usize::from(set.members()[0])]),
            Err(_) => Err(PartitionError::NoneActive { others: self.partitions.len() }),
        }
    }

    /// The partitions a tenant's keys go to: `size` that are ACTIVE, or all if 0. By [`TokenWalk`]; O(size) expected
    /// and without allocation up to 32, while there are many more.
    pub fn shuffle_shard(&self, tenant: &str, size: usize) -> PartitionShard<'_> {
        self.shard_by(&TokenWalk, &Query { tenant, size, lookback: None })
    }

    /// The shard of a query, by an algorithm. With a lookback INACTIVE ones are in it that may have been, for readers (N5),
    /// if partitions are not deleted within it and its period has what wall clocks differ by added.
    pub fn shard_by(&self, sharder: &impl Sharder, query: &Query<'_>) -> PartitionShard<'_> {
        PartitionShard::new(self, self.ring.shard_by(sharder, query))
    }

    /// What is known of a partition that is not DELETED. O(log partitions).
    pub fn partition(&self, number: u32) -> Option<&Partition> {
        let at = self.partitions.binary_search_by_key(&number, |partition| partition.number).ok()?;
        Some(&self.partitions[at])
    }

    /// All that are not DELETED, by ascending number.
    pub fn partitions(&self) -> impl ExactSizeIterator<Item = &Partition> {
        self.partitions.iter()
    }

    /// The instances that own a partition, by ascending id. O(log owners).
    pub fn owners(&self, partition: u32) -> impl ExactSizeIterator<Item = &Arc<str>> {
        let start = self.owners.partition_point(|owner| owner.partition < partition);
        let end = self.owners.partition_point(|owner| owner.partition <= partition);
        self.owners[start..end].iter().map(|owner| &owner.instance)
    }

    /// The partitions that an instance owns, ascending. O(owners).
    pub fn owned_by(&self, instance: &str) -> impl Iterator<Item = u32> {
        self.owners.iter().filter(move |owner| &*owner.instance == instance).map(|owner| owner.partition)
    }

    /// The owners of a partition that serve `op` in a ring of instances: one of them has to answer. O(owners of the
    /// partition · log instances).
    pub fn healthy_owners<'a>(
        &'a self,
        partition: u32,
        instances: &'a Ring,
        op: Operation,
    ) -> impl Iterator<Item = &'a Instance> {
        let serving = self.owners(partition).filter(move |id| instances.is_healthy(id, op));
        serving.filter_map(|id| instances.instance(id))
    }

    /// Whether both take tokens to the same partitions, of whatever states, without having compared them.
    pub fn shares_topology(&self, other: &PartitionRing) -> bool {
        self.ring.shares_topology(&other.ring)
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    pub(super) fn number_of(&self, member: u16) -> u32 {
        self.members[usize::from(member)]
    }

    /// The number in the ring of a partition that is a member of it.
    pub(super) fn member_of(&self, number: u32) -> Option<u16> {
        let at = self.members.binary_search(&number).ok()?;
        Some(u16::try_from(at).expect("a view has at most 10000 partitions"))
    }
}

/// Whether a partition in this state takes keys or may have.
fn was_written(state: PartitionState) -> bool {
    matches!(state, PartitionState::Active | PartitionState::Inactive)
}

fn tokens_of(number: u32) -> TokenSet {
    random_tokens(&format!("partition-{number}"), "", 0, TOKENS_PER_PARTITION, &TokenSet::default())
        .expect("512 tokens beside none are few")
}

fn members_of(view: &Partitions, tokens: impl Fn(u32) -> TokenSet) -> Membership {
    let mut members = Membership::default();
    for partition in view.partitions().filter(|partition| was_written(partition.state)) {
        // As wide as the highest number, so that members are numbered in the order of partitions.
        let id = format!("{:010}", partition.number);
        let active = partition.state == PartitionState::Active;
        let read_only = ReadOnly { enabled: !active, changed_at_ns: partition.changed_at_ns };
        members.observe(
            Instance {
                state: if active { State::Active } else { State::Leaving },
                tokens: tokens(partition.number),
                read_only,
                registered_at_ns: i64::MIN,
                ..Instance::new(id, "")
            },
            0,
        );
    }
    members
}

impl fmt::Debug for PartitionRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionRing")
            .field("partitions", &self.partitions)
            .field("owners", &self.owners.len())
            .finish_non_exhaustive()
    }
}
