//! How long a leader waits for others to join its group: when a group was synced, all its writers come back at
//! nearly the same time, and whoever leads the moment the first is there leaves the rest to wait for a sync more.
//!
//! Those who were answered and those who had come meanwhile are all expected. So two halves of the writers that take
//! turns become one group; where only as many as the last sync served are waited for, they take turns for ever.

use std::time::Duration;

use parking_lot::MutexGuard;

use crate::commit::Queue;
use crate::fs::Fs;
use crate::leader::Inner;

/// Syncs that are shorter are over before waiting could gain anything.
const WORTH_NS: u64 = 100_000;
/// What a thread may take to come back behind the one before.
const GAP_NS: u64 = 20_000;

/// How long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Patience {
    /// For one more.
    gap_ns: u64,
    /// For all of them.
    most_ns: u64,
}

/// As long as a sync takes, which is what those wait longer who come too late, until as many wait for one as are
/// expected, and a part of that for each. `None` is not at all, as where there is only
/// one, who comes back after his own answer.
#[inline]
fn patience(sync_ns: u64, expected: usize, waiting: usize) -> Option<Patience> {
    let worth = sync_ns > WORTH_NS && expected > 1 && waiting < expected;
    worth.then(|| Patience { gap_ns: GAP_NS.max(sync_ns / 16), most_ns: sync_ns })
}

impl<F: Fs> Inner<F> {
    /// Leads, and waits for others to join, where the time of a sync says that this is worth it, as long as they come, and
    /// until somebody asks for more than that.
    pub(crate) fn gather(&self, queue: &mut MutexGuard<'_, Queue>, own: usize) {
        let (mut came, expected) = queue.waiting_for_sync();
        let sync_ns = self.home.counters.sync_ewma_ns();
        if !self.home.options.gather || came + own == 0 || queue.is_asked() {
            return;
        }
        let Some(patience) = patience(sync_ns, expected, came + own) else { return };
        let enough = expected - own;
        let now_ns = || self.home.options.time.monotonic_ns();
        let begun_ns = now_ns();
        let most_ns = begun_ns.saturating_add(patience.most_ns);
        let until = |now_ns: u64| now_ns.saturating_add(patience.gap_ns).min(most_ns);
        let mut until_ns = until(begun_ns);
        let Gathering { queue, .. } = &mut Gathering::new(self, queue, enough);
        // A clock that stands still must not hold up a log: so many waits take as long as all may.
        for _ in 0..patience.most_ns / patience.gap_ns {
            let (now_ns, (waiting, _)) = (now_ns(), queue.waiting_for_sync());
            if waiting > came {
                (came, until_ns) = (waiting, until(now_ns));
            }
            if waiting >= enough || now_ns >= until_ns || queue.is_asked() {
                break;
            }
            self.gathered.wait_for(queue, Duration::from_nanos(until_ns - now_ns));
        }
    }

    /// As many wait as the leader waits for, or somebody asks for something else.
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

    fn served(wal: &Wal<SimFs>, waiting: usize) {
        let mut queue = wal.inner.queue.lock();
        queue.serves(waiting);
        queue.served();
    }

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
        served(&wal, 2);
        left.store(2, Ordering::Relaxed);
        assert!(catch_unwind(AssertUnwindSafe(|| wal.append("a"))).is_err());
        assert!(!wal.inner.queue.lock().is_leading());
        served(&wal, 1);
        left.store(u64::MAX, Ordering::Relaxed);
        assert_eq!(wal.append("b").unwrap(), Lsn(2));
        assert_eq!(wal.reader(Lsn::FIRST).count(), 2, "nobody knew of the first, and it was there");
    }

    /// A thousand waits of a sixteenth, each up to its end, were 62 times what a sync takes.
    #[test]
    fn a_clock_that_stands_still_holds_a_commit_up_for_one_sync() {
        let looks = Arc::new(AtomicU64::new(0));
        let counted = looks.clone();
        let clock = move || {
            counted.fetch_add(1, Ordering::Relaxed);
            0
        };
        let options = Options { time: Time::new(clock, || 0), ..Options::default() };
        let (wal, _) = Wal::open_in(SimFs::new(0), "/log", options).unwrap();
        wal.append("a").unwrap();
        let looks_of = |expected| {
            wal.inner.home.counters.synced(1_000_000, true);
            served(&wal, expected);
            let before = looks.load(Ordering::Relaxed);
            wal.append("b").unwrap();
            looks.load(Ordering::Relaxed) - before
        };
        let (alone, gathering) = (looks_of(1), looks_of(2));
        assert_eq!(gathering - alone, 1 + 16, "once, and before each of sixteen waits");
    }

    /// They waited with the leader, whose clock stands still here and who has a sync of a year to share.
    #[test]
    fn whoever_asks_for_more_ends_the_wait() {
        type Ask = fn(&Wal<SimFs>) -> bool;
        let asks: [Ask; 4] = [
            |wal| wal.truncate_before(Lsn(1)).is_ok(),
            |wal| wal.rotate().is_ok(),
            |wal| wal.checkpoint(Lsn(1), b"").is_ok(),
            |wal| wal.close().is_ok(),
        ];
        for ask in asks {
            let options = Options { time: Time::frozen(), ..Options::default() };
            let (wal, _) = Wal::open_in(SimFs::new(0), "/log", options).unwrap();
            wal.inner.home.counters.synced(365 * 86_400 * 1_000_000_000, true);
            served(&wal, 2);
            std::thread::scope(|scope| {
                let leading = scope.spawn(|| wal.append("a"));
                while !wal.inner.queue.lock().is_gathering() {
                    std::thread::yield_now();
                }
                assert!(ask(&wal));
                assert_eq!(leading.join().unwrap().unwrap(), Lsn(1));
            });
        }
    }

    #[test]
    fn a_leader_waits_where_that_gains_something() {
        const MS: u64 = 1_000_000;
        let patience_of = |gap_ns, most_ns| Some(Patience { gap_ns, most_ns });
        let table = [
            // A single writer never waits.
            (MS, 1, 1, None),
            (MS, 0, 1, None),
            (MS, 64, 1, patience_of(62_500, MS)),
            (MS, 64, 63, patience_of(62_500, MS)),
            (MS, 64, 64, None),
            (MS, 64, 90, None),
            (10 * MS, 64, 1, patience_of(625_000, 10 * MS)),
            // A sync that costs next to nothing, or has no measure yet.
            (100_000, 64, 1, None),
            (100_008, 64, 1, patience_of(20_000, 100_008)),
            (0, 64, 1, None),
        ];
        for (sync_ns, expected, waiting, wanted) in table {
            assert_eq!(patience(sync_ns, expected, waiting), wanted, "{sync_ns} {expected} {waiting}");
        }
    }
}
