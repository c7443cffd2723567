//! Lines with a number each, pushed by several clients at once, and the whole of them read back.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::process::Process;

/// Nanoseconds since 1970, an hour ago: inside every limit, and each line one later.
pub(crate) fn start_ns() -> i64 {
    (jiff::Timestamp::now().as_nanosecond() - 3_600_000_000_000).try_into().unwrap()
}

/// What was acknowledged, by timestamp.
#[derive(Clone, Default)]
pub(crate) struct Acked(Arc<Mutex<BTreeMap<i64, String>>>);

impl Acked {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn add(&self, lines: Vec<(i64, String)>) {
        self.0.lock().unwrap().extend(lines);
    }
}

/// Clients that push until they are told to stop, or the server is gone.
pub(crate) struct Load {
    pub(crate) acked: Acked,
    next: Arc<AtomicU64>,
    start_ns: i64,
}

impl Load {
    pub(crate) fn new() -> Self {
        Self { acked: Acked::default(), next: Arc::default(), start_ns: start_ns() }
    }

    /// Starts `clients`, each pushing `batch` lines at a time to streams of its own and to one they share.
    pub(crate) fn run(&self, process: &Process, clients: u64, batch: u64) -> Running {
        let stop = Arc::new(AtomicBool::new(false));
        let tasks = (0..clients).map(|client| {
            let (client_http, acked, next) =
                (process.client.clone(), self.acked.clone(), Arc::clone(&self.next));
            let (stop, start_ns) = (Arc::clone(&stop), self.start_ns);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let first = next.fetch_add(batch, Ordering::Relaxed);
                    let lines: Vec<(i64, String)> = (first..first + batch)
                        .map(|n| {
                            (start_ns + i64::try_from(n).unwrap(), format!("line {n} of client {client}"))
                        })
                        .collect();
                    let body = body(client, &lines);
                    let headers = http::HeaderMap::new();
                    match client_http
                        .post("/loki/api/v1/push", "application/json", &headers, body.into())
                        .await
                    {
                        Ok(response) if response.status == 204 => acked.add(lines),
                        Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                        Err(_) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                    }
                }
            })
        });
        Running { stop: Arc::clone(&stop), tasks: tasks.collect() }
    }
}

fn body(client: u64, lines: &[(i64, String)]) -> String {
    let values: Vec<Value> = lines.iter().map(|(t, l)| json!([t.to_string(), l])).collect();
    let (own, shared) = values.split_at(values.len() / 2);
    json!({"streams": [
        {"stream": {"app": "load", "client": client.to_string()}, "values": own},
        {"stream": {"app": "load", "client": "shared"}, "values": shared},
    ]})
    .to_string()
}

/// Clients at work.
pub(crate) struct Running {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Running {
    pub(crate) async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

/// Every line that `selector` finds, by timestamp; a line that comes twice is a failure.
pub(crate) async fn read_all(process: &Process, selector: &str) -> BTreeMap<i64, String> {
    let mut found = BTreeMap::new();
    let mut from_ns = start_ns() - 3_600_000_000_000;
    let until_ns = from_ns + 4 * 3_600_000_000_000;
    loop {
        let query = form_urlencoded::byte_serialize(selector.as_bytes()).collect::<String>();
        let path = format!(
            "/loki/api/v1/query_range?query={query}&start={from_ns}&end={until_ns}&limit=5000&direction=forward"
        );
        let answer = process.json(&path).await;
        let page = values(&answer);
        let Some(last) = page.iter().map(|(t, _)| *t).max() else { return found };
        for (timestamp_ns, line) in page {
            let before = found.insert(timestamp_ns, line.clone());
            assert_eq!(before, None, "{line} came twice");
        }
        from_ns = last + 1;
    }
}

/// Timestamps and lines of an answer.
pub(crate) fn values(answer: &Value) -> Vec<(i64, String)> {
    let streams = answer["data"]["result"].as_array().unwrap();
    let values = streams.iter().flat_map(|s| s["values"].as_array().unwrap());
    values.map(|v| (v[0].as_str().unwrap().parse().unwrap(), v[1].as_str().unwrap().to_owned())).collect()
}

/// How many lines `selector` has, as `count_over_time` tells it.
pub(crate) async fn count(process: &Process, selector: &str) -> u64 {
    let query = format!("count_over_time({selector}[4h])");
    let query = form_urlencoded::byte_serialize(query.as_bytes()).collect::<String>();
    let answer = process.json(&format!("/loki/api/v1/query?query={query}")).await;
    total(&answer)
}

/// The sum of the counts in an answer.
pub(crate) fn total(answer: &Value) -> u64 {
    let series = answer["data"]["result"].as_array().unwrap();
    series.iter().map(|s| s["value"][1].as_str().unwrap().parse::<u64>().unwrap()).sum()
}

/// Everything that was acknowledged is there, each line once, and counts agree.
pub(crate) async fn verify(process: &Process, acked: &Acked) {
    let found = read_all(process, r#"{app="load"}"#).await;
    let acked = acked.0.lock().unwrap().clone();
    let missing: Vec<_> = acked.iter().filter(|(t, line)| found.get(t) != Some(line)).take(5).collect();
    assert!(
        missing.is_empty(),
        "acknowledged and not found: {missing:?} (of {} acked, {} found)",
        acked.len(),
        found.len()
    );
    assert_eq!(count(process, r#"{app="load"}"#).await, found.len() as u64, "counts differ from lines");
}
