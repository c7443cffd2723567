//! The clock and the timer of tokio: in a runtime whose time is paused both stand still together.

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{Queue, QueueOptions};
use crate::quota::Quota;

impl Queue {
    /// A full limiter on tokio's clock and timer.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without a timer.
    pub fn new(quota: Quota) -> Self {
        Self::with_options(quota, QueueOptions::default())
    }

    /// [`new`](Self::new) with other options.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without a timer.
    #[expect(clippy::disallowed_methods, reason = "the edge: the clock that goes with the timer")]
    pub fn with_options(quota: Quota, options: QueueOptions) -> Self {
        let runtime = Handle::current();
        let origin = Instant::now();
        let clock = move || {
            let elapsed = Instant::now().saturating_duration_since(origin);
            u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
        };
        // Entered each time: the timer is also set by whoever releases tokens or changes the quota, on threads
        // that know of no runtime.
        Self::with_timer(quota, options, clock, move |delay| {
            let _inside = runtime.enter();
            tokio::time::sleep(delay)
        })
    }
}
