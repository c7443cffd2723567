//! Several bandwidths and one decision: 10 MB a second *and* 1 TB a day, or bytes *and* lines.
//!
//! M1: either every bandwidth gives what is asked of it, or none gives anything, and nobody sees it otherwise.

use std::array;
use std::fmt;

use parking_lot::Mutex;

use crate::bucket::Bucket;
use crate::decision::{Denied, Snapshot};
use crate::limiter::monotonic_ns;
use crate::quota::Quota;

/// Admits what all of `N` quotas let pass.
///
/// One lock around `N` buckets of 72 bytes, each as exact as a [`Bucket`] alone; a decision looks at all of
/// them.
///
/// ```
/// use forebay_ratelimit::{Multi, Quota, Rate};
/// use std::time::Duration;
///
/// let per_second = Quota::new(Rate::per_second(10_000_000), 20_000_000);
/// let per_day = Quota::new(Rate::per(1 << 40, Duration::from_secs(86_400)), 1 << 40);
/// let limiter = Multi::with_clock([per_second, per_day], || 0); // `new` is on the system's clock
/// assert!(limiter.allow(20_000_000));
/// let denied = limiter.try_acquire(1).unwrap_err();
/// assert_eq!(denied.bandwidth, 0);
///
/// // Bytes and lines: each bandwidth counts its own.
/// let (bytes, lines) = (Quota::new(Rate::per_second(1 << 20), 1 << 20), Quota::new(Rate::per_second(1), 100));
/// let limiter = Multi::new([bytes, lines]);
/// assert!(limiter.try_acquire_each([4_096, 30]).is_ok());
/// assert_eq!(limiter.try_acquire_each([4_096, 80]).unwrap_err().bandwidth, 1);
/// ```
pub struct Multi<const N: usize, C = fn() -> u64> {
    state: Mutex<State<N>>,
    clock: C,
}

struct State<const N: usize> {
    buckets: [Bucket; N],
    /// The latest instant anybody brought in: waiting for the lock must not turn time back.
    latest_ns: u64,
}

/// A refusal by one of several bandwidths: the one that makes the request wait longest.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MultiDenied {
    /// Which of the quotas, counted from zero in the order in which they were given.
    pub bandwidth: usize,
    /// What it said. After its wait the request passes all of them, if nobody comes in between.
    pub denied: Denied,
}

impl fmt::Display for MultiDenied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bandwidth {}: {}", self.bandwidth, self.denied)
    }
}

impl std::error::Error for MultiDenied {}

impl<const N: usize> Multi<N> {
    /// Full buckets on the system's monotonic clock.
    pub fn new(quotas: [Quota; N]) -> Self {
        Self::with_clock(quotas, monotonic_ns)
    }
}

impl<const N: usize, C: Fn() -> u64> Multi<N, C> {
    /// Full buckets on a clock of the caller's: monotonic nanoseconds since whenever.
    pub fn with_clock(quotas: [Quota; N], clock: C) -> Self {
        let latest_ns = clock();
        let buckets = quotas.map(|quota| Bucket::full(quota, latest_ns));
        Self { state: Mutex::new(State { buckets, latest_ns }), clock }
    }

    /// Takes `tokens` from every bandwidth if all let them pass now. Zero always passes.
    pub fn allow(&self, tokens: u64) -> bool {
        self.take([tokens; N]).is_ok()
    }

