//! The program as a child process on a free port, with a directory of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use forebay_agent::http_client::{HttpClient, Response};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

/// How long anything in these tests may take before it counts as hanging.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running pipeline; killed when it is dropped.
pub(crate) struct Process {
    pub(crate) client: HttpClient,
    /// Its HTTP port, for what the client does not do.
    pub(crate) address: String,
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
    log: Arc<Mutex<Vec<String>>>,
}

/// A port that nobody has just now.
pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// How to start one.
pub(crate) struct Setup {
    pub(crate) dir: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) config: String,
    pub(crate) log: &'static str,
}

impl Setup {
    /// The defaults, with everything under `dir`.
    pub(crate) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), arguments: Vec::new(), config: String::new(), log: "info" }
    }

    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|a| (*a).to_owned()));
        self
    }

    pub(crate) fn config(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.config);
        self
    }

    pub(crate) fn log(mut self, filter: &'static str) -> Self {
        self.log = filter;
        self
    }

    pub(crate) async fn start(&self) -> Process {
        let config = self.dir.join("config.yaml");
        std::fs::create_dir_all(&self.dir).unwrap();
        std::fs::write(&config, &self.config).unwrap();
        let named = self.arguments.iter().any(|argument| argument == "--listen");
        let listen: &[&str] = if named { &[] } else { &["--listen", "127.0.0.1:0"] };
        let mut child = Command::new(env!("CARGO_BIN_EXE_pipeline"))
            .args(listen)
            .arg("--config")
            .arg(&config)
            .arg("--data-dir")
            .arg(self.dir.join("data"))
            .args(&self.arguments)
            .env("RUST_LOG", self.log)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        tokio::spawn(collect(BufReader::new(child.stderr.take().unwrap()).lines(), Arc::clone(&log)));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = tokio::time::timeout(PATIENCE, async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if let Some(url) = line.strip_prefix("listening on ") {
                    return url.to_owned();
                }
            }
            panic!("the pipeline ended: {:#?}", log.lock().unwrap());
        })
        .await
        .expect("the pipeline listens in time");
        let printed = Arc::default();
        tokio::spawn(collect(lines, Arc::clone(&printed)));
        let address = url.trim_start_matches("http://").to_owned();
        Process { client: HttpClient::with_timeout(&url, PATIENCE).unwrap(), address, child, printed, log }
    }
}

async fn collect(mut lines: Lines<BufReader<impl AsyncRead + Unpin>>, log: Arc<Mutex<Vec<String>>>) {
    while let Ok(Some(line)) = lines.next_line().await {
        log.lock().unwrap().push(line);
    }
}

impl Process {
    /// `kill -9`, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// SIGTERM; the status it ends with.
    pub(crate) async fn terminate(self) -> std::process::ExitStatus {
        let pid = rustix::process::Pid::from_raw(self.pid()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.ended().await
    }

    /// Waits until it is gone by itself, or by somebody else's hand.
    pub(crate) async fn ended(mut self) -> std::process::ExitStatus {
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it ends in time").unwrap()
    }

    /// Where its gRPC port is.
    pub(crate) async fn grpc(&self) -> String {
        let found = || {
            let printed = self.printed.lock().unwrap();
            printed.iter().find_map(|line| line.strip_prefix("gRPC on ").map(str::to_owned))
        };
        until("it says where its gRPC port is", || async { found().is_some() }).await;
        found().unwrap()
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id().unwrap().try_into().unwrap()
    }

    /// Process ids of its child processes.
    pub(crate) fn children(&self) -> Vec<i32> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
            let Some((_, rest)) = stat.rsplit_once(')') else { continue };
            let parent = rest.split_whitespace().nth(1).and_then(|p| p.parse::<i32>().ok());
            if parent == Some(self.pid()) {
                found.push(pid);
            }
        }
        found.sort_unstable();
        found
    }

    /// What it has logged so far, its children included.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.client.get(path).await.unwrap()
    }

    /// What `path` answers to those who ask for JSON.
    pub(crate) async fn json(&self, path: &str) -> Value {
        let headers = HeaderMap::from_iter([(http::header::ACCEPT, "application/json".parse().unwrap())]);
        let response = self.client.send(http::Method::GET, path, headers, Bytes::new()).await.unwrap();
        assert_eq!(response.status, StatusCode::OK, "{path}: {}", text(&response));
        serde_json::from_slice(&response.body).unwrap()
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        content_type: &'static str,
        body: impl Into<Bytes>,
    ) -> Response {
        self.client.post(path, content_type, &HeaderMap::new(), body.into()).await.unwrap()
    }

    /// Pushes JSON.
    pub(crate) async fn push(&self, body: &Value) -> Response {
        self.post("/loki/api/v1/push", "application/json", body.to_string()).await
    }

    /// Stores what is in memory.
    pub(crate) async fn flush(&self) {
        let response = self.post("/flush", "text/plain", "").await;
        assert_eq!(response.status, StatusCode::NO_CONTENT, "{}", text(&response));
    }

    /// The sum of a metric over all its labels that contain `part`.
    pub(crate) async fn metric(&self, name: &str, part: &str) -> f64 {
        let text = text(&self.get("/metrics").await);
        let lines = text.lines().filter(|l| !l.starts_with('#') && l.contains(part));
        let samples = lines.filter(|l| l.split(['{', ' ']).next() == Some(name));
        samples.filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }
}

/// The body of a response as text.
pub(crate) fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

/// Waits until `condition` holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}
