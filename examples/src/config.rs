//! The pipeline's configuration: Loki's names and units where Loki has them, read through `tenant`'s YAML tree, so
//! that a mistake is told with line, column and the nearest known name.

mod chunks;
mod ring;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use forebay_chunk::{Codec, Profile};
use forebay_ring::Require;
use forebay_tenant::yaml::{self, Warning};
use forebay_tenant::{Limits, units};
use serde::{Serialize, Serializer};

pub use chunks::ChunkFormat;
pub use ring::{Etcd, File, KvStore, Lifecycler, Memberlist, Ring, Store};

/// Everything that can be configured. [`Default`] is a single process for one tenant, `fake`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// Whether requests name their tenant in `X-Scope-OrgID`. Without it all belong to `fake`.
    pub auth_enabled: bool,
    /// Which parts run in this process.
    pub target: Target,
    /// How long a stop may take.
    #[serde(serialize_with = "duration")]
    pub shutdown_timeout: Duration,
    /// Addresses.
    pub server: Server,
    /// What all parts share.
    pub common: Common,
    /// Taking in.
    pub distributor: Distributor,
    /// Keeping.
    pub ingester: Ingester,
    /// Answering.
    pub querier: Querier,
    /// Before the answering.
    pub frontend: Frontend,
    /// How queries over a range are answered.
    pub query_range: QueryRange,
    /// Deleting.
    pub compactor: Compactor,
    /// How processes tell each other of the ring, where that is `gossip`.
    pub memberlist: Memberlist,
    /// What every tenant may.
    pub limits_config: Limits,
    /// What single tenants may.
    pub runtime_config: RuntimeConfig,
}

/// Parts of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// All of them.
    All,
    /// Takes pushes in.
    Distributor,
    /// Keeps lines until they are stored.
    Ingester,
    /// Answers queries.
    Querier,
    /// Deletes what may go.
    Compactor,
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Server {
    /// Address of the HTTP port. Default `127.0.0.1`.
    pub http_listen_address: String,
    /// The HTTP port; 0 takes a free one. Default 3100.
    pub http_listen_port: u16,
    /// How long the body of a push is waited for, and a second more for each 64 kB of it that came. Default 30 s.
    #[serde(serialize_with = "duration")]
    pub http_server_read_timeout: Duration,
    /// Address of the gRPC port. Default `127.0.0.1`.
    pub grpc_listen_address: String,
    /// The gRPC port; 0 takes a free one. Default 0.
    pub grpc_listen_port: u16,
}

/// What all parts share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Common {
    /// Directory for everything that is kept. Default `./data`.
    pub path_prefix: PathBuf,
    /// Copies of each line before it is stored. Default 1.
    pub replication_factor: u8,
    /// Failure domain of this process. Default none.
    pub instance_availability_zone: String,
    /// Name of the ingester of this process in the ring, the same over restarts. Default `ingester-0`.
    pub instance_id: String,
}

/// Taking in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Distributor {
    /// Largest body of a push, packed. Default 100 MiB.
    #[serde(serialize_with = "size")]
    pub max_recv_msg_size: u64,
    /// Largest body of a push, unpacked. What is decoded of it may take as much again. Default 500 MiB.
    #[serde(serialize_with = "size")]
    pub max_decompressed_size: u64,
    /// Copies that must be synced before a push is acknowledged: `one`, `quorum`, `all`. Default `quorum`.
    pub require: Require,
    /// The same for single tenants.
    pub require_overrides: BTreeMap<String, Require>,
    /// How long an ingester may take for one push. Default 10 s.
    #[serde(serialize_with = "duration")]
    pub push_timeout: Duration,
    /// Bytes under way to one ingester before pushes to it fail at once; four times as much may be under way to all,
    /// and in the bodies of pushes and what is decoded of them. Keep it above the largest line. Default 256 MiB.
    #[serde(serialize_with = "size")]
    pub max_inflight_bytes: u64,
}

