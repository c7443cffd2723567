//! Client-side throttling: the more an endpoint refuses, the more calls are not even made. Where a breaker is open or
//! closed, a throttle is anything in between.
//!
//! Adaptive throttling of the book "Site Reliability Engineering" (Beyer, Jones, Petoff, Murphy, 2016), chapter 21,
//! "Handling Overload": a call is rejected with probability
//! `max(0, (requests − K·accepts) / (requests + 1))`, of the requests of the last two minutes.
//!
//! A request counts when it has ended, and not, as in the book, when it is sent: an endpoint that hangs is throttled
//! from the deadlines of its calls on.
//!
//! H1: the endpoint is asked for about `K` times what it accepts, and, as long as `max_rejected` is below 1,000, never
//! for nothing at all: so it is found out when it works again.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::mix;
use crate::breaker::monotonic_ns;
use crate::options::{Options, OptionsError};
use crate::policy::saturating_ns;
use crate::sync::{AtomicU64, Ordering};
use crate::window::{TimeWindow, Totals};

/// How a throttle behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct ThrottleOptions {
    /// How many requests the endpoint is sent for each that it accepts, in percent: 100 to 1,000,000; 200 by default.
    /// Close to 100, and calls are rejected that would have been accepted; far above, and the endpoint spends its
    /// time refusing.
    pub sent_per_accepted_percent: u32,
    /// How long requests are remembered; 2 minutes by default, at least 1 ns a slice.
    pub window: Duration,
    /// Into how many slices that is cut, 1 to 1,024; 24 by default.
    pub slices: u32,
    /// Requests in the window below which none is rejected; 10 by default, at most 262,144 for each slice.
    pub min_requests: u32,
    /// The most that is rejected, in thousandths, at most 1,000; 990 by default. At 1,000, an endpoint that has
    /// refused for long is asked very rarely: of `n` requests in the window, one in `n + 1`.
    pub max_rejected_permille: u32,
    /// What the decisions are drawn from; 0 by default. The same seed, instants and results give the same ones.
    pub seed: u64,
}

impl Default for ThrottleOptions {
    fn default() -> Self {
        Self {
            sent_per_accepted_percent: 200,
            window: Duration::from_secs(120),
            slices: 24,
            min_requests: 10,
            max_rejected_permille: 990,
            seed: 0,
        }
    }
}

/// Rejects calls in proportion to how many the endpoint refuses. Without a lock.
///
/// ```
/// use forebay_circuit::{Throttle, ThrottleOptions};
///
/// let throttle = Throttle::with_clock(ThrottleOptions::default(), || 0)?;
/// for _ in 0..1_000 {
///     if let Ok(permit) = throttle.try_acquire() {
///         permit.refused();
///     }
/// }
/// // It was asked a few dozen times and not a thousand.
/// assert!(throttle.rejected_permille() > 900);
/// # Ok::<(), forebay_circuit::OptionsError>(())
/// ```
pub struct Throttle<C = fn() -> u64> {
    options: ThrottleOptions,
    /// Requests that ended or were rejected here, and those that the endpoint accepted.
    window: TimeWindow,
    /// Chances drawn.
    drawn: AtomicU64,
    clock: C,
}

/// A call that was not made, because the endpoint refuses too many.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[error("call was throttled, as are {permille} of 1000 to this endpoint")]
pub struct Throttled {
    /// With which probability, in thousandths.
    pub permille: u32,
}

/// The right to one call, of a throttle that it borrows, or, as an [`OwnedThrottlePermit`], keeps alive. Report how
/// the call ended; dropped, it says nothing.
#[must_use = "a call that is not reported is not counted"]
pub struct ThrottlePermit<H> {
    throttle: H,
}

/// A [`ThrottlePermit`] that can move into a task with its call.
pub type OwnedThrottlePermit<C = fn() -> u64> = ThrottlePermit<Arc<Throttle<C>>>;

impl Throttle {
    /// A throttle that has seen nothing, on the system's monotonic clock.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range.
    pub fn new(options: ThrottleOptions) -> Result<Self, OptionsError> {
        Self::with_clock(options, monotonic_ns)
    }
}

