//! Makes the demo's lines and sends them, over a few connections at the same time.
//!
//! Invariant: each connection writes streams of its own, so that the lines of a stream arrive in order, and every
//! line has a time of its own.

use std::fmt::Write;

use anyhow::bail;
use bytes::Bytes;
use forebay_agent::clock::{Clock, monotonic_ns};
use forebay_agent::http_client::HttpClient;
use forebay_agent::loggen::Generator;
use forebay_agent::ship::{Batch, Courier, Delivery, Retry};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use memchr::memmem::Finder;
use tokio::task::JoinSet;

use super::Options;

/// Streams of the generator.
pub(super) const STREAMS: u32 = 24;
/// Pushes under way at the same time.
pub(super) const CONNECTIONS: u32 = 4;
/// Lines a push.
const PUSH_LINES: usize = 1_000;
/// The app whose lines the demo asks for.
pub(super) const APP: &str = "payments";
/// What it asks for.
pub(super) const NEEDLE: &str = "upstream timeout";

const MINUTE_NS: i64 = 60_000_000_000;
/// Lines lie within this time before the start.
pub(super) const SPAN_NS: i64 = 55 * MINUTE_NS;
/// One line in this many is too old.
const TOO_OLD_EVERY: u64 = 1_000;
/// How old such a line is; servers take a week as a rule.
const TOO_OLD_NS: i64 = 30 * 24 * 60 * MINUTE_NS;
/// How long the one line is that is too long; servers take 256 KiB as a rule.
const TOO_LONG_BYTES: usize = 300 << 10;

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Lines, those meant to be refused included.
    pub(super) lines: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// Lines that the server said it refused.
    pub(super) refused: u64,
    /// What it said the first time.
    pub(super) first_refusal: Option<String>,
    /// Lines in order that the demo's query matches.
    pub(super) matching: u64,
    /// Pushes.
    pub(super) pushes: u64,
    /// Pushes sent again.
    pub(super) retries: u64,
    /// From the first line made to the last answer.
    pub(super) elapsed_ns: u64,
    /// The lines in order are later than this,
    pub(super) start_ns: i64,
    /// and at or before this.
    pub(super) end_ns: i64,
}

/// Sends all lines; the seed decides them, the clock when they were written.
pub(super) async fn send(client: &HttpClient, options: &Options) -> anyhow::Result<Sent> {
    let started_ns = monotonic_ns();
    let end_ns = Clock::System.wall_ns();
    let bar = progress_bar(options.lines);
    let mut workers = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let part = part(options.lines, connection);
        let writer = Writer::new(options.seed, connection, part, end_ns);
        let retry = Retry { tries: Some(12), ..Retry::default() };
        let courier = Courier::new(client.clone(), retry, options.seed ^ u64::from(connection));
        workers.spawn(run(writer, courier, bar.clone()));
    }
    let mut sent = Sent { start_ns: end_ns - SPAN_NS, end_ns, ..Sent::default() };
    while let Some(part) = workers.join_next().await {
        sent.add(part??);
    }
    bar.finish_and_clear();
    sent.elapsed_ns = monotonic_ns() - started_ns;
    Ok(sent)
}

/// On standard error, and hidden where that is no terminal.
fn progress_bar(lines: u64) -> ProgressBar {
    let template = "{bar:32} {human_pos:>11} of {human_len} lines, {rate} lines/s, {eta} left";
    let style = ProgressStyle::with_template(template).expect("a test makes the bar of this constant");
    let rate = |state: &ProgressState, out: &mut dyn Write| {
        // A bar that cannot be drawn is no reason to stop.
        let _ = write!(out, "{:.0}", state.per_sec());
    };
    ProgressBar::new(lines).with_style(style.with_key("rate", rate))
}

/// Lines of one connection.
fn part(lines: u64, connection: u32) -> u64 {
    let extra = u64::from(u64::from(connection) < lines % u64::from(CONNECTIONS));
    lines / u64::from(CONNECTIONS) + extra
}

async fn run(mut writer: Writer, mut courier: Courier, bar: ProgressBar) -> anyhow::Result<Sent> {
    while let Some(body) = writer.next_push() {
        let lines = writer.push_lines;
        match courier.send(body).await?.delivery {
            Delivery::Stored => {}
            Delivery::Refused { message, lines: Some(refused), .. } => {
                writer.sent.refused += refused;
                writer.sent.first_refusal.get_or_insert(message);
            }
            Delivery::Refused { message, .. } | Delivery::TooLarge { message } => {
                bail!("server refused a push: {message}")
            }
        }
        bar.inc(lines);
    }
    writer.sent.retries = courier.retries();
    Ok(writer.sent)
}

impl Sent {
    fn add(&mut self, part: Self) {
        self.lines += part.lines;
        self.bytes += part.bytes;
        self.refused += part.refused;
        self.first_refusal = self.first_refusal.take().or(part.first_refusal);
        self.matching += part.matching;
        self.pushes += part.pushes;
        self.retries += part.retries;
    }
}

