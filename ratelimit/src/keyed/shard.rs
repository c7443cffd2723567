//! Some of the keys, under one lock.
//!
//! Its clock is the latest instant anybody brought in (K3).

use std::hash::{BuildHasher, Hash};

use super::away::Bucket;
use super::class::{Account, Charge, ClassId, Classes};
use super::lookup::Lookup;
use super::table::{SLOTS, Table};
use crate::clock::Latest;
use crate::decision::{Denied, Snapshot};
use crate::quota::{Inherit, Quota};

pub(super) struct Shard<K> {
    entries: Table<Entry<K>>,
    classes: Classes,
    latest: Latest,
    hand: Hand,
}

pub(super) struct Entry<K> {
    key: K,
    account: Account,
}

/// What a look around for a slot came to.
pub(super) enum Search {
    Evicted,
    /// When the first of the buckets it saw will be full, unless that is never.
    InUse(Option<u64>),
}

/// Where eviction looks next: at the groups in turn, in each beginning with another slot every round.
///
/// A hand that finds what it looks for goes on to the next group, so that each loses one key a round. Were it to
/// empty a group first, the table would be empty behind it and overfull before it.
#[derive(Clone, Copy, Debug, Default)]
struct Hand {
    steps: usize,
}

impl Hand {
    /// The slots of the next group.
    fn next(&mut self, slots: usize) -> impl Iterator<Item = usize> + use<> {
        let groups = (slots / SLOTS).max(1);
        let (first, group) = (self.steps / groups, self.steps % groups);
        self.steps = self.steps.wrapping_add(1);
        (0..SLOTS).map(move |place| group * SLOTS + first.wrapping_add(place) % SLOTS)
    }
}

/// How far a look at everything has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sweep {
    next: usize,
    slots: usize,
    done: bool,
}

impl Sweep {
    pub(super) fn is_done(&self) -> bool {
        self.done
    }
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self {
            entries: Table::new(),
            classes: Classes::default(),
            latest: Latest::default(),
            hand: Hand::default(),
        }
    }
}

impl<K: Eq + Hash> Shard<K> {
    /// The caller's `now_ns`, or a later one that another caller brought in.
    pub(super) fn advance(&mut self, now_ns: u64) -> u64 {
        self.latest.advance(now_ns)
    }

    /// What a look at everything looks at.
    pub(super) fn slots(&self) -> usize {
        self.entries.slots()
    }

    /// Where `key` is, if it is held; valid until an entry is removed.
    #[inline]
    pub(super) fn find<Q: Lookup<K> + ?Sized>(&self, hash: u64, key: &Q) -> Option<usize> {
        self.entries.find(hash, |entry| key.finds(&entry.key))
    }

    /// Whether `tokens` were taken from the entry that was [found](Self::find).
    #[inline]
    pub(super) fn charge(&mut self, entry: usize, quota: Quota, now_ns: u64, tokens: u64) -> bool {
        loop {
            let entry = self.entries.get_mut(entry).expect(FOUND);
            match self.classes.charge(&mut entry.account, quota, now_ns, tokens) {
                Charge::Taken => return true,
                Charge::Short => return false,
                Charge::Due(class) => self.turn(class, now_ns),
            }
        }
    }

    pub(super) fn refusal(&self, entry: usize, now_ns: u64, tokens: u64) -> Denied {
        self.classes.refusal(&self.entries.get(entry).expect(FOUND).account, now_ns, tokens)
    }

    /// Puts `quota` in force.
    pub(super) fn inherit(&mut self, entry: usize, quota: Quota, now_ns: u64, inherit: Inherit) {
        loop {
            let entry = self.entries.get_mut(entry).expect(FOUND);
            match self.classes.inherit(&mut entry.account, quota, now_ns, inherit) {
                Ok(()) => return,
                Err(due) => self.turn(due, now_ns),
            }
        }
    }

    pub(super) fn give_back(&mut self, entry: usize, now_ns: u64, tokens: u64) {
        let entry = self.entries.get_mut(entry).expect(FOUND);
        self.classes.give_back(&mut entry.account, now_ns, tokens);
    }

    /// A copy of the bucket.
    pub(super) fn bucket(&self, entry: usize) -> Bucket {
        self.classes.bucket(&self.entries.get(entry).expect(FOUND).account)
    }

    pub(super) fn peek(&self, entry: usize, now_ns: u64) -> Snapshot {
        self.classes.peek(&self.entries.get(entry).expect(FOUND).account, now_ns)
    }

    /// Stores `key`, which is not held, with its `former` bucket or a full one, and returns where it is.
    pub(super) fn insert(
        &mut self,
        (hash, key): (u64, K),
        quota: Quota,
        (now_ns, former): (u64, Option<Bucket>),
        hasher: &impl BuildHasher,
    ) -> usize {
        let account = loop {
            match self.classes.open(quota, now_ns, former) {
                Ok(account) => break account,
                Err(due) => self.turn(due, now_ns),
            }
        };
        self.entries.insert(hash, Entry { key, account }, |entry| hasher.hash_one(&entry.key))
    }

