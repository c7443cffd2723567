//! The client's side: bodies made on the fly, one push under way per connection, flat out or at a rate.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use forebay_agent::clock::{Clock, monotonic_ns};
use forebay_agent::loggen::Generator;
use forebay_agent::ship::Batch;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::scenario::Shape;
use crate::wire::{Address, Wire};

/// Bodies that are ready before a connection asks for them, so that the server does not wait for the client.
const AHEAD: usize = 2;
/// Bodies of so many lines or fewer are made in less time than it takes to hand one over.
const SMALL_PUSH: u32 = 10;
const SECOND_NS: u128 = 1_000_000_000;

/// What is pushed.
#[derive(Debug, Clone)]
pub(crate) enum Lines {
    /// Made up from a seed.
    Made(u64),
    /// Lines of files.
    Read(Arc<[Bytes]>),
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// After a time.
    Time(Duration),
    /// After so many pushes.
    Pushes(u64),
}

/// What to push, and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    pub(crate) until: Until,
    /// Lines a second of all connections; flat out where there is none.
    pub(crate) rate: Option<u64>,
}

/// What went through so far, for those who watch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    lines: Arc<AtomicU64>,
    /// Pushes that were taken up, where there is an end to them.
    begun: Arc<AtomicU64>,
}

/// What went through.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// Lines of pushes answered with 2xx.
    pub(crate) lines: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Pushes answered with anything else.
    pub(crate) refused_pushes: u64,
    /// What the first of them was answered.
    pub(crate) first_refusal: Option<String>,
    /// From the first push to the last answer.
    pub(crate) elapsed: Duration,
    /// Microseconds of every push that went through, ascending.
    pub(crate) latencies_us: Vec<u32>,
}

impl Lines {
    /// The lines of `files`, or where there are none, lines made up from `seed`.
    pub(crate) async fn read(files: &[PathBuf], seed: u64) -> anyhow::Result<Self> {
        if files.is_empty() {
            return Ok(Self::Made(seed));
        }
        let mut lines = Vec::new();
        for file in files {
            let content = tokio::fs::read(file).await.with_context(|| file.display().to_string())?;
            let content = Bytes::from(content);
            let split = content.split(|&b| b == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
            lines.extend(split.filter(|line| !line.is_empty()).map(|line| content.slice_ref(line)));
        }
        ensure!(!lines.is_empty(), "the files have no lines");
        Ok(Self::Read(lines.into()))
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Made(seed) => write!(f, "lines made up from seed {seed}"),
            Self::Read(lines) => write!(f, "{} lines from files", lines.len()),
        }
    }
}

impl Progress {
    /// Lines that went through.
    pub(crate) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Whether another push is to be made `elapsed_ns` after the start.
    fn goes_on(&self, until: Until, elapsed_ns: u64) -> bool {
        match until {
            Until::Time(time) => u128::from(elapsed_ns) < time.as_nanos(),
            Until::Pushes(most) => self.begun.fetch_add(1, Ordering::Relaxed) < most,
        }
    }
}

/// Pushes what `plan` says.
pub(crate) async fn push(
    to: &Address,
    plan: Plan,
    lines: &Lines,
    progress: &Progress,
) -> anyhow::Result<Load> {
    let started_ns = monotonic_ns();
    let mut connections = JoinSet::new();
    for connection in 0..plan.shape.connections {
        let bodies = Bodies::new(Writer::new(plan.shape, connection, lines));
        let connection = Connection { plan, number: connection, started_ns, progress: progress.clone() };
        connections.spawn(connection.run(to.clone(), bodies));
    }
    let mut load = Load::default();
    while let Some(part) = connections.join_next().await {
        let part = part??;
        load.lines += part.lines;
        load.bytes += part.bytes;
        load.refused_pushes += part.refused_pushes;
        load.first_refusal = load.first_refusal.or(part.first_refusal);
        load.latencies_us.extend(part.latencies_us);
    }
    load.elapsed = Duration::from_nanos(monotonic_ns() - started_ns);
    load.latencies_us.sort_unstable();
    Ok(load)
}

/// One of those who push at the same time.
struct Connection {
    plan: Plan,
    number: u32,
    started_ns: u64,
    progress: Progress,
}

