//! What the caller brings: where chunks live ([`ChunkStore`]) and where retention remembers ([`StateStore`]).
//! A store keeps its promises across restarts; the suite in `store::conformance` says which they are.

use std::sync::Arc;

use async_trait::async_trait;

pub use fence::{Acquire, Fence};
pub use memory::{MemoryChunks, MemoryState};
pub use record::{Change, Closed, Doomed, Fresh, Intent, Mark, Outcome, Phase, Progress};

use crate::chunk::Chunk;
use crate::error::Error;
use crate::hold::Hold;

#[cfg(feature = "conformance")]
pub mod conformance;
mod fence;
mod memory;
mod record;
#[cfg(feature = "redb")]
pub mod redb;

/// The caller's index and object store.
///
/// A chunk has references in the index and one object. References go first, so that a crash leaves an object
/// that nothing refers to and never a reference to nothing.
#[async_trait]
pub trait ChunkStore: Send + Sync {
    /// Chunks of `tenant` that the index refers to, ascending by id in byte order, strictly after `after`; at
    /// most `limit`, and none only when there are no more. A chunk that several parts of the index refer to is
    /// one entry. An error, never an empty answer, when the index can't be read.
    async fn list(&self, tenant: &str, after: Option<&str>, limit: usize) -> Result<Vec<Chunk>, Error>;

    /// Removes every reference to these chunks, durably; those without references are no error.
    async fn drop_refs(&self, chunks: &[Chunk]) -> Result<(), Error>;

    /// Makes the index refer to these chunks again, durably; those with references are no error. Needed when a
    /// hold arrives between the removal of the references and that of the objects.
    async fn restore_refs(&self, chunks: &[Chunk]) -> Result<(), Error>;

    /// Removes the objects; one answer per chunk, in order. An object that is not there is no error.
    ///
    /// Nothing may be sent any more once the future has answered or is dropped, retries included: the fence that
    /// keeps holds out is let go then.
    async fn delete(&self, chunks: &[Chunk]) -> Vec<Result<Deletion, Error>>;

    /// Whether the objects are there; one answer per chunk, in order. An error when the store can't tell.
    async fn head(&self, chunks: &[Chunk]) -> Vec<Result<bool, Error>>;
}

/// How an object went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deletion {
    /// By this request, as far as the store can tell.
    Deleted,
    /// It was not there.
    Missing,
}

/// The memory of retention: holds, marks, the journal of intents and outcomes, progress.
///
/// All writing goes through [`commit`](Self::commit), so this is where an audit log can listen.
#[async_trait]
pub trait StateStore: Send + Sync {
    /// Waits for the fence. Sweepers take it shared around re-check, intent, deletion and outcome; placing a hold
    /// and recovery take it exclusively. It must reach as far as the store does: a lock in this process for an
    /// embedded store, the database's own lock (an advisory one in PostgreSQL) for a shared store. It is
    /// released when the guard is dropped and when its process dies, and a waiter for exclusive access is not
    /// overtaken for ever.
    async fn fence(&self, access: Access) -> Result<FenceGuard, Error>;

    /// Applies all of `changes` or none of them, durably once it returns, and answers the sequence number of
    /// each [`Change::Intend`], in order. After [`Error::Unavailable`] either may be the case.
    ///
    /// # Errors
    /// As each [`Change`] says; then nothing was applied.
    async fn commit(&self, changes: &[Change]) -> Result<Vec<u64>, Error>;

    /// A number that changes whenever a hold is created or released.
    async fn hold_epoch(&self) -> Result<u64, Error>;

    /// Every hold ever placed, by id. An error if even one cannot be read.
    async fn holds(&self) -> Result<Vec<Hold>, Error>;

    /// Marks of `tenant` with chunk ids strictly after `after` and up to and including `through`, ascending,
    /// at most `limit`, and fewer only when there are no more.
    async fn marks(
        &self,
        tenant: &str,
        after: Option<&str>,
        through: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Mark>, Error>;

    /// Intents without an outcome, of one tenant or of all, strictly after the (tenant, chunk id) `after`,
    /// ascending by that pair, at most `limit`, and none only when there are no more.
    async fn open_intents(
        &self,
        tenant: Option<&str>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Intent>, Error>;

    /// Intents with sequence numbers strictly greater than `after`, ascending, at most `limit`, and none only
    /// when there are no more. Numbers start at 1.
    async fn journal(&self, after: u64, limit: usize) -> Result<Vec<Intent>, Error>;

    /// How far the sweep of `tenant` has come.
    async fn progress(&self, tenant: &str) -> Result<Option<Progress>, Error>;

    /// The latest wall time at which a sweep did anything, nanoseconds since 1970.
    async fn watermark(&self) -> Result<Option<i64>, Error>;
}

/// How the fence is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Together with other shared holders.
    Shared,
    /// Alone.
    Exclusive,
}

/// The fence, taken; released on drop.
pub struct FenceGuard {
    _release: Box<dyn std::any::Any + Send + Sync>,
}

impl FenceGuard {
    /// A guard that drops `release`, whose `Drop` must let the fence go.
    pub fn new(release: impl Send + Sync + 'static) -> Self {
        Self { _release: Box::new(release) }
    }
}

impl std::fmt::Debug for FenceGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FenceGuard").finish_non_exhaustive()
    }
}

#[async_trait]
impl<T: ChunkStore + ?Sized> ChunkStore for Arc<T> {
    async fn list(&self, tenant: &str, after: Option<&str>, limit: usize) -> Result<Vec<Chunk>, Error> {
        (**self).list(tenant, after, limit).await
    }

    async fn drop_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        (**self).drop_refs(chunks).await
    }

    async fn restore_refs(&self, chunks: &[Chunk]) -> Result<(), Error> {
        (**self).restore_refs(chunks).await
    }

    async fn delete(&self, chunks: &[Chunk]) -> Vec<Result<Deletion, Error>> {
        (**self).delete(chunks).await
    }

    async fn head(&self, chunks: &[Chunk]) -> Vec<Result<bool, Error>> {
        (**self).head(chunks).await
    }
}

#[async_trait]
impl<T: StateStore + ?Sized> StateStore for Arc<T> {
    async fn fence(&self, access: Access) -> Result<FenceGuard, Error> {
        (**self).fence(access).await
    }

    async fn commit(&self, changes: &[Change]) -> Result<Vec<u64>, Error> {
        (**self).commit(changes).await
    }

    async fn hold_epoch(&self) -> Result<u64, Error> {
        (**self).hold_epoch().await
    }

    async fn holds(&self) -> Result<Vec<Hold>, Error> {
        (**self).holds().await
    }

    async fn marks(
        &self,
        tenant: &str,
        after: Option<&str>,
        through: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Mark>, Error> {
        (**self).marks(tenant, after, through, limit).await
    }

    async fn open_intents(
        &self,
        tenant: Option<&str>,
        after: Option<(&str, &str)>,
        limit: usize,
    ) -> Result<Vec<Intent>, Error> {
        (**self).open_intents(tenant, after, limit).await
    }

    async fn journal(&self, after: u64, limit: usize) -> Result<Vec<Intent>, Error> {
        (**self).journal(after, limit).await
    }

    async fn progress(&self, tenant: &str) -> Result<Option<Progress>, Error> {
        (**self).progress(tenant).await
    }

    async fn watermark(&self) -> Result<Option<i64>, Error> {
        (**self).watermark().await
    }
}