    /// Takes `tokens` from every bandwidth, or nothing from any. Dropping the permit keeps them taken.
    ///
    /// # Errors
    /// [`MultiDenied`] with the bandwidth that makes the request wait longest.
    pub fn try_acquire(&self, tokens: u64) -> Result<MultiPermit<'_, N, C>, MultiDenied> {
        self.try_acquire_each([tokens; N])
    }

    /// Takes from each bandwidth what is asked of it, or nothing from any.
    ///
    /// # Errors
    /// [`MultiDenied`] with the bandwidth that makes the request wait longest.
    pub fn try_acquire_each(&self, tokens: [u64; N]) -> Result<MultiPermit<'_, N, C>, MultiDenied> {
        Ok(MultiPermit { multi: self, tokens: self.take(tokens)? })
    }

    /// Whether all let `tokens` pass now; takes nothing.
    ///
    /// # Errors
    /// [`MultiDenied`] as by [`try_acquire`](Self::try_acquire).
    pub fn check(&self, tokens: u64) -> Result<(), MultiDenied> {
        let mut state = self.state.lock();
        let now_ns = state.advance((self.clock)());
        state.decide(now_ns, [tokens; N]).map(drop)
    }

    /// Gives back to each bandwidth; none is ever fuller than full. It is the caller's care not to give back
    /// more than was taken; a [`MultiPermit`] cannot.
    pub fn release_each(&self, tokens: [u64; N]) {
        let mut state = self.state.lock();
        let now_ns = state.advance((self.clock)());
        for (bucket, tokens) in state.buckets.iter_mut().zip(tokens) {
            bucket.release(now_ns, tokens);
        }
    }

    /// All buckets at one instant.
    pub fn peek(&self) -> [Snapshot; N] {
        let mut state = self.state.lock();
        let now_ns = state.advance((self.clock)());
        state.buckets.map(|bucket| bucket.peek(now_ns))
    }

    /// Puts other quotas in force, all as one. Tokens and debts stay, up to the new bursts.
    pub fn reconfigure(&self, quotas: [Quota; N]) {
        let mut state = self.state.lock();
        let now_ns = state.advance((self.clock)());
        for (bucket, quota) in state.buckets.iter_mut().zip(quotas) {
            if bucket.quota() != quota.clamped() {
                bucket.reconfigure(now_ns, quota);
            }
        }
    }

    /// The quotas in force.
    pub fn quotas(&self) -> [Quota; N] {
        self.state.lock().buckets.map(|bucket| bucket.quota())
    }

    /// What each gave: nothing where it is unlimited.
    pub(crate) fn take(&self, tokens: [u64; N]) -> Result<[u64; N], MultiDenied> {
        let mut state = self.state.lock();
        let now_ns = state.advance((self.clock)());
        state.buckets = state.decide(now_ns, tokens)?;
        let mut taken = tokens;
        for (taken, bucket) in taken.iter_mut().zip(&state.buckets) {
            if bucket.quota().rate.is_unlimited() {
                *taken = 0;
            }
        }
        Ok(taken)
    }
}

impl<const N: usize> State<N> {
    fn advance(&mut self, now_ns: u64) -> u64 {
        self.latest_ns = self.latest_ns.max(now_ns);
        self.latest_ns
    }

    /// The buckets as they are once the tokens are taken.
    fn decide(&self, now_ns: u64, tokens: [u64; N]) -> Result<[Bucket; N], MultiDenied> {
        let mut buckets = self.buckets;
        let mut worst: Option<MultiDenied> = None;
        for (bandwidth, (bucket, tokens)) in buckets.iter_mut().zip(tokens).enumerate() {
            if let Err(denied) = bucket.try_acquire(now_ns, tokens)
                && worst.is_none_or(|worst| worst.denied.retry_after < denied.retry_after)
            {
                worst = Some(MultiDenied { bandwidth, denied });
            }
        }
        worst.map_or(Ok(buckets), Err)
    }
}

impl<const N: usize, C> fmt::Debug for Multi<N, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quotas = self.state.lock().buckets.map(|bucket| bucket.quota());
        f.debug_struct("Multi").field("quotas", &quotas).finish_non_exhaustive()
    }
}

/// Tokens taken from a [`Multi`]; dropping it keeps them taken.
pub struct MultiPermit<'a, const N: usize, C: Fn() -> u64 = fn() -> u64> {
    multi: &'a Multi<N, C>,
    tokens: [u64; N],
}

impl<const N: usize, C: Fn() -> u64> MultiPermit<'_, N, C> {
    /// Tokens that could be given back to each bandwidth: none to one that was unlimited.
    pub fn tokens(&self) -> [u64; N] {
        self.tokens
    }

    /// Keeps the tokens taken: what dropping does, said aloud.
    pub fn keep(self) {}

    /// Gives all tokens back: the work was not done.
    pub fn release(mut self) {
        self.shrink_to([0; N]);
    }

    /// Gives back all but `tokens`, bandwidth by bandwidth; where it was smaller than that, nothing.
    pub fn shrink_to(&mut self, tokens: [u64; N]) {
        let left: [u64; N] = array::from_fn(|place| match (self.tokens.get(place), tokens.get(place)) {
            (Some(&held), Some(&wanted)) => held.min(wanted),
            _ => 0,
        });
        let mut surplus = self.tokens;
        surplus.iter_mut().zip(left).for_each(|(surplus, left)| *surplus -= left);
        self.tokens = left;
        self.multi.release_each(surplus);
    }
}

impl<const N: usize, C: Fn() -> u64> fmt::Debug for MultiPermit<'_, N, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MultiPermit").field("tokens", &self.tokens).finish_non_exhaustive()
    }
}
