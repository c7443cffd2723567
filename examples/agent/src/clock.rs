//! The pipeline's two clocks: wall time for log lines, monotonic time for everything else.
//!
//! Both follow the runtime's clock where that is paused, so a simulation decides what time it is.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Where parts read wall time.
#[derive(Debug, Clone, Copy, Default)]
pub enum Clock {
    /// The machine's.
    #[default]
    System,
    /// A given time that passes as the runtime's clock does.
    Simulated {
        /// Wall time at the start, nanoseconds since 1970.
        wall_ns: i64,
        /// [`monotonic_ns`] at the start.
        started_ns: u64,
    },
}

impl Clock {
    /// A clock that starts now at `wall_ns` and passes as the runtime's does.
    pub fn simulated(wall_ns: i64) -> Self {
        Self::Simulated { wall_ns, started_ns: monotonic_ns() }
    }

    /// Nanoseconds since 1970.
    pub fn wall_ns(self) -> i64 {
        match self {
            Self::System => jiff::Timestamp::now().as_nanosecond().try_into().unwrap_or(i64::MAX),
            Self::Simulated { wall_ns, started_ns } => {
                wall_ns.saturating_add_unsigned(monotonic_ns().saturating_sub(started_ns))
            }
        }
    }
}

/// A moment by which something has to be done, on [`monotonic_ns`]. The default is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// In `time` from now.
    pub fn after(time: Duration) -> Self {
        Self(monotonic_ns().saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long it is until then.
    pub fn left(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(monotonic_ns()))
    }
}

/// Monotonic nanoseconds since the process first asked, on the runtime's clock.
#[expect(clippy::disallowed_methods, reason = "the edge: here the pipeline meets the machine's time")]
pub fn monotonic_ns() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let origin = *ORIGIN.get_or_init(Instant::now);
    let elapsed = tokio::time::Instant::now().into_std().saturating_duration_since(origin);
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}
