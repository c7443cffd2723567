//! Chunks on their way to the store and back. Order of durability: the object, then its index entry; only then may
//! the log forget. A crash between the two leaves an object that nothing refers to, never a reference to nothing.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use forebay_chunk::loki::{Key, Object, Schema};
use forebay_chunk::{CorruptionPolicy, Error as ChunkError, Limits};
use forebay_circuit::{Breaker, Outcome};
use futures_util::{StreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::index::{ChunkRef, Index, IndexError};

/// The schema whose keys the pipeline writes.
pub const SCHEMA: Schema = Schema::V13;
/// Objects put at the same time within one call.
const PARALLEL_PUTS: usize = 8;
/// How long one request to the object store may take.
const OBJECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the store did not do it.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Try again after the time given: the object store keeps failing and is left alone.
    #[error("object store is given {retry_after:?} to recover")]
    Open {
        /// When the next try makes sense.
        retry_after: Duration,
    },
    /// Try again: the object store failed.
    #[error("object {key}")]
    Object {
        /// The object.
        key: String,
        /// What failed.
        source: object_store::Error,
    },
    /// Try again: the object store did not answer.
    #[error("object {key}: no answer within {after:?}")]
    Timeout {
        /// The object.
        key: String,
        /// How long was waited.
        after: Duration,
    },
    /// See [`IndexError`].
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Restore the object from a copy: its bytes are not what was written.
    #[error("object {key} is damaged")]
    Damaged {
        /// The object.
        key: String,
        /// What does not fit.
        source: ChunkError,
    },
    /// Read it with another version, or with larger limits: the object is whole and this program does not read it.
    #[error("object {key} cannot be read")]
    Unreadable {
        /// The object.
        key: String,
        /// What it is or asks for.
        source: ChunkError,
    },
}

/// The object store asks for time, as HTTP does with 429, or with 503 and `Retry-After`.
///
/// A directory never does, and [`object_store::Error`] has no word for it. Whoever puts a remote store in here has its
/// errors carry this as their source: its client knows the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("object store asks for time, retry after {retry_after:?}")]
pub struct SlowDown {
    /// For how long, if it says so.
    pub retry_after: Option<Duration>,
}

/// A chunk that is ready to be stored.
#[derive(Debug, Clone)]
pub struct NewChunk {
    /// What the index will say of it.
    pub chunk: ChunkRef,
    /// The object.
    pub object: Bytes,
}

/// Objects and the index to them. Cheap to clone.
#[derive(Clone)]
pub struct Storage {
    objects: Arc<dyn ObjectStore>,
    index: Arc<dyn Index>,
    puts: Breaker,
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage")
            .field("objects", &self.objects)
            .field("puts", &self.puts)
            .finish_non_exhaustive()
    }
}

impl Storage {
    /// Storage of `objects` found through `index`; `puts` watches over writing objects.
    pub fn new(objects: Arc<dyn ObjectStore>, index: Arc<dyn Index>, puts: Breaker) -> Self {
        Self { objects, index, puts }
    }

    /// The index.
    pub fn index(&self) -> &Arc<dyn Index> {
        &self.index
    }

    /// The objects.
    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// Stores `chunks` of `tenant`: every object, then all index entries at once; what became of each, in their order.
    ///
    /// One that is not stored may have its object written, but nothing refers to that, and it can be stored again.
    pub async fn put(&self, tenant: &str, chunks: &[NewChunk]) -> Vec<Result<(), StorageError>> {
        let puts: Vec<_> = chunks.iter().map(|new| self.put_object(new)).collect();
        // All of them, also behind one that fails: where the breaker lets only some through, these have to come to
        // their end for it to let all through again.
        let mut puts: Vec<_> = stream::iter(puts).buffered(PARALLEL_PUTS).collect().await;
        let written = chunks.iter().zip(&puts).filter(|(_, put)| put.is_ok());
        let entries: Vec<ChunkRef> = written.map(|(new, _)| new.chunk.clone()).collect();
        if !entries.is_empty()
            && let Err(error) = self.index.append(tenant, &entries).await
        {
            puts.iter_mut().filter(|put| put.is_ok()).for_each(|put| *put = Err(error.clone().into()));
        }
        puts
    }

