//! The ring of the ingesters: the store that all processes share, what is known of them from there, and the life of an
//! ingester of this process among them.
//!
//! An ingester says of itself where it is and how far, again and again; whoever sends or asks keeps the ring that comes
//! of it. So nobody has to be told of the others, and each may come and go.

mod forget;
mod life;
mod show;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_agent::clock::{Clock, monotonic_ns};
use forebay_ring::disk::{Disk, StdDisk};
use forebay_ring::lifecycle::{
    Caretaker, CaretakerOptions, Driver, Forget, Home, Now, OptionsError, Remark, Report, Watcher,
    WatcherOptions,
};
use forebay_ring::store::{GossipStore, Store, StoreError};
use forebay_ring::{BuildError, Operation, Options, Ring};

use crate::config::{self, Config, Target};
use crate::excerpt::Excerpt;
use crate::members::Members;

pub use forget::ForgetError;
pub use life::Life;
pub use show::{MemberView, show_forever};
pub(crate) use store::store_of;

/// How long the store may take for a write.
const STORE_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is looked whether the ring is as wanted.
const LOOK: Duration = Duration::from_millis(10);

/// Why a process has no ring.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// Change the configuration.
    #[error("{key} is {value}: {why}")]
    Setting {
        /// Which setting.
        key: &'static str,
        /// What it is.
        value: String,
        /// What is wrong with it.
        why: String,
    },
    /// The store cannot be opened.
    #[error("the ring's store {store:?} cannot be opened")]
    Store {
        /// Which.
        store: config::Store,
        /// Why.
        source: StoreError,
    },
    /// No ring can be as configured.
    #[error("no ring can be built")]
    Build(#[from] BuildError),
    /// No ingester can be as configured.
    #[error("the ingester cannot be in the ring")]
    Life(#[from] OptionsError),
}

/// The ring as this process knows it. Cheap to clone; it is watched until the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    home: Home,
    watcher: Watcher,
    members: Members,
    heartbeat_timeout: Duration,
    forget: Option<Forget>,
    /// The store, if it is one of nodes that tell each other.
    gossip: Option<GossipStore>,
}

impl Cluster {
    /// Opens the store that `config` names, and begins to watch it. `has_children` tells that ingesters are child
    /// processes of this one.
    ///
    /// # Errors
    /// [`RingError`]. A store that is not to be reached now is none: it is tried again and again.
    pub async fn open(config: &Config, has_children: bool, clock: Clock) -> Result<Self, RingError> {
        let (heartbeats, stop) = (&config.ingester.lifecycler, config.shutdown_timeout);
        check_heartbeats(heartbeats.heartbeat_period, heartbeats.ring.heartbeat_timeout)?;
        check_final_sleep(heartbeats.final_sleep, stop)?;
        let (store, ears) = store::open(config, has_children, clock).await?;
        let gossip = ears.as_ref().map(|ears| ears.store().clone());
        let cluster = Self::begin(store, Arc::new(StdDisk), config, clock, gossip)?;
        if let Some(ears) = ears {
            cluster.members().set_heard(false);
            let members = cluster.members().clone();
            tokio::spawn(ears.hear(members));
        }
        Ok(cluster)
    }

    /// Begins to watch a store that is open, in a simulation whose processes share it and have a disk each.
    ///
    /// # Errors
    /// [`RingError::Build`].
    pub fn simulated(
        store: Arc<dyn Store>,
        disk: Arc<dyn Disk>,
        config: &Config,
        clock: Clock,
    ) -> Result<Self, RingError> {
        Ok(Self::begin(store, disk, config, clock, None)?)
    }

    fn begin(
        store: Arc<dyn Store>,
        disk: Arc<dyn Disk>,
        config: &Config,
        clock: Clock,
        gossip: Option<GossipStore>,
    ) -> Result<Self, BuildError> {
        let home = Home {
            store,
            disk,
            token_file: token_file(config),
            time_out: STORE_TIMEOUT,
            clock: Arc::new(move || Now { mono_ns: monotonic_ns(), unix_ns: clock.wall_ns() }),
            reporter: Arc::new(report),
        };
        let ring = &config.ingester.lifecycler.ring;
        let options = Options {
            replication_factor: config.common.replication_factor,
            zone_awareness: ring.zone_awareness_enabled,
            heartbeat_timeout: ring.heartbeat_timeout,
            ..Options::default()
        };
        Self::watch(home, options, config.ingester.autoforget_unhealthy, gossip)
    }

    fn watch(
        home: Home,
        ring: Options,
        autoforget: bool,
        gossip: Option<GossipStore>,
    ) -> Result<Self, BuildError> {
        let heartbeat_timeout = ring.heartbeat_timeout;
        let forget = autoforget.then(|| Forget { after: heartbeat_timeout, ..Forget::default() });
        let watcher = Watcher::spawn(&home, WatcherOptions { ring, ..WatcherOptions::default() })?;
        let members = Members::new(watcher.ring());
        Ok(Self { shared: Arc::new(Shared { home, watcher, members, heartbeat_timeout, forget, gossip }) })
    }

    /// The ingesters.
    pub fn members(&self) -> &Members {
        &self.shared.members
    }

