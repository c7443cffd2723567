//! Rates of tenants: who sends more than a burst at once owes the rest, and a reload of the limits lets nobody off.

use std::path::{Path, PathBuf};
use std::time::Instant;

use forebay_agent::http_client::Response;
use http::StatusCode;
use serde_json::json;

use crate::lines::start_ns;
use crate::process::{Process, Setup, text, until};

/// A pipeline whose tenants have the limits of a file that is looked at again all the time.
struct Limited {
    process: Process,
    file: PathBuf,
    start_ns: i64,
}

/// A rate and a burst of 1024 bytes: next to what the tests push, little comes in on its own.
const LITTLE: &str = "{ingestion_rate_mb: 0.0009765625, ingestion_burst_size_mb: 0.0009765625}";
/// What a line may have.
const LONGEST: usize = 256 << 10;
/// At which any debt here is paid in no time.
const PLENTY: &str = "{ingestion_rate_mb: 64, ingestion_burst_size_mb: 64}";

impl Limited {
    async fn start(dir: &Path, overrides: &str) -> Self {
        let file = dir.join("overrides.yaml");
        write(&file, overrides);
        let config = format!("runtime_config: {{file: {}, period: 20ms}}", file.display());
        let process = Setup::new(dir).arguments(&["--auth"]).config(&config).start().await;
        Self { process, file, start_ns: start_ns() }
    }

    /// Pushes so many bytes, as few lines as may be.
    async fn push(&self, tenant: &str, bytes: usize) -> Response {
        let client = self.process.client.clone().for_tenant(tenant).unwrap();
        let sizes = std::iter::repeat_n(LONGEST, bytes / LONGEST).chain([bytes % LONGEST]);
        let lines =
            sizes.filter(|size| *size > 0).map(|size| json!([self.start_ns.to_string(), "x".repeat(size)]));
        let lines: Vec<_> = lines.collect();
        let body = json!({"streams": [{"stream": {"app": "rates"}, "values": lines}]});
        let (path, headers) = ("/loki/api/v1/push", http::HeaderMap::new());
        client.post(path, "application/json", &headers, body.to_string().into()).await.unwrap()
    }

    async fn takes(&self, tenant: &str, bytes: usize) {
        let response = self.push(tenant, bytes).await;
        assert_eq!(response.status, StatusCode::NO_CONTENT, "{tenant}: {}", text(&response));
    }

    /// The answer to a push that is refused, and after how many seconds it may come again.
    async fn refuses(&self, tenant: &str, bytes: usize) -> (String, u64) {
        let response = self.push(tenant, bytes).await;
        let told = text(&response);
        assert_eq!(response.status, StatusCode::TOO_MANY_REQUESTS, "{tenant}: {told}");
        (told, response.headers["retry-after"].to_str().unwrap().parse().unwrap())
    }

    async fn passes_in_the_end(&self, tenant: &str, bytes: usize) {
        until("the push passes", || async {
            self.push(tenant, bytes).await.status == StatusCode::NO_CONTENT
        })
        .await;
    }

    /// Changes the limits and waits until they are in force.
    async fn reload(&self, overrides: &str) {
        let changes = || self.process.log().iter().filter(|line| line.contains("limits changed")).count();
        let before = changes();
        write(&self.file, overrides);
        until("the limits change", || async { changes() > before }).await;
    }
}

/// At once, so that nobody reads half of it.
fn write(file: &Path, overrides: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("overrides: {overrides}")).unwrap();
    std::fs::rename(&new, file).unwrap();
}