impl<C: Fn() -> u64> Throttle<C> {
    /// A throttle that has seen nothing, on a clock of the caller's: monotonic nanoseconds since whenever.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range.
    pub fn with_clock(options: ThrottleOptions, clock: C) -> Result<Self, OptionsError> {
        let ThrottleOptions { sent_per_accepted_percent, window, slices, .. } = options;
        OptionsError::range("sent_per_accepted_percent", sent_per_accepted_percent, 100, 1_000_000_u32)?;
        OptionsError::range("slices", slices, 1, Options::MAX_SLICES)?;
        OptionsError::at_least("window", window, Duration::from_nanos(u64::from(slices)))?;
        let most_requests = slices * TimeWindow::CALLS_OF_A_SLICE;
        OptionsError::range("min_requests", options.min_requests, 0, most_requests)?;
        OptionsError::range("max_rejected_permille", options.max_rejected_permille, 0, 1_000_u32)?;
        let window = TimeWindow::new(saturating_ns(window), slices);
        Ok(Self { options, window, drawn: AtomicU64::new(0), clock })
    }

    /// The right to one call, or chance is against it.
    ///
    /// # Errors
    /// [`Throttled`], with the probability of that.
    pub fn try_acquire(&self) -> Result<ThrottlePermit<&Self>, Throttled> {
        self.decide()?;
        Ok(ThrottlePermit { throttle: self })
    }

    /// As [`try_acquire`](Self::try_acquire), with a permit for a task that takes it along.
    ///
    /// # Errors
    /// [`Throttled`], with the probability of that.
    pub fn try_acquire_owned(self: &Arc<Self>) -> Result<OwnedThrottlePermit<C>, Throttled> {
        self.decide()?;
        Ok(ThrottlePermit { throttle: Arc::clone(self) })
    }

    fn decide(&self) -> Result<(), Throttled> {
        let now_ns = (self.clock)();
        let (excess, of) = self.odds(now_ns);
        if excess > 0 {
            let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
            let chance = mix(self.options.seed ^ mix(drawn));
            // `chance / 2^64` is below `excess / of`.
            if u128::from(chance) * of < excess << 64 {
                self.window.add(Totals { calls: 1, hits: 0 }, now_ns);
                return Err(Throttled { permille: permille(excess, of) });
            }
        }
        Ok(())
    }

    /// With which probability the next call is rejected, in thousandths.
    pub fn rejected_permille(&self) -> u32 {
        let (excess, of) = self.odds((self.clock)());
        permille(excess, of)
    }

    /// The probability as a fraction. Both sides are far below 2^64: a window holds at most 2^30 calls.
    fn odds(&self, now_ns: u64) -> (u128, u128) {
        let Totals { calls: requests, hits: accepts } = self.window.totals(now_ns);
        if requests < u64::from(self.options.min_requests) {
            return (0, 1);
        }
        // In hundredths, for the percents of K.
        let of = (u128::from(requests) + 1) * 100;
        let sent = u128::from(accepts) * u128::from(self.options.sent_per_accepted_percent);
        let excess = (u128::from(requests) * 100).saturating_sub(sent);
        (excess.min(of * u128::from(self.options.max_rejected_permille) / 1_000), of)
    }
}

impl<C: Fn() -> u64, H: Deref<Target = Throttle<C>>> ThrottlePermit<H> {
    /// The endpoint took the call on, whatever came of it.
    pub fn accepted(self) {
        self.record(true);
    }

    /// The endpoint refused, or did not answer.
    pub fn refused(self) {
        self.record(false);
    }

    fn record(self, accepted: bool) {
        let now_ns = (self.throttle.clock)();
        self.throttle.window.add(Totals { calls: 1, hits: u64::from(accepted) }, now_ns);
    }
}

fn permille(excess: u128, of: u128) -> u32 {
    u32::try_from(excess * 1_000 / of).unwrap_or(1_000)
}

impl<C: Fn() -> u64> fmt::Debug for Throttle<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let permille = self.rejected_permille();
        f.debug_struct("Throttle")
            .field("options", &self.options)
            .field("rejected_permille", &permille)
            .finish()
    }
}

impl<H> fmt::Debug for ThrottlePermit<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThrottlePermit").finish_non_exhaustive()
    }
}