/// Keeping.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ingester {
    /// The log.
    pub wal: Wal,
    /// The ring.
    pub lifecycler: Lifecycler,
    /// Whether an ingester that is silent for longer than `lifecycler.ring.heartbeat_timeout` is forgotten, as if
    /// somebody asked for it on `/ring`; nobody is while more than one of three are silent. Default no.
    pub autoforget_unhealthy: bool,
    /// What chunks are written in: `loki`, or `columnar`, which takes fewer bytes and which Loki does not read. Both are
    /// read, in one store, whichever is written. Default `loki`, so that what a bucket holds is readable without this
    /// program until somebody decides otherwise.
    pub chunk_format: ChunkFormat,
    /// How much work a columnar chunk is worth: `fast`, `balanced`, or `archive`, an order of magnitude more of it, with
    /// eight times the memory for each stream. Default `balanced`.
    #[serde(serialize_with = "chunks::show_profile")]
    pub chunk_profile: Profile,
    /// How the blocks of Loki's chunks are compressed, by Loki's names. Default `snappy`.
    #[serde(serialize_with = "display")]
    pub chunk_encoding: Codec,
    /// Raw bytes of a block. Default 256 KiB; columnar 1 MiB, of an archive 8 MiB.
    #[serde(serialize_with = "size")]
    pub chunk_block_size: u64,
    /// Stored bytes of a chunk. Default 1.5 MiB; columnar 2 MiB, of an archive 16 MiB.
    #[serde(serialize_with = "size")]
    pub chunk_target_size: u64,
    /// A chunk without new lines for so long is stored. Default 30 m.
    #[serde(serialize_with = "duration")]
    pub chunk_idle_period: Duration,
    /// A chunk that spans more is stored. Default 2 h.
    #[serde(serialize_with = "duration")]
    pub max_chunk_age: Duration,
    /// The period at whose bounds chunks are stored, so that replicas store the same lines together; 0 for not at all.
    /// Default 1 h.
    #[serde(serialize_with = "duration")]
    pub sync_period: Duration,
    /// The part of `chunk_target_size` that a chunk has for that. Default 0.1.
    pub sync_min_utilization: f64,
    /// How often chunks are looked at. Default 1 s.
    #[serde(serialize_with = "duration")]
    pub flush_check_period: Duration,
    /// Chunks encoded at the same time. Default 2.
    pub concurrent_flushes: usize,
    /// Memory for lines; 0 is a quarter of what the machine and its control groups allow, divided among child
    /// processes. Lines that were stored while a query under way still has to read them from memory count until it has:
    /// long queries of all streams, under way while memory is short, can have pushes refused meanwhile. Default 0.
    #[serde(serialize_with = "size")]
    pub memory_limit: u64,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wal {
    /// The most the log may take on disk. Default 1 GiB.
    #[serde(serialize_with = "size")]
    pub max_bytes: u64,
    /// Bytes of a segment; 0 is a sixteenth of `max_bytes`, at most 64 MiB. Default 0.
    #[serde(serialize_with = "size")]
    pub segment_bytes: u64,
}

/// Answering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Querier {
    /// Parts of queries that read chunks at the same time, of all queries together; the others wait for their turn.
    /// Default 4.
    pub max_concurrent: usize,
    /// Memory for blocks of chunks that were decoded, for the next query that reads them; 0 keeps none. Default 128 MiB.
    #[serde(serialize_with = "size")]
    pub block_cache_bytes: u64,
    /// How long somebody may follow lines as they come before being asked to begin anew. Default 1 h.
    #[serde(serialize_with = "duration")]
    pub tail_max_duration: Duration,
}

/// Before the answering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Frontend {
    /// A query that takes longer is logged with what it cost; none where this is 0, and every one where it is negative.
    /// Default 5 s.
    #[serde(serialize_with = "slow")]
    pub log_queries_longer_than: Option<Duration>,
}

/// How queries over a range are answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueryRange {
    /// Whether the points of a metric query are at multiples of its step, before its start and its end if need be. Where
    /// they are at whole seconds, chunks are counted by seconds and need not be read. Default no.
    pub align_queries_with_step: bool,
}

/// Deleting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compactor {
    /// Whether chunks past their retention are deleted. Default no.
    pub retention_enabled: bool,
    /// How often. Default 10 m.
    #[serde(serialize_with = "duration")]
    pub compaction_interval: Duration,
    /// How long a chunk stays after it was marked. Default 2 h.
    #[serde(serialize_with = "duration")]
    pub retention_delete_delay: Duration,
    /// The largest part of a tenant's chunks that one sweep may delete, in percent. Default 20.
    pub max_delete_percent: u32,
    /// Age at which an object that nothing refers to is deleted. Default 24 h.
    #[serde(serialize_with = "duration")]
    pub orphan_age: Duration,
}

/// What single tenants may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuntimeConfig {
    /// A file with `overrides`. Default none.
    pub file: Option<PathBuf>,
    /// How often it is looked at. Default 10 s.
    #[serde(serialize_with = "duration")]
    pub period: Duration,
}

