//! Reading what is in memory, without holding a stream's lock while it is decoded. An answer is made part by part, as
//! it is read: nothing goes on for somebody who has gone.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use forebay_chunk::{Direction, TimeRange};
use forebay_wal::fs::Fs;
use futures_util::stream;

use super::Ingester;
use super::account::Read;
use super::stream::Stream;
use crate::index::Span;
use crate::labels::Labels;
use crate::logql::{Logs, Matcher};
use crate::offload::offload;
use crate::query::best::{Best, GROUP};
use crate::query::merge::{Found, Merge, Source, SourceError, Step, Want, identity_bytes};
use crate::record::Writer;
use crate::wire::{Select, Selected, StreamVolume, Tallied, WireError};

/// Bytes of a part of an answer before the next one is begun.
const PART_BYTES: usize = 1 << 20;
/// What an entry takes beside its line and metadata.
const ENTRY_BYTES: usize = 16;
/// Streams of a part that tells of chunks.
const PART_STREAMS: usize = 512;
/// Rows that are looked at for one part.
const PART_ROWS: u64 = 1 << 18;

/// Why nothing was read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The request makes no sense.
    #[error(transparent)]
    Request(#[from] WireError),
    /// A block in memory does not decode, which no correct program sees.
    #[error("block in memory is damaged")]
    Block(#[from] SourceError),
}

impl<F: Fs> Ingester<F> {
    /// The entries that `select` asks for, as records whose sections are in time order, and the streams in the order of
    /// their labels. What they will be is settled when this returns: what leaves memory afterwards is still answered.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn select(
        &self,
        select: Select,
    ) -> Result<impl futures_util::Stream<Item = Result<Selected, ReadError>> + Send + use<F>, ReadError>
    {
        let logs = select.logs()?;
        let span = Span { from_ns: select.from_ns, through_ns: select.through_ns };
        let mut streams = self.shared.tenants.matching(&select.tenant, &logs.matchers, range(span));
        if !select.streams.is_empty() {
            let only: HashSet<&[u8]> = select.streams.iter().map(|labels| &labels[..]).collect();
            streams.retain(|stream| only.contains(stream.labels.as_bytes()));
        }
        let account = Arc::clone(&self.shared.memory);
        let reading = offload(move || {
            let held = |stream: Arc<Stream>| (stream.labels.clone(), stream.snapshots(range(span), &account));
            if select.tallies {
                return Reading::of_tallies(select, logs, span, &streams);
            }
            Reading::new(select, logs, span, streams.into_iter().map(held).collect())
        })
        .await;
        Ok(stream::try_unfold(reading, |mut reading| async {
            let (reading, part) = offload(move || {
                let part = reading.part();
                (reading, part)
            })
            .await;
            Ok(part?.map(|part| (part, reading)))
        }))
    }

    /// The labels of streams with entries in `span` that match.
    pub fn series(&self, tenant: &str, matchers: &[Matcher], span: Span) -> Vec<Labels> {
        self.shared.tenants.matching(tenant, matchers, range(span)).iter().map(|s| s.labels.clone()).collect()
    }
}

impl<F: Fs> Ingester<F> {
    /// How much is in memory of the streams with entries in `span` that match, by whole chunks.
    pub fn volume(&self, tenant: &str, matchers: &[Matcher], span: Span) -> Vec<StreamVolume> {
        let streams = self.shared.tenants.matching(tenant, matchers, range(span)).into_iter();
        let volume = streams.map(|stream| {
            let super::stream::Volume { chunks, entries, bytes } = stream.volume(range(span));
            let labels = Bytes::copy_from_slice(stream.labels.as_bytes());
            StreamVolume { labels, chunks, entries, bytes }
        });
        volume.collect()
    }
}

fn range(span: Span) -> TimeRange {
    TimeRange::from(span.from_ns..=span.through_ns)
}

/// What is held of a stream.
type Held = (Labels, Vec<Read>);

/// An answer under way.
struct Reading {
    select: Select,
    logs: Logs,
    span: Span,
    streams: Vec<Held>,
    /// How many of them were begun.
    begun: usize,
    state: State,
}

