//! The replicated map of members. Invariant: as long as it is not full, merging is commutative, associative and
//! idempotent, so observers that heard the same records in any order, however often, hold the same map.
//!
//! Liveness is not part of the records: an observer notes on its own clock when it last heard something
//! new, so no other machine's clock can make an instance look alive, or make it immortal.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::instance::{Instance, State};
use crate::ring::Ring;
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
    /// Tokens of all members, tombstones included.
    tokens: usize,
}

/// There is no room for one more instance, or for its tokens. The record was not taken; look for who announces
/// so many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room beside {members} members with {tokens} tokens")]
pub struct MembershipFull {
    /// Members known, tombstones included.
    pub members: usize,
    /// Tokens they have.
    pub tokens: usize,
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
    /// Members are bounded, tombstones included: as many instances as a ring holds, and as many that left.
    pub const MAX_MEMBERS: usize = 2 * Ring::MAX_INSTANCES;

    /// Tokens are bounded, those of tombstones included.
    pub const MAX_TOKENS: usize = 2 * Ring::MAX_TOKENS;

    /// Takes one record; tells whether it replaced what was known, and should be passed on. One that there is
    /// no room for is dropped: [`try_observe`](Self::try_observe) tells.
    ///
    /// A higher version is a sign of life at `now_ns`, and so is the first record of an instance: who
    /// was dead before the observer started looks alive until the heartbeat timeout. O(log members), and
    /// O(tokens) if the record's tokens were not cloned from the known ones.
    pub fn observe(&mut self, instance: impl Into<Arc<Instance>>, now_ns: u64) -> bool {
        self.try_observe(instance, now_ns).unwrap_or(false)
    }

    /// As [`observe`](Self::observe), and tells if there is no room.
    ///
    /// # Errors
    ///
    /// If the record would bring more than [`MAX_MEMBERS`](Self::MAX_MEMBERS) members or
    /// [`MAX_TOKENS`](Self::MAX_TOKENS) tokens. What is known stays as it is.
    pub fn try_observe(
        &mut self,
        instance: impl Into<Arc<Instance>>,
        now_ns: u64,
    ) -> Result<bool, MembershipFull> {
        let mut instance = instance.into();
        let full = MembershipFull { members: self.members.len(), tokens: self.tokens };
        let tokens = |known: usize| {
            let tokens = self.tokens - known + instance.tokens.len();
            if tokens > Self::MAX_TOKENS { Err(full) } else { Ok(tokens) }
        };
        match self.members.entry(Arc::clone(&instance.id)) {
            Entry::Vacant(entry) => {
                if full.members >= Self::MAX_MEMBERS {
                    return Err(full);
                }
                self.tokens = tokens(0)?;
                entry.insert(Member { instance, heard_ns: now_ns });
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                if instance.precedence() <= known.instance.precedence() {
                    return Ok(false);
                }
                self.tokens = tokens(known.instance.tokens.len())?;
                if instance.version > known.instance.version {
                    known.heard_ns = now_ns.max(known.heard_ns);
                }
                // Decoded anew, equal tokens are another copy: with one, rings see at once that none changed.
                let tokens = &known.instance.tokens;
                if !instance.tokens.is(tokens) && instance.tokens == *tokens {
                    Arc::make_mut(&mut instance).tokens = tokens.clone();
                }
                known.instance = instance;
            }
        }
        Ok(true)
    }

    /// Forgets what is known of the instance `id`, as if it had never been heard of. Not for one that is gone,
    /// whose old records may still travel: observe that it is LEFT.
    pub fn remove(&mut self, id: &str) -> Option<Member> {
        let member = self.members.remove(id)?;
        self.tokens -= member.instance.tokens.len();
        Some(member)
    }

    /// Takes all records of `other`; returns those that were news here, to be passed on.
    /// O(other · log members).
    pub fn merge(&mut self, other: &Membership, now_ns: u64) -> Vec<Arc<Instance>> {
        let records = other.members.values().map(|member| &member.instance);
        records.filter(|record| self.observe(Arc::clone(record), now_ns)).cloned().collect()
    }

