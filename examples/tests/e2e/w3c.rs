//! The rules of trace contexts, kept by a whole program: `w3c_service` between sockets that are read byte by byte.

use std::collections::HashSet;
use std::process::{ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use crate::process::PATIENCE;
use crate::wire::{self, Message};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The program, killed when it is dropped, and whom it is told to call.
struct Service {
    child: Child,
    address: String,
    called: Called,
}

/// Keeps what it is sent. To a path that is a number it answers that status, and to `/nothing` nothing. It closes a
/// connection only then, or once the other side has.
#[derive(Clone)]
struct Called {
    address: String,
    received: Arc<Mutex<Vec<Message>>>,
    connections: Arc<AtomicUsize>,
}

impl Called {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let called = Self { address, received: Arc::default(), connections: Arc::default() };
        let accepting = called.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepting.connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(accepting.clone().answer(stream));
            }
        });
        called
    }

    async fn answer(self, mut stream: TcpStream) {
        while let Some(message) = Message::read(&mut stream).await {
            let path = message.start.split([' ', '/']).nth(2).unwrap().to_owned();
            self.received.lock().unwrap().push(message);
            if path == "nothing" {
                return;
            }
            let status = path.parse().unwrap_or(200);
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 2\r\n\r\n[]");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    }

    fn call(&self, path: &str, arguments: &Value) -> Value {
        json!({"url": format!("http://{}/{path}", self.address), "arguments": arguments})
    }

    /// What came since this was last asked.
    fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.received.lock().unwrap())
    }
}

impl Service {
    async fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_w3c_service"))
            .args(["--listen", "127.0.0.1:0"])
            .env("RUST_LOG", "off")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut printed = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(PATIENCE, printed.next_line()).await.expect("it starts in time");
        let line = line.unwrap().expect("it says where it listens");
        let address = line.strip_prefix("listening on http://").unwrap().to_owned();
        Self { child, address, called: Called::start().await }
    }

    async fn post(&self, fields: &[(&str, &str)], calls: &Value) -> Message {
        wire::post(&self.address, "/any/path", fields, &calls.to_string()).await
    }

    /// What it sends in each of `count` calls when it gets `fields`.
    async fn sent(&self, fields: &[(&str, &str)], count: usize) -> Vec<Sent> {
        let calls: Vec<Value> =
            (0..count).map(|n| self.called.call(&format!("call-{n}"), &json!([]))).collect();
        let response = self.post(fields, &Value::from(calls)).await;
        assert_eq!(response.status(), 200, "{fields:?}: {}", response.body);
        let received = self.called.take();
        assert_eq!(received.len(), count, "{fields:?}");
        let sent: Vec<Sent> = received.iter().map(Sent::new).collect();
        for sent in &sent {
            assert_eq!(response.field("x-trace-id"), Some(sent.trace()), "{fields:?}");
        }
        sent
    }

    async fn sent_once(&self, fields: &[(&str, &str)]) -> Sent {
        self.sent(fields, 1).await.remove(0)
    }

    async fn terminate(mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it stops in time").unwrap()
    }
}

/// The context of a call.
#[derive(Debug)]
struct Sent {
    parent: [String; 4],
    state: Option<String>,
    baggage: Option<String>,
}

