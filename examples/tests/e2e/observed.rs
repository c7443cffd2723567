//! What operators see: every metric that there is, and a dashboard and alerts that ask for nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use forebay_examples::metrics::{Kind, TABLE};
use regex::Regex;
use serde_json::{Value, json};

use crate::lines::start_ns;
use crate::process::{Process, Setup, text};

/// Those that the documentation promises.
const DOCUMENTED: &[&str] = &[
    "forebay_request_duration_seconds",
    "forebay_received_lines_total",
    "forebay_received_bytes_total",
    "forebay_discarded_lines_total",
    "forebay_discarded_bytes_total",
    "forebay_ingester_streams",
    "forebay_ingester_memory_bytes",
    "forebay_ingester_flush_queue_length",
    "forebay_chunks_flushed_total",
    "forebay_chunk_raw_bytes_total",
    "forebay_chunk_stored_bytes_total",
    "forebay_wal_replayed_records_total",
    "forebay_ring_members",
    "forebay_ring_ownership_ratio",
    "forebay_replica_push_seconds",
    "forebay_breaker_state",
    "forebay_breaker_transitions_total",
    "forebay_limiter_denied_total",
    "forebay_query_stage_seconds",
    "forebay_retention_deleted_chunks_total",
    "forebay_retention_held_chunks",
];

/// The labels of each metric that `/metrics` shows.
async fn shown(process: &Process) -> BTreeMap<String, BTreeSet<String>> {
    let text = text(&process.get("/metrics").await);
    let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut name, labels) = (String::new(), Regex::new(r#"([a-z_]+)="(?:[^"\\]|\\.)*""#).unwrap());
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE ") {
            let (metric, kind) = described.split_once(' ').unwrap();
            name = metric.to_owned();
            shown.entry(name.clone()).or_default();
            let known = TABLE.iter().find(|metric| metric.name == name);
            let known = known.unwrap_or_else(|| panic!("{name} is not in the table"));
            assert_eq!(known.kind.name(), kind, "{name}");
        } else if let Some((_, rest)) = line.split_once('{') {
            let found: Vec<_> = labels.captures_iter(rest).map(|label| label[1].to_owned()).collect();
            let once: BTreeSet<_> = found.iter().collect();
            assert_eq!(once.len(), found.len(), "a label twice: {line}");
            shown.get_mut(&name).unwrap().extend(found);
        }
    }
    shown
}

fn labels(name: &str) -> BTreeSet<String> {
    let metric = TABLE.iter().find(|metric| metric.name == name).unwrap();
    metric.labels.iter().map(|(label, _)| (*label).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_is_there_from_the_start_and_there_is_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--ingesters", "2", "--replication-factor", "2"];
    let process = Setup::new(dir.path()).arguments(&arguments).start().await;
    let table: BTreeSet<&str> = TABLE.iter().map(|metric| metric.name).collect();
    let fresh = shown(&process).await;
    assert_eq!(fresh.keys().map(String::as_str).collect::<BTreeSet<_>>(), table);
    let missing: Vec<_> = DOCUMENTED.iter().filter(|name| !table.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");

    let at = start_ns().to_string();
    let push = json!({"streams": [
        {"stream": {"app": "a"}, "values": [[at, "x"]]},
        {"stream": {"app": "a"}, "values": [["1", "too old"]]},
    ]});
    process.push(&push).await;
    process.flush().await;
    process.json("/loki/api/v1/query_range?query=%7Bapp%3D%22a%22%7D").await;
    let used = shown(&process).await;
    assert_eq!(used.keys().map(String::as_str).collect::<BTreeSet<_>>(), table);
    for (name, found) in used {
        let known = labels(&name);
        let other =
            found.iter().filter(|label| !known.contains(*label) && *label != "instance" && *label != "le");
        assert_eq!(other.collect::<Vec<_>>(), Vec::<&String>::new(), "labels of {name}");
    }
    for name in [
        "forebay_discarded_bytes_total",
        "forebay_wal_syncs_total",
        "forebay_wal_sync_nanoseconds_total",
        "forebay_wal_sync_seconds_count",
        "forebay_wal_group_records_count",
        "forebay_query_stage_seconds_count",
        "forebay_ingester_streams",
    ] {
        assert!(process.metric(name, "").await > 0.0, "{name}");
    }
}

fn deploy(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)).unwrap()
}

