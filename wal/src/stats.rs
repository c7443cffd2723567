//! Numbers for dashboards: counted where things happen, read without a lock.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::error::{DamageClass, Reject};
use crate::report::RecoveryReport;
use crate::times::Times;

/// What a log has done since it was opened, and how it stands. A snapshot; the fields are read one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Records written.
    pub appended_records: u64,
    /// Bytes of those records.
    pub appended_bytes: u64,
    /// Bytes written for them and for the log itself, zero-filling not counted.
    pub physical_bytes: u64,
    /// Groups written: records, or one frame of the log's own.
    pub groups: u64,
    /// Syncs of segment files.
    pub syncs: u64,
    /// Nanoseconds spent in them.
    pub sync_ns: u64,
    /// Syncs that failed.
    pub sync_failures: u64,
    /// Writes that failed.
    pub write_failures: u64,
    /// The longest sync so far, in nanoseconds.
    pub longest_sync_ns: u64,
    /// What a sync takes at present, in nanoseconds: a mean in which each counts an eighth and the older ones ever less.
    pub sync_ewma_ns: u64,
    /// Syncs by how long they took: less than a microsecond, less than 2, less than 4, and so on; the last counts all
    /// above.
    pub sync_times: [u64; 24],
    /// Appends of threads that returned when they were synced, by how long that took, as
    /// [`sync_times`](Self::sync_times).
    pub append_waits: [u64; 24],
    /// Nanoseconds since the oldest record was written that is not synced; 0 where all are that are written.
    pub durable_lag_ns: u64,
    /// Groups by how many records they have: none or one, 2 to 3, 4 to 7, and so on; the last counts all above.
    pub group_records: [u64; 16],
    /// Records whose append was answered, or could have been, and that no sync has made durable.
    pub unsynced_records: u64,
    /// Bytes of them, with what they take in frames where they are written.
    pub unsynced_bytes: u64,
    /// Segments sealed and followed by the next.
    pub rotations: u64,
    /// Nanoseconds that this took, while nothing else was written.
    pub rotation_ns: u64,
    /// The longest of them.
    pub longest_rotation_ns: u64,
    /// Segments made from the file of an earlier one.
    pub recycled_segments: u64,
    /// Requests refused, by reason.
    pub rejected: Rejections,
    /// Bytes of records that are not done with, counted as for
    /// [`Options::max_inflight_bytes`](crate::Options::max_inflight_bytes).
    pub inflight_bytes: u64,
    /// Segments with records.
    pub segments: u64,
    /// Bytes that the segment files take, the one made ahead included.
    pub disk_bytes: u64,
    /// Bytes of the segment that is made ahead, or is being made; part of [`disk_bytes`](Self::disk_bytes).
    pub reserve_bytes: u64,
    /// Bytes of files that are kept to be used again.
    pub spare_bytes: u64,
    /// Whether no segment could be had when one was last wanted, mostly because the disk or the log is full, and none was
    /// given back since: appends are refused as soon as the segment being written is full.
    pub starved: bool,
    /// Nanoseconds that opening took.
    pub recovery_ns: u64,
    /// Records that it found.
    pub recovered_records: u64,
    /// Bytes that it cut off the end.
    pub torn_bytes: u64,
    /// Numbers of records that were durable and that it found lost.
    pub lost_records: u64,
    /// Damage of durable records: what opening found and a repair was asked for, and what readers and tails have come
    /// upon since.
    pub corruptions: Corruptions,
    /// Whether a failure has ended all writing until the log is reopened.
    pub poisoned: bool,
}

/// Refused requests by [`Reject`], each under its name. The name of a stream that is none, and a stream too many, count as
/// `too_large`; what is asked of a stream that was dropped counts as `closed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the reason of that name")]
pub struct Rejections {
    pub no_space: u64,
    pub quota_exceeded: u64,
    pub too_large: u64,
    pub backpressure: u64,
    pub closed: u64,
    pub poisoned: u64,
    pub io: u64,
    pub numbers_used_up: u64,
    pub not_appended: u64,
}