#[tokio::test]
async fn a_reload_of_the_limits_keeps_debts_and_lets_those_through_who_got_more() {
    let dir = tempfile::tempdir().unwrap();
    let limits = |owes: &str, gets: &str| format!("{{owes: {owes}, gets: {gets}, other: {LITTLE}}}");
    let limited = Limited::start(dir.path(), &limits(LITTLE, LITTLE)).await;
    let since = Instant::now();
    for tenant in ["owes", "gets", "other"] {
        limited.takes(tenant, 1 << 20).await;
    }
    // The whole debt stands between a tenant and the next line, less what came in at 2048 bytes a second at most.
    let owes_all = async |tenant: &str, rate: u64| {
        let (told, wait) = limited.refuses(tenant, 1000).await;
        let missing: u64 = (1 << 20) - 1024 + 1000;
        let paid = 2048 * (since.elapsed().as_secs() + 1);
        let (least, most) = (missing.saturating_sub(paid) / rate, missing.div_ceil(rate));
        assert!((least..=most).contains(&wait), "{wait} s is not within {least}..={most}: {told}");
        told
    };
    for tenant in ["owes", "gets", "other"] {
        owes_all(tenant, 1024).await;
    }

    // Twice the rate, and a burst that would take the line at once had the debt been forgotten.
    let more = "{ingestion_rate_mb: 0.001953125, ingestion_burst_size_mb: 8}";
    limited.reload(&limits(more, PLENTY)).await;
    let told = owes_all("owes", 2048).await;
    assert!(
        told.contains("of 8388608 bytes") && told.contains("2048 bytes/s"),
        "the new limits refuse: {told}"
    );
    owes_all("other", 1024).await;
    limited.passes_in_the_end("gets", 1000).await;
    owes_all("owes", 2048).await;

    // Less again: the debt is what it was.
    limited.reload(&limits(LITTLE, PLENTY)).await;
    owes_all("owes", 1024).await;
    limited.reload(&limits(PLENTY, PLENTY)).await;
    limited.passes_in_the_end("owes", 1000).await;
    owes_all("other", 1024).await;
}

#[tokio::test]
async fn a_push_beyond_the_burst_passes_a_full_bucket_and_the_next_one_once_it_is_paid() {
    let dir = tempfile::tempdir().unwrap();
    // A byte a second: whatever these tests wait for, it is not that.
    let slow = "{ingestion_rate_mb: 0.00000095367431640625, ingestion_burst_size_mb: 0.0009765625}";
    let limited = Limited::start(dir.path(), &format!("{{large: {slow}, small: {slow}}}")).await;
    let since = Instant::now();
    let refused = async |tenant: &str, bytes: usize, available: u64, missing: u64| {
        let (told, wait) = limited.refuses(tenant, bytes).await;
        let come_in = since.elapsed().as_secs() + 1;
        assert!((missing.saturating_sub(come_in)..=missing).contains(&wait), "{wait} of {missing} s: {told}");
        let start = format!("ingestion rate limit exceeded for {tenant}: 1 lines with {bytes} bytes, ");
        let rest = told.strip_prefix(&start).unwrap_or_else(|| panic!("{told} does not begin with {start}"));
        let (left, rest) = rest.split_once(' ').unwrap();
        let left: u64 = left.parse().unwrap();
        assert!((available..=available + come_in).contains(&left), "{left} of {available}: {told}");
        let rest = rest.strip_prefix("of 1024 bytes are left at 1 bytes/s, retry after ").expect(rest);
        let exact: f64 = rest.trim_end().strip_suffix('s').unwrap().parse().unwrap();
        assert_eq!(exact.ceil(), wait as f64, "{told}");
    };

    // Not once something was taken: the bucket has to be full.
    limited.takes("small", 1000).await;
    refused("small", 5000, 24, 1000).await;
    refused("small", 1000, 24, 976).await;
    limited.takes("large", 5000).await;
    refused("large", 100, 0, 5000 - 1024 + 100).await;
    refused("large", 5000, 0, 5000).await;

    let fast = "{ingestion_rate_mb: 64, ingestion_burst_size_mb: 0.0009765625}";
    limited.reload(&format!("{{large: {fast}, small: {slow}}}")).await;
    limited.passes_in_the_end("large", 100).await;
    limited.passes_in_the_end("large", 5000).await;
    refused("small", 5000, 24, 1000).await;
    let received = limited.process.metric("forebay_received_bytes_total", "large").await;
    assert_eq!(received, 10_100.0, "what was refused is not counted");
}
