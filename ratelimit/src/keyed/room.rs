//! Slots for new keys: counted, and made.

use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::intent::{Explain, Wanted};
use super::permit::{Source, Taken};
use super::shard::Search;
use super::{Beyond, Keyed, LOOKED_AT_ONCE};
use crate::decision::{Bound, Denied};
use crate::quota::Quota;

/// Slots that eviction looks at for a full bucket before it gives up.
const LOOKED_AT: usize = 512;

/// A slot for a key about to be stored, free again should the caller's code panic before that.
pub(super) struct Reserved<'a>(pub(super) &'a AtomicUsize);

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<K: Eq + Hash, C: Fn() -> u64, S: BuildHasher> Keyed<K, C, S> {
    /// One more slot, unless all are taken.
    pub(super) fn reserve(&self) -> bool {
        let more = |held: usize| (held < self.max_keys).then(|| held + 1);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(super) fn unreserve(&self, slots: usize) {
        if slots > 0 {
            self.held.fetch_sub(slots, Ordering::Relaxed);
        }
    }

    /// Evicts a bucket, and leaves its slot to the caller: a full one, if there is one among a bounded number
    /// of entries, beginning in the shard of `hash`, one lock at a time; a clock hand in each shard remembers
    /// how far it came. Failing that, one in debt if that is the policy, or else returns when the first of the
    /// buckets it saw will be full.
    pub(super) fn make_room(&self, hash: u64, now_ns: u64) -> Result<(), Option<u64>> {
        let evicts_indebted = matches!(self.beyond, Beyond::Evicts(_));
        let mut budget = if evicts_indebted { LOOKED_AT_ONCE } else { LOOKED_AT };
        let mut free_at_ns = None;
        let (before, from_own) = self.shards.split_at(self.index(hash));
        for shard in from_own.iter().chain(before) {
            // A shard is looked at as a whole while others may have it in between.
            let slots = shard.lock().slots();
            for _ in 0..slots.div_ceil(LOOKED_AT_ONCE) {
                let mut at_once = budget.min(LOOKED_AT_ONCE);
                budget -= at_once;
                let mut shard = shard.lock();
                let now_ns = shard.advance(now_ns);
                let wonder = free_at_ns.is_none() && !evicts_indebted;
                match shard.evict_full(now_ns, &mut at_once, wonder, &self.hasher) {
                    Search::Evicted => return Ok(()),
                    Search::InUse(at_ns) => free_at_ns = [free_at_ns, at_ns].into_iter().flatten().min(),
                }
                budget += at_once;
                if budget == 0 {
                    break;
                }
            }
            if budget == 0 {
                break;
            }
        }
        let Beyond::Evicts(away) = &self.beyond else { return Err(free_at_ns) };
        for shard in from_own.iter().chain(before) {
            let mut shard = shard.lock();
            if let Some((hash, bucket)) = shard.evict_soonest(LOOKED_AT_ONCE, &self.hasher) {
                // Still under the lock that the key would come back under.
                away.leave(hash, bucket);
                return Ok(());
            }
        }
        Err(None)
    }

    /// The fate of a new key that was admitted but has no slot.
    #[cold]
    pub(super) fn overflow<E: Explain>(
        &self,
        wanted: Wanted,
        quota: Quota,
        now_ns: u64,
        free_at_ns: Option<u64>,
    ) -> Result<Taken, E> {
        let Wanted { most, least } = wanted;
        if let Beyond::Shared(bucket) = &self.beyond {
            let verdict = bucket.lock().acquire_up_to(now_ns, most, least);
            return verdict
                .map(|granted| Taken { granted, source: Source::Shared })
                .map_err(|denied| E::explain(|| denied));
        }
        if least == 0 {
            return Ok(Taken { granted: 0, source: Source::Nothing });
        }
        let wait_ns = free_at_ns.map(|at_ns| at_ns.saturating_sub(now_ns));
        Err(E::explain(|| Denied::new(quota, (least, 0), Bound::Keys, wait_ns)))
    }
}
