//! From memory to the store: blocks are compressed as they fill, chunks written as they are closed, and the log
//! truncated behind them. Each is a task of its own that ends with the ingester. Which chunks are closed, `due` says.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use forebay_chunk::FlushReason;
use forebay_chunk::loki::Envelope;
use forebay_wal::Lsn;
use forebay_wal::fs::Fs;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, stream as futures};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_stream::wrappers::UnboundedReceiverStream;

use super::stream::{Closed, Stream};
use super::{Ingester, Shared};
use crate::index::ChunkRef;
use crate::offload::offload;
use crate::storage::{NewChunk, SCHEMA, StorageError};

/// Chunks whose index entries are written with one commit.
const BATCH: usize = 64;
/// Bytes of chunks that the store did not take, beyond which no others are tried: it takes none at all then.
const MAX_LATE_BYTES: usize = 64 << 20;
/// The longest wait between two tries to write a chunk.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// A closed chunk to be written.
#[derive(Debug)]
pub(super) struct Ticket {
    stream: Arc<Stream>,
    closed: Closed,
}

impl<F: Fs> Ingester<F> {
    /// Writes every chunk, however small, and waits until all are stored and indexed.
    pub async fn flush(&self) {
        self.shared.close_all();
        self.shared.drained().await;
        self.shared.truncate().await;
        self.shared.show();
    }

    /// Refuses pushes from now on and writes every chunk; then whoever does not ask it misses nothing. It can still be
    /// read.
    ///
    /// # Errors
    /// Where the store did not take everything within `timeout`; then the log still holds what is missing.
    pub async fn drain(&self, timeout: Duration) -> anyhow::Result<()> {
        let shared = &self.shared;
        shared.closed.store(true, Ordering::Release);
        let work = async {
            while !shared.applying.lock().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            self.flush().await;
        };
        tokio::time::timeout(timeout, work).await.map_err(|_| {
            anyhow::anyhow!("chunks were not stored within {timeout:?}; the log keeps their lines")
        })?;
        shared.listeners.end();
        Ok(())
    }

    /// Closes the log.
    ///
    /// # Errors
    /// Where the disk did not take what the log still had to write within `timeout`.
    pub async fn close(&self, timeout: Duration) -> anyhow::Result<()> {
        let closed = tokio::time::timeout(timeout, self.shared.log.close()).await;
        Ok(closed.map_err(|_| anyhow::anyhow!("log was not closed within {timeout:?}"))??)
    }
}

/// Compresses the full blocks of `streams` off their locks.
pub(super) async fn encode_blocks<F: Fs>(
    shared: Weak<Shared<F>>,
    streams: UnboundedReceiver<Arc<Stream>>,
    parallelism: usize,
) {
    let encode = |stream: Arc<Stream>| {
        let shared = shared.clone();
        async move {
            while let Some(block) = stream.next_block() {
                let block = offload(move || block.encode()).await;
                let Some(shared) = shared.upgrade() else { return };
                shared.memory.change(stream.attach(block));
            }
        }
    };
    UnboundedReceiverStream::new(streams).for_each_concurrent(parallelism, encode).await;
}

/// Writes closed chunks, the index entries of a batch with one commit. What the store does not take is tried again
/// beside what comes later.
pub(super) async fn write_chunks<F: Fs>(shared: Weak<Shared<F>>, mut tickets: UnboundedReceiver<Ticket>) {
    let mut batch = Vec::with_capacity(BATCH);
    let (mut late, mut late_bytes) = (FuturesUnordered::new(), 0);
    loop {
        tokio::select! {
            biased;
            Some(bytes) = late.next() => late_bytes -= bytes,
            received = tickets.recv_many(&mut batch, BATCH), if late_bytes < MAX_LATE_BYTES => {
                if received == 0 {
                    return;
                }
                for (tenant, chunks) in encode_batch(&shared, &mut batch).await {
                    let Some(left) = store(&shared, &tenant, chunks).await else { continue };
                    let bytes: usize = left.chunks.iter().map(Ready::bytes).sum();
                    late_bytes += bytes;
                    let retried = store_late(shared.clone(), tenant, left);
                    late.push(async move {
                        retried.await;
                        bytes
                    });
                }
            }
        }
        let Some(shared) = shared.upgrade() else { return };
        shared.truncate().await;
    }
}

/// The objects of a batch, by tenant.
async fn encode_batch<F: Fs>(
    shared: &Weak<Shared<F>>,
    batch: &mut Vec<Ticket>,
) -> BTreeMap<Arc<str>, Vec<Ready>> {
    let mut by_tenant: BTreeMap<Arc<str>, Vec<Ready>> = BTreeMap::new();
    let Some((wall_ns, parallelism)) =
        shared.upgrade().map(|shared| (shared.clock.wall_ns(), shared.options.flush_parallelism))
    else {
        return by_tenant;
    };
    let encoded: Vec<Ready> = futures::iter(batch.drain(..))
        .map(|ticket| offload(move || encode(ticket, wall_ns)))
        .buffer_unordered(parallelism)
        .collect()
        .await;
    for ready in encoded {
        by_tenant.entry(Arc::clone(&ready.done.stream.tenant)).or_default().push(ready);
    }
    by_tenant
}

/// An encoded chunk; no chunk if it holds nothing.
struct Ready {
    new: Option<NewChunk>,
    done: Done,
}

impl Ready {
    fn bytes(&self) -> usize {
        self.new.as_ref().map_or(0, |new| new.object.len())
    }
}

/// Chunks that were not stored, and why the first of them was not.
struct Left {
    chunks: Vec<Ready>,
    error: StorageError,
}

