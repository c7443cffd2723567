//! Some of the keys, under one lock.
//!
//! Its clock is the latest instant anybody brought in: whoever read the clock and then waited for the lock
//! must not take the bucket back in time (K3).

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

use crate::bucket::Bucket;

pub(super) struct Shard<K> {
    table: HashTable<Entry<K>>,
    latest_ns: u64,
    /// The next slot of the table that eviction looks at.
    hand: usize,
}

struct Entry<K> {
    key: K,
    bucket: Bucket,
}

impl<K> Default for Shard<K> {
    fn default() -> Self {
        Self { table: HashTable::new(), latest_ns: 0, hand: 0 }
    }
}

impl<K: Eq + Hash> Shard<K> {
    /// The caller's `now_ns`, or a later one that another caller brought in.
    pub(super) fn advance(&mut self, now_ns: u64) -> u64 {
        self.latest_ns = self.latest_ns.max(now_ns);
        self.latest_ns
    }

    pub(super) fn find<Q>(&mut self, hash: u64, key: &Q) -> Option<&mut Bucket>
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.table.find_mut(hash, |entry| entry.key.borrow() == key).map(|entry| &mut entry.bucket)
    }

    /// `key` is not in the table.
    pub(super) fn insert(&mut self, hash: u64, key: K, bucket: Bucket, hasher: &impl BuildHasher) {
        self.table.insert_unique(hash, Entry { key, bucket }, |entry| hasher.hash_one(&entry.key));
    }

    /// Whether `key` was in the table.
    pub(super) fn remove<Q>(&mut self, hash: u64, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        match self.table.find_entry(hash, |entry| entry.key.borrow() == key) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// Removes what `keep` does not want, returns how many that was, and gives memory back if most went.
    pub(super) fn retain(
        &mut self,
        mut keep: impl FnMut(&K, &Bucket) -> bool,
        hasher: &impl BuildHasher,
    ) -> usize {
        let before = self.table.len();
        self.table.retain(|entry| keep(&entry.key, &entry.bucket));
        let held = self.table.len();
        if held < self.table.capacity() / 4 {
            // Half stays free, so that a table that breathes does not grow and shrink with every breath.
            self.table.shrink_to(held * 2, |entry| hasher.hash_one(&entry.key));
        }
        before - held
    }

    /// Removes one full bucket if the hand meets one before it has gone round or the `budget` of slots is
    /// spent. Otherwise `free_at_ns` becomes the first instant at which a bucket it met will be full.
    pub(super) fn evict_one(
        &mut self,
        now_ns: u64,
        budget: &mut usize,
        free_at_ns: &mut Option<u64>,
    ) -> bool {
        let slots = self.table.num_buckets();
        for _ in 0..slots.min(*budget) {
            *budget -= 1;
            self.hand = if self.hand + 1 < slots { self.hand + 1 } else { 0 };
            let Ok(entry) = self.table.get_bucket_entry(self.hand) else { continue };
            let bucket = &entry.get().bucket;
            if bucket.is_full(now_ns) {
                entry.remove();
                return true;
            }
            *free_at_ns = [*free_at_ns, bucket.full_at_ns()].into_iter().flatten().min();
        }
        false
    }
}
