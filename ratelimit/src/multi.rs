//! Several bandwidths and one decision: 10 MB a second *and* 1 TB a day, or bytes *and* lines.
//!
//! M1: either every bandwidth gives what is asked of it, or none gives anything, and nobody sees it otherwise.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::bucket::Bucket;
use crate::clock::{Latest, monotonic_ns};
use crate::decision::{Denied, Snapshot};
use crate::permit::{Permit, Release};
use crate::quota::{Inherit, Quota};

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
    latest: Latest,
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
        let now_ns = clock();
        let buckets = quotas.map(|quota| Bucket::full(quota, now_ns));
        Self { state: Mutex::new(State { buckets, latest: Latest::new(now_ns) }), clock }
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
        Ok(Permit::new(self, tokens, self.take(tokens)?))
    }

    /// [`try_acquire_each`](Self::try_acquire_each) with a permit that holds the limiter instead of borrowing it.
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_owned(self: &Arc<Self>, tokens: [u64; N]) -> Result<Permit<Arc<Self>>, MultiDenied> {
        Ok(Permit::new(Arc::clone(self), tokens, self.take(tokens)?))
    }

    /// Whether all let `tokens` pass now; takes nothing.
    ///
    /// # Errors
    /// [`MultiDenied`] as by [`try_acquire`](Self::try_acquire).
    pub fn check(&self, tokens: u64) -> Result<(), MultiDenied> {
        let mut state = self.state.lock();
        let now_ns = state.latest.advance((self.clock)());
        state.decide(now_ns, [tokens; N]).map(drop)
    }

    /// Gives back to each bandwidth; none is ever fuller than full. It is the caller's care not to give back
    /// more than was taken; a [`MultiPermit`] cannot.
    pub fn release_each(&self, tokens: [u64; N]) {
        let mut state = self.state.lock();
        let now_ns = state.latest.advance((self.clock)());
        for (bucket, tokens) in state.buckets.iter_mut().zip(tokens) {
            bucket.release(now_ns, tokens);
        }
    }

    /// All buckets at one instant.
    pub fn peek(&self) -> [Snapshot; N] {
        let mut state = self.state.lock();
        let now_ns = state.latest.advance((self.clock)());
        state.buckets.map(|bucket| bucket.peek(now_ns))
    }

    /// Puts other quotas in force, all as one. Tokens and debts stay, up to the new bursts.
    pub fn reconfigure(&self, quotas: [Quota; N]) {
        self.reconfigure_with(quotas, Inherit::AsIs);
    }

    /// [`reconfigure`](Self::reconfigure) with a say in what becomes of tokens and debts.
    pub fn reconfigure_with(&self, quotas: [Quota; N], inherit: Inherit) {
        let mut state = self.state.lock();
        let now_ns = state.latest.advance((self.clock)());
        for (bucket, quota) in state.buckets.iter_mut().zip(quotas) {
            if bucket.quota() != quota.clamped() || inherit == Inherit::Reset {
                bucket.reconfigure_with(now_ns, quota, inherit);
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
        let now_ns = state.latest.advance((self.clock)());
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

/// Tokens taken from a [`Multi`], bandwidth by bandwidth.
pub type MultiPermit<'a, const N: usize, C = fn() -> u64> = Permit<&'a Multi<N, C>>;

impl<const N: usize, C: Fn() -> u64> Release for Multi<N, C> {
    type Tokens = [u64; N];

    fn give_back(&self, tokens: [u64; N]) {
        self.release_each(tokens);
    }
}
