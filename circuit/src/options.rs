//! When a breaker opens, for how long, and what closes it again: what a person writes. [`Policy`] is what it is
//! parsed into.
//!
//! [`Policy`]: crate::policy::Policy

use std::time::Duration;

use crate::trip::Trip;

/// How a breaker behaves. The default suits a remote store that answers in seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct Options {
    /// What opens a closed breaker; 5 failures in a row by default.
    pub trip: Trip,
    /// From when on a call is slow; 5 s by default, at least 1 ms for
    /// [`Trip::SlowInFlight`]. Matters to the conditions
    /// that look at slow calls (where these are, a probe that is slow has failed), and to [`OnDrop::FailIfSlow`].
    pub slow_call: Duration,
    /// What it means that a permit is dropped without a report; nothing by default.
    pub on_drop: OnDrop,
    /// How long the breaker stays open at first; 1 s by default. Doubles with each opening that follows.
    pub open_for: Duration,
    /// The longest it stays open, however often it failed before and whatever the endpoint asks for; 60 s by
    /// default.
    pub max_open_for: Duration,
    /// Which part of the wait is left to chance, in percent; 20 by default: a wait of 10 s becomes 8 to 10 s.
    /// Without it, all that lost the same endpoint at the same time come back at the same time.
    pub jitter_percent: u32,
    /// What jitter is drawn from, together with the instant of the opening; 0 by default. The same seed and
    /// the same instants give the same waits.
    pub seed: u64,
    /// Probes permitted at the same time while half-open; 3 by default, at most 65,535.
    pub half_open_probes: u32,
    /// What the probes have to show; 3 successes before the first failure by default.
    pub verdict: Verdict,
    /// How long a half-open breaker whose slots are all taken waits for a verdict before it takes the probes
    /// for lost and issues their slots again; 5 s by default, as `slow_call`, so that no probe which is in time loses
    /// its slot. Give it the deadline of your calls. A probe that comes back later still counts, unless it failed and
    /// another has succeeded. Too short, and the slots of slow probes are issued twice; too long, and lost probes keep
    /// a recovered endpoint shut.
    pub half_open_max_wait: Duration,
    /// How long the breaker has to stay closed before the next opening begins with `open_for` again; 30 s by
    /// default. Too short, and a flapping endpoint is called at the pace of its first failure for ever.
    pub reset_after: Duration,
    /// Whether all calls are counted, for [`Snapshot::calls`](crate::Snapshot::calls); not by default, for it costs
    /// two atomic additions a call. Decided when the breaker is made:
    /// [`reconfigure`](crate::Breaker::reconfigure) leaves it as it is.
    pub count_calls: bool,
}

/// What a half-open breaker makes of its probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Verdict {
    /// So many successes close it, 1 to 65,535; the first failure opens it again.
    Successes(u32),
    /// Closes when `of` probes have ended, of which at most `max_failures` failed; opens with the failure beyond.
    Rate {
        /// Results that are waited for, 1 to 65,535.
        of: u32,
        /// How many of them may be failures: fewer than `of`.
        max_failures: u32,
    },
}

/// What a permit says that is dropped without a report. One that is dropped by a panic says failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum OnDrop {
    /// Nothing: somebody lost interest.
    #[default]
    Ignore,
    /// That the call failed: for callers that are cancelled only by their deadline.
    Fail,
    /// That it failed if it had taken [`Options::slow_call`] by then, and else nothing.
    FailIfSlow,
}

impl Options {
    /// Most probes permitted at once, and most results asked for.
    pub const MAX_PROBES: u32 = u16::MAX as u32;
    /// Most conditions in a [`Trip`], and the most deeply that they nest.
    pub const MAX_CONDITIONS: usize = 16;
    /// Most slices of a window of time.
    pub const MAX_SLICES: u32 = 1 << 10;
    /// Most calls of a window of calls.
    pub const MAX_WINDOW_CALLS: u32 = 1 << 16;
}

impl Default for Options {
    fn default() -> Self {
        Self {
            trip: Trip::Consecutive(5),
            slow_call: Duration::from_secs(5),
            on_drop: OnDrop::Ignore,
            open_for: Duration::from_secs(1),
            max_open_for: Duration::from_secs(60),
            jitter_percent: 20,
            seed: 0,
            half_open_probes: 3,
            verdict: Verdict::Successes(3),
            half_open_max_wait: Duration::from_secs(5),
            reset_after: Duration::from_secs(30),
            count_calls: false,
        }
    }
}

/// What is wrong with [`Options`] or [`ThrottleOptions`](crate::ThrottleOptions): the first thing found.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// A number that a breaker cannot work with, or that another option contradicts.
    #[error("{option} is {value} and must be {least} to {most}")]
    OutOfRange {
        /// The field.
        option: &'static str,
        /// What it says.
        value: u64,
        /// The least that it may say.
        least: u64,
        /// The most that it may say, as the other options are.
        most: u64,
    },
    /// A time so short that the breaker would never admit, never probe or never close.
    #[error("{option} is {value:?} and must be at least {least:?}")]
    TooShort {
        /// The field.
        option: &'static str,
        /// What it says.
        value: Duration,
        /// The least that it may say, as the other options are.
        least: Duration,
    },
    /// A trip condition that is made of none: it would hold always, or never.
    #[error("trip combines no conditions and must combine 1 to {most}")]
    NoConditions {
        /// How many it may combine.
        most: usize,
    },
    /// More conditions than a breaker looks at, or nested more deeply.
    #[error("trip has more than {most} conditions or levels and must have 1 to {most}")]
    TooManyConditions {
        /// How many it may have.
        most: usize,
    },
}

impl OptionsError {
    /// `Ok` if `value` lies within `least..=most`.
    pub(crate) fn range(
        option: &'static str,
        value: impl Into<u64>,
        least: u64,
        most: impl Into<u64>,
    ) -> Result<(), Self> {
        let (value, most) = (value.into(), most.into());
        if (least..=most).contains(&value) {
            return Ok(());
        }
        Err(Self::OutOfRange { option, value, least, most })
    }

    /// `Ok` if `value` is not below `least`.
    pub(crate) fn at_least(option: &'static str, value: Duration, least: Duration) -> Result<(), Self> {
        if value < least { Err(Self::TooShort { option, value, least }) } else { Ok(()) }
    }
}
