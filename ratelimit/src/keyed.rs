//! Many buckets, one per key: each with its own quota that may change while it runs, in bounded memory.
//!
//! K1: never more than `max_keys` buckets are held.
//! K2: only a full bucket is evicted, and under its quota a full bucket cannot be told from a new one: no debt
//! is forgotten. (A key that comes back under a larger burst than it left with comes back with all of that.)
//! K3: within a shard time never goes back, so a thread that read the clock early mints nothing.
//! K4: a known key is looked up, charged and refused without an allocation; a new key is stored only when it
//! was admitted.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::bucket::Bucket;
use crate::decision::{Bound, Denied, RetryAfter, Snapshot};
use crate::limiter::monotonic_ns;
use crate::quota::Quota;

mod permit;
mod shard;

pub use permit::KeyedPermit;
use permit::Source;
use shard::Shard;

/// How many keys, and what happens beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedOptions {
    /// Most buckets held at once; 1,048,576 by default. A bucket takes 72 bytes and the key. Too few,
    /// and keys in debt shut new ones out; keys whose bucket is full never do.
    pub max_keys: usize,
    /// What happens to a new key when every key looked at is in use; by default it is refused.
    pub over_cap: OverCap,
    /// Locks the keys are spread over, rounded up to a power of two, at most 1,024; 16 by default. More let
    /// more threads in at once, at 56 bytes each.
    pub shards: usize,
}

impl Default for KeyedOptions {
    fn default() -> Self {
        Self { max_keys: 1 << 20, over_cap: OverCap::DenyNew, shards: 16 }
    }
}

/// What happens to a new key when the table is full of keys that are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OverCap {
    /// It is refused, with [`Bound::Keys`] and the time after which a slot may be free.
    #[default]
    DenyNew,
    /// It shares one bucket of this quota with all others in its place, until a slot is free. Its own quota
    /// needs a slot to be counted and holds for the size of each request only: so this quota bounds what all
    /// of them pass together, and what a single one of them passes. Choose it no larger than one key may have.
    Shared(Quota),
}

/// A limiter per key.
///
/// The quota comes with every call, from wherever the caller keeps it; a changed one is in force from that
/// call on, and the tokens and debts stay. In every window of length `t` a key is admitted at most
/// `burst + ⌊rate·t⌋` tokens, evicted or not (plus the part of one oversize request beyond the burst, plus what
/// is given back in the window). A key without a slot is held to the quota of [`OverCap::Shared`] instead.
///
/// ```
/// use forebay_ratelimit::{Keyed, Quota, Rate};
///
/// let tenants: Keyed<String> = Keyed::new(Default::default());
/// let quota = Quota::new(Rate::per_second(1_000), 50);
/// assert!(tenants.try_acquire("blue", 50, quota).is_ok());
/// assert!(tenants.try_acquire("blue", 50, quota).is_err());
/// assert!(tenants.try_acquire("green", 50, quota).is_ok());
/// assert_eq!(tenants.len(), 2);
/// ```
pub struct Keyed<K, C = fn() -> u64, S = RandomState> {
    shards: Box<[Mutex<Shard<K>>]>,
    overflow: Option<Mutex<Bucket>>,
    /// Buckets held in all shards, and slots reserved for those about to be.
    held: AtomicUsize,
    max_keys: usize,
    clock: C,
    hasher: S,
}

impl<K: Eq + Hash> Keyed<K> {
    /// No keys yet, on the system's monotonic clock.
    pub fn new(options: KeyedOptions) -> Self {
        Self::with_clock(options, monotonic_ns)
    }
}

impl<K: Eq + Hash, C: Fn() -> u64> Keyed<K, C> {
    /// No keys yet, on a clock of the caller's: monotonic nanoseconds since whenever.
    pub fn with_clock(options: KeyedOptions, clock: C) -> Self {
        Self::with_hasher(options, clock, RandomState::default())
    }
}

