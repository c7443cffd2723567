//! A hash table in which a search seldom leaves one page of memory, and that is never much larger than what is
//! in it. At a million keys time goes into memory that is in no cache, so this decides the speed.
//!
//! Eight slots and their tags lie together in a group. The groups are ordered by hash: the home of a key is its
//! hash scaled to their number, and a key whose home is full goes to the next group with a vacant slot. Each
//! group counts those that passed it, so that a search knows where to end and a removal leaves no tombstone
//! (the overflow counts of Bronson and Shi, "Open-sourcing F14 for faster, more memory-efficient hash tables",
//! 2019). Any number of groups will do, so a table grows by a quarter and is two thirds full at least.
//!
//! Invariants: a tag is zero iff its slot is vacant; `passed` of a group counts the values whose home is before
//! it or at it, and whose place is behind it; at most 7 of 8 slots are taken.

use std::iter;

pub(super) struct Table<T> {
    groups: Vec<Group<T>>,
    len: usize,
}

struct Group<T> {
    tags: [u8; SLOTS],
    passed: u32,
    slots: [Option<T>; SLOTS],
}

/// Slots of a group.
pub(super) const SLOTS: usize = 8;

impl<T> Table<T> {
    pub(super) const fn new() -> Self {
        Self { groups: Vec::new(), len: 0 }
    }

    /// Slots, taken or vacant.
    pub(super) fn slots(&self) -> usize {
        self.groups.len() * SLOTS
    }

    /// The slot of the value with this hash that `is_it`.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut is_it: impl FnMut(&T) -> bool) -> Option<usize> {
        let tag = tag(hash);
        for place in self.path(hash) {
            let group = self.groups.get(place)?;
            let mut matches = group.matches(tag);
            while matches != 0 {
                let slot = (matches.trailing_zeros() / u8::BITS) as usize;
                if group.slots.get(slot)?.as_ref().is_some_and(&mut is_it) {
                    return Some(place * SLOTS + slot);
                }
                matches &= matches - 1;
            }
            if group.passed == 0 {
                return None;
            }
        }
        None
    }

    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<&T> {
        self.groups.get(slot / SLOTS)?.slots.get(slot % SLOTS)?.as_ref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.groups.get_mut(slot / SLOTS)?.slots.get_mut(slot % SLOTS)?.as_mut()
    }

    /// Puts a value in that is not there, and returns its slot. `hash_of` is asked about all others when the
    /// table has to grow.
    pub(super) fn insert(&mut self, hash: u64, value: T, hash_of: impl Fn(&T) -> u64) -> usize {
        if (self.len + 1) * 8 > self.slots() * 7 {
            self.resize(self.groups.len() + self.groups.len() / 4 + 1, hash_of);
        }
        self.place(hash, value)
    }

    /// Takes the value out of its slot; `hash` is its hash.
    pub(super) fn remove(&mut self, slot: usize, hash: u64) -> Option<T> {
        let end = slot / SLOTS;
        let group = self.groups.get_mut(end)?;
        let value = group.slots.get_mut(slot % SLOTS)?.take()?;
        *group.tags.get_mut(slot % SLOTS)? = 0;
        self.len -= 1;
        for place in self.path(hash).take_while(|&place| place != end) {
            self.groups.get_mut(place).expect("a path leads through groups").passed -= 1;
        }
        Some(value)
    }

    /// Gives memory back if less than a quarter of it is in use. Half stays free, so that a table that breathes
    /// does not grow and shrink with every breath.
    pub(super) fn shrink(&mut self, hash_of: impl Fn(&T) -> u64) {
        if self.len < self.slots() / 4 {
            self.resize((self.len * 2).div_ceil(SLOTS), hash_of);
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.groups.iter_mut().flat_map(|group| &mut group.slots).flatten()
    }

    /// Groups that values lie behind their homes, in sum.
    #[cfg(test)]
    pub(super) fn displaced(&self) -> u64 {
        self.groups.iter().map(|group| u64::from(group.passed)).sum()
    }

    fn resize(&mut self, groups: usize, hash_of: impl Fn(&T) -> u64) {
        let mut new = Vec::with_capacity(groups);
        new.resize_with(groups, Group::vacant);
        let old = std::mem::replace(&mut self.groups, new);
        self.len = 0;
        for value in old.into_iter().flat_map(|group| group.slots).flatten() {
            self.place(hash_of(&value), value);
        }
    }

    /// There is a vacant slot.
    fn place(&mut self, hash: u64, value: T) -> usize {
        for place in self.path(hash) {
            let group = self.groups.get_mut(place).expect("a path leads through groups");
            let vacant = group.slots.iter().position(Option::is_none);
            if let Some((slot, (tag_place, slot_place))) =
                vacant.and_then(|slot| Some((slot, group.tags.get_mut(slot).zip(group.slots.get_mut(slot))?)))
            {
                *tag_place = tag(hash);
                *slot_place = Some(value);
                self.len += 1;
                return place * SLOTS + slot;
            }
            group.passed += 1;
        }
        unreachable!("one slot of eight is vacant")
    }

    /// The groups in which a value with this hash may be, from its home on, once round.
    #[inline]
    fn path(&self, hash: u64) -> impl Iterator<Item = usize> + use<T> {
        let groups = self.groups.len();
        let low = hash & u64::from(u32::MAX);
        // Below `groups`, and the order of hashes is that of the groups.
        let home = usize::try_from((low * groups as u64) >> u32::BITS).unwrap_or(0);
        let mut next = home;
        let following = iter::from_fn(move || {
            next = if next + 1 < groups { next + 1 } else { 0 };
            (next != home).then_some(next)
        });
        iter::once(home).chain(following)
    }
}

