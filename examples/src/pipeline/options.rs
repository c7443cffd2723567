//! From the configuration, in its users' words, to what each part wants to know.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::Context;
use forebay_chunk::{BuilderOptions, FlushPolicy, Format};
use forebay_ring::quorum;

use crate::config::{ChunkFormat, Config};
use crate::distributor::Requirements;
use crate::{compactor, distributor, ingester, memory, query};

/// Pushes that an ingester may be sent at the same time.
const MAX_CALLS: usize = 4096;
/// The longest time that an ingester is left alone: the ring finds out who is gone.
pub(crate) const MAX_OPEN: Duration = Duration::from_secs(5);
/// Sections of a record; small beside what may wait for a sync in a log, so that large pushes leave room for others.
const RECORD_BYTES: usize = 4 << 20;

/// Bytes of records on their way into an ingester's log: a dozen of the largest.
pub(super) const LOG_ROOM: u32 = 48 << 20;

/// The options of an ingester under `config`.
///
/// # Errors
/// Chunk sizes that cannot be built.
pub fn ingester_options(config: &Config) -> anyhow::Result<ingester::Options> {
    let settings = &config.ingester;
    let chunks = BuilderOptions {
        format: match settings.chunk_format {
            ChunkFormat::Loki => Format::LokiV4,
            ChunkFormat::Columnar => Format::Columnar,
        },
        codec: settings.chunk_encoding,
        profile: settings.chunk_profile,
        block_size: usize::try_from(settings.chunk_block_size)?,
        target_size: usize::try_from(settings.chunk_target_size)?,
        ..BuilderOptions::default()
    };
    forebay_chunk::Builder::new(chunks).context("chunk options")?;
    Ok(ingester::Options {
        instance: config.common.instance_id.clone(),
        chunks,
        flush: FlushPolicy {
            target_size: settings.chunk_target_size,
            max_age: settings.max_chunk_age,
            max_idle: settings.chunk_idle_period,
            sync_period: settings.sync_period,
            sync_min_utilization: settings.sync_min_utilization,
            ..FlushPolicy::default()
        },
        flush_check: settings.flush_check_period,
        memory_limit: match settings.memory_limit {
            0 => usize::try_from(memory::available() / 4)?,
            bytes => usize::try_from(bytes)?,
        },
        replication_factor: config.common.replication_factor.into(),
        flush_parallelism: settings.concurrent_flushes,
        log_room: LOG_ROOM,
        // The distributor must hear of it before it gives up.
        log_patience: config.distributor.push_timeout / 2,
    })
}

/// The options of a distributor under `config`.
pub fn distributor_options(config: &Config) -> distributor::Options {
    let settings = &config.distributor;
    let bytes = usize::try_from(settings.max_inflight_bytes).unwrap_or(usize::MAX);
    let per_target = quorum::Load { calls: MAX_CALLS, bytes };
    let total = quorum::Load { calls: MAX_CALLS * 16, bytes: bytes.saturating_mul(4) };
    distributor::Options {
        requirements: Requirements { default: settings.require, tenants: settings.require_overrides.clone() },
        push_timeout: settings.push_timeout,
        targets: quorum::Limits { per_target, total },
        intake_bytes: settings.max_inflight_bytes.saturating_mul(4),
        record_bytes: bytes.min(RECORD_BYTES),
        // An ingester that was only full must not be missed for a minute.
        circuit: forebay_circuit::Options { max_open_for: MAX_OPEN, ..forebay_circuit::Options::default() },
        chunk_limits: forebay_chunk::Limits::default(),
    }
}

/// The options of a querier under `config`.
pub fn querier_options(config: &Config) -> query::Options {
    let settings = &config.querier;
    query::Options {
        max_concurrent: NonZeroUsize::new(settings.max_concurrent).unwrap_or(NonZeroUsize::MIN),
        block_cache_bytes: settings.block_cache_bytes,
    }
}

/// The options of a compactor under `config`.
pub(super) fn compactor_options(config: &Config) -> compactor::Options {
    let settings = &config.compactor;
    compactor::Options {
        retention_enabled: settings.retention_enabled,
        interval: settings.compaction_interval,
        orphan_age: settings.orphan_age,
        objects_dir: Some(config.common.path_prefix.join("objects")),
        sweep: forebay_retention::Options {
            delete_delay: settings.retention_delete_delay,
            max_delete_fraction: f64::from(settings.max_delete_percent) / 100.0,
            ..forebay_retention::Options::default()
        },
    }
}
