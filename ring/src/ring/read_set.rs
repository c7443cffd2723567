//! Whom to ask for everything, and how many answers are enough.
//!
//! Invariant: while no more units fail than [`ReadSet::max_unavailable`], what a quorum of the replicas of a key took is
//! held by some instance of a unit that did not. A unit is a zone if zones count, and otherwise an instance.

use std::fmt;

use super::{Ring, topology};
use crate::error::Error;
use crate::instance::Instance;
use crate::operation::Operation;
use crate::replication::{ReplicationSet, Require};

/// The instances that a read of all keys asks, in the units that succeed or fail as one.
///
/// If zones count, one instance that cannot answer takes its zone's answer with it: what it holds may be held by
/// nobody else there.
#[derive(Clone)]
pub struct ReadSet<'r> {
    ring: &'r Ring,
    /// Members unit by unit, those within one and the units by ascending id of the first.
    members: Vec<u16>,
    /// Where each unit begins in `members`, and their end.
    starts: Vec<usize>,
    max_unavailable: usize,
}

/// How a read set differs from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// Not at all.
    Same,
    /// The same instances at the same addresses, some in other states.
    States,
    /// The same instances at the same addresses, of which more or fewer may fail: whoever goes on with the earlier set
    /// may take too few answers for enough.
    Tolerance,
    /// Other instances, or other addresses.
    Members,
}

impl Ring {
    /// Whom to ask for what lies anywhere: all instances that serve `op` and have a fresh heartbeat.
    /// O(instances · log instances).
    ///
    /// An instance holds what its tokens brought it. One is asked without any, too, in whatever state: its tokens may not be
    /// known here yet, or be another's by now, and one that is PENDING or JOINING may have been ACTIVE before it was started
    /// anew. Excluded zones are not asked and count as missing.
    ///
    /// If zones count, the zones with an instance that does not are left out whole, and
    /// (min(zones, replicas) / 2 + 1) - 1 zones may be missing in all; otherwise half of the replication factor,
    /// rounded down, may be of the instances. [`covers`](Self::covers) finds out whether more failures happen to be
    /// of different keys.
    ///
    /// # Errors
    ///
    /// If nobody holds anything, or more are missing than may be.
    pub fn replication_set_for(&self, op: Operation) -> Result<ReadSet<'_>, Error> {
        self.read_set(op, Require::Quorum)
    }

    /// As [`replication_set_for`](Self::replication_set_for) with another number of replicas of each key that must be
    /// among those that answer: with [`Require::One`] a read finds what all replicas took and may miss what a quorum
    /// did, with [`Require::All`] it fails with the first unit.
    ///
    /// # Errors
    ///
    /// If nobody holds anything, or more are missing than may be.
    pub fn read_set(&self, op: Operation, require: Require) -> Result<ReadSet<'_>, Error> {
        let groups = self.topology.groups();
        let mut members: Vec<u16> = (0..self.members.len()).map(topology::number).collect();
        if members.is_empty() {
            return Err(Error::Empty);
        }
        members.sort_by_key(|&member| groups[usize::from(member)]);
        let replicas = usize::from(self.options.replication_factor);
        let mut set = ReadSet { ring: self, members: Vec::new(), starts: vec![0], max_unavailable: 0 };
        let units = members.chunk_by(|&a, &b| groups[usize::from(a)] == groups[usize::from(b)]);
        let mut missing = self.left_out;
        for unit in units {
            if unit.iter().all(|&member| self.health.serves(member, op)) {
                set.members.extend(unit);
                set.starts.push(set.members.len());
            } else {
                missing += 1;
            }
        }
        let found = set.starts.len() - 1;
        let all = found + missing;
        // In how many units a key has a replica, and how many units there are if none of those is imaginary.
        let (replicated, all) = if self.options.zone_awareness {
            (all.min(replicas), all)
        } else {
            (replicas, all.max(replicas))
        };
        let needed = all
            - match require {
                Require::One => replicated - 1,
                Require::Quorum => replicated / 2,
                Require::All => 0,
            };
        set.max_unavailable = found.checked_sub(needed).ok_or(Error::TooManyUnhealthy { needed, found })?;
        Ok(set)
    }

    /// Whether every key has at most as many replicas among those that did not answer as leave a quorum's write to be
    /// found: half of the replication factor, rounded down. Exact where [`ReadSet::max_unavailable`] is a bound, but that
    /// an instance without known tokens, or of an excluded zone, may be a replica of any key; only for data of writes
    /// that were not extended.
    /// O(tokens · replicas) where replica sets are precomputed.
    pub fn covers(&self, mut answered: impl FnMut(&Instance) -> bool) -> bool {
        let answered: Vec<bool> = self.instances().map(&mut answered).collect();
        let replicas = usize::from(self.options.replication_factor);
        let groups = self.topology.groups();
        let group = |member: u16| groups[usize::from(member)];
        let mut anywhere: Vec<u16> = (0..)
            .zip(&answered)
            .filter(|&(member, answered)| !answered && !self.has_tokens(member))
            .map(|(member, _)| group(member))
            .collect();
        anywhere.sort_unstable();
        anywhere.dedup();
        let is_missing =
            |member: u16| !answered[usize::from(member)] && anywhere.binary_search(&group(member)).is_err();
        let rows = self.topology.rows().len();
        (0..rows).all(|at| {
            let selected = self.topology.selected(at, replicas);
            let missing = selected.iter().filter(|&&member| is_missing(member)).count();
            missing + anywhere.len() + self.left_out <= replicas / 2
        }) && rows > 0
    }

    pub(crate) fn has_tokens(&self, member: u16) -> bool {
        !self.topology.owned()[usize::from(member)].is_empty()
    }
}

