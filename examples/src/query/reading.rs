//! Reads the entries of a query in order, fetching each chunk when its turn comes, and more of what ingesters send when
//! it is needed.

use std::collections::{BTreeMap, VecDeque};

use forebay_agent::clock::monotonic_ns;
use forebay_chunk::{Damage, Direction, EntryIter, TimeRange};
use futures_util::{StreamExt, stream};

use super::heads::Heads;
use super::merge::{Found, Merge, Source, SourceError, Step, Want, order};
use super::stages::{self, Stages};
use super::{ExecuteError, Querier};
use crate::index::{ChunkRef, Span};
use crate::labels::Labels;
use crate::logql::Logs;
use crate::offload::offload;
use crate::storage::{self, StorageError};

/// Chunks fetched at the same time for one query.
const PARALLEL_GETS: usize = 8;
/// Rows that are looked at before somebody looks whether they are still wanted.
const ROWS: u64 = 1 << 16;
/// Entries that are handed on at once.
const BATCH: usize = 16_384;

/// A merge whose chunks are fetched when their turn comes.
pub(super) struct Reading<'a> {
    querier: &'a Querier,
    tenant: &'a str,
    span: Span,
    merge: Merge,
    /// By the order of their first entry.
    waiting: VecDeque<(i64, u32, ChunkRef)>,
    /// The keys of the chunks that are sources.
    keys: BTreeMap<usize, String>,
    follows: Option<Follows<'a>>,
}

/// What comes from ingesters while it is read.
struct Follows<'a> {
    heads: &'a mut Heads,
    labels: Labels,
    /// Which head feeds which source.
    by_source: BTreeMap<usize, usize>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(querier: &'a Querier, tenant: &'a str, merge: Merge, span: Span) -> Self {
        Self { querier, tenant, span, merge, waiting: VecDeque::new(), keys: BTreeMap::new(), follows: None }
    }

    /// Adds the chunks of streams.
    pub(super) fn store(&mut self, chunks: impl IntoIterator<Item = (u32, ChunkRef)>) {
        let (span, direction) = (self.span, self.merge.direction());
        let edge = |chunk: &ChunkRef| match direction {
            Direction::Forward => (chunk.from_ns.max(span.from_ns), chunk.from_ns),
            Direction::Backward => (chunk.through_ns.min(span.through_ns), chunk.through_ns),
        };
        let within = chunks.into_iter().filter(|(_, chunk)| span.overlaps(chunk));
        self.waiting.extend(within.map(|(stream, chunk)| (order(direction, edge(&chunk).0), stream, chunk)));
        // What begins before the span comes in the order in which it would come of a longer one.
        self.waiting.make_contiguous().sort_by(|(a, _, one), (b, _, other)| {
            let begins = |chunk: &ChunkRef| order(direction, edge(chunk).1);
            (a, begins(one), &one.key).cmp(&(b, begins(other), &other.key))
        });
    }

    /// Adds what an ingester sent.
    pub(super) fn add(&mut self, stream: u32, source: Source) {
        self.merge.add(stream, source);
    }

    /// Adds what ingesters send of the stream with `labels`, which is the only one then.
    pub(super) fn follow(&mut self, heads: &'a mut Heads, labels: Labels) {
        let source = || Source::Selected { parts: VecDeque::new(), ended: false };
        let from = heads.with(&labels).into_iter();
        let by_source = from.map(|head| (self.merge.add(0, source()), head)).collect();
        self.follows = Some(Follows { heads, labels, by_source });
    }

    /// The next entries: at least one if there is any, at most `room`.
    pub(super) async fn take(
        &mut self,
        room: usize,
        stages: &mut Stages,
    ) -> Result<Vec<Found>, ExecuteError> {
        loop {
            let bound = self.waiting.front().map(|(order, ..)| *order);
            let none = Logs { matchers: Vec::new(), filters: Vec::new() };
            let empty = Merge::new(self.merge.direction(), Want::Times, none);
            let mut merge = std::mem::replace(&mut self.merge, empty);
            let started = monotonic_ns();
            let (merge, drained) = offload(move || {
                let drained = drain(&mut merge, room, bound);
                (merge, drained)
            })
            .await;
            self.merge = merge;
            let work = self.merge.take_work();
            stages.add_work(&work, stages::since(started));
            for (source, damage) in &work.damage {
                let key = self.keys.get(source).map_or("", String::as_str);
                stages.holes.add_block(key, damage, self.span);
            }
            let (batch, end) = drained?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            match end {
                Step::Starved(source) => self.feed(source, stages).await?,
                Step::Done if self.waiting.is_empty() => return Ok(batch),
                Step::Done => self.fetch(stages).await?,
                Step::Paused | Step::Found(_) => {}
            }
        }
    }

    /// The first entries: `limit` of them, if there are as many.
    pub(super) async fn first(
        &mut self,
        limit: usize,
        stages: &mut Stages,
    ) -> Result<Vec<Found>, ExecuteError> {
        let mut found = Vec::new();
        while found.len() < limit {
            let batch = self.take(limit - found.len(), stages).await?;
            if batch.is_empty() {
                break;
            }
            found.extend(batch);
        }
        Ok(found)
    }

    async fn feed(&mut self, source: usize, stages: &mut Stages) -> Result<(), ExecuteError> {
        let started = monotonic_ns();
        let mut section = None;
        if let Some(Follows { heads, labels, by_source }) = &mut self.follows
            && let Some(head) = by_source.get(&source)
        {
            section = heads.section(*head, labels).await?;
        }
        self.merge.feed(source, section);
        stages.ingesters_ns += stages::since(started);
        Ok(())
    }

    /// Opens the chunk whose turn it is, and a few of those that follow.
    async fn fetch(&mut self, stages: &mut Stages) -> Result<(), ExecuteError> {
        let count = self.waiting.len().min(PARALLEL_GETS);
        let batch: Vec<_> = self.waiting.drain(..count).collect();
        let (querier, tenant, span, direction) =
            (self.querier, self.tenant, self.span, self.merge.direction());
        let opened: Vec<_> = stream::iter(batch)
            .map(|(_, stream, chunk)| async move {
                let opened = querier.open(tenant, &chunk, span, direction).await;
                (stream, chunk, opened)
            })
            .buffered(PARALLEL_GETS)
            .collect()
            .await;
        for (stream, chunk, opened) in opened {
            let opened = match opened {
                Err(StorageError::Damaged { source, .. }) => {
                    stages.holes.add_chunk(&chunk, &source);
                    continue;
                }
                opened => opened?,
            };
            let Some(Opened { entries, damage, bytes, download_ns, decode_ns }) = opened else { continue };
            stages.chunk_download_ns += download_ns;
            stages.chunk_decode_ns += decode_ns;
            stages.bytes += bytes;
            for damage in &damage {
                stages.holes.add_block(&chunk.key, damage, span);
            }
            let source = self.merge.add(stream, Source::Chunk(Box::new(entries)));
            self.keys.insert(source, chunk.key);
        }
        Ok(())
    }
}