    /// Forgets those that were silent for long, if that is configured, and deletes what is left of those that left
    /// long ago, until the task that is returned is dropped. Whoever has an ingester does so by its ears.
    pub fn care(&self, own: Option<&Driver>) -> Caretaker {
        let Shared { home, watcher, forget, heartbeat_timeout, .. } = &*self.shared;
        let period = (*heartbeat_timeout / 2).min(CaretakerOptions::default().period);
        let options = CaretakerOptions { forget: forget.clone(), period, ..CaretakerOptions::default() };
        Caretaker::spawn(home.clone(), watcher, own, options)
    }

    /// Waits until the ring is as wanted; whether it came to be within `patience`.
    pub async fn until(&self, patience: Duration, wanted: impl Fn(&Ring) -> bool) -> bool {
        let waited = async {
            while !wanted(&self.members().ring()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(patience, waited).await.is_ok()
    }

    /// Waits until ingester `id` gets writes at `addr`, or at whatever address.
    pub async fn until_active(&self, id: &str, addr: Option<&str>, patience: Duration) -> bool {
        let is_there = |ring: &Ring| {
            let here = ring.instance(id).is_some_and(|i| addr.is_none_or(|addr| *i.addr == *addr));
            here && ring.is_healthy(id, Operation::WRITE)
        };
        self.until(patience, is_there).await
    }

    /// Waits until the store was listed, so that an empty ring is one, and others were heard that tell each other; whether
    /// it was so within `patience`.
    pub async fn until_heard(&self, patience: Duration) -> bool {
        self.until(patience, |_| self.is_watching() && self.members().is_heard()).await
    }

    /// Whether the store is watched, and was not lost sight of.
    fn is_watching(&self) -> bool {
        self.shared.watcher.ears().watching_since_ns.is_some()
    }
}

fn check_heartbeats(period: Duration, timeout: Duration) -> Result<(), RingError> {
    if period.saturating_mul(2) <= timeout {
        return Ok(());
    }
    Err(RingError::Setting {
        key: "ingester.lifecycler.heartbeat_period",
        value: format!("{period:?}"),
        why: format!("at least two have to fit into heartbeat_timeout, which is {timeout:?}"),
    })
}

fn check_final_sleep(sleep: Duration, stop: Duration) -> Result<(), RingError> {
    if sleep.saturating_mul(2) <= stop {
        return Ok(());
    }
    Err(RingError::Setting {
        key: "ingester.lifecycler.final_sleep",
        value: format!("{sleep:?}"),
        why: format!(
            "it may be half of shutdown_timeout, which is {stop:?}: an ingester stores and leaves in it, too"
        ),
    })
}

/// Where others reach an ingester that listens at `bound`.
///
/// # Errors
/// [`RingError::Setting`] where nobody could tell, or could call it there.
pub(crate) fn advertised(config: &Config, bound: SocketAddr) -> Result<String, RingError> {
    let lifecycler = &config.ingester.lifecycler;
    let port = if lifecycler.port == 0 { bound.port() } else { lifecycler.port };
    let is_shared =
        matches!(lifecycler.ring.kvstore.store, Some(config::Store::Etcd | config::Store::Gossip));
    if is_shared && lifecycler.address.is_empty() && bound.ip().is_loopback() {
        tracing::warn!("ingesters of other hosts are told {bound}, where they reach nobody but themselves");
    }
    match &*lifecycler.address {
        "" if bound.ip().is_unspecified() => Err(RingError::Setting {
            key: "ingester.lifecycler.address",
            value: "empty".to_owned(),
            why: format!("others need the address at which they reach {bound}"),
        }),
        "" => Ok(SocketAddr::new(bound.ip(), port).to_string()),
        host => {
            let addr = match host.parse() {
                Ok(ip) => SocketAddr::new(ip, port).to_string(),
                Err(_) => format!("{host}:{port}"),
            };
            let refused = |error: http::uri::InvalidUri| RingError::Setting {
                key: "ingester.lifecycler.address",
                value: format!("{:?}", Excerpt(host)),
                why: format!("nobody can call {:?}: {error}", Excerpt(&addr)),
            };
            addr.parse::<http::uri::Authority>().map_err(refused)?;
            Ok(addr)
        }
    }
}

/// Where the ingester's tokens are.
pub(crate) fn token_file(config: &Config) -> PathBuf {
    let default = || config.common.path_prefix.join("tokens").join(&config.common.instance_id);
    config.ingester.lifecycler.tokens_file_path.clone().unwrap_or_else(default)
}

/// Whether this process has an ingester of its own.
fn has_ingester(config: &Config, has_children: bool) -> bool {
    matches!(config.target, Target::All | Target::Ingester) && !has_children
}

fn report(report: Report) {
    match report {
        // Its tokens come a moment later.
        Report::Remark(remark @ Remark::TokensMissing { .. }) => tracing::debug!(?remark, "ring"),
        Report::Watch(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(error = %format_args!("{error:#}"), "the ring's store is not watched, tried again");
        }
        Report::Write(error) => {
            let error = anyhow::Error::new(error);
            tracing::warn!(error = %format_args!("{error:#}"), "the ring's store was not written, tried again");
        }
        Report::Forgotten { id } => tracing::warn!(%id, "silent for long, and forgotten"),
        other => tracing::warn!("ring: {other}"),
    }
}

#[cfg(test)]
mod tests;
