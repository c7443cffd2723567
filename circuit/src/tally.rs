//! All calls of a breaker, counted, for those who ask for it: S8.

use crate::snapshot::Calls;
use crate::state::Outcome;
use crate::sync::{AtomicU64, Ordering::Relaxed};

/// Counters that only grow. What is in flight follows from them.
#[derive(Debug)]
pub(crate) struct Tally {
    admitted: AtomicU64,
    rejected: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    ignored: AtomicU64,
    dropped: AtomicU64,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            admitted: zero(),
            rejected: zero(),
            succeeded: zero(),
            failed: zero(),
            ignored: zero(),
            dropped: zero(),
        }
    }

    pub(crate) fn asked(&self, admitted: bool) {
        if admitted { &self.admitted } else { &self.rejected }.fetch_add(1, Relaxed);
    }

    /// `dropped` and not reported; then `outcome` is what that is taken for.
    pub(crate) fn ended(&self, outcome: Outcome, dropped: bool) {
        let counter = match outcome {
            Outcome::Success => &self.succeeded,
            Outcome::Failure | Outcome::Throttled(_) => &self.failed,
            Outcome::Ignored if dropped => &self.dropped,
            Outcome::Ignored => &self.ignored,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn calls(&self) -> Calls {
        let [succeeded, failed, ignored, dropped] =
            [&self.succeeded, &self.failed, &self.ignored, &self.dropped]
                .map(|counter| counter.load(Relaxed));
        let (admitted, rejected) = (self.admitted.load(Relaxed), self.rejected.load(Relaxed));
        let ended = succeeded + failed + ignored + dropped;
        let in_flight = admitted.saturating_sub(ended);
        Calls { admitted, rejected, succeeded, failed, ignored, dropped, in_flight }
    }
}
