//! A breaker per endpoint, in bounded memory.
//!
//! G1: one key has one breaker at a time, and never more than `max_breakers` exist.
//! G2: evicted is only a breaker that nobody holds and that a new one would not differ from: closed, without
//! failures, and stable. What an endpoint has done is not forgotten by being crowded out.
//! G3: of the breakers known, no more reject than [`Registry::with_max_open`] permits (K1).

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
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
    /// Under which breakers are made, and how many have been.
    policy: Mutex<(Arc<Policy>, u32)>,
    crowd: Option<Arc<Crowd>>,
    max_breakers: usize,
    clock: C,
    observe: Option<Arc<Observe<K>>>,
    entries: RwLock<BTreeMap<K, Entry<C>>>,
    /// Counts lookups, to know the least recently used.
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
        let policy = Mutex::new((Arc::new(Policy::try_from(options)?), 0));
        let (entries, lookups) = (RwLock::new(BTreeMap::new()), AtomicU64::new(0));
        Ok(Self { policy, crowd: None, max_breakers, clock, observe: None, entries, lookups })
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
        let breaker = self.make(&key);
        entries.insert(key, Entry { breaker: breaker.clone(), used: AtomicU64::new(used) });
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
        let entry = self.entries.write().remove(key)?;
        entry.breaker.leave();
        Some(entry.breaker)
    }

    /// Goes by `options` from here on, with the breakers that there are ([`Breaker::reconfigure`]) and those that
    /// will be made.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range; then nothing has changed.
    pub fn reconfigure(&self, options: Options) -> Result<(), OptionsError> {
        let policy = Arc::new(Policy::try_from(options)?);
        // Not while breakers are being made: each goes by the old policy and is told of this one, or by this one.
        let entries = self.entries.write();
        self.policy.lock().0 = Arc::clone(&policy);
        let breakers: Vec<_> = entries.values().map(|entry| entry.breaker.clone()).collect();
        drop(entries);
        breakers.iter().for_each(|breaker| breaker.go_by(Arc::clone(&policy)));
        Ok(())
    }

    /// Shows every breaker to `visit`, in the order of the keys, under the lock: nothing else of the registry may
    /// be called.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &Breaker<C>)) {
        self.entries.read().iter().for_each(|(key, entry)| visit(key, &entry.breaker));
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

    fn make(&self, key: &K) -> Breaker<C>
    where
        K: Clone + Send + Sync + 'static,
    {
        let observer = self.observe.clone().map(|observe| {
            let key = key.clone();
            Box::new(move |transition| observe(&key, transition)) as Box<dyn Observer>
        });
        // Endpoints that fail at the same instant shall not be probed at the same instant: each has its number.
        let (policy, number) = {
            let mut made = self.policy.lock();
            made.1 = made.1.wrapping_add(1);
            (Arc::clone(&made.0), made.1)
        };
        let seat = self.crowd.clone().map(|crowd| Seat::join(crowd, number));
        let attached = Attached::new(&policy, observer, seat);
        Breaker::from_policy(policy, number, self.clock.clone(), attached)
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
