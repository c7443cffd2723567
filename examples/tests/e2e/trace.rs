//! One trace id from the client through every part that handles a push, in whatever processes these are.

use std::path::Path;

use forebay_agent::http_client::Response;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::lines::start_ns;
use crate::process::{Process, Setup, text, until};
use crate::ring::announce;
use crate::wire;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const PUSH: &str = "/loki/api/v1/push";
const EVERY_PUSH: &str = "info,forebay_examples=debug,forebay_agent=debug";

fn body() -> String {
    json!({"streams": [{"stream": {"app": "t"}, "values": [[start_ns().to_string(), "x"]]}]}).to_string()
}

/// The answer to a client that sends `PARENT`.
async fn push_traced(process: &Process) -> Response {
    let headers = HeaderMap::from_iter([("traceparent".parse().unwrap(), HeaderValue::from_static(PARENT))]);
    process.client.post(PUSH, "application/json", &headers, body().into()).await.unwrap()
}

/// Pushes without a word about traces; the trace id of the answer.
async fn push_untraced(process: &Process) -> String {
    let fields = [("content-type", "application/json")];
    let response = wire::post(&process.address, PUSH, &fields, &body()).await;
    assert_eq!(response.status(), 204, "{}", response.body);
    response.field("x-trace-id").expect("every answer has a trace").to_owned()
}

/// The events `message` in a log of JSON lines.
fn events(process: &Process, message: &str) -> Vec<Value> {
    let lines = process.log().into_iter().filter_map(|line| serde_json::from_str::<Value>(&line).ok());
    lines.filter(|event| event["fields"]["message"] == message).collect()
}