impl Sent {
    /// Checks what holds of all calls: lower case, one field each, valid and of version 00.
    fn new(message: &Message) -> Self {
        let lower = |text: &str| !text.bytes().any(|byte| byte.is_ascii_uppercase());
        assert!(message.fields.iter().all(|field| lower(&field.0)), "{message:?}");
        let parent = message.field("traceparent").expect("every call has a trace");
        let parts: Vec<String> = parent.split('-').map(str::to_owned).collect();
        let parent: [String; 4] = parts.try_into().expect("a traceparent has four parts");
        for (part, digits) in parent.iter().zip([2, 32, 16, 2]) {
            assert!(
                part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit()) && lower(part),
                "{part}"
            );
        }
        assert_eq!(parent[0], "00");
        assert!(parent[1..3].iter().all(|id| id.bytes().any(|digit| digit != b'0')), "{parent:?}");
        let [state, baggage] = ["tracestate", "baggage"].map(|name| message.field(name).map(str::to_owned));
        for field in [&state, &baggage] {
            assert_ne!(field.as_deref(), Some(""), "an empty field is not sent");
        }
        Self { parent, state, baggage }
    }

    fn trace(&self) -> &str {
        &self.parent[1]
    }

    fn span(&self) -> &str {
        &self.parent[2]
    }

    fn flags(&self) -> &str {
        &self.parent[3]
    }
}

fn header(version: &str, flags: &str) -> String {
    format!("{version}-{TRACE}-{SPAN}-{flags}")
}

#[tokio::test]
async fn a_valid_traceparent_is_continued_as_a_new_span() {
    let service = Service::start().await;
    for (name, value, flags) in [
        ("traceparent", VALID.to_owned(), "01"),
        ("TRACEPARENT", VALID.to_owned(), "01"),
        ("TraceParent", VALID.to_owned(), "01"),
        ("traceparent", format!(" \t{VALID}\t "), "01"),
        // Sampled and random go on as they came, set or not, and bits without a meaning do not.
        ("traceparent", header("00", "00"), "00"),
        ("traceparent", header("00", "02"), "02"),
        ("traceparent", header("00", "03"), "03"),
        ("traceparent", header("00", "09"), "01"),
        ("traceparent", header("00", "fc"), "00"),
        // A later version is read as far as this one goes.
        ("traceparent", header("01", "01"), "01"),
        ("traceparent", header("cc", "03"), "03"),
        ("traceparent", header("fe", "00"), "00"),
        ("traceparent", header("cc", "01-what-comes-later"), "01"),
        ("traceparent", header("cc", "01-"), "01"),
    ] {
        let sent = service.sent_once(&[(name, &value), ("tracestate", "a=1")]).await;
        assert_eq!((sent.trace(), sent.flags()), (TRACE, flags), "{value:?}");
        assert_ne!(sent.span(), SPAN, "{value:?}");
        assert_eq!(sent.state.as_deref(), Some("a=1"), "{value:?}");
    }
}

#[tokio::test]
async fn an_invalid_traceparent_starts_a_trace_without_a_tracestate() {
    let service = Service::start().await;
    let mut seen = HashSet::new();
    let parts = |trace: &str, span: &str| format!("00-{trace}-{span}-01");
    let mut rows: Vec<Vec<(&str, String)>> = vec![
        vec![],
        vec![("trace-parent", VALID.to_owned())],
        vec![("trace.parent", VALID.to_owned())],
        vec![("traceparent", VALID.to_owned()), ("traceparent", VALID.to_owned())],
        vec![("traceparent", VALID.to_owned()), ("TraceParent", header("00", "00"))],
    ];
    let values = [
        String::new(),
        format!("{VALID},{VALID}"),
        header("00", "01."),
        header("00", "01-"),
        header("00", "01-what-comes-later"),
        header("cc", "01.what-comes-later"),
        header("cc", "010"),
        header("ff", "01"),
        header("0", "01"),
        header("000", "01"),
        header("0000", "01"),
        header("0.", "01"),
        header(".0", "01"),
        header("0A", "01"),
        header("00", "1"),
        header("00", "001"),
        header("00", "0."),
        header("00", "+1"),
        VALID.to_uppercase(),
        VALID.replace('-', "_"),
        parts(&"0".repeat(32), SPAN),
        parts(TRACE, &"0".repeat(16)),
        parts(&TRACE[1..], SPAN),
        parts(&format!("{TRACE}0"), SPAN),
        parts(&TRACE.replace('b', "."), SPAN),
        parts(TRACE, &SPAN[1..]),
        parts(TRACE, &format!("{SPAN}0")),
        parts(TRACE, &SPAN.replace('b', "g")),
    ];
    rows.extend(values.into_iter().map(|value| vec![("traceparent", value)]));
    for row in rows {
        let mut fields: Vec<(&str, &str)> = row.iter().map(|(name, value)| (*name, value.as_str())).collect();
        fields.push(("tracestate", "a=1"));
        let sent = service.sent_once(&fields).await;
        assert!(!sent.trace().contains(&TRACE[1..]), "{fields:?}");
        assert!(seen.insert(sent.trace().to_owned()), "every trace that starts is another");
        assert_eq!((sent.flags(), &sent.state), ("03", &None), "{fields:?}");
    }
}