    /// Removes the entry that was found, and returns the hash of its key.
    pub(super) fn remove(&mut self, entry: usize, hasher: &impl BuildHasher) -> u64 {
        let hash = hasher.hash_one(&self.entries.get(entry).expect(FOUND).key);
        let removed = self.entries.remove(entry, hash).expect(FOUND);
        self.classes.close(removed.account);
        hash
    }

    /// Removes of the next `at_once` slots what `keep` does not want, and says `gone` of each. At the end memory is
    /// given back if most went.
    pub(super) fn retain(
        &mut self,
        now_ns: u64,
        sweep: &mut Sweep,
        at_once: usize,
        mut keep: impl FnMut(&K, Snapshot) -> bool,
        mut gone: impl FnMut(),
        hasher: &impl BuildHasher,
    ) {
        let slots = self.entries.slots();
        if sweep.slots != slots {
            // Another number of groups: all have moved.
            (sweep.next, sweep.slots) = (0, slots);
        }
        let end = slots.min(sweep.next.saturating_add(at_once));
        for slot in sweep.next..end {
            let Some(entry) = self.entries.get(slot) else { continue };
            if !keep(&entry.key, self.classes.peek(&entry.account, now_ns)) {
                self.remove(slot, hasher);
                gone();
            }
        }
        sweep.next = end;
        if end == slots {
            sweep.done = true;
            self.entries.shrink(|entry| hasher.hash_one(&entry.key));
        }
    }

    /// Removes one full bucket if the hand meets one before it has gone round or the `budget` of slots is
    /// spent. When the others will be full takes a division each, and is worked out only for those who `wonder`.
    pub(super) fn evict_full(
        &mut self,
        now_ns: u64,
        budget: &mut usize,
        wonder: bool,
        hasher: &impl BuildHasher,
    ) -> Search {
        let mut free_at_ns = None;
        let slots = self.entries.slots();
        for _ in 0..slots.min(*budget).div_ceil(SLOTS) {
            *budget = budget.saturating_sub(SLOTS);
            for slot in self.hand.next(slots) {
                let Some(Entry { account, .. }) = self.entries.get(slot) else { continue };
                if self.classes.is_full(account, now_ns) {
                    self.remove(slot, hasher);
                    return Search::Evicted;
                }
                if wonder {
                    free_at_ns = [free_at_ns, self.classes.full_at_ns(account)].into_iter().flatten().min();
                }
            }
        }
        Search::InUse(free_at_ns)
    }

    /// Removes the bucket that will be full soonest among the next `budget` slots, and returns it with the hash
    /// of its key. Never removes one that will never be full.
    pub(super) fn evict_soonest(
        &mut self,
        budget: usize,
        hasher: &impl BuildHasher,
    ) -> Option<(u64, Bucket)> {
        let mut soonest: Option<(u64, usize, Bucket)> = None;
        let slots = self.entries.slots();
        for slot in (0..slots.min(budget).div_ceil(SLOTS)).flat_map(|_| self.hand.next(slots)) {
            let Some(Entry { account, .. }) = self.entries.get(slot) else { continue };
            let Some(full_at_ns) = self.classes.full_at_ns(account) else { continue };
            if soonest.is_none_or(|(earliest_ns, ..)| full_at_ns < earliest_ns) {
                soonest = Some((full_at_ns, slot, self.classes.bucket(account)));
            }
        }
        soonest.map(|(_, slot, bucket)| (self.remove(slot, hasher), bucket))
    }

    /// Once per 2^61 tokens of a rate: 266 days at 100 GB/s.
    #[cold]
    fn turn(&mut self, class: ClassId, now_ns: u64) {
        for entry in self.entries.iter_mut() {
            self.classes.reach(class, &mut entry.account, now_ns);
        }
        self.classes.turn(class, now_ns);
    }
}

const FOUND: &str = "found under this very lock";

#[cfg(test)]
mod tests {
    use super::super::Name;
    use super::*;

    #[test]
    fn a_key_takes_the_bytes_that_its_option_says() {
        assert_eq!((size_of::<Option<Entry<Name>>>(), size_of::<Option<Entry<u64>>>()), (40, 24));
    }

    #[test]
    fn the_hand_comes_to_every_slot_once_in_a_round() {
        for groups in [1, 2, 3, 10, 97] {
            let mut hand = Hand::default();
            let mut seen: Vec<usize> = (0..groups).flat_map(|_| hand.next(groups * SLOTS)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..groups * SLOTS));
        }
    }

    /// Once a mistake: the hand went from slot to slot, and the table before it was so full that a search went
    /// through half of it.
    #[test]
    fn a_shard_at_its_cap_keeps_its_searches_short_for_ever() {
        let hasher = foldhash::fast::FixedState::default();
        let quota = Quota::new(crate::rate::Rate::per_second(1_000_000_000), 1);
        let mut shard = Shard::default();
        for key in 0..40_000_u64 {
            if key >= 2_000 {
                let mut budget = 64;
                assert!(matches!(shard.evict_full(key, &mut budget, false, &hasher), Search::Evicted));
            }
            shard.insert((hasher.hash_one(key), key), quota, (key, None), &hasher);
        }
        let displaced = shard.entries.displaced();
        assert!(displaced < 2_000, "{displaced} groups passed by 2,000 keys");
    }
}
