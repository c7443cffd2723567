//! A breaker at one instant, for display.

use crate::observer::Cause;
use crate::state::{Control, State};

/// A breaker at one instant, for display.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Snapshot {
    /// What the next call meets.
    pub state: State,
    /// Who decides.
    pub control: Control,
    /// Whether it is open in name only, and admits, because too many breakers of its
    /// [`Registry`](crate::Registry) are.
    pub spared: bool,
    /// Which generation; a new one begins with every transition.
    pub generation: u64,
    /// Which half-open round of the generation: how often its probes were taken for lost.
    pub round: u32,
    /// Transitions so far: the latest [`Transition::sequence`](crate::Transition::sequence).
    pub transitions: u64,
    /// Failures in a row while closed, if the trip condition asks for them.
    pub consecutive_failures: u32,
    /// Openings in a row that came to nothing: the exponent of the next wait, unless the breaker has been closed for
    /// [`reset_after`](crate::Options::reset_after) by then.
    pub attempt: u32,
    /// Probes of this round that have not come back.
    pub in_flight: u32,
    /// Probes of this generation that succeeded.
    pub successes: u32,
    /// Probes of this generation that failed.
    pub failures: u32,
    /// All probes of all rounds.
    pub probes: Probes,
    /// Results at which it would have opened, had it not been set to [`Control::MetricsOnly`].
    pub suppressed_trips: u64,
    /// What each condition of the trip reads, from left to right; while closed.
    pub readings: Vec<Reading>,
    /// All calls, if they are counted ([`Options::count_calls`](crate::Options::count_calls)).
    pub calls: Option<Calls>,
}

/// What a condition of a [`Trip`](crate::Trip) reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Reading {
    /// Which condition, named after what it would cause.
    pub condition: Cause,
    /// Failures in a row, failures or slow calls in the window, or slow calls in flight.
    pub hits: u64,
    /// Calls in the window, or in flight; nothing for failures in a row.
    pub calls: Option<u64>,
}

/// What became of the probes, since the breaker was made. The probes issued are the sum of the others and of
/// [`Snapshot::in_flight`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Probes {
    /// Slots given out.
    pub issued: u64,
    /// Ended in success while it counted.
    pub succeeded: u64,
    /// Ended in failure while it counted.
    pub failed: u64,
    /// Said nothing, and gave their slots back.
    pub ignored: u64,
    /// Were still under way when the breaker closed or opened, or are taken for lost.
    pub void: u64,
}

/// What became of all calls, since the breaker was made. Without threads at work, the calls admitted are the sum
/// of those that ended and of those in flight, leaked ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Calls {
    /// Permits given out.
    pub admitted: u64,
    /// Permits refused.
    pub rejected: u64,
    /// Reported as success, whether or not that still counted.
    pub succeeded: u64,
    /// Reported as failure or throttled, or taken for it.
    pub failed: u64,
    /// Reported as ignored.
    pub ignored: u64,
    /// Dropped without a report, and that not taken for failure.
    pub dropped: u64,
    /// Not heard of again so far.
    pub in_flight: u64,
}

impl Reading {
    pub(crate) fn failures(failures: u32) -> Self {
        Self { condition: Cause::ConsecutiveFailures, hits: u64::from(failures), calls: None }
    }

    /// The rate in thousandths, where there are calls.
    pub fn permille(&self) -> Option<u64> {
        self.calls.filter(|calls| *calls > 0).map(|calls| self.hits.saturating_mul(1_000) / calls)
    }
}
