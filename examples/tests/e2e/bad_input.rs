//! The table of bad inputs, row by row, over real HTTP.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use forebay_agent::logproto::{EntryAdapter, LabelPair, PushRequest, StreamAdapter, Timestamp};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use prost::Message;
use serde_json::json;

use crate::lines::{count, start_ns};
use crate::process::{Process, Setup, text};
use crate::wire;

pub(crate) async fn push(
    process: &Process,
    content_type: &'static str,
    encoding: &'static str,
    body: impl Into<Bytes>,
) -> (StatusCode, String) {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    let response =
        process.client.post("/loki/api/v1/push", content_type, &headers, body.into()).await.unwrap();
    assert!(response.headers.contains_key("x-trace-id"), "every answer carries its trace");
    (response.status, text(&response))
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_by_its_kind() {
    let dir = tempfile::tempdir().unwrap();
    let config = "distributor: {max_recv_msg_size: 64KiB, max_decompressed_size: 128KiB}";
    let process = Setup::new(dir.path()).config(config).start().await;
    let (pb, js) = ("application/x-protobuf", "application/json");
    let spaces = vec![b' '; 200 << 10];
    let bomb = snap::raw::Encoder::new().compress_vec(&spaces).unwrap();
    let nonsense = snap::raw::Encoder::new().compress_vec(b"\x0a\xff\xff\xff\x7f").unwrap();
    let no_streams = json!({"streams": []}).to_string();
    // Two bytes are a line, and 130 KiB of them several MiB of lines.
    let empty_entries = [&[0x0a, 0x80, 0x80, 4][..], &[0x12, 0].repeat(32 << 10)].concat();
    let empty_entries = snap::raw::Encoder::new().compress_vec(&empty_entries).unwrap();
    let now = start_ns().to_string();
    let one = |time: &str| json!({"streams": [{"stream": {"a": "b"}, "values": [[now, "x"], [time, "y"]]}]});
    let good = one(&now).to_string().into_bytes();
    let (gzip, zlib, deflate) = (gzip(&good), zlib(&good), deflate(&good));
    // So many seconds, which 64 bits of nanoseconds do not hold.
    let timestamp = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
    let entry = EntryAdapter { timestamp, line: Bytes::new(), structured_metadata: Vec::new() };
    let late =
        PushRequest { streams: vec![StreamAdapter { labels: "{a=\"b\"}".into(), entries: vec![entry] }] };
    let late = snap::raw::Encoder::new().compress_vec(&late.encode_to_vec()).unwrap();
    for (content_type, encoding, body, status, what) in [
        (pb, "snappy", empty_entries, StatusCode::PAYLOAD_TOO_LARGE, "limit of 131072"),
        (pb, "snappy", b"\xff\xff\xff\xff\xff\xff".to_vec(), StatusCode::BAD_REQUEST, "snappy"),
        (pb, "identity", nonsense, StatusCode::BAD_REQUEST, "protobuf"),
        (js, "identity", b"{\"streams\": [".to_vec(), StatusCode::BAD_REQUEST, "JSON"),
        (js, "gzip", b"not gzip".to_vec(), StatusCode::BAD_REQUEST, "gzip"),
        (js, "gzip", gzip[..gzip.len() / 2].to_vec(), StatusCode::BAD_REQUEST, "malformed gzip body"),
        (js, "gzip", gzip[..gzip.len() - 1].to_vec(), StatusCode::BAD_REQUEST, "malformed gzip body"),
        (js, "deflate", b"\x78\x9cno".to_vec(), StatusCode::BAD_REQUEST, "malformed deflate body"),
        (js, "deflate", zlib[..zlib.len() / 2].to_vec(), StatusCode::BAD_REQUEST, "malformed deflate body"),
        (js, "deflate", zlib[..zlib.len() - 1].to_vec(), StatusCode::BAD_REQUEST, "malformed deflate body"),
        (
            js,
            "deflate",
            deflate[..deflate.len() - 1].to_vec(),
            StatusCode::BAD_REQUEST,
            "malformed deflate body",
        ),
        (js, "identity", one("soon").to_string().into(), StatusCode::BAD_REQUEST, "timestamp \"soon\""),
        (js, "identity", one("1e18").to_string().into(), StatusCode::BAD_REQUEST, "timestamp \"1e18\""),
        (js, "identity", one("9223372036854775808").to_string().into(), StatusCode::BAD_REQUEST, "timestamp"),
        (pb, "snappy", late, StatusCode::BAD_REQUEST, "malformed timestamp"),
        (js, "identity", vec![b' '; 65 << 10], StatusCode::PAYLOAD_TOO_LARGE, "limit of 65536"),
        (pb, "snappy", bomb, StatusCode::PAYLOAD_TOO_LARGE, "limit of 131072"),
        ("text/plain", "identity", b"hello".to_vec(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "application/json"),
        (js, "br", b"{}".to_vec(), StatusCode::UNSUPPORTED_MEDIA_TYPE, "gzip"),
        (js, "identity", no_streams.into_bytes(), StatusCode::UNPROCESSABLE_ENTITY, "no streams"),
        (pb, "snappy", b"\x00".to_vec(), StatusCode::UNPROCESSABLE_ENTITY, "no streams"),
    ] {
        let (found, body) = push(&process, content_type, encoding, body).await;
        assert_eq!(found, status, "{content_type} {encoding}: {body}");
        assert!(body.contains(what), "{body} does not name {what}");
    }
    assert_eq!(process.json("/loki/api/v1/labels").await["data"], json!([]), "nothing was stored");
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

fn zlib(body: &[u8]) -> Vec<u8> {
    let mut out = ZlibEncoder::new(Vec::new(), Compression::default());
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut out = DeflateEncoder::new(Vec::new(), Compression::default());
    out.write_all(body).unwrap();
    out.finish().unwrap()
}

/// A body that does not say how long it is grows to the limit, and no further.
#[tokio::test]
async fn a_chunked_body_is_refused_where_it_passes_the_limit_packed_or_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let config = "distributor: {max_recv_msg_size: 64KiB, max_decompressed_size: 16KiB}";
    let process = Setup::new(dir.path()).config(config).start().await;
    let chunked = async |body: &str| {
        let head = format!(
            "POST /loki/api/v1/push HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n",
            process.address
        );
        let chunks = body.as_bytes().chunks(4096).map(|chunk| {
            let chunk = std::str::from_utf8(chunk).unwrap();
            format!("{:x}\r\n{chunk}\r\n", chunk.len())
        });
        wire::exchange(&process.address, &(head + &chunks.collect::<String>() + "0\r\n\r\n")).await
    };
    let body = |bytes: usize| {
        let line = "x".repeat(bytes);
        json!({"streams": [{"stream": {"a": "b"}, "values": [[start_ns().to_string(), line]]}]}).to_string()
    };
    let packed = chunked(&body(65 << 10)).await;
    assert_eq!(packed.status(), 413, "{packed:?}");
    assert!(
        packed.body.contains("body of 66") && packed.body.contains("the limit of 65536"),
        "{}",
        packed.body
    );
    let unpacked = chunked(&body(17 << 10)).await;
    assert_eq!(unpacked.status(), 413, "{unpacked:?}");
    assert!(unpacked.body.contains("unpacked body of 17"), "{}", unpacked.body);
    assert_eq!(process.json("/loki/api/v1/labels").await["data"], json!([]), "nothing was stored");
    assert_eq!(process.metric("forebay_intake_bytes", "").await, 0.0);
    assert_eq!(chunked(&body(15 << 10)).await.status(), 204);
    assert_eq!(count(&process, r#"{a="b"}"#).await, 1);
}

#[tokio::test]
async fn the_tenant_must_be_named_and_one_on_a_push() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Setup::new(dir.path()).arguments(&["--auth"]).start().await;
    let body = json!({"streams": [{"stream": {"a": "b"}, "values": [[start_ns().to_string(), "x"]]}]});
    let response = process.push(&body).await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    assert!(text(&response).contains("no org id"));
    for (tenant, status) in [("a|b", 400), ("a/b", 400), ("", 401), ("a|a", 204)] {
        process.client = process.client.clone().for_tenant(tenant).unwrap();
        let response = process.push(&body).await;
        assert_eq!(response.status.as_u16(), status, "{tenant:?}: {}", text(&response));
    }
}

#[tokio::test]
async fn what_is_invalid_is_told_by_reason_and_the_rest_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let config = "limits_config: {max_line_size: 32B, max_structured_metadata_entries_count: 1, max_label_names_per_series: 2}";
    let process = Setup::new(dir.path()).config(config).start().await;
    let now = start_ns();
    let day = 86_400_000_000_000;
    let at = |ns: i64| ns.to_string();
    let body = json!({"streams": [
        {"stream": {"app": "good"}, "values": [
            [at(now), "kept"],
            [at(now - 8 * day), "too old"],
            [at(now + day), "too new"],
            [at(now + 1), "far too long for a limit of thirty-two bytes"],
            [at(now + 2), "much metadata", {"a": "1", "b": "2"}],
            [at(now + 3), "kept too"],
        ]},
        {"stream": {"app": "bad", "b": "1", "c": "2"}, "values": [[at(now), "too many labels"]]},
        {"stream": {"not a name": "x"}, "values": [[at(now), "bad label"]]},
        {"stream": {}, "values": [[at(now), "no label"]]},
        {"stream": {"__name__": "a", "app": "good"}, "values": [[at(now), "kept"]]},
    ]});
    let response = process.push(&body).await;
    let told = text(&response);
    assert_eq!(response.status, StatusCode::BAD_REQUEST, "{told}");
    assert!(told.contains("8 of 10 lines were refused, 2 are stored"), "{told}");
    for reason in [
        "greater_than_max_sample_age: 1 lines",
        "too_far_in_future: 1 lines",
        "line_too_long: 1 lines, the first: line of 44 bytes exceeds the limit of 32",
        "structured_metadata_too_many: 1 lines",
        "max_label_names_per_series: 1 lines",
        "invalid_labels: 2 lines",
        "missing_labels: 1 lines",
    ] {
        assert!(told.contains(reason), "{told} does not tell {reason}");
    }
    assert_eq!(count(&process, r#"{app="good"}"#).await, 2);
    assert_eq!(process.metric("forebay_discarded_lines_total", "line_too_long").await, 1.0);
    assert_eq!(process.metric("forebay_received_lines_total", "fake").await, 2.0);
}

/// The labels are text there, and those of the second push are known from the first.
#[tokio::test]
async fn what_is_invalid_in_protobuf_is_told_as_well_each_time_it_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let config = "limits_config: {max_line_size: 32B, max_structured_metadata_entries_count: 1, max_label_names_per_series: 2}";
    let process = Setup::new(dir.path()).config(config).start().await;
    let day = 86_400_000_000_000;
    for pushes in 1..=2 {
        let now = start_ns() + pushes;
        let entry = |ns: i64, line: &'static str| EntryAdapter {
            timestamp: Some(Timestamp::from_ns(ns)),
            line: Bytes::from_static(line.as_bytes()),
            structured_metadata: Vec::new(),
        };
        let pair = |name: &str| LabelPair { name: name.to_owned(), value: "1".to_owned() };
        let much = EntryAdapter { structured_metadata: vec![pair("a"), pair("b")], ..entry(now + 3, "much") };
        let stream =
            |labels: &str, entries: Vec<EntryAdapter>| StreamAdapter { labels: labels.to_owned(), entries };
        let streams = vec![
            stream(
                "{app=\"good\"}",
                vec![
                    entry(now, "kept"),
                    entry(now - 8 * day, "too old"),
                    entry(now + day, "too new"),
                    entry(now, "far too long for a limit of thirty-two bytes"),
                    much,
                ],
            ),
            stream("{app=\"bad\", b=\"1\", c=\"2\"}", vec![entry(now, "too many labels")]),
            stream("{app=", vec![entry(now, "no labels")]),
            stream("{}", vec![entry(now, "not one label")]),
        ];
        let body = snap::raw::Encoder::new().compress_vec(&PushRequest { streams }.encode_to_vec()).unwrap();
        let (status, told) = push(&process, "application/x-protobuf", "snappy", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{told}");
        assert!(told.contains("7 of 8 lines were refused, 1 are stored"), "{told}");
        for reason in [
            "greater_than_max_sample_age: 1 lines",
            "too_far_in_future: 1 lines",
            "line_too_long: 1 lines, the first: line of 44 bytes exceeds the limit of 32",
            "structured_metadata_too_many: 1 lines",
            "max_label_names_per_series: 1 lines",
            "invalid_labels: 1 lines, the first: labels \"{app=\"",
            "missing_labels: 1 lines",
        ] {
            assert!(told.contains(reason), "{told} does not tell {reason}");
        }
        assert_eq!(count(&process, r#"{app="good"}"#).await, u64::try_from(pushes).unwrap());
    }
}

#[tokio::test]
async fn a_rate_refuses_the_whole_push_with_a_time_to_wait() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        "limits_config: {ingestion_rate_mb: 0.001, ingestion_burst_size_mb: 0.01, max_line_size: 8000B}";
    let process = Setup::new(dir.path()).config(config).start().await;
    let now = start_ns();
    let line = "x".repeat(8000);
    let body = |n: i64, lines: &[&str]| {
        let values: Vec<_> = lines.iter().map(|line| json!([(now + n).to_string(), line])).collect();
        json!({"streams": [{"stream": {"app": "r"}, "values": values}]})
    };
    assert_eq!(process.push(&body(0, &[&line])).await.status, StatusCode::NO_CONTENT);
    let refused = process.push(&body(1, &[&line, &line.repeat(2)])).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS, "{}", text(&refused));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((4..=8).contains(&wait), "8000 bytes at 1049 a second: {wait}");
    assert_eq!(count(&process, r#"{app="r"}"#).await, 1, "nothing of it is stored");
    assert_eq!(process.metric("forebay_limiter_denied_total", "rate").await, 1.0);
    for reason in ["rate_limited", "line_too_long"] {
        let discarded = process.metric("forebay_discarded_lines_total", reason).await;
        assert_eq!(discarded, 1.0, "{reason}");
    }
}

#[tokio::test]
async fn a_stream_limit_stores_the_streams_within_it_and_counts_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let process =
        Setup::new(dir.path()).config("limits_config: {max_global_streams_per_user: 2}").start().await;
    let now = start_ns().to_string();
    let streams: Vec<_> =
        (0..5).map(|n| json!({"stream": {"app": "s", "n": n.to_string()}, "values": [[now, "x"]]})).collect();
    let response = process.push(&json!({ "streams": streams })).await;
    let told = text(&response);
    assert_eq!(response.status, StatusCode::TOO_MANY_REQUESTS, "{told}");
    assert!(response.headers.contains_key("retry-after"));
    assert!(
        told.contains("3 of 5 lines were refused, 2 are stored") && told.contains("stream_limit: 3 lines"),
        "{told}"
    );
    assert_eq!(count(&process, r#"{app="s"}"#).await, 2);
    let again = process.push(&json!({"streams": [streams[0].clone()]})).await;
    assert_eq!(again.status, StatusCode::NO_CONTENT, "a stream that is there goes on");
}

#[tokio::test]
async fn without_a_quorum_the_answer_says_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--ingesters", "3", "--replication-factor", "3", "--no-restart"];
    let process = Setup::new(dir.path()).arguments(&arguments).start().await;
    for pid in process.children().into_iter().take(2) {
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
    }
    let body = json!({"streams": [{"stream": {"app": "q"}, "values": [[start_ns().to_string(), "x"]]}]});
    let response = process.push(&body).await;
    let told = text(&response);
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE, "{told}");
    assert!(response.headers.contains_key("retry-after"));
    assert!(told.contains("1 of 1 streams did not reach quorum of their replicas, 0 did"), "{told}");
    let query = process.get("/loki/api/v1/query_range?query=%7Bapp%3D%22q%22%7D").await;
    assert_eq!(query.status, StatusCode::SERVICE_UNAVAILABLE, "a query that may miss lines is no answer");
}

#[tokio::test]
async fn where_some_streams_reach_their_quorum_the_answer_says_how_many() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).arguments(&["--ingesters", "3", "--no-restart"]).start().await;
    let pid = rustix::process::Pid::from_raw(process.children()[0]).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let now = start_ns().to_string();
    let streams: Vec<_> = (0..40)
        .map(|n| json!({"stream": {"app": "q", "n": n.to_string()}, "values": [[now, "x"]]}))
        .collect();
    let response = process.push(&json!({ "streams": streams })).await;
    let told = text(&response);
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE, "{told}");
    assert!(response.headers.contains_key("retry-after"));
    let (failed, rest) = told.split_once(" of 40 streams did not reach quorum of their replicas, ").unwrap();
    let (stored, why) = rest.split_once(" did; first failure: ").unwrap();
    let (failed, stored): (u32, u32) = (failed.parse().unwrap(), stored.parse().unwrap());
    assert!(failed > 0 && stored > 0 && failed + stored == 40, "{told}");
    assert!(why.contains("ingester-"), "{told}");
}

#[tokio::test]
async fn queries_that_cannot_be_answered_say_where_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    for (query, what) in [
        ("query=%7Bapp%3D%22x%22%7D%20%7C%20json", "col 11: | json is not supported"),
        ("query=stddev(rate(%7Bapp%3D%22x%22%7D%5B5m%5D))", "col 1: stddev is not supported"),
        ("query=sum(rate(%7Bapp%3D%22x%22%7D%20%7C%20json%20%5B5m%5D))", "col 20: | json is not supported"),
        ("query=%7Bapp%3D%22x%22%7D&interval=5s", "interval is not supported"),
        ("query=%7Bapp%3D%22x%22%7D&start=1&end=3000000", "(query length: 833h19m59s, limit: 721h0m0s)"),
        ("query=%7Bapp", "parse error at col 5"),
        ("query=%7B%7D", "at least one matcher"),
        ("", "parameter query is missing"),
        ("query=%7Bapp%3D%22x%22%7D&start=soon", "parameter start is \"soon\""),
        ("query=%7Bapp%3D%22x%22%7D&start=2&end=1", "before start"),
        ("query=%7Bapp%3D%22x%22%7D&limit=1000000", "(1000000 > 5000)"),
        ("query=%7Bapp%3D%22x%22%7D&direction=up", "neither forward nor backward"),
        ("query=count_over_time(%7Bapp%3D%22x%22%7D%5B5m%5D)&start=1&end=1000000&step=1", "limit of 11000"),
    ] {
        let response = process.get(&format!("/loki/api/v1/query_range?{query}")).await;
        let told = text(&response);
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{query}: {told}");
        assert!(told.contains(what), "{query}: {told}");
    }
    assert_eq!(process.get("/nope").await.status, StatusCode::NOT_FOUND);
}

/// Forty such clients would have held the whole intake until a restart.
#[tokio::test]
async fn a_body_that_stalls_is_given_up_and_holds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).config("server: {http_server_read_timeout: 200ms}\n").start().await;
    let fields = [("content-type", "application/json"), ("content-length", "1000")];
    let answer = wire::post(&process.address, "/loki/api/v1/push", &fields, "{\"streams\": [").await;
    assert_eq!(answer.status(), 408, "{answer:?}");
    assert_eq!(answer.body, "13 bytes came and the rest did not within 200ms\n");
    assert_eq!(process.metric("forebay_intake_bytes", "").await, 0.0);
}
