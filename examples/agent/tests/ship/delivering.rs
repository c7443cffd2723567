//! What answers, and what is none, make of the lines.

use std::io::Cursor;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use forebay_agent::ship::pace::{Pace, SteppedPace, SystemPace};
use forebay_agent::ship::{Agent, Board, Options, Packing, Retry, ShipError};
use forebay_wal::fs::StdFs;
use regex::bytes::Regex;

use crate::server::{Answer, STORED, Server};
use crate::{agent, options, ship};

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("line {number} \u{e9}")).collect()
}

fn file(dir: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[tokio::test]
async fn every_line_arrives_although_the_server_is_away_busy_broken_and_cut_off() {
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let lines = numbered(5_000);
    let first = file(&dir, "a.log", lines.join("\n"));
    let second = file(&dir, "b.log", b"same\nsame\n\n\xff\xfe");
    let options = Options { batch_bytes: 16 << 10, ..options(&format!("http://{away}"), &[&first, &second]) };
    let (agent, _stop, board) = agent(options, &SteppedPace::default());
    let shipping = tokio::spawn(agent.run());
    while board.read().shipped.retries < 10 {
        tokio::task::yield_now().await;
    }
    let progress = board.read();
    assert!(progress.trouble.unwrap().starts_with("no connection to http://"));
    assert_eq!(progress.shipped.lines, 0);
    let busy = Answer::Status(429, Some("30"), "slow down");
    let mut script = [
        Answer::Cut,
        busy,
        Answer::Status(500, None, "oops"),
        Answer::HalfStored,
        Answer::Status(503, None, ""),
    ]
    .into_iter()
    .cycle();
    let mut nth = 0;
    let server = Server::start_at(away, move |_| {
        nth += 1;
        if nth % 3 == 0 { STORED } else { script.next().unwrap() }
    })
    .await;

    let shipped = shipping.await.unwrap().unwrap();

    let mut expected = lines.into_iter().map(String::into_bytes).collect::<Vec<_>>();
    let bytes = expected.iter().map(|line| line.len() + 1).sum::<usize>() - 1 + 13;
    expected.extend([&b"same"[..], b"same", b"", b"\xff\xfe"].map(<[u8]>::to_vec));
    let mut stored = server.stored();
    stored.sort();
    stored.dedup();
    stored.sort_by(|a, b| (&a.labels, a.timestamp_ns).cmp(&(&b.labels, b.timestamp_ns)));
    assert_eq!(stored.iter().map(|entry| entry.line.clone()).collect::<Vec<_>>(), expected);
    assert_eq!((shipped.lines, shipped.bytes, shipped.files), (5_004, bytes as u64, 2));
    assert_eq!((shipped.refused_lines, shipped.undelivered_lines), (0, 0));
    assert!(shipped.batches > 5, "a batch ends at its size: {shipped:?}");
    assert_eq!(board.read().trouble, None);
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_the_same_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a b", "same\n".repeat(50));
    for packing in [Packing::Snappy, Packing::Gzip, Packing::None] {
        let script = [Answer::Status(500, None, ""), Answer::Cut, Answer::HalfStored];
        let server = Server::scripted(&script).await;
        ship(Options { packing, batch_bytes: 600, ..options(&server.url, &[&path]) }).await.unwrap();
        let pushes = server.pushes();
        for again in &pushes[1..4] {
            assert_eq!(again.entries, pushes[0].entries, "{packing:?}");
        }
        let times = pushes[3..].iter().flat_map(|push| &push.entries).map(|entry| entry.timestamp_ns);
        let times = times.collect::<Vec<_>>();
        assert_eq!(times.len(), 50);
        assert!(times.is_sorted_by(|a, b| a < b), "equal lines have different times: {times:?}");
        assert_eq!(pushes[0].field("content-encoding"), (packing == Packing::Gzip).then_some("gzip"));
    }
}

#[tokio::test]
async fn a_batch_is_a_trace_and_has_labels_and_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a b", "one\ntwo\n");
    let server = Server::scripted(&[Answer::Status(503, None, "")]).await;
    let mut options =
        Options { tenant: Some("acme".to_owned()), batch_bytes: 1, ..options(&server.url, &[&path]) };
    options.label("env", "\"x\"").unwrap();
    ship(options).await.unwrap();
    let pushes = server.pushes();
    assert_eq!(pushes.len(), 3);
    let trace = |nth: usize| pushes[nth].field("traceparent").unwrap().split('-').nth(1).unwrap();
    let span = |nth: usize| pushes[nth].field("traceparent").unwrap().split('-').nth(2).unwrap();
    assert_eq!(trace(0), trace(1), "the same batch again");
    assert_ne!(span(0), span(1));
    assert_ne!(trace(1), trace(2), "another batch is another trace");
    let labels = format!(r#"{{env="\"x\"", filename="{}", host="test", job="ship"}}"#, path.display());
    assert_eq!(pushes[0].entries[0].labels, labels);
    assert!(pushes.iter().all(|push| push.field("x-scope-orgid") == Some("acme")));
}

#[tokio::test]
async fn refused_lines_are_counted_and_the_next_batch_is_sent() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (file(&dir, "a", "1\n2\n3\n"), file(&dir, "b", "4\n5\n"));
    let script = [
        Answer::Status(400, None, "2 of 3 lines were refused, 1 are stored\ntoo_old: 2 lines"),
        Answer::Status(400, None, "entry too far behind, for stream: {a=\"b\"}"),
    ];
    let server = Server::scripted(&script).await;
    let batch_bytes = 3 * 25;
    let shipped = ship(Options { batch_bytes, ..options(&server.url, &[&first, &second]) }).await.unwrap();
    assert_eq!((shipped.refused_lines, shipped.lines, shipped.batches, shipped.retries), (4, 5, 2, 0));
    assert!(shipped.first_refusal.unwrap().contains("2 of 3 lines"));
}