/// The expressions of a dashboard.
fn expressions(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| expressions(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| expressions(value, found)),
        _ => {}
    }
}

/// Prometheus renames the label `instance` of what it scrapes: who names one alone takes all ingesters of a process for
/// one.
fn both_instances(text: &str) {
    let names = |label: &str| Regex::new(&format!(r"\b{label}\b")).unwrap().is_match(text);
    assert_eq!(names("instance"), names("exported_instance"), "{text} has one instance without the other");
}

/// Holds the names and labels of `expression` against the table.
fn check(expression: &str) {
    let metric = Regex::new(r"(forebay_[a-z_]+)(?:\{([^}]*)\})?").unwrap();
    let grouping = Regex::new(r"by \(([a-z_, ]*)\)").unwrap();
    let matcher = Regex::new(r#"([a-z_]+)(?:=~|!~|!=|=)"([^"]*)""#).unwrap();
    let mut all: BTreeSet<String> = ["instance", "exported_instance", "le"].map(str::to_owned).into();
    let mut found = 0;
    for capture in metric.captures_iter(expression) {
        let name = &capture[1];
        let base = TABLE.iter().find(|known| {
            let suffixes: &[&str] =
                if known.kind == Kind::Histogram { &["_bucket", "_sum", "_count"] } else { &[""] };
            suffixes.iter().any(|suffix| name.strip_suffix(suffix) == Some(known.name))
        });
        let base = base.unwrap_or_else(|| panic!("{name} of {expression} is no metric"));
        let known = labels(base.name);
        for label in matcher.captures_iter(capture.get(2).map_or("", |labels| labels.as_str())) {
            assert!(known.contains(&label[1]), "{} of {expression} is no label of {name}", &label[1]);
            let (_, values) = base.labels.iter().find(|(name, _)| *name == &label[1]).unwrap();
            let known = |value: &str| values.is_empty() || values.contains(&value);
            assert!(label[2].split('|').all(known), "{} of {expression} is no value", &label[2]);
        }
        all.extend(known);
        found += 1;
    }
    assert!(found > 0, "{expression} asks for nothing");
    for names in grouping.captures_iter(expression) {
        both_instances(&names[1]);
        for label in names[1].split(',').map(str::trim) {
            assert!(all.contains(label), "{label} of {expression} is no label of its metrics");
        }
    }
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_metrics_that_there_are() {
    let mut asked = Vec::new();
    expressions(&serde_json::from_str(&deploy("grafana-dashboard.json")).unwrap(), &mut asked);
    let alerts = deploy("prometheus-alerts.yaml");
    forebay_tenant::yaml::parse(&alerts).unwrap();
    let lines = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    let before = asked.len();
    asked.extend(lines.map(|line| line.trim_matches('\'').replace("''", "'")));
    assert!(before >= 20 && asked.len() >= before + 10);
    asked.iter().for_each(|expression| check(expression));
    alerts.lines().filter(|line| line.contains("{{")).for_each(both_instances);
    deploy("grafana-dashboard.json")
        .lines()
        .filter(|line| line.contains("legendFormat"))
        .for_each(both_instances);
}

#[test]
fn every_way_to_push_is_part_of_the_alert_on_pushes() {
    let router = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http.rs")).unwrap();
    let routes = Regex::new(r#"route\("([^"]+)", post\((?:push|otlp)::"#).unwrap();
    let routes: Vec<&str> = routes.captures_iter(&router).map(|found| found.extract::<1>().1[0]).collect();
    assert!(routes.len() >= 3, "{routes:?}");
    let alerts = deploy("prometheus-alerts.yaml");
    let (_, alert) = alerts.split_once("alert: PushesFail").unwrap();
    let expression = alert.lines().find(|line| line.trim().starts_with("expr:")).unwrap();
    for route in routes {
        assert_eq!(expression.matches(route).count(), 2, "{route} in {expression}");
    }
}

#[test]
#[should_panic(expected = "without the other")]
fn an_instance_that_prometheus_renames_is_found() {
    check("sum by (instance) (forebay_wal_poisoned)");
}

#[test]
#[should_panic(expected = "is no label of its metrics")]
fn a_label_that_there_is_not_is_found() {
    check("sum by (tenant) (forebay_wal_poisoned)");
}

#[test]
#[should_panic(expected = "is no value")]
fn a_value_that_there_is_not_is_found() {
    check(r#"forebay_wal_rejected_total{reason="full"}"#);
}
