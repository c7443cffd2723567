//! Metric queries over HTTP against what the lines that were sent come to, from memory and from the store; and the
//! limits of queries.

use http::StatusCode;
use serde_json::{Value, json};

use crate::lines::start_ns;
use crate::process::{Process, Setup, text, until};

const SECOND: i64 = 1_000_000_000;

/// For each app and pod a line of so many bytes in each of ten seconds.
const STREAMS: [(&str, &str, usize); 4] =
    [("api", "a", 10), ("api", "b", 20), ("web", "a", 30), ("web", "c", 40)];

async fn fill(process: &Process, start_ns: i64) {
    let streams = STREAMS.map(|(app, pod, bytes)| {
        let line = |n: i64| json!([(start_ns + n * SECOND).to_string(), "x".repeat(bytes)]);
        json!({"stream": {"app": app, "pod": pod}, "values": (1..=10).map(line).collect::<Vec<_>>()})
    });
    assert_eq!(process.push(&json!({"streams": streams})).await.status, StatusCode::NO_CONTENT);
}

fn escaped(query: &str) -> String {
    form_urlencoded::byte_serialize(query.as_bytes()).collect()
}

async fn instant(process: &Process, query: &str, time_ns: i64) -> Value {
    let answer = process.json(&format!("/loki/api/v1/query?query={}&time={time_ns}", escaped(query))).await;
    assert_eq!(answer["data"]["resultType"], "vector", "{answer}");
    let series = answer["data"]["result"].as_array().unwrap().iter();
    series.map(|series| json!([series["metric"], series["value"][1]])).collect()
}

