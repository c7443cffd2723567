//! The dry run: the very same pass, on a copy of the tenant's state and on chunks that cannot be deleted. So it
//! has no effect, and it foretells exactly what a sweep at the same time would delete (R7).

use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::{Report, Sweeper};
use crate::chunk::Chunk;
use crate::clock::Now;
use crate::compile::PolicySet;
use crate::error::Error;
use crate::store::{Change, ChunkStore, Deletion, Doomed, MemoryState, StateStore};

const PAGE: usize = 1000;

/// What a sweep at the same time would do.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Forecast {
    /// The report it would give.
    pub report: Report,
    /// The chunks it would delete, in order.
    pub deletes: Vec<Chunk>,
}

impl<C, S, P> Sweeper<C, S, P>
where
    C: ChunkStore,
    S: StateStore,
    P: Fn() -> Arc<PolicySet> + Send + Sync,
{
    /// What [`sweep`](Self::sweep) at `now` would do. Only reads; takes no fence, so it never makes anyone wait.
    /// Memory grows with the tenant's marks.
    ///
    /// # Errors
    /// Whatever a store answered.
    pub async fn forecast(&self, tenant: &str, now: Now) -> Result<Forecast, Error> {
        let chunks = Untouched { chunks: &self.chunks, deletes: Mutex::new(Vec::new()) };
        let dry = Sweeper::new(&chunks, self.copy_state(tenant).await?, &self.policies, self.options.clone());
        *dry.anchor.lock() = *self.anchor.lock();
        let report = dry.sweep(tenant, || now).await?;
        Ok(Forecast { report, deletes: chunks.deletes.into_inner() })
    }

    async fn copy_state(&self, tenant: &str) -> Result<MemoryState, Error> {
        let copy = MemoryState::new();
        let mut changes: Vec<_> = self.state.holds().await?.into_iter().map(Change::CreateHold).collect();
        changes.extend(self.state.watermark().await?.map(Change::SetWatermark));
        let progress = self.state.progress(tenant).await?;
        changes.extend(progress.map(|progress| Change::SetProgress { tenant: tenant.to_owned(), progress }));
        copy.commit(&changes).await?;

        let mut after: Option<String> = None;
        loop {
            let marks = self.state.marks(tenant, after.as_deref(), None, PAGE).await?;
            let Some(last) = marks.last() else { break };
            after = Some(last.chunk.id.clone());
            copy.commit(&marks.into_iter().map(Change::PutMark).collect::<Vec<_>>()).await?;
        }
        let mut after: Option<String> = None;
        loop {
            let from = after.as_deref().map(|chunk| (tenant, chunk));
            let open = self.state.open_intents(Some(tenant), from, PAGE).await?;
            let Some(last) = open.last() else { return Ok(copy) };
            after = Some(last.chunk.id.clone());
            let doomed = open.into_iter().map(|intent| {
                let (at_ns, keep_until_ns) = (intent.at_ns, intent.keep_until_ns);
                Change::Intend(Doomed { chunk: intent.chunk, at_ns, policy: intent.policy, keep_until_ns })
            });
            copy.commit(&doomed.collect::<Vec<_>>()).await?;
        }
    }
}

/// Shows the caller's chunks, and only notes what it is asked to do with them.
struct Untouched<'c, C> {
    chunks: &'c C,
    deletes: Mutex<Vec<Chunk>>,
}

#[async_trait]
impl<C: ChunkStore> ChunkStore for &Untouched<'_, C> {
    async fn list(&self, tenant: &str, after: Option<&str>, limit: usize) -> Result<Vec<Chunk>, Error> {
        self.chunks.list(tenant, after, limit).await
    }

    async fn drop_refs(&self, _chunks: &[Chunk]) -> Result<(), Error> {
        Ok(())
    }

    async fn restore_refs(&self, _chunks: &[Chunk]) -> Result<(), Error> {
        Ok(())
    }

    async fn delete(&self, chunks: &[Chunk]) -> Vec<Result<Deletion, Error>> {
        self.deletes.lock().extend_from_slice(chunks);
        chunks.iter().map(|_| Ok(Deletion::Deleted)).collect()
    }

    async fn head(&self, chunks: &[Chunk]) -> Vec<Result<bool, Error>> {
        self.chunks.head(chunks).await
    }
}
