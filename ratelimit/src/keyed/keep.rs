//! What is kept of keys, and which of them.

use std::hash::{BuildHasher, Hash};

use super::shard::Sweep;
use super::{Keyed, LOOKED_AT_ONCE, Lookup};
use crate::decision::Snapshot;
use crate::quota::{Inherit, Quota};

impl<K: Eq + Hash, C: Fn() -> u64, S: BuildHasher> Keyed<K, C, S> {
    /// Puts `quota` in force for `key` with a say in what becomes of its tokens and debt; a quota that merely comes
    /// with a request keeps them [as they are](Inherit::AsIs). Of a key that has no bucket there is nothing to say.
    pub fn reconfigure_with<Q>(&self, key: &Q, quota: Quota, inherit: Inherit)
    where
        Q: Lookup<K> + ?Sized,
    {
        let quota = quota.clamped();
        if quota.rate.is_unlimited() {
            self.forget(key);
            return;
        }
        let now_ns = (self.clock)();
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).lock();
        let now_ns = shard.advance(now_ns);
        if let Some(entry) = shard.find(hash, key) {
            shard.inherit(entry, quota, now_ns, inherit);
        } else if let Some(away) = self.away() {
            away.inherit(hash, quota, now_ns, inherit);
        }
    }

    /// Forgets the bucket of `key`: of a tenant that is gone, or to be forgiven. Returns whether it was held. In
    /// debt or not, the key comes back full, unless it went before the last 1,024 that had to go in debt.
    pub fn forget<Q>(&self, key: &Q) -> bool
    where
        Q: Lookup<K> + ?Sized,
    {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).lock();
        self.away().inspect(|away| away.forget(hash));
        let held = shard.find(hash, key);
        if let Some(entry) = held {
            shard.remove(entry, &self.hasher);
            self.unreserve(1);
        }
        held.is_some()
    }

    /// Evicts every full bucket and returns how many they were: memory for keys that come back later, at no
    /// change of any decision. Looks at every bucket, 64 slots under one lock at a time.
    pub fn evict_full(&self) -> usize {
        self.retain(|_, bucket| !bucket.is_full())
    }

    /// Forgets every key that `keep` does not want and returns how many they were. A bucket that is forgotten
    /// in debt comes back full. Looks at every bucket, 64 slots under one lock at a time, and goes round the
    /// shards meanwhile, so that no request waits for more than that (but for a table that is less than a
    /// quarter full in the end, and is made smaller). `keep` must not ask the table again, and is asked twice
    /// about the keys of a shard that grows meanwhile.
    pub fn retain(&self, mut keep: impl FnMut(&K, Snapshot) -> bool) -> usize {
        let mut gone = 0;
        let mut pending: Vec<_> = self.shards.iter().map(|shard| (shard, Sweep::default())).collect();
        while !pending.is_empty() {
            pending.retain_mut(|(shard, sweep)| {
                let now_ns = (self.clock)();
                let mut shard = shard.lock();
                let now_ns = shard.advance(now_ns);
                let one_gone = || {
                    // One by one: `keep` may panic at the next.
                    self.unreserve(1);
                    gone += 1;
                };
                shard.retain(now_ns, sweep, LOOKED_AT_ONCE, &mut keep, one_gone, &self.hasher);
                !sweep.is_done()
            });
        }
        gone
    }
}
