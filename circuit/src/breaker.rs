//! The breaker as its users see it: a handle on one [`Shared`] machine, and calls through it.

use std::fmt;
use std::sync::{Arc, LazyLock, Weak};
use std::time::Instant;

use crate::observer::Observer;
use crate::options::{Options, OptionsError};
use crate::permit::{OwnedPermit, Permit};
use crate::policy::Policy;
use crate::shared::{Attached, Shared};
use crate::snapshot::Snapshot;
use crate::state::{Control, Outcome, Rejected, State};

/// A circuit breaker: a handle to be cloned, all clones are the same breaker.
///
/// ```
/// use forebay_circuit::{Breaker, CallError, Options, Trip};
///
/// let breaker = Breaker::new(Options { trip: Trip::Consecutive(1), ..Options::default() })?;
/// let answer: Result<(), _> = breaker.call(|| Err("connection refused"));
/// assert!(matches!(answer, Err(CallError::Failed("connection refused"))));
/// // From here on nobody waits for what does not answer.
/// assert!(matches!(breaker.call(|| Ok::<_, &str>(())), Err(CallError::Rejected(_))));
/// # Ok::<(), forebay_circuit::OptionsError>(())
/// ```
pub struct Breaker<C = fn() -> u64> {
    shared: Arc<Shared<C>>,
}

/// Why [`Breaker::call`], or a call through a layer, has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The call was not made.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The call was made, and failed.
    #[error(transparent)]
    Failed(E),
}

impl<E> CallError<E> {
    /// The rejection, if the call was not made.
    pub fn rejected(&self) -> Option<Rejected> {
        match self {
            Self::Rejected(rejected) => Some(*rejected),
            Self::Failed(_) => None,
        }
    }
}

impl Breaker {
    /// A closed breaker on the system's monotonic clock.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range.
    pub fn new(options: Options) -> Result<Self, OptionsError> {
        Self::with_clock(options, monotonic_ns)
    }
}

impl<C: Fn() -> u64> Breaker<C> {
    /// A closed breaker on a clock of the caller's: monotonic nanoseconds since whenever.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range.
    pub fn with_clock(options: Options, clock: C) -> Result<Self, OptionsError> {
        let policy = Policy::try_from(options)?;
        let attached = Attached::new(&policy, None, None);
        Ok(Self::from_policy(Arc::new(policy), 0, clock, attached))
    }

    /// A closed breaker that tells `observer` of its transitions.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range.
    pub fn with_observer(
        options: Options,
        clock: C,
        observer: impl Observer + 'static,
    ) -> Result<Self, OptionsError> {
        let policy = Policy::try_from(options)?;
        let attached = Attached::new(&policy, Some(Box::new(observer)), None);
        Ok(Self::from_policy(Arc::new(policy), 0, clock, attached))
    }

    pub(crate) fn from_policy(
        policy: Arc<Policy>,
        number: u32,
        clock: C,
        attached: Option<Box<Attached>>,
    ) -> Self {
        Self { shared: Arc::new(Shared::new(policy, number, clock, attached)) }
    }

    #[inline(always)]
    pub(crate) fn shared(&self) -> &Shared<C> {
        &self.shared
    }

    /// The right to one call. Report to the [`Permit`] how it ended.
    ///
    /// # Errors
    /// [`Rejected`] while the breaker is open, or half-open with every slot taken.
    #[inline(always)]
    pub fn try_acquire(&self) -> Result<Permit<&Self>, Rejected> {
        Ok(Permit::new(self, self.shared.admit()?))
    }

    /// As [`try_acquire`](Self::try_acquire), with a permit that keeps the breaker alive: for a task that takes it
    /// along. Counts one more handle.
    ///
    /// # Errors
    /// [`Rejected`] while the breaker is open, or half-open with every slot taken.
    #[inline(always)]
    pub fn try_acquire_owned(&self) -> Result<OwnedPermit<C>, Rejected> {
        let ticket = self.shared.admit()?;
        Ok(Permit::new(self.clone(), ticket))
    }

    /// Calls `f`, if that is permitted, and takes its result for the outcome.
    ///
    /// # Errors
    /// [`CallError::Rejected`] if `f` was not called, [`CallError::Failed`] with the error of `f`.
    #[inline(always)]
    pub fn call<T, E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<T, CallError<E>> {
        self.call_with(by_result, f)
    }

