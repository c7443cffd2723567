//! The time that the agent goes by, and its waits: an argument, so that tests need neither.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::{Clock, monotonic_ns};

/// Clocks, and waits on them.
pub trait Pace: Clone + fmt::Debug + Send + Sync + 'static {
    /// Monotonic nanoseconds since whenever.
    fn now_ns(&self) -> u64;

    /// Nanoseconds since 1970.
    fn wall_ns(&self) -> i64;

    /// Ends when `time` has passed.
    fn wait(&self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// The machine's time.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemPace;

impl Pace for SystemPace {
    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }

    fn wall_ns(&self) -> i64 {
        Clock::System.wall_ns()
    }

    async fn wait(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// Time that passes by waiting only: a wait ends as soon as others had their turn, and its time has passed then.
/// Clones are the same time.
#[derive(Debug, Clone, Default)]
pub struct SteppedPace {
    now_ns: Arc<AtomicU64>,
}

impl SteppedPace {
    /// Where [`Pace::wall_ns`] starts: 2026-03-07 12:00:00 UTC.
    pub const START_NS: i64 = 1_772_884_800_000_000_000;

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.now_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

impl Pace for SteppedPace {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::Relaxed)
    }

    fn wall_ns(&self) -> i64 {
        Self::START_NS.saturating_add_unsigned(self.now_ns())
    }

    async fn wait(&self, time: Duration) {
        tokio::task::yield_now().await;
        self.advance(time);
    }
}
