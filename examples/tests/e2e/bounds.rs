//! Log, memory and disk are bounded; what does not fit is refused and nothing is lost.

use std::time::Duration;

use bytes::Bytes;
use forebay_agent::logproto::{EntryAdapter, PushRequest, StreamAdapter, Timestamp};
use http::StatusCode;
use prost::Message;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lines::{count, start_ns};
use crate::process::{Process, Setup, text, until};

fn batch(app: &str, first_ns: i64, lines: i64, bytes: usize) -> Value {
    // Noise, so that it stays as large as it is.
    let mut state = first_ns.unsigned_abs() | 1;
    let mut noise = || {
        let word = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{state:016x}")
        };
        (0..bytes / 16).map(word).collect::<String>()
    };
    let values: Vec<Value> = (0..lines).map(|i| json!([(first_ns + i).to_string(), noise()])).collect();
    json!({"streams": [{"stream": {"app": app}, "values": values}]})
}

/// Pushes until it is taken, waiting where it is refused for now.
async fn push_all(process: &Process, body: &Value) -> u32 {
    let mut refused = 0;
    loop {
        let response = process.push(body).await;
        match response.status {
            StatusCode::NO_CONTENT => return refused,
            StatusCode::SERVICE_UNAVAILABLE => {
                assert!(response.headers.contains_key("retry-after"), "{}", text(&response));
                refused += 1;
                assert!(refused < 1000, "never taken: {}", text(&response));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            status => panic!("{status}: {}", text(&response)),
        }
    }
}

fn dir_bytes(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries
        .map(|e| if e.path().is_dir() { dir_bytes(&e.path()) } else { e.metadata().map_or(0, |m| m.len()) })
        .sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_slow_stream_does_not_pin_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 4 << 20;
    let setup = Setup::new(dir.path()).config("ingester: {wal: {max_bytes: 4MiB}, flush_check_period: 50ms}");
    let process = setup.start().await;
    let start = start_ns();
    push_all(&process, &batch("slow", start, 1, 64)).await;
    for round in 0..40_i64 {
        push_all(&process, &batch("fast", start + round * 1000, 256, 1024)).await;
        let used = dir_bytes(&dir.path().join("data/wal"));
        assert!(used <= limit, "the log has {used} bytes");
    }
    assert!(process.metric("forebay_chunks_flushed_total", "wal_pinned").await >= 1.0);
    process.kill().await;
    let process = setup.start().await;
    assert_eq!(count(&process, r#"{app="slow"}"#).await, 1);
    assert_eq!(count(&process, r#"{app="fast"}"#).await, 40 * 256);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_is_bounded_and_the_largest_streams_leave_first() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup::new(dir.path()).config("ingester: {memory_limit: 4MiB, flush_check_period: 50ms}");
    let process = setup.start().await;
    let start = start_ns();
    for round in 0..40_i64 {
        push_all(&process, &batch(&format!("app-{}", round % 4), start + round * 1000, 256, 1024)).await;
        let used = process.metric("forebay_ingester_memory_bytes", "").await;
        assert!(used < 8e6, "{used} bytes of lines in memory");
    }
    assert!(process.metric("forebay_chunks_flushed_total", "pressure").await >= 1.0);
    assert_eq!(count(&process, r#"{app=~"app-.*"}"#).await, 40 * 256);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_pushes_answers_queries_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let mount = dir.path().join("data");
    std::fs::create_dir_all(&mount).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
        .arg(&mount)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: mounting a small tmpfs takes root");
        return;
    }
    let unmount = Unmount(mount.clone());
    let setup = Setup::new(dir.path()).config("ingester: {wal: {max_bytes: 8MiB}, flush_check_period: 50ms}");
    let process = setup.start().await;
    let start = start_ns();
    push_all(&process, &batch("before", start, 10, 64)).await;
    // Somebody fills the disk.
    let ballast = mount.join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut file, &[7; 4096]).is_ok() {}
    let mut taken = 0_i64;
    let refusal = loop {
        let response = process.push(&batch("during", start + taken * 1000, 256, 1024)).await;
        if response.status != StatusCode::NO_CONTENT {
            break response;
        }
        taken += 1;
        assert!(taken < 1000, "a full disk takes everything");
    };
    assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE, "{}", text(&refusal));
    assert!(refusal.headers.contains_key("retry-after"));
    assert!(text(&refusal).contains("first failure: "), "{}", text(&refusal));
    assert_eq!(count(&process, r#"{app="before"}"#).await, 10, "queries are answered");
    std::fs::remove_file(&ballast).unwrap();
    until("pushes are taken again", || async {
        process.push(&batch("after", start, 10, 64)).await.status == StatusCode::NO_CONTENT
    })
    .await;
    let during = u64::try_from(taken).unwrap() * 256;
    for (app, expected) in [("before", 10), ("during", during), ("after", 10)] {
        assert_eq!(count(&process, &format!("{{app=\"{app}\"}}")).await, expected, "{app}");
    }
    process.kill().await;
    let process = setup.start().await;
    for (app, expected) in [("before", 10), ("during", during), ("after", 10)] {
        assert_eq!(count(&process, &format!("{{app=\"{app}\"}}")).await, expected, "{app} after a restart");
    }
    process.kill().await;
    drop(unmount);
}

struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Pushes above the log's largest record, and above what may be under way to one ingester, were refused for ever. The
/// smaller bound is set here, so that a small push is above it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_of_more_than_a_record_holds_is_stored_whole() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).config("distributor: {max_inflight_bytes: 1MiB}").start().await;
    let (start, line) = (start_ns(), Bytes::from(vec![b'x'; 12 << 10]));
    let stream = |app: &str, lines: i64| StreamAdapter {
        labels: format!("{{app=\"{app}\"}}"),
        entries: (0..lines)
            .map(|i| EntryAdapter {
                timestamp: Some(Timestamp::from_ns(start + i)),
                line: line.clone(),
                structured_metadata: Vec::new(),
            })
            .collect(),
    };
    let many = (0..50).map(|app| stream(&format!("many-{app}"), 7)).collect();
    for streams in [vec![stream("one", 350)], many] {
        let message = PushRequest { streams }.encode_to_vec();
        assert!(message.len() > 4 << 20);
        let body = snap::raw::Encoder::new().compress_vec(&message).unwrap();
        let response = process.post("/loki/api/v1/push", "application/x-protobuf", body).await;
        assert_eq!(response.status, StatusCode::NO_CONTENT, "{}", text(&response));
    }
    assert_eq!(process.metric("forebay_received_lines_total", "").await, 700.0);
    assert_eq!(count(&process, r#"{app="one"}"#).await, 350);
    assert_eq!(count(&process, r#"{app=~"many-.*"}"#).await, 350);
}

#[tokio::test]
async fn bodies_that_are_being_taken_in_are_bounded_and_one_too_many_is_told_to_come_back() {
    let dir = tempfile::tempdir().unwrap();
    // Four times as much may be under way in bodies.
    let process = Setup::new(dir.path()).config("distributor: {max_inflight_bytes: 64KiB}").start().await;
    let start = start_ns();
    let large = batch("large", start, 300, 1024).to_string();
    let mut slow = tokio::net::TcpStream::connect(&process.address).await.unwrap();
    let head = format!(
        "POST /loki/api/v1/push HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        large.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&large.as_bytes()[..large.len() - 1]).await.unwrap();
    // Nothing else is pushed before: beside others it would be the one that is refused.
    let sent = large.len() as f64 - 1.0;
    until("the large body fills the room", || async {
        process.metric("forebay_intake_bytes", "").await >= sent
    })
    .await;
    let small = batch("small", start, 1, 16);
    let refused = process.push(&small).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers.contains_key("retry-after"));
    assert!(text(&refused).contains("no room for"), "{}", text(&refused));
    // It is larger than all the room, and was there first.
    slow.write_all(&large.as_bytes()[large.len() - 1..]).await.unwrap();
    let mut answer = [0; 12];
    slow.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 204");
    push_all(&process, &small).await;
    assert_eq!(count(&process, r#"{app="large"}"#).await, 300);
}
