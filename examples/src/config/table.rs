//! Every name of the configuration: those that are used with what they set, those of Loki that load with a warning.

mod ring;

use std::path::PathBuf;
use std::time::Duration;

use forebay_ring::Require;
use forebay_tenant::yaml::Status::{Recognised, Used};
use forebay_tenant::yaml::{Error, Node, Table, Warning};

use super::{Config, Target, chunks};

/// Sets what a name stands for.
pub(super) type Set = fn(&mut Config, &Node, &mut Vec<Warning>) -> Result<(), Error>;

type Outcome = Result<(), Error>;

pub(super) static ROOT: Table<Set> = Table::new(&[
    ("analytics", Recognised),
    ("auth_enabled", Used(|c, n, _| scalar(&mut c.auth_enabled, n, Node::bool))),
    ("ballast_bytes", Recognised),
    ("bloom_build", Recognised),
    ("bloom_gateway", Recognised),
    ("chunk_store_config", Recognised),
    ("common", Used(|c, n, w| n.fields(&COMMON, w, |set, n, w| set(c, n, w)))),
    ("compactor", Used(|c, n, w| n.fields(&COMPACTOR, w, |set, n, w| set(c, n, w)))),
    ("compactor_grpc_client", Recognised),
    ("distributor", Used(|c, n, w| n.fields(&DISTRIBUTOR, w, |set, n, w| set(c, n, w)))),
    ("frontend", Used(|c, n, w| n.fields(&FRONTEND, w, |set, n, w| set(c, n, w)))),
    ("frontend_worker", Recognised),
    ("index_gateway", Recognised),
    ("ingest_limits", Recognised),
    ("ingest_limits_frontend", Recognised),
    ("ingester", Used(|c, n, w| n.fields(&INGESTER, w, |set, n, w| set(c, n, w)))),
    ("ingester_client", Recognised),
    ("kafka_config", Recognised),
    ("limits_config", Used(|c, n, w| c.limits_config.apply(n, w))),
    ("memberlist", Used(|c, n, w| n.fields(&ring::MEMBERLIST, w, |set, n, w| set(c, n, w)))),
    ("metrics_namespace", Recognised),
    ("operational_config", Recognised),
    ("pattern_ingester", Recognised),
    ("profiling", Recognised),
    ("querier", Used(|c, n, w| n.fields(&QUERIER, w, |set, n, w| set(c, n, w)))),
    ("query_range", Used(|c, n, w| n.fields(&QUERY_RANGE, w, |set, n, w| set(c, n, w)))),
    ("query_scheduler", Recognised),
    ("ruler", Recognised),
    ("ruler_storage", Recognised),
    ("runtime_config", Used(|c, n, w| n.fields(&RUNTIME, w, |set, n, w| set(c, n, w)))),
    ("schema_config", Recognised),
    ("server", Used(|c, n, w| n.fields(&SERVER, w, |set, n, w| set(c, n, w)))),
    ("shutdown_delay", Recognised),
    ("shutdown_timeout", Used(|c, n, _| scalar(&mut c.shutdown_timeout, n, Node::duration))),
    ("storage_config", Recognised),
    ("table_manager", Recognised),
    ("target", Used(|c, n, _| scalar(&mut c.target, n, target))),
    ("tracing", Recognised),
    ("ui", Recognised),
]);

static SERVER: Table<Set> = Table::new(&[
    ("graceful_shutdown_timeout", Used(|c, n, _| scalar(&mut c.shutdown_timeout, n, Node::duration))),
    ("grpc_listen_address", Used(|c, n, _| scalar(&mut c.server.grpc_listen_address, n, text))),
    ("grpc_listen_port", Used(|c, n, _| scalar(&mut c.server.grpc_listen_port, n, port))),
    ("grpc_server_max_concurrent_streams", Recognised),
    ("grpc_server_max_recv_msg_size", Recognised),
    ("grpc_server_max_send_msg_size", Recognised),
    ("http_listen_address", Used(|c, n, _| scalar(&mut c.server.http_listen_address, n, text))),
    ("http_listen_port", Used(|c, n, _| scalar(&mut c.server.http_listen_port, n, port))),
    ("http_path_prefix", Recognised),
    ("http_server_idle_timeout", Recognised),
    (
        "http_server_read_timeout",
        Used(|c, n, _| scalar(&mut c.server.http_server_read_timeout, n, positive_duration)),
    ),
    ("http_server_write_timeout", Recognised),
    ("http_tls_config", Recognised),
    ("log_format", Recognised),
    ("log_level", Recognised),
    ("log_request_headers", Recognised),
    ("register_instrumentation", Recognised),
]);