    async fn put_object(&self, new: &NewChunk) -> Result<(), StorageError> {
        let key = &new.chunk.key;
        let permit = self
            .puts
            .try_acquire()
            .map_err(|open| StorageError::Open { retry_after: open.retry_after.unwrap_or(OBJECT_TIMEOUT) })?;
        let path = path(key);
        let put = self.objects.put(&path, PutPayload::from_bytes(new.object.clone()));
        match tokio::time::timeout(OBJECT_TIMEOUT, put).await {
            Ok(Ok(_)) => {
                permit.success();
                Ok(())
            }
            Ok(Err(source)) => {
                permit.record(heard(&source));
                Err(StorageError::Object { key: key.clone(), source })
            }
            Err(_) => {
                permit.failure();
                Err(StorageError::Timeout { key: key.clone(), after: OBJECT_TIMEOUT })
            }
        }
    }

    /// The object of `chunk`, or `None` where the index no longer refers to it: it was deleted on purpose.
    ///
    /// # Errors
    /// [`StorageError`] where the store fails, or has lost what the index refers to.
    pub async fn get(&self, tenant: &str, chunk: &ChunkRef) -> Result<Option<Bytes>, StorageError> {
        let key = &chunk.key;
        let path = path(key);
        let get = async { self.objects.get(&path).await?.bytes().await };
        let failed = |source| StorageError::Object { key: key.clone(), source };
        match tokio::time::timeout(OBJECT_TIMEOUT, get).await {
            Ok(Ok(bytes)) => Ok(Some(bytes)),
            Ok(Err(source @ object_store::Error::NotFound { .. })) => {
                let known = self.index.contains(tenant, std::slice::from_ref(key)).await?;
                if known.contains(&true) { Err(failed(source)) } else { Ok(None) }
            }
            Ok(Err(source)) => Err(failed(source)),
            Err(_) => Err(StorageError::Timeout { key: key.clone(), after: OBJECT_TIMEOUT }),
        }
    }
}

/// What an error says of the object store.
fn heard(error: &object_store::Error) -> Outcome {
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    match causes.find_map(|cause| cause.downcast_ref::<SlowDown>()) {
        Some(SlowDown { retry_after }) => Outcome::Throttled(*retry_after),
        // Our key, which no store was asked for.
        None if matches!(error, object_store::Error::InvalidPath { .. }) => Outcome::Ignored,
        None => Outcome::Failure,
    }
}

/// Opens the object of `chunk`, of whichever format its bytes are: it is the object that its key names. Blocks that are
/// damaged are left out, and told by the chunk's [`damage`](forebay_chunk::Chunk::damage) or by the read that meets them.
///
/// # Errors
/// [`StorageError::Damaged`] where nothing of it can be believed, and [`StorageError::Unreadable`].
pub fn open(chunk: &ChunkRef, object: Bytes) -> Result<Object, StorageError> {
    let limits = Limits::default();
    let opened = chunk.key.parse::<Key>().and_then(|key| {
        let opened = Object::open_keyed_with(object.clone(), &key, &limits, CorruptionPolicy::SkipBlock);
        // The first thing that is wrong with it says more than what is left of it.
        opened.map_err(|rest| Object::open_keyed(object, &key, &limits).err().unwrap_or(rest))
    });
    let key = || chunk.key.clone();
    match opened {
        Ok(opened) => Ok(opened),
        Err(
            source @ (ChunkError::LimitExceeded { .. }
            | ChunkError::UnsupportedVersion { .. }
            | ChunkError::UnsupportedCodec { .. }
            | ChunkError::UnsupportedEncoding { .. }),
        ) => Err(StorageError::Unreadable { key: key(), source }),
        Err(source) => Err(StorageError::Damaged { key: key(), source }),
    }
}

/// Where the object with `key` lies in the store: under the key itself. Escaped, a tenant's name could grow beyond what
/// a file name may have.
pub fn path(key: &str) -> Path {
    Path::parse(key).unwrap_or_else(|_| Path::from(key))
}

#[cfg(test)]
pub(crate) mod judging;
#[cfg(test)]
mod tests;
