//! A breaker per endpoint, in bounded memory.
//!
//! G1: one key has one breaker at a time, and never more than `max_breakers` exist.
//! G2: evicted is only a breaker that nobody holds, permits included, and that a new one would not differ from, or
//! that nobody has asked for, nor was seen to hold, since `reset_after`, counted from the end of its wait or round,
//! and whose windows of time hold nothing bad any more. So what an endpoint has done is not forgotten by being
//! crowded out, and endpoints that are gone do not fill the registry for ever.
//! G3: of the breakers known, no more reject than [`Registry::with_max_open`] permits (K1).

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::breaker::{Breaker, monotonic_ns};
use crate::crowd::{Crowd, Seat};
use crate::observer::{Observer, Transition};
use crate::options::{Options, OptionsError};
use crate::policy::Policy;
use crate::shared::Attached;
use crate::snapshot::Snapshot;

/// Breakers by key, made on demand with the same options.
///
/// ```
/// use forebay_circuit::{Options, Registry, State};
///
/// let stores: Registry<String> = Registry::new(Options::default(), 100)?;
/// let breaker = stores.get("eu-west")?;
/// assert!(breaker.call(|| Ok::<_, ()>("stored")).is_ok());
/// for (name, snapshot) in stores.snapshots() {
///     println!("{name} is {}", snapshot.state);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Registry<K, C = fn() -> u64> {
    /// Held for as long as breakers are told of other options: one change after the other, so that all go by the last.
    changing: Mutex<()>,
    crowd: Option<Arc<Crowd>>,
    max_breakers: usize,
    clock: C,
    observe: Option<Arc<Observe<K>>>,
    entries: RwLock<Entries<K, C>>,
    /// Counts lookups, to know the least recently used.
    lookups: AtomicU64,
}

struct Entries<K, C> {
    by_key: BTreeMap<K, Entry<C>>,
    /// The last that was looked at to make room.
    hand: Option<K>,
    /// Under which breakers are made.
    policy: Arc<Policy>,
    made: u32,
}

type Observe<K> = dyn Fn(&K, Transition) + Send + Sync;

struct Entry<C> {
    breaker: Breaker<C>,
    used: AtomicU64,
    asked_ns: AtomicU64,
}

/// Every breaker that was looked at is held by somebody, or has something to remember that is not out of date; see
/// [`Registry::get`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("registry is full: it holds {max_breakers} circuit breakers that are in use or remember failures")]
pub struct RegistryFull {
    /// The bound that was met.
    pub max_breakers: usize,
}

impl<K: Ord> Registry<K> {
    /// No breakers yet, on the system's monotonic clock.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range, or `max_breakers` if that is 0.
    pub fn new(options: Options, max_breakers: usize) -> Result<Self, OptionsError> {
        Self::with_clock(options, max_breakers, monotonic_ns)
    }
}

impl<K: Ord, C: Fn() -> u64 + Clone> Registry<K, C> {
    /// No breakers yet; each gets a clone of the caller's clock: monotonic nanoseconds since whenever.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range, or `max_breakers` if that is 0.
    pub fn with_clock(options: Options, max_breakers: usize, clock: C) -> Result<Self, OptionsError> {
        let most = u64::try_from(max_breakers).unwrap_or(u64::MAX);
        OptionsError::range("max_breakers", most, 1, u64::MAX)?;
        let policy = Arc::new(Policy::try_from(options)?);
        let entries = RwLock::new(Entries { by_key: BTreeMap::new(), hand: None, policy, made: 0 });
        let (changing, lookups) = (Mutex::new(()), AtomicU64::new(0));
        Ok(Self { changing, crowd: None, max_breakers, clock, observe: None, entries, lookups })
    }

