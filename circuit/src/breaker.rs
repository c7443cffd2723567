//! The breaker as its users see it: a handle on one [`Shared`] machine, and calls through it.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use crate::machine::Snapshot;
use crate::observer::Observer;
use crate::options::{Options, OptionsError, Policy};
use crate::permit::{Held, Permit};
use crate::shared::Shared;
use crate::state::{Outcome, Rejected, State};

/// A circuit breaker: a handle to be cloned, all clones are the same breaker.
///
/// ```
/// use forebay_circuit::{Breaker, CallError, Options};
///
/// let breaker = Breaker::new(Options { failure_threshold: 1, ..Options::default() })?;
/// let answer: Result<(), _> = breaker.call(|| Err("connection refused"));
/// assert!(matches!(answer, Err(CallError::Failed("connection refused"))));
/// // From here on nobody waits for what does not answer.
/// assert!(matches!(breaker.call(|| Ok::<_, &str>(())), Err(CallError::Rejected(_))));
/// # Ok::<(), forebay_circuit::OptionsError>(())
/// ```
pub struct Breaker<C = fn() -> u64> {
    shared: Arc<Shared<C>>,
}

/// Why [`Breaker::call`] has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError<E> {
    /// The call was not made.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The call was made, and failed.
    #[error(transparent)]
    Failed(E),
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
        Ok(Self::from_policy(Policy::try_from(options)?, clock, None))
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
        Ok(Self::from_policy(Policy::try_from(options)?, clock, Some(Box::new(observer))))
    }

    pub(crate) fn from_policy(policy: Policy, clock: C, observer: Option<Box<dyn Observer>>) -> Self {
        Self { shared: Arc::new(Shared::new(policy, clock, observer)) }
    }

    /// The right to one call. Report to the [`Permit`] how it ended.
    ///
    /// # Errors
    /// [`Rejected`] while the breaker is open, or half-open with every slot taken.
    pub fn try_acquire(&self) -> Result<Permit<C>, Rejected> {
        let ticket = self.shared.admit()?;
        Ok(Permit::new(Arc::clone(&self.shared), ticket))
    }

    /// Calls `f`, if that is permitted, and takes its result for the outcome. Writes nothing shared while the
    /// breaker is closed and `f` succeeds.
    ///
    /// # Errors
    /// [`CallError::Rejected`] if `f` was not called, [`CallError::Failed`] with the error of `f`.
    pub fn call<T, E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<T, CallError<E>> {
        self.call_with(|result| if result.is_ok() { Outcome::Success } else { Outcome::Failure }, f)
    }

    /// As [`call`](Self::call), but `classify` says what the result means for the endpoint: that a record does
    /// not exist is an error for the caller, and an answer all the same.
    ///
    /// # Errors
    /// [`CallError::Rejected`] if `f` was not called, [`CallError::Failed`] with the error of `f`.
    pub fn call_with<T, E>(
        &self,
        classify: impl FnOnce(&Result<T, E>) -> Outcome,
        f: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, CallError<E>> {
        let held = Held::new(&*self.shared, self.shared.admit()?);
        let result = f();
        let outcome = classify(&result);
        held.settle(outcome);
        result.map_err(CallError::Failed)
    }

    /// What the next call meets.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Everything about the breaker, for display.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// Rejects every call until [`reset`](Self::reset) or [`force_close`](Self::force_close).
    pub fn force_open(&self) {
        self.shared.update(|machine, now_ns| ((), machine.force_open(now_ns)));
    }

    /// Admits every call, whatever fails, until [`reset`](Self::reset) or [`force_open`](Self::force_open).
    pub fn force_close(&self) {
        self.shared.update(|machine, now_ns| ((), machine.force_close(now_ns)));
    }

    /// Closed as new: not forced, no failures, and the next wait is the first. Calls under way count no more.
    pub fn reset(&self) {
        self.shared.update(|machine, now_ns| ((), machine.reset(now_ns)));
    }

    /// How often the observer panicked.
    pub fn observer_panics(&self) -> u64 {
        self.shared.observer_panics()
    }

    /// Whether nobody else holds a handle or a permit, and a new breaker would behave the same.
    pub(crate) fn is_replaceable(&self, now_ns: u64) -> bool {
        Arc::strong_count(&self.shared) == 1 && self.shared.is_as_new(now_ns)
    }
}

impl<C> Clone for Breaker<C> {
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
    u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_and_permits_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Breaker>();
        crosses::<Permit>();
    }
}
