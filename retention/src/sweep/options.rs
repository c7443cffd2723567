//! How a sweeper works, and how much it may delete at once before it asks.

use std::time::Duration;

use crate::plan::{Refusal, Tally};
use crate::store::Fresh;

/// How a sweeper works.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// How long a chunk stays marked before it may go. Default 2 hours, as Loki's `retention_delete_delay`. The
    /// time to notice a mistaken policy; a shortened policy takes effect no sooner.
    pub delete_delay: Duration,
    /// How many chunks are listed and judged in one step. Default 1000. Memory grows with it.
    pub page: usize,
    /// How many chunks are deleted in one step. Default 1000, what S3 takes in one request. Placing a hold
    /// waits for at most one batch of each sweeper.
    pub batch: usize,
    /// How many deletions of a tenant may have begun and not ended, because the object store refuses them,
    /// until no more are begun. Default 2000. They are tried again in every pass.
    pub max_open_intents: usize,
    /// The share of a tenant's chunks, and of their bytes, that one pass may find newly expired; more, and
    /// nothing is deleted, in this pass and all that follow, until the limit is raised or less has expired.
    /// Chunks that a pass has let through are not counted again while they wait out their delay. Default
    /// 0.2. Raise it for one sweep to let a large clean-up through.
    pub max_delete_fraction: f64,
    /// Below this many newly expired chunks the share does not matter. Default 100, so that a tenant who stopped
    /// sending can run out.
    pub guard_from_chunks: u64,
    /// How far wall time may depart from monotonic time before the clock is doubted. Default one minute.
    pub clock_tolerance: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            delete_delay: Duration::from_hours(2),
            page: 1000,
            batch: 1000,
            max_open_intents: 2000,
            max_delete_fraction: 0.2,
            guard_from_chunks: 100,
            clock_tolerance: Duration::from_mins(1),
        }
    }
}

impl Options {
    /// Is `fresh`, of all that is `listed`, too much for one pass?
    pub(super) fn refusal(&self, listed: Tally, fresh: Fresh) -> Option<Refusal> {
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 / whole as f64 };
        let share = share(fresh.chunks, listed.chunks).max(share(fresh.bytes, listed.bytes));
        // Written so that a limit that is not a number refuses.
        let within = fresh.chunks < self.guard_from_chunks || share <= self.max_delete_fraction;
        (!within).then_some(Refusal::BlastRadius {
            expired_chunks: fresh.chunks,
            listed_chunks: listed.chunks,
            max_fraction: self.max_delete_fraction,
        })
    }
}
