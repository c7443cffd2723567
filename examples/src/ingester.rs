//! Keeps lines: in the log until they are synced, in memory until they are stored.
//!
//! Invariants. I1: an acknowledged record is synced in the log. I2: an entry leaves memory only when its chunk is
//! stored and found through the index. I3: the log forgets a record only when all its entries have left memory, so
//! what a crash takes from memory the log gives back. I4: nothing is compressed, synced or read from disk while a
//! stream is locked.

mod account;
mod due;
mod flush;
mod read;
mod stream;
mod tail;
mod tenants;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use forebay_agent::clock::{Clock, monotonic_ns};
use forebay_chunk::{BuilderOptions, FlushPolicy};
use forebay_ring::{Operation, Ring};
use forebay_tenant::{Overrides, limits::stream_limit};
use forebay_wal::aio::AsyncWal;
use forebay_wal::fs::Fs;
use forebay_wal::{AppendError, Lsn, Reject};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc};

use crate::background::Background;
use crate::offload::finish;
use crate::record::{Record, RecordError};
use crate::storage::Storage;
use crate::wire::{Health, Pushed, Refused};

pub use read::ReadError;

use account::Account;
use flush::Ticket;
use stream::{Expected, Stream};
use tail::Listeners;
use tenants::Tenants;

/// Bytes of records that are read from the log before they are put into memory.
const REPLAY_BYTES: usize = 8 << 20;
/// Bytes that a record counts for at least on its way into the log, where it takes some beside its own.
const ROOM_UNIT: u32 = 1 << 10;
/// What an ingester asks for whose memory, log or disk is full: it takes that long at least to store chunks.
const RESPITE: Duration = Duration::from_secs(1);

/// How an ingester behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Its name, for log lines.
    pub instance: String,
    /// Chunks: format, codec, block size, target size.
    pub chunks: BuilderOptions,
    /// When to flush a chunk.
    pub flush: FlushPolicy,
    /// How often that is looked at.
    pub flush_check: Duration,
    /// Memory for lines; beyond it pushes are refused. What only readers still hold of chunks that were stored counts too.
    pub memory_limit: usize,
    /// Replication factor, for the share of a tenant's global stream limit.
    pub replication_factor: usize,
    /// Chunks written at the same time.
    pub flush_parallelism: usize,
    /// Bytes of records on their way into the log; others wait their turn. Less than what the log itself refuses.
    pub log_room: u32,
    /// How long they do.
    pub log_patience: Duration,
}

/// Why a record was not kept. Nothing of it was, where the variant does not say otherwise.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushError {
    /// The sender is broken, or of another version.
    #[error("not a record: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// Send less at once: it will never fit.
    #[error("too large for the ingester: {reason}")]
    TooLarge {
        /// How large it is, and how large it may be.
        reason: String,
    },
    /// Send it again later: memory, log or disk is full, or more is under way than can be.
    #[error("ingester is busy: {reason}")]
    Busy {
        /// What is full.
        reason: String,
        /// How long it wants to be left alone, if it says so. No time at all: it keeps as much as it can, and the next
        /// record may be among that.
        retry_after: Option<Duration>,
    },
    /// Send it elsewhere: this ingester is stopping, or its log is out of order.
    #[error("ingester is unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
    /// Send it again: it may have been kept or not.
    #[error("ingester cannot tell whether it kept the record: {reason}")]
    Indeterminate {
        /// What failed.
        reason: String,
    },
}

impl From<RecordError> for PushError {
    fn from(error: RecordError) -> Self {
        Self::Malformed { reason: error.to_string() }
    }
}

impl From<AppendError> for PushError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Rejected(reject) => reject.into(),
            AppendError::Indeterminate(failure) => {
                Self::Indeterminate { reason: format!("{failure}: {}", failure.cause) }
            }
            other => Self::Indeterminate { reason: other.to_string() },
        }
    }
}

impl From<Reject> for PushError {
    fn from(reject: Reject) -> Self {
        let reason = reject.to_string();
        match reject {
            Reject::TooLarge { .. } => Self::TooLarge { reason },
            Reject::Backpressure { .. } => Self::Busy { reason, retry_after: Some(Duration::ZERO) },
            Reject::NoSpace { .. } | Reject::QuotaExceeded { .. } | Reject::Io { .. } => {
                Self::Busy { reason, retry_after: Some(RESPITE) }
            }
            // Closed, poisoned, or out of numbers: to wait does not help. Nor is it known to with a reason yet to come.
            _ => Self::Unavailable { reason },
        }
    }
}

