//! Many buckets, one per key: each with its own quota that may change while it runs, in bounded memory.
//!
//! K1: never more than `max_keys` buckets are held.
//! K2: a bucket that is evicted is full, and under its quota cannot be told from a new one, or it goes to those
//! that are [away], the latest of which are kept whole. (A key that was full and comes back under a larger burst
//! than it left with comes back with all of that.)
//! K3: within a shard time never goes back, so a thread that read the clock early mints nothing.
//! K4: a known key is looked up, charged and refused without an allocation; a new key is stored only when it
//! was admitted.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::fast::RandomState;
use parking_lot::Mutex;

use crate::apart::Apart;
use crate::bucket::Bucket;
use crate::clock::monotonic_ns;
use crate::decision::{Denied, Snapshot};
use crate::quota::Quota;

mod away;
mod class;
mod debts;
mod intent;
mod interned;
mod keep;
mod lookup;
mod name;
mod options;
mod permit;
mod room;
mod shard;
mod table;

use away::Away;
use class::first_charge;
use intent::Unexplained;
pub(crate) use intent::{Explain, Intent, Wanted};
pub use interned::{Interned, InternedOptions, InternedPermit, OfId};
pub use lookup::Lookup;
pub use name::Name;
pub use options::{KeyedOptions, OverCap};
pub use permit::{KeyedPermit, OfKey, OwnedKey, OwnedKeyedPermit};
pub(crate) use permit::{Source, Taken};
use room::Reserved;
use shard::Shard;

/// Slots that are looked at under one lock at a time.
const LOOKED_AT_ONCE: usize = 64;

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
    shards: Box<[Apart<Mutex<Shard<K>>>]>,
    beyond: Beyond,
    /// Buckets held in all shards, and slots reserved for those about to be.
    held: AtomicUsize,
    max_keys: usize,
    clock: C,
    hasher: S,
}

/// What [`OverCap`] needs.
enum Beyond {
    Nothing,
    Shared(Mutex<Bucket>),
    Evicts(Away),
}

impl<K: Eq + Hash> Keyed<K> {
    /// No keys yet, on the system's monotonic clock.
    pub fn new(options: KeyedOptions) -> Self {
        Self::with_clock(options, monotonic_ns)
    }
}