impl<T> Group<T> {
    fn vacant() -> Self {
        Self { tags: [0; SLOTS], passed: 0, slots: [const { None }; SLOTS] }
    }

    /// A bit in the byte of every slot whose tag this is, and rarely one of another.
    #[inline]
    fn matches(&self, tag: u8) -> u64 {
        const ONES: u64 = u64::MAX / 0xff;
        let differences = u64::from_le_bytes(self.tags) ^ (ONES * u64::from(tag));
        differences.wrapping_sub(ONES) & !differences & (ONES << 7)
    }
}

/// Bits that neither the home nor the shard of a key depends on.
#[inline]
fn tag(hash: u64) -> u8 {
    let [.., highest] = hash.to_le_bytes();
    highest.max(1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Where a hasher is bad: few homes, few tags, and a lot at the end of the table.
    fn poor(key: u16) -> u64 {
        let low = if key.is_multiple_of(3) { u32::MAX - u32::from(key % 5) } else { u32::from(key) << 21 };
        u64::from(key % 4) << 56 | u64::from(low)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_table_is_a_map_however_poor_the_hashes(
            steps in prop::collection::vec((0..300_u16, any::<u32>(), 0..10_u8), 1..1_200),
        ) {
            let mut table: Table<(u16, u32)> = Table::new();
            let mut map = HashMap::new();
            for (key, value, choice) in steps {
                let found = table.find(poor(key), |&(other, _)| other == key);
                prop_assert_eq!(found.and_then(|slot| table.get(slot)).copied(), map.get(&key).copied());
                match (choice, found) {
                    (0, _) => table.shrink(|&(key, _)| poor(key)),
                    (1..4, Some(slot)) => {
                        prop_assert_eq!(table.remove(slot, poor(key)), map.remove(&key));
                    }
                    (_, Some(slot)) => {
                        table.get_mut(slot).unwrap().1 = value;
                        map.insert(key, (key, value));
                    }
                    (_, None) => {
                        let slot = table.insert(poor(key), (key, value), |&(key, _)| poor(key));
                        prop_assert_eq!(table.get(slot), Some(&(key, value)));
                        map.insert(key, (key, value));
                    }
                }
                prop_assert_eq!((table.len, table.iter_mut().count()), (map.len(), map.len()));
                prop_assert!(table.slots() * 7 >= table.len * 8);
            }
            for slot in 0..table.slots() {
                if let Some(&(key, _)) = table.get(slot) {
                    table.remove(slot, poor(key));
                }
            }
            prop_assert!(table.groups.iter().all(|group| group.passed == 0 && group.tags == [0; SLOTS]));
        }
    }

    #[test]
    fn a_table_that_only_grew_is_two_thirds_full_at_least() {
        let mut table = Table::new();
        let hash = |&key: &u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_right(32);
        for key in 0..20_000 {
            table.insert(hash(&key), key, hash);
            assert!(key < 100 || table.slots() * 2 <= table.len * 3, "{} of {}", table.len, table.slots());
        }
    }
}
