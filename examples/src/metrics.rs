//! The metrics, under the names the documentation gives them, and the recorder that `/metrics` shows.

use std::time::Duration;

use forebay_circuit::{Phase, Transition};
use forebay_wal::{Stats, Usage, Watermarks};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// Buckets of everything measured in seconds.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How often that is done.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder of this process.
///
/// # Errors
/// Where one is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()
}

/// Takes what was measured out of the buffers it waits in, which grow until somebody does.
pub async fn upkeep_forever(recorder: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        recorder.run_upkeep();
    }
}

/// Shows what the log counted.
pub fn log(stats: &Stats, usage: &Usage, watermarks: &Watermarks) {
    let totals = [
        ("forebay_wal_appended_records_total", stats.appended_records),
        ("forebay_wal_appended_bytes_total", stats.appended_bytes),
        ("forebay_wal_physical_bytes_total", stats.physical_bytes),
        ("forebay_wal_groups_total", stats.groups),
        ("forebay_wal_syncs_total", stats.syncs),
        ("forebay_wal_sync_failures_total", stats.sync_failures),
        ("forebay_wal_write_failures_total", stats.write_failures),
        ("forebay_wal_rotations_total", stats.rotations),
    ];
    for (name, value) in totals {
        metrics::counter!(name).absolute(value);
    }
    let rejected = &stats.rejected;
    let rejections = [
        ("no_space", rejected.no_space),
        ("quota_exceeded", rejected.quota_exceeded),
        ("too_large", rejected.too_large),
        ("backpressure", rejected.backpressure),
        ("closed", rejected.closed),
        ("poisoned", rejected.poisoned),
        ("io", rejected.io),
    ];
    for (reason, value) in rejections {
        metrics::counter!("forebay_wal_rejected_total", "reason" => reason).absolute(value);
    }
    let gauges = [
        ("forebay_wal_disk_bytes", usage.log_bytes),
        ("forebay_wal_segments", usage.segments as u64),
        ("forebay_wal_appended_lsn", watermarks.appended.0),
        ("forebay_wal_durable_lsn", watermarks.durable.0),
        ("forebay_wal_low_lsn", watermarks.low.0),
        ("forebay_wal_inflight_bytes", stats.inflight_bytes),
        ("forebay_wal_poisoned", u64::from(stats.poisoned)),
    ];
    for (name, value) in gauges {
        metrics::gauge!(name).set(value as f64);
    }
}

/// Shows in which state a circuit breaker is.
pub fn breaker_state(name: &str, phase: Phase) {
    let state = match phase {
        Phase::Closed => 0.0,
        Phase::HalfOpen => 1.0,
        _ => 2.0,
    };
    metrics::gauge!("forebay_breaker_state", "name" => name.to_owned()).set(state);
}

/// Shows that a circuit breaker changed.
pub fn breaker(name: &str, transition: Transition) {
    breaker_state(name, transition.to);
    tracing::info!(breaker = name, from = %transition.from, to = %transition.to, "circuit breaker");
    metrics::counter!("forebay_breaker_transitions_total", "name" => name.to_owned(), "to" => transition.to.as_str())
        .increment(1);
}
