//! Somebody who is told of every decision, and costs nothing where nobody is.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::time::Duration;

use crate::decision::Denied;
use crate::keyed::{Interned, InternedPermit, Keyed, KeyedPermit, Lookup};
use crate::limiter::Limiter;
use crate::multi::{Multi, MultiDenied, MultiPermit};
use crate::permit::{Permit, Release};
use crate::quota::Quota;
use crate::tree::{Exceeded, Node, Tree, TreePermit};
#[cfg(feature = "tokio")]
use crate::wait::{Queue, QueuePermit};

/// Is told of decisions as they are made, outside of every lock, on the thread that asked. `K` is the key as the
/// caller named it: `str`, `u32` for [`Interned`], `()` where there is none, the `str` that names the level of a
/// [`Tree`], the number of the bandwidth of a [`Multi`] of which each is asked for its own.
///
/// ```
/// use forebay_ratelimit::{Denied, Limiter, Observed, Observer, Quota, Rate};
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// #[derive(Default)]
/// struct Shed(AtomicU64);
///
/// impl<K: ?Sized> Observer<K> for Shed {
///     fn denied(&self, _key: &K, denied: &Denied) {
///         self.0.fetch_add(denied.requested, Ordering::Relaxed);
///     }
/// }
///
/// let limiter = Observed::new(Limiter::new(Quota::new(Rate::per_second(1), 10)), Shed::default());
/// assert!(limiter.allow(10));
/// assert!(!limiter.allow(7));
/// assert_eq!(limiter.observer().0.load(Ordering::Relaxed), 7);
/// ```
pub trait Observer<K: ?Sized = ()> {
    /// Whether anything is told at all. Where it is not, `allow` does not even work out the reasons of a
    /// refusal.
    const LISTENS: bool = true;

    /// `tokens` were taken.
    fn admitted(&self, key: &K, tokens: u64) {
        let _ = (key, tokens);
    }

    /// They were not.
    fn denied(&self, key: &K, denied: &Denied) {
        let _ = (key, denied);
    }
}

/// Nobody.
impl<K: ?Sized> Observer<K> for () {
    const LISTENS: bool = false;
}

impl<K: ?Sized, O: Observer<K> + ?Sized> Observer<K> for Arc<O> {
    const LISTENS: bool = O::LISTENS;

    fn admitted(&self, key: &K, tokens: u64) {
        (**self).admitted(key, tokens);
    }

    fn denied(&self, key: &K, denied: &Denied) {
        (**self).denied(key, denied);
    }
}

/// A limiter and an [`Observer`] of what is asked of it here. All else is asked of the
/// [`limiter`](Self::limiter) itself, and what that decides is not observed: permits that own it are had there
/// only, and whoever takes them tells the observer.
#[derive(Clone)]
pub struct Observed<L, O> {
    limiter: L,
    observer: O,
}

impl<L, O> Observed<L, O> {
    /// Tells `observer` of the decisions of `limiter`.
    pub fn new(limiter: L, observer: O) -> Self {
        Self { limiter, observer }
    }

    /// What decides, unobserved.
    pub fn limiter(&self) -> &L {
        &self.limiter
    }

    /// Who is told.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    fn tell<K: ?Sized, R: Release<Tokens = u64>>(
        &self,
        key: &K,
        verdict: Result<Permit<R>, Denied>,
    ) -> Result<Permit<R>, Denied>
    where
        O: Observer<K>,
    {
        match &verdict {
            Ok(permit) => self.observer.admitted(key, permit.granted()),
            Err(denied) => self.observer.denied(key, denied),
        }
        verdict
    }
}

impl<C: Fn() -> u64, O: Observer> Observed<Limiter<C>, O> {
    /// [`Limiter::allow`].
    #[inline]
    pub fn allow(&self, tokens: u64) -> bool {
        if O::LISTENS { self.try_acquire(tokens).is_ok() } else { self.limiter.allow(tokens) }
    }

    /// [`Limiter::try_acquire`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn try_acquire(&self, tokens: u64) -> Result<Permit<&Limiter<C>>, Denied> {
        self.tell(&(), self.limiter.try_acquire(tokens))
    }

    /// [`Limiter::acquire_up_to`]: told is what was granted.
    ///
    /// # Errors
    /// As there.
    pub fn acquire_up_to(&self, tokens: u64, least: u64) -> Result<Permit<&Limiter<C>>, Denied> {
        self.tell(&(), self.limiter.acquire_up_to(tokens, least))
    }
}

impl<const N: usize, C: Fn() -> u64, O: Observer> Observed<Multi<N, C>, O> {
    /// [`Multi::allow`].
    pub fn allow(&self, tokens: u64) -> bool {
        if O::LISTENS { self.try_acquire(tokens).is_ok() } else { self.limiter.allow(tokens) }
    }

    /// [`Multi::try_acquire`].
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire(&self, tokens: u64) -> Result<MultiPermit<'_, N, C>, MultiDenied> {
        let verdict = self.limiter.try_acquire(tokens);
        match &verdict {
            Ok(_) => self.observer.admitted(&(), tokens),
            Err(refusal) => self.observer.denied(&(), &refusal.denied),
        }
        verdict
    }
}