    /// Drops the records of instances that are LEFT and were last heard of before `heard_before_ns`;
    /// returns how many.
    ///
    /// Keep tombstones for longer than the longest partition and the heartbeat timeout together. A record that
    /// comes back after that, from an observer that was away for longer, is taken as new: the instance is in the
    /// ring again, looks alive for one heartbeat timeout, then dead, and has to be forgotten once more.
    pub fn drop_tombstones(&mut self, heard_before_ns: u64) -> usize {
        let before = self.members.len();
        self.members.retain(|_, member| {
            let keep = member.instance.state != State::Left || member.heard_ns >= heard_before_ns;
            if !keep {
                self.tokens -= member.instance.tokens.len();
            }
            keep
        });
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
    use crate::operation::Operation;
    use crate::ring::Options;

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
    fn a_record_from_before_a_tombstone_that_was_dropped_too_early_looks_alive_for_one_timeout() {
        let mut members = Membership::default();
        members.observe(at(9, State::Left), 100);
        assert_eq!(members.drop_tombstones(101), 1);
        // From an observer that was cut off all the while.
        assert!(members.observe(Instance { tokens: vec![1].into(), ..at(8, State::Active) }, 200));
        let options = Options::default();
        let timeout_ns = u64::try_from(options.heartbeat_timeout.as_nanos()).unwrap();
        let is_alive =
            |now_ns| Ring::build(&options, &members, now_ns).unwrap().is_healthy("a", Operation::WRITE);
        assert!(is_alive(200 + timeout_ns) && !is_alive(201 + timeout_ns));
        // And then it is forgotten once more, at the version that came back.
        assert!(members.observe(at(9, State::Left), 300));
    }

    #[test]
    fn a_heartbeat_with_equal_tokens_keeps_the_copy_that_was_there() {
        let mut members = Membership::default();
        let with =
            |sequence, tokens: Vec<u32>| Instance { tokens: tokens.into(), ..at(sequence, State::Active) };
        members.observe(with(1, vec![1, 2]), 0);
        let known = members.member("a").unwrap().instance.tokens.clone();
        members.observe(with(2, vec![1, 2]), 0);
        assert!(members.member("a").unwrap().instance.tokens.is(&known));
        members.observe(with(3, vec![1, 3]), 0);
        assert_eq!(*members.member("a").unwrap().instance.tokens, [1, 3]);
    }

    #[test]
    fn members_and_tokens_are_bounded_and_known_ones_go_on() {
        let mut members = Membership::default();
        for number in 0..Membership::MAX_MEMBERS {
            assert!(members.observe(Instance::new(number.to_string(), ""), 0));
        }
        let full = MembershipFull { members: Membership::MAX_MEMBERS, tokens: 0 };
        assert_eq!(members.try_observe(at(1, State::Active), 0), Err(full));
        let heartbeat = Instance { version: Version::default().next(), ..Instance::new("7", "") };
        assert_eq!(members.try_observe(heartbeat, 9), Ok(true));
        assert!(members.remove("8").is_some());
        assert_eq!(members.try_observe(at(1, State::Active), 0), Ok(true));
    }

    #[test]
    fn tokens_are_bounded_over_every_way_they_come_and_go() {
        let tokens: TokenSet = (0..1 << 20).collect();
        let with = |id: &str, sequence, state| Instance {
            tokens: tokens.clone(),
            id: id.into(),
            ..at(sequence, state)
        };
        let mut members = Membership::default();
        for number in 1..128 {
            members.observe(with(&number.to_string(), 1, State::Active), 0);
        }
        members.observe(with("b", 1, State::Left), 0);
        let full = MembershipFull { members: 128, tokens: Membership::MAX_TOKENS };
        let one_more = Instance { tokens: vec![7].into(), ..Instance::new("c", "") };
        assert_eq!(members.try_observe(one_more.clone(), 0), Err(full));
        assert_eq!(members.try_observe(with("1", 2, State::Active), 0), Ok(true), "no more than before");
        assert_eq!(members.drop_tombstones(1), 1);
        assert_eq!(members.try_observe(with("b", 1, State::Active), 0), Ok(true));
        assert_eq!(members.try_observe(one_more.clone(), 0), Err(full));
        members.remove("b");
        assert_eq!(members.try_observe(one_more, 0), Ok(true));
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
