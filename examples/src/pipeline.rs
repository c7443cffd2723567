//! The parts of one process, put together by its configuration, and taken down in the right order.

mod options;
mod runtime_config;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use forebay_agent::clock::{Clock, Deadline, monotonic_ns};
use forebay_circuit::Breaker;
use forebay_retention::store::redb::RedbState;
use forebay_tenant::{Overrides, Tenancy};
use forebay_wal::aio::AsyncWal;
use forebay_wal::format::Label;
use forebay_wal::fs::{Fs, StdFs};
use forebay_wal::{OpenError, RecoveryReport, Wal};
use metrics_exporter_prometheus::PrometheusHandle;
use object_store::local::LocalFileSystem;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use xxhash_rust::xxh3::xxh3_128;

use crate::client::IngesterClient;
use crate::compactor::Compactor;
use crate::config::{Config, Target};
use crate::data_dir;
use crate::distributor::Distributor;
use crate::federation::Children;
use crate::http::{self, Parts};
use crate::index::{Index, RedbIndex};
use crate::ingester::Ingester;
use crate::members::{HEARTBEAT, Members, beat_forever};
use crate::offload::offload;
use crate::query::Querier;
use crate::rpc::{RemoteIndex, RemoteIngester, index_server, ingester_server};
use crate::storage::Storage;

use options::compactor_options;
pub use options::{distributor_options, ingester_options};
use runtime_config::{reload, watch_overrides};

/// How long an ingester that stored what it had waits before it goes, so that whoever asks it how it is hears that it
/// needs no asking any more.
const FAREWELL: Duration = HEARTBEAT.saturating_mul(2);
/// Bytes of records that may wait for a sync: a dozen of the largest, so that what comes all at once is not sent back.
const WAL_INFLIGHT_BYTES: u64 = 64 << 20;
/// How long a log that somebody has open is waited for, and how often it is looked at.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);
const LOCK_CHECK: Duration = Duration::from_millis(50);

/// Where the other parts are, for a process that does not have them all.
#[derive(Debug, Clone, Default)]
pub struct Neighbours {
    /// The process with the index.
    pub index: Option<String>,
    /// Ingesters in other processes: id, address, zone.
    pub ingesters: Vec<(String, String, String)>,
    /// Where ingesters join later as child processes: those that run.
    pub children: Option<Children>,
}

/// A process with its parts at work.
#[derive(Debug)]
pub struct Running {
    /// Where its gRPC port is, if it has one.
    pub grpc: Option<SocketAddr>,
    /// The ingesters it knows.
    pub members: Members,
    parts: Parts,
    ingester: Option<Ingester<StdFs>>,
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
    let config = Arc::new(config);
    let clock = Clock::System;
    let target = config.target;
    let has = |part| target == Target::All || target == part;
    let sends = has(Target::Distributor) || has(Target::Querier);
    anyhow::ensure!(
        !sends || has(Target::Ingester) || !neighbours.ingesters.is_empty(),
        "a {target:?} on its own needs --join ID=ADDR with the gRPC address of each ingester"
    );
    let dir = config.common.path_prefix.clone();
    make_dir(&dir)?;

    let overrides = Arc::new(Overrides::new(config.limits_config.clone()));
    let mut tasks = Vec::new();
    if let Some(recorder) = metrics.clone() {
        tasks.push(tokio::spawn(crate::metrics::upkeep_forever(recorder)));
    }
    if let Some(file) = config.runtime_config.file.clone() {
        reload(&overrides, &file).with_context(|| format!("runtime configuration {}", file.display()))?;
        tasks.push(tokio::spawn(watch_overrides(Arc::clone(&overrides), file, config.runtime_config.period)));
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
    let objects = LocalFileSystem::new_with_prefix(&objects).context("object store")?.with_fsync(true);
    let circuit = forebay_circuit::Options::default();
    let puts = Breaker::with_observer(circuit, monotonic_ns as fn() -> u64, |t| {
        crate::metrics::breaker("objects", t)
    })?;
    crate::metrics::breaker_state("objects", puts.state().phase());
    let storage = Storage::new(Arc::new(objects), Arc::clone(&index), puts);

    let members = Members::new(config.common.replication_factor, has_zones(&neighbours), clock)?;
    let ingester = if has(Target::Ingester) && neighbours.children.is_none() {
        Some(open_ingester(&config, storage.clone(), Arc::clone(&overrides), clock).await?)
    } else {
        None
    };
    let own: Option<Arc<dyn IngesterClient>> =
        ingester.clone().map(|own| Arc::new(own) as Arc<dyn IngesterClient>);
    // Who sends tells an ingester how many there are; one alone would take itself for the only one.
    if let Some(own) = own.as_ref().filter(|_| sends) {
        let common = &config.common;
        members.join(
            &common.instance_id,
            "in this process",
            &common.instance_availability_zone,
            Arc::clone(own),
        )?;
    }
    for (id, addr, zone) in &neighbours.ingesters {
        members.join(id, addr, zone, Arc::new(RemoteIngester::new(addr)?))?;
    }
    if sends {
        tasks.push(tokio::spawn(beat_forever(members.clone())));
    }

    let options = distributor_options(&config);
    let querier = Querier::new(members.clone(), storage.clone(), options.requirements.clone());
    let distributor = Distributor::new(members.clone(), Arc::clone(&overrides), clock, options)?;
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
        tasks.push(tokio::spawn(compactor.clone().run()));
        Some(compactor)
    } else {
        None
    };

