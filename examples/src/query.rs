//! Answers queries from the ingesters' memory and the store.
//!
//! Ingesters are asked before the index: a chunk leaves their memory only after the index has it, so an entry that
//! moves meanwhile is seen at least once, and the merge sees to it that it is seen no more than once.

pub mod answer;
pub mod merge;
pub mod stages;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use forebay_chunk::{Direction, TimeRange};
use futures_util::future::join_all;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::distributor::Requirements;
use crate::index::{ChunkRef, IndexError, Span};
use crate::labels::Labels;
use crate::logql::{Logs, Matcher};
use crate::members::Members;
use crate::offload::offload;
use crate::record::{Record, RecordError};
use crate::storage::{self, Storage, StorageError};
use crate::wire::{Filter, LabelMatcher, Select};

use merge::{Found, Merge, Section, Source, SourceError, Want};
use stages::Stages;

/// Chunks fetched at the same time for one query.
const PARALLEL_GETS: usize = 8;
/// Most points of one series in an answer, as Loki has it.
pub const MAX_POINTS: i64 = 11_000;

/// Why a query was not answered.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ExecuteError {
    /// Ask again later: too few ingesters answered to know all recent lines.
    #[error("{failed} of {asked} ingesters did not answer, {tolerated} may fail: {first}")]
    Ingesters {
        /// How many failed.
        failed: usize,
        /// How many were asked.
        asked: usize,
        /// How many may fail.
        tolerated: usize,
        /// What the first failure was.
        first: String,
    },
    /// See [`StorageError`].
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// See [`IndexError`].
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A block does not decode.
    #[error("chunk does not decode")]
    Chunk(#[from] SourceError),
    /// An ingester of another version answered.
    #[error("ingester answered with no record")]
    Record(#[from] RecordError),
}

/// The lines of a query.
#[derive(Debug, Clone)]
pub struct LogQuery {
    /// Which.
    pub logs: Logs,
    /// When, inclusive.
    pub span: Span,
    /// From which end.
    pub direction: Direction,
    /// How many at the most.
    pub limit: usize,
}

/// The points of a `count_over_time`.
#[derive(Debug, Clone)]
pub struct CountQuery {
    /// Which lines.
    pub logs: Logs,
    /// Width of the window that ends at each point, in nanoseconds.
    pub range_ns: i64,
    /// How far before its point a window lies, in nanoseconds.
    pub offset_ns: i64,
    /// The first point.
    pub start_ns: i64,
    /// The last point is at or before this.
    pub end_ns: i64,
    /// Distance of points, above 0.
    pub step_ns: i64,
}

/// An entry of an answer and the stream it belongs to.
#[derive(Debug, Clone)]
pub struct Answered {
    /// Index into [`Lines::streams`].
    pub stream: usize,
    /// The entry.
    pub found: Found,
}

/// The answer to a [`LogQuery`].
#[derive(Debug)]
pub struct Lines {
    /// Labels of the streams.
    pub streams: Vec<Labels>,
    /// In the order asked for.
    pub entries: Vec<Answered>,
    /// What it cost.
    pub stages: Stages,
}

/// The answer to a [`CountQuery`]: for each stream its points that are not 0.
#[derive(Debug)]
pub struct Counts {
    /// Labels, and (nanoseconds since 1970, count) ascending.
    pub series: Vec<(Labels, Vec<(i64, u64)>)>,
    /// What it cost.
    pub stages: Stages,
}

/// Answers queries of any tenant.
#[derive(Debug, Clone)]
pub struct Querier {
    members: Members,
    storage: Storage,
    requirements: Requirements,
}

/// The chunks of one stream, and what its ingesters sent.
type OfStream = (Vec<(u32, ChunkRef)>, Vec<(u32, Source)>);

/// Where the entries of one query are.
struct Located {
    streams: Vec<Labels>,
    chunks: Vec<(u32, ChunkRef)>,
    heads: Vec<(u32, Source)>,
}

impl Querier {
    /// A querier over the ingesters in `members` and `storage`. What a push required decides how many ingesters may
    /// stay silent.
    pub fn new(members: Members, storage: Storage, requirements: Requirements) -> Self {
        Self { members, storage, requirements }
    }

    /// The lines that `query` asks for.
    ///
    /// # Errors
    /// [`ExecuteError`]; there are no partial answers.
    pub async fn lines(&self, tenant: &str, query: LogQuery) -> Result<Lines, ExecuteError> {
        let mut stages = Stages::default();
        let limit = query.limit as u64;
        let located =
            self.locate(tenant, &query.logs, query.span, query.direction, Some(limit), &mut stages).await?;
        let merge = Merge::new(query.direction, Want::Lines, query.logs);
        let mut reading =
            Reading::new(self.clone(), tenant, merge, query.span, located.chunks, located.heads)?;
        let mut entries = Vec::new();
        while entries.len() < query.limit {
            let room = query.limit - entries.len();
            let batch = reading.take(room, &mut stages).await?;
            if batch.is_empty() {
                break;
            }
            entries.extend(batch.into_iter().map(|found| Answered { stream: found.stream as usize, found }));
        }
        stages.lines_answered = entries.len() as u64;
        Ok(Lines { streams: located.streams, entries, stages })
    }

    /// The counts that `query` asks for.
    ///
    /// # Errors
    /// [`ExecuteError`]; there are no partial answers.
    pub async fn counts(&self, tenant: &str, query: CountQuery) -> Result<Counts, ExecuteError> {
        let mut stages = Stages::default();
        let shift = query.offset_ns;
        let from_ns = query.start_ns.saturating_sub(query.range_ns).saturating_add(1).saturating_sub(shift);
        let span = Span { from_ns, through_ns: query.end_ns.saturating_sub(shift) };
        let located = self.locate(tenant, &query.logs, span, Direction::Forward, None, &mut stages).await?;
        let mut by_stream: BTreeMap<u32, OfStream> = BTreeMap::new();
        for chunk in located.chunks {
            by_stream.entry(chunk.0).or_default().0.push(chunk);
        }
        for head in located.heads {
            by_stream.entry(head.0).or_default().1.push(head);
        }
        let mut series = Vec::new();
        for (stream, (chunks, heads)) in by_stream {
            let merge = Merge::new(Direction::Forward, Want::Times, query.logs.clone());
            let mut reading = Reading::new(self.clone(), tenant, merge, span, chunks, heads)?;
            let mut steps = Steps::new(&query);
            loop {
                let batch = reading.take(usize::MAX, &mut stages).await?;
                if batch.is_empty() {
                    break;
                }
                batch.iter().for_each(|found| steps.add(found.timestamp_ns.saturating_add(shift)));
            }
            let points = steps.points();
            if !points.is_empty() {
                series.push((located.streams[stream as usize].clone(), points));
            }
        }
        stages.lines_answered = 0;
        Ok(Counts { series, stages })
    }

    /// The labels of the streams that match any of `selectors`; all streams where there is none.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub async fn series(
        &self,
        tenant: &str,
        selectors: &[Vec<Matcher>],
        span: Span,
    ) -> Result<BTreeSet<Labels>, ExecuteError> {
        let all = [Vec::new()];
        let selectors = if selectors.is_empty() { &all[..] } else { selectors };
        let mut found = BTreeSet::new();
        for matchers in selectors {
            let asked = self.members.clients().into_iter().map(|client| async move {
                client.series(tenant, matchers, span).await.map_err(|e| e.to_string())
            });
            found.extend(self.enough(tenant, join_all(asked).await)?.into_iter().flatten());
            found.extend(self.storage.index().series(tenant, matchers, span).await?);
        }
        Ok(found)
    }

    /// The names of labels, or the values of label `name`.
    ///
    /// # Errors
    /// [`ExecuteError`].
    pub async fn label_values(
        &self,
        tenant: &str,
        name: Option<&str>,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<BTreeSet<String>, ExecuteError> {
        let mut values = if matchers.is_empty() {
            // Streams in memory are few: their labels are asked for whole. The index has a short cut.
            self.storage.index().label_values(tenant, name, span).await?
        } else {
            BTreeSet::new()
        };
        let asked = self.members.clients().into_iter().map(|client| async move {
            client.series(tenant, matchers, span).await.map_err(|e| e.to_string())
        });
        let mut streams: Vec<Labels> =
            self.enough(tenant, join_all(asked).await)?.into_iter().flatten().collect();
        if !matchers.is_empty() {
            streams.extend(self.storage.index().series(tenant, matchers, span).await?);
        }
        for labels in streams {
            for (label, value) in labels.pairs() {
                match name {
                    None => values.insert(label.to_owned()),
                    Some(name) => name == label && values.insert(value.to_owned()),
                };
            }
        }
        Ok(values)
    }

    async fn locate(
        &self,
        tenant: &str,
        logs: &Logs,
        span: Span,
        direction: Direction,
        limit: Option<u64>,
        stages: &mut Stages,
    ) -> Result<Located, ExecuteError> {
        let select = Select {
            tenant: tenant.to_owned(),
            matchers: logs.matchers.iter().map(LabelMatcher::from).collect(),
            filters: logs.filters.iter().map(Filter::from).collect(),
            from_ns: span.from_ns,
            through_ns: span.through_ns,
            backward: direction == Direction::Backward,
            limit: limit.unwrap_or(0),
            identities: limit.is_none(),
        };
        let started = stages::now_ns();
        let asked = self.members.clients().into_iter().map(|client| {
            let select = select.clone();
            async move { client.select(select).await.map_err(|e| e.to_string()) }
        });
        let heads = self.enough(tenant, join_all(asked).await)?;
        stages.ingesters_ns += stages::since(started);
        let started = stages::now_ns();
        let chunks = self.storage.index().chunks(tenant, &logs.matchers, span).await?;
        stages.index_lookup_ns += stages::since(started);
        stages.chunks += chunks.len() as u64;

        let mut numbers: BTreeMap<Labels, u32> = BTreeMap::new();
        let mut number = |labels: Labels| {
            let next = u32::try_from(numbers.len()).expect("fewer than 2^32 streams fit memory");
            *numbers.entry(labels).or_insert(next)
        };
        let chunks = chunks.into_iter().map(|chunk| (number(chunk.labels.clone()), chunk)).collect();
        let mut sources = Vec::new();
        for answer in heads {
            let mut parts: BTreeMap<u32, Vec<Section>> = BTreeMap::new();
            for bytes in answer {
                let record = Record::parse(bytes)?;
                for section in record.sections() {
                    let labels = Labels::from_canonical(section.labels).expect("checked when it was parsed");
                    parts.entry(number(labels)).or_default().push(Section::new(section.entries(), &record));
                }
            }
            let identities = select.identities;
            sources.extend(parts.into_iter().map(|(stream, parts)| {
                (stream, Source::Selected { parts: parts.into_iter(), current: None, identities })
            }));
        }
        let mut streams: Vec<(u32, Labels)> =
            numbers.into_iter().map(|(labels, number)| (number, labels)).collect();
        streams.sort_by_key(|(number, _)| *number);
        Ok(Located {
            streams: streams.into_iter().map(|(_, labels)| labels).collect(),
            chunks,
            heads: sources,
        })
    }

    /// The answers, if no more ingesters failed than may without a line being missed.
    fn enough<T>(&self, tenant: &str, answers: Vec<Result<T, String>>) -> Result<Vec<T>, ExecuteError> {
        let (asked, tolerated) =
            (self.members.len(), self.members.tolerated_reads(self.requirements.of(tenant)));
        let missing = asked.saturating_sub(answers.len());
        let mut first = (missing > 0).then(|| format!("{missing} are not in the ring"));
        let mut good = Vec::with_capacity(answers.len());
        for answer in answers {
            match answer {
                Ok(answer) => good.push(answer),
                Err(e) => {
                    first.get_or_insert(e);
                }
            }
        }
        let failed = asked - good.len().min(asked);
        if failed > tolerated {
            let first = first.unwrap_or_default();
            return Err(ExecuteError::Ingesters { failed, asked, tolerated, first });
        }
        Ok(good)
    }

    async fn open(
        &self,
        tenant: &str,
        chunk: &ChunkRef,
        span: Span,
        direction: Direction,
    ) -> Result<Option<Opened>, StorageError> {
        let started = stages::now_ns();
        let Some(object) = self.storage.get(tenant, chunk).await? else { return Ok(None) };
        let downloaded = stages::now_ns();
        let bytes = object.len() as u64;
        let reference = chunk.clone();
        let entries = offload(move || {
            let range = TimeRange::from(span.from_ns..=span.through_ns);
            storage::open(&reference, object).map(|chunk| chunk.entries(range, direction))
        })
        .await?;
        let download_ns = downloaded.saturating_sub(started);
        Ok(Some(Opened {
            source: Source::Chunk(Box::new(entries)),
            bytes,
            download_ns,
            decode_ns: stages::since(downloaded),
        }))
    }
}

struct Opened {
    source: Source,
    bytes: u64,
    download_ns: u64,
    decode_ns: u64,
}

/// A merge whose chunks are fetched when their turn comes.
struct Reading {
    querier: Querier,
    tenant: String,
    span: Span,
    merge: Merge,
    /// By the order of their first entry.
    waiting: VecDeque<(i64, u32, ChunkRef)>,
}

impl Reading {
    fn new(
        querier: Querier,
        tenant: &str,
        mut merge: Merge,
        span: Span,
        chunks: Vec<(u32, ChunkRef)>,
        heads: Vec<(u32, Source)>,
    ) -> Result<Self, ExecuteError> {
        let edge = |chunk: &ChunkRef| match merge.direction() {
            Direction::Forward => chunk.from_ns.max(span.from_ns),
            Direction::Backward => chunk.through_ns.min(span.through_ns),
        };
        let mut waiting: Vec<(i64, u32, ChunkRef)> =
            chunks.into_iter().map(|(stream, chunk)| (merge.order(edge(&chunk)), stream, chunk)).collect();
        waiting.sort_by(|a, b| (a.0, &a.2.key).cmp(&(b.0, &b.2.key)));
        for (stream, source) in heads {
            merge.add(stream, source)?;
        }
        Ok(Self { querier, tenant: tenant.to_owned(), span, merge, waiting: waiting.into() })
    }

    /// The next entries: at least one if there is any, at most `room`, as many as need no further chunk.
    async fn take(&mut self, room: usize, stages: &mut Stages) -> Result<Vec<Found>, ExecuteError> {
        loop {
            self.fetch(stages).await?;
            let bound = self.waiting.front().map(|(order, ..)| *order);
            let empty = Merge::new(
                self.merge.direction(),
                Want::Times,
                Logs { matchers: Vec::new(), filters: Vec::new() },
            );
            let mut merge = std::mem::replace(&mut self.merge, empty);
            let started = stages::now_ns();
            let (merge, batch) = offload(move || {
                let batch = drain(&mut merge, room, bound);
                (merge, batch)
            })
            .await;
            self.merge = merge;
            stages.add_merge(&mut self.merge, stages::since(started));
            let batch = batch?;
            if !batch.is_empty() || self.waiting.is_empty() {
                return Ok(batch);
            }
        }
    }

    /// Opens the chunks whose turn it is, and a few more of those that follow.
    async fn fetch(&mut self, stages: &mut Stages) -> Result<(), ExecuteError> {
        while let Some((order, ..)) = self.waiting.front()
            && self.merge.next_order().is_none_or(|next| *order <= next)
        {
            let count = self.waiting.len().min(PARALLEL_GETS);
            let batch: Vec<_> = self.waiting.drain(..count).collect();
            let (querier, tenant, span, direction) =
                (&self.querier, &self.tenant, self.span, self.merge.direction());
            let opened: Vec<(u32, Option<Opened>)> = stream::iter(batch)
                .map(|(_, stream, chunk)| async move {
                    Ok::<_, StorageError>((stream, querier.open(tenant, &chunk, span, direction).await?))
                })
                .buffered(PARALLEL_GETS)
                .try_collect()
                .await?;
            for (stream, opened) in opened {
                let Some(opened) = opened else { continue };
                stages.chunk_download_ns += opened.download_ns;
                stages.chunk_decode_ns += opened.decode_ns;
                stages.bytes += opened.bytes;
                self.merge.add(stream, opened.source)?;
            }
        }
        Ok(())
    }
}

/// Entries up to `room`, and only those that come before anything a waiting chunk could hold.
fn drain(merge: &mut Merge, room: usize, bound: Option<i64>) -> Result<Vec<Found>, SourceError> {
    const BATCH: usize = 16_384;
    let mut out = Vec::new();
    while out.len() < room.min(BATCH)
        && let Some(found) = merge.next_before(bound)?
    {
        out.push(found);
    }
    Ok(out)
}

/// Counts of the windows of a query, each entry in constant time.
struct Steps {
    start_ns: i64,
    step_ns: i64,
    range_ns: i64,
    /// Differences of the counts of neighbouring points.
    changes: Vec<i64>,
}

impl Steps {
    fn new(query: &CountQuery) -> Self {
        let last = (i128::from(query.end_ns) - i128::from(query.start_ns)) / i128::from(query.step_ns);
        let points = usize::try_from(last.clamp(-1, i128::from(MAX_POINTS)) + 1).expect("bounded here");
        Self {
            start_ns: query.start_ns,
            step_ns: query.step_ns,
            range_ns: query.range_ns,
            changes: vec![0; points + 1],
        }
    }

    /// Counts an entry in every window `(t - range, t]` that holds it.
    fn add(&mut self, timestamp_ns: i64) {
        let after = i128::from(timestamp_ns) - i128::from(self.start_ns);
        let step = i128::from(self.step_ns);
        let points = self.changes.len() as i128 - 1;
        let first = (after + step - 1).div_euclid(step).max(0);
        let end = ((after + i128::from(self.range_ns) - 1).div_euclid(step) + 1).min(points);
        if let (Ok(first), Ok(end)) = (usize::try_from(first), usize::try_from(end))
            && first < end
        {
            self.changes[first] += 1;
            self.changes[end] -= 1;
        }
    }

    /// The points that are not 0.
    fn points(&self) -> Vec<(i64, u64)> {
        let mut count = 0;
        let steps = self.changes.iter().take(self.changes.len() - 1).zip(0_i64..);
        steps
            .filter_map(|(change, i)| {
                count += change;
                // No further than the end that was asked for, so it fits.
                let after = self.step_ns.wrapping_mul(i);
                (count > 0).then(|| (self.start_ns.wrapping_add(after), count.unsigned_abs()))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
