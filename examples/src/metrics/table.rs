//! Every metric there is: what `/metrics` shows is here, and what is here `/metrics` shows, from the start.

/// What a metric counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What only grows.
    Counter,
    /// What goes up and down.
    Gauge,
    /// How often which size was seen.
    Histogram,
}

impl Kind {
    /// Prometheus' word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// Its labels, each with all values it can have; none where these are not known before.
    pub labels: &'static [(&'static str, &'static [&'static str])],
    /// What it means, and in what unit.
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Counter, labels: &[], help }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Gauge, labels: &[], help }
}

const fn histogram(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: Kind::Histogram, labels: &[], help }
}

impl Metric {
    const fn by(self, labels: &'static [(&'static str, &'static [&'static str])]) -> Self {
        Self { labels, ..self }
    }
}

/// How an ingester is.
const STATES: &[&str] = &["PENDING", "JOINING", "ACTIVE", "LEAVING", "LEFT"];
/// Why a chunk is stored.
const FLUSH: &[&str] =
    &["full", "max_age", "idle", "synced", "forced", "not_owned", "pressure", "wal_pinned"];
/// Why the log takes nothing.
const REJECTED: &[&str] = &[
    "no_space",
    "quota_exceeded",
    "too_large",
    "backpressure",
    "closed",
    "poisoned",
    "io",
    "numbers_used_up",
    "not_appended",
];
/// What a query goes through.
const STAGES: &[&str] = &["ingesters", "index_lookup", "chunk_download", "chunk_decode", "processing"];

/// What works as long as its process does.
const TASKS: &[&str] = &[
    "encode_blocks",
    "write_chunks",
    "watch_memory",
    "metrics",
    "runtime_config",
    "ring",
    "compactor",
    "log",
];

