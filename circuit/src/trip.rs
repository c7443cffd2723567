//! When a closed breaker opens: conditions, and how they combine.

use std::time::Duration;

/// A condition under which a closed breaker opens.
///
/// ```
/// use forebay_circuit::{Rate, Trip, Window};
///
/// // Five in a row; or half of the last hundred, if three of them came in a row.
/// let rate = Rate { permille: 500, min_calls: 20, over: Window::Calls(100) };
/// let trip = Trip::Consecutive(5).or(Trip::FailureRate(rate).and(Trip::Consecutive(3)));
/// assert!(matches!(trip, Trip::Any(ref either) if either.len() == 2));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Trip {
    /// So many failures in a row, at least 1. One success in between starts the count anew. Too low, and a hiccup
    /// stops all calls; too high, and every caller pays for an outage itself.
    Consecutive(u32),
    /// Of the calls in a window, so many failed.
    FailureRate(Rate),
    /// Of the calls in a window, so many took [`slow_call`](crate::Options::slow_call) or longer, whether they
    /// failed or not.
    SlowRate(Rate),
    /// So many calls in flight, at least 1, have taken [`slow_call`](crate::Options::slow_call) already. Finds out
    /// an endpoint that hangs without waiting for any call to end. Looked at when a call is asked for, once every
    /// eighth of `slow_call`, and when a call ends badly.
    SlowInFlight(u32),
    /// Any of these holds.
    Any(Vec<Self>),
    /// All of these hold.
    All(Vec<Self>),
}

/// A share of the calls in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Rate {
    /// The share from which on the condition holds, in thousandths: 1 to 1,000.
    pub permille: u32,
    /// Calls that the window has to hold before the rate means anything, at least 1 and at most the window's, or
    /// 262,144 for each slice of time. Too low, and the first failure after a quiet night is a rate of 100 %.
    pub min_calls: u32,
    /// Which calls.
    pub over: Window,
}

/// Which calls a rate is taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Window {
    /// The last so many that ended, 1 to 65,536. Each call pushes out the oldest.
    Calls(u32),
    /// Those that ended within a time.
    Time {
        /// How long the window is: the slice that is running, and the whole slices before it.
        span: Duration,
        /// Into how many slices it is cut, 1 to 1,024; a slice is at least a nanosecond. The window moves on by a
        /// slice at a time, so few slices forget much at once; each costs 8 bytes. More of them, too, where half a
        /// million calls end within one: from there on the slice counts for less than it holds.
        slices: u32,
    },
}

impl Trip {
    /// This condition or `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Any(mut either) => {
                either.push(other);
                Self::Any(either)
            }
            one => Self::Any(vec![one, other]),
        }
    }

    /// This condition and `other`.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match self {
            Self::All(mut both) => {
                both.push(other);
                Self::All(both)
            }
            one => Self::All(vec![one, other]),
        }
    }
}