/// The replicas of one key, of which as many have to answer as were required.
impl<'r> From<&ReplicationSet<'r>> for ReadSet<'r> {
    fn from(set: &ReplicationSet<'r>) -> Self {
        let members = set.members().to_vec();
        let starts = (0..=members.len()).collect();
        Self { ring: set.ring(), members, starts, max_unavailable: set.max_errors() }
    }
}

/// Instances by their places in the set.
#[cfg(feature = "tokio")]
impl ReadSet<'_> {
    pub(crate) fn instance(&self, place: usize) -> &std::sync::Arc<Instance> {
        self.ring.instance_at(self.members[place])
    }

    /// The instances of a unit.
    pub(crate) fn places(&self, unit: usize) -> std::ops::Range<usize> {
        self.starts[unit]..self.starts[unit + 1]
    }

    pub(crate) fn unit_of(&self, place: usize) -> usize {
        self.starts.partition_point(|&start| start <= place) - 1
    }

    pub(crate) fn unit_sizes(&self) -> impl Iterator<Item = usize> + '_ {
        self.starts.windows(2).map(|ends| ends[1] - ends[0])
    }
}

impl<'r> ReadSet<'r> {
    /// All instances to ask, unit by unit.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'r Instance> + '_ {
        self.members.iter().map(|&member| &**self.ring.instance_at(member))
    }

    /// The instances of each unit.
    pub fn units(&self) -> impl Iterator<Item = impl ExactSizeIterator<Item = &'r Instance> + '_> + '_ {
        self.starts
            .windows(2)
            .map(|ends| self.members[ends[0]..ends[1]].iter().map(|&member| &**self.ring.instance_at(member)))
    }

    /// How many instances there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a set that exists is not empty")]
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// How many units there are.
    pub fn unit_count(&self) -> usize {
        self.starts.len() - 1
    }

    /// How many units must answer, all instances of each.
    pub fn needed(&self) -> usize {
        self.unit_count() - self.max_unavailable
    }

    /// How many units may fail.
    pub fn max_unavailable(&self) -> usize {
        self.max_unavailable
    }

    /// Whether the instance `id` is asked.
    pub fn contains(&self, id: &str) -> bool {
        self.iter().any(|instance| &*instance.id == id)
    }

    /// The set without these instances, for those that are known not to answer: the units of theirs are left out, and
    /// as many fewer may fail.
    ///
    /// # Errors
    ///
    /// If that is more than may fail.
    pub fn without(&self, is_out: impl Fn(&Instance) -> bool) -> Result<Self, Error> {
        let mut rest = Self { ring: self.ring, members: Vec::new(), starts: vec![0], max_unavailable: 0 };
        for ends in self.starts.windows(2) {
            let unit = &self.members[ends[0]..ends[1]];
            if !unit.iter().any(|&member| is_out(self.ring.instance_at(member))) {
                rest.members.extend(unit);
                rest.starts.push(rest.members.len());
            }
        }
        let (needed, found) = (self.needed(), rest.unit_count());
        rest.max_unavailable = found.checked_sub(needed).ok_or(Error::TooManyUnhealthy { needed, found })?;
        Ok(rest)
    }

    /// How this set differs from another, perhaps of an earlier snapshot.
    pub fn changed_since(&self, earlier: &ReadSet<'_>) -> Changed {
        let mut changed = Changed::Same;
        if self.len() != earlier.len() || self.starts != earlier.starts {
            return Changed::Members;
        }
        for (now, before) in self.iter().zip(earlier.iter()) {
            if now.id != before.id || now.addr != before.addr || now.zone != before.zone {
                return Changed::Members;
            }
            if now.state != before.state {
                changed = Changed::States;
            }
        }
        if self.max_unavailable != earlier.max_unavailable {
            changed = Changed::Tolerance;
        }
        changed
    }
}

impl fmt::Debug for ReadSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.iter().map(|instance| &*instance.id).collect();
        f.debug_struct("ReadSet")
            .field("ids", &ids)
            .field("units", &self.unit_count())
            .field("max_unavailable", &self.max_unavailable)
            .finish()
    }
}
