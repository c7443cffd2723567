//! Metrics that every request counts, looked up by their labels once and kept.
//!
//! Nothing here forgets: only what is labelled by things of which there are few may be counted so.

use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashMap;
use metrics::{Counter, Histogram, SharedString, counter, histogram};
use parking_lot::RwLock;

use super::tenant;

/// What was made for a key, made once.
#[derive(Debug)]
struct Kept<K, V>(RwLock<HashMap<K, V, foldhash::quality::RandomState>>);

impl<K, V> Default for Kept<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    fn get<Q>(&self, key: &Q, make: impl FnOnce() -> (K, V)) -> V
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(kept) = self.0.read().get(key) {
            return kept.clone();
        }
        let (key, made) = make();
        self.0.write().entry(key).or_insert(made).clone()
    }
}

/// What was taken of tenants.
#[derive(Debug, Default)]
pub struct Received(Kept<SharedString, (Counter, Counter)>);

impl Received {
    /// Counts lines and bytes of `name`.
    pub fn add(&self, name: &str, lines: u64, bytes: u64) {
        let label = tenant(name);
        let (all_lines, all_bytes) = self.0.get(&label, || {
            let lines = counter!("forebay_received_lines_total", "tenant" => label.clone());
            let bytes = counter!("forebay_received_bytes_total", "tenant" => label.clone());
            (label.clone(), (lines, bytes))
        });
        all_lines.increment(lines);
        all_bytes.increment(bytes);
    }
}

/// How long ingesters took for records.
#[derive(Debug, Default)]
pub struct Replicas(Kept<(Arc<str>, &'static str), Histogram>);

impl Replicas {
    /// Counts a record that `instance` took `seconds` for, and how that ended.
    pub fn record(&self, instance: &Arc<str>, outcome: &'static str, seconds: f64) {
        let key = (Arc::clone(instance), outcome);
        let times = self.0.get(&key, || {
            let instance = instance.to_string();
            let name = "forebay_replica_push_seconds";
            (key.clone(), histogram!(name, "instance" => instance, "outcome" => outcome))
        });
        times.record(seconds);
    }
}

/// How long requests took.
#[derive(Debug, Default)]
pub struct Requests(Kept<Arc<str>, Arc<Route>>);

/// Requests of one route, by method and status.
type Route = Kept<(&'static str, u16), Histogram>;

impl Requests {
    /// Counts a request of `route`.
    pub fn record(&self, route: &str, method: &'static str, status: u16, seconds: f64) {
        let kept = self.0.get(route, || (route.into(), Arc::default()));
        let times = kept.get(&(method, status), || {
            let (route, code) = (route.to_owned(), status.to_string());
            let name = "forebay_request_duration_seconds";
            ((method, status), histogram!(name, "route" => route, "method" => method, "status" => code))
        });
        times.record(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn what_is_counted_again_is_the_same_series_and_made_once() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let (received, replicas, requests) = (Received::default(), Replicas::default(), Requests::default());
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        metrics::with_local_recorder(&recorder, || {
            for bytes in [3, 4] {
                received.add("team", 1, bytes);
            }
            for (instance, outcome) in [(&a, "ok"), (&a, "error"), (&b, "ok"), (&a, "ok")] {
                replicas.record(instance, outcome, 0.5);
            }
            for (method, status) in [("GET", 200), ("GET", 500), ("POST", 200), ("GET", 200)] {
                requests.record("/ready", method, status, 0.5);
            }
        });
        let text = handle.render();
        for expected in [
            "forebay_received_lines_total{tenant=\"team\"} 2",
            "forebay_received_bytes_total{tenant=\"team\"} 7",
            "forebay_replica_push_seconds_count{instance=\"a\",outcome=\"ok\"} 2",
            "forebay_replica_push_seconds_count{instance=\"a\",outcome=\"error\"} 1",
            "forebay_replica_push_seconds_count{instance=\"b\",outcome=\"ok\"} 1",
            "forebay_request_duration_seconds_count{route=\"/ready\",method=\"GET\",status=\"200\"} 2",
            "forebay_request_duration_seconds_count{route=\"/ready\",method=\"GET\",status=\"500\"} 1",
            "forebay_request_duration_seconds_count{route=\"/ready\",method=\"POST\",status=\"200\"} 1",
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} in {text}");
        }
        assert_eq!((received.0.0.read().len(), replicas.0.0.read().len()), (1, 3));
        assert_eq!(requests.0.0.read()["/ready"].0.read().len(), 3);
    }
}
