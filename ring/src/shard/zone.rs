//! The members of one zone as a sharder sees them, and whom it has chosen so far.

use std::fmt;

use smallvec::SmallVec;

use super::Lookback;
use crate::ring::{self, Ring};
use crate::token::Token;

/// What a member is to a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may be chosen, and is then one of those wanted.
    Counts,
    /// It joined, or its read-only flag changed, within the lookback: it may have been in the shard or not. It is added
    /// where it is met, and the choice goes on as if it were not there.
    Beside,
    /// It is read-only, and has been for all of the lookback.
    Out,
}

/// The members of a zone that own tokens, or of the whole ring if zones do not count.
pub struct Zone<'r> {
    ring: &'r Ring,
    number: u16,
    members: &'r [u16],
    /// Since when a change matters, nanoseconds since 1970.
    since_ns: Option<i64>,
}

impl<'r> Zone<'r> {
    pub(super) fn new(ring: &'r Ring, number: u16, zone: &'r ring::Zone, lookback: Option<Lookback>) -> Self {
        Self { ring, number, members: &zone.members, since_ns: lookback.map(Lookback::since_ns) }
    }

    /// The numbers of its members, ascending.
    #[inline]
    pub fn members(&self) -> &'r [u16] {
        self.members
    }

    /// What a member is to the shard. O(1).
    #[inline]
    pub fn standing(&self, member: u16) -> Standing {
        standing(self.ring, member, self.since_ns)
    }

    /// Those that registered within the lookback and had been in the ring before: with which tokens, and in which zone,
    /// nothing tells any more.
    pub(super) fn came_back(&self) -> impl Iterator<Item = u16> + '_ {
        let since_ns = self.since_ns;
        let members = since_ns.map_or(&[][..], |_| self.members).iter().copied();
        members.filter(move |&member| {
            let instance = self.ring.instance_at(member);
            instance.version.incarnation > 1
                && since_ns.is_some_and(|since| instance.registered_at_ns >= since)
        })
    }

    /// A hash of the member's id, the same in every snapshot.
    #[inline]
    pub fn id_hash(&self, member: u16) -> u64 {
        self.ring.topology().zones().id_hash(member)
    }

    /// The owners of the tokens of *all* zones from the first after `key` on, at most `most` of them.
    #[inline]
    pub(super) fn owners_after(&self, key: Token, most: usize) -> impl Iterator<Item = u16> + 'r {
        self.ring.topology().owners_from(key).take(most)
    }

    #[inline]
    pub(super) fn is_mine(&self, member: u16) -> bool {
        self.ring.topology().zones().zone_of(member) == self.number
    }

    /// How far the member's first token after `key` is from it.
    pub(super) fn distance(&self, key: Token, member: u16) -> Option<u32> {
        let first = self.ring.topology().owned()[usize::from(member)].first_after(key)?;
        Some(key.distance_to(first))
    }
}

#[inline]
fn standing(ring: &Ring, member: u16, since_ns: Option<i64>) -> Standing {
    let read_only = ring.is_read_only(member);
    match since_ns {
        None if read_only => Standing::Out,
        None => Standing::Counts,
        Some(since_ns) => {
            let instance = ring.instance_at(member);
            let changed = instance.read_only.changed_at_ns;
            // A stamp of 0 says that it never changed.
            if instance.registered_at_ns >= since_ns || (changed != 0 && changed >= since_ns) {
                Standing::Beside
            } else if read_only {
                Standing::Out
            } else {
                Standing::Counts
            }
        }
    }
}

/// Those that own no token here, of whom it is not known that they hold nothing: their tokens may not have been heard
/// of yet, or be another's by now.
pub(super) fn without_tokens(ring: &Ring, lookback: Lookback) -> impl Iterator<Item = u16> + '_ {
    let since_ns = Some(lookback.since_ns());
    let members = (0..).zip(ring.instances()).map(|(member, _)| member);
    members
        .filter(move |&member| !ring.has_tokens(member) && standing(ring, member, since_ns) != Standing::Out)
}

/// Whom sharders have chosen so far.
#[derive(Debug, Default)]
pub struct Chosen {
    members: SmallVec<[u16; 32]>,
    /// Where those of the current zone begin.
    zone: usize,
    /// Those of the current zone again, one bit each, once they are many.
    bits: Vec<u64>,
}

/// More than so many are looked up in a set instead of one by one.
const MANY: usize = 32;

impl Chosen {
    pub(super) fn begin_zone(&mut self) {
        self.zone = self.members.len();
        self.bits.clear();
    }

    /// Whether a member of the current zone was chosen.
    #[inline]
    pub fn contains(&self, member: u16) -> bool {
        if self.bits.is_empty() {
            return self.members[self.zone..].contains(&member);
        }
        let word = self.bits.get(usize::from(member / 64));
        word.is_some_and(|word| word >> (member % 64) & 1 == 1)
    }

    /// Chooses a member of the current zone that was not chosen yet.
    pub fn add(&mut self, member: u16) {
        self.members.push(member);
        if self.members.len() - self.zone <= MANY {
            return;
        }
        let from = if self.bits.is_empty() { self.zone } else { self.members.len() - 1 };
        for &member in &self.members[from..] {
            let word = usize::from(member / 64);
            if word >= self.bits.len() {
                self.bits.resize(word + 1, 0);
            }
            self.bits[word] |= 1 << (member % 64);
        }
    }

    pub(super) fn sorted(mut self) -> SmallVec<[u16; 32]> {
        self.members.sort_unstable();
        self.members
    }
}

impl fmt::Debug for Zone<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zone")
            .field("members", &self.members.len())
            .field("since_ns", &self.since_ns)
            .finish_non_exhaustive()
    }
}