#[tokio::test]
async fn a_tracestate_goes_on_whole_and_in_order_or_not_at_all() {
    let service = Service::start().await;
    let members = |count: usize| (0..count).map(|n| format!("k{n}=v{n}")).collect::<Vec<_>>().join(",");
    let long = |key: usize, value: usize| format!("{}={}", "k".repeat(key), "v".repeat(value));
    let largest = (0..32).map(|n| format!("{n:0256}={}", "v".repeat(256))).collect::<Vec<_>>().join(",");
    let whole = |text: &str| (vec![text.to_owned()], Some(text.to_owned()));
    let joined = |fields: &[&str], all: &str| {
        (fields.iter().map(|field| (*field).to_owned()).collect::<Vec<_>>(), Some(all.to_owned()))
    };
    let dropped = |text: &str| (vec!["first=1".to_owned(), text.to_owned()], None);
    for (fields, expected) in [
        whole("a=1,b=2"),
        whole("a= 1,b=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~"),
        // `@` is a letter like others, and a digit may begin.
        whole("a@=1,b@@c=2,0d@e@f=3,g_-*/@=4"),
        whole(&format!("{}@v=1", "t".repeat(254))),
        // Two members of one key may be passed on as they are.
        whole("a=1,a=2"),
        whole(&members(32)),
        whole(&long(256, 256)),
        whole(&largest),
        joined(&["a=1,b=2", "c=3", "d=4"], "a=1,b=2,c=3,d=4"),
        joined(&["", "a=1", " , "], "a=1"),
        joined(&[" \ta=1\t "], "a=1"),
        joined(&["a=1", "a=1"], "a=1,a=1"),
        (vec![String::new()], None),
        (vec![" ,\t,".to_owned()], None),
        (vec![members(20), members(13)], None),
        dropped(&members(32)),
        dropped(&long(257, 1)),
        dropped(&long(1, 257)),
        dropped("A=1"),
        dropped("a.b=1"),
        dropped("a =1"),
        dropped("@a=1,b=2"),
        dropped("a=,b=2"),
        dropped("a=b=c"),
        dropped("=1"),
        dropped("a"),
        dropped("a=\u{e9}"),
    ] {
        let mut received = vec![("traceparent", VALID)];
        received.extend(fields.iter().map(|field| ("tracestate", field.as_str())));
        let sent = service.sent_once(&received).await;
        assert_eq!(sent.trace(), TRACE, "a bad tracestate does not harm the trace: {fields:?}");
        assert_eq!(sent.state, expected, "{fields:?}");
    }
    // Spaces around commas may stay or go, the members stay.
    let spaced = [("traceparent", VALID), ("TraceState", "a=1 \t , \t b= 2,\tc=3")];
    let state = service.sent_once(&spaced).await.state.unwrap();
    let members: Vec<&str> = state.split(',').map(|member| member.trim_matches([' ', '\t'])).collect();
    assert_eq!(members, ["a=1", "b= 2", "c=3"]);
    let misnamed = [("traceparent", VALID), ("trace-state", "a=1"), ("trace.state", "a=1")];
    assert_eq!(service.sent_once(&misnamed).await.state, None);
}