#[tokio::test]
async fn numbers_are_those_of_the_lines_in_memory_and_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let start = start_ns();
    fill(&process, start).await;
    let end = start + 10 * SECOND;
    for _ in 0..2 {
        for (query, expected) in [
            (
                r#"sum by (app) (count_over_time({app=~".+"}[10s]))"#,
                json!([[{"app": "api"}, "20"], [{"app": "web"}, "20"]]),
            ),
            (r#"sum(rate({app="api"}[4s]))"#, json!([[{}, "2"]])),
            (
                r#"sum without (pod) (bytes_over_time({app=~".+"}[5s]))"#,
                json!([[{"app": "api"}, "150"], [{"app": "web"}, "350"]]),
            ),
            (r#"avg(bytes_rate({app="web"}[2s])) by (app)"#, json!([[{"app": "web"}, "35"]])),
            (r#"max(bytes_over_time({app=~".+"}[1s]))"#, json!([[{}, "40"]])),
            (
                r#"min by (pod) (bytes_over_time({app=~".+"}[1s]))"#,
                json!([[{"pod": "a"}, "10"], [{"pod": "b"}, "20"], [{"pod": "c"}, "40"]]),
            ),
            (r#"count(count_over_time({app=~".+"}[1s]))"#, json!([[{}, "4"]])),
            (
                r#"topk(2, bytes_over_time({app=~".+"}[10s]))"#,
                json!([[{"app": "web", "pod": "c"}, "400"], [{"app": "web", "pod": "a"}, "300"]]),
            ),
            (
                r#"topk by (app) (1, sum by (app) (count_over_time({app="api"}[3s])))"#,
                json!([[{"app": "api"}, "6"]]),
            ),
            (r#"sum(count_over_time({app=~".+"} |= "xxxxxxxxxxxxxxxxxxxxx" [10s]))"#, json!([[{}, "20"]])),
            (r#"sum(count_over_time({app="api"}[5s] offset 5s))"#, json!([[{}, "10"]])),
            (r#"sum(count_over_time({app="none"}[10s]))"#, json!([])),
        ] {
            assert_eq!(instant(&process, query, end).await, expected, "{query}");
        }
        let query = escaped(r#"sum by (app) (count_over_time({app=~".+"}[2s]))"#);
        let path = format!("/loki/api/v1/query_range?query={query}&start={start}&end={end}&step=5s");
        let answer = process.json(&path).await;
        assert_eq!(answer["data"]["resultType"], "matrix", "{answer}");
        // As they were written: to read a number may change its last digit.
        let seconds = |n: i64| {
            let seconds = json!((start + n * SECOND) as f64 / 1e9).to_string();
            serde_json::from_str::<Value>(&seconds).unwrap()
        };
        assert_eq!(
            answer["data"]["result"],
            json!(["api", "web"].map(|app| json!({
                "metric": {"app": app},
                "values": [[seconds(5), "4"], [seconds(10), "4"]],
            }))),
        );
        process.flush().await;
    }
}

#[tokio::test]
async fn points_at_multiples_of_the_step_are_counted_without_reading() {
    let dir = tempfile::tempdir().unwrap();
    let config = "query_range: {align_queries_with_step: true}\n";
    let process = Setup::new(dir.path()).config(config).start().await;
    let start = start_ns();
    fill(&process, start).await;
    let (step, end) = (5 * SECOND, start + 20 * SECOND);
    let query = escaped(r#"sum(count_over_time({app=~".+"}[5s]))"#);
    let path = format!("/loki/api/v1/query_range?query={query}&start={start}&end={end}&step=5s");
    let lines = |end: i64| (1..=10).filter(|n| (end - step..end).contains(&(start + n * SECOND - 1))).count();
    let points = (start / step..=end / step).map(|n| ((n * step / SECOND) as f64, 4 * lines(n * step)));
    let expected: Vec<(f64, String)> =
        points.filter(|(_, lines)| *lines > 0).map(|(at, lines)| (at, lines.to_string())).collect();
    for _ in 0..2 {
        let answer = process.json(&path).await;
        let points = answer["data"]["result"][0]["values"].as_array().unwrap().iter();
        let found: Vec<(f64, String)> = points
            .map(|point| {
                let at = point[0].as_f64().unwrap();
                assert_eq!(at % 5.0, 0.0, "{answer}");
                (at, point[1].as_str().unwrap().to_owned())
            })
            .collect();
        assert_eq!(found, expected);
        assert_eq!(answer["data"]["stats"]["stages"]["lines"], 0, "{answer}");
        process.flush().await;
    }
    let read = escaped(r#"sum(count_over_time({app=~".+"} |= "x" [5s]))"#);
    let path = format!("/loki/api/v1/query_range?query={read}&start={start}&end={end}&step=5s");
    for misses in [4.0, 4.0] {
        let answer = process.json(&path).await;
        assert_eq!(answer["data"]["stats"]["stages"]["lines"], 40, "{answer}");
        assert_eq!(process.metric("forebay_block_cache_misses_total", "").await, misses);
    }
    assert_eq!(process.metric("forebay_block_cache_hits_total", "").await, 4.0);
    assert!(process.metric("forebay_block_cache_bytes", "").await > 1000.0);
}

#[tokio::test]
async fn a_query_beyond_its_limits_is_refused_with_both_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let limits = "limits_config: {max_query_series: 3, max_entries_limit_per_query: 50, max_query_length: 1h, \
                  max_query_lookback: 2h, max_query_bytes_read: 500B}\n";
    let process = Setup::new(dir.path()).config(limits).start().await;
    let start = start_ns();
    fill(&process, start).await;
    process.flush().await;
    let end = start + 10 * SECOND;
    let selector = escaped(r#"{app="api"}"#);
    let many = escaped(r#"count_over_time({app=~".+"}[10s])"#);
    let all = escaped(r#"sum(count_over_time({app=~".+"}[10s]))"#);
    for (query, what) in [
        (format!("query_range?query={selector}&limit=51"), "max_entries_limit_per_query (51 > 50)"),
        (
            format!("query_range?query={selector}&start={}&end={end}", end - 3601 * SECOND),
            "(query length: 1h0m1s, limit: 1h0m0s)",
        ),
        (
            format!(
                "query_range?query={selector}&start={}&end={}",
                start - 7300 * SECOND,
                start - 7200 * SECOND
            ),
            "max_query_lookback 2h0m0s",
        ),
        (format!("query?query={}", escaped(r#"sum(count_over_time({app="api"}[3h]))"#)), ", limit: 1h0m0s)"),
        (
            format!("query?query={}", escaped(r#"sum(count_over_time({app="api"}[1m] offset 3h))"#)),
            "max_query_lookback 2h0m0s",
        ),
        ("labels?start=1".to_owned(), "(query length: 2h0m0s, limit: 1h0m0s)"),
        (format!("series?start=0&end={}", start - 7200 * SECOND), "max_query_lookback 2h0m0s"),
        (format!("query?query={all}&time={end}"), "too many bytes (query: 1000, limit: 500)"),
        (format!("query_range?query={many}&start={start}&end={end}"), "too many bytes"),
    ] {
        let response = process.get(&format!("/loki/api/v1/{query}")).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{query}: {}", text(&response));
        assert!(text(&response).contains(what), "{query}: {}", text(&response));
    }
    // Lines of the same size in memory count as much as those of chunks; of less time, the series are too many.
    fill(&process, start + 20 * SECOND).await;
    let later = start + 30 * SECOND;
    let response = process.get(&format!("/loki/api/v1/query?query={many}&time={later}")).await;
    assert!(text(&response).contains("too many bytes (query: 1000, limit: 500)"), "{}", text(&response));
    let many = escaped(r#"count_over_time({app=~".+"}[2s])"#);
    let response = process.get(&format!("/loki/api/v1/query?query={many}&time={later}")).await;
    assert_eq!(response.status, StatusCode::BAD_REQUEST, "{}", text(&response));
    assert!(text(&response).contains("maximum of series (3) reached"), "{}", text(&response));
    let answer =
        process.json(&format!("/loki/api/v1/query_range?query={selector}&start={start}&end={end}")).await;
    assert_eq!(
        answer["data"]["result"].as_array().unwrap().len(),
        2,
        "what is within the limits is answered"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_query_is_logged_with_what_it_cost() {
    let dir = tempfile::tempdir().unwrap();
    let config = "frontend: {log_queries_longer_than: -1s}\n";
    let process = Setup::new(dir.path()).config(config).start().await;
    let start = start_ns();
    fill(&process, start).await;
    process.flush().await;
    let query = r#"sum(count_over_time({app="api"}[10s]))"#;
    instant(&process, query, start + 10 * SECOND).await;
    let slow = || process.log().into_iter().find(|line| line.contains("slow query"));
    until("it is logged", || async { slow().is_some() }).await;
    let line = slow().unwrap();
    for part in ["{app=", "chunk_download", "index_lookup", "lines", "bytes=", "trace_id", "seconds="] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_whose_client_has_gone_ends() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--ingesters", "1", "--replication-factor", "1"];
    let process = Setup::new(dir.path()).arguments(&arguments).start().await;
    let child = rustix::process::Pid::from_raw(process.children()[0]).unwrap();
    rustix::process::kill_process(child, rustix::process::Signal::STOP).unwrap();
    let query = escaped(r#"{app="api"}"#);
    let request = format!("GET /loki/api/v1/query_range?query={query} HTTP/1.1\r\nhost: x\r\n\r\n");
    // Each client is gone when the next one is there, and by then one of them has had its query begin.
    let client = std::cell::RefCell::new(None);
    until("a query ends", || async {
        let mut next = tokio::net::TcpStream::connect(&process.address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut next, request.as_bytes()).await.unwrap();
        client.replace(Some(next));
        process.log().iter().any(|line| line.contains("query that nobody waits for ended"))
    })
    .await;
    drop(client);
    rustix::process::kill_process(child, rustix::process::Signal::CONT).unwrap();
    assert!(process.metric("forebay_queries_cancelled_total", "").await >= 1.0);
}

#[tokio::test]
async fn the_volume_of_streams_is_told_from_memory_and_store() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let start = start_ns();
    fill(&process, start).await;
    let path = |selector: &str| {
        let end = start + 60 * SECOND;
        format!("/loki/api/v1/index/stats?query={}&start={start}&end={end}", escaped(selector))
    };
    for _ in 0..2 {
        let all = process.json(&path(r#"{app=~".+"}"#)).await;
        assert_eq!(all, json!({"streams": 4, "chunks": 4, "entries": 40, "bytes": 1000}));
        let some = process.json(&path(r#"{pod="a"}"#)).await;
        assert_eq!(some, json!({"streams": 2, "chunks": 2, "entries": 20, "bytes": 400}));
        process.flush().await;
    }
    fill(&process, start + 20 * SECOND).await;
    let both = process.json(&path(r#"{pod="a"}"#)).await;
    assert_eq!(both, json!({"streams": 2, "chunks": 4, "entries": 40, "bytes": 800}));
    let services = text(&process.get("/services").await);
    for service in ["server", "ring", "distributor", "ingester", "querier", "compactor"] {
        assert!(services.contains(&format!("{service} => Running\n")), "{services}");
    }
}