/// An ingester. Cheap to clone.
#[derive(Debug)]
pub struct Ingester<F: Fs> {
    shared: Arc<Shared<F>>,
}

impl<F: Fs> Clone for Ingester<F> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

#[derive(Debug)]
struct Shared<F: Fs> {
    log: AsyncWal<F>,
    options: Options,
    clock: Clock,
    overrides: Arc<Overrides>,
    storage: Storage,
    tenants: Tenants,
    /// Healthy ingesters, as far as this one knows.
    peers: AtomicUsize,
    /// The ring, as far as it knows that.
    ring: RwLock<Option<Arc<Ring>>>,
    /// When it was last looked which streams belong to others.
    owners_asked_ns: AtomicU64,
    memory: Arc<Account>,
    /// Where the log stood when records that are not in memory yet were begun.
    applying: Mutex<BTreeMap<u64, usize>>,
    /// What is left of [`Options::log_room`], in [`ROOM_UNIT`]s.
    room: Semaphore,
    closed: AtomicBool,
    wake: Notify,
    flushed: Notify,
    blocks: mpsc::UnboundedSender<Arc<Stream>>,
    tickets: mpsc::UnboundedSender<Ticket>,
    listeners: Arc<Listeners>,
    queued: AtomicUsize,
    background: Background,
    shown_streams: crate::metrics::Streams,
    shown_log: crate::metrics::Log,
}