#[tokio::test]
async fn baggage_goes_on_whatever_the_trace_is_without_members_that_are_none() {
    let service = Service::start().await;
    for (fields, expected) in [
        (&["user=s%C3%B8k;p=1;q,\tb = 2"][..], Some("user=s%C3%B8k;p=1;q,\tb = 2")),
        (&["a=1,b=2", "", "c=3"], Some("a=1,b=2,c=3")),
        (&["a=1,no member,b=2"], Some("a=1,b=2")),
        (&["no member"], None),
        (&[""], None),
        (&[], None),
    ] {
        for parent in [VALID, "none"] {
            let mut received = vec![("traceparent", parent)];
            received.extend(fields.iter().map(|field| ("Baggage", *field)));
            for sent in service.sent(&received, 2).await {
                assert_eq!(
                    (sent.baggage.as_deref(), sent.trace() == TRACE),
                    (expected, parent == VALID),
                    "{fields:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn the_calls_of_a_request_are_spans_of_one_trace() {
    let service = Service::start().await;
    let zero = format!("00-{}-{SPAN}-01", "0".repeat(32));
    for fields in [&[("traceparent", VALID)][..], &[], &[("traceparent", &zero)]] {
        let sent = service.sent(fields, 3).await;
        let traces: HashSet<&str> = sent.iter().map(Sent::trace).collect();
        let spans: HashSet<&str> = sent.iter().map(Sent::span).chain([SPAN]).collect();
        assert_eq!((traces.len(), spans.len()), (1, 4), "{fields:?}: {sent:?}");
    }
}

/// A callee may close a connection without a word when it is about to be used again, and the call would be lost.
#[tokio::test]
async fn each_call_has_a_connection_of_its_own() {
    let service = Service::start().await;
    service.sent(&[], 3).await;
    service.sent_once(&[]).await;
    assert_eq!(service.called.connections.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn a_chain_of_services_is_one_trace() {
    let service = Service::start().await;
    let last = json!([service.called.call("last", &json!([]))]);
    let itself =
        |arguments: &Value| json!([{"url": format!("http://{}/", service.address), "arguments": arguments}]);
    let fields = [("traceparent", VALID), ("tracestate", "a=1"), ("tracestate", "b=2")];
    let response = service.post(&fields, &itself(&itself(&last))).await;
    assert_eq!(response.status(), 200, "{}", response.body);
    let received = service.called.take();
    let sent = Sent::new(&received[0]);
    assert_eq!((received.len(), sent.trace(), sent.state.as_deref()), (1, TRACE, Some("a=1,b=2")));
    assert_ne!(sent.span(), SPAN);
}

#[tokio::test]
async fn calls_are_made_in_order_with_their_arguments_before_the_answer() {
    let service = Service::start().await;
    let nested = json!([{"url": "http://x/", "arguments": [1, {"a": null}]}, "text"]);
    let calls = json!([service.called.call("b", &nested), service.called.call("a", &json!([]))]);
    let response = service.post(&[("content-type", "text/plain")], &calls).await;
    assert_eq!(response.status(), 200, "{}", response.body);
    let answered: Value = serde_json::from_str(&response.body).unwrap();
    assert_eq!(response.field("content-type"), Some("application/json"));
    assert_eq!(answered[1], json!({"url": calls[1]["url"], "status": 200}), "{answered}");
    let received = service.called.take();
    let starts: Vec<&str> = received.iter().map(|message| message.start.as_str()).collect();
    assert_eq!(starts, ["POST /b HTTP/1.1", "POST /a HTTP/1.1"]);
    assert_eq!(received[0].field("content-type"), Some("application/json"));
    assert_eq!(serde_json::from_str::<Value>(&received[0].body).unwrap(), nested);
    assert_eq!(received[1].body, "[]");
    // They go on as they came: spaces, digits, depth, and whatever JSON they are.
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let long = format!("[\"{}\"]", "x".repeat(4 << 20));
    for arguments in
        ["null", "{ \"a\": 1.0,\t\"a\": 12345678901234567890123 }", "\"text\"", "1e400", &deep, &long]
    {
        let calls =
            format!("[{{\"arguments\": {arguments}, \"url\": \"http://{}/\"}}]", service.called.address);
        assert_eq!(wire::post(&service.address, "/", &[], &calls).await.status(), 200);
        assert!(service.called.take()[0].body == arguments, "{:.80}", arguments);
    }
    // Without arguments there is an empty array of them, and without calls nothing to do.
    let bare = json!([{"url": format!("http://{}/", service.called.address)}]);
    assert_eq!(service.post(&[], &bare).await.status(), 200);
    assert_eq!(service.called.take()[0].body, "[]");
    assert_eq!(service.post(&[], &json!([])).await.body, "[]");
}

#[tokio::test]
async fn what_cannot_be_done_is_told_with_its_trace() {
    let service = Service::start().await;
    let refused = async |body: &str| {
        let fields = [("traceparent", VALID)];
        let response = wire::post(&service.address, "/", &fields, body).await;
        assert_eq!(response.field("x-trace-id"), Some(TRACE), "{}", response.body);
        (response.status(), response.body)
    };
    let many = Value::from(vec![service.called.call("many", &json!([])); 1001]).to_string();
    let deep = format!("[{{\"url\": \"http://x/\", \"arguments\": {}", "[".repeat(10_000));
    for (body, why) in [
        ("", "EOF"),
        ("null", "no array"),
        ("{}", "no array"),
        ("[{\"arguments\": []}]", "missing field `url`"),
        ("[{\"url\": \"https://x/\"}]", "\"https://x/\" does not start with http://"),
        ("[{\"url\": \"/x\"}]", "does not start with http://"),
        ("[{\"url\": \"a b\"}]", "\"a b\" is no url"),
        ("[{\"url\": \"http://x/\", \"arguments\": [1}]", "expected `,` or `]`"),
        (&deep, "EOF"),
        (&many, "the limit is 1000 calls"),
    ] {
        let (status, told) = refused(body).await;
        assert!(status == 400 && told.contains(why), "{status} {told} does not tell {why}");
    }
    assert!(service.called.take().is_empty(), "nothing is called for a bad request");

    let too_large = [("content-length", "8388609")];
    assert_eq!(wire::post(&service.address, "/", &too_large, "").await.status(), 413);
    let get = format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", service.address);
    assert_eq!(wire::exchange(&service.address, &get).await.status(), 405);

    let call = |path: &str| service.called.call(path, &json!([]));
    let free = format!("http://127.0.0.1:{}/", crate::process::free_port());
    for (failing, why) in [
        (call("500"), "it answered 500"),
        (call("302"), "it answered 302"),
        (call("nothing"), "connection closed"),
        (json!({"url": free}), "Connection refused"),
    ] {
        let (status, told) = refused(&json!([call("first"), failing, call("last")]).to_string()).await;
        assert!(status == 502 && told.contains(why), "{status} {told} does not tell {why}");
        assert!(told.starts_with("call 2 of 3, to http://127.0.0.1:"), "{told}");
        let received = service.called.take();
        assert!(!received.iter().any(|message| message.start.contains("/last")), "{received:?}");
    }
}

#[tokio::test]
async fn it_ends_when_it_is_told_to_although_a_connection_is_open() {
    let service = Service::start().await;
    let mut idle = TcpStream::connect(&service.address).await.unwrap();
    let request = format!("POST / HTTP/1.1\r\nhost: {}\r\ncontent-length: 2\r\n\r\n[]", service.address);
    idle.write_all(request.as_bytes()).await.unwrap();
    assert_eq!(Message::read(&mut idle).await.unwrap().status(), 200);
    assert!(service.terminate().await.success());
}
