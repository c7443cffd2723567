//! Every part in a process of its own, as the flags put them together.

use http::StatusCode;
use serde_json::json;

use crate::lines::{count, start_ns};
use crate::process::{Process, Setup, text, until};
use crate::ring::member;

/// One line in each of 20 streams, so that either ingester gets some.
async fn push(process: &Process, timestamp_ns: i64) {
    let stream = |n: i64| {
        let line = format!("line {n} of {timestamp_ns}");
        json!({"stream": {"app": "split", "n": n.to_string()}, "values": [[timestamp_ns.to_string(), line]]})
    };
    let response = process.push(&json!({"streams": (0..20).map(stream).collect::<Vec<_>>()})).await;
    assert_eq!(response.status, StatusCode::NO_CONTENT, "{}", text(&response));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ingester_that_stops_is_missed_by_nobody_and_may_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let setup = |arguments: &[&str]| Setup::new(dir.path()).arguments(arguments);
    let compactor = setup(&["--target", "compactor"]).start().await;
    let index = compactor.grpc().await;
    let ingester = |id, listen| {
        setup(&["--target", "ingester", "--index", &index, "--instance-id", id, "--grpc-listen", listen])
    };
    let (a, _b) = (ingester("a", "127.0.0.1:0").start().await, ingester("b", "127.0.0.1:0").start().await);
    let addr = a.grpc().await;
    let asking = |target| setup(&["--target", target, "--index", &index]);
    let (distributor, querier) = (asking("distributor").start().await, asking("querier").start().await);
    let (start_ns, selector) = (start_ns(), r#"{app="split"}"#);
    push(&distributor, start_ns).await;
    assert_eq!(count(&querier, selector).await, 20);

    assert!(a.terminate().await.success());
    for process in [&distributor, &querier] {
        until("it has left", || async { member(process, "a").await["state"] == "LEFT" }).await;
    }
    assert_eq!(count(&querier, selector).await, 20);
    push(&distributor, start_ns + 1).await;
    assert_eq!(count(&querier, selector).await, 40);

    let _a = ingester("a", &addr).start().await;
    for process in [&distributor, &querier] {
        until("it is back", || async { process.json("/ring").await["healthy"] == 2 }).await;
    }
    push(&distributor, start_ns + 2).await;
    assert_eq!(count(&querier, selector).await, 60);
}
