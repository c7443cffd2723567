//! How much the caller's clock can be believed. Expiry is judged by wall time, and a wall clock that jumps
//! forward makes everything look old at once: any doubt means that nothing is deleted.

use std::fmt;
use std::time::Duration;

/// An instant as the caller's clocks see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Wall time, nanoseconds since 1970.
    pub wall_ns: i64,
    /// Monotonic time, nanoseconds since an origin of the caller's choice that stays the same for the life of
    /// the process. Take a clock that keeps counting while the machine sleeps (`CLOCK_BOOTTIME`), or waking up
    /// looks like a jump of the wall clock.
    pub monotonic_ns: u64,
    /// What the caller knows about its wall clock, for instance from its time synchronisation.
    pub health: ClockHealth,
}

impl Now {
    /// An instant of a wall clock that the caller believes.
    pub const fn trusted(wall_ns: i64, monotonic_ns: u64) -> Self {
        Self { wall_ns, monotonic_ns, health: ClockHealth::Trusted }
    }
}

/// What the caller says about its wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClockHealth {
    /// Synchronised, as far as the caller knows.
    Trusted,
    /// Not synchronised, or not known to be: plans list nothing as expired and sweeps delete nothing.
    Doubtful,
}

/// Why a wall clock is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ClockDoubt {
    /// The caller said so.
    Reported,
    /// Wall time lies this far behind an instant that a sweep has already seen.
    WentBack {
        /// By how much.
        by: Duration,
    },
    /// Wall time gained this much over monotonic time.
    JumpedForward {
        /// By how much.
        by: Duration,
    },
}

impl fmt::Display for ClockDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reported => write!(f, "the clock is reported as not synchronised"),
            Self::WentBack { by } => write!(f, "wall time is {by:?} behind what an earlier sweep saw"),
            Self::JumpedForward { by } => write!(f, "wall time gained {by:?} over monotonic time"),
        }
    }
}