/// Damage by [`DamageClass`], each under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the class of that name")]
pub struct Corruptions {
    pub damaged_durable: u64,
    pub missing_segment: u64,
    pub bad_header: u64,
    pub foreign: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    appended_records: AtomicU64,
    appended_bytes: AtomicU64,
    physical_bytes: AtomicU64,
    groups: AtomicU64,
    group_records: [AtomicU64; 16],
    longest_sync_ns: AtomicU64,
    sync_ewma_ns: AtomicU64,
    syncs: AtomicU64,
    sync_ns: AtomicU64,
    sync_failures: AtomicU64,
    write_failures: AtomicU64,
    sync_times: Times,
    pub(crate) append_waits: Times,
    /// When the oldest record was written that is not synced; 0 where there is none.
    unsynced_since_ns: AtomicU64,
    recovery_ns: AtomicU64,
    recovered_records: AtomicU64,
    torn_bytes: AtomicU64,
    lost_records: AtomicU64,
    corruptions: [AtomicU64; 4],
    rotation_ns: AtomicU64,
    longest_rotation_ns: AtomicU64,
    rotations: AtomicU64,
    recycled: AtomicU64,
    rejected: [AtomicU64; 9],
    poisoned: AtomicBool,
}

impl Counters {
    /// Records of one write; only the leader writes.
    #[inline]
    pub(crate) fn appended(&self, records: u64, bytes: u64) {
        add(&self.appended_records, records);
        add(&self.appended_bytes, bytes);
        let class = (63 - (records | 1).leading_zeros()) as usize;
        add(&self.group_records[class.min(self.group_records.len() - 1)], 1);
    }

    /// Bytes of one write; only the leader writes.
    #[inline]
    pub(crate) fn written(&self, bytes: u64) {
        add(&self.groups, 1);
        add(&self.physical_bytes, bytes);
    }

    pub(crate) fn synced(&self, ns: u64, ok: bool) {
        self.syncs.fetch_add(1, Relaxed);
        self.sync_ns.fetch_add(ns, Relaxed);
        self.sync_failures.fetch_add(u64::from(!ok), Relaxed);
        self.sync_times.took(ns);
        self.longest_sync_ns.fetch_max(ns, Relaxed);
        let mean = match self.sync_ewma_ns() {
            0 => ns,
            mean => mean - mean / 8 + ns / 8,
        };
        self.sync_ewma_ns.store(mean, Relaxed);
    }

    #[inline]
    pub(crate) fn sync_ewma_ns(&self) -> u64 {
        self.sync_ewma_ns.load(Relaxed)
    }

    pub(crate) fn write_failed(&self) {
        self.write_failures.fetch_add(1, Relaxed);
    }

    pub(crate) fn rotated(&self, ns: u64) {
        self.rotations.fetch_add(1, Relaxed);
        self.rotation_ns.fetch_add(ns, Relaxed);
        self.longest_rotation_ns.fetch_max(ns, Relaxed);
    }

    /// From now on something is written that is not synced, or nothing is (`None`).
    pub(crate) fn unsynced_since(&self, now_ns: Option<u64>) {
        self.unsynced_since_ns.store(now_ns.map_or(0, |ns| ns.max(1)), Relaxed);
    }

    /// What opening has found.
    pub(crate) fn opened(&self, report: &RecoveryReport) {
        let lost = report.lost.iter().map(|lsns| lsns.end.0 - lsns.start.0).sum();
        let torn = report.torn.as_ref().map_or(0, |torn| torn.bytes.end - torn.bytes.start);
        self.recovery_ns.store(report.elapsed_ns, Relaxed);
        self.recovered_records.store(report.records, Relaxed);
        self.torn_bytes.store(torn, Relaxed);
        self.lost_records.store(lost, Relaxed);
        report.damaged.iter().for_each(|damage| self.corrupt(&damage.class));
    }