impl<F: Fs> Ingester<F> {
    /// An ingester on an open log: replays what the log holds, then takes pushes. Its background work ends when
    /// it is dropped.
    ///
    /// # Errors
    /// What the log could not be read for, or a record that does not parse.
    pub async fn start(
        log: AsyncWal<F>,
        storage: Storage,
        overrides: Arc<Overrides>,
        clock: Clock,
        options: Options,
    ) -> anyhow::Result<Self> {
        let parallelism = options.flush_parallelism;
        let room = Semaphore::new((options.log_room / ROOM_UNIT) as usize);
        let (blocks, pending) = mpsc::unbounded_channel();
        let (tickets, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            log,
            options,
            clock,
            overrides,
            storage,
            tenants: Tenants::default(),
            peers: AtomicUsize::new(1),
            ring: RwLock::default(),
            owners_asked_ns: AtomicU64::new(0),
            memory: Arc::default(),
            applying: Mutex::default(),
            room,
            closed: AtomicBool::new(false),
            wake: Notify::new(),
            flushed: Notify::new(),
            blocks,
            tickets,
            listeners: Arc::default(),
            queued: AtomicUsize::new(0),
            background: Background::default(),
            shown_streams: crate::metrics::Streams::default(),
            shown_log: crate::metrics::Log::default(),
        });
        let (background, weak) = (shared.background.clone(), || Arc::downgrade(&shared));
        background.spawn("encode_blocks", flush::encode_blocks(weak(), pending, parallelism));
        background.spawn("write_chunks", flush::write_chunks(weak(), queue));
        let ingester = Self { shared };
        ingester.replay().await?;
        background.spawn("watch_memory", due::watch(Arc::downgrade(&ingester.shared)));
        Ok(ingester)
    }

    /// Keeps `record`: when this returns, all of it but the refused sections is synced.
    ///
    /// Dropping the future takes nothing back: what was begun is finished.
    ///
    /// # Errors
    /// [`PushError`].
    pub async fn push(&self, record: Record) -> Result<Pushed, PushError> {
        let shared = Arc::clone(&self.shared);
        finish(async move {
            let kept = Arc::clone(&shared).keep(record).await;
            kept.inspect_err(|error| shared.log_refusal(error))
        })
        .await
    }

    /// Tells of the ring: how many ingesters share global limits, and which streams are not this one's any more. One
    /// without healthy ingesters says nothing of the limits.
    pub fn set_ring(&self, ring: &Arc<Ring>) {
        let healthy = ring.healthy(Operation::WRITE).count();
        if healthy > 0 {
            self.shared.peers.store(healthy, Ordering::Relaxed);
        }
        *self.shared.ring.write() = Some(Arc::clone(ring));
    }

    /// How it is.
    pub fn health(&self) -> Health {
        let shared = &self.shared;
        Health {
            streams: shared.tenants.len() as u64,
            memory_bytes: shared.memory.bytes() as u64,
            wal_bytes: shared.log.wal().usage().log_bytes,
            failure: self.failure().unwrap_or_default(),
        }
    }

    /// Why it has to be started anew, if that is so: it takes nothing any more, or stores nothing.
    pub fn failure(&self) -> Option<String> {
        self.log_failure().or_else(|| self.shared.background.failure().map(str::to_owned))
    }

    /// Why the log takes nothing any more until it is opened again, if that is so.
    pub fn log_failure(&self) -> Option<String> {
        let failure = self.shared.log.wal().poisoned()?;
        Some(format!("log refuses writes since {failure}: {}", failure.cause))
    }

    /// Reads the log into memory, storing chunks on the way where memory would not hold it all.
    async fn replay(&self) -> anyhow::Result<()> {
        let shared = &self.shared;
        // What was read and is not in memory yet must stay, whatever is stored meanwhile.
        let _replaying = Applying::from(shared, Lsn(0));
        let relief = FlushPolicy { memory_percent: 50, relieved_percent: 25, ..shared.options.flush };
        let mut records = 0_u64;
        let mut reader = shared.log.wal().reader(Lsn(0));
        loop {
            let (back, batch) = crate::offload::offload(move || {
                let (mut batch, mut bytes) = (Vec::new(), 0);
                while bytes < REPLAY_BYTES
                    && let Some(record) = reader.next()
                {
                    bytes += record
                        .as_ref()
                        .map_or(REPLAY_BYTES, |record| size_of_val(record) + record.bytes.len());
                    batch.push(record);
                }
                (reader, batch)
            })
            .await;
            reader = back;
            if batch.is_empty() {
                break;
            }
            for record in batch {
                let record = record?;
                let parsed = Record::parse(record.bytes)
                    .map_err(|e| anyhow::anyhow!("record {} of the log: {e}", record.lsn.0))?;
                let streams = shared.tenants.open(&parsed, monotonic_ns(), |_| None).streams;
                shared.apply(&parsed, &streams, record.lsn);
                records += 1;
            }
            while shared.memory.bytes() > shared.options.memory_limit / 2 {
                shared.relieve(&relief);
                shared.drained().await;
            }
        }
        metrics::counter!("forebay_wal_replayed_records_total").increment(records);
        tracing::info!(records, streams = shared.tenants.len(), "log replayed");
        Ok(())
    }
}

impl<F: Fs> Shared<F> {
    async fn keep(self: Arc<Self>, record: Record) -> Result<Pushed, PushError> {
        let room = self.room(record.bytes().len()).await?;
        let applying = Applying::begin(&self);
        self.admit(&applying)?;
        let limits = self.overrides.load().limits(record.tenant()).clone();
        let peers = self.peers.load(Ordering::Relaxed);
        let limit = |_: &str| {
            let (local, global) = (limits.max_streams_per_user, limits.max_global_streams_per_user);
            stream_limit(local, global, self.options.replication_factor, peers)
        };
        let opened = self.tenants.open(&record, monotonic_ns(), limit);
        let refused = opened.refused.iter().map(|r| Refused {
            section: u32::try_from(r.section).unwrap_or(u32::MAX),
            active: r.active as u64,
            limit: r.limit as u64,
        });
        let pushed = Pushed { refused: refused.collect() };
        let bytes = if opened.refused.is_empty() {
            record.bytes().clone()
        } else {
            let keep: Vec<bool> = opened.streams.iter().map(Option::is_some).collect();
            if !keep.contains(&true) {
                let (instance, tenant) = (&self.options.instance, record.tenant());
                tracing::debug!(instance, tenant, refused = pushed.refused.len(), "record refused");
                return Ok(pushed);
            }
            record.retain(&keep)
        };
        let lsn = self.log.append(bytes).await?;
        drop(room);
        self.apply(&record, &opened.streams, lsn);
        drop(applying);
        let (instance, tenant) = (&self.options.instance, record.tenant());
        let (streams, refused) = (opened.streams.len(), pushed.refused.len());
        tracing::debug!(instance, tenant, lsn = lsn.0, streams, refused, "record kept");
        Ok(pushed)
    }