/// Waits until `process` has logged `message` once in trace `id`, and gives the fields.
async fn logged(process: &Process, message: &str, id: &str) -> Value {
    let found = || {
        let mut events = events(process, message);
        events.retain(|event| event["span"]["trace_id"] == id);
        events
    };
    until(&format!("{message:?} in trace {id}"), || async { !found().is_empty() }).await;
    let mut found = found();
    assert_eq!(found.len(), 1, "{message:?} is said once: {found:?}");
    found.remove(0)["fields"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_id_is_in_the_log_lines_of_every_part_and_in_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--ingesters", "2", "--replication-factor", "2"];
    let process = Setup::new(dir.path()).arguments(&arguments).log(EVERY_PUSH).start().await;
    let response = push_traced(&process).await;
    assert_eq!(response.status, StatusCode::NO_CONTENT);
    assert_eq!(response.headers["x-trace-id"], TRACE);
    let lines = |part: &str| {
        let log = process.log();
        log.iter().filter(|line| line.contains(TRACE) && line.contains(part)).count()
    };
    until("the distributor's line", || async { lines("push taken") == 1 }).await;
    until("both ingesters' lines", || async { lines("record kept") == 2 }).await;
    for child in ["ingester-0", "ingester-1"] {
        assert_eq!(lines(&format!("instance=\"{child}\"")), 1, "{child} is named in its line");
    }
    // Every line has the request's span, this one alone its route.
    let answered = "route=\"/loki/api/v1/push\" method=\"POST\" status=204";
    until("the HTTP port's line", || async { lines(answered) == 1 }).await;
    let next = process.get("/ready").await;
    assert_ne!(next.headers["x-trace-id"], TRACE, "another request has another trace");
}

/// A distributor, three ingesters that all get every line, and the index, each a process.
struct Fleet {
    _compactor: Process,
    ingesters: [Process; 3],
    distributor: Process,
    index: Vec<String>,
}

const INGESTERS: [&str; 3] = ["a", "b", "c"];

fn setup(dir: &Path, arguments: &[String]) -> Setup {
    let mut setup = Setup::new(dir).arguments(&["--replication-factor", "3", "--log-format", "json"]);
    setup.arguments.extend_from_slice(arguments);
    setup.log(EVERY_PUSH)
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

impl Fleet {
    async fn start(dir: &Path) -> Self {
        let compactor = setup(dir, &words("--target compactor")).start().await;
        let index = words(&format!("--index {}", compactor.grpc().await));
        let start = async |id: &str| {
            let arguments = words(&format!("--target ingester --instance-id {id}"));
            setup(dir, &[index.clone(), arguments].concat()).start().await
        };
        let ingesters = [start("a").await, start("b").await, start("c").await];
        let distributor = setup(dir, &[words("--target distributor"), index.clone()].concat()).start().await;
        Self { _compactor: compactor, ingesters, distributor, index }
    }

    /// Checks that a push of so many streams that `distributor` took in trace `id` is found in every log.
    async fn has(&self, distributor: &Process, id: &str, streams: usize) {
        let taken = logged(distributor, "push taken", id).await;
        assert_eq!((&taken["tenant"], &taken["discarded"]), (&json!("fake"), &json!(0)), "{taken}");
        for (name, ingester) in INGESTERS.iter().zip(&self.ingesters) {
            let kept = logged(ingester, "record kept", id).await;
            assert_eq!((&kept["instance"], &kept["streams"]), (&json!(name), &json!(streams)), "{kept}");
        }
    }
}

fn assert_is_trace_id(id: &str) {
    let digits = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    assert!(id.len() == 32 && digits && id.bytes().any(|byte| byte != b'0'), "{id:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_push_is_found_by_its_trace_id_in_every_process_it_passes() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::start(dir.path()).await;

    // A client that names a trace,
    let response = push_traced(&fleet.distributor).await;
    assert_eq!(
        (response.status, &response.headers["x-trace-id"]),
        (StatusCode::NO_CONTENT, &TRACE.parse().unwrap())
    );
    fleet.has(&fleet.distributor, TRACE, 1).await;

    // two that name none,
    let first = push_untraced(&fleet.distributor).await;
    let second = push_untraced(&fleet.distributor).await;
    assert_ne!(first, second);
    for id in [&first, &second] {
        assert_is_trace_id(id);
        fleet.has(&fleet.distributor, id, 1).await;
    }

    // and the agent, which makes a trace of each batch.
    let files = ["one.log", "two.log"].map(|name| dir.path().join(name));
    files.iter().for_each(|file| std::fs::write(file, "x\ny\n").unwrap());
    let mut arguments = [words("--target distributor"), fleet.index.clone(), words("--ship")].concat();
    arguments.extend(files.iter().map(|file| file.display().to_string()));
    let agent = setup(dir.path(), &arguments).start().await;
    until("the batch", || async { events(&agent, "batch delivered").len() == 1 }).await;
    let fields = &events(&agent, "batch delivered")[0]["fields"];
    let id = fields["trace_id"].as_str().unwrap();
    assert_is_trace_id(id);
    assert_eq!(fields["answered_trace_id"], id);
    assert_eq!((&fields["streams"], &fields["lines"], &fields["tries"]), (&json!(2), &json!(4), &json!(1)));
    fleet.has(&agent, id, 2).await;
}

#[tokio::test]
async fn a_failure_has_its_trace_id_although_only_failures_are_logged() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody is at either address.
    let nobody = format!("127.0.0.1:{}", crate::process::free_port());
    announce(dir.path(), "a", &nobody).await;
    let arguments = ["--target", "distributor", "--index", &nobody];
    let process = Setup::new(dir.path()).arguments(&arguments).log("warn").start().await;
    let response = push_traced(&process).await;
    assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE, "{}", text(&response));
    assert_eq!(response.headers["x-trace-id"], TRACE);
    let found = || process.log().iter().any(|line| line.contains(TRACE) && line.contains("push not stored"));
    until("the distributor's line", || async { found() }).await;
    assert!(!process.log().iter().any(|line| line.contains("DEBUG") || line.contains("INFO")));
}
