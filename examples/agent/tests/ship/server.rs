//! A server of pushes that answers as a test says, over real connections, and remembers what it was sent.

use std::collections::VecDeque;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::read::GzDecoder;
use forebay_agent::logproto::PushRequest;
use forebay_agent::ship::PUSH_PATH;
use prost::Message;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long a test waits for what has to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What becomes of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// A status, `Retry-After`, and a body.
    Status(u16, Option<&'static str>, &'static str),
    /// The connection is cut in the middle of the answer that says it is stored.
    HalfStored,
    /// The connection is cut without an answer.
    Cut,
    /// The connection stays, and no answer comes.
    Silence,
}

/// It is stored.
pub(crate) const STORED: Answer = Answer::Status(204, None, "");

/// A line as it was sent.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    /// The labels as the push had them.
    pub(crate) labels: String,
    pub(crate) timestamp_ns: i64,
    pub(crate) line: Vec<u8>,
}

/// A push.
#[derive(Debug, Clone)]
pub(crate) struct Push {
    pub(crate) answer: Answer,
    /// The fields of its head, names in small letters.
    pub(crate) head: Vec<(String, String)>,
    pub(crate) entries: Vec<Entry>,
}

impl Push {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.entries.iter().map(|entry| String::from_utf8_lossy(&entry.line).into_owned()).collect()
    }

    /// Its answer, and how many lines it has and which is the first.
    fn summary(&self) -> String {
        format!("{:?}: {} from {:?}", self.answer, self.entries.len(), self.lines().first())
    }

    /// Whether its lines are stored, whatever the client was told.
    fn is_stored(&self) -> bool {
        matches!(self.answer, Answer::HalfStored | Answer::Status(200..300, ..))
    }
}

type Policy = dyn FnMut(&Push) -> Answer + Send;

/// The server, until it is dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    pushes: Mutex<Vec<Push>>,
    policy: Mutex<Box<Policy>>,
    came: Notify,
}

impl Server {
    /// Answers as `script` says, and then that everything is stored.
    pub(crate) async fn scripted(script: &[Answer]) -> Self {
        let mut script = VecDeque::from(script.to_vec());
        Self::start(move |_| script.pop_front().unwrap_or(STORED)).await
    }

    /// Answers as `policy` says.
    pub(crate) async fn start(policy: impl FnMut(&Push) -> Answer + Send + 'static) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), policy).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        policy: impl FnMut(&Push) -> Answer + Send + 'static,
    ) -> Self {
        let listener = loop {
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                // The server that had it is about to go.
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        };
        let address = listener.local_addr().unwrap();
        let policy: Box<Policy> = Box::new(policy);
        let (pushes, policy, came) = (Mutex::default(), Mutex::new(policy), Notify::new());
        let shared = Arc::new(Shared { pushes, policy, came });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).serve(stream));
            }
        });
        Self { url: format!("http://{address}"), address, shared, accepting }
    }

    pub(crate) fn pushes(&self) -> Vec<Push> {
        self.shared.pushes.lock().unwrap().clone()
    }

    /// What is stored, in the order in which it came.
    pub(crate) fn stored(&self) -> Vec<Entry> {
        let pushes = self.shared.pushes.lock().unwrap();
        pushes.iter().filter(|push| push.is_stored()).flat_map(|push| push.entries.clone()).collect()
    }

    pub(crate) fn stored_lines(&self) -> Vec<String> {
        self.stored().iter().map(|entry| String::from_utf8_lossy(&entry.line).into_owned()).collect()
    }

    /// Waits until it is so, which is asked after each push.
    pub(crate) async fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let waiting = async {
            loop {
                let came = self.shared.came.notified();
                if is_so(self) {
                    return;
                }
                came.await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, waiting).await;
        assert!(waited.is_ok(), "{what}: {:?}", self.pushes().iter().map(Push::summary).collect::<Vec<_>>());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(mut push) = read(&mut stream).await {
            push.answer = (self.policy.lock().unwrap())(&push);
            let answer = push.answer;
            self.pushes.lock().unwrap().push(push);
            self.came.notify_waiters();
            let (bytes, cut) = match answer {
                Answer::Status(status, retry_after, body) => (response(status, retry_after, body), false),
                Answer::HalfStored => (b"HTTP/1.1 204 No Con".to_vec(), true),
                Answer::Cut => (Vec::new(), true),
                Answer::Silence => std::future::pending().await,
            };
            if stream.write_all(&bytes).await.is_err() || cut {
                return;
            }
        }
    }
}

fn response(status: u16, retry_after: Option<&str>, body: &str) -> Vec<u8> {
    let retry_after = retry_after.map_or_else(String::new, |asked| format!("retry-after: {asked}\r\n"));
    let length = if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    format!("HTTP/1.1 {status} Whatever\r\n{retry_after}{length}\r\n{body}").into_bytes()
}

/// The next push of a connection.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<Push> {
    let mut start = String::new();
    stream.read_line(&mut start).await.ok().filter(|&read| read > 0)?;
    assert_eq!(start.trim_end(), format!("POST {PUSH_PATH} HTTP/1.1"));
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok().filter(|&read| read > 0)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => head.push((name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let mut push = Push { answer: STORED, head, entries: Vec::new() };
    let length = push.field("content-length").expect("clients say how long a push is").parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    push.entries = match push.field("content-type").unwrap() {
        "application/x-protobuf" => protobuf(&body),
        "application/json" => json(&body, push.field("content-encoding")),
        other => panic!("content type {other}"),
    };
    Some(push)
}

fn protobuf(body: &[u8]) -> Vec<Entry> {
    let message = snap::raw::Decoder::new().decompress_vec(body).unwrap();
    let mut entries = Vec::new();
    for stream in PushRequest::decode(&message[..]).unwrap().streams {
        for entry in stream.entries {
            let time = entry.timestamp.unwrap();
            let timestamp_ns = time.seconds * 1_000_000_000 + i64::from(time.nanos);
            entries.push(Entry { labels: stream.labels.clone(), timestamp_ns, line: entry.line.to_vec() });
        }
    }
    entries
}

fn json(body: &[u8], encoding: Option<&str>) -> Vec<Entry> {
    let mut unpacked = Vec::new();
    let body = match encoding {
        Some("gzip") => {
            GzDecoder::new(body).read_to_end(&mut unpacked).unwrap();
            &unpacked[..]
        }
        None => body,
        Some(other) => panic!("content encoding {other}"),
    };
    let body: Value = serde_json::from_slice(body).unwrap();
    let mut entries = Vec::new();
    for stream in body["streams"].as_array().unwrap() {
        for value in stream["values"].as_array().unwrap() {
            let [timestamp_ns, line] = [0, 1].map(|at| value[at].as_str().unwrap());
            let (timestamp_ns, line) = (timestamp_ns.parse().unwrap(), line.as_bytes().to_vec());
            entries.push(Entry { labels: stream["stream"].to_string(), timestamp_ns, line });
        }
    }
    entries
}