static COMMON: Table<Set> = Table::new(&[
    ("compactor_address", Recognised),
    ("compactor_grpc_address", Recognised),
    ("instance_addr", Used(|c, n, _| scalar(&mut c.ingester.lifecycler.address, n, text))),
    ("instance_availability_zone", Used(|c, n, _| scalar(&mut c.common.instance_availability_zone, n, text))),
    ("instance_id", Used(|c, n, _| scalar(&mut c.common.instance_id, n, text))),
    ("instance_interface_names", Recognised),
    ("path_prefix", Used(|c, n, _| scalar(&mut c.common.path_prefix, n, path))),
    ("persist_tokens", Recognised),
    ("replication_factor", Used(|c, n, _| scalar(&mut c.common.replication_factor, n, replication_factor))),
    // Read before everything else, since what is said of a single ring goes before it.
    ("ring", Used(|_, _, _| Ok(()))),
    ("storage", Recognised),
]);

static DISTRIBUTOR: Table<Set> = Table::new(&[
    (
        "max_decompressed_size",
        Used(|c, n, _| scalar(&mut c.distributor.max_decompressed_size, n, positive_size)),
    ),
    ("max_inflight_bytes", Used(|c, n, _| scalar(&mut c.distributor.max_inflight_bytes, n, positive_size))),
    ("max_recv_msg_size", Used(|c, n, _| scalar(&mut c.distributor.max_recv_msg_size, n, positive_size))),
    ("otlp_config", Recognised),
    ("push_timeout", Used(|c, n, _| scalar(&mut c.distributor.push_timeout, n, positive_duration))),
    ("push_worker_count", Recognised),
    ("rate_store", Recognised),
    ("require", Used(|c, n, _| scalar(&mut c.distributor.require, n, require))),
    (
        "require_overrides",
        Used(|c, n, w| {
            n.entries(w, |entry, _| {
                c.distributor.require_overrides.insert(entry.key().to_owned(), require(entry.value())?);
                Ok(())
            })
        }),
    ),
    ("ring", Recognised),
    ("write_failures_logging", Recognised),
]);

static INGESTER: Table<Set> = Table::new(&[
    ("autoforget_unhealthy", Used(|c, n, _| scalar(&mut c.ingester.autoforget_unhealthy, n, Node::bool))),
    ("chunk_block_size", Used(|c, n, _| scalar(&mut c.ingester.chunk_block_size, n, positive_size))),
    ("chunk_encoding", Used(|c, n, _| scalar(&mut c.ingester.chunk_encoding, n, chunks::codec))),
    ("chunk_format", Used(|c, n, _| scalar(&mut c.ingester.chunk_format, n, chunks::format))),
    ("chunk_idle_period", Used(|c, n, _| scalar(&mut c.ingester.chunk_idle_period, n, positive_duration))),
    ("chunk_profile", Used(|c, n, _| scalar(&mut c.ingester.chunk_profile, n, chunks::profile))),
    ("chunk_retain_period", Recognised),
    ("chunk_target_size", Used(|c, n, _| scalar(&mut c.ingester.chunk_target_size, n, positive_size))),
    ("concurrent_flushes", Used(|c, n, _| scalar(&mut c.ingester.concurrent_flushes, n, positive_count))),
    ("flush_check_period", Used(|c, n, _| scalar(&mut c.ingester.flush_check_period, n, positive_duration))),
    ("flush_op_backoff", Recognised),
    ("flush_op_timeout", Recognised),
    ("index_shards", Recognised),
    ("lifecycler", Used(|c, n, w| n.fields(&ring::LIFECYCLER, w, |set, n, w| set(c, n, w)))),
    ("max_chunk_age", Used(|c, n, _| scalar(&mut c.ingester.max_chunk_age, n, positive_duration))),
    ("max_dropped_streams", Recognised),
    ("max_returned_stream_errors", Recognised),
    ("memory_limit", Used(|c, n, _| scalar(&mut c.ingester.memory_limit, n, Node::size))),
    ("query_store_max_look_back_period", Recognised),
    ("shutdown_marker_path", Recognised),
    ("sync_min_utilization", Used(|c, n, _| scalar(&mut c.ingester.sync_min_utilization, n, part))),
    ("sync_period", Used(|c, n, _| scalar(&mut c.ingester.sync_period, n, Node::duration))),
    ("wal", Used(|c, n, w| n.fields(&WAL, w, |set, n, w| set(c, n, w)))),
]);

