//! Somebody who is told of every decision, and costs nothing where nobody is.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::ops::Deref;
use std::sync::Arc;

use crate::decision::Denied;
use crate::keyed::{Interned, InternedPermit, Keyed, KeyedPermit, Lookup};
use crate::limiter::Limiter;
use crate::multi::{Multi, MultiDenied, MultiPermit};
use crate::permit::Permit;
use crate::quota::Quota;

/// Is told of decisions as they are made, outside of every lock, on the thread that asked. `K` is the key as the
/// caller named it: `str`, `u32` for [`Interned`], `()` where there is none.
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

/// A limiter and an [`Observer`] of what it decides. All else goes to the limiter, by [`Deref`]: what is asked
/// of that directly is not observed.
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

    /// Who is told.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    fn tell<K: ?Sized, P>(&self, key: &K, tokens: u64, verdict: Result<P, Denied>) -> Result<P, Denied>
    where
        O: Observer<K>,
    {
        match &verdict {
            Ok(_) => self.observer.admitted(key, tokens),
            Err(denied) => self.observer.denied(key, denied),
        }
        verdict
    }
}

impl<L, O> Deref for Observed<L, O> {
    type Target = L;

    fn deref(&self) -> &L {
        &self.limiter
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
    pub fn try_acquire(&self, tokens: u64) -> Result<Permit<'_, C>, Denied> {
        self.tell(&(), tokens, self.limiter.try_acquire(tokens))
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
        self.tell(key, tokens, self.limiter.try_acquire(key, tokens, quota))
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
        self.tell(&id, tokens, self.limiter.try_acquire(id, tokens, quota))
    }
}

impl<L: fmt::Debug, O> fmt::Debug for Observed<L, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observed").field("limiter", &self.limiter).finish_non_exhaustive()
    }
}