#[tokio::test]
async fn what_is_too_large_is_halved_until_it_fits_and_a_line_alone_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a", "0\n1\n2\nhuge line\n4\n5\n6\n");
    let server = Server::start(|push| {
        let fits = push.entries.len() <= 2 && push.entries.iter().all(|entry| entry.line.len() < 5);
        if fits { STORED } else { Answer::Status(413, None, "too large") }
    })
    .await;
    let shipped = ship(options(&server.url, &[&path])).await.unwrap();
    assert_eq!(server.stored_lines(), ["0", "1", "2", "4", "5", "6"]);
    assert_eq!((shipped.lines, shipped.refused_lines, shipped.batches), (7, 1, 1));
    assert!(shipped.first_refusal.unwrap().contains("too large"));
}

/// A wrong tenant, address or proxy emptied files into nothing once: every answer below 500 but 429 counted as one
/// about the lines.
#[tokio::test]
async fn an_answer_that_is_not_about_the_lines_holds_them_for_as_long_as_it_takes() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a", "1\n2\n3\n");
    let held =
        [301, 401, 403, 404, 405, 415, 400].map(|status| Answer::Status(status, None, "<html>no</html>"));
    let server = Server::scripted(&held).await;
    let pace = SteppedPace::default();
    let (agent, _stop, board) = agent(options(&server.url, &[&path]), &pace);
    let shipped = agent.run().await.unwrap();
    assert_eq!((shipped.lines, shipped.refused_lines, shipped.retries), (3, 0, 7));
    assert_eq!(server.stored_lines(), ["1", "2", "3"]);
    assert_eq!(server.pushes().len(), 8, "and not one more batch meanwhile");
    assert!(pace.now_ns() >= 7 * 60_000_000_000, "at the longest wait");
    assert_eq!(board.read().trouble, None);
}

#[tokio::test]
async fn the_server_is_not_asked_again_before_it_wants() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a", "1\n");
    for (asked, seconds) in [("90", 90), ("Sat, 07 Mar 2026 12:02:00 GMT", 119)] {
        let server = Server::scripted(&[Answer::Status(429, Some(asked), "")]).await;
        let pace = SteppedPace::default();
        let (agent, _stop, _) = agent(options(&server.url, &[&path]), &pace);
        agent.run().await.unwrap();
        let waited = Duration::from_nanos(pace.now_ns());
        assert!((seconds..seconds + 5).contains(&waited.as_secs()), "{asked}: {waited:?}");
    }
}