impl Connection {
    async fn run(self, to: Address, mut bodies: Bodies) -> anyhow::Result<Load> {
        let mut load = Load::default();
        let mut wire = Wire::open(to).await?;
        for nth in 0.. {
            if let Some(rate) = self.plan.rate {
                let due = due(self.plan.shape, rate, self.number, nth);
                let due = match self.plan.until {
                    Until::Time(time) => due.min(time),
                    Until::Pushes(_) => due,
                };
                tokio::time::sleep(due.saturating_sub(self.elapsed())).await;
            }
            let elapsed_ns = monotonic_ns() - self.started_ns;
            if !self.progress.goes_on(self.plan.until, elapsed_ns) {
                break;
            }
            let push = bodies.next().await?;
            let sent_ns = monotonic_ns();
            let (status, answer) = wire.push(push.body).await?;
            let micros = (monotonic_ns() - sent_ns) / 1_000;
            if !status.is_success() {
                load.refused_pushes += 1;
                load.first_refusal.get_or_insert_with(|| {
                    format!("{status}: {}", String::from_utf8_lossy(&answer).trim_end())
                });
                continue;
            }
            load.latencies_us.push(u32::try_from(micros).unwrap_or(u32::MAX));
            load.lines += push.lines;
            load.bytes += push.line_bytes;
            self.progress.lines.fetch_add(push.lines, Ordering::Relaxed);
        }
        Ok(load)
    }

    fn elapsed(&self) -> Duration {
        Duration::from_nanos(monotonic_ns() - self.started_ns)
    }
}

