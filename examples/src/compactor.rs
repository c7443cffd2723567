//! Deletes what may go: chunks past their retention, unless a legal hold keeps them, and objects that nothing
//! refers to. `retention` decides and remembers; here are the index and the objects it works on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use forebay_chunk::Limits as ChunkLimits;
use forebay_chunk::loki::{Key, Object};
use forebay_retention::hold::{self, Placed};
use forebay_retention::store::{ChunkStore, Deletion, StateStore};
use forebay_retention::{
    Chunk, Error, Hold, Holds, LokiLimits, LokiOverrides, LokiStream, Now, Plan, Planner, PolicySet, Release,
    Report, Sweeper, TimeRange,
};
use forebay_tenant::{Limits, Overrides, StreamRetention};
use futures_util::{StreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt};

use crate::clock::{Clock, monotonic_ns};
use crate::index::{ChunkRef, IndexError};
use crate::labels::Labels;
use crate::storage::{Storage, path};

/// Requests to the object store at the same time.
const PARALLEL: usize = 8;
/// Chunks or objects looked at in one step.
const PAGE: usize = 1000;

/// How the compactor works.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether expired chunks are deleted.
    pub retention_enabled: bool,
    /// How often.
    pub interval: Duration,
    /// Age at which an object that nothing refers to is deleted.
    pub orphan_age: Duration,
    /// How a sweep works.
    pub sweep: forebay_retention::Options,
}

type Policies = Box<dyn Fn() -> Arc<PolicySet> + Send + Sync>;

/// The compactor. Cheap to clone.
#[derive(Clone)]
pub struct Compactor {
    shared: Arc<Shared>,
}

struct Shared {
    storage: Storage,
    overrides: Arc<Overrides>,
    clock: Clock,
    options: Options,
    sweeper: Sweeper<Stored, Arc<dyn StateStore>, Policies>,
}

impl std::fmt::Debug for Compactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compactor").field("options", &self.shared.options).finish_non_exhaustive()
    }
}

impl Compactor {
    /// A compactor over `storage` that remembers holds and progress in `state`.
    pub fn new(
        storage: Storage,
        state: Arc<dyn StateStore>,
        overrides: Arc<Overrides>,
        clock: Clock,
        options: Options,
    ) -> Self {
        let source = Arc::clone(&overrides);
        let policies: Policies = Box::new(move || policies(&source));
        let sweeper = Sweeper::new(Stored(storage.clone()), state, policies, options.sweep.clone());
        Self { shared: Arc::new(Shared { storage, overrides, clock, options, sweeper }) }
    }

    fn now(&self) -> Now {
        Now::trusted(self.shared.clock.wall_ns(), monotonic_ns())
    }

