//! When records are synced for which no append waits: what the policy says, as arithmetic without a clock.

use std::time::Duration;

use crate::Durability;

/// What an append without a level of its own waits for, and when all else is synced.
///
/// Whatever it is, an append of [`Durability::Synced`] and [`Wal::sync`](crate::Wal::sync) sync at once, and with
/// them all that came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SyncPolicy {
    /// An append waits until it is [synced](Durability::Synced). What was appended at a lower level is synced with
    /// the next that is not.
    #[default]
    Always,
    /// An append waits until it is [written](Durability::Written). A record is on the media so long after it was
    /// appended, and one sync, at the latest, whether or not anything comes behind it: by the thread of
    /// [`Wal::open`](crate::Wal::open) or of `AsyncWal::start`, or by whoever calls
    /// [`Wal::maintain`](crate::Wal::maintain) when that says so. The thread also makes segments: what is due meanwhile
    /// waits for 256 KiB of zeros at most.
    Interval(Duration),
    /// An append waits until it is written. The one that makes so many bytes since the last sync syncs them.
    Bytes(u64),
    /// An append waits until it is written, and nothing is synced unless somebody asks for it, but for a segment
    /// that is full.
    Manual,
}

impl SyncPolicy {
    /// What an append waits for that does not say.
    #[inline]
    pub(crate) fn level(self) -> Durability {
        if self == Self::Always { Durability::Synced } else { Durability::Written }
    }

    /// Whether it matters when records came.
    #[inline]
    pub(crate) fn is_timed(self) -> bool {
        matches!(self, Self::Interval(_))
    }

    /// Whether so many bytes that are not synced are enough.
    #[inline]
    pub(crate) fn is_due_at(self, bytes: u64) -> bool {
        matches!(self, Self::Bytes(limit) if bytes >= limit && bytes > 0)
    }

    /// In how many nanoseconds what came at `since_ns`, and is not synced, has to be.
    #[inline]
    pub(crate) fn due_in_ns(self, since_ns: Option<u64>, now_ns: u64) -> Option<u64> {
        let (Self::Interval(interval), Some(since_ns)) = (self, since_ns) else { return None };
        let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        Some(interval_ns.saturating_sub(now_ns.saturating_sub(since_ns)))
    }
}

/// When the oldest of the records came that are not synced: of those that are not written, and of those that are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Unsynced {
    intake_ns: Option<u64>,
    written_ns: Option<u64>,
}

impl Unsynced {
    #[inline]
    pub(crate) fn since_ns(&self) -> Option<u64> {
        let written_ns = self.written_ns.filter(|_| !cfg!(wal_mutant = "lazy_interval"));
        written_ns.or(self.intake_ns)
    }

    /// A record comes; whether it is the first.
    #[inline]
    pub(crate) fn came(&mut self, now_ns: impl FnOnce() -> u64) -> bool {
        let is_first = self.since_ns().is_none();
        if self.intake_ns.is_none() {
            self.intake_ns = Some(now_ns());
        }
        is_first
    }

    /// What came is being written.
    #[inline]
    pub(crate) fn taken(&mut self) {
        self.written_ns = self.written_ns.or(self.intake_ns.take());
        self.intake_ns = None;
    }

    /// What was taken is not written after all, and some of it, or of what came since, is `kept`.
    pub(crate) fn refused(&mut self, kept: bool) {
        self.intake_ns = self.written_ns.or(self.intake_ns).filter(|_| kept);
    }

    /// What was written is synced.
    #[inline]
    pub(crate) fn synced(&mut self) {
        self.written_ns = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn an_interval_counts_from_the_oldest_record() {
        let policy = SyncPolicy::Interval(Duration::from_millis(10));
        let table = [
            (None, 7 * MS, None),
            (Some(0), 0, Some(10 * MS)),
            (Some(MS), 4 * MS, Some(7 * MS)),
            (Some(MS), 11 * MS, Some(0)),
            (Some(MS), 99 * MS, Some(0)),
            // A clock that goes back is no reason to wait for longer than the interval.
            (Some(9 * MS), 0, Some(10 * MS)),
        ];
        for (since, now, due) in table {
            assert_eq!(policy.due_in_ns(since, now), due, "{since:?} at {now}");
        }
        for policy in [SyncPolicy::Always, SyncPolicy::Bytes(1), SyncPolicy::Manual] {
            assert_eq!(policy.due_in_ns(Some(0), u64::MAX), None);
        }
        let forever = SyncPolicy::Interval(Duration::MAX);
        assert_eq!(forever.due_in_ns(Some(0), MS), Some(u64::MAX - MS));
    }

    #[test]
    fn bytes_count_for_the_policy_that_counts_them() {
        let table = [
            (SyncPolicy::Bytes(100), 99, false),
            (SyncPolicy::Bytes(100), 100, true),
            (SyncPolicy::Bytes(0), 0, false),
            (SyncPolicy::Bytes(0), 1, true),
            (SyncPolicy::Manual, u64::MAX, false),
            (SyncPolicy::Always, u64::MAX, false),
        ];
        for (policy, bytes, due) in table {
            assert_eq!(policy.is_due_at(bytes), due, "{policy:?} at {bytes}");
        }
    }

    #[test]
    fn the_oldest_record_is_the_oldest_whatever_becomes_of_the_others() {
        let mut unsynced = Unsynced::default();
        assert!(unsynced.came(|| 1) && !unsynced.came(|| 2));
        unsynced.taken();
        assert!(!unsynced.came(|| 3));
        assert_eq!(unsynced.since_ns(), Some(1));
        unsynced.synced();
        assert_eq!(unsynced.since_ns(), Some(3), "it came when the others were written already");
        unsynced.taken();
        unsynced.came(|| 4);
        unsynced.refused(true);
        unsynced.synced();
        assert_eq!(unsynced.since_ns(), Some(3));
        unsynced.refused(false);
        assert_eq!(unsynced.since_ns(), None);
    }
}
