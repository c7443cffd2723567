//! How long a leader waits for others to join its group: when a group was synced, all its writers come back at
//! nearly the same time, and whoever leads the moment the first is there leaves the rest to wait for a sync more.

use std::time::Duration;

use parking_lot::MutexGuard;

use crate::commit::Queue;
use crate::fs::Fs;
use crate::leader::Inner;

/// Syncs that are shorter are over before waiting could gain anything.
const WORTH_NS: u64 = 100_000;
/// No wait is longer.
const MOST_NS: u64 = 200_000;

/// For how long to wait, at most, until as many wait for a sync as the last one served: an eighth of what a sync
/// takes. `None` is not at all, as where there was only one, who comes back after his own answer.
#[inline]
fn window_ns(sync_ns: u64, last: usize, waiting: usize) -> Option<u64> {
    let worth = sync_ns > WORTH_NS && last > 1 && waiting < last;
    worth.then(|| (sync_ns / 8).min(MOST_NS))
}

impl<F: Fs> Inner<F> {
    /// Leads, and waits for others to join, where the time of a sync says that this is worth it.
    pub(crate) fn gather(&self, queue: &mut MutexGuard<'_, Queue>, own: usize) {
        let (waiting, last) = queue.waiting_for_sync();
        let sync_ns = self.home.counters.sync_ewma_ns();
        if !self.home.options.gather || waiting + own == 0 {
            return;
        }
        let Some(window_ns) = window_ns(sync_ns, last, waiting + own) else { return };
        let until_ns = self.home.options.time.monotonic_ns().saturating_add(window_ns);
        let Gathering { queue, .. } = &mut Gathering::new(self, queue, last - own);
        // A clock that stands still must not hold up a log.
        for _ in 0..1000 {
            let left_ns = until_ns.saturating_sub(self.home.options.time.monotonic_ns());
            if left_ns == 0 || queue.waiting_for_sync().0 >= last - own || queue.refusal(false).is_some() {
                break;
            }
            self.gathered.wait_for(queue, Duration::from_nanos(left_ns));
        }
    }

    pub(crate) fn tell_gathering(&self, enough: bool) {
        if enough {
            self.gathered.notify_one();
        }
    }
}

/// The wait of a leader for others. Nobody else leads meanwhile; where the clock panics somebody else may again.
struct Gathering<'a, 'q, F: Fs> {
    inner: &'a Inner<F>,
    queue: &'a mut MutexGuard<'q, Queue>,
}

impl<'a, 'q, F: Fs> Gathering<'a, 'q, F> {
    fn new(inner: &'a Inner<F>, queue: &'a mut MutexGuard<'q, Queue>, enough: usize) -> Self {
        queue.gather(Some(enough));
        Self { inner, queue }
    }
}

impl<F: Fs> Drop for Gathering<'_, '_, F> {
    fn drop(&mut self) {
        self.queue.gather(None);
        if std::thread::panicking() {
            let handoff = self.queue.leave();
            MutexGuard::unlocked(self.queue, || self.inner.hand_off(handoff));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::fs::sim::SimFs;
    use crate::{Lsn, Options, Time, Wal};

    #[test]
    fn a_clock_that_panics_leaves_the_lead_to_others() {
        let left = Arc::new(AtomicU64::new(u64::MAX));
        let looks = left.clone();
        let clock = move || {
            assert!(looks.fetch_sub(1, Ordering::Relaxed) > 0, "the clock has had enough");
            0
        };
        let options = Options { time: Time::new(clock, || 0), ..Options::default() };
        let (wal, _) = Wal::open_in(SimFs::new(0), "/log", options).unwrap();
        wal.inner.home.counters.synced(1_000_000, true);
        wal.inner.queue.lock().serves(2);
        left.store(2, Ordering::Relaxed);
        assert!(catch_unwind(AssertUnwindSafe(|| wal.append("a"))).is_err());
        assert!(!wal.inner.queue.lock().is_leading());
        wal.inner.queue.lock().serves(1);
        left.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(wal.append("b").unwrap(), Lsn(2));
        assert_eq!(wal.reader(Lsn::FIRST).count(), 2, "nobody knew of the first, and it was there");
    }

    #[test]
    fn a_leader_waits_where_that_gains_something() {
        const MS: u64 = 1_000_000;
        let table = [
            // A single writer never waits.
            (MS, 1, 1, None),
            (MS, 0, 1, None),
            (MS, 64, 1, Some(125_000)),
            (MS, 64, 63, Some(125_000)),
            (MS, 64, 64, None),
            (MS, 64, 90, None),
            (10 * MS, 64, 1, Some(200_000)),
            // A sync that costs next to nothing, or has no measure yet.
            (100_000, 64, 1, None),
            (100_008, 64, 1, Some(12_501)),
            (0, 64, 1, None),
        ];
        for (sync_ns, last, waiting, window) in table {
            assert_eq!(window_ns(sync_ns, last, waiting), window, "{sync_ns} {last} {waiting}");
        }
    }
}