/// What to let go of when a chunk is stored.
struct Done {
    stream: Arc<Stream>,
    leaving: Arc<super::stream::Leaving>,
    reason: FlushReason,
}

fn encode(ticket: Ticket, wall_ns: i64) -> Ready {
    let Ticket { stream, closed: Closed { builder, leaving, reason, .. } } = ticket;
    let new = builder.finish().map(|chunk| {
        let pairs = stream.labels.pairs();
        let mut envelope = Envelope::new(&stream.tenant, &pairs, &chunk);
        envelope.ingested_at_ms = wall_ns.div_euclid(1_000_000);
        let object = envelope
            .encode(&chunk.bytes)
            .expect("a chunk of far less than 4 GiB, described by its own times");
        let size = |bytes: &Bytes| bytes.len() as u64;
        NewChunk {
            chunk: ChunkRef {
                key: object.key.text(SCHEMA),
                labels: stream.labels.clone(),
                fingerprint: envelope.fingerprint,
                from_ns: chunk.from_ns,
                through_ns: chunk.through_ns,
                entries: chunk.entries,
                raw_bytes: chunk.raw_bytes,
                stored_bytes: size(&object.bytes),
                ingested_at_ns: wall_ns,
                tally: leaving.tally().cloned(),
            },
            object: object.bytes,
        }
    });
    Ready { new, done: Done { stream, leaving, reason } }
}

/// Stores what the store takes of `chunks`, and lets go of it; what is left.
async fn store<F: Fs>(shared: &Weak<Shared<F>>, tenant: &str, chunks: Vec<Ready>) -> Option<Left> {
    let storage = shared.upgrade().map(|shared| shared.storage.clone())?;
    let new: Vec<NewChunk> = chunks.iter().filter_map(|ready| ready.new.clone()).collect();
    let mut outcomes = storage.put(tenant, &new).await.into_iter();
    let (mut stored, mut left, mut first) = (Vec::new(), Vec::new(), None);
    for ready in chunks {
        match ready.new.as_ref().and_then(|_| outcomes.next()) {
            Some(Err(error)) => {
                left.push(ready);
                first.get_or_insert(error);
            }
            _ => stored.push(ready),
        }
    }
    shared.upgrade()?.stored(&stored);
    first.map(|error| Left { chunks: left, error })
}

/// Stores what is left, again and again until nothing is.
async fn store_late<F: Fs>(shared: Weak<Shared<F>>, tenant: Arc<str>, mut left: Left) {
    let mut backoff = Duration::from_millis(100);
    loop {
        let wait = match &left.error {
            StorageError::Open { retry_after } => (*retry_after).max(Duration::from_millis(10)),
            _ => backoff,
        };
        let cause = anyhow::Error::new(left.error);
        tracing::warn!(%tenant, chunks = left.chunks.len(), error = %format_args!("{cause:#}"), "chunks not stored yet");
        tokio::time::sleep(wait).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
        match store(&shared, &tenant, left.chunks).await {
            Some(more) => left = more,
            None => return,
        }
    }
}

impl<F: Fs> Shared<F> {
    pub(super) fn enqueue(&self, stream: &Arc<Stream>, closed: Closed) {
        self.memory.change(closed.memory);
        let queued = self.queued.fetch_add(1, Ordering::AcqRel) + 1;
        metrics::gauge!("forebay_ingester_flush_queue_length").set(queued as f64);
        // Whoever writes is gone only after a panic; then the chunk stays in memory, and its lines in the log.
        let _ = self.tickets.send(Ticket { stream: Arc::clone(stream), closed });
    }

    fn stored(&self, chunks: &[Ready]) {
        for chunk in chunks.iter().filter_map(|ready| ready.new.as_ref()) {
            metrics::counter!("forebay_chunk_raw_bytes_total").increment(chunk.chunk.raw_bytes);
            metrics::counter!("forebay_chunk_stored_bytes_total").increment(chunk.chunk.stored_bytes);
            tracing::debug!(key = chunk.chunk.key, entries = chunk.chunk.entries, "chunk stored");
        }
        for Ready { done: Done { stream, leaving, reason }, .. } in chunks {
            metrics::counter!("forebay_chunks_flushed_total", "reason" => reason.as_str()).increment(1);
            self.memory.change(stream.forget(leaving));
            tracing::trace!(stream = %stream.labels, reason = reason.as_str(), "left memory");
        }
        let queued = self.queued.fetch_sub(chunks.len(), Ordering::AcqRel) - chunks.len();
        metrics::gauge!("forebay_ingester_flush_queue_length").set(queued as f64);
        self.flushed.notify_waiters();
    }

    /// Waits until every chunk that was closed is stored.
    pub(super) async fn drained(&self) {
        loop {
            let notified = self.flushed.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.queued.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Lets the log forget what no stream and no push under way needs.
    pub(super) async fn truncate(&self) {
        // Pushes first: one that is applied meanwhile is still counted here, or already in its streams.
        let mut needed = {
            let applying = self.applying.lock();
            applying.keys().next().copied().unwrap_or_else(|| self.log.wal().next_lsn().0)
        };
        for stream in self.tenants.all() {
            needed = needed.min(stream.first_lsn().map_or(u64::MAX, |lsn| lsn.0));
        }
        match self.log.truncate_before(Lsn(needed)).await {
            Ok(truncated) if truncated.segments > 0 => {
                tracing::debug!(segments = truncated.segments, bytes = truncated.bytes, "log truncated");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "log not truncated"),
        }
    }
}

#[cfg(test)]
mod tests;
