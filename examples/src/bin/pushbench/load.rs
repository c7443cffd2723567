//! The client's side: bodies made on the fly, one push under way per connection.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use forebay_agent::clock::{Clock, monotonic_ns};
use forebay_agent::http_client::HttpClient;
use forebay_agent::loggen::Generator;
use forebay_agent::ship::{Batch, CONTENT_TYPE, PUSH_PATH};
use http::HeaderMap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::scenario::Scenario;

/// Bodies that are ready before a connection asks for them, so that the server does not wait for the client.
const AHEAD: usize = 2;

/// What is pushed.
#[derive(Debug, Clone)]
pub(crate) enum Lines {
    /// Made up from a seed.
    Made(u64),
    /// Lines of files.
    Read(Arc<[Bytes]>),
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

/// Pushes for as long as it should.
pub(crate) async fn push(
    client: &HttpClient,
    scenario: Scenario,
    lines: &Lines,
    during: Duration,
) -> anyhow::Result<Load> {
    let started_ns = monotonic_ns();
    let until_ns = started_ns + u64::try_from(during.as_nanos()).context("seconds are bounded")?;
    let mut connections = JoinSet::new();
    for connection in 0..scenario.connections() {
        let (bodies, made) = mpsc::channel(AHEAD);
        let mut writer = Writer::new(scenario, connection, lines);
        tokio::spawn(async move { while bodies.send(writer.next_push()).await.is_ok() {} });
        connections.spawn(run(client.unshared(), made, until_ns));
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

async fn run(client: HttpClient, mut made: mpsc::Receiver<Push>, until_ns: u64) -> anyhow::Result<Load> {
    let mut load = Load::default();
    let headers = HeaderMap::new();
    while monotonic_ns() < until_ns {
        let push = made.recv().await.context("bodies are made as long as they are taken")?;
        let started_ns = monotonic_ns();
        let answer = client.post(PUSH_PATH, CONTENT_TYPE, &headers, push.body).await?;
        let micros = (monotonic_ns() - started_ns) / 1_000;
        if !answer.status.is_success() {
            load.refused_pushes += 1;
            load.first_refusal
                .get_or_insert_with(|| format!("{}: {}", answer.status, answer.text().trim_end()));
            continue;
        }
        load.latencies_us.push(u32::try_from(micros).unwrap_or(u32::MAX));
        load.lines += push.lines;
        load.bytes += push.line_bytes;
    }
    Ok(load)
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
    Read { lines: Arc<[Bytes]>, at: usize, stream: usize, streams: usize },
}

impl Writer {
    fn new(scenario: Scenario, connection: u32, lines: &Lines) -> Self {
        let (streams, connections) = (scenario.streams(), scenario.connections());
        let mut batch = Batch::default();
        let source = match lines {
            Lines::Made(seed) => {
                let generator = Box::new(Generator::shard(*seed, streams, connection, connections));
                for stream in 0..generator.streams() {
                    batch.add_stream(generator.labels(stream));
                }
                Source::Made { generator, line: Vec::new() }
            }
            Lines::Read(lines) => {
                for stream in (connection..streams).step_by(connections as usize) {
                    let labels = [("job", "pushbench".to_owned()), ("stream", format!("{stream:03}"))];
                    batch.add_stream(&labels.map(|(name, value)| (name.to_owned(), value)));
                }
                let at = lines.len() / connections as usize * connection as usize;
                let streams = (streams / connections) as usize;
                Source::Read { lines: Arc::clone(lines), at, stream: 0, streams }
            }
        };
        Self { batch, push_lines: scenario.push_lines(), last_ns: 0, source }
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
                Source::Read { lines, at, stream, streams } => {
                    if left_of_run == 0 {
                        left_of_run = self.push_lines.div_ceil(*streams);
                        *stream = (*stream + 1) % *streams;
                    }
                    left_of_run -= 1;
                    self.batch.push(*stream, self.last_ns, &lines[*at]);
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
        for (lines, scenario) in
            [(&read, Scenario::Single), (&read, Scenario::Small), (&Lines::Made(1), Scenario::Batches)]
        {
            let mut all = BTreeSet::new();
            for connection in 0..scenario.connections() {
                let mut writer = Writer::new(scenario, connection, lines);
                let mut own = BTreeSet::new();
                for _ in 0..20 {
                    let push = writer.next_push();
                    let request = decode(&push);
                    let sent = request.streams.iter().map(|stream| stream.entries.len()).sum::<usize>();
                    assert_eq!((push.lines, sent), (scenario.push_lines() as u64, scenario.push_lines()));
                    own.extend(request.streams.into_iter().map(|stream| stream.labels));
                }
                assert!(own.is_disjoint(&all));
                all.extend(own);
            }
            assert_eq!(all.len(), scenario.streams() as usize, "{scenario}");
        }
    }

    #[test]
    fn lines_of_files_are_pushed_in_order_and_over_again_at_rising_times() {
        let read = Lines::Read((0..3).map(|i| Bytes::from(format!("line {i}"))).collect());
        let mut writer = Writer::new(Scenario::Single, 0, &read);
        let entries =
            (0..7).map(|_| decode(&writer.next_push()).streams[0].entries[0].clone()).collect::<Vec<_>>();
        let lines = entries.iter().map(|entry| entry.line.last().unwrap() - b'0').collect::<Vec<_>>();
        assert_eq!(lines, [0, 1, 2, 0, 1, 2, 0]);
        let times = entries.iter().map(|entry| entry.timestamp.unwrap()).map(|t| (t.seconds, t.nanos));
        assert!(times.is_sorted_by(|a, b| a < b));
    }
}
