//! Removes objects that nothing refers to: what a crash between object and index leaves behind.
//!
//! Nothing is removed that may still be wanted. An ingester that cannot reach the index writes its objects anew with
//! each try, so what it waits for is young. A deletion that was interrupted is left to the sweep, which may have to
//! bring the reference back. A legal hold counts as for any chunk: the fence that placing a hold waits for is held
//! while objects go. What cannot be read is kept.

use std::collections::BTreeMap;

use forebay_chunk::Limits;
use forebay_chunk::loki::{Key, METRIC_NAME_LABEL, Object};
use forebay_retention::store::Access;
use forebay_retention::{ChunkMeta, Holds, TimeRange};
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::{Compactor, PAGE};

/// A key and where its object lies.
type Candidate = (String, Path);

impl Compactor {
    /// Removes the objects that have had no reference for the configured age, and answers how many.
    ///
    /// # Errors
    /// What a store answered.
    pub async fn remove_orphans(&self) -> anyhow::Result<u64> {
        let mut listing = self.shared.storage.objects().list(None).chunks(PAGE);
        let mut removed = 0;
        while let Some(page) = listing.next().await {
            let mut by_tenant: BTreeMap<String, Vec<Candidate>> = BTreeMap::new();
            for object in page {
                let object = object?;
                let key = object.location.as_ref().to_owned();
                // What is no chunk is not ours to remove.
                if self.is_old(&object)
                    && let Ok(parsed) = key.parse::<Key>()
                {
                    by_tenant.entry(parsed.tenant).or_default().push((key, object.location));
                }
            }
            for (tenant, candidates) in by_tenant {
                match self.remove_unreferenced(&tenant, candidates).await {
                    Ok(count) => removed += count,
                    // The others must not wait for it.
                    Err(error) => tracing::warn!(tenant, error = %format_args!("{error:#}"), "orphans kept"),
                }
            }
        }
        Ok(removed)
    }

    async fn remove_unreferenced(&self, tenant: &str, candidates: Vec<Candidate>) -> anyhow::Result<u64> {
        let index = self.shared.storage.index();
        let keys: Vec<String> = candidates.iter().map(|(key, _)| key.clone()).collect();
        let known = index.contains(tenant, &keys).await?;
        let orphans: Vec<Candidate> =
            candidates.into_iter().zip(known).filter(|(_, known)| !known).map(|(orphan, _)| orphan).collect();
        if orphans.is_empty() {
            return Ok(0);
        }
        let state = self.shared.sweeper.state();
        let _fence = state.fence(Access::Shared).await?;
        let holds = Holds::new(state.holds().await?);
        let interrupted = self.interrupted(Some(tenant)).await?;
        let objects = self.shared.storage.objects();
        let mut removed = 0;
        for (key, location) in orphans {
            if interrupted.contains(&(tenant.to_owned(), key.clone())) {
                continue;
            }
            let object = objects.get(&location).await?;
            // Looked at again: an ingester may have written it anew since it was listed.
            if !self.is_old(&object.meta)
                || index.contains(tenant, std::slice::from_ref(&key)).await? != [false]
            {
                continue;
            }
            match is_held(tenant, &key, object.bytes().await?, &holds) {
                Ok(false) => {
                    tracing::info!(key, "object without a reference removed");
                    objects.delete(&location).await?;
                    removed += 1;
                }
                Ok(true) => tracing::info!(key, "object without a reference is held"),
                Err(error) => {
                    tracing::warn!(key, %error, "object without a reference cannot be read, and is kept")
                }
            }
        }
        Ok(removed)
    }

    fn is_old(&self, object: &ObjectMeta) -> bool {
        let age_ns = i64::try_from(self.shared.options.orphan_age.as_nanos()).unwrap_or(i64::MAX);
        let modified_ns = object.last_modified.timestamp_nanos_opt().unwrap_or(i64::MAX);
        modified_ns < self.wall_ns().saturating_sub(age_ns)
    }
}

/// Whether a hold keeps the chunk in `object`.
fn is_held(
    tenant: &str,
    key: &str,
    object: bytes::Bytes,
    holds: &Holds,
) -> Result<bool, forebay_chunk::Error> {
    let size_bytes = object.len() as u64;
    let opened = Object::open_keyed(object, &key.parse()?, &Limits::default())?;
    let labels: Vec<(String, String)> = opened
        .envelope
        .labels
        .iter()
        .map(|(name, value)| {
            (String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned())
        })
        .filter(|(name, _)| name != METRIC_NAME_LABEL)
        .collect();
    let labels: Vec<(&str, &str)> =
        labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (min_ns, max_ns) = opened.chunk.bounds().unwrap_or((i64::MIN, i64::MAX));
    let range = TimeRange::covering(min_ns, max_ns);
    Ok(holds.first_match(&ChunkMeta { tenant, id: key, labels: &labels, range, size_bytes }).is_some())
}

#[cfg(test)]
mod tests;
