//! How the ingesters know of each other: where their records lie, how often they say that they live, and whom a node
//! that gossips tells.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::duration;

/// How an ingester comes into the ring, stays in it and leaves it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lifecycler {
    /// The ring.
    pub ring: Ring,
    /// Tokens of an ingester. Default 128.
    pub num_tokens: usize,
    /// How often an ingester says that it lives. Default 5 s; several must fit into `ring.heartbeat_timeout`.
    #[serde(serialize_with = "duration")]
    pub heartbeat_period: Duration,
    /// How long an ingester that joins looks whether others claim its tokens. Default 0 s.
    #[serde(serialize_with = "duration")]
    pub observe_period: Duration,
    /// How long an ingester whose log is replayed stays PENDING, one that was ACTIVE before its restart, too. Default 0 s.
    #[serde(serialize_with = "duration")]
    pub join_after: Duration,
    /// How long an ingester that is a process of its own is ACTIVE before `/ready` says so. Default 15 s, so that in a
    /// rolling restart others know of it before the next one stops.
    #[serde(serialize_with = "duration")]
    pub min_ready_duration: Duration,
    /// How long an ingester that stored what it had stays LEAVING. Default 0 s; at most half of `shutdown_timeout`.
    #[serde(serialize_with = "duration")]
    pub final_sleep: Duration,
    /// Where an ingester keeps its tokens; default in `path_prefix`, under `tokens` and its name.
    pub tokens_file_path: Option<PathBuf>,
    /// Whether an ingester that stops leaves the ring. Default yes. One that stays keeps its keys until it is back.
    pub unregister_on_shutdown: bool,
    /// The host at which others reach an ingester; default the gRPC address that it listens at.
    pub address: String,
    /// The port there; default, with 0, the gRPC port.
    pub port: u16,
}

/// The ring of the ingesters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ring {
    /// Where the records lie.
    pub kvstore: KvStore,
    /// How long an ingester may stay silent and still get writes. Default 1 m.
    #[serde(serialize_with = "duration")]
    pub heartbeat_timeout: Duration,
    /// Whether no two copies lie in one zone. Default yes; ingesters without a zone are not affected.
    pub zone_awareness_enabled: bool,
}

/// Where the records of the ingesters lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KvStore {
    /// What keeps them. Default `memory` in a process that has all parts, `file` if there are several.
    pub store: Option<Store>,
    /// What their keys begin with, for `etcd`. Default `forebay/ring/`.
    pub prefix: String,
    /// For `etcd`.
    pub etcd: Etcd,
    /// For `file`.
    pub file: File,
}

/// What keeps records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Store {
    /// The process: for one that has all parts.
    Memory,
    /// A directory that all processes of a host share.
    File,
    /// An etcd.
    Etcd,
    /// The processes tell each other; see [`Memberlist`].
    Gossip,
}

/// An etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Etcd {
    /// Where it is, as `http://10.0.0.1:2379` or `10.0.0.1:2379`. Default none.
    pub endpoints: Vec<String>,
}

/// A directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Default `ring` in `path_prefix`.
    pub dir: Option<PathBuf>,
}

/// How processes tell each other. Nobody is authenticated there: let no stranger reach the port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memberlist {
    /// The name of this process among them; default that of its ingester, or its part and address.
    pub node_name: String,
    /// Processes of different clusters do not listen to each other. Default `forebay`.
    pub cluster_label: String,
    /// The UDP address to listen at. Default `127.0.0.1`.
    pub bind_addr: String,
    /// The UDP port to listen at. Default 7946.
    pub bind_port: u16,
    /// The address at which others reach it; default `bind_addr`.
    pub advertise_addr: String,
    /// The port at which others reach it; default, with 0, `bind_port`.
    pub advertise_port: u16,
    /// Some that are always there, as `host:port`, or `host` for the port that is `bind_port` here. Default none.
    pub join_members: Vec<String>,
    /// How often each tells three others. Default 200 ms.
    #[serde(serialize_with = "duration")]
    pub gossip_interval: Duration,
}

impl Default for Lifecycler {
    fn default() -> Self {
        Self {
            ring: Ring {
                kvstore: KvStore {
                    store: None,
                    prefix: "forebay/ring/".to_owned(),
                    etcd: Etcd { endpoints: Vec::new() },
                    file: File { dir: None },
                },
                heartbeat_timeout: Duration::from_mins(1),
                zone_awareness_enabled: true,
            },
            num_tokens: forebay_ring::DEFAULT_TOKENS,
            heartbeat_period: Duration::from_secs(5),
            observe_period: Duration::ZERO,
            join_after: Duration::ZERO,
            min_ready_duration: Duration::from_secs(15),
            final_sleep: Duration::ZERO,
            tokens_file_path: None,
            unregister_on_shutdown: true,
            address: String::new(),
            port: 0,
        }
    }
}

impl Default for Memberlist {
    fn default() -> Self {
        Self {
            node_name: String::new(),
            cluster_label: "forebay".to_owned(),
            bind_addr: "127.0.0.1".to_owned(),
            bind_port: 7946,
            advertise_addr: String::new(),
            advertise_port: 0,
            join_members: Vec::new(),
            gossip_interval: Duration::from_millis(200),
        }
    }
}
