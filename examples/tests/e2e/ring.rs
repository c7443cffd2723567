//! The ring over every store: ingesters that join, leave, die, come back and are forgotten, as `/ring` shows it.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use forebay_agent::http_client::Response;
use forebay_ring::codec::{RecordKind, TokensRecord, encode_instance, encode_tokens};
use forebay_ring::disk::StdDisk;
use forebay_ring::store::{Expect, FileOptions, FileStore, Store};
use forebay_ring::{Instance, State, random_tokens};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use crate::etcd::Etcd;
use crate::lines::{count, start_ns};
use crate::process::{Process, Setup, free_port, text, until};

/// Whoever dies is missed soon.
pub(crate) const QUICK: &str =
    "ingester: {lifecycler: {heartbeat_period: 500ms, ring: {heartbeat_timeout: 3s}}}\n";

/// One ingester, as `process` shows it; null where it is not known.
pub(crate) async fn member(process: &Process, id: &str) -> Value {
    let ring = process.json("/ring").await;
    let mut members = ring["members"].as_array().unwrap().iter();
    members.find(|member| member["id"] == id).cloned().unwrap_or_default()
}

/// How often all ingesters together were started, those that are in the ring and get writes.
pub(crate) async fn started(process: &Process) -> u64 {
    let ring = process.json("/ring").await;
    let healthy = ring["members"].as_array().unwrap().iter().filter(|member| member["healthy"] == true);
    healthy.map(|member| member["incarnation"].as_u64().unwrap() + 1).sum()
}

/// Puts an ACTIVE ingester into the ring of those who have their directory in `dir`.
pub(crate) async fn announce(dir: &Path, id: &str, addr: &str) {
    announce_as(State::Active, dir, id, addr).await;
}

async fn announce_as(state: State, dir: &Path, id: &str, addr: &str) {
    let store = FileStore::new(Arc::new(StdDisk), FileOptions::new(dir.join("data/ring")));
    let tokens = random_tokens(id, "", 0, 8, &vec![].into()).unwrap();
    let instance = Instance { state, tokens: tokens.clone(), ..Instance::new(id, addr) };
    let (mut record, mut owned) = (Vec::new(), Vec::new());
    encode_tokens(&TokensRecord { id: id.into(), epoch: 0, tokens }, &mut owned).unwrap();
    encode_instance(&instance, 0, &mut record).unwrap();
    for (kind, value) in [(RecordKind::Tokens, owned), (RecordKind::Instance, record)] {
        store.put_if(&kind.key(id), Bytes::from(value), Expect::Absent).await.unwrap();
    }
}

/// Asks for an ingester to be forgotten, as the page does.
async fn forget(process: &Process, id: &str) -> Response {
    process.post("/ring/forget", "application/x-www-form-urlencoded", format!("forget={id}")).await
}

#[tokio::test]
async fn the_page_shows_the_ring_and_where_a_key_goes_and_forgets_nobody_who_lives() {
    let dir = tempfile::tempdir().unwrap();
    let process = Setup::new(dir.path()).arguments(&["--zone", "<b>"]).start().await;
    let page = process.get("/ring").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let page = text(&page);
    for shown in
        ["ingester-0", "ACTIVE", "&lt;b&gt;", "100.00 %", ">128<", "in this process", "Store: memory"]
    {
        assert!(page.contains(shown), "{shown} in {page}");
    }
    assert!(!page.contains("name=forget"), "{page}");
    let ring = process.json("/ring").await;
    assert_eq!(
        (&ring["store"], &ring["healthy"], &ring["replication_factor"]),
        (&json!("memory"), &json!(1), &json!(1))
    );

    let explain = process.json("/ring?key=7").await["explain"].clone();
    assert_eq!(
        (&explain["key"], &explain["needed"], &explain["may_fail"]),
        (&json!(7), &json!(1), &json!(0))
    );
    assert_eq!(explain["steps"][0]["verdict"], "serves");
    let stream = "%7Bapp%3D%22x%22%7D";
    let of = async |tenant: &str| {
        process.json(&format!("/ring?key={stream}&tenant={tenant}")).await["explain"].clone()
    };
    assert_eq!(of("fake").await["stream"], "{app=\"x\"} of fake");
    assert_eq!(of("").await["key"], of("fake").await["key"], "a field of the form that is left empty");
    assert_eq!(of("fake").await["key"], process.json(&format!("/ring?key={stream}")).await["explain"]["key"]);
    assert_ne!(of("fake").await["key"], of("other").await["key"]);
    assert!(
        text(&process.get(&format!("/ring?key={stream}&operation=read")).await)
            .contains("to read: 1 selected")
    );
    for (query, told) in [
        ("key=soon", "\"soon\""),
        ("key=4294967296", "32 bits"),
        ("key=%7Bapp", "expected"),
        ("key=%7Ba%3D%221%22%2C%20a%3D%222%22%7D", "twice"),
        ("key=7&operation=up", "neither write nor read"),
    ] {
        let response = process.get(&format!("/ring?{query}")).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(text(&response).contains(told), "{query}: {}", text(&response));
    }

    for (body, status, told) in [
        ("forget=ingester-0", StatusCode::CONFLICT, "ingester-0 is ACTIVE and was heard of"),
        ("forget=nobody", StatusCode::NOT_FOUND, "no ingester \"nobody\""),
        ("", StatusCode::BAD_REQUEST, "parameter forget is missing"),
    ] {
        for path in ["/ring", "/ring/forget"] {
            let response = process.post(path, "application/x-www-form-urlencoded", body).await;
            assert_eq!(response.status, status, "{path} {body}");
            assert!(text(&response).contains(told), "{path} {body}: {}", text(&response));
        }
    }
    let headers = HeaderMap::from_iter([("sec-fetch-site".parse().unwrap(), "cross-site".parse().unwrap())]);
    let path = "/ring/forget?forget=ingester-0";
    let response = process.client.send(http::Method::POST, path, headers, Bytes::new()).await.unwrap();
    assert_eq!(response.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_querier_that_knows_no_ingester_says_so_and_answers_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = format!("127.0.0.1:{}", free_port());
    let process =
        Setup::new(dir.path()).arguments(&["--target", "querier", "--index", &nobody]).start().await;
    for path in ["/ready", "/loki/api/v1/query_range?query=%7Bapp%3D%22x%22%7D", "/loki/api/v1/labels"] {
        let response = process.get(path).await;
        assert_eq!(response.status, StatusCode::SERVICE_UNAVAILABLE, "{path}: {}", text(&response));
    }
}

#[tokio::test]
async fn a_querier_is_ready_while_ingesters_take_no_writes_and_a_distributor_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = format!("127.0.0.1:{}", free_port());
    announce_as(State::Leaving, dir.path(), "a", &nobody).await;
    for (target, ready) in [("querier", StatusCode::OK), ("distributor", StatusCode::SERVICE_UNAVAILABLE)] {
        let process =
            Setup::new(dir.path()).arguments(&["--target", target, "--index", &nobody]).start().await;
        let response = process.get("/ready").await;
        assert_eq!(response.status, ready, "{target}: {}", text(&response));
    }
}

