//! OpenTelemetry's logs over HTTP: what comes back of them, and how failures are told.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use forebay_agent::http_client::Response;
use forebay_examples::push::otlp::messages::{
    Any, AnyValue, ExportLogsServiceRequest, ExportLogsServiceResponse, KeyValue, LogRecord, Resource,
    ResourceLogs, ScopeLogs, Status,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prost::Message;
use serde_json::{Value, json};

use crate::lines::{count, start_ns, values};
use crate::process::{Process, Setup, text};
use crate::wire;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";
const ROUTE: &str = "/otlp/v1/logs";

/// Lines of one service, each a nanosecond after the one before.
fn protobuf(service: &str, first_ns: i64, lines: &[&str]) -> Vec<u8> {
    let string = |text: &str| Some(AnyValue { value: Some(Any::String(text.into())) });
    let attribute = |key: &str, value: &str| KeyValue { key: key.into(), value: string(value) };
    let record = |(time, line): (u64, &&str)| LogRecord {
        time_unix_nano: time,
        severity_text: "INFO".into(),
        body: string(line),
        attributes: vec![attribute("http.request.method", "GET")],
        ..LogRecord::default()
    };
    let log_records = (u64::try_from(first_ns).unwrap()..).zip(lines).map(record).collect();
    let attributes = vec![attribute("service.name", service), attribute("host.name", "node-1")];
    let logs = ResourceLogs {
        resource: Some(Resource { attributes, dropped_attributes_count: 0 }),
        scope_logs: vec![ScopeLogs { scope: None, log_records }],
    };
    ExportLogsServiceRequest { resource_logs: vec![logs] }.encode_to_vec()
}

/// The same in JSON.
fn json_body(service: &str, first_ns: i64, lines: &[&str]) -> Vec<u8> {
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let record = |(time, line): (i64, &&str)| {
        json!({
            "timeUnixNano": time.to_string(),
            "severityText": "INFO",
            "body": {"stringValue": line},
            "attributes": [attribute("http.request.method", "GET")],
        })
    };
    let records: Vec<Value> = (first_ns..).zip(lines).map(record).collect();
    let attributes = [attribute("service.name", service), attribute("host.name", "node-1")];
    let logs = json!({"resource": {"attributes": attributes}, "scopeLogs": [{"logRecords": records}]});
    json!({"resourceLogs": [logs]}).to_string().into_bytes()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

async fn export(
    process: &Process,
    content_type: &'static str,
    encoding: &'static str,
    body: impl Into<Bytes>,
) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    let response = process.client.post(ROUTE, content_type, &headers, body.into()).await.unwrap();
    assert!(response.headers.contains_key("x-trace-id"), "every answer carries its trace");
    response
}

/// The message of a failure, whatever its encoding.
fn told(response: &Response, content_type: &str) -> String {
    assert_eq!(response.headers[header::CONTENT_TYPE], content_type);
    if content_type == PROTOBUF {
        Status::decode(response.body.clone()).unwrap().message
    } else {
        let status: Value = serde_json::from_slice(&response.body).unwrap();
        status["message"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn exports_come_back_by_their_service_with_their_attributes_before_and_after_a_flush() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let now = start_ns();
    let lines = ["first", "second"];
    for (service, content_type, encoding, body) in [
        ("pb", PROTOBUF, "identity", protobuf("pb", now, &lines)),
        ("pb-gzip", PROTOBUF, "gzip", gzip(&protobuf("pb-gzip", now, &lines))),
        ("json", JSON, "identity", json_body("json", now, &lines)),
        ("json-gzip", JSON, "gzip", gzip(&json_body("json-gzip", now, &lines))),
    ] {
        let response = export(&process, content_type, encoding, body).await;
        assert_eq!(response.status, StatusCode::OK, "{service}: {}", text(&response));
        assert_eq!(response.headers[header::CONTENT_TYPE], content_type);
        let expected: &[u8] = if content_type == JSON { b"{}" } else { b"" };
        assert_eq!(response.body, expected, "no partial success where all is stored");
    }
    let body = String::from_utf8(json_body("chunked", now, &lines)).unwrap();
    let (front, back) = body.split_at(100);
    let chunks = format!("{:x}\r\n{front}\r\n{:x}\r\n{back}\r\n0\r\n\r\n", front.len(), back.len());
    let head = format!(
        "POST {ROUTE} HTTP/1.1\r\nhost: {}\r\ncontent-type: {JSON}\r\ntransfer-encoding: chunked\r\n\r\n",
        process.address
    );
    let answer = wire::exchange(&process.address, &(head + &chunks)).await;
    assert_eq!((answer.status(), answer.body.as_str()), (200, "{}"));

    for _ in 0..2 {
        for service in ["pb", "pb-gzip", "json", "json-gzip", "chunked"] {
            let path = format!(
                "/loki/api/v1/query_range?query=%7Bservice_name%3D%22{service}%22%7D&direction=forward&since=3h"
            );
            let answer = process.json(&path).await;
            let expected = [(now, "first".to_owned()), (now + 1, "second".to_owned())];
            assert_eq!(values(&answer), expected, "{service}");
            let stream = &answer["data"]["result"][0]["stream"];
            let expected = json!({"service_name": service, "host_name": "node-1", "severity_text": "INFO",
                "http_request_method": "GET"});
            assert_eq!(stream, &expected, "{service}");
        }
        let labels = process.json("/loki/api/v1/labels").await["data"].clone();
        assert_eq!(labels, json!(["service_name"]), "all else is metadata");
        process.flush().await;
    }
}

#[tokio::test]
async fn an_export_that_is_sent_again_is_there_once_and_one_without_records_is_a_success() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let body = protobuf("again", start_ns(), &["one", "two"]);
    for _ in 0..2 {
        assert_eq!(export(&process, PROTOBUF, "identity", body.clone()).await.status, StatusCode::OK);
    }
    assert_eq!(count(&process, r#"{service_name="again"}"#).await, 2);
    for (content_type, empty) in [(PROTOBUF, ""), (JSON, "{}"), (JSON, r#"{"resourceLogs": []}"#)] {
        let response = export(&process, content_type, "identity", empty).await;
        assert_eq!(response.status, StatusCode::OK, "{empty:?}: {}", text(&response));
    }
}

#[tokio::test]
async fn records_that_are_invalid_are_a_partial_success_and_where_all_are_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).config("limits_config: {max_line_size: 16B}").start().await;
    let now = start_ns();
    let (long, lines) = ("far too long for this limit", ["kept", "far too long for this limit", "kept, too"]);
    let why = "1 of 3 lines were refused, 2 are stored\n\
        line_too_long: 1 lines, the first: line of 27 bytes exceeds the limit of 16";

    let response = export(&process, PROTOBUF, "identity", protobuf("a", now, &lines)).await;
    assert_eq!(response.status, StatusCode::OK);
    let answer = ExportLogsServiceResponse::decode(response.body.clone()).unwrap();
    let partial = answer.partial_success.unwrap();
    assert_eq!((partial.rejected_log_records, partial.error_message.as_str()), (1, why));

    let response = export(&process, JSON, "identity", json_body("b", now, &lines)).await;
    assert_eq!(response.status, StatusCode::OK);
    let answer: Value = serde_json::from_slice(&response.body).unwrap();
    let expected = json!({"partialSuccess": {"rejectedLogRecords": "1", "errorMessage": why}});
    assert_eq!(answer, expected, "64 bits are text in the JSON of protobuf");

    for (content_type, body) in
        [(PROTOBUF, protobuf("c", now, &[long])), (JSON, json_body("c", now, &[long]))]
    {
        let response = export(&process, content_type, "identity", body).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST);
        let told = told(&response, content_type);
        assert!(told.starts_with("1 of 1 lines were refused, 0 are stored"), "{told}");
    }
    assert_eq!(count(&process, r#"{service_name=~".+"}"#).await, 4);
    let services = process.json("/loki/api/v1/label/service_name/values").await["data"].clone();
    assert_eq!(services, json!(["a", "b"]));
}

#[tokio::test]
async fn streams_beyond_the_limit_are_a_partial_success_and_where_all_are_a_failure() {
    let dir = tempfile::tempdir().unwrap();
    let config = "limits_config: {max_global_streams_per_user: 1}";
    let process = Setup::new(dir.path()).config(config).start().await;
    let now = start_ns();
    let (first, second) = (protobuf("a", now, &["one", "two"]), protobuf("b", now, &["three"]));
    // Of protobuf, messages behind one another are one.
    let response = export(&process, PROTOBUF, "identity", [first, second.clone()].concat()).await;
    assert_eq!(response.status, StatusCode::OK, "{}", text(&response));
    let answer = ExportLogsServiceResponse::decode(response.body.clone()).unwrap();
    let partial = answer.partial_success.unwrap();
    assert_eq!(partial.rejected_log_records, 1);
    assert!(partial.error_message.contains("stream_limit: 1 lines"), "{}", partial.error_message);

    let response = export(&process, PROTOBUF, "identity", second).await;
    assert_eq!(response.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(response.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(count(&process, r#"{service_name=~".+"}"#).await, 2);
}

#[tokio::test]
async fn every_failure_is_a_status_in_the_type_of_its_request_and_nothing_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let config = "distributor: {max_recv_msg_size: 64KiB, max_decompressed_size: 128KiB}\n\
        limits_config: {ingestion_rate_mb: 0.001, ingestion_burst_size_mb: 0.000001}";
    let mut process = Setup::new(dir.path()).arguments(&["--auth"]).config(config).start().await;
    let good = protobuf("x", start_ns(), &["x"]);
    let anonymous = export(&process, PROTOBUF, "identity", good.clone()).await;
    assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED);
    assert!(told(&anonymous, PROTOBUF).contains("no org id"));
    process.client = process.client.clone().for_tenant("a").unwrap();

    let bomb = gzip(&vec![b' '; 200 << 10]);
    let cut = gzip(&good)[..20].to_vec();
    for (content_type, encoding, body, status, what) in [
        (PROTOBUF, "identity", b"\x0a\xff\xff\xff\x7f".to_vec(), 400, "malformed protobuf message"),
        (PROTOBUF, "gzip", cut, 400, "malformed gzip body"),
        (JSON, "identity", br#"{"resourceLogs": ["#.to_vec(), 400, "malformed JSON"),
        (JSON, "identity", br#"{"resourceLogs": {}}"#.to_vec(), 400, "expected a list"),
        (JSON, "identity", vec![b' '; 65 << 10], 413, "body of 66560 bytes exceeds the limit of 65536"),
        (JSON, "gzip", bomb.clone(), 413, "limit of 131072"),
        (PROTOBUF, "gzip", bomb, 413, "limit of 131072"),
        (PROTOBUF, "br", good.clone(), 415, "content encoding \"br\""),
    ] {
        let response = export(&process, content_type, encoding, body).await;
        let told = told(&response, content_type);
        assert_eq!(response.status.as_u16(), status, "{content_type} {encoding}: {told}");
        assert!(told.contains(what), "{told} does not name {what}");
        assert!(!response.headers.contains_key(header::RETRY_AFTER), "{told}: to try again is of no use");
    }
    let strange = export(&process, "text/plain", "identity", "hello").await;
    assert_eq!(strange.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(told(&strange, JSON).contains("content type \"text/plain\""));
    assert_eq!(process.json("/loki/api/v1/labels").await["data"], json!([]), "nothing was stored");

    // What is larger than the burst passes once, and is paid off afterwards.
    let large = |service: &str| protobuf(service, start_ns(), &[&"x".repeat(8000)]);
    assert_eq!(export(&process, PROTOBUF, "identity", large("first")).await.status, StatusCode::OK);
    let limited = export(&process, PROTOBUF, "identity", large("second")).await;
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(told(&limited, PROTOBUF).contains("ingestion rate limit exceeded for a: 1 lines"));
    assert!(limited.headers.contains_key(header::RETRY_AFTER));
    let services = process.json("/loki/api/v1/label/service_name/values").await["data"].clone();
    assert_eq!(services, json!(["first"]));
}
