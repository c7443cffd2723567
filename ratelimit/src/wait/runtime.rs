//! The clock and the timer of tokio: in a runtime whose time is paused both stand still together, but for threads
//! outside of it, which read the real clock.

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::{Queue, QueueOptions};
use crate::quota::Quota;

impl Queue {
    /// A full limiter on tokio's clock and the timer of this runtime, for as long as that runs.
    ///
    /// Where the time of the runtime is paused, as in tests, the queue is asked from within it: a thread outside
    /// reads the real clock.
    ///
    /// # Panics
    /// Outside of a tokio runtime, or in one without a timer. When the runtime has been shut down, whoever has to
    /// wait, or leaves others waiting, panics: a queue does not go into a static that several runtimes use, such as
    /// those of tests.
    pub fn new(quota: Quota) -> Self {
        Self::with_options(quota, QueueOptions::default())
    }

    /// [`new`](Self::new) with other options.
    ///
    /// # Panics
    /// As there.
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
            // Not on the budget of the task that happens to set it: where that is used up, the timer would ring
            // at once, to be asked again at once.
            tokio::task::unconstrained(tokio::time::sleep(delay))
        })
    }
}