/// Told under the number of the bandwidth: an admission for each of them, a refusal for the one it is by.
impl<const N: usize, C: Fn() -> u64, O: Observer<usize>> Observed<Multi<N, C>, O> {
    /// [`Multi::try_acquire_each`].
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_each(&self, tokens: [u64; N]) -> Result<MultiPermit<'_, N, C>, MultiDenied> {
        let verdict = self.limiter.try_acquire_each(tokens);
        match &verdict {
            Ok(_) => {
                (0..).zip(tokens).for_each(|(bandwidth, tokens)| self.observer.admitted(&bandwidth, tokens));
            }
            Err(refusal) => self.observer.denied(&refusal.bandwidth, &refusal.denied),
        }
        verdict
    }
}

impl<K: Eq + Hash, C: Fn() -> u64, S: BuildHasher, O> Observed<Keyed<K, C, S>, O> {
    /// [`Keyed::allow`].
    #[inline]
    pub fn allow<Q: Lookup<K> + ?Sized>(&self, key: &Q, tokens: u64, quota: Quota) -> bool
    where
        O: Observer<Q>,
    {
        if O::LISTENS {
            self.try_acquire(key, tokens, quota).is_ok()
        } else {
            self.limiter.allow(key, tokens, quota)
        }
    }

    /// [`Keyed::try_acquire`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn try_acquire<'a, Q: Lookup<K> + ?Sized>(
        &'a self,
        key: &'a Q,
        tokens: u64,
        quota: Quota,
    ) -> Result<KeyedPermit<'a, K, Q, C, S>, Denied>
    where
        O: Observer<Q>,
    {
        self.tell(key, self.limiter.try_acquire(key, tokens, quota))
    }

    /// [`Keyed::acquire_up_to`]: told is what was granted.
    ///
    /// # Errors
    /// As there.
    pub fn acquire_up_to<'a, Q: Lookup<K> + ?Sized>(
        &'a self,
        key: &'a Q,
        tokens: u64,
        least: u64,
        quota: Quota,
    ) -> Result<KeyedPermit<'a, K, Q, C, S>, Denied>
    where
        O: Observer<Q>,
    {
        self.tell(key, self.limiter.acquire_up_to(key, tokens, least, quota))
    }
}

impl<C: Fn() -> u64, O: Observer<u32>> Observed<Interned<C>, O> {
    /// [`Interned::allow`].
    #[inline]
    pub fn allow(&self, id: u32, tokens: u64, quota: Quota) -> bool {
        if O::LISTENS {
            self.try_acquire(id, tokens, quota).is_ok()
        } else {
            self.limiter.allow(id, tokens, quota)
        }
    }

    /// [`Interned::try_acquire`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn try_acquire(&self, id: u32, tokens: u64, quota: Quota) -> Result<InternedPermit<'_, C>, Denied> {
        self.tell(&id, self.limiter.try_acquire(id, tokens, quota))
    }

    /// [`Interned::acquire_up_to`]: told is what was granted.
    ///
    /// # Errors
    /// As there.
    pub fn acquire_up_to(
        &self,
        id: u32,
        tokens: u64,
        least: u64,
        quota: Quota,
    ) -> Result<InternedPermit<'_, C>, Denied> {
        self.tell(&id, self.limiter.acquire_up_to(id, tokens, least, quota))
    }
}

/// Told under the names of the levels: an admission for each of them, a refusal for the one that is exceeded.
impl<const N: usize, O: Observer<str>> Observed<Tree<N>, O> {
    /// [`Tree::allow`].
    pub fn allow(&self, branch: [&(dyn Node + Sync); N], tokens: u64) -> bool {
        self.try_acquire(branch, tokens).is_ok()
    }

    /// [`Tree::try_acquire`].
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire<'a>(
        &self,
        branch: [&'a (dyn Node + Sync); N],
        tokens: u64,
    ) -> Result<TreePermit<'a, N>, Exceeded> {
        let verdict = self.limiter.try_acquire(branch, tokens);
        match &verdict {
            Ok(_) => self.limiter.names().iter().for_each(|name| self.observer.admitted(name, tokens)),
            Err(exceeded) => self.observer.denied(exceeded.name, &exceeded.denied),
        }
        verdict
    }
}

/// Who waits is told of when they have waited; who gives up before, not at all.
#[cfg(feature = "tokio")]
impl<O: Observer> Observed<Queue, O> {
    /// [`Queue::allow`].
    pub fn allow(&self, tokens: u64) -> bool {
        if O::LISTENS { self.try_acquire(tokens).is_ok() } else { self.limiter.allow(tokens) }
    }

    /// [`Queue::try_acquire`].
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire(&self, tokens: u64) -> Result<QueuePermit<'_>, Denied> {
        self.tell(&(), self.limiter.try_acquire(tokens))
    }

    /// [`Queue::wait`].
    ///
    /// # Errors
    /// As there.
    pub async fn wait(&self, tokens: u64) -> Result<QueuePermit<'_>, Denied> {
        self.tell(&(), self.limiter.wait(tokens).await)
    }

    /// [`Queue::wait_until`].
    ///
    /// # Errors
    /// As there.
    pub async fn wait_until(&self, tokens: u64, deadline_ns: u64) -> Result<QueuePermit<'_>, Denied> {
        self.tell(&(), self.limiter.wait_until(tokens, deadline_ns).await)
    }

    /// [`Queue::wait_within`].
    ///
    /// # Errors
    /// As there.
    pub async fn wait_within(&self, tokens: u64, time: Duration) -> Result<QueuePermit<'_>, Denied> {
        self.tell(&(), self.limiter.wait_within(tokens, time).await)
    }
}

impl<L: fmt::Debug, O> fmt::Debug for Observed<L, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}