/// A configuration that cannot be used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file says something that is not understood.
    #[error("configuration {} cannot be used", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What and where.
        source: yaml::Error,
    },
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

impl Default for Config {
    fn default() -> Self {
        Self {
            auth_enabled: false,
            target: Target::All,
            shutdown_timeout: Duration::from_secs(10),
            server: Server {
                http_listen_address: "127.0.0.1".to_owned(),
                http_listen_port: 3100,
                http_server_read_timeout: Duration::from_secs(30),
                grpc_listen_address: "127.0.0.1".to_owned(),
                grpc_listen_port: 0,
            },
            common: Common {
                path_prefix: PathBuf::from("data"),
                replication_factor: 1,
                instance_availability_zone: String::new(),
                instance_id: "ingester-0".to_owned(),
            },
            distributor: Distributor {
                max_recv_msg_size: 100 * MIB,
                max_decompressed_size: 500 * MIB,
                require: Require::Quorum,
                require_overrides: BTreeMap::new(),
                push_timeout: Duration::from_secs(10),
                max_inflight_bytes: 256 * MIB,
            },
            ingester: Ingester {
                wal: Wal { max_bytes: 1024 * MIB, segment_bytes: 0 },
                lifecycler: Lifecycler::default(),
                autoforget_unhealthy: false,
                chunk_format: ChunkFormat::Loki,
                chunk_profile: Profile::Balanced,
                chunk_encoding: Codec::Snappy,
                chunk_block_size: 256 * KIB,
                chunk_target_size: 1536 * KIB,
                chunk_idle_period: Duration::from_mins(30),
                max_chunk_age: Duration::from_hours(2),
                sync_period: Duration::from_hours(1),
                sync_min_utilization: 0.1,
                flush_check_period: Duration::from_secs(1),
                concurrent_flushes: 2,
                memory_limit: 0,
            },
            querier: Querier {
                max_concurrent: 4,
                block_cache_bytes: 128 * MIB,
                tail_max_duration: Duration::from_hours(1),
            },
            frontend: Frontend { log_queries_longer_than: Some(Duration::from_secs(5)) },
            query_range: QueryRange { align_queries_with_step: false },
            compactor: Compactor {
                retention_enabled: false,
                compaction_interval: Duration::from_mins(10),
                retention_delete_delay: Duration::from_hours(2),
                max_delete_percent: 20,
                orphan_age: Duration::from_hours(24),
            },
            memberlist: Memberlist::default(),
            limits_config: Limits {
                ingestion_rate_mb: 1024.0,
                ingestion_burst_size_mb: 1024.0,
                max_global_streams_per_user: 100_000,
                ..Limits::default()
            },
            runtime_config: RuntimeConfig { file: None, period: Duration::from_secs(10) },
        }
    }
}

impl Config {
    /// Reads `text` over the defaults. What Loki has and this pipeline does not use becomes a warning.
    ///
    /// # Errors
    /// [`yaml::Error`] with line, column, what was found and what is expected.
    pub fn parse(text: &str) -> Result<(Self, Vec<Warning>), yaml::Error> {
        let (mut config, mut warnings) = (Self::default(), Vec::new());
        let root = yaml::parse(text)?;
        table::common_ring(&mut config, &root, &mut warnings)?;
        chunks::default_sizes(&mut config, &root);
        root.fields(&table::ROOT, &mut warnings, |set, node, warnings| set(&mut config, node, warnings))?;
        Ok((config, warnings))
    }

    /// Reads the file at `path` over the defaults.
    ///
    /// # Errors
    /// [`ConfigError`].
    #[expect(clippy::disallowed_methods, reason = "the edge: a configuration is a file that the user names")]
    pub fn read(path: &Path) -> Result<(Self, Vec<Warning>), ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|source| ConfigError::Yaml { path: path.to_owned(), source })
    }

    /// The configuration as YAML that [`parse`](Self::parse) reads back.
    pub fn to_yaml(&self) -> String {
        serde_saphyr::to_string(self).expect("a tree of scalars and maps with text keys is always YAML")
    }
}

fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&units::display_duration(*value))
}

/// As Loki has it: 0 for no query, and what is negative for every one.
fn slow<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        None => duration(&Duration::ZERO, serializer),
        Some(Duration::ZERO) => serializer.serialize_str("-1s"),
        Some(longer) => duration(longer, serializer),
    }
}

fn size<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&units::display_size(*value))
}

fn display<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

#[cfg(test)]
mod tests;