/// Three processes: one with all parts and an ingester of its own, and an ingester each.
struct Three<'a> {
    dir: &'a Path,
    /// What each has for its configuration.
    configs: [String; 3],
    main: Process,
    index: String,
}

impl<'a> Three<'a> {
    async fn start(dir: &'a Path, configs: [String; 3]) -> Self {
        let main = Setup::new(dir).arguments(&["--instance-id", "main"]).config(&configs[0]).start().await;
        let index = main.grpc().await;
        Self { dir, configs, main, index }
    }

    async fn ingester(&self, number: usize) -> Process {
        let id = ["main", "a", "b"][number];
        let arguments = ["--target", "ingester", "--index", &self.index, "--instance-id", id];
        Setup::new(self.dir).arguments(&arguments).config(&self.configs[number]).start().await
    }

    /// Pushes a line in each of 30 streams, so that every ingester gets some, and reads all that were pushed.
    async fn push_and_read(&self, at_ns: i64, all: &mut u64) {
        let stream = |n: i64| json!({"stream": {"app": "ring", "n": n.to_string()}, "values": [[at_ns.to_string(), "x"]]});
        let body = json!({"streams": (0..30).map(stream).collect::<Vec<_>>()});
        // One that has just come or gone may not be known to all for a moment.
        until("a push is taken", || async { self.main.push(&body).await.status == StatusCode::NO_CONTENT })
            .await;
        *all += 30;
        self.has(*all).await;
    }

