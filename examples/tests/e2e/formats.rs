//! Every way that real clients push, and the lines back.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use forebay_agent::logproto::{EntryAdapter, LabelPair, PushRequest, StreamAdapter, Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prost::Message;
use serde_json::json;

use crate::lines::{count, start_ns, values};
use crate::process::{Process, Setup, text};

fn protobuf(app: &str, timestamp_ns: i64) -> Bytes {
    let message = PushRequest {
        streams: vec![StreamAdapter {
            labels: format!("{{app=\"{app}\",env=\"test\"}}"),
            entries: vec![EntryAdapter {
                timestamp: Some(Timestamp::from_ns(timestamp_ns)),
                line: Bytes::from_static(b"from protobuf"),
                structured_metadata: vec![LabelPair { name: "trace".into(), value: "7".into() }],
            }],
        }],
    };
    snap::raw::Encoder::new().compress_vec(&message.encode_to_vec()).unwrap().into()
}

fn json_body(app: &str, timestamp_ns: i64) -> Bytes {
    json!({"streams": [{
        "stream": {"env": "test", "app": app},
        "extra": [1, 2],
        "values": [
            [timestamp_ns.to_string(), "two parts"],
            [(timestamp_ns + 1).to_string(), "three parts", {"trace": "7"}],
        ],
    }]})
    .to_string()
    .into()
}

fn gzip(body: &[u8]) -> Bytes {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    out.write_all(body).unwrap();
    out.finish().unwrap().into()
}

fn deflate(body: &[u8]) -> Bytes {
    let mut out = DeflateEncoder::new(Vec::new(), Compression::default());
    out.write_all(body).unwrap();
    out.finish().unwrap().into()
}

async fn push(process: &Process, content_type: &'static str, encoding: Option<&'static str>, body: Bytes) {
    let mut headers = HeaderMap::new();
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    let response = process.client.post("/loki/api/v1/push", content_type, &headers, body).await.unwrap();
    assert_eq!(response.status, StatusCode::NO_CONTENT, "{content_type} {encoding:?}: {}", text(&response));
    assert!(response.headers.contains_key("x-trace-id"));
}

#[tokio::test]
async fn what_real_clients_send_comes_back_before_and_after_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let now = start_ns();
    let (pb, js) = ("application/x-protobuf", "application/json");
    push(&process, pb, None, protobuf("pb-raw", now)).await;
    push(&process, pb, Some("snappy"), protobuf("pb-snappy", now)).await;
    push(&process, pb, Some("gzip"), gzip(&protobuf("pb-gzip", now))).await;
    push(&process, js, None, json_body("json", now)).await;
    push(&process, js, Some("gzip"), gzip(&json_body("json-gzip", now))).await;
    push(&process, js, Some("deflate"), deflate(&json_body("json-deflate", now))).await;
    push(&process, "application/json; charset=utf-8", Some("identity"), json_body("json-charset", now)).await;

    for _ in 0..2 {
        for (app, expected) in [
            ("pb-raw", vec!["from protobuf"]),
            ("pb-snappy", vec!["from protobuf"]),
            ("pb-gzip", vec!["from protobuf"]),
            ("json", vec!["two parts", "three parts"]),
            ("json-gzip", vec!["two parts", "three parts"]),
            ("json-deflate", vec!["two parts", "three parts"]),
            ("json-charset", vec!["two parts", "three parts"]),
        ] {
            let path =
                format!("/loki/api/v1/query_range?query=%7Bapp%3D%22{app}%22%7D&direction=forward&since=3h");
            let answer = process.json(&path).await;
            let mut found: Vec<_> = values(&answer);
            found.sort();
            let lines: Vec<&str> = found.iter().map(|(_, line)| line.as_str()).collect();
            assert_eq!(lines, expected, "{app}");
            let with_trace =
                answer["data"]["result"].as_array().unwrap().iter().filter(|s| s["stream"]["trace"] == "7");
            assert_eq!(with_trace.count(), 1, "metadata is part of the stream's labels: {answer}");
        }
        process.flush().await;
    }
    assert_eq!(count(&process, r#"{env="test"}"#).await, 11);
}

#[tokio::test]
async fn a_push_that_is_sent_again_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let now = start_ns();
    push(&process, "application/json", None, json_body("again", now)).await;
    push(&process, "application/json", None, json_body("again", now)).await;
    process.flush().await;
    push(&process, "application/json", None, json_body("again", now)).await;
    assert_eq!(count(&process, r#"{app="again"}"#).await, 2);
}

#[tokio::test]
async fn gzip_chunks_are_read_back_too() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(dir.path()).config("ingester: {chunk_encoding: gzip}");
    let process = setup.start().await;
    push(&process, "application/json", None, json_body("zipped", start_ns())).await;
    process.flush().await;
    assert_eq!(count(&process, r#"{app="zipped"}"#).await, 2);
}
