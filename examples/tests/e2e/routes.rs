//! The routes that list and tell, and the shapes of answers.

use http::StatusCode;
use serde_json::{Value, json};

use crate::lines::start_ns;
use crate::process::{Process, Setup, text};

async fn fill(process: &Process, now: i64) {
    let at = |n: i64| (now + n * 1_000_000_000).to_string();
    let body = json!({"streams": [
        {"stream": {"app": "api", "env": "prod"}, "values": [[at(0), "GET /"], [at(1), "POST /x"], [at(2), "GET /y", {"trace": "1"}]]},
        {"stream": {"app": "web", "env": "prod"}, "values": [[at(0), "hello"]]},
    ]});
    assert_eq!(process.push(&body).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn labels_values_and_series_come_from_memory_and_store_alike() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    fill(&process, start_ns()).await;
    for _ in 0..2 {
        let data = |answer: Value| answer["data"].clone();
        assert_eq!(data(process.json("/loki/api/v1/labels").await), json!(["app", "env"]));
        assert_eq!(data(process.json("/loki/api/v1/label/app/values").await), json!(["api", "web"]));
        let filtered = "/loki/api/v1/label/app/values?query=%7Bapp%3D~%22w.%2B%22%7D";
        assert_eq!(data(process.json(filtered).await), json!(["web"]));
        let series = "/loki/api/v1/series?match%5B%5D=%7Bapp%3D%22api%22%7D";
        assert_eq!(data(process.json(series).await), json!([{"app": "api", "env": "prod"}]));
        assert_eq!(data(process.json("/loki/api/v1/labels?start=1&end=2").await), json!([]));
        process.flush().await;
    }
}

#[tokio::test]
async fn answers_have_the_shapes_of_loki() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    let now = start_ns();
    fill(&process, now).await;
    process.flush().await;
    let query = "/loki/api/v1/query_range?query=%7Bapp%3D%22api%22%7D%20%7C%3D%20%22GET%22&since=3h";
    let answer = process.json(&format!("{query}&direction=forward")).await;
    assert_eq!(answer["status"], "success");
    assert_eq!(answer["data"]["resultType"], "streams");
    assert_eq!(
        answer["data"]["result"],
        json!([
            {"stream": {"app": "api", "env": "prod"}, "values": [[now.to_string(), "GET /"]]},
            {"stream": {"app": "api", "env": "prod", "trace": "1"}, "values": [[(now + 2_000_000_000).to_string(), "GET /y"]]},
        ])
    );
    for stage in ["index_lookup", "chunk_download", "chunk_decode", "processing"] {
        assert!(answer["data"]["stats"]["stages"][stage].as_f64().unwrap() > 0.0, "{stage}: {answer}");
    }
    assert_eq!(answer["data"]["stats"]["stages"]["chunks"], 1);
    assert_eq!(answer["data"]["stats"]["stages"]["lines"], 3);
    let newest = process.json(&format!("{query}&limit=1")).await;
    assert_eq!(newest["data"]["result"][0]["values"][0][1], "GET /y", "backward is the default");

    let mut headers = http::HeaderMap::new();
    headers.insert("x-loki-response-encoding-flags", http::HeaderValue::from_static("categorize-labels"));
    let sent = process.client.send(http::Method::GET, query, headers, bytes::Bytes::new()).await.unwrap();
    let answer: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(answer["data"]["encodingFlags"], json!(["categorize-labels"]));
    assert_eq!(answer["data"]["result"][0]["values"][0][2], json!({"structuredMetadata": {"trace": "1"}}));

    let end = now / 1_000_000_000 + 4;
    let matrix = format!(
        "/loki/api/v1/query_range?query=count_over_time(%7Benv%3D%22prod%22%7D%5B10s%5D)&start={}&end={end}&step=2",
        end - 4
    );
    let answer = process.json(&matrix).await;
    assert_eq!(answer["data"]["resultType"], "matrix");
    let api =
        answer["data"]["result"].as_array().unwrap().iter().find(|s| s["metric"]["app"] == "api").unwrap();
    assert_eq!(api["values"].as_array().unwrap().last().unwrap()[1], "3", "{answer}");
    let form = "query=count_over_time(%7Benv%3D%22prod%22%7D%5B2h%5D)";
    let posted = process.post("/loki/api/v1/query", "application/x-www-form-urlencoded", form).await;
    let answer: Value = serde_json::from_slice(&posted.body).unwrap();
    assert_eq!(answer["data"]["resultType"], "vector", "{answer}");
    assert_eq!(answer["data"]["result"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn operators_see_readiness_ring_configuration_and_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).start().await;
    fill(&process, start_ns()).await;
    assert_eq!(text(&process.get("/ready").await), "ready\n");
    let ring = process.json("/ring").await;
    assert_eq!(ring["members"][0]["state"], "ACTIVE", "{ring}");
    assert_eq!(ring["members"][0]["ownership"], 1.0);
    let config = text(&process.get("/config").await);
    assert!(
        config.contains("ingestion_rate_mb: 1024") && config.contains("max_global_streams_per_user: 100000"),
        "{config}"
    );
    process.flush().await;
    for name in [
        "forebay_request_duration_seconds_count",
        "forebay_received_lines_total",
        "forebay_received_bytes_total",
        "forebay_chunks_flushed_total",
        "forebay_chunk_raw_bytes_total",
        "forebay_chunk_stored_bytes_total",
        "forebay_replica_push_seconds_count",
        "forebay_ring_members",
        "forebay_ring_ownership_ratio",
    ] {
        assert!(process.metric(name, "").await > 0.0, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_in_processes_of_their_own_are_one_pipeline() {
    let dir = tempfile::tempdir().unwrap();
    let part = |target: &'static str, more: Vec<String>| {
        let mut setup = Setup::new(dir.path()).arguments(&["--target", target]);
        setup.arguments.extend(more);
        setup
    };
    // Free ports, bound for a moment to learn their numbers.
    let port = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (index, ingester) = (port(), port());
    let compactor = part("compactor", vec!["--grpc-listen".into(), index.clone()]).start().await;
    let at = |more: &[String]| [&["--index".to_owned(), index.clone()], more].concat();
    let kept = part("ingester", at(&["--grpc-listen".into(), ingester.clone()])).start().await;
    let distributor = part("distributor", at(&[])).start().await;
    let querier = part("querier", at(&[])).start().await;
    fill(&distributor, start_ns()).await;
    for _ in 0..2 {
        assert_eq!(crate::lines::count(&querier, r#"{env="prod"}"#).await, 4);
        kept.flush().await;
    }
    assert_eq!(
        distributor.get("/loki/api/v1/labels").await.status,
        StatusCode::NOT_FOUND,
        "it has no querier"
    );
    assert_eq!(compactor.get("/api/v1/legal-holds").await.status, StatusCode::OK);
    assert!(kept.terminate().await.success());
}
