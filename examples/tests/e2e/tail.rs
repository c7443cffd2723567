//! Lines as they come, over a WebSocket.

use std::collections::BTreeMap;

use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::lines::start_ns;
use crate::process::{PATIENCE, Process, Setup, text, until};
use crate::ring::started;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn tail(process: &Process, rest: &str) -> Socket {
    try_tail(process, rest).await.unwrap_or_else(|(status, text)| panic!("{status}: {text}"))
}

async fn try_tail(process: &Process, rest: &str) -> Result<Socket, (StatusCode, String)> {
    let selector = form_urlencoded::byte_serialize(br#"{app="tail"}"#).collect::<String>();
    let query = if rest.contains("query=") { String::new() } else { format!("query={selector}&") };
    let url = format!("ws://{}/loki/api/v1/tail?{query}{rest}", process.address);
    match connect_async(url).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => {
            let body = response.body().clone().unwrap_or_default();
            Err((response.status(), String::from_utf8(body).unwrap()))
        }
        Err(other) => panic!("{other}"),
    }
}

/// The next message with lines.
async fn message(socket: &mut Socket) -> Value {
    let next = tokio::time::timeout(PATIENCE, async {
        loop {
            match socket.next().await.expect("the socket is open").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    });
    next.await.expect("a message in time")
}

/// Lines by their times, as they come, until there are `count`.
async fn lines(socket: &mut Socket, count: usize) -> BTreeMap<i64, String> {
    let mut found = BTreeMap::new();
    while found.len() < count {
        let message = message(socket).await;
        assert_eq!(message["dropped_entries"], json!([]));
        for stream in message["streams"].as_array().unwrap() {
            assert_eq!(stream["stream"]["app"], "tail");
            for value in stream["values"].as_array().unwrap() {
                let line = value[1].as_str().unwrap().to_owned();
                let before = found.insert(value[0].as_str().unwrap().parse().unwrap(), line);
                assert_eq!(before, None, "a line came twice");
            }
        }
    }
    found
}

async fn push(process: &Process, times: impl Iterator<Item = i64>) {
    let values: Vec<Value> = times.map(|at| json!([at.to_string(), format!("line {at}")])).collect();
    let push = json!({"streams": [{"stream": {"app": "tail"}, "values": values}]});
    let response = process.push(&push).await;
    assert_eq!(response.status, StatusCode::NO_CONTENT, "{}", text(&response));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_line_comes_once_over_the_seam_with_replicas_in_other_processes_and_under_flush() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--ingesters", "3", "--replication-factor", "3"];
    let process = Setup::new(dir.path()).arguments(&arguments).start().await;
    let start = start_ns();
    push(&process, (0..50).map(|n| start + n)).await;
    process.flush().await;
    push(&process, (50..100).map(|n| start + n)).await;
    let pushes = async {
        for n in (100..1000).step_by(10) {
            push(&process, (n..n + 10).map(|n| start + n)).await;
            if n == 400 {
                process.flush().await;
            }
        }
    };
    let listens = async {
        // It begins somewhere among the pushes.
        let mut socket = tail(&process, &format!("start={start}&limit=5000")).await;
        lines(&mut socket, 1000).await
    };
    let ((), found) = tokio::join!(pushes, listens);
    let expected: BTreeMap<i64, String> =
        (0..1000).map(|n| (start + n, format!("line {}", start + n))).collect();
    assert!(found == expected, "{} lines", found.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_what_is_there_the_newest_come_in_order_and_then_what_comes() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let start = start_ns();
    push(&process, (0..20).map(|n| start + n)).await;
    let mut socket = tail(&process, &format!("start={start}&limit=3&delay_for=5")).await;
    let times = |message: Value| {
        let values = message["streams"][0]["values"].as_array().unwrap().clone();
        values.iter().map(|v| v[0].as_str().unwrap().parse::<i64>().unwrap() - start).collect::<Vec<_>>()
    };
    assert_eq!(times(message(&mut socket).await), [17, 18, 19]);
    push(&process, [start + 40].into_iter()).await;
    push(&process, [start + 30].into_iter()).await;
    assert_eq!(times(message(&mut socket).await), [30, 40], "what came late found its place");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_is_refused_beyond_the_limit_and_counted_no_more_when_its_socket_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let config = "limits_config: {max_concurrent_tail_requests: 1}\n";
    let process = Setup::new(dir.path()).config(config).start().await;
    let mut first = tail(&process, "").await;
    assert_eq!(process.metric("forebay_tails", "").await, 1.0);
    let (status, why) = try_tail(&process, "").await.unwrap_err();
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
    assert!(why.contains("limit exceeded (1)"), "{why}");
    first.send(Message::Close(None)).await.unwrap();
    until("the first is gone", || async { process.metric("forebay_tails", "").await == 0.0 }).await;
    let second = tail(&process, "").await;
    drop(second);
    until("a socket that broke off is gone", || async { process.metric("forebay_tails", "").await == 0.0 })
        .await;
    for (parameters, expected) in [
        ("delay_for=6", "more than 5"),
        ("limit=5001", "(5001 > 5000)"),
        ("query=rate(%7Bapp%3D%22a%22%7D%5B1m%5D)", "not a metric query"),
        ("query=%7Bapp%7D", "parse error"),
    ] {
        let (status, why) = try_tail(&process, parameters).await.unwrap_err();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{parameters}: {why}");
        assert!(why.contains(expected), "{parameters}: {why}");
    }
    let plain = process.get("/loki/api/v1/tail?query=%7Bapp%3D%22a%22%7D").await;
    assert_eq!(plain.status, StatusCode::BAD_REQUEST, "{}", text(&plain));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_message_from_the_other_side_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let mut socket = tail(&process, "").await;
    socket.send(Message::Text("x".repeat(100).into())).await.unwrap();
    assert_eq!(process.metric("forebay_tails", "").await, 1.0);
    socket.send(Message::Text("x".repeat(8 << 10).into())).await.unwrap();
    until("it is closed", || async { process.metric("forebay_tails", "").await == 0.0 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_ends_when_its_time_is_over_or_the_server_stops_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let config = "querier: {tail_max_duration: 1s}\n";
    let process = Setup::new(&dir.path().join("a")).config(config).start().await;
    let mut socket = tail(&process, "").await;
    assert_eq!(closed(&mut socket).await, (1000, "tail_max_duration (1s) is over: begin anew".to_owned()));

    let process = Setup::new(&dir.path().join("b")).start().await;
    let mut socket = tail(&process, "").await;
    let ((code, _), status) = tokio::join!(closed(&mut socket), process.terminate());
    assert_eq!(code, 1001);
    assert!(status.success());
}

/// Code and reason of the close.
async fn closed(socket: &mut Socket) -> (u16, String) {
    let close = tokio::time::timeout(PATIENCE, async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => {
                    return (u16::from(frame.code), frame.reason.to_string());
                }
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    close.await.expect("it is closed in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingester_that_comes_back_is_heard_again() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--ingesters", "1", "--replication-factor", "1"];
    let process = Setup::new(dir.path()).arguments(&arguments).start().await;
    let start = start_ns();
    let mut socket = tail(&process, "").await;
    push(&process, [start].into_iter()).await;
    lines(&mut socket, 1).await;
    let child = rustix::process::Pid::from_raw(process.children()[0]).unwrap();
    let starts = started(&process).await;
    rustix::process::kill_process(child, rustix::process::Signal::KILL).unwrap();
    until("it is back", || async { started(&process).await > starts }).await;
    // What comes before it is listened to again does not count: one after the other, until one is heard.
    let heard = tokio::time::timeout(PATIENCE, message(&mut socket));
    let pushes = async {
        for n in 1.. {
            let values = json!([[(start + n).to_string(), "again"]]);
            process.push(&json!({"streams": [{"stream": {"app": "tail"}, "values": values}]})).await;
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        message = heard => assert_eq!(message.unwrap()["streams"][0]["values"][0][1], "again"),
        () = pushes => unreachable!("it pushes for ever"),
    }
}
