//! The parts of one process, put together by its configuration, and taken down in the right order.

mod open;
mod options;
mod runtime_config;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use forebay_agent::clock::{Clock, Deadline, monotonic_ns};
use forebay_circuit::Breaker;
use forebay_retention::store::redb::RedbState;
use forebay_ring::lifecycle::Caretaker;
use forebay_tenant::{Overrides, Tenancy};
use forebay_wal::fs::StdFs;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;

use crate::background::Background;
use crate::client::IngesterClient;
use crate::compactor::Compactor;
use crate::config::{self, Config, Target};
use crate::distributor::Distributor;
use crate::federation::Children;
use crate::http::{self, Parts};
use crate::index::{Index, RedbIndex};
use crate::ingester::Ingester;
use crate::objects::Directory;
use crate::query::Querier;
use crate::ring::{self, Cluster, Life, show_forever};
use crate::rpc::{RemoteIndex, index_server, ingester_server, server};
use crate::storage::Storage;

use open::{make_dir, sync_dir};
#[cfg(test)]
pub(crate) use options::MAX_OPEN;
use options::compactor_options;
pub use options::{distributor_options, ingester_options, querier_options};
use runtime_config::{reload, watch_overrides};

/// How long an ingester that has left waits at least before it goes, so that whoever asks hears that it needs no asking
/// any more.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long an ingester may take until it gets writes before it is served without: its store may be away.
const JOIN_PATIENCE: Duration = Duration::from_secs(10);
/// How long the ring's store may take to be heard before requests are taken without: they are refused then.
const HEAR_PATIENCE: Duration = Duration::from_secs(10);
/// Connections to the gRPC port that may wait to be accepted.
const BACKLOG: u32 = 1024;
/// How often it is looked whether the ingester can go on.
const FAILURE_CHECK: Duration = Duration::from_secs(1);

/// Where the other parts are, for a process that does not have them all.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    /// The process with the index.
    pub index: Option<String>,
    /// Where ingesters are child processes: those that run.
    pub children: Option<Children>,
}

/// A process with its parts at work.
#[derive(Debug)]
pub struct Running {
    /// Where its gRPC port is, if it has one.
    pub grpc: Option<SocketAddr>,
    /// The ring, where its parts need one.
    pub cluster: Option<Cluster>,
    parts: Parts,
    ingester: Option<Ingester<StdFs>>,
    life: Option<Life<StdFs>>,
    _caretaker: Option<Caretaker>,
    stop: watch::Sender<bool>,
    servers: Vec<JoinHandle<()>>,
    tasks: Vec<JoinHandle<()>>,
}