    let (stop, stopped) = watch::channel(false);
    let mut servers = Vec::new();
    let needs_grpc = target != Target::All || neighbours.children.is_some();
    let grpc = if needs_grpc {
        let server = &config.server;
        let listener = listen(&server.grpc_listen_address, server.grpc_listen_port).await?;
        let addr = listener.local_addr()?;
        let local_index = has(Target::Compactor).then(|| Arc::clone(&index));
        servers.push(tokio::spawn(serve_grpc(listener, own.clone(), local_index, stopped)));
        Some(addr)
    } else {
        None
    };
    let parts = Parts {
        overrides,
        tenancy: if config.auth_enabled { Tenancy::Multi } else { Tenancy::default() },
        clock,
        members: members.clone(),
        distributor: has(Target::Distributor).then_some(distributor),
        querier: has(Target::Querier).then_some(querier),
        ingester: own,
        compactor,
        metrics,
        children: neighbours.children.unwrap_or_default(),
        tails: http::Tails::default(),
        ready: Arc::new(AtomicBool::new(true)),
        config,
    };
    Ok(Running { grpc, members, parts, ingester, stop, servers, tasks })
}

impl Running {
    /// Opens the HTTP port; its address.
    ///
    /// # Errors
    /// An address that cannot be listened on.
    pub async fn listen(&mut self) -> anyhow::Result<SocketAddr> {
        let server = &self.parts.config.server;
        let listener = listen(&server.http_listen_address, server.http_listen_port).await?;
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
        if let Some(ingester) = &self.ingester {
            self.members.leave(&self.parts.config.common.instance_id)?;
            stored = ingester.drain(deadline.left() / 4 * 3).await;
            if self.grpc.is_some() && stored.is_ok() {
                tokio::time::sleep(FAREWELL.min(deadline.left() / 2)).await;
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

    /// Ends when the log of the ingester in this process fails, and says why; it has to be opened again then.
    pub async fn log_failed(&self) -> String {
        loop {
            if let Some(failure) = self.ingester.as_ref().and_then(Ingester::log_failure) {
                return failure;
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
    }
}

fn has_zones(neighbours: &Neighbours) -> bool {
    neighbours.children.is_some() || neighbours.ingesters.iter().any(|(.., zone)| !zone.is_empty())
}

async fn open_ingester(
    config: &Config,
    storage: Storage,
    overrides: Arc<Overrides>,
    clock: Clock,
) -> anyhow::Result<Ingester<StdFs>> {
    let wal = &config.ingester.wal;
    let segment_bytes = match wal.segment_bytes {
        0 => (wal.max_bytes / 16).clamp(1 << 18, 64 << 20),
        bytes => bytes,
    };
    let options = forebay_wal::Options {
        segment_bytes,
        max_log_bytes: Some(wal.max_bytes),
        max_inflight_bytes: WAL_INFLIGHT_BYTES,
        // A flush under pressure gives back half of the log at once.
        max_spare_segments: 8,
        label: Some(label(&config.common.instance_id)),
        ..forebay_wal::Options::default()
    };
    // The log makes it, and syncs its name.
    let dir = config.common.path_prefix.join("wal").join(&config.common.instance_id);
    let (log, report) = open_log(&dir, &options).await.with_context(|| format!("log {}", dir.display()))?;
    let log = AsyncWal::start(log)?;
    tracing::info!(records = report.records, bytes = report.bytes, torn = ?report.torn, "log opened");
    Ingester::start(log, storage, overrides, clock, ingester_options(config)?).await
}

/// Whose log it is: another ingester's, copied or mounted here by mistake, is refused. A name that is too long for a
/// label is one by its hash.
fn label(instance: &str) -> Label {
    Label::new(instance.as_bytes())
        .or_else(|| Label::new(&xxh3_128(instance.as_bytes()).to_be_bytes()))
        .unwrap_or_default()
}

/// Opens the log; one that is locked is waited for, since its last process may be about to end.
async fn open_log(dir: &Path, options: &forebay_wal::Options) -> Result<(Wal, RecoveryReport), OpenError> {
    let deadline = tokio::time::sleep(LOCK_PATIENCE);
    tokio::pin!(deadline);
    loop {
        let (dir, options) = (dir.to_owned(), options.clone());
        match offload(move || Wal::open(dir, options)).await {
            Err(OpenError::Locked { .. }) if !deadline.is_elapsed() => {
                tokio::select! {
                    () = &mut deadline => {}
                    () = tokio::time::sleep(LOCK_CHECK) => {}
                }
            }
            opened => return opened,
        }
    }
}

fn make_dir(dir: &Path) -> anyhow::Result<()> {
    data_dir::make(&StdFs, dir).with_context(|| format!("directory {}", dir.display()))
}

/// Makes the name of a file that was opened in `dir` durable: it is new, or whoever made it may have died before.
fn sync_dir(dir: &Path) -> anyhow::Result<()> {
    StdFs.sync_dir(dir).with_context(|| format!("directory {}", dir.display()))
}

async fn listen(address: &str, port: u16) -> anyhow::Result<TcpListener> {
    let addr = format!("{address}:{port}");
    TcpListener::bind(&addr).await.with_context(|| format!("cannot listen on {addr}"))
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
    ingester: Option<Arc<dyn IngesterClient>>,
    index: Option<Arc<dyn Index>>,
    stopped: watch::Receiver<bool>,
) {
    let served = tonic::transport::Server::builder()
        .layer(forebay_tracing_ctx::TraceServerLayer::new())
        .tcp_nodelay(true)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(8 << 20)
        .add_optional_service(ingester.map(ingester_server))
        .add_optional_service(index.map(index_server))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopping(stopped));
    if let Err(error) = served.await {
        tracing::error!(%error, "gRPC port failed");
    }
}