impl<K: Eq + Hash, C: Fn() -> u64, S: BuildHasher> Keyed<K, C, S> {
    /// No keys yet, on a clock and a hasher of the caller's: a seeded hasher makes the order of eviction
    /// repeatable, and should be unknown to whoever chooses the keys.
    pub fn with_hasher(options: KeyedOptions, clock: C, hasher: S) -> Self {
        let KeyedOptions { max_keys, over_cap, shards } = options;
        let shards = shards.clamp(1, 1_024).next_power_of_two();
        let overflow = match over_cap {
            OverCap::DenyNew => None,
            OverCap::Shared(quota) => Some(Mutex::new(Bucket::full(quota, clock()))),
        };
        let shards = (0..shards).map(|_| Mutex::default()).collect();
        Self { shards, overflow, held: AtomicUsize::new(0), max_keys, clock, hasher }
    }

    /// Takes `tokens` from the bucket of `key` if they may pass now under `quota`, which is in force for the
    /// key from here on. Dropping the permit keeps them taken.
    ///
    /// A known key costs one lock and no allocation. A new one is cloned into the table if it was admitted; if
    /// the table is full, up to 512 slots are looked at for a full bucket to evict.
    ///
    /// # Errors
    /// [`Denied`], which tells the bound and the wait; nothing was taken and no new key was stored.
    pub fn try_acquire<'a, Q>(
        &'a self,
        key: &'a Q,
        tokens: u64,
        quota: Quota,
    ) -> Result<KeyedPermit<'a, K, Q, C, S>, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let source = self.take(key, tokens, quota.clamped())?;
        Ok(KeyedPermit::new(self, key, tokens, source))
    }

    /// [`try_acquire`](Self::try_acquire) for those who neither give tokens back nor want to know why not.
    pub fn allow<Q>(&self, key: &Q, tokens: u64, quota: Quota) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        self.take(key, tokens, quota.clamped()).is_ok()
    }

    /// Gives tokens back to the bucket of `key`, which is never fuller than full. An unknown key is full.
    /// It is the caller's care not to give back more than was taken; a [`KeyedPermit`] cannot.
    pub fn release<Q>(&self, key: &Q, tokens: u64)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let now_ns = (self.clock)();
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).lock();
        let now_ns = shard.advance(now_ns);
        if let Some(bucket) = shard.find(hash, key) {
            bucket.release(now_ns, tokens);
        }
    }

    /// The bucket of `key` now, if one is held; a key without bucket is full.
    pub fn peek<Q>(&self, key: &Q) -> Option<Snapshot>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let now_ns = (self.clock)();
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).lock();
        let now_ns = shard.advance(now_ns);
        shard.find(hash, key).map(|bucket| bucket.peek(now_ns))
    }

    /// Buckets held. Exact when no other thread is adding or evicting.
    pub fn len(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether no bucket is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most buckets held at once.
    pub fn max_keys(&self) -> usize {
        self.max_keys
    }

    /// Evicts every full bucket and returns how many they were: memory for keys that come back later, at no
    /// change of any decision. Looks at every bucket, one shard at a time.
    pub fn evict_full(&self) -> usize {
        self.retain(|_, bucket| !bucket.is_full())
    }

    /// Forgets every key that `keep` does not want and returns how many they were. A bucket that is forgotten
    /// in debt comes back full. Looks at every bucket, one shard at a time, which `keep` must not ask again.
    pub fn retain(&self, mut keep: impl FnMut(&K, Snapshot) -> bool) -> usize {
        let mut gone = 0;
        for shard in &self.shards {
            let now_ns = (self.clock)();
            let mut shard = shard.lock();
            let now_ns = shard.advance(now_ns);
            let forgotten = shard.retain(|key, bucket| keep(key, bucket.peek(now_ns)), &self.hasher);
            self.held.fetch_sub(forgotten, Ordering::Relaxed);
            gone += forgotten;
        }
        gone
    }

    fn take<Q>(&self, key: &Q, tokens: u64, quota: Quota) -> Result<Source, Denied>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        let now_ns = (self.clock)();
        let hash = self.hasher.hash_one(key);
        let mut reserved = false;
        loop {
            let mut shard = self.shard(hash).lock();
            let now_ns = shard.advance(now_ns);
            if quota.rate.is_unlimited() {
                // Nothing to count; and should the key be limited again, it starts full.
                self.unreserve(usize::from(reserved) + usize::from(shard.remove(hash, key)));
                return Ok(Source::Nothing);
            }
            if let Some(bucket) = shard.find(hash, key) {
                self.unreserve(usize::from(reserved));
                if bucket.quota() != quota {
                    bucket.reconfigure(now_ns, quota);
                }
                return bucket.try_acquire(now_ns, tokens).map(|()| Source::Own);
            }
            let mut bucket = Bucket::full(quota, now_ns);
            let verdict = bucket.try_acquire(now_ns, tokens);
            if verdict.is_err() || tokens == 0 {
                self.unreserve(usize::from(reserved));
                return verdict.map(|()| Source::Nothing);
            }
            if reserved || self.reserve() {
                shard.insert(hash, key.to_owned(), bucket, &self.hasher);
                return Ok(Source::Own);
            }
            drop(shard);
            match self.make_room(hash, now_ns) {
                Ok(()) => reserved = true,
                Err(free_at_ns) => return self.overflow(tokens, quota, now_ns, free_at_ns),
            }
        }
    }

    /// One more slot, unless all are taken.
    fn reserve(&self) -> bool {
        let more = |held: usize| (held < self.max_keys).then(|| held + 1);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn unreserve(&self, slots: usize) {
        if slots > 0 {
            self.held.fetch_sub(slots, Ordering::Relaxed);
        }
    }

    /// Evicts a full bucket, and leaves its slot to the caller. Looks at a bounded number of slots, beginning
    /// in the shard of `hash`, one lock at a time; a clock hand in each shard remembers how far it came.
    /// Failing that, returns when the first of the buckets it saw will be full.
    fn make_room(&self, hash: u64, now_ns: u64) -> Result<(), Option<u64>> {
        let mut budget = 512;
        let mut free_at_ns = None;
        let own = self.index(hash);
        let (before, from_own) = self.shards.split_at(own);
        for shard in from_own.iter().chain(before) {
            let mut shard = shard.lock();
            let now_ns = shard.advance(now_ns);
            if shard.evict_one(now_ns, &mut budget, &mut free_at_ns) {
                return Ok(());
            }
            if budget == 0 {
                break;
            }
        }
        Err(free_at_ns)
    }

    /// The fate of a new key that was admitted but has no slot.
    #[cold]
    fn overflow(
        &self,
        tokens: u64,
        quota: Quota,
        now_ns: u64,
        free_at_ns: Option<u64>,
    ) -> Result<Source, Denied> {
        if let Some(bucket) = &self.overflow {
            return bucket.lock().try_acquire(now_ns, tokens).map(|()| Source::Shared);
        }
        let wait = free_at_ns.map(|at_ns| Duration::from_nanos(at_ns.saturating_sub(now_ns)));
        Err(Denied {
            requested: tokens,
            available: 0,
            rate: quota.rate,
            burst: quota.burst,
            bound: Bound::Keys,
            retry_after: wait.map_or(RetryAfter::Never, RetryAfter::After),
        })
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard<K>> {
        self.shards.get(self.index(hash)).expect("the index is masked by the number of shards")
    }

    /// From bits that the shard's own table uses neither for its index nor for its tags.
    fn index(&self, hash: u64) -> usize {
        usize::from(u16::try_from(hash >> 40 & 0xffff).expect("masked")) & (self.shards.len() - 1)
    }
}

impl<K, C, S> fmt::Debug for Keyed<K, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed")
            .field("len", &self.held.load(Ordering::Relaxed))
            .field("max_keys", &self.max_keys)
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_takes_the_bytes_that_its_option_says() {
        assert_eq!(size_of::<Mutex<Shard<String>>>(), 56);
    }
}