#[tokio::test]
async fn while_a_server_is_down_the_next_one_gets_the_lines() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a", numbered(100).join("\n"));
    let down = Server::start(|_| Answer::Status(503, None, "down")).await;
    let up = Server::scripted(&[]).await;
    let mut options = Options { batch_bytes: 100, ..options(&down.url, &[&path]) };
    options.urls.push(up.url.clone());
    ship(options).await.unwrap();
    assert_eq!(up.stored_lines(), numbered(100));
    let asked = down.pushes().len();
    assert!((5..20).contains(&asked), "its breaker opens after five failures: {asked}");
}

#[tokio::test]
async fn tries_can_be_bounded_and_then_the_rest_is_said_to_be_lost() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a", "one\ntwo\nthree\n");
    let server = Server::start(|push| match push.lines()[0].as_str() {
        "one" => STORED,
        _ => Answer::Status(503, None, "full"),
    })
    .await;
    let retry = Retry { tries: Some(4), ..Retry::default() };
    let error = ship(Options { batch_bytes: 1, retry, ..options(&server.url, &[&path]) }).await.unwrap_err();
    assert_eq!(error.to_string(), "1 lines were not delivered");
    assert!(matches!(error, ShipError::Lost { lines: 1, .. }));
    assert_eq!(server.stored_lines(), ["one"]);
}

#[tokio::test]
async fn long_lines_are_cut_and_stack_traces_joined_and_times_read() {
    let dir = tempfile::tempdir().unwrap();
    let content = "2026-03-07 12:00:00,125 ERROR failed\n  at a.B\n  at c.D\n2026-03-07 12:00:00,125 INFO ok\n\
                   2026-03-07 12:00:01,000 INFO 12345678901234567890\n";
    let path = file(&dir, "a", content);
    let server = Server::scripted(&[]).await;
    let options = Options {
        max_line_bytes: 54,
        multiline: Some(Regex::new(r"^\d{4}-").unwrap()),
        timestamp: Some("%Y-%m-%d %H:%M:%S,%f".to_owned()),
        zone: jiff::tz::TimeZone::UTC,
        ..options(&server.url, &[&path])
    };
    let shipped = ship(Options { max_line_bytes: 45, ..options.clone() }).await.unwrap();
    assert_eq!(
        (shipped.lines, shipped.cut_lines),
        (4, 1),
        "the trace is too long and goes on in a second event"
    );
    let shipped = ship(options).await.unwrap();
    assert_eq!((shipped.lines, shipped.bytes, shipped.cut_lines), (3, content.len() as u64, 0));
    let entries = server.pushes().pop().unwrap().entries;
    let noon_ns = 1_772_884_800_000_000_000;
    let times = entries.iter().map(|entry| entry.timestamp_ns - noon_ns).collect::<Vec<_>>();
    assert_eq!(times, [125_000_000, 125_000_001, 1_000_000_000]);
    assert_eq!(entries[0].line, &b"2026-03-07 12:00:00,125 ERROR failed\n  at a.B\n  at c.D"[..]);
}

#[tokio::test]
async fn standard_input_is_shipped_to_its_end_without_a_file_name() {
    let server = Server::scripted(&[]).await;
    let options = options(&server.url, &["-".as_ref()]);
    let text = numbered(50_000).join("\n");
    let input = Cursor::new(text.into_bytes());
    let (agent, _stop) = Agent::new(options, StdFs, SteppedPace::default(), input, Board::default()).unwrap();
    let shipped = agent.run().await.unwrap();
    assert_eq!(shipped.lines, 50_000);
    assert_eq!(server.stored_lines(), numbered(50_000));
    assert_eq!(server.stored()[0].labels, r#"{host="test", job="ship"}"#);
}

/// Gives these pieces, then says that it is asked for more, and does as it is told by whoever hears it.
struct Script {
    pieces: std::vec::IntoIter<&'static str>,
    asked: std::sync::mpsc::Sender<()>,
    then: std::sync::mpsc::Receiver<std::io::Error>,
}

impl std::io::Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if let Some(piece) = self.pieces.next() {
            buffer[..piece.len()].copy_from_slice(piece.as_bytes());
            return Ok(piece.len());
        }
        self.asked.send(()).ok();
        self.then.recv().map_or(Ok(0), Err)
    }
}

