//! Retention over HTTP: what is past its period goes, unless it is held.

use http::{HeaderMap, Method, StatusCode};
use serde_json::json;

use crate::lines::{count, start_ns};
use crate::process::{Setup, text, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_stays_until_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(dir.path()).config(
        "
compactor: {retention_enabled: true, compaction_interval: 200ms, retention_delete_delay: 0s, max_delete_percent: 100}
limits_config:
  retention_period: 90m
  retention_stream: [{selector: '{app=\"long\"}', priority: 1, period: 48h}]
",
    );
    let process = setup.start().await;
    let hold =
        json!({"id": "case-7", "selector": "{app=\"held\"}", "case": "7", "reason": "subpoena"}).to_string();
    let placed = process.post("/api/v1/legal-holds", "application/json", hold.clone()).await;
    assert_eq!(placed.status, StatusCode::CREATED, "{}", text(&placed));

    // Two hours old, so past the period of 90 minutes.
    let old = start_ns() - 3_600_000_000_000;
    for app in ["short", "long", "held"] {
        let body = json!({"streams": [{"stream": {"app": app}, "values": [[old.to_string(), "old"], [(old + 1).to_string(), "older"]]}]});
        assert_eq!(process.push(&body).await.status, StatusCode::NO_CONTENT);
    }
    process.flush().await;
    until("the expired chunk goes", || async { count(&process, r#"{app="short"}"#).await == 0 }).await;
    assert_eq!(count(&process, r#"{app="long"}"#).await, 2, "its stream is kept longer");
    assert_eq!(count(&process, r#"{app="held"}"#).await, 2, "it is held");
    let plan = process.json("/api/v1/retention/plan").await;
    assert_eq!(plan["census"]["held"]["chunks"], 1, "{plan}");

    // The hold survives a restart, and ends only by being released, with a reason.
    process.kill().await;
    let process = setup.start().await;
    let holds = process.json("/api/v1/legal-holds").await;
    assert_eq!(holds["holds"][0]["id"], "case-7", "{holds}");
    let swept = async || process.metric("forebay_retention_held_chunks", "").await == 1.0;
    until("a sweep after the restart", swept).await;
    assert_eq!(count(&process, r#"{app="held"}"#).await, 2, "it is still held");
    let release = |id: &str, body: &str| {
        let (client, path, body) =
            (process.client.clone(), format!("/api/v1/legal-holds/{id}"), body.to_owned());
        async move { client.send(Method::DELETE, &path, HeaderMap::new(), body.into()).await.unwrap() }
    };
    assert_eq!(release("case-7", "").await.status, StatusCode::BAD_REQUEST, "a release needs a reason");
    assert_eq!(release("case-8", r#"{"reason": "x"}"#).await.status, StatusCode::NOT_FOUND);
    assert_eq!(release("case-7", r#"{"reason": "settled"}"#).await.status, StatusCode::NO_CONTENT);
    assert_eq!(release("case-7", r#"{"reason": "settled"}"#).await.status, StatusCode::CONFLICT);
    until("the released chunk goes", || async { count(&process, r#"{app="held"}"#).await == 0 }).await;
    assert_eq!(count(&process, r#"{app="long"}"#).await, 2);
    let objects = walk(&dir.path().join("data/objects"));
    assert_eq!(objects, 1, "the objects went with their references");
}

fn walk(dir: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries.map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { 1 }).sum()
}