enum State {
    /// Without a limit no order between streams is needed: one after the other needs the least memory.
    Each(Option<Merge>),
    /// The first lines of all, group by group.
    First { best: Best, group: Option<Group> },
    /// Those lines, to be sent.
    Chosen(std::vec::IntoIter<Selected>),
}

/// Streams whose blocks are open at the same time.
struct Group {
    merge: Merge,
    found: Vec<Found>,
    /// What the merge reads, held until it is done.
    _reads: Vec<Read>,
}

impl Reading {
    fn new(select: Select, logs: Logs, span: Span, streams: Vec<Held>) -> Self {
        let state = match usize::try_from(select.limit).unwrap_or(usize::MAX) {
            0 => State::Each(None),
            limit => State::First { best: Best::new(direction(&select), limit), group: None },
        };
        Self { select, logs, span, streams, begun: 0, state }
    }

    /// What is known of the chunks of `streams`, as they are now.
    fn of_tallies(select: Select, logs: Logs, span: Span, streams: &[Arc<Stream>]) -> Self {
        let tallied = |stream: &Arc<Stream>| Tallied {
            labels: Bytes::copy_from_slice(stream.labels.as_bytes()),
            pieces: stream.pieces(range(span)),
        };
        let part = |streams: &[Arc<Stream>]| Selected {
            tallied: streams.iter().map(tallied).collect(),
            ..Selected::default()
        };
        let parts: Vec<Selected> = streams.chunks(PART_STREAMS).map(part).collect();
        Self { select, logs, span, streams: Vec::new(), begun: 0, state: State::Chosen(parts.into_iter()) }
    }

    /// The next part; one may be empty, and say only what was read.
    fn part(&mut self) -> Result<Option<Selected>, SourceError> {
        match &self.state {
            State::Each(_) => self.next_of_each(),
            State::First { .. } => self.next_of_first().map(Some),
            State::Chosen(_) => Ok(self.chosen()),
        }
    }

    fn next_of_each(&mut self) -> Result<Option<Selected>, SourceError> {
        let State::Each(open) = &mut self.state else { return Ok(None) };
        let (direction, want) = (direction(&self.select), want(&self.select));
        let (mut part, mut rows, mut read_bytes) = (Part::new(&self.select), PART_ROWS, 0);
        let mut paused = false;
        while !paused && !part.is_full() {
            if open.is_none() {
                let Some((_, reads)) = self.streams.get(self.begun) else { break };
                let mut merge = Merge::new(direction, want, self.logs.clone());
                add(&mut merge, 0, reads, self.span, direction);
                *open = Some(merge);
                self.begun += 1;
            }
            let Some(merge) = open else { break };
            let (labels, _) = &self.streams[self.begun - 1];
            part.begin(labels);
            merge.allow(rows);
            let ended = loop {
                match merge.next_before(None)? {
                    Step::Found(found) => part.push(&found),
                    Step::Paused => {
                        paused = true;
                        break false;
                    }
                    Step::Done | Step::Starved(_) => break true,
                }
                if part.is_full() {
                    break false;
                }
            };
            part.end();
            rows = merge.rows_left();
            read_bytes += merge.take_work().bytes;
            if ended {
                *open = None;
                // What is read is let go of, unless somebody else holds it.
                self.streams[self.begun - 1].1 = Vec::new();
            }
        }
        let all = !paused && open.is_none() && self.begun == self.streams.len();
        let part = part.finish(read_bytes);
        Ok((!all || !part.record.is_empty() || read_bytes > 0).then_some(part))
    }