/// Starts the parts that `config.target` names, and the gRPC port, which child processes need to start. The HTTP port is
/// for [`Running::listen`] to open once all ingesters are known: without one of them, its lines would be missing.
///
/// # Errors
/// A directory, log, index or address that cannot be used, each named.
pub async fn start(
    config: Config,
    neighbours: Neighbours,
    metrics: Option<PrometheusHandle>,
) -> anyhow::Result<Running> {
    let (clock, target) = (Clock::System, config.target);
    let has = |part| target == Target::All || target == part;
    let has_children = neighbours.children.is_some();
    let mut config = config;
    let store = ring::store_of(&config, has_children);
    config.ingester.lifecycler.ring.kvstore.store = Some(store);
    let config = Arc::new(config);
    let dir = config.common.path_prefix.clone();
    make_dir(&dir)?;

    let overrides = Arc::new(Overrides::new(config.limits_config.clone()));
    let (background, mut tasks) = (Background::default(), Vec::new());
    if let Some(recorder) = metrics.clone() {
        tasks.push(background.spawn("metrics", crate::metrics::upkeep_forever(recorder)));
    }
    if let Some(file) = config.runtime_config.file.clone() {
        reload(&overrides, &file).with_context(|| format!("runtime configuration {}", file.display()))?;
        let watched = watch_overrides(Arc::clone(&overrides), file, config.runtime_config.period);
        tasks.push(background.spawn("runtime_config", watched));
    }

    let index: Arc<dyn Index> = match &neighbours.index {
        Some(addr) => Arc::new(RemoteIndex::new(addr)?),
        None if has(Target::Compactor) => {
            let index = RedbIndex::open(&dir.join("index.redb"))?;
            sync_dir(&dir)?;
            Arc::new(index)
        }
        None => anyhow::bail!(
            "a {target:?} on its own needs --index, the gRPC address of the compactor or of `all`"
        ),
    };
    let objects = dir.join("objects");
    make_dir(&objects)?;
    let objects = Directory::open(&objects).context("object store")?;
    let circuit = forebay_circuit::Options::default();
    let puts = Breaker::with_observer(circuit, monotonic_ns as fn() -> u64, |t| {
        crate::metrics::breaker("objects", t)
    })?;
    crate::metrics::breaker_state("objects", puts.state().phase());
    let storage = Storage::new(Arc::new(objects), Arc::clone(&index), puts);

    let cluster = match target {
        Target::Compactor => None,
        _ => Some(Cluster::open(&config, has_children, clock).await?),
    };
    // Others reach the ingester and the index of this process there, and it says where that is before it listens.
    let needs_grpc = target != Target::All || store != config::Store::Memory;
    let server = &config.server;
    let grpc = match needs_grpc {
        true => Some(open::reserve(&server.grpc_listen_address, server.grpc_listen_port).await?),
        false => None,
    };
    let own = match cluster.as_ref().filter(|_| has(Target::Ingester) && !has_children) {
        Some(cluster) => {
            let addr = grpc.as_ref().map(TcpSocket::local_addr).transpose()?;
            let addr = addr
                .map_or_else(|| Ok("in this process".to_owned()), |addr| ring::advertised(&config, addr))?;
            Some(live(&config, cluster, &addr, storage.clone(), Arc::clone(&overrides), clock).await?)
        }
        None => None,
    };
    let (ingester, life) = own.unzip();
    let own: Option<Arc<dyn IngesterClient>> =
        ingester.clone().map(|own| Arc::new(own) as Arc<dyn IngesterClient>);

    let options = distributor_options(&config);
    let (mut querier, mut distributor) = (None, None);
    if let Some(cluster) = &cluster {
        let members = cluster.members();
        if let Some(own) = &own {
            members.serve(&config.common.instance_id, Arc::clone(own));
        }
        if has(Target::Querier) {
            let (members, requirements) = (members.clone(), options.requirements.clone());
            querier = Some(Querier::new(members, storage.clone(), requirements, querier_options(&config)));
        }
        if has(Target::Distributor) {
            distributor = Some(Distributor::new(members.clone(), Arc::clone(&overrides), clock, options)?);
        }
        let told = ingester.clone();
        // One is enough where there are many; an ingester that is a process of its own leaves it to those who send.
        let shows = has(Target::Distributor) || has(Target::Querier);
        let shown = show_forever(cluster.clone(), shows, move |ring| {
            if let Some(ingester) = &told {
                ingester.set_ring(ring);
            }
        });
        tasks.push(background.spawn("ring", shown));
    }
    let compactor = if has(Target::Compactor) {
        let state = RedbState::open(dir.join("retention.redb")).context("retention state")?;
        let compactor = Compactor::new(
            storage,
            Arc::new(state),
            Arc::clone(&overrides),
            clock,
            compactor_options(&config),
        );
        sync_dir(&dir)?;
        tasks.push(background.spawn("compactor", compactor.clone().run()));
        Some(compactor)
    } else {
        None
    };

    let (stop, stopped) = watch::channel(false);
    let mut servers = Vec::new();
    let grpc = match grpc {
        Some(socket) => {
            let listener = socket.listen(BACKLOG)?;
            let addr = listener.local_addr()?;
            let served = own.clone().map(|own| (config.common.instance_id.clone(), own));
            let local_index = has(Target::Compactor).then(|| Arc::clone(&index));
            servers.push(tokio::spawn(serve_grpc(listener, served, local_index, stopped)));
            Some(addr)
        }
        None => None,
    };
    // Only now that it can be called.
    if let (Some(life), Some(ingester)) = (&life, &ingester) {
        life.recovered(ingester.clone());
        tasks.push(background.spawn("log", life.clone().mind_log()));
    }
    let caretaker = cluster.as_ref().map(|cluster| cluster.care(life.as_ref().map(Life::driver)));
    let parts = Parts {
        overrides,
        tenancy: if config.auth_enabled { Tenancy::Multi } else { Tenancy::default() },
        clock,
        cluster: cluster.clone(),
        distributor,
        querier,
        ingester: own,
        life: life.clone(),
        compactor,
        metrics,
        children: neighbours.children.unwrap_or_default(),
        tails: http::Tails::default(),
        background,
        ready: Arc::new(AtomicBool::new(true)),
        config,
    };
    Ok(Running { grpc, cluster, parts, ingester, life, _caretaker: caretaker, stop, servers, tasks })
}