    /// Sweeps every tenant and removes orphans, again and again until the process ends.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(self.shared.options.interval).await;
            if self.shared.options.retention_enabled {
                match self.sweep().await {
                    Ok(reports) => reports.iter().for_each(log),
                    Err(error) => tracing::warn!(error = %chain(&error), "retention not swept"),
                }
            }
            if let Err(error) = self.remove_orphans().await {
                tracing::warn!(error = %format_args!("{error:#}"), "orphans not removed");
            }
        }
    }

    /// One pass over every tenant.
    ///
    /// # Errors
    /// What a store answered; the next pass goes on where this one stopped.
    pub async fn sweep(&self) -> Result<Vec<Report>, Error> {
        let tenants =
            self.shared.storage.index().tenants().await.map_err(|e| Error::unavailable("list tenants", e))?;
        let mut reports = Vec::new();
        for tenant in tenants {
            let report = self.shared.sweeper.sweep(&tenant, || self.now()).await?;
            metrics::counter!("forebay_retention_deleted_chunks_total").increment(report.deleted.chunks);
            reports.push(report);
        }
        let held: u64 = reports.iter().map(|report| report.census.held.chunks).sum();
        metrics::gauge!("forebay_retention_held_chunks").set(held as f64);
        Ok(reports)
    }

    /// What a sweep of `tenant` would delete now, without deleting anything.
    ///
    /// # Errors
    /// What a store answered.
    pub async fn plan(&self, tenant: &str) -> Result<Plan, Error> {
        let holds = Holds::new(self.shared.sweeper.state().holds().await?);
        let policies = policies(&self.shared.overrides);
        let mut planner = Planner::new(&policies, &holds, self.now());
        let chunks = Stored(self.shared.storage.clone());
        let mut after: Option<String> = None;
        loop {
            let page = chunks.list(tenant, after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { return Ok(planner.finish()) };
            after = Some(last.id.clone());
            for chunk in &page {
                chunk.with_meta(|meta| planner.add(meta))?;
            }
        }
    }

    /// Every hold ever placed.
    ///
    /// # Errors
    /// What the state store answered.
    pub async fn holds(&self) -> Result<Vec<Hold>, Error> {
        self.shared.sweeper.state().holds().await
    }

    /// Puts a hold in force: when this returns, no chunk it matches is deleted any more.
    ///
    /// # Errors
    /// As [`hold::place`].
    pub async fn place(&self, hold: Hold) -> Result<Placed, Error> {
        hold::place(&**self.shared.sweeper.state(), hold).await
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// As [`hold::release`].
    pub async fn release(&self, id: &str, reason: String) -> Result<(), Error> {
        let at_ns = self.shared.clock.wall_ns();
        hold::release(&**self.shared.sweeper.state(), id, Release { at_ns, reason }).await
    }

    /// Wall time as the compactor sees it.
    pub fn wall_ns(&self) -> i64 {
        self.shared.clock.wall_ns()
    }

    /// Deletes objects that have had no reference for a while: what a crash between object and index leaves.
    ///
    /// # Errors
    /// What a store answered.
    pub async fn remove_orphans(&self) -> anyhow::Result<u64> {
        let storage = &self.shared.storage;
        let age_ns = i64::try_from(self.shared.options.orphan_age.as_nanos()).unwrap_or(i64::MAX);
        let oldest_ns = self.shared.clock.wall_ns().saturating_sub(age_ns);
        let mut listing = storage.objects().list(None).chunks(PAGE);
        let mut removed = 0;
        while let Some(page) = listing.next().await {
            let mut by_tenant: BTreeMap<String, Vec<(String, object_store::path::Path)>> = BTreeMap::new();
            for object in page {
                let object = object?;
                let modified_ns = object.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX);
                // What is no chunk is not ours to delete.
                let key = percent_decoded(object.location.as_ref());
                if modified_ns < oldest_ns
                    && let Ok(parsed) = key.parse::<Key>()
                {
                    by_tenant.entry(parsed.tenant).or_default().push((key, object.location));
                }
            }
            for (tenant, objects) in by_tenant {
                let keys: Vec<String> = objects.iter().map(|(key, _)| key.clone()).collect();
                let known = storage.index().contains(&tenant, &keys).await?;
                for ((key, location), _) in objects.into_iter().zip(known).filter(|(_, known)| !known) {
                    tracing::info!(key, "object without a reference removed");
                    storage.objects().delete(&location).await?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn log(report: &Report) {
    if report.deleted.chunks > 0 || report.refusal.is_some() || report.failed > 0 {
        tracing::info!(
            tenant = report.tenant,
            deleted = report.deleted.chunks,
            marked = report.marked,
            held = report.census.held.chunks,
            failed = report.failed,
            refusal = ?report.refusal,
            "retention swept",
        );
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The key of an object from its path, in which the store encodes what paths cannot hold.
fn percent_decoded(location: &str) -> String {
    let bytes = location.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let hex = (byte == b'%').then(|| location.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The policies that the limits of the moment say.
fn policies(overrides: &Overrides) -> Arc<PolicySet> {
    let limits = overrides.load();
    let defaults = limits.defaults();
    let own = limits.tenants().map(|(tenant, limits)| (tenant, overridden(limits, defaults)));
    let global =
        LokiLimits { period: defaults.retention_period, streams: streams(&defaults.retention_stream) };
    match PolicySet::from_loki(&global, own) {
        Ok(policies) => Arc::new(policies),
        Err(error) => {
            // Without policies everything is kept.
            tracing::error!(error = %chain(&error), "retention rules do not compile, nothing is deleted");
            Arc::new(PolicySet::empty())
        }
    }
}

fn overridden(limits: &Limits, defaults: &Limits) -> LokiOverrides {
    LokiOverrides {
        period: (limits.retention_period != defaults.retention_period).then_some(limits.retention_period),
        streams: (limits.retention_stream != defaults.retention_stream)
            .then(|| streams(&limits.retention_stream)),
    }
}

fn streams(rules: &[StreamRetention]) -> Vec<LokiStream> {
    let rule = |r: &StreamRetention| LokiStream {
        selector: r.selector.clone(),
        priority: r.priority,
        period: r.period,
    };
    rules.iter().map(rule).collect()
}

/// The pipeline's chunks as `retention` sees them.
struct Stored(Storage);

impl Stored {
    /// The references of `chunks`, read back from the objects themselves.
    async fn references(&self, chunk: &Chunk) -> Result<ChunkRef, Error> {
        let failed = |e: object_store::Error| Error::unavailable("read object", e);
        let get = self.0.objects().get(&path(&chunk.id)).await.map_err(failed)?;
        let ingested_at_ns = get.meta.last_modified.timestamp_nanos_opt().unwrap_or(0);
        let object = get.bytes().await.map_err(failed)?;
        let stored_bytes = object.len() as u64;
        let damaged = |e: forebay_chunk::Error| Error::unavailable("open object", e);
        let key: Key = chunk.id.parse().map_err(damaged)?;
        let opened = Object::open_keyed(object, &key, &ChunkLimits::default()).map_err(damaged)?;
        let pairs: Vec<(&str, &str)> = chunk.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let (from_ns, through_ns) =
            opened.chunk.bounds().unwrap_or((chunk.range.min_ns(), chunk.range.max_ns()));
        Ok(ChunkRef {
            key: chunk.id.clone(),
            labels: Labels::from_sorted(&pairs),
            fingerprint: key.fingerprint,
            from_ns,
            through_ns,
            entries: opened.chunk.entry_count(),
            raw_bytes: opened.chunk.raw_bytes().unwrap_or(0),
            stored_bytes,
            ingested_at_ns,
        })
    }
}

fn unavailable(operation: &'static str) -> impl Fn(IndexError) -> Error {
    move |e| Error::unavailable(operation, e)
}

#[async_trait]
impl ChunkStore for Stored {
    async fn list(&self, tenant: &str, after: Option<&str>, limit: usize) -> Result<Vec<Chunk>, Error> {
        let page = self.0.index().scan(tenant, after, limit).await.map_err(unavailable("list chunks"))?;
        let chunk = |c: ChunkRef| Chunk {
            tenant: tenant.to_owned(),
            labels: c.labels.pairs().iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            range: TimeRange::new(c.from_ns, c.through_ns).expect("the index holds bounds of entries"),
            size_bytes: c.stored_bytes,
            id: c.key,
        };
        Ok(page.into_iter().map(chunk).collect())
    }

    async fn drop_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        for (tenant, keys) in by_tenant(chunks) {
            self.0.index().drop_refs(tenant, &keys).await.map_err(unavailable("drop references"))?;
        }
        Ok(())
    }

    async fn restore_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        for chunk in chunks {
            let reference = self.references(chunk).await?;
            let appended = self.0.index().append(&chunk.tenant, &[reference]).await;
            appended.map_err(unavailable("restore references"))?;
        }
        Ok(())
    }

    async fn delete(&self, chunks: &[Chunk]) -> Vec<Result<Deletion, Error>> {
        let one = |chunk: Chunk| async move {
            match self.0.objects().delete(&path(&chunk.id)).await {
                Ok(()) => Ok(Deletion::Deleted),
                Err(object_store::Error::NotFound { .. }) => Ok(Deletion::Missing),
                Err(e) => Err(Error::unavailable("delete object", e)),
            }
        };
        stream::iter(chunks.to_vec()).map(one).buffered(PARALLEL).collect().await
    }

    async fn head(&self, chunks: &[Chunk]) -> Vec<Result<bool, Error>> {
        let one = |chunk: Chunk| async move {
            match self.0.objects().head(&path(&chunk.id)).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::NotFound { .. }) => Ok(false),
                Err(e) => Err(Error::unavailable("look for object", e)),
            }
        };
        stream::iter(chunks.to_vec()).map(one).buffered(PARALLEL).collect().await
    }
}

fn by_tenant(chunks: &[Chunk]) -> BTreeMap<&str, Vec<String>> {
    let mut keys: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for chunk in chunks {
        keys.entry(&chunk.tenant).or_default().push(chunk.id.clone());
    }
    keys
}