    async fn has(&self, lines: u64) {
        let query = "/loki/api/v1/query?query=count_over_time(%7Bapp%3D%22ring%22%7D%5B4h%5D)";
        until("all ingesters answer", || async { self.main.get(query).await.status == StatusCode::OK }).await;
        assert_eq!(count(&self.main, r#"{app="ring"}"#).await, lines);
    }

    async fn until_state(&self, id: &str, state: &str) {
        until(&format!("{id} is {state}"), || async { member(&self.main, id).await["state"] == state }).await;
    }

    async fn until_healthy(&self, healthy: usize) {
        until(&format!("{healthy} get writes"), || async {
            self.main.json("/ring").await["healthy"] == healthy
        })
        .await;
    }
}

/// What holds of the ring on any store.
async fn ingesters_come_and_go(dir: &Path, configs: [String; 3]) {
    let three = Three::start(dir, configs).await;
    let (start_ns, mut all) = (start_ns(), 0);
    let (a, b) = (three.ingester(1).await, three.ingester(2).await);
    three.until_healthy(3).await;
    three.push_and_read(start_ns, &mut all).await;
    for id in ["main", "a", "b"] {
        let streams = || async { member(&three.main, id).await["streams"].as_u64().unwrap() };
        assert!(streams().await > 0, "{id} has some");
    }
    assert!(text(&three.main.get("/ring").await).contains("ACTIVE"));

    // Who leaves has stored what it had, and is asked for nothing.
    assert!(a.terminate().await.success());
    three.until_state("a", "LEFT").await;
    three.push_and_read(start_ns + 1, &mut all).await;
    let a = three.ingester(1).await;
    three.until_healthy(3).await;

    // Who is killed is back with all that it had, and with its tokens.
    three.push_and_read(start_ns + 2, &mut all).await;
    let before = member(&three.main, "b").await;
    b.kill().await;
    let b = three.ingester(2).await;
    until("b is back", || async {
        let now = member(&three.main, "b").await;
        now["healthy"] == true && now["incarnation"].as_u64() > before["incarnation"].as_u64()
    })
    .await;
    assert_eq!(member(&three.main, "b").await["tokens"], before["tokens"]);
    three.has(all).await;
    three.push_and_read(start_ns + 3, &mut all).await;

    // Who does not come back is missed, and may be forgotten.
    let response = forget(&three.main, "b").await;
    assert_eq!(response.status, StatusCode::CONFLICT, "{}", text(&response));
    b.flush().await;
    b.kill().await;
    three.until_healthy(2).await;
    let query = "/loki/api/v1/query?query=count_over_time(%7Bapp%3D%22ring%22%7D%5B4h%5D)";
    assert_eq!(three.main.get(query).await.status, StatusCode::SERVICE_UNAVAILABLE, "b may have lines");
    until("the page offers it", || async { text(&three.main.get("/ring").await).contains("value=\"b\"") })
        .await;
    let response = forget(&three.main, "b").await;
    assert_eq!(
        (response.status, &response.headers["location"]),
        (StatusCode::SEE_OTHER, &"/ring".parse().unwrap())
    );
    three.until_state("b", "LEFT").await;
    three.push_and_read(start_ns + 4, &mut all).await;

    // Who was forgotten may come back.
    let _b = three.ingester(2).await;
    three.until_healthy(3).await;
    three.push_and_read(start_ns + 5, &mut all).await;
    assert_eq!(text(&a.get("/ready").await), "ready\n");
    assert!(three.main.metric("forebay_ring_ownership_ratio", "instance=\"b\"").await > 0.0);
    assert_eq!(three.main.metric("forebay_ring_members", "state=\"ACTIVE\"").await, 3.0);
}

fn config(kvstore: &str) -> String {
    format!(
        "ingester: {{lifecycler: {{heartbeat_period: 500ms, min_ready_duration: 0s, \
         ring: {{heartbeat_timeout: 3s, kvstore: {{{kvstore}}}}}}}}}\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingesters_come_and_go_in_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let config = config("store: file");
    ingesters_come_and_go(dir.path(), [config.clone(), config.clone(), config]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingesters_come_and_go_that_tell_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let port = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ports = [port(), port(), port()];
    let configs = ports.map(|port| {
        let memberlist = format!(
            "memberlist: {{bind_port: {port}, join_members: [\"127.0.0.1:{}\"], gossip_interval: 100ms}}\n",
            ports[0]
        );
        config("store: gossip") + &memberlist
    });
    ingesters_come_and_go(dir.path(), configs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_back_answers_nothing_before_it_has_heard_of_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let port = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let ports = [port(), port()];
    let config = |port: u16| {
        config("store: gossip")
            + &format!(
                "memberlist: {{bind_port: {port}, join_members: [\"127.0.0.1:{}\"], gossip_interval: 400ms}}\n",
                ports[0]
            )
    };
    let index = format!("127.0.0.1:{}", free_port());
    let main = Setup::new(dir.path())
        .arguments(&["--instance-id", "main", "--grpc-listen", &index])
        .config(&config(ports[0]));
    let process = main.start().await;
    let arguments = ["--target", "ingester", "--index", &index, "--instance-id", "a"];
    let _a = Setup::new(dir.path()).arguments(&arguments).config(&config(ports[1])).start().await;
    until("two get writes", || async { process.json("/ring").await["healthy"] == 2 }).await;
    let at = start_ns().to_string();
    let stream = |n: i64| json!({"stream": {"app": "ring", "n": n.to_string()}, "values": [[at, "x"]]});
    let body = json!({"streams": (0..30).map(stream).collect::<Vec<_>>()});
    until("a push is taken", || async { process.push(&body).await.status == StatusCode::NO_CONTENT }).await;
    assert!(member(&process, "a").await["streams"].as_u64().unwrap() > 0);

    process.kill().await;
    let process = main.start().await;
    let query = "/loki/api/v1/query?query=count_over_time(%7Bapp%3D%22ring%22%7D%5B4h%5D)";
    until("it answers", || async { process.get(query).await.status == StatusCode::OK }).await;
    assert_eq!(count(&process, r#"{app="ring"}"#).await, 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ingesters_come_and_go_in_an_etcd() {
    let Some(etcd) = Etcd::find().await else { return };
    let dir = tempfile::tempdir().unwrap();
    let prefix = format!("forebay-test/{}/", std::process::id());
    let config = config(&format!("store: etcd, prefix: {prefix}, etcd: {{endpoints: [\"{}\"]}}", etcd.url));
    ingesters_come_and_go(dir.path(), [config.clone(), config.clone(), config]).await;
}
