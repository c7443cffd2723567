//! The active streams of each tenant, counted and limited.
//! Invariant: a tenant's count is the number of its streams that are here, at any moment and from any thread;
//! it grows only while it is below the limit of that moment, and a refused stream leaves nothing behind.
//!
//! Streams lie in 64 shards by tenant and stream, so one busy tenant does not queue at one lock. What
//! a tenant's shards share is one counter. Lock order: a shard, then the list of tenants. A tenant is in a
//! shard only while it has streams there, hence its counter is above zero, hence it is in the list.

use std::fmt;
use std::hash::BuildHasher;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};
use parking_lot::{Mutex, RwLock};

/// Locks that streams are spread over.
const SHARDS: usize = 64;

/// Counts active streams and refuses new ones over a limit.
///
/// A stream is named by a hash of its labels. About 24 bytes for each; a tenant without streams is forgotten.
///
/// ```
/// use std::num::NonZeroUsize;
/// use forebay_tenant::{Admission, Streams};
///
/// let streams = Streams::new();
/// let one = NonZeroUsize::new(1);
/// assert_eq!(streams.admit("team-a", 0xfeed, 0, one), Admission::New);
/// assert_eq!(streams.admit("team-a", 0xfeed, 1_000, one), Admission::Known);
/// assert_eq!(streams.admit("team-a", 0xbeef, 2_000, one), Admission::Refused { active: 1, limit: 1 });
/// assert_eq!(streams.expire(5_000), 1);
/// assert_eq!(streams.active("team-a"), 0);
/// ```
pub struct Streams {
    hasher: RandomState,
    shards: Box<[Mutex<HashTable<Held>>]>,
    tenants: RwLock<HashTable<Arc<Tenant>>>,
}

/// What became of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Admission {
    /// It was active already; the limit does not matter to it.
    Known,
    /// It is active now.
    New,
    /// It is not active: the tenant has as many as it may.
    Refused {
        /// Streams the tenant has.
        active: usize,
        /// Streams it may have.
        limit: usize,
    },
}

struct Tenant {
    name: Box<str>,
    active: AtomicUsize,
}

/// A tenant's streams in one shard, each with the time it was last seen; never empty.
struct Held {
    tenant: Arc<Tenant>,
    streams: HashMap<u64, u64, RandomState>,
}

