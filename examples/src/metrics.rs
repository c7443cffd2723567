//! The metrics, under the names the documentation gives them, and the recorder that `/metrics` shows.

mod handles;
mod log;
mod table;
mod tenants;

use std::time::Duration;

use forebay_circuit::{Phase, Transition};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

pub use handles::{Received, Replicas, Requests};
pub use log::Log;
pub use table::{Kind, Metric, TABLE};
pub use tenants::{MOST_TENANTS, Streams, tenant};

/// Buckets of everything measured in seconds.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Buckets of the log's times, which are powers of two of a microsecond.
const POWERS: [f64; 14] = [
    0.000_016, 0.000_032, 0.000_064, 0.000_128, 0.000_256, 0.000_512, 0.001_024, 0.002_048, 0.004_096,
    0.008_192, 0.016_384, 0.065_536, 0.262_144, 1.048_576,
];
/// Buckets of records in a group: the most of each power of two.
const RECORDS: [f64; 9] = [1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0, 255.0, 1023.0];

/// How often that is done.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder of this process. Every counter whose labels are known is there from the start, at 0.
///
/// # Errors
/// Where one is installed already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .set_buckets_for_metric(full("forebay_wal_sync_seconds"), &POWERS)?
        .set_buckets_for_metric(full("forebay_wal_append_wait_seconds"), &POWERS)?
        .set_buckets_for_metric(full("forebay_wal_group_records"), &RECORDS)?
        .install_recorder()?;
    for Metric { name, kind, labels, help } in TABLE {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
        }
        match (kind, labels) {
            (Kind::Counter, []) => metrics::counter!(*name).increment(0),
            (Kind::Counter, [(label, values)]) => {
                values.iter().for_each(|value| metrics::counter!(*name, *label => *value).increment(0));
            }
            _ => {}
        }
    }
    Ok(handle)
}

/// What `recorder` has, in Prometheus' text format. What nobody has measured yet is described all the same.
pub fn text(recorder: &PrometheusHandle) -> String {
    recorder.run_upkeep();
    let mut text = recorder.render();
    for Metric { name, kind, help, .. } in TABLE {
        let kind = kind.name();
        if !text.contains(&format!("# TYPE {name} ")) {
            text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n\n"));
        }
    }
    text
}

/// Takes what was measured out of the buffers it waits in, which grow until somebody does.
pub async fn upkeep_forever(recorder: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        recorder.run_upkeep();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_there_once_and_says_its_unit() {
        let names: std::collections::BTreeSet<&str> = TABLE.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), TABLE.len());
        for Metric { name, kind, help, .. } in TABLE {
            assert!(name.starts_with("forebay_"), "{name}");
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            assert!(help.ends_with('.') && !help.contains('\n'), "{name}");
        }
    }
}