/// Standard input that said this and is asked for more; and how it ends.
fn script(
    pieces: Vec<&'static str>,
) -> (Script, std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<std::io::Error>) {
    let (asked, is_asked) = std::sync::mpsc::channel();
    let (end, then) = std::sync::mpsc::channel();
    (Script { pieces: pieces.into_iter(), asked, then }, is_asked, end)
}

/// Lines that were out of the pipe and not in the batch were dropped without a word once.
async fn stopped(pace: impl Pace, answer: Answer, stored: usize) {
    let server = Server::start(move |_| answer).await;
    let (input, asked, _end) = script(vec!["one\ntwo\n", "three"]);
    let options = options(&server.url, &["-".as_ref()]);
    let (agent, stop) = Agent::new(options, StdFs, pace, input, Board::default()).unwrap();
    asked.recv().unwrap();
    stop.stop();
    let shipped = agent.run().await.unwrap();
    assert_eq!(server.stored_lines(), ["one", "two", "three"][..stored]);
    let undelivered = 3 - stored as u64;
    assert_eq!((shipped.undelivered_lines, shipped.lost_lines), (undelivered, undelivered));
    assert_eq!(shipped.gone_lines(true), undelivered, "offsets do not help");
}

#[tokio::test]
async fn told_to_stop_it_delivers_what_standard_input_said_or_counts_it() {
    stopped(SystemPace, STORED, 3).await;
    stopped(SteppedPace::default(), Answer::Status(503, None, "full"), 0).await;
}

#[tokio::test]
async fn what_came_before_standard_input_broke_is_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a", "file\n");
    let server = Server::scripted(&[]).await;
    let (input, _asked, end) = script(vec!["one\ntwo\n"]);
    end.send(std::io::ErrorKind::WouldBlock.into()).unwrap();
    let options = options(&server.url, &["-".as_ref(), &path]);
    let (agent, _stop) = Agent::new(options, StdFs, SteppedPace::default(), input, Board::default()).unwrap();
    let error = agent.run().await.unwrap_err();
    assert!(matches!(error, ShipError::Read { offset: 8, .. }), "{error:?}");
    let mut stored = server.stored_lines();
    stored.sort();
    assert_eq!(stored, ["file", "one", "two"]);
}

#[tokio::test]
async fn what_is_wrong_is_told_before_anything_is_sent() {
    let server = Server::scripted(&[]).await;
    let there = tempfile::NamedTempFile::new().unwrap();
    let refused = |options: Options| {
        let board = Board::default();
        Agent::new(options, StdFs, SteppedPace::default(), &b""[..], board).unwrap_err().to_string()
    };
    let with = |change: fn(&mut Options)| {
        let mut options = options(&server.url, &[there.path()]);
        change(&mut options);
        refused(options)
    };
    let missing = options(&server.url, &[there.path(), "/no/such/file".as_ref()]);
    assert_eq!(refused(missing), "/no/such/file cannot be read from byte 0 on");
    assert_eq!(refused(options(&server.url, &["/nowhere*".as_ref()])), "there is nothing to ship");
    assert!(with(|options| options.urls = vec!["https://x".to_owned()]).contains("https://x"));
    assert!(with(|options| options.tenant = Some("a\nb".to_owned())).contains("tenant"));
    assert!(with(|options| options.timestamp = Some("iso".to_owned())).contains("no format of times"));
    assert!(with(|options| options.sources = vec!["a[".to_owned()]).contains("pattern"));
    assert!(matches!(Options::default().label("1a", ""), Err(ShipError::Label { .. })));
    assert!(server.pushes().is_empty());
}