    pub(crate) fn corrupt(&self, class: &DamageClass) {
        let index = match class {
            DamageClass::DamagedDurable => 0,
            DamageClass::MissingSegment => 1,
            DamageClass::BadHeader(_) => 2,
            DamageClass::Foreign => 3,
        };
        self.corruptions[index].fetch_add(1, Relaxed);
    }

    pub(crate) fn recycled(&self) {
        self.recycled.fetch_add(1, Relaxed);
    }

    pub(crate) fn poisoned(&self) {
        self.poisoned.store(true, Relaxed);
    }

    pub(crate) fn rejected(&self, reason: &Reject) {
        let index = match reason {
            Reject::NoSpace { .. } => 0,
            Reject::QuotaExceeded { .. } => 1,
            Reject::TooLarge { .. } | Reject::BadName { .. } | Reject::TooManyStreams { .. } => 2,
            Reject::Backpressure { .. } => 3,
            Reject::Closed | Reject::StreamDropped { .. } => 4,
            Reject::Poisoned => 5,
            Reject::Io { .. } => 6,
            Reject::NumbersUsedUp => 7,
            Reject::NotAppended { .. } => 8,
        };
        self.rejected[index].fetch_add(1, Relaxed);
    }

    /// The counters; what only the log knows is left at zero.
    pub(crate) fn snapshot(&self, now_ns: u64) -> Stats {
        let since_ns = self.unsynced_since_ns.load(Relaxed);
        let rejected = [0, 1, 2, 3, 4, 5, 6, 7, 8].map(|index: usize| self.rejected[index].load(Relaxed));
        let [
            no_space,
            quota_exceeded,
            too_large,
            backpressure,
            closed,
            poisoned,
            io,
            numbers_used_up,
            not_appended,
        ] = rejected;
        let rejected = Rejections {
            no_space,
            quota_exceeded,
            too_large,
            backpressure,
            closed,
            poisoned,
            io,
            numbers_used_up,
            not_appended,
        };
        let [damaged_durable, missing_segment, bad_header, foreign] =
            self.corruptions.each_ref().map(|count| count.load(Relaxed));
        Stats {
            appended_records: self.appended_records.load(Relaxed),
            appended_bytes: self.appended_bytes.load(Relaxed),
            physical_bytes: self.physical_bytes.load(Relaxed),
            groups: self.groups.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            sync_ns: self.sync_ns.load(Relaxed),
            longest_sync_ns: self.longest_sync_ns.load(Relaxed),
            sync_ewma_ns: self.sync_ewma_ns(),
            group_records: self.group_records.each_ref().map(|count| count.load(Relaxed)),
            sync_failures: self.sync_failures.load(Relaxed),
            write_failures: self.write_failures.load(Relaxed),
            sync_times: self.sync_times.counts(),
            append_waits: self.append_waits.counts(),
            durable_lag_ns: if since_ns == 0 { 0 } else { now_ns.saturating_sub(since_ns) },
            recovery_ns: self.recovery_ns.load(Relaxed),
            recovered_records: self.recovered_records.load(Relaxed),
            torn_bytes: self.torn_bytes.load(Relaxed),
            lost_records: self.lost_records.load(Relaxed),
            corruptions: Corruptions { damaged_durable, missing_segment, bad_header, foreign },
            rotations: self.rotations.load(Relaxed),
            rotation_ns: self.rotation_ns.load(Relaxed),
            longest_rotation_ns: self.longest_rotation_ns.load(Relaxed),
            recycled_segments: self.recycled.load(Relaxed),
            rejected,
            poisoned: self.poisoned.load(Relaxed),
            ..Stats::default()
        }
    }
}

/// Counts where nobody else does at the same time, which is cheaper.
#[inline]
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed) + n, Relaxed);
}