/// All of them. A tenant is itself, or `other` where there are more than
/// [`MOST_TENANTS`](super::tenants::MOST_TENANTS).
#[rustfmt::skip]
pub const TABLE: &[Metric] = &[
    histogram("forebay_request_duration_seconds", "Time from a request to its answer.")
        .by(&[("route", &[]), ("method", &[]), ("status", &[])]),
    counter("forebay_received_lines_total", "Lines that were taken.").by(&[("tenant", &[])]),
    counter("forebay_received_bytes_total", "Bytes of lines and metadata that were taken.").by(&[("tenant", &[])]),
    counter("forebay_discarded_lines_total", "Lines that were refused.").by(&[("tenant", &[]), ("reason", &[])]),
    counter("forebay_discarded_bytes_total", "Bytes of lines and metadata that were refused.")
        .by(&[("tenant", &[]), ("reason", &[])]),
    counter("forebay_limiter_denied_total", "Pushes beyond a tenant's rate.").by(&[("tenant", &[]), ("bound", &[])]),
    gauge("forebay_intake_bytes", "Bytes of pushes under way, as they came and as they were decoded."),
    histogram("forebay_replica_push_seconds", "Time that an ingester took for a record.")
        .by(&[("instance", &[]), ("outcome", &[])]),
    gauge("forebay_breaker_state", "0 closed, 1 half open, 2 open.").by(&[("name", &[])]),
    counter("forebay_breaker_transitions_total", "Changes of a breaker's state.").by(&[("name", &[]), ("to", &[])]),
    gauge("forebay_ring_members", "Ingesters by state.").by(&[("state", STATES)]),
    gauge("forebay_ring_ownership_ratio", "The part of all keys that is an ingester's own.").by(&[("instance", &[])]),
    gauge("forebay_ingester_streams", "Streams in memory.").by(&[("tenant", &[])]),
    gauge("forebay_ingester_memory_bytes", "Bytes of lines in memory."),
    gauge("forebay_ingester_flush_queue_length", "Chunks that are to be stored."),
    counter("forebay_chunks_flushed_total", "Chunks that were stored.").by(&[("reason", FLUSH)]),
    counter("forebay_chunk_raw_bytes_total", "Bytes of the lines in stored chunks."),
    counter("forebay_chunk_stored_bytes_total", "Bytes of stored chunks."),
    histogram("forebay_query_stage_seconds", "Time of a query in each of its stages.").by(&[("stage", STAGES)]),
    counter("forebay_block_cache_hits_total", "Blocks of chunks that a query found decoded."),
    counter("forebay_block_cache_misses_total", "Blocks of chunks that a query decoded to be kept."),
    gauge("forebay_block_cache_bytes", "Bytes of decoded blocks that are kept."),
    counter("forebay_query_holes_total", "Damaged chunks and blocks that queries answered without."),
    counter("forebay_queries_cancelled_total", "Queries that ended because nobody waited for them any more."),
    gauge("forebay_tails", "Connections that follow lines as they come."),
    counter("forebay_tail_dropped_lines_total", "Lines that came faster than somebody who follows them reads."),
    counter("forebay_retention_deleted_chunks_total", "Chunks that were deleted."),
    gauge("forebay_retention_held_chunks", "Chunks past their retention that are held."),
    counter("forebay_wal_replayed_records_total", "Records read from the log at the start."),
    counter("forebay_wal_appended_records_total", "Records written to the log."),
    counter("forebay_wal_appended_bytes_total", "Bytes of those records."),
    counter("forebay_wal_physical_bytes_total", "Bytes written for them and for the log itself."),
    counter("forebay_wal_groups_total", "Groups of records that were written."),
    histogram("forebay_wal_group_records", "Records of a group, counted as the most of its power of two."),
    counter("forebay_wal_syncs_total", "Syncs."),
    counter("forebay_wal_sync_nanoseconds_total", "Time spent in syncs."),
    histogram("forebay_wal_sync_seconds", "Time of a sync, to the next power of two of a microsecond."),
    histogram("forebay_wal_append_wait_seconds",
        "Time that a thread waited for its append to be synced, to the next power of two of a microsecond."),
    gauge("forebay_wal_longest_sync_seconds", "The longest sync so far."),
    gauge("forebay_wal_sync_ewma_seconds", "What a sync takes at present."),
    counter("forebay_wal_sync_failures_total", "Syncs that failed."),
    counter("forebay_wal_write_failures_total", "Writes that failed."),
    gauge("forebay_wal_durable_lag_seconds", "Age of the oldest record that is written and not synced."),
    gauge("forebay_wal_unsynced_records", "Records that are not synced."),
    gauge("forebay_wal_unsynced_bytes", "Bytes of records that are not synced."),
    counter("forebay_wal_rotations_total", "Segments that were sealed."),
    counter("forebay_wal_rotation_nanoseconds_total", "Time that this took."),
    gauge("forebay_wal_longest_rotation_seconds", "The longest of them."),
    counter("forebay_wal_recycled_segments_total", "Segments made from the file of an earlier one."),
    counter("forebay_wal_rejected_total", "Records that the log refused.").by(&[("reason", REJECTED)]),
    gauge("forebay_wal_disk_bytes", "Bytes of the log."),
    gauge("forebay_wal_spare_bytes", "Bytes of files that are kept to be used again."),
    gauge("forebay_wal_segments", "Segments of the log."),
    gauge("forebay_wal_appended_lsn", "The last record that was appended."),
    gauge("forebay_wal_durable_lsn", "The last record that is synced with all before it."),
    gauge("forebay_wal_low_lsn", "The first record that is kept."),
    gauge("forebay_wal_inflight_bytes", "Bytes of records that are not done with."),
    gauge("forebay_wal_recovery_seconds", "Time that opening the log took."),
    gauge("forebay_wal_recovered_records", "Records that it found."),
    gauge("forebay_wal_torn_bytes", "Bytes that it cut off the end."),
    gauge("forebay_wal_lost_records", "Records that were durable and that it found lost."),
    counter("forebay_background_panics_total", "Tasks gone until their process is started anew.")
        .by(&[("task", TASKS)]),
    gauge("forebay_wal_poisoned", "1 where a failure has ended all writing until the log is opened again."),
];
