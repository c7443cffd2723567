//! One limit for many processors: each takes tokens in advance, so that a request seldom touches what all share.
//!
//! E1: every token that passes was taken from the limiter before. So the sum from the beginning on is exact,
//! and a window exceeds the limiter's bound by no more than what was held in leases when it began.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::apart::Apart;
use crate::clock::monotonic_ns;
use crate::decision::{Denied, Snapshot};
use crate::limiter::Limiter;
use crate::quota::{Inherit, Quota};

/// How much is taken in advance, and by how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseOptions {
    /// Tokens that a slot is filled up to; 64 by default. The larger, the seldomer do processors meet, and the more
    /// may be held: what is held by one is refused to all others. Beyond the burst, nothing is ever leased.
    pub lease: u64,
    /// Leases, one for each thread up to this number, after which threads share; rounded up to a power of two,
    /// 16 by default, at 128 bytes each.
    pub slots: usize,
}

impl Default for LeaseOptions {
    fn default() -> Self {
        Self { lease: 64, slots: 16 }
    }
}

/// A [`Limiter`] whose tokens are handed to threads by the lease.
///
/// In every window of length `t` it admits at most `burst + ⌊rate·t⌋ + 1` tokens as the limiter does, and
/// `slots · lease` more: what had been taken in advance, for no slot ever holds more than a lease. As many may
/// be held while somebody else is refused. Take it where one key is asked by so many threads that they wait for
/// each other, and the burst is much larger than that.
///
/// ```
/// use forebay_ratelimit::{LeaseOptions, Leased, Quota, Rate};
///
/// let limiter = Leased::new(Quota::new(Rate::per_second(1_000_000), 100_000), LeaseOptions::default());
/// assert!(limiter.allow(10));
/// assert_eq!(limiter.held(), 64);
/// ```
pub struct Leased<C = fn() -> u64> {
    limiter: Limiter<C>,
    slots: Box<[Apart<AtomicU64>]>,
    lease: u64,
}

impl Leased {
    /// A full limiter on the system's monotonic clock, and no leases yet.
    pub fn new(quota: Quota, options: LeaseOptions) -> Self {
        Self::with_clock(quota, options, monotonic_ns)
    }
}

impl<C: Fn() -> u64> Leased<C> {
    /// A full limiter on a clock of the caller's, and no leases yet.
    pub fn with_clock(quota: Quota, options: LeaseOptions, clock: C) -> Self {
        let slots = options.slots.clamp(1, 1_024).next_power_of_two();
        let slots = (0..slots).map(|_| Apart::default()).collect();
        Self { limiter: Limiter::with_clock(quota, clock), slots, lease: options.lease.min(Quota::MAX_BURST) }
    }

    /// Takes `tokens` from this thread's lease, or else from the limiter together with a new lease, or else
    /// without one.
    #[inline]
    pub fn allow(&self, tokens: u64) -> bool {
        self.take_held(tokens) || self.take_new(tokens)
    }

    /// [`allow`](Self::allow) for those who want to know why not.
    ///
    /// # Errors
    /// [`Denied`] as the limiter says it, to which leases count as taken.
    pub fn try_acquire(&self, tokens: u64) -> Result<(), Denied> {
        if self.take_held(tokens) || self.take_new(tokens) {
            return Ok(());
        }
        self.limiter.try_acquire(tokens).map(drop)
    }

    /// Tokens that threads hold in advance.
    pub fn held(&self) -> u64 {
        self.slots.iter().map(|held| held.load(Ordering::Relaxed)).fold(0, u64::saturating_add)
    }

    /// Gives all leases back to the limiter, and returns how many tokens they were: when the rush is over.
    pub fn settle(&self) -> u64 {
        let back = self.slots.iter().map(|held| held.swap(0, Ordering::AcqRel)).fold(0, u64::saturating_add);
        self.limiter.release(back);
        back
    }

    /// The limiter now; what is held by threads is not in it.
    pub fn peek(&self) -> Snapshot {
        self.limiter.peek()
    }

    /// Puts another quota in force, as [`Limiter::reconfigure`]. Leases stay.
    pub fn reconfigure(&self, quota: Quota) {
        self.limiter.reconfigure(quota);
    }

    /// [`reconfigure`](Self::reconfigure) with a say in what becomes of the limiter's tokens and debt. Leases stay.
    pub fn reconfigure_with(&self, quota: Quota, inherit: Inherit) {
        self.limiter.reconfigure_with(quota, inherit);
    }

    #[inline]
    fn take_held(&self, tokens: u64) -> bool {
        let less = |held: u64| held.checked_sub(tokens);
        self.slot().fetch_update(Ordering::AcqRel, Ordering::Relaxed, less).is_ok()
    }

    #[cold]
    fn take_new(&self, tokens: u64) -> bool {
        let wanted = self.lease.saturating_sub(self.slot().load(Ordering::Relaxed));
        let both = tokens.saturating_add(wanted);
        // A lease is worth no debt, and one that nothing was taken for holds nothing.
        if wanted > 0
            && both <= self.limiter.quota().burst
            && let Ok(permit) = self.limiter.try_acquire(both)
        {
            if permit.tokens() > 0 {
                self.lease(wanted);
            }
            return true;
        }
        self.limiter.allow(tokens)
    }

    /// Puts `taken` tokens into this thread's slot, and back what does not fit because another thread has filled
    /// it.
    fn lease(&self, taken: u64) {
        let filled = |held: u64| Some(held.saturating_add(taken).min(self.lease.max(held)));
        let slot = self.slot();
        let held = slot.fetch_update(Ordering::AcqRel, Ordering::Relaxed, filled).unwrap_or(self.lease);
        let surplus = taken.saturating_sub(self.lease.saturating_sub(held));
        if surplus > 0 {
            self.limiter.release(surplus);
        }
    }

    #[inline]
    fn slot(&self) -> &AtomicU64 {
        let place = thread_number() & (self.slots.len() - 1);
        self.slots.get(place).expect("masked by their number")
    }
}

/// Threads are numbered as they come, so that the first of them have a slot each.
#[inline]
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    // A thread that is about to end may share the first slot.
    NUMBER
        .try_with(|number| {
            if number.get() == usize::MAX {
                number.set(NEXT.fetch_add(1, Ordering::Relaxed));
            }
            number.get()
        })
        .unwrap_or(0)
}

impl<C: Fn() -> u64> fmt::Debug for Leased<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leased")
            .field("limiter", &self.limiter)
            .field("held", &self.held())
            .finish_non_exhaustive()
    }
}
