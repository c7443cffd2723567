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

/// Writes closed chunks, the index entries of a batch with one commit.
pub(super) async fn write_chunks<F: Fs>(shared: Weak<Shared<F>>, mut tickets: UnboundedReceiver<Ticket>) {
    let mut batch = Vec::with_capacity(BATCH);
    while tickets.recv_many(&mut batch, BATCH).await > 0 {
        let Some(parallelism) = shared.upgrade().map(|shared| shared.options.flush_parallelism) else {
            return;
        };
        let wall_ns = shared.upgrade().map_or(0, |shared| shared.clock.wall_ns());
        let encoded: Vec<(Option<NewChunk>, Done)> = futures::iter(batch.drain(..))
            .map(|ticket| offload(move || encode(ticket, wall_ns)))
            .buffer_unordered(parallelism)
            .collect()
            .await;
        let mut by_tenant: BTreeMap<Arc<str>, Vec<(Option<NewChunk>, Done)>> = BTreeMap::new();
        for (new, done) in encoded {
            by_tenant.entry(Arc::clone(&done.stream.tenant)).or_default().push((new, done));
        }
        for (tenant, chunks) in by_tenant {
            let (new, done): (Vec<_>, Vec<_>) = chunks.into_iter().unzip();
            let new: Vec<NewChunk> = new.into_iter().flatten().collect();
            if !store(&shared, &tenant, &new).await {
                return;
            }
            let Some(shared) = shared.upgrade() else { return };
            shared.stored(&new, &done);
        }
        let Some(shared) = shared.upgrade() else { return };
        shared.truncate().await;
    }
}

/// What to let go of when a chunk is stored.
struct Done {
    stream: Arc<Stream>,
    leaving: Arc<super::stream::Leaving>,
    reason: FlushReason,
}

/// The object of a closed chunk; none if the chunk holds nothing.
fn encode(ticket: Ticket, wall_ns: i64) -> (Option<NewChunk>, Done) {
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
    (new, Done { stream, leaving, reason })
}

/// Stores `chunks`, again and again until it works; false where the ingester is gone.
async fn store<F: Fs>(shared: &Weak<Shared<F>>, tenant: &str, chunks: &[NewChunk]) -> bool {
    let mut backoff = Duration::from_millis(100);
    loop {
        let Some(storage) = shared.upgrade().map(|shared| shared.storage.clone()) else { return false };
        let Err(error) = storage.put(tenant, chunks).await else { return true };
        let wait = match &error {
            StorageError::Open { retry_after } => (*retry_after).max(Duration::from_millis(10)),
            _ => backoff,
        };
        let cause = anyhow::Error::new(error);
        tracing::warn!(tenant, chunks = chunks.len(), error = %format_args!("{cause:#}"), "chunks not stored yet");
        drop(storage);
        tokio::time::sleep(wait).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
}

impl<F: Fs> Shared<F> {
    pub(super) fn enqueue(&self, stream: &Arc<Stream>, closed: Closed) {
        self.memory.change(closed.memory);
        let queued = self.queued.fetch_add(1, Ordering::AcqRel) + 1;
        metrics::gauge!("forebay_ingester_flush_queue_length").set(queued as f64);
        let sent = self.tickets.send(Ticket { stream: Arc::clone(stream), closed });
        debug_assert!(sent.is_ok(), "the writer outlives the ingester");
    }

    fn stored(&self, new: &[NewChunk], done: &[Done]) {
        for chunk in new {
            metrics::counter!("forebay_chunk_raw_bytes_total").increment(chunk.chunk.raw_bytes);
            metrics::counter!("forebay_chunk_stored_bytes_total").increment(chunk.chunk.stored_bytes);
            tracing::debug!(key = chunk.chunk.key, entries = chunk.chunk.entries, "chunk stored");
        }
        for Done { stream, leaving, reason } in done {
            metrics::counter!("forebay_chunks_flushed_total", "reason" => reason.as_str()).increment(1);
            self.memory.change(stream.forget(leaving));
            tracing::trace!(stream = %stream.labels, reason = reason.as_str(), "left memory");
        }
        let queued = self.queued.fetch_sub(done.len(), Ordering::AcqRel) - done.len();
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
