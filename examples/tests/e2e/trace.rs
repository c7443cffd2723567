//! One trace id from the client through every part that handles a push.

use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;

use crate::lines::start_ns;
use crate::process::{Setup, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_id_is_in_the_log_lines_of_every_part_and_in_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--ingesters", "2", "--replication-factor", "2"];
    let setup = Setup::new(dir.path()).arguments(&arguments).log("forebay_examples=debug,info");
    let process = setup.start().await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut headers = HeaderMap::new();
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    headers.insert("traceparent", HeaderValue::from_str(&parent).unwrap());
    let body =
        json!({"streams": [{"stream": {"app": "t"}, "values": [[start_ns().to_string(), "x"]]}]}).to_string();
    let response =
        process.client.post("/loki/api/v1/push", "application/json", &headers, body.into()).await.unwrap();
    assert_eq!(response.status, StatusCode::NO_CONTENT);
    assert_eq!(response.headers["x-trace-id"], trace);
    let lines = |part: &'static str| {
        let log = process.log();
        log.iter().filter(|line| line.contains(trace) && line.contains(part)).count()
    };
    until("the distributor's line", || async { lines("push taken") == 1 }).await;
    until("both ingesters' lines", || async { lines("record kept") == 2 }).await;
    assert!(lines("request") >= 1, "the HTTP port's line");
    let next = process.get("/ready").await;
    assert_ne!(next.headers["x-trace-id"], trace, "another request has another trace");
}