impl Running {
    /// Opens the HTTP port; its address. Before that it waits for a while until its own ingester gets writes, and the
    /// others are known: without one of them, its lines would be missing.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub async fn listen(&mut self) -> anyhow::Result<SocketAddr> {
        if let Some(cluster) = &self.cluster {
            let id = &self.parts.config.common.instance_id;
            if self.ingester.is_some() && !cluster.until_active(id, None, JOIN_PATIENCE).await {
                tracing::warn!(id, "not in the ring after {JOIN_PATIENCE:?}, and no writes until it is");
            }
            if !cluster.until_heard(HEAR_PATIENCE).await {
                tracing::warn!("the ring's store was not heard within {HEAR_PATIENCE:?}");
            }
        }
        let server = &self.parts.config.server;
        let listener = open::listen(&server.http_listen_address, server.http_listen_port).await?;
        let addr = listener.local_addr()?;
        self.servers.push(tokio::spawn(serve_http(listener, self.parts.clone(), self.stop.subscribe())));
        Ok(addr)
    }

    /// Leaves the ring, stops taking pushes, stores what is in memory, says so, and stops taking requests.
    ///
    /// # Errors
    /// Where the store did not take everything in time; the log keeps it.
    pub async fn stop(self, deadline: Deadline) -> anyhow::Result<()> {
        self.parts.ready.store(false, Ordering::Release);
        self.parts.tails.stop();
        let mut stored = Ok(());
        if let Some(life) = &self.life {
            stored = life.leave(deadline).await;
            if self.grpc.is_some() && stored.is_ok() {
                tokio::time::sleep(farewell(&self.parts.config).min(deadline.left() / 2)).await;
            }
        }
        let _ = self.stop.send(true);
        let servers = futures_util::future::join_all(self.servers);
        // A connection that follows lines is none of the server's any more.
        let ended = async { tokio::join!(servers, self.parts.tails.ended()) };
        if tokio::time::timeout(deadline.left() / 2, ended).await.is_err() {
            tracing::warn!("requests were still under way");
        }
        self.tasks.iter().for_each(JoinHandle::abort);
        match self.ingester {
            Some(ingester) => stored.and(ingester.close(deadline.left()).await),
            None => Ok(()),
        }
    }

    /// Ends when the ingester in this process has to be started anew, and says why.
    pub async fn failed(&self) -> String {
        loop {
            if let Some(failure) = self.ingester.as_ref().and_then(Ingester::failure) {
                return failure;
            }
            tokio::time::sleep(FAILURE_CHECK).await;
        }
    }
}

/// How long an ingester that has left waits: a word that is told from node to node dies with one that has told nobody.
fn farewell(config: &Config) -> Duration {
    match config.ingester.lifecycler.ring.kvstore.store {
        Some(config::Store::Gossip) => (config.memberlist.gossip_interval * 3).max(FAREWELL),
        _ => FAREWELL,
    }
}

/// Opens the log of the ingester, begins its life in the ring at `addr`, and replays the log: while that lasts, others
/// know that it is about to be back. Not before the log is its own: another process of its name may have it.
async fn live(
    config: &Config,
    cluster: &Cluster,
    addr: &str,
    storage: Storage,
    overrides: Arc<Overrides>,
    clock: Clock,
) -> anyhow::Result<(Ingester<StdFs>, Life<StdFs>)> {
    let log = open::log(config).await?;
    if let Some(dir) = ring::token_file(config).parent() {
        make_dir(dir)?;
    }
    let life = Life::begin(cluster, config, addr)?;
    let ingester = Ingester::start(log, storage, overrides, clock, ingester_options(config)?).await?;
    Ok((ingester, life))
}

async fn stopping(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn serve_http(listener: TcpListener, parts: Parts, stopped: watch::Receiver<bool>) {
    use axum::serve::ListenerExt;
    let listener = listener.tap_io(|io| {
        if let Err(error) = io.set_nodelay(true) {
            tracing::debug!(%error, "connection without TCP_NODELAY");
        }
    });
    let served = axum::serve(listener, http::router(parts)).with_graceful_shutdown(stopping(stopped));
    if let Err(error) = served.await {
        tracing::error!(%error, "HTTP port failed");
    }
}

async fn serve_grpc(
    listener: TcpListener,
    ingester: Option<(String, Arc<dyn IngesterClient>)>,
    index: Option<Arc<dyn Index>>,
    stopped: watch::Receiver<bool>,
) {
    let served = server()
        .add_optional_service(ingester.map(|(id, own)| ingester_server(&id, own)))
        .add_optional_service(index.map(index_server))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopping(stopped));
    if let Err(error) = served.await {
        tracing::error!(%error, "gRPC port failed");
    }
}