    fn next_of_first(&mut self) -> Result<Selected, SourceError> {
        let State::First { best, group } = &mut self.state else { return Ok(Selected::default()) };
        let (direction, want) = (direction(&self.select), want(&self.select));
        if group.is_none() {
            let next = self.begun..self.streams.len().min(self.begun + GROUP);
            let open = best.open(self.span).filter(|_| !next.is_empty());
            let Some(open) = open else {
                let best = std::mem::replace(best, Best::new(direction, 0));
                self.streams.iter_mut().for_each(|(_, reads)| reads.clear());
                self.state = State::Chosen(self.sections(best.into_entries()).into_iter());
                return Ok(Selected::default());
            };
            let mut merge = Merge::new(direction, want, self.logs.clone());
            let mut reads = Vec::new();
            for number in next.clone() {
                let stream = u32::try_from(number).expect("fewer than 2^32 streams fit memory");
                let own = std::mem::take(&mut self.streams[number].1);
                add(&mut merge, stream, &own, open, direction);
                reads.extend(own);
            }
            self.begun = next.end;
            *group = Some(Group { merge, found: Vec::new(), _reads: reads });
        }
        let Some(Group { merge, found, .. }) = group else { return Ok(Selected::default()) };
        let limit = usize::try_from(self.select.limit).unwrap_or(usize::MAX);
        merge.allow(PART_ROWS);
        let mut paused = false;
        while found.len() < limit && !paused {
            match merge.next_before(None)? {
                Step::Found(next) => found.push(next),
                Step::Paused => paused = true,
                Step::Done | Step::Starved(_) => break,
            }
        }
        let read_bytes = merge.take_work().bytes;
        if !paused {
            best.take(std::mem::take(found));
            *group = None;
        }
        Ok(Selected { read_bytes, ..Selected::default() })
    }

    /// The lines that were chosen, by stream.
    fn sections(&self, mut chosen: Vec<Found>) -> Vec<Selected> {
        // Stable: within a stream they stay in order.
        chosen.sort_by_key(|found| found.stream);
        let (mut parts, mut part) = (Vec::new(), Part::new(&self.select));
        for of_stream in chosen.chunk_by(|a, b| a.stream == b.stream) {
            let (labels, _) = &self.streams[of_stream[0].stream as usize];
            part.begin(labels);
            for found in of_stream {
                if part.is_full() {
                    part.end();
                    parts.push(std::mem::replace(&mut part, Part::new(&self.select)).finish(0));
                    part.begin(labels);
                }
                part.push(found);
            }
            part.end();
        }
        parts.push(part.finish(0));
        parts
    }

    fn chosen(&mut self) -> Option<Selected> {
        let State::Chosen(parts) = &mut self.state else { return None };
        parts.next()
    }
}

fn direction(select: &Select) -> Direction {
    if select.backward { Direction::Backward } else { Direction::Forward }
}

fn want(select: &Select) -> Want {
    if select.identities { Want::Times } else { Want::Lines }
}

fn add(merge: &mut Merge, number: u32, reads: &[Read], span: Span, direction: Direction) {
    for read in reads {
        merge.add(number, Source::Chunk(Box::new(read.snapshot.entries_in(range(span), direction))));
    }
}

/// Writes entries into a record of about [`PART_BYTES`].
struct Part {
    identities: bool,
    sizes: bool,
    writer: Writer,
    bytes: usize,
}

impl Part {
    fn new(select: &Select) -> Self {
        let &Select { identities, sizes, .. } = select;
        Self { identities, sizes, writer: Writer::new(&select.tenant, 0), bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.bytes >= PART_BYTES
    }

    fn begin(&mut self, labels: &Labels) {
        self.writer.begin(&labels.pairs());
    }

    fn end(&mut self) {
        self.writer.end();
    }

    fn push(&mut self, found: &Found) {
        if self.identities {
            let (identity, size) = identity_bytes(found, self.sizes);
            let size = size.as_ref().map_or(&[][..], |size| size);
            self.writer.entry(found.timestamp_ns, [&identity, size], &[]);
            self.bytes += identity.len() + size.len();
        } else {
            let metadata: Vec<(&str, &str)> =
                found.metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            self.writer.entry(found.timestamp_ns, [&found.line, &[]], &metadata);
            self.bytes += found.size() + ENTRY_BYTES;
        }
    }

    fn finish(self, read_bytes: u64) -> Selected {
        let push = self.writer.finish();
        let record = if push.sections().is_empty() { Bytes::new() } else { push.all() };
        Selected { record, read_bytes, ..Selected::default() }
    }
}
