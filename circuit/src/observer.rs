//! Telling others: every transition once, in order, outside of every lock.
//!
//! The thread that brings a transition about puts it into the outbox under the breaker's lock, and delivers
//! after releasing both. If another thread is delivering already, it is left to that one: so events never
//! overtake each other, an observer may call the breaker (what that brings about is delivered after it
//! returns), and nobody waits for an observer but the thread that runs it.

use std::collections::VecDeque;

use crate::state::Phase;

/// Wants to know of transitions. Closures that take a [`Transition`] do.
///
/// Runs in the thread whose call brought a transition about, or in one that is delivering already: be quick.
/// A panic is caught, and counted by [`Breaker::observer_panics`](crate::Breaker::observer_panics).
pub trait Observer: Send + Sync {
    /// Called for each transition, in the order of [`Transition::sequence`]. A gap in it says that the
    /// observer was too slow: of more than 1,024 transitions undelivered, the oldest are dropped.
    fn on_transition(&self, transition: Transition);
}

impl<F: Fn(Transition) + Send + Sync> Observer for F {
    fn on_transition(&self, transition: Transition) {
        self(transition);
    }
}

/// A change of phase.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Transition {
    /// Counts the transitions of a breaker from 1 without a gap.
    pub sequence: u64,
    /// The phase before.
    pub from: Phase,
    /// The phase after.
    pub to: Phase,
    /// Why.
    pub cause: Cause,
    /// When, on the breaker's clock.
    pub at_ns: u64,
}

/// Why a breaker changed its phase.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Cause {
    /// Closed to open: too many failures in a row.
    ConsecutiveFailures,
    /// Closed to open: too many of the calls in a window failed.
    FailureRate,
    /// Closed to open: too many of the calls in a window were slow.
    SlowRate,
    /// Closed to open: too many calls in flight were slow already.
    SlowInFlight,
    /// Open to half-open: the wait is over.
    WaitOver,
    /// Half-open to open: too many probes failed.
    ProbeFailed,
    /// Half-open to closed: enough probes succeeded.
    ProbesSucceeded,
    /// Somebody said so.
    Manual,
}

impl Cause {
    /// Its name in metrics: `consecutive_failures`, `wait_over` and so on.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConsecutiveFailures => "consecutive_failures",
            Self::FailureRate => "failure_rate",
            Self::SlowRate => "slow_rate",
            Self::SlowInFlight => "slow_in_flight",
            Self::WaitOver => "wait_over",
            Self::ProbeFailed => "probe_failed",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::Manual => "manual",
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Transitions on their way. They are put in under the breaker's lock, in the order in which they happen.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Transition>,
    /// Whether a thread has taken it upon itself to empty the queue.
    delivering: bool,
}

impl Outbox {
    const CAPACITY: usize = 1_024;

    /// Whether the caller has to deliver.
    pub(crate) fn push(&mut self, transition: Transition) -> bool {
        if self.queue.len() == Self::CAPACITY {
            self.queue.pop_front();
        }
        self.queue.push_back(transition);
        !std::mem::replace(&mut self.delivering, true)
    }

    /// The next to deliver; after nothing, the caller has delivered.
    pub(crate) fn pop(&mut self) -> Option<Transition> {
        let next = self.queue.pop_front();
        self.delivering = next.is_some();
        next
    }
}