    /// Lets no more than `permille` thousandths of the breakers reject at the same time, but one in any case. The
    /// others that open are [spared](Snapshot::spared): they say that they are open, and admit, until one of the
    /// first closes, or would admit its next call: when its wait is over, or its probes are taken for lost. For when
    /// everything seems to be down, it is often not the endpoints that are. Breakers that are forced open do not
    /// count. To be called before the first breaker is made; 1,000, no bound, by default.
    ///
    /// # Errors
    /// [`OptionsError`] if `permille` is not 1 to 1,000.
    pub fn with_max_open(mut self, permille: u32) -> Result<Self, OptionsError> {
        OptionsError::range("max_open", permille, 1, 1_000_u32)?;
        self.crowd = (permille < 1_000).then(|| Arc::new(Crowd::new(permille)));
        Ok(self)
    }

    /// Tells `observe` of the transitions of every breaker made from here on; see [`Observer`].
    #[must_use]
    pub fn with_observer(mut self, observe: impl Fn(&K, Transition) + Send + Sync + 'static) -> Self {
        self.observe = Some(Arc::new(observe));
        self
    }

    /// The breaker of `key`, made if there is none. Keep the handle if calls are frequent: a lookup reads the clock,
    /// takes a lock and `O(log n)` comparisons.
    ///
    /// In a full registry, making room looks at up to 256 breakers, those after the ones that were looked at before.
    /// Of these it evicts the least recently used that nobody holds a handle or a permit of, and that has nothing to
    /// remember; else one that nobody has asked for since [`reset_after`](Options::reset_after), counted, if it is
    /// open or half-open, from the end of its wait or round, when the next wait would be the first in any case, and
    /// whose windows of time hold no failure or slow call any more. Calls through a handle that is kept are not asked
    /// for here; that it is held is noted when it is looked at to make room. One that was forced, disabled or set to
    /// watch only is not evicted, nor one with an [`OwnedPermit`] that was leaked: [`remove`](Self::remove) those.
    ///
    /// # Errors
    /// [`RegistryFull`] if there are `max_breakers` already and none that was looked at can be evicted. To call
    /// without a breaker or not at all is the caller's choice; the next `get` looks further.
    ///
    /// [`OwnedPermit`]: crate::OwnedPermit
    pub fn get<Q>(&self, key: &Q) -> Result<Breaker<C>, RegistryFull>
    where
        K: Borrow<Q> + Clone + Send + Sync + 'static,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        let used = self.lookups.fetch_add(1, Ordering::Relaxed);
        let now_ns = (self.clock)();
        if let Some(entry) = self.entries.read().by_key.get(key) {
            return Ok(entry.ask(used, now_ns));
        }
        let mut entries = self.entries.write();
        if let Some(entry) = entries.by_key.get(key) {
            return Ok(entry.ask(used, now_ns));
        }
        if entries.by_key.len() >= self.max_breakers && !entries.evict_one(now_ns) {
            return Err(RegistryFull { max_breakers: self.max_breakers });
        }
        let key = key.to_owned();
        let breaker = self.make(&key, &mut entries);
        let entry = Entry { breaker, used: AtomicU64::new(used), asked_ns: AtomicU64::new(now_ns) };
        let breaker = entry.breaker.clone();
        entries.by_key.insert(key, entry);
        Ok(breaker)
    }

    /// Forgets the breaker of `key` and returns it. Those who hold a handle keep a breaker that the registry
    /// does not know, and that [`with_max_open`](Self::with_max_open) does not count; the next [`get`](Self::get)
    /// makes another.
    pub fn remove<Q>(&self, key: &Q) -> Option<Breaker<C>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let entry = self.entries.write().by_key.remove(key)?;
        entry.breaker.leave();
        Some(entry.breaker)
    }

    /// Goes by `options` from here on, with the breakers that there are ([`Breaker::reconfigure`]) and those that
    /// will be made. Those that there are hear of it one after the other, and lookups do not wait meanwhile.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range; then nothing has changed.
    pub fn reconfigure(&self, options: Options) -> Result<(), OptionsError> {
        let policy = Arc::new(Policy::try_from(options)?);
        let _changing = self.changing.lock();
        // Not while breakers are being made: each goes by the old policy and is told of this one, or by this one.
        let mut entries = self.entries.write();
        entries.policy = Arc::clone(&policy);
        // None is held for longer than it is told: it could not make room.
        let breakers: Vec<_> = entries.by_key.values().map(|entry| entry.breaker.downgrade()).collect();
        drop(entries);
        for breaker in breakers.iter().filter_map(Breaker::upgrade) {
            breaker.go_by(Arc::clone(&policy));
        }
        Ok(())
    }

    /// Shows every breaker to `visit`, in the order of the keys, under the lock: nothing else of the registry may
    /// be called, nor may an observer that is told of what `visit` does to a breaker.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &Breaker<C>)) {
        self.entries.read().by_key.iter().for_each(|(key, entry)| visit(key, &entry.breaker));
    }

    /// Every key with its breaker at this moment, in the order of the keys.
    pub fn snapshots(&self) -> Vec<(K, Snapshot)>
    where
        K: Clone,
    {
        let entries = self.entries.read();
        entries.by_key.iter().map(|(key, entry)| (key.clone(), entry.breaker.snapshot())).collect()
    }

    /// Breakers held.
    pub fn len(&self) -> usize {
        self.entries.read().by_key.len()
    }

    /// Whether there is no breaker.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most breakers held at once.
    pub fn max_breakers(&self) -> usize {
        self.max_breakers
    }

    fn make(&self, key: &K, entries: &mut Entries<K, C>) -> Breaker<C>
    where
        K: Clone + Send + Sync + 'static,
    {
        let observer = self.observe.clone().map(|observe| {
            let key = key.clone();
            Box::new(move |transition| observe(&key, transition)) as Box<dyn Observer>
        });
        // Endpoints that fail at the same instant shall not be probed at the same instant: each has its number.
        entries.made = entries.made.wrapping_add(1);
        let (policy, number) = (Arc::clone(&entries.policy), entries.made);
        let seat = self.crowd.clone().map(|crowd| Seat::join(crowd, number));
        let attached = Attached::new(&policy, observer, seat);
        Breaker::from_policy(policy, number, self.clock.clone(), attached)
    }
}

