//! The pipeline's index and objects as `retention` wants to see them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use forebay_chunk::Limits;
use forebay_chunk::loki::{Key, Object};
use forebay_retention::store::{ChunkStore, Deletion};
use forebay_retention::{Chunk, Error, TimeRange};
use futures_util::{StreamExt, stream};
use object_store::ObjectStoreExt;

use crate::index::{ChunkRef, IndexError};
use crate::labels::Labels;
use crate::storage::{Storage, path};

/// Requests to the object store at the same time.
const PARALLEL: usize = 8;

/// The pipeline's chunks as `retention` sees them.
pub(super) struct Stored(pub(super) Storage);

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
        let opened = Object::open_keyed(object, &key, &Limits::default()).map_err(damaged)?;
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
            tally: None,
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
