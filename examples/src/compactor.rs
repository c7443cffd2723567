//! Deletes what may go: chunks past their retention, unless a legal hold keeps them, and objects that nothing
//! refers to. `retention` decides and remembers; here are the index and the objects it works on.

mod leftovers;
mod orphans;
mod policies;
mod stored;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_agent::clock::{Clock, monotonic_ns};
use forebay_agent::log::chain;
use forebay_retention::hold::{self, Placed};
use forebay_retention::store::{ChunkStore, StateStore};
use forebay_retention::{Error, Hold, Holds, Now, Plan, Planner, PolicySet, Release, Report, Sweeper};
use forebay_tenant::Overrides;

use crate::offload::offload_future;
use crate::storage::Storage;

use leftovers::remove_leftovers;
use stored::Stored;

/// Chunks, objects or intents looked at in one step.
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
    /// Where the objects are files, their directory: there, what interrupted puts left behind is removed too.
    pub objects_dir: Option<PathBuf>,
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
        let policies: Policies = Box::new(move || policies::compile(&source));
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
            let compactor = self.clone();
            offload_future(async move { compactor.pass().await }).await;
        }
    }

    async fn pass(&self) {
        if self.shared.options.retention_enabled {
            match self.sweep().await {
                Ok(reports) => reports.iter().for_each(log),
                Err(error) => tracing::warn!(error = %chain(&error), "retention not swept"),
            }
        }
        if let Err(error) = self.remove_orphans().await {
            tracing::warn!(error = %format_args!("{error:#}"), "orphans not removed");
        }
        if let Some(dir) = &self.shared.options.objects_dir {
            let removed = remove_leftovers(dir, self.wall_ns(), self.shared.options.orphan_age);
            if removed > 0 {
                tracing::info!(removed, "files of interrupted puts removed");
            }
        }
    }

    /// One pass over every tenant that has chunks, or deletions that were begun and not ended. What a store answers for
    /// one of them is logged; the next pass goes on there.
    ///
    /// # Errors
    /// Where the tenants cannot be listed.
    pub async fn sweep(&self) -> Result<Vec<Report>, Error> {
        let listed = self.shared.storage.index().tenants().await;
        let mut tenants = BTreeSet::from_iter(listed.map_err(|e| Error::unavailable("list tenants", e))?);
        tenants.extend(self.interrupted(None).await?.into_iter().map(|(tenant, _)| tenant));
        let mut reports = Vec::new();
        for tenant in tenants {
            match self.shared.sweeper.sweep(&tenant, || self.now()).await {
                Ok(report) => {
                    metrics::counter!("forebay_retention_deleted_chunks_total")
                        .increment(report.deleted.chunks);
                    reports.push(report);
                }
                // The others must not wait for it.
                Err(error) => tracing::warn!(tenant, error = %chain(&error), "tenant not swept"),
            }
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
        let holds = Holds::new(self.holds().await?);
        let policies = policies::compile(&self.shared.overrides);
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
        let state = Arc::clone(self.shared.sweeper.state());
        offload_future(async move { state.holds().await }).await
    }

    /// Puts a hold in force: when this returns, no chunk it matches is deleted any more.
    ///
    /// # Errors
    /// As [`hold::place`].
    pub async fn place(&self, hold: Hold) -> Result<Placed, Error> {
        let state = Arc::clone(self.shared.sweeper.state());
        offload_future(async move { hold::place(&*state, hold).await }).await
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// As [`hold::release`].
    pub async fn release(&self, id: &str, reason: String) -> Result<(), Error> {
        let (state, id) = (Arc::clone(self.shared.sweeper.state()), id.to_owned());
        let release = Release { at_ns: self.shared.clock.wall_ns(), reason };
        offload_future(async move { hold::release(&*state, &id, release).await }).await
    }

    /// Tenant and id of the chunks whose deletion was begun and not ended, of one tenant or of all.
    async fn interrupted(&self, tenant: Option<&str>) -> Result<BTreeSet<(String, String)>, Error> {
        let state = self.shared.sweeper.state();
        let mut found = BTreeSet::new();
        let mut after: Option<(String, String)> = None;
        loop {
            let from = after.as_ref().map(|(tenant, chunk)| (tenant.as_str(), chunk.as_str()));
            let page = state.open_intents(tenant, from, PAGE).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some((last.chunk.tenant.clone(), last.chunk.id.clone()));
            found.extend(page.into_iter().map(|intent| (intent.chunk.tenant, intent.chunk.id)));
        }
    }

    /// Wall time as the compactor sees it.
    pub fn wall_ns(&self) -> i64 {
        self.shared.clock.wall_ns()
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