impl Streams {
    /// No streams.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            tenants: RwLock::default(),
        }
    }

    /// Notes that a stream was seen at `now_ns`, and makes it active if it is new and `limit` allows.
    ///
    /// Streams that are active stay so above a limit that was lowered. O(1); allocates only for new streams.
    pub fn admit(&self, tenant: &str, stream: u64, now_ns: u64, limit: Option<NonZeroUsize>) -> Admission {
        let hash = self.hasher.hash_one(tenant);
        let mut shard = self.shard(hash, stream).lock();
        if let Some(held) = shard.find_mut(hash, |held| *held.tenant.name == *tenant) {
            if let Some(seen_ns) = held.streams.get_mut(&stream) {
                *seen_ns = now_ns.max(*seen_ns);
                return Admission::Known;
            }
            if let Err(refused) = held.tenant.reserve(limit) {
                return refused;
            }
            held.streams.insert(stream, now_ns);
            return Admission::New;
        }
        match self.reserve(hash, tenant, limit) {
            Err(refused) => refused,
            Ok(tenant) => {
                let streams = HashMap::from_iter([(stream, now_ns)]);
                shard.insert_unique(hash, Held { tenant, streams }, |held| self.hash(&held.tenant));
                Admission::New
            }
        }
    }

    /// Makes a stream inactive, and says whether it was active. O(1).
    pub fn remove(&self, tenant: &str, stream: u64) -> bool {
        let hash = self.hasher.hash_one(tenant);
        let mut shard = self.shard(hash, stream).lock();
        let Ok(mut entry) = shard.find_entry(hash, |held| *held.tenant.name == *tenant) else { return false };
        let held = entry.get_mut();
        if held.streams.remove(&stream).is_none() {
            return false;
        }
        let was_last = held.tenant.release(1);
        if held.streams.is_empty() {
            entry.remove();
        }
        drop(shard);
        if was_last {
            self.forget(hash, tenant);
        }
        true
    }

    /// Makes all streams inactive that were last seen before `idle_before_ns`, and says how many.
    ///
    /// O(streams), one shard after the other: others wait for a sixty-fourth of it at most.
    pub fn expire(&self, idle_before_ns: u64) -> usize {
        let mut expired = 0;
        for shard in &self.shards {
            let mut gone: Vec<Arc<Tenant>> = Vec::new();
            shard.lock().retain(|held| {
                let before = held.streams.len();
                held.streams.retain(|_, seen_ns| *seen_ns >= idle_before_ns);
                let left = held.streams.len();
                expired += before - left;
                if before > left && held.tenant.release(before - left) {
                    gone.push(Arc::clone(&held.tenant));
                }
                if held.streams.capacity() > 4 * left.max(4) {
                    held.streams.shrink_to(2 * left);
                }
                left > 0
            });
            for tenant in gone {
                self.forget(self.hash(&tenant), &tenant.name);
            }
        }
        expired
    }

    /// How many streams of a tenant are active. O(1).
    #[must_use]
    pub fn active(&self, tenant: &str) -> usize {
        let hash = self.hasher.hash_one(tenant);
        let tenants = self.tenants.read();
        tenants.find(hash, |known| *known.name == *tenant).map_or(0, |known| known.active.load(Relaxed))
    }

    /// The tenants that have active streams, with how many, in no order. O(tenants).
    #[must_use]
    pub fn tenants(&self) -> Vec<(Box<str>, usize)> {
        let tenants = self.tenants.read();
        let all = tenants.iter().map(|tenant| (tenant.name.clone(), tenant.active.load(Relaxed)));
        all.filter(|(_, active)| *active > 0).collect()
    }

    fn shard(&self, tenant_hash: u64, stream: u64) -> &Mutex<HashTable<Held>> {
        // Fibonacci hashing spreads stream hashes that are themselves counters; the top bits are the best.
        let mixed = (tenant_hash ^ stream).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let index = usize::try_from(mixed >> (64 - SHARDS.trailing_zeros())).expect("six bits fit an index");
        &self.shards[index]
    }

    fn hash(&self, tenant: &Tenant) -> u64 {
        self.hasher.hash_one(&*tenant.name)
    }

    /// Takes a place for a stream of a tenant that may not be in the list yet. The counter is raised while the
    /// list is locked, so that [`forget`](Self::forget) cannot come between.
    fn reserve(&self, hash: u64, name: &str, limit: Option<NonZeroUsize>) -> Result<Arc<Tenant>, Admission> {
        let is_it = |tenant: &Arc<Tenant>| *tenant.name == *name;
        if let Some(tenant) = self.tenants.read().find(hash, is_it) {
            return tenant.reserve(limit).map(|()| Arc::clone(tenant));
        }
        let mut tenants = self.tenants.write();
        if let Some(tenant) = tenants.find(hash, is_it) {
            return tenant.reserve(limit).map(|()| Arc::clone(tenant));
        }
        // A limit is at least one, so the first stream is never refused.
        let tenant = Arc::new(Tenant { name: name.into(), active: AtomicUsize::new(1) });
        tenants.insert_unique(hash, Arc::clone(&tenant), |tenant| self.hash(tenant));
        Ok(tenant)
    }

    /// Takes a tenant off the list, unless it has streams again.
    fn forget(&self, hash: u64, name: &str) {
        let mut tenants = self.tenants.write();
        if let Ok(entry) = tenants.find_entry(hash, |tenant| *tenant.name == *name)
            && entry.get().active.load(Relaxed) == 0
        {
            entry.remove();
        }
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("tenants", &self.tenants.read().len()).finish_non_exhaustive()
    }
}

impl Tenant {
    fn reserve(&self, limit: Option<NonZeroUsize>) -> Result<(), Admission> {
        let limit = limit.map_or(usize::MAX, NonZeroUsize::get);
        match self.active.try_update(Relaxed, Relaxed, |active| (active < limit).then_some(active + 1)) {
            Ok(_) => Ok(()),
            Err(active) => Err(Admission::Refused { active, limit }),
        }
    }

    /// Gives places back, and says whether none is taken any more.
    fn release(&self, places: usize) -> bool {
        self.active.fetch_sub(places, Relaxed) == places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between a thread that removed a tenant's last stream and takes the tenant off the list, another may
    /// have admitted a new one.
    #[test]
    fn a_tenant_that_has_streams_again_is_not_forgotten() {
        let streams = Streams::new();
        streams.admit("a", 1, 0, None);
        streams.forget(streams.hasher.hash_one("a"), "a");
        assert_eq!(streams.active("a"), 1);
        assert_eq!(
            streams.admit("a", 2, 0, NonZeroUsize::new(1)),
            Admission::Refused { active: 1, limit: 1 }
        );
    }
}
