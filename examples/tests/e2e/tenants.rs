//! Two tenants see nothing of each other.

use http::StatusCode;
use serde_json::json;

use crate::lines::{start_ns, values};
use crate::process::{Setup, text};

#[tokio::test]
async fn two_tenants_see_nothing_of_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut process = Setup::new(dir.path()).arguments(&["--auth"]).start().await;
    let anonymous = process.client.clone();
    let now = start_ns();
    for tenant in ["team-a", "team-b"] {
        process.client = anonymous.clone().for_tenant(tenant).unwrap();
        let line = format!("secret of {tenant}");
        let body = json!({"streams": [{"stream": {"app": "x", "only": tenant}, "values": [[now.to_string(), line]]}]});
        assert_eq!(process.push(&body).await.status, StatusCode::NO_CONTENT);
    }
    for flushed in [false, true] {
        for (tenant, other) in [("team-a", "team-b"), ("team-b", "team-a")] {
            process.client = anonymous.clone().for_tenant(tenant).unwrap();
            let answer = process.json("/loki/api/v1/query_range?query=%7Bapp%3D%22x%22%7D&since=3h").await;
            assert_eq!(values(&answer), [(now, format!("secret of {tenant}"))], "flushed: {flushed}");
            for path in ["/loki/api/v1/label/only/values?since=3h", "/loki/api/v1/series?since=3h"] {
                let listed = process.json(path).await.to_string();
                assert!(listed.contains(tenant) && !listed.contains(other), "{path}: {listed}");
            }
        }
        process.flush().await;
    }
    process.client = anonymous;
    let response = process.get("/loki/api/v1/query_range?query=%7Bapp%3D%22x%22%7D").await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{}", text(&response));
}