/// Makes the pushes of one connection.
#[derive(Debug)]
struct Writer {
    generator: Generator,
    batch: Batch,
    /// By stream: whether it is of [`APP`].
    asked: Vec<bool>,
    needle: Finder<'static>,
    line: Vec<u8>,
    made: u64,
    lines: u64,
    end_ns: i64,
    too_long: bool,
    push_lines: u64,
    sent: Sent,
}

impl Writer {
    fn new(seed: u64, connection: u32, lines: u64, end_ns: i64) -> Self {
        let generator = Generator::shard(seed, STREAMS, connection, CONNECTIONS);
        let mut batch = Batch::default();
        let mut asked = Vec::new();
        for stream in 0..generator.streams() {
            let labels = generator.labels(stream);
            batch.add_stream(labels);
            asked.push(labels.iter().any(|(name, value)| name == "app" && value == APP));
        }
        Self {
            generator,
            batch,
            asked,
            needle: Finder::new(NEEDLE),
            line: Vec::new(),
            made: 0,
            lines,
            end_ns,
            too_long: connection == 0,
            push_lines: 0,
            sent: Sent::default(),
        }
    }

    /// The body of the next push; `None` when all lines were made.
    fn next_push(&mut self) -> Option<Bytes> {
        while self.made < self.lines && self.batch.lines() < PUSH_LINES {
            self.add_line();
        }
        self.push_lines = self.batch.lines() as u64;
        if self.push_lines == 0 {
            return None;
        }
        self.sent.lines += self.push_lines;
        self.sent.bytes += self.batch.line_bytes() as u64;
        self.sent.pushes += 1;
        Some(self.batch.encode())
    }

    fn add_line(&mut self) {
        let mut timestamp_ns = self.time_of(self.made);
        let stream = self.generator.next_line(timestamp_ns, &mut self.line);
        if self.made % TOO_OLD_EVERY == 1 {
            timestamp_ns -= TOO_OLD_NS;
        } else if std::mem::take(&mut self.too_long) {
            self.line.resize(TOO_LONG_BYTES, b'.');
        } else if self.asked[stream] && self.needle.find(&self.line).is_some() {
            self.sent.matching += 1;
        }
        self.batch.push(stream, timestamp_ns, &self.line);
        self.made += 1;
    }

    /// Evenly spread from just after the start of the span to its end.
    fn time_of(&self, line: u64) -> i64 {
        let offset = i128::from(SPAN_NS) * (i128::from(line) + 1) / i128::from(self.lines);
        self.end_ns - SPAN_NS + i64::try_from(offset).expect("at most the span")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_agent::logproto::PushRequest;
    use prost::Message;
    use std::collections::BTreeMap;

    const END_NS: i64 = 1_772_884_800_000_000_000;

    #[test]
    fn connections_share_all_lines_and_no_stream() {
        let mut streams = BTreeMap::new();
        let (mut lines, mut too_old, mut too_long) = (0, 0, 0);
        for connection in 0..CONNECTIONS {
            let mut writer = Writer::new(1, connection, part(10_003, connection), END_NS);
            while let Some(body) = writer.next_push() {
                let message = snap::raw::Decoder::new().decompress_vec(&body).unwrap();
                for stream in PushRequest::decode(&message[..]).unwrap().streams {
                    let (by, last_ns) = streams.entry(stream.labels).or_insert((connection, 0));
                    assert_eq!(*by, connection, "a stream has one writer");
                    for entry in stream.entries {
                        let time = entry.timestamp.unwrap();
                        let timestamp_ns = time.seconds * 1_000_000_000 + i64::from(time.nanos);
                        lines += 1;
                        too_long += u64::from(entry.line.len() == TOO_LONG_BYTES);
                        if timestamp_ns <= END_NS - SPAN_NS {
                            too_old += 1;
                        } else {
                            assert!(*last_ns < timestamp_ns && timestamp_ns <= END_NS);
                            *last_ns = timestamp_ns;
                        }
                    }
                }
            }
            assert!(writer.sent.matching < writer.sent.lines);
        }
        assert_eq!((lines, too_old, too_long, streams.len()), (10_003, 12, 1, STREAMS as usize));
    }

    #[test]
    fn the_bar_has_the_length_of_the_run() {
        assert_eq!(progress_bar(7).length(), Some(7));
    }

    #[test]
    fn no_lines_make_no_push_and_few_lines_one() {
        assert_eq!(Writer::new(1, 0, 0, END_NS).next_push(), None);
        let mut writer = Writer::new(1, 3, 2, END_NS);
        assert!(writer.next_push().is_some());
        assert_eq!((writer.next_push(), writer.sent.lines), (None, 2));
    }
}
