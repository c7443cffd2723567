//! A breaker per endpoint, in bounded memory.
//!
//! G1: one key has one breaker at a time, and never more than `max_breakers` exist.
//! G2: evicted is only a breaker that nobody holds and that a new one would not differ from: closed, without
//! failures, and stable. What an endpoint has done is not forgotten by being crowded out.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use crate::breaker::{Breaker, monotonic_ns};
use crate::machine::Snapshot;
use crate::observer::{Observer, Transition};
use crate::options::{Options, OptionsError, Policy};

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
    policy: Policy,
    max_breakers: usize,
    clock: C,
    observe: Option<Arc<Observe<K>>>,
    entries: RwLock<BTreeMap<K, Entry<C>>>,
    /// Counts lookups, to know the least recently used; breakers made, to tell their chances apart.
    lookups: AtomicU64,
}

type Observe<K> = dyn Fn(&K, Transition) + Send + Sync;

struct Entry<C> {
    breaker: Breaker<C>,
    used: AtomicU64,
}

/// Every breaker is held by somebody, or has something to remember.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("registry is full: none of {max_breakers} circuit breakers is closed and idle")]
pub struct RegistryFull {
    /// The bound that was met.
    pub max_breakers: usize,
}

impl<K: Ord> Registry<K> {
    /// No breakers yet, on the system's monotonic clock.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range.
    pub fn new(options: Options, max_breakers: usize) -> Result<Self, OptionsError> {
        Self::with_clock(options, max_breakers, monotonic_ns)
    }
}

impl<K: Ord, C: Fn() -> u64 + Clone> Registry<K, C> {
    /// No breakers yet; each gets a clone of the caller's clock: monotonic nanoseconds since whenever.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range.
    pub fn with_clock(options: Options, max_breakers: usize, clock: C) -> Result<Self, OptionsError> {
        let policy = Policy::try_from(options)?;
        let entries = RwLock::new(BTreeMap::new());
        Ok(Self { policy, max_breakers, clock, observe: None, entries, lookups: AtomicU64::new(0) })
    }

    /// Tells `observe` of the transitions of every breaker made from here on; see [`Observer`].
    #[must_use]
    pub fn with_observer(mut self, observe: impl Fn(&K, Transition) + Send + Sync + 'static) -> Self {
        self.observe = Some(Arc::new(observe));
        self
    }

    /// The breaker of `key`, made if there is none. Keep the handle if calls are frequent: a lookup takes a
    /// lock and `O(log n)` comparisons; making room looks at every breaker.
    ///
    /// # Errors
    /// [`RegistryFull`] if there are `max_breakers` already and none can be evicted. To call without a breaker
    /// or not at all is the caller's choice.
    pub fn get<Q>(&self, key: &Q) -> Result<Breaker<C>, RegistryFull>
    where
        K: Borrow<Q> + Clone + Send + Sync + 'static,
        Q: Ord + ToOwned<Owned = K> + ?Sized,
    {
        let used = self.lookups.fetch_add(1, Ordering::Relaxed);
        if let Some(entry) = self.entries.read().get(key) {
            entry.used.fetch_max(used, Ordering::Relaxed);
            return Ok(entry.breaker.clone());
        }
        let mut entries = self.entries.write();
        if let Some(entry) = entries.get(key) {
            return Ok(entry.breaker.clone());
        }
        if entries.len() >= self.max_breakers && !self.evict_one(&mut entries) {
            return Err(RegistryFull { max_breakers: self.max_breakers });
        }
        let key = key.to_owned();
        let breaker = self.make(&key, used);
        entries.insert(key, Entry { breaker: breaker.clone(), used: AtomicU64::new(used) });
        Ok(breaker)
    }

    /// Forgets the breaker of `key` and returns it. Those who hold a handle keep a breaker that the registry
    /// does not know; the next [`get`](Self::get) makes another.
    pub fn remove<Q>(&self, key: &Q) -> Option<Breaker<C>>
    where
        K: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.entries.write().remove(key).map(|entry| entry.breaker)
    }

    /// Every key with its breaker at this moment, in the order of the keys.
    pub fn snapshots(&self) -> Vec<(K, Snapshot)>
    where
        K: Clone,
    {
        let entries = self.entries.read();
        entries.iter().map(|(key, entry)| (key.clone(), entry.breaker.snapshot())).collect()
    }

    /// Breakers held.
    pub fn len(&self) -> usize {
        self.entries.read().len()
    }

    /// Whether there is no breaker.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The most breakers held at once.
    pub fn max_breakers(&self) -> usize {
        self.max_breakers
    }

    fn make(&self, key: &K, number: u64) -> Breaker<C>
    where
        K: Clone + Send + Sync + 'static,
    {
        let observer = self.observe.clone().map(|observe| {
            let key = key.clone();
            Box::new(move |transition| observe(&key, transition)) as Box<dyn Observer>
        });
        // Endpoints that fail at the same instant shall not be probed at the same instant.
        let policy = Policy { backoff: self.policy.backoff.reseeded(number), ..self.policy };
        Breaker::from_policy(policy, self.clock.clone(), observer)
    }

    /// Removes the least recently used of the breakers that may go. The caller's lock keeps others from
    /// getting hold of one meanwhile.
    fn evict_one(&self, entries: &mut BTreeMap<K, Entry<C>>) -> bool {
        let now_ns = (self.clock)();
        let replaceable = |entry: &Entry<C>| entry.breaker.is_replaceable(now_ns);
        let Some(oldest) = entries
            .values()
            .filter(|entry| replaceable(entry))
            .map(|entry| entry.used.load(Ordering::Relaxed))
            .min()
        else {
            return false;
        };
        entries.retain(|_, entry| *entry.used.get_mut() != oldest);
        true
    }
}

impl<K, C> fmt::Debug for Registry<K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("len", &self.entries.read().len())
            .field("max_breakers", &self.max_breakers)
            .finish_non_exhaustive()
    }
}
