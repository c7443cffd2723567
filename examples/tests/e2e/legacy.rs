//! What clients sent before Loki had its own paths, and some still do.

use bytes::Bytes;
use forebay_agent::logproto::{EntryAdapter, PushRequest, StreamAdapter, Timestamp};
use http::StatusCode;
use prost::Message;
use serde_json::json;

use crate::lines::{count, start_ns, values};
use crate::process::{Setup, text};

fn rfc_3339(timestamp_ns: i64) -> String {
    jiff::Timestamp::from_nanosecond(timestamp_ns.into()).unwrap().to_string()
}

#[tokio::test]
async fn the_old_path_and_the_old_shape_are_taken_each_with_the_other_and_with_what_is_new() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let now = start_ns();
    let old = |app: &str| {
        json!({"streams": [{
            "labels": format!("{{app=\"{app}\", env=\"old\"}}"),
            "entries": [{"ts": rfc_3339(now), "line": "one"}, {"ts": rfc_3339(now + 1), "line": "tw\"o"}],
        }]})
    };
    let new = json!({"streams": [{
        "stream": {"app": "new-shape", "env": "old"},
        "values": [[now.to_string(), "one"], [(now + 1).to_string(), "tw\"o"]],
    }]});
    let entry = |timestamp_ns, line: &'static str| EntryAdapter {
        timestamp: Some(Timestamp::from_ns(timestamp_ns)),
        line: Bytes::from_static(line.as_bytes()),
        structured_metadata: Vec::new(),
    };
    let stream = StreamAdapter {
        labels: "{app=\"protobuf\",env=\"old\"}".into(),
        entries: vec![entry(now, "one"), entry(now + 1, "tw\"o")],
    };
    let protobuf = PushRequest { streams: vec![stream] }.encode_to_vec();
    let protobuf = snap::raw::Encoder::new().compress_vec(&protobuf).unwrap();
    for (path, content_type, body) in [
        ("/api/prom/push", "application/json", old("old-path").to_string().into_bytes()),
        ("/loki/api/v1/push", "application/json", old("new-path").to_string().into_bytes()),
        ("/api/prom/push", "application/json", new.to_string().into_bytes()),
        ("/api/prom/push", "application/x-protobuf", protobuf),
    ] {
        let response = process.post(path, content_type, body).await;
        assert_eq!(response.status, StatusCode::NO_CONTENT, "{path}: {}", text(&response));
    }
    for _ in 0..2 {
        for app in ["old-path", "new-path", "new-shape", "protobuf"] {
            let path =
                format!("/loki/api/v1/query_range?query=%7Bapp%3D%22{app}%22%7D&direction=forward&since=3h");
            let expected = [(now, "one".to_owned()), (now + 1, "tw\"o".to_owned())];
            assert_eq!(values(&process.json(&path).await), expected, "{app}");
        }
        process.flush().await;
    }
    assert_eq!(count(&process, r#"{env="old"}"#).await, 8);
}

#[tokio::test]
async fn what_is_wrong_with_the_old_shape_is_told_and_nothing_of_it_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let now = rfc_3339(start_ns());
    for (labels, entries, what) in [
        (
            json!("{a=\"b\"}"),
            json!([{"ts": now, "line": "x"}, {"ts": "soon", "line": "x"}]),
            "timestamp \"soon\"",
        ),
        (json!("{a=\"b\"}"), json!([{"ts": now}]), "missing field `line`"),
        (
            json!("{a=}"),
            json!([{"ts": now, "line": "x"}]),
            "invalid_labels: 1 lines, the first: labels \"{a=}\"",
        ),
        (json!({"a": "b"}), json!([{"ts": now, "line": "x"}]), "expected a string"),
    ] {
        let body = json!({"streams": [{"labels": labels, "entries": entries}]});
        let response = process.post("/api/prom/push", "application/json", body.to_string()).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(text(&response).contains(what), "{} does not name {what}", text(&response));
    }
    assert_eq!(process.json("/loki/api/v1/labels").await["data"], json!([]), "nothing was stored");
}