static WAL: Table<Set> = Table::new(&[
    ("checkpoint_duration", Recognised),
    ("dir", Recognised),
    ("enabled", Recognised),
    ("flush_on_shutdown", Recognised),
    ("max_bytes", Used(|c, n, _| scalar(&mut c.ingester.wal.max_bytes, n, log_size))),
    ("replay_memory_ceiling", Recognised),
    ("segment_bytes", Used(|c, n, _| scalar(&mut c.ingester.wal.segment_bytes, n, Node::size))),
]);

static QUERIER: Table<Set> = Table::new(&[
    ("block_cache_bytes", Used(|c, n, _| scalar(&mut c.querier.block_cache_bytes, n, Node::size))),
    ("engine", Recognised),
    ("engine_v2", Recognised),
    ("extra_query_delay", Recognised),
    ("max_concurrent", Used(|c, n, _| scalar(&mut c.querier.max_concurrent, n, positive_count))),
    ("multi_tenant_queries_enabled", Recognised),
    ("per_request_limits_enabled", Recognised),
    ("query_ingester_only", Recognised),
    ("query_ingesters_within", Recognised),
    ("query_partition_ingesters", Recognised),
    ("query_store_only", Recognised),
    ("query_timeout", Recognised),
    ("tail_max_duration", Used(|c, n, _| scalar(&mut c.querier.tail_max_duration, n, positive_duration))),
]);

static FRONTEND: Table<Set> = Table::new(&[
    ("address", Recognised),
    ("compress_responses", Recognised),
    ("downstream_url", Recognised),
    ("encoding", Recognised),
    ("graceful_shutdown_timeout", Recognised),
    ("grpc_client_config", Recognised),
    ("instance_addr", Recognised),
    ("instance_enable_ipv6", Recognised),
    ("instance_interface_names", Recognised),
    ("log_queries_longer_than", Used(|c, n, _| scalar(&mut c.frontend.log_queries_longer_than, n, slow))),
    ("max_body_size", Recognised),
    ("max_outstanding_per_tenant", Recognised),
    ("max_query_capacity", Recognised),
    ("port", Recognised),
    ("querier_forget_delay", Recognised),
    ("query_stats_enabled", Recognised),
    ("scheduler_address", Recognised),
    ("scheduler_dns_lookup_period", Recognised),
    ("scheduler_worker_concurrency", Recognised),
    ("support_parquet_encoding", Recognised),
    ("tail_proxy_url", Recognised),
    ("tail_tls_config", Recognised),
]);

static QUERY_RANGE: Table<Set> = Table::new(&[
    (
        "align_queries_with_step",
        Used(|c, n, _| scalar(&mut c.query_range.align_queries_with_step, n, Node::bool)),
    ),
    ("cache_index_stats_results", Recognised),
    ("cache_instant_metric_results", Recognised),
    ("cache_label_results", Recognised),
    ("cache_results", Recognised),
    ("cache_series_results", Recognised),
    ("cache_volume_results", Recognised),
    ("index_stats_results_cache", Recognised),
    ("instant_metric_query_split_align", Recognised),
    ("instant_metric_results_cache", Recognised),
    ("label_results_cache", Recognised),
    ("max_retries", Recognised),
    ("min_sharding_lookback", Recognised),
    ("parallelise_shardable_queries", Recognised),
    ("required_query_response_format", Recognised),
    ("results_cache", Recognised),
    ("series_results_cache", Recognised),
    ("shard_aggregations", Recognised),
    ("split_queries_by_day", Recognised),
    ("split_queries_by_interval", Recognised),
    ("volume_results_cache", Recognised),
]);

static COMPACTOR: Table<Set> = Table::new(&[
    (
        "compaction_interval",
        Used(|c, n, _| scalar(&mut c.compactor.compaction_interval, n, positive_duration)),
    ),
    ("compactor_ring", Recognised),
    ("delete_request_cancel_period", Recognised),
    ("delete_request_store", Recognised),
    ("max_compaction_parallelism", Recognised),
    ("max_delete_percent", Used(|c, n, _| scalar(&mut c.compactor.max_delete_percent, n, percent))),
    ("orphan_age", Used(|c, n, _| scalar(&mut c.compactor.orphan_age, n, orphan_age))),
    (
        "retention_delete_delay",
        Used(|c, n, _| scalar(&mut c.compactor.retention_delete_delay, n, Node::duration)),
    ),
    ("retention_delete_worker_count", Recognised),
    ("retention_enabled", Used(|c, n, _| scalar(&mut c.compactor.retention_enabled, n, Node::bool))),
    ("retention_table_timeout", Recognised),
    ("upload_parallelism", Recognised),
    ("working_directory", Recognised),
]);