/// When the `nth` push of a connection is due after the start, however late the ones before it were. Those of the
/// connections take turns.
fn due(shape: Shape, rate: u64, connection: u32, nth: u64) -> Duration {
    let turn = u128::from(nth) * u128::from(shape.connections) + u128::from(connection);
    let ns = turn * u128::from(shape.push_lines) * SECOND_NS / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

/// Where a connection gets its bodies from.
enum Bodies {
    /// It makes them.
    Made(Box<Writer>),
    /// A task makes them ahead.
    Ahead(mpsc::Receiver<Push>),
}

impl Bodies {
    fn new(mut writer: Writer) -> Self {
        if writer.push_lines <= SMALL_PUSH as usize {
            return Self::Made(Box::new(writer));
        }
        let (bodies, made) = mpsc::channel(AHEAD);
        tokio::spawn(async move { while bodies.send(writer.next_push()).await.is_ok() {} });
        Self::Ahead(made)
    }

    async fn next(&mut self) -> anyhow::Result<Push> {
        match self {
            Self::Made(writer) => Ok(writer.next_push()),
            Self::Ahead(made) => made.recv().await.context("bodies are made as long as they are taken"),
        }
    }
}

/// A body and what is in it.
#[derive(Debug)]
struct Push {
    body: Bytes,
    lines: u64,
    line_bytes: u64,
}

/// Makes the pushes of one connection.
#[derive(Debug)]
struct Writer {
    batch: Batch,
    push_lines: usize,
    last_ns: i64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Made { generator: Box<Generator>, line: Vec<u8> },
    Read { lines: Arc<[Bytes]>, at: usize, own: Vec<usize>, nth: usize },
}

impl Writer {
    fn new(shape: Shape, connection: u32, lines: &Lines) -> Self {
        let Shape { connections, streams, push_lines } = shape;
        let mut batch = Batch::default();
        let source = match lines {
            Lines::Made(seed) => {
                let generator = Generator::shard(*seed, streams, connection, connections).labelled();
                for stream in 0..generator.streams() {
                    batch.add_stream(generator.labels(stream));
                }
                Source::Made { generator: Box::new(generator), line: Vec::new() }
            }
            Lines::Read(lines) => {
                let stream = |number| {
                    let labels = [("job", "pushbench".to_owned()), ("stream", format!("s{number}"))];
                    batch.add_stream(&labels.map(|(name, value)| (name.to_owned(), value)))
                };
                let own = (connection..streams).step_by(connections as usize).map(stream).collect();
                let at = lines.len() / connections as usize * connection as usize;
                Source::Read { lines: Arc::clone(lines), at, own, nth: 0 }
            }
        };
        Self { batch, push_lines: push_lines as usize, last_ns: 0, source }
    }

    /// Lines from files go to the streams in runs, so that a push reaches as many as it has lines for.
    fn next_push(&mut self) -> Push {
        let mut left_of_run = 0;
        for _ in 0..self.push_lines {
            self.last_ns = Clock::System.wall_ns().max(self.last_ns + 1);
            match &mut self.source {
                Source::Made { generator, line } => {
                    let stream = generator.next_line(self.last_ns, line);
                    self.batch.push(stream, self.last_ns, line);
                }
                Source::Read { lines, at, own, nth } => {
                    if left_of_run == 0 {
                        left_of_run = self.push_lines.div_ceil(own.len());
                        *nth = (*nth + 1) % own.len();
                    }
                    left_of_run -= 1;
                    self.batch.push(own[*nth], self.last_ns, &lines[*at]);
                    *at = (*at + 1) % lines.len();
                }
            }
        }
        let (lines, line_bytes) = (self.batch.lines() as u64, self.batch.line_bytes() as u64);
        Push { body: self.batch.encode(), lines, line_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;
    use forebay_agent::logproto::PushRequest;
    use prost::Message;
    use std::collections::BTreeSet;

    fn decode(push: &Push) -> PushRequest {
        let message = snap::raw::Decoder::new().decompress_vec(&push.body).unwrap();
        PushRequest::decode(&message[..]).unwrap()
    }

    #[test]
    fn connections_write_to_all_streams_and_share_none() {
        let read = Lines::Read((0..50).map(|i| Bytes::from(format!("line {i}"))).collect());
        let odd = Shape { connections: 3, streams: 10, push_lines: 5 };
        let shapes = [Scenario::Single.shape(), Scenario::Small.shape(), odd];
        let cases = shapes.map(|shape| (&read, shape));
        let made = [(&Lines::Made(1), Scenario::Batches.shape()), (&Lines::Made(1), odd.with_streams(1))];
        for (lines, shape) in cases.into_iter().chain(made) {
            let mut all = BTreeSet::new();
            for connection in 0..shape.connections {
                let mut writer = Writer::new(shape, connection, lines);
                let mut own = BTreeSet::new();
                for _ in 0..20 {
                    let push = writer.next_push();
                    let request = decode(&push);
                    let sent = request.streams.iter().map(|stream| stream.entries.len() as u64).sum::<u64>();
                    assert_eq!((push.lines, sent), (shape.push_lines.into(), shape.push_lines.into()));
                    own.extend(request.streams.into_iter().map(|stream| stream.labels));
                }
                assert!(own.is_disjoint(&all));
                all.extend(own);
            }
            assert_eq!(all.len(), shape.streams as usize, "{shape}");
        }
    }

    #[test]
    fn streams_have_the_labels_that_the_measured_queries_ask_for() {
        let mut writer = Writer::new(Scenario::Batches.shape(), 3, &Lines::Made(1));
        let labels = decode(&writer.next_push()).streams.into_iter().map(|stream| stream.labels);
        let labels = labels.collect::<Vec<_>>();
        assert!(labels.iter().all(|labels| labels.contains("app=\"")), "{labels:?}");
        assert!(labels.iter().any(|labels| labels.contains("stream=\"s7\"")), "{labels:?}");
    }

    #[test]
    fn lines_of_files_are_pushed_in_order_and_over_again_at_rising_times() {
        let read = Lines::Read((0..3).map(|i| Bytes::from(format!("line {i}"))).collect());
        let mut writer = Writer::new(Scenario::Single.shape(), 0, &read);
        let entries =
            (0..7).map(|_| decode(&writer.next_push()).streams[0].entries[0].clone()).collect::<Vec<_>>();
        let lines = entries.iter().map(|entry| entry.line.last().unwrap() - b'0').collect::<Vec<_>>();
        assert_eq!(lines, [0, 1, 2, 0, 1, 2, 0]);
        let times = entries.iter().map(|entry| entry.timestamp.unwrap()).map(|t| (t.seconds, t.nanos));
        assert!(times.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn at_a_rate_the_pushes_of_all_connections_take_turns() {
        let shape = Shape { connections: 2, streams: 2, push_lines: 50 };
        let due = |connection, nth| due(shape, 1_000, connection, nth).as_millis();
        assert_eq!([due(0, 0), due(1, 0), due(0, 1), due(1, 1), due(0, 100)], [0, 50, 100, 150, 10_000]);
    }

    #[test]
    fn it_ends_after_the_time_or_the_pushes_whichever_was_asked_for() {
        let progress = Progress::default();
        let second = Until::Time(Duration::from_secs(1));
        assert!(progress.goes_on(second, 999_999_999) && !progress.goes_on(second, 1_000_000_000));
        let two = [0, u64::MAX, 0].map(|elapsed_ns| progress.goes_on(Until::Pushes(2), elapsed_ns));
        assert_eq!(two, [true, true, false]);
    }
}
