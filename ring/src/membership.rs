//! The replicated map of members. Invariant: merging is commutative, associative and idempotent, so
//! observers that heard the same records in any order, however often, hold the same map.
//!
//! Liveness is not part of the records: an observer notes on its own clock when it last heard something
//! new, so no other machine's clock can make an instance look alive, or make it immortal.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::instance::{Instance, State};
use crate::token::TokenSet;

/// Every instance this observer has heard of, by id.
///
/// ```
/// use forebay_ring::{Instance, Membership};
///
/// let (mut here, mut there) = (Membership::default(), Membership::default());
/// here.observe(Instance::new("a", "10.0.0.1:9095"), 0);
/// there.observe(Instance::new("b", "10.0.0.2:9095"), 0);
///
/// let news = here.merge(&there, 1_000);
/// assert_eq!(news.len(), 1);
/// assert_eq!(here.member("b").unwrap().heard_ns, 1_000);
/// assert!(here.merge(&there, 2_000).is_empty());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Membership {
    members: BTreeMap<Arc<str>, Member>,
}

/// An instance's newest record and when this observer heard the last sign of life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The record that won all merges so far.
    pub instance: Arc<Instance>,
    /// When its version last rose: monotonic nanoseconds of this observer's clock. Never replicated.
    pub heard_ns: u64,
}

impl Membership {
    /// Takes one record; tells whether it replaced what was known, and should be passed on.
    ///
    /// A higher version is a sign of life at `now_ns`, and so is the first record of an instance: who
    /// was dead before the observer started looks alive until the heartbeat timeout. O(log members).
    pub fn observe(&mut self, instance: impl Into<Arc<Instance>>, now_ns: u64) -> bool {
        let instance = instance.into();
        match self.members.entry(Arc::clone(&instance.id)) {
            Entry::Vacant(entry) => {
                entry.insert(Member { instance, heard_ns: now_ns });
                true
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                if instance.precedence() <= known.instance.precedence() {
                    return false;
                }
                if instance.version > known.instance.version {
                    known.heard_ns = now_ns.max(known.heard_ns);
                }
                known.instance = instance;
                true
            }
        }
    }

    /// Takes all records of `other`; returns those that were news here, to be passed on.
    /// O(other · log members).
    pub fn merge(&mut self, other: &Membership, now_ns: u64) -> Vec<Arc<Instance>> {
        let records = other.members.values().map(|member| &member.instance);
        records.filter(|record| self.observe(Arc::clone(record), now_ns)).cloned().collect()
    }

    /// Drops the records of instances that are LEFT and were last heard of before `heard_before_ns`;
    /// returns how many. Keep tombstones for longer than an old record may still travel.
    pub fn drop_tombstones(&mut self, heard_before_ns: u64) -> usize {
        let before = self.members.len();
        self.members
            .retain(|_, member| member.instance.state != State::Left || member.heard_ns >= heard_before_ns);
        before - self.members.len()
    }

    /// What is known of the instance `id`, a tombstone included.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// All members by ascending id, tombstones included.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// How many there are, tombstones included.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether nothing was heard of anyone.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The tokens of all instances that are not LEFT: what a new one has to avoid.
    pub fn tokens(&self) -> TokenSet {
        self.present().flat_map(|member| member.instance.tokens.iter().copied()).collect()
    }

    /// All but the tombstones, by ascending id.
    pub(crate) fn present(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.instance.state != State::Left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::Version;

    fn at(sequence: u64, state: State) -> Instance {
        Instance { state, version: Version { incarnation: 1, sequence }, ..Instance::new("a", "addr") }
    }

    #[test]
    fn only_a_higher_version_is_a_sign_of_life() {
        let mut members = Membership::default();
        assert!(members.observe(at(5, State::Active), 100));
        assert!(!members.observe(at(5, State::Active), 200), "the same record again");
        assert!(!members.observe(at(4, State::Active), 200), "an older record");
        assert_eq!(members.member("a").unwrap().heard_ns, 100);
        assert!(members.observe(at(6, State::Active), 300));
        assert_eq!(members.member("a").unwrap().heard_ns, 300);
    }

    #[test]
    fn a_record_at_the_highest_version_can_still_be_buried_and_proves_no_life() {
        let highest = |state| Instance {
            version: Version { incarnation: u64::MAX, sequence: u64::MAX },
            ..at(0, state)
        };
        let mut members = Membership::default();
        members.observe(highest(State::Active), 100);
        assert!(members.observe(highest(State::Left), 200));
        assert!(!members.observe(highest(State::Active), 300));
        let member = members.member("a").unwrap();
        assert_eq!((member.instance.state, member.heard_ns), (State::Left, 100));
    }

    #[test]
    fn a_tombstone_keeps_older_records_out_until_it_is_dropped() {
        let mut members = Membership::default();
        members.observe(at(9, State::Left), 100);
        assert!(!members.observe(at(8, State::Active), 150));
        assert_eq!(members.drop_tombstones(100), 0);
        assert_eq!(members.drop_tombstones(101), 1);
        assert!(members.is_empty());
    }

    #[test]
    fn tokens_of_those_who_left_are_free_again() {
        let mut members = Membership::default();
        members.observe(Instance { tokens: vec![2, 1].into(), ..Instance::new("a", "") }, 0);
        let left = Instance { tokens: vec![3].into(), state: State::Left, ..Instance::new("b", "") };
        members.observe(left, 0);
        assert_eq!(*members.tokens(), [1, 2]);
    }
}
