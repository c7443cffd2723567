//! Reads the entries of a query in order, fetching each chunk when its turn comes.

use std::collections::VecDeque;

use forebay_agent::clock::monotonic_ns;
use forebay_chunk::{Direction, TimeRange};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::merge::{Found, Merge, Source, SourceError, Want};
use super::stages::{self, Stages};
use super::{ExecuteError, Querier};
use crate::index::{ChunkRef, Span};
use crate::logql::Logs;
use crate::offload::offload;
use crate::storage::{self, StorageError};

/// Chunks fetched at the same time for one query.
const PARALLEL_GETS: usize = 8;

/// A merge whose chunks are fetched when their turn comes.
pub(super) struct Reading {
    querier: Querier,
    tenant: String,
    span: Span,
    merge: Merge,
    /// By the order of their first entry.
    waiting: VecDeque<(i64, u32, ChunkRef)>,
}

impl Reading {
    pub(super) fn new(
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
    pub(super) async fn take(
        &mut self,
        room: usize,
        stages: &mut Stages,
    ) -> Result<Vec<Found>, ExecuteError> {
        loop {
            self.fetch(stages).await?;
            let bound = self.waiting.front().map(|(order, ..)| *order);
            let empty = Merge::new(
                self.merge.direction(),
                Want::Times,
                Logs { matchers: Vec::new(), filters: Vec::new() },
            );
            let mut merge = std::mem::replace(&mut self.merge, empty);
            let started = monotonic_ns();
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

struct Opened {
    source: Source,
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
