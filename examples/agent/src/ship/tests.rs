use std::collections::VecDeque;
use std::convert::Infallible;
use std::io::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use forebay_tracing_ctx::{TraceParent, carrier};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prost::Message;

use super::*;
use crate::logproto::{PushRequest, Timestamp};

/// A status, `Retry-After`, and a body.
type Answer = (u16, Option<&'static str>, &'static str);

struct Received {
    answered: StatusCode,
    tenant: Option<String>,
    trace: TraceParent,
    request: PushRequest,
}

/// Answers pushes as told, and with 204 when it was told nothing more.
#[derive(Clone)]
struct Server {
    script: Arc<Mutex<VecDeque<Answer>>>,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    async fn start(script: &[Answer]) -> (Self, String) {
        let server =
            Self { script: Arc::new(Mutex::new(script.iter().copied().collect())), received: Arc::default() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = accepting.clone();
                let service = service_fn(move |request| server.clone().answer(request));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        (server, url)
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        assert_eq!(request.uri().path(), PUSH_PATH);
        assert_eq!(request.headers()["content-type"], CONTENT_TYPE);
        let tenant = request.headers().get("x-scope-orgid").map(|v| v.to_str().unwrap().to_owned());
        let trace =
            carrier::extract(request.headers()).into_context().expect("every push is in a trace").parent;
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
        let request = PushRequest::decode(&message[..]).unwrap();
        let (status, retry_after, text) = self.script.lock().unwrap().pop_front().unwrap_or((204, None, ""));
        let answered = StatusCode::from_u16(status).unwrap();
        self.received.lock().unwrap().push(Received { answered, tenant, trace, request });
        let mut response = Response::builder().status(answered);
        if let Some(retry_after) = retry_after {
            response = response.header("retry-after", retry_after);
        }
        Ok(response.body(Full::new(text.into())).unwrap())
    }

    /// Lines of the pushes that were answered with `status`.
    fn lines(&self, status: u16) -> Vec<Vec<u8>> {
        let received = self.received.lock().unwrap();
        let answered = received.iter().filter(|r| r.answered == status);
        let entries = answered.flat_map(|r| r.request.streams.iter().flat_map(|s| &s.entries));
        entries.map(|e| e.line.to_vec()).collect()
    }
}

fn options() -> Options {
    let retry = Retry { tries: 4, first: Duration::from_millis(1), longest: Duration::from_millis(20) };
    Options { host: "test".to_owned(), retry, seed: 1, ..Options::default() }
}

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

#[tokio::test]
async fn every_line_arrives_although_the_server_is_down_and_then_busy() {
    let (server, url) = Server::start(&[(503, None, "starting"), (429, Some("1"), "slow down")]).await;
    let lines = (0..5_000).map(|i| format!("line {i} \u{e9}")).collect::<Vec<_>>();
    let (first, second) = (file(lines.join("\n").as_bytes()), file(b"same\nsame\n\n\xff\xfe"));
    let files = [first.path().to_owned(), second.path().to_owned()];
    let mut shipper = Shipper::new(&url, Options { batch_bytes: 16 << 10, ..options() }).unwrap();

    let shipped = shipper.ship(&files).await.unwrap();

    let mut expected = lines.into_iter().map(String::into_bytes).collect::<Vec<_>>();
    let bytes = expected.iter().map(|line| line.len() + 1).sum::<usize>() - 1 + 13;
    expected.extend([&b"same"[..], b"same", b"", b"\xff\xfe"].map(<[u8]>::to_vec));
    assert_eq!(server.lines(204), expected);
    assert_eq!(shipped.lines, 5_004);
    assert_eq!(shipped.bytes, bytes as u64);
    assert_eq!((shipped.files, shipped.retries, shipped.refused_lines), (2, 2, 0));
    assert_eq!(shipped.batches, server.received.lock().unwrap().len() as u64 - 2);
    assert!(shipped.batches > 5, "a batch ends at its size: {shipped:?}");
    assert!(shipped.elapsed >= Duration::from_millis(20), "the server asked for more than the longest wait");
}

#[tokio::test]
async fn retries_repeat_their_timestamps_and_equal_lines_have_different_ones() {
    let (server, url) = Server::start(&[(500, None, ""), (500, None, "")]).await;
    let options = Options { clock: Clock::simulated(1_000), batch_bytes: 100, ..options() };
    let mut shipper = Shipper::new(&url, options).unwrap();

    shipper.ship_reader(Path::new("/log/a b"), &b"same\n".repeat(50)[..]).await.unwrap();

    let received = server.received.lock().unwrap();
    assert_eq!(received[0].request, received[1].request);
    assert_eq!(received[0].request, received[2].request);
    let entries = received[2..].iter().flat_map(|r| &r.request.streams[0].entries);
    let times = entries.map(|e| e.timestamp.unwrap()).map(|Timestamp { seconds, nanos }| (seconds, nanos));
    let times = times.collect::<Vec<_>>();
    assert_eq!(times.len(), 50);
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    let labels = &received[0].request.streams[0].labels;
    assert_eq!(labels, r#"{filename="/log/a b", host="test", job="ship"}"#);
}

#[tokio::test]
async fn a_batch_is_a_trace_and_each_of_its_tries_a_span() {
    let (server, url) = Server::start(&[(503, None, ""), (204, None, ""), (400, None, "no")]).await;
    let mut shipper = Shipper::new(&url, Options { batch_bytes: 1, ..options() }).unwrap();

    shipper.ship_reader(Path::new("a"), &b"one\ntwo\nthree\n"[..]).await.unwrap();

    let received = server.received.lock().unwrap();
    let traces = received.iter().map(|r| r.trace.trace_id).collect::<Vec<_>>();
    assert_eq!(traces.len(), 4);
    assert_eq!(traces[0], traces[1], "the same batch again");
    assert!(traces[1] != traces[2] && traces[2] != traces[3], "another batch is another trace");
    assert_ne!(received[0].trace.parent_id, received[1].trace.parent_id);
    assert!(received.iter().all(|r| r.trace.flags.is_sampled()));
}

#[tokio::test]
async fn a_receipt_says_under_which_trace_a_push_is_found() {
    let (server, url) = Server::start(&[(503, None, ""), (400, None, "no")]).await;
    let mut courier = Courier::new(HttpClient::new(&url).unwrap(), options().retry, 1);
    let receipt = courier.send(Batch::default().encode()).await.unwrap();
    assert!(matches!(receipt.delivery, Delivery::Refused { status: StatusCode::BAD_REQUEST, .. }));
    assert_eq!((receipt.tries, &receipt.answered_trace_id), (2, &None), "this server has no traces");
    assert_eq!(server.received.lock().unwrap()[1].trace.trace_id, receipt.trace_id);
    *server.script.lock().unwrap() = VecDeque::from([(503, None, ""); 4]);
    let lost = courier.send(Batch::default().encode()).await.unwrap_err();
    assert_eq!(server.received.lock().unwrap()[5].trace.trace_id, lost.trace_id);
}

#[tokio::test]
async fn a_refusal_is_counted_by_line_where_the_server_says_how_many_and_by_batch_where_not() {
    let script =
        [(400, None, "2 of 3 lines were refused, 1 are stored\ntoo_old: 2 lines"), (413, None, "too large")];
    let (server, url) = Server::start(&script).await;
    let mut shipper = Shipper::new(&url, Options { tenant: Some("acme".to_owned()), ..options() }).unwrap();

    let shipped = shipper.ship_reader(Path::new("a"), &b"1\n2\n3\n"[..]).await.unwrap();
    assert_eq!((shipped.refused_lines, shipped.retries), (2, 0));
    let shipped = shipper.ship_reader(Path::new("b"), &b"1\n2\n3\n4\n"[..]).await.unwrap();
    assert_eq!((shipped.refused_lines, shipped.lines, shipped.batches), (6, 7, 2));
    assert!(shipped.first_refusal.unwrap().starts_with("400 Bad Request: 2 of 3 lines"));
    assert!(server.received.lock().unwrap().iter().all(|r| r.tenant.as_deref() == Some("acme")));
}

#[tokio::test]
async fn what_is_lost_is_named_when_the_server_stays_away() {
    let (server, url) = Server::start(&[(204, None, "")]).await;
    *server.script.lock().unwrap() = [(204, None, "")].into_iter().chain([(503, None, "full"); 4]).collect();
    let mut shipper = Shipper::new(&url, Options { batch_bytes: 1, ..options() }).unwrap();

    let error = shipper.ship_reader(Path::new("app.log"), &b"one\ntwo\nthree\n"[..]).await.unwrap_err();

    assert_eq!(error.to_string(), "lines 2 to 2 of app.log were not delivered, and none after them");
    let source = anyhow::Error::from(error).chain().skip(1).map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(source, ["given up after 4 tries", "server answered 503 Service Unavailable: full"]);
    assert_eq!((shipper.shipped().lines, shipper.shipped().retries), (1, 3));
    assert_eq!(server.lines(503), vec![b"two".to_vec(); 4]);
}

#[tokio::test]
async fn a_line_longer_than_the_limit_is_cut_and_counted() {
    let (server, url) = Server::start(&[]).await;
    let mut shipper = Shipper::new(&url, Options { max_line_bytes: 4, ..options() }).unwrap();
    let shipped = shipper.ship_reader(Path::new("a"), &b"12345\n1234\n123456789"[..]).await.unwrap();
    assert_eq!((shipped.lines, shipped.bytes, shipped.cut_lines), (3, 20, 2));
    assert_eq!(server.lines(204), vec![b"1234".to_vec(); 3]);
}

#[tokio::test]
async fn lines_before_a_read_error_are_delivered() {
    struct Broken<'a>(&'a [u8]);
    impl tokio::io::AsyncRead for Broken<'_> {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            out: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<io::Result<()>> {
            if self.0.is_empty() {
                return std::task::Poll::Ready(Err(io::Error::other("disk")));
            }
            out.put_slice(std::mem::take(&mut self.0));
            std::task::Poll::Ready(Ok(()))
        }
    }
    let (server, url) = Server::start(&[]).await;
    let mut shipper = Shipper::new(&url, options()).unwrap();
    let error = shipper.ship_reader(Path::new("a"), BufReader::new(Broken(b"1\n2\n"))).await.unwrap_err();
    assert!(matches!(error, ShipError::Read { line: 3, .. }), "{error}");
    assert_eq!(server.lines(204), [b"1", b"2"]);
}

#[tokio::test]
async fn a_file_that_is_not_there_stops_shipping_before_anything_is_sent() {
    let (server, url) = Server::start(&[]).await;
    let there = file(b"line\n");
    let mut shipper = Shipper::new(&url, options()).unwrap();
    let error = shipper.ship(&[there.path().to_owned(), "/no/such/file".into()]).await.unwrap_err();
    assert_eq!(error.to_string(), "/no/such/file cannot be read from line 1 on");
    assert!(server.received.lock().unwrap().is_empty());
}
