//! Chunks in Loki's format and columnar ones in one store: whatever is written now, what was written before is read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use http::StatusCode;
use serde_json::json;

use crate::crash::{kills, moment};
use crate::lines::{Load, count, read_all, start_ns, verify};
use crate::process::{Process, Setup, text, until};

/// The files of objects below `dir`.
pub(crate) fn objects(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { objects(&path) } else { vec![path] }).collect()
}

/// What the object in `file` is written in, by its own bytes.
pub(crate) fn format(file: &Path) -> &'static str {
    let bytes = std::fs::read(file).unwrap();
    if bytes.starts_with(b"\x89LCF") { "columnar" } else { "loki" }
}

/// How many objects there are of each format.
fn formats(dir: &Path) -> BTreeMap<&'static str, usize> {
    let mut formats = BTreeMap::new();
    for object in objects(&dir.join("data/objects")) {
        *formats.entry(format(&object)).or_default() += 1;
    }
    formats
}

/// Lines of the `run`-th run, by their times.
fn made(start: i64, run: i64) -> Vec<(i64, String)> {
    let at = |n: i64| start + (run * 100 + n) * 1_000_000_000;
    (0..100).map(|n| (at(n), format!("run {run} line {n} took {}ms", n * 7))).collect()
}

/// Pushes `lines`, each with metadata whose names are not in order.
async fn push(process: &Process, run: i64, lines: &[(i64, String)]) {
    let value = |(at, line): &(i64, String)| format!(r#"["{at}","{line}",{{"z":"{run}","a":"{}"}}]"#, at % 3);
    let values: Vec<String> = lines.iter().map(value).collect();
    let body = format!(
        r#"{{"streams":[{{"stream":{{"app":"both","run":"{}"}},"values":[{}]}}]}}"#,
        run % 3,
        values.join(",")
    );
    let response = process.post("/loki/api/v1/push", "application/json", body).await;
    assert_eq!(response.status, StatusCode::NO_CONTENT, "{}", text(&response));
}

/// Lines, counts and labels are those of `expected`.
async fn check(process: &Process, expected: &BTreeMap<i64, String>) {
    assert_eq!(&read_all(process, r#"{app="both"}"#).await, expected);
    assert_eq!(count(process, r#"{app="both"}"#).await, expected.len() as u64);
    for filter in [r#"|= "line 7""#, r#"!= "took 7ms""#, r#"|~ "took [0-9]{2}ms""#] {
        let (keeps, query) = (
            |line: &str| match filter.as_bytes()[..2] {
                [b'|', b'='] => line.contains("line 7"),
                [b'!', _] => !line.contains("took 7ms"),
                _ => line.split("took ").nth(1).is_some_and(|took| took.len() == 4),
            },
            format!(r#"{{app="both"}} {filter}"#),
        );
        let kept = expected.values().filter(|line| keeps(line)).count();
        assert_eq!(read_all(process, &query).await.len(), kept, "{query}");
        assert_eq!(count(process, &query).await, kept as u64, "{query}");
    }
    let runs = process.json("/loki/api/v1/label/run/values").await;
    let runs: BTreeSet<&str> =
        runs["data"].as_array().unwrap().iter().filter_map(|run| run.as_str()).collect();
    let all = expected.values().filter_map(|line| line.split(' ').nth(1)?.parse::<i64>().ok());
    let all: BTreeSet<String> = all.map(|run| (run % 3).to_string()).collect();
    assert!(runs.iter().eq(all.iter()), "{runs:?} of {all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_format_that_changes_between_two_runs_hides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (start, mut expected) = (start_ns(), BTreeMap::new());
    for (run, format) in (0..).zip(["loki", "columnar", "columnar", "loki", "columnar"]) {
        let setup = Setup::new(dir.path()).config(&format!("ingester: {{chunk_format: {format}}}"));
        let process = setup.start().await;
        assert!(text(&process.get("/config").await).contains(&format!("chunk_format: {format}\n")));
        // What the last run left in the log is what this one makes chunks of.
        if run > 0 {
            check(&process, &expected).await;
        }
        let lines = made(start, run);
        push(&process, run, &lines).await;
        expected.extend(lines);
        check(&process, &expected).await;
        if run % 2 == 0 {
            process.flush().await;
            check(&process, &expected).await;
        }
        // A client that heard no answer sends again what is stored, in whichever format.
        for before in 0..run {
            push(&process, before, &made(start, before)[90..]).await;
        }
        check(&process, &expected).await;
        process.kill().await;
    }
    let formats = formats(dir.path());
    assert!(formats["loki"] > 0 && formats["columnar"] > 0, "{formats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kill_9_in_either_format_and_in_both() {
    for formats in [&["columnar"][..], &["loki", "columnar"]] {
        let dir = tempfile::tempdir().unwrap();
        let load = Load::new();
        // Small, so that objects, index entries and truncations are under way at every moment.
        let setup = |round: u64| {
            let format = formats[usize::try_from(round).unwrap() % formats.len()];
            Setup::new(dir.path()).config(&format!(
                "ingester: {{chunk_format: {format}, wal: {{max_bytes: 4MiB}}, chunk_block_size: 4KiB, \
                 chunk_target_size: 16KiB, flush_check_period: 100ms}}"
            ))
        };
        let rounds = kills(4);
        for round in 0..rounds {
            let process = setup(round).start().await;
            let running = load.run(&process, 4, 50);
            tokio::time::sleep(moment(round)).await;
            process.kill().await;
            running.stop().await;
        }
        let process = setup(rounds).start().await;
        assert!(load.acked.len() > 100, "only {} lines were acknowledged", load.acked.len());
        verify(&process, &load.acked).await;
        process.flush().await;
        verify(&process, &load.acked).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunks_of_both_formats_go_with_their_retention() {
    let dir = tempfile::tempdir().unwrap();
    // Two hours old, so past the period of 90 minutes.
    let old = start_ns() - 3_600_000_000_000;
    for format in ["loki", "columnar"] {
        let setup = Setup::new(dir.path()).config(&format!("ingester: {{chunk_format: {format}}}"));
        let process = setup.start().await;
        for app in ["short", "long"] {
            let values = json!([[old.to_string(), "old"], [(old + 1).to_string(), "older"]]);
            let body = json!({"streams": [{"stream": {"app": app, "in": format}, "values": values}]});
            assert_eq!(process.push(&body).await.status, StatusCode::NO_CONTENT);
        }
        process.flush().await;
        assert!(process.terminate().await.success());
    }
    assert_eq!(formats(dir.path()), BTreeMap::from([("loki", 2), ("columnar", 2)]));
    let setup = Setup::new(dir.path()).config(
        "
ingester: {chunk_format: columnar}
compactor: {retention_enabled: true, compaction_interval: 200ms, retention_delete_delay: 0s, max_delete_percent: 100}
limits_config:
  retention_period: 90m
  retention_stream: [{selector: '{app=\"long\"}', priority: 1, period: 48h}]
",
    );
    let process = setup.start().await;
    until("the expired chunks go", || async { count(&process, r#"{app="short"}"#).await == 0 }).await;
    let left = || async { objects(&dir.path().join("data/objects")).len() };
    until("their objects go", || async { left().await == 2 }).await;
    assert_eq!(count(&process, r#"{app="long"}"#).await, 4);
    assert_eq!(formats(dir.path()), BTreeMap::from([("loki", 1), ("columnar", 1)]));
}