static RUNTIME: Table<Set> = Table::new(&[
    ("file", Used(|c, n, _| scalar(&mut c.runtime_config.file, n, |n| path(n).map(Some)))),
    ("period", Used(|c, n, _| scalar(&mut c.runtime_config.period, n, positive_duration))),
]);

/// What all rings have in common, for `root` of a whole configuration.
pub(super) fn common_ring(config: &mut Config, root: &Node, warnings: &mut Vec<Warning>) -> Outcome {
    let Some(ring) = root.get("common").and_then(|common| common.get("ring")) else { return Ok(()) };
    let mut own = Vec::new();
    let read = ring.fields(&ring::COMMON_RING, &mut own, |set, n, w| set(config, n, w));
    warnings.extend(own.into_iter().map(|warning| warning.in_field("ring").in_field("common")));
    read.map_err(|error| error.in_field("ring").in_field("common"))
}

/// Sets a scalar, unless the node is null.
fn scalar<'n, T>(field: &mut T, node: &'n Node, read: impl FnOnce(&'n Node) -> Result<T, Error>) -> Outcome {
    if !node.is_null() {
        *field = read(node)?;
    }
    Ok(())
}

fn text(node: &Node) -> Result<String, Error> {
    node.str().map(str::to_owned)
}

fn path(node: &Node) -> Result<PathBuf, Error> {
    node.str().map(PathBuf::from)
}

fn port(node: &Node) -> Result<u16, Error> {
    node.u64()?.try_into().map_err(|_| node.expected("a port of 0 to 65535"))
}

fn percent(node: &Node) -> Result<u32, Error> {
    node.u64()?
        .try_into()
        .ok()
        .filter(|p| (1..=100).contains(p))
        .ok_or_else(|| node.expected("a percentage of 1 to 100"))
}

fn part(node: &Node) -> Result<f64, Error> {
    node.f64().ok().filter(|part| (0.0..=1.0).contains(part)).ok_or_else(|| node.expected("a part of 0 to 1"))
}

fn replication_factor(node: &Node) -> Result<u8, Error> {
    node.u64()?
        .try_into()
        .ok()
        .filter(|f| *f > 0)
        .ok_or_else(|| node.expected("a replication factor of 1 to 255"))
}

fn positive_count(node: &Node) -> Result<usize, Error> {
    node.usize().ok().filter(|n| *n > 0).ok_or_else(|| node.expected("a count of at least 1"))
}

fn positive_size(node: &Node) -> Result<u64, Error> {
    let size = node.size()?;
    if size > 0 { Ok(size) } else { Err(node.expected("a size of at least 1 byte")) }
}

fn log_size(node: &Node) -> Result<u64, Error> {
    let size = node.size()?;
    if size >= 1 << 20 { Ok(size) } else { Err(node.expected("a size of at least 1 MiB")) }
}

fn positive_duration(node: &Node) -> Result<Duration, Error> {
    let duration = node.duration()?;
    if duration.is_zero() { Err(node.expected("a duration above 0")) } else { Ok(duration) }
}

/// An ingester that cannot reach the index writes its objects anew every half minute: what is younger may be waited for.
fn orphan_age(node: &Node) -> Result<Duration, Error> {
    let age = node.duration()?;
    if age >= Duration::from_mins(10) { Ok(age) } else { Err(node.expected("a duration of at least 10m")) }
}

fn target(node: &Node) -> Result<Target, Error> {
    use clap::ValueEnum;
    Target::from_str(node.str()?, true)
        .map_err(|_| node.expected("all, distributor, ingester, querier or compactor"))
}

/// A duration, 0 for none, or one below 0 for whatever there is.
fn slow(node: &Node) -> Result<Option<Duration>, Error> {
    let Some(below) = node.str()?.strip_prefix('-') else {
        return Ok(Some(node.duration()?).filter(|longer| !longer.is_zero()));
    };
    match forebay_tenant::units::parse_duration(below) {
        Ok(below) => Ok((!below.is_zero()).then_some(Duration::ZERO)),
        Err(_) => Err(node.expected("a duration such as 10s, 0s or -1s")),
    }
}

fn require(node: &Node) -> Result<Require, Error> {
    node.str()?.parse().map_err(|_| node.expected("one, quorum or all"))
}
