//! At most so many spans per second, whatever the load: GCRA on one atomic word.
//!
//! The word is the *theoretical arrival time* of the next span: when it would come if spans came evenly. Each
//! one that passes moves it on by an interval, and it may be ahead of the clock by the reach of a burst:
//!
//! * L1: what passes moves the word to exactly one interval behind the later of itself and the clock, in the same
//!   compare-and-swap that reads it, so threads neither share a token nor lose one;
//! * L2: a reading of the clock that comes late does not move the word back, so it can refuse but never mints;
//! * L3: except when the word is so far ahead that the clock must have been set back. The limiter then starts
//!   anew, with an empty bucket, instead of waiting for the old time to come again.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use super::{Decision, SampleInput, Sampler};

mod rate;

pub use rate::{RateLimit, RateLimitError};

/// Samples what another sampler samples, up to a [`RateLimit`].
///
/// Only what the other one samples counts. Whatever passes goes without a threshold, also while nothing is
/// refused: the probability is no longer what the other sampler says, and nobody knows what it is. By the
/// same token this is no consistent sampler, and services that each have a limit of their own keep different
/// traces. Limit where traces begin, or where strangers ask for them:
///
/// ```
/// use forebay_tracing_ctx::sampler::{Always, Consistent, ParentBased, RateLimit, RateLimited};
///
/// // A tenth of what begins here. Of what strangers want sampled, ten in a second.
/// let hints = RateLimited::new(Always, RateLimit::per_second(10.0)?);
/// let sampler = ParentBased::new(Consistent::new(0.1)?).remote_sampled(hints);
/// # let _ = sampler;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// Clones share the limit, because layers clone their sampler for every connection.
///
/// The time is any number of nanoseconds that a clock yields, also one that stands still or jumps. A jump
/// ahead fills the bucket, as waiting would have. A jump back takes from it what those nanoseconds brought, so
/// that nothing may pass until the clock has caught up. Should that take more than 10 seconds, the limiter
/// starts anew with an empty bucket.
#[derive(Clone)]
pub struct RateLimited<S, C = fn() -> u64> {
    inner: S,
    limit: RateLimit,
    arrival_ns: Arc<AtomicU64>,
    clock: C,
}

impl<S> RateLimited<S> {
    /// On the system's monotonic clock, beginning with a full bucket.
    pub fn new(inner: S, limit: RateLimit) -> Self {
        Self::with_clock(inner, limit, monotonic_ns)
    }
}

impl<S, C: Fn() -> u64> RateLimited<S, C> {
    /// On a clock of monotonic nanoseconds, since whenever, beginning with a full bucket.
    pub fn with_clock(inner: S, limit: RateLimit, clock: C) -> Self {
        Self { inner, limit, arrival_ns: Arc::default(), clock }
    }

    fn admit(&self) -> bool {
        let now_ns = (self.clock)();
        // Relaxed: the word is all there is, nothing else is published with it.
        let mut arrival_ns = self.arrival_ns.load(Ordering::Relaxed);
        loop {
            let (admitted, next_ns) = self.limit.decide(arrival_ns, now_ns);
            if next_ns == arrival_ns {
                return admitted;
            }
            match self.arrival_ns.compare_exchange_weak(
                arrival_ns,
                next_ns,
                Ordering::Relaxed,
                Ordering::Relaxed,
            ) {
                Ok(_) => return admitted,
                Err(found_ns) => arrival_ns = found_ns,
            }
        }
    }
}

impl<S: Sampler, C: Fn() -> u64> Sampler for RateLimited<S, C> {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        let decision = self.inner.sample(input);
        if !decision.sampled {
            return decision;
        }
        if self.admit() { Decision::SAMPLED } else { Decision::DROPPED }
    }
}

impl<S: fmt::Debug, C> fmt::Debug for RateLimited<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimited")
            .field("inner", &self.inner)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Nanoseconds since this process first asked; monotonic, and the same origin for all limits.
#[expect(
    clippy::disallowed_methods,
    reason = "the crate's edge: the clock of those who do not bring their own"
)]
fn monotonic_ns() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    // The origin first: it must not lie after the instant it is compared with.
    let origin = *ORIGIN;
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