    /// Room for a record on its way into the log. Who comes first has it first, so that a large one is not passed by
    /// small ones for ever.
    async fn room(&self, bytes: usize) -> Result<SemaphorePermit<'_>, PushError> {
        let (room, wait) = (self.options.log_room / ROOM_UNIT, self.options.log_patience);
        // One that is larger than all the room has it for itself.
        let units = u32::try_from(bytes).unwrap_or(u32::MAX).div_ceil(ROOM_UNIT).clamp(1, room.max(1));
        let acquired = tokio::time::timeout(wait, self.room.acquire_many(units)).await;
        acquired.ok().and_then(Result::ok).ok_or_else(|| PushError::Busy {
            reason: format!("no room on the way into the log within {wait:?}"),
            retry_after: Some(Duration::ZERO),
        })
    }

    /// Says why a record was not kept. One that is to come again later is no failure of anybody.
    fn log_refusal(&self, error: &PushError) {
        let instance = &self.options.instance;
        match error {
            PushError::Busy { .. } => tracing::debug!(instance, %error, "record not kept for now"),
            _ => tracing::warn!(instance, %error, "record not kept"),
        }
    }

    /// Whether it takes a push that has announced itself: a drain waits for what was announced before it closed,
    /// and what is announced later is refused here.
    fn admit(&self, _announced: &Applying<F>) -> Result<(), PushError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(PushError::Unavailable { reason: "it is stopping".to_owned() });
        }
        let (used, limit) = (self.memory.bytes(), self.options.memory_limit);
        if used > limit {
            self.wake.notify_one();
            return Err(PushError::Busy {
                reason: format!("{used} bytes of lines in memory, the limit is {limit}"),
                retry_after: Some(RESPITE),
            });
        }
        Ok(())
    }

    /// Puts the entries of `record` into their streams.
    fn apply(&self, record: &Record, streams: &[Option<Expected>], lsn: Lsn) {
        let now_ns = monotonic_ns();
        for (section, stream) in record.sections().zip(streams) {
            let Some(stream) = stream else { continue };
            let applied = stream.apply(&section, lsn, &self.options, now_ns);
            self.memory.change(applied.memory);
            // Only now: who begins to listen and then asks for what is there must not miss it in between.
            self.listeners.tell(record.tenant(), &stream.labels, &section, &applied.repeats);
            for ticket in applied.closed {
                self.enqueue(stream, ticket);
            }
            if applied.blocks {
                // The receiver outlives every push: it ends only with `Shared` itself.
                let _ = self.blocks.send(Arc::clone(stream));
            }
        }
        if self.memory.bytes() > self.options.memory_limit / 5 * 4 {
            self.wake.notify_one();
        }
    }
}

/// While it lives, the log keeps what was appended since it began, or from a record on.
struct Applying<F: Fs> {
    shared: Arc<Shared<F>>,
    from: u64,
}

impl<F: Fs> Applying<F> {
    fn begin(shared: &Arc<Shared<F>>) -> Self {
        // Read under the lock: whoever computes what the log may forget holds it too.
        Self::enter(shared, || shared.log.wal().next_lsn())
    }

    fn from(shared: &Arc<Shared<F>>, lsn: Lsn) -> Self {
        Self::enter(shared, || lsn)
    }

    fn enter(shared: &Arc<Shared<F>>, lsn: impl FnOnce() -> Lsn) -> Self {
        let mut applying = shared.applying.lock();
        let from = lsn().0;
        *applying.entry(from).or_default() += 1;
        drop(applying);
        Self { shared: Arc::clone(shared), from }
    }
}

impl<F: Fs> Drop for Applying<F> {
    fn drop(&mut self) {
        let mut applying = self.shared.applying.lock();
        if let Some(count) = applying.get_mut(&self.from) {
            *count -= 1;
            if *count == 0 {
                applying.remove(&self.from);
            }
        }
    }
}