/// Entries up to `room`, and only those that come before anything a waiting chunk could hold; and what ended them.
fn drain(merge: &mut Merge, room: usize, bound: Option<i64>) -> Result<(Vec<Found>, Step), SourceError> {
    merge.allow(ROWS);
    let mut out = Vec::new();
    while out.len() < room.min(BATCH) {
        match merge.next_before(bound)? {
            Step::Found(found) => out.push(found),
            end => return Ok((out, end)),
        }
    }
    Ok((out, Step::Paused))
}

/// A chunk that is to be read.
struct Opened {
    entries: EntryIter,
    /// Blocks that are damaged, as far as that is known already.
    damage: Vec<Damage>,
    bytes: u64,
    download_ns: u64,
    decode_ns: u64,
}

impl Querier {
    async fn open(
        &self,
        tenant: &str,
        chunk: &ChunkRef,
        span: Span,
        direction: Direction,
    ) -> Result<Option<Opened>, StorageError> {
        let started = monotonic_ns();
        let Some(object) = self.storage.get(tenant, chunk).await? else { return Ok(None) };
        let downloaded = monotonic_ns();
        let bytes = object.len() as u64;
        let (reference, cache) = (chunk.clone(), self.blocks.of(&chunk.key));
        let (entries, damage) = offload(move || {
            let range = TimeRange::from(span.from_ns..=span.through_ns);
            let chunk = storage::open(&reference, object)?.chunk;
            let entries = chunk.entries(range, direction);
            let entries = match cache {
                Some(cache) => entries.through(cache),
                None => entries,
            };
            Ok::<_, StorageError>((entries, chunk.damage().to_vec()))
        })
        .await?;
        let download_ns = downloaded.saturating_sub(started);
        Ok(Some(Opened { entries, damage, bytes, download_ns, decode_ns: stages::since(downloaded) }))
    }
}