impl<K: Eq + Hash, C: Fn() -> u64> Keyed<K, C> {
    /// No keys yet, on a clock of the caller's: monotonic nanoseconds since whenever. One that runs ahead and comes
    /// back stands still until time has caught up, for all keys of the shards that saw it.
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
        let beyond = match over_cap {
            OverCap::DenyNew => Beyond::Nothing,
            OverCap::Shared(quota) => Beyond::Shared(Mutex::new(Bucket::full(quota, clock()))),
            OverCap::EvictIndebted => Beyond::Evicts(Away::new()),
        };
        let shards = (0..shards).map(|_| Apart::default()).collect();
        let max_keys = max_keys.min(u32::MAX as usize);
        Self { shards, beyond, held: AtomicUsize::new(0), max_keys, clock, hasher }
    }

    /// Takes `tokens` from the bucket of `key` if they may pass now under `quota`, which is in force for the
    /// key from here on. Dropping the permit keeps them taken.
    ///
    /// A known key costs one lock and no allocation (but for a quota that no key of its shard has yet). A new one
    /// is stored if it was admitted; if the table is full, up to 512 entries are looked at for a full bucket to
    /// evict, 64 under one lock.
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
        Q: Lookup<K> + ?Sized,
    {
        let taken = self.take::<_, Denied>(key, Wanted::all(tokens), quota, Intent::Take)?;
        Ok(taken.permit(|source| OfKey::new(self, key, source)))
    }

    /// [`try_acquire`](Self::try_acquire) with a permit that holds table and key instead of borrowing them.
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_owned<Q>(
        self: &Arc<Self>,
        key: Q,
        tokens: u64,
        quota: Quota,
    ) -> Result<OwnedKeyedPermit<K, Q, C, S>, Denied>
    where
        Q: Lookup<K>,
    {
        let taken = self.take::<_, Denied>(&key, Wanted::all(tokens), quota, Intent::Take)?;
        Ok(taken.permit(|source| OfKey::new(Arc::clone(self), OwnedKey(key), source)))
    }

    /// Takes as many of `tokens` as there are now, but no fewer than `least`: for work that can be done in part.
    /// [`Permit::granted`](crate::Permit::granted) says how many they are. A `least` beyond `tokens` counts as
    /// `tokens`. If nothing is there and `least` is zero, nothing is granted and no new key is stored.
    ///
    /// # Errors
    /// [`Denied`] if `least` may not pass; nothing was taken.
    pub fn acquire_up_to<'a, Q>(
        &'a self,
        key: &'a Q,
        tokens: u64,
        least: u64,
        quota: Quota,
    ) -> Result<KeyedPermit<'a, K, Q, C, S>, Denied>
    where
        Q: Lookup<K> + ?Sized,
    {
        let taken = self.take::<_, Denied>(key, Wanted::part(tokens, least), quota, Intent::Take)?;
        Ok(taken.permit(|source| OfKey::new(self, key, source)))
    }

    /// [`try_acquire`](Self::try_acquire) for those who neither give tokens back nor want to know why not.
    pub fn allow<Q>(&self, key: &Q, tokens: u64, quota: Quota) -> bool
    where
        Q: Lookup<K> + ?Sized,
    {
        self.take::<_, Unexplained>(key, Wanted::all(tokens), quota, Intent::Take).is_ok()
    }

    /// Whether `tokens` would pass now under `quota`; takes nothing and changes nothing. Whether a new key finds
    /// a slot is not looked at.
    ///
    /// # Errors
    /// [`Denied`] as by [`try_acquire`](Self::try_acquire).
    pub fn check<Q>(&self, key: &Q, tokens: u64, quota: Quota) -> Result<(), Denied>
    where
        Q: Lookup<K> + ?Sized,
    {
        let quota = quota.clamped();
        let now_ns = (self.clock)();
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).lock();
        let now_ns = shard.advance(now_ns);
        let bucket = match shard.find(hash, key) {
            Some(entry) => Some(shard.bucket(entry).under(quota, now_ns)),
            None => self.away().and_then(|away| away.look(hash, quota, now_ns)),
        };
        first_charge(quota, now_ns, bucket, tokens, |refusal| refusal())
    }

    /// Gives tokens back to the bucket of `key`, which is never fuller than full. An unknown key is full, or had
    /// to go in debt: under [`OverCap::EvictIndebted`] what comes back for one of the last 1,024 that had to is
    /// taken from what it owes, and lost if it went before those. It is the caller's care not to give back more
    /// than was taken; a [`KeyedPermit`] cannot.
    pub fn release<Q>(&self, key: &Q, tokens: u64)
    where
        Q: Lookup<K> + ?Sized,
    {
        let now_ns = (self.clock)();
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).lock();
        let now_ns = shard.advance(now_ns);
        if let Some(entry) = shard.find(hash, key) {
            shard.give_back(entry, now_ns, tokens);
        } else if let Some(away) = self.away() {
            away.give_back(hash, now_ns, tokens);
        }
    }

    /// The bucket of `key` now, if one is held; a key without bucket is full, or had to go in debt.
    pub fn peek<Q>(&self, key: &Q) -> Option<Snapshot>
    where
        Q: Lookup<K> + ?Sized,
    {
        let now_ns = (self.clock)();
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash).lock();
        let now_ns = shard.advance(now_ns);
        shard.find(hash, key).map(|entry| shard.peek(entry, now_ns))
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

    /// The one way to tokens: all others differ in what they want to know.
    pub(crate) fn take<Q, E>(&self, key: &Q, wanted: Wanted, quota: Quota, intent: Intent) -> Result<Taken, E>
    where
        Q: Lookup<K> + ?Sized,
        E: Explain,
    {
        let quota = quota.clamped();
        let now_ns = (self.clock)();
        let hash = self.hasher.hash_one(key);
        let mut reserved = false;
        loop {
            let mut shard = self.shard(hash).lock();
            let now_ns = shard.advance(now_ns);
            let found = shard.find(hash, key);
            if quota.rate.is_unlimited() {
                // Nothing to count; and should the key be limited again, it starts full.
                match found {
                    Some(entry) => drop(shard.remove(entry, &self.hasher)),
                    None => drop(self.away().inspect(|away| away.forget(hash))),
                }
                self.unreserve(usize::from(reserved) + usize::from(found.is_some()));
                return Ok(Taken { granted: wanted.most, source: Source::Nothing });
            }
            if let Some(entry) = found {
                self.unreserve(usize::from(reserved));
                let tokens = wanted.of(quota, now_ns, || Some(shard.bucket(entry).under(quota, now_ns)));
                if !shard.charge(entry, quota, now_ns, tokens) {
                    return Err(E::explain(|| shard.refusal(entry, now_ns, tokens)));
                }
                return Ok(Taken { granted: tokens, source: Source::Own });
            }
            let former = self.away().and_then(|away| away.recall(hash, quota, now_ns));
            let tokens = wanted.of(quota, now_ns, || former);
            let verdict = first_charge(quota, now_ns, former, tokens, |refusal| E::explain(refusal));
            if verdict.is_err() || tokens == 0 || intent != Intent::Take {
                self.unreserve(usize::from(reserved));
                let source = if tokens == 0 { Source::Nothing } else { Source::Unstored };
                return verdict.map(|()| Taken { granted: tokens, source });
            }
            if reserved || self.reserve() {
                let slot = Reserved(&self.held);
                let entry = shard.insert((hash, key.to_key()), quota, (now_ns, former), &self.hasher);
                mem::forget(slot);
                if shard.charge(entry, quota, now_ns, tokens) {
                    self.away().inspect(|away| away.forget(hash));
                    return Ok(Taken { granted: tokens, source: Source::Own });
                }
                // Only by the rounding of an inherited debt.
                let refusal = E::explain(|| shard.refusal(entry, now_ns, tokens));
                shard.remove(entry, &self.hasher);
                self.unreserve(1);
                return Err(refusal);
            }
            drop(shard);
            match self.make_room(hash, now_ns) {
                Ok(()) => reserved = true,
                Err(free_at_ns) => return self.overflow(wanted, quota, now_ns, free_at_ns),
            }
        }
    }

    /// Gives back what was taken there.
    pub(crate) fn put_back<Q: Lookup<K> + ?Sized>(&self, key: &Q, tokens: u64, source: Source) {
        match (source, &self.beyond) {
            (Source::Own, _) => self.release(key, tokens),
            (Source::Shared, Beyond::Shared(bucket)) => bucket.lock().release((self.clock)(), tokens),
            _ => {}
        }
    }

    /// The buckets that had to go, if any had to.
    fn away(&self) -> Option<&Away> {
        match &self.beyond {
            Beyond::Evicts(away) => Some(away),
            Beyond::Nothing | Beyond::Shared(_) => None,
        }
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
        assert_eq!(size_of::<Apart<Mutex<Shard<String>>>>(), 256);
    }
}