    /// As [`call`](Self::call), but `classify` says what the result means for the endpoint: that a record does
    /// not exist is an error for the caller, and an answer all the same.
    ///
    /// # Errors
    /// [`CallError::Rejected`] if `f` was not called, [`CallError::Failed`] with the error of `f`.
    #[inline(always)]
    pub fn call_with<T, E>(
        &self,
        classify: impl FnOnce(&Result<T, E>) -> Outcome,
        f: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, CallError<E>> {
        let permit = self.try_acquire()?;
        let result = f();
        permit.record(classify(&result));
        result.map_err(CallError::Failed)
    }

    /// As [`call_with`](Self::call_with), for a future, which is not polled if the call is rejected. To drop it
    /// early is to drop the permit; so put the deadline into `future`.
    ///
    /// # Errors
    /// [`CallError::Rejected`] if `future` was not polled, [`CallError::Failed`] with its error.
    pub async fn call_async<T, E>(
        &self,
        classify: impl FnOnce(&Result<T, E>) -> Outcome,
        future: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError<E>> {
        let permit = self.try_acquire()?;
        let result = future.await;
        permit.record(classify(&result));
        result.map_err(CallError::Failed)
    }

    /// As [`call`](Self::call), and where that has no result `fallback` makes one: an older value, another
    /// endpoint, or an error of the caller's. After [`call_with`](Self::call_with) and
    /// [`call_async`](Self::call_async) `or_else` does the same, and a `match` where the fallback is a future.
    ///
    /// ```
    /// use forebay_circuit::{Breaker, Options};
    ///
    /// let breaker = Breaker::new(Options::default())?;
    /// let cached = || 7;
    /// let value = breaker.call_or_else(|| Err("refused"), |_| Ok::<_, &str>(cached()));
    /// assert_eq!(value, Ok(7));
    /// # Ok::<(), forebay_circuit::OptionsError>(())
    /// ```
    ///
    /// # Errors
    /// What `fallback` returns.
    pub fn call_or_else<T, E, F>(
        &self,
        f: impl FnOnce() -> Result<T, E>,
        fallback: impl FnOnce(CallError<E>) -> Result<T, F>,
    ) -> Result<T, F> {
        self.call(f).or_else(fallback)
    }

    /// What the next call meets.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Everything about the breaker, for display.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// Rejects every call until another of these methods is called.
    pub fn force_open(&self) {
        self.shared.control(Control::ForcedOpen);
    }

    /// Admits every call, whatever fails, until another of these methods is called.
    pub fn force_close(&self) {
        self.shared.control(Control::ForcedClosed);
    }

    /// Admits every call and counts nothing, until another of these methods is called: as if there were no breaker.
    pub fn disable(&self) {
        self.shared.control(Control::Disabled);
    }

    /// Admits every call, and counts what would have opened it, until another of these methods is called: to try
    /// options out ([`Snapshot::suppressed_trips`]).
    pub fn metrics_only(&self) {
        self.shared.control(Control::MetricsOnly);
    }

    /// Closed as new: automatic, no failures, and the next wait is the first. Calls under way count no more.
    pub fn reset(&self) {
        self.shared.control(Control::Automatic);
    }

    /// Goes by `options` from here on. The state stays, the generation, the probes, and what windows hold that are
    /// as before or differ in size: of one that shrinks, the oldest goes. Results that end meanwhile may be missing
    /// from them. Under another verdict the results of probes are counted anew. A wait under way is shortened to the
    /// new cap. Calls under way are slow only if it mattered already when they began. [`Options::count_calls`] is not
    /// looked at.
    ///
    /// # Errors
    /// [`OptionsError`] names the first option that is out of range; then nothing has changed.
    pub fn reconfigure(&self, options: Options) -> Result<(), OptionsError> {
        self.go_by(Arc::new(Policy::try_from(options)?));
        Ok(())
    }

    pub(crate) fn go_by(&self, policy: Arc<Policy>) {
        self.shared.reconfigure(policy);
    }

    /// Does not keep the breaker, nor say that somebody holds it.
    pub(crate) fn downgrade(&self) -> Weak<Shared<C>> {
        Arc::downgrade(&self.shared)
    }

    pub(crate) fn upgrade(shared: &Weak<Shared<C>>) -> Option<Self> {
        shared.upgrade().map(|shared| Self { shared })
    }

    /// Is none of the breakers of a registry any more.
    pub(crate) fn leave(&self) {
        self.shared.leave();
    }

    /// How often the observer panicked.
    pub fn observer_panics(&self) -> u64 {
        self.shared.observer_panics()
    }

    /// Whether there is another handle, or a permit that owns one.
    pub(crate) fn is_held(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    /// Whether it knows something that a new breaker would not, if it may be forgotten by those who asked at
    /// `asked_ns` last: what it knows, if anything, is of no use any more.
    pub(crate) fn may_go(&self, now_ns: u64, asked_ns: u64) -> Option<bool> {
        self.shared.may_go(now_ns, asked_ns)
    }
}

/// A result is a success, an error a failure.
#[inline]
pub(crate) fn by_result<T, E>(result: &Result<T, E>) -> Outcome {
    if result.is_ok() { Outcome::Success } else { Outcome::Failure }
}

impl<C> Clone for Breaker<C> {
    #[inline]
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<C: Fn() -> u64> fmt::Debug for Breaker<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Breaker").field(&self.snapshot()).finish()
    }
}

/// Nanoseconds since this process first asked; monotonic, and the same origin for all breakers.
#[expect(clippy::disallowed_methods, reason = "the edge: the clock of those who do not bring their own")]
pub(crate) fn monotonic_ns() -> u64 {
    static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
    // The origin first: it must not lie after the instant it is compared with.
    let origin = *ORIGIN;
    let elapsed = origin.elapsed();
    // Not `as_nanos`, whose 128 bits cost as much as the path that asks.
    elapsed.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(elapsed.subsec_nanos()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the front page says, and the two counters of a handle.
    #[test]
    fn a_breaker_takes_128_bytes() {
        assert_eq!(size_of::<Shared<fn() -> u64>>() + 2 * size_of::<usize>(), 128);
        assert_eq!((size_of::<Attached>(), size_of::<Policy>()), (160, 120));
    }

    #[test]
    fn handles_and_permits_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Breaker>();
        crosses::<Permit<&'static Breaker>>();
        crosses::<OwnedPermit>();
    }
}
