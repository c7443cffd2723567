//! What the log counts.

use forebay_wal::{Stats, Usage, Watermarks};
use parking_lot::Mutex;

/// Shows what one log counted.
#[derive(Debug, Default)]
pub struct Log {
    /// What was shown last; histograms take what was added since.
    last: Mutex<Stats>,
}

impl Log {
    /// Shows how it stands.
    pub fn show(&self, stats: &Stats, usage: &Usage, watermarks: &Watermarks) {
        totals(stats);
        rejections(stats);
        gauges(stats, usage, watermarks);
        let mut last = self.last.lock();
        let times = [
            ("forebay_wal_sync_seconds", &stats.sync_times, &last.sync_times),
            ("forebay_wal_append_wait_seconds", &stats.append_waits, &last.append_waits),
        ];
        for (name, now, before) in times {
            add(name, now, before, |power| 2_f64.powi(power) / 1e6);
        }
        let most = |power: i32| 2_f64.powi(power + 1) - 1.0;
        add("forebay_wal_group_records", &stats.group_records, &last.group_records, most);
        *last = *stats;
    }
}

/// Adds what the counts of powers of two have grown by.
fn add(name: &'static str, now: &[u64], before: &[u64], value: impl Fn(i32) -> f64) {
    for (power, (now, before)) in (0..).zip(now.iter().zip(before)) {
        let grown = usize::try_from(now.saturating_sub(*before)).unwrap_or(usize::MAX);
        if grown > 0 {
            metrics::histogram!(name).record_many(value(power), grown);
        }
    }
}

fn totals(stats: &Stats) {
    for (name, value) in [
        ("forebay_wal_appended_records_total", stats.appended_records),
        ("forebay_wal_appended_bytes_total", stats.appended_bytes),
        ("forebay_wal_physical_bytes_total", stats.physical_bytes),
        ("forebay_wal_groups_total", stats.groups),
        ("forebay_wal_syncs_total", stats.syncs),
        ("forebay_wal_sync_nanoseconds_total", stats.sync_ns),
        ("forebay_wal_sync_failures_total", stats.sync_failures),
        ("forebay_wal_write_failures_total", stats.write_failures),
        ("forebay_wal_rotations_total", stats.rotations),
        ("forebay_wal_rotation_nanoseconds_total", stats.rotation_ns),
        ("forebay_wal_recycled_segments_total", stats.recycled_segments),
    ] {
        metrics::counter!(name).absolute(value);
    }
}

fn rejections(stats: &Stats) {
    let rejected = &stats.rejected;
    for (reason, value) in [
        ("no_space", rejected.no_space),
        ("quota_exceeded", rejected.quota_exceeded),
        ("too_large", rejected.too_large),
        ("backpressure", rejected.backpressure),
        ("closed", rejected.closed),
        ("poisoned", rejected.poisoned),
        ("io", rejected.io),
        ("numbers_used_up", rejected.numbers_used_up),
        ("not_appended", rejected.not_appended),
    ] {
        metrics::counter!("forebay_wal_rejected_total", "reason" => reason).absolute(value);
    }
}

fn gauges(stats: &Stats, usage: &Usage, watermarks: &Watermarks) {
    for (name, value) in [
        ("forebay_wal_disk_bytes", usage.log_bytes),
        ("forebay_wal_spare_bytes", stats.spare_bytes),
        ("forebay_wal_segments", usage.segments as u64),
        ("forebay_wal_appended_lsn", watermarks.appended.0),
        ("forebay_wal_durable_lsn", watermarks.durable.0),
        ("forebay_wal_low_lsn", watermarks.low.0),
        ("forebay_wal_inflight_bytes", stats.inflight_bytes),
        ("forebay_wal_unsynced_records", stats.unsynced_records),
        ("forebay_wal_unsynced_bytes", stats.unsynced_bytes),
        ("forebay_wal_recovered_records", stats.recovered_records),
        ("forebay_wal_torn_bytes", stats.torn_bytes),
        ("forebay_wal_lost_records", stats.lost_records),
        ("forebay_wal_poisoned", u64::from(stats.poisoned)),
    ] {
        metrics::gauge!(name).set(value as f64);
    }
    for (name, ns) in [
        ("forebay_wal_longest_sync_seconds", stats.longest_sync_ns),
        ("forebay_wal_sync_ewma_seconds", stats.sync_ewma_ns),
        ("forebay_wal_durable_lag_seconds", stats.durable_lag_ns),
        ("forebay_wal_longest_rotation_seconds", stats.longest_rotation_ns),
        ("forebay_wal_recovery_seconds", stats.recovery_ns),
    ] {
        metrics::gauge!(name).set(ns as f64 / 1e9);
    }
}
