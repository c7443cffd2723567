//! What is said of what is refused: the reason, both sides of it, and no more than can be read.

use bytes::Bytes;
use forebay_agent::logproto::{EntryAdapter, PushRequest, StreamAdapter};
use http::{HeaderMap, Method, StatusCode};
use prost::Message;
use serde_json::json;

use crate::bad_input::push;
use crate::lines::{start_ns, values};
use crate::process::{Process, Setup, text};

/// One line that is refused, and what is said of it.
async fn refused(process: &Process, body: &str, reason: &str, why: &str) {
    let (status, told) = push(process, "application/json", "identity", body.to_owned()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {told}");
    let expected = format!("1 of 1 lines were refused, 0 are stored\n{reason}: 1 lines, the first: {why}\n");
    assert_eq!(told, expected, "{body}");
    assert!(process.metric("forebay_discarded_lines_total", reason).await >= 1.0, "{reason} is counted");
}

#[tokio::test]
async fn every_reason_to_refuse_labels_and_lines_is_told_with_both_sides_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = "limits_config: {max_label_name_length: 8, max_label_value_length: 8, max_line_size: 16B,
        max_label_names_per_series: 2, max_structured_metadata_size: 8B, max_structured_metadata_entries_count: 2}";
    let process = Setup::new(dir.path()).config(config).start().await;
    let now = start_ns();
    let one = |labels: &str, time: i64, rest: &str| {
        format!(r#"{{"streams": [{{"stream": {labels}, "values": [["{time}", {rest}]]}}]}}"#)
    };
    let app = r#"{"app": "x"}"#;
    for (labels, rest, reason, why) in [
        ("{}", r#""l""#, "missing_labels", "a stream needs at least one label"),
        (r#"{"a": ""}"#, r#""l""#, "missing_labels", "a stream needs at least one label"),
        (
            r#"{"a-b": "x"}"#,
            r#""l""#,
            "invalid_labels",
            "label name `a-b` is not of letters, digits and underscores",
        ),
        (r#"{"__name__": "x"}"#, r#""l""#, "invalid_labels", "label __name__ is reserved"),
        (
            r#"{"a": "1", "b": "2", "c": "3"}"#,
            r#""l""#,
            "max_label_names_per_series",
            "3 label names exceed the limit of 2",
        ),
        (
            r#"{"ninechars": "x"}"#,
            r#""l""#,
            "label_name_too_long",
            "label name `ninechars` of 9 bytes exceeds the limit of 8",
        ),
        (
            r#"{"a": "ninechars"}"#,
            r#""l""#,
            "label_value_too_long",
            "value of label `a` of 9 bytes exceeds the limit of 8",
        ),
        (r#"{"a": "x", "a": "y"}"#, r#""l""#, "duplicate_label_names", "label `a` is there twice"),
        (app, r#""seventeen bytes..""#, "line_too_long", "line of 17 bytes exceeds the limit of 16"),
        (
            app,
            r#""l", {"a": "ninechars"}"#,
            "structured_metadata_too_large",
            "structured metadata of 10 bytes exceeds the limit of 8",
        ),
        (
            app,
            r#""l", {"a": "1", "b": "2", "c": "3"}"#,
            "structured_metadata_too_many",
            "structured metadata of 3 pairs exceeds the limit of 2",
        ),
    ] {
        refused(&process, &one(labels, now, rest), reason, why).await;
    }
    // Of times the bounds are those of the moment, which moves.
    let day = 86_400_000_000_000;
    for (time, reason, why) in [
        (now - 8 * day, "greater_than_max_sample_age", "is too old, the oldest accepted is "),
        (now + day, "too_far_in_future", "is too new, the newest accepted is "),
    ] {
        let (status, told) = push(&process, "application/json", "identity", one(app, time, r#""l""#)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        let start =
            format!("1 of 1 lines were refused, 0 are stored\n{reason}: 1 lines, the first: timestamp ");
        assert!(told.starts_with(&start) && told.contains(why), "{told}");
    }
    assert_eq!(process.json("/loki/api/v1/labels").await["data"], json!([]), "nothing was stored");
    assert_eq!(process.metric("forebay_received_lines_total", "").await, 0.0);
}

#[tokio::test]
async fn metadata_may_be_forbidden_and_long_lines_may_be_cut() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        "limits_config: {allow_structured_metadata: false, max_line_size: 16B, max_line_size_truncate: true,
        max_line_size_truncate_identifier: '[cut]'}";
    let process = Setup::new(dir.path()).config(config).start().await;
    let now = start_ns().to_string();
    let body = json!({"streams": [{"stream": {"app": "x"}, "values": [[now, "l", {"a": "1", "b": "2"}]]}]});
    let why = "structured metadata of 2 pairs, but none is allowed";
    refused(&process, &body.to_string(), "disallowed_structured_metadata", why).await;
    assert_eq!(process.json("/loki/api/v1/labels").await["data"], json!([]), "nothing was stored");

    let body = json!({"streams": [{"stream": {"app": "x"}, "values": [[now, "0123456789\u{e4}bcdef"]]}]});
    assert_eq!(process.push(&body).await.status, StatusCode::NO_CONTENT);
    let path = "/loki/api/v1/query_range?query=%7Bapp%3D%22x%22%7D&since=3h";
    let found = values(&process.json(path).await);
    assert_eq!(found[0].1, "0123456789[cut]", "no longer than the limit, and no character is halved");
}

/// What is refused may be long; what is said of it is not, and neither is what is logged.
#[tokio::test]
async fn a_refusal_is_short_whatever_was_refused() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let now = start_ns().to_string();
    let long = "\u{1}".repeat(1 << 20);
    let message = PushRequest {
        streams: vec![StreamAdapter {
            labels: format!("{{{long}"),
            entries: vec![EntryAdapter { timestamp: None, line: Bytes::new(), structured_metadata: vec![] }],
        }],
    };
    let protobuf = snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap();
    // A million labels: of text no more is read than a label set may have, and of an object they are counted.
    let labels: String = (0..1_000_000).map(|n| format!("l{n}=\"x\",")).collect();
    let labels =
        StreamAdapter { labels: format!("{{{labels}}}"), entries: message.streams[0].entries.clone() };
    let many = PushRequest { streams: vec![labels] }.encode_to_vec();
    let many = snap::raw::Encoder::new().compress_vec(&many).unwrap();
    let object: serde_json::Map<_, _> = (0..1_000_000).map(|n| (format!("l{n}"), json!("x"))).collect();
    let stream = |stream: serde_json::Value| json!({"streams": [stream]}).to_string().into_bytes();
    for (content_type, body) in [
        ("application/x-protobuf", protobuf),
        ("application/x-protobuf", many),
        ("application/json", stream(json!({"stream": object, "values": [[now, "x"]]}))),
        ("application/json", json!(long).to_string().into_bytes()),
        ("application/json", stream(json!({"stream": {&long: "x"}, "values": [[now, "x"]]}))),
        ("application/json", stream(json!({"stream": {"a": "b"}, "values": [[long, "x"]]}))),
        (
            "application/json",
            stream(json!({"labels": long, "entries": [{"ts": "2024-01-01T00:00:00Z", "line": ""}]})),
        ),
        ("application/json", stream(json!({"labels": "{a=\"b\"}", "entries": [{"ts": long, "line": ""}]}))),
    ] {
        let (status, told) = push(&process, content_type, "identity", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
        assert!(told.len() <= 1024, "{} bytes: {:?}", told.len(), told.get(..200));
    }
    assert_eq!(process.json("/loki/api/v1/labels").await["data"], json!([]), "nothing was stored");
    let longest = process.log().iter().map(String::len).max().unwrap_or_default();
    assert!(longest < 4096, "{longest} bytes in a line of the log");
}

#[tokio::test]
async fn the_trace_of_a_request_is_in_every_kind_of_answer() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    for (method, path, status) in [
        (Method::GET, "/nope", 404),
        (Method::GET, "/loki/api/v1/push", 405),
        (Method::DELETE, "/otlp/v1/logs", 405),
        (Method::GET, "/loki/api/v1/query_range?query=%7Bapp", 400),
        (Method::GET, "/loki/api/v1/query_range?query=%7Bapp%3D%22x%22%7D", 200),
        (Method::GET, "/loki/api/v1/labels", 200),
        (Method::POST, "/api/prom/push", 400),
        (Method::GET, "/ready", 200),
        (Method::GET, "/metrics", 200),
    ] {
        let sent = process.client.send(method.clone(), path, HeaderMap::new(), Bytes::new()).await.unwrap();
        assert_eq!(sent.status.as_u16(), status, "{method} {path}: {}", text(&sent));
        let trace = sent.headers.get("x-trace-id").map(|id| id.to_str().unwrap().to_owned());
        assert!(trace.is_some_and(|id| id.len() == 32), "{method} {path} has no trace");
    }
}