impl<C> Entry<C> {
    fn ask(&self, used: u64, now_ns: u64) -> Breaker<C> {
        self.used.fetch_max(used, Ordering::Relaxed);
        self.asked_ns.fetch_max(now_ns, Ordering::Relaxed);
        self.breaker.clone()
    }
}

impl<K: Ord + Clone, C: Fn() -> u64> Entries<K, C> {
    /// How many breakers one lookup looks at to make room.
    const LOOKED_AT: usize = 256;

    /// Removes the least recently used of the next breakers that may go (G2), if there is one. The caller's lock keeps
    /// others from getting hold of one meanwhile.
    fn evict_one(&mut self, now_ns: u64) -> bool {
        let after = self.hand.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut hand = None;
        let oldest = self
            .by_key
            .range((after, Bound::Unbounded))
            .chain(&self.by_key)
            .take(Self::LOOKED_AT.min(self.by_key.len()))
            .inspect(|(key, _)| hand = Some(*key))
            .filter_map(|(key, entry)| {
                if entry.breaker.is_held() {
                    entry.asked_ns.fetch_max(now_ns, Ordering::Relaxed);
                    return None;
                }
                let asked_ns = entry.asked_ns.load(Ordering::Relaxed);
                let remembers = entry.breaker.may_go(now_ns, asked_ns)?;
                Some((remembers, entry.used.load(Ordering::Relaxed), key))
            })
            .min()
            .map(|(_, _, key)| key.clone());
        self.hand = hand.cloned();
        oldest.is_some_and(|key| self.by_key.remove(&key).is_some())
    }
}

impl<K, C> fmt::Debug for Registry<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("len", &self.entries.read().by_key.len())
            .field("max_breakers", &self.max_breakers)
            .finish_non_exhaustive()
    }
}
