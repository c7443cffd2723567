//! The replica set of one key, and how many of it must succeed.
//!
//! Invariant: a [`ReplicationSet`] that exists can still reach its required successes; one that cannot
//! is an [`Error`] instead.

use std::fmt;
use std::num::NonZeroU8;
use std::str::FromStr;

use smallvec::SmallVec;

use crate::error::Error;
use crate::instance::Instance;
use crate::ring::Ring;

/// Members by number, on the stack up to 8; more only if a large set is configured or extension made it.
pub(crate) type Members = SmallVec<[u16; 8]>;

/// How many members of a replica set must succeed.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Require {
    /// Any one: survives all losses but the last, and a read may miss the write.
    One,
    /// More than half of the selected members, unhealthy ones included: any two quorums of one set
    /// share a member. With a replication factor of 2 that is both.
    #[default]
    Quorum,
    /// As many as the replication factor: every copy exists before the caller goes on. Refused while
    /// one is missing that extension does not make up for.
    All,
}

impl Require {
    /// Required successes when `selected` members were selected for a key.
    #[inline]
    pub(crate) fn needed(self, base: QuorumBase, replication_factor: usize, selected: usize) -> usize {
        let all = match base {
            QuorumBase::Extended => replication_factor.max(selected),
            QuorumBase::Configured => replication_factor,
        };
        let quorum = all / 2 + 1;
        match self {
            Require::One => 1,
            Require::Quorum => quorum,
            Require::All => replication_factor.max(quorum),
        }
    }

    /// Lower-case name, as printed and parsed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Require::One => "one",
            Require::Quorum => "quorum",
            Require::All => "all",
        }
    }
}

impl fmt::Display for Require {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The text is not the name of a [`Require`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a number of required replicas: expected one, quorum or all")]
pub struct ParseRequireError;

impl FromStr for Require {
    type Err = ParseRequireError;

    fn from_str(text: &str) -> Result<Self, ParseRequireError> {
        let all = [Require::One, Require::Quorum, Require::All];
        all.into_iter().find(|require| require.as_str() == text).ok_or(ParseRequireError)
    }
}

/// Of what a quorum is more than half.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum QuorumBase {
    /// All members that were selected, those that extension added included, as in the ring that runs below Loki and
    /// Mimir. Two quorums of one set meet. With 3 replicas and one member LEAVING, a write needs 3 of 3 that serve.
    #[default]
    Extended,
    /// The replication factor, however many were selected: with 3 replicas 2 of 3 that serve. A write that was
    /// extended past a member may then miss a read that was not, while that member has not handed its keys over.
    Configured,
}

/// How many replicas of one key are asked for, and how many must succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct GetOptions {
    /// How many must succeed. Default a quorum.
    pub require: Require,
    /// Of what a quorum is more than half. Default all that were selected.
    pub base: QuorumBase,
    /// More replicas than the ring is configured for. Default as many as those; fewer are refused. Where zones count it
    /// is a multiple of those, and each zone has so many times more. Whoever reads what was written so has to ask
    /// with the same number: a quorum of fewer need not meet it. More are not precomputed: such a lookup walks.
    pub replication_factor: Option<NonZeroU8>,
}

impl From<Require> for GetOptions {
    fn from(require: Require) -> Self {
        Self { require, ..Self::default() }
    }
}

/// The members that serve an operation on one key, in the order the walk from the key met them.
#[derive(Clone)]
pub struct ReplicationSet<'r> {
    ring: &'r Ring,
    healthy: Members,
    selected: usize,
    needed: usize,
}

impl<'r> ReplicationSet<'r> {
    /// Judges a selection of which only `healthy` are left.
    #[inline]
    pub(crate) fn new(
        ring: &'r Ring,
        healthy: Members,
        selected: usize,
        needed: usize,
    ) -> Result<Self, Error> {
        if healthy.len() < needed {
            return Err(Error::TooManyUnhealthy { needed, found: healthy.len() });
        }
        Ok(Self { ring, healthy, selected, needed })
    }

    /// The healthy members, the key's owner first if it is one of them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &'r Instance> + '_ {
        self.healthy.iter().map(|&member| &**self.ring.instance_at(member))
    }

    /// How many healthy members there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a set that exists is not empty")]
    #[inline]
    pub fn len(&self) -> usize {
        self.healthy.len()
    }

    /// Whether the instance `id` is one of them.
    pub fn contains(&self, id: &str) -> bool {
        self.iter().any(|instance| &*instance.id == id)
    }

    /// Successes that are required.
    pub fn needed(&self) -> usize {
        self.needed
    }

    /// How many of the healthy members may fail.
    pub fn max_errors(&self) -> usize {
        self.healthy.len() - self.needed
    }

    /// How many members were selected before the unhealthy ones were dropped; above the replication
    /// factor if the set was extended, below it if there are too few instances or zones.
    pub fn selected(&self) -> usize {
        self.selected
    }

    pub(crate) fn ring(&self) -> &'r Ring {
        self.ring
    }

    pub(crate) fn members(&self) -> &[u16] {
        &self.healthy
    }
}

impl fmt::Debug for ReplicationSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<&str> = self.iter().map(|instance| &*instance.id).collect();
        f.debug_struct("ReplicationSet")
            .field("ids", &ids)
            .field("selected", &self.selected)
            .field("needed", &self.needed)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn required_successes_follow_the_selection_and_never_fall_below_a_majority() {
        // (replication factor, selected) -> one, quorum, all
        let cases = [
            ((1, 1), [1, 1, 1]),
            ((2, 2), [1, 2, 2]),
            ((3, 3), [1, 2, 3]),
            ((3, 2), [1, 2, 3]),
            ((3, 4), [1, 3, 3]),
            ((3, 6), [1, 4, 4]),
            ((5, 5), [1, 3, 5]),
        ];
        for ((factor, selected), expected) in cases {
            let found = [Require::One, Require::Quorum, Require::All]
                .map(|r| r.needed(QuorumBase::Extended, factor, selected));
            assert_eq!(found, expected, "{factor} replicas, {selected} selected");
            let configured = Require::Quorum.needed(QuorumBase::Configured, factor, selected);
            assert_eq!(configured, factor / 2 + 1);
        }
    }

    #[test]
    fn a_requirement_is_parsed_from_what_it_prints() {
        for require in [Require::One, Require::Quorum, Require::All] {
            assert_eq!(require.to_string().parse(), Ok(require));
        }
        assert_eq!("most".parse::<Require>(), Err(ParseRequireError));
    }
}
